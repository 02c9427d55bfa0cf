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
        SET(info->refusal,
            "kernel '%s' is not built in: the GLSL compiler of this build does not know what it needs", name);
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
        {"fma-f32", "peak-fma-f32", "FLOP/s",
         "multiply-adds of single f32 numbers in registers; each counts as two", RAPT_ALU_COUNT_F32, 2},
        {"fma-f32-vec4", "peak-fma-f32-vec4", "FLOP/s",
         "multiply-adds of f32 vectors of 4; each number's counts as two", RAPT_ALU_COUNT_F32, 8},
        {"fma-f16", "peak-fma-f16", "FLOP/s",
         "multiply-adds of single f16 numbers in registers; each counts as two", RAPT_ALU_COUNT_F16, 2},
        {"fma-f16-vec2", "peak-fma-f16-vec2", "FLOP/s",
         "multiply-adds of f16 vectors of 2; each number's counts as two", RAPT_ALU_COUNT_F16, 4},
        {"fma-f16-vec4", "peak-fma-f16-vec4", "FLOP/s",
         "multiply-adds of f16 vectors of 4; each number's counts as two", RAPT_ALU_COUNT_F16, 8},
        {"fma-bf16", "peak-fma-bf16", "FLOP/s",
         "f32 multiply-adds of bf16 pairs, unpacked from a word for every eight of them, as kernels do; each counts as two",
         RAPT_ALU_COUNT_F32, 2},
        {"mad-i32", "peak-mad-i32", "OP/s", "32-bit integer multiply-adds in registers; each counts as two",
         RAPT_ALU_MAD_I32, 2},
        {"dot-i8", "peak-dot-i8", "OP/s",
         "dot products of four packed 8-bit integers, added to a 32-bit one; each counts as eight",
         RAPT_ALU_DOT_I8, 8},
        {"exp2-f32", "peak-exp2", "OP/s", "exp2 of f32 numbers; each counts as one", RAPT_ALU_EXP2, 1},
        {"rsqrt-f32", "peak-rsqrt", "OP/s", "inverse square roots of f32 numbers; each counts as one",
         RAPT_ALU_RSQRT, 1},
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
        {"read-storage", "peak-read-storage",
         "reads %s through storage buffers, 16 bytes a lane; counts bytes read", RAPT_STREAM_READ},
        {"read-storage-scalar", "peak-read-storage-scalar",
         "reads %s through storage buffers, 4 bytes a lane; counts bytes read", RAPT_STREAM_READ},
        {"read-texel", "peak-read-texel",
         "reads %s through texel buffers, 16 bytes a lane; counts bytes read", RAPT_STREAM_READ},
        {"write", "peak-write", "writes %s, 16 bytes a lane; counts bytes written", RAPT_STREAM_WRITE},
        {"copy", "peak-copy", "copies one half of %s to the other; counts bytes read and bytes written",
         RAPT_STREAM_COPY},
        {"triad", "peak-triad",
         "a = b + 3 c with three arrays of %s together; counts bytes read and bytes written",
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
                SET(w->out->info.what,
                    "reads the same %s again and again through %s buffers; counts bytes read", size,
                    rows[i][0]);
                w->out->kind = &rapt_gauge_memory;
                w->out->variant = RAPT_STREAM_CACHE;
                w->out->info.bytes = bytes;
                use_row(w, row, rows[i][1]);
                if (row != NULL && w->out->info.refusal[0] == '\0') {
                    uint64_t limit =
                        rapt_window_limit(&w->device->caps, (rapt_operand_kind)row->operands[0].kind);
                    if (limit < bytes || w->device->caps.device_heap / 8 < bytes)
                        SET(w->out->info.refusal,
                            "the device binds at most %llu bytes in this way, and has %llu",
                            (unsigned long long)limit, (unsigned long long)w->device->caps.device_heap);
                }
            }
}

/* ---- shared memory, atomics, subgroups */

