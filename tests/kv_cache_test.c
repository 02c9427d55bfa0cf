/* Bookkeeping of key-value caches: against a plain model, over thousands of calls in pseudo-random order; and what is refused. */
#include "support.h"

#include "base/base.h"
#include <rapt/cache.h>

enum { LINES = 6, PAGES = 23, MOST_KEYS = PAGES * 16 };

/* What a cache is to do: each sequence a list of tokens. The pool has the token of each slot, 0: poison. */
typedef struct model {
    rapt_cache *cache;
    uint32_t page_size, pages, width, number[LINES], next;
    bool alive[LINES];
    uint64_t length[LINES];
    uint32_t tokens[LINES][MOST_KEYS], pool[MOST_KEYS];
    uint32_t state;
    unsigned refused[4], moved; /* by status, roughly; keys that moved */
} model;

static uint32_t any(model *m, uint32_t below)
{
    m->state ^= m->state << 13;
    m->state ^= m->state >> 17;
    m->state ^= m->state << 5;
    return below ? m->state % below : 0;
}

static void start(model *m, uint32_t page_size, uint32_t pages_each, uint32_t seed)
{
    rapt_error error = {0};
    rapt_cache_desc d = RAPT_CACHE_DESC_INIT;
    memset(m, 0, sizeof *m);
    m->page_size = d.page_size = page_size;
    m->pages = d.pages = PAGES;
    d.sequences = LINES;
    d.pages_each = pages_each;
    m->width = pages_each ? pages_each : PAGES;
    m->state = seed * 2654435761u + 1;
    m->next = 1;
    assert_int_equal(rapt_cache_create(&d, &m->cache, &error), RAPT_OK);
}

/* As a device does it: all are read, then all are written. */
static void perform(model *m, const rapt_cache_move *moves, uint64_t count)
{
    static uint32_t rows[MOST_KEYS];
    for (uint64_t n = 0; n < count; n++) {
        assert_true(moves[n].from >= 0 && moves[n].from < (int32_t)(m->pages * m->page_size));
        rows[n] = m->pool[moves[n].from];
        assert_int_not_equal(rows[n], 0); /* nothing reads what was given back */
    }
    for (uint64_t n = 0; n < count; n++)
        m->pool[moves[n].to] = rows[n];
    m->moved += (unsigned)count;
}

/* Every sequence reads its tokens through the table; pages are had by as many lines as hold them; the others are poisoned. */
static void compare(model *m)
{
    rapt_error error = {0};
    rapt_cache_info info = RAPT_CACHE_INFO_INIT;
    uint32_t owners[PAGES] = {0}, alive = 0, sharing = 0, unused = 0;
    uint64_t keys = 0;
    for (unsigned n = 0; n < LINES; n++) {
        int32_t table[PAGES], length;
        if (!m->alive[n])
            continue;
        alive++;
        keys += m->length[n];
        assert_int_equal(rapt_cache_table(m->cache, &m->number[n], 1, PAGES, table, &length, &error), RAPT_OK);
        assert_int_equal(length, m->length[n]);
        assert_int_equal(rapt_cache_length(m->cache, m->number[n]), m->length[n]);
        for (uint64_t key = 0; key < m->length[n]; key++)
            assert_int_equal(m->pool[(uint32_t)table[key / m->page_size] * m->page_size + key % m->page_size], m->tokens[n][key]);
        for (uint32_t page = 0; page < PAGES; page++) {
            const bool used = page < rapt_div_up(m->length[n], m->page_size);
            assert_true(used ? table[page] >= 0 && table[page] < PAGES : table[page] == -1);
            owners[used ? table[page] : 0] += used;
        }
    }
    for (uint32_t page = 0; page < PAGES; page++) {
        sharing += owners[page] > 1;
        unused += owners[page] == 0;
        if (owners[page] == 0)
            memset(m->pool + page * m->page_size, 0, m->page_size * sizeof m->pool[0]);
    }
    assert_int_equal(rapt_cache_describe(m->cache, &info, &error), RAPT_OK);
    assert_true(info.pages == PAGES && info.sequences == alive && info.keys == keys && info.free_pages == unused && info.shared_pages == sharing);
}

