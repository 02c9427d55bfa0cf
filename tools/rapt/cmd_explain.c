/* rapt explain: what would run, and why, without running it. */
#include "linear_options.h"
#include "problem_options.h"

#include <stdlib.h>
#include <string.h>

typedef struct explain_options {
    tool_problem_options problem;
    tool_device_options device;
    bool no_device, lse, row_max, col_sums, by_kv_head, json;
} explain_options;

/* Plans for the device, or for the floor without one. */
static int make_plan(const explain_options *o, const rapt_attention_desc *desc, tool_device *device,
                     rapt_plan **plan, rapt_status *status, rapt_error *error)
{
    if (!o->no_device) {
        const int code = tool_device_open(&o->device, o->json, device);
        if (code == TOOL_GOOD)
            *status = rapt_attention_plan(device->device, desc, plan, error);
        return code;
    }
    rapt_caps caps;
    rapt_caps_floor(&caps);
    *status = rapt_caps_mask(&caps, o->device.caps, error);
    if (*status != RAPT_OK)
        return tool_status_error(*status, error);
    fprintf(o->json ? stderr : stdout, "device: none; the least that rapt runs on\n");
    *status = rapt_attention_plan_for_caps(&caps, desc, plan, error);
    return TOOL_GOOD;
}

static int print(const explain_options *o, const tool_problem *problem, const tool_device *device, char *text)
{
    if (!text)
        return tool_no_memory();
    if (!o->json) {
        char line[400];
        tool_problem_line(problem, line, sizeof line);
        printf("%s\n%s%s", line, text, text[0] && text[strlen(text) - 1] == '\n' ? "" : "\n");
        return TOOL_GOOD;
    }
    cJSON *root = cJSON_CreateObject(), *parsed = cJSON_Parse(text);
    if (device->device)
        cJSON_AddItemToObject(root, "device", tool_caps_json(rapt_device_caps(device->device)));
    cJSON_AddItemToObject(root, "problem", tool_problem_json(problem));
    cJSON_AddItemToObject(root, "explain", parsed ? parsed : cJSON_CreateString(text));
    return tool_json_print(root, NULL);
}

static int explain(const explain_options *o, tool_problem *problem, tool_device *device, rapt_plan **plan)
{
    rapt_error error = {0};
    if (!tool_problem_make(&o->problem, o->lse, problem, &error))
        return tool_report(&error);
    tool_want_margins(&problem->desc, o->row_max, o->col_sums, o->by_kv_head);
    int code = tool_kernel_known(o->problem.kernel);
    rapt_status status = RAPT_OK;
    if (code == TOOL_GOOD)
        code = make_plan(o, &problem->desc, device, plan, &status, &error);
    if (code != TOOL_GOOD)
        return code;
    const rapt_text_format format = o->json ? RAPT_JSON : RAPT_TEXT;
    char *text = NULL;
    if (status == RAPT_OK) {
        text = tool_explain(*plan, format);
        code = print(o, problem, device, text);
    } else if (status == RAPT_ERROR_UNSUPPORTED && device->device) {
        text = tool_explain_refusal(device->device, &problem->desc, format);
        print(o, problem, device, text);
    }
    free(text);
    return status == RAPT_OK ? code : tool_status_error(status, &error);
}

/* Linear attention: by its shape alone. */
static int explain_linear(const explain_options *o, const tool_linear_options *linear, tool_device *device, rapt_plan **plan)
{
    rapt_error error = {0};
    rapt_linear_desc desc;
    if (!tool_linear_make(linear, &desc, &error))
        return tool_report(&error);
    int code = tool_kernel_known(linear->kernel);
    rapt_status status = RAPT_OK;
    rapt_caps caps;
    if (code == TOOL_GOOD && o->no_device) {
        rapt_caps_floor(&caps);
        status = rapt_caps_mask(&caps, o->device.caps, &error);
        if (status == RAPT_OK)
            status = rapt_linear_plan_for_caps(&caps, &desc, plan, &error);
    } else if (code == TOOL_GOOD) {
        code = tool_device_open(&o->device, o->json, device);
        if (code == TOOL_GOOD)
            status = rapt_linear_plan(device->device, &desc, plan, &error);
    }
    if (code != TOOL_GOOD || status != RAPT_OK)
        return code != TOOL_GOOD ? code : tool_status_error(status, &error);
    char *text = tool_explain(*plan, o->json ? RAPT_JSON : RAPT_TEXT);
    if (!text)
        return tool_no_memory();
    printf("%s%s", text, o->json ? "\n" : "");
    free(text);
    return TOOL_GOOD;
}

