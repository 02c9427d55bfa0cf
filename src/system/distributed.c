/* Systems that spread one attention over devices. A recipe has the devices one after the other: what each computes from its share, what
 * they hand to each other as tensors between steps, and how it becomes one. On several devices rapt/sched.h does the same. */
#include "system/system.h"

#define MOST_DEVICES 64

/* ---- (O, L) of several parts of the keys become one ---- */

/* Results of a device's rounds: round t is entries t batch .. (t + 1) batch of the first axis. Used by one device after the other. */
typedef struct rounds {
    uint64_t batch;
    rapt_system_view out, lse;           /* as attention stores them */
    rapt_system_view single;             /* out in single precision; out itself where it is that */
    rapt_system_view sums[2], sums_lse[2]; /* between merges, each of which reads one and writes the other */
} rounds;

static bool rounds_make(rapt_system_builder *b, uint64_t count, uint64_t rows, const uint64_t size[4], rounds *r)
{
    const uint64_t all[4] = {count * size[0], size[1], rows, size[3]}, one[4] = {size[0], size[1], rows, size[3]};
    r->batch = size[0];
    bool good = rapt_system_between(b, "parts", b->dtype, 4, all, &r->out) && rapt_system_between(b, "their lse", RAPT_F32, 3, all, &r->lse);
    r->single = r->out;
    if (good && b->dtype != RAPT_F32)
        good = rapt_system_between(b, "parts in single precision", RAPT_F32, 4, all, &r->single);
    for (int i = 0; i < 2 && good && count > RAPT_COMBINE_TERMS; i++)
        good = rapt_system_between(b, i == 0 ? "sum so far" : "the next sum", RAPT_F32, 4, one, &r->sums[i]) &&
               rapt_system_between(b, i == 0 ? "lse so far" : "the next lse", RAPT_F32, 3, one, &r->sums_lse[i]);
    return good;
}

static rapt_system_view round_of(const rounds *r, rapt_system_view of, uint64_t round, uint64_t rows)
{
    return rapt_system_part(rapt_system_part(of, 0, round * r->batch, r->batch), 2, 0, rows);
}

/* out = sum over rounds of e^(L_r - L) O_r, L = log(sum of e^L_r): up to three at a time, the sum so far being one of them. */
static bool merge_rounds(rapt_system_builder *b, const rounds *r, uint64_t count, rapt_system_view out, const rapt_system_view *lse)
{
    const uint64_t rows = out.tensor.size[2];
    if (b->dtype != RAPT_F32 && !rapt_system_widen(b, rapt_system_part(rapt_system_part(r->out, 0, 0, count * r->batch), 2, 0, rows),
                                                   rapt_system_part(rapt_system_part(r->single, 0, 0, count * r->batch), 2, 0, rows)))
        return false;
    uint64_t next = 0;
    for (unsigned step = 0; next < count; step++) {
        rapt_system_term terms[RAPT_COMBINE_TERMS];
        rapt_system_view weights[RAPT_COMBINE_TERMS];
        uint32_t n = 0;
        if (step > 0) {
            terms[0] = (rapt_system_term){rapt_system_part(r->sums[(step - 1) % 2], 2, 0, rows), 1, &weights[0]};
            weights[n++] = rapt_system_part(r->sums_lse[(step - 1) % 2], 2, 0, rows);
        }
        for (; n < RAPT_COMBINE_TERMS && next < count; n++, next++) {
            terms[n] = (rapt_system_term){round_of(r, r->single, next, rows), 1, &weights[n]};
            weights[n] = round_of(r, r->lse, next, rows);
        }
        const bool is_last = next == count;
        const rapt_system_view *to = is_last ? &out : &r->sums[step % 2], *to_lse = is_last ? lse : &r->sums_lse[step % 2];
        rapt_system_step *s = rapt_system_combine_step_add(b, "parts under one softmax", rapt_system_part(*to, 2, 0, rows), terms, n);
        if (s == NULL)
            return false;
        s->combine.weights = RAPT_COMBINE_SOFTMAX;
        if (to_lse != NULL) {
            const rapt_system_view sum = rapt_system_part(*to_lse, 2, 0, rows);
            rapt_system_give(&s->combine.lse, &s->lse, &sum);
        }
    }
    return true;
}

