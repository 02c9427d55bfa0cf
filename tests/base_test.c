/* The base layer: errors, memory, text, hash, files, threads. */
#include "support.h"

#include "base/base.h"

static void error_messages(void **state)
{
    (void)state;
    rapt_error error = {0};
    assert_int_equal(rapt_fail(&error, RAPT_ERROR_INVALID, "axis %d\nis %s\n", 3, "bad"), RAPT_ERROR_INVALID);
    assert_int_equal(error.status, RAPT_ERROR_INVALID);
    assert_string_equal(error.message, "axis 3 is bad");
    assert_int_equal(rapt_fail_prefix(&error, RAPT_ERROR_VULKAN, "row %s", "x"), RAPT_ERROR_INVALID);
    assert_string_equal(error.message, "row x: axis 3 is bad");
    assert_int_equal(rapt_fail(&error, RAPT_ERROR_IO, "%s", error.message), RAPT_ERROR_IO); /* its own text */
    assert_string_equal(error.message, "row x: axis 3 is bad");
    assert_int_equal(rapt_fail(NULL, RAPT_ERROR_BUSY, "x"), RAPT_ERROR_BUSY);
    assert_int_equal(rapt_fail_prefix(NULL, RAPT_ERROR_BUSY, "x"), RAPT_ERROR_BUSY);

    char long_text[2000];
    memset(long_text, 'a', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    rapt_fail(&error, RAPT_ERROR_IO, "%s", long_text);
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
    memcpy(long_text + sizeof error.message - 2, "\xe2\x82\xac", 3); /* a euro sign on the edge is dropped whole */
    rapt_fail(&error, RAPT_ERROR_IO, "%s", long_text);
    assert_int_equal(strlen(error.message), sizeof error.message - 2);
    rapt_fail(&error, RAPT_ERROR_IO, "bad");
    rapt_fail_prefix(&error, RAPT_ERROR_IO, "%s", long_text);
    assert_true(strlen(error.message) < sizeof error.message);

    for (int status = RAPT_OK; status <= RAPT_ERROR_VULKAN; status++)
        assert_string_not_equal(rapt_status_name((rapt_status)status), "unknown status");
    assert_string_equal(rapt_status_name((rapt_status)99), "unknown status");
    char version[32];
    snprintf(version, sizeof version, "%u.%u.%u", rapt_version() >> 16, rapt_version() >> 8 & 255,
             rapt_version() & 255);
    assert_string_equal(rapt_version_string(), version);
}

typedef struct counting {
    size_t bytes, calls, fail_at;
} counting;

static void *counting_alloc(void *user, size_t size)
{
    counting *c = user;
    if (++c->calls == c->fail_at)
        return NULL;
    c->bytes += size;
    return malloc(size);
}

static void counting_free(void *user, void *old, size_t size)
{
    ((counting *)user)->bytes -= size;
    free(old);
}

static void *counting_realloc(void *user, void *old, size_t old_size, size_t size)
{
    void *memory = counting_alloc(user, size);
    if (memory != NULL) {
        memcpy(memory, old, RAPT_MIN(old_size, size));
        counting_free(user, old, old_size);
    }
    return memory;
}

static void memory(void **state)
{
    (void)state;
    counting c = {0};
    rapt_allocator a = {&c, counting_alloc, counting_realloc, counting_free};
    assert_null(rapt_calloc(&a, SIZE_MAX / 2, 3));
    assert_int_equal(c.calls, 0);
    unsigned *array = rapt_calloc(&a, 3, sizeof *array);
    assert_true(array[0] == 0 && array[2] == 0);
    array[2] = 7;
    array = rapt_realloc_array(&a, array, 3, 100, sizeof *array);
    assert_true(array[2] == 7 && array[3] == 0 && array[99] == 0);
    assert_null(rapt_realloc_array(&a, array, 100, SIZE_MAX, sizeof *array));
    array = rapt_realloc_array(&a, array, 100, 0, sizeof *array);
    assert_non_null(array);
    rapt_free(&a, array, 0);
    assert_int_equal(c.bytes, 0);
    rapt_free(&a, NULL, 10);

    rapt_arena arena;
    rapt_arena_init(&arena, &a);
    unsigned char *small[100];
    for (int i = 0; i < 100; i++) {
        small[i] = rapt_arena_alloc(&arena, (size_t)i * 7, 1);
        assert_int_equal((uintptr_t)small[i] % 16, 0);
        for (int k = 0; k < i * 7; k++)
            assert_int_equal(small[i][k], 0);
        memset(small[i], i, (size_t)i * 7);
    }
    unsigned char *large = rapt_arena_alloc(&arena, 100000, 1);
    memset(large, 1, 100000);
    assert_string_equal(rapt_arena_strdup(&arena, "text"), "text");
    for (int i = 0; i < 100; i++)
        for (int k = 0; k < i * 7; k++)
            assert_int_equal(small[i][k], i);
    c.fail_at = c.calls + 1;
    assert_null(rapt_arena_alloc(&arena, 100000, 1));
    rapt_arena_free(&arena);
    assert_int_equal(c.bytes, 0);

    a = rapt_allocator_default();
    void *memory = a.alloc(a.user, 1);
    assert_int_equal((uintptr_t)memory % 16, 0);
    memory = a.realloc(a.user, memory, 1, 1000);
    assert_int_equal((uintptr_t)memory % 16, 0);
    a.free(a.user, memory, 1000);

    uint64_t out;
    assert_true(rapt_mul_u64(UINT64_MAX, 1, &out) && out == UINT64_MAX);
    assert_true(rapt_mul_u64(0, UINT64_MAX, &out) && out == 0);
    assert_false(rapt_mul_u64(1ull << 32, 1ull << 32, &out));
    assert_true(rapt_add_u64(UINT64_MAX, 0, &out));
    assert_false(rapt_add_u64(UINT64_MAX, 1, &out));
}

static void text(void **state)
{
    (void)state;
    char buffer[16];
    rapt_text t = rapt_text_over(buffer, sizeof buffer);
    rapt_text_add(&t, "%d+", 12);
    rapt_text_add_json(&t, "a\"b\\\n\x01");
    assert_int_equal(t.length, 3 + 16);
    assert_string_equal(buffer, "12+\"a\\\"b\\\\\\n\\u0");
    char exact[64];
    t = rapt_text_over(exact, sizeof exact);
    rapt_text_add_json(&t, "t\tab \x7f \xc3\xa4");
    assert_string_equal(exact, "\"t\\tab \\u007f \xc3\xa4\"");
    t = rapt_text_over(NULL, 10);
    rapt_text_add(&t, "%s", "hello");
    rapt_text_add_json(&t, "x");
    assert_int_equal(t.length, 8);
}

static void hash(void **state)
{
    (void)state;
    /* The vectors are of this library's own function: they keep it the same on every platform. */
    static const struct {
        size_t size;
        const char *hex;
    } vectors[] = {
        {0, "3f56fdff9a777e4ed5f58d76dd4a7d6d"},
        {1, "2ba16045a0c074996d1ebd6bf8c14c5c"},
        {16, "8db357a813d4405dcfe5249ea4528954"},
        {100, "4b0ca51690677f6e693947420138e300"},
    };
    unsigned char data[100];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 7 + 1);
    char hex[33];
    for (size_t i = 0; i < RAPT_COUNT(vectors); i++) {
        rapt_hash_hex(rapt_hash_bytes(RAPT_HASH_INIT, data, vectors[i].size), hex);
        assert_string_equal(hex, vectors[i].hex);
    }
    /* Every bit of the input matters, about half of the output's bits change, trailing zeros count. */
    rapt_hash plain = rapt_hash_bytes(RAPT_HASH_INIT, data, sizeof data);
    size_t changed = 0;
    for (size_t bit = 0; bit < 8 * sizeof data; bit++) {
        data[bit / 8] ^= (unsigned char)(1 << bit % 8);
        rapt_hash other = rapt_hash_bytes(RAPT_HASH_INIT, data, sizeof data);
        data[bit / 8] ^= (unsigned char)(1 << bit % 8);
        assert_false(rapt_hash_equal(plain, other));
        for (uint64_t d = plain.lo ^ other.lo; d; d &= d - 1)
            changed++;
        for (uint64_t d = plain.hi ^ other.hi; d; d &= d - 1)
            changed++;
    }
    assert_in_range(changed, 800 * 62, 800 * 66);
    static const unsigned char zeros[64];
    rapt_hash seen[64];
    for (size_t n = 0; n < 64; n++) {
        seen[n] = rapt_hash_bytes(RAPT_HASH_INIT, zeros, n);
        for (size_t k = 0; k < n; k++)
            assert_false(rapt_hash_equal(seen[n], seen[k]));
    }
    assert_false(rapt_hash_equal(rapt_hash_bytes(seen[1], zeros, 1), rapt_hash_bytes(seen[2], zeros, 1)));
}

