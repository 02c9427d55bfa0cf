/* What `rapt bench --distributed` runs under mpirun: attention over ranks (librapt_mpi), each rank on a device of its own. A program apart, so that
 * the tool itself never loads MPI. Each case is first held against double precision, on a sample of each rank's rows, and what it sends against its
 * formula; then all ranks begin together, and a run lasts until the last of them is done. */
#include "stats.h"

#include "check/spread.h"

#include <rapt/mpi.h>
#include <rapt/rapt.h>

#include <inttypes.h>
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RUNS = 200, SAMPLE = 12, LINK_RUNS = 9, LINK_FLOATS = 2 << 20, GOOD = 0, WRONG = 1, BAD_INPUT = 2, NO_DEVICE = 3 };

static const char help[] =
    "Usage: mpirun -n RANKS rapt bench --distributed [options]\n"
    "\n"
    "Times one attention over ranks, each with a device of its own: ring and zig-zag (causal), keys and\n"
    "values gathered, heads shared out (Ulysses), decoding over a cache that is spread, LASP-2. float32,\n"
    "from and to host memory. Before a case is timed each rank holds a sample of its rows against double\n"
    "precision, and what it sends against the formula. A time is that of the last rank: the median of\n"
    "all runs.\n"
    "\n"
    "  --tokens N    of all ranks together, a multiple of twice the ranks; default 2048\n"
    "  --heads N     query heads; default 8\n"
    "  --kv-heads N  default: as many\n"
    "  --head-dim N  default 64\n"
    "  --queries N   rows of each head that are decoded; default 1\n"
    "  --runs N      timed runs of a case; default 7\n"
    "  --json FILE   the table, and what the links between the ranks do\n"
    "  --device SEL  index, UUID, or part of a name\n"
    "  --help        show this and exit\n"
    "\n"
    "Examples:\n"
    "  LP_NUM_THREADS=1 mpirun -n 2 rapt bench --distributed\n"
    "  mpirun -n 4 rapt bench --distributed --tokens 16384 --heads 32 --kv-heads 8 --head-dim 128\n"
    "\n"
    "Exit codes: 0 good, 1 a wrong result or other bytes than the formula's, 2 bad input, 3 no device,\n"
    "4 refused by the device's limits, 5 device lost.\n";

typedef struct options {
    uint64_t tokens, heads, kv_heads, d, queries, runs;
    const char *json, *device;
} options;

typedef enum way { RING, GATHER, HEADS, DECODE, LINEAR } way;

static const struct {
    const char *name; /* as rapt simulate calls it */
    way way;
    bool causal;
} cases[] = {{"ring", RING, false}, {"zigzag", RING, true}, {"gather", GATHER, true}, {"heads", HEADS, true}, {"decode", DECODE, false}, {"lasp2", LINEAR, true}};
enum { CASES = sizeof cases / sizeof *cases };

static int rank, ranks;

/* One case on this rank. */
typedef struct job {
    way way;
    rapt_check_spread whole;
    rapt_ranks_attention attention;
    rapt_ranks_state state;
    uint64_t *map; /* which of the whole's queries this rank has */
    uint64_t lines, queries;
    float *tensor[5]; /* q, k, v, out, lse */
    double seconds[MOST_RUNS], worst, flops; /* worst: error over what it may be */
    uint64_t sent, formula; /* of the rank that sends most */
    bool other_bytes;       /* some rank sent other bytes than its formula's */
} job;

/* ---- the command line ---- */

static int bad(const char *what, const char *word)
{
    if (rank == 0)
        fprintf(stderr, "rapt: bench --distributed: %s %.80s; --help shows what there is\n", what, word);
    return BAD_INPUT;
}

