/* See proof.h. */
#include "api/proof.h"

#include "api/numbers.h"
#include <float.h>
#include <math.h>
#include <string.h>

#define POISON 0xfffbfffbu /* NaN in every storage type */
#define SAMPLE_WORK 2e7    /* multiply-adds of the sampled rows, about */
#define SAMPLE_ROWS 256    /* at most */

static uint64_t row_count(const rapt_proof *p)
{
    return p->desc.out.size[0] * p->desc.out.size[1] * p->desc.out.size[2];
}

static const rapt_tensor *tensor(const rapt_proof *p, int t)
{
    const rapt_tensor *const all[] = {&p->desc.q, &p->desc.k, &p->desc.v, &p->desc.out, &p->desc.lse};
    return all[t];
}

/* Element (batch, head, row) of a tensor. */
static uint64_t at(const rapt_tensor *t, uint64_t b, uint64_t h, uint64_t i)
{
    return b * (uint64_t)t->stride[0] + h * (uint64_t)t->stride[1] + i * (uint64_t)t->stride[2];
}

/* ---- inputs */

/* Sequences of even lengths, within their bounds. */
static void fill_sequences(rapt_proof *p)
{
    const rapt_problem *m = &p->problem;
    const uint64_t total[2] = {m->total_q, m->total_k}, bound[2] = {m->nq, m->nk};
    for (int i = 0; i < 2 && m->varlen; i++) {
        int32_t *cu = (int32_t *)(void *)p->data[RAPT_PROOF_CU_Q + i];
        const uint64_t length = RAPT_MIN(rapt_div_up(total[i], m->batch), bound[i]);
        for (uint64_t s = 0; s <= m->batch; s++)
            cu[s] = (int32_t)RAPT_MIN(s * length, total[i]);
    }
}

/* Pages in an order that is not theirs, of a small pool again and again; every batch entry has all keys. */
static void fill_cache(rapt_proof *p)
{
    const rapt_problem *m = &p->problem;
    const rapt_extra *x = &m->extra[RAPT_X_PAGES];
    int32_t *table = (int32_t *)(void *)p->data[RAPT_PROOF_TABLE], *lengths = (int32_t *)(void *)p->data[RAPT_PROOF_LENGTHS];
    for (uint64_t b = 0; table != NULL && m->pages > 0 && b < x->batch; b++)
        for (uint64_t n = 0; n < x->count; n++)
            table[b * x->stride_b + n] = (int32_t)(m->pages - 1 - (n * x->batch + b) % m->pages);
    for (uint64_t b = 0; lengths != NULL && b < m->batch; b++)
        lengths[b] = (int32_t)m->nk;
}

/* All elements; gaps too, whose values do not matter. Rows of a quantised tensor one by one: not any word is a scale. */
static void fill_tensor(rapt_proof *p, int i, uint32_t *state)
{
    const rapt_tensor *t = tensor(p, i);
    const uint32_t size = rapt_dtype_size(p->problem.dtype);
    if (!rapt_dtype_is_quantised(t->dtype)) {
        for (uint64_t k = 0; (k + 1) * size <= p->bytes[i]; k++)
            rapt_number_put(p->data[i] + k * size, p->problem.dtype, rapt_number_next(state) * (i == RAPT_T_Q ? 4.0f : 1.0f));
        return;
    }
    const uint64_t dim = i == RAPT_T_K ? p->problem.head_dim_qk : p->problem.head_dim_v;
    for (uint64_t b = 0; b < t->size[0]; b++)
        for (uint64_t h = 0; h < t->size[1]; h++)
            for (uint64_t n = 0; n < t->size[2]; n++)
                for (uint64_t e = 0; e < dim; e++)
                    rapt_quantised_put(p->data[i] + at(t, b, h, n) * 4, t->dtype, dim, e, state);
}

static void fill_vector(rapt_proof *p, int i, float scale, float shift, uint32_t *state)
{
    float *x = (float *)(void *)p->data[i];
    for (uint64_t n = 0; n < p->bytes[i] / sizeof *x; n++)
        x[n] = rapt_number_next(state) * scale + shift;
}