static void small_kernels(walk *w)
{
    static const struct {
        const char *name, *group, *row, *unit, *what;
        rapt_alu kind;
        double per_step;
    } list[] = {
        {"shared-read", "shared", "peak-shared-read", "B/s",
         "reads 16 bytes a lane from shared memory; counts bytes read", RAPT_ALU_SHARED_READ, 16},
        {"atomic-shared-one", "atomic", "peak-atomic-shared-one", "OP/s",
         "integer additions of all lanes to one address in shared memory; each counts as one",
         RAPT_ALU_SHARED_ONE, 1},
        {"atomic-shared-spread", "atomic", "peak-atomic-shared-spread", "OP/s",
         "integer additions of each lane to its own address in shared memory; each counts as one",
         RAPT_ALU_SHARED_SPREAD, 1},
        {"atomic-global-one", "atomic", "peak-atomic-global-one", "OP/s",
         "integer additions of all lanes to one address in memory; each counts as one", RAPT_ALU_GLOBAL_ONE,
         1},
        {"atomic-global-spread", "atomic", "peak-atomic-global-spread", "OP/s",
         "integer additions of each lane to its own address in memory; each counts as one",
         RAPT_ALU_GLOBAL_SPREAD, 1},
        {"subgroup-shuffle", "subgroup", "peak-subgroup-shuffle", "OP/s",
         "shuffles with the neighbouring lane; each lane's counts as one", RAPT_ALU_SHUFFLE, 1},
        {"subgroup-add", "subgroup", "peak-subgroup-add", "OP/s",
         "integer sums over a subgroup; each lane's counts as one", RAPT_ALU_ADD, 1},
        {"subgroup-broadcast", "subgroup", "peak-subgroup-broadcast", "OP/s",
         "broadcasts from one lane of a subgroup; each lane's counts as one", RAPT_ALU_BROADCAST, 1},
        {"subgroup-ballot", "subgroup", "peak-subgroup-ballot", "OP/s",
         "ballots of a subgroup, their bits counted; each lane's counts as one", RAPT_ALU_BALLOT, 1},
    };
    for (uint32_t i = 0; i < RAPT_COUNT(list); i++)
        if (here(w)) {
            describe(w, list[i].name, list[i].group, list[i].unit);
            SET(w->out->info.what, "%s", list[i].what);
            w->out->kind = &rapt_gauge_alu;
            w->out->variant = list[i].kind;
            w->out->per_step = list[i].per_step;
            use_row(w, rapt_peak_row(list[i].row), list[i].row);
            if (list[i].kind == RAPT_ALU_SHARED_READ && w->out->row != NULL)
                w->out->info.bytes = w->out->row->shared_bytes;
            if (list[i].kind >= RAPT_ALU_SHUFFLE && w->device->caps.subgroup_size < 2 &&
                w->out->info.refusal[0] == '\0')
                SET(w->out->info.refusal, "the device's subgroups have one lane");
        }
}

/* ---- matrices */

static const char *component(uint32_t type, char spare[16])
{
    static const char *const names[] = {"f16", "f32", "f64", "s8",  "s16", "s32",
                                        "s64", "u8",  "u16", "u32", "u64"};
    if (type < RAPT_COUNT(names))
        return names[type];
    if (type == 1000141000) /* VK_COMPONENT_TYPE_BFLOAT16_KHR */
        return "bf16";
    set(spare, 16, "type%u", type);
    return spare;
}

static const rapt_kernel_row *matrix_row(const rapt_coopmat_shape *shape)
{
    const rapt_kernel_table *table = rapt_kernels();
    for (uint32_t i = 0; i < table->row_count && shape->result_type == shape->c_type && shape->scope == 3; i++) {
        const rapt_kernel_row *row = &table->rows[i];
        if (row->family == RAPT_FAMILY_PEAK && row->coopmat[0] != 0 && rapt_row_constant(row, "A_TYPE") == shape->a_type &&
            rapt_row_constant(row, "B_TYPE") == shape->b_type && rapt_row_constant(row, "C_TYPE") == shape->c_type)
            return row;
    }
    return NULL;
}

