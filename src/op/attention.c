#include "op/attention.h"

#include <math.h>
#include <string.h>

static const char *const tensor_names[RAPT_T_COUNT] = {"q", "k", "v", "out", "lse", "gate", "bias", "col_sums", "row_max"};
static const char *const axis_names[4] = {"batch", "heads", "sequence", "head_dim"};

const char *rapt_link_name(rapt_link link)
{
    static const char *const names[] = {"softmax", "offbyone", "signed", "sigmoid", "laplace", "relu", "none", "clipped",
                                        "affine"};
    _Static_assert(RAPT_COUNT(names) == RAPT_LINK_COUNT, "a link has no name");
    return (unsigned)link < RAPT_LINK_COUNT ? names[link] : "unknown";
}

/* Saturating arithmetic for counts that are only reported. */
static uint64_t sat_mul(uint64_t a, uint64_t b)
{
    uint64_t r;
    return rapt_mul_u64(a, b, &r) ? r : UINT64_MAX;
}

static uint64_t sat_add(uint64_t a, uint64_t b)
{
    uint64_t r;
    return rapt_add_u64(a, b, &r) ? r : UINT64_MAX;
}

/* The sum over i = 0 .. n - 1 of i + shift, kept between 0 and most. */
static uint64_t sum_of_ramp(uint64_t n, int64_t shift, uint64_t most)
{
    int64_t first = RAPT_MAX(0, -shift + 1);           /* first i that counts */
    int64_t full = RAPT_MAX(0, (int64_t)most - shift); /* first i that counts in full */
    first = RAPT_MIN(first, (int64_t)n);
    full = RAPT_MIN(RAPT_MAX(full, first), (int64_t)n);
    uint64_t ramp = (uint64_t)(full - first);
    uint64_t low = (uint64_t)RAPT_MAX(0, first + shift);
    uint64_t high = ramp ? (uint64_t)(full - 1 + shift) : 0;
    uint64_t sum = ramp ? (low + high) * ramp / 2 : 0;
    return sat_add(sum, sat_mul(n - (uint64_t)full, most));
}

uint64_t rapt_visible_pairs(const rapt_problem *m, uint64_t nq, uint64_t nk, int64_t offset)
{
    /* Query i stands at p = i + place. It sees the keys [p - left, p + right] and the first `sinks`, the causal ones of
     * both: the band, plus the sinks, less what is in both. */
    int64_t place = (int64_t)nk - (int64_t)nq + offset;
    if (!m->window)
        return m->causal ? sum_of_ramp(nq, place + 1, nk) : sat_mul(nq, nk);
    uint64_t sinks = RAPT_MIN(m->sink_tokens, nk);
    bool ends = m->causal || m->window_right >= 0, begins = m->window_left >= 0;
    int64_t right = m->causal ? 0 : m->window_right, left = m->window_left;
    uint64_t band = ends ? sum_of_ramp(nq, place + right + 1, nk) : sat_mul(nq, nk);
    uint64_t band_in_sinks = ends ? sum_of_ramp(nq, place + right + 1, sinks) : sat_mul(nq, sinks);
    if (begins) {
        band -= sum_of_ramp(nq, place - left, nk);
        band_in_sinks -= sum_of_ramp(nq, place - left, sinks);
    }
    uint64_t seen_sinks = m->causal ? sum_of_ramp(nq, place + 1, sinks) : sat_mul(nq, sinks);
    return sat_add(band, seen_sinks - band_in_sinks);
}

bool rapt_problem_sees(const rapt_problem *p, int64_t place, int64_t key)
{
    if (p->grid.rank > 0)
        return rapt_grid_sees(&p->grid, (uint64_t)place, (uint64_t)key);
    if (p->causal && key > place)
        return false;
    if (!p->window || key < (int64_t)p->sink_tokens)
        return true;
    return (p->window_left < 0 || key >= place - p->window_left) &&
           (p->window_right < 0 || key <= place + p->window_right);
}

double rapt_problem_score(const rapt_problem *p, double scaled)
{
    return p->soft_cap > 0.0f ? (double)p->soft_cap * tanh(scaled / (double)p->soft_cap) : scaled;
}

bool rapt_problem_is_tunable(const rapt_problem *p)
{
    return !(p->extras & ~(1u << RAPT_X_SINKS | 1u << RAPT_X_ALIBI)) && !p->blocks && !p->bias && !p->prepared &&
           p->link == RAPT_LINK_SOFTMAX && !p->gate && !p->col_sums && !p->row_max && !p->score_mod && !p->mask_mod;
}

bool rapt_problem_has_extra_operand(const rapt_problem *p)
{
    return p->extras != 0 || p->blocks || p->paged || p->mask_tiles;
}

uint64_t rapt_block_lines(const rapt_problem *p)
{
    return rapt_div_up(p->nq, p->block_q);
}

uint64_t rapt_block_element(const rapt_problem *p, uint64_t batch, uint64_t head_q, uint64_t i, uint64_t j)
{
    const rapt_extra *x = &p->extra[RAPT_X_BLOCKS];
    const uint64_t line = (x->batch > 1 ? batch * x->heads : 0) + (x->heads > 1 ? head_q : 0);
    return (line * rapt_block_lines(p) + i / p->block_q) * p->block_pitch + j / p->block_k;
}