static int explain_linear_command(int argc, char **argv)
{
    explain_options o = {0};
    tool_linear_options linear = {0};
    const tool_option options[] = {
        TOOL_OPTIONS_LINEAR(linear),
        {"--chunk", "N", "in chunks of so many tokens", &linear.chunk, NULL},
        {"--recurrent", NULL, "token by token", NULL, &linear.recurrent},
        {"--kernel", "NAME", "force this kernel row", &linear.kernel, NULL},
        {"--no-device", NULL, "plan for the least that rapt runs on (and --caps), without a device", NULL, &o.no_device},
        TOOL_OPTIONS_DEVICE(o.device),
        {"--json", NULL, "as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    static const char *const examples[] = {"rapt explain linear --shape 1,8,4096,64 --decay fixed",
                                           "rapt explain linear --shape 1,16,1,128 --rule delta --decay channel --beta --in-place --json", NULL};
    const tool_usage usage = {"rapt explain linear --shape B,H,N,DK[,DV] [options]",
                              "Plans linear attention and tells which kernels would run, in chunks or token by token, how long the\n"
                              "chain of steps is that wait for each other, with what workspace, and why each other kernel would not.\n"
                              "Nothing runs. See rapt run linear --help.",
                              examples, options};
    size_t count;
    int code;
    if (!tool_arguments(argc, argv, &usage, NULL, 0, &count, &code))
        return code;
    tool_device device = {0};
    rapt_plan *plan = NULL;
    code = explain_linear(&o, &linear, &device, &plan);
    rapt_plan_destroy(&plan);
    tool_device_close(&device);
    return code;
}

int tool_explain_command(int argc, char **argv)
{
    explain_options o = {0};
    const tool_option options[] = {
        TOOL_OPTIONS_SHAPE(o.problem),
        TOOL_OPTIONS_FILES(o.problem),
        {"--lse", NULL, "the LSE is wanted too", NULL, &o.lse},
        {"--row-max", NULL, "each query's largest score is wanted too", NULL, &o.row_max},
        {"--col-sums", NULL, "sums of each key's weights over the queries are wanted too", NULL, &o.col_sums},
        {"--by-kv-head", NULL, "these over all heads that read a kv head", NULL, &o.by_kv_head},
        TOOL_OPTIONS_MEANING(o.problem),
        {"--no-device", NULL, "plan for the least that rapt runs on (and --caps), without a device", NULL,
         &o.no_device},
        TOOL_OPTIONS_DEVICE(o.device),
        {"--json", NULL, "as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    static const char *const examples[] = {
        "rapt explain --shape 1,8,8,1024,1024,64",
        "rapt explain --shape 1,32,8,1,16384,128 --dtype f16 --json",
        "rapt explain --shape 1,8,8,1024,1024,576,512 --caps floor",
        "rapt explain --q Q.npy --k K.npy --v V.npy --causal --kernel NAME",
        "rapt explain neighborhood --shape 1,8,8,64,64,64 --kernel-size 7x7",
        "rapt explain linear --shape 1,8,4096,64 --decay fixed",
        "rapt explain scan --op linear --shape 1,1,65536,64",
        "rapt explain decode --shape 8,32,8,1,4096,128 --page-size 16",
        NULL,
    };
    const tool_option grid_options[] = {
        {"--shape", "B,HQ,HKV,X[,Y[,Z]],D[,DV]",
         "batch, query heads, kv heads, axes of the grid, head_dim of Q and K, and\nof V (default: the same)",
         &o.problem.shape, NULL},
        {"--q", "FILE", "queries: npy file, or FILE.safetensors:NAME", &o.problem.q, NULL},
        {"--k", "FILE", "keys", &o.problem.k, NULL},
        {"--v", "FILE", "values", &o.problem.v, NULL},
        {"--lse", NULL, "the LSE is wanted too", NULL, &o.lse},
        TOOL_OPTIONS_NEIGHBORHOOD(o.problem),
        {"--no-device", NULL, "plan for the least that rapt runs on (and --caps), without a device", NULL,
         &o.no_device},
        TOOL_OPTIONS_DEVICE(o.device),
        {"--json", NULL, "as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    static const char *const grid_examples[] = {
        "rapt explain neighborhood --shape 1,8,8,64,64,64 --kernel-size 7x7",
        "rapt explain neighborhood --shape 1,8,8,30,48,80,128 --kernel-size 18x24x24 --stride 16x8x8 --json",
        NULL,
    };
    const tool_option decode_options[] = {
        TOOL_OPTIONS_SHAPE(o.problem),
        TOOL_OPTIONS_DECODE(o.problem),
        {"--lse", NULL, "the LSE is wanted too", NULL, &o.lse},
        {"--no-device", NULL, "plan for the least that rapt runs on (and --caps), without a device", NULL,
         &o.no_device},
        TOOL_OPTIONS_DEVICE(o.device),
        {"--json", NULL, "as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    static const char *const decode_examples[] = {
        "rapt explain decode --shape 8,32,8,1,4096,128 --dtype f16",
        "rapt explain decode --shape 8,32,8,1,4096,128 --dtype f16 --page-size 16",
        NULL,
    };
    const tool_usage decode_usage = {
        "rapt explain decode --shape B,HQ,HKV,NQ,NK,D[,DV] [options]",
        "Plans decoding from a key-value cache and tells which kernel would run, into how many parts it\n"
        "cuts the keys, and why each other kernel would not. Nothing runs. See rapt run decode --help.",
        decode_examples, decode_options};
    const tool_usage grid_usage = {
        "rapt explain neighborhood --shape B,HQ,HKV,X[,Y[,Z]],D[,DV] --kernel-size KxK [options]",
        "Plans neighborhood attention and tells which kernel would run, how it tiles the grid, how\n"
        "many tiles of keys it visits, and how much faster than attention of all keys it could be.\n"
        "Nothing runs. See rapt run neighborhood --help.",
        grid_examples, grid_options};
    const tool_usage usage = {
        "rapt explain [attention] --shape B,HQ,HKV,NQ,NK,D[,DV] [options]",
        "Plans attention for a shape, or for files, and tells which kernel would run, with what\n"
        "workspace, precision and steps, and why each other kernel would not. Nothing runs.\n"
        "When no kernel accepts the problem: every reason, and exit code 4.",
        examples, options};
    const char *words[1];
    size_t count;
    int code;
    if (argc > 1 && strcmp(argv[1], "scan") == 0)
        return tool_explain_scan(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "linear") == 0)
        return explain_linear_command(argc - 1, argv + 1);
    o.problem.grid.used = argc > 1 && strcmp(argv[1], "neighborhood") == 0;
    o.problem.cache.used = argc > 1 && strcmp(argv[1], "decode") == 0;
    const tool_usage *chosen = o.problem.grid.used ? &grid_usage : o.problem.cache.used ? &decode_usage : &usage;
    if (!tool_arguments(argc, argv, chosen, words, 1, &count, &code))
        return code;
    if (count == 1 && chosen == &usage && strcmp(words[0], "attention") != 0)
        return tool_error(TOOL_BAD_INPUT, "unknown operator '%.60s'; attention, decode, linear, neighborhood and scan are what there is", words[0]);
    if (!o.problem.shape && !o.problem.q && o.problem.grid.used)
        return tool_error(TOOL_BAD_INPUT, "--shape B,HQ,HKV,X[,Y[,Z]],D[,DV] is missing (or --q, --k and --v)");
    if (!o.problem.shape && !o.problem.q)
        return tool_error(TOOL_BAD_INPUT, "--shape B,HQ,HKV,NQ,NK,D[,DV] is missing (or --q, --k and --v)");
    tool_problem problem = {0};
    tool_device device = {0};
    rapt_plan *plan = NULL;
    code = explain(&o, &problem, &device, &plan);
    rapt_plan_destroy(&plan);
    tool_device_close(&device);
    tool_problem_free(&problem);
    return code;
}