/* ---- shares ---- */

/* Share `index` of `count` equal ones; the last ones may be shorter, or empty. */
static void share_of(uint64_t total, uint64_t count, uint64_t index, uint64_t *first, uint64_t *size)
{
    const uint64_t each = rapt_div_up(RAPT_MAX(total, 1), count);
    *first = RAPT_MIN(index * each, total);
    *size = RAPT_MIN(each, total - *first);
}

static bool take_devices(rapt_system_builder *b, const char *name, uint64_t *devices)
{
    int64_t count = 1;
    if (!rapt_system_integer(b, name, 1, MOST_DEVICES, &count))
        return false;
    *devices = (uint64_t)count;
    return true;
}

/* ---- rings ---- */

typedef struct ring {
    rapt_system_qkv t;
    rapt_attention_desc attention;
    uint64_t devices, local; /* devices of an inner ring; all of them in one ring */
    rounds rounds;
} ring;

/* Whose keys a device has in a round: those of its own at first, then from its neighbour in the inner ring; once round, all inner rings
 * get those of the neighbouring ring. */
static uint64_t holder(const ring *r, uint64_t device, uint64_t round)
{
    const uint64_t rings = r->devices / r->local, own = device / r->local, at = device % r->local;
    const uint64_t from = (own + rings - round / r->local) % rings;
    return from * r->local + (at + r->local - round % r->local) % r->local;
}

/* A device's queries against the keys that come round, those that no query of its sees left out. */
static bool go_round(rapt_system_builder *b, const ring *r, uint64_t device)
{
    const rapt_system_qkv *t = &r->t;
    const uint64_t nq = t->q.tensor.size[2], nk = t->k.tensor.size[2];
    uint64_t q0, queries, k0, keys, count = 0;
    share_of(nq, r->devices, device, &q0, &queries);
    for (uint64_t round = 0; round < r->devices && queries > 0; round++) {
        share_of(nk, r->devices, holder(r, device, round), &k0, &keys);
        const bool later = (r->attention.flags & RAPT_ATTENTION_CAUSAL) && k0 + nq >= q0 + queries + nk;
        if (round > 0 && (keys == 0 || later))
            continue;
        rapt_attention_desc d = r->attention;
        d.causal_offset = (int64_t)(q0 + nk + queries) - (int64_t)(nq + k0 + keys); /* query and key keep their distance */
        const rapt_system_view lse = round_of(&r->rounds, r->rounds.lse, count, queries);
        if (!rapt_system_step_add(b, round == 0 ? "a device's own keys" : "keys that came round", &d,
                                  rapt_system_part(t->q, 2, q0, queries), rapt_system_part(t->k, 2, k0, keys),
                                  rapt_system_part(t->v, 2, k0, keys), round_of(&r->rounds, r->rounds.out, count, queries), &lse))
            return false;
        count++;
    }
    if (queries == 0)
        return true;
    const rapt_system_view out = rapt_system_part(t->out, 2, q0, queries);
    const rapt_system_view lse = t->has_lse ? rapt_system_part(t->lse, 2, q0, queries) : out;
    return merge_rounds(b, &r->rounds, count, out, t->has_lse ? &lse : NULL);
}

/* Ring Attention, and BurstAttention with rings of rings. */
bool rapt_system_ring(rapt_system_builder *b)
{
    ring r = {.attention = RAPT_ATTENTION_DESC_INIT};
    int64_t local = 0;
    uint64_t first, rows;
    if (!rapt_system_qkv_take(b, &r.t) || !rapt_system_common(b, &r.attention) || !take_devices(b, "devices", &r.devices) ||
        !rapt_system_integer(b, "local", 1, MOST_DEVICES, &local))
        return false;
    r.local = local > 0 ? (uint64_t)local : r.devices;
    if (r.devices % r.local != 0)
        return rapt_system_refuse(b, "%llu devices do not make rings of %llu", (unsigned long long)r.devices,
                                  (unsigned long long)r.local);
    share_of(r.t.q.tensor.size[2], r.devices, 0, &first, &rows);
    if (!rounds_make(b, r.devices, rows, r.t.out.tensor.size, &r.rounds))
        return false;
    for (uint64_t device = 0; device < r.devices; device++)
        if (!go_round(b, &r, device))
            return false;
    return true;
}

