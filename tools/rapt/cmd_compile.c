/* rapt compile: one kernel row on its way from GLSL to what the driver makes of it. */
#include "problem_options.h"

/* The interface of librapt_compiler, which is loaded at run time; nothing of it is linked. */
#include "compiler/compiler.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

typedef struct compile_options {
    tool_problem_options problem;
    tool_device_options device;
    const char *spirv;
    bool list, assembly, recompile, stats, internal, json;
} compile_options;

/* ---- librapt_compiler, which lies beside librapt ---- */

#if defined(_WIN32)
static const char *const compiler_names[] = {"rapt_compiler-0.dll", "librapt_compiler-0.dll"};
#elif defined(__APPLE__)
static const char *const compiler_names[] = {"librapt_compiler.0.dylib", "librapt_compiler.dylib"};
#else
static const char *const compiler_names[] = {"librapt_compiler.so.0", "librapt_compiler.so"};
#endif

static void *find_entry(const char *name)
{
    void *symbol = NULL;
#if defined(_WIN32)
    const HMODULE library = LoadLibraryA(name);
    const FARPROC address = library ? GetProcAddress(library, "rapt_compiler_entry") : NULL;
    memcpy(&symbol, &address, sizeof symbol);
#else
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    symbol = library ? dlsym(library, "rapt_compiler_entry") : NULL;
#endif
    return symbol;
}

static const rapt_compiler_api *load_compiler(void)
{
    for (size_t n = 0; n < TOOL_COUNT(compiler_names); n++) {
        void *symbol = find_entry(compiler_names[n]);
        rapt_compiler_entry_fn entry = NULL;
        memcpy(&entry, &symbol, sizeof entry);
        if (entry)
            return entry(RAPT_COMPILER_ABI);
    }
    return NULL;
}

static void *host_alloc(void *user, size_t size)
{
    (void)user;
    return calloc(1, size);
}

static void *host_realloc(void *user, void *old, size_t old_size, size_t size)
{
    (void)user;
    (void)old_size;
    return realloc(old, size);
}

static void host_free(void *user, void *old, size_t size)
{
    (void)user;
    (void)size;
    free(old);
}

static const rapt_allocator host = {NULL, host_alloc, host_realloc, host_free};

/* ---- the list ---- */

static int list_rows(bool json)
{
    cJSON *root = json ? cJSON_CreateObject() : NULL,
          *rows = json ? cJSON_AddArrayToObject(root, "kernels") : NULL;
    if (!json)
        printf("%-34s %-10s %9s  %-32s  %s\n", "kernel", "family", "SPIR-V", "hash", "source");
    for (uint32_t n = 0; n < rapt_kernel_count(); n++) {
        rapt_kernel_info info = RAPT_KERNEL_INFO_INIT;
        rapt_error error = {0};
        const rapt_status status = rapt_kernel_describe(n, &info, &error);
        if (status != RAPT_OK) {
            cJSON_Delete(root);
            return tool_status_error(status, &error);
        }
        if (!json) {
            printf("%-34s %-10s %9" PRIu64 "  %-32s  %s %s\n", info.name, info.family, info.spirv_bytes,
                   info.hash, info.shader, info.defines);
            continue;
        }
        cJSON *row = cJSON_CreateObject();
        cJSON_AddStringToObject(row, "name", info.name);
        cJSON_AddStringToObject(row, "family", info.family);
        cJSON_AddStringToObject(row, "source", info.shader);
        cJSON_AddStringToObject(row, "defines", info.defines);
        cJSON_AddStringToObject(row, "hash", info.hash);
        cJSON_AddNumberToObject(row, "spirv_bytes", (double)info.spirv_bytes);
        cJSON_AddItemToArray(rows, row);
    }
    return json ? tool_json_print(root, NULL) : TOOL_GOOD;
}

/* ---- one row ---- */

static bool find_row(const char *name, rapt_kernel_info *info, uint32_t *index)
{
    for (uint32_t n = 0; n < rapt_kernel_count(); n++) {
        *info = (rapt_kernel_info)RAPT_KERNEL_INFO_INIT;
        *index = n;
        if (rapt_kernel_describe(n, info, NULL) == RAPT_OK && strcmp(info->name, name) == 0)
            return true;
    }
    return false;
}

