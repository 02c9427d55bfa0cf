/* A model of the calls of rapt/mpi.h: what each device computes, sends and waits for. */
#include "base/base.h"

#include <rapt/simulate.h>

#include <math.h>
#include <string.h>

#define LSE_BYTES 4
#define SUM_BYTES 4 /* outputs that are still to be merged, and states, are float32 */

/* Tokens [first, first + count) of the sequence. */
typedef struct range {
    int64_t first, count;
} range;

/* What one device has and does. */
typedef struct device {
    range part[2]; /* of the tokens; zig-zag: two chunks */
    double speed, busy, sent;
    double heads;     /* kv heads, where these are shared out */
    double now, next; /* of a ring: when its round begins, and when it is done */
} device;

typedef struct model {
    const rapt_cluster *c;
    const rapt_spread *s;
    device *devices;
    uint32_t count;
    double slow; /* than alone: devices share cores */
    double seconds, held;
} model;

const char *rapt_spread_name(rapt_spread_method method)
{
    static const char *const names[] = {
        [RAPT_SPREAD_RING] = "ring",   [RAPT_SPREAD_ZIGZAG] = "zigzag", [RAPT_SPREAD_GATHER] = "gather",
        [RAPT_SPREAD_HEADS] = "heads", [RAPT_SPREAD_DECODE] = "decode", [RAPT_SPREAD_LASP2] = "lasp2",
    };
    return (unsigned)method < RAPT_COUNT(names) ? names[method] : NULL;
}

/* ---- pairs ---- */

/* The sum of min(max(y, 0), top) over y <= x. */
static double sum_to(int64_t x, int64_t top)
{
    const int64_t rising = RAPT_MIN(x, top);
    if (x <= 0)
        return 0;
    return (double)rising * (double)(rising + 1) / 2 + (double)(x - rising) * (double)top;
}

/* Pairs of a query and a key in these ranges where the key is no further than `shift` behind the query in the sequence. */
static double pairs_below(range q, range k, int64_t shift)
{
    const int64_t from = q.first + shift - k.first;
    return sum_to(from + q.count, k.count) - sum_to(from, k.count);
}

static double pairs_of_ranges(const rapt_spread *s, range q, range k)
{
    switch (s->pattern) {
    case RAPT_SPREAD_CAUSAL:
        return pairs_below(q, k, 0);
    case RAPT_SPREAD_WINDOW:
        return pairs_below(q, k, 0) - pairs_below(q, k, -(int64_t)s->window);
    case RAPT_SPREAD_DENSITY:
        return s->density * (double)q.count * (double)k.count;
    default:
        return (double)q.count * (double)k.count;
    }
}

/* Of one head. */
static double pairs(const model *m, const device *q, const device *k)
{
    double sum = 0;
    for (int a = 0; a < 2; a++)
        for (int b = 0; b < 2; b++)
            sum += pairs_of_ranges(m->s, q->part[a], k->part[b]);
    return sum;
}

static double tokens_of(const device *d)
{
    return (double)(d->part[0].count + d->part[1].count);
}

static range all_tokens(const rapt_spread *s)
{
    return (range){0, (int64_t)s->tokens};
}

/* ---- bytes and seconds ---- */

static double kv_bytes(const rapt_spread *s, double tokens)
{
    return (double)s->batch * (double)s->kv_heads * tokens * (double)(s->d_qk + s->d_v) * (double)s->element_bytes;
}

static double rows_bytes(const rapt_spread *s, double heads, double tokens, uint64_t d)
{
    return (double)s->batch * heads * tokens * (double)d * (double)s->element_bytes;
}

static double link_seconds(const model *m, double bytes)
{
    return m->c->link_seconds + bytes / m->c->link_bytes;
}

/* Seconds of work, as noted. */
static double work(const model *m, device *d, double seconds)
{
    d->busy += m->slow * seconds;
    return m->slow * seconds;
}

/* So many tensors between host and device. */
static double copied(const model *m, device *d, double tensors, double bytes)
{
    return m->c->copy > 0 ? work(m, d, tensors * m->c->copy_call + bytes / m->c->copy) : 0;
}

