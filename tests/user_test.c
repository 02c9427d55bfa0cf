/* Code of an app in the kernels, against the same in C; and code that means no good. RAPT_TEST_COMPILER is
 * librapt_compiler. RAPT_TEST_USER_CASES: how many random compositions (3), RAPT_TEST_USER_SEED: of which seed; RAPT_TEST_FEW: see support.h. */
#include "rig.h"

#include "check/user.h"
#include "compiler/user.h"
#include "kernel/kernel.h"
#include "plan/plan.h"

#include <math.h>

static rig the_rig;

#define SLOPES 5
#define TOKENS 300

static float slopes[SLOPES];
static int32_t document[TOKENS];

/* ---- snippets, and the same in C ---- */

typedef struct score_snippet {
    const char *text;
    double (*mod)(double score, uint64_t b, uint64_t h, uint64_t q, uint64_t k);
} score_snippet;

typedef struct mask_snippet {
    const char *text;
    bool (*mod)(uint64_t b, uint64_t h, uint64_t q, uint64_t k);
} mask_snippet;

#define CAP 1.5
#define PREFIX 9

static double soft_cap(double s, uint64_t b, uint64_t h, uint64_t q, uint64_t k)
{
    (void)b, (void)h, (void)q, (void)k;
    return CAP * tanh(s / CAP);
}

static double alibi(double s, uint64_t b, uint64_t h, uint64_t q, uint64_t k)
{
    (void)b;
    return s - (double)slopes[h < SLOPES ? h : SLOPES - 1] * fabs((double)q - (double)k);
}

static double buckets(double s, uint64_t b, uint64_t h, uint64_t q, uint64_t k)
{
    uint64_t distance = q > k ? q - k : k - q;
    double table[4] = {0.5, 0.25, -0.25, -0.5};
    int bucket = 0;
    while (distance > 1) {
        distance /= 2;
        bucket++;
    }
    return s + table[bucket < 3 ? bucket : 3] * (double)(1 + h % 2) - 0.125 * (double)b;
}

static double lowered(double s, uint64_t b, uint64_t h, uint64_t q, uint64_t k)
{
    (void)b, (void)h;
    return (q + k) % 3 == 0 ? -(double)INFINITY : s;
}

static const score_snippet scores[] = {
    {"float score_mod(float score, uint b, uint h, uint q, uint k)\n"
     "{\n"
     "    return user_f(0) * tanh(score / user_f(0)); // Gemma's\n"
     "}\n",
     soft_cap},
    {"float score_mod(float score, uint b, uint h, uint q, uint k)\n"
     "{ return score - slopes(h) * abs(float(q) - float(k)); }",
     alibi},
    {"const float table[4] = float[4](0.5, 0.25, -0.25, -0.5);\n"
     "int bucket_of(uint distance)\n"
     "{\n"
     "    int bucket = 0;\n"
     "    while (distance > 1u) { distance /= 2u; bucket++; }\n"
     "    return bucket; /* not below 4: the index is clamped */\n"
     "}\n"
     "float score_mod(float s, uint b, uint h, uint q, uint k)\n"
     "{\n"
     "    uint distance = q > k ? q - k : k - q;\n"
     "    float local[4];\n"
     "    for (int i = 0; i < 4; i++)\n"
     "        local[i] = table[i] * float(1u + h % 2u);\n"
     "    return s + local[bucket_of(distance)] - 0.125 * float(b);\n"
     "}\n",
     buckets},
    {"float score_mod(float score, uint b, uint h, uint q, uint k)\n"
     "{ return (q + k) % 3u == 0u ? -1.0 / 0.0 : score; }",
     lowered},
};

static bool causal(uint64_t b, uint64_t h, uint64_t q, uint64_t k)
{
    (void)b, (void)h;
    return k <= q;
}

static int32_t document_of(uint64_t i)
{
    return document[i < TOKENS ? i : TOKENS - 1];
}

static bool same_document(uint64_t b, uint64_t h, uint64_t q, uint64_t k)
{
    (void)b, (void)h;
    return document_of(q) == document_of(k);
}

