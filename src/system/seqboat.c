/* SeqBoat: tokens that a layer decided to attend are packed, attend within a window of the packed, and go
 * back. */
#include "system/system.h"

#include <math.h>
#include <string.h>

/* Packed keys behind the last chosen token: the list has no token for them. */
static const char packed_mask[] =
    "bool mask_mod(uint b, uint h, uint q, uint k) { return chosen(b * uint(user_f(0)) + k) >= 0; }\n";

typedef struct seqboat {
    rapt_system_view q, k, v, p, r, out;        /* the caller's: (batch, n, ..) */
    rapt_system_view list;                      /* (batch, 1, 1, n) */
    rapt_system_view packed[3], attended, back; /* (batch, 1, n, ..) */
    uint64_t batch, n;
} seqboat;

static rapt_system_view one_head(rapt_system_view view)
{
    return rapt_system_ranked(view, 4, (const int[]){0, -1, 1, 2});
}

/* A list of rank 4, as routing writes it, as the entries of each head. */
static rapt_system_view entries(rapt_system_view list)
{
    return rapt_system_ranked(list, 3, (const int[]){0, 1, 3, -1});
}

static bool take(rapt_system_builder *b, seqboat *t)
{
    static const char *const names[] = {"packed_q", "packed_k", "packed_v"};
    if (!rapt_system_in(b, "q", 3, &t->q))
        return false;
    const uint64_t *size = t->q.tensor.size;
    t->batch = size[0];
    t->n = size[1];
    if (!rapt_system_in_sized(b, "k", 3, size, &t->k) ||
        !rapt_system_in_sized(b, "v", 3, (const uint64_t[]){size[0], size[1], 0}, &t->v) ||
        !rapt_system_in_sized(b, "r", 3, t->v.tensor.size, &t->r) ||
        !rapt_system_in_f32(b, "p", 2, size, &t->p))
        return false;
    for (unsigned axis = 0; axis < 3; axis++)
        if (size[axis] == 0 || t->v.tensor.size[2] == 0 || t->k.tensor.size[axis] != size[axis])
            return rapt_system_refuse(b, "q, k and v must agree in batch, tokens and d, none of them empty");
    if (t->n > 1u << 24)
        return rapt_system_refuse(b, "%llu tokens; at most 2^24 can be packed", (unsigned long long)t->n);
    const uint64_t list[4] = {t->batch, 1, 1, t->n};
    const rapt_system_view *const in[] = {&t->q, &t->k, &t->v};
    for (int n = 0; n < 3; n++)
        if (!rapt_system_new(b, RAPT_SYSTEM_BETWEEN, names[n], b->dtype, 4, one_head(*in[n]).tensor.size,
                             &t->packed[n]))
            return false;
    const uint64_t *wide = t->packed[2].tensor.size;
    return rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "list", RAPT_I32, 4, list, &t->list) &&
           rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "attended", b->dtype, 4, wide, &t->attended) &&
           rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "back", b->dtype, 4, wide, &t->back) &&
           rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, t->v.tensor.size, &t->out);
}

/* Tokens whose probability is at least one half. */
static bool choose(rapt_system_builder *b, const seqboat *t)
{
    rapt_route_desc route = RAPT_ROUTE_DESC_INIT;
    route.flags = RAPT_ROUTE_SCORES_GIVEN;
    route.nq = route.block_q = route.block_k = 1;
    route.nk = t->n;
    route.select = RAPT_SELECT_THRESHOLD;
    route.threshold = 0.5f;
    route.scores = rapt_system_ranked(t->p, 4, (const int[]){0, -1, -1, 1}).tensor;
    route.list = t->list.tensor;
    rapt_system_step *s = rapt_system_route_step_add(b, "tokens are chosen", &route);
    if (s == NULL)
        return false;
    s->scores = t->p.at;
    s->list = t->list.at;
    return true;
}

static bool attend(rapt_system_builder *b, const seqboat *t)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    int64_t window = 0, causal = 0;
    const char *link = rapt_system_text(b, "link");
    link = link != NULL ? link : "";
    const bool laplace = strcmp(link, "laplace") == 0;
    if (!laplace && strcmp(link, "softmax") != 0)
        return rapt_system_refuse(b, "link is '%.40s'; softmax or laplace is needed", link);
    if (!rapt_system_integer(b, "causal", 0, 1, &causal) ||
        !rapt_system_integer(b, "window", 1, 1 << 28, &window))
        return false;
    d.flags = RAPT_ATTENTION_WINDOW | RAPT_ATTENTION_SCALE | (causal ? RAPT_ATTENTION_CAUSAL : 0);
    d.window_left = window;
    d.window_right = causal ? -1 : window;
    d.link = laplace ? RAPT_LINK_LAPLACE : RAPT_LINK_SOFTMAX;
    d.scale = laplace ? 1 / (float)(causal ? window : 2 * window) : 1 / sqrtf((float)t->q.tensor.size[2]);
    if (!causal) { /* else no token sees what is behind the last one */
        d.mask_mod[0] = packed_mask;
        d.user_constants[0] = (float)t->n;
    }
    rapt_system_step *s = rapt_system_step_add(b, "they attend", &d, t->packed[0], t->packed[1], t->packed[2],
                                               t->attended, NULL);
    if (s == NULL)
        return false;
    if (!causal) {
        s->attention.user[0] = (rapt_user_buffer){"chosen", RAPT_I32, t->batch * t->n};
        s->user[0] = t->list.at;
    }
    return true;
}

bool rapt_system_seqboat(rapt_system_builder *b)
{
    seqboat t = {0};
    const char *part = rapt_system_text(b, "part");
    part = part != NULL ? part : "";
    if (strcmp(part, "average") == 0)
        return rapt_system_moving_average(b);
    if (strcmp(part, "attention") != 0)
        return rapt_system_refuse(b, "part is '%.40s'; average or attention is needed", part);
    if (!take(b, &t) || !choose(b, &t))
        return false;
    const rapt_system_view in[] = {one_head(t.q), one_head(t.k), one_head(t.v)};
    for (int n = 0; n < 3; n++)
        if (!rapt_system_rows_step_add(b, "packed", RAPT_ROWS_GATHER, in[n], entries(t.list), t.packed[n]))
            return false;
    if (!attend(b, &t))
        return false;
    rapt_system_step *s = rapt_system_rows_step_add(b, "back, by their probability", RAPT_ROWS_SCATTER,
                                                    t.attended, entries(t.list), t.back);
    if (s == NULL)
        return false;
    const rapt_system_view weight = rapt_system_ranked(t.p, 3, (const int[]){0, -1, 1, -1}),
                           gate = one_head(t.r);
    rapt_system_give(&s->rows.weight, &s->weight, &weight);
    const rapt_system_term term = {t.back, 1, NULL};
    s = rapt_system_combine_step_add(b, "reset gate", one_head(t.out), &term, 1);
    if (s == NULL)
        return false;
    s->combine.gate_kind = RAPT_GATE_SILU;
    rapt_system_give(&s->combine.gate, &s->gate, &gate);
    return true;
}