static int write_spirv(const char *path, const rapt_kernel_info *info, const uint32_t *spirv)
{
    FILE *file = fopen(path, "wb");
    const bool written = file && fwrite(spirv, 1, (size_t)info->spirv_bytes, file) == info->spirv_bytes;
    if ((file && fclose(file) != 0) || !written)
        return tool_error(TOOL_BAD_INPUT, "%s: %s", path, strerror(errno));
    return TOOL_GOOD;
}

static int disassemble(const rapt_compiler_api *compiler, const rapt_kernel_info *info, const uint32_t *spirv, cJSON *json)
{
    rapt_text text = {0};
    const size_t words = (size_t)info->spirv_bytes / 4;
    if (!compiler->disassemble(spirv, words, &text))
        return tool_error(TOOL_CHECK_FAILED, "%s: its SPIR-V cannot be disassembled", info->name);
    text.capacity = text.length + 1;
    text.length = 0;
    text.data = calloc(text.capacity, 1);
    if (!text.data)
        return tool_no_memory();
    compiler->disassemble(spirv, words, &text);
    if (json)
        cJSON_AddStringToObject(json, "assembly", text.data);
    else
        printf("%s", text.data);
    free(text.data);
    return TOOL_GOOD;
}

/* The stock source through the run-time compiler, optimised or not: does it give the module that is built in?
 */
static int recompile_once(const rapt_compiler_api *compiler, const rapt_kernel_info *info, const uint32_t *spirv,
                          bool optimise, cJSON *json)
{
    const rapt_compile_request request = {.source_name = info->shader,
                                          .defines = info->defines,
                                          .vulkan_minor = rapt_spirv_vulkan_minor(spirv),
                                          .optimise = optimise};
    uint32_t *words = NULL;
    size_t count = 0;
    rapt_error error = {0};
    const double start = tool_now_ns();
    const rapt_status status = compiler->compile(&host, &request, &words, &count, NULL, &error);
    const double ns = tool_now_ns() - start;
    if (status != RAPT_OK)
        return tool_status_error(status, &error);
    const bool same = count * 4 == info->spirv_bytes && memcmp(words, spirv, count * 4) == 0;
    free(words);
    if (json) {
        cJSON *o = cJSON_AddObjectToObject(json, optimise ? "recompiled_optimised" : "recompiled");
        cJSON_AddStringToObject(o, "compiler", compiler->version);
        cJSON_AddNumberToObject(o, "spirv_bytes", (double)count * 4);
        cJSON_AddNumberToObject(o, "ns", ns);
        cJSON_AddBoolToObject(o, "same_as_built_in", same);
    } else {
        char time[32];
        tool_duration(ns, time);
        printf("recompiled%s in %s: %zu bytes, %s\n", optimise ? " and optimised" : "", time, count * 4,
               same ? "the same as built in" : "other than what is built in");
    }
    return TOOL_GOOD;
}

static int recompile(const rapt_compiler_api *compiler, const rapt_kernel_info *info, const uint32_t *spirv, cJSON *json)
{
    if (!json)
        printf("compiler: %s\n", compiler->version);
    const int code = recompile_once(compiler, info, spirv, false, json);
    return code == TOOL_GOOD ? recompile_once(compiler, info, spirv, true, json) : code;
}

/* ---- what the driver says ---- */

/* The dtype that "-DDTYPE=n" asks for. */
static const char *dtype_of(const rapt_kernel_info *info)
{
    const char *at = strstr(info->defines, "-DDTYPE=");
    return at && at[8] == '2' ? "f16" : at && at[8] == '3' ? "bf16" : "f32";
}

