/* Generated GLSL around a feature map: state/features.comp calls user_feature(x, b, h, t, i). See user.h. */
#include "compiler/user.h"

#include <stdio.h>
#include <string.h>

/* Whether the map takes x alone: the checker has let one parameter pass, or five. */
static bool takes_x_alone(const char *text)
{
    static const char name[] = "usr0_feature_map";
    const char *at = strstr(text, name);
    while (at != NULL && at[strlen(name)] != '(' && at[strlen(name)] != ' ') /* a longer name */
        at = strstr(at + 1, name);
    const char *end = at != NULL ? strchr(at, ')') : NULL, *comma = at != NULL ? strchr(at, ',') : NULL;
    return end != NULL && (comma == NULL || comma > end);
}

static void write_code(const rapt_user_code *code, const char *snippet, rapt_text *t)
{
    const bool loops = strstr(snippet, "usr_tick()") != NULL;
    if (loops)
        rapt_text_add(t, "int usr_left;\nbool usr_tick() { return --usr_left >= 0; }\n");
    rapt_text_add(t, "#include \"%s\"\n", code->files[1].name);
    rapt_text_add(t, "float user_feature(float x, uint b, uint h, uint t, uint i)\n{\n");
    if (loops)
        rapt_text_add(t, "usr_left = %d;\n", RAPT_SNIPPET_ITERATIONS);
    rapt_text_add(t, "return usr0_feature_map(x%s);\n}\n", takes_x_alone(snippet) ? "" : ", b, h, t, i");
}

static rapt_status generate(rapt_user_code *code, const char *source, rapt_error *error)
{
    const rapt_snippet snippet = {.kind = RAPT_SNIPPET_FEATURE, .label = "feature_map", .text = source};
    char *text;
    snprintf(code->names[0], sizeof code->names[0], "feature_map");
    rapt_status status =
        rapt_snippet_translate(code->allocator, &snippet, &text, &code->sizes[1], &code->tokens, error);
    if (status != RAPT_OK)
        return status;
    code->files[1] = (rapt_compile_file){code->names[0], text};
    code->file_count = 2;
    snprintf(code->defines, sizeof code->defines, "-DUSER_CODE=1");
    rapt_text measure = rapt_text_over(NULL, 0);
    write_code(code, text, &measure);
    code->sizes[0] = measure.length + 1;
    char *around = rapt_calloc(code->allocator, code->sizes[0], 1);
    if (around == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for generated code");
    code->files[0] = (rapt_compile_file){"hook/user_code.glsl", around};
    rapt_text out = rapt_text_over(around, code->sizes[0]);
    write_code(code, text, &out);
    code->hash = rapt_hash_bytes(RAPT_HASH_INIT, around, code->sizes[0]);
    code->hash = rapt_hash_bytes(code->hash, text, code->sizes[1]);
    return RAPT_OK;
}

rapt_status rapt_user_feature_make(const rapt_allocator *a, const char *text, rapt_user_code **out, rapt_error *error)
{
    *out = NULL;
    if (text == NULL)
        return RAPT_OK;
    rapt_user_code *code = rapt_calloc(a, 1, sizeof *code);
    if (code == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for generated code");
    code->allocator = a;
    const rapt_status status = generate(code, text, error);
    if (status != RAPT_OK)
        rapt_user_code_free(&code);
    *out = code;
    return status;
}
