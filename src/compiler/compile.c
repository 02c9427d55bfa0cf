/* GLSL to SPIR-V with glslang, checked and disassembled by SPIRV-Tools. */
#include "compiler/compile.h"

#include "compiler/expand.h"
#include "compiler/stock.h"

#include <glslang/Include/glslang_c_interface.h>
#include <glslang/Public/resource_limits_c.h>
#include <glslang/build_info.h>
#include <spirv-tools/libspirv.h>

#include <stdio.h>
#include <string.h>

#define SPIRV_MAGIC 0x07230203u

static const struct {
    glslang_target_client_version_t client;
    glslang_target_language_version_t language;
    spv_target_env environment;
} targets[] = {
    /* by minor version of Vulkan */
    {GLSLANG_TARGET_VULKAN_1_0, GLSLANG_TARGET_SPV_1_0, SPV_ENV_VULKAN_1_0},
    {GLSLANG_TARGET_VULKAN_1_1, GLSLANG_TARGET_SPV_1_3, SPV_ENV_VULKAN_1_1},
    {GLSLANG_TARGET_VULKAN_1_2, GLSLANG_TARGET_SPV_1_5, SPV_ENV_VULKAN_1_2},
    {GLSLANG_TARGET_VULKAN_1_3, GLSLANG_TARGET_SPV_1_6, SPV_ENV_VULKAN_1_3},
};

bool rapt_glsl_start(char *version, size_t capacity)
{
    snprintf(version, capacity, "glslang %d.%d.%d%s, SPIRV-Tools %s, sources %s", GLSLANG_VERSION_MAJOR,
             GLSLANG_VERSION_MINOR, GLSLANG_VERSION_PATCH, GLSLANG_VERSION_FLAVOR, spvSoftwareVersionString(),
             rapt_stock_hash);
    return glslang_initialize_process() != 0;
}

void rapt_glsl_stop(void)
{
    glslang_finalize_process();
}

const char *rapt_glsl_stock_source(const char *name)
{
    const rapt_stock_file *file = name != NULL ? rapt_stock_find(name) : NULL;
    return file != NULL ? file->text : NULL;
}

