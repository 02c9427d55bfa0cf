/* Routing on the device: summaries and scores against double precision, selections against brute force on the very scores
 * that the device made, and what attention makes of the mask. */
#include "rig.h"

#include "plan/plan.h"

#include "check/compare.h"
#include "check/half.h"
#include "check/oracle_route.h"

#include <math.h>

static rig the_rig;

typedef struct route {
    const char *name;
    rapt_dtype dtype;
    uint64_t batch, q_heads, kv_heads, nq, nk, dim, block_q, block_k;
    uint32_t flags;
    rapt_summary summarise;
    rapt_select select;
    rapt_route_queries queries;
    rapt_route_heads heads;
    uint64_t top_k, always_first, always_last, landmark, list, gap, limit, within; /* blocks of an entry of a coarser mask */
    uint64_t skip, list_heads;
    float threshold, mass;
    int64_t offset;
    float slice_ms;
    bool whole; /* small whole numbers: scores tie, and are exact */
    bool bnhd;
} route;

#define MEAN .summarise = RAPT_SUMMARY_MEAN
#define TOP(k) .select = RAPT_SELECT_TOP_K, .top_k = k
#define CAUSAL .flags = RAPT_ROUTE_CAUSAL

typedef struct arrays {
    void *q, *k;
    float *summary, *scores;
    int32_t *mask, *list, *within;
    uint64_t summary_count, scores_count, mask_count, list_count;
} arrays;

static rapt_tensor gapped(const route *r, uint64_t heads, uint64_t rows)
{
    rapt_tensor t = r->bnhd ? rapt_tensor_bnhd(r->dtype, r->batch, heads, rows, r->dim)
                            : rapt_tensor_bhnd(r->dtype, r->batch, heads, rows, r->dim);
    for (unsigned axis = 0; axis < 3 && r->gap && !r->bnhd; axis++)
        t.stride[axis] = t.stride[axis] / (int64_t)r->dim * (int64_t)(r->dim + r->gap);
    return t;
}

static rapt_route_desc describe(const route *r)
{
    rapt_route_desc d = RAPT_ROUTE_DESC_INIT;
    const uint64_t tiles = (r->nq + r->block_q - 1) / r->block_q, blocks = (r->nk + r->block_k - 1) / r->block_k;
    const uint64_t rows = r->heads == RAPT_ROUTE_PER_HEAD ? r->q_heads : r->kv_heads;
    d.flags = r->flags | (r->whole ? RAPT_ROUTE_SCALE : 0); /* exact */
    d.scale = 0.5f;
    d.q = gapped(r, r->q_heads, r->nq);
    d.k = gapped(r, r->kv_heads, r->nk);
    d.summary = rapt_tensor_bhnd(RAPT_F32, r->batch, r->kv_heads, blocks, r->dim * (r->summarise == RAPT_SUMMARY_MIN_MAX ? 2 : 1));
    d.scores = rapt_tensor_bhnd(RAPT_F32, r->batch, rows, tiles, blocks);
    d.mask = rapt_tensor_bhnd(RAPT_I32, r->batch, r->q_heads, tiles, blocks);
    d.list = rapt_tensor_bhnd(RAPT_I32, r->batch, rows, tiles, r->list ? r->list : blocks);
    d.block_q = r->block_q;
    d.block_k = r->block_k;
    d.landmark = r->landmark;
    d.summarise = r->summarise;
    d.select = r->select;
    d.queries = r->queries;
    d.heads = r->heads;
    d.top_k = r->top_k;
    d.threshold = r->threshold;
    d.mass = r->mass;
    d.skip = r->skip;
    d.list_heads = r->list_heads;
    d.always_first = r->always_first;
    d.always_last = r->always_last;
    d.causal_offset = r->offset;
    d.workspace_limit = r->limit;
    d.slice_ms = r->slice_ms;
    if (r->within) {
        d.within = rapt_tensor_bhnd(RAPT_I32, r->batch, r->q_heads, tiles, (blocks + r->within - 1) / r->within);
        d.within_blocks = r->within;
    }
    return d;
}

static void *numbers(const route *r, uint64_t count, uint64_t seed)
{
    if (!r->whole)
        return rig_numbers(r->dtype, count, seed);
    uint8_t *data = malloc(count * 4 + 1);
    uint32_t state = (uint32_t)seed * 2654435761u + 1;
    assert_non_null(data);
    for (uint64_t n = 0; n < count; n++) {
        state = state * 1664525u + 1013904223u;
        rapt_check_store(data, r->dtype, (int64_t)n, (float)((int)(state >> 29) - 3));
    }
    return data;
}

static rapt_buffer *upload(rapt_device *device, const void *data, uint64_t bytes)
{
    rapt_buffer *b = NULL;
    RIG_OK(rapt_buffer_create(device, bytes ? bytes : 4, &b, error));
    if (bytes)
        RIG_OK(rapt_buffer_upload(b, 0, data, bytes, error));
    return b;
}

