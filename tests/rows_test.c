/* Rows by index on the device, against their definition: gathered, put back, and both in turn. */
#include "rig.h"

#include "check/half.h"

#include <math.h>

static rig the_rig;

typedef struct move {
    const char *name;
    rapt_dtype dtype;
    rapt_rows_kind kind;
    uint64_t batch, heads, x_heads, list_heads, n, m, dim, runs, gap;
    bool weighted, one_list;
    float slice_ms;
} move;

typedef struct arrays {
    rapt_rows_desc d;
    uint8_t *x, *out;
    int32_t *list;
    float *weight;
} arrays;

static rapt_tensor rows_of(const move *m, uint64_t heads, uint64_t rows)
{
    rapt_tensor t = rapt_tensor_bhnd(m->dtype, m->batch, heads, rows, m->dim + m->gap);
    t.size[3] = m->dim;
    return t;
}

static rapt_tensor numbers_of(rapt_dtype dtype, uint64_t batch, uint64_t heads, uint64_t count)
{
    return (rapt_tensor){.dtype = dtype,
                         .rank = 3,
                         .size = {batch, heads, count},
                         .stride = {(int64_t)(heads * count), (int64_t)count, 1}};
}

/* Runs that rise, with gaps of pseudo-random size, -1 behind the last. */
static void fill_list(const move *m, int32_t *list, uint64_t lists)
{
    uint32_t state = 77;
    const uint64_t runs = m->runs ? m->runs : 1, run = m->m / runs;
    for (uint64_t i = 0; i < lists * runs; i++) {
        int64_t row = -1;
        for (uint64_t e = 0; e < run; e++) {
            state = state * 1664525u + 1013904223u;
            row += 1 + (state >> 16) % (2 * m->n / (run + 1) + 1);
            if (row >= (int64_t)m->n)
                row = INT32_MAX;
            list[i * run + e] = row == INT32_MAX ? -1 : (int32_t)row;
        }
    }
}

static arrays make(const move *m)
{
    const bool gathers = m->kind == RAPT_ROWS_GATHER;
    arrays a = {.d = RAPT_ROWS_DESC_INIT};
    const uint64_t lists = m->one_list ? 1 : m->batch;
    a.d.kind = m->kind;
    a.d.x = rows_of(m, m->x_heads, gathers ? m->n : m->m);
    a.d.out = rows_of(m, m->heads, gathers ? m->m : m->n);
    a.d.list = numbers_of(RAPT_I32, lists, m->list_heads, m->m);
    if (m->weighted)
        a.d.weight = numbers_of(RAPT_F32, m->batch, m->list_heads, m->n);
    a.d.runs = m->runs;
    a.d.slice_ms = m->slice_ms;
    a.x = rig_numbers(m->dtype, rapt_tensor_bytes(&a.d.x) / rapt_dtype_size(m->dtype) + 1, 6);
    a.out = malloc(rapt_tensor_bytes(&a.d.out) + 4);
    a.list = malloc((lists * m->list_heads * m->m + 1) * 4);
    a.weight = rig_numbers(RAPT_F32, m->batch * m->list_heads * m->n + 1, 7);
    assert_true(a.x && a.out && a.list && a.weight);
    memset(a.out, 0xff, rapt_tensor_bytes(&a.d.out) + 4);
    fill_list(m, a.list, lists * m->list_heads);
    return a;
}

static void put_away(arrays *a)
{
    free(a->x);
    free(a->out);
    free(a->list);
    free(a->weight);
}

static rapt_buffer *upload(const void *data, uint64_t bytes)
{
    return rig_upload(the_rig.device, data, bytes);
}

static void run(arrays *a)
{
    rig_run_rows(the_rig.device, &a->d, &(rig_rows){.x = a->x, .list = a->list, .weight = a->weight, .out = a->out});
}

static double element(const rapt_tensor *t, const void *data, uint64_t heads, uint64_t b, uint64_t h, uint64_t row, uint64_t e)
{
    const uint64_t batch = t->size[0] == 1 ? 0 : b, head = h * t->size[1] / heads;
    return rapt_check_load(data, t->dtype,
                           (int64_t)(batch * (uint64_t)t->stride[0] + head * (uint64_t)t->stride[1] +
                                     row * (uint64_t)t->stride[2] + e));
}

