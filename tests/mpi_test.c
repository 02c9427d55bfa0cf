/* librapt_mpi under mpirun: each rank against the definition in double precision, what is sent against the formulas.
 * mpi_test: all of it. mpi_test --die: one rank kills itself, and the others must get a status in time. 77: no Vulkan device. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L /* setenv */
#endif
#include "check/spread.h"

#include <rapt/mpi.h>
#include <rapt/rapt.h>

#include <math.h>
#include <mpi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH = 2, Q_HEADS = 4, KV_HEADS = 2, TOKENS = 24, D = 16, D_V = 24, MOST = 64, LATE_MS = 1500, PATIENCE_MS = 90000 };

static int rank, ranks;

static void fail(const char *what, const rapt_error *error)
{
    fprintf(stderr, "rank %d: %s: %s\n", rank, what, error ? error->message : "");
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static void good(rapt_status status, const char *what, const rapt_error *error)
{
    if (status != RAPT_OK)
        fail(what, error);
}

static rapt_check_spread whole_of(uint64_t queries, uint64_t keys, bool causal)
{
    return (rapt_check_spread){.batch = BATCH, .q_heads = Q_HEADS, .kv_heads = KV_HEADS, .queries = queries, .keys = keys, .d_qk = D, .d_v = D_V,
                               .causal = causal};
}

/* Checks out and lse of this rank's queries map[0 .. n). */
static void check(const char *what, const rapt_ranks_attention *s, const rapt_check_spread *whole, const uint64_t *map)
{
    const double bound = rapt_check_spread_bound(whole);
    char text[200];
    for (uint64_t row = 0; row < BATCH * Q_HEADS * s->queries; row++) {
        double want[D_V], lse;
        if (!rapt_check_spread_attention(whole, row / s->queries / Q_HEADS, row / s->queries % Q_HEADS, map[row % s->queries], want, &lse))
            fail("no memory", NULL);
        for (uint64_t e = 0; e < D_V; e++)
            if (!(fabs((double)s->out[row * D_V + e] - want[e]) <= bound)) {
                snprintf(text, sizeof text, "%s: row %llu, element %llu is %g, want %g", what, (unsigned long long)row,
                         (unsigned long long)e, (double)s->out[row * D_V + e], want[e]);
                fail(text, NULL);
            }
        if (!(fabs((double)s->lse[row] - lse) <= bound)) {
            snprintf(text, sizeof text, "%s: row %llu, lse is %g, want %g", what, (unsigned long long)row, (double)s->lse[row], lse);
            fail(text, NULL);
        }
    }
}

static void sent(rapt_ranks *r, const char *what, uint64_t want)
{
    rapt_ranks_info info = RAPT_RANKS_INFO_INIT;
    rapt_error error = {RAPT_OK, ""};
    good(rapt_ranks_describe(r, &info, &error), what, &error);
    if (info.bytes_sent != want || info.rank != (uint32_t)rank || info.count != (uint32_t)ranks)
        fail("other bytes sent than the formula's", NULL);
    if (rank == 0)
        printf("%s: %llu bytes sent by rank 0\n", what, (unsigned long long)want);
}

typedef enum way { RING, GATHER, HEADS, DECODE } way;
typedef rapt_status (*call)(rapt_ranks *, const rapt_ranks_attention *, rapt_error *);

/* kv heads of a rank, as speeds 1, 2, 3, 4 of the ranks share two: 1 and 1 of two ranks (bounds 0, 0.67, 2), of four 0, 1, 0, 1 (0, 0.2, 0.6, 1.2, 2). */
static uint64_t heads_of(int of)
{
    return ranks == 1 ? KV_HEADS : ranks == 2 ? 1 : (uint64_t)(of % 2);
}

static uint64_t heads_bytes(uint64_t n)
{
    const uint64_t group = Q_HEADS / KV_HEADS, own = heads_of(rank);
    return BATCH * n * 4 * ((KV_HEADS - own) * (group * D + D + D_V) + (uint64_t)(ranks - 1) * own * group * (D_V + 1));
}

/* One form over all ranks: which tokens this rank has follows from it. */
static void spread(rapt_ranks *r, way way_of, uint32_t causal, const char *what)
{
    static const call calls[] = {[RING] = rapt_ranks_ring, [GATHER] = rapt_ranks_gather, [HEADS] = rapt_ranks_heads,
                                   [DECODE] = rapt_ranks_decode};
    const uint64_t n = TOKENS, total = n * (uint64_t)ranks, half = n / 2;
    uint64_t map[MOST], all[MOST], queries = way_of == DECODE ? 3 : n;
    rapt_error error = {RAPT_OK, ""};
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t chunk = i < half ? (uint64_t)rank : 2 * (uint64_t)ranks - 1 - (uint64_t)rank;
        map[i] = way_of == RING && causal ? chunk * half + i % half : (uint64_t)rank * n + i;
        all[i] = i;
    }
    const uint64_t *q_map = way_of == DECODE ? all : map, q_total = way_of == DECODE ? queries : total;
    const rapt_check_spread whole = whole_of(q_total, total, causal);
    float *q = rapt_check_spread_share(&whole, RAPT_CHECK_SPREAD_Q, q_map, queries), *k = rapt_check_spread_share(&whole, RAPT_CHECK_SPREAD_K, map, n),
          *v = rapt_check_spread_share(&whole, RAPT_CHECK_SPREAD_V, map, n);
    float *out = malloc(BATCH * Q_HEADS * queries * D_V * sizeof *out), *lse = malloc(BATCH * Q_HEADS * queries * sizeof *lse);
    const rapt_ranks_attention s = {.struct_size = sizeof s, .batch = BATCH, .q_heads = Q_HEADS, .kv_heads = KV_HEADS, .queries = queries,
                                    .keys = n, .d_qk = D, .d_v = D_V, .causal = causal, .q = q, .k = k, .v = v, .out = out, .lse = lse};
    good(calls[way_of](r, &s, &error), what, &error);
    check(what, &s, &whole, q_map);
    sent(r, what, way_of == DECODE  ? (uint64_t)(ranks - 1) * BATCH * Q_HEADS * queries * (D_V + 1) * 4
                  : way_of == HEADS ? heads_bytes(n)
                                    : (uint64_t)(ranks - 1) * BATCH * KV_HEADS * n * (D + D_V) * 4);
    free(q);
    free(k);
    free(v);
    free(out);
    free(lse);
}