/* An exit code; -1: go on. */
static int read_options(int argc, char **argv, options *o)
{
    struct {
        const char *name;
        uint64_t *number;
        const char **text;
    } const all[] = {{"--tokens", &o->tokens, NULL}, {"--heads", &o->heads, NULL}, {"--kv-heads", &o->kv_heads, NULL},
                     {"--head-dim", &o->d, NULL}, {"--queries", &o->queries, NULL}, {"--runs", &o->runs, NULL},
                     {"--json", NULL, &o->json}, {"--device", NULL, &o->device}};
    for (int i = 1; i < argc; i++) {
        size_t n = 0;
        if (strcmp(argv[i], "--help") == 0) {
            if (rank == 0)
                fputs(help, stdout);
            return GOOD;
        }
        while (n < sizeof all / sizeof *all && strcmp(argv[i], all[n].name) != 0)
            n++;
        if (n == sizeof all / sizeof *all)
            return bad("unknown option", argv[i]);
        if (i + 1 == argc)
            return bad("a value is missing behind", argv[i]);
        const char *word = argv[++i];
        char *end;
        if (all[n].text)
            *all[n].text = word;
        else if (word[0] < '0' || word[0] > '9' || (*all[n].number = strtoull(word, &end, 10)) < 1 || *end != 0 || *all[n].number > 1u << 30)
            return bad("not a whole number from 1 to 2^30:", word);
    }
    o->kv_heads = o->kv_heads ? o->kv_heads : o->heads;
    if (o->tokens % (2 * (uint64_t)ranks) != 0)
        return bad("--tokens must be a multiple of twice the", "ranks");
    if (o->heads % o->kv_heads != 0)
        return bad("--heads must be a multiple of", "--kv-heads");
    return o->runs <= MOST_RUNS ? -1 : bad("more than 200", "--runs");
}

/* ---- a case ---- */

/* Which tokens this rank has. */
static void make_map(job *j, uint64_t n, bool zigzag)
{
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t chunk = i < n / 2 ? (uint64_t)rank : 2 * (uint64_t)ranks - 1 - (uint64_t)rank;
        j->map[i] = zigzag ? chunk * (n / 2) + i % (n / 2) : (uint64_t)rank * n + i;
    }
}

static uint64_t head_of(uint64_t kv_heads, int of)
{
    return (2 * kv_heads * (uint64_t)of + (uint64_t)ranks) / (2 * (uint64_t)ranks);
}

/* What this rank should send. */
static uint64_t formula_of(const job *j, uint64_t n)
{
    const rapt_check_spread *w = &j->whole;
    const uint64_t others = (uint64_t)ranks - 1;
    switch (j->way) {
    case HEADS: { /* of kv heads rounded(kv_heads rank / ranks) on */
        const uint64_t own = head_of(w->kv_heads, rank + 1) - head_of(w->kv_heads, rank), group = w->q_heads / w->kv_heads;
        return 4 * n * ((w->kv_heads - own) * (group * w->d_qk + w->d_qk + w->d_v) + others * own * group * (w->d_v + 1));
    }
    case DECODE:
        return others * w->q_heads * w->queries * (w->d_v + 1) * 4;
    case LINEAR:
        return others * w->q_heads * w->d_qk * w->d_v * 4;
    default:
        return others * w->kv_heads * n * (w->d_qk + w->d_v) * 4;
    }
}

static double flops_of(const job *j)
{
    const rapt_check_spread *w = &j->whole;
    const double keys = (double)w->keys, queries = (double)w->queries, heads = (double)w->q_heads;
    if (j->way == LINEAR)
        return 4 * heads * keys * (double)(w->d_qk * w->d_v);
    return 2 * heads * (w->causal ? keys * (keys + 1) / 2 : queries * keys) * (double)(w->d_qk + w->d_v);
}

