/* The tool's parsers: .npy, .safetensors, command lines. Hostile files are made here, byte by byte. */
#include "support.h"

#include "args.h"
#include "number_list.h"
#include "tensor_file.h"

#include <math.h>

static char folder[512];

static void path_of(char out[640], const char *name)
{
    snprintf(out, 640, "%s-%s", folder, name);
}

/* Writes bytes to a file and returns its path. */
static const char *file_with(const char *name, const void *bytes, size_t size)
{
    static char path[640];
    path_of(path, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
    return path;
}

/* ---- npy ---- */

/* An npy file: version, header text, data. Returns its size. */
static size_t make_npy(unsigned char *out, int major, const char *header, const void *data, size_t size)
{
    const size_t length = strlen(header), size_bytes = major == 1 ? 2 : 4;
    memcpy(out, "\x93NUMPY", 6);
    out[6] = (unsigned char)major;
    out[7] = 0;
    for (size_t n = 0; n < size_bytes; n++)
        out[8 + n] = (unsigned char)(length >> 8 * n);
    memcpy(out + 8 + size_bytes, header, length);
    memcpy(out + 8 + size_bytes + length, data, size);
    return 8 + size_bytes + length + size;
}

static bool read_npy(const void *bytes, size_t size, tensor_file *t, rapt_error *error)
{
    *error = (rapt_error){0};
    const char *path = file_with("a.npy", bytes, size);
    const bool good = tensor_file_read(path, t, error);
    if (!good) {
        assert_null(t->data);
        assert_true(error->status != RAPT_OK);
        assert_non_null(strstr(error->message, path)); /* names the file */
        assert_null(strchr(error->message, '\n'));
    }
    remove(path);
    return good;
}

#define HEADER(descr, order, shape) "{'descr': '" descr "', 'fortran_order': " order ", 'shape': " shape ", }"

static void npy_versions(void **state)
{
    (void)state;
    const float data[] = {1, -2, 3.5f, 0, 5, 6};
    for (int major = 1; major <= 3; major++) {
        unsigned char file[256];
        tensor_file t;
        rapt_error error;
        const size_t size =
            make_npy(file, major, HEADER("<f4", "False", "(1, 2, 3)") "   \n", data, sizeof data);
        assert_true(read_npy(file, size, &t, &error));
        assert_true(t.dtype == RAPT_F32 && t.rank == 3 && t.count == 6);
        assert_true(t.shape[0] == 1 && t.shape[1] == 2 && t.shape[2] == 3);
        assert_memory_equal(t.data, data, sizeof data);
        tensor_file_free(&t);
    }
}

static void npy_forms(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        rapt_dtype dtype;
        uint32_t rank;
        uint64_t count;
        size_t bytes;
    } good[] = {
        {HEADER("<f2", "False", "(4,)"), RAPT_F16, 1, 4, 8},
        {HEADER("<i4", "False", "(2,)"), RAPT_I32, 1, 2, 8},
        {HEADER("|b1", "False", "(2, 3)"), RAPT_I32, 2, 6, 6},
        {HEADER("|u1", "False", "(5,)"), RAPT_I32, 1, 5, 5},
        {HEADER("<f4", "False", "()"), RAPT_F32, 0, 1, 4},
        {HEADER("<f4", "False", "(0,)"), RAPT_F32, 1, 0, 0},
        {HEADER("<f4", "False", "(3, 0, 1000000, 7)"), RAPT_F32, 4, 0, 0},
        {HEADER("<f4", "False", "(2L, 1L)"), RAPT_F32, 2, 2, 8},
        {"{\"shape\":(1,2),\"fortran_order\":False,\"descr\":\"<f4\"}", RAPT_F32, 2, 2, 8},
    };
    const char data[64] = {0};
    for (size_t n = 0; n < sizeof good / sizeof good[0]; n++) {
        unsigned char file[512];
        tensor_file t;
        rapt_error error;
        assert_true(read_npy(file, make_npy(file, 1, good[n].header, data, good[n].bytes), &t, &error));
        assert_true(t.dtype == good[n].dtype && t.rank == good[n].rank && t.count == good[n].count);
        assert_non_null(t.data);
        tensor_file_free(&t);
    }
}

