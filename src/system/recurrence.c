/* Systems that keep a state per head instead of a row of scores: linear attention (rapt/linear.h). */
#include "system/system.h"

#include <math.h>

/* q, k and v, the state to begin with where it is given, and the one at the end where it is wanted; the rest as a system has it.
 * Where `there`, an input is. */
typedef struct optional {
    rapt_system_view view;
    bool there;
} optional;

typedef struct recurrence {
    rapt_system_view q, k, v, out;
    optional state_in, state_out, norm_in, norm_out, decay, beta, a, b, scale_q, scale_k;
    rapt_linear_desc linear;
    uint64_t rows[3]; /* (batch, heads, n) of out */
} recurrence;

/* q, k and v. Heads: those of the widest of q, k and v, of which the others have a divisor. */
static bool take_qkv(rapt_system_builder *b, recurrence *t)
{
    *t = (recurrence){.linear = RAPT_LINEAR_DESC_INIT};
    if (!rapt_system_in(b, "q", 4, &t->q) || !rapt_system_in(b, "k", 4, &t->k) || !rapt_system_in(b, "v", 4, &t->v))
        return false;
    const uint64_t *q = t->q.tensor.size, *k = t->k.tensor.size, *v = t->v.tensor.size;
    const uint64_t heads = RAPT_MAX(q[1], RAPT_MAX(k[1], v[1]));
    const bool shared = q[1] != 0 && k[1] != 0 && v[1] != 0 && heads % q[1] == 0 && heads % k[1] == 0 && heads % v[1] == 0;
    if (!shared || q[0] != k[0] || q[0] != v[0] || q[2] != k[2] || q[2] != v[2] || q[3] != k[3])
        return rapt_system_refuse(b,
                                  "q (%llu, %llu, %llu, %llu), k (%llu, %llu, %llu, %llu) and v (%llu, %llu, %llu, ..) must "
                                  "agree in batch, heads, tokens and d",
                                  (unsigned long long)q[0], (unsigned long long)q[1], (unsigned long long)q[2],
                                  (unsigned long long)q[3], (unsigned long long)k[0], (unsigned long long)k[1],
                                  (unsigned long long)k[2], (unsigned long long)k[3], (unsigned long long)v[0],
                                  (unsigned long long)v[1], (unsigned long long)v[2]);
    t->rows[0] = q[0];
    t->rows[1] = heads;
    t->rows[2] = q[2];
    return true;
}

static bool take_out(rapt_system_builder *b, recurrence *t)
{
    const uint64_t shape[4] = {t->rows[0], t->rows[1], t->rows[2], t->v.tensor.size[3]};
    return rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, shape, &t->out);
}

static bool take_tensors(rapt_system_builder *b, recurrence *t)
{
    return take_qkv(b, t) && take_out(b, t);
}

/* States and normalisers in and out, of a descriptor whose feature map is set. */
static bool take_states(rapt_system_builder *b, recurrence *t)
{
    const rapt_linear_desc *d = &t->linear;
    const uint64_t d_k = RAPT_MIN(t->q.tensor.size[3], UINT32_MAX);
    const uint64_t rows = rapt_linear_state_rows(d->feature, d->feature_power, (uint32_t)d_k);
    const uint64_t state[4] = {t->rows[0], t->rows[1], rows ? rows : d_k, t->v.tensor.size[3]};
    const bool norms = d->flags & RAPT_LINEAR_NORMALIZE;
    t->state_in.there = rapt_system_given(b, "state");
    t->state_out.there = rapt_system_wants(b, "state_out");
    t->norm_in.there = norms && t->state_in.there;
    t->norm_out.there = norms && rapt_system_wants(b, "norm_out");
    if (norms && !t->state_in.there && rapt_system_given(b, "norm"))
        return rapt_system_refuse(b, "input 'norm' goes with input 'state'");
    return (!t->state_in.there || rapt_system_in_f32(b, "state", 4, state, &t->state_in.view)) &&
           (!t->norm_in.there || rapt_system_in_f32(b, "norm", 3, state, &t->norm_in.view)) &&
           (!t->state_out.there || rapt_system_new(b, RAPT_SYSTEM_OUT, "state_out", RAPT_F32, 4, state, &t->state_out.view)) &&
           (!t->norm_out.there || rapt_system_new(b, RAPT_SYSTEM_OUT, "norm_out", RAPT_F32, 3, state, &t->norm_out.view));
}

/* All but out. */
static bool take_inside(rapt_system_builder *b, recurrence *t)
{
    int64_t chunk = 0;
    if (!take_qkv(b, t) || !rapt_system_integer(b, "chunk", 1, 1024, &chunk))
        return false;
    t->linear.chunk = (uint32_t)chunk;
    return take_states(b, t);
}