static bool prefix(uint64_t b, uint64_t h, uint64_t q, uint64_t k)
{
    (void)b, (void)h;
    return k <= q || k < PREFIX;
}

static bool window_2d(uint64_t b, uint64_t h, uint64_t q, uint64_t k)
{
    int x = abs((int)(q % 8) - (int)(k % 8)), y = abs((int)(q / 8) - (int)(k / 8));
    return x <= 2 + (int)(h % 2) && y <= 3 + (int)b;
}

static bool some_for_nobody(uint64_t b, uint64_t h, uint64_t q, uint64_t k)
{
    (void)b, (void)h, (void)q;
    return k % 5 != 3;
}

static const mask_snippet masks[] = {
    {"bool mask_mod(uint b, uint h, uint q, uint k) { return k <= q; }", causal},
    {"bool mask_mod(uint b, uint h, uint q, uint k) { return document(q) == document(k); }", same_document},
    {"bool mask_mod(uint b, uint h, uint q, uint k) { return k <= q || float(k) < user_f(1); }", prefix},
    {"bool mask_mod(uint b, uint h, uint q, uint k)\n"
     "{\n"
     "    ivec2 at = ivec2(q % 8u, q / 8u), other = ivec2(k % 8u, k / 8u);\n"
     "    ivec2 far = abs(at - other);\n"
     "    return far.x <= 2 + int(h % 2u) && far.y <= 3 + int(b);\n"
     "}\n",
     window_2d},
    {"bool mask_mod(uint b, uint h, uint q, uint k) { return k % 5u != 3u; }", some_for_nobody},
};

/* ---- compositions ---- */

typedef struct composition {
    rapt_check_user user; /* first */
    unsigned scores[2], masks[2], score_count, mask_count;
} composition;

static double composed_score(const rapt_check_user *user, double s, uint64_t b, uint64_t h, uint64_t q, uint64_t k)
{
    const composition *c = (const composition *)user;
    for (unsigned i = 0; i < c->score_count; i++)
        s = scores[c->scores[i]].mod(s, b, h, q, k);
    return s;
}

static bool composed_mask(const rapt_check_user *user, uint64_t b, uint64_t h, uint64_t q, uint64_t k)
{
    const composition *c = (const composition *)user;
    bool seen = true;
    for (unsigned i = 0; i < c->mask_count; i++)
        seen = seen && masks[c->masks[i]].mod(b, h, q, k);
    return seen;
}

/* Up to two of each kind; the rest of the composition follows from which. */
static composition compose(const unsigned *score, unsigned score_count, const unsigned *mask, unsigned mask_count)
{
    composition c = {.score_count = score_count, .mask_count = mask_count};
    unsigned buffers = 0;
    bool wants_slopes = false, wants_document = false;
    for (unsigned i = 0; i < score_count; i++) {
        c.scores[i] = score[i];
        c.user.score_text[i] = scores[score[i]].text;
        wants_slopes |= scores[score[i]].mod == alibi;
    }
    for (unsigned i = 0; i < mask_count; i++) {
        c.masks[i] = mask[i];
        c.user.mask_text[i] = masks[mask[i]].text;
        wants_document |= masks[mask[i]].mod == same_document;
    }
    if (wants_document) {
        c.user.buffers[buffers] = (rapt_user_buffer){"document", RAPT_I32, TOKENS};
        c.user.data[buffers++] = document;
    }
    if (wants_slopes) {
        c.user.buffers[buffers] = (rapt_user_buffer){"slopes", RAPT_F32, SLOPES};
        c.user.data[buffers++] = slopes;
    }
    c.user.constants[0] = (float)CAP;
    c.user.constants[1] = (float)PREFIX;
    c.user.score_mod = score_count ? composed_score : NULL;
    c.user.mask_mod = mask_count ? composed_mask : NULL;
    return c;
}