static void *filled(uint64_t bytes)
{
    void *data = malloc(bytes + 1);
    assert_non_null(data);
    memset(data, 0xff, bytes);
    return data;
}

static uint64_t bytes_of(const rapt_tensor *t)
{
    return t->dtype == RAPT_DTYPE_NONE ? 0 : rapt_tensor_bytes(t);
}

/* Runs the descriptor; outputs come back in `a`, which has room for what the descriptor has. */
static void run(rapt_device *device, const rapt_route_desc *d, arrays *a)
{
    rapt_route_args args = RAPT_ROUTE_ARGS_INIT;
    const struct {
        const rapt_tensor *tensor;
        rapt_slot *slot;
        void *data;
        bool written;
    } all[] = {{&d->q, &args.q, a->q, false},
               {&d->k, &args.k, a->k, false},
               {&d->summary, &args.summary, a->summary, true},
               {&d->scores, &args.scores, a->scores, true},
               {&d->mask, &args.mask, a->mask, true},
               {&d->list, &args.list, a->list, true},
               {&d->within, &args.within, a->within, false}};
    for (size_t n = 0; n < RAPT_COUNT(all); n++)
        if (all[n].tensor->dtype)
            all[n].slot->buffer = upload(device, all[n].data, bytes_of(all[n].tensor));
    RIG_OK(rapt_route_run(device, d, &args, error));
    for (size_t n = 0; n < RAPT_COUNT(all); n++) {
        if (!all[n].tensor->dtype)
            continue;
        if (all[n].written && bytes_of(all[n].tensor) > 0)
            RIG_OK(rapt_buffer_download(all[n].slot->buffer, 0, all[n].data, bytes_of(all[n].tensor), error));
        rapt_buffer_destroy(&all[n].slot->buffer);
    }
}

static arrays make(const route *r, const rapt_route_desc *d)
{
    arrays a = {.q = numbers(r, bytes_of(&d->q) / rapt_dtype_size(r->dtype), 3),
                .k = numbers(r, bytes_of(&d->k) / rapt_dtype_size(r->dtype), 4),
                .summary = filled(bytes_of(&d->summary)),
                .scores = filled(bytes_of(&d->scores)),
                .mask = filled(bytes_of(&d->mask)),
                .list = filled(bytes_of(&d->list)),
                .within = filled(bytes_of(&d->within))};
    for (uint64_t n = 0; n < bytes_of(&d->within) / 4; n++)
        a.within[n] = (n * 2654435761u >> 8) % 3 != 0;
    return a;
}

static void put_away(arrays *a)
{
    free(a->q);
    free(a->k);
    free(a->summary);
    free(a->scores);
    free(a->mask);
    free(a->list);
    free(a->within);
}

/* `got` against `want`, within twice the error of the plainest single precision and a floor. */
static void near(const route *r, const char *what, uint64_t at, double got, double want, double plain, double size)
{
    const double tolerance = 2 * fabs(plain - want) + 4e-6 * (size + fabs(want));
    if (!(fabs(got - want) <= tolerance) && got != want)
        fail_msg("%s: %s[%llu] is %.9g, not %.9g within %.3g", r->name, what, (unsigned long long)at, got, want, tolerance);
}

static void check_summaries(const route *r, const rapt_route_desc *d, const arrays *a)
{
    const uint64_t blocks = d->summary.size[2], width = d->summary.size[3];
    double *want = calloc(width * 2 + 1, sizeof *want), *plain = want + width;
    assert_non_null(want);
    for (uint64_t row = 0; row < r->batch * r->kv_heads * blocks; row++) {
        const uint64_t b = row / blocks / r->kv_heads, h = row / blocks % r->kv_heads, j = row % blocks;
        rapt_check_route_summary(d, a->k, false, b, h, j, want);
        rapt_check_route_summary(d, a->k, true, b, h, j, plain);
        for (uint64_t e = 0; e < width; e++)
            near(r, "summary", row * width + e, (double)a->summary[row * width + e], want[e], plain[e], 1);
    }
    free(want);
}

/* The brute-force selection on the scores that the device made. */
static void select_row(const route *r, const rapt_route_desc *d, const double *scores, uint64_t tile, float mass, int32_t *taken)
{
    rapt_route_desc other = *d;
    other.mass = mass;
    assert_true(rapt_check_route_select(&other, r->nq, r->nk, tile, scores, taken));
}