uint64_t rapt_first_visible_key(const rapt_problem *p)
{
    if (!p->window || p->window_left < 0 || p->ragged)
        return 0;
    int64_t first = (int64_t)p->nk - (int64_t)p->nq + p->causal_offset - p->window_left;
    return first < 0 ? 0 : RAPT_MIN((uint64_t)first, p->nk);
}

static bool same_size(const rapt_tensor *t, unsigned axis, uint64_t want)
{
    return t->size[axis] == want;
}

rapt_status rapt_tensor_check(const rapt_tensor *t, const char *name, unsigned rank, bool is_output, rapt_error *error)
{
    const bool is_gate = name == tensor_names[RAPT_T_GATE];
    if (t->rank != rank)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: rank %u, expected %u", name, t->rank, rank);
    uint64_t extent = 1;
    bool empty = false;
    for (unsigned axis = 0; axis < rank; axis++) {
        uint64_t span;
        if (t->size[axis] == 0)
            empty = true;
        if (t->stride[axis] < 0)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s: negative stride %lld of axis %s", name,
                             (long long)t->stride[axis], axis_names[axis]);
        if (t->size[axis] > 1 &&
            (!rapt_mul_u64(t->size[axis] - 1, (uint64_t)t->stride[axis], &span) || !rapt_add_u64(extent, span, &extent)))
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s: the extent overflows 64 bits at axis %s", name,
                             axis_names[axis]);
    }
    if (!rapt_mul_u64(extent, rapt_dtype_size(t->dtype), &extent) || extent > INT64_MAX)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: the extent overflows 63 bits", name);
    if (rank == 4 && t->size[3] > 1 && t->stride[3] != 1 && !(is_gate && t->stride[3] == 0))
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: stride %lld of head_dim, must be 1", name,
                         (long long)t->stride[3]);
    if (t->align != 0 && !rapt_is_pow2(t->align))
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: align %u is not a power of two", name, t->align);
    if (t->align != 0 && t->align < rapt_dtype_size(t->dtype))
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: align %u is less than an element of %u bytes", name, t->align,
                         rapt_dtype_size(t->dtype));
    if (is_output && !empty) {
        /* No two elements may share a place: with the axes sorted by stride, each must step over what is inside. */
        uint64_t inner = rank == 4 ? t->size[3] : 1;
        bool done[4] = {false, false, false, rank == 4};
        for (unsigned round = 0; round < 3; round++) {
            int best = -1;
            for (int axis = 0; axis < 3; axis++)
                if (!done[axis] && (best < 0 || t->stride[axis] < t->stride[best] ||
                                    (t->stride[axis] == t->stride[best] && t->size[axis] < t->size[best])))
                    best = axis;
            done[best] = true;
            if (t->size[best] <= 1)
                continue;
            if ((uint64_t)t->stride[best] < inner)
                return rapt_fail(error, RAPT_ERROR_INVALID,
                                 "%s: elements overlap: stride %lld of axis %s is less than the %llu elements inside",
                                 name, (long long)t->stride[best], axis_names[best], (unsigned long long)inner);
            inner = (t->size[best] - 1) * (uint64_t)t->stride[best] + inner;
        }
    }
    return RAPT_OK;
}

/* Whether rows of a tensor that is quantised are as long as `head_dim` elements make them. */
static bool check_words(const rapt_tensor *t, const char *name, uint64_t head_dim, rapt_error *error)
{
    const uint64_t words = rapt_quantised_words(t->dtype, head_dim);
    if (words == 0 || words == t->size[3])
        return true;
    rapt_fail(error, RAPT_ERROR_INVALID, "%s has rows of %llu words, but %llu elements of %s are %llu words (rapt_quantised_words)", name,
              (unsigned long long)t->size[3], (unsigned long long)head_dim, rapt_dtype_name(t->dtype), (unsigned long long)words);
    return false;
}