static void open_rig(const char *mask)
{
    rig_open(&the_rig, &(rig_options){.mask = mask, .compiler = getenv("RAPT_TEST_COMPILER")});
}

static int fill_tables(void **state)
{
    (void)state;
    for (int i = 0; i < SLOPES; i++)
        slopes[i] = (float)ldexp(1, -i - 1);
    for (int i = 0; i < TOKENS; i++)
        document[i] = i / 23 - 1;
    return 0;
}

static rapt_case base_case(rapt_dtype dtype)
{
    return (rapt_case){.name = "user", .batch = 2, .q_heads = 4, .kv_heads = 2, .nq = 70, .nk = 90, .d_qk = 32, .d_v = 32,
                       .dtype = dtype, .seed = 11};
}

/* ---- tests ---- */

static void test_each_snippet(void **state)
{
    (void)state;
    open_rig(NULL);
    rapt_case c = base_case(RAPT_F32);
    for (unsigned i = 0; i < RAPT_COUNT(scores); i++) {
        if (!test_takes(i))
            continue;
        composition u = compose(&i, 1, NULL, 0);
        snprintf(c.name, sizeof c.name, "score_mod %u", i);
        assert_int_equal(rig_try_user(&the_rig, &c, &u.user, NULL, 1).verdict, RAPT_CHECK_PASS);
    }
    c.input = RAPT_INPUT_POISONED; /* NaN where a mask hides a key from everyone */
    for (unsigned i = 0; i < RAPT_COUNT(masks); i++) {
        if (!test_takes(i))
            continue;
        composition u = compose(NULL, 0, &i, 1);
        snprintf(c.name, sizeof c.name, "mask_mod %u", i);
        assert_int_equal(rig_try_user(&the_rig, &c, &u.user, NULL, 1).verdict, RAPT_CHECK_PASS);
        u.user.tile_lists = RAPT_TILE_LISTS_ALWAYS;
        snprintf(c.name, sizeof c.name, "mask_mod %u by lists of tiles", i);
        assert_int_equal(rig_try_user(&the_rig, &c, &u.user, NULL, 1).verdict, RAPT_CHECK_PASS);
    }
    rig_close(&the_rig);
}

/* The first row of each family and storage type that the device runs. */
static void test_rows(void **state)
{
    (void)state;
    const rapt_kernel_table *table = rapt_kernels();
    bool done[RAPT_FAMILY_COUNT][RAPT_BF16 + 1] = {{false}};
    unsigned ran = 0;
    open_rig(NULL);
    composition u = compose((const unsigned[]){1}, 1, (const unsigned[]){4}, 1);
    u.user.tile_lists = RAPT_TILE_LISTS_ALWAYS;
    for (uint32_t i = 0; i < table->row_count; i++) {
        const rapt_kernel_row *row = &table->rows[i];
        rapt_dtype dtype = row->dtypes >> RAPT_F32 & 1 ? RAPT_F32 : row->dtypes >> RAPT_F16 & 1 ? RAPT_F16 : RAPT_BF16;
        if (!rapt_family_has_score_mod((rapt_family)row->family) || done[row->family][dtype] ||
            rapt_quirk(row, &the_rig.device->caps) != NULL)
            continue;
        rapt_case c = base_case(dtype);
        c.input = RAPT_INPUT_POISONED;
        c.nq = row->nq_max ? 1 : c.nq;
        const rapt_result r = rig_try_user(&the_rig, &c, &u.user, row->name, 0);
        if (r.verdict == RAPT_CHECK_REFUSED && strstr(r.error.message, "score_mod"))
            fail_msg("%s", r.error.message);
        if (r.verdict != RAPT_CHECK_PASS)
            continue;
        done[row->family][dtype] = true;
        ran++;
    }
    assert_true(ran >= 2);
    rig_close(&the_rig);
}

/* Rows of matrix units, where scores and keys reach the code by way of shared memory. Skipped where none is built in, the device has no
 * such matrices, or the compiler's glslang does not know them. */