/* Of the tensors, by RAPT_T_ and RAPT_PROOF_. */
static void measure(rapt_proof *p)
{
    const rapt_problem *m = &p->problem;
    for (int i = 0; i <= RAPT_T_LSE; i++)
        p->bytes[i] = i < RAPT_T_LSE || m->lse ? rapt_align_up(m->bytes[i], 4) : 0;
    p->bytes[RAPT_PROOF_CU_Q] = p->bytes[RAPT_PROOF_CU_K] = m->varlen ? (m->batch + 1) * sizeof(int32_t) : 0;
    p->bytes[RAPT_PROOF_SINKS] = m->extra[RAPT_X_SINKS].bytes;
    p->bytes[RAPT_PROOF_ALIBI] = m->extra[RAPT_X_ALIBI].bytes;
    p->bytes[RAPT_PROOF_TABLE] = m->extra[RAPT_X_PAGES].bytes;
    p->bytes[RAPT_PROOF_LENGTHS] = m->ragged ? m->batch * sizeof(int32_t) : 0;
}

static bool allocate(rapt_proof *p)
{
    const rapt_allocator *a = &p->device->runtime->allocator;
    const rapt_problem *m = &p->problem;
    bool enough = m->total_q <= INT32_MAX && m->total_k <= INT32_MAX;
    for (int i = 0; i < RAPT_PROOF_BUFFERS && enough; i++)
        if (i < RAPT_T_OUT || (i > RAPT_T_LSE && p->bytes[i] > 0))
            enough = (p->data[i] = rapt_calloc(a, RAPT_MAX(p->bytes[i], 4), 1)) != NULL;
    for (int i = 0; i < RAPT_PROOF_RESULTS && enough; i++) {
        enough = (p->out[i] = rapt_calloc(a, RAPT_MAX(p->bytes[RAPT_T_OUT], 4), 1)) != NULL;
        if (enough && m->lse)
            enough = (p->lse[i] = rapt_calloc(a, RAPT_MAX(p->bytes[RAPT_T_LSE], 4), 1)) != NULL;
    }
    return enough && (p->scores = rapt_calloc(a, RAPT_MAX(m->nk, 1), sizeof *p->scores)) != NULL &&
           (p->row = rapt_calloc(a, m->head_dim_v, sizeof *p->row)) != NULL;
}

rapt_status rapt_proof_make(rapt_device *device, const rapt_attention_desc *desc, const rapt_problem *problem,
                            rapt_proof *p, rapt_error *error)
{
    *p = (rapt_proof){.device = device, .desc = *desc, .problem = *problem, .args = RAPT_ATTENTION_ARGS_INIT};
    rapt_attention_args *args = &p->args;
    rapt_slot *const slots[RAPT_PROOF_BUFFERS] = {&args->q,     &args->k,     &args->v,           &args->out,       &args->lse, &args->cu_seqlens_q,
                                                  &args->cu_seqlens_k, &args->sinks, &args->alibi, &args->block_table, &args->k_lengths};
    measure(p);
    if (!allocate(p))
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY,
                         "no memory for a copy of the problem's tensors");
    fill_sequences(p);
    fill_cache(p);
    uint32_t state = 12345;
    for (int i = RAPT_T_Q; i <= RAPT_T_V; i++)
        fill_tensor(p, i, &state);
    fill_vector(p, RAPT_PROOF_SINKS, 2.0f, 0.0f, &state);
    fill_vector(p, RAPT_PROOF_ALIBI, 0.0625f, 0.125f, &state); /* slopes of 1/16 to 3/16 */
    rapt_status status = RAPT_OK;
    for (int i = 0; i < RAPT_PROOF_BUFFERS && status == RAPT_OK; i++) {
        if (p->bytes[i] == 0)
            continue;
        status = rapt_buffer_create(device, p->bytes[i], &p->buffers[i], error);
        slots[i]->buffer = p->buffers[i];
        if (status == RAPT_OK && p->data[i] != NULL)
            status = rapt_buffer_upload(p->buffers[i], 0, p->data[i], p->bytes[i], error);
    }
    return status;
}