/* "-DA=1 -DB" -> "#define A 1\n#define B \n" */
static rapt_status make_preamble(const rapt_allocator *a, const char *defines, char **out, size_t *out_size,
                                 rapt_error *error)
{
    if (defines == NULL)
        defines = "";
    size_t size = 1;
    for (const char *c = defines; *c != '\0'; c++)
        size += *c == '-' ? 10 : 2;
    char *text = rapt_calloc(a, size, 1);
    *out = text;
    *out_size = size;
    if (text == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the definitions");
    for (const char *word = defines; *word != '\0';) {
        size_t blank = strspn(word, " \t");
        size_t length = strcspn(word + blank, " \t");
        word += blank;
        if (length == 0)
            break;
        if (length < 3 || word[0] != '-' || (word[1] != 'D' && word[1] != 'U') ||
            memchr(word, '\n', length) != NULL)
            return rapt_fail(error, RAPT_ERROR_INVALID, "definitions: '%.*s' is neither -Dname[=value] nor -Uname",
                             (int)RAPT_MIN(length, 100), word);
        const char *directive = word[1] == 'D' ? "#define " : "#undef ";
        memcpy(text, directive, strlen(directive));
        text += strlen(directive);
        bool named = false; /* the first '=' parts name and value */
        for (size_t i = 2; i < length; i++) {
            *text++ = word[i] == '=' && !named ? ' ' : word[i];
            named |= word[i] == '=';
        }
        *text++ = '\n';
        word += length;
    }
    *text = '\0';
    return RAPT_OK;
}

typedef struct job {
    const rapt_allocator *a;
    const rapt_compile_request *request;
    rapt_expansion expansion;
    char *preamble;
    size_t preamble_size;
    glslang_shader_t *shader;
    glslang_program_t *program;
    rapt_text *log;
    rapt_error *error;
} job;

static rapt_status report(job *j, const char *messages, const char *what)
{
    char first[sizeof j->error->message];
    rapt_expansion_messages(&j->expansion, messages, j->log, first, sizeof first);
    if (first[0] == '\0')
        return rapt_fail(j->error, RAPT_ERROR_COMPILE, "%s: error: %s", j->expansion.names[0], what);
    return rapt_fail(j->error, RAPT_ERROR_COMPILE, "%s", first);
}

static rapt_status generate(job *j, uint32_t **words, size_t *count)
{
    unsigned minor = j->request->vulkan_minor;
    const glslang_input_t input = {
        .language = GLSLANG_SOURCE_GLSL,
        .stage = GLSLANG_STAGE_COMPUTE,
        .client = GLSLANG_CLIENT_VULKAN,
        .client_version = targets[minor].client,
        .target_language = GLSLANG_TARGET_SPV,
        .target_language_version = targets[minor].language,
        .code = j->expansion.text,
        .default_version = 100,
        .default_profile = GLSLANG_NO_PROFILE,
        .messages = GLSLANG_MSG_SPV_RULES_BIT | GLSLANG_MSG_VULKAN_RULES_BIT,
        .resource = glslang_default_resource(),
    };
    j->shader = glslang_shader_create(&input);
    if (j->shader == NULL)
        return rapt_fail(j->error, RAPT_ERROR_COMPILE, "glslang refuses to make a shader object");
    glslang_shader_set_preamble(j->shader, j->preamble);
    if (!glslang_shader_preprocess(j->shader, &input))
        return report(j, glslang_shader_get_info_log(j->shader), "the preprocessor failed without a message");
    if (!glslang_shader_parse(j->shader, &input))
        return report(j, glslang_shader_get_info_log(j->shader), "the parser failed without a message");
    char ignored[4];
    rapt_expansion_messages(&j->expansion, glslang_shader_get_info_log(j->shader), j->log, ignored, sizeof ignored);

    j->program = glslang_program_create();
    if (j->program == NULL)
        return rapt_fail(j->error, RAPT_ERROR_COMPILE, "glslang refuses to make a program object");
    glslang_program_add_shader(j->program, j->shader);
    if (!glslang_program_link(j->program, GLSLANG_MSG_SPV_RULES_BIT | GLSLANG_MSG_VULKAN_RULES_BIT) ||
        !glslang_program_map_io(j->program))
        return report(j, glslang_program_get_info_log(j->program), "linking failed without a message");
    glslang_spv_options_t options = {.strip_debug_info = true, .disable_optimizer = true};
    glslang_program_SPIRV_generate_with_options(j->program, GLSLANG_STAGE_COMPUTE, &options);
    *count = glslang_program_SPIRV_get_size(j->program);
    if (*count == 0)
        return report(j, glslang_program_SPIRV_get_messages(j->program), "no SPIR-V was generated");
    *words = rapt_calloc(j->a, *count, sizeof **words);
    if (*words == NULL)
        return rapt_fail(j->error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %zu words of SPIR-V", *count);
    glslang_program_SPIRV_get(j->program, *words);
    return RAPT_OK;
}

static rapt_status validate(const char *name, spv_target_env environment, const uint32_t *words, size_t count,
                            rapt_text *log, rapt_error *error)
{
    spv_context context = spvContextCreate(environment);
    if (context == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for SPIRV-Tools");
    spv_diagnostic diagnostic = NULL;
    spv_const_binary_t binary = {words, count};
    rapt_status status = RAPT_OK;
    if (spvValidate(context, &binary, &diagnostic) != SPV_SUCCESS) {
        const char *text = diagnostic != NULL && diagnostic->error != NULL ? diagnostic->error : "no message";
        if (log != NULL)
            rapt_text_add(log, "%s: error: invalid SPIR-V: %s\n", name, text);
        status = rapt_fail(error, RAPT_ERROR_COMPILE, "%s: error: invalid SPIR-V: %s", name, text);
    }
    spvDiagnosticDestroy(diagnostic);
    spvContextDestroy(context);
    return status;
}

rapt_status rapt_glsl_compile(const rapt_allocator *a, const rapt_compile_request *request, uint32_t **words,
                              size_t *count, rapt_text *log, rapt_error *error)
{
    *words = NULL;
    *count = 0;
    const char *name = request->source_name != NULL ? request->source_name : "source";
    const char *source = request->source;
    if (request->vulkan_minor >= RAPT_COUNT(targets))
        return rapt_fail(error, RAPT_ERROR_INVALID, "Vulkan 1.%u is not a target: 1.0 to 1.%zu are",
                         request->vulkan_minor, RAPT_COUNT(targets) - 1);
    if (source == NULL)
        source = rapt_glsl_stock_source(request->source_name);
    if (source == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "'%s' is not among the %zu stock sources", name,
                         rapt_stock_count);

    job j = {.a = a, .request = request, .log = log, .error = error};
    rapt_status status = rapt_expand(&j.expansion, a, name, source, request->files, request->file_count, error);
    if (status == RAPT_OK)
        status = make_preamble(a, request->defines, &j.preamble, &j.preamble_size, error);
    if (status == RAPT_OK)
        status = generate(&j, words, count);
    if (j.program != NULL)
        glslang_program_delete(j.program);
    if (j.shader != NULL)
        glslang_shader_delete(j.shader);
    rapt_free(a, j.preamble, j.preamble_size);
    rapt_expansion_free(&j.expansion);

    if (status == RAPT_OK)
        status = validate(name, targets[request->vulkan_minor].environment, *words, *count, log, error);
    if (status == RAPT_OK && request->optimise) {
        status = rapt_spirv_optimise(a, words, count, error);
        if (status == RAPT_OK)
            status = validate(name, targets[request->vulkan_minor].environment, *words, *count, log, error);
    }
    if (status != RAPT_OK && *words != NULL) {
        rapt_free(a, *words, *count * sizeof **words);
        *words = NULL;
        *count = 0;
    }
    return status;
}

bool rapt_glsl_disassemble(const uint32_t *words, size_t count, rapt_text *out)
{
    spv_context context = spvContextCreate(SPV_ENV_UNIVERSAL_1_6);
    if (context == NULL)
        return false;
    spv_text text = NULL;
    spv_diagnostic diagnostic = NULL;
    bool ok = count >= 5 && words[0] == SPIRV_MAGIC &&
              spvBinaryToText(context, words, count,
                              SPV_BINARY_TO_TEXT_OPTION_INDENT | SPV_BINARY_TO_TEXT_OPTION_FRIENDLY_NAMES, &text,
                              &diagnostic) == SPV_SUCCESS;
    if (ok)
        rapt_text_add(out, "%s", text->str);
    spvTextDestroy(text);
    spvDiagnosticDestroy(diagnostic);
    spvContextDestroy(context);
    return ok;
}