static double expected(const move *m, const arrays *a, uint64_t b, uint64_t h, uint64_t row, uint64_t e)
{
    const rapt_rows_desc *d = &a->d;
    const int32_t *list = a->list + ((d->list.size[0] == 1 ? 0 : b) * m->list_heads + h * m->list_heads / m->heads) * m->m;
    double sum = 0, count = 0;
    if (m->kind == RAPT_ROWS_GATHER) {
        if (list[row] < 0)
            return 0;
        sum = element(&d->x, a->x, m->heads, b, h, (uint64_t)list[row], e);
        row = (uint64_t)list[row];
    } else {
        for (uint64_t i = 0; i < m->m; i++)
            if (list[i] == (int32_t)row) {
                sum += element(&d->x, a->x, m->heads, b, h, i, e);
                count++;
            }
        sum /= m->kind == RAPT_ROWS_SCATTER_MEAN && count > 0 ? count : 1;
    }
    return m->weighted ? sum * element(&d->weight, a->weight, m->heads, b, h, row, 0) : sum;
}

static void check(const move *m)
{
    arrays a = make(m);
    run(&a);
    const double unit = m->dtype == RAPT_F32 ? 0x1p-21 : m->dtype == RAPT_F16 ? 0x1p-10 : 0x1p-7;
    for (uint64_t b = 0; b < m->batch; b++)
        for (uint64_t h = 0; h < m->heads; h++)
            for (uint64_t row = 0; row < a.d.out.size[2]; row++)
                for (uint64_t e = 0; e < m->dim; e++) {
                    const double got = element(&a.d.out, a.out, m->heads, b, h, row, e), want = expected(m, &a, b, h, row, e);
                    if (!(fabs(got - want) <= unit * fabs(want) + unit / 16))
                        fail_msg("%s: (%llu, %llu, %llu, %llu) is %.9g, not %.9g", m->name, (unsigned long long)b,
                                 (unsigned long long)h, (unsigned long long)row, (unsigned long long)e, got, want);
                }
    put_away(&a);
}

static void test_cases(void **state)
{
    (void)state;
    static const move cases[] = {
        {"gather", RAPT_F32, RAPT_ROWS_GATHER, 2, 4, 2, 4, 50, 12, 16},
        {"gather-f16", RAPT_F16, RAPT_ROWS_GATHER, 1, 4, 4, 2, 50, 12, 16, .weighted = true},
        {"gather-odd", RAPT_BF16, RAPT_ROWS_GATHER, 2, 2, 1, 1, 31, 31, 7, .one_list = true},
        {"gather-odd-f16", RAPT_F16, RAPT_ROWS_GATHER, 2, 2, 2, 2, 31, 17, 5, .gap = 2},
        {"gather-more", RAPT_F32, RAPT_ROWS_GATHER, 1, 1, 1, 1, 5, 20, 8},
        {"scatter", RAPT_F32, RAPT_ROWS_SCATTER, 2, 4, 2, 4, 50, 12, 16},
        {"scatter-weighted", RAPT_F16, RAPT_ROWS_SCATTER, 2, 4, 4, 2, 50, 30, 24, .weighted = true},
        {"scatter-runs", RAPT_F32, RAPT_ROWS_SCATTER, 1, 2, 2, 2, 40, 60, 12, .runs = 4},
        {"scatter-mean", RAPT_F32, RAPT_ROWS_SCATTER_MEAN, 1, 2, 2, 2, 40, 60, 12, .runs = 6, .weighted = true},
        {"scatter-odd", RAPT_F16, RAPT_ROWS_SCATTER, 1, 2, 2, 2, 23, 9, 9},
        {"slices", RAPT_F32, RAPT_ROWS_GATHER, 2, 8, 8, 8, 500, 300, 64, .slice_ms = 0.0001f},
        {"nothing", RAPT_F32, RAPT_ROWS_GATHER, 1, 2, 2, 2, 9, 0, 8},
        {"from-nothing", RAPT_F32, RAPT_ROWS_SCATTER, 1, 2, 2, 2, 9, 0, 8},
    };
    rig_open(&the_rig, &(rig_options){.validation = true});
    for (size_t i = 0; i < RAPT_COUNT(cases); i++) {
        check(&cases[i]);
        if (atomic_load(&the_rig.runtime->validation_messages) != 0)
            fail_msg("%s: validation: %.400s", cases[i].name, strstr(the_rig.log, "validation: "));
    }
    rig_close(&the_rig);
}