/* ---- attention where the cache lies ---- */

/* A share of the kv heads, or of the requests, with the queries that read them. */
static bool attend_share(rapt_system_builder *b, const rapt_system_qkv *t, const rapt_attention_desc *d, bool requests, uint64_t first,
                         uint64_t count)
{
    const unsigned axis = requests ? 0 : 1;
    const uint64_t group = requests ? 1 : t->q.tensor.size[1] / t->k.tensor.size[1];
    return count == 0 ||
           rapt_system_step_add(b, requests ? "a device's requests" : "a device's heads", d,
                                rapt_system_part(t->q, axis, first * group, count * group), rapt_system_part(t->k, axis, first, count),
                                rapt_system_part(t->v, axis, first, count),
                                rapt_system_part(t->out, axis, first * group, count * group), NULL) != NULL;
}

/* Lamina: each device has a part of the cache and computes its (O, L) there. */
bool rapt_system_offloaded(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rounds r = {0};
    uint64_t devices, first, count, used = 0;
    int64_t by = 0;
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !take_devices(b, "devices", &devices) ||
        !rapt_system_integer(b, "by", 0, 2, &by))
        return false;
    const uint64_t heads = t.q.tensor.size[1], kv = t.k.tensor.size[1], nk = t.k.tensor.size[2], rows = t.q.tensor.size[2];
    if (kv == 0 || heads % kv != 0)
        return rapt_system_refuse(b, "%llu heads of q are no multiple of %llu kv heads", (unsigned long long)heads, (unsigned long long)kv);
    if (by == 0 && !rounds_make(b, devices, rows, t.out.tensor.size, &r))
        return false;
    for (uint64_t device = 0; device < devices; device++) {
        share_of(by == 0 ? nk : by == 1 ? kv : t.q.tensor.size[0], devices, device, &first, &count);
        if (by != 0 && !attend_share(b, &t, &d, by == 2, first, count))
            return false;
        if (by != 0 || (count == 0 && device > 0))
            continue;
        const rapt_system_view lse = round_of(&r, r.lse, used, rows);
        if (!rapt_system_step_add(b, "a device's keys", &d, t.q, rapt_system_part(t.k, 2, first, count),
                                  rapt_system_part(t.v, 2, first, count), round_of(&r, r.out, used, rows), &lse))
            return false;
        used++;
    }
    return by != 0 || merge_rounds(b, &r, used, t.out, NULL);
}

/* Distributed MHA: devices share heads and chunks of the queries, and gather keys and values of theirs. */
bool rapt_system_heads_and_chunks(rapt_system_builder *b)
{
    rapt_system_qkv t;
    const rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    uint64_t devices, chunks, first, count, q0, queries;
    if (!rapt_system_qkv_take(b, &t) || !take_devices(b, "devices", &devices) || !take_devices(b, "chunks", &chunks))
        return false;
    const uint64_t heads = t.q.tensor.size[1], kv = t.k.tensor.size[1], group = kv > 0 ? heads / kv : 0;
    if (kv == 0 || heads % kv != 0)
        return rapt_system_refuse(b, "%llu heads of q are no multiple of %llu kv heads", (unsigned long long)heads, (unsigned long long)kv);
    for (uint64_t n = 0; n < devices * chunks; n++) {
        share_of(kv, devices, n / chunks, &first, &count);
        share_of(t.q.tensor.size[2], chunks, n % chunks, &q0, &queries);
        const rapt_system_view q = rapt_system_part(t.q, 1, first * group, count * group);
        const rapt_system_view out = rapt_system_part(t.out, 1, first * group, count * group);
        if (count > 0 && queries > 0 &&
            !rapt_system_step_add(b, "heads and queries of a device", &d, rapt_system_part(q, 2, q0, queries),
                                  rapt_system_part(t.k, 1, first, count), rapt_system_part(t.v, 1, first, count),
                                  rapt_system_part(out, 2, q0, queries), NULL))
            return false;
    }
    return true;
}

/* ---- tasks that are packed anew ---- */

