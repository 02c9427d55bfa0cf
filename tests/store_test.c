/* The disk cache: what is written comes back, and nothing damaged ever does. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif
#include "support.h"

#include "base/store.h"

#if !defined(_WIN32)
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#endif

#define HEADER 104 /* as in store.c */

static rapt_allocator allocator;
static const rapt_log silent;
static const rapt_hash context = {1, 2}, key = {3, 4};

static void open_store(rapt_store *store, char folder[512])
{
    allocator = rapt_allocator_default();
    test_folder(folder, "store");
    rapt_store_init(store, &allocator, silent, folder);
}

static bool hit(const rapt_store *store, rapt_store_kind kind, rapt_hash c, rapt_hash k, const void *data,
                size_t size)
{
    void *got;
    size_t got_size;
    if (!rapt_store_read(store, kind, c, k, &got, &got_size)) {
        assert_null(got);
        assert_int_equal(got_size, 0);
        return false;
    }
    bool same = got_size == size && (size == 0 || memcmp(got, data, size) == 0);
    rapt_free(&allocator, got, got_size);
    assert_true(same); /* a hit with other data is the one thing that must never be */
    return true;
}

static void round_trip(void **state)
{
    (void)state;
    rapt_store store;
    char folder[512];
    open_store(&store, folder);
    unsigned char data[1000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 31);
    size_t sizes[] = {0, 1, 16, 999, 1000};
    for (size_t i = 0; i < RAPT_COUNT(sizes); i++) {
        rapt_hash k = {i, 0};
        assert_false(hit(&store, RAPT_STORE_SPIRV, context, k, data, sizes[i]));
        rapt_store_write(&store, RAPT_STORE_SPIRV, context, k, data, sizes[i]);
        assert_true(hit(&store, RAPT_STORE_SPIRV, context, k, data, sizes[i]));
        assert_false(hit(&store, RAPT_STORE_PROBES, context, k, data, sizes[i]));
        assert_false(hit(&store, RAPT_STORE_SPIRV, key, k, data, sizes[i]));
    }
    rapt_store_write(&store, RAPT_STORE_SPIRV, context, key, data, 10);
    rapt_store_write(&store, RAPT_STORE_SPIRV, context, key, data + 5, 20); /* replaced */
    rapt_store_write(&store, RAPT_STORE_SPIRV, (rapt_hash){9, 9}, key, data, 30); /* another device's */
    assert_true(hit(&store, RAPT_STORE_SPIRV, context, key, data + 5, 20));
}

