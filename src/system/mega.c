/* Mega: moving averages, attention by chunks and gates, which stand around the caller's projections. */
#include "system/system.h"

#include <math.h>
#include <string.h>

static rapt_system_view one_head(rapt_system_view view)
{
    return rapt_system_ranked(view, 4, (const int[]){0, -1, 1, 2});
}

/* x' = sum over j of eta_j h_j, h_j,t = alpha_j beta_j x_t + (1 - alpha_j delta_j) h_j,t-1. */
bool rapt_system_moving_average(rapt_system_builder *b)
{
    rapt_system_view x, keep, in, read, out;
    if (!rapt_system_in(b, "x", 3, &x) || !rapt_system_in_f32(b, "keep", 2, (const uint64_t[]){x.tensor.size[2], 0}, &keep))
        return false;
    const uint64_t *ports = keep.tensor.size;
    if (ports[1] == 0 || ports[1] > RAPT_SCAN_MAX_STATES)
        return rapt_system_refuse(b, "keep has %llu numbers a channel; 1 to %u are needed", (unsigned long long)ports[1],
                                  RAPT_SCAN_MAX_STATES);
    if (!rapt_system_in_f32(b, "in", 2, ports, &in) || !rapt_system_in_f32(b, "read", 2, ports, &read) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, x.tensor.size, &out))
        return false;
    const rapt_scan_desc scan = {.struct_size = sizeof scan, .op = RAPT_SCAN_SSM};
    rapt_system_step *s =
        rapt_system_scan_step_add(b, "damped moving averages", &scan, one_head(x), one_head(out));
    if (s == NULL)
        return false;
    static const int by_channel[] = {-1, 0, 1, -1};
    const rapt_system_view views[] = {rapt_system_ranked(keep, 3, by_channel), rapt_system_ranked(in, 3, by_channel),
                                      rapt_system_ranked(read, 3, by_channel)};
    rapt_system_give(&s->scan.a, &s->a, &views[0]);
    rapt_system_give(&s->scan.b, &s->b, &views[1]);
    rapt_system_give(&s->scan.c, &s->c, &views[2]);
    return true;
}

/* What attends, chunk by chunk. */
typedef struct chunks {
    rapt_system_view q, k, v, bias, out;
    rapt_attention_desc attention;
    bool biased, laplace;
    float tau;
} chunks;

/* `count` chunks of `tokens` each, from token `first` on: as heads. */
static bool attend(rapt_system_builder *b, chunks *t, uint64_t first, uint64_t count, uint64_t tokens)
{
    const rapt_system_view *const whole[] = {&t->q, &t->k, &t->v, &t->out};
    rapt_system_view view[4];
    for (int n = 0; n < 4; n++)
        view[n] = rapt_system_split(rapt_system_part(*whole[n], 1, first, count * tokens), 1, tokens);
    rapt_attention_desc d = t->attention;
    d.flags |= RAPT_ATTENTION_SCALE;
    d.scale = 1 / (t->tau != 0 ? t->tau : t->laplace ? (float)tokens : sqrtf((float)view[0].tensor.size[3]));
    d.link = t->laplace ? RAPT_LINK_LAPLACE : RAPT_LINK_SOFTMAX;
    rapt_system_step *s =
        rapt_system_step_add(b, "attention within chunks", &d, view[0], view[1], view[2], view[3], NULL);
    if (s == NULL)
        return false;
    if (t->biased) {
        const rapt_system_view line = rapt_system_ranked(t->bias, 2, (const int[]){-1, 0, -1, -1});
        rapt_system_give(&s->attention.relative, &s->relative, &line);
    }
    return true;
}