static void check_row(const route *r, const rapt_route_desc *d, const arrays *a, uint64_t row, double *room, int32_t *taken)
{
    const uint64_t blocks = d->scores.size[3], tiles = d->scores.size[2], heads = d->scores.size[1];
    const uint64_t b = row / tiles / heads, h = row / tiles % heads, t = row % tiles, group = r->q_heads / heads;
    double *want = room, *plain = room + blocks, *got = plain + blocks;
    assert_true(rapt_check_route_scores(d, a->q, a->k, a->within, false, b, h, t, want));
    assert_true(rapt_check_route_scores(d, a->q, a->k, a->within, true, b, h, t, plain));
    for (uint64_t j = 0; j < blocks; j++) {
        got[j] = (double)a->scores[row * blocks + j];
        near(r, "scores", row * blocks + j, got[j], want[j], plain[j], (double)r->dim / 8);
        if (r->whole)
            assert_true(got[j] == want[j]);
    }
    const bool mass = r->select == RAPT_SELECT_MASS;
    int32_t *more = taken + blocks;
    select_row(r, d, got, t, mass ? r->mass - 1e-5f : 0, taken);
    select_row(r, d, got, t, mass ? r->mass + 1e-5f : 0, more);
    const int32_t *list = a->list + row * d->list.size[3];
    const int32_t *mask = a->mask + ((b * r->q_heads + h * group) * tiles + t) * blocks;
    const uint64_t through = r->list_heads ? (b * r->list_heads + h * r->list_heads / heads) * blocks : 0;
    uint64_t place = 0;
    for (uint64_t j = 0; j < blocks; j++) {
        for (uint64_t g = 1; g < group; g++)
            assert_int_equal(mask[g * tiles * blocks + j], mask[j]);
        if (mask[j] < taken[j] || mask[j] > more[j])
            fail_msg("%s: row %llu, block %llu, score %.9g: %d, must be %d", r->name, (unsigned long long)row,
                     (unsigned long long)j, got[j], mask[j], taken[j]);
        if (mask[j] && place < d->list.size[3])
            assert_int_equal(list[place++], (int)(through + j));
    }
    for (; place < d->list.size[3]; place++)
        assert_int_equal(list[place], -1);
}

static void check(rapt_device *device, const route *r)
{
    const rapt_route_desc d = describe(r);
    arrays a = make(r, &d), b = make(r, &d);
    const uint64_t blocks = d.scores.size[3], rows = d.scores.size[0] * d.scores.size[1] * d.scores.size[2];
    run(device, &d, &a);
    check_summaries(r, &d, &a);
    double *room = malloc((blocks * 3 + 1) * sizeof *room);
    int32_t *taken = malloc((blocks * 2 + 1) * sizeof *taken);
    assert_true(room && taken);
    for (uint64_t row = 0; row < rows; row++)
        check_row(r, &d, &a, row, room, taken);
    /* Nothing but the mask is wanted: the rest lies in the workspace. And the same bits again. */
    rapt_route_desc only = d;
    only.summary.dtype = only.scores.dtype = only.list.dtype = RAPT_DTYPE_NONE;
    only.list_heads = 0;
    run(device, &only, &b);
    assert_memory_equal(a.mask, b.mask, bytes_of(&d.mask));
    if (r->block_k == 1) { /* keys that stand for themselves score as their summaries do */
        only.scores = d.scores;
        run(device, &only, &b);
        assert_memory_equal(a.scores, b.scores, bytes_of(&d.scores));
    }
    free(room);
    free(taken);
    put_away(&a);
    put_away(&b);
}

