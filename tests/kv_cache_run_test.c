/* A key-value cache on the device: what rapt_cache decides, performed with rows by index, and attention over what is there, against
 * double precision over plain lists of keys. Pages that nobody has are NaN. */
#include "rig.h"

#include "check/half.h"

#include <math.h>

static rig the_rig;

enum { HEADS = 2, Q_HEADS = 4, DIM = 16, PAGE = 4, PAGES = 12, LINES = 3, WIDTH = 8, MOST = WIDTH * PAGE, ROW = HEADS * DIM };

typedef struct sequences {
    rapt_cache *cache;
    rapt_dtype dtype;
    uint32_t number[LINES];
    uint64_t length[LINES];
    float rows[2][LINES][MOST][ROW]; /* of keys and values, as stored */
    uint8_t *pool[2], *scratch;
    uint32_t state;
} sequences;

static uint32_t any(sequences *s, uint32_t below)
{
    s->state = s->state * 1664525u + 1013904223u;
    return (s->state >> 8) % below;
}

static rapt_tensor list_of(uint64_t count)
{
    return (rapt_tensor){.dtype = RAPT_I32, .rank = 3, .size = {1, 1, count}, .stride = {(int64_t)count, (int64_t)count, 1}};
}

static void place(sequences *s, int pool, const void *rows, const int32_t *slots, uint64_t count)
{
    rapt_rows_desc d = RAPT_ROWS_DESC_INIT;
    d.kind = RAPT_ROWS_PLACE;
    d.x = rapt_tensor_bhnd(s->dtype, 1, HEADS, count, DIM);
    d.list = list_of(count);
    d.out = rapt_cache_pool(s->cache, s->dtype, HEADS, DIM);
    rig_run_rows(the_rig.device, &d, &(rig_rows){.x = rows, .list = slots, .out = s->pool[pool]});
}

static void perform(sequences *s, const rapt_cache_move *moves, uint64_t count)
{
    int32_t from[MOST], to[MOST];
    for (uint64_t n = 0; n < count; n++) {
        from[n] = moves[n].from;
        to[n] = moves[n].to;
    }
    for (int pool = 0; pool < 2 && count > 0; pool++) {
        rapt_rows_desc d = RAPT_ROWS_DESC_INIT;
        d.x = rapt_cache_rows(s->cache, s->dtype, HEADS, DIM);
        d.list = list_of(count);
        d.out = rapt_tensor_bhnd(s->dtype, 1, HEADS, count, DIM);
        rig_run_rows(the_rig.device, &d, &(rig_rows){.x = s->pool[pool], .list = from, .out = s->scratch});
        place(s, pool, s->scratch, to, count);
    }
}

/* Pages that no line holds. */
static void poison(sequences *s)
{
    bool had[PAGES] = {false};
    int32_t table[LINES][WIDTH];
    RIG_OK(rapt_cache_table(s->cache, s->number, LINES, WIDTH, table[0], NULL, error));
    for (int n = 0; n < LINES * WIDTH; n++)
        if (table[n / WIDTH][n % WIDTH] >= 0)
            had[table[n / WIDTH][n % WIDTH]] = true;
    const size_t row = DIM * rapt_dtype_size(s->dtype);
    for (int head = 0; head < HEADS; head++)
        for (int page = 0; page < PAGES; page++)
            for (int pool = 0; pool < 2 && !had[page]; pool++)
                memset(s->pool[pool] + (size_t)(head * PAGES + page) * PAGE * row, 0xff, PAGE * row);
}

static void append(sequences *s, unsigned line)
{
    rapt_cache_move moves[PAGE];
    int32_t slots[MOST];
    uint64_t moved, count = 1 + any(s, 6);
    const uint64_t length = s->length[line];
    const rapt_status status = rapt_cache_append(s->cache, s->number[line], count, slots, moves, PAGE, &moved, NULL);
    if (length + count > MOST) {
        assert_int_equal(status, RAPT_ERROR_UNSUPPORTED);
        return;
    }
    if (status == RAPT_ERROR_OUT_OF_DEVICE_MEMORY)
        return; /* every page is taken: tests/kv_cache_test.c */
    assert_int_equal(status, RAPT_OK);
    perform(s, moves, moved);
    for (int pool = 0; pool < 2; pool++) {
        float *numbers = rig_numbers(RAPT_F32, (size_t)count * ROW, s->state + (uint32_t)pool);
        uint8_t *x = calloc((size_t)count * ROW, 4);
        assert_true(numbers && x);
        for (uint64_t head = 0; head < HEADS; head++)
            for (uint64_t n = 0; n < count; n++)
                for (uint64_t e = 0; e < DIM; e++) {
                    const int64_t at = (int64_t)((head * count + n) * DIM + e);
                    rapt_check_store(x, s->dtype, at, numbers[at]);
                    s->rows[pool][line][length + n][head * DIM + e] = rapt_check_load(x, s->dtype, at);
                }
        place(s, pool, x, slots, count);
        free(numbers);
        free(x);
    }
    s->length[line] += count;
}