static rapt_status check_shapes(const rapt_attention_desc *d, rapt_error *error)
{
    const rapt_tensor *q = &d->q, *k = &d->k, *v = &d->v, *o = &d->out, *l = &d->lse;
#define AGREE(a, aname, b, bname, axis)                                                                                \
    if (!same_size(a, axis, (b)->size[axis]))                                                                          \
    return rapt_fail(error, RAPT_ERROR_INVALID, "%s and %s disagree on %s: %llu and %llu", aname, bname,               \
                     axis_names[axis], (unsigned long long)(a)->size[axis], (unsigned long long)(b)->size[axis])
    const bool paged = d->block_table.dtype != RAPT_DTYPE_NONE; /* k and v then have an axis of pages: pages.c */
    const uint64_t nk = paged ? d->block_table.size[1] * d->page_size : k->size[2];
    if (!paged)
        AGREE(q, "q", k, "k", 0);
    AGREE(k, "k", v, "v", 0);
    AGREE(k, "k", v, "v", 1);
    AGREE(k, "k", v, "v", 2);
    if (!rapt_dtype_is_quantised(k->dtype))
        AGREE(q, "q", k, "k", 3);
    AGREE(o, "out", q, "q", 0);
    AGREE(o, "out", q, "q", 2);
    if (!rapt_dtype_is_quantised(v->dtype))
        AGREE(o, "out", v, "v", 3);
    uint64_t heads_out = RAPT_MAX(q->size[1], k->size[1]);
    if (o->size[1] != heads_out)
        return rapt_fail(error, RAPT_ERROR_INVALID, "out has %llu heads, expected max(q_heads %llu, kv_heads %llu)",
                         (unsigned long long)o->size[1], (unsigned long long)q->size[1],
                         (unsigned long long)k->size[1]);
    if (l->dtype != RAPT_DTYPE_NONE) {
        if (l->dtype != RAPT_F32)
            return rapt_fail(error, RAPT_ERROR_INVALID, "lse is %s, must be f32", rapt_dtype_name(l->dtype));
        AGREE(l, "lse", o, "out", 0);
        AGREE(l, "lse", o, "out", 1);
        AGREE(l, "lse", o, "out", 2);
    }
    for (unsigned axis = 0; axis < 4 && d->gate.dtype != RAPT_DTYPE_NONE; axis++)
        AGREE(&d->gate, "gate", o, "out", axis);
#undef AGREE
    const rapt_tensor *bias = &d->bias;
    if (bias->dtype != RAPT_DTYPE_NONE) {
        if (bias->dtype != RAPT_F32)
            return rapt_fail(error, RAPT_ERROR_INVALID, "bias is %s, must be f32", rapt_dtype_name(bias->dtype));
        if (d->sequences > 0)
            return rapt_fail(error, RAPT_ERROR_INVALID,
                             "a dense bias does not go with packed sequences: use key_bias, alibi or score_mod");
        if ((bias->size[0] != 1 && bias->size[0] != q->size[0]) || (bias->size[1] != 1 && bias->size[1] != q->size[1]) ||
            bias->size[2] != q->size[2] || bias->size[3] != nk)
            return rapt_fail(error, RAPT_ERROR_INVALID,
                             "bias is (%llu, %llu, %llu, %llu), must be (batch or 1, q_heads or 1, nq, nk) with batch %llu, "
                             "q_heads %llu, nq %llu, nk %llu",
                             (unsigned long long)bias->size[0], (unsigned long long)bias->size[1],
                             (unsigned long long)bias->size[2], (unsigned long long)bias->size[3],
                             (unsigned long long)q->size[0], (unsigned long long)q->size[1],
                             (unsigned long long)q->size[2], (unsigned long long)nk);
    }
    for (int i = 0; i < 2; i++) {
        uint32_t dim = (uint32_t)RAPT_MIN(i ? o->size[3] : q->size[3], UINT32_MAX);
        if (dim < 1 || dim > RAPT_MAX_HEAD_DIM)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s: head_dim %u, must be 1 to %u", i ? "v" : "q and k", dim,
                             RAPT_MAX_HEAD_DIM);
    }
    if (!check_words(k, "k", q->size[3], error) || !check_words(v, "v", o->size[3], error))
        return RAPT_ERROR_INVALID;
    if ((q->size[1] == 0) != (k->size[1] == 0))
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s has no heads", q->size[1] == 0 ? "q" : "k");
    const struct {
        const char *name;
        uint64_t value, limit;
    } limits[] = {
        {"nq", q->size[2], RAPT_MAX_SEQUENCE},   {"nk", k->size[2], RAPT_MAX_SEQUENCE},
        {"batch", q->size[0], 1u << 30},         {"q_heads", q->size[1], 1u << 20},
        {"kv_heads", k->size[1], 1u << 20},
    };
    for (size_t i = 0; i < RAPT_COUNT(limits); i++)
        if (limits[i].value > limits[i].limit)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s is %llu, at most %llu", limits[i].name,
                             (unsigned long long)limits[i].value, (unsigned long long)limits[i].limit);
    return RAPT_OK;
}

/* Compulsory traffic of a tensor: each distinct element once. 0 of one that is not there, whose rank nobody has checked. */
static uint64_t tensor_traffic(const rapt_tensor *t)
{
    uint64_t bytes = rapt_dtype_size(t->dtype);
    for (unsigned axis = 0; bytes > 0 && axis < t->rank; axis++)
        bytes = sat_mul(bytes, t->size[axis] > 1 && t->stride[axis] == 0 ? 1 : t->size[axis]);
    return bytes;
}

/* How many keys of a dense problem some query sees. */
static uint64_t visible_keys(const rapt_problem *p)
{
    if (p->nq == 0)
        return 0;
    int64_t last = (int64_t)p->nk - 1 + p->causal_offset, nk = (int64_t)p->nk; /* the last query's place */
    int64_t causal = p->causal ? RAPT_MAX(0, RAPT_MIN(nk, last + 1)) : nk;
    int64_t end = p->window_right < 0 ? causal : RAPT_MAX(0, RAPT_MIN(causal, last + p->window_right + 1));
    int64_t begin = RAPT_MIN((int64_t)rapt_first_visible_key(p), end);
    int64_t sinks = RAPT_MIN((int64_t)p->sink_tokens, causal);
    int64_t both = RAPT_MAX(0, RAPT_MIN(sinks, end) - begin);
    return (uint64_t)(end - begin + sinks - both);
}