/* ---- caches ---- */

/* A cache of pages in device memory, and what it must hold. */
typedef struct cache {
    rapt_tensor tensor; /* (pages, HEADS, page_size, dim) */
    uint64_t dim;
    uint8_t *model;
    rapt_buffer *buffer;
} cache;
enum { HEADS = 2, SEQUENCES = 2 };

static cache cache_make(rapt_dtype dtype, uint64_t pages, uint64_t page_size, uint64_t dim, uint64_t gap)
{
    cache c = {.tensor = rapt_tensor_bhnd(dtype, pages, HEADS, page_size, dim + gap), .dim = dim};
    c.tensor.size[3] = dim;
    const uint64_t bytes = (rapt_tensor_bytes(&c.tensor) + 3) / 4 * 4;
    c.model = malloc(bytes);
    assert_non_null(c.model);
    memset(c.model, 0xff, bytes); /* NaN */
    c.buffer = upload(c.model, bytes);
    return c;
}

static void cache_free(cache *c)
{
    rapt_buffer_destroy(&c->buffer);
    free(c->model);
}

/* Rows of SEQUENCES sequences into slots (SEQUENCES, count), on the device and in the model. Returns the rows. */
static void *cache_place(cache *c, const int32_t *slots, uint64_t count, uint64_t seed, float slice_ms)
{
    const uint64_t element = rapt_dtype_size(c->tensor.dtype);
    rapt_rows_desc d = RAPT_ROWS_DESC_INIT;
    rapt_rows_args args = RAPT_ROWS_ARGS_INIT;
    d.kind = RAPT_ROWS_PLACE;
    d.x = rapt_tensor_bhnd(c->tensor.dtype, SEQUENCES, HEADS, count, c->dim);
    d.list = numbers_of(RAPT_I32, SEQUENCES, 1, count);
    d.out = c->tensor;
    d.slice_ms = slice_ms;
    uint8_t *rows = rig_numbers(c->tensor.dtype, SEQUENCES * HEADS * count * c->dim, seed);
    args.x.buffer = upload(rows, rapt_tensor_bytes(&d.x));
    args.list.buffer = upload(slots, SEQUENCES * count * sizeof *slots);
    args.out.buffer = c->buffer;
    RIG_OK(rapt_rows_run(the_rig.device, &d, &args, error));
    rapt_buffer_destroy(&args.x.buffer);
    rapt_buffer_destroy(&args.list.buffer);
    const int64_t page = (int64_t)c->tensor.size[2], total = page * (int64_t)c->tensor.size[0];
    for (uint64_t i = 0; i < SEQUENCES * HEADS * count; i++) {
        const int64_t slot = slots[i / (HEADS * count) * count + i % count], head = (int64_t)(i / count % HEADS);
        const int64_t at = slot / page * c->tensor.stride[0] + head * c->tensor.stride[1] + slot % page * c->tensor.stride[2];
        if (slot >= 0 && slot < total)
            memcpy(c->model + (uint64_t)at * element, rows + i * c->dim * element, c->dim * element);
    }
    return rows;
}

static void cache_check(const cache *c, const char *what)
{
    const uint64_t bytes = rapt_tensor_bytes(&c->tensor);
    uint8_t *got = malloc(bytes);
    assert_non_null(got);
    RIG_OK(rapt_buffer_download(c->buffer, 0, got, bytes, error));
    for (uint64_t i = 0; i < bytes; i++)
        if (got[i] != c->model[i])
            fail_msg("%s: byte %llu of %llu is %02x, not %02x", what, (unsigned long long)i, (unsigned long long)bytes, got[i],
                     c->model[i]);
    free(got);
}