static const route cases[] = {
    {"plain", RAPT_F32, 1, 2, 2, 64, 64, 16, 16, 16, MEAN, TOP(2)},
    {"causal", RAPT_F32, 1, 2, 2, 100, 100, 16, 16, 16, MEAN, TOP(3), CAUSAL},
    {"own", RAPT_F32, 2, 4, 2, 70, 70, 32, 1, 8, MEAN, TOP(3), CAUSAL, .always_last = 1},
    {"ties", RAPT_F32, 1, 2, 1, 40, 300, 4, 1, 4, MEAN, TOP(9), .whole = true},
    {"ties-causal", RAPT_F16, 2, 2, 2, 80, 80, 8, 4, 2, TOP(7), CAUSAL, .summarise = RAPT_SUMMARY_MAX, .whole = true,
     .always_first = 1, .always_last = 2},
    {"f16", RAPT_F16, 1, 3, 1, 33, 65, 24, 8, 16, MEAN, TOP(2), CAUSAL},
    {"bf16", RAPT_BF16, 1, 2, 2, 50, 50, 20, 16, 8, MEAN, TOP(3), CAUSAL},
    {"odd", RAPT_F32, 1, 2, 1, 17, 29, 13, 5, 7, MEAN, TOP(2), CAUSAL},
    {"odd-f16", RAPT_F16, 1, 2, 1, 17, 29, 13, 5, 7, TOP(2), .summarise = RAPT_SUMMARY_MIN_MAX, .gap = 3},
    {"bnhd", RAPT_F32, 2, 4, 2, 40, 40, 16, 8, 8, MEAN, TOP(2), CAUSAL, .bnhd = true},
    {"min-max", RAPT_F32, 1, 4, 2, 30, 90, 16, 1, 16, TOP(3), CAUSAL, .summarise = RAPT_SUMMARY_MIN_MAX},
    {"landmark", RAPT_F16, 1, 2, 2, 30, 90, 16, 10, 9, TOP(3), CAUSAL, .summarise = RAPT_SUMMARY_LANDMARK, .landmark = 8},
    {"max-query", RAPT_F32, 1, 2, 2, 50, 64, 16, 8, 8, MEAN, TOP(3), CAUSAL, .queries = RAPT_ROUTE_MAX_QUERY},
    {"group-sum", RAPT_F32, 2, 6, 2, 50, 64, 16, 8, 8, MEAN, TOP(3), CAUSAL, .heads = RAPT_ROUTE_GROUP_SUM},
    {"group-max", RAPT_BF16, 1, 4, 1, 50, 64, 16, 1, 8, MEAN, TOP(3), CAUSAL, .heads = RAPT_ROUTE_GROUP_MAX},
    {"group-max-query", RAPT_F32, 1, 4, 2, 50, 64, 16, 8, 8, MEAN, TOP(3), .queries = RAPT_ROUTE_MAX_QUERY,
     .heads = RAPT_ROUTE_GROUP_SUM},
    {"threshold", RAPT_F32, 1, 2, 2, 64, 64, 16, 8, 4, MEAN, CAUSAL, .select = RAPT_SELECT_THRESHOLD, .threshold = 0.25f},
    {"mass", RAPT_F32, 1, 2, 2, 64, 300, 16, 8, 4, MEAN, CAUSAL, .select = RAPT_SELECT_MASS, .mass = 0.8f, .always_first = 1},
    {"mass-ties", RAPT_F32, 1, 2, 2, 64, 300, 4, 8, 4, MEAN, .select = RAPT_SELECT_MASS, .mass = 0.33f, .whole = true},
    {"mass-all", RAPT_F32, 1, 1, 1, 20, 40, 8, 4, 4, MEAN, CAUSAL, .select = RAPT_SELECT_MASS, .mass = 1.0f},
    {"budget-all", RAPT_F32, 1, 2, 2, 64, 64, 16, 8, 4, MEAN, TOP(1000), CAUSAL},
    {"budget-less-than-always", RAPT_F32, 1, 2, 2, 64, 64, 16, 8, 4, MEAN, TOP(1), CAUSAL, .always_first = 2, .always_last = 2},
    {"always-last", RAPT_F32, 1, 2, 2, 64, 64, 16, 8, 4, MEAN, TOP(9), .always_last = 3},
    {"short-list", RAPT_F32, 1, 2, 2, 64, 64, 16, 8, 4, MEAN, TOP(9), .list = 4},
    {"offset", RAPT_F32, 1, 2, 2, 20, 64, 16, 8, 4, MEAN, TOP(4), CAUSAL, .offset = -50, .always_last = 1},
    {"more-queries", RAPT_F32, 1, 2, 2, 64, 20, 16, 8, 4, MEAN, TOP(3), CAUSAL, .always_last = 1},
    {"one-query", RAPT_F16, 3, 8, 2, 1, 1000, 64, 1, 16, TOP(12), CAUSAL, .summarise = RAPT_SUMMARY_MIN_MAX,
     .heads = RAPT_ROUTE_GROUP_MAX, .always_first = 1, .always_last = 2},
    {"one-tile-many", RAPT_F32, 2, 6, 2, 1, 3000, 16, 1, 4, MEAN, TOP(50), CAUSAL, .heads = RAPT_ROUTE_GROUP_SUM, .whole = true},
    {"one-tile-each", RAPT_F16, 1, 4, 2, 1, 2100, 32, 1, 4, MEAN, TOP(33), .always_first = 2},
    {"one-tile-mass", RAPT_F32, 1, 5, 1, 1, 1100, 16, 1, 4, MEAN, .select = RAPT_SELECT_MASS, .mass = 0.4f,
     .heads = RAPT_ROUTE_GROUP_SUM},
    {"one-tile-queries", RAPT_F32, 1, 4, 2, 3, 600, 16, 4, 2, MEAN, TOP(9), .queries = RAPT_ROUTE_MAX_QUERY,
     .heads = RAPT_ROUTE_GROUP_MAX},
    {"one-tile-single", RAPT_BF16, 1, 8, 2, 1, 700, 16, 1, 1, MEAN, TOP(40), .heads = RAPT_ROUTE_GROUP_SUM},
    {"one-tile-odd", RAPT_F16, 1, 6, 2, 1, 1300, 13, 1, 3, TOP(20), .summarise = RAPT_SUMMARY_MAX, .gap = 3,
     .heads = RAPT_ROUTE_GROUP_SUM},
    {"many-blocks", RAPT_F32, 1, 1, 1, 4, 8200, 8, 1, 2, MEAN, TOP(1500), .whole = true},
    {"spans", RAPT_F32, 2, 2, 1, 90, 128, 16, 8, 8, MEAN, TOP(4), CAUSAL, .limit = 8192 + 9216},
    {"slices", RAPT_F32, 2, 4, 2, 300, 300, 16, 2, 4, MEAN, TOP(4), CAUSAL, .slice_ms = 0.0001f},
    {"single", RAPT_F32, 1, 4, 2, 30, 90, 16, 1, 1, MEAN, TOP(5), CAUSAL, .heads = RAPT_ROUTE_GROUP_SUM},
    {"single-odd", RAPT_F16, 2, 2, 1, 17, 29, 13, 1, 1, TOP(3), .summarise = RAPT_SUMMARY_MIN_MAX, .gap = 3},
    {"single-tiles", RAPT_F32, 1, 2, 2, 50, 64, 16, 8, 1, MEAN, TOP(3), CAUSAL},
    {"single-tiles-bf16", RAPT_BF16, 1, 2, 2, 50, 64, 16, 8, 1, MEAN, TOP(3), CAUSAL},
    {"single-max", RAPT_BF16, 1, 2, 1, 50, 64, 16, 8, 1, MEAN, TOP(3), CAUSAL, .queries = RAPT_ROUTE_MAX_QUERY},
    {"within", RAPT_F32, 2, 4, 2, 50, 90, 16, 8, 4, MEAN, TOP(3), CAUSAL, .within = 2},
    {"within-odd", RAPT_F16, 1, 3, 1, 33, 65, 24, 8, 3, TOP(4), .summarise = RAPT_SUMMARY_LANDMARK, .landmark = 1, .within = 5, .always_last = 1},
    {"within-group", RAPT_F32, 1, 4, 2, 20, 64, 16, 1, 8, MEAN, TOP(2), CAUSAL, .heads = RAPT_ROUTE_GROUP_SUM, .within = 4},
    {"within-single", RAPT_BF16, 1, 2, 1, 30, 40, 16, 1, 1, MEAN, TOP(5), CAUSAL, .within = 8},
    {"within-threshold", RAPT_F32, 1, 2, 2, 64, 64, 16, 8, 4, MEAN, CAUSAL, .select = RAPT_SELECT_THRESHOLD, .threshold = 0.1f, .within = 2},
    {"within-spans", RAPT_F32, 2, 2, 1, 90, 128, 16, 8, 8, MEAN, TOP(4), CAUSAL, .limit = 8192 + 9216, .within = 4, .slice_ms = 0.0001f},
    {"skip", RAPT_F32, 2, 4, 2, 50, 90, 16, 8, 4, MEAN, TOP(5), CAUSAL, .skip = 7, .list = 5, .list_heads = 2},
    {"skip-ties", RAPT_F16, 1, 4, 2, 40, 300, 4, 1, 4, MEAN, TOP(9), .whole = true, .skip = 30, .heads = RAPT_ROUTE_GROUP_SUM, .list_heads = 1},
    {"skip-most", RAPT_F32, 1, 2, 1, 24, 64, 16, 8, 1, MEAN, TOP(100), CAUSAL, .skip = 60, .list = 9},
    {"skip-all", RAPT_F32, 2, 2, 1, 24, 64, 16, 8, 4, MEAN, TOP(3), .skip = 1000, .list = 3, .list_heads = 1},
    {"skip-one-tile", RAPT_F32, 1, 4, 1, 1, 2100, 16, 1, 4, MEAN, TOP(33), .skip = 33, .whole = true, .list_heads = 4},
    {"no-keys", RAPT_F32, 1, 2, 2, 8, 0, 16, 8, 8, MEAN, TOP(4), .list = 3},
    {"no-queries", RAPT_F32, 1, 2, 2, 0, 40, 16, 8, 8, MEAN, TOP(4)},
    {"no-batch", RAPT_F32, 0, 2, 2, 8, 40, 16, 8, 8, MEAN, TOP(4)},
};

