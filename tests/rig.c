#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L /* opendir */
#endif
#include "rig.h"

#include "check/half.h"

#include <dirent.h>
#include <sys/stat.h>
#if defined(_WIN32)
#include <direct.h>
#else
#include <unistd.h>
#endif

static void keep_log(void *user, rapt_log_level level, const char *message)
{
    rig *r = user;
    const size_t length = strlen(message);
    (void)level;
    rapt_mutex_lock(&r->lock);
    if (r->length + length + 2 < RIG_LOG) {
        memcpy(r->log + r->length, message, length);
        r->length += length;
        r->log[r->length++] = '\n';
        r->log[r->length] = '\0';
    }
    rapt_mutex_unlock(&r->lock);
}

void rig_open(rig *r, const rig_options *given)
{
    const rig_options none = {0}, *o = given ? given : &none;
    rapt_runtime_options options = RAPT_RUNTIME_OPTIONS_INIT;
    rapt_device_options device = RAPT_DEVICE_OPTIONS_INIT;
    rapt_error error = {0};
    memset(r, 0, sizeof *r);
    assert_true(rapt_mutex_init(&r->lock));
    options.log = keep_log;
    options.log_user = r;
    options.log_level = RAPT_LOG_DEBUG;
    options.cache_dir = o->cache_dir ? o->cache_dir : "";
    options.shader_override_dir = o->override_dir ? o->override_dir : "";
    options.allocator = o->allocator;
    options.compiler_library = o->compiler;
    device.caps_mask = o->mask;
    device.validation = o->validation;
    device.no_probe = o->no_probe;
    rapt_status status = rapt_runtime_create(&options, &r->runtime, &error);
    if (status == RAPT_OK) {
        r->runtime->get_proc = o->get_proc;
        status = rapt_device_open(r->runtime, &device, &r->device, &error);
    }
    if (status == RAPT_ERROR_NO_DEVICE) {
        rig_close(r);
        skip();
    }
    if (status != RAPT_OK)
        fail_msg("opening the device: %s: %s", rapt_status_name(status), error.message);
}

void rig_close(rig *r)
{
    rapt_device_destroy(&r->device);
    rapt_runtime_destroy(&r->runtime);
    rapt_mutex_destroy(&r->lock);
}

unsigned rig_logged(rig *r, const char *part)
{
    unsigned count = 0;
    rapt_mutex_lock(&r->lock);
    for (const char *at = strstr(r->log, part); at; at = strstr(at + 1, part))
        count++;
    rapt_mutex_unlock(&r->lock);
    return count;
}

void rig_forget(rig *r)
{
    rapt_mutex_lock(&r->lock);
    r->length = 0;
    r->log[0] = '\0';
    rapt_mutex_unlock(&r->lock);
}

bool rig_validated(const rig *r)
{
    return r->device->instance.validation;
}

rapt_result rig_try(rig *r, const rapt_case *c, const char *kernel, uint32_t repeats)
{
    return rig_try_user(r, c, NULL, kernel, repeats);
}

rapt_result rig_try_user(rig *r, const rapt_case *c, const rapt_check_user *user, const char *kernel, uint32_t repeats)
{
    rapt_check_problem problem;
    const bool made = rapt_check_problem_make_user(c, user, rapt_check_problem_row_step(c, 4e6), &problem);
    rapt_result result = {0};
    if (made)
        result = rapt_check_run(r->device, &problem, kernel, repeats);
    rapt_check_problem_free(&problem);
    assert_true(made);
    if (result.verdict == RAPT_CHECK_FAIL || result.verdict == RAPT_CHECK_ERROR)
        fail_msg("%s%s%s: %s: %s%s", c->name, kernel ? " on " : "", kernel ? kernel : "",
                 rapt_check_verdict_name(result.verdict), result.message, result.error.message);
    return result;
}

rapt_result rig_check(rig *r, const rapt_case *c, const char *kernel, uint32_t repeats)
{
    const rapt_result result = rig_try(r, c, kernel, repeats);
    if (result.verdict != RAPT_CHECK_PASS)
        fail_msg("%s%s%s: refused: %s", c->name, kernel ? " on " : "", kernel ? kernel : "",
                 result.error.message);
    return result;
}

void rig_choose(struct CMUnitTest *tests, size_t count)
{
    const char *only = getenv("RAPT_TEST_ONLY");
    for (size_t i = 0; i < count && only; i++)
        if (!strstr(tests[i].name, only))
            tests[i].test_func = NULL;
}

/* ---- calls with host arrays ---- */