static void test_matrix_rows(void **state)
{
    (void)state;
    const rapt_kernel_table *table = rapt_kernels();
    const unsigned lists[] = {2, 3}, masks_of[] = {1, 4};
    unsigned ran = 0;
    open_rig(NULL);
    for (unsigned n = 0; n < 3; n++) {
        composition u = compose(lists, n == 0 ? 0 : n, masks_of, n == 1 ? 0 : 2);
        rapt_case c = base_case(RAPT_F16);
        c.input = n == 1 ? RAPT_INPUT_NORMAL : RAPT_INPUT_POISONED;
        c.link = n == 1 ? RAPT_LINK_SIGMOID : RAPT_LINK_SOFTMAX;
        c.alibi = c.decay = n == 1;
        c.sinks = n == 2;
        c.key_splits = n == 2 ? 2 : 0;
        for (uint32_t i = 0; i < table->row_count; i++) {
            const rapt_kernel_row *row = &table->rows[i];
            if (row->family != RAPT_FAMILY_COOPMAT || row->head_dim_qk_max > 64)
                continue;
            snprintf(c.name, sizeof c.name, "composition %u of matrix rows", n);
            const rapt_result r = rig_try_user(&the_rig, &c, &u.user, row->name, 1);
            if (r.verdict == RAPT_CHECK_REFUSED && strstr(r.error.message, "has no place"))
                fail_msg("%s", r.error.message);
            ran += r.verdict == RAPT_CHECK_PASS;
        }
    }
    rig_close(&the_rig);
    if (ran == 0)
        skip();
    print_message("  %u cases\n", ran);
}

/* Code of an app beside extra vectors, and before each link; both passes of the clipped one have it, and a gate follows. */
static void test_vectors_and_links(void **state)
{
    (void)state;
    static const char *const rows[] = {NULL, "naive-f32"};
    open_rig(NULL);
    composition u = compose((const unsigned[]){1, 3}, 2, (const unsigned[]){3}, 1);
    for (unsigned link = 0; link < RAPT_LINK_COUNT; link++) {
        const unsigned i = link % 2; /* each compilation takes seconds on software devices */
        if (!test_takes(link))
            continue;
        rapt_case c = base_case(RAPT_F32);
        c.link = (rapt_link)link;
        c.sinks = link == RAPT_LINK_SOFTMAX || link == RAPT_LINK_SIGNED || link >= RAPT_LINK_CLIPPED;
        c.key_bias = (uint8_t)(1 + link % 3);
        c.bias = (uint8_t)(link % 4);
        c.segments = link % 2 ? 3 : 0;
        c.alibi = link % 4 < 2;
        c.gate = link > 2;
        c.input = link < RAPT_LINK_SIGMOID && i == 0 ? RAPT_INPUT_POISONED : RAPT_INPUT_NORMAL;
        snprintf(c.name, sizeof c.name, "score_mod, mask_mod and link %u", link);
        const rapt_result result = rig_try_user(&the_rig, &c, &u.user, rows[i], 1);
        if (result.verdict != RAPT_CHECK_PASS)
            fail_msg("%s: %s", c.name, result.error.message);
    }
    rig_close(&the_rig);
}

