/* See linear_options.h. */
#include "linear_options.h"

#include "number_list.h"
#include "tool.h"

#include <string.h>

const char *tool_rule_name(unsigned n)
{
    return rapt_linear_rule_name((rapt_linear_rule)n);
}
const char *tool_feature_name(unsigned n)
{
    return rapt_phi_name((rapt_phi)n);
}
const char *tool_dtype_name(unsigned n)
{
    return rapt_dtype_name((rapt_dtype)(n + RAPT_F32));
}
static const char *decay_name(unsigned n)
{
    static const char *const names[] = {"fixed", "token", "channel"};
    return names[n];
}

static rapt_tensor tensor(rapt_dtype dtype, uint32_t rank, int64_t a, int64_t b, int64_t c, int64_t d)
{
    const int64_t sizes[] = {a, b, c, d};
    rapt_tensor t = {.dtype = dtype, .rank = rank};
    int64_t stride = 1;
    for (uint32_t i = rank; i-- > 0; stride *= sizes[i]) {
        t.size[i] = (uint64_t)sizes[i];
        t.stride[i] = stride;
    }
    return t;
}

static bool parse_names(const tool_linear_options *o, rapt_linear_desc *d, unsigned *decay, unsigned *dtype, rapt_error *error)
{
    unsigned rule = 0, feature = 0;
    *decay = 3;
    *dtype = 0;
    if (o->rule && !tool_one_of("--rule", o->rule, tool_rule_name, RAPT_LINEAR_RULE_COUNT, &rule, "none, delta or dplr", error))
        return false;
    if (o->feature && !tool_one_of("--feature", o->feature, tool_feature_name, RAPT_PHI_USER, &feature,
                                   "identity, elu1, relu, relu2, exp, softmax, taylor2, poly, focused, lognormal or cosine", error))
        return false;
    if (o->dtype && !tool_one_of("--dtype", o->dtype, tool_dtype_name, 3, dtype, "f32, f16 or bf16", error))
        return false;
    if (o->decay && !tool_one_of("--decay", o->decay, decay_name, 3, decay, "fixed, token or channel", error))
        return false;
    if (o->log_decay && !o->decay)
        return tool_fail(error, RAPT_ERROR_INVALID, "--log-decay needs --decay");
    d->rule = (rapt_linear_rule)rule;
    d->feature = (rapt_phi)feature;
    d->flags = (o->log_decay ? RAPT_LINEAR_LOG_DECAY : 0u) | (o->normalize ? RAPT_LINEAR_NORMALIZE : 0u) |
               (o->in_place ? RAPT_LINEAR_IN_PLACE : 0u);
    return true;
}

static bool parse_form(const tool_linear_options *o, rapt_linear_desc *d, rapt_error *error)
{
    int64_t chunk = 0;
    if (o->chunk && o->recurrent)
        return tool_fail(error, RAPT_ERROR_INVALID, "--chunk and --recurrent exclude each other");
    if (o->chunk && !tool_integer("--chunk", o->chunk, 1, 1024, &chunk, error))
        return false;
    d->chunk = (uint32_t)chunk;
    d->form = o->chunk ? RAPT_LINEAR_CHUNKED : o->recurrent ? RAPT_LINEAR_RECURRENT : RAPT_LINEAR_AUTO;
    d->kernel = o->kernel;
    return true;
}

bool tool_linear_make(const tool_linear_options *o, rapt_linear_desc *d, rapt_error *error)
{
    int64_t n[NUMBER_LIST_MOST], kv;
    size_t count;
    unsigned decay, dtype;
    *d = (rapt_linear_desc)RAPT_LINEAR_DESC_INIT;
    if (!o->shape)
        return tool_fail(error, RAPT_ERROR_INVALID, "--shape B,H,N,DK[,DV] is missing");
    if (!number_list_read("--shape", o->shape, 0, (int64_t)1 << 40, n, &count, error))
        return false;
    if (count != 4 && count != 5)
        return tool_fail(error, RAPT_ERROR_INVALID, "--shape '%.80s': four or five whole numbers B,H,N,DK[,DV] are needed", o->shape);
    kv = n[1];
    if (o->kv_heads && !tool_integer("--kv-heads", o->kv_heads, 1, n[1], &kv, error))
        return false;
    if (!parse_names(o, d, &decay, &dtype, error) || !parse_form(o, d, error))
        return false;
    const rapt_dtype type = (rapt_dtype)(RAPT_F32 + dtype);
    const int64_t batch = n[0], heads = n[1], tokens = n[2], d_k = n[3], d_v = count == 5 ? n[4] : d_k;
    d->q = tensor(type, 4, batch, heads, tokens, d_k);
    d->k = tensor(type, 4, batch, kv, tokens, d_k);
    d->v = tensor(type, 4, batch, kv, tokens, d_v);
    d->out = tensor(type, 4, batch, heads, tokens, d_v);
    if (d->rule == RAPT_LINEAR_DPLR)
        d->a = d->b = d->k;
    if (decay == 0)
        d->decay = tensor(RAPT_F32, 1, heads, 0, 0, 0);
    else if (decay == 1)
        d->decay = tensor(RAPT_F32, 3, batch, heads, tokens, 0);
    else if (decay == 2)
        d->gate = tensor(RAPT_F32, 4, batch, heads, tokens, d_k);
    if (o->beta)
        d->beta = tensor(RAPT_F32, 3, batch, heads, tokens, 0);
    const int64_t rows = rapt_linear_state_rows(d->feature, 0, (uint32_t)(d_k > 256 ? 256 : d_k));
    const rapt_tensor state = tensor(RAPT_F32, 4, batch, heads, rows, d_v), norm = tensor(RAPT_F32, 3, batch, heads, rows, 0);
    if (o->state && !o->in_place)
        d->state_in = state;
    if (o->state || o->in_place)
        d->state_out = state;
    if (o->normalize && o->state && !o->in_place)
        d->norm_in = norm;
    if (o->normalize && (o->state || o->in_place))
        d->norm_out = norm;
    return true;
}
