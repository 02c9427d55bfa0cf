#include "replay.h"

#include "text_file.h"
#include "tool.h"

#include "check/cases_grid.h"
#include "check/quantised.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BYTES ((size_t)64 << 20)
#define MOST_PROBLEMS 10000
#define MOST_SIZE (1ull << 31)     /* of an axis */
#define MOST_ELEMENTS (1ull << 36) /* from a tensor's first to its last */
#define WHOLE 9007199254740992.0   /* 2^53: whole numbers that JSON keeps */

/* One line of the file while it is read. */
typedef struct line {
    const char *path;
    size_t number;
    const cJSON *json;
    rapt_error *error;
} line;

static bool bad(const line *l, const char *what)
{
    return tool_fail(l->error, RAPT_ERROR_IO, "%.300s: line %zu: %s", l->path, l->number, what);
}

static bool bad_member(const line *l, const char *name, const char *what)
{
    return tool_fail(l->error, RAPT_ERROR_IO, "%.300s: line %zu: \"%s\" %s", l->path, l->number, name, what);
}

static const cJSON *member(const line *l, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(l->json, name);
}

static bool is_whole(const cJSON *item, double low, double high)
{
    return cJSON_IsNumber(item) && item->valuedouble >= low && item->valuedouble <= high &&
           item->valuedouble == floor(item->valuedouble);
}

static bool whole(const line *l, const char *name, double low, double high, double *out)
{
    const cJSON *item = member(l, name);
    if (!is_whole(item, low, high))
        return tool_fail(l->error, RAPT_ERROR_IO,
                         "%.300s: line %zu: \"%s\" is not a whole number from %.0f to %.0f", l->path,
                         l->number, name, low, high);
    *out = item->valuedouble;
    return true;
}

/* {"dims": [..], "strides": [..]}, in elements. */
static bool tensor(const line *l, const char *name, rapt_dtype dtype, uint32_t rank, rapt_tensor *t)
{
    const cJSON *object = member(l, name), *dims = cJSON_GetObjectItemCaseSensitive(object, "dims"),
                *strides = cJSON_GetObjectItemCaseSensitive(object, "strides");
    if (!cJSON_IsArray(dims) || !cJSON_IsArray(strides) || cJSON_GetArraySize(dims) != (int)rank ||
        cJSON_GetArraySize(strides) != (int)rank)
        return bad_member(l, name, rank == 4   ? "has no four dims and strides"
                                   : rank == 3 ? "has no three dims and strides"
                                               : "has no single dim and stride");
    *t = (rapt_tensor){.dtype = dtype, .rank = rank};
    double last = 0;
    for (uint32_t axis = 0; axis < rank; axis++) {
        const cJSON *size = cJSON_GetArrayItem(dims, (int)axis),
                    *stride = cJSON_GetArrayItem(strides, (int)axis);
        if (!is_whole(size, 0, (double)MOST_SIZE) || !is_whole(stride, 0, (double)MOST_ELEMENTS))
            return bad_member(l, name, "has a size or a stride that is no whole number of a tensor's range");
        t->size[axis] = (uint64_t)size->valuedouble;
        t->stride[axis] = (int64_t)stride->valuedouble;
        last += t->size[axis] > 0 ? (size->valuedouble - 1) * stride->valuedouble : 0;
    }
    if (last >= (double)MOST_ELEMENTS)
        return bad_member(l, name, "spans more than 2^36 elements");
    return true;
}

static rapt_dtype dtype_of(const cJSON *item)
{
    static const rapt_dtype dtypes[] = {RAPT_F32, RAPT_F16, RAPT_BF16};
    static const char *const names[] = {"f32", "f16", "bf16"};
    for (size_t n = 0; n < TOOL_COUNT(dtypes); n++)
        if (cJSON_IsString(item) && strcmp(item->valuestring, names[n]) == 0)
            return dtypes[n];
    return RAPT_DTYPE_NONE;
}

/* `total` rows as `count` lengths of at most `bound`: the longest first, the rest alike. What does not fit is
 * left over, as rows outside every sequence. */
static void share_out(uint64_t total, uint64_t bound, uint32_t count, uint32_t lengths[RAPT_CASE_SEQUENCES])
{
    bound = bound == 0 || bound > total ? total : bound;
    uint64_t left = total;
    for (uint32_t s = 0; s < count; s++) {
        uint64_t one = s == 0 ? bound : left / (count - s);
        one = one > bound ? bound : one;
        lengths[s] = (uint32_t)one;
        left -= one;
    }
}