/* Appends of random lengths through a block table of scattered pages, or into a ring behind sinks: the whole cache, bit by bit. */
static void grow(rapt_dtype dtype, uint64_t page_size, uint64_t dim, uint64_t gap, bool ring, float slice_ms)
{
    enum { CAPACITY = 36, SINKS = 3 };
    const uint64_t pages = CAPACITY / page_size;
    cache c = cache_make(dtype, SEQUENCES * pages, page_size, dim, gap);
    uint64_t length[SEQUENCES] = {0};
    rapt_random random = {.state = 3 + page_size};
    for (uint64_t call = 0; call < 8; call++) {
        int32_t slots[SEQUENCES * 6];
        const uint64_t count = 1 + rapt_random_below(&random, 6);
        for (uint64_t i = 0; i < SEQUENCES * count; i++) {
            const uint64_t s = i / count;
            uint64_t place = length[s]++;
            if (ring && place >= CAPACITY / 2)
                place = SINKS + (place - SINKS) % (CAPACITY / 2 - SINKS);
            const uint64_t page = (place / page_size * 5 + 2) % pages * SEQUENCES + s; /* the table */
            const bool none = place >= CAPACITY || rapt_random_below(&random, 9) == 0;
            slots[i] = none ? (i % 2 ? -1 : INT32_MAX) : (int32_t)(page * page_size + place % page_size);
        }
        free(cache_place(&c, slots, count, call + 20, slice_ms));
    }
    cache_check(&c, ring ? "ring" : "pages");
    cache_free(&c);
}

static void test_caches_grow(void **state)
{
    (void)state;
    rig_open(&the_rig, &(rig_options){.validation = true});
    grow(RAPT_F32, 4, 16, 0, false, 0);
    grow(RAPT_F16, 4, 16, 0, false, 0);
    grow(RAPT_F16, 3, 7, 2, false, 0);
    grow(RAPT_BF16, 36, 5, 0, false, 0); /* a page for each sequence: no table */
    grow(RAPT_F32, 36, 9, 0, true, 0);
    grow(RAPT_F32, 6, 8, 0, true, 0.0001f);
    if (atomic_load(&the_rig.runtime->validation_messages) != 0)
        fail_msg("validation: %.400s", strstr(the_rig.log, "validation: "));
    rig_close(&the_rig);
}

/* Decoding reads the pages that were written: as attention over the same rows one behind the other. */
static void test_decode_from_what_was_placed(void **state)
{
    (void)state;
    enum { PAGE = 4, PAGES = 3, DIM = 16, N = PAGE * PAGES, COUNT = SEQUENCES * HEADS * N * DIM, OUT = SEQUENCES * HEADS * DIM };
    static const int32_t table[SEQUENCES * PAGES] = {4, 0, 2, 1, 5, 3};
    int32_t slots[SEQUENCES * N];
    float paged[OUT], plain[OUT];
    rig_open(&the_rig, NULL);
    for (int i = 0; i < SEQUENCES * N; i++)
        slots[i] = table[i / N * PAGES + i % N / PAGE] * PAGE + i % PAGE;
    cache k = cache_make(RAPT_F32, SEQUENCES * PAGES, PAGE, DIM, 0), v = cache_make(RAPT_F32, SEQUENCES * PAGES, PAGE, DIM, 0);
    void *keys = cache_place(&k, slots, N, 1, 0), *values = cache_place(&v, slots, N, 2, 0), *q = rig_numbers(RAPT_F32, OUT, 3);
    rapt_attention_desc d = rig_desc(RAPT_F32, SEQUENCES, HEADS, HEADS, 1, N, DIM, false);
    rig_call one = {.desc = d, .q = q, .k = keys, .v = values, .out = plain};
    rig_run(the_rig.device, &one);
    d.k = k.tensor;
    d.v = v.tensor;
    d.block_table = (rapt_tensor){.dtype = RAPT_I32, .rank = 2, .size = {SEQUENCES, PAGES}, .stride = {PAGES, 1}};
    d.page_size = PAGE;
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    rapt_plan *plan = NULL;
    rapt_binding *binding = NULL;
    args.q.buffer = upload(q, sizeof paged);
    args.out.buffer = upload(paged, sizeof paged);
    args.block_table.buffer = upload(table, sizeof table);
    args.k.buffer = k.buffer;
    args.v.buffer = v.buffer;
    RIG_OK(rapt_attention_plan(the_rig.device, &d, &plan, error));
    RIG_OK(rapt_plan_prepare(plan, error));
    RIG_OK(rapt_attention_bind(plan, &args, &binding, error));
    RIG_OK(rapt_submit(binding, error));
    RIG_OK(rapt_wait(binding, UINT64_MAX, error));
    RIG_OK(rapt_buffer_download(args.out.buffer, 0, paged, sizeof paged, error));
    for (int i = 0; i < OUT; i++)
        assert_true(fabsf(paged[i] - plain[i]) <= 1e-5f * (1 + fabsf(plain[i])));
    rapt_binding_destroy(&binding);
    rapt_plan_destroy(&plan);
    rapt_buffer *buffers[] = {args.q.buffer, args.out.buffer, args.block_table.buffer};
    for (size_t n = 0; n < RAPT_COUNT(buffers); n++)
        rapt_buffer_destroy(&buffers[n]);
    cache_free(&k);
    cache_free(&v);
    free(keys);
    free(values);
    free(q);
    rig_close(&the_rig);
}

