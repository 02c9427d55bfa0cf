/* librapt_compiler: stock rows compile at run time to what the build compiled, messages have places, the cache holds.
 * RAPT_TEST_COMPILER is the library, RAPT_TEST_GLSLANG what the build's GLSL compiler says of its version. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif
#include "support.h"

#include "compiler/cache.h"
#include "kernel/kernel.h"

#if !defined(_WIN32)
#include <dirent.h>
#include <pthread.h>
#endif

static rapt_allocator allocator;
static void *library;
static const rapt_compiler_api *api;

static int open_compiler(void **state)
{
    (void)state;
    allocator = rapt_allocator_default();
    const char *path = getenv("RAPT_TEST_COMPILER");
    if (path == NULL || (library = rapt_library_open(path)) == NULL) {
        fprintf(stderr, "the library RAPT_TEST_COMPILER=%s does not open\n", path != NULL ? path : "");
        return 1;
    }
    rapt_compiler_entry_fn entry;
    void *symbol = rapt_library_symbol(library, "rapt_compiler_entry");
    memcpy(&entry, &symbol, sizeof entry);
    if (symbol == NULL || entry(RAPT_COMPILER_ABI + 1) != NULL || (api = entry(RAPT_COMPILER_ABI)) == NULL)
        return 1;
    return api->abi == RAPT_COMPILER_ABI && entry(RAPT_COMPILER_ABI) == api ? 0 : 1;
}

static int close_compiler(void **state)
{
    (void)state;
    rapt_library_close(library);
    return 0;
}

static rapt_status compile(const rapt_compile_request *request, uint32_t **words, size_t *count, char *log,
                           size_t log_size, rapt_error *error)
{
    rapt_text text = rapt_text_over(log, log_size);
    rapt_status status = api->compile(&allocator, request, words, count, &text, error);
    if (status != RAPT_OK) {
        assert_null(*words);
        assert_int_equal(*count, 0);
        assert_int_equal(error->status, status);
    }
    return status;
}

/* Whether the build's compiler is of the version that we are linked with. */
static bool same_version(void)
{
    const char *build = getenv("RAPT_TEST_GLSLANG");
    char version[64];
    if (build == NULL || sscanf(api->version, "glslang %63[^,]", version) != 1)
        return false;
    return strstr(build, version) != NULL;
}

static void stock_rows(void **state)
{
    (void)state;
    const rapt_kernel_table *table = rapt_kernels();
    assert_true(table->module_count > 0);
    bool same = same_version();
    unsigned equal = 0, refused = 0;
    static char log[65536];
    for (uint32_t i = 0; i < table->module_count; i++) {
        const rapt_kernel_module *m = &table->modules[i];
        rapt_compile_request request = {.source_name = m->shader,
                                        .defines = m->defines,
                                        .vulkan_minor = m->vulkan_minor};
        uint32_t *stock = malloc(m->words * sizeof *stock);
        assert_non_null(stock);
        assert_int_equal(rapt_kernel_unpack(m, &allocator, stock, NULL), RAPT_OK);
        assert_int_equal(rapt_spirv_vulkan_minor(stock), m->vulkan_minor);
        bool match = false;
        for (int optimise = 0; optimise < (same ? 2 : 1) && !match; optimise++) { /* the table does not say */
            request.optimise = optimise;
            uint32_t *words;
            size_t count;
            rapt_error error = {0};
            rapt_status status = compile(&request, &words, &count, log, sizeof log, &error);
            if (status == RAPT_ERROR_COMPILE && !same && strstr(log, "extension not supported") != NULL) {
                refused++; /* compiled by a newer glslang than the one linked */
                match = true;
                break;
            }
            if (status != RAPT_OK)
                fail_msg("%s %s: %s", m->shader, m->defines, error.message);
            match = count == m->words && memcmp(words, stock, count * sizeof *words) == 0;
            rapt_free(&allocator, words, count * sizeof *words);
        }
        free(stock);
        equal += match;
        if (same && !match)
            fail_msg("%s %s: not the words that the build has", m->shader, m->defines);
    }
    print_message("%u modules, %u equal to the build's (%s), %u beyond this glslang\n", table->module_count,
                  equal - refused, same ? "same glslang" : "another glslang", refused);
}