static bool read_sequences(const line *l, replay_problem *p)
{
    double sequences, max_q, max_k;
    if (!whole(l, "sequences", 0, 1e9, &sequences) || !whole(l, "max_seqlen_q", 0, WHOLE, &max_q) ||
        !whole(l, "max_seqlen_k", 0, WHOLE, &max_k))
        return false;
    if (sequences > RAPT_CASE_SEQUENCES)
        return tool_fail(l->error, RAPT_ERROR_UNSUPPORTED,
                         "%.300s: line %zu: %.0f sequences; %d at most can be replayed", l->path, l->number,
                         sequences, RAPT_CASE_SEQUENCES);
    if (sequences == 0)
        return true;
    if (p->c.batch != 1)
        return bad(l, "packed sequences in more than one batch");
    p->desc.sequences = p->c.sequences = (uint32_t)sequences;
    p->desc.max_seqlen_q = (uint64_t)max_q;
    p->desc.max_seqlen_k = (uint64_t)max_k;
    share_out(p->c.nq, p->desc.max_seqlen_q, p->c.sequences, p->c.length_q);
    share_out(p->c.nk, p->desc.max_seqlen_k, p->c.sequences, p->c.length_k);
    return true;
}

/* "window": [left, right] and "sink_tokens", both or neither. */
static bool read_window(const line *l, replay_problem *p)
{
    const cJSON *window = member(l, "window");
    double sinks;
    if (!window)
        return true;
    const cJSON *left = cJSON_GetArrayItem(window, 0), *right = cJSON_GetArrayItem(window, 1);
    if (cJSON_GetArraySize(window) != 2 || !cJSON_IsNumber(left) || !cJSON_IsNumber(right))
        return bad_member(l, "window", "is not two numbers");
    for (const cJSON *side = left; side; side = side->next)
        if (side->valuedouble != floor(side->valuedouble) || side->valuedouble < -1 || side->valuedouble > 1 << 29)
            return bad_member(l, "window", "holds what is not -1 or a count up to 2^29");
    if (!whole(l, "sink_tokens", 0, WHOLE, &sinks))
        return false;
    p->c.window = true;
    p->desc.flags |= RAPT_ATTENTION_WINDOW;
    p->c.window_left = p->desc.window_left = (int64_t)left->valuedouble;
    p->c.window_right = p->desc.window_right = (int64_t)right->valuedouble;
    p->c.sink_tokens = p->desc.sink_tokens = (uint64_t)sinks;
    return true;
}

/* "grid": its sizes by axis, and which are causal. Whether they go together, the library says. */
static bool read_grid(const line *l, replay_problem *p)
{
    const cJSON *grid = member(l, "grid");
    rapt_grid *g = &p->desc.grid;
    const struct {
        const char *name;
        uint32_t *values;
    } lists[] = {{"size", g->size}, {"kernel_size", g->kernel_size}, {"dilation", g->dilation}, {"stride", g->stride}};
    if (!grid)
        return true;
    g->rank = (uint32_t)cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(grid, "size"));
    if (g->rank < 1 || g->rank > RAPT_GRID_MAX_RANK)
        return bad_member(l, "grid", "has no size of one to three axes");
    for (size_t n = 0; n < TOOL_COUNT(lists); n++) {
        const cJSON *list = cJSON_GetObjectItemCaseSensitive(grid, lists[n].name), *one;
        uint32_t axis = 0;
        if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != (int)g->rank)
            return bad_member(l, "grid", "has not as many numbers of every kind as axes");
        cJSON_ArrayForEach(one, list)
        {
            if (!cJSON_IsNumber(one) || one->valuedouble != floor(one->valuedouble) || one->valuedouble < 1 ||
                one->valuedouble > 1 << 29)
                return bad_member(l, "grid", "holds what is not a count from 1 to 2^29");
            lists[n].values[axis++] = (uint32_t)one->valuedouble;
        }
    }
    const cJSON *axis;
    cJSON_ArrayForEach(axis, cJSON_GetObjectItemCaseSensitive(grid, "causal"))
    {
        if (!cJSON_IsNumber(axis) || axis->valuedouble != floor(axis->valuedouble) || axis->valuedouble < 0 ||
            axis->valuedouble >= g->rank)
            return bad_member(l, "grid", "has no such causal axis");
        g->causal |= 1u << (uint32_t)axis->valuedouble;
    }
    p->c.grid = *g;
    return true;
}