static uint32_t free_pages(const model *m)
{
    rapt_cache_info info = RAPT_CACHE_INFO_INIT;
    assert_int_equal(rapt_cache_describe(m->cache, &info, NULL), RAPT_OK);
    return info.free_pages;
}

static unsigned idle_line(const model *m)
{
    unsigned n = 0;
    while (n < LINES && m->alive[n])
        n++;
    return n;
}

static void append(model *m, unsigned n)
{
    rapt_error error = {0};
    int32_t slots[MOST_KEYS];
    rapt_cache_move moves[16];
    uint64_t moved = 0, count = any(m, any(m, 8) ? 4 : 5 * m->page_size);
    const uint32_t before = free_pages(m);
    const uint64_t length = m->length[n], needed = rapt_div_up(length + count, m->page_size) - rapt_div_up(length, m->page_size);
    const rapt_status status = rapt_cache_append(m->cache, m->number[n], count, slots, moves, 16, &moved, &error);
    if (status == RAPT_ERROR_UNSUPPORTED) {
        assert_true(length + count > (uint64_t)m->width * m->page_size);
        m->refused[1]++;
        return;
    }
    if (status == RAPT_ERROR_OUT_OF_DEVICE_MEMORY) { /* a page more where the last one is shared */
        assert_true(needed + 1 > before);
        m->refused[2]++;
        return;
    }
    assert_int_equal(status, RAPT_OK);
    assert_true(moved < m->page_size && needed <= before);
    perform(m, moves, moved);
    for (uint64_t key = 0; key < count; key++) {
        m->tokens[n][length + key] = m->next;
        m->pool[slots[key]] = m->next++;
    }
    m->length[n] += count;
}

static void keep(model *m, unsigned n)
{
    rapt_error error = {0};
    static rapt_cache_move moves[MOST_KEYS];
    uint32_t keys[MOST_KEYS] = {0};
    uint64_t count = 0, moved = 0;
    const uint32_t in_four = any(m, 5), first = any(m, (uint32_t)m->length[n] + 1);
    for (uint32_t key = 0; key < m->length[n]; key++)
        if (key < first || any(m, 4) < in_four)
            keys[count++] = key;
    const rapt_status status = rapt_cache_keep(m->cache, m->number[n], keys, count, moves, MOST_KEYS, &moved, &error);
    if (status == RAPT_ERROR_OUT_OF_DEVICE_MEMORY) {
        assert_true(free_pages(m) < rapt_div_up(count, m->page_size));
        m->refused[3]++;
        return;
    }
    assert_int_equal(status, RAPT_OK);
    assert_true(moved <= count);
    perform(m, moves, moved);
    for (uint64_t key = 0; key < count; key++)
        m->tokens[n][key] = m->tokens[n][keys[key]];
    m->length[n] = count;
}

static void branch(model *m, unsigned n)
{
    rapt_error error = {0};
    const unsigned to = idle_line(m);
    const uint64_t length = any(m, 3) ? m->length[n] : any(m, (uint32_t)m->length[n] + 1);
    uint32_t number = 77;
    const rapt_status status = rapt_cache_fork(m->cache, m->number[n], length, &number, &error);
    if (to == LINES) {
        assert_int_equal(status, RAPT_ERROR_OUT_OF_DEVICE_MEMORY);
        assert_int_equal(number, 77);
        m->refused[0]++;
        return;
    }
    assert_int_equal(status, RAPT_OK);
    m->number[to] = number;
    m->alive[to] = true;
    m->length[to] = length;
    memcpy(m->tokens[to], m->tokens[n], length * sizeof m->tokens[0][0]);
}