static bool take(rapt_system_builder *b, recurrence *t)
{
    return take_inside(b, t) && take_out(b, t);
}

/* A float32 input that the system has always. */
static bool need(rapt_system_builder *b, const char *name, uint32_t rank, const uint64_t *sizes, optional *to)
{
    to->there = true;
    return rapt_system_in_f32(b, name, rank, sizes, &to->view);
}

static bool need_decay(rapt_system_builder *b, const char *name, uint32_t rank, recurrence *t)
{
    const uint64_t gate[4] = {t->rows[0], t->rows[1], t->rows[2], t->q.tensor.size[3]};
    if (!need(b, name, rank, rank == 1 ? &t->rows[1] : gate, &t->decay))
        return false;
    *(rank == 4 ? &t->linear.gate : &t->linear.decay) = t->decay.view.tensor;
    return true;
}

static bool need_beta(rapt_system_builder *b, recurrence *t)
{
    return need(b, "beta", 3, t->rows, &t->beta);
}

/* Fills what a step takes from a view that may be absent. */
static void put(const optional *o, rapt_tensor *tensor, rapt_system_operand *at)
{
    *at = o->there ? o->view.at : (rapt_system_operand){.tensor = -1};
    if (o->there && tensor != NULL)
        *tensor = o->view.tensor;
}

static bool add(rapt_system_builder *b, const char *what, recurrence *t)
{
    rapt_system_step *s = rapt_system_linear_step_add(b, what, &t->linear);
    if (s == NULL)
        return false;
    rapt_linear_desc *d = &s->linear;
    d->q = t->q.tensor;
    d->k = t->k.tensor;
    d->v = t->v.tensor;
    d->out = t->out.tensor;
    s->q = t->q.at;
    s->k = t->k.at;
    s->v = t->v.at;
    s->out = t->out.at;
    put(&t->decay, NULL, &s->decay);
    put(&t->beta, &d->beta, &s->beta);
    put(&t->a, &d->a, &s->a);
    put(&t->b, &d->b, &s->b);
    put(&t->state_in, &d->state_in, &s->state_in);
    put(&t->state_out, &d->state_out, &s->state_out);
    put(&t->norm_in, &d->norm_in, &s->norm_in);
    put(&t->norm_out, &d->norm_out, &s->norm_out);
    put(&t->scale_q, &d->scale_q, &s->scale_q);
    put(&t->scale_k, &d->scale_k, &s->scale_k);
    return true;
}

/* The softmax layers, where the parameter asks for them: a window of so many keys, 0: all before. */
static bool softmax_layer(rapt_system_builder *b, const recurrence *t, int64_t window)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    if (t->state_in.there || rapt_system_wants(b, "state_out") || rapt_system_wants(b, "norm_out"))
        return rapt_system_refuse(b, "its softmax layers have no states");
    if (!rapt_system_common(b, &d))
        return false;
    d.flags |= RAPT_ATTENTION_CAUSAL | (window > 0 ? RAPT_ATTENTION_WINDOW : 0);
    d.window_left = window > 0 ? window - 1 : 0;
    d.window_right = window > 0 ? -1 : 0;
    return rapt_system_step_add(b, window > 0 ? "causal attention in the window" : "causal attention", &d, t->q, t->k, t->v,
                                t->out, NULL);
}

/* ---- recurrences */

/* Nothing is forgotten. */
bool rapt_system_outer_products(rapt_system_builder *b)
{
    recurrence t;
    return take(b, &t) && add(b, "linear attention", &t);
}

/* A decay for each head. */
bool rapt_system_lightning(rapt_system_builder *b)
{
    recurrence t;
    return take(b, &t) && need_decay(b, "lambda", 1, &t) && add(b, "linear attention with a decay per head", &t);
}

/* A forget gate for each channel of each token. */
bool rapt_system_gla(rapt_system_builder *b)
{
    recurrence t;
    return take(b, &t) && need_decay(b, "alpha", 4, &t) && add(b, "linear attention with gates per channel", &t);
}

/* The delta rule. */
bool rapt_system_delta(rapt_system_builder *b)
{
    recurrence t;
    if (!take(b, &t) || !need_beta(b, &t))
        return false;
    t.linear.rule = RAPT_LINEAR_DELTA;
    return add(b, "linear attention by the delta rule", &t);
}

