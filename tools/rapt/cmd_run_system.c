/* rapt run system: a published system by name, from files to files. */
#include "problem_options.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MOST 16 /* of each kind of NAME=VALUE */

typedef struct run_options {
    const char *in[MOST], *set[MOST], *out[MOST];
    size_t in_count, set_count, out_count;
    tool_device_options device;
    bool explain, json;
} run_options;

/* NAME=VALUE of --in, --set or --out. */
typedef struct named {
    char name[40];
    const char *value;
} named;

typedef struct step_run {
    rapt_plan *plan;
    rapt_binding *binding;
    rapt_plan_info info;
    double device_ns, wall_ns;
} step_run;

/* Everything that must be put away at the end. */
typedef struct run {
    const run_options *o;
    uint32_t index;
    rapt_system_info info;
    named in[MOST], set[MOST], out[MOST];
    tensor_file files[MOST];
    rapt_system_recipe *recipe;
    tool_device device;
    rapt_buffer *buffers[RAPT_SYSTEM_TENSORS];
    step_run steps[RAPT_SYSTEM_STEPS];
    cJSON *json;
} run;

static void run_close(run *r)
{
    for (size_t n = 0; n < RAPT_SYSTEM_STEPS; n++)
        rapt_binding_destroy(&r->steps[n].binding);
    for (size_t n = 0; n < RAPT_SYSTEM_TENSORS; n++)
        rapt_buffer_destroy(&r->buffers[n]);
    for (size_t n = 0; n < RAPT_SYSTEM_STEPS; n++)
        rapt_plan_destroy(&r->steps[n].plan);
    tool_device_close(&r->device);
    for (size_t n = 0; n < MOST; n++)
        tensor_file_free(&r->files[n]);
    free(r->recipe);
    cJSON_Delete(r->json);
}

/* ---- the command line ---- */

static bool split(const char *option, const char *what, const char *const *words, size_t count, named *out,
                  rapt_error *error)
{
    for (size_t n = 0; n < count; n++) {
        const char *word = words[n], *equals = strchr(word, '=');
        const size_t length = equals ? (size_t)(equals - word) : 0;
        if (length == 0 || length >= sizeof out->name || equals[1] == 0)
            return tool_fail(error, RAPT_ERROR_INVALID, "%s '%.80s': %s is needed", option, word, what);
        memcpy(out[n].name, word, length);
        out[n].name[length] = 0;
        out[n].value = equals + 1;
    }
    return true;
}

static size_t given(const char *const words[MOST])
{
    size_t count = 0;
    while (count < MOST && words[count])
        count++;
    return count;
}

static const named *find_named(const named *list, size_t count, const char *name)
{
    for (size_t n = 0; n < count; n++)
        if (strcmp(list[n].name, name) == 0)
            return &list[n];
    return NULL;
}

/* Each --out is an output of the system, none is left out, and no two are one file. */
static bool check_outputs(const run *r, rapt_error *error)
{
    const size_t count = r->o->out_count;
    for (uint32_t n = 0; n < r->info.output_count; n++)
        if (!r->info.outputs[n].optional && !find_named(r->out, count, r->info.outputs[n].name))
            return tool_fail(error, RAPT_ERROR_INVALID, "--out %s=FILE is missing", r->info.outputs[n].name);
    for (size_t n = 0; n < count; n++)
        for (size_t other = 0; other < n; other++)
            if (strcmp(r->out[n].name, r->out[other].name) == 0 ||
                strcmp(r->out[n].value, r->out[other].value) == 0)
                return tool_fail(error, RAPT_ERROR_INVALID,
                                 "--out %s=%.200s: that name or file is another --out's too", r->out[n].name,
                                 r->out[n].value);
    return true;
}

