/* Which gauges a device has, and why it refuses some. Pure: the same device, the same list. */
#include "measure/gauge.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Walks to the gauge that is asked for. */
typedef struct walk {
    const rapt_device *device;
    uint32_t left; /* gauges before it */
    rapt_gauge *out;
    bool found;
} walk;

/* Starts a gauge if it is the one; false: it is another. */
static bool here(walk *w)
{
    if (w->found || w->left-- != 0)
        return false;
    *w->out = (rapt_gauge){.info.struct_size = sizeof w->out->info};
    w->found = true;
    return true;
}

static void set(char *to, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(to, size, format, args);
    va_end(args);
}
#define SET(member, ...) set(member, sizeof(member), __VA_ARGS__)

static void describe(walk *w, const char *name, const char *group, const char *unit)
{
    SET(w->out->info.name, "%s", name);
    SET(w->out->info.group, "%s", group);
    SET(w->out->info.unit, "%s", unit);
}

/* Names the row and says why it cannot run, if so. `name` is that of the row where the table has none. */
static void use_row(walk *w, const rapt_kernel_row *row, const char *name)
{
    const rapt_caps *caps = &w->device->caps;
    rapt_gauge_info *info = &w->out->info;
    w->out->row = row;
    if (caps->no_execution) {
        SET(info->refusal, "this driver only compiles");
        return;
    }
    if (row == NULL) {
        SET(info->refusal, "kernel '%s' is not built in: the GLSL compiler of this build does not know what it needs", name);
        return;
    }
    SET(info->kernel, "%s", row->name);
    uint64_t missing = row->features & ~caps->features;
    for (uint32_t i = 0; i < RAPT_FEATURE_COUNT; i++)
        if (missing >> i & 1) {
            SET(info->refusal, "needs %s (%s), which the device does not have", rapt_feature_name(i),
                rapt_feature_meaning(i));
            return;
        }
    if (row->shared_bytes > caps->max_shared_bytes)
        SET(info->refusal, "needs %u bytes of shared memory, the device has %u", row->shared_bytes,
            caps->max_shared_bytes);
    else if (row->local_size > caps->max_invocations)
        SET(info->refusal, "needs %u invocations a workgroup, the device has %u", row->local_size,
            caps->max_invocations);
    else if (rapt_quirk(row, caps) != NULL)
        SET(info->refusal, "%s", rapt_quirk(row, caps));
}

/* ---- arithmetic */

static void arithmetic(walk *w)
{
    static const struct {
        const char *name, *row, *unit, *what;
        rapt_alu kind;
        double per_step;
    } list[] = {
        {"fma-f32", "peak-fma-f32", "FLOP/s", "multiply-adds of single f32 numbers in registers; each counts as two",
         RAPT_ALU_COUNT_F32, 2},
        {"fma-f32-vec4", "peak-fma-f32-vec4", "FLOP/s", "multiply-adds of f32 vectors of 4; each number's counts as two",
         RAPT_ALU_COUNT_F32, 8},
        {"fma-f16", "peak-fma-f16", "FLOP/s", "multiply-adds of single f16 numbers in registers; each counts as two",
         RAPT_ALU_COUNT_F16, 2},
        {"fma-f16-vec2", "peak-fma-f16-vec2", "FLOP/s", "multiply-adds of f16 vectors of 2; each number's counts as two",
         RAPT_ALU_COUNT_F16, 4},
        {"fma-f16-vec4", "peak-fma-f16-vec4", "FLOP/s", "multiply-adds of f16 vectors of 4; each number's counts as two",
         RAPT_ALU_COUNT_F16, 8},
        {"mad-i32", "peak-mad-i32", "OP/s", "32-bit integer multiply-adds in registers; each counts as two",
         RAPT_ALU_MAD_I32, 2},
        {"exp2-f32", "peak-exp2", "OP/s", "exp2 of f32 numbers; each counts as one", RAPT_ALU_EXP2, 1},
        {"rsqrt-f32", "peak-rsqrt", "OP/s", "inverse square roots of f32 numbers; each counts as one", RAPT_ALU_RSQRT, 1},
        {"cos-f32", "peak-cos", "OP/s", "cosines of f32 numbers; each counts as one", RAPT_ALU_COS, 1},
    };
    for (uint32_t i = 0; i < RAPT_COUNT(list); i++)
        if (here(w)) {
            describe(w, list[i].name, "arithmetic", list[i].unit);
            SET(w->out->info.what, "%s", list[i].what);
            w->out->kind = &rapt_gauge_alu;
            w->out->variant = list[i].kind;
            w->out->per_step = list[i].per_step;
            use_row(w, rapt_peak_row(list[i].row), list[i].row);
        }
}