/* The delta rule on a state that decays. */
bool rapt_system_gated_delta(rapt_system_builder *b)
{
    recurrence t;
    if (!take(b, &t) || !need_decay(b, "alpha", 3, &t) || !need_beta(b, &t))
        return false;
    t.linear.rule = RAPT_LINEAR_DELTA;
    return add(b, "linear attention by the gated delta rule", &t);
}

/* A decay per channel and what two vectors make of a state: kappa reads it, a times kappa is taken off. */
bool rapt_system_rwkv7(rapt_system_builder *b)
{
    recurrence t;
    rapt_system_view kappa, a, write;
    if (!take(b, &t) || !need_decay(b, "w", 4, &t))
        return false;
    const uint64_t shape[4] = {t.rows[0], t.rows[1], t.rows[2], t.q.tensor.size[3]};
    if (!rapt_system_in_sized(b, "kappa", 4, shape, &kappa) || !rapt_system_in_sized(b, "a", 4, shape, &a) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "a kappa", b->dtype, 4, shape, &write))
        return false;
    rapt_system_step *s = rapt_system_combine_step_add(b, "what is taken off: minus a times kappa", write,
                                                       &(rapt_system_term){kappa, -1, NULL}, 1);
    if (s == NULL)
        return false;
    s->combine.gate = a.tensor;
    s->combine.gate_kind = RAPT_GATE_PRODUCT;
    s->gate = a.at;
    t.linear.rule = RAPT_LINEAR_DPLR;
    t.a = (optional){kappa, true};
    t.b = (optional){write, true};
    return add(b, "linear attention, diagonal plus low rank", &t);
}

/* ---- with a norm and a gate behind */

/* `from`, normed along its last axis, times a gate, into t->out. */
static bool norm_and_gate(rapt_system_builder *b, rapt_system_view from, rapt_system_view to, rapt_gate_kind kind)
{
    rapt_system_view gate, weight;
    const uint64_t *sizes = to.tensor.size;
    const bool weighed = rapt_system_given(b, "norm");
    float epsilon = 0;
    if (!rapt_system_number(b, "eps", &epsilon) || !rapt_system_in_sized(b, "gate", 4, sizes, &gate) ||
        (weighed && !rapt_system_in_f32(b, "norm", 1, &sizes[3], &weight)))
        return false;
    if (!(epsilon >= 0))
        return rapt_system_refuse(b, "parameter 'eps' is %g; at least 0 is needed", (double)epsilon);
    rapt_system_step *s = rapt_system_combine_step_add(b, "norm and gate", to, &(rapt_system_term){from, 1, NULL}, 1);
    if (s == NULL)
        return false;
    s->combine.norm = 1;
    s->combine.norm_epsilon = epsilon;
    s->combine.gate = gate.tensor;
    s->combine.gate_kind = kind;
    s->gate = gate.at;
    if (weighed) {
        weight.tensor.rank = 2;
        weight.tensor.size[1] = weight.tensor.size[0];
        weight.tensor.stride[1] = weight.tensor.stride[0];
        weight.tensor.size[0] = 1;
        s->combine.norm_weight = weight.tensor;
        s->norm_weight = weight.at;
    }
    return true;
}

/* Decays per head; all heads of a token normed together. */
bool rapt_system_transnormer(rapt_system_builder *b)
{
    recurrence t;
    rapt_system_view by_token;
    if (!take_inside(b, &t) || !need_decay(b, "lambda", 1, &t))
        return false;
    const uint64_t d_v = t.v.tensor.size[3], shape[4] = {t.rows[0], t.rows[2], t.rows[1], d_v};
    if (d_v != 0 && t.rows[1] > UINT32_MAX / d_v)
        return rapt_system_refuse(b, "%llu heads of %llu channels", (unsigned long long)t.rows[1], (unsigned long long)d_v);
    const uint64_t all[4] = {shape[0], 1, shape[1], t.rows[1] * d_v};
    rapt_system_view out;
    if (!rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "by token", b->dtype, 4, shape, &by_token) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, all, &out))
        return false;
    t.out = rapt_system_axes(by_token, (const int[]){0, 2, 1, 3});
    if (!add(b, "linear attention with a decay per head", &t))
        return false;
    rapt_system_view joined = out;
    joined.at = by_token.at;
    return norm_and_gate(b, joined, out, RAPT_GATE_PRODUCT);
}

