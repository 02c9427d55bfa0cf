/* Generated GLSL around snippets. See user.h. */
#include "compiler/user.h"

#include <stdio.h>
#include <string.h>

/* Longer code stands in a kernel once, in a loop over the scores of a lane, not once for each: drivers' compilers would take
 * their time. */
#define UNROLLED_TOKENS 512u

typedef struct parts {
    const rapt_attention_desc *desc;
    const char *buffers[RAPT_USER_BUFFERS];
    uint32_t buffer_count, score_count, mask_count;
} parts;

static rapt_status count_parts(parts *p, rapt_error *error)
{
    const rapt_attention_desc *d = p->desc;
    while (p->score_count < RAPT_USER_MODS && d->score_mod[p->score_count] != NULL)
        p->score_count++;
    while (p->mask_count < RAPT_USER_MODS && d->mask_mod[p->mask_count] != NULL)
        p->mask_count++;
    for (uint32_t i = 0; i < RAPT_USER_MODS; i++)
        if ((i > p->score_count && d->score_mod[i] != NULL) || (i > p->mask_count && d->mask_mod[i] != NULL))
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s[%u] is given, but one before it is not",
                             i > p->score_count && d->score_mod[i] != NULL ? "score_mod" : "mask_mod", i);
    for (; p->buffer_count < RAPT_USER_BUFFERS && d->user[p->buffer_count].name != NULL; p->buffer_count++) {
        const rapt_user_buffer *b = &d->user[p->buffer_count];
        if (!rapt_snippet_buffer_name(b->name))
            return rapt_fail(error, RAPT_ERROR_INVALID,
                             "user buffer %u: '%.40s' is no name for one: a letter, then letters, digits and _, at most "
                             "32, and nothing that GLSL has",
                             p->buffer_count, b->name);
        for (uint32_t i = 0; i < p->buffer_count; i++)
            if (strcmp(p->buffers[i], b->name) == 0)
                return rapt_fail(error, RAPT_ERROR_INVALID, "two user buffers are named '%s'", b->name);
        p->buffers[p->buffer_count] = b->name;
    }
    return RAPT_OK;
}

/* "score_mod", "score_mod 2" .. */
static void name_part(char out[16], const char *what, uint32_t index)
{
    if (index == 0)
        snprintf(out, 16, "%s", what);
    else
        snprintf(out, 16, "%s %u", what, index + 1);
}