/* Rows of x by a list of (1, 1, rows). */
static bool send(rapt_system_builder *b, const char *what, rapt_system_view x, rapt_system_view list, uint64_t rows, rapt_system_view *to)
{
    const uint64_t size[4] = {1, x.tensor.size[1], rows, x.tensor.size[3]};
    return rapt_system_between(b, what, b->dtype, 4, size, to) && rapt_system_rows_step_add(b, what, RAPT_ROWS_GATHER, x, list, *to) != NULL;
}

/* DistCA: tasks of any lengths are dealt to servers, each of which runs its own as one packed launch. */
bool rapt_system_disaggregated(rapt_system_builder *b)
{
    rapt_system_qkv t;
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view q_rows, k_rows, back, q, k, v, out;
    rapt_system_operand cu_q, cu_k;
    uint64_t servers, count_q, count_k, first, count;
    const uint64_t any[3] = {1, 1, 0};
    if (!rapt_system_qkv_take(b, &t) || !rapt_system_common(b, &d) || !take_devices(b, "servers", &servers) ||
        !rapt_system_in_i32(b, "q_rows", 3, any, &q_rows) || !rapt_system_in_i32(b, "k_rows", 3, any, &k_rows))
        return false;
    const uint64_t rows = q_rows.tensor.size[2], keys = k_rows.tensor.size[2];
    const uint64_t places[3] = {1, 1, t.q.tensor.size[2]}, size[4] = {1, t.out.tensor.size[1], rows, t.out.tensor.size[3]};
    if (t.q.tensor.size[0] != 1)
        return rapt_system_refuse(b, "batch %llu; documents are packed, so it must be 1", (unsigned long long)t.q.tensor.size[0]);
    if (!rapt_system_in_i32(b, "back", 3, places, &back) || !rapt_system_bounds(b, "cu_q", rows, &cu_q, &count_q) ||
        !rapt_system_bounds(b, "cu_k", keys, &cu_k, &count_k))
        return false;
    if (count_q != count_k || count_q < 2)
        return rapt_system_refuse(b, "cu_q has %llu entries, cu_k %llu; both need one more than there are tasks",
                                  (unsigned long long)count_q, (unsigned long long)count_k);
    if (!send(b, "queries of the tasks", t.q, q_rows, rows, &q) || !send(b, "keys of the tasks", t.k, k_rows, keys, &k) ||
        !send(b, "values of the tasks", t.v, k_rows, keys, &v) || !rapt_system_between(b, "results of the tasks", b->dtype, 4, size, &out))
        return false;
    d.flags |= RAPT_ATTENTION_CAUSAL; /* a task's last query stands at its last key */
    for (uint64_t server = 0; server < servers; server++) {
        share_of(count_q - 1, servers, server, &first, &count);
        rapt_system_step *s = count > 0 ? rapt_system_step_add(b, "a server's tasks, packed", &d, q, k, v, out, NULL) : NULL;
        if (count == 0)
            continue;
        if (s == NULL)
            return false;
        s->attention.sequences = (uint32_t)count;
        s->cu_seqlens_q = cu_q;
        s->cu_seqlens_k = cu_k;
        s->cu_seqlens_q.offset += first * sizeof(int32_t);
        s->cu_seqlens_k.offset += first * sizeof(int32_t);
    }
    return rapt_system_rows_step_add(b, "back to their places", RAPT_ROWS_GATHER, out, back, t.out) != NULL;
}

/* ---- linear attention ---- */

/* Softmax layers of LASP-2H: keys and values are gathered, each device has its queries. */
static bool gathered_layer(rapt_system_builder *b, const rapt_system_qkv *t, uint64_t devices)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    const uint64_t n = t->q.tensor.size[2];
    if (!rapt_system_common(b, &d))
        return false;
    d.flags |= RAPT_ATTENTION_CAUSAL;
    for (uint64_t device = 0; device < devices; device++) {
        uint64_t first, count;
        share_of(n, devices, device, &first, &count);
        d.causal_offset = (int64_t)(first + count) - (int64_t)n;
        if (count > 0 && !rapt_system_step_add(b, "a device's queries, all keys", &d, rapt_system_part(t->q, 2, first, count), t->k, t->v,
                                               rapt_system_part(t->out, 2, first, count), NULL))
            return false;
    }
    return true;
}

/* States of the devices' tokens, (devices batch, heads, d, d_v), and those before each. */
typedef struct states {
    rapt_system_view own, before, unused;
    uint64_t batch;
} states;