static void matrices(walk *w)
{
    const rapt_caps *caps = &w->device->caps;
    if ((caps->features & RAPT_FEATURE_BIT(COOPERATIVE_MATRIX)) == 0)
        return;
    for (uint32_t i = 0; i < caps->coopmat_count; i++) {
        const rapt_coopmat_shape *shape = &caps->coopmat[i];
        char a_spare[16], b_spare[16], c_spare[16], name[64], mixed[24] = "";
        if (!here(w))
            continue;
        const char *a = component(shape->a_type, a_spare), *b = component(shape->b_type, b_spare),
                   *c = component(shape->c_type, c_spare);
        if (shape->a_type != shape->b_type)
            set(mixed, sizeof mixed, "%s-", b);
        set(name, sizeof name, "coopmat-%s-%s%s-%ux%ux%u%s", a, mixed, c, shape->m, shape->n, shape->k,
            shape->scope == 3 ? "" : "-workgroup");
        describe(w, name, "matrix", shape->a_type <= 2 || shape->a_type >= 1000000000 ? "FLOP/s" : "OP/s");
        SET(w->out->info.what,
            "products of %s matrices of %ux%u by %ux%u, accumulated in %s; each multiply-add counts as two",
            a, shape->m, shape->k, shape->k, shape->n, c);
        const rapt_kernel_row *row = matrix_row(shape);
        w->out->kind = &rapt_gauge_alu;
        w->out->variant =
            shape->c_type == VK_COMPONENT_TYPE_FLOAT16_KHR ? RAPT_ALU_MATRIX_F16 : RAPT_ALU_MATRIX;
        w->out->detail = i;
        w->out->per_step = 2.0 * shape->m * shape->n * shape->k;
        if (row != NULL)
            use_row(w, row, row->name);
        else if (caps->no_execution)
            use_row(w, NULL, "");
        else
            SET(w->out->info.refusal, "no kernel of this build has these types: see shaders/peak/matrix.toml, and what of it the "
                                      "GLSL compiler knew");
    }
}

/* ---- transfers */

static void transfer(walk *w, rapt_transfer variant, const char *name, const char *group, const char *what)
{
    describe(w, name, group, "B/s");
    SET(w->out->info.what, "%s", what);
    w->out->kind = &rapt_gauge_transfer;
    w->out->variant = (uint32_t)variant;
    w->out->info.bytes =
        RAPT_TRANSFER_BYTES *
        (variant == RAPT_TRANSFER_WRITE_MAPPED || variant == RAPT_TRANSFER_READ_MAPPED ? 1 : 2);
    if (w->device->caps.no_execution)
        SET(w->out->info.refusal, "this driver only compiles");
}

static void flags_text(char out[64], VkMemoryPropertyFlags flags)
{
    set(out, 64, "%s%s%s%s", flags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT ? "device-local " : "",
        flags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT ? "host-visible" : "",
        flags & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT ? " coherent" : "",
        flags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT ? " cached" : "");
}

static void transfers(walk *w)
{
    const VkPhysicalDeviceMemoryProperties *m = &w->device->memory_properties;
    if (here(w))
        transfer(w, RAPT_TRANSFER_COPY_COMMAND, "copy-command", "memory",
                 "vkCmdCopyBuffer from device memory to device memory; counts bytes read and bytes written");
    if (here(w))
        transfer(w, RAPT_TRANSFER_UPLOAD_STAGED, "upload-staged", "transfer",
                 "host to device memory through a mapped buffer and a copy command, waited for; counts bytes "
                 "arrived");
    if (here(w))
        transfer(
            w, RAPT_TRANSFER_DOWNLOAD_STAGED, "download-staged", "transfer",
            "device memory to host by a copy command, waited for, and a mapped buffer; counts bytes arrived");
    for (uint32_t i = 0; i < m->memoryTypeCount; i++) {
        const VkMemoryPropertyFlags flags = m->memoryTypes[i].propertyFlags;
        if ((flags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) == 0)
            continue;
        for (uint32_t reads = 0; reads < 2; reads++)
            if (here(w)) {
                char name[64], what[192], text[64];
                flags_text(text, flags);
                set(name, sizeof name, reads ? "read-mapped-type%u" : "write-mapped-type%u", i);
                set(what, sizeof what,
                    "the host copies %s mapped memory of type %u (%s); counts bytes copied",
                    reads ? "from" : "to", i, text);
                transfer(w, reads ? RAPT_TRANSFER_READ_MAPPED : RAPT_TRANSFER_WRITE_MAPPED, name, "transfer",
                         what);
                w->out->detail = i;
                if (w->out->info.refusal[0] == '\0' && rapt_transfer_refusal(flags) != NULL)
                    SET(w->out->info.refusal, "%s", rapt_transfer_refusal(flags));
            }
    }
}

/* ---- latencies */