static void test_cases(void **state)
{
    (void)state;
    rig_open(&the_rig, &(rig_options){.validation = true});
    for (size_t i = 0; i < RAPT_COUNT(cases); i++) {
        check(the_rig.device, &cases[i]);
        if (atomic_load(&the_rig.runtime->validation_messages) != 0)
            fail_msg("%s: validation: %.400s", cases[i].name, strstr(the_rig.log, "validation: "));
    }
    rig_close(&the_rig);
}

/* A device of another class takes the rows made for it: here, the other form of selection. */
static void test_wide(void **state)
{
    (void)state;
    rig_open(&the_rig, NULL);
    the_rig.device->caps.device_class = RAPT_CLASS_OTHER;
    for (size_t i = 0; i < RAPT_COUNT(cases); i++)
        check(the_rig.device, &cases[i]);
    rig_close(&the_rig);
}

/* Summaries that grow with a cache are those made at once. */
static void test_incremental(void **state)
{
    (void)state;
    const route r = {"incremental", RAPT_F32, 1, 2, 2, 8, 77, 16, 8, 8, TOP(4), .summarise = RAPT_SUMMARY_MIN_MAX};
    rig_open(&the_rig, NULL);
    const rapt_route_desc d = describe(&r);
    arrays whole = make(&r, &d), parts = make(&r, &d);
    run(the_rig.device, &d, &whole);
    rapt_route_desc step = d;
    step.q.dtype = step.scores.dtype = step.mask.dtype = step.list.dtype = RAPT_DTYPE_NONE;
    uint64_t before = 0;
    for (uint64_t nk = 5; before < r.nk; nk = nk + 24 < r.nk ? nk + 24 : r.nk) {
        step.k.size[2] = nk; /* the strides stay those of the cache */
        step.summary.size[2] = (nk + 7) / 8;
        step.first_block = before / 8;
        run(the_rig.device, &step, &parts);
        before = nk;
    }
    assert_memory_equal(whole.summary, parts.summary, bytes_of(&d.summary));
    /* And all given, without keys. */
    rapt_route_desc given = d;
    given.k.dtype = RAPT_DTYPE_NONE;
    given.nk = r.nk;
    given.first_block = d.summary.size[2];
    run(the_rig.device, &given, &parts);
    assert_memory_equal(whole.mask, parts.mask, bytes_of(&d.mask));
    assert_memory_equal(whole.scores, parts.scores, bytes_of(&d.scores));
    put_away(&whole);
    put_away(&parts);
    rig_close(&the_rig);
}