/* Plans with the row forced: for --shape, else for the first usual shape that it takes. */
static int plan_row(const compile_options *o, const rapt_kernel_info *info, tool_device *device,
                    tool_problem *problem, rapt_plan **plan)
{
    static const char *const shapes[] = {
        "1,8,8,1024,1024,64",      "1,8,8,1024,1024,128", "1,8,8,1024,1024,256", "1,8,8,1024,1024,32",
        "1,8,8,1024,1024,576,512", "1,8,2,1,4096,64",     "1,32,8,1,4096,128",   "1,8,8,1024,1024,512"};
    tool_problem_options options = o->problem;
    rapt_error error = {0};
    rapt_status status = RAPT_OK;
    if (strcmp(info->family, "merge") == 0) /* runs in any plan that cuts the keys */
        options.key_splits = options.key_splits ? options.key_splits : "4";
    else
        options.kernel = info->name;
    options.dtype = options.dtype ? options.dtype : dtype_of(info);
    for (size_t n = 0; n < TOOL_COUNT(shapes); n++) {
        if (!o->problem.shape)
            options.shape = shapes[n];
        tool_problem_free(problem);
        if (!tool_problem_make(&options, false, problem, &error))
            return tool_report(&error);
        if (strstr(info->defines, "-DGRID=") && problem->desc.q.size[2] == problem->desc.k.size[2]) {
            rapt_grid *g = &problem->desc.grid; /* of two axes where the length allows */
            const uint32_t places = (uint32_t)problem->desc.q.size[2], rows = places % 32 == 0 ? places / 32 : 1;
            *g = (rapt_grid){2, {rows, places / (rows ? rows : 1)}, {rows < 7 ? 1 : 7, 7}};
        }
        status = rapt_attention_plan(device->device, &problem->desc, plan, &error);
        if (status != RAPT_ERROR_UNSUPPORTED || o->problem.shape)
            break;
    }
    if (status == RAPT_OK)
        status = rapt_plan_prepare(*plan, &error);
    return status == RAPT_OK ? TOOL_GOOD : tool_status_error(status, &error);
}

static int statistics(const compile_options *o, const rapt_kernel_info *info, cJSON *json)
{
    tool_device device;
    tool_problem problem = {0};
    rapt_plan *plan = NULL;
    rapt_error error = {0};
    char *text = NULL;
    size_t needed = 0;
    int code = tool_device_open(&o->device, o->json, &device);
    if (code == TOOL_GOOD)
        code = plan_row(o, info, &device, &problem, &plan);
    const rapt_text_format format = json ? RAPT_JSON : RAPT_TEXT;
    if (code == TOOL_GOOD) {
        rapt_status status = rapt_kernel_statistics(plan, format, o->internal, NULL, 0, &needed, &error);
        text = calloc(needed + 1, 1);
        if (status == RAPT_OK && text && needed > 0)
            status = rapt_kernel_statistics(plan, format, o->internal, text, needed, &needed, &error);
        code = !text ? tool_no_memory() : status == RAPT_OK ? TOOL_GOOD : tool_status_error(status, &error);
    }
    if (code == TOOL_GOOD) {
        char line[400];
        tool_problem_line(&problem, line, sizeof line);
        if (json) {
            cJSON_AddItemToObject(json, "device", tool_caps_json(rapt_device_caps(device.device)));
            cJSON_AddItemToObject(json, "problem", tool_problem_json(&problem));
            cJSON_AddItemToObject(json, "statistics", needed > 1 ? cJSON_Parse(text) : cJSON_CreateNull());
        } else {
            printf("%s\n%s\n", line, needed > 1 ? text : "the driver tells no statistics");
        }
    }
    free(text);
    rapt_plan_destroy(&plan);
    tool_problem_free(&problem);
    tool_device_close(&device);
    return code;
}