static void begin(model *m)
{
    rapt_error error = {0};
    const unsigned to = idle_line(m);
    const rapt_status status = rapt_cache_open(m->cache, &m->number[to < LINES ? to : 0], &error);
    assert_int_equal(status, to < LINES ? RAPT_OK : RAPT_ERROR_OUT_OF_DEVICE_MEMORY);
    if (to < LINES) {
        m->alive[to] = true;
        m->length[to] = 0;
    }
}

static void step(model *m)
{
    rapt_error error = {0};
    const unsigned n = any(m, LINES), what = any(m, 16);
    if (!m->alive[n]) {
        begin(m);
    } else if (what < 8) {
        append(m, n);
    } else if (what < 11) {
        branch(m, n);
    } else if (what < 13) {
        keep(m, n);
    } else if (what < 15) {
        const uint64_t length = any(m, (uint32_t)m->length[n] + 1);
        assert_int_equal(rapt_cache_cut(m->cache, m->number[n], length, &error), RAPT_OK);
        m->length[n] = length;
    } else {
        assert_int_equal(rapt_cache_close(m->cache, m->number[n], &error), RAPT_OK);
        m->alive[n] = false;
    }
}

static void test_against_model(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2, 3, 16}, widths[] = {0, 7};
    static model m;
    unsigned refused[4] = {0}, moved = 0;
    for (uint32_t seed = 1; seed <= 300; seed++) {
        start(&m, sizes[seed % 4], widths[seed / 4 % 2], seed);
        for (int n = 0; n < 500; n++) {
            step(&m);
            compare(&m);
        }
        for (unsigned n = 0; n < 4; n++)
            refused[n] += m.refused[n];
        moved += m.moved;
        rapt_cache_destroy(&m.cache);
        assert_null(m.cache);
    }
    for (unsigned n = 0; n < 4; n++)
        assert_true(refused[n] > 0); /* each kind of refusal was met */
    assert_true(moved > 1000);
}

/* ---- one by one ---- */

static rapt_cache *cache_of(uint32_t page_size, uint32_t pages, uint32_t sequences, uint32_t pages_each)
{
    rapt_cache_desc d = RAPT_CACHE_DESC_INIT;
    rapt_cache *c = NULL;
    d.page_size = page_size;
    d.pages = pages;
    d.sequences = sequences;
    d.pages_each = pages_each;
    assert_int_equal(rapt_cache_create(&d, &c, NULL), RAPT_OK);
    return c;
}

static void test_places(void **state)
{
    (void)state;
    rapt_cache *c = cache_of(4, 5, 3, 0);
    uint32_t a, b;
    int32_t slots[8], table[2][3], lengths[2];
    rapt_cache_move moves[8];
    uint64_t moved;
    assert_int_equal(rapt_cache_open(c, &a, NULL), RAPT_OK);
    assert_int_equal(rapt_cache_append(c, a, 6, slots, NULL, 0, &moved, NULL), RAPT_OK);
    assert_true(moved == 0 && slots[0] == 0 && slots[3] == 3 && slots[4] == 4 && slots[5] == 5);
    assert_int_equal(rapt_cache_fork(c, a, 6, &b, NULL), RAPT_OK);
    assert_int_equal(rapt_cache_append(c, b, 1, slots, moves, 8, &moved, NULL), RAPT_OK); /* writes: a page of its own */
    assert_true(moved == 2 && moves[0].from == 4 && moves[0].to == 8 && moves[1].from == 5 && moves[1].to == 9 && slots[0] == 10);
    assert_int_equal(rapt_cache_append(c, a, 1, slots, NULL, 0, &moved, NULL), RAPT_OK); /* now alone */
    assert_true(moved == 0 && slots[0] == 6);
    assert_int_equal(rapt_cache_table(c, (const uint32_t[]){a, b}, 2, 3, table[0], lengths, NULL), RAPT_OK);
    assert_true(table[0][0] == 0 && table[0][1] == 1 && table[0][2] == -1 && table[1][0] == 0 && table[1][1] == 2 && lengths[1] == 7);
    /* Eviction from a shared page: b's keys 1 to 6, in pages of its own. */
    assert_int_equal(rapt_cache_keep(c, b, (const uint32_t[]){1, 2, 3, 4, 5, 6}, 6, moves, 8, &moved, NULL), RAPT_OK);
    assert_true(moved == 6 && moves[0].from == 1 && moves[0].to == 12 && moves[3].from == 8 && moves[4].from == 9 && moves[4].to == 8);
    const rapt_tensor pool = rapt_cache_pool(c, RAPT_F16, 2, 64), rows = rapt_cache_rows(c, RAPT_F16, 2, 64);
    assert_true(pool.size[0] == 5 && pool.size[2] == 4 && pool.stride[0] == 4 * 64 && pool.stride[1] == 20 * 64 && pool.stride[2] == 64);
    assert_true(rows.size[2] == 20 && rapt_tensor_bytes(&rows) == rapt_tensor_bytes(&pool));
    rapt_cache_destroy(&c);
    rapt_cache_destroy(&c);
}