void rapt_proof_free(rapt_proof *p)
{
    if (p->device == NULL)
        return;
    const rapt_allocator *a = &p->device->runtime->allocator;
    for (int i = 0; i < RAPT_PROOF_BUFFERS; i++) {
        rapt_buffer_destroy(&p->buffers[i]);
        rapt_free(a, p->data[i], RAPT_MAX(p->bytes[i], 4));
    }
    for (int i = 0; i < RAPT_PROOF_RESULTS; i++) {
        rapt_free(a, p->out[i], RAPT_MAX(p->bytes[RAPT_T_OUT], 4));
        rapt_free(a, p->lse[i], RAPT_MAX(p->bytes[RAPT_T_LSE], 4));
    }
    rapt_free(a, p->scores, RAPT_MAX(p->problem.nk, 1) * sizeof *p->scores);
    rapt_free(a, p->row, p->problem.head_dim_v * sizeof *p->row);
}

rapt_status rapt_proof_run(rapt_proof *p, rapt_binding *binding, int which, rapt_error *error)
{
    rapt_status status = rapt_buffer_fill(p->buffers[RAPT_T_OUT], 0, p->bytes[RAPT_T_OUT], POISON, error);
    if (status == RAPT_OK && p->lse[0] != NULL)
        status = rapt_buffer_fill(p->buffers[RAPT_T_LSE], 0, p->bytes[RAPT_T_LSE], POISON, error);
    if (status == RAPT_OK)
        status = rapt_submit(binding, error);
    if (status == RAPT_OK)
        status = rapt_wait(binding, UINT64_MAX, error);
    if (status == RAPT_OK)
        status = rapt_buffer_download(p->buffers[RAPT_T_OUT], 0, p->out[which], p->bytes[RAPT_T_OUT], error);
    if (status == RAPT_OK && p->lse[0] != NULL)
        status = rapt_buffer_download(p->buffers[RAPT_T_LSE], 0, p->lse[which], p->bytes[RAPT_T_LSE], error);
    return status;
}

/* ---- right or wrong */

/* One query: where it lies, and the keys of its sequence. */
typedef struct query {
    uint64_t b, h, i;   /* of out */
    uint64_t place, nq; /* in its sequence of nq queries */
    uint64_t first_key, nk;
} query;

/* false: no kernel writes this row. */
static bool find_query(const rapt_proof *p, uint64_t row, query *q)
{
    const rapt_tensor *o = &p->desc.out;
    *q = (query){
        .i = row % o->size[2], .h = row / o->size[2] % o->size[1], .b = row / o->size[2] / o->size[1]};
    q->place = q->i;
    q->nq = p->problem.nq;
    q->nk = p->problem.nk;
    if (!p->problem.varlen)
        return true;
    const int32_t *cu_q = (const int32_t *)(void *)p->data[RAPT_PROOF_CU_Q], *cu_k = (const int32_t *)(void *)p->data[RAPT_PROOF_CU_K];
    const uint64_t length = (uint64_t)cu_q[1]; /* even lengths: the division finds the sequence */
    const uint64_t s = length > 0 ? q->i / length : p->problem.batch;
    if (s >= p->problem.batch || q->i >= (uint64_t)cu_q[s + 1])
        return false;
    q->place = q->i - (uint64_t)cu_q[s];
    q->nq = (uint64_t)(cu_q[s + 1] - cu_q[s]);
    q->first_key = (uint64_t)cu_k[s];
    q->nk = (uint64_t)(cu_k[s + 1] - cu_k[s]);
    return q->place < p->problem.nq;
}

/* Of what is stored: half the last place, with some room for sums in f32 and for weights of 16 bits. */
static double unit_of(rapt_dtype dtype)
{
    return dtype == RAPT_BF16 ? 0x1p-8 : dtype == RAPT_F16 ? 0x1p-10 : 0x1p-15;
}