rapt_attention_desc rig_desc(rapt_dtype dtype, uint64_t batch, uint64_t q_heads, uint64_t kv_heads,
                             uint64_t nq, uint64_t nk, uint64_t dim, bool lse)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    const uint64_t heads = q_heads > kv_heads ? q_heads : kv_heads;
    d.q = rapt_tensor_bhnd(dtype, batch, q_heads, nq, dim);
    d.k = rapt_tensor_bhnd(dtype, batch, kv_heads, nk, dim);
    d.v = d.k;
    d.out = rapt_tensor_bhnd(dtype, batch, heads, nq, dim);
    if (lse)
        d.lse = (rapt_tensor){.dtype = RAPT_F32,
                              .rank = 3,
                              .size = {batch, heads, nq},
                              .stride = {(int64_t)(heads * nq), (int64_t)nq, 1}};
    return d;
}

static uint64_t cu_bytes(const rig_call *call)
{
    return (call->desc.sequences + 1ull) * sizeof(int32_t);
}

void rig_buffers_make(rapt_device *device, const rig_call *call, rig_buffers *b)
{
    const rapt_attention_desc *d = &call->desc;
    *b = (rig_buffers){.args = RAPT_ATTENTION_ARGS_INIT};
    const struct {
        rapt_slot *slot;
        const void *data;
        uint64_t bytes;
    } all[7] = {
        {&b->args.q, call->q, rapt_tensor_bytes(&d->q)},
        {&b->args.k, call->k, rapt_tensor_bytes(&d->k)},
        {&b->args.v, call->v, rapt_tensor_bytes(&d->v)},
        {&b->args.cu_seqlens_q, call->cu_q, d->sequences ? cu_bytes(call) : 0},
        {&b->args.cu_seqlens_k, call->cu_k, d->sequences ? cu_bytes(call) : 0},
        {&b->args.out, NULL, rapt_tensor_bytes(&d->out)},
        {&b->args.lse, NULL, d->lse.dtype != RAPT_DTYPE_NONE ? rapt_tensor_bytes(&d->lse) : 0},
    };
    for (int i = 0; i < 7; i++) {
        const uint64_t bytes = all[i].bytes;
        if (bytes == 0)
            continue;
        RIG_OK(rapt_buffer_create(device, bytes, &b->list[i], error));
        if (all[i].data)
            RIG_OK(rapt_buffer_upload(b->list[i], 0, all[i].data, bytes, error));
        else
            RIG_OK(rapt_buffer_fill(b->list[i], 0, bytes / 4 * 4, RAPT_POISON, error));
        all[i].slot->buffer = b->list[i];
    }
}

void rig_buffers_free(rig_buffers *b)
{
    for (int i = 0; i < 7; i++)
        rapt_buffer_destroy(&b->list[i]);
}

void rig_buffers_take(const rig_call *call, rig_buffers *b)
{
    RIG_OK(rapt_buffer_download(b->list[5], 0, call->out, rapt_tensor_bytes(&call->desc.out), error));
    if (call->lse)
        RIG_OK(rapt_buffer_download(b->list[6], 0, call->lse, rapt_tensor_bytes(&call->desc.lse), error));
}

void rig_run(rapt_device *device, rig_call *call)
{
    rig_buffers b;
    rig_buffers_make(device, call, &b);
    RIG_OK(rapt_attention_run(device, &call->desc, &b.args, error));
    rig_buffers_take(call, &b);
    rig_buffers_free(&b);
}

rapt_buffer *rig_upload(rapt_device *device, const void *data, uint64_t bytes)
{
    rapt_buffer *b = NULL;
    RIG_OK(rapt_buffer_create(device, bytes ? bytes : 4, &b, error));
    if (bytes)
        RIG_OK(rapt_buffer_upload(b, 0, data, bytes, error));
    return b;
}

void rig_run_rows(rapt_device *device, const rapt_rows_desc *d, const rig_rows *rows)
{
    rapt_rows_args args = RAPT_ROWS_ARGS_INIT;
    const struct {
        const rapt_tensor *tensor;
        const void *data;
        rapt_slot *slot;
    } tensors[] = {{&d->x, rows->x, &args.x},
                   {&d->list, rows->list, &args.list},
                   {&d->weight, rows->weight, &args.weight},
                   {&d->norm_weight, rows->norm_weight, &args.norm_weight},
                   {&d->positions, rows->positions, &args.positions},
                   {&d->out, rows->out, &args.out}};
    for (size_t n = 0; n < RAPT_COUNT(tensors); n++)
        if (tensors[n].tensor->dtype != RAPT_DTYPE_NONE)
            tensors[n].slot->buffer = rig_upload(device, tensors[n].data, rapt_tensor_bytes(tensors[n].tensor));
    RIG_OK(rapt_rows_run(device, d, &args, error));
    if (rapt_tensor_bytes(&d->out) > 0)
        RIG_OK(rapt_buffer_download(args.out.buffer, 0, rows->out, rapt_tensor_bytes(&d->out), error));
    for (size_t n = 0; n < RAPT_COUNT(tensors); n++)
        rapt_buffer_destroy(&tensors[n].slot->buffer);
}