static bool read_inputs(run *r, rapt_system_input *inputs, rapt_error *error)
{
    for (size_t n = 0; n < r->o->in_count; n++) {
        tensor_file *f = &r->files[n];
        if (!tensor_file_read(r->in[n].value, f, error))
            return false;
        if (f->rank > RAPT_MAX_RANK)
            return tool_fail(error, RAPT_ERROR_INVALID, "--in %s=%.200s: %u axes; no system has more than %d",
                             r->in[n].name, r->in[n].value, f->rank, RAPT_MAX_RANK);
        inputs[n] = (rapt_system_input){r->in[n].name, {.dtype = f->dtype, .rank = f->rank}};
        int64_t stride = 1;
        for (uint32_t axis = f->rank; axis-- > 0; stride *= (int64_t)f->shape[axis]) {
            inputs[n].tensor.size[axis] = f->shape[axis];
            inputs[n].tensor.stride[axis] = stride;
        }
    }
    return true;
}

static const tensor_file *file_of(const run *r, const char *name)
{
    const named *in = find_named(r->in, r->o->in_count, name);
    return in ? &r->files[in - r->in] : NULL;
}

/* What int32 inputs hold: bounds that rise from 0 to an end. */
static bool check_bounds(const run *r, rapt_error *error)
{
    for (uint32_t t = 0; t < r->recipe->tensor_count; t++) {
        const rapt_system_tensor *tensor = &r->recipe->tensors[t];
        const tensor_file *f = file_of(r, tensor->name);
        if (tensor->role != RAPT_SYSTEM_IN || tensor->tensor.dtype != RAPT_I32 || !f ||
            tensor->bounds == UINT64_MAX)
            continue;
        const int32_t *at = f->data;
        for (uint64_t n = 0; n < f->count; n++)
            if (n == 0 ? at[0] != 0 : at[n] < at[n - 1])
                return tool_fail(error, RAPT_ERROR_INVALID,
                                 "--in %s: entry %" PRIu64 " is %d; the entries must rise from 0",
                                 tensor->name, n, (int)at[n]);
        if ((uint64_t)at[f->count - 1] != tensor->bounds)
            return tool_fail(error, RAPT_ERROR_INVALID, "--in %s: ends at %d, not at %" PRIu64, tensor->name,
                             (int)at[f->count - 1], tensor->bounds);
    }
    return true;
}

static bool make_recipe(run *r, rapt_error *error)
{
    rapt_system_input inputs[MOST];
    rapt_system_setting settings[MOST];
    const char *outputs[MOST];
    if (!split("--in", "NAME=FILE", r->o->in, r->o->in_count, r->in, error) ||
        !split("--set", "NAME=VALUE", r->o->set, r->o->set_count, r->set, error) ||
        !split("--out", "NAME=FILE", r->o->out, r->o->out_count, r->out, error) || !check_outputs(r, error) ||
        !read_inputs(r, inputs, error))
        return false;
    for (size_t n = 0; n < r->o->set_count; n++)
        settings[n] = (rapt_system_setting){r->set[n].name, r->set[n].value};
    for (size_t n = 0; n < r->o->out_count; n++)
        outputs[n] = r->out[n].name;
    rapt_system_request request = RAPT_SYSTEM_REQUEST_INIT;
    request.inputs = inputs;
    request.input_count = (uint32_t)r->o->in_count;
    request.settings = settings;
    request.setting_count = (uint32_t)r->o->set_count;
    request.outputs = outputs;
    request.output_count = (uint32_t)r->o->out_count;
    r->recipe = malloc(sizeof *r->recipe);
    if (!r->recipe)
        return tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the recipe");
    return rapt_system_recipe_make(r->index, &request, r->recipe, error) == RAPT_OK && check_bounds(r, error);
}

/* ---- the steps ---- */

static rapt_status upload_pattern(run *r, uint32_t t, uint64_t bytes, rapt_error *error)
{
    int32_t *mask = malloc(bytes);
    if (!mask)
        return tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "out of host memory") ? RAPT_OK : error->status;
    rapt_status status = rapt_pattern_fill(&r->recipe->pattern, mask, bytes / 4, error);
    if (status == RAPT_OK)
        status = rapt_buffer_upload(r->buffers[t], 0, mask, bytes, error);
    free(mask);
    return status;
}