static double lse_unit(rapt_dtype dtype)
{
    return fmax(unit_of(dtype), 0x1p-12);
}

/* |got - want| as a share of `allowed` per 1 + |want|; equal infinities agree, NaN never does. */
static double share_of(double got, double want, double allowed)
{
    if (got == want)
        return 0;
    const double error = fabs(got - want) / (allowed * (1 + fabs(want)));
    return error < INFINITY ? error : INFINITY;
}

static double lse_at(const rapt_proof *p, int which, const query *q)
{
    return rapt_number_get(p->lse[which] + at(&p->desc.lse, q->b, q->h, q->i) * 4, RAPT_F32);
}

/* Key or value j of a sequence: its row in what holds it, which may be pages. */
static const uint8_t *key_row(const rapt_proof *p, int t, const query *q, uint64_t kv, uint64_t j)
{
    const rapt_problem *m = &p->problem;
    const int32_t *table = (const int32_t *)(void *)p->data[RAPT_PROOF_TABLE];
    const uint32_t size = rapt_dtype_size(tensor(p, t)->dtype);
    if (table == NULL)
        return p->data[t] + at(tensor(p, t), q->b, kv, q->first_key + j) * size;
    const uint64_t page = (uint64_t)table[q->b * m->extra[RAPT_X_PAGES].stride_b + j / m->page_size];
    return p->data[t] + at(tensor(p, t), page, kv, j % m->page_size) * size;
}

static double element(const rapt_proof *p, int t, const uint8_t *row, uint64_t x)
{
    const rapt_dtype dtype = tensor(p, t)->dtype;
    const uint64_t dim = t == RAPT_T_V ? p->problem.head_dim_v : p->problem.head_dim_qk;
    return rapt_dtype_is_quantised(dtype) ? rapt_quantised_get(row, dtype, dim, x) : rapt_number_get(row + x * rapt_dtype_size(dtype), dtype);
}

/* The vector's number for a query head, or of sinks for an output head where there is one for each. */
static double number_of(const rapt_proof *p, int which, unsigned extra, const query *q)
{
    const rapt_problem *m = &p->problem;
    const rapt_extra *x = &m->extra[extra];
    const uint64_t head = x->heads == m->heads_q ? q->h * m->heads_q / m->heads_out : q->h;
    return rapt_number_get(p->data[which] + head * x->stride_h * 4, RAPT_F32);
}

/* One row of a result against the definition in double precision. */
static double row_error(rapt_proof *p, int which, const query *q)
{
    const rapt_problem *m = &p->problem;
    const uint32_t size = rapt_dtype_size(m->dtype);
    const uint64_t kv = q->h * m->heads_kv / m->heads_out;
    const uint8_t *qrow = p->data[0] + at(tensor(p, 0), q->b, q->h * m->heads_q / m->heads_out, q->i) * size;
    const int64_t place = (int64_t)q->place + (int64_t)q->nk - (int64_t)q->nq + m->causal_offset;
    const bool sinks = m->extras >> RAPT_X_SINKS & 1, alibi = m->extras >> RAPT_X_ALIBI & 1;
    const double sink = sinks ? number_of(p, RAPT_PROOF_SINKS, RAPT_X_SINKS, q) : 0, slope = alibi ? number_of(p, RAPT_PROOF_ALIBI, RAPT_X_ALIBI, q) : 0;
    double top = sinks ? sink : -DBL_MAX, sum = 0, worst = 0;
    uint64_t visible = 0;
    for (uint64_t j = 0; j < q->nk; j++) {
        if (!rapt_problem_sees(m, place, (int64_t)j))
            continue;
        visible++;
        const uint8_t *k = key_row(p, RAPT_T_K, q, kv, j);
        double s = 0;
        for (uint64_t x = 0; x < m->head_dim_qk; x++)
            s += element(p, RAPT_T_Q, qrow, x) * element(p, RAPT_T_K, k, x);
        p->scores[j] = rapt_problem_score(m, s * (double)m->scale);
        if (alibi)
            p->scores[j] -= slope * (double)rapt_problem_distance(m, place, (int64_t)j);
        top = fmax(top, p->scores[j]);
    }
    memset(p->row, 0, m->head_dim_v * sizeof *p->row);
    for (uint64_t j = 0; j < q->nk; j++) {
        if (!rapt_problem_sees(m, place, (int64_t)j))
            continue;
        const double weight = exp(p->scores[j] - top);
        const uint8_t *v = key_row(p, RAPT_T_V, q, kv, j);
        sum += weight;
        for (uint64_t x = 0; x < m->head_dim_v; x++)
            p->row[x] += weight * element(p, RAPT_T_V, v, x);
    }
    if (sinks)
        sum += exp(sink - top);
    const uint8_t *got = p->out[which] + at(tensor(p, 3), q->b, q->h, q->i) * size;
    for (uint64_t x = 0; x < m->head_dim_v; x++)
        worst = fmax(worst, share_of(rapt_number_get(got + x * size, m->dtype), visible ? p->row[x] / sum : 0,
                                     unit_of(m->dtype)));
    if (m->lse)
        worst = fmax(worst,
                     share_of(lse_at(p, which, q), visible || sinks ? top + log(sum) : -INFINITY, lse_unit(m->dtype)));
    return worst;
}

