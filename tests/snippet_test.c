/* The checker of snippets, on a corpus of files (snippets/: what is expected stands in the first line) and on text made here.
 * What only the compiler can see is for user_test. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif
#include "support.h"

#include "base/base.h"
#include "compiler/snippet.h"

#include <dirent.h>

#define SCORE "float score_mod(float score, uint b, uint h, uint q, uint k)"

static rapt_status check(const char *text, bool mask, char **out, size_t *size, rapt_error *error)
{
    static const char *const buffers[] = {"slopes"};
    static rapt_allocator a;
    a = rapt_allocator_default();
    const rapt_snippet snippet = {.kind = mask ? RAPT_SNIPPET_MASK : RAPT_SNIPPET_SCORE,
                                  .label = mask ? "mask_mod" : "score_mod",
                                  .number = 3,
                                  .text = text,
                                  .buffers = buffers,
                                  .buffer_count = 1};
    memset(error, 0, sizeof *error);
    return rapt_snippet_translate(&a, &snippet, out, size, NULL, error);
}

/* NULL: it passes. Else the error must have these words, and a line. */
static void expect(const char *name, const char *text, bool mask, const char *words)
{
    char *out;
    size_t size;
    rapt_error error;
    const rapt_status status = check(text, mask, &out, &size, &error);
    if (words == NULL && status != RAPT_OK)
        fail_msg("%s: %s", name, error.message);
    if (words == NULL) {
        assert_int_equal(strlen(out) + 1, size);
    } else {
        assert_null(out);
        if (status != RAPT_ERROR_INVALID || !strstr(error.message, words) || strchr(error.message, '\n') ||
            strncmp(error.message, mask ? "mask_mod:" : "score_mod:", mask ? 9 : 10) != 0)
            fail_msg("%s: %s: \"%s\", expected \"%s\"", name, rapt_status_name(status), error.message, words);
    }
    rapt_allocator a = rapt_allocator_default();
    rapt_free(&a, out, size);
}

static void test_corpus(void **state)
{
    (void)state;
    unsigned count = 0;
    DIR *dir = opendir("snippets");
    assert_non_null(dir);
    for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        char path[512], words[128];
        unsigned line;
        if (!strstr(entry->d_name, ".glsl"))
            continue;
        snprintf(path, sizeof path, "snippets/%.200s", entry->d_name);
        void *data;
        size_t size;
        rapt_allocator a = rapt_allocator_default();
        assert_int_equal(rapt_file_read(&a, path, 1 << 20, &data, &size, NULL), RAPT_OK);
        char *text = calloc(size + 1, 1);
        memcpy(text, data, size);
        rapt_free(&a, data, size);
        const bool mask = strncmp(entry->d_name, "mask_", 5) == 0;
        count++;
        if (sscanf(text, "// error: %u: %127[^\n]", &line, words) == 2) {
            char number[32];
            snprintf(number, sizeof number, "_mod:%u: ", line);
            expect(path, text, mask, number);
            expect(path, text, mask, words);
        } else {
            assert_true(strncmp(text, "// passes\n", 10) == 0 || strncmp(text, "// compile: ", 12) == 0);
            expect(path, text, mask, NULL);
        }
        free(text);
    }
    closedir(dir);
    assert_true(count > 80);
}

/* `count` times `middle` between head and tail; to be freed. */
static char *repeat(const char *head, const char *middle, size_t count, const char *tail)
{
    const size_t length = strlen(middle);
    char *text = malloc(strlen(head) + length * count + strlen(tail) + 1), *at = text;
    assert_non_null(text);
    at += sprintf(at, "%s", head);
    for (size_t i = 0; i < count; i++, at += length)
        memcpy(at, middle, length);
    sprintf(at, "%s", tail);
    return text;
}

static void test_limits(void **state)
{
    (void)state;
    static const struct {
        const char *name, *head, *middle;
        size_t count;
        const char *tail, *words;
    } cases[] = {
        {"nested braces", SCORE " { ", "{", 10000, " return score; }", "'{' nests deeper than 32"},
        {"nested parentheses", SCORE " { return ", "(", 10000, "score; }", "'(' nests deeper than 32"},
        {"nested indices", SCORE " { return ", "a[", 5000, "0; }", "'[' nests deeper than 32"},
        {"huge text", SCORE " { return score; }", " ", 70000, "", "bytes, at most 65536"},
        {"a long comment that fits", SCORE " { return score; } //", "x", 60000, "", NULL},
        {"many tokens", SCORE " { ", ";", 20000, " return score; }", "more than 16384 tokens"},
        {"a long sum", SCORE " { return score", "+score", 1000, "; }", "a statement of more than 1000 tokens"},
        {"many signs", SCORE " { return ", "-", 2000, "score; }", "a statement of more than 1000 tokens"},
        {"ifs without braces", SCORE " { ", "if(true)", 1000, "return score; }", "a statement of more than 1000 tokens"},
        {"a chain of else", SCORE " { if(true); ", "else if(true);", 1000, " return score; }", "more than 256 'else'"},
        {"a long name", SCORE " { float ", "x", 5000, "; return score; }", "a name of 5000 characters, at most 64"},
        {"a long number", SCORE " { return ", "1", 5000, ".0; }", "a number of 5002 characters, at most 64"},
        {"many statements that fit", SCORE " { ", "score+=1.0;", 3000, " return score; }", NULL},
        {"many functions", "", "float f(){return 1.0;}", 65, SCORE " { return score; }", "more than 64 functions"},
        {"a wide signature", "float f(float a", ",float a", 30, ") { return a; } " SCORE " { return score; }", NULL},
    };
    for (size_t i = 0; i < RAPT_COUNT(cases); i++) {
        char *text = repeat(cases[i].head, cases[i].middle, cases[i].count, cases[i].tail);
        expect(cases[i].name, text, false, cases[i].words);
        free(text);
    }
}