/* Latent-KV attention: one kv head, whose values are the first d_v channels of its keys. */
static bool latent_kv(rapt_system_builder *b, int64_t d_v)
{
    rapt_system_view q, k, out;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    if (!rapt_system_in(b, "q", 4, &q) || !rapt_system_common(b, &d) ||
        !rapt_system_in_sized(b, "k", 4, (const uint64_t[]){q.tensor.size[0], 0, 0, q.tensor.size[3]}, &k))
        return false;
    if (k.tensor.size[1] != 1 || (uint64_t)d_v > k.tensor.size[3])
        return rapt_system_refuse(b, "k has %llu heads of %llu channels; one of at least mla = %lld is needed",
                                  (unsigned long long)k.tensor.size[1], (unsigned long long)k.tensor.size[3], (long long)d_v);
    const uint64_t shape[4] = {q.tensor.size[0], q.tensor.size[1], q.tensor.size[2], (uint64_t)d_v};
    if (!rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, shape, &out))
        return false;
    d.flags |= RAPT_ATTENTION_CAUSAL;
    return rapt_system_step_add(b, "causal attention to latent keys, which are values too", &d, q, k,
                                rapt_system_part(k, 3, 0, (uint64_t)d_v), out, NULL);
}

/* The delta rule on decays per channel, with unit keys and queries. */
bool rapt_system_kimi(rapt_system_builder *b)
{
    recurrence t;
    rapt_system_view plain;
    int64_t mla = 0;
    if (!rapt_system_integer(b, "mla", 0, 1 << 20, &mla))
        return false;
    if (mla > 0)
        return latent_kv(b, mla);
    if (!take(b, &t) || !need_decay(b, "alpha", 4, &t) || !need_beta(b, &t) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "read", b->dtype, 4, t.out.tensor.size, &plain))
        return false;
    const rapt_system_view out = t.out;
    t.out = plain;
    t.linear.feature = RAPT_PHI_COSINE;
    t.linear.rule = RAPT_LINEAR_DELTA;
    return add(b, "linear attention by the delta rule, gates per channel", &t) && norm_and_gate(b, plain, out, RAPT_GATE_SIGMOID);
}

/* A decay per head, then a norm and a gate for each head; or softmax. */
bool rapt_system_normed_decay(rapt_system_builder *b)
{
    recurrence t;
    rapt_system_view plain;
    int64_t softmax = 0;
    if (!rapt_system_integer(b, "softmax", 0, 1, &softmax))
        return false;
    if (softmax)
        return take_tensors(b, &t) && softmax_layer(b, &t, 0);
    if (!take(b, &t) || !need_decay(b, "lambda", 1, &t) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "read", b->dtype, 4, t.out.tensor.size, &plain))
        return false;
    const rapt_system_view out = t.out;
    t.out = plain;
    return add(b, "linear attention with a decay per head", &t) && norm_and_gate(b, plain, out, RAPT_GATE_SIGMOID);
}

/* ---- state-space duality */

/* The logarithm of decays, dt_t A of each head, and what is written, dt_t k_t v_t^T. */
static bool discretise(rapt_system_builder *b, recurrence *t)
{
    optional rate;
    rapt_system_view log_decay;
    const uint64_t tokens[4] = {t->rows[0], t->rows[1], t->rows[2], 1};
    if (!need(b, "dt", 3, t->rows, &t->beta) || !need(b, "a", 1, &t->rows[1], &rate) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "log decay", RAPT_F32, 4, tokens, &log_decay))
        return false;
    const rapt_system_view dt = rapt_system_axes(t->beta.view, (const int[]){0, 1, 2, -1});
    rapt_system_view heads = rapt_system_axes(rate.view, (const int[]){-1, 0, -1, -1});
    heads.tensor.rank = 3;
    if (!rapt_system_combine_step_add(b, "logarithms of decays", log_decay, &(rapt_system_term){dt, 1, &heads}, 1))
        return false;
    log_decay.tensor.rank = 3;
    t->linear.flags |= RAPT_LINEAR_LOG_DECAY;
    t->linear.decay = log_decay.tensor;
    t->decay = (optional){log_decay, true};
    return true;
}

/* out = read + D v of each head. */
static bool skip_connection(rapt_system_builder *b, const recurrence *t, rapt_system_view read, rapt_system_view out)
{
    rapt_system_view skip;
    if (!rapt_system_in_f32(b, "skip", 1, &t->rows[1], &skip))
        return false;
    rapt_system_view heads = rapt_system_axes(skip, (const int[]){-1, 0, -1, -1});
    heads.tensor.rank = 3;
    const rapt_system_term terms[] = {{read, 1, NULL}, {t->v, 1, &heads}};
    return rapt_system_combine_step_add(b, "what skips the state is added", out, terms, 2) != NULL;
}