/* ---- memory and caches */

static void size_text(char out[24], uint64_t bytes)
{
    if (bytes >= 1u << 20)
        set(out, 24, "%llu MiB", (unsigned long long)(bytes >> 20));
    else
        set(out, 24, "%llu KiB", (unsigned long long)(bytes >> 10));
}

static void memory(walk *w)
{
    static const struct {
        const char *name, *row, *what;
        rapt_stream stream;
    } list[] = {
        {"read-storage", "peak-read-storage", "reads %s through storage buffers, 16 bytes a lane; counts bytes read",
         RAPT_STREAM_READ},
        {"read-storage-scalar", "peak-read-storage-scalar",
         "reads %s through storage buffers, 4 bytes a lane; counts bytes read", RAPT_STREAM_READ},
        {"read-texel", "peak-read-texel", "reads %s through texel buffers, 16 bytes a lane; counts bytes read",
         RAPT_STREAM_READ},
        {"write", "peak-write", "writes %s, 16 bytes a lane; counts bytes written", RAPT_STREAM_WRITE},
        {"copy", "peak-copy", "copies one half of %s to the other; counts bytes read and bytes written",
         RAPT_STREAM_COPY},
        {"triad", "peak-triad", "a = b + 3 c with three arrays of %s together; counts bytes read and bytes written",
         RAPT_STREAM_TRIAD},
    };
    for (uint32_t i = 0; i < RAPT_COUNT(list); i++)
        if (here(w)) {
            char size[24];
            const rapt_kernel_row *row = rapt_peak_row(list[i].row);
            describe(w, list[i].name, "memory", "B/s");
            w->out->kind = &rapt_gauge_memory;
            w->out->variant = (uint32_t)list[i].stream;
            use_row(w, row, list[i].row);
            if (row != NULL)
                w->out->info.bytes = rapt_stream_bytes(w->device, row, list[i].stream);
            size_text(size, w->out->info.bytes);
            SET(w->out->info.what, list[i].what, size);
            if (w->out->info.bytes == 0 && w->out->info.refusal[0] == '\0')
                SET(w->out->info.refusal, "the device's largest heap, %llu bytes, leaves no room for it",
                    (unsigned long long)w->device->caps.device_heap);
        }
}

static void cache(walk *w)
{
    static const char *const rows[][2] = {{"storage", "peak-read-storage"}, {"texel", "peak-read-texel"}};
    for (uint64_t bytes = 16u << 10; bytes <= 64u << 20; bytes *= 4)
        for (uint32_t i = 0; i < RAPT_COUNT(rows); i++)
            if (here(w)) {
                char size[24], name[64];
                const rapt_kernel_row *row = rapt_peak_row(rows[i][1]);
                size_text(size, bytes);
                set(name, sizeof name, "cache-%s-%llu%s", rows[i][0],
                    (unsigned long long)(bytes >= 1u << 20 ? bytes >> 20 : bytes >> 10),
                    bytes >= 1u << 20 ? "MiB" : "KiB");
                describe(w, name, "cache", "B/s");
                SET(w->out->info.what, "reads the same %s again and again through %s buffers; counts bytes read", size,
                    rows[i][0]);
                w->out->kind = &rapt_gauge_memory;
                w->out->variant = RAPT_STREAM_CACHE;
                w->out->info.bytes = bytes;
                use_row(w, row, rows[i][1]);
                if (row != NULL && w->out->info.refusal[0] == '\0') {
                    uint64_t limit = rapt_window_limit(&w->device->caps, (rapt_operand_kind)row->operands[0].kind);
                    if (limit < bytes || w->device->caps.device_heap / 8 < bytes)
                        SET(w->out->info.refusal, "the device binds at most %llu bytes in this way, and has %llu",
                            (unsigned long long)limit, (unsigned long long)w->device->caps.device_heap);
                }
            }
}

bool rapt_gauge_at(const rapt_device *device, uint32_t index, rapt_gauge *gauge)
{
    walk w = {.device = device, .left = index, .out = gauge};
    arithmetic(&w);
    memory(&w);
    cache(&w);
    return w.found;
}