/* The window; one that hides nothing is none. */
static rapt_status check_window(const rapt_attention_desc *desc, rapt_problem *p, rapt_error *error)
{
    const struct {
        const char *name;
        int64_t value;
    } sides[] = {{"window_left", desc->window_left}, {"window_right", desc->window_right}};
    if (!(desc->flags & RAPT_ATTENTION_WINDOW)) {
        if (desc->window_left || desc->window_right || desc->sink_tokens)
            return rapt_fail(error, RAPT_ERROR_INVALID,
                             "window_left, window_right and sink_tokens go with RAPT_ATTENTION_WINDOW");
        return RAPT_OK;
    }
    for (size_t i = 0; i < RAPT_COUNT(sides); i++)
        if (sides[i].value < -1 || sides[i].value > (int64_t)RAPT_MAX_SEQUENCE)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s is %lld, must be -1 (unbounded) or 0 to %llu",
                             sides[i].name, (long long)sides[i].value, RAPT_MAX_SEQUENCE);
    p->window = desc->window_left >= 0 || (desc->window_right >= 0 && !p->causal);
    if (p->window) {
        p->window_left = (int32_t)desc->window_left;
        p->window_right = p->causal ? -1 : (int32_t)desc->window_right;
        p->sink_tokens = (uint32_t)RAPT_MIN(desc->sink_tokens, RAPT_MAX_SEQUENCE);
    }
    return RAPT_OK;
}

/* The grid, and what does not go with one. */
static rapt_status check_grid(const rapt_attention_desc *desc, rapt_problem *p, rapt_error *error)
{
    if (desc->grid.rank == 0)
        return RAPT_OK;
    const char *other = desc->sequences > 0                     ? "packed sequences"
                        : desc->flags & RAPT_ATTENTION_CAUSAL   ? "RAPT_ATTENTION_CAUSAL (it has causal axes of its own)"
                        : desc->flags & RAPT_ATTENTION_WINDOW   ? "RAPT_ATTENTION_WINDOW"
                        : desc->alibi.dtype != RAPT_DTYPE_NONE  ? "alibi"
                        : desc->decay.dtype != RAPT_DTYPE_NONE  ? "decay"
                        : desc->key_splits > 1                  ? "key_splits"
                                                                : NULL;
    if (other != NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "a grid does not go with %s", other);
    if (p->nq != p->nk)
        return rapt_fail(error, RAPT_ERROR_INVALID, "with a grid nq and nk are equal, not %llu and %llu",
                         (unsigned long long)p->nq, (unsigned long long)p->nk);
    return rapt_grid_check(&desc->grid, p->nq, &p->grid, error);
}

/* What code of the app reads, where there is such code. */
static rapt_status check_user(const rapt_attention_desc *desc, rapt_problem *p, rapt_error *error)
{
    p->score_mod = desc->score_mod[0] != NULL;
    p->mask_mod = desc->mask_mod[0] != NULL;
    if (!p->score_mod && !p->mask_mod) {
        if (desc->user[0].name != NULL)
            return rapt_fail(error, RAPT_ERROR_INVALID, "user buffers go with score_mod or mask_mod");
        return RAPT_OK;
    }
    memcpy(p->user_constants, desc->user_constants, sizeof p->user_constants);
    for (; p->user_count < RAPT_USER_BUFFERS && desc->user[p->user_count].name != NULL; p->user_count++) {
        const rapt_user_buffer *b = &desc->user[p->user_count];
        if (b->dtype != RAPT_F32 && b->dtype != RAPT_I32)
            return rapt_fail(error, RAPT_ERROR_INVALID, "user buffer '%.40s' is %s, must be f32 or i32", b->name,
                             rapt_dtype_name(b->dtype));
        if (b->count < 1 || b->count > 1u << 30)
            return rapt_fail(error, RAPT_ERROR_INVALID, "user buffer '%.40s' has %llu elements, must have 1 to %u",
                             b->name, (unsigned long long)b->count, 1u << 30);
        p->user_elements[p->user_count] = (uint32_t)b->count;
        size_t length = strlen(b->name);
        memcpy(p->user_names[p->user_count], b->name, RAPT_MIN(length, sizeof p->user_names[0] - 1));
    }
    return RAPT_OK;
}