/* A call that fails says what, and leaves everything as it was. */
static void refuses(rapt_status status, rapt_status expected, const rapt_error *error, const char *part)
{
    assert_int_equal(status, expected);
    if (strstr(error->message, part) == NULL)
        fail_msg("'%s' does not say '%s'", error->message, part);
}

static void test_refusals(void **state)
{
    (void)state;
    rapt_error e = {0};
    rapt_cache_desc d = RAPT_CACHE_DESC_INIT;
    rapt_cache *c = NULL;
    d.page_size = 1 << 16;
    d.pages = 1 << 15;
    d.sequences = 1;
    refuses(rapt_cache_create(&d, &c, &e), RAPT_ERROR_INVALID, &e, "1 to 2147483647 keys in all");
    d.pages = 0;
    refuses(rapt_cache_create(&d, &c, &e), RAPT_ERROR_INVALID, &e, "0 pages");
    d.pages = 2;
    d.sequences = 0;
    refuses(rapt_cache_create(&d, &c, &e), RAPT_ERROR_INVALID, &e, "sequences is 0");
    d.struct_size--;
    refuses(rapt_cache_create(&d, &c, &e), RAPT_ERROR_INVALID, &e, "RAPT_CACHE_DESC_INIT");
    refuses(rapt_cache_create(NULL, &c, &e), RAPT_ERROR_INVALID, &e, "desc is NULL");
    assert_null(c);

    c = cache_of(4, 3, 2, 2);
    uint32_t a, b = 9;
    int32_t slots[16], table[4];
    rapt_cache_move moves[4];
    uint64_t moved = 5;
    assert_int_equal(rapt_cache_open(c, &a, NULL), RAPT_OK);
    refuses(rapt_cache_append(c, 1, 1, slots, moves, 4, &moved, &e), RAPT_ERROR_INVALID, &e, "sequence 1 is not alive");
    refuses(rapt_cache_append(c, 2, 1, slots, moves, 4, &moved, &e), RAPT_ERROR_INVALID, &e, "sequence 2 is not alive");
    refuses(rapt_cache_append(NULL, 0, 1, slots, moves, 4, &moved, &e), RAPT_ERROR_INVALID, &e, "cache is NULL");
    refuses(rapt_cache_append(c, a, 9, slots, moves, 4, &moved, &e), RAPT_ERROR_UNSUPPORTED, &e, "a sequence has room for 8");
    refuses(rapt_cache_append(c, a, UINT64_MAX, slots, moves, 4, &moved, &e), RAPT_ERROR_UNSUPPORTED, &e, "room for 8");
    refuses(rapt_cache_append(c, a, 1, NULL, moves, 4, &moved, &e), RAPT_ERROR_INVALID, &e, "slots is NULL");
    assert_int_equal(rapt_cache_append(c, a, 6, slots, NULL, 0, &moved, NULL), RAPT_OK);
    refuses(rapt_cache_fork(c, a, 7, &b, &e), RAPT_ERROR_INVALID, &e, "7 keys; sequence 0 has 6");
    assert_int_equal(rapt_cache_fork(c, a, 6, &b, NULL), RAPT_OK);
    refuses(rapt_cache_open(c, &b, &e), RAPT_ERROR_OUT_OF_DEVICE_MEMORY, &e, "all of 2 sequences are alive");
    refuses(rapt_cache_append(c, b, 1, slots, moves, 1, &moved, &e), RAPT_ERROR_INVALID, &e, "2 moves, room for 1");
    refuses(rapt_cache_keep(c, b, (const uint32_t[]){1, 2, 3, 4, 5}, 5, moves, 4, &moved, &e), RAPT_ERROR_OUT_OF_DEVICE_MEMORY, &e,
            "needs 2 pages more, 1 of 3 are free");
    refuses(rapt_cache_keep(c, b, (const uint32_t[]){1, 1}, 2, moves, 4, &moved, &e), RAPT_ERROR_INVALID, &e, "keys[1] is 1");
    refuses(rapt_cache_keep(c, b, (const uint32_t[]){6}, 1, moves, 4, &moved, &e), RAPT_ERROR_INVALID, &e, "below sequence 1's 6");
    refuses(rapt_cache_cut(c, b, 7, &e), RAPT_ERROR_INVALID, &e, "7 keys");
    refuses(rapt_cache_table(c, &b, 1, 1, table, NULL, &e), RAPT_ERROR_INVALID, &e, "has 2 pages, width is 1");
    assert_true(rapt_cache_length(c, a) == 6 && rapt_cache_length(c, b) == 6 && rapt_cache_length(c, 2) == 0);
    assert_int_equal(rapt_cache_close(c, b, NULL), RAPT_OK);
    refuses(rapt_cache_close(c, b, &e), RAPT_ERROR_INVALID, &e, "is not alive");
    rapt_cache_destroy(&c);
}

