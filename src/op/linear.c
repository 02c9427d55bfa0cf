/* From a descriptor of linear attention to its canonical problem. */
#include "op/linear.h"

#include <math.h>
#include <string.h>

#define MAX_CHUNK 1024u
#define MAX_POSITIONS (1u << 16)
#define MAX_TOKENS (1ull << 29) /* token numbers fit 32-bit integers */

static const char *const names[RAPT_L_COUNT] = {
    "q", "k", "v", "out", "a", "b", "decay", "beta", "state_in", "state_out", "norm_in", "norm_out",
    "scale_q", "scale_k"};

const char *rapt_linear_rule_name(rapt_linear_rule rule)
{
    static const char *const rules[] = {"none", "delta", "dplr"};
    _Static_assert(RAPT_COUNT(rules) == RAPT_LINEAR_RULE_COUNT, "a rule has no name");
    return (unsigned)rule < RAPT_LINEAR_RULE_COUNT ? rules[rule] : "unknown";
}

static uint64_t sat_mul(uint64_t a, uint64_t b)
{
    uint64_t out;
    return rapt_mul_u64(a, b, &out) ? out : UINT64_MAX;
}

static uint64_t sat_add(uint64_t a, uint64_t b)
{
    uint64_t out;
    return rapt_add_u64(a, b, &out) ? out : UINT64_MAX;
}

/* What the axes of one tensor must be. `heads`: those of out, which the tensor's own divide. */
typedef struct shape {
    const char *text;
    rapt_dtype dtype;
    uint32_t rank;
    uint64_t size[RAPT_MAX_RANK];
    bool shares_heads; /* fewer heads may do */
    bool inner;        /* the last axis lies side by side */
} shape;

static rapt_status check_tensor(const rapt_tensor *t, const char *name, const shape *s, rapt_error *error)
{
    if (t->dtype != s->dtype)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is %s, must be %s", name, rapt_dtype_name(t->dtype),
                         rapt_dtype_name(s->dtype));
    if (t->rank != s->rank)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: rank %u, must be %u: %s", name, t->rank, s->rank,
                         s->text);
    const uint32_t head_axis = s->rank == 1 ? 0 : 1;
    for (uint32_t axis = 0; axis < s->rank; axis++) {
        const bool shared = axis == head_axis && s->shares_heads;
        const bool good = shared ? t->size[axis] > 0 ? s->size[axis] % t->size[axis] == 0 : s->size[axis] == 0
                                 : t->size[axis] == s->size[axis];
        if (!good)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s: axis %u has %llu entries, must be %s%llu: %s",
                             name, axis, (unsigned long long)t->size[axis], shared ? "a divisor of " : "",
                             (unsigned long long)s->size[axis], s->text);
        if (t->size[axis] > 1 && t->stride[axis] < 0)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s: negative stride %lld of axis %u", name,
                             (long long)t->stride[axis], axis);
    }
    if (s->inner && t->size[s->rank - 1] > 1 && t->stride[s->rank - 1] != 1)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: stride %lld of its last axis, must be 1", name,
                         (long long)t->stride[s->rank - 1]);
    const uint32_t element = rapt_dtype_size(t->dtype);
    if (t->align != 0 && (!rapt_is_pow2(t->align) || t->align < element))
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: align %u, must be a power of two, at least %u", name,
                         t->align, element);
    if (rapt_tensor_bytes(t) > UINT64_MAX / 8)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: the extent overflows 64 bits", name);
    return RAPT_OK;
}

/* As (batch, heads, rows, inner). */
static rapt_linear_tensor canonical(const rapt_tensor *t, bool has_inner)
{
    rapt_linear_tensor out = {.inner = has_inner ? t->size[t->rank - 1] : 1,
                              .heads = t->rank == 1 ? t->size[0] : t->size[1],
                              .bytes = rapt_tensor_bytes(t),
                              .element = rapt_dtype_size(t->dtype),
                              .align = t->align ? t->align : 16,
                              .usage = t->usage,
                              .present = true};
    if (t->rank == 1) {
        out.stride[1] = t->size[0] > 1 ? (uint64_t)t->stride[0] : 0;
        return out;
    }
    const uint32_t axes = t->rank - has_inner;
    for (uint32_t axis = 0; axis < axes; axis++)
        out.stride[axis] = t->size[axis] > 1 ? (uint64_t)t->stride[axis] : 0;
    return out;
}

static uint64_t traffic(const rapt_tensor *t)
{
    uint64_t bytes = rapt_dtype_size(t->dtype);
    for (uint32_t axis = 0; axis < t->rank && bytes != 0; axis++)
        bytes = sat_mul(bytes, t->size[axis]);
    return bytes;
}