static void linear(rapt_ranks *r)
{
    const uint64_t n = TOKENS, total = n * (uint64_t)ranks, lines = BATCH * Q_HEADS;
    uint64_t map[MOST];
    rapt_error error = {RAPT_OK, ""};
    for (uint64_t i = 0; i < n; i++)
        map[i] = (uint64_t)rank * n + i;
    rapt_check_spread whole = whole_of(total, total, true);
    whole.kv_heads = Q_HEADS;
    float *q = rapt_check_spread_share(&whole, RAPT_CHECK_SPREAD_Q, map, n), *k = rapt_check_spread_share(&whole, RAPT_CHECK_SPREAD_K, map, n),
          *v = rapt_check_spread_share(&whole, RAPT_CHECK_SPREAD_V, map, n), *out = malloc(lines * n * D_V * sizeof *out);
    const rapt_ranks_state s = {.struct_size = sizeof s, .batch = BATCH, .heads = Q_HEADS, .tokens = n, .d_k = D, .d_v = D_V,
                                .q = q, .k = k, .v = v, .out = out};
    good(rapt_ranks_linear(r, &s, &error), "linear", &error);
    for (uint64_t row = 0; row < lines * n; row++) {
        double want[D_V], size[D_V];
        rapt_check_spread_linear(&whole, row / n / Q_HEADS, row / n % Q_HEADS, map[row % n], want, size);
        for (uint64_t e = 0; e < D_V; e++)
            if (!(fabs((double)out[row * D_V + e] - want[e]) <= rapt_check_spread_bound(&whole) * size[e]))
                fail("linear: a wrong number", NULL);
    }
    sent(r, "linear", (uint64_t)(ranks - 1) * lines * D * D_V * 4);
    free(q);
    free(k);
    free(v);
    free(out);
}

