/* Gauges of memory: streams over sets larger than caches, and reads of sets that fit them. */
#include "measure/gauge.h"

#include "common/attention_params.h"
#include <string.h>

#define MIB (1ull << 20)
#define BLOCKS 8 /* a workgroup's blocks are a multiple of this */
#define MOST_SETS 512
#define CACHE_GROUPS 1024
#define PROOF_BYTES 4096

typedef struct memory {
    rapt_buffer *to, *from, *also, *sums;
    rapt_tool tool;
    uint32_t element, local_size; /* bytes of one, and how many a block has */
    uint64_t piece;               /* bytes that one dispatch covers of each buffer */
    uint64_t window;              /* bytes that one descriptor set covers of each buffer */
    uint32_t pieces, next;        /* of the whole, and the next one: short runs still go through all of it */
    uint32_t groups, rounds;
    uint32_t sets;
    uint64_t last; /* piece done last */
    bool cache;
} memory;

static uint32_t buffers_of(rapt_stream stream)
{
    return stream == RAPT_STREAM_COPY ? 2 : stream == RAPT_STREAM_TRIAD ? 3 : 1;
}

static uint64_t largest_window(const rapt_device *device, const rapt_kernel_row *row)
{
    uint64_t limit = UINT64_MAX;
    for (uint32_t i = 0; i < row->operand_count; i++)
        limit = RAPT_MIN(limit, rapt_window_limit(&device->caps, (rapt_operand_kind)row->operands[i].kind));
    return limit;
}

static uint64_t power_of_two(uint64_t n)
{
    uint64_t p = 1;
    while (p * 2 <= n)
        p *= 2;
    return p;
}

static uint64_t piece_of(const rapt_device *device, const rapt_kernel_row *row)
{
    /* A GPU needs more to be busy all over than a CPU, which in turn takes longer for it. */
    const uint64_t largest = device->caps.device_class == RAPT_CLASS_SOFTWARE ? 16 * MIB : 64 * MIB;
    return RAPT_MIN(power_of_two(largest_window(device, row)), largest);
}

/* Several times the largest caches that GPUs have; on CPUs, which have larger ones, more. */
uint64_t rapt_stream_bytes(const rapt_device *device, const rapt_kernel_row *row, rapt_stream stream)
{
    uint64_t want = device->caps.device_class == RAPT_CLASS_SOFTWARE ? 768 * MIB : 384 * MIB;
    uint64_t each = RAPT_MIN(want, device->caps.device_heap / 8) / buffers_of(stream);
    uint64_t piece = piece_of(device, row);
    each = RAPT_MIN(each, device->caps.max_allocation);
    each = RAPT_MIN(each / piece, MOST_SETS) * piece;
    return each * buffers_of(stream);
}

/* What element i of a buffer that is read holds (see memory.comp). */
static float filled(uint64_t i, uint32_t block)
{
    return (float)(((i / block) ^ i) & 7);
}

/* Fills a buffer with what the reading kernels expect, on the device. */
static rapt_status fill(rapt_session *s, rapt_buffer *buffer, uint64_t bytes, uint32_t width,
                        rapt_error *error)
{
    memory *g = s->state;
    const rapt_kernel_row *row = rapt_peak_row(width == 4 ? "peak-write" : "peak-write-scalar");
    if (row == NULL)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "the kernel that fills buffers is not built in");
    uint32_t constants[RAPT_MAX_CONSTANTS];
    rapt_row_constants(s->device, row, constants);
    uint64_t piece = RAPT_MIN(bytes, RAPT_MIN(piece_of(s->device, row), 4 * MIB));
    const uint64_t unit = (uint64_t)g->element * g->local_size * BLOCKS;
    rapt_status status = RAPT_OK;
    for (uint64_t at = 0; at < bytes && status == RAPT_OK; at += 16 * piece) {
        rapt_operands operands[16] = {0};
        uint32_t count = 0;
        for (; count < 16 && at + count * piece < bytes; count++) {
            operands[count].bound[RAPT_ROLE_OUT] = (rapt_bound){.buffer = buffer, .offset = at + count * piece};
            operands[count].bytes[RAPT_ROLE_OUT] = piece;
        }
        rapt_tool tool;
        rapt_lane_time time;
        status = rapt_tool_open(s->device, row, constants, operands, count, &tool, error);
        if (status == RAPT_OK)
            status = rapt_lane_begin(&s->lane, error);
        for (uint32_t i = 0; i < count && status == RAPT_OK; i++) {
            rapt_attention_push push = {
                .rows = BLOCKS, .key0 = UINT32_MAX, .key1 = (uint32_t)((at + i * piece) / g->element)};
            uint32_t words[RAPT_PUSH_WORDS];
            memcpy(words, &push, sizeof words);
            rapt_tool_dispatch(&tool, &s->lane, i, words, (uint32_t)(piece / unit));
        }
        if (status == RAPT_OK)
            status = rapt_lane_run(&s->lane, &time, error);
        rapt_tool_close(&tool);
    }
    return status;
}