static void npy_hostile(void **state)
{
    (void)state;
    static const struct {
        const char *header, *reason;
        size_t bytes;
    } bad[] = {
        {HEADER("<f4", "True", "(1, 2)"), "Fortran", 8},
        {HEADER(">f4", "False", "(1, 2)"), "'>f4'", 8},
        {HEADER("<f8", "False", "(1, 2)"), "'<f8'", 16},
        {HEADER("<i8", "False", "(1, 2)"), "'<i8'", 16},
        {HEADER("|O", "False", "(1, 2)"), "'|O'", 16},
        {HEADER("<f4", "False", "(1, 2)"), "truncated", 7},
        {HEADER("<f4", "False", "(1, 2)"), "truncated", 0},
        {HEADER("<f4", "False", "(1, 2)"), "more data", 9},
        {HEADER("<f4", "False", "(1000000000, 1000)"), "truncated", 32},
        {HEADER("<f4", "False", "(4294967296, 4294967296)"), "2^56", 32},
        {HEADER("<f4", "False", "(0, 4294967296, 4294967296)"), "2^56", 0},
        {HEADER("<f4", "False", "(18446744073709551615, 2)"), "2^56", 32},
        {HEADER("<f4", "False", "(99999999999999999999999,)"), "2^64", 32},
        {HEADER("<f4", "False", "(-1, 2)"), "whole numbers", 8},
        {HEADER("<f4", "False", "(1.5, 2)"), "whole numbers", 8},
        {HEADER("<f4", "False", "(1 2)"), "whole numbers", 8},
        {HEADER("<f4", "False", "(,)"), "whole numbers", 8},
        {HEADER("<f4", "False", "[1, 2]"), "tuple", 8},
        {HEADER("<f4", "False", "(1,1,1,1,1,1,1,1,2)"), "axes", 8},
        {HEADER("<f4", "Maybe", "(1, 2)"), "fortran_order", 8},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", "structured", 8},
        {"{'descr': '<f4', 'fortran_order': False}", "no shape", 8},
        {"{'descr': '<f4', 'shape': (2,)}", "no fortran_order", 8},
        {"{'shape': (2,), 'fortran_order': False}", "no descr", 8},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", "repeated", 8},
        {"{'descr': '<f4', 'evil': '<f4', 'fortran_order': False, 'shape': (2,)}", "unknown", 8},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x", "behind", 8},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)", "expected", 8},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2", "whole numbers", 8},
        {"{'descr': '<f4", "without an end", 8},
        {"{'descr': 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'}",
         "too long", 8},
        {"{'descr'}", "without a value", 8},
        {"(1, 2)", "no dictionary", 8},
        {"\n", "no dictionary", 8},
    };
    const char data[64] = {0};
    for (size_t n = 0; n < sizeof bad / sizeof bad[0]; n++) {
        unsigned char file[512];
        tensor_file t;
        rapt_error error;
        assert_false(read_npy(file, make_npy(file, 1, bad[n].header, data, bad[n].bytes), &t, &error));
        if (!strstr(error.message, bad[n].reason))
            fail_msg("header %s: expected '%s' in: %s", bad[n].header, bad[n].reason, error.message);
    }
}

/* Cut anywhere, a good file is refused; with any byte changed, it is read or refused, and nothing worse. */
static void npy_mutilated(void **state)
{
    (void)state;
    const float data[] = {1, 2};
    unsigned char file[256], copy[256];
    tensor_file t;
    rapt_error error;
    const size_t size = make_npy(file, 1, HEADER("<f4", "False", "(1, 2)") "\n", data, sizeof data);
    for (size_t cut = 0; cut < size; cut++)
        assert_false(read_npy(file, cut, &t, &error));
    for (size_t at = 0; at < size; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            memcpy(copy, file, size);
            copy[at] ^= (unsigned char)(1u << bit);
            if (read_npy(copy, size, &t, &error)) {
                assert_true(t.rank <= TENSOR_FILE_RANK && t.count * 4 <= size * 2);
                tensor_file_free(&t);
            }
        }
    assert_false(read_npy("\x93NUMPY\x04\x00\x02\x00{}", 12, &t, &error));
    assert_non_null(strstr(error.message, "version 4.0"));
    assert_false(read_npy("\x93NUMPY\x02\x00\xff\xff\xff\xff{}", 14, &t, &error));
    assert_non_null(strstr(error.message, "length"));
    assert_false(read_npy("PK\x03\x04", 4, &t, &error));
    assert_non_null(strstr(error.message, "not an npy file"));
}