double rapt_proof_sample(rapt_proof *p, int which)
{
    const uint64_t rows = row_count(p);
    const double work = (double)RAPT_MAX(p->problem.nk, 1) * (p->problem.head_dim_qk + p->problem.head_dim_v);
    const uint64_t wanted = (uint64_t)fmin(fmax(SAMPLE_WORK / work, 4), SAMPLE_ROWS);
    const uint64_t count = RAPT_MIN(wanted, rows);
    double worst = 0;
    query q;
    for (uint64_t n = 0; n < count; n++) /* the first, the last, and evenly between */
        if (find_query(p, count > 1 ? (uint64_t)((double)n * (double)(rows - 1) / (double)(count - 1)) : 0,
                       &q))
            worst = fmax(worst, row_error(p, which, &q));
    return worst;
}

double rapt_proof_compare(rapt_proof *p, int *culprit)
{
    const rapt_problem *m = &p->problem;
    const uint32_t size = rapt_dtype_size(m->dtype);
    /* Both may be off by one unit. */
    const double allowed = 2 * unit_of(m->dtype), allowed_lse = 2 * lse_unit(m->dtype);
    double worst = 0;
    query q, worst_query = {0};
    for (uint64_t row = 0; row < row_count(p); row++) {
        if (!find_query(p, row, &q))
            continue;
        const uint64_t first = at(tensor(p, 3), q.b, q.h, q.i) * size;
        const uint8_t *a = p->out[RAPT_PROOF_LATEST] + first, *b = p->out[RAPT_PROOF_REFERENCE] + first;
        double error = 0;
        for (uint64_t x = 0; x < m->head_dim_v; x++)
            error = fmax(error, share_of(rapt_number_get(a + x * size, m->dtype),
                                         rapt_number_get(b + x * size, m->dtype), allowed));
        if (m->lse)
            error = fmax(error, share_of(lse_at(p, RAPT_PROOF_LATEST, &q),
                                         lse_at(p, RAPT_PROOF_REFERENCE, &q), allowed_lse));
        if (error > worst) {
            worst = error;
            worst_query = q;
        }
    }
    *culprit = -1;
    if (worst <= 1)
        return worst;
    const double latest = row_error(p, RAPT_PROOF_LATEST, &worst_query);
    const double reference = row_error(p, RAPT_PROOF_REFERENCE, &worst_query);
    if (latest > 1 || reference > 1)
        *culprit = latest >= reference ? RAPT_PROOF_LATEST : RAPT_PROOF_REFERENCE;
    return fmax(worst, fmax(latest, reference));
}
