/* From a descriptor of a scan to its canonical problem. */
#include "op/scan.h"

#include <math.h>
#include <string.h>

#define MAX_CHUNK 65536u
#define MAX_TOKENS (1ull << 29) /* token numbers fit 32-bit integers */
#define MAX_CHANNELS (1ull << 24)

const char *rapt_scan_op_name(rapt_scan_op op)
{
    static const char *const names[] = {"sum", "max", "linear", "softmax", "ssm", "selective", "hold", "conv", "conv2d"};
    _Static_assert(RAPT_COUNT(names) == RAPT_SCAN_OP_COUNT, "an operation has no name");
    return (unsigned)op < RAPT_SCAN_OP_COUNT ? names[op] : "unknown";
}

const char *rapt_scan_act_name(rapt_scan_act act)
{
    static const char *const names[] = {"none", "silu", "sigmoid"};
    _Static_assert(RAPT_COUNT(names) == RAPT_SCAN_ACT_COUNT, "an activation has no name");
    return (unsigned)act < RAPT_SCAN_ACT_COUNT ? names[act] : "unknown";
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

/* ---- tensors */

/* A form that a tensor may have: its axes, by letter as in the header's shapes. b: batch, h: heads or a divisor of them,
 * H: all heads, t: tokens, d: channels, n: states, s: numbers of state, w: taps, q: taps of all channels, y and x: taps on a
 * grid, c: its channels. B: batch, or sequences. */
typedef struct form {
    const char *axes, *text;
    bool inner; /* the last axis lies side by side */
} form;

static const form tokens_form = {"bhtd", "(batch, heads, N, d)", true};
static const form shared_form = {"bht", "(batch, heads, N)", false};
static const form fixed_form = {"hd", "(heads, d)", false};
static const form fixed_states_form = {"hdn", "(heads, d, n)", false};
static const form token_states_form = {"bhtn", "(batch, heads, N, n)", false};
static const form x_form = {"bHtd", "(batch, heads, N, d)", true};
static const form state_form = {"BHds", "(batch or sequences, heads, d, s)", false};

static const form taps_form = {"hdw", "(heads, d, W)", false};
static const form token_taps_form = {"bhtq", "(batch, heads, N, d W)", true};
static const form grid_taps_form = {"cyx", "(channels, KY, KX)", false};
static const form grid_bias_form = {"c", "(channels)", false};

static uint64_t axis_size(char axis, const rapt_scan_problem *p, uint64_t batch)
{
    switch (axis) {
    case 'b':
        return batch;
    case 'B':
        return p->batch;
    case 'h':
    case 'H':
        return p->heads;
    case 't':
        return p->total;
    case 'd':
        return p->channels;
    case 'w':
        return p->taps[0];
    case 'q':
        return (uint64_t)p->channels * p->taps[0];
    case 'y':
        return p->taps[0];
    case 'x':
        return p->taps[1];
    case 'c':
        return p->flags & RAPT_SCAN_CHANNELS_LAST ? p->channels : p->heads;
    default: /* n, s */
        return p->states;
    }
}

/* Rows of a grid's taps stand in the place of tokens, its channels in that of channels. */
static unsigned axis_place(char axis)
{
    return axis == 'b' || axis == 'B'   ? RAPT_S_BATCH
           : axis == 'h' || axis == 'H' ? RAPT_S_HEAD
           : axis == 't' || axis == 'y' ? RAPT_S_TOKEN
           : axis == 'd' || axis == 'c' ? RAPT_S_CHANNEL
                                        : RAPT_S_NUMBER;
}

static rapt_status check_axis(const rapt_tensor *t, const char *name, const form *f, uint32_t axis, uint64_t want,
                              rapt_error *error)
{
    const uint64_t size = t->size[axis];
    const bool shared = f->axes[axis] == 'h';
    if (shared ? (size > 0 ? want % size != 0 : want != 0) : size != want)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: axis %u has %llu entries, must be %s%llu: %s", name, axis,
                         (unsigned long long)size, shared ? "a divisor of " : "", (unsigned long long)want, f->text);
    if (size > 1 && t->stride[axis] < 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: negative stride %lld of axis %u", name,
                         (long long)t->stride[axis], axis);
    return RAPT_OK;
}