/* Scores of the caller's, NaN and infinities among them, one row for all tiles. */
static void test_given_scores(void **state)
{
    (void)state;
    enum { N = 60, K = 7 };
    rig_open(&the_rig, NULL);
    for (int wide = 0; wide < 2; wide++) {
        the_rig.device->caps.device_class = wide ? RAPT_CLASS_OTHER : RAPT_CLASS_SOFTWARE;
        rapt_route_desc d = RAPT_ROUTE_DESC_INIT;
        float scores[2 * N];
        double row[N];
        int32_t mask[4 * N * N], list[2 * N * K], taken[N];
        for (int n = 0; n < 2 * N; n++)
            scores[n] = n % 9 == 4 ? NAN : n % 11 == 0 ? INFINITY : n % 7 == 3 ? -INFINITY : n % 5 == 0 ? -0.0f : (float)(n * 37 % 19) - 9;
        d.flags = RAPT_ROUTE_SCORES_GIVEN | RAPT_ROUTE_CAUSAL;
        d.nq = d.nk = N;
        d.block_q = d.block_k = 1;
        d.top_k = K;
        d.scores = rapt_tensor_bhnd(RAPT_F32, 1, 2, N, N);
        d.scores.stride[0] = 2 * N;
        d.scores.stride[1] = N;
        d.scores.stride[2] = 0;
        d.mask = rapt_tensor_bhnd(RAPT_I32, 1, 4, N, N);
        d.list = rapt_tensor_bhnd(RAPT_I32, 1, 2, N, K);
        rapt_route_args args = RAPT_ROUTE_ARGS_INIT;
        args.scores.buffer = upload(the_rig.device, scores, sizeof scores);
        args.mask.buffer = upload(the_rig.device, mask, sizeof mask);
        args.list.buffer = upload(the_rig.device, list, sizeof list);
        RIG_OK(rapt_route_run(the_rig.device, &d, &args, error));
        RIG_OK(rapt_buffer_download(args.mask.buffer, 0, mask, sizeof mask, error));
        RIG_OK(rapt_buffer_download(args.list.buffer, 0, list, sizeof list, error));
        for (uint64_t h = 0; h < 4; h++)
            for (uint64_t t = 0; t < N; t++) {
                for (uint64_t j = 0; j < N; j++)
                    row[j] = (double)scores[h / 2 * N + j];
                assert_true(rapt_check_route_select(&d, N, N, t, row, taken));
                assert_memory_equal(&mask[(h * N + t) * N], taken, sizeof taken);
            }
        rapt_buffer_destroy(&args.scores.buffer);
        rapt_buffer_destroy(&args.mask.buffer);
        rapt_buffer_destroy(&args.list.buffer);
    }
    rig_close(&the_rig);
}