static bool read_mask(const line *l, replay_problem *p)
{
    const cJSON *causal = member(l, "causal"), *scale = member(l, "scale");
    double offset = 0;
    if (!cJSON_IsBool(causal))
        return bad_member(l, "causal", "is neither true nor false");
    p->c.causal = cJSON_IsTrue(causal);
    if (!read_grid(l, p) || !read_window(l, p) || ((p->c.causal || p->c.window) && !whole(l, "causal_offset", -WHOLE, WHOLE, &offset)))
        return false;
    p->c.causal_offset = p->desc.causal_offset = (int64_t)offset;
    p->desc.flags |= p->c.causal ? RAPT_ATTENTION_CAUSAL : 0;
    const cJSON *cap = member(l, "soft_cap");
    if (cap && (!cJSON_IsNumber(cap) || !(cap->valuedouble > 0) || cap->valuedouble > 3e38))
        return bad_member(l, "soft_cap", "is no positive number");
    p->c.soft_cap = p->desc.soft_cap = cap ? (float)cap->valuedouble : 0;
    if (scale && !cJSON_IsNull(scale)) {
        if (!cJSON_IsNumber(scale) || !(fabs(scale->valuedouble) <= 3e38))
            return bad_member(l, "scale", "is no number");
        p->desc.flags |= RAPT_ATTENTION_SCALE;
        p->desc.scale = (float)scale->valuedouble;
    }
    return true;
}

/* Do the five tensors belong together? What else the library demands, it says itself when it plans. */
static bool agree(const line *l, const replay_problem *p)
{
    const rapt_attention_desc *d = &p->desc;
    const uint64_t heads = p->c.q_heads > p->c.kv_heads ? p->c.q_heads : p->c.kv_heads;
    const uint64_t lines = p->c.page_size ? d->k.size[0] : p->c.batch, keys = p->c.page_size ? p->c.page_size : p->c.nk;
    const uint64_t k_words = rapt_check_row_words(d->k.dtype, p->c.d_qk), v_words = rapt_check_row_words(d->v.dtype, p->c.d_v);
    const rapt_tensor want[] = {
        {.size = {lines, p->c.kv_heads, keys, k_words ? k_words : p->c.d_qk}},
        {.size = {lines, p->c.kv_heads, keys, v_words ? v_words : p->c.d_v}},
        {.size = {p->c.batch, heads, p->c.nq, p->c.d_v}},
        {.size = {p->c.batch, heads, p->c.nq}},
    };
    const rapt_tensor *have[] = {&d->k, &d->v, &d->out, &d->lse};
    static const char *const names[] = {"k", "v", "out", "lse"};
    for (size_t n = 0; n < TOOL_COUNT(want); n++)
        if (have[n]->dtype != RAPT_DTYPE_NONE &&
            memcmp(have[n]->size, want[n].size, have[n]->rank * sizeof(uint64_t)) != 0)
            return bad_member(l, names[n], "does not fit the shapes of q, k and v");
    for (size_t n = 0; n < 3; n++)
        if ((n == 0 ? d->q : *have[n]).stride[3] != 1)
            return bad(l, "the stride of head_dim is not 1");
    return true;
}

/* "p16-int8-sigmoid-alibi": what else there is, in an order that never changes. */
static void name_modifiers(const replay_problem *p, char *text, size_t size)
{
    const rapt_case *c = &p->c;
    char pages[16] = "";
    if (c->page_size)
        snprintf(pages, sizeof pages, "p%u", c->page_size);
    const struct {
        bool there;
        const char *name;
    } parts[] = {{c->ragged, "ragged"},       {c->k_dtype != RAPT_DTYPE_NONE, rapt_dtype_name(c->k_dtype)},
                 {c->v_dtype != RAPT_DTYPE_NONE && c->v_dtype != c->k_dtype, rapt_dtype_name(c->v_dtype)},
                 {c->link != RAPT_LINK_SOFTMAX, rapt_link_name(c->link)},
                 {c->soft_cap > 0, "cap"},    {c->sinks, "sinks"},
                 {c->alibi, "alibi"},         {c->key_bias, "keybias"},
                 {c->bias, "bias"},           {c->rank, "lowrank"},
                 {c->relative, "relative"},   {c->decay, "decay"},
                 {c->segments, "segments"},   {c->rope, "rope"},
                 {c->qk_norm, "norm"},        {c->gate, "gate"}};
    size_t length = (size_t)snprintf(text, size, "%s", pages);
    for (size_t n = 0; n < TOOL_COUNT(parts) && length < size; n++)
        if (parts[n].there)
            length += (size_t)snprintf(text + length, size - length, "-%s", parts[n].name);
}

