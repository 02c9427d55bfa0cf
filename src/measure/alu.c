/* Gauges of arithmetic: chains in registers, whose end is known. */
#include "measure/gauge.h"

#include "common/attention_params.h"
#include <math.h>
#include <string.h>

#define MOST_ROUNDS (1u << 18) /* times STEPS stays within what a float counts exactly */

typedef struct alu {
    rapt_buffer *results; /* two words a lane */
    rapt_tool tool;
    uint32_t groups, local_size, chains, steps;
    uint32_t *words; /* what came back */
    uint64_t bytes;
} alu;

static rapt_status open_alu(rapt_session *s, rapt_error *error)
{
    alu *g = s->state;
    const rapt_kernel_row *row = s->gauge->row;
    g->local_size = row->local_size;
    g->groups = RAPT_MIN(s->device->caps.device_class == RAPT_CLASS_SOFTWARE ? 1024 : 4096,
                         s->device->caps.max_groups[0]);
    g->chains = rapt_row_constant(row, "CHAINS");
    g->steps = rapt_row_constant(row, "STEPS");
    g->bytes = (uint64_t)g->groups * g->local_size * 8;
    s->most = MOST_ROUNDS;
    g->words = rapt_calloc(&s->device->runtime->allocator, 1, g->bytes);
    if (g->words == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for results");
    rapt_status status = rapt_buffer_create(s->device, g->bytes, &g->results, error);
    rapt_operands operands = {0};
    operands.bound[RAPT_ROLE_OUT].buffer = g->results;
    operands.bytes[RAPT_ROLE_OUT] = g->bytes;
    if (status == RAPT_OK)
        status = rapt_tool_open(s->device, row, NULL, &operands, 1, &g->tool, error);
    return status;
}

static rapt_status run_alu(rapt_session *s, rapt_lane_time *time, rapt_error *error)
{
    alu *g = s->state;
    rapt_attention_push push = {.rows = (uint32_t)s->scale};
    uint32_t words[RAPT_PUSH_WORDS];
    memcpy(words, &push, sizeof words);
    rapt_status status = rapt_lane_begin(&s->lane, error);
    if (status != RAPT_OK)
        return status;
    rapt_tool_dispatch(&g->tool, &s->lane, 0, words, g->groups);
    s->work = s->gauge->per_step * (double)s->scale * g->steps * g->chains * g->groups * g->local_size;
    return rapt_lane_run(&s->lane, time, error);
}

/* n times x -> x * f + f, modulo 2^32, by squaring. */
static uint32_t affine(uint32_t x, uint32_t f, uint64_t n)
{
    uint32_t a = 1, b = 0, step_a = f, step_b = f;
    for (; n > 0; n >>= 1) {
        if (n & 1) {
            a = step_a * a;
            b = step_a * b + step_b;
        }
        step_b = step_a * step_b + step_b;
        step_a = step_a * step_a;
    }
    return x * a + b;
}

/* What a float of `digits` binary digits has counted after n steps of 1 from `start`. */
static double counted(uint32_t start, double n, int digits)
{
    return RAPT_MIN(start + n, ldexp(1, digits));
}

static rapt_status prove_alu(rapt_session *s, rapt_error *error)
{
    alu *g = s->state;
    const double n = (double)s->scale * g->steps;
    const uint64_t lanes = (uint64_t)g->groups * g->local_size;
    double low[2], high[2];
    uint32_t exact[2] = {0, 0};
    switch ((rapt_alu)s->gauge->variant) {
    case RAPT_ALU_COUNT_F32:
    case RAPT_ALU_COUNT_F16: {
        const int digits = s->gauge->variant == RAPT_ALU_COUNT_F32 ? 24 : 11;
        low[0] = high[0] = counted(0, n, digits);
        for (uint32_t c = 1; c < g->chains; c++)
            low[0] = high[0] = RAPT_MIN(low[0], counted(c, n, digits) - c);
        low[1] = high[1] = counted(g->chains - 1, n, digits);
        break;
    }
    case RAPT_ALU_MAD_I32:
        for (uint32_t c = 0; c < g->chains; c++) {
            uint32_t x = affine(c, 1664525u, (uint64_t)n);
            exact[0] += x;
            exact[1] ^= x;
        }
        break;
    default: { /* the start is forgotten by then: each step at least halves what is left, but for the cosine's 0.67 */
        double fixed = s->gauge->variant == RAPT_ALU_EXP2 ? 0.6411857445 : s->gauge->variant == RAPT_ALU_COS ? 0.7390851332
                                                                                                            : 1.0;
        low[0] = low[1] = fixed * (s->gauge->variant == RAPT_ALU_COS ? 0.98 : 0.999);
        high[0] = high[1] = fixed * (s->gauge->variant == RAPT_ALU_COS ? 1.02 : 1.001);
        break;
    }
    }
    rapt_status status = rapt_buffer_download(g->results, 0, g->words, g->bytes, error);
    for (uint64_t i = 0; i < lanes * 2 && status == RAPT_OK; i++) {
        static const char *const names[] = {"the least of a lane's chains", "the most of a lane's chains"};
        float got;
        memcpy(&got, &g->words[i], sizeof got);
        if (s->gauge->variant == RAPT_ALU_MAD_I32) {
            if (g->words[i] != exact[i % 2])
                status = rapt_wrong(error, s->gauge, "a lane's sum", g->words[i], exact[i % 2], exact[i % 2]);
        } else if (!(got >= low[i % 2] && got <= high[i % 2])) {
            status = rapt_wrong(error, s->gauge, names[i % 2], got, low[i % 2], high[i % 2]);
        }
    }
    /* A run that does nothing must not find these results. */
    return status == RAPT_OK ? rapt_buffer_fill(g->results, 0, g->bytes, 0xffffffffu, error) : status;
}

static void close_alu(rapt_session *s)
{
    alu *g = s->state;
    rapt_tool_close(&g->tool);
    rapt_buffer_destroy(&g->results);
    rapt_free(&s->device->runtime->allocator, g->words, g->bytes);
}

const rapt_gauge_kind rapt_gauge_alu = {sizeof(alu), open_alu, run_alu, prove_alu, close_alu};