static void messages(void **state)
{
    (void)state;
    static const struct {
        const char *name, *source, *defines, *first, *log;
        rapt_status status;
    } cases[] = {
        {"user/a.comp", "#version 450\nvoid main() {\n    undeclared = 1;\n}\n", "",
         "user/a.comp:3: error: 'undeclared' : undeclared identifier", "user/a.comp:3: error: ", RAPT_ERROR_COMPILE},
        {"a.comp",
         "#version 450\n#extension GL_GOOGLE_include_directive : require\n/*\n#include \"none.h\"\n*/\n"
         "#include \"common/attention_params.h\"\n\nint x = 1.5;\nvoid main() {}\n",
         "", "a.comp:8: error: ", "a.comp:8: error: ", RAPT_ERROR_COMPILE},
        {"a.comp", "#version 450\n#if BROKEN\n#error \"broken\"\n#endif\nvoid main() {}\n", "-DBROKEN=1",
         "a.comp:3: error: '#error' : ", "broken", RAPT_ERROR_COMPILE},
        {"tile/a.comp", "#version 450\n\n#include \"common/missing.glsl\"\nvoid main() {}\n", "",
         "tile/a.comp:3: included file 'common/missing.glsl' not found", "", RAPT_ERROR_COMPILE},
        {"a.comp", "#version 450\n#include \"../../etc/passwd\"\nvoid main() {}\n", "", "a.comp:2: included file ", "",
         RAPT_ERROR_COMPILE},
        {"a.comp", "void main() {}\n", "D=1", "definitions: 'D=1' is neither", "", RAPT_ERROR_INVALID},
        {"a.comp", "", "", "a.comp", "", RAPT_ERROR_COMPILE},
        {"no/such.comp", NULL, "", "'no/such.comp' is not among the ", "", RAPT_ERROR_INVALID},
        {NULL, NULL, "", "'source' is not among the ", "", RAPT_ERROR_INVALID},
    };
    for (size_t i = 0; i < RAPT_COUNT(cases); i++) {
        rapt_compile_request request = {.source_name = cases[i].name,
                                        .source = cases[i].source,
                                        .defines = cases[i].defines,
                                        .vulkan_minor = 1};
        char log[4096];
        uint32_t *words;
        size_t count;
        rapt_error error = {0};
        assert_int_equal(compile(&request, &words, &count, log, sizeof log, &error), cases[i].status);
        if (strncmp(error.message, cases[i].first, strlen(cases[i].first)) != 0 || strchr(error.message, '\n'))
            fail_msg("case %zu: '%s' instead of '%s'", i, error.message, cases[i].first);
        if (strstr(log, cases[i].log) == NULL)
            fail_msg("case %zu: '%s' not in the log: %s", i, cases[i].log, log);
        assert_int_equal(api->compile(&allocator, &request, &words, &count, NULL, NULL), cases[i].status);
    }
    rapt_compile_request request = {.source = "#version 450\nvoid main() {}\n", .vulkan_minor = 99};
    uint32_t *words;
    size_t count;
    assert_int_equal(api->compile(&allocator, &request, &words, &count, NULL, NULL), RAPT_ERROR_INVALID);
}

/* An error behind an include has the include's name, and one after it the right line again. */
static void places(void **state)
{
    (void)state;
    const char *io = api->stock_source("common/attention_params.h");
    assert_non_null(io);
    assert_null(api->stock_source("common/attention_params"));
    assert_null(api->stock_source("zzz"));
    assert_null(api->stock_source(""));
    assert_null(api->stock_source(NULL));
    rapt_compile_request request = {
        .source_name = "x.comp",
        .source = "#version 450\n#extension GL_GOOGLE_include_directive : require\n#define uint broken broken\n"
                  "#include \"common/attention_params.h\"\nlayout(binding = 0) uniform A { "
                  "RAPT_ATTENTION_PARAMS_FIELDS };\nvoid main() { nothing; }\n",
        .defines = "  -DSPARE -USPARE\t-DX=a=b ",
        .vulkan_minor = 1};
    char log[8192];
    uint32_t *words;
    size_t count;
    rapt_error error = {0};
    assert_int_equal(compile(&request, &words, &count, log, sizeof log, &error), RAPT_ERROR_COMPILE);
    if (strncmp(error.message, "x.comp:5: error: ", 17) != 0)
        fail_msg("%s", error.message);
}

static void targets_and_listing(void **state)
{
    (void)state;
    static const uint32_t versions[] = {0x10000, 0x10300, 0x10500, 0x10600};
    static const char source[] = "#version 450\nlayout(local_size_x = 8) in;\n"
                                 "layout(binding = 0) buffer B { float x[]; };\n"
                                 "void main() { float unused = x[1]; x[0] = 2.0 * 3.0 + x[1] - x[1]; }\n";
    for (uint32_t minor = 0; minor < 4; minor++) {
        size_t plain = 0;
        for (int optimise = 0; optimise < 2; optimise++) {
            rapt_compile_request request = {.source = source, .vulkan_minor = minor, .optimise = optimise};
            uint32_t *words;
            size_t count;
            rapt_error error = {0};
            char log[1024];
            assert_int_equal(compile(&request, &words, &count, log, sizeof log, &error), RAPT_OK);
            assert_string_equal(log, "");
            assert_int_equal(words[1], versions[minor]);
            if (optimise)
                assert_true(count < plain);
            plain = count;
            char listing[16384];
            rapt_text text = rapt_text_over(listing, sizeof listing);
            assert_true(api->disassemble(words, count, &text));
            assert_non_null(strstr(listing, "OpEntryPoint GLCompute %"));
            assert_false(api->disassemble(words, 4, &text));
            words[0]++;
            assert_false(api->disassemble(words, count, &text));
            rapt_free(&allocator, words, count * sizeof *words);
        }
    }
}