/* f(q k^T / tau + bias) v, times SiLU(gamma). */
static bool gated_attention(rapt_system_builder *b)
{
    chunks t = {.attention = RAPT_ATTENTION_DESC_INIT};
    rapt_system_view gamma, out;
    int64_t chunk = 0;
    const char *link = rapt_system_text(b, "link");
    t.laplace = link != NULL && strcmp(link, "laplace") == 0;
    t.biased = rapt_system_given(b, "bias");
    if (!t.laplace && (link == NULL || strcmp(link, "softmax") != 0))
        return rapt_system_refuse(b, "link is '%.40s'; softmax or laplace is needed", link ? link : "");
    if (!rapt_system_in(b, "q", 3, &t.q))
        return false;
    const uint64_t *size = t.q.tensor.size;
    if (!rapt_system_in_sized(b, "k", 3, size, &t.k) ||
        !rapt_system_in_sized(b, "v", 3, (const uint64_t[]){size[0], size[1], 0}, &t.v) ||
        !rapt_system_in_sized(b, "gamma", 3, t.v.tensor.size, &gamma) ||
        (t.biased && !rapt_system_in_f32(b, "bias", 1, (const uint64_t[]){0}, &t.bias)) || !rapt_system_common(b, &t.attention) ||
        !rapt_system_integer(b, "chunk", 0, 1ll << 29, &chunk) || !rapt_system_number(b, "tau", &t.tau))
        return false;
    for (unsigned axis = 0; axis < 3; axis++)
        if (size[axis] == 0 || t.v.tensor.size[2] == 0 || t.k.tensor.size[axis] != size[axis])
            return rapt_system_refuse(b, "q, k and v must agree in batch, tokens and d, none of them empty");
    if (t.biased && t.bias.tensor.size[0] % 2 == 0)
        return rapt_system_refuse(b, "bias has %llu entries; 2 X + 1 are needed", (unsigned long long)t.bias.tensor.size[0]);
    if (!rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "attended", b->dtype, 3, t.v.tensor.size, &t.out) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, t.v.tensor.size, &out))
        return false;
    const uint64_t n = size[1], tokens = chunk > 0 && (uint64_t)chunk < n ? (uint64_t)chunk : n, count = n / tokens;
    if (!attend(b, &t, 0, count, tokens) || (count * tokens < n && !attend(b, &t, count * tokens, 1, n - count * tokens)))
        return false;
    const rapt_system_term term = {one_head(t.out), 1, NULL};
    rapt_system_step *s = rapt_system_combine_step_add(b, "reset gate", one_head(out), &term, 1);
    if (s == NULL)
        return false;
    const rapt_system_view lines = one_head(gamma);
    s->combine.gate_kind = RAPT_GATE_SILU;
    rapt_system_give(&s->combine.gate, &s->gate, &lines);
    return true;
}

/* phi SiLU(h) + (1 - phi) x, phi behind a sigmoid. */
static bool update(rapt_system_builder *b)
{
    rapt_system_view x, h, phi, activated, step, out;
    if (!rapt_system_in(b, "x", 3, &x))
        return false;
    const uint64_t *size = x.tensor.size;
    if (!rapt_system_in_sized(b, "h", 3, size, &h) || !rapt_system_in_sized(b, "phi", 3, size, &phi) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "activated", b->dtype, 3, size, &activated) ||
        !rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "step", b->dtype, 3, size, &step) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 3, size, &out))
        return false;
    for (unsigned axis = 0; axis < 3; axis++)
        if (h.tensor.size[axis] != size[axis] || phi.tensor.size[axis] != size[axis])
            return rapt_system_refuse(b, "x, h and phi must agree in all axes");
    const rapt_system_view lines[] = {one_head(h), one_head(phi)};
    const rapt_system_term first = {lines[0], 1, NULL},
                           second[] = {{one_head(activated), 1, NULL}, {one_head(x), -1, NULL}},
                           third[] = {{one_head(step), 1, NULL}, {one_head(x), 1, NULL}};
    rapt_system_step *s = rapt_system_combine_step_add(b, "SiLU of the candidate", one_head(activated), &first, 1);
    if (s == NULL)
        return false;
    s->combine.gate_kind = RAPT_GATE_SIGMOID;
    rapt_system_give(&s->combine.gate, &s->gate, &lines[0]);
    s = rapt_system_combine_step_add(b, "a gated step from x", one_head(step), second, 2);
    if (s == NULL)
        return false;
    s->combine.gate_kind = RAPT_GATE_SIGMOID;
    rapt_system_give(&s->combine.gate, &s->gate, &lines[1]);
    return rapt_system_combine_step_add(b, "x and the step", one_head(out), third, 2) != NULL;
}

bool rapt_system_mega(rapt_system_builder *b)
{
    const char *part = rapt_system_text(b, "part");
    part = part != NULL ? part : "";
    return strcmp(part, "average") == 0     ? rapt_system_moving_average(b)
           : strcmp(part, "attention") == 0 ? gated_attention(b)
           : strcmp(part, "update") == 0    ? update(b)
                                            : rapt_system_refuse(b, "part is '%.40s'; average, attention or update is needed", part);
}