/* A rank is gone: a status within the deadline, and a refusal afterwards. */
static int survive(rapt_ranks *r)
{
    static float x[BATCH * Q_HEADS * TOKENS * D_V];
    const rapt_ranks_attention s = {.struct_size = sizeof s, .batch = BATCH, .q_heads = Q_HEADS, .kv_heads = KV_HEADS, .queries = TOKENS,
                                    .keys = TOKENS, .d_qk = D, .d_v = D_V, .q = x, .k = x, .v = x, .out = x};
    rapt_error error = {RAPT_OK, ""};
    if (rank == ranks - 1)
        _exit(3); /* without a word; after a signal mpirun would end the others too */
    const double begin = MPI_Wtime();
    const rapt_status first = rapt_ranks_ring(r, &s, &error);
    const double took = MPI_Wtime() - begin;
    const bool told = first == RAPT_ERROR_TIMEOUT || first == RAPT_ERROR_IO;
    printf("rank %d: %s after %.1f s: %s\n", rank, rapt_status_name(first), took, error.message);
    const bool refuses = rapt_ranks_decode(r, &s, &error) == RAPT_ERROR_IO;
    printf("rank %d %s\n", rank, told && refuses && took < 120 ? "survived" : "FAILED");
    fflush(stdout);
    _exit(0); /* MPI_Finalize would wait for who is gone */
}

int main(int argc, char **argv)
{
    rapt_runtime *runtime = NULL;
    rapt_device *device = NULL;
    rapt_ranks *r = NULL;
    rapt_error error = {RAPT_OK, ""};
    const bool dies = argc > 1 && strcmp(argv[1], "--die") == 0;
    setenv("LP_NUM_THREADS", "1", 0);
    MPI_Init(&argc, &argv);
    MPI_Comm comm = MPI_COMM_WORLD;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    rapt_status opened = rapt_runtime_create(NULL, &runtime, &error);
    if (opened == RAPT_OK)
        opened = rapt_device_open(runtime, NULL, &device, &error);
    if (opened != RAPT_ERROR_NO_DEVICE)
        good(opened, "the device", &error);
    if (opened != RAPT_OK) {
        if (rank == 0)
            printf("skipped: %s\n", error.message);
        MPI_Finalize();
        return 77;
    }
    rapt_ranks_options options = RAPT_RANKS_OPTIONS_INIT;
    options.deadline_ms = dies ? LATE_MS : PATIENCE_MS; /* drivers compile at the pace that they like */
    options.speed = -1;
    if (rapt_ranks_create(device, &comm, &options, &r, &error) != RAPT_ERROR_INVALID || r != NULL)
        fail("a speed below 0 is taken", NULL);
    options.speed = (float)(rank + 1);
    good(rapt_ranks_create(device, &comm, &options, &r, &error), "create", &error);
    if (dies)
        return survive(r);
    spread(r, RING, 0, "ring");
    spread(r, RING, 1, "causal ring");
    spread(r, GATHER, 0, "gather");
    spread(r, GATHER, 1, "causal gather");
    spread(r, HEADS, 0, "heads");
    spread(r, HEADS, 1, "causal heads");
    spread(r, DECODE, 0, "decode");
    linear(r);
    rapt_ranks_destroy(&r);
    rapt_device_destroy(&device);
    rapt_runtime_destroy(&runtime);
    MPI_Finalize();
    if (rank == 0)
        printf("all is well on %d ranks\n", ranks);
    return 0;
}