static double attended(const model *m, device *d, double heads, double pairs_of_head)
{
    const double flops = 2 * (double)m->s->batch * heads * pairs_of_head * (double)(m->s->d_qk + m->s->d_v);
    return work(m, d, m->c->call + flops / (m->c->flops * d->speed));
}

/* `terms` results of so many bytes become one: three a call, the sum so far among them. */
static double merged(const model *m, device *d, double terms, double bytes)
{
    const double calls = terms < 1 ? 0 : terms <= 3 ? 1 : 1 + ceil((terms - 3) / 2);
    const double moved = calls > 0 ? (terms + 2 * calls - 1) * bytes : 0; /* each call writes the sum, which the next one reads */
    return work(m, d, calls * m->c->call + moved / (m->c->memory * d->speed));
}

static double partial_bytes(const rapt_spread *s, double rows)
{
    return (double)s->batch * (double)s->q_heads * rows * ((double)s->d_v * SUM_BYTES + LSE_BYTES);
}

/* ---- shares ---- */

/* Which of `total` come before the part of the whole that is `part`. */
static int64_t cut(uint64_t total, double part)
{
    return (int64_t)fmin(floor((double)total * part + 0.5), (double)total);
}

static double sum_of_speeds(const model *m)
{
    double sum = 0;
    for (uint32_t i = 0; i < m->count; i++)
        sum += m->devices[i].speed;
    return sum;
}

static double share_of(const model *m, uint32_t i, double speeds)
{
    return m->c->equal_shares ? 1.0 / m->count : m->devices[i].speed / speeds;
}

static rapt_status share_tokens(model *m, rapt_error *error)
{
    const uint32_t chunks = m->s->method == RAPT_SPREAD_ZIGZAG ? 2 : 1;
    const double speeds = sum_of_speeds(m);
    double before = 0;
    int64_t first = 0;
    for (uint32_t n = 0; n < chunks * m->count; n++) {
        const uint32_t i = n < m->count ? n : 2 * m->count - 1 - n;
        before += share_of(m, i, speeds) / chunks;
        const int64_t end = n + 1 == chunks * m->count ? (int64_t)m->s->tokens : cut(m->s->tokens, before);
        if (end <= first)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%llu tokens do not give each of %u devices its share",
                             (unsigned long long)m->s->tokens, m->count);
        m->devices[i].part[n / m->count] = (range){first, end - first};
        first = end;
    }
    return RAPT_OK;
}

/* ---- methods ---- */

/* Whose keys device i is at in a round. */
static device *owner(const model *m, uint32_t i, uint32_t round)
{
    return &m->devices[(i + m->count - round) % m->count];
}

/* Up to the last one in which somebody sees a key. */
static uint32_t rounds_of_ring(const model *m)
{
    for (uint32_t round = m->count; round-- > 1;)
        for (uint32_t i = 0; i < m->count; i++)
            if (pairs(m, &m->devices[i], owner(m, i, round)) > 0)
                return round + 1;
    return 1;
}

static double ring_work(const model *m, uint32_t i, uint32_t round)
{
    device *d = &m->devices[i], *from = owner(m, i, round);
    const double seen = pairs(m, d, from);
    double seconds = copied(m, d, 2, kv_bytes(m->s, tokens_of(from)));
    if (seen > 0)
        seconds += attended(m, d, (double)m->s->q_heads, seen);
    if (seen > 0 && round > 0)
        seconds += merged(m, d, 2, partial_bytes(m->s, tokens_of(d)));
    return seconds;
}

/* When the keys of the next round are on device i: both it and the one before it must have come to this round. */
static double ring_arrival(const model *m, uint32_t i, uint32_t round)
{
    const device *from = owner(m, i, 1);
    return fmax(m->devices[i].now, from->now) + link_seconds(m, kv_bytes(m->s, tokens_of(owner(m, i, round + 1))));
}