bool rapt_system_ssd(rapt_system_builder *b)
{
    recurrence t;
    int64_t softmax = 0;
    const bool skips = rapt_system_given(b, "skip");
    if (!rapt_system_integer(b, "softmax", 0, 1, &softmax))
        return false;
    if (softmax)
        return take_tensors(b, &t) && softmax_layer(b, &t, 0);
    if (!take(b, &t) || !discretise(b, &t))
        return false;
    const rapt_system_view out = t.out;
    if (skips && t.v.tensor.size[1] != t.rows[1])
        return rapt_system_refuse(b, "%llu heads of v and %llu of q and k: 'skip' needs one of v for each",
                                  (unsigned long long)t.v.tensor.size[1], (unsigned long long)t.rows[1]);
    if (skips && !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "read", b->dtype, 4, out.tensor.size, &t.out))
        return false;
    return add(b, "state-space duality", &t) && (!skips || skip_connection(b, &t, t.out, out));
}

/* ---- feature maps */

/* Normalised; causal where the system says so, else of a set. */
static bool normalised(rapt_system_builder *b, recurrence *t)
{
    int64_t causal = 0;
    if (!rapt_system_integer(b, "causal", 0, 1, &causal))
        return false;
    t->linear.flags |= RAPT_LINEAR_NORMALIZE | (causal ? 0 : RAPT_LINEAR_BIDIRECTIONAL);
    return take_states(b, t) && add(b, "normalised linear attention", t);
}

/* elu(x) + 1. */
bool rapt_system_linear_transformer(rapt_system_builder *b)
{
    recurrence t;
    if (!take_tensors(b, &t))
        return false;
    t.linear.feature = RAPT_PHI_ELU1;
    return normalised(b, &t);
}

/* The first terms of exp, of standardised q and k. */
bool rapt_system_fastmax(rapt_system_builder *b)
{
    recurrence t;
    int64_t order = 2;
    if (!take_tensors(b, &t) || !rapt_system_integer(b, "p", 1, 2, &order))
        return false;
    t.linear.feature = RAPT_PHI_POLY;
    t.linear.feature_power = (float)order;
    t.linear.flags = RAPT_LINEAR_STANDARDIZE;
    return normalised(b, &t);
}

/* exp(alpha q) and exp(beta k), with an alpha and a beta for each head. */
bool rapt_system_lognormal(rapt_system_builder *b)
{
    recurrence t;
    if (!take_tensors(b, &t) || !need(b, "alpha", 1, &t.rows[1], &t.scale_q) || !need(b, "beta", 1, &t.rows[1], &t.scale_k))
        return false;
    t.linear.feature = RAPT_PHI_LOGNORMAL;
    return normalised(b, &t);
}

/* Softmax over the features of a query, and over the tokens of a key's feature. */
bool rapt_system_efficient(rapt_system_builder *b)
{
    recurrence t;
    if (!take_tensors(b, &t))
        return false;
    t.linear.feature = RAPT_PHI_SOFTMAX;
    t.linear.feature_k = RAPT_PHI_EXP;
    t.linear.flags = RAPT_LINEAR_FEATURE_K | RAPT_LINEAR_BIDIRECTIONAL | RAPT_LINEAR_NORMALIZE_KEYS;
    return add(b, "linear attention, both factors softmaxed", &t);
}

/* ---- layers of two kinds: linear, or softmax */

/* 1 + s + s^2 / 2 of scaled scores over all before, or softmax in a window. */
bool rapt_system_based(rapt_system_builder *b)
{
    recurrence t;
    int64_t window = 0;
    if (!take_tensors(b, &t) || !rapt_system_integer(b, "window", 0, 1 << 29, &window))
        return false;
    if (window > 0)
        return softmax_layer(b, &t, window);
    t.linear.feature = RAPT_PHI_TAYLOR2;
    t.linear.feature_scale = t.q.tensor.size[3] > 0 ? 1.0f / sqrtf((float)t.q.tensor.size[3]) : 1.0f;
    t.linear.flags = RAPT_LINEAR_NORMALIZE;
    return take_states(b, &t) && add(b, "linear attention with second-order features", &t);
}

/* A decay per head, or per head and token, in the linear layers. */
bool rapt_system_decayed_hybrid(rapt_system_builder *b)
{
    recurrence t;
    int64_t softmax = 0;
    const bool fixed = rapt_system_given(b, "lambda");
    if (!take_tensors(b, &t) || !rapt_system_integer(b, "softmax", 0, 1, &softmax))
        return false;
    if (softmax)
        return softmax_layer(b, &t, 0);
    return take_states(b, &t) && need_decay(b, fixed ? "lambda" : "a", fixed ? 1 : 3, &t) &&
           add(b, "linear attention with decays", &t);
}
