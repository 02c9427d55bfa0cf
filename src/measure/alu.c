/* Gauges whose kernels work on registers, shared memory or counters and leave two words a lane, which are
 * known. */
#include "measure/gauge.h"

#include "common/attention_params.h"
#include <math.h>
#include <string.h>

#define MOST_ROUNDS (1u << 18) /* times STEPS stays within what a float counts exactly */

typedef struct alu {
    rapt_buffer *results; /* two words a lane */
    rapt_tool tool;
    uint32_t groups, local_size, chains, steps;
    uint32_t subgroups; /* of a workgroup, for matrices: the kernel tells */
    double product;     /* what one matrix product adds to each sum */
    double counted;     /* steps since the counters in memory were zero */
    uint32_t *words;    /* what came back */
    uint64_t bytes;
} alu;

static bool is_matrix(const rapt_gauge *gauge)
{
    return gauge->variant == RAPT_ALU_MATRIX || gauge->variant == RAPT_ALU_MATRIX_F16;
}

static bool is_global(const rapt_gauge *gauge)
{
    return gauge->variant == RAPT_ALU_GLOBAL_ONE || gauge->variant == RAPT_ALU_GLOBAL_SPREAD;
}

/* Counters begin with zero; other results with what no kernel leaves, so that a run that does nothing is
 * seen. */
static rapt_status reset(rapt_session *s, rapt_error *error)
{
    alu *g = s->state;
    g->counted = 0;
    return rapt_buffer_fill(g->results, 0, g->bytes, is_global(s->gauge) ? 0 : 0xffffffffu, error);
}

/* The row's matrices are of any shape: of this one. */
static void set_shape(const rapt_kernel_row *row, const rapt_coopmat_shape *shape, uint32_t constants[RAPT_MAX_CONSTANTS])
{
    const struct {
        const char *name;
        uint32_t value;
    } sizes[] = {{"TM", shape->m}, {"TN", shape->n}, {"TK", shape->k}};
    for (uint32_t i = 0; i < row->constant_count; i++)
        for (size_t k = 0; k < RAPT_COUNT(sizes); k++)
            if (strcmp(row->constants[i].name, sizes[k].name) == 0)
                constants[i] = sizes[k].value;
}