static void name_problem(replay_problem *p, size_t index)
{
    rapt_case *c = &p->c;
    char kv[16] = "", v[16] = "", q[24] = "", sequences[16] = "", window[32] = "", grid[100] = "", more[100];
    name_modifiers(p, more, sizeof more);
    if (c->grid.rank > 0)
        rapt_grid_case_name(&c->grid, grid, sizeof grid);
    if (c->window)
        snprintf(window, sizeof window, "w%lld", (long long)(c->window_left < 0 ? c->window_right : c->window_left));
    if (c->kv_heads != c->q_heads)
        snprintf(kv, sizeof kv, "K%u", (unsigned)c->kv_heads);
    if (c->d_v != c->d_qk)
        snprintf(v, sizeof v, "V%u", (unsigned)c->d_v);
    if (c->nq != c->nk)
        snprintf(q, sizeof q, "Q%u", (unsigned)c->nq);
    if (c->sequences > 0)
        snprintf(sequences, sizeof sequences, "s%u", c->sequences);
    snprintf(c->name, sizeof c->name, "%zu:B%uH%u%sD%u%s%sN%u%s%s%s%s%s%s", index + 1, (unsigned)c->batch,
             (unsigned)c->q_heads, kv, (unsigned)c->d_qk, v, q, (unsigned)c->nk,
             c->dtype == RAPT_F32   ? "f32"
             : c->dtype == RAPT_F16 ? "f16"
                                    : "bf16",
             c->causal ? "c" : "", grid, window, sequences, more);
}

static const char *const attention_members[] = {"op",   "count",     "dtype",        "causal",       "causal_offset", "scale",    "q",
                                                "k",    "v",         "out",          "lse",          "window",        "grid",     "sequences",
                                                "max_seqlen_q", "max_seqlen_k", "sink_tokens", "soft_cap", "omitted",
                                                "link", "link_gamma", "link_zeta", "link_alpha", "link_beta", "sinks", "alibi", "key_bias",
                                                "segments", "relative", "decay", "bias", "bias_u", "bias_v", "gate", "gate_by_row",
                                                "place_width", "qk_norm_epsilon", "rope_base", "rope_dim", "rope_interleaved",
                                                "page_size", "block_table", "k_lengths", "k_dtype", "v_dtype", NULL};
static const char *const linear_members[] = {"op",    "count", "dtype", "rule", "feature", "feature_k", "feature_power", "feature_scale", "scale",
                                             "flags", "q",     "k",     "v",    "out",     "a",         "b",             "decay",         "gate",
                                             "beta",  "state_in", "state_out", "norm_in", "norm_out", "scale_q", "scale_k", "sequences", "max_seqlen", NULL};

/* A member that this program does not know would be timed as if it were not there. */
static bool only_known(const line *l, const char *const *known)
{
    const cJSON *one;
    cJSON_ArrayForEach(one, l->json)
    {
        bool found = false;
        for (const char *const *name = known; *name; name++)
            found = found || strcmp(one->string, *name) == 0;
        if (!found) {
            char name[64];
            snprintf(name, sizeof name, "%.60s", one->string);
            return bad_member(l, name, "is not known to this program");
        }
    }
    return true;
}

/* ---- linear attention ---- */

static const char *rule_name(unsigned n)
{
    return rapt_linear_rule_name((rapt_linear_rule)n);
}

static const char *feature_name(unsigned n)
{
    return rapt_phi_name((rapt_phi)n);
}

/* One of `count` names. */
static bool one_of(const line *l, const char *name, const char *(*name_of)(unsigned), unsigned count, unsigned *out)
{
    const cJSON *item = member(l, name);
    for (unsigned n = 0; n < count && cJSON_IsString(item); n++)
        if (strcmp(item->valuestring, name_of(n)) == 0) {
            *out = n;
            return true;
        }
    return bad_member(l, name, "is no name that this program knows");
}

static bool real(const line *l, const char *name, float *out)
{
    const cJSON *item = member(l, name);
    if (!cJSON_IsNumber(item) || !(fabs(item->valuedouble) <= 3e38))
        return bad_member(l, name, "is no number");
    *out = (float)item->valuedouble;
    return true;
}