static uint64_t traffic(const rapt_tensor *t)
{
    uint64_t bytes = rapt_dtype_size(t->dtype);
    for (uint32_t axis = 0; axis < t->rank && bytes != 0; axis++)
        bytes = sat_mul(bytes, t->size[axis]);
    return bytes;
}

/* Checks a tensor against its form and takes it into the problem. */
static rapt_status take(rapt_scan_problem *p, unsigned which, const rapt_tensor *t, const char *name, const form *f,
                        rapt_dtype dtype, uint64_t batch, rapt_error *error)
{
    const uint32_t rank = (uint32_t)strlen(f->axes);
    rapt_scan_tensor *out = &p->tensor[which];
    if (t->dtype != dtype)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is %s, must be %s", name, rapt_dtype_name(t->dtype),
                         rapt_dtype_name(dtype));
    if (t->rank != rank)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: rank %u, must be %u: %s", name, t->rank, rank, f->text);
    for (unsigned n = 0; n < RAPT_S_AXES; n++)
        out->size[n] = 1;
    for (uint32_t axis = 0; axis < rank; axis++) {
        const rapt_status status = check_axis(t, name, f, axis, axis_size(f->axes[axis], p, batch), error);
        if (status != RAPT_OK)
            return status;
        out->size[axis_place(f->axes[axis])] = t->size[axis];
        out->stride[axis_place(f->axes[axis])] = t->size[axis] > 1 ? (uint64_t)t->stride[axis] : 0;
    }
    if (f->inner && t->size[rank - 1] > 1 && t->stride[rank - 1] != 1)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: stride %lld of its last axis, must be 1", name,
                         (long long)t->stride[rank - 1]);
    out->element = rapt_dtype_size(dtype);
    if (t->align != 0 && (!rapt_is_pow2(t->align) || t->align < out->element))
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: align %u, must be a power of two, at least %u", name, t->align,
                         out->element);
    out->bytes = rapt_tensor_bytes(t);
    if (out->bytes > UINT64_MAX / 8)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s: the extent overflows 64 bits", name);
    out->align = t->align ? t->align : 16;
    out->usage = t->usage;
    out->present = true;
    const bool written = which == RAPT_S_OUT || which == RAPT_S_STATE_OUT;
    uint64_t *bytes = written ? &p->bytes_written : &p->bytes_read;
    *bytes = sat_add(*bytes, traffic(t));
    if (which == RAPT_S_STATE_OUT && (p->flags & RAPT_SCAN_IN_PLACE))
        p->bytes_read = sat_add(p->bytes_read, traffic(t));
    return RAPT_OK;
}

/* ---- what goes together */

/* The members that an operation needs and those that it may have, by letter: a, s(cores), b, c, t (dt), k (skip), z, w(eight),
 * i (bias). */
static const struct {
    const char *needs, *takes;
    uint32_t flags;
} members[] = {
    [RAPT_SCAN_SUM] = {"", "", RAPT_SCAN_REVERSE | RAPT_SCAN_IN_PLACE},
    [RAPT_SCAN_MAX] = {"", "", RAPT_SCAN_REVERSE | RAPT_SCAN_IN_PLACE},
    [RAPT_SCAN_LINEAR] = {"", "a", RAPT_SCAN_LOG_A | RAPT_SCAN_BLEND | RAPT_SCAN_REVERSE | RAPT_SCAN_IN_PLACE},
    [RAPT_SCAN_SOFTMAX] = {"s", "", RAPT_SCAN_REVERSE | RAPT_SCAN_IN_PLACE},
    [RAPT_SCAN_SSM] = {"abc", "kz", RAPT_SCAN_COMPLEX | RAPT_SCAN_REVERSE | RAPT_SCAN_IN_PLACE},
    [RAPT_SCAN_SELECTIVE] = {"abct", "kz", RAPT_SCAN_SOFTPLUS | RAPT_SCAN_REVERSE | RAPT_SCAN_IN_PLACE},
    [RAPT_SCAN_HOLD] = {"a", "", RAPT_SCAN_REVERSE | RAPT_SCAN_IN_PLACE},
    [RAPT_SCAN_CONV] = {"w", "i", RAPT_SCAN_REVERSE | RAPT_SCAN_IN_PLACE},
    [RAPT_SCAN_CONV2D] = {"w", "i", RAPT_SCAN_CHANNELS_LAST},
};
_Static_assert(RAPT_COUNT(members) == RAPT_SCAN_OP_COUNT, "an operation's members are not listed");