/* Functions that double each other's work: all calls written out are too many long before the text is. */
static void test_calls_are_counted(void **state)
{
    (void)state;
    char text[4096];
    size_t length = (size_t)sprintf(text, "float f0(float x) { return x; }\n");
    for (int i = 1; i < 40; i++)
        length += (size_t)sprintf(text + length, "float f%d(float x) { return f%d(x) + f%d(x); }\n", i, i - 1, i - 1);
    sprintf(text + length, SCORE " { return f39(score); }");
    expect("doubling", text, false, "more than 16384 tokens when all calls are written out");
}

static void test_bytes(void **state)
{
    (void)state;
    for (int byte = 1; byte < 256; byte++) {
        char text[128], *out;
        size_t size;
        rapt_error error;
        snprintf(text, sizeof text, SCORE " { return score; } %c", byte);
        const rapt_status status = check(text, false, &out, &size, &error);
        const bool blank = (byte >= '\t' && byte <= '\r') || byte == ' ' || byte == ';';
        assert_int_equal(status, blank ? RAPT_OK : RAPT_ERROR_INVALID);
        rapt_allocator a = rapt_allocator_default();
        rapt_free(&a, out, size);
        snprintf(text, sizeof text, SCORE " { return score; } /*%c*/ //%c", byte, byte == '\n' ? ' ' : byte);
        expect("in comments", text, false, NULL);
    }
}

/* What is written for the compiler, to the letter. */
static void test_translation(void **state)
{
    (void)state;
    char *out;
    size_t size;
    rapt_error error;
    assert_int_equal(check("const int n=3; /* a\n comment */\n" SCORE "\n{\n  float a[3];\n"
                           "  for (int i = 0; i < n; i++) a[i] = slopes(h).x;\n  while(true) break;\n"
                           "  for(;;){ } return a[q % 2u] + max(score, user_f(1)) + a[2] + a.length(); }",
                           false, &out, &size, &error),
                     RAPT_OK);
    assert_string_equal(out, "const int usr3_n=3;\n\n"
                             "float usr3_score_mod(float usr3_score, uint usr3_b, uint usr3_h, uint usr3_q, uint usr3_k)\n{\n"
                             "float usr3_a[3];\n"
                             "for (int usr3_i = 0; ( usr3_i < usr3_n) && usr_tick(); usr3_i++) "
                             "usr3_a[min(uint(usr3_i), uint(usr3_a.length() - 1))] = usrb_slopes(usr3_h).x;\n"
                             "while( (true) && usr_tick()) break;\n"
                             "for(;usr_tick();){ } return usr3_a[min(uint(usr3_q % 2u), uint(usr3_a.length() - 1))] + "
                             "max(usr3_score, p.user_constants[0].y) + usr3_a[2] + usr3_a.length(); }\n");
    rapt_allocator a = rapt_allocator_default();
    rapt_free(&a, out, size);
    char message[] = "score_mod:3: error: 'usr3_x' : usrb_y usr_z xusr1_ usr0_";
    rapt_snippet_unprefix(message);
    assert_string_equal(message, "score_mod:3: error: 'x' : y usr_z xusr1_ ");
}

static void test_buffer_names(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "slopes", "Bias_2", "image_width", "x1234567890123456789012345678901"};
    static const char *const bad[] = {"", "1a", "a-b", "a b", "float", "tanh", "for", "gl_x", "usr_x", "imageLoad",
                                      "score_mod", "mask_mod", "buffer", "x12345678901234567890123456789012", "a\xc3\xa9"};
    for (size_t i = 0; i < RAPT_COUNT(good); i++)
        assert_true(rapt_snippet_buffer_name(good[i]));
    for (size_t i = 0; i < RAPT_COUNT(bad); i++)
        assert_false(rapt_snippet_buffer_name(bad[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus), cmocka_unit_test(test_limits),      cmocka_unit_test(test_calls_are_counted),
        cmocka_unit_test(test_bytes),  cmocka_unit_test(test_translation), cmocka_unit_test(test_buffer_names),
    };
    return cmocka_run_group_tests_name("snippet", tests, NULL, NULL);
}