static bool read_linear_flags(const line *l, rapt_linear_desc *d)
{
    static const struct {
        const char *name;
        uint32_t flag;
    } known[] = {{"normalize", RAPT_LINEAR_NORMALIZE},         {"log_decay", RAPT_LINEAR_LOG_DECAY},
                 {"in_place", RAPT_LINEAR_IN_PLACE},           {"bidirectional", RAPT_LINEAR_BIDIRECTIONAL},
                 {"normalize_keys", RAPT_LINEAR_NORMALIZE_KEYS}, {"standardize", RAPT_LINEAR_STANDARDIZE}};
    const cJSON *list = member(l, "flags"), *one;
    if (!cJSON_IsArray(list))
        return bad_member(l, "flags", "is no list");
    cJSON_ArrayForEach(one, list)
    {
        size_t n = 0;
        while (n < TOOL_COUNT(known) && !(cJSON_IsString(one) && strcmp(one->valuestring, known[n].name) == 0))
            n++;
        if (n == TOOL_COUNT(known))
            return bad_member(l, "flags", "holds what this program does not know");
        d->flags |= known[n].flag;
    }
    return true;
}

static bool read_linear_tensors(const line *l, rapt_dtype dtype, rapt_linear_desc *d)
{
    const struct {
        const char *name;
        rapt_tensor *tensor;
        rapt_dtype dtype;
        uint32_t rank;
    } all[] = {{"q", &d->q, dtype, 4},
               {"k", &d->k, dtype, 4},
               {"v", &d->v, dtype, 4},
               {"out", &d->out, dtype, 4},
               {"a", &d->a, dtype, 4},
               {"b", &d->b, dtype, 4},
               {"decay", &d->decay, RAPT_F32, 3},
               {"gate", &d->gate, RAPT_F32, 4},
               {"beta", &d->beta, RAPT_F32, 3},
               {"state_in", &d->state_in, RAPT_F32, 4},
               {"state_out", &d->state_out, RAPT_F32, 4},
               {"norm_in", &d->norm_in, RAPT_F32, 3},
               {"norm_out", &d->norm_out, RAPT_F32, 3},
               {"scale_q", &d->scale_q, RAPT_F32, 1},
               {"scale_k", &d->scale_k, RAPT_F32, 1}};
    for (size_t n = 0; n < TOOL_COUNT(all); n++) {
        const cJSON *item = member(l, all[n].name);
        const bool fixed = all[n].tensor == &d->decay && cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(item, "dims")) == 1;
        if ((item || n < 4) && !tensor(l, all[n].name, all[n].dtype, fixed ? 1 : all[n].rank, all[n].tensor))
            return false;
    }
    return true;
}

/* Every token belongs to a sequence here: those outside would have no output to prove. */
static bool read_linear_sequences(const line *l, replay_problem *p)
{
    double sequences, most;
    if (!whole(l, "sequences", 0, 1e9, &sequences) || !whole(l, "max_seqlen", 0, WHOLE, &most))
        return false;
    if (sequences > RAPT_CASE_SEQUENCES)
        return tool_fail(l->error, RAPT_ERROR_UNSUPPORTED, "%.300s: line %zu: %.0f sequences; %d at most can be replayed", l->path, l->number,
                         sequences, RAPT_CASE_SEQUENCES);
    p->linear.sequences = (uint32_t)sequences;
    p->linear.max_seqlen = (uint64_t)most;
    if (sequences > 0 && most > 0 && most * sequences < (double)p->linear.q.size[2])
        return bad_member(l, "max_seqlen", "leaves tokens outside every sequence");
    if (sequences > 0)
        share_out(p->linear.q.size[2], p->linear.max_seqlen, p->linear.sequences, p->lengths);
    return true;
}

static void name_linear(replay_problem *p, size_t index)
{
    const rapt_linear_desc *d = &p->linear;
    const char *decay = d->gate.dtype ? "-channel" : d->decay.dtype == RAPT_DTYPE_NONE ? "" : d->decay.rank == 1 ? "-fixed" : "-token";
    char kv[24] = "", v[24] = "", sequences[16] = "";
    if (d->k.size[1] != d->out.size[1])
        snprintf(kv, sizeof kv, "K%u", (unsigned)d->k.size[1]);
    if (d->v.size[3] != d->k.size[3])
        snprintf(v, sizeof v, "V%u", (unsigned)d->v.size[3]);
    if (d->sequences > 0)
        snprintf(sequences, sizeof sequences, "s%u", d->sequences);
    snprintf(p->c.name, sizeof p->c.name, "%zu:%s%s-B%uH%u%sD%u%sN%u%s%s", index + 1, d->rule == RAPT_LINEAR_NONE ? "linear" : rapt_linear_rule_name(d->rule),
             decay, (unsigned)d->q.size[0], (unsigned)d->out.size[1], kv, (unsigned)d->q.size[3], v, (unsigned)d->q.size[2],
             rapt_dtype_name(p->c.dtype), sequences);
}