/* Plans of any kind: packed sequences, split keys, every layout, lowered devices. */
static void random_case(rapt_random *random, rapt_case *c)
{
    *c = base_case((rapt_dtype)(RAPT_F32 + rapt_random_below(random, 3)));
    c->seed = rapt_random_next(random);
    c->kv_heads = 1 + rapt_random_below(random, 2);
    c->q_heads = c->kv_heads * (1 + rapt_random_below(random, 2));
    c->nq = 1 + rapt_random_below(random, 100);
    c->nk = 1 + rapt_random_below(random, 200);
    c->d_qk = rapt_random_below(random, 2) ? 32 : 1 + rapt_random_below(random, 40);
    c->d_v = rapt_random_below(random, 2) ? c->d_qk : 1 + rapt_random_below(random, 40);
    c->causal = rapt_random_below(random, 3) == 0;
    c->window = rapt_random_below(random, 4) == 0;
    c->window_left = c->window ? (int64_t)rapt_random_below(random, 40) : 0;
    c->window_right = c->window ? (int64_t)rapt_random_below(random, 40) : 0;
    c->soft_cap = rapt_random_below(random, 4) == 0 ? 2.0f : 0.0f;
    c->key_splits = (uint32_t)rapt_random_below(random, 3);
    c->input = rapt_random_below(random, 2) ? RAPT_INPUT_POISONED : RAPT_INPUT_NORMAL;
    c->layout = rapt_random_below(random, 3) ? RAPT_LAYOUT_BHND : RAPT_LAYOUT_ODD;
    if (rapt_random_below(random, 3) == 0) {
        c->batch = 1;
        c->sequences = 3;
        c->nq = c->nk = 0;
        for (unsigned s = 0; s < c->sequences; s++) {
            c->nq += c->length_q[s] = (uint32_t)rapt_random_below(random, 40);
            c->nk += c->length_k[s] = (uint32_t)rapt_random_below(random, 60);
        }
    }
    c->link = rapt_random_below(random, 3) == 0 ? (rapt_link)rapt_random_below(random, RAPT_LINK_COUNT) : RAPT_LINK_SOFTMAX;
    c->key_splits = c->link >= RAPT_LINK_CLIPPED ? 0 : c->key_splits;
    c->sinks = c->link == RAPT_LINK_SOFTMAX ? (uint8_t)rapt_random_below(random, 3) : 0;
    c->key_bias = rapt_random_below(random, 3) == 0 ? (uint8_t)rapt_random_below(random, 4) : 0;
    c->bias = c->sequences == 0 && rapt_random_below(random, 3) == 0 ? (uint8_t)rapt_random_below(random, 4) : 0;
    c->segments = rapt_random_below(random, 4) == 0 ? 3 : 0;
    c->alibi = rapt_random_below(random, 4) == 0;
    c->gate = rapt_random_below(random, 4) == 0;
    if (rapt_random_below(random, 3) == 0) {
        c->blocks = 1 + (uint8_t)rapt_random_below(random, 3);
        c->block_q = 1 + (uint32_t)rapt_random_below(random, 50);
        c->block_k = 1 + (uint32_t)rapt_random_below(random, 50);
    }
}

static void test_random(void **state)
{
    (void)state;
    static const char *const devices[] = {NULL, "floor", "no-subgroup", "no-16bit,no-fp16", "no-texel"};
    const char *count = getenv("RAPT_TEST_USER_CASES"), *seed = getenv("RAPT_TEST_USER_SEED");
    rapt_random random = {seed ? strtoull(seed, NULL, 10) : 20261126};
    const unsigned total = count ? (unsigned)atoi(count) : 3;
    for (unsigned n = 0; n < total; n++) {
        rapt_case c;
        random_case(&random, &c);
        unsigned score[2], mask[2];
        const unsigned score_count = (unsigned)rapt_random_below(&random, 3);
        const unsigned mask_count = (unsigned)rapt_random_below(&random, 3) + (score_count == 0);
        for (unsigned i = 0; i < 2; i++) {
            score[i] = (unsigned)rapt_random_below(&random, RAPT_COUNT(scores));
            mask[i] = (unsigned)rapt_random_below(&random, RAPT_COUNT(masks));
        }
        composition u = compose(score, score_count, mask, RAPT_MIN(mask_count, 2));
        u.user.tile_lists = (rapt_tile_lists)rapt_random_below(&random, 3);
        const char *device = devices[rapt_random_below(&random, RAPT_COUNT(devices))];
        snprintf(c.name, sizeof c.name, "composition %u of seed %s on %s", n, seed ? seed : "20261126",
                 device ? device : "the device");
        open_rig(device);
        const rapt_result r = rig_try_user(&the_rig, &c, &u.user, NULL, 1);
        if (r.verdict == RAPT_CHECK_REFUSED && !strstr(r.error.message, "storage buffers"))
            fail_msg("%s: %s", c.name, r.error.message);
        rig_close(&the_rig);
    }
}