static bool make_job(job *j, const options *o, int index)
{
    const uint64_t n = o->tokens / (uint64_t)ranks;
    *j = (job){.way = cases[index].way};
    j->queries = j->way == DECODE ? o->queries : n;
    j->whole = (rapt_check_spread){.batch = 1, .q_heads = o->heads, .kv_heads = j->way == LINEAR ? o->heads : o->kv_heads,
                                   .queries = j->way == DECODE ? o->queries : o->tokens, .keys = o->tokens, .d_qk = o->d, .d_v = o->d,
                                   .causal = cases[index].causal};
    const uint64_t rows = o->heads * j->queries, size = n > j->queries ? n : j->queries;
    j->map = calloc((size_t)size, sizeof *j->map);
    if (!j->map)
        return false;
    make_map(j, n, j->way == RING && j->whole.causal);
    j->tensor[1] = rapt_check_spread_share(&j->whole, RAPT_CHECK_SPREAD_K, j->map, n);
    j->tensor[2] = rapt_check_spread_share(&j->whole, RAPT_CHECK_SPREAD_V, j->map, n);
    for (uint64_t i = 0; i < j->queries && j->way == DECODE; i++)
        j->map[i] = i; /* the same on all */
    j->tensor[0] = rapt_check_spread_share(&j->whole, RAPT_CHECK_SPREAD_Q, j->map, j->queries);
    j->tensor[3] = calloc((size_t)(rows * o->d), sizeof(float));
    j->tensor[4] = calloc((size_t)rows, sizeof(float));
    j->attention = (rapt_ranks_attention){.struct_size = sizeof j->attention, .batch = 1, .q_heads = o->heads, .kv_heads = o->kv_heads, .queries = j->queries,
                                          .keys = n, .d_qk = o->d, .d_v = o->d, .causal = j->whole.causal, .q = j->tensor[0], .k = j->tensor[1],
                                          .v = j->tensor[2], .out = j->tensor[3], .lse = j->tensor[4]};
    j->state = (rapt_ranks_state){.struct_size = sizeof j->state, .batch = 1, .heads = o->heads, .tokens = n, .d_k = o->d, .d_v = o->d, .q = j->tensor[0],
                                  .k = j->tensor[1], .v = j->tensor[2], .out = j->tensor[3]};
    j->formula = formula_of(j, n);
    j->flops = flops_of(j);
    return j->tensor[0] && j->tensor[1] && j->tensor[2] && j->tensor[3] && j->tensor[4];
}

static void free_job(job *j)
{
    free(j->map);
    for (int i = 0; i < 5; i++)
        free(j->tensor[i]);
}

static rapt_status call(rapt_ranks *r, job *j, rapt_error *error)
{
    switch (j->way) {
    case RING:
        return rapt_ranks_ring(r, &j->attention, error);
    case GATHER:
        return rapt_ranks_gather(r, &j->attention, error);
    case HEADS:
        return rapt_ranks_heads(r, &j->attention, error);
    case DECODE:
        return rapt_ranks_decode(r, &j->attention, error);
    default:
        return rapt_ranks_linear(r, &j->state, error);
    }
}

/* The worst of a sample of this rank's rows, as a part of what float32 may lose; infinite for no memory. */
static double worst_of(const job *j)
{
    const rapt_check_spread *w = &j->whole;
    const uint64_t rows = w->q_heads * j->queries;
    const double bound = rapt_check_spread_bound(w);
    double *want = malloc((size_t)w->d_v * 2 * sizeof *want), worst = want ? 0 : INFINITY;
    for (uint64_t n = 0; n < SAMPLE && want; n++) {
        const uint64_t row = n * (rows - 1) / (SAMPLE - 1), head = row / j->queries, query = j->map[row % j->queries];
        double lse = 0, *size = want + w->d_v;
        if (j->way == LINEAR)
            rapt_check_spread_linear(w, 0, head, query, want, size);
        else if (!rapt_check_spread_attention(w, 0, head, query, want, &lse))
            worst = INFINITY;
        for (uint64_t e = 0; e < w->d_v; e++) {
            const double may = bound * (j->way == LINEAR ? size[e] : 1), error = fabs((double)j->tensor[3][row * w->d_v + e] - want[e]) / may;
            worst = error <= worst ? worst : isnan(error) ? INFINITY : error;
        }
        if (j->way != LINEAR && !(fabs((double)j->tensor[4][row] - lse) <= bound))
            worst = INFINITY;
    }
    free(want);
    return worst;
}