/* The extra vectors, as (batch, heads, count). */
static rapt_status check_extras(const rapt_attention_desc *d, rapt_problem *p, rapt_error *error)
{
    const uint64_t batch = d->q.size[0], nk = p->varlen ? p->total_k : p->nk;
    const struct {
        const char *name, *shape;
        const rapt_tensor *t;
        rapt_dtype dtype;
        uint32_t rank;
        uint64_t batch[2], heads[2], count; /* sizes that are allowed */
    } extras[RAPT_X_BLOCKS] = {
        [RAPT_X_SINKS] = {"sinks", "(q_heads or max(q_heads, kv_heads))", &d->sinks, RAPT_F32, 1, {1, 1}, {p->heads_q, p->heads_out}, 1},
        [RAPT_X_ALIBI] = {"alibi", "(q_heads)", &d->alibi, RAPT_F32, 1, {1, 1}, {p->heads_q, p->heads_q}, 1},
        [RAPT_X_KEY_BIAS] = {"key_bias", "(batch or 1, q_heads or 1, nk)", &d->key_bias, RAPT_F32, 3, {batch, 1}, {p->heads_q, 1}, nk},
        [RAPT_X_SEGMENTS] = {"segments", "(batch, nk)", &d->segments, RAPT_I32, 2, {batch, batch}, {1, 1}, nk},
        [RAPT_X_DECAY] = {"decay", "(q_heads)", &d->decay, RAPT_F32, 1, {1, 1}, {p->heads_q, p->heads_q}, 1},
    };
    for (unsigned i = 0; i < RAPT_X_BLOCKS; i++) {
        const rapt_tensor *t = extras[i].t;
        const char *name = extras[i].name;
        if (name == NULL || t->dtype == RAPT_DTYPE_NONE)
            continue;
        if (t->dtype != extras[i].dtype)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s is %s, must be %s", name, rapt_dtype_name(t->dtype),
                             rapt_dtype_name(extras[i].dtype));
        if (t->rank != extras[i].rank)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s: rank %u, must be %s", name, t->rank, extras[i].shape);
        /* Which axes are there: heads; batch and count; all three. */
        const bool has_batch = t->rank >= 2, has_heads = t->rank != 2, has_count = t->rank >= 2;
        const unsigned head_axis = has_batch ? 1 : 0;
        uint64_t size[3] = {has_batch ? t->size[0] : 1, has_heads ? t->size[head_axis] : 1,
                            has_count ? t->size[t->rank - 1] : 1};
        int64_t stride[3] = {has_batch ? t->stride[0] : 0, has_heads ? t->stride[head_axis] : 0,
                             has_count ? t->stride[t->rank - 1] : 1};
        if ((size[0] != extras[i].batch[0] && size[0] != extras[i].batch[1]) ||
            (size[1] != extras[i].heads[0] && size[1] != extras[i].heads[1]) || size[2] != extras[i].count)
            return rapt_fail(error, RAPT_ERROR_INVALID,
                             "%s: must be %s, with batch %llu, q_heads %llu, kv_heads %llu, nk %llu; axes of %llu, %llu and "
                             "%llu do not fit",
                             name, extras[i].shape, (unsigned long long)batch, (unsigned long long)p->heads_q,
                             (unsigned long long)p->heads_kv, (unsigned long long)nk, (unsigned long long)size[0],
                             (unsigned long long)size[1], (unsigned long long)size[2]);
        uint64_t extent = 1, span;
        for (unsigned axis = 0; axis < 3; axis++) {
            if (size[axis] > 1 && stride[axis] < 0)
                return rapt_fail(error, RAPT_ERROR_INVALID, "%s: negative stride %lld", name, (long long)stride[axis]);
            if (size[axis] > 1 && (!rapt_mul_u64(size[axis] - 1, (uint64_t)stride[axis], &span) ||
                                   !rapt_add_u64(extent, span, &extent) || extent > UINT64_MAX / 8))
                return rapt_fail(error, RAPT_ERROR_INVALID, "%s: the extent overflows 64 bits", name);
        }
        if (size[2] > 1 && stride[2] != 1)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s: stride %lld of its last axis, must be 1", name,
                             (long long)stride[2]);
        if (t->align != 0 && (!rapt_is_pow2(t->align) || t->align < 4))
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s: align %u, must be a power of two, at least 4", name,
                             t->align);
        p->extras |= 1u << i;
        p->extra[i] = (rapt_extra){.batch = size[0],
                                   .heads = size[1],
                                   .count = size[2],
                                   .stride_b = size[0] > 1 ? (uint64_t)stride[0] : 0,
                                   .stride_h = size[1] > 1 ? (uint64_t)stride[1] : 0,
                                   .bytes = size[0] && size[1] && size[2] ? extent * 4 : 0,
                                   .usage = t->usage};
        p->bytes_read = sat_add(p->bytes_read, tensor_traffic(t));
    }
    const int64_t most = (int64_t)RAPT_MAX_SEQUENCE;
    if (((p->extras & (1u << RAPT_X_ALIBI | 1u << RAPT_X_DECAY)) || p->rope_dim > 0) && (d->causal_offset > most || d->causal_offset < -most))
        return rapt_fail(error, RAPT_ERROR_INVALID, "causal_offset is %lld, at most 2^29 with alibi, decay and rope",
                         (long long)d->causal_offset);
    return RAPT_OK;
}

/* Shorter problems gain less by lists of tiles than a pass of its own costs. */
#define LISTED_QUERIES 128u
#define LISTED_KEYS 256u

