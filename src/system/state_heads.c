/* Systems with heads of two kinds in a layer, or layers of two kinds in turn: softmax, and states that decay. */
#include "system/system.h"

#include <string.h>

/* ---- WuNeng ---- */

typedef struct state_heads {
    rapt_system_qkv t;
    rapt_system_view r, k, v, decay, kappa, a, write, of_state, out;
    uint64_t heads, states, middle;
} state_heads;

/* The state heads' own inputs, of their own number of heads. */
static bool take_states(rapt_system_builder *b, state_heads *t)
{
    const uint64_t *s = t->t.out.tensor.size;
    if (!rapt_system_in_sized(b, "r", 4, (const uint64_t[]){s[0], 0, s[2], 0}, &t->r))
        return false;
    const uint64_t *own = t->r.tensor.size;
    t->heads = s[1];
    t->states = own[1];
    return rapt_system_in_sized(b, "k_state", 4, own, &t->k) &&
           rapt_system_in_sized(b, "v_state", 4, (const uint64_t[]){own[0], own[1], own[2], s[3]}, &t->v) &&
           rapt_system_in_f32(b, "w", 4, own, &t->decay) && rapt_system_in_sized(b, "kappa", 4, own, &t->kappa) &&
           rapt_system_in_sized(b, "a", 4, own, &t->a) && rapt_system_between(b, "a kappa", b->dtype, 4, own, &t->write);
}

/* S_t = (diag(w_t) - (a_t kappa_t) kappa_t^T) S_{t-1} + k_t v_t^T, transposed as ours is. */
static bool walk_states(rapt_system_builder *b, const state_heads *t, rapt_system_view out)
{
    rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
    const rapt_system_term term = {t->kappa, -1, NULL};
    rapt_system_step *s = rapt_system_combine_step_add(b, "what is taken off: minus a times kappa", t->write, &term, 1);
    if (s == NULL)
        return false;
    s->combine.gate_kind = RAPT_GATE_PRODUCT;
    rapt_system_give(&s->combine.gate, &s->gate, &t->a);
    d.rule = RAPT_LINEAR_DPLR;
    s = rapt_system_linear_step_add(b, "state heads", &d);
    if (s == NULL)
        return false;
    rapt_system_linear_give(s, t->r, t->k, t->v, out);
    rapt_system_give(&s->linear.a, &s->a, &t->kappa);
    rapt_system_give(&s->linear.b, &s->b, &t->write);
    rapt_system_give(&s->linear.gate, &s->decay, &t->decay);
    return true;
}

/* Middle heads, from the first softmax heads and the first state heads: their sum, or g of one and 1 - g of the other. */
static bool mix_middle(rapt_system_builder *b, const state_heads *t)
{
    const rapt_system_view softmax = rapt_system_part(t->out, 1, 0, t->middle), state = rapt_system_part(t->out, 1, t->heads, t->middle),
                           to = rapt_system_part(t->out, 1, t->heads + t->states, t->middle);
    rapt_system_view gate, a, s, apart;
    const uint64_t *size = to.tensor.size;
    /* What is read lies between what is written: copies. */
    if (!rapt_system_between(b, "softmax heads", b->dtype, 4, size, &a) || !rapt_system_between(b, "state heads", b->dtype, 4, size, &s) ||
        !rapt_system_map(b, "the first softmax heads", a, softmax, 1, 0, RAPT_COMBINE_ACT_NONE) ||
        !rapt_system_map(b, "the first state heads", s, state, 1, 0, RAPT_COMBINE_ACT_NONE))
        return false;
    const rapt_system_term sum[] = {{a, 1, NULL}, {s, 1, NULL}}, difference[] = {{a, 1, NULL}, {s, -1, NULL}};
    if (!rapt_system_given(b, "gate"))
        return rapt_system_combine_step_add(b, "middle heads: their sum", to, sum, 2) != NULL;
    if (!rapt_system_in_sized(b, "gate", 4, size, &gate) || !rapt_system_between(b, "apart", b->dtype, 4, size, &apart))
        return false;
    rapt_system_step *step = rapt_system_combine_step_add(b, "gated difference", apart, difference, 2);
    if (step == NULL)
        return false;
    rapt_system_give(&step->combine.gate, &step->gate, &gate);
    const rapt_system_term back[] = {{apart, 1, NULL}, {s, 1, NULL}};
    return rapt_system_combine_step_add(b, "middle heads: from state to softmax", to, back, 2) != NULL;
}

bool rapt_system_state_heads(rapt_system_builder *b)
{
    state_heads t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    int64_t middle = 0;
    rapt_system_view q, k, v;
    if (!rapt_system_in(b, "q", 4, &q) || !rapt_system_in_sized(b, "k", 4, (const uint64_t[]){q.tensor.size[0], 0, q.tensor.size[2], q.tensor.size[3]}, &k) ||
        !rapt_system_in_sized(b, "v", 4, (const uint64_t[]){q.tensor.size[0], k.tensor.size[1], q.tensor.size[2], 0}, &v) ||
        !rapt_system_common(b, &d))
        return false;
    t.t = (rapt_system_qkv){.q = q, .k = k, .v = v, .out = q};
    t.t.out.tensor.size[3] = v.tensor.size[3];
    if (!take_states(b, &t))
        return false;
    const int64_t most = (int64_t)RAPT_MIN(RAPT_MIN(t.heads, t.states), 1u << 20);
    if (!rapt_system_integer(b, "middle", 0, most, &middle))
        return false;
    t.middle = (uint64_t)middle;
    const uint64_t *s = q.tensor.size, shape[4] = {s[0], t.heads + t.states + t.middle, s[2], v.tensor.size[3]};
    if (!rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, shape, &t.out))
        return false;
    d.flags |= RAPT_ATTENTION_CAUSAL;
    return rapt_system_step_add(b, "softmax heads", &d, q, k, v, rapt_system_part(t.out, 1, 0, t.heads), NULL) &&
           walk_states(b, &t, rapt_system_part(t.out, 1, t.heads, t.states)) && (t.middle == 0 || mix_middle(b, &t));
}