/* Of all ranks. */
static double most(double x)
{
    double all = x;
    MPI_Allreduce(&x, &all, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    return all;
}

/* Proof, then times. */
static rapt_status measure(rapt_ranks *r, job *j, const options *o, rapt_error *error)
{
    rapt_ranks_info info = RAPT_RANKS_INFO_INIT;
    rapt_status status = call(r, j, error);
    if (status == RAPT_OK)
        status = rapt_ranks_describe(r, &info, error);
    if (status != RAPT_OK)
        return status;
    j->worst = most(worst_of(j));
    j->other_bytes = most(info.bytes_sent != j->formula) > 0;
    j->sent = (uint64_t)most((double)info.bytes_sent); /* ranks may have different heads */
    j->formula = (uint64_t)most((double)j->formula);
    for (uint64_t n = 0; n < o->runs && j->worst <= 1 && status == RAPT_OK; n++) {
        MPI_Barrier(MPI_COMM_WORLD);
        const double begin = MPI_Wtime();
        status = call(r, j, error);
        j->seconds[n] = most(MPI_Wtime() - begin);
    }
    return status;
}

/* ---- links ---- */

/* All send to the next rank at the same time. The median, of the slowest. */
static double exchange(float *room, int floats)
{
    double seconds[LINK_RUNS];
    for (int n = 0; n < LINK_RUNS; n++) {
        MPI_Barrier(MPI_COMM_WORLD);
        const double begin = MPI_Wtime();
        MPI_Sendrecv(room, floats, MPI_FLOAT, (rank + 1) % ranks, 0, room + LINK_FLOATS, floats, MPI_FLOAT, (rank + ranks - 1) % ranks, 0, MPI_COMM_WORLD,
                     MPI_STATUS_IGNORE);
        seconds[n] = most(MPI_Wtime() - begin);
    }
    return rapt_stats_of(seconds, LINK_RUNS).median;
}

static void measure_link(double *bytes, double *latency)
{
    float *room = calloc((size_t)2 * LINK_FLOATS, sizeof *room);
    const bool all_have = most(room ? 0 : 1) <= 0;
    *bytes = *latency = 0;
    if (all_have && ranks > 1) {
        *latency = exchange(room, 1);
        *bytes = LINK_FLOATS * sizeof *room / exchange(room, LINK_FLOATS);
    }
    free(room);
}

/* ---- what is told ---- */

static void tell(const job *j, const options *o, int index, FILE *json)
{
    const bool right = j->worst <= 1 && !j->other_bytes;
    const rapt_stats t = rapt_stats_of(j->seconds, (size_t)o->runs);
    printf("%-8s %6d %8" PRIu64 " %10.3f %10.3f %10.4g %12" PRIu64 " %12" PRIu64 "  %s (%.2g of the bound)\n", cases[index].name, ranks, o->tokens,
           t.median * 1e3, t.max * 1e3, j->flops / t.median * 1e-9, j->sent, j->formula,
           j->worst > 1 ? "WRONG" : j->other_bytes ? "OTHER BYTES" : "right", j->worst);
    if (!json)
        return;
    fprintf(json, "%s{\"method\": \"%s\", \"causal\": %s, \"right\": %s, ", index > 0 ? ",\n  " : "\n  ", cases[index].name,
            cases[index].causal ? "true" : "false", right ? "true" : "false");
    if (right)
        fprintf(json, "\"seconds\": %.9g, \"min\": %.9g, \"max\": %.9g, ", t.median, t.min, t.max);
    fprintf(json, "\"sent_bytes\": %" PRIu64 ", \"formula_bytes\": %" PRIu64 ", \"flops\": %.9g}", j->sent, j->formula, j->flops);
}

static void tell_head(const options *o, rapt_device *device, FILE *json)
{
    double bytes, latency;
    measure_link(&bytes, &latency);
    if (rank != 0)
        return;
    printf("%d ranks on %s; %" PRIu64 " heads on %" PRIu64 " of %" PRIu64 ", float32; ", ranks, rapt_device_caps(device)->device_name, o->heads, o->kv_heads, o->d);
    if (ranks > 1)
        printf("links %.3g GB/s, %.3g us\n", bytes * 1e-9, latency * 1e6);
    else
        printf("no links\n");
    printf("%-8s %6s %8s %10s %10s %10s %12s %12s  %s\n", "method", "ranks", "tokens", "median ms", "most ms", "GFLOP/s", "bytes sent", "formula", "proof");
    if (json)
        fprintf(json, "{\"schema\": \"rapt-distributed/1\", \"ranks\": %d, \"tokens\": %" PRIu64 ", \"heads\": %" PRIu64 ", \"kv_heads\": %" PRIu64
                      ", \"head_dim\": %" PRIu64 ", \"queries\": %" PRIu64 ",\n \"link\": {\"bytes_per_second\": %.9g, \"seconds\": %.9g},\n \"cases\": [",
                ranks, o->tokens, o->heads, o->kv_heads, o->d, o->queries, bytes, latency);
}

static int exit_code(rapt_status status)
{
    return status == RAPT_ERROR_NO_DEVICE ? NO_DEVICE : status == RAPT_ERROR_UNSUPPORTED ? 4 : status == RAPT_ERROR_DEVICE_LOST ? 5 : BAD_INPUT;
}

static const char *unfinished; /* the --json file, until it is whole; of rank 0 */

/* A rank that fails ends all: the others would wait for it. What rank 0 has of the file goes with it, where rank 0 is the one. */
static int give_up(rapt_status status, const rapt_error *error)
{
    if (unfinished)
        remove(unfinished);
    fprintf(stderr, "rapt: rank %d: %s\n", rank, error->message);
    MPI_Abort(MPI_COMM_WORLD, exit_code(status));
    return exit_code(status);
}

static int run(const options *o, rapt_device *device)
{
    static job j;
    rapt_ranks *r = NULL;
    rapt_error error = {0};
    rapt_ranks_options ranks_options = RAPT_RANKS_OPTIONS_INIT;
    const MPI_Comm comm = MPI_COMM_WORLD;
    int code = GOOD;
    ranks_options.deadline_ms = 300000; /* drivers compile at the pace that they like */
    rapt_status status = rapt_ranks_create(device, &comm, &ranks_options, &r, &error);
    if (status != RAPT_OK)
        return give_up(status, &error);
    FILE *json = rank == 0 && o->json ? fopen(o->json, "w") : NULL;
    if (rank == 0 && o->json && !json)
        return give_up(RAPT_ERROR_IO, &(rapt_error){RAPT_ERROR_IO, "the --json file cannot be written"});
    unfinished = json ? o->json : NULL;
    tell_head(o, device, json);
    for (int n = 0; n < CASES; n++) {
        if (!make_job(&j, o, n))
            return give_up(RAPT_ERROR_OUT_OF_HOST_MEMORY, &(rapt_error){RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory"});
        status = measure(r, &j, o, &error);
        if (status != RAPT_OK)
            return give_up(status, &error);
        if (rank == 0)
            tell(&j, o, n, json);
        code = j.worst > 1 || j.other_bytes ? WRONG : code;
        free_job(&j);
    }
    if (json && (fprintf(json, "]}\n") < 0 || fclose(json) != 0))
        return give_up(RAPT_ERROR_IO, &(rapt_error){RAPT_ERROR_IO, "the --json file cannot be written"});
    unfinished = NULL;
    rapt_ranks_destroy(&r);
    return code;
}

int main(int argc, char **argv)
{
    options o = {.tokens = 2048, .heads = 8, .d = 64, .queries = 1, .runs = 7};
    rapt_runtime *runtime = NULL;
    rapt_device *device = NULL;
    rapt_device_options device_options = RAPT_DEVICE_OPTIONS_INIT;
    rapt_error error = {0};
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    int code = read_options(argc, argv, &o);
    device_options.selector = o.device;
    if (code < 0) {
        rapt_status status = rapt_runtime_create(NULL, &runtime, &error);
        if (status == RAPT_OK)
            status = rapt_device_open(runtime, &device_options, &device, &error);
        code = status == RAPT_OK ? run(&o, device) : give_up(status, &error);
    }
    rapt_device_destroy(&device);
    rapt_runtime_destroy(&runtime);
    MPI_Finalize();
    return code;
}