static void simulate_ring(model *m)
{
    const uint32_t rounds = rounds_of_ring(m);
    for (uint32_t i = 0; i < m->count; i++) {
        device *d = &m->devices[i];
        d->now = copied(m, d, 1, rows_bytes(m->s, (double)m->s->q_heads, tokens_of(d), m->s->d_qk));
        m->held = fmax(m->held, kv_bytes(m->s, tokens_of(d) + (rounds > 1 ? tokens_of(owner(m, i, 1)) : 0)));
    }
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t i = 0; i < m->count; i++) {
            device *d = &m->devices[i];
            d->next = d->now + ring_work(m, i, round);
            if (round + 1 == rounds)
                continue;
            d->next = fmax(d->next, fmax(ring_arrival(m, i, round), ring_arrival(m, (i + 1) % m->count, round)));
            d->sent += kv_bytes(m->s, tokens_of(owner(m, i, round)));
        }
        for (uint32_t i = 0; i < m->count; i++)
            m->devices[i].now = m->devices[i].next;
    }
    for (uint32_t i = 0; i < m->count; i++) {
        device *d = &m->devices[i];
        d->now += copied(m, d, 2, rows_bytes(m->s, (double)m->s->q_heads, tokens_of(d), m->s->d_v));
    }
}

static double most_tokens(const model *m)
{
    double most = 0;
    for (uint32_t i = 0; i < m->count; i++)
        most = fmax(most, tokens_of(&m->devices[i]));
    return most;
}

static void simulate_gather(model *m)
{
    const double others = m->count - 1, all = (double)m->s->tokens;
    const double arrived = others * link_seconds(m, kv_bytes(m->s, most_tokens(m)));
    const device whole = {.part = {all_tokens(m->s)}};
    m->held = kv_bytes(m->s, all);
    for (uint32_t i = 0; i < m->count; i++) {
        device *d = &m->devices[i];
        const double rows = tokens_of(d);
        d->sent = others * kv_bytes(m->s, rows);
        d->now = fmax(arrived, copied(m, d, 1, rows_bytes(m->s, (double)m->s->q_heads, rows, m->s->d_qk)));
        d->now += copied(m, d, 2, kv_bytes(m->s, all)) + attended(m, d, (double)m->s->q_heads, pairs(m, d, &whole));
        d->now += copied(m, d, 2, rows_bytes(m->s, (double)m->s->q_heads, rows, m->s->d_v));
    }
}

/* How many kv heads each device has, with their query heads; some may have none. */
static void share_heads(model *m)
{
    const double speeds = sum_of_speeds(m);
    double before = 0;
    int64_t first = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        before += share_of(m, i, speeds);
        const int64_t end = i + 1 == m->count ? (int64_t)m->s->kv_heads : cut(m->s->kv_heads, before);
        m->devices[i].heads = (double)(end - first);
        first = end;
    }
}

static void simulate_heads(model *m)
{
    const rapt_spread *s = m->s;
    const double all = (double)s->tokens, seen = pairs_of_ranges(s, all_tokens(s), all_tokens(s)), group = (double)(s->q_heads / s->kv_heads);
    /* Of a token and a kv head with its query heads, in bytes: there and back. */
    const double kv = rows_bytes(s, 1, 1, s->d_qk + s->d_v), in = kv + rows_bytes(s, group, 1, s->d_qk),
                 out = rows_bytes(s, group, 1, s->d_v) + (double)s->batch * group * LSE_BYTES;
    double there = 0, back = 0; /* the most that a device sends */
    share_heads(m);
    for (uint32_t i = 0; i < m->count; i++) {
        device *d = &m->devices[i];
        const double rows = tokens_of(d), to_heads = rows * ((double)s->kv_heads - d->heads) * in, to_tokens = (all - rows) * d->heads * out;
        d->sent = to_heads + to_tokens;
        there = fmax(there, to_heads);
        back = fmax(back, to_tokens);
        m->held = fmax(m->held, all * d->heads * kv);
        if (d->heads > 0)
            d->now = copied(m, d, 3, all * d->heads * in) + attended(m, d, d->heads * group, seen) + copied(m, d, 2, all * d->heads * out);
    }
    const double messages = 2 * (m->count - 1) * m->c->link_seconds;
    for (uint32_t i = 0; i < m->count; i++)
        m->devices[i].now += messages + (there + back) / m->c->link_bytes;
}