static rapt_status upload(run *r, rapt_error *error)
{
    for (uint32_t t = 0; t < r->recipe->tensor_count; t++) {
        const rapt_system_tensor *tensor = &r->recipe->tensors[t];
        const uint64_t bytes = rapt_tensor_bytes(&tensor->tensor);
        const tensor_file *f = tensor->role == RAPT_SYSTEM_IN ? file_of(r, tensor->name) : NULL;
        rapt_status status =
            rapt_buffer_create(r->device.device, bytes > 0 ? bytes : 1, &r->buffers[t], error);
        if (status == RAPT_OK && f && bytes > 0)
            status = rapt_buffer_upload(r->buffers[t], 0, f->data, bytes, error);
        if (status == RAPT_OK && tensor->role == RAPT_SYSTEM_PATTERN && bytes > 0)
            status = upload_pattern(r, t, bytes, error);
        if (status != RAPT_OK)
            return status;
    }
    return RAPT_OK;
}

static rapt_status plan_step(run *r, uint32_t n, rapt_error *error)
{
    step_run *s = &r->steps[n];
    rapt_status status = rapt_system_step_plan(r->device.device, &r->recipe->steps[n], &s->plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(s->plan, error);
    s->info = (rapt_plan_info)RAPT_PLAN_INFO_INIT;
    return status == RAPT_OK ? rapt_plan_describe(s->plan, &s->info, error) : status;
}

static rapt_status run_step(run *r, uint32_t n, rapt_error *error)
{
    const rapt_system_step *step = &r->recipe->steps[n];
    step_run *s = &r->steps[n];
    rapt_status status = rapt_system_step_bind(s->plan, step, r->buffers, &s->binding, error);
    const double start = tool_now_ns();
    if (status == RAPT_OK)
        status = rapt_submit(s->binding, error);
    if (status == RAPT_OK)
        status = rapt_wait(s->binding, UINT64_MAX, error);
    s->wall_ns = tool_now_ns() - start;
    rapt_timing timing = {.device_ns = -1};
    if (status == RAPT_OK)
        rapt_binding_timing(s->binding, &timing);
    s->device_ns = timing.device_ns;
    rapt_binding_destroy(&s->binding); /* and with it the workspace */
    return status;
}

/* ---- what is told ---- */

static int explain(run *r, uint32_t n, cJSON *json)
{
    char *text = tool_explain(r->steps[n].plan, json ? RAPT_JSON : RAPT_TEXT);
    if (!text)
        return tool_no_memory();
    if (json)
        cJSON_AddItemToObject(json, "explain", cJSON_Parse(text));
    else
        printf("%s%s", text, text[0] && text[strlen(text) - 1] == '\n' ? "" : "\n");
    free(text);
    return TOOL_GOOD;
}

static int refuse(run *r, uint32_t n, rapt_status status, const rapt_error *error)
{
    if (r->o->explain && status == RAPT_ERROR_UNSUPPORTED && r->recipe->steps[n].op == RAPT_SYSTEM_ATTENTION) {
        char *text = tool_explain_refusal(r->device.device, &r->recipe->steps[n].attention, RAPT_TEXT);
        if (text)
            fprintf(r->o->json ? stderr : stdout, "%s\n", text);
        free(text);
    }
    return tool_error(tool_exit_code(status), "%s, step %u, %s: %s", r->info.name, n + 1,
                      r->recipe->steps[n].what,
                      error->message[0] ? error->message : rapt_status_name(status));
}

static int report_step(run *r, uint32_t n, cJSON *steps)
{
    const step_run *s = &r->steps[n];
    const rapt_plan_info *i = &s->info;
    if (!steps) {
        char time[32];
        tool_duration(s->device_ns >= 0 ? s->device_ns : s->wall_ns, time);
        printf("step %u, %s: %s%s%s, %s, %s %s\n", n + 1, r->recipe->steps[n].what, i->kernel,
               i->merge_kernel[0] ? " + " : "", i->merge_kernel, i->precision,
               s->device_ns >= 0 ? "device" : "wall", time);
        return r->o->explain ? explain(r, n, NULL) : TOOL_GOOD;
    }
    cJSON *o = cJSON_CreateObject();
    cJSON_AddItemToArray(steps, o);
    cJSON_AddStringToObject(o, "what", r->recipe->steps[n].what);
    cJSON_AddStringToObject(o, "kernel", i->kernel);
    cJSON_AddStringToObject(o, "merge_kernel", i->merge_kernel);
    cJSON_AddStringToObject(o, "precision", i->precision);
    cJSON_AddNumberToObject(o, "key_splits", i->key_splits);
    cJSON_AddNumberToObject(o, "dispatches", i->steps);
    cJSON_AddNumberToObject(o, "slices", i->slices);
    cJSON_AddNumberToObject(o, "workspace_bytes", (double)i->workspace_bytes);
    if (s->device_ns >= 0)
        tool_json_number(o, "device_ns", s->device_ns);
    else
        cJSON_AddNullToObject(o, "device_ns");
    tool_json_number(o, "wall_ns", s->wall_ns);
    return r->o->explain ? explain(r, n, o) : TOOL_GOOD;
}

static int write_outputs(run *r)
{
    cJSON *outputs = r->json ? cJSON_AddArrayToObject(r->json, "outputs") : NULL;
    for (uint32_t t = 0; t < r->recipe->tensor_count; t++) {
        const rapt_system_tensor *tensor = &r->recipe->tensors[t];
        const named *out = find_named(r->out, r->o->out_count, tensor->name);
        if (tensor->role != RAPT_SYSTEM_OUT || !out)
            continue;
        rapt_error error = {0};
        const rapt_tensor *f = &tensor->tensor;
        if (!tool_save(r->buffers[t], f, f->rank, f->size, out->value, &error))
            return tool_report(&error);
        const char *type = f->dtype == RAPT_F16 ? "float16" : "float32";
        if (!outputs) {
            char shape[160];
            tensor_file_shape(f->rank, f->size, shape, sizeof shape);
            printf("%s: %s, %s %s\n", tensor->name, out->value, type, shape);
            continue;
        }
        cJSON *o = cJSON_CreateObject();
        cJSON_AddItemToArray(outputs, o);
        cJSON_AddStringToObject(o, "name", tensor->name);
        cJSON_AddStringToObject(o, "file", out->value);
        cJSON_AddStringToObject(o, "dtype", type);
        cJSON *axes = cJSON_AddArrayToObject(o, "shape");
        for (uint32_t axis = 0; axis < f->rank; axis++)
            cJSON_AddItemToArray(axes, cJSON_CreateNumber((double)f->size[axis]));
    }
    return TOOL_GOOD;
}

static int run_system(run *r)
{
    rapt_error error = {0};
    if (!make_recipe(r, &error))
        return error.status == RAPT_ERROR_UNSUPPORTED ? tool_error(TOOL_BAD_INPUT, "%s", error.message)
                                                      : tool_report(&error);
    int code = tool_device_open(&r->o->device, r->o->json, &r->device);
    if (code != TOOL_GOOD)
        return code;
    for (uint32_t n = 0; n < r->recipe->step_count; n++) { /* all, so that a refusal costs no work */
        const rapt_status status = plan_step(r, n, &error);
        if (status != RAPT_OK)
            return refuse(r, n, status, &error);
    }
    if (r->json) {
        cJSON_AddStringToObject(r->json, "system", r->info.name);
        cJSON_AddItemToObject(r->json, "device", tool_caps_json(rapt_device_caps(r->device.device)));
    } else {
        printf("system: %s, %u step%s\n", r->info.name, r->recipe->step_count,
               r->recipe->step_count == 1 ? "" : "s");
    }
    cJSON *steps = r->json ? cJSON_AddArrayToObject(r->json, "steps") : NULL;
    rapt_status status = upload(r, &error);
    if (status != RAPT_OK)
        return tool_status_error(status, &error);
    for (uint32_t n = 0; n < r->recipe->step_count && code == TOOL_GOOD; n++) {
        status = run_step(r, n, &error);
        code = status == RAPT_OK ? report_step(r, n, steps) : refuse(r, n, status, &error);
    }
    if (code == TOOL_GOOD)
        code = write_outputs(r);
    if (code == TOOL_GOOD && r->json) {
        cJSON *json = r->json;
        r->json = NULL;
        code = tool_json_print(json, NULL);
    }
    return code;
}

static const char text[] =
    "Computes a published system on a Vulkan device, from files to files. rapt systems\n"
    "--status works lists those that there are, rapt systems NAME the inputs, parameters and\n"
    "outputs of one. NAME may be any part of the name that is unique.\n"
    "\n"
    "Files are NumPy's .npy (float32, float16, or int32 for bounds, C order), or one tensor of\n"
    "a .safetensors file written as FILE.safetensors:NAME, with the axes that the system's\n"
    "shapes have. Float inputs have one type, outputs the same; bf16 is written as float32.\n"
    "A system may take several steps: each begins when the one before has ended, and nothing\n"
    "of the result is computed on the host.";
static const char *const examples[] = {
    "rapt run system streaming-llm --in q=Q.npy --in k=K.npy --in v=V.npy --set recent=256 --out out=O.npy",
    "rapt run system flare --in latents=L.npy --in k=K.npy --in v=V.npy --out out=O.npy --explain",
    NULL,
};

int tool_run_system(int argc, char **argv)
{
    run_options o = {0};
    const tool_option options[] = {
        {"--in", "NAME=FILE", "an input; once for each", o.in, NULL, MOST},
        {"--set", "NAME=VALUE", "a parameter; the others keep their defaults", o.set, NULL, MOST},
        {"--out", "NAME=FILE", "where an output goes (npy)", o.out, NULL, MOST},
        TOOL_OPTIONS_DEVICE(o.device),
        {"--explain", NULL, "tell why each step's kernel was chosen", NULL, &o.explain},
        {"--json", NULL, "everything as JSON on standard output", NULL, &o.json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    const tool_usage usage = {
        "rapt run system NAME --in NAME=FILE .. [--set NAME=VALUE ..] --out NAME=FILE [options]", text,
        examples, options};
    const char *words[1];
    size_t count;
    int code;
    if (!tool_arguments(argc, argv, &usage, words, 1, &count, &code))
        return code;
    if (count == 0)
        return tool_error(TOOL_BAD_INPUT,
                          "which system? rapt systems --status works lists those that there are");
    o.in_count = given(o.in);
    o.set_count = given(o.set);
    o.out_count = given(o.out);
    run *r = calloc(1, sizeof *r); /* large */
    if (!r)
        return tool_no_memory();
    rapt_error error = {0};
    r->o = &o;
    r->info = (rapt_system_info)RAPT_SYSTEM_INFO_INIT;
    if (rapt_system_find(words[0], &r->index, &error) != RAPT_OK ||
        rapt_system_describe(r->index, &r->info, &error) != RAPT_OK)
        code = tool_report(&error);
    else if (!r->info.works)
        code = tool_error(TOOL_BAD_INPUT,
                          "%s is planned, not there yet; rapt systems --status works lists what is",
                          r->info.name);
    else if (o.json && !(r->json = cJSON_CreateObject()))
        code = tool_no_memory();
    else
        code = run_system(r);
    run_close(r);
    free(r);
    return code;
}