static rapt_status make(rapt_session *s, uint64_t bytes, bool filling, rapt_buffer **buffer,
                        rapt_error *error)
{
    memory *g = s->state;
    rapt_status status = rapt_buffer_create(s->device, bytes, buffer, error);
    if (status == RAPT_OK && filling)
        status = fill(s, *buffer, bytes, g->element / 4, error);
    else if (status == RAPT_OK) /* memory that was never written may not be there */
        status = rapt_buffer_fill(*buffer, 0, bytes, 0, error);
    return status;
}

/* Of one piece: each has its own, so that dispatches need no barriers between them. */
static uint64_t sum_bytes(const memory *g)
{
    return (uint64_t)g->groups * g->local_size * 4;
}

static rapt_status open_memory(rapt_session *s, rapt_error *error)
{
    memory *g = s->state;
    const rapt_kernel_row *row = s->gauge->row;
    const rapt_stream stream = (rapt_stream)s->gauge->variant;
    const bool reads = stream == RAPT_STREAM_READ || stream == RAPT_STREAM_CACHE;
    const uint64_t each = s->gauge->info.bytes / buffers_of(stream);
    g->element = rapt_row_constant(row, "ELEMENT");
    uint32_t constants[RAPT_MAX_CONSTANTS];
    g->local_size = rapt_row_constants(s->device, row, constants);
    g->cache = stream == RAPT_STREAM_CACHE;
    const uint64_t block = (uint64_t)g->element * g->local_size;
    g->piece = g->cache ? each : RAPT_MIN(piece_of(s->device, row), each);
    g->pieces = (uint32_t)(each / g->piece);
    if (g->cache) {
        g->groups = RAPT_MIN(CACHE_GROUPS, s->device->caps.max_groups[0]);
        g->rounds = (uint32_t)RAPT_MAX(each / block / BLOCKS * BLOCKS, BLOCKS);
        g->rounds = RAPT_MIN(g->rounds, 256);
    } else {
        uint64_t blocks = g->piece / block;
        g->groups = (uint32_t)RAPT_MIN(RAPT_MIN(1024, blocks / BLOCKS), s->device->caps.max_groups[0]);
        g->rounds = (uint32_t)(blocks / g->groups);
    }
    rapt_status status = RAPT_OK;
    if (stream != RAPT_STREAM_WRITE)
        status = make(s, each, true, &g->from, error);
    if (status == RAPT_OK && stream == RAPT_STREAM_TRIAD)
        status = make(s, each, true, &g->also, error);
    if (status == RAPT_OK && !reads)
        status = make(s, each, false, &g->to, error);
    if (status == RAPT_OK && reads)
        status = make(s, g->pieces * sum_bytes(g), false, &g->sums, error);
    if (status != RAPT_OK)
        return status;
    rapt_operands *operands = rapt_calloc(&s->device->runtime->allocator, g->pieces, sizeof *operands);
    if (operands == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u windows", g->pieces);
    for (uint32_t i = 0; i < g->pieces; i++) {
        operands[i].bound[RAPT_ROLE_K] = (rapt_bound){.buffer = g->from, .offset = i * g->piece};
        operands[i].bound[RAPT_ROLE_V] = (rapt_bound){.buffer = g->also, .offset = i * g->piece};
        operands[i].bound[RAPT_ROLE_OUT] =
            reads ? (rapt_bound){.buffer = g->sums, .offset = i * sum_bytes(g)} : (rapt_bound){.buffer = g->to, .offset = i * g->piece};
        operands[i].bytes[RAPT_ROLE_K] = operands[i].bytes[RAPT_ROLE_V] = g->piece;
        operands[i].bytes[RAPT_ROLE_OUT] = reads ? sum_bytes(g) : g->piece;
    }
    status = rapt_tool_open(s->device, row, constants, operands, g->pieces, &g->tool, error);
    rapt_free(&s->device->runtime->allocator, operands, g->pieces * sizeof *operands);
    s->most = g->cache ? 1u << 16 : g->pieces * 256ull;
    return status;
}

static rapt_status run_memory(rapt_session *s, rapt_lane_time *time, rapt_error *error)
{
    memory *g = s->state;
    const rapt_stream stream = (rapt_stream)s->gauge->variant;
    rapt_status status = rapt_lane_begin(&s->lane, error);
    if (status != RAPT_OK)
        return status;
    /* A cache gauge grows by its rounds, up to what a float sums exactly; then by dispatches. */
    uint64_t rounds = g->rounds, dispatches = s->scale;
    if (g->cache) {
        rounds = RAPT_MIN(g->rounds * s->scale, 1u << 18) / BLOCKS * BLOCKS;
        dispatches = g->rounds * s->scale / rounds;
    }
    for (uint64_t i = 0; i < dispatches; i++) {
        rapt_attention_push push = {.rows = (uint32_t)rounds, .key0 = UINT32_MAX};
        if (g->cache)
            push.key0 = (uint32_t)(g->piece / g->element) - 1;
        g->last = g->next;
        push.key1 = (uint32_t)(g->last * g->piece / g->element);
        uint32_t words[RAPT_PUSH_WORDS];
        memcpy(words, &push, sizeof words);
        if (i > 0 && i % g->pieces == 0) /* round again: what was written is written once more */
            rapt_lane_barrier(&s->lane);
        rapt_tool_dispatch(&g->tool, &s->lane, g->next, words, g->groups);
        g->next = (g->next + 1) % g->pieces;
    }
    static const double moved[] = {[RAPT_STREAM_READ] = 1,
                                   [RAPT_STREAM_WRITE] = 1,
                                   [RAPT_STREAM_COPY] = 2,
                                   [RAPT_STREAM_TRIAD] = 3,
                                   [RAPT_STREAM_CACHE] = 1};
    s->work = moved[stream] * (double)dispatches * (double)rounds * g->groups * g->local_size * g->element;
    return rapt_lane_run(&s->lane, time, error);
}

static rapt_status prove_sums(rapt_session *s, rapt_error *error)
{
    memory *g = s->state;
    const uint64_t count = (uint64_t)g->groups * g->local_size;
    uint64_t rounds = g->cache ? RAPT_MIN(g->rounds * s->scale, 1u << 18) / BLOCKS * BLOCKS : g->rounds;
    const double expected = (double)rounds / 8 * 28 * (g->element / 4);
    float *sums = rapt_calloc(&s->device->runtime->allocator, count, sizeof *sums);
    if (sums == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for sums");
    rapt_status status =
        rapt_buffer_download(g->sums, g->last * sum_bytes(g), sums, count * sizeof *sums, error);
    for (uint64_t i = 0; i < count && status == RAPT_OK; i++)
        if (!(sums[i] == (float)expected))
            status = rapt_wrong(error, s->gauge, "what a lane read sums up to", sums[i], expected, expected);
    rapt_free(&s->device->runtime->allocator, sums, count * sizeof *sums);
    return status == RAPT_OK ? rapt_buffer_fill(g->sums, 0, g->pieces * sum_bytes(g), 0, error) : status;
}

/* The first and the last bytes of the piece written last. */
static rapt_status prove_written(rapt_session *s, rapt_error *error)
{
    memory *g = s->state;
    const double factor = s->gauge->variant == RAPT_STREAM_TRIAD ? 4 : 1;
    float got[PROOF_BYTES / 4];
    rapt_status status = RAPT_OK;
    for (int end = 0; end < 2 && status == RAPT_OK; end++) {
        const uint64_t at = g->last * g->piece + (end ? g->piece - PROOF_BYTES : 0);
        status = rapt_buffer_download(g->to, at, got, PROOF_BYTES, error);
        for (uint32_t i = 0; i < RAPT_COUNT(got) && status == RAPT_OK; i++) {
            double expected = factor * filled((at + i * 4) / g->element, g->local_size);
            if (!(got[i] == (float)expected))
                status = rapt_wrong(error, s->gauge, "an element written", got[i], expected, expected);
        }
        if (status == RAPT_OK)
            status = rapt_buffer_fill(g->to, at, PROOF_BYTES, 0xffffffffu, error);
    }
    return status;
}

static rapt_status prove_memory(rapt_session *s, rapt_error *error)
{
    memory *g = s->state;
    return g->sums != NULL ? prove_sums(s, error) : prove_written(s, error);
}

static void close_memory(rapt_session *s)
{
    memory *g = s->state;
    rapt_tool_close(&g->tool);
    rapt_buffer_destroy(&g->to);
    rapt_buffer_destroy(&g->from);
    rapt_buffer_destroy(&g->also);
    rapt_buffer_destroy(&g->sums);
}

const rapt_gauge_kind rapt_gauge_memory = {sizeof(memory), open_memory, run_memory, prove_memory,
                                           close_memory};