static rapt_status check_members(const rapt_scan_desc *d, rapt_error *error)
{
    if ((unsigned)d->op >= RAPT_SCAN_OP_COUNT)
        return rapt_fail(error, RAPT_ERROR_INVALID, "op is %u, of %u operations", (unsigned)d->op,
                         (unsigned)RAPT_SCAN_OP_COUNT);
    const char *op = rapt_scan_op_name(d->op);
    const struct {
        char letter;
        const char *name;
        const rapt_tensor *t;
    } given[] = {{'a', "a", &d->a},    {'s', "scores", &d->scores}, {'b', "b", &d->b}, {'c', "c", &d->c},
                 {'t', "dt", &d->dt}, {'k', "skip", &d->skip},     {'z', "z", &d->z},
                 {'w', "weight", &d->weight}, {'i', "bias", &d->bias}};
    for (size_t n = 0; n < RAPT_COUNT(given); n++) {
        const bool there = given[n].t->dtype != RAPT_DTYPE_NONE;
        const bool needed = strchr(members[d->op].needs, given[n].letter) != NULL;
        if (needed && !there)
            return rapt_fail(error, RAPT_ERROR_INVALID, "operation %s needs %s", op, given[n].name);
        if (there && !needed && strchr(members[d->op].takes, given[n].letter) == NULL)
            return rapt_fail(error, RAPT_ERROR_INVALID, "operation %s has no %s", op, given[n].name);
    }
    if (d->flags & ~members[d->op].flags)
        return rapt_fail(error, RAPT_ERROR_INVALID, "flags 0x%x do not go with operation %s",
                         d->flags & ~members[d->op].flags, op);
    const char *wrong = NULL;
    if ((unsigned)d->form > RAPT_SCAN_CHUNKED)
        return rapt_fail(error, RAPT_ERROR_INVALID, "form is %u, of 3 forms", (unsigned)d->form);
    const bool recurs = d->op < RAPT_SCAN_CONV, states = recurs || d->op == RAPT_SCAN_CONV;
    if ((unsigned)d->act >= RAPT_SCAN_ACT_COUNT)
        return rapt_fail(error, RAPT_ERROR_INVALID, "act is %u, of %u activations", (unsigned)d->act,
                         (unsigned)RAPT_SCAN_ACT_COUNT);
    if ((d->flags & (RAPT_SCAN_LOG_A | RAPT_SCAN_BLEND)) && d->a.dtype == RAPT_DTYPE_NONE)
        wrong = "RAPT_SCAN_LOG_A and RAPT_SCAN_BLEND need a";
    else if (recurs && d->act != RAPT_SCAN_ACT_NONE)
        wrong = "act goes with conv and conv2d";
    else if (d->op == RAPT_SCAN_HOLD && (d->form == RAPT_SCAN_CHUNKED || d->chunk != 0))
        wrong = "operation hold goes token by token: what a chunk does to a state is not known without the state";
    else if (!recurs && (d->form != RAPT_SCAN_AUTO || d->chunk != 0))
        wrong = "operations without a recurrence have neither form nor chunk";
    else if (!states && (d->state_in.dtype != RAPT_DTYPE_NONE || d->state_out.dtype != RAPT_DTYPE_NONE))
        wrong = "conv2d has no state";
    else if (!states && d->sequences > 0)
        wrong = "conv2d has no packed sequences";
    else if (d->ahead != 0 && d->op != RAPT_SCAN_CONV)
        wrong = "ahead goes with conv";
    else if (d->ahead != 0 && (d->state_in.dtype != RAPT_DTYPE_NONE || d->state_out.dtype != RAPT_DTYPE_NONE))
        wrong = "a convolution that looks ahead has no state";
    else if ((d->flags & RAPT_SCAN_IN_PLACE) &&
             (d->state_out.dtype == RAPT_DTYPE_NONE || d->state_in.dtype != RAPT_DTYPE_NONE))
        wrong = "RAPT_SCAN_IN_PLACE needs state_out, and no state_in";
    else if (d->sequences == 0 && d->max_seqlen != 0)
        wrong = "max_seqlen goes with packed sequences";
    else if (d->sequences > 0 && d->x.rank == 4 && d->x.size[0] != 1)
        wrong = "packed sequences need batch 1";
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

/* Taps of convolutions; those of a short one leave a state. */
static rapt_status count_taps(const rapt_scan_desc *d, rapt_scan_problem *p, rapt_error *error)
{
    const rapt_tensor *w = &d->weight;
    uint64_t taps = 1;
    p->states = 0;
    if (d->op == RAPT_SCAN_CONV2D) {
        if (w->rank != 3)
            return rapt_fail(error, RAPT_ERROR_INVALID, "weight: rank %u, must be 3: %s", w->rank, grid_taps_form.text);
        if (w->size[1] % 2 == 0 || w->size[2] % 2 == 0 || w->size[1] > 127 || w->size[2] > 127)
            return rapt_fail(error, RAPT_ERROR_INVALID, "weight has %llu x %llu taps, must be odd, at most 127",
                             (unsigned long long)w->size[1], (unsigned long long)w->size[2]);
        p->taps[0] = (uint32_t)w->size[1];
        p->taps[1] = (uint32_t)w->size[2];
        return RAPT_OK;
    }
    p->generated = w->rank == 4;
    if (w->rank == 3)
        taps = w->size[2];
    else if (w->rank != 4)
        return rapt_fail(error, RAPT_ERROR_INVALID, "weight: rank %u, must be 3 or 4: %s or %s", w->rank, taps_form.text,
                         token_taps_form.text);
    else if (p->channels > 0)
        taps = w->size[3] / p->channels;
    const bool state = d->state_in.dtype != RAPT_DTYPE_NONE || d->state_out.dtype != RAPT_DTYPE_NONE;
    if (taps < 1 || taps > RAPT_SCAN_MAX_TAPS)
        return rapt_fail(error, RAPT_ERROR_INVALID, "weight has %llu taps, must be 1 to %u: they are taken one by one",
                         (unsigned long long)taps, RAPT_SCAN_MAX_TAPS);
    if (state && (taps < 2 || taps > RAPT_SCAN_MAX_STATES + 1))
        return rapt_fail(error, RAPT_ERROR_INVALID, "a state goes with 2 to %u taps, not %llu", RAPT_SCAN_MAX_STATES + 1,
                         (unsigned long long)taps);
    if (d->ahead >= taps)
        return rapt_fail(error, RAPT_ERROR_INVALID, "ahead is %u, must be below the %llu taps", d->ahead,
                         (unsigned long long)taps);
    p->taps[0] = (uint32_t)taps;
    p->states = (uint32_t)taps - 1;
    return RAPT_OK;
}

/* Numbers of state a channel. */
static rapt_status count_states(const rapt_scan_desc *d, rapt_scan_problem *p, rapt_error *error)
{
    p->states = d->op == RAPT_SCAN_SOFTMAX ? 3 : 1;
    if (!rapt_scan_recurs(p))
        return count_taps(d, p, error);
    if (d->op != RAPT_SCAN_SSM && d->op != RAPT_SCAN_SELECTIVE)
        return RAPT_OK;
    const uint64_t n = d->a.rank == 3 ? d->a.size[2] : 0;
    if (d->a.rank != 3)
        return rapt_fail(error, RAPT_ERROR_INVALID, "a: rank %u, must be 3: %s", d->a.rank, fixed_states_form.text);
    if (n < 1 || n > RAPT_SCAN_MAX_STATES)
        return rapt_fail(error, RAPT_ERROR_INVALID, "a has %llu numbers of state a channel, must be 1 to %u",
                         (unsigned long long)n, RAPT_SCAN_MAX_STATES);
    if ((d->flags & RAPT_SCAN_COMPLEX) && n % 2 != 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "a has %llu numbers of state a channel, not pairs",
                         (unsigned long long)n);
    p->states = (uint32_t)n;
    return RAPT_OK;
}

static rapt_status take_all(const rapt_scan_desc *d, rapt_scan_problem *p, uint64_t batch, rapt_error *error)
{
    const bool stateful = d->op == RAPT_SCAN_SSM || d->op == RAPT_SCAN_SELECTIVE, softmax = d->op == RAPT_SCAN_SOFTMAX;
    const rapt_tensor *coef = softmax ? &d->scores : &d->a;
    const form *coefs = stateful         ? &fixed_states_form
                        : coef->rank == 2 && !softmax ? &fixed_form
                        : coef->rank == 3 ? &shared_form
                                          : &tokens_form;
    const bool weighted = !rapt_scan_recurs(p), grid = d->op == RAPT_SCAN_CONV2D;
    const form *ports = d->op == RAPT_SCAN_SELECTIVE ? &token_states_form
                        : grid                       ? &grid_taps_form
                        : p->generated               ? &token_taps_form
                        : weighted                   ? &taps_form
                                                     : &fixed_states_form;
    const struct {
        const rapt_tensor *t;
        const char *name;
        const form *f;
        rapt_dtype dtype;
    } all[RAPT_S_COUNT] = {
        [RAPT_S_X] = {&d->x, "x", &x_form, p->dtype},
        [RAPT_S_COEF] = {coef, softmax ? "scores" : "a", coefs, RAPT_F32},
        [RAPT_S_B] = {weighted ? &d->weight : &d->b, weighted ? "weight" : "b", ports, RAPT_F32},
        [RAPT_S_OUT] = {&d->out, "out", &x_form, p->dtype},
        [RAPT_S_C] = {&d->c, "c", ports, RAPT_F32},
        [RAPT_S_DT] = {&d->dt, "dt", &tokens_form, RAPT_F32},
        [RAPT_S_Z] = {&d->z, "z", &tokens_form, p->dtype},
        [RAPT_S_SKIP] = {weighted ? &d->bias : &d->skip, weighted ? "bias" : "skip", grid ? &grid_bias_form : &fixed_form,
                         RAPT_F32},
        [RAPT_S_STATE_IN] = {&d->state_in, "state_in", &state_form, RAPT_F32},
        [RAPT_S_STATE_OUT] = {&d->state_out, "state_out", &state_form, RAPT_F32},
    };
    for (unsigned n = 0; n < RAPT_S_COUNT; n++) {
        if (n != RAPT_S_OUT && all[n].t->dtype == RAPT_DTYPE_NONE)
            continue;
        const rapt_status status = take(p, n, all[n].t, all[n].name, all[n].f, all[n].dtype, batch, error);
        if (status != RAPT_OK)
            return status;
    }
    rapt_scan_tensor *taps = &p->tensor[RAPT_S_B];
    taps->whole = grid;
    if (p->generated) { /* the last axis is two */
        taps->size[RAPT_S_CHANNEL] = p->channels;
        taps->size[RAPT_S_NUMBER] = p->taps[0];
        taps->stride[RAPT_S_NUMBER] = 1;
        taps->stride[RAPT_S_CHANNEL] = p->taps[0];
    }
    p->coef = !p->tensor[RAPT_S_COEF].present ? RAPT_COEF_ONE
              : coef->rank == 3 && !stateful  ? RAPT_COEF_SHARED
                                              : RAPT_COEF_CHANNEL;
    return RAPT_OK;
}

/* Per token and channel: additions, multiplications and exponentials, each counted as one. */
static uint64_t ops_of(const rapt_scan_problem *p)
{
    const bool pairs = p->flags & RAPT_SCAN_COMPLEX;
    switch (p->op) {
    case RAPT_SCAN_SUM:
    case RAPT_SCAN_MAX:
        return 1;
    case RAPT_SCAN_HOLD:
        return 3;
    case RAPT_SCAN_LINEAR:
        return 2 + (p->flags & RAPT_SCAN_BLEND ? 2 : 0) + (p->flags & RAPT_SCAN_LOG_A ? 1 : 0);
    case RAPT_SCAN_SOFTMAX:
        return 8;
    case RAPT_SCAN_SSM:
        return (pairs ? 7ull : 5ull) * p->states;
    case RAPT_SCAN_CONV:
        return 2ull * p->taps[0] + (p->act ? 4 : 0);
    case RAPT_SCAN_CONV2D:
        return 2ull * p->taps[0] * p->taps[1] + (p->act ? 4 : 0);
    default:
        return 8ull * p->states;
    }
}

rapt_status rapt_scan_problem_make(const rapt_scan_desc *d, rapt_scan_problem *p, rapt_error *error)
{
    memset(p, 0, sizeof *p);
    if (d == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "the scan's descriptor is NULL");
    if (d->struct_size < sizeof *d)
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         "rapt_scan_desc.struct_size is %u, expected %zu (use RAPT_SCAN_DESC_INIT)", d->struct_size,
                         sizeof *d);
    rapt_status status = check_members(d, error);
    if (status != RAPT_OK)
        return status;
    p->dtype = d->x.dtype;
    if (p->dtype != RAPT_F32 && p->dtype != RAPT_F16 && p->dtype != RAPT_BF16)
        return rapt_fail(error, RAPT_ERROR_INVALID, "x is %s, must be f32, f16 or bf16", rapt_dtype_name(p->dtype));
    if (d->x.rank != 4)
        return rapt_fail(error, RAPT_ERROR_INVALID, "x: rank %u, must be 4: %s", d->x.rank, x_form.text);
    const uint64_t batch = d->x.size[0], total = d->x.size[2], channels = d->x.size[3];
    if (total > MAX_TOKENS)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%llu tokens, at most %llu", (unsigned long long)total, MAX_TOKENS);
    if (channels > MAX_CHANNELS)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%llu channels a head, at most %llu", (unsigned long long)channels,
                         MAX_CHANNELS);
    p->op = d->op;
    p->flags = d->flags;
    p->heads = d->x.size[1];
    p->channels = (uint32_t)channels;
    p->batch = d->sequences ? d->sequences : batch;
    p->total = p->tokens = total;
    p->varlen = d->sequences > 0;
    if (d->max_seqlen != 0)
        p->tokens = RAPT_MIN(p->tokens, d->max_seqlen);
    status = count_states(d, p, error);
    if (status == RAPT_OK)
        status = take_all(d, p, batch, error);
    if (status != RAPT_OK)
        return status;
    p->form = d->op == RAPT_SCAN_HOLD ? RAPT_SCAN_RECURRENT : d->form;
    p->act = d->act;
    p->ahead = d->ahead;
    p->slice_ms = d->slice_ms > 0.0f ? d->slice_ms : 50.0f;
    p->chunk = d->chunk;
    p->workspace_limit = d->workspace_limit ? d->workspace_limit : 64ull << 20;
    /* Without tokens there may yet be a state to hand on. */
    p->empty = batch == 0 || p->heads == 0 || channels == 0 || (total == 0 && !p->tensor[RAPT_S_STATE_OUT].present);
    if (d->kernel != NULL) {
        if (strlen(d->kernel) >= sizeof p->kernel)
            return rapt_fail(error, RAPT_ERROR_INVALID, "the kernel name is longer than %zu characters",
                             sizeof p->kernel - 1);
        memcpy(p->kernel, d->kernel, strlen(d->kernel));
    }
    const uint64_t walked = p->varlen ? total : sat_mul(batch, total);
    p->flops = sat_mul(sat_mul(sat_mul(walked, p->heads), channels), ops_of(p));
    return RAPT_OK;
}

uint32_t rapt_scan_planes(const rapt_scan_problem *p)
{
    const bool multiplies = p->op == RAPT_SCAN_LINEAR || p->op == RAPT_SCAN_SSM || p->op == RAPT_SCAN_SELECTIVE;
    return p->states * (multiplies ? 2 : 1);
}