/* Every allocation of ours fails once: a status, nothing left over. */
static void no_memory(void **state)
{
    (void)state;
    rapt_compile_request request = {.source = "#version 450\n#extension GL_GOOGLE_include_directive : require\n"
                                              "#include \"common/attention_params.h\"\nvoid main() {}\n",
                                    .defines = "-DA",
                                    .vulkan_minor = 1,
                                    .optimise = true};
    rapt_status status = RAPT_ERROR_OUT_OF_HOST_MEMORY;
    size_t fail_at;
    for (fail_at = 1; status != RAPT_OK; fail_at++) {
        assert_true(fail_at < 1000);
        failing f = {0, fail_at, 0};
        rapt_allocator a = {&f, failing_alloc, failing_realloc, failing_free};
        uint32_t *words;
        size_t count;
        status = api->compile(&a, &request, &words, &count, NULL, NULL);
        if (status == RAPT_OK)
            rapt_free(&a, words, count * sizeof *words);
        else
            assert_int_equal(status, RAPT_ERROR_OUT_OF_HOST_MEMORY);
        assert_int_equal(f.bytes, 0);
    }
    assert_true(fail_at > 4);
}

#if !defined(_WIN32)
static void cache(void **state)
{
    (void)state;
    char folder[512];
    test_folder(folder, "compiler");
    rapt_store store;
    const rapt_log silent = {0};
    rapt_store_init(&store, &allocator, silent, folder);
    rapt_compile_request request = {.source_name = "x.comp",
                                    .source = "#version 450\nvoid main() { int x = N; }\n",
                                    .defines = "-DN=1",
                                    .vulkan_minor = 1};
    uint32_t *words, *again;
    size_t count, again_count;
    bool cached;
    assert_int_equal(rapt_compile_cached(&store, api, &request, &words, &count, &cached, NULL, NULL), RAPT_OK);
    assert_false(cached);
    assert_int_equal(rapt_compile_cached(&store, api, &request, &again, &again_count, &cached, NULL, NULL), RAPT_OK);
    assert_true(cached);
    assert_int_equal(count, again_count);
    assert_memory_equal(words, again, count * sizeof *words);
    rapt_free(&allocator, again, again_count * sizeof *again);

    /* Anything else that is asked for is something else in the cache. */
    rapt_compile_request others[] = {request, request, request, request, request};
    others[0].defines = "-DN=2";
    others[1].source = "#version 450\nvoid main() { int x = N; int y; }\n";
    others[2].source_name = "y.comp";
    others[3].vulkan_minor = 3;
    others[4].optimise = true;
    rapt_compiler_api other_version = *api;
    other_version.version = "another";
    for (size_t i = 0; i < RAPT_COUNT(others) + 1; i++) {
        const rapt_compiler_api *by = i < RAPT_COUNT(others) ? api : &other_version;
        const rapt_compile_request *what = i < RAPT_COUNT(others) ? &others[i] : &request;
        assert_int_equal(rapt_compile_cached(&store, by, what, &again, &again_count, &cached, NULL, NULL), RAPT_OK);
        assert_false(cached);
        rapt_free(&allocator, again, again_count * sizeof *again);
    }

    /* Damaged files are compiled again. */
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    unsigned files = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        void *data;
        size_t size;
        assert_int_equal(rapt_file_read(&allocator, path, 1 << 20, &data, &size, NULL), RAPT_OK);
        ((unsigned char *)data)[size / 2] ^= 1;
        assert_int_equal(rapt_file_replace(path, data, size, NULL), RAPT_OK);
        rapt_free(&allocator, data, size);
        files++;
    }
    closedir(dir);
    assert_int_equal(files, 7);
    assert_int_equal(rapt_compile_cached(&store, api, &request, &again, &again_count, &cached, NULL, NULL), RAPT_OK);
    assert_false(cached);
    assert_int_equal(count, again_count);
    assert_memory_equal(words, again, count * sizeof *words);
    rapt_free(&allocator, again, again_count * sizeof *again);
    rapt_free(&allocator, words, count * sizeof *words);

    request.source = "broken";
    assert_int_equal(rapt_compile_cached(&store, api, &request, &again, &again_count, NULL, NULL, NULL),
                     RAPT_ERROR_COMPILE);
}

static void *compile_often(void *user)
{
    unsigned *good = user;
    for (int i = 0; i < 20; i++) {
        rapt_compile_request request = {.source = "#version 450\nvoid main() { int x = 1; }\n", .vulkan_minor = 1};
        uint32_t *words;
        size_t count;
        if (api->compile(&allocator, &request, &words, &count, NULL, NULL) == RAPT_OK) {
            *good += words[0] == 0x07230203u;
            rapt_free(&allocator, words, count * sizeof *words);
        }
    }
    return NULL;
}

static void threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    unsigned good[4] = {0};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, compile_often, &good[i]), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(good[i], 20);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stock_rows),
        cmocka_unit_test(messages),
        cmocka_unit_test(places),
        cmocka_unit_test(targets_and_listing),
        cmocka_unit_test(no_memory),
#if !defined(_WIN32)
        cmocka_unit_test(cache),
        cmocka_unit_test(threads),
#endif
    };
    return cmocka_run_group_tests(tests, open_compiler, close_compiler);
}