/* Whether its parts go together, the library says when it plans. */
static bool read_linear(const line *l, size_t index, replay_problem *p)
{
    rapt_linear_desc *d = &p->linear;
    unsigned rule = 0, feature = 0, feature_k = 0;
    p->is_linear = true;
    if (!one_of(l, "rule", rule_name, RAPT_LINEAR_RULE_COUNT, &rule) || !one_of(l, "feature", feature_name, RAPT_PHI_USER, &feature) ||
        !one_of(l, "feature_k", feature_name, RAPT_PHI_USER, &feature_k) || !real(l, "feature_power", &d->feature_power) ||
        !real(l, "feature_scale", &d->feature_scale) || !real(l, "scale", &d->scale) || !read_linear_flags(l, d) ||
        !read_linear_tensors(l, p->c.dtype, d) || !read_linear_sequences(l, p) || !only_known(l, linear_members))
        return false;
    d->rule = (rapt_linear_rule)rule;
    d->feature = (rapt_phi)feature;
    d->flags |= RAPT_LINEAR_SCALE | (feature_k != feature ? RAPT_LINEAR_FEATURE_K : 0u);
    d->feature_k = feature_k != feature ? (rapt_phi)feature_k : RAPT_PHI_IDENTITY;
    name_linear(p, index);
    return true;
}

/* ---- modifiers and caches of attention: whether they fit the problem, the library says when it plans ---- */

static bool key_dtype(const line *l, const char *name, rapt_dtype dtype, rapt_dtype *out)
{
    static const rapt_dtype known[] = {RAPT_INT8, RAPT_INT4, RAPT_FP8};
    const cJSON *item = member(l, name);
    *out = RAPT_DTYPE_NONE;
    if (!item || (cJSON_IsString(item) && strcmp(item->valuestring, rapt_dtype_name(dtype)) == 0))
        return true;
    for (size_t n = 0; n < TOOL_COUNT(known) && cJSON_IsString(item); n++)
        if (strcmp(item->valuestring, rapt_dtype_name(known[n])) == 0)
            *out = known[n];
    return *out != RAPT_DTYPE_NONE || bad_member(l, name, "is none of int8, int4, fp8");
}

/* Where each batch entry has a length of its own, it is taken to be the longest: the lengths lie on the device. */
static bool read_pages(const line *l, replay_problem *p)
{
    rapt_attention_desc *d = &p->desc;
    double page_size = 0;
    if (member(l, "block_table")) {
        if (!tensor(l, "block_table", RAPT_I32, 2, &d->block_table) || !whole(l, "page_size", 1, 1 << 29, &page_size))
            return false;
        p->c.page_size = d->page_size = (uint32_t)page_size;
        p->c.all_pages = true;
        p->c.nk = d->block_table.size[1] * p->c.page_size;
        if (d->k.size[0] == 0 && p->c.nk > 0)
            return bad_member(l, "k", "has no pages");
    }
    if (!member(l, "k_lengths"))
        return true;
    if (!tensor(l, "k_lengths", RAPT_I32, 1, &d->k_lengths))
        return false;
    if (p->c.batch > RAPT_CASE_SEQUENCES)
        return tool_fail(l->error, RAPT_ERROR_UNSUPPORTED, "%.300s: line %zu: lengths of %llu batch entries; %d at most can be replayed", l->path,
                         l->number, (unsigned long long)p->c.batch, RAPT_CASE_SEQUENCES);
    p->c.ragged = true;
    for (uint64_t b = 0; b < p->c.batch; b++)
        p->c.length_k[b] = (uint32_t)p->c.nk;
    return true;
}

static const char *link_name(unsigned n)
{
    return rapt_link_name((rapt_link)n);
}