/* The mask goes from one operator to the next on the device; a budget that covers everything is attention to everything. */
static void test_attention(void **state)
{
    (void)state;
    enum { HEADS = 2, N = 200, D = 32, BLOCK = 16, BLOCKS = (N + BLOCK - 1) / BLOCK, COUNT = HEADS * N * D };
    rig_open(&the_rig, NULL);
    const rapt_tensor t = rapt_tensor_bhnd(RAPT_F32, 1, HEADS, N, D);
    void *q = rig_numbers(RAPT_F32, COUNT, 1), *k = rig_numbers(RAPT_F32, COUNT, 2), *v = rig_numbers(RAPT_F32, COUNT, 3);
    static float out[2][COUNT];
    for (int routed = 0; routed < 2; routed++) {
        rapt_route_desc r = RAPT_ROUTE_DESC_INIT;
        rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
        rapt_route_args ra = RAPT_ROUTE_ARGS_INIT;
        rapt_attention_args a = RAPT_ATTENTION_ARGS_INIT;
        r.flags = RAPT_ROUTE_CAUSAL;
        r.q = r.k = t;
        r.block_q = r.block_k = BLOCK;
        r.top_k = BLOCKS;
        r.mask = rapt_tensor_bhnd(RAPT_I32, 1, HEADS, BLOCKS, BLOCKS);
        d.flags = RAPT_ATTENTION_CAUSAL;
        d.q = d.k = d.v = d.out = t;
        a.q.buffer = ra.q.buffer = upload(the_rig.device, q, sizeof out[0]);
        a.k.buffer = ra.k.buffer = upload(the_rig.device, k, sizeof out[0]);
        a.v.buffer = upload(the_rig.device, v, sizeof out[0]);
        a.out.buffer = upload(the_rig.device, out[0], sizeof out[0]);
        if (routed) {
            d.block_mask = r.mask;
            d.block_q = d.block_k = BLOCK;
            a.block_mask.buffer = ra.mask.buffer = upload(the_rig.device, out[0], HEADS * BLOCKS * BLOCKS * 4);
            RIG_OK(rapt_route_run(the_rig.device, &r, &ra, error));
        }
        RIG_OK(rapt_attention_run(the_rig.device, &d, &a, error));
        RIG_OK(rapt_buffer_download(a.out.buffer, 0, out[routed], sizeof out[0], error));
        rapt_buffer *buffers[] = {a.q.buffer, a.k.buffer, a.v.buffer, a.out.buffer, a.block_mask.buffer};
        for (size_t n = 0; n < RAPT_COUNT(buffers); n++)
            rapt_buffer_destroy(&buffers[n]);
    }
    for (size_t n = 0; n < COUNT; n++)
        assert_true(fabsf(out[0][n] - out[1][n]) <= 1e-5f);
    free(q);
    free(k);
    free(v);
    rig_close(&the_rig);
}

static uint32_t constant(const rapt_plan *plan, uint32_t kind, rapt_constant_source source)
{
    for (uint32_t i = 0; i < plan->pipeline_count; i++)
        for (uint32_t n = 0; n < plan->pipelines[i].row->constant_count && plan->pipelines[i].row->supports & kind; n++)
            if (plan->pipelines[i].row->constants[n].source == source)
                return plan->pipelines[i].constants[n];
    return UINT32_MAX;
}

/* Scores of one tile are made of heads at once, those of several of tiles; texels are for what they can hold. */
static void test_patches(void **state)
{
    (void)state;
    rapt_caps caps;
    rapt_plan *plan;
    rapt_caps_floor(&caps);
    rapt_route_desc d = RAPT_ROUTE_DESC_INIT;
    d.q = rapt_tensor_bhnd(RAPT_F16, 1, 8, 1, 64);
    d.k = rapt_tensor_bhnd(RAPT_F16, 1, 2, 16384, 64);
    d.block_q = 1;
    d.block_k = 16;
    d.top_k = 8;
    d.heads = RAPT_ROUTE_GROUP_SUM;
    d.list = (rapt_tensor){.dtype = RAPT_I32, .rank = 4, .size = {1, 2, 1, 8}, .stride = {16, 8, 8, 1}};
    RIG_OK(rapt_route_plan_for_caps(&caps, &d, &plan, error));
    assert_int_equal(constant(plan, RAPT_ROW_SCORES, RAPT_CONST_PATCH_TILES), 1);
    assert_int_equal(constant(plan, RAPT_ROW_SCORES, RAPT_CONST_PATCH_HEADS), 4);
    assert_string_equal(plan->pipelines[0].row->name, "route-select-wide");
    rapt_plan_destroy(&plan);
    caps.device_class = RAPT_CLASS_SOFTWARE;
    caps.features = UINT64_MAX;
    RIG_OK(rapt_route_plan_for_caps(&caps, &d, &plan, error));
    assert_string_equal(plan->pipelines[0].row->name, "route-select-eight");
    assert_string_equal(plan->pipelines[1].row->name, "route-scores-texel-f16");
    rapt_plan_destroy(&plan);
    caps.max_texel_elements = 1000; /* of four elements */
    RIG_OK(rapt_route_plan_for_caps(&caps, &d, &plan, error));
    assert_string_equal(plan->pipelines[1].row->name, "route-scores-f16");
    rapt_plan_destroy(&plan);
    d.q.size[2] = 2;
    d.list.size[2] = 2;
    RIG_OK(rapt_route_plan_for_caps(&caps, &d, &plan, error));
    assert_int_equal(constant(plan, RAPT_ROW_SCORES, RAPT_CONST_PATCH_TILES), 4);
    assert_int_equal(constant(plan, RAPT_ROW_SCORES, RAPT_CONST_PATCH_HEADS), 1);
    assert_string_equal(plan->pipelines[0].row->name, "route-select");
    rapt_plan_destroy(&plan);
}