static void simulate_decode(model *m)
{
    const rapt_spread *s = m->s;
    const double others = m->count - 1, queries = (double)s->queries, part = partial_bytes(s, queries);
    double done = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        device *d = &m->devices[i];
        const double keys = tokens_of(d), cache = kv_bytes(s, keys);
        const double flops = 2 * (double)s->batch * (double)s->q_heads * queries * keys * (double)(s->d_qk + s->d_v);
        d->now = copied(m, d, s->cache_is_copied ? 3 : 1, rows_bytes(s, (double)s->q_heads, queries, s->d_qk) + (s->cache_is_copied ? cache : 0));
        d->now += work(m, d, m->c->call + fmax(cache / m->c->memory, flops / m->c->flops) / d->speed) + copied(m, d, 2, part);
        d->sent = others * part;
        m->held = fmax(m->held, cache);
        done = fmax(done, d->now);
    }
    done += others * link_seconds(m, part);
    for (uint32_t i = 0; i < m->count; i++) {
        device *d = &m->devices[i];
        d->now = done + copied(m, d, 1, m->count * part) + merged(m, d, m->count, part) + copied(m, d, 2, part);
    }
}

static void simulate_lasp2(model *m)
{
    const rapt_spread *s = m->s;
    const double others = m->count - 1, heads = (double)s->batch * (double)s->q_heads, state = heads * (double)s->d_qk * (double)s->d_v * SUM_BYTES;
    double done = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        device *d = &m->devices[i];
        const double rows = tokens_of(d), walk = m->c->call + 4 * heads * rows * (double)s->d_qk * (double)s->d_v / (m->c->linear_flops * d->speed);
        d->now = copied(m, d, 3, rows_bytes(s, (double)s->q_heads, rows, 2 * s->d_qk + s->d_v)) + work(m, d, walk) + copied(m, d, 1, state);
        d->next = i == 0 ? 0 : walk; /* once more, from the states before it */
        d->sent = others * state;
        done = fmax(done, d->now);
    }
    m->held = m->count * state;
    done += others * link_seconds(m, state);
    for (uint32_t i = 0; i < m->count; i++) {
        device *d = &m->devices[i];
        const double before = i;
        d->now = done + (i > 0 ? copied(m, d, 1, before * state) : 0) + merged(m, d, before, state) + (i > 0 ? work(m, d, d->next) : 0);
        d->now += copied(m, d, 1, rows_bytes(s, (double)s->q_heads, tokens_of(d), s->d_v));
    }
}

static rapt_status simulate(model *m, rapt_error *error)
{
    rapt_status status = share_tokens(m, error);
    if (status != RAPT_OK)
        return status;
    switch (m->s->method) {
    case RAPT_SPREAD_GATHER:
        simulate_gather(m);
        break;
    case RAPT_SPREAD_HEADS:
        simulate_heads(m);
        break;
    case RAPT_SPREAD_DECODE:
        simulate_decode(m);
        break;
    case RAPT_SPREAD_LASP2:
        simulate_lasp2(m);
        break;
    default:
        simulate_ring(m);
    }
    for (uint32_t i = 0; i < m->count; i++)
        m->seconds = fmax(m->seconds, m->devices[i].now);
    return RAPT_OK;
}

/* ---- the call ---- */

static bool is_above(double x, double low)
{
    return isfinite(x) && x > low;
}

static rapt_status check_cluster(const rapt_cluster *c, const rapt_spread *s, rapt_error *error)
{
    if (c->devices < 1 || c->devices > RAPT_CLUSTER_DEVICES)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%u devices; 1 to %d can be simulated", c->devices, RAPT_CLUSTER_DEVICES);
    if (!is_above(c->memory, 0) || !is_above(c->link_bytes, 0) || !(c->copy >= 0) || !(c->copy_call >= 0) || !(c->call >= 0) || !(c->link_seconds >= 0) ||
        (s->method != RAPT_SPREAD_LASP2 && !is_above(c->flops, 0)) || (s->method == RAPT_SPREAD_LASP2 && !is_above(c->linear_flops, 0)))
        return rapt_fail(error, RAPT_ERROR_INVALID, "flops, linear_flops, memory and link_bytes must be above 0, copy, copy_call, call and link_seconds not below");
    for (uint32_t i = 0; c->speeds != NULL && i < c->devices; i++)
        if (!is_above(c->speeds[i], 0))
            return rapt_fail(error, RAPT_ERROR_INVALID, "the speed of device %u is not above 0", i);
    return RAPT_OK;
}