void *rig_numbers(rapt_dtype dtype, size_t count, uint64_t seed)
{
    rapt_random random = {seed};
    char *data = malloc(count * rapt_check_dtype_size(dtype) + 1);
    assert_non_null(data);
    for (size_t i = 0; i < count; i++)
        rapt_check_store(data, dtype, (int64_t)i, (float)rapt_random_normal(&random));
    return data;
}

/* ---- kernels that lie ---- */

uint32_t *rig_hollow(const rapt_kernel_module *module, uint32_t *count)
{
    enum {
        OP_NAME = 5,
        OP_MEMBER_NAME = 6,
        OP_ENTRY_POINT = 15,
        OP_FUNCTION = 54,
        OP_FUNCTION_END = 56,
        OP_DECORATE = 71,
        OP_LABEL = 248,
        OP_RETURN = 253
    };
    uint32_t *in = malloc(module->words * sizeof *in);
    const rapt_allocator allocator = rapt_allocator_default();
    assert_non_null(in);
    assert_int_equal(rapt_kernel_unpack(module, &allocator, in, NULL), RAPT_OK);
    const uint32_t *end = in + module->words;
    const uint32_t bound = in[3];
    uint32_t *out = malloc((module->words + 8) * sizeof *out), n = 5, entry = 0;
    bool *inside = calloc(bound, sizeof *inside); /* ids defined in functions */
    assert_true(out && inside);
    const uint32_t *body = in + 5;
    while (body < end && (*body & 0xffff) != OP_FUNCTION)
        body += *body >> 16;
    for (const uint32_t *at = body; at < end; at += *at >> 16) /* whatever word of a body may be a result */
        for (uint32_t w = 1; w < *at >> 16 && w < 3; w++)
            if (at[w] < bound)
                inside[at[w]] = true;
    for (const uint32_t *at = in + 5; at < body; at += *at >> 16) /* but for what is declared before */
        if ((*at & 0xffff) >= 19 && (*at & 0xffff) <= 59)
            for (uint32_t w = 1; w < *at >> 16 && w < 3; w++)
                if (at[w] < bound)
                    inside[at[w]] = false;
    memcpy(out, in, 5 * sizeof *out);
    for (const uint32_t *at = in + 5; at < body; at += *at >> 16) {
        const uint32_t op = *at & 0xffff, words = *at >> 16;
        if (op == OP_ENTRY_POINT)
            entry = at[2];
        if (op == OP_NAME || op == OP_MEMBER_NAME || (op == OP_DECORATE && inside[at[1]]))
            continue;
        memcpy(out + n, at, words * sizeof *out);
        n += words;
    }
    const uint32_t *at = body;
    while (at < end && !((*at & 0xffff) == OP_FUNCTION && at[2] == entry))
        at += *at >> 16;
    assert_true(at < end);
    memcpy(out + n, at, 5 * sizeof *out);
    n += 5;
    const uint32_t rest[] = {2u << 16 | OP_LABEL, bound, 1u << 16 | OP_RETURN, 1u << 16 | OP_FUNCTION_END};
    memcpy(out + n, rest, sizeof rest);
    n += 4;
    out[3] = bound + 1;
    free(inside);
    free(in);
    *count = n;
    return out;
}

const rapt_kernel_module *rig_module(const char *name)
{
    const rapt_kernel_table *table = rapt_kernels();
    for (uint32_t i = 0; i < table->row_count; i++)
        if (strcmp(table->rows[i].name, name) == 0)
            return &table->modules[table->rows[i].module];
    fail_msg("no row %s", name);
    return NULL;
}

void rig_override(const char *folder, const rapt_kernel_module *module, const void *data,
                          size_t bytes)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.spv", folder, module->hash);
    RIG_OK(rapt_file_replace(path, data, bytes, error));
}

/* ---- files ---- */

unsigned rig_each_file(const char *folder, void (*each)(const char *path, void *user), void *user)
{
    unsigned count = 0;
    DIR *dir = opendir(folder);
    if (!dir)
        return 0;
    for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        char path[1024];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        count++;
        if (each)
            each(path, user);
    }
    closedir(dir);
    return count;
}

static void remove_file(const char *path, void *user)
{
    (void)user;
    remove(path);
}

void rig_folder(char out[512], const char *name)
{
    test_folder(out, name);
    assert_true(rapt_make_dirs(out));
    rig_each_file(out, remove_file, NULL); /* of a run that did not end */
}

void rig_remove_folder(const char *path)
{
    rig_each_file(path, remove_file, NULL);
#if defined(_WIN32)
    _rmdir(path);
#else
    rmdir(path);
#endif
}