static int show_row(const compile_options *o, const char *name)
{
    rapt_kernel_info info;
    uint32_t index;
    if (!find_row(name, &info, &index))
        return tool_kernel_known(name);
    uint32_t *spirv = malloc((size_t)info.spirv_bytes);
    if (!spirv)
        return tool_no_memory();
    rapt_error error = {0};
    const rapt_status status = rapt_kernel_spirv(index, spirv, info.spirv_bytes, &error);
    if (status != RAPT_OK) {
        free(spirv);
        return tool_status_error(status, &error);
    }
    cJSON *json = o->json ? cJSON_CreateObject() : NULL;
    int code = o->spirv ? write_spirv(o->spirv, &info, spirv) : TOOL_GOOD;
    if (json) {
        cJSON_AddStringToObject(json, "name", info.name);
        cJSON_AddStringToObject(json, "family", info.family);
        cJSON_AddStringToObject(json, "source", info.shader);
        cJSON_AddStringToObject(json, "defines", info.defines);
        cJSON_AddStringToObject(json, "hash", info.hash);
        cJSON_AddNumberToObject(json, "spirv_bytes", (double)info.spirv_bytes);
    } else {
        printf("kernel: %s (%s)\nsource: shaders/%s %s\nSPIR-V: %" PRIu64 " bytes, hash %s\n", info.name,
               info.family, info.shader, info.defines, info.spirv_bytes, info.hash);
    }
    if (code == TOOL_GOOD && (o->assembly || o->recompile)) {
        const rapt_compiler_api *compiler = load_compiler();
        if (!compiler)
            code = tool_error(TOOL_BAD_INPUT, "%s is not there: --asm and --recompile need it",
                              compiler_names[0]);
        if (code == TOOL_GOOD && o->recompile)
            code = recompile(compiler, &info, spirv, json);
        if (code == TOOL_GOOD && o->assembly)
            code = disassemble(compiler, &info, spirv, json);
    }
    free(spirv);
    if (code == TOOL_GOOD && (o->stats || o->internal))
        code = statistics(o, &info, json);
    if (code == TOOL_GOOD && json)
        return tool_json_print(json, NULL);
    cJSON_Delete(json);
    return code;
}

int tool_compile(int argc, char **argv)
{
    compile_options o = {0};
    const tool_option options[] = {
        {"--list", NULL, "list all kernel rows", NULL, &o.list},
        {"--spirv", "FILE", "write the SPIR-V module", &o.spirv, NULL},
        {"--asm", NULL, "print its disassembly (needs librapt_compiler)", NULL, &o.assembly},
        {"--recompile", NULL, "compile its GLSL again, now (needs librapt_compiler)", NULL, &o.recompile},
        {"--stats", NULL, "what the device's driver says of the pipeline", NULL, &o.stats},
        {"--internal", NULL, "and the driver's own listings", NULL, &o.internal},
        TOOL_OPTIONS_SHAPE(o.problem),
        TOOL_OPTIONS_MEANING(o.problem),
        TOOL_OPTIONS_DEVICE(o.device),
        {"--no-probe", NULL, "make pipelines without running them (compiler-only drivers)", NULL,
         &o.device.no_probe},
        {"--json", NULL, "as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    static const char *const examples[] = {
        "rapt compile --list",
        "rapt compile NAME --asm",
        "rapt compile NAME --spirv kernel.spv --recompile",
        "rapt compile NAME --stats --shape 1,8,8,2048,2048,128 --dtype f16 --causal",
        NULL,
    };
    const tool_usage usage = {
        "rapt compile NAME [options]  |  rapt compile --list",
        "Shows a kernel row: its GLSL source and defines, the size and hash of its SPIR-V, and on\n"
        "request the disassembly, a fresh compilation, and the driver's statistics (registers,\n"
        "spills, instructions: whatever it tells) for the constants of a shape. A file named\n"
        "HASH.spv in the folder RAPT_SHADER_OVERRIDE replaces the module of that hash.",
        examples, options};
    const char *words[1];
    size_t count;
    int code;
    if (!tool_arguments(argc, argv, &usage, words, 1, &count, &code))
        return code;
    if (o.problem.kernel)
        return tool_error(TOOL_BAD_INPUT,
                          "rapt compile takes the kernel's name as its word, not by --kernel");
    if (o.list)
        return list_rows(o.json);
    if (count == 0)
        return tool_error(TOOL_BAD_INPUT, "which kernel row? rapt compile --list shows all %u",
                          rapt_kernel_count());
    return show_row(&o, words[0]);
}