/* The second app's code on a row needs no probe; the same code again is not compiled. */
static void test_caches(void **state)
{
    (void)state;
    char folder[512];
    rig_folder(folder, "user-cache");
    rapt_case c = base_case(RAPT_F32);
    for (unsigned round = 0; round < 2; round++) {
        rig_open(&the_rig, &(rig_options){.cache_dir = folder, .compiler = getenv("RAPT_TEST_COMPILER")});
        for (unsigned i = 0; i < 2; i++) {
            composition u = compose(&i, 1, NULL, 0);
            assert_int_equal(rig_try_user(&the_rig, &c, &u.user, NULL, 0).verdict, RAPT_CHECK_PASS);
        }
        assert_int_equal(rig_logged(&the_rig, "probe of"), round == 0 ? 1 : 0);
        assert_int_equal(rig_logged(&the_rig, "app's code: compiled"), round == 0 ? 3 : 0);
        assert_int_equal(rig_logged(&the_rig, "app's code: found"), round == 0 ? 0 : 2);
        rig_close(&the_rig);
    }
    rig_remove_folder(folder);
}

static rapt_attention_desc plain_desc(void)
{
    return rig_desc(RAPT_F32, 1, 2, 2, 20, 20, 32, false);
}

static rapt_status try_plan(rapt_device *device, const rapt_attention_desc *d, rapt_error *error)
{
    rapt_plan *plan;
    rapt_status status = rapt_attention_plan(device, d, &plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(plan, error);
    rapt_plan_destroy(&plan);
    return status;
}

static void test_refusals(void **state)
{
    (void)state;
    open_rig("floor");
    rapt_attention_desc d = plain_desc();
    d.user[0] = (rapt_user_buffer){"a", RAPT_F32, 4};
    RIG_FAILS(try_plan(the_rig.device, &d, error), RAPT_ERROR_INVALID, "go with score_mod or mask_mod");
    d.score_mod[0] = scores[0].text;
    d.user[1] = (rapt_user_buffer){"a", RAPT_F32, 4};
    RIG_FAILS(try_plan(the_rig.device, &d, error), RAPT_ERROR_INVALID, "two user buffers are named 'a'");
    d.user[1].name = "tanh";
    RIG_FAILS(try_plan(the_rig.device, &d, error), RAPT_ERROR_INVALID, "'tanh' is no name");
    d.user[1] = (rapt_user_buffer){"b", RAPT_F16, 4};
    RIG_FAILS(try_plan(the_rig.device, &d, error), RAPT_ERROR_INVALID, "'b' is f16");
    d.user[1] = (rapt_user_buffer){"b", RAPT_I32, 0};
    RIG_FAILS(try_plan(the_rig.device, &d, error), RAPT_ERROR_INVALID, "'b' has 0 elements");
    for (int i = 1; i < 4; i++)
        d.user[i] = (rapt_user_buffer){&"b\0c\0d"[2 * (i - 1)], RAPT_I32, 4};
    RIG_FAILS(try_plan(the_rig.device, &d, error), RAPT_ERROR_UNSUPPORTED,
              "needs 9 storage buffers with those of the user, the device has 8");
    d.user[3].name = NULL; /* one less, but the vector of sinks */
    d.sinks = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {2}, .stride = {1}};
    RIG_FAILS(try_plan(the_rig.device, &d, error), RAPT_ERROR_UNSUPPORTED,
              "needs 9 storage buffers with those of the user, the device has 8");
    d.sinks.dtype = RAPT_DTYPE_NONE;
    d.score_mod[2] = scores[0].text;
    RIG_FAILS(try_plan(the_rig.device, &d, error), RAPT_ERROR_INVALID, "score_mod[2] is given");
    d = plain_desc();
    d.mask_mod[0] = "bool mask_mod(uint b, uint h, uint q, uint k)\n{\n  return missing(q);\n}\n";
    RIG_FAILS(try_plan(the_rig.device, &d, error), RAPT_ERROR_INVALID, "mask_mod:3: error: 'missing'");
    rig_close(&the_rig);

    rig_open(&the_rig, &(rig_options){.compiler = ""});
    d = plain_desc();
    d.score_mod[0] = scores[0].text;
    RIG_FAILS(try_plan(the_rig.device, &d, error), RAPT_ERROR_UNSUPPORTED, "run-time compilation is turned off");
    rig_close(&the_rig);
}