static void evict(sequences *s, unsigned line)
{
    rapt_cache_move moves[MOST];
    uint32_t keys[MOST];
    uint64_t moved, count = 0;
    for (uint32_t key = 0; key < s->length[line]; key++)
        if (any(s, 3))
            keys[count++] = key;
    const rapt_status status = rapt_cache_keep(s->cache, s->number[line], keys, count, moves, MOST, &moved, NULL);
    if (status == RAPT_ERROR_OUT_OF_DEVICE_MEMORY)
        return; /* no page to copy a shared one into */
    assert_int_equal(status, RAPT_OK);
    perform(s, moves, moved);
    for (uint64_t key = 0; key < count; key++)
        for (int pool = 0; pool < 2; pool++)
            memmove(s->rows[pool][line][key], s->rows[pool][line][keys[key]], sizeof s->rows[pool][line][key]);
    s->length[line] = count;
}

/* The line ends, and begins again as a branch of another. */
static void branch(sequences *s, unsigned line, unsigned from)
{
    if (line == from)
        return;
    const uint64_t length = any(s, (uint32_t)s->length[from] + 1);
    RIG_OK(rapt_cache_close(s->cache, s->number[line], error));
    RIG_OK(rapt_cache_fork(s->cache, s->number[from], length, &s->number[line], error));
    for (int pool = 0; pool < 2; pool++)
        memcpy(s->rows[pool][line], s->rows[pool][from], sizeof s->rows[pool][line]);
    s->length[line] = length;
}

/* A score of DIM products errs by so many units of 2^-24 of its products' sizes (reach), a weight by that in its numerator and in its
 * denominator; the keys are added up. In f16 weights and outputs may be rounded once each. All in parts of the largest value. */
static double tolerance(rapt_dtype dtype, double reach, uint64_t keys)
{
    return (2 * reach * DIM + (double)keys) * 0x1p-24 + (dtype == RAPT_F16 ? 0x1p-10 : 0);
}

static void check_row(const sequences *s, unsigned line, unsigned head, const float *q, const float *out)
{
    const uint64_t group = head / (Q_HEADS / HEADS), n = s->length[line];
    double score[MOST], sum = 0, top = -INFINITY, reach = 0, largest = 0;
    for (uint64_t j = 0; j < n; j++) {
        double size = 0;
        score[j] = 0;
        for (uint64_t e = 0; e < DIM; e++) {
            const double product = (double)q[e] * (double)s->rows[0][line][j][group * DIM + e] / 4;
            score[j] += product;
            size += fabs(product);
            largest = fmax(largest, fabs((double)s->rows[1][line][j][group * DIM + e]));
        }
        top = fmax(top, score[j]);
        reach = fmax(reach, size);
    }
    const double allowed = largest * tolerance(s->dtype, reach, n);
    for (uint64_t j = 0; j < n; j++)
        sum += exp(score[j] - top);
    for (int e = 0; e < DIM; e++) {
        double want = 0;
        for (uint64_t j = 0; j < n; j++)
            want += exp(score[j] - top) / sum * (double)s->rows[1][line][j][group * DIM + (uint64_t)e];
        if (!(fabs((double)out[e] - want) <= allowed))
            fail_msg("line %u of %llu keys, head %u, element %d: %g, not %g", line, (unsigned long long)n, head, e, (double)out[e], want);
    }
}