/* The block mask, an extra vector of its own shape; and whether there are lists of tiles. */
static rapt_status check_blocks(const rapt_attention_desc *d, rapt_problem *p, rapt_error *error)
{
    const rapt_tensor *t = &d->block_mask;
    if ((unsigned)d->tile_lists > RAPT_TILE_LISTS_ALWAYS)
        return rapt_fail(error, RAPT_ERROR_INVALID, "tile_lists is %u, of 3 choices", (unsigned)d->tile_lists);
    p->blocks = t->dtype != RAPT_DTYPE_NONE;
    p->mask_tiles = p->mask_mod && p->grid.rank == 0 && (p->blocks || d->tile_lists == RAPT_TILE_LISTS_ALWAYS ||
                                    (d->tile_lists == RAPT_TILE_LISTS_CHOOSE && p->nq >= LISTED_QUERIES && p->nk >= LISTED_KEYS));
    if (!p->blocks) {
        if (d->block_q != 0 || d->block_k != 0)
            return rapt_fail(error, RAPT_ERROR_INVALID, "block_q and block_k go with block_mask");
        return RAPT_OK;
    }
    if (p->grid.rank > 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "block_mask does not go with a grid");
    if (d->block_q < 1 || d->block_q > RAPT_MAX_SEQUENCE || d->block_k < 1 || d->block_k > RAPT_MAX_SEQUENCE)
        return rapt_fail(error, RAPT_ERROR_INVALID, "block_q is %u and block_k is %u, must be 1 to 2^29", d->block_q,
                         d->block_k);
    if (t->dtype != RAPT_I32 || t->rank != 4)
        return rapt_fail(error, RAPT_ERROR_INVALID, "block_mask is %s of rank %u, must be i32 of rank 4",
                         rapt_dtype_name(t->dtype), t->rank);
    p->block_q = d->block_q;
    p->block_k = d->block_k;
    p->block_pitch = rapt_div_up(p->nk, p->block_k);
    const uint64_t lines = rapt_block_lines(p);
    if ((t->size[0] != p->batch && t->size[0] != 1) || (t->size[1] != p->heads_q && t->size[1] != 1) ||
        t->size[2] != lines || t->size[3] != p->block_pitch)
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         "block_mask: must be (%llu or 1, %llu or 1, %llu, %llu) with blocks of %u x %u; (%llu, %llu, %llu, "
                         "%llu) does not fit",
                         (unsigned long long)p->batch, (unsigned long long)p->heads_q, (unsigned long long)lines,
                         (unsigned long long)p->block_pitch, p->block_q, p->block_k, (unsigned long long)t->size[0],
                         (unsigned long long)t->size[1], (unsigned long long)t->size[2], (unsigned long long)t->size[3]);
    if ((t->size[3] > 1 && t->stride[3] != 1) || (t->size[2] > 1 && t->stride[2] != (int64_t)t->size[3]))
        return rapt_fail(error, RAPT_ERROR_INVALID, "block_mask: strides %lld and %lld of its last axes, must be %llu and 1",
                         (long long)t->stride[2], (long long)t->stride[3], (unsigned long long)t->size[3]);
    uint64_t count, extent, span;
    bool fits = rapt_mul_u64(lines, p->block_pitch, &count);
    extent = fits ? count : 0;
    for (unsigned axis = 0; axis < 2; axis++) {
        if (t->size[axis] > 1 && t->stride[axis] < 0)
            return rapt_fail(error, RAPT_ERROR_INVALID, "block_mask: negative stride %lld", (long long)t->stride[axis]);
        if (t->size[axis] > 1)
            fits = fits && rapt_mul_u64(t->size[axis] - 1, (uint64_t)t->stride[axis], &span) &&
                   rapt_add_u64(extent, span, &extent) && extent <= UINT64_MAX / 8;
    }
    if (!fits)
        return rapt_fail(error, RAPT_ERROR_INVALID, "block_mask: the extent overflows 64 bits");
    if (t->align != 0 && (!rapt_is_pow2(t->align) || t->align < 4))
        return rapt_fail(error, RAPT_ERROR_INVALID, "block_mask: align %u, must be a power of two, at least 4", t->align);
    p->extra[RAPT_X_BLOCKS] = (rapt_extra){.batch = t->size[0],
                                           .heads = t->size[1],
                                           .count = count,
                                           .stride_b = t->size[0] > 1 ? (uint64_t)t->stride[0] : 0,
                                           .stride_h = t->size[1] > 1 ? (uint64_t)t->stride[1] : 0,
                                           .bytes = t->size[0] && t->size[1] && count ? extent * 4 : 0,
                                           .usage = t->usage};
    p->bytes_read = sat_add(p->bytes_read, tensor_traffic(t));
    return RAPT_OK;
}