/* What goes together. */
static rapt_status check_members(const rapt_linear_desc *d, rapt_error *error)
{
    const uint32_t known =
        RAPT_LINEAR_NORMALIZE | RAPT_LINEAR_SCALE | RAPT_LINEAR_LOG_DECAY | RAPT_LINEAR_IN_PLACE |
        RAPT_LINEAR_BIDIRECTIONAL | RAPT_LINEAR_FEATURE_K | RAPT_LINEAR_NORMALIZE_KEYS | RAPT_LINEAR_STANDARDIZE;
    const bool decay = d->decay.dtype != RAPT_DTYPE_NONE, gate = d->gate.dtype != RAPT_DTYPE_NONE;
    const bool norm_in = d->norm_in.dtype != RAPT_DTYPE_NONE, norm_out = d->norm_out.dtype != RAPT_DTYPE_NONE;
    const bool state_in = d->state_in.dtype != RAPT_DTYPE_NONE,
               state_out = d->state_out.dtype != RAPT_DTYPE_NONE;
    const bool normalize = d->flags & RAPT_LINEAR_NORMALIZE, in_place = d->flags & RAPT_LINEAR_IN_PLACE;
    const char *wrong = NULL;
    if (d->flags & ~known)
        return rapt_fail(error, RAPT_ERROR_INVALID, "unknown linear flags 0x%x", d->flags & ~known);
    if ((unsigned)d->rule >= RAPT_LINEAR_RULE_COUNT)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rule is %u, of %u rules", (unsigned)d->rule,
                         (unsigned)RAPT_LINEAR_RULE_COUNT);
    if ((unsigned)d->feature >= RAPT_PHI_COUNT)
        return rapt_fail(error, RAPT_ERROR_INVALID, "feature is %u, of %u feature maps", (unsigned)d->feature,
                         (unsigned)RAPT_PHI_COUNT);
    if ((unsigned)d->form > RAPT_LINEAR_CHUNKED)
        return rapt_fail(error, RAPT_ERROR_INVALID, "form is %u, of 3 forms", (unsigned)d->form);
    const bool dplr = d->rule == RAPT_LINEAR_DPLR;
    if (decay && gate)
        wrong = "decay and gate exclude each other";
    else if ((d->flags & RAPT_LINEAR_LOG_DECAY) && !decay && !gate)
        wrong = "RAPT_LINEAR_LOG_DECAY needs decay or gate";
    else if (dplr && d->beta.dtype != RAPT_DTYPE_NONE)
        wrong = "beta does not go with rule dplr: scale b and v by it";
    else if (dplr != (d->a.dtype != RAPT_DTYPE_NONE) || dplr != (d->b.dtype != RAPT_DTYPE_NONE))
        wrong = dplr ? "rule dplr needs a and b" : "a and b go with rule dplr only";
    else if (normalize && d->rule != RAPT_LINEAR_NONE)
        wrong = "a normaliser needs rule none";
    else if ((norm_in || norm_out) && !normalize)
        wrong = "norm_in and norm_out need RAPT_LINEAR_NORMALIZE";
    else if (in_place && (!state_out || state_in || norm_in))
        wrong = "RAPT_LINEAR_IN_PLACE needs state_out, and neither state_in nor norm_in";
    else if (in_place && normalize && !norm_out)
        wrong = "RAPT_LINEAR_IN_PLACE with RAPT_LINEAR_NORMALIZE needs norm_out";
    else if (normalize && state_in != norm_in)
        wrong = "with RAPT_LINEAR_NORMALIZE state_in and norm_in come together";
    else if (d->sequences == 0 && d->max_seqlen != 0)
        wrong = "max_seqlen goes with packed sequences";
    else if (d->sequences > 0 && d->q.rank == 4 && d->q.size[0] != 1)
        wrong = "packed sequences need batch 1";
    else if (!isfinite(d->scale))
        wrong = "scale is not finite";
    if (wrong != NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s", wrong);
    if (d->sequences > 1u << 30)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%u sequences, at most %u", d->sequences, 1u << 30);
    if (d->slice_ms < 0.0f || !isfinite(d->slice_ms))
        return rapt_fail(error, RAPT_ERROR_INVALID, "slice_ms %g, must be positive", (double)d->slice_ms);
    if (d->chunk > MAX_CHUNK)
        return rapt_fail(error, RAPT_ERROR_INVALID, "chunk is %u, at most %u", d->chunk, MAX_CHUNK);
    return RAPT_OK;
}