static rapt_status check_spread(const rapt_spread *s, rapt_error *error)
{
    const uint64_t most = 1ull << 31; /* a size beyond it is a mistake, and sums of pairs stay exact enough */
    if ((unsigned)s->method >= RAPT_SPREAD_METHODS || (unsigned)s->pattern > RAPT_SPREAD_DENSITY)
        return rapt_fail(error, RAPT_ERROR_INVALID, "method %d, pattern %d", (int)s->method, (int)s->pattern);
    if (s->batch < 1 || s->q_heads < 1 || s->kv_heads < 1 || s->q_heads % s->kv_heads != 0 || s->d_qk < 1 || s->d_v < 1 || s->queries < 1 ||
        s->element_bytes < 1 || s->tokens < 1 || s->tokens > most || s->batch > most || s->q_heads > most || s->d_qk > most || s->d_v > most)
        return rapt_fail(error, RAPT_ERROR_INVALID, "batch %llu, heads %llu on %llu, %llu tokens, head dims %llu and %llu", (unsigned long long)s->batch,
                         (unsigned long long)s->q_heads, (unsigned long long)s->kv_heads, (unsigned long long)s->tokens,
                         (unsigned long long)s->d_qk, (unsigned long long)s->d_v);
    if ((s->pattern == RAPT_SPREAD_WINDOW && (s->window < 1 || s->window > most)) || !(s->density > 0 && s->density <= 1))
        return rapt_fail(error, RAPT_ERROR_INVALID, "window %llu, density %g", (unsigned long long)s->window, s->density);
    return RAPT_OK;
}

/* One device of speed 1 with all of it. */
static double alone(const model *m)
{
    rapt_cluster one = *m->c;
    device d = {.speed = 1};
    model single = {.c = &one, .s = m->s, .devices = &d, .count = 1, .slow = 1};
    one.devices = 1;
    one.equal_shares = 1;
    return simulate(&single, NULL) == RAPT_OK ? single.seconds : 0;
}

static void sum_up(const model *m, rapt_forecast *f)
{
    double busy = 0, last_busy = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        const device *d = &m->devices[i];
        busy += d->busy;
        f->compute = fmax(f->compute, d->busy);
        f->sent += d->sent;
        f->sent_most = fmax(f->sent_most, d->sent);
        if (d->now == m->seconds)
            last_busy = d->busy;
    }
    f->seconds = m->seconds;
    f->waiting = fmax(m->seconds - last_busy, 0);
    f->held = m->held;
    f->alone = alone(m);
    f->balance = f->compute > 0 ? busy / m->count / f->compute : 1;
    f->efficiency = m->seconds > 0 ? f->alone / (m->seconds * sum_of_speeds(m)) : 1;
}

rapt_status rapt_simulate(const rapt_cluster *c, const rapt_spread *s, rapt_forecast *f, rapt_error *error)
{
    if (c == NULL || s == NULL || f == NULL || c->struct_size < sizeof *c || s->struct_size < sizeof *s || f->struct_size < sizeof *f)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_simulate: an argument is NULL, or its struct_size is not as it must be");
    rapt_status status = check_cluster(c, s, error);
    if (status == RAPT_OK)
        status = check_spread(s, error);
    if (status != RAPT_OK)
        return status;
    const rapt_allocator a = rapt_allocator_default();
    model m = {.c = c, .s = s, .count = c->devices, .slow = c->at_once > 0 ? fmax(1, (double)c->devices / c->at_once) : 1};
    m.devices = rapt_calloc(&a, c->devices, sizeof *m.devices);
    if (m.devices == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u devices", c->devices);
    for (uint32_t i = 0; i < c->devices; i++)
        m.devices[i].speed = c->speeds != NULL ? c->speeds[i] : 1;
    status = simulate(&m, error);
    if (status == RAPT_OK) {
        *f = (rapt_forecast){.struct_size = f->struct_size};
        sum_up(&m, f);
    }
    rapt_free(&a, m.devices, c->devices * sizeof *m.devices);
    return status;
}