/* Entries that are no rows give zeros, whatever they are, and reach nothing. */
static void test_bad_entries(void **state)
{
    (void)state;
    static const move m = {"bad-entries", RAPT_F32, RAPT_ROWS_GATHER, 1, 1, 1, 1, 9, 6, 8};
    static const int32_t bad[6] = {9, INT32_MAX, INT32_MIN, -1, 3, 1 << 30};
    rig_open(&the_rig, NULL);
    arrays a = make(&m);
    memcpy(a.list, bad, sizeof bad);
    run(&a);
    for (uint64_t i = 0; i < 6 * 8; i++)
        assert_true(((float *)a.out)[i] == (i / 8 == 4 ? ((float *)a.x)[3 * 8 + i % 8] : 0.0f));
    put_away(&a);
    rig_close(&the_rig);
}

static void test_refusals(void **state)
{
    (void)state;
    rig_open(&the_rig, NULL);
    const rapt_caps caps = *rapt_device_caps(the_rig.device);
    static const move m = {"refused", RAPT_F32, RAPT_ROWS_SCATTER, 1, 4, 2, 2, 20, 6, 8};
    arrays a = make(&m);
    rapt_plan *plan = NULL;
#define REFUSED(change, part)                                                                                \
    do {                                                                                                     \
        rapt_rows_desc d = a.d;                                                                              \
        change;                                                                                              \
        RIG_FAILS(rapt_rows_plan_for_caps(&caps, &d, &plan, error), RAPT_ERROR_INVALID, part);               \
        assert_null(plan);                                                                                   \
    } while (0)
    REFUSED(d.kind = RAPT_ROWS_KIND_COUNT, "kind is 4");
    REFUSED(d.x.dtype = RAPT_I32, "x: dtype i32");
    REFUSED(d.out.dtype = RAPT_F16, "out is f16, must be f32");
    REFUSED(d.list.dtype = RAPT_F32, "list is f32, must be i32");
    REFUSED(d.list.size[1] = 3, "list: 3 heads, must be a divisor of 4");
    REFUSED(d.x.size[2] = 7, "list: 6 rows of 1, must be 7 of 1");
    REFUSED(d.runs = 4, "6 entries are no 4 runs");
    REFUSED((d.kind = RAPT_ROWS_GATHER, d.runs = 2), "runs goes with scattering");
    REFUSED(d.out.stride[2] = 0, "out: stride 0 of axis 2");
    REFUSED((d.kind = RAPT_ROWS_PLACE, d.runs = 2), "placing goes without runs and weight");
    REFUSED(d.kind = RAPT_ROWS_PLACE, "out: 4 heads, must be 2");
    REFUSED((d.kind = RAPT_ROWS_PLACE, d.out.size[0] = 1 << 29), "at most 536870912 slots");
    put_away(&a);
    rig_close(&the_rig);
}

int main(void)
{
    struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_bad_entries),
                                 cmocka_unit_test(test_caches_grow), cmocka_unit_test(test_decode_from_what_was_placed),
                                 cmocka_unit_test(test_refusals)};
    return RIG_RUN("rows", tests);
}