/* Memory that runs out at the nth allocation; what is left is counted. */
typedef struct meter {
    int left;
    size_t held;
} meter;

static void *meter_alloc(void *user, size_t size)
{
    meter *m = user;
    if (m->left-- <= 0)
        return NULL;
    m->held += size;
    return malloc(size);
}

static void *meter_realloc(void *user, void *old, size_t old_size, size_t size)
{
    (void)user, (void)old, (void)old_size, (void)size;
    return NULL;
}

static void meter_free(void *user, void *old, size_t size)
{
    meter *m = user;
    if (old != NULL)
        m->held -= size;
    free(old);
}

static void test_memory(void **state)
{
    (void)state;
    meter m = {0};
    const rapt_allocator allocator = {&m, meter_alloc, meter_realloc, meter_free};
    rapt_cache_desc d = RAPT_CACHE_DESC_INIT;
    rapt_cache *c = NULL;
    rapt_error e = {0};
    int needed = 0;
    d.page_size = 16;
    d.pages = 100;
    d.sequences = 4;
    d.allocator = &allocator;
    for (;; needed++) {
        m.left = needed;
        if (rapt_cache_create(&d, &c, &e) == RAPT_OK)
            break;
        assert_int_equal(e.status, RAPT_ERROR_OUT_OF_HOST_MEMORY);
        assert_int_equal(m.held, 0);
        assert_null(c);
    }
    assert_true(needed > 3);
    uint32_t a; /* from here on nothing allocates */
    int32_t slots[64];
    uint64_t moved;
    m.left = 0;
    assert_int_equal(rapt_cache_open(c, &a, NULL), RAPT_OK);
    for (int n = 0; n < 20; n++)
        assert_int_equal(rapt_cache_append(c, a, 64, slots, NULL, 0, &moved, NULL), RAPT_OK);
    rapt_cache_destroy(&c);
    assert_int_equal(m.held, 0);
    refuses(rapt_cache_create(&(rapt_cache_desc){.struct_size = sizeof d, .page_size = 1, .pages = 1, .sequences = 1,
                                                 .allocator = &(rapt_allocator){.alloc = meter_alloc}}, &c, &e),
            RAPT_ERROR_INVALID, &e, "all of alloc, realloc and free");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