/* The text that includes the snippets and calls them in order. */
static void write_code(const parts *p, const rapt_user_code *code, bool loops, rapt_text *t)
{
    for (uint32_t i = 0; i < p->buffer_count; i++) {
        const rapt_user_buffer *b = &p->desc->user[i];
        const char *type = b->dtype == RAPT_I32 ? "int" : "float";
        rapt_text_add(t,
                      "layout(std430, set = 0, binding = RAPT_BIND_USER + %u) restrict readonly buffer UserBuffer%u { %s "
                      "user_words%u[]; };\n"
                      "%s usrb_%s(uint i) { return user_words%u[p.user_base[%u] + min(i, p.user_last[%u])]; }\n",
                      i, i, type, i, type, b->name, i, i, i);
    }
    if (loops)
        rapt_text_add(t, "int usr_left;\nbool usr_tick() { return --usr_left >= 0; }\n");
    for (uint32_t i = 1; i < code->file_count; i++)
        rapt_text_add(t, "#include \"%s\"\n", code->files[i].name);
    char start[48] = "";
    if (loops)
        snprintf(start, sizeof start, "usr_left = %d; ", RAPT_SNIPPET_ITERATIONS);
    if (p->score_count > 0) {
        rapt_text_add(t, "float user_score(float score, uint b, uint h, uint q, uint k)\n{\n%s", start);
        for (uint32_t i = 0; i < p->score_count; i++)
            rapt_text_add(t, "score = usr%u_score_mod(score, b, h, q, k);\n", i);
        rapt_text_add(t, "return score;\n}\n");
    }
    if (p->mask_count > 0) {
        rapt_text_add(t, "bool user_mask(uint b, uint h, uint q, uint k)\n{\n%sreturn true", start);
        for (uint32_t i = 0; i < p->mask_count; i++)
            rapt_text_add(t, " && usr%u_mask_mod(b, h, q, k)", p->score_count + i);
        rapt_text_add(t, ";\n}\n");
    }
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Whether a checked text names parameter `index` of its mask_mod anywhere but where it is declared. A name of its own that is
 * spelled the same counts too. */
static bool names_parameter(const char *text, const char *function, unsigned index)
{
    const char *at = strstr(text, function);
    for (unsigned n = 0; at != NULL && n <= index; n++)
        at = strpbrk(at + 1, "(,");
    const char *end = at != NULL ? strpbrk(at + 1, ",)") : NULL;
    if (end == NULL)
        return true;
    while (end > at && !is_name(end[-1]))
        end--;
    const char *name = end;
    while (name > at && is_name(name[-1]))
        name--;
    unsigned count = 0;
    const size_t length = (size_t)(end - name);
    for (const char *word = text; *word != 0; word++)
        count += strncmp(word, name, length) == 0 && !is_name(word[length]) && (word == text || !is_name(word[-1]));
    return count != 1;
}

/* The snippets, each checked and rewritten, as files 1, 2 .. */
static rapt_status translate(const parts *p, rapt_user_code *code, bool *loops, rapt_error *error)
{
    code->file_count = 1;
    for (uint32_t n = 0; n < p->score_count + p->mask_count; n++) {
        const bool score = n < p->score_count;
        const uint32_t index = score ? n : n - p->score_count;
        name_part(code->names[n], score ? "score_mod" : "mask_mod", index);
        const rapt_snippet snippet = {.kind = score ? RAPT_SNIPPET_SCORE : RAPT_SNIPPET_MASK,
                                      .label = code->names[n],
                                      .number = n,
                                      .text = score ? p->desc->score_mod[index] : p->desc->mask_mod[index],
                                      .buffers = p->buffers,
                                      .buffer_count = p->buffer_count};
        char *text;
        uint32_t tokens = 0;
        rapt_status status = rapt_snippet_translate(code->allocator, &snippet, &text, &code->sizes[n + 1], &tokens, error);
        if (status != RAPT_OK)
            return status;
        code->files[n + 1] = (rapt_compile_file){code->names[n], text};
        code->file_count = n + 2;
        code->tokens += tokens;
        if (!score) {
            char function[32];
            snprintf(function, sizeof function, "usr%u_mask_mod", n);
            code->mask_by_batch = code->mask_by_batch || names_parameter(text, function, 0);
            code->mask_by_head = code->mask_by_head || names_parameter(text, function, 1);
        }
        *loops = *loops || strstr(text, "usr_tick()") != NULL;
    }
    return RAPT_OK;
}

static rapt_status generate(const parts *p, rapt_user_code *code, rapt_user_operands operands, rapt_error *error)
{
    bool loops = false;
    rapt_status status = translate(p, code, &loops, error);
    if (status != RAPT_OK)
        return status;
    snprintf(code->defines, sizeof code->defines, "-DUSER_CODE=1 -DUSER_SCORE=%d -DUSER_MASK=%d -DUSER_ROLLED=%d%s%s%s",
             p->score_count > 0, p->mask_count > 0, code->tokens > UNROLLED_TOKENS, operands.cu_seqlens ? "" : " -DNO_VARLEN=1",
             operands.extra ? "" : " -DNO_EXTRAS=1", operands.bias ? "" : " -DNO_BIAS=1");
    rapt_text measure = rapt_text_over(NULL, 0);
    write_code(p, code, loops, &measure);
    code->sizes[0] = measure.length + 1;
    char *text = rapt_calloc(code->allocator, code->sizes[0], 1);
    if (text == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for generated code");
    code->files[0] = (rapt_compile_file){"hook/user_code.glsl", text};
    rapt_text out = rapt_text_over(text, code->sizes[0]);
    write_code(p, code, loops, &out);
    code->hash = rapt_hash_bytes(RAPT_HASH_INIT, code->defines, strlen(code->defines) + 1);
    for (uint32_t i = 0; i < code->file_count; i++)
        code->hash = rapt_hash_bytes(code->hash, code->files[i].text, code->sizes[i]);
    return RAPT_OK;
}

rapt_status rapt_user_code_make(const rapt_allocator *a, const rapt_attention_desc *desc, rapt_user_operands operands,
                                rapt_user_code **out, rapt_error *error)
{
    parts p = {.desc = desc};
    *out = NULL;
    rapt_status status = count_parts(&p, error);
    if (status != RAPT_OK || p.score_count + p.mask_count == 0)
        return status;
    rapt_user_code *code = rapt_calloc(a, 1, sizeof *code);
    if (code == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for generated code");
    code->allocator = a;
    status = generate(&p, code, operands, error);
    if (status != RAPT_OK)
        rapt_user_code_free(&code);
    *out = code;
    return status;
}

void rapt_user_code_free(rapt_user_code **pointer)
{
    if (pointer == NULL || *pointer == NULL)
        return;
    rapt_user_code *code = *pointer;
    for (uint32_t i = 0; i < RAPT_COUNT(code->files); i++)
        rapt_free(code->allocator, (char *)code->files[i].text, code->sizes[i]);
    rapt_free(code->allocator, code, sizeof *code);
    *pointer = NULL;
}