static char logged[4096];
static void keep_line(void *user, rapt_log_level level, const char *message)
{
    *(rapt_log_level *)user = level;
    snprintf(logged, sizeof logged, "%s", message);
}

static void logging(void **state)
{
    (void)state;
    rapt_log_level seen = 0;
    rapt_log log = {keep_line, &seen, RAPT_LOG_WARNING};
    rapt_log_write(&log, RAPT_LOG_INFO, "no");
    assert_int_equal(seen, 0);
    rapt_log_write(&log, RAPT_LOG_ERROR, "two\nlines %d", 2);
    assert_int_equal(seen, RAPT_LOG_ERROR);
    assert_string_equal(logged, "two lines 2");
    char long_text[3000];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    rapt_log_write(&log, RAPT_LOG_ERROR, "%s", long_text);
    assert_int_equal(strlen(logged), 2047);
    assert_string_equal(logged + 2044, "...");
    log.fn = NULL;
    rapt_log_write(&log, RAPT_LOG_ERROR, "no");
    rapt_log_write(NULL, RAPT_LOG_ERROR, "no");
}

static void files(void **state)
{
    (void)state;
    rapt_allocator a = rapt_allocator_default();
    char folder[512], path[600], deep[600];
    rapt_error error = {0};
    test_folder(folder, "files");
    snprintf(deep, sizeof deep, "%s/a//b/", folder);
    assert_true(rapt_make_dirs(deep));
    assert_true(rapt_make_dirs(deep));
    assert_false(rapt_make_dirs(""));
    snprintf(path, sizeof path, "%s/a/file", folder);

    void *data;
    size_t size;
    assert_int_equal(rapt_file_read(&a, path, 100, &data, &size, &error), RAPT_ERROR_IO);
    assert_non_null(strstr(error.message, path));
    size_t sizes[] = {0, 1, 65535, 65536, 65537, 300000};
    unsigned char *content = malloc(300000);
    for (size_t i = 0; i < 300000; i++)
        content[i] = (unsigned char)(i * i >> 3);
    for (size_t i = 0; i < RAPT_COUNT(sizes); i++) {
        assert_int_equal(rapt_file_replace(path, content, sizes[i], &error), RAPT_OK);
        assert_int_equal(rapt_file_read(&a, path, sizes[i], &data, &size, &error), RAPT_OK);
        assert_int_equal(size, sizes[i]);
        assert_true(size == 0 || memcmp(data, content, size) == 0);
        rapt_free(&a, data, size);
        if (sizes[i] > 0) {
            assert_int_equal(rapt_file_read(&a, path, sizes[i] - 1, &data, &size, &error), RAPT_ERROR_IO);
            assert_non_null(strstr(error.message, "larger than"));
        }
    }
    free(content);
    snprintf(path, sizeof path, "%s/missing/file", folder);
    assert_int_equal(rapt_file_replace(path, "x", 1, &error), RAPT_ERROR_IO);
    snprintf(path, sizeof path, "%s/a/b", folder); /* a folder is in the way */
    assert_int_equal(rapt_file_replace(path, "x", 1, &error), RAPT_ERROR_IO);
    snprintf(path, sizeof path, "%s/a/file/x", folder);
    assert_false(rapt_make_dirs(path));
    assert_null(rapt_library_open("/there/is/no/such/library"));
    rapt_library_close(NULL);
}

static void threads(void **state)
{
    (void)state;
    rapt_mutex mutex;
    assert_true(rapt_mutex_init(&mutex));
    rapt_mutex_lock(&mutex);
    rapt_mutex_unlock(&mutex);
    rapt_mutex_destroy(&mutex);
    uint64_t before = rapt_now_ns(), after = rapt_now_ns();
    assert_true(before > 0 && after >= before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_messages), cmocka_unit_test(memory),  cmocka_unit_test(text),
        cmocka_unit_test(hash),           cmocka_unit_test(logging), cmocka_unit_test(files),
        cmocka_unit_test(threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