/* Positions within a sequence at which states are wanted. */
static rapt_status check_positions(const rapt_linear_desc *d, uint64_t tokens, rapt_error *error)
{
    const char *wrong = NULL;
    if (d->position_count == 0)
        return RAPT_OK;
    if (d->positions == NULL)
        wrong = "positions is NULL";
    else if (d->state_out.dtype == RAPT_DTYPE_NONE)
        wrong = "positions need state_out";
    else if (d->flags & (RAPT_LINEAR_IN_PLACE | RAPT_LINEAR_BIDIRECTIONAL))
        wrong = "positions go neither with RAPT_LINEAR_IN_PLACE nor with RAPT_LINEAR_BIDIRECTIONAL";
    if (wrong != NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s", wrong);
    if (d->position_count > MAX_POSITIONS)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%u positions, at most %u", d->position_count, MAX_POSITIONS);
    for (uint32_t i = 0; i < d->position_count; i++) {
        const uint64_t at = d->positions[i];
        if (at > tokens || (i > 0 && at <= d->positions[i - 1]))
            return rapt_fail(error, RAPT_ERROR_INVALID, "positions[%u] is %llu: they must rise, up to %llu", i,
                             (unsigned long long)at, (unsigned long long)tokens);
    }
    return RAPT_OK;
}

rapt_status rapt_linear_problem_make(const rapt_linear_desc *d, rapt_linear_problem *p, rapt_error *error)
{
    memset(p, 0, sizeof *p);
    if (d == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "the linear descriptor is NULL");
    if (d->struct_size < sizeof *d)
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         "rapt_linear_desc.struct_size is %u, expected %zu (use RAPT_LINEAR_DESC_INIT)",
                         d->struct_size, sizeof *d);
    rapt_status status = check_members(d, error);
    if (status != RAPT_OK)
        return status;
    const rapt_dtype dtype = d->q.dtype;
    if (dtype != RAPT_F32 && dtype != RAPT_F16 && dtype != RAPT_BF16)
        return rapt_fail(error, RAPT_ERROR_INVALID, "q: dtype %s, must be f32, f16 or bf16",
                         rapt_dtype_name(dtype));
    if (d->q.rank != 4 || d->out.rank != 4)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: rank %u, must be 4", d->q.rank != 4 ? "q" : "out",
                         d->q.rank != 4 ? d->q.rank : d->out.rank);
    const uint64_t batch = d->q.size[0], heads = d->out.size[1], total = d->q.size[2];
    const uint64_t d_k = d->q.size[3], d_v = d->out.size[3], states = d->sequences ? d->sequences : batch;
    if (d_k < 1 || d_k > RAPT_LINEAR_MAX_DIM || d_v < 1 || d_v > RAPT_LINEAR_MAX_DIM)
        return rapt_fail(error, RAPT_ERROR_INVALID, "d_k is %llu and d_v %llu, must be 1 to %u",
                         (unsigned long long)d_k, (unsigned long long)d_v, RAPT_LINEAR_MAX_DIM);
    if (total > MAX_TOKENS)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%llu tokens, at most %llu", (unsigned long long)total,
                         MAX_TOKENS);
    const bool gate = d->gate.dtype != RAPT_DTYPE_NONE, fixed = !gate && d->decay.rank == 1;
    const char *keys = "(batch, heads, N, d_k)", *values = "(batch, heads, N, d_v)",
               *scalars = "(batch, heads, N)";
    status = rapt_linear_problem_map(d, p, error);
    if (status != RAPT_OK)
        return status;
    status = check_positions(d, total, error);
    if (status != RAPT_OK)
        return status;
    const uint64_t rows = (uint64_t)p->blocks * p->block, rows_out = rows * (d->position_count + 1ull);
    const bool wide = rows != d_k;
    const char *state = wide ? "(batch or sequences, heads, rows of the feature map, d_v)"
                             : "(batch or sequences, heads, d_k, d_v)";
    const char *norm =
        wide ? "(batch or sequences, heads, rows of the feature map)" : "(batch or sequences, heads, d_k)";
    const char *state_out = d->position_count ? "(batch or sequences, heads, (positions + 1) rows, d_v)" : state,
               *norm_out = d->position_count ? "(batch or sequences, heads, (positions + 1) rows)" : norm;
    const rapt_tensor *tensors[RAPT_L_COUNT] = {
        &d->q,    &d->k,        &d->v,         &d->out,     &d->a,       &d->b, gate ? &d->gate : &d->decay,
        &d->beta, &d->state_in, &d->state_out, &d->norm_in, &d->norm_out, &d->scale_q, &d->scale_k};
    const shape key = {keys, dtype, 4, {batch, heads, total, d_k}, true, true};
    const shape scalar = {scalars, RAPT_F32, 3, {batch, heads, total}, true, false};
    const shape shapes[RAPT_L_COUNT] = {
        [RAPT_L_Q] = key,
        [RAPT_L_K] = key,
        [RAPT_L_V] = {values, dtype, 4, {batch, heads, total, d_v}, true, true},
        [RAPT_L_OUT] = {values, dtype, 4, {batch, heads, total, d_v}, false, true},
        [RAPT_L_A] = key,
        [RAPT_L_B] = key,
        [RAPT_L_DECAY] = gate    ? (shape){keys, RAPT_F32, 4, {batch, heads, total, d_k}, true, true}
                         : fixed ? (shape){"(heads) or (batch, heads, N)", RAPT_F32, 1, {heads}, true, false}
                                 : scalar,
        [RAPT_L_BETA] = scalar,
        [RAPT_L_STATE_IN] = {state, RAPT_F32, 4, {states, heads, rows, d_v}, false, true},
        [RAPT_L_STATE_OUT] = {state_out, RAPT_F32, 4, {states, heads, rows_out, d_v}, false, true},
        [RAPT_L_NORM_IN] = {norm, RAPT_F32, 3, {states, heads, rows}, false, true},
        [RAPT_L_NORM_OUT] = {norm_out, RAPT_F32, 3, {states, heads, rows_out}, false, true},
        [RAPT_L_SCALE_Q] = {"(heads)", RAPT_F32, 1, {heads}, true, false},
        [RAPT_L_SCALE_K] = {"(heads)", RAPT_F32, 1, {heads}, true, false},
    };
    for (unsigned i = 0; i < RAPT_L_COUNT; i++) {
        if (i > RAPT_L_OUT && tensors[i]->dtype == RAPT_DTYPE_NONE)
            continue;
        const char *name = i == RAPT_L_DECAY && gate ? "gate" : names[i];
        status = check_tensor(tensors[i], name, &shapes[i], error);
        if (status != RAPT_OK)
            return status;
        p->tensor[i] = canonical(tensors[i], shapes[i].inner);
        uint64_t *bytes = i == RAPT_L_OUT || i == RAPT_L_STATE_OUT || i == RAPT_L_NORM_OUT ? &p->bytes_written
                                                                                           : &p->bytes_read;
        *bytes = sat_add(*bytes, traffic(tensors[i]));
        if ((d->flags & RAPT_LINEAR_IN_PLACE) && bytes == &p->bytes_written && i != RAPT_L_OUT)
            p->bytes_read = sat_add(p->bytes_read, traffic(tensors[i]));
    }
    p->dtype = dtype;
    p->d_k = (uint32_t)d_k;
    p->d_v = (uint32_t)d_v;
    p->batch = states;
    p->heads = heads;
    p->total = p->tokens = total;
    p->varlen = d->sequences > 0;
    if (d->max_seqlen != 0)
        p->tokens = RAPT_MIN(p->tokens, d->max_seqlen);
    p->rule = d->rule;
    p->form = d->form;
    p->decay = !p->tensor[RAPT_L_DECAY].present ? RAPT_DECAY_ONE
               : gate                           ? RAPT_DECAY_CHANNEL
               : fixed                          ? RAPT_DECAY_HEAD
                                                : RAPT_DECAY_TOKEN;
    p->log_decay = d->flags & RAPT_LINEAR_LOG_DECAY;
    p->beta = p->tensor[RAPT_L_BETA].present;
    p->normalize = d->flags & RAPT_LINEAR_NORMALIZE;
    p->in_place = d->flags & RAPT_LINEAR_IN_PLACE;
    p->scale = d->flags & RAPT_LINEAR_SCALE ? d->scale : 1.0f;
    p->slice_ms = d->slice_ms > 0.0f ? d->slice_ms : 50.0f;
    p->chunk = d->chunk;
    p->positions = d->positions;
    p->position_count = d->position_count;
    p->workspace_limit = d->workspace_limit ? d->workspace_limit : 64ull << 20;
    /* Without tokens there may yet be a state to hand on. */
    p->empty = batch == 0 || heads == 0 || (total == 0 && !p->tensor[RAPT_L_STATE_OUT].present);
    if (d->kernel != NULL) {
        if (strlen(d->kernel) >= sizeof p->kernel)
            return rapt_fail(error, RAPT_ERROR_INVALID, "the kernel name is longer than %zu characters",
                             sizeof p->kernel - 1);
        memcpy(p->kernel, d->kernel, strlen(d->kernel));
    }
    /* Per token and state element: the decay, what the rule reads and writes, the output. */
    const uint64_t ops = (p->decay != RAPT_DECAY_ONE) +
                         (p->rule == RAPT_LINEAR_NONE    ? 2
                          : p->rule == RAPT_LINEAR_DELTA ? 4
                                                         : 6) +
                         2;
    const uint64_t walked = p->varlen ? total : sat_mul(batch, total);
    p->flops = sat_mul(sat_mul(sat_mul(walked, heads), rows * (d_v + p->normalize)), ops);
    return RAPT_OK;
}