static bool read_extras(const line *l, replay_problem *p)
{
    rapt_attention_desc *d = &p->desc;
    const cJSON *relative = cJSON_GetObjectItemCaseSensitive(member(l, "relative"), "dims");
    const struct {
        const char *name;
        rapt_tensor *tensor;
        rapt_dtype dtype;
        uint32_t rank;
    } all[] = {{"sinks", &d->sinks, RAPT_F32, 1},       {"alibi", &d->alibi, RAPT_F32, 1},
               {"decay", &d->decay, RAPT_F32, 1},       {"segments", &d->segments, RAPT_I32, 2},
               {"key_bias", &d->key_bias, RAPT_F32, 3}, {"relative", &d->relative, RAPT_F32, cJSON_GetArraySize(relative) == 3 ? 3 : 2},
               {"bias", &d->bias, RAPT_F32, 4},         {"bias_u", &d->bias_u, p->c.dtype, 4},
               {"bias_v", &d->bias_v, p->c.dtype, 4},   {"gate", &d->gate, p->c.dtype, 4}};
    for (size_t n = 0; n < TOOL_COUNT(all); n++)
        if (member(l, all[n].name) && !tensor(l, all[n].name, all[n].dtype, all[n].rank, all[n].tensor))
            return false;
    p->c.sinks = d->sinks.dtype != RAPT_DTYPE_NONE;
    p->c.alibi = d->alibi.dtype != RAPT_DTYPE_NONE;
    p->c.decay = d->decay.dtype != RAPT_DTYPE_NONE;
    p->c.segments = d->segments.dtype != RAPT_DTYPE_NONE; /* one, which all see */
    p->c.key_bias = d->key_bias.dtype != RAPT_DTYPE_NONE;
    p->c.relative = d->relative.dtype != RAPT_DTYPE_NONE;
    p->c.bias = d->bias.dtype != RAPT_DTYPE_NONE;
    p->c.gate = d->gate.dtype != RAPT_DTYPE_NONE;
    if (d->bias_u.dtype != RAPT_DTYPE_NONE)
        p->c.rank = (uint8_t)(d->bias_u.size[3] < 255 ? d->bias_u.size[3] : 255);
    if (cJSON_IsTrue(member(l, "gate_by_row")))
        d->gate.stride[3] = 0;
    return true;
}

static bool read_numbers(const line *l, replay_problem *p)
{
    rapt_attention_desc *d = &p->desc;
    const struct {
        const char *name;
        float *value;
    } reals[] = {{"link_gamma", &d->link_gamma}, {"link_zeta", &d->link_zeta}, {"link_alpha", &d->link_alpha}, {"link_beta", &d->link_beta},
                 {"qk_norm_epsilon", &d->qk_norm_epsilon}};
    const struct {
        const char *name;
        uint32_t *value;
    } counts[] = {{"place_width", &d->place_width}, {"rope_dim", &d->rope_dim}};
    unsigned link = RAPT_LINK_SOFTMAX;
    if (member(l, "link") && !one_of(l, "link", link_name, RAPT_LINK_COUNT, &link))
        return false;
    p->c.link = d->link = (rapt_link)link;
    for (size_t n = 0; n < TOOL_COUNT(reals); n++)
        if (member(l, reals[n].name) && !real(l, reals[n].name, reals[n].value))
            return false;
    for (size_t n = 0; n < TOOL_COUNT(counts); n++) {
        double value = 0;
        if (member(l, counts[n].name) && !whole(l, counts[n].name, 0, 1 << 29, &value))
            return false;
        *counts[n].value = (uint32_t)value;
    }
    const cJSON *base = member(l, "rope_base");
    double offset = 0;
    if (base && !(cJSON_IsNumber(base) && base->valuedouble > 1 && base->valuedouble < 1e300))
        return bad_member(l, "rope_base", "is no number above 1");
    if (base || p->c.alibi || p->c.decay || p->c.relative) {
        if (!whole(l, "causal_offset", -WHOLE, WHOLE, &offset))
            return false;
        p->c.causal_offset = d->causal_offset = (int64_t)offset;
    }
    d->rope_base = base ? base->valuedouble : 0;
    p->c.rope = base ? 1 : 0;
    p->c.place_width = d->place_width;
    p->c.qk_norm = member(l, "qk_norm_epsilon") != NULL;
    d->flags |= (p->c.qk_norm ? RAPT_ATTENTION_QK_NORM : 0u) | (cJSON_IsTrue(member(l, "rope_interleaved")) ? RAPT_ATTENTION_ROPE_INTERLEAVED : 0u);
    return true;
}

