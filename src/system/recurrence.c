/* Systems that keep a state per head instead of a row of scores: linear attention (rapt/linear.h). */
#include "system/system.h"

/* q, k and v, the state to begin with where it is given, and the one at the end where it is wanted. */
typedef struct recurrence {
    rapt_system_view q, k, v, out, state_in, state_out, decay, beta;
    bool has_state, has_decay, has_beta, wants_state;
    rapt_linear_desc linear;
} recurrence;

static bool take(rapt_system_builder *b, recurrence *t)
{
    int64_t chunk = 0;
    *t = (recurrence){.linear = RAPT_LINEAR_DESC_INIT};
    if (!rapt_system_in(b, "q", 4, &t->q) || !rapt_system_in(b, "k", 4, &t->k) || !rapt_system_in(b, "v", 4, &t->v) ||
        !rapt_system_integer(b, "chunk", 1, 1024, &chunk))
        return false;
    const uint64_t *q = t->q.tensor.size, *k = t->k.tensor.size, *v = t->v.tensor.size;
    for (unsigned axis = 0; axis < 4; axis++)
        if (q[axis] != k[axis] || (axis < 3 && q[axis] != v[axis]))
            return rapt_system_refuse(b,
                                      "q (%llu, %llu, %llu, %llu), k (%llu, %llu, %llu, %llu) and v (%llu, %llu, %llu, ..) must "
                                      "agree in batch, heads, tokens and d",
                                      (unsigned long long)q[0], (unsigned long long)q[1], (unsigned long long)q[2],
                                      (unsigned long long)q[3], (unsigned long long)k[0], (unsigned long long)k[1],
                                      (unsigned long long)k[2], (unsigned long long)k[3], (unsigned long long)v[0],
                                      (unsigned long long)v[1], (unsigned long long)v[2]);
    const uint64_t state[4] = {q[0], q[1], q[3], v[3]};
    t->linear.chunk = (uint32_t)chunk;
    t->has_state = rapt_system_given(b, "state");
    t->wants_state = rapt_system_wants(b, "state_out");
    return (!t->has_state || rapt_system_in_f32(b, "state", 4, state, &t->state_in)) &&
           rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, v, &t->out) &&
           (!t->wants_state || rapt_system_new(b, RAPT_SYSTEM_OUT, "state_out", RAPT_F32, 4, state, &t->state_out));
}

static bool add(rapt_system_builder *b, const char *what, recurrence *t)
{
    rapt_linear_desc *d = &t->linear;
    const rapt_system_operand absent = {.tensor = -1};
    d->q = t->q.tensor;
    d->k = t->k.tensor;
    d->v = t->v.tensor;
    d->out = t->out.tensor;
    if (t->has_state)
        d->state_in = t->state_in.tensor;
    if (t->wants_state)
        d->state_out = t->state_out.tensor;
    if (t->has_beta)
        d->beta = t->beta.tensor;
    rapt_system_step *s = rapt_system_linear_step_add(b, what, d);
    if (s == NULL)
        return false;
    s->q = t->q.at;
    s->k = t->k.at;
    s->v = t->v.at;
    s->out = t->out.at;
    s->decay = t->has_decay ? t->decay.at : absent;
    s->beta = t->has_beta ? t->beta.at : absent;
    s->state_in = t->has_state ? t->state_in.at : absent;
    s->state_out = t->wants_state ? t->state_out.at : absent;
    return true;
}

/* A decay for each head. */
bool rapt_system_lightning(rapt_system_builder *b)
{
    recurrence t;
    if (!take(b, &t) || !rapt_system_in_f32(b, "lambda", 1, &t.q.tensor.size[1], &t.decay))
        return false;
    t.has_decay = true;
    t.linear.decay = t.decay.tensor;
    return add(b, "linear attention with a decay per head", &t);
}

/* A forget gate for each channel of each token. */
bool rapt_system_gla(rapt_system_builder *b)
{
    recurrence t;
    if (!take(b, &t) || !rapt_system_in_f32(b, "alpha", 4, t.q.tensor.size, &t.decay))
        return false;
    t.has_decay = true;
    t.linear.gate = t.decay.tensor;
    return add(b, "linear attention with gates per channel", &t);
}

/* The delta rule. */
bool rapt_system_delta(rapt_system_builder *b)
{
    recurrence t;
    if (!take(b, &t) || !rapt_system_in_f32(b, "beta", 3, t.q.tensor.size, &t.beta))
        return false;
    t.has_beta = true;
    t.linear.rule = RAPT_LINEAR_DELTA;
    return add(b, "linear attention by the delta rule", &t);
}