/* The corpus's files that pass the checker: the compiler takes them, or has words and the place. */
static void compile_file(const char *path, void *user)
{
    unsigned *count = user;
    const char *name = strrchr(path, '/') + 1;
    const bool mask = strncmp(name, "mask_", 5) == 0;
    void *data;
    size_t size;
    rapt_allocator a = rapt_allocator_default();
    RIG_OK(rapt_file_read(&a, path, 1 << 20, &data, &size, error));
    char *text = calloc(size + 1, 1);
    memcpy(text, data, size);
    rapt_free(&a, data, size);
    rapt_attention_desc d = plain_desc();
    *(mask ? d.mask_mod : d.score_mod) = text;
    d.user[0] = (rapt_user_buffer){"slopes", RAPT_F32, SLOPES};
    rapt_user_code *code;
    const rapt_compiler_api *api;
    const bool compiles = strncmp(text, "// passes\n", 10) == 0;
    if (compiles || strncmp(text, "// compile: ", 12) == 0) {
        char words[128] = "";
        RIG_OK(rapt_user_code_make(&a, &d, (rapt_user_operands){false, false, false}, &code, error));
        RIG_OK(rapt_runtime_compiler(the_rig.runtime, &api, error));
        char defines[160];
        snprintf(defines, sizeof defines, "-DDTYPE=1 %s", code->defines);
        const rapt_compile_request request = {.source_name = "naive/naive.comp",
                                              .defines = defines,
                                              .files = code->files,
                                              .file_count = code->file_count};
        uint32_t *spirv;
        size_t length;
        rapt_error error = {0};
        const rapt_status status = api->compile(&a, &request, &spirv, &length, NULL, &error);
        rapt_snippet_unprefix(error.message);
        if (!compiles)
            sscanf(text, "// compile: %127[^\n]", words);
        char *place = strstr(words, ": "); /* "LINE: words" is ":LINE: error: words" */
        char line[32] = "";
        if (place)
            snprintf(line, sizeof line, ":%.*s: error:", (int)(place - words), words);
        if (status != (compiles ? RAPT_OK : RAPT_ERROR_COMPILE) || !strstr(error.message, line) ||
            !strstr(error.message, place ? place + 2 : words))
            fail_msg("%s: %s: \"%s\", expected \"%s\"", name, rapt_status_name(status), error.message, words);
        rapt_free(&a, spirv, length * sizeof *spirv);
        rapt_user_code_free(&code);
        ++*count;
    }
    free(text);
}

static void test_corpus(void **state)
{
    (void)state;
    unsigned count = 0;
    open_rig(NULL);
    rig_each_file("snippets", compile_file, &count);
    assert_true(count > 20);
    rig_close(&the_rig);
}