static void attend(sequences *s)
{
    int32_t table[LINES * WIDTH], lengths[LINES];
    float q[LINES * Q_HEADS * DIM], out[LINES * Q_HEADS * DIM];
    uint8_t stored[sizeof q];
    float *numbers = rig_numbers(RAPT_F32, RAPT_COUNT(q), s->state);
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    RIG_OK(rapt_cache_table(s->cache, s->number, LINES, WIDTH, table, lengths, error));
    for (size_t n = 0; n < RAPT_COUNT(q); n++) {
        rapt_check_store(stored, s->dtype, (int64_t)n, numbers[n]);
        q[n] = rapt_check_load(stored, s->dtype, (int64_t)n);
    }
    free(numbers);
    d.q = d.out = rapt_tensor_bhnd(s->dtype, LINES, Q_HEADS, 1, DIM);
    d.k = d.v = rapt_cache_pool(s->cache, s->dtype, HEADS, DIM);
    d.page_size = PAGE;
    d.block_table = (rapt_tensor){.dtype = RAPT_I32, .rank = 2, .size = {LINES, WIDTH}, .stride = {WIDTH, 1}};
    d.k_lengths = (rapt_tensor){.dtype = RAPT_I32, .rank = 1, .size = {LINES}, .stride = {1}};
    const uint64_t pool = rapt_tensor_bytes(&d.k), rows = rapt_tensor_bytes(&d.q);
    memset(out, 0xff, sizeof out);
    rapt_buffer *b[] = {rig_upload(the_rig.device, stored, rows), rig_upload(the_rig.device, s->pool[0], pool),
                        rig_upload(the_rig.device, s->pool[1], pool), rig_upload(the_rig.device, out, rows),
                        rig_upload(the_rig.device, table, sizeof table), rig_upload(the_rig.device, lengths, sizeof lengths)};
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    rapt_slot *const slots[] = {&args.q, &args.k, &args.v, &args.out, &args.block_table, &args.k_lengths};
    for (size_t n = 0; n < RAPT_COUNT(b); n++)
        slots[n]->buffer = b[n];
    RIG_OK(rapt_attention_run(the_rig.device, &d, &args, error));
    RIG_OK(rapt_buffer_download(b[3], 0, stored, rows, error));
    for (size_t n = 0; n < RAPT_COUNT(out); n++)
        out[n] = rapt_check_load(stored, s->dtype, (int64_t)n);
    for (unsigned n = 0; n < LINES * Q_HEADS; n++)
        check_row(s, n / Q_HEADS, n % Q_HEADS, q + n * DIM, out + n * DIM);
    for (size_t n = 0; n < RAPT_COUNT(b); n++)
        rapt_buffer_destroy(&b[n]);
}

static void live(rapt_dtype dtype, uint32_t seed)
{
    static sequences s;
    rapt_cache_desc d = RAPT_CACHE_DESC_INIT;
    d.page_size = PAGE;
    d.pages = PAGES;
    d.sequences = LINES;
    d.pages_each = WIDTH;
    memset(&s, 0, sizeof s);
    s.dtype = dtype;
    s.state = seed;
    RIG_OK(rapt_cache_create(&d, &s.cache, error));
    const rapt_tensor pool = rapt_cache_pool(s.cache, dtype, HEADS, DIM);
    for (int n = 0; n < 2; n++) {
        s.pool[n] = malloc(rapt_tensor_bytes(&pool));
        assert_non_null(s.pool[n]);
        memset(s.pool[n], 0xff, rapt_tensor_bytes(&pool));
    }
    s.scratch = malloc(MOST * ROW * sizeof(float));
    assert_non_null(s.scratch);
    for (int n = 0; n < LINES; n++)
        RIG_OK(rapt_cache_open(s.cache, &s.number[n], error));
    for (int n = 0; n < 24; n++) {
        const uint32_t line = any(&s, LINES), what = any(&s, 6);
        if (what < 3)
            append(&s, line);
        else if (what < 5)
            branch(&s, line, any(&s, LINES));
        else
            evict(&s, line);
        poison(&s);
        if (n % 6 == 5)
            attend(&s);
    }
    for (int n = 0; n < 2; n++)
        free(s.pool[n]);
    free(s.scratch);
    rapt_cache_destroy(&s.cache);
}

static void test_f32(void **state)
{
    (void)state;
    live(RAPT_F32, 3);
}

static void test_f16(void **state)
{
    (void)state;
    live(RAPT_F16, 4);
}

int main(void)
{
    struct CMUnitTest tests[] = {cmocka_unit_test(test_f32), cmocka_unit_test(test_f16)};
    rig_open(&the_rig, NULL);
    const int failed = RIG_RUN("kv_cache_run", tests);
    rig_close(&the_rig);
    return failed;
}
