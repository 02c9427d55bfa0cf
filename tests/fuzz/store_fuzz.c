/* The disk cache: any bytes as one of its files are a miss, unless they are what it writes itself. The first byte says
 * what the others are: a whole file, data to be written and read back, or data whose file is then damaged. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L /* mkdtemp */
#endif
#include "input.h"

#include "base/store.h"

#include <dirent.h>
#include <unistd.h>

static const rapt_hash context = {1, 2}, key = {3, 4};
static char folder[256], path[600];
static rapt_allocator allocator;
static rapt_store store;

static void write_file(const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    MUST(file);
    MUST(fwrite(data, 1, size, file) == size);
    MUST(fclose(file) == 0);
}

static void *read_file(size_t *size)
{
    void *data;
    MUST(rapt_file_read(&allocator, path, SIZE_MAX, &data, size, NULL) == RAPT_OK);
    return data;
}

static void remove_folder(void)
{
    remove(path);
    rmdir(folder);
}

/* A folder of its own, and the name of the one file in it. */
static void begin(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.200s/rapt-store-XXXXXX", base && base[0] ? base : "/tmp");
    MUST(mkdtemp(folder));
    allocator = rapt_allocator_default();
    rapt_store_init(&store, &allocator, (rapt_log){0}, folder);
    rapt_store_write(&store, RAPT_STORE_SPIRV, context, key, "", 1);
    DIR *dir = opendir(folder);
    MUST(dir);
    for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
        if (entry->d_name[0] != '.')
            snprintf(path, sizeof path, "%s/%.300s", folder, entry->d_name);
    closedir(dir);
    MUST(path[0]);
    atexit(remove_folder);
}

static bool look_up(void **data, size_t *size)
{
    const bool found = rapt_store_read(&store, RAPT_STORE_SPIRV, context, key, data, size);
    MUST(found || (*data == NULL && *size == 0));
    return found;
}

/* What was found is what the store itself would have in this file. */
static void check_whole_file(const uint8_t *file, size_t length)
{
    void *data;
    size_t size, rewritten_size;
    write_file(file, length);
    if (!look_up(&data, &size))
        return;
    rapt_store_write(&store, RAPT_STORE_SPIRV, context, key, data, size);
    void *rewritten = read_file(&rewritten_size);
    MUST(rewritten_size == length && memcmp(rewritten, file, length) == 0);
    rapt_free(&allocator, rewritten, rewritten_size);
    rapt_free(&allocator, data, size);
}

static void check_round_trip(const uint8_t *data, size_t size)
{
    void *back;
    size_t back_size;
    rapt_store_write(&store, RAPT_STORE_SPIRV, context, key, data, size);
    if (size == 0) /* nothing to keep */
        return;
    MUST(look_up(&back, &back_size));
    MUST(back_size == size && memcmp(back, data, size) == 0);
    rapt_free(&allocator, back, back_size);
    MUST(!rapt_store_read(&store, RAPT_STORE_PIPELINES, context, key, &back, &back_size));
    MUST(!rapt_store_read(&store, RAPT_STORE_SPIRV, key, context, &back, &back_size));
}

/* Any change of a file's bytes or its length is a miss. */
static void check_damage(input in)
{
    const uint64_t at = take_number(&in), cut = take_number(&in);
    const uint8_t change = take_byte(&in);
    void *data;
    size_t size, length;
    if (change == 0 && cut == 0)
        return;
    rapt_store_write(&store, RAPT_STORE_SPIRV, context, key, in.at, in.left);
    uint8_t *file = read_file(&length);
    file[at % length] ^= change;
    write_file(file, length - cut % length);
    if (change != 0 || cut % length != 0)
        MUST(!look_up(&data, &size));
    rapt_free(&allocator, file, length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (path[0] == '\0')
        begin();
    if (size == 0)
        return 0;
    switch (data[0] % 3) {
    case 0:
        check_whole_file(data + 1, size - 1);
        break;
    case 1:
        check_round_trip(data + 1, size - 1);
        break;
    default:
        check_damage((input){data + 1, size - 1});
    }
    return 0;
}