/* What bind says of buffers. */
static void test_bind(void **state)
{
    (void)state;
    open_rig(NULL);
    rig_call call = {.desc = plain_desc()};
    float *q = rig_numbers(RAPT_F32, 2 * 20 * 32, 1);
    float *out = malloc(rapt_tensor_bytes(&call.desc.out));
    call.q = call.k = call.v = q;
    call.out = out;
    call.desc.score_mod[0] = scores[1].text;
    call.desc.user[0] = (rapt_user_buffer){"slopes", RAPT_F32, 8};
    rig_buffers b;
    rig_buffers_make(the_rig.device, &call, &b);
    rapt_plan *plan;
    rapt_binding *binding;
    RIG_OK(rapt_attention_plan(the_rig.device, &call.desc, &plan, error));
    RIG_OK(rapt_plan_prepare(plan, error));
    RIG_FAILS(rapt_attention_bind(plan, &b.args, &binding, error), RAPT_ERROR_INVALID, "slopes is not bound");
    rapt_buffer *small;
    RIG_OK(rapt_buffer_create(the_rig.device, 28, &small, error));
    b.args.user[0].buffer = small;
    RIG_FAILS(rapt_attention_bind(plan, &b.args, &binding, error), RAPT_ERROR_INVALID,
              "slopes needs 32 bytes at offset 0, its buffer has 28");
    b.args.user[0] = b.args.out;
    RIG_FAILS(rapt_attention_bind(plan, &b.args, &binding, error), RAPT_ERROR_INVALID, "overlap");
    rapt_plan_destroy(&plan);
    rapt_buffer_destroy(&small);
    rig_buffers_free(&b);
    free(q);
    free(out);
    rig_close(&the_rig);
}

/* Text that the checker lets through, and that tries to harm all the same: it ends, and what it reads is the app's. */
static const struct {
    const char *name, *text;
} survivors[] = {
    {"endless loops", "float score_mod(float s, uint b, uint h, uint q, uint k)\n"
                      "{ for (;;) s += 1.0; while (true) { s *= 0.5; continue; } do s -= 1.0; while (s < 9.0); return s; }"},
    {"endless in a helper", "float turn(float s) { while (s == s) s += 0.0; return s; }\n"
                            "float score_mod(float s, uint b, uint h, uint q, uint k)\n"
                            "{ for (uint i = 0u; i < 4000000000u; i++) s = turn(s); return s; }"},
    {"reads far outside", "float score_mod(float s, uint b, uint h, uint q, uint k)\n"
                          "{ float a[3]; a[0] = a[1] = a[2] = 1.0; vec3 v = vec3(1.0); int i = int(q) * 1000003 - 2000000000;\n"
                          "  a[i] = 2.0; v[i] = 0.5; return s + slopes(uint(i)) + slopes(-1) + a[i + 7] + v[q + 99u]; }"},
    {"divides by zero", "float score_mod(float s, uint b, uint h, uint q, uint k)\n"
                        "{ int zero = int(q) - int(q); int least = (-2147483647 - 1) + zero, one = zero - 1;\n"
                        "  return s + float(5 / zero) + float(7u % uint(zero)) + float(least / one) + float(least % one); }"},
    {"not a number", "float score_mod(float s, uint b, uint h, uint q, uint k) { return sqrt(-1.0 - s * s); }"},
};

static void test_survivors(void **state)
{
    (void)state;
    open_rig(NULL);
    rapt_case c = base_case(RAPT_F32);
    for (size_t i = 0; i < RAPT_COUNT(survivors); i++) {
        rapt_check_problem problem;
        rapt_trial trial;
        rapt_check_user user = {.score_text = {survivors[i].text},
                                .buffers = {{"slopes", RAPT_F32, SLOPES}},
                                .data = {slopes}};
        print_message("  %s\n", survivors[i].name);
        assert_true(rapt_check_problem_make_user(&c, &user, 0, &problem));
        RIG_OK(rapt_trial_open(the_rig.device, &problem, NULL, &trial, error));
        RIG_OK(rapt_trial_submit(&trial, NULL, NULL, error));
        rapt_trial_close(&trial);
        rapt_check_problem_free(&problem);
    }
    rig_close(&the_rig);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_snippet), cmocka_unit_test(test_rows), cmocka_unit_test(test_matrix_rows), cmocka_unit_test(test_random),
        cmocka_unit_test(test_caches),       cmocka_unit_test(test_refusals), cmocka_unit_test(test_bind),
        cmocka_unit_test(test_corpus),
        cmocka_unit_test(test_survivors),    cmocka_unit_test(test_vectors_and_links),
    };
    rig_choose(tests, RAPT_COUNT(tests));
    return cmocka_run_group_tests_name("user", tests, fill_tables, NULL);
}