static void latencies(walk *w)
{
    static const struct {
        const char *name, *row, *what;
        rapt_latency variant;
    } list[] = {
        {"submit-wait", "",
         "an empty command buffer: from vkQueueSubmit to the end of the wait for its fence",
         RAPT_LATENCY_SUBMIT},
        {"dispatch-empty", "peak-empty",
         "one dispatch of an empty kernel: from vkQueueSubmit to the end of the wait", RAPT_LATENCY_DISPATCH},
        {"dispatch-batch", "peak-empty", "one of many dispatches of an empty kernel in one command buffer",
         RAPT_LATENCY_BATCH},
        {"dispatch-batch-barriers", "peak-empty",
         "one of many dispatches of an empty kernel in one command buffer, with a memory barrier between "
         "them",
         RAPT_LATENCY_BATCH_BARRIERS},
        {"barrier", "peak-empty", "one of many memory barriers in a command buffer without work",
         RAPT_LATENCY_BARRIER},
        {"timeline-signal-wait", "",
         "a submission that only signals a timeline semaphore, until the host has seen it",
         RAPT_LATENCY_TIMELINE},
        {"pipeline-cold", "peak-small",
         "vkCreateComputePipelines of a small kernel that no cache has; what drivers leave to the first run "
         "is not in it",
         RAPT_LATENCY_PIPELINE_COLD},
        {"pipeline-cached", "peak-small",
         "vkCreateComputePipelines of the same kernel again, with a pipeline cache",
         RAPT_LATENCY_PIPELINE_CACHED},
    };
    for (uint32_t i = 0; i < RAPT_COUNT(list); i++)
        if (here(w)) {
            describe(w, list[i].name, "latency", "s");
            SET(w->out->info.what, "%s", list[i].what);
            w->out->info.lower_is_better = 1;
            w->out->kind = &rapt_gauge_latency;
            w->out->variant = (uint32_t)list[i].variant;
            if (list[i].row[0] != '\0')
                use_row(w, rapt_peak_row(list[i].row), list[i].row);
            else if (w->device->caps.no_execution)
                SET(w->out->info.refusal, "this driver only compiles");
            if (list[i].variant == RAPT_LATENCY_TIMELINE && w->out->info.refusal[0] == '\0' &&
                (w->device->caps.features & RAPT_FEATURE_BIT(TIMELINE_SEMAPHORE)) == 0)
                SET(w->out->info.refusal, "needs timeline semaphores, which are not enabled on the device");
        }
}

/* ---- what is known to limit drivers */

/* Measured on two cores of a Xeon (AVX-512, 2 MiB L2 each), Mesa 25.0.7. */
static const struct {
    uint32_t driver_id; /* VkDriverId */
    const char *group;
    const char *start; /* of the gauge's name */
    const char *text;
} limits[] = {
    {13 /* VK_DRIVER_ID_MESA_LLVMPIPE */, "arithmetic", "fma-f32",
     "lavapipe rounds between multiplication and addition (6 of 6 results told the two apart): two "
     "instructions, with which "
     "a native AVX2 loop of 12 chains came to 0.57 of the fused one, this kernel to 0.67"},
    {13, "arithmetic", "fma-f16", "lavapipe converts each f16 to f32 and back around every operation"},
    {13, "memory", "read-texel",
     "lavapipe's memory lies in pages of 4 KiB, from which native loads get 25 GB/s, not the 31 of 2 MiB "
     "pages; and a texel "
     "fetch costs about as much again: this kernel reads 45 GB/s even from caches"},
    {13, "memory", "read-storage",
     "lavapipe gathers storage buffers lane by lane: the same kernel reads no more than 20 GB/s even from "
     "the first cache, "
     "where the texel one reads 44"},
    {10 /* VK_DRIVER_ID_GOOGLE_SWIFTSHADER */, "arithmetic", "fma-f32",
     "SwiftShader works on vectors of 128 bits, half of AVX2's; the rest is lost in the code that its fast compiler (Subzero) makes: "
     "the same sums four to an operation (vec4) ran 2.8 times as fast as one by one"},
};

static void add_limit(const rapt_device *device, rapt_gauge_info *info)
{
    for (uint32_t i = 0; i < RAPT_COUNT(limits); i++)
        if (limits[i].driver_id == device->caps.driver_id && strcmp(limits[i].group, info->group) == 0 &&
            strncmp(limits[i].start, info->name, strlen(limits[i].start)) == 0)
            SET(info->limit, "%s", limits[i].text);
}

bool rapt_gauge_at(const rapt_device *device, uint32_t index, rapt_gauge *gauge)
{
    walk w = {.device = device, .left = index, .out = gauge};
    arithmetic(&w);
    matrices(&w);
    memory(&w);
    cache(&w);
    small_kernels(&w);
    transfers(&w);
    latencies(&w);
    if (w.found)
        add_limit(device, &gauge->info);
    return w.found;
}