rapt_status rapt_attention_problem(const rapt_attention_desc *desc, rapt_problem *p, rapt_error *error)
{
    memset(p, 0, sizeof *p);
    if (desc == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "the attention descriptor is NULL");
    if (desc->struct_size < sizeof(rapt_attention_desc))
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         "rapt_attention_desc.struct_size is %u, expected %zu (use RAPT_ATTENTION_DESC_INIT)",
                         desc->struct_size, sizeof(rapt_attention_desc));
    const uint32_t known = RAPT_ATTENTION_CAUSAL | RAPT_ATTENTION_SCALE | RAPT_ATTENTION_BATCH_TUNED |
                           RAPT_ATTENTION_WINDOW | RAPT_ATTENTION_QK_NORM | RAPT_ATTENTION_ROPE_INTERLEAVED;
    if (desc->flags & ~known)
        return rapt_fail(error, RAPT_ERROR_INVALID, "unknown attention flags 0x%x", desc->flags & ~known);
    const rapt_tensor *tensors[RAPT_T_COUNT] = {&desc->q,    &desc->k,    &desc->v,        &desc->out,    &desc->lse,
                                                &desc->gate, &desc->bias, &desc->col_sums, &desc->row_max};
    rapt_dtype dtype = desc->q.dtype;
    if (dtype != RAPT_F32 && dtype != RAPT_F16 && dtype != RAPT_BF16)
        return rapt_fail(error, RAPT_ERROR_INVALID, "q: dtype %s, must be f32, f16 or bf16", rapt_dtype_name(dtype));
    p->k_format = rapt_dtype_is_quantised(desc->k.dtype) ? desc->k.dtype : RAPT_DTYPE_NONE;
    p->v_format = rapt_dtype_is_quantised(desc->v.dtype) ? desc->v.dtype : RAPT_DTYPE_NONE;
    for (unsigned i = 1; i < RAPT_T_LSE; i++)
        if (tensors[i]->dtype != dtype && !(i == RAPT_T_K && p->k_format) && !(i == RAPT_T_V && p->v_format))
            return rapt_fail(error, RAPT_ERROR_INVALID, "q is %s but %s is %s: one dtype for all",
                             rapt_dtype_name(dtype), tensor_names[i], rapt_dtype_name(tensors[i]->dtype));
    p->lse = desc->lse.dtype != RAPT_DTYPE_NONE;
    p->gate = desc->gate.dtype != RAPT_DTYPE_NONE;
    p->gate_by_row = p->gate && desc->gate.stride[3] == 0;
    if (p->gate && desc->gate.dtype != dtype)
        return rapt_fail(error, RAPT_ERROR_INVALID, "gate is %s, must be %s as q", rapt_dtype_name(desc->gate.dtype),
                         rapt_dtype_name(dtype));
    p->bias = desc->bias.dtype != RAPT_DTYPE_NONE;
    for (unsigned i = 0; i < RAPT_T_COUNT; i++) {
        if (i >= RAPT_T_LSE && tensors[i]->dtype == RAPT_DTYPE_NONE)
            continue;
        const bool vector = i == RAPT_T_LSE || i >= RAPT_T_COL_SUMS;
        rapt_status status =
            rapt_tensor_check(tensors[i], tensor_names[i], vector ? 3 : 4, i == RAPT_T_OUT || vector, error);
        if (status != RAPT_OK)
            return status;
    }
    rapt_status status = rapt_problem_pages(desc, p, error);
    if (status == RAPT_OK)
        status = check_shapes(desc, error);
    if (status != RAPT_OK)
        return status;

    p->dtype = dtype;
    p->causal = desc->flags & RAPT_ATTENTION_CAUSAL;
    p->batch_tuned = desc->flags & RAPT_ATTENTION_BATCH_TUNED;
    p->batch = desc->q.size[0];
    p->heads_q = desc->q.size[1];
    p->heads_kv = desc->k.size[1];
    p->heads_out = desc->out.size[1];
    p->total_q = p->nq = desc->q.size[2];
    if (!p->paged)
        p->nk = desc->k.size[2];
    p->total_k = p->nk;
    p->head_dim_qk = (uint32_t)desc->q.size[3];
    p->head_dim_v = (uint32_t)desc->out.size[3];
    p->bounded_q = p->bounded_k = true;
    if (desc->sequences > 0) {
        if (p->batch != 1)
            return rapt_fail(error, RAPT_ERROR_INVALID, "packed sequences need batch 1, not %llu",
                             (unsigned long long)p->batch);
        if (desc->sequences > 1u << 30)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%u sequences, at most %u", desc->sequences, 1u << 30);
        p->varlen = true;
        p->batch = desc->sequences;
        p->bounded_q = desc->max_seqlen_q != 0;
        p->bounded_k = desc->max_seqlen_k != 0;
        if (p->bounded_q)
            p->nq = RAPT_MIN(p->nq, desc->max_seqlen_q);
        if (p->bounded_k)
            p->nk = RAPT_MIN(p->nk, desc->max_seqlen_k);
    } else if (desc->max_seqlen_q || desc->max_seqlen_k) {
        return rapt_fail(error, RAPT_ERROR_INVALID, "max_seqlen_q and max_seqlen_k go with packed sequences");
    }
    p->group = p->heads_kv && p->heads_out % p->heads_kv == 0 ? p->heads_out / p->heads_kv : 1;
    for (unsigned i = 0; i < RAPT_T_COUNT; i++) {
        if (i >= RAPT_T_LSE && tensors[i]->dtype == RAPT_DTYPE_NONE)
            continue;
        const rapt_tensor *t = tensors[i];
        for (unsigned axis = 0; axis < 3; axis++)
            p->stride[i][axis] = t->size[axis] > 1 ? (uint64_t)t->stride[axis] : 0;
        p->bytes[i] = rapt_tensor_bytes(t);
        p->align[i] = t->align ? t->align : 16;
        p->usage[i] = t->usage;
    }
    p->empty = p->bytes[RAPT_T_OUT] == 0;
    const int64_t limit = (int64_t)RAPT_MAX_SEQUENCE;
    status = check_window(desc, p, error);
    if (status != RAPT_OK)
        return status;
    status = check_grid(desc, p, error);
    if (status != RAPT_OK)
        return status;
    const bool placed =
        p->causal || p->window || desc->alibi.dtype != RAPT_DTYPE_NONE || desc->relative.dtype != RAPT_DTYPE_NONE ||
        desc->decay.dtype != RAPT_DTYPE_NONE || desc->rope_base != 0.0;
    p->causal_offset =
        placed ? (int32_t)RAPT_MAX(-limit, RAPT_MIN(limit, desc->causal_offset)) : 0;
    p->soft_cap = desc->soft_cap;
    if (!isfinite(p->soft_cap) || p->soft_cap < 0.0f)
        return rapt_fail(error, RAPT_ERROR_INVALID, "soft_cap %g, must be positive, or 0 for none",
                         (double)p->soft_cap);
    if ((unsigned)desc->link >= RAPT_LINK_COUNT)
        return rapt_fail(error, RAPT_ERROR_INVALID, "link is %u, of %u links", (unsigned)desc->link,
                         (unsigned)RAPT_LINK_COUNT);
    p->link = desc->link;
    if (desc->sinks.dtype != RAPT_DTYPE_NONE && p->link != RAPT_LINK_SOFTMAX && p->link != RAPT_LINK_SIGNED &&
        !rapt_link_two_passes(p->link))
        return rapt_fail(error, RAPT_ERROR_INVALID, "sinks join a denominator of their own: not with link %s",
                         rapt_link_name((rapt_link)p->link));
    if (p->link == RAPT_LINK_CLIPPED) {
        const float gamma = desc->link_gamma, zeta = desc->link_zeta;
        if (!isfinite(gamma) || !isfinite(zeta) || gamma > 0.0f || zeta < 1.0f)
            return rapt_fail(error, RAPT_ERROR_INVALID, "link_gamma %g and link_zeta %g: at most 0, and at least 1",
                             (double)gamma, (double)zeta);
        p->link_offset = gamma;
        p->link_range = zeta - gamma;
    }
    if (p->link == RAPT_LINK_AFFINE) {
        p->link_range = desc->link_alpha;
        p->link_offset = desc->link_beta;
        if (!isfinite(p->link_range) || !isfinite(p->link_offset))
            return rapt_fail(error, RAPT_ERROR_INVALID, "link_alpha %g and link_beta %g must be finite",
                             (double)p->link_range, (double)p->link_offset);
    }
    if (rapt_link_two_passes(p->link) && !p->lse) /* what the first pass leaves to the second */
        rapt_problem_hide_lse(p);
    status = check_user(desc, p, error);
    if (status != RAPT_OK)
        return status;
    p->scale = desc->flags & RAPT_ATTENTION_SCALE ? desc->scale : 1.0f / sqrtf((float)p->head_dim_qk);
    if (!isfinite(p->scale))
        return rapt_fail(error, RAPT_ERROR_INVALID, "scale is not finite");
    status = rapt_problem_prepare(desc, p, error);
    if (status != RAPT_OK)
        return status;
    p->key_splits = desc->key_splits;
    if (desc->slice_ms < 0.0f || !isfinite(desc->slice_ms))
        return rapt_fail(error, RAPT_ERROR_INVALID, "slice_ms %g, must be positive", (double)desc->slice_ms);
    p->slice_ms = desc->slice_ms > 0.0f ? desc->slice_ms : 50.0f;
    if (desc->kernel != NULL) {
        if (strlen(desc->kernel) >= sizeof p->kernel)
            return rapt_fail(error, RAPT_ERROR_INVALID, "the kernel name is longer than %zu characters",
                             sizeof p->kernel - 1);
        memcpy(p->kernel, desc->kernel, strlen(desc->kernel));
    }

    uint64_t pairs = p->varlen ? sat_mul(p->total_q, p->nk)
                     : p->grid.rank > 0 ? sat_mul(p->batch, rapt_grid_pairs(&p->grid))
                               : sat_mul(p->batch, rapt_visible_pairs(p, p->nq, p->nk, p->causal_offset));
    pairs = sat_mul(pairs, p->heads_out);
    p->flops = sat_mul(pairs, 2ull * ((p->prepared ? p->source_dim : p->head_dim_qk) + p->head_dim_v));
    uint64_t keys = sat_add(tensor_traffic(&desc->k), tensor_traffic(&desc->v));
    if (p->paged) /* what is visited, however large the pool */
        keys = sat_mul(sat_mul(sat_mul(p->batch, p->heads_kv), p->nk),
                       rapt_problem_row(p, RAPT_T_K) * RAPT_T_ELEMENT(p, RAPT_T_K) +
                           rapt_problem_row(p, RAPT_T_V) * RAPT_T_ELEMENT(p, RAPT_T_V));
    if (p->window && !p->varlen && p->nk > 0) /* those that some query sees */
        keys = (uint64_t)((double)keys * (double)visible_keys(p) / (double)p->nk);
    p->bytes_read = sat_add(sat_add(tensor_traffic(&desc->q), p->gate ? tensor_traffic(&desc->gate) : 0), keys);
    p->bytes_written = sat_add(tensor_traffic(&desc->out), p->lse ? tensor_traffic(&desc->lse) : 0);
    if (p->bias)
        p->bytes_read = sat_add(p->bytes_read, tensor_traffic(&desc->bias));
    if (p->rank > 0)
        p->bytes_read = sat_add(p->bytes_read, sat_add(tensor_traffic(&desc->bias_u), tensor_traffic(&desc->bias_v)));
    status = check_extras(desc, p, error);
    if (status == RAPT_OK)
        status = rapt_problem_places(desc, p, error);
    p->bytes_read = sat_add(p->bytes_read, tensor_traffic(&desc->relative));
    if (status == RAPT_OK)
        status = check_blocks(desc, p, error);
    return status == RAPT_OK ? rapt_problem_margins(desc, p, error) : status;
}