static void test_refusals(void **state)
{
    (void)state;
    rig_open(&the_rig, NULL);
    const rapt_caps caps = *rapt_device_caps(the_rig.device);
    const route r = {"refused", RAPT_F32, 1, 4, 2, 32, 32, 16, 8, 8, MEAN, TOP(2)};
    const rapt_route_desc good = describe(&r);
    rapt_plan *plan = NULL;
#define REFUSED(change, part)                                                                                \
    do {                                                                                                     \
        rapt_route_desc d = good;                                                                            \
        change;                                                                                              \
        RIG_FAILS(rapt_route_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_INVALID, part);              \
        assert_null(plan);                                                                                   \
    } while (0)
    REFUSED(d.flags = 64, "unknown route flags 0x40");
    REFUSED(d.summarise = RAPT_SUMMARY_COUNT, "summarise is 4");
    REFUSED(d.select = RAPT_SELECT_COUNT, "select is 3");
    REFUSED(d.heads = RAPT_ROUTE_HEADS_COUNT, "heads is 3");
    REFUSED(d.queries = RAPT_ROUTE_QUERIES_COUNT, "queries is 2");
    REFUSED(d.block_q = 0, "blocks of 0 queries");
    REFUSED(d.top_k = 0, "top_k is 0");
    REFUSED((d.select = RAPT_SELECT_MASS, d.mass = 1.5f), "mass is 1.5");
    REFUSED((d.select = RAPT_SELECT_THRESHOLD, d.threshold = NAN), "threshold is not a number");
    REFUSED((d.summarise = RAPT_SUMMARY_LANDMARK, d.landmark = 8), "landmark is place 8");
    REFUSED(d.q.size[1] = 3, "3 heads of q are no multiple of 2 of k");
    REFUSED(d.mask.size[2] = 5, "mask: axis 2 has 5 entries, must be 4");
    REFUSED(d.mask.stride[2] = 9, "mask: stride 9 of tiles");
    REFUSED(d.scores.stride[1] = 0, "scores: stride 0 of axis 1, but it is written");
    REFUSED(d.summary.dtype = RAPT_F16, "summary is f16, must be f32");
    REFUSED(d.k.dtype = RAPT_F16, "k is f16, must be f32");
    REFUSED(d.k.dtype = RAPT_DTYPE_NONE, "nk is needed");
    REFUSED((d.k.dtype = RAPT_DTYPE_NONE, d.nk = 32), "k is missing: blocks 0 to 4");
    REFUSED(d.q.dtype = RAPT_DTYPE_NONE, "q is missing");
    REFUSED(d.nq = 31, "nq is 31, the tensor has 32");
    REFUSED(d.flags = RAPT_ROUTE_SCORES_GIVEN, "goes without q, k and summary");
    REFUSED((d.summary.dtype = RAPT_DTYPE_NONE, d.first_block = 1), "first_block goes with summary");
    REFUSED((d.skip = 1, d.always_first = 1), "skip goes with");
    REFUSED((d.skip = 1, d.select = RAPT_SELECT_THRESHOLD), "skip goes with");
    REFUSED(d.list_heads = 3, "list_heads is 3, it goes with list and divides 4 row heads");
    REFUSED((d.list_heads = 2, d.list.dtype = RAPT_DTYPE_NONE), "list_heads is 2, it goes with list");
    REFUSED(d.within_blocks = 2, "within and within_blocks, at least 1, go together");
    REFUSED((d.within = d.mask, d.within_blocks = 2), "within: axis 3 has 4 entries, must be 2");
    REFUSED((d.within = d.scores, d.within_blocks = 1), "within is f32, must be i32");
    REFUSED((d.summary.dtype = d.scores.dtype = d.mask.dtype = d.list.dtype = RAPT_DTYPE_NONE), "none of summary");
    rapt_route_desc d = good;
    d.scores.dtype = RAPT_DTYPE_NONE;
    d.workspace_limit = 100;
    RIG_FAILS(rapt_route_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_UNSUPPORTED, "the limit is 100");
    rig_close(&the_rig);
}

int main(void)
{
    struct CMUnitTest tests[] = {cmocka_unit_test(test_cases),        cmocka_unit_test(test_wide),
                                 cmocka_unit_test(test_incremental),  cmocka_unit_test(test_given_scores),
                                 cmocka_unit_test(test_attention),    cmocka_unit_test(test_patches), cmocka_unit_test(test_refusals)};
    return RIG_RUN("route", tests);
}