static void turned_off(void **state)
{
    (void)state;
    rapt_store store;
    char folder[512], long_path[2000];
    open_store(&store, folder);
    memset(long_path, 'x', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = '\0';
    const char *off[] = {NULL, "", long_path};
    for (size_t i = 0; i < RAPT_COUNT(off); i++) {
        rapt_store_init(&store, &allocator, silent, off[i]);
        assert_string_equal(store.dir, "");
        rapt_store_write(&store, RAPT_STORE_TUNING, context, key, "x", 1);
        assert_false(hit(&store, RAPT_STORE_TUNING, context, key, "x", 1));
    }
}

#if !defined(_WIN32)
/* The one file of a store. */
static void only_file(const char *folder, char path[1024])
{
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (entry->d_name[0] != '.') {
            snprintf(path, 1024, "%s/%s", folder, entry->d_name);
            count++;
        }
    closedir(dir);
    assert_int_equal(count, 1);
}

/* Writes a file that was last written to `days` ago. */
static void put_old(const char *folder, const char *name, const void *data, size_t size, int days)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(rapt_file_replace(path, data, size, NULL), RAPT_OK);
    struct timespec times[2] = {{0, UTIME_OMIT}, {time(NULL) - days * 86400, 0}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static bool there(const char *folder, const char *name)
{
    char path[1024];
    struct stat found;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return stat(path, &found) == 0;
}

/* Old files of other builds go; this build's, new ones and what is not the cache's stay. */
static void pruning(void **state)
{
    (void)state;
    rapt_store store;
    char folder[512], own[1024];
    open_store(&store, folder);
    rapt_store_write(&store, RAPT_STORE_PROBES, context, key, "x", 1);
    only_file(folder, own);
    void *memory;
    size_t size;
    assert_int_equal(rapt_file_read(&allocator, own, 1000, &memory, &size, NULL), RAPT_OK);
    unsigned char other[200];
    assert_true(size <= sizeof other);
    memcpy(other, memory, size);
    other[30] ^= 1; /* of the build's hash */
#define HEX "0123456789abcdef0123456789abcdef"
    put_old(folder, strrchr(own, '/') + 1, memory, size, 90);
    put_old(folder, "probes-" HEX ".bin", other, size, 31);
    put_old(folder, "tuning-" HEX ".bin", other, size, 29);
    put_old(folder, "spirv-" HEX ".bin", "RAPTBLOB", 8, 90);   /* too short to say whose */
    put_old(folder, "spirv-" HEX ".bin.1-2-3.tmp", "x", 1, 90); /* of a writer that is gone */
    put_old(folder, "pipelines-" HEX ".bin", "something else, forty bytes of it and more", 42, 90);
    put_old(folder, "probes-0123.bin", other, size, 90);
    put_old(folder, "thesis.bin", other, size, 90);
    assert_int_equal(rapt_store_prune(&store, 30.0 * 86400), 2);
    assert_false(there(folder, "probes-" HEX ".bin"));
    assert_false(there(folder, "spirv-" HEX ".bin.1-2-3.tmp"));
    const char *const kept[] = {"tuning-" HEX ".bin", "spirv-" HEX ".bin", "pipelines-" HEX ".bin", "probes-0123.bin", "thesis.bin"};
    for (size_t i = 0; i < RAPT_COUNT(kept); i++)
        assert_true(there(folder, kept[i]));
    assert_true(hit(&store, RAPT_STORE_PROBES, context, key, "x", 1));
    assert_int_equal(rapt_store_prune(&store, 30.0 * 86400), 0);
#undef HEX
    rapt_free(&allocator, memory, size);
    rapt_store_init(&store, &allocator, silent, "/nowhere/at/all");
    assert_int_equal(rapt_store_prune(&store, 0), 0);
    rapt_store_init(&store, &allocator, silent, "");
    assert_int_equal(rapt_store_prune(&store, 0), 0);
}

static void corruption(void **state)
{
    (void)state;
    rapt_store store;
    char folder[512], path[1024];
    open_store(&store, folder);
    static const char data[] = "forty bytes of data that nothing may alter";
    rapt_store_write(&store, RAPT_STORE_PIPELINES, context, key, data, sizeof data);
    only_file(folder, path);
    void *memory;
    size_t size;
    assert_int_equal(rapt_file_read(&allocator, path, 10000, &memory, &size, NULL), RAPT_OK);
    assert_int_equal(size, HEADER + sizeof data);
    unsigned char *file = memory;

    for (size_t bit = 0; bit < 8 * size; bit++) { /* every bit of every header field and of the data */
        file[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_int_equal(rapt_file_replace(path, file, size, NULL), RAPT_OK);
        file[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_false(hit(&store, RAPT_STORE_PIPELINES, context, key, data, sizeof data));
    }
    for (size_t length = 0; length < size; length++) { /* cut off anywhere */
        assert_int_equal(rapt_file_replace(path, file, length, NULL), RAPT_OK);
        assert_false(hit(&store, RAPT_STORE_PIPELINES, context, key, data, sizeof data));
    }
    unsigned char longer[HEADER + sizeof data + 1] = {0}; /* one byte too many */
    memcpy(longer, file, size);
    assert_int_equal(rapt_file_replace(path, longer, sizeof longer, NULL), RAPT_OK);
    assert_false(hit(&store, RAPT_STORE_PIPELINES, context, key, data, sizeof data));

    /* A good file under another key's name, another context's, another kind's. */
    assert_int_equal(rapt_file_replace(path, file, size, NULL), RAPT_OK);
    assert_true(hit(&store, RAPT_STORE_PIPELINES, context, key, data, sizeof data));
    const struct {
        rapt_store_kind kind;
        rapt_hash context, key;
    } others[] = {{RAPT_STORE_PIPELINES, context, {3, 5}},
                  {RAPT_STORE_PIPELINES, {1, 3}, key},
                  {RAPT_STORE_TUNING, context, key}};
    for (size_t i = 0; i < RAPT_COUNT(others); i++) {
        rapt_store other;
        char other_folder[512], other_path[1024];
        open_store(&other, other_folder);
        rapt_store_write(&other, others[i].kind, others[i].context, others[i].key, "x", 1);
        only_file(other_folder, other_path);
        assert_int_equal(rapt_file_replace(other_path, file, size, NULL), RAPT_OK);
        assert_false(hit(&other, others[i].kind, others[i].context, others[i].key, data, sizeof data));
    }

    /* A damaged entry is simply written again. */
    assert_int_equal(rapt_file_replace(path, file, 50, NULL), RAPT_OK);
    rapt_store_write(&store, RAPT_STORE_PIPELINES, context, key, data, sizeof data);
    assert_true(hit(&store, RAPT_STORE_PIPELINES, context, key, data, sizeof data));
    rapt_free(&allocator, memory, size);
}

static void unusable_folder(void **state)
{
    (void)state;
    rapt_store store;
    char folder[512], path[1024];
    open_store(&store, folder);
    rapt_store_write(&store, RAPT_STORE_PROBES, context, key, "x", 1);
    only_file(folder, path);
    if (geteuid() != 0) { /* root reads everything */
        assert_int_equal(chmod(folder, 0), 0);
        assert_false(hit(&store, RAPT_STORE_PROBES, context, key, "x", 1));
        rapt_store_write(&store, RAPT_STORE_PROBES, context, key, "y", 1);
        assert_int_equal(chmod(folder, 0700), 0);
    }
    assert_int_equal(unlink(path), 0); /* a folder where the file should be */
    assert_int_equal(mkdir(path, 0700), 0);
    assert_false(hit(&store, RAPT_STORE_PROBES, context, key, "x", 1));
    rapt_store_write(&store, RAPT_STORE_PROBES, context, key, "x", 1);
    assert_false(hit(&store, RAPT_STORE_PROBES, context, key, "x", 1));
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(folder), 0); /* a file where the folder should be: also no temporary file was left */
    assert_int_equal(rapt_file_replace(folder, "x", 1, NULL), RAPT_OK);
    rapt_store_write(&store, RAPT_STORE_PROBES, context, key, "x", 1);
    assert_false(hit(&store, RAPT_STORE_PROBES, context, key, "x", 1));
}

/* Writers replace each other's file while a reader looks: it sees one or the other, whole. */
typedef struct writer {
    const rapt_store *store;
    unsigned char fill;
} writer;

static void *write_on(void *user)
{
    const writer *w = user;
    unsigned char data[20000];
    memset(data, w->fill, sizeof data);
    for (int i = 0; i < 300; i++)
        rapt_store_write(w->store, RAPT_STORE_TUNING, context, key, data, sizeof data - w->fill);
    return NULL;
}

static void two_writers(void **state)
{
    (void)state;
    rapt_store store;
    char folder[512], path[1024];
    open_store(&store, folder);
    writer writers[2] = {{&store, 1}, {&store, 2}};
    rapt_store_write(&store, RAPT_STORE_TUNING, context, key, "first", 5);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_on, &writers[i]), 0);
    for (int i = 0; i < 300; i++) {
        void *data;
        size_t size;
        assert_true(rapt_store_read(&store, RAPT_STORE_TUNING, context, key, &data, &size));
        const unsigned char *bytes = data;
        assert_true(size == 5 || size == 20000u - bytes[0]);
        assert_true(size == 5 || bytes[size - 1] == bytes[0]);
        rapt_free(&allocator, data, size);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    only_file(folder, path); /* no temporary file is left */
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(turned_off),
#if !defined(_WIN32)
        cmocka_unit_test(corruption),
        cmocka_unit_test(pruning),
        cmocka_unit_test(unusable_folder),
        cmocka_unit_test(two_writers),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