static void npy_round_trip(void **state)
{
    (void)state;
    const uint16_t halves[] = {0x3c00, 0xc000, 0x7e00, 0x0001, 0xfc00, 0};
    const uint64_t shapes[][4] = {{1, 2, 3, 1}, {6, 1, 1, 1}, {1, 0, 3, 2}};
    for (size_t n = 0; n < 3; n++) {
        char path[640];
        tensor_file t;
        rapt_error error = {0};
        path_of(path, "b.npy");
        assert_true(npy_write(path, RAPT_F16, 4, shapes[n], halves, &error));
        assert_true(tensor_file_read(path, &t, &error));
        assert_true(t.dtype == RAPT_F16 && t.rank == 4);
        assert_memory_equal(t.shape, shapes[n], sizeof shapes[n]);
        assert_memory_equal(t.data, halves, t.count * 2);
        tensor_file_free(&t);
        FILE *file = fopen(path, "rb");
        fseek(file, 0, SEEK_END);
        assert_int_equal(ftell(file), 128 + (n < 2 ? 12 : 0)); /* data aligned to 64 bytes */
        fclose(file);
        remove(path);
    }
    rapt_error error = {0};
    assert_false(npy_write("x.npy", RAPT_BF16, 4, shapes[0], halves, &error));
    assert_false(npy_write("/nonexistent/x.npy", RAPT_F16, 4, shapes[0], halves, &error));
    assert_non_null(strstr(error.message, "/nonexistent/x.npy"));
}

static void no_file(void **state)
{
    (void)state;
    tensor_file t;
    rapt_error error = {0};
    assert_false(tensor_file_read("/nonexistent/q.npy", &t, &error));
    assert_int_equal(error.status, RAPT_ERROR_IO);
    assert_non_null(strstr(error.message, "/nonexistent/q.npy: "));
    assert_false(tensor_file_read("/nonexistent/m.safetensors:q", &t, &error));
    assert_non_null(strstr(error.message, "/nonexistent/m.safetensors: "));
}

/* ---- safetensors ---- */

static bool read_safetensors(const char *header, uint64_t length, size_t data, const char *name,
                             tensor_file *t, rapt_error *error)
{
    unsigned char file[2048];
    const size_t text = strlen(header);
    assert_true(8 + text + data <= sizeof file);
    for (int n = 0; n < 8; n++)
        file[n] = (unsigned char)(length >> 8 * n);
    memcpy(file + 8, header, text);
    for (size_t n = 0; n < data; n++)
        file[8 + text + n] = (unsigned char)n;
    char with_name[800];
    *error = (rapt_error){0};
    const char *path = file_with("m.safetensors", file, 8 + text + data);
    snprintf(with_name, sizeof with_name, "%s%s%s", path, name ? ":" : "", name ? name : "");
    const bool good = tensor_file_read(with_name, t, error);
    if (!good) {
        assert_null(t->data);
        assert_non_null(strstr(error->message, "m.safetensors"));
        assert_null(strchr(error->message, '\n'));
    }
    remove(path);
    return good;
}

static void safetensors_good(void **state)
{
    (void)state;
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                                 "\"a\":{\"dtype\":\"BF16\",\"shape\":[1,2,3],\"data_offsets\":[0,12]},"
                                 "\"b:c\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[12,20]},"
                                 "\"none\":{\"dtype\":\"I32\",\"shape\":[0,5],\"data_offsets\":[20,20]},"
                                 "\"s\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[20,22]}}  ";
    static const struct {
        const char *name;
        rapt_dtype dtype;
        uint32_t rank;
        uint64_t count;
        unsigned char first;
    } tensors[] = {{"a", RAPT_BF16, 3, 6, 0},
                   {"b:c", RAPT_F32, 1, 2, 12},
                   {"none", RAPT_I32, 2, 0, 0},
                   {"s", RAPT_F16, 0, 1, 20}};
    for (size_t n = 0; n < 4; n++) {
        tensor_file t;
        rapt_error error;
        assert_true(read_safetensors(header, strlen(header), 22, tensors[n].name, &t, &error));
        assert_true(t.dtype == tensors[n].dtype && t.rank == tensors[n].rank && t.count == tensors[n].count);
        assert_true(t.count == 0 || *(unsigned char *)t.data == tensors[n].first);
        tensor_file_free(&t);
    }
}

#define ONE(fields) "{\"a\":{" fields "}}"

