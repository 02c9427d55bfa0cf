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
    for (int i = 0; i < 2; i++) {
        const uint64_t length = RAPT_MIN(rapt_div_up(total[i], m->batch), bound[i]);
        for (uint64_t s = 0; s <= m->batch; s++)
            p->cu[i][s] = (int32_t)RAPT_MIN(s * length, total[i]);
    }
}

rapt_status rapt_proof_make(rapt_device *device, const rapt_attention_desc *desc, const rapt_problem *problem,
                            rapt_proof *p, rapt_error *error)
{
    const rapt_allocator *a = &device->runtime->allocator;
    *p = (rapt_proof){.device = device, .desc = *desc, .problem = *problem, .args = RAPT_ATTENTION_ARGS_INIT};
    rapt_slot *const slots[] = {&p->args.q,           &p->args.k,   &p->args.v,
                                &p->args.out,         &p->args.lse, &p->args.cu_seqlens_q,
                                &p->args.cu_seqlens_k};
    const uint64_t cu_bytes = problem->varlen ? (problem->batch + 1) * sizeof(int32_t) : 0;
    for (int i = 0; i < 7; i++)
        p->bytes[i] = i >= 5 ? cu_bytes : i < 4 || problem->lse ? rapt_align_up(problem->bytes[i], 4) : 0;
    bool enough = problem->total_q <= INT32_MAX && problem->total_k <= INT32_MAX;
    for (int i = 0; i < 3 && enough; i++)
        enough = (p->data[i] = rapt_calloc(a, RAPT_MAX(p->bytes[i], 4), 1)) != NULL;
    for (int i = 0; i < 2 && enough; i++) {
        enough = (p->out[i] = rapt_calloc(a, RAPT_MAX(p->bytes[RAPT_T_OUT], 4), 1)) != NULL;
        if (enough && problem->lse)
            enough = (p->lse[i] = rapt_calloc(a, RAPT_MAX(p->bytes[RAPT_T_LSE], 4), 1)) != NULL;
        if (enough && problem->varlen)
            enough = (p->cu[i] = rapt_calloc(a, cu_bytes, 1)) != NULL;
    }
    enough = enough && (p->scores = rapt_calloc(a, RAPT_MAX(problem->nk, 1), sizeof *p->scores)) != NULL &&
             (p->row = rapt_calloc(a, problem->head_dim_v, sizeof *p->row)) != NULL;
    if (!enough)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY,
                         "no memory for a copy of the problem's tensors");
    if (problem->varlen)
        fill_sequences(p);
    uint32_t state = 12345;
    const uint32_t size = rapt_dtype_size(problem->dtype);
    rapt_status status = RAPT_OK;
    for (int i = 0; i < 7 && status == RAPT_OK; i++) {
        if (p->bytes[i] == 0)
            continue;
        for (uint64_t k = 0; i < 3 && (k + 1) * size <= p->bytes[i];
             k++) /* gaps too: their values do not matter */
            rapt_number_put(p->data[i] + k * size, problem->dtype,
                            rapt_number_next(&state) * (i == 0 ? 4.0f : 1.0f));
        status = rapt_buffer_create(device, p->bytes[i], &p->buffers[i], error);
        slots[i]->buffer = p->buffers[i];
        if (status == RAPT_OK && i != RAPT_T_OUT && i != RAPT_T_LSE)
            status = rapt_buffer_upload(p->buffers[i], 0, i < 3 ? (void *)p->data[i] : (void *)p->cu[i - 5],
                                        p->bytes[i], error);
    }
    return status;
}

void rapt_proof_free(rapt_proof *p)
{
    if (p->device == NULL)
        return;
    const rapt_allocator *a = &p->device->runtime->allocator;
    for (int i = 0; i < 7; i++)
        rapt_buffer_destroy(&p->buffers[i]);
    for (int i = 0; i < 3; i++)
        rapt_free(a, p->data[i], RAPT_MAX(p->bytes[i], 4));
    for (int i = 0; i < 2; i++) {
        rapt_free(a, p->out[i], RAPT_MAX(p->bytes[RAPT_T_OUT], 4));
        rapt_free(a, p->lse[i], RAPT_MAX(p->bytes[RAPT_T_LSE], 4));
        rapt_free(a, p->cu[i], p->bytes[5]);
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
    const uint64_t length = (uint64_t)p->cu[0][1]; /* even lengths: the division finds the sequence */
    const uint64_t s = length > 0 ? q->i / length : p->problem.batch;
    if (s >= p->problem.batch || q->i >= (uint64_t)p->cu[0][s + 1])
        return false;
    q->place = q->i - (uint64_t)p->cu[0][s];
    q->nq = (uint64_t)(p->cu[0][s + 1] - p->cu[0][s]);
    q->first_key = (uint64_t)p->cu[1][s];
    q->nk = (uint64_t)(p->cu[1][s + 1] - p->cu[1][s]);
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

/* One row of a result against the definition in double precision. */
static double row_error(rapt_proof *p, int which, const query *q)
{
    const rapt_problem *m = &p->problem;
    const uint32_t size = rapt_dtype_size(m->dtype);
    const uint64_t kv = q->h * m->heads_kv / m->heads_out;
    const uint8_t *qrow = p->data[0] + at(tensor(p, 0), q->b, q->h * m->heads_q / m->heads_out, q->i) * size;
    const int64_t place = (int64_t)q->place + (int64_t)q->nk - (int64_t)q->nq + m->causal_offset;
    double top = -DBL_MAX, sum = 0, worst = 0;
    uint64_t visible = 0;
    for (uint64_t j = 0; j < q->nk; j++) {
        if (!rapt_problem_sees(m, place, (int64_t)j))
            continue;
        visible++;
        const uint8_t *k = p->data[1] + at(tensor(p, 1), q->b, kv, q->first_key + j) * size;
        double s = 0;
        for (uint64_t x = 0; x < m->head_dim_qk; x++)
            s += rapt_number_get(qrow + x * size, m->dtype) * rapt_number_get(k + x * size, m->dtype);
        p->scores[j] = rapt_problem_score(m, s * (double)m->scale);
        top = fmax(top, p->scores[j]);
    }
    memset(p->row, 0, m->head_dim_v * sizeof *p->row);
    for (uint64_t j = 0; j < q->nk; j++) {
        if (!rapt_problem_sees(m, place, (int64_t)j))
            continue;
        const double weight = exp(p->scores[j] - top);
        const uint8_t *v = p->data[2] + at(tensor(p, 2), q->b, kv, q->first_key + j) * size;
        sum += weight;
        for (uint64_t x = 0; x < m->head_dim_v; x++)
            p->row[x] += weight * rapt_number_get(v + x * size, m->dtype);
    }
    const uint8_t *got = p->out[which] + at(tensor(p, 3), q->b, q->h, q->i) * size;
    for (uint64_t x = 0; x < m->head_dim_v; x++)
        worst = fmax(worst, share_of(rapt_number_get(got + x * size, m->dtype), visible ? p->row[x] / sum : 0,
                                     unit_of(m->dtype)));
    if (m->lse)
        worst = fmax(worst,
                     share_of(lse_at(p, which, q), visible ? top + log(sum) : -INFINITY, lse_unit(m->dtype)));
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