static bool read_attention(const line *l, size_t index, replay_problem *p)
{
    const cJSON *lse = member(l, "lse");
    rapt_attention_desc *d = &p->desc;
    const rapt_dtype dtype = p->c.dtype;
    if (!key_dtype(l, "k_dtype", dtype, &p->c.k_dtype) || !key_dtype(l, "v_dtype", dtype, &p->c.v_dtype) ||
        !tensor(l, "q", dtype, 4, &d->q) || !tensor(l, "k", p->c.k_dtype ? p->c.k_dtype : dtype, 4, &d->k) ||
        !tensor(l, "v", p->c.v_dtype ? p->c.v_dtype : dtype, 4, &d->v) || !tensor(l, "out", dtype, 4, &d->out) ||
        (lse && !cJSON_IsNull(lse) && !tensor(l, "lse", RAPT_F32, 3, &d->lse)))
        return false;
    p->c.batch = d->q.size[0];
    p->c.q_heads = d->q.size[1];
    p->c.kv_heads = d->k.size[1];
    p->c.nq = d->q.size[2];
    p->c.nk = d->k.size[2];
    p->c.d_qk = d->q.size[3];
    p->c.d_v = d->out.size[3];
    p->c.no_lse = d->lse.dtype == RAPT_DTYPE_NONE;
    p->c.seed = index + 1;
    if (!read_pages(l, p) || !agree(l, p) || !read_mask(l, p) || !read_sequences(l, p) || !read_extras(l, p) || !read_numbers(l, p) ||
        !only_known(l, attention_members))
        return false;
    name_problem(p, index);
    return true;
}

static bool read_problem(const line *l, size_t index, replay_problem *p)
{
    const cJSON *op = member(l, "op");
    const bool attention = cJSON_IsString(op) && strcmp(op->valuestring, "attention") == 0,
               linear = cJSON_IsString(op) && strcmp(op->valuestring, "linear") == 0;
    *p = (replay_problem){.desc = RAPT_ATTENTION_DESC_INIT, .linear = RAPT_LINEAR_DESC_INIT};
    if (!attention && !linear)
        return bad_member(l, "op", "is neither \"attention\" nor \"linear\"");
    p->c.dtype = dtype_of(member(l, "dtype"));
    if (p->c.dtype == RAPT_DTYPE_NONE)
        return bad_member(l, "dtype", "is none of f32, f16, bf16");
    return whole(l, "count", 1, WHOLE, &p->count) && (linear ? read_linear : read_attention)(l, index, p);
}

static bool read_header(const line *l)
{
    const cJSON *version = member(l, "rapt_record");
    if (!cJSON_IsNumber(version))
        return bad(l, "not a recording of rapt: no {\"rapt_record\":1}");
    return version->valuedouble == 1 ||
           bad(l, "a recording of another version; this program reads version 1");
}

static bool read_line(replay *r, const line *l)
{
    if (l->number == 1)
        return read_header(l);
    if (member(l, "omitted"))
        return whole(l, "omitted", 1, WHOLE, &r->omitted) && only_known(l, attention_members);
    if (r->count == MOST_PROBLEMS)
        return bad(l, "more than 10000 problems");
    if ((r->count & (r->count - 1)) == 0) { /* room for the next power of two */
        replay_problem *more = realloc(r->problems, (r->count > 0 ? 2 * r->count : 1) * sizeof *more);
        if (!more)
            return tool_fail(l->error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "out of host memory");
        r->problems = more;
    }
    if (!read_problem(l, r->count, &r->problems[r->count]))
        return false;
    r->count++;
    return true;
}

bool replay_read(const char *path, replay *r, rapt_error *error)
{
    size_t size;
    *r = (replay){0};
    char *file = text_file_read(path, MOST_BYTES, &size, error);
    if (!file)
        return false;
    line l = {.path = path, .error = error};
    bool good = true, any = false;
    for (char *at = file; good && *at;) {
        const size_t length = strcspn(at, "\n");
        const bool more = at[length] == '\n';
        at[length] = 0;
        l.number++;
        if (at[strspn(at, " \t\r")] != 0) {
            cJSON *json = cJSON_ParseWithOpts(at, NULL, 1);
            l.json = json;
            any = true;
            good = cJSON_IsObject(json) ? read_line(r, &l) : bad(&l, "no JSON object");
            cJSON_Delete(json);
        } else if (l.number == 1) {
            good = bad(&l, "not a recording of rapt: no {\"rapt_record\":1}");
        }
        at += length + more;
    }
    free(file);
    if (good && !any)
        return tool_fail(error, RAPT_ERROR_IO, "%.300s: is empty", path);
    if (good && r->count == 0)
        return tool_fail(error, RAPT_ERROR_IO, "%.300s: holds no problem", path);
    return good;
}

void replay_free(replay *r)
{
    free(r->problems);
    *r = (replay){0};
}