static void safetensors_hostile(void **state)
{
    (void)state;
    static const struct {
        const char *header, *name, *reason;
        size_t data;
    } bad[] = {
        {ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"), "b", "no tensor 'b'; it has a", 8},
        {ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"), "", "name a tensor", 8},
        {ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"), NULL, "name a tensor", 8},
        {ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"), "a", "truncated", 7},
        {ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,9]"), "a", "span 9 bytes", 9},
        {ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]"), "a", "ascending", 8},
        {ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]"), "a", "ascending", 8},
        {ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0.5,8.5]"), "a", "ascending", 8},
        {ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]"), "a", "wrong kind", 8},
        {ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1e300,1e300]"), "a", "ascending", 8},
        {ONE("\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]"), "a", "'F64'", 8},
        {ONE("\"dtype\":5,\"shape\":[2],\"data_offsets\":[0,8]"), "a", "wrong kind", 8},
        {ONE("\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]"), "a", "wrong kind", 8},
        {ONE("\"dtype\":\"F32\",\"shape\":[\"2\"],\"data_offsets\":[0,8]"), "a", "whole number", 8},
        {ONE("\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]"), "a", "whole number", 8},
        {ONE("\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]"), "a", "8 axes", 8},
        {ONE("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]"), "a", "2^56", 8},
        {"{\"a\":7}", "a", "wrong kind", 8},
        {"[1, 2]", "a", "no JSON object", 8},
        {"{\"a\":", "a", "no JSON object", 8},
        {"", "a", "no JSON object", 0},
        {"{\"__metadata__\":{\"format\":\"pt\"}}", "__metadata__", "no tensor", 0},
    };
    for (size_t n = 0; n < sizeof bad / sizeof bad[0]; n++) {
        tensor_file t;
        rapt_error error;
        assert_false(
            read_safetensors(bad[n].header, strlen(bad[n].header), bad[n].data, bad[n].name, &t, &error));
        if (!strstr(error.message, bad[n].reason))
            fail_msg("header %s: expected '%s' in: %s", bad[n].header, bad[n].reason, error.message);
    }
    /* lengths that lie */
    static const uint64_t lengths[] = {1000, 1ull << 40, UINT64_MAX, UINT64_MAX - 7};
    for (size_t n = 0; n < 4; n++) {
        tensor_file t;
        rapt_error error;
        assert_false(read_safetensors("{}", lengths[n], 0, "a", &t, &error));
        assert_non_null(strstr(error.message, "truncated"));
    }
    tensor_file t;
    rapt_error error = {0};
    assert_false(tensor_file_read(file_with("s.safetensors", "abc", 3), &t, &error));
    assert_non_null(strstr(error.message, "shorter than 8 bytes"));
    /* deep nesting must not exhaust the stack */
    static char deep[1500];
    memset(deep, '[', sizeof deep - 1);
    assert_false(read_safetensors(deep, sizeof deep - 1, 0, "a", &t, &error));
}

/* ---- command lines ---- */

typedef struct line {
    const char *offset, *name;
    bool causal, json;
    const char *in[3]; /* that one may be given again and again */
    const char *words[2];
    size_t word_count;
    rapt_error error;
} line;

static tool_parsed parse(line *l, int argc, const char *const *words)
{
    *l = (line){0};
    const tool_option options[] = {{"--causal-offset", "N", "", &l->offset, NULL},
                                   {"--causal", NULL, "", NULL, &l->causal},
                                   {"--name", "TEXT", "", &l->name, NULL},
                                   {"--json", NULL, "", NULL, &l->json},
                                   {"--in", "TEXT", "", l->in, NULL, 3},
                                   {NULL, NULL, NULL, NULL, NULL}};
    return tool_parse(argc, (char **)(uintptr_t)words, options, l->words, 2, &l->word_count, &l->error);
}

#define PARSE(l, ...)                                                                                        \
    parse(&(l), (int)(sizeof((const char *[]){"run", __VA_ARGS__}) / sizeof(char *)),                        \
          (const char *[]){"run", __VA_ARGS__})

static void command_lines(void **state)
{
    (void)state;
    line l;
    assert_int_equal(PARSE(l, "attention", "--causal-offset", "-5", "--json"), TOOL_PARSED_OK);
    assert_string_equal(l.offset, "-5");
    assert_string_equal(l.words[0], "attention");
    assert_true(l.json && !l.causal && l.word_count == 1);
    assert_int_equal(PARSE(l, "--causal", "--causal-offset=-7", "-"),
                     TOOL_PARSED_OK); /* a prefix of another option */
    assert_string_equal(l.offset, "-7");
    assert_string_equal(l.words[0], "-");
    assert_true(l.causal);
    assert_int_equal(PARSE(l, "--name", "-", "--name2"), TOOL_PARSED_ERROR);
    assert_non_null(strstr(l.error.message, "'--name2'"));
    assert_int_equal(PARSE(l, "--name="), TOOL_PARSED_OK);
    assert_string_equal(l.name, "");
    assert_int_equal(PARSE(l, "--name"), TOOL_PARSED_ERROR);
    assert_non_null(strstr(l.error.message, "--name needs a value"));
    assert_int_equal(PARSE(l, "--name", "--json"), TOOL_PARSED_ERROR);
    assert_int_equal(PARSE(l, "--name", "a", "--name", "b"), TOOL_PARSED_ERROR);
    assert_non_null(strstr(l.error.message, "twice"));
    assert_int_equal(PARSE(l, "--in", "a=1", "--json", "--in=b=2", "--in", "a=1"), TOOL_PARSED_OK);
    assert_true(l.json && l.in[2]);
    assert_string_equal(l.in[0], "a=1");
    assert_string_equal(l.in[1], "b=2");
    assert_int_equal(PARSE(l, "--in", "a", "--in"), TOOL_PARSED_ERROR);
    assert_int_equal(PARSE(l, "--in=1", "--in=2", "--in=3", "--in=4"), TOOL_PARSED_ERROR);
    assert_non_null(strstr(l.error.message, "too often"));
    assert_int_equal(PARSE(l, "--json=yes"), TOOL_PARSED_ERROR);
    assert_int_equal(PARSE(l, "--nam", "x"), TOOL_PARSED_ERROR); /* no abbreviations */
    assert_int_equal(PARSE(l, "-x"), TOOL_PARSED_ERROR);
    assert_int_equal(PARSE(l, "a", "b", "c"), TOOL_PARSED_ERROR);
    assert_non_null(strstr(l.error.message, "'c'"));
    assert_int_equal(PARSE(l, "a", "--help"), TOOL_PARSED_HELP);
    assert_int_equal(PARSE(l, "-h", "--nonsense"), TOOL_PARSED_HELP);
    assert_true(l.error.status == RAPT_OK);
}

static void numbers(void **state)
{
    (void)state;
    int64_t n = 99;
    double x;
    rapt_error error;
    assert_true(tool_integer("--n", "-5", -10, 10, &n, &error) && n == -5);
    assert_true(tool_integer("--n", "+7", -10, 10, &n, &error) && n == 7);
    assert_true(tool_integer("--n", "-9223372036854775808", INT64_MIN, INT64_MAX, &n, &error) &&
                n == INT64_MIN);
    static const char *const no_integers[] = {
        "", " 5", "5 ", "5x", "0x5", "1e3", "11", "-11", "99999999999999999999", "-"};
    for (size_t i = 0; i < sizeof no_integers / sizeof no_integers[0]; i++) {
        assert_false(tool_integer("--n", no_integers[i], -10, 10, &n, &error));
        assert_non_null(strstr(error.message, "--n"));
    }
    assert_true(tool_number("--x", "-1.5e-3", &x, &error) && x == -1.5e-3);
    static const char *const no_numbers[] = {"", "x", "1.5y", "nan", "inf", "-inf", "1e999", " 1"};
    for (size_t i = 0; i < sizeof no_numbers / sizeof no_numbers[0]; i++)
        assert_false(tool_number("--x", no_numbers[i], &x, &error));
}

static void number_lists(void **state)
{
    (void)state;
    rapt_error error;
    int64_t list[NUMBER_LIST_MOST];
    double real[NUMBER_LIST_MOST];
    size_t count;
    assert_true(number_list_read("--n", "1,2,4,...,1024", 1, 4096, list, &count, &error) && count == 11 && list[10] == 1024 && list[3] == 8);
    assert_true(number_list_read("--n", "3,5,...,11,20", 1, 4096, list, &count, &error) && count == 6 && list[4] == 11 && list[3] == 9);
    assert_true(number_list_read("--n", "7", 1, 4096, list, &count, &error) && count == 1 && list[0] == 7);
    static const char *const wrong[] = {"",    "0",        "1,",          "1,,2",          "...",     "1,...,4",      "4,2,...,1",
                                        "1,2,...", "1,2,4,...,1000", "1,2,...,...,8", "1,2,3,...,4096", "1;2", "5000"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(number_list_read("--n", wrong[i], 1, 4096, list, &count, &error));
        assert_non_null(strstr(error.message, "--n"));
    }
    assert_true(number_list_read_real("--x", "25,0.5", false, real, &count, &error) && count == 2 && real[1] == 0.5);
    assert_false(number_list_read_real("--x", "25,-1", true, real, &count, &error));
    assert_false(number_list_read_real("--x", "25,", true, real, &count, &error));
}

int main(void)
{
    test_folder(folder, "parsers");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(npy_versions),     cmocka_unit_test(npy_forms),
        cmocka_unit_test(npy_hostile),      cmocka_unit_test(npy_mutilated),
        cmocka_unit_test(npy_round_trip),   cmocka_unit_test(no_file),
        cmocka_unit_test(safetensors_good), cmocka_unit_test(safetensors_hostile),
        cmocka_unit_test(command_lines),    cmocka_unit_test(numbers),
        cmocka_unit_test(number_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