static rapt_system_view state_of(const states *s, rapt_system_view of, uint64_t device)
{
    return rapt_system_part(of, 0, device * s->batch, s->batch);
}

/* M_t = K_t^T V_t; its outputs are of no use. */
static bool own_state(rapt_system_builder *b, const rapt_system_qkv *t, const states *s, uint64_t device, uint64_t first, uint64_t count)
{
    const rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
    rapt_system_step *step = rapt_system_linear_step_add(b, "a device's state", &d);
    if (step == NULL)
        return false;
    rapt_system_linear_give(step, rapt_system_part(t->q, 2, first, count), rapt_system_part(t->k, 2, first, count),
                            rapt_system_part(t->v, 2, first, count), rapt_system_part(s->unused, 2, 0, count));
    const rapt_system_view to = state_of(s, s->own, device);
    rapt_system_give(&step->linear.state_out, &step->state_out, &to);
    return true;
}

/* What all devices before this one wrote: as the one before had it, and its own. */
static bool state_before(rapt_system_builder *b, const states *s, uint64_t device)
{
    const rapt_system_term terms[] = {{state_of(s, s->own, device - 1), 1, NULL}, {state_of(s, s->before, device - 1), 1, NULL}};
    return rapt_system_combine_step_add(b, "states of all devices before", state_of(s, s->before, device), terms, device > 1 ? 2 : 1) != NULL;
}

static bool outputs(rapt_system_builder *b, const rapt_system_qkv *t, const states *s, uint64_t device, uint64_t first, uint64_t count)
{
    const rapt_linear_desc d = RAPT_LINEAR_DESC_INIT;
    rapt_system_step *step = rapt_system_linear_step_add(b, "a device's outputs", &d);
    if (step == NULL)
        return false;
    rapt_system_linear_give(step, rapt_system_part(t->q, 2, first, count), rapt_system_part(t->k, 2, first, count),
                            rapt_system_part(t->v, 2, first, count), rapt_system_part(t->out, 2, first, count));
    const rapt_system_view from = device > 0 ? state_of(s, s->before, device) : t->out;
    if (device > 0)
        rapt_system_give(&step->linear.state_in, &step->state_in, &from);
    return true;
}

/* LASP-2: every device makes the state of its tokens, all states are gathered, and each adds up those before it. */
bool rapt_system_gathered_states(rapt_system_builder *b)
{
    rapt_system_qkv t;
    states s;
    uint64_t devices, first, count, rows;
    int64_t softmax = 0;
    if (!rapt_system_qkv_take(b, &t) || !take_devices(b, "devices", &devices) || !rapt_system_integer(b, "softmax", 0, 1, &softmax))
        return false;
    const uint64_t *q = t.q.tensor.size, *k = t.k.tensor.size;
    if (q[2] != k[2] || k[1] == 0 || q[1] % k[1] != 0)
        return rapt_system_refuse(b, "q has %llu heads of %llu tokens, k %llu of %llu; as many tokens, and heads that are a multiple, are needed",
                                  (unsigned long long)q[1], (unsigned long long)q[2], (unsigned long long)k[1], (unsigned long long)k[2]);
    if (softmax)
        return gathered_layer(b, &t, devices);
    share_of(q[2], devices, 0, &first, &rows);
    const uint64_t state[4] = {devices * q[0], q[1], q[3], t.v.tensor.size[3]}, unused[4] = {q[0], q[1], rows, t.v.tensor.size[3]};
    s.batch = q[0];
    if (!rapt_system_between(b, "states", RAPT_F32, 4, state, &s.own) || !rapt_system_between(b, "states before", RAPT_F32, 4, state, &s.before) ||
        !rapt_system_between(b, "not used", b->dtype, 4, unused, &s.unused))
        return false;
    for (uint64_t device = 0; device + 1 < devices; device++) {
        share_of(q[2], devices, device, &first, &count);
        if (first + count == q[2]) /* nobody comes after it */
            break;
        if (!own_state(b, &t, &s, device, first, count) || !state_before(b, &s, device + 1))
            return false;
    }
    for (uint64_t device = 0; device < devices; device++) {
        share_of(q[2], devices, device, &first, &count);
        if (count > 0 && !outputs(b, &t, &s, device, first, count))
            return false;
    }
    return true;
}