static rapt_status open_alu(rapt_session *s, rapt_error *error)
{
    alu *g = s->state;
    const rapt_kernel_row *row = s->gauge->row;
    uint32_t constants[RAPT_MAX_CONSTANTS];
    const rapt_coopmat_shape *shape = is_matrix(s->gauge) ? &s->device->caps.coopmat[s->gauge->detail] : NULL;
    g->local_size = rapt_row_constants(s->device, row, constants);
    if (shape != NULL)
        set_shape(row, shape, constants);
    g->groups = RAPT_MIN(s->device->caps.device_class == RAPT_CLASS_SOFTWARE ? 1024 : 4096,
                         s->device->caps.max_groups[0]);
    g->chains = rapt_row_constant(row, "CHAINS");
    g->steps = rapt_row_constant(row, "STEPS");
    g->subgroups = RAPT_MAX(g->local_size / RAPT_MAX(s->device->caps.subgroup_size, 1), 1);
    g->bytes = (uint64_t)g->groups * g->local_size * 8;
    /* f16 matrices are full of 1/32, integer ones of 1. */
    if (shape != NULL)
        g->product = shape->k * (shape->a_type == VK_COMPONENT_TYPE_FLOAT16_KHR ? 1.0 / 1024 : 1.0);
    s->most = MOST_ROUNDS;
    g->words = rapt_calloc(&s->device->runtime->allocator, 1, g->bytes);
    if (g->words == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for results");
    rapt_status status = rapt_buffer_create(s->device, g->bytes, &g->results, error);
    rapt_operands operands = {0};
    operands.bound[RAPT_ROLE_OUT].buffer = g->results;
    operands.bytes[RAPT_ROLE_OUT] = g->bytes;
    if (status == RAPT_OK)
        status = rapt_tool_open(s->device, row, constants, &operands, 1, &g->tool, error);
    if (status == RAPT_OK)
        status = reset(s, error);
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
    s->work = s->gauge->per_step * (double)s->scale * g->steps * g->chains * g->groups *
              (is_matrix(s->gauge) ? g->subgroups : g->local_size);
    g->counted += (double)s->scale * g->steps;
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

/* n times x -> x + the dot product of its four signed bytes with f's, one after the other. */
static uint32_t dots(uint32_t x, uint32_t f, uint64_t n)
{
    while (n-- > 0) {
        int32_t sum = 0;
        for (int shift = 0; shift < 32; shift += 8)
            sum += (int32_t)(int8_t)(x >> shift) * (int8_t)(f >> shift);
        x += (uint32_t)sum;
    }
    return x;
}

/* What a float of `digits` binary digits has counted after n steps of 1 from `start`. */
static double count_to(uint32_t start, double n, int digits)
{
    return RAPT_MIN(start + n, ldexp(1, digits));
}

/* What the words must be: numbers from low to high, or, of integers, exactly `word`. */
typedef struct must {
    bool integer;
    double low[2], high[2];
    uint32_t word[2];
} must;

static void must_be(must *m, double low, double high)
{
    m->low[0] = m->low[1] = low;
    m->high[0] = m->high[1] = high;
}

/* What all lanes must have left. */
static must expected(const rapt_session *s)
{
    const alu *g = s->state;
    const double n = (double)s->scale * g->steps;
    must m = {0};
    switch ((rapt_alu)s->gauge->variant) {
    case RAPT_ALU_COUNT_F32:
    case RAPT_ALU_COUNT_F16: {
        const int digits = s->gauge->variant == RAPT_ALU_COUNT_F32 ? 24 : 11;
        double least = count_to(0, n, digits);
        for (uint32_t c = 1; c < g->chains; c++)
            least = RAPT_MIN(least, count_to(c, n, digits) - c);
        must_be(&m, least, least);
        m.low[1] = m.high[1] = count_to(g->chains - 1, n, digits);
        break;
    }
    case RAPT_ALU_MAD_I32:
    case RAPT_ALU_DOT_I8:
        m.integer = true;
        for (uint32_t c = 0; c < g->chains; c++) {
            uint32_t x = s->gauge->variant == RAPT_ALU_DOT_I8 ? dots(c, 1664525u, (uint64_t)n)
                                                              : affine(c, 1664525u, (uint64_t)n);
            m.word[0] += x;
            m.word[1] ^= x;
        }
        break;
    case RAPT_ALU_EXP2: /* the start is forgotten by then */
        must_be(&m, 0.6411857445 * 0.999, 0.6411857445 * 1.001);
        break;
    case RAPT_ALU_RSQRT:
        must_be(&m, 0.999, 1.001);
        break;
    case RAPT_ALU_COS:
        must_be(&m, 0.7390851332 * 0.98, 0.7390851332 * 1.02);
        break;
    case RAPT_ALU_SHARED_READ:
        must_be(&m, n * 3.5, n * 3.5);
        break;
    case RAPT_ALU_SHARED_ONE:
        m.integer = true;
        m.word[0] = m.word[1] = (uint32_t)(uint64_t)(n * g->local_size);
        break;
    case RAPT_ALU_SHARED_SPREAD:
        m.integer = true;
        m.word[0] = m.word[1] = (uint32_t)(uint64_t)n;
        break;
    case RAPT_ALU_GLOBAL_ONE:
    case RAPT_ALU_GLOBAL_SPREAD:
        m.integer = true; /* the second word of a lane stays zero */
        m.word[0] = (uint32_t)(uint64_t)fmod(
            g->counted * (s->gauge->variant == RAPT_ALU_GLOBAL_ONE ? (double)g->groups * g->local_size : 1),
            4294967296.0);
        break;
    case RAPT_ALU_MATRIX: /* a float tells a count to seven digits */
        must_be(&m, n * g->product * (1 - 2e-7), n * g->product * (1 + 2e-7));
        break;
    case RAPT_ALU_MATRIX_F16: {
        /* Exact up to 2048 times the last digit; beyond, it rounds in ways that devices differ in. */
        const bool exact = n + g->chains / g->product <= 2048;
        must_be(&m, exact ? n * g->product : 1024 * g->product, n * g->product);
        break;
    }
    default: /* subgroup operations: by lane */
        m.integer = true;
        break;
    }
    return m;
}

/* What the first word of a lane of a subgroup operation must be; the second tells the lane's place. */
static uint32_t expected_of_lane(const rapt_session *s, uint32_t place)
{
    const alu *g = s->state;
    const uint32_t n = (uint32_t)(s->scale * g->steps), id = place & 0xffffu, size = place >> 16;
    switch ((rapt_alu)s->gauge->variant) {
    case RAPT_ALU_SHUFFLE: /* the numbers of steps are even: everyone has their own again */
        return id * 2 + n;
    case RAPT_ALU_ADD: /* all begin even, and grow by the size or by twice the size, which are even */
        return id * 2 + n * size;
    case RAPT_ALU_BROADCAST: /* lane 1 grows by 2 a step */
        return 2 + (n - 1) * 2 + id + 1;
    default:
        return id * 2 + n * size;
    }
}

static rapt_status prove_alu(rapt_session *s, rapt_error *error)
{
    alu *g = s->state;
    const rapt_alu variant = (rapt_alu)s->gauge->variant;
    const must m = expected(s);
    const uint64_t words = (uint64_t)g->groups * g->local_size * 2;
    const bool by_lane = variant >= RAPT_ALU_SHUFFLE && variant <= RAPT_ALU_BALLOT;
    rapt_status status = rapt_buffer_download(g->results, 0, g->words, g->bytes, error);
    for (uint64_t i = 0; i < words && status == RAPT_OK; i++) {
        const uint32_t word = g->words[i], half = i % 2;
        float number;
        memcpy(&number, &word, sizeof number);
        if (by_lane && half == 1)
            continue;
        if (is_matrix(s->gauge) && i % 4 == 3) {
            if (word == 0 || word > g->local_size)
                status = rapt_wrong(error, s->gauge, "the number of subgroups", word, 1, g->local_size);
            g->subgroups = word;
        } else if (m.integer) {
            uint32_t must_word = by_lane ? expected_of_lane(s, g->words[i + 1]) : m.word[half];
            if (variant == RAPT_ALU_GLOBAL_ONE && i != 0)
                must_word = 0;
            if (word != must_word)
                status = rapt_wrong(error, s->gauge, "a lane's result", word, must_word, must_word);
        } else if (!(number >= m.low[half] && number <= m.high[half])) {
            status = rapt_wrong(error, s->gauge,
                                half == 0 ? "the least of a lane's results" : "the most of a lane's results",
                                number, m.low[half], m.high[half]);
        }
    }
    return status == RAPT_OK ? reset(s, error) : status;
}

static void close_alu(rapt_session *s)
{
    alu *g = s->state;
    rapt_tool_close(&g->tool);
    rapt_buffer_destroy(&g->results);
    rapt_free(&s->device->runtime->allocator, g->words, g->bytes);
}

const rapt_gauge_kind rapt_gauge_alu = {sizeof(alu), open_alu, run_alu, prove_alu, close_alu};
