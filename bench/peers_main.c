// peers: attention by different libraries on the same inputs, side by side in one process.
#include "measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAMES 64

static const rapt_peer_kind *const kinds[] = {
#if defined(RAPT_BENCH_HAVE_RAPT)
    &rapt_peer_rapt,        &rapt_peer_rapt_naive,
#endif
    &rapt_peer_ggml_vulkan, &rapt_peer_ggml_vulkan_sleep, &rapt_peer_ggml_cpu,
    &rapt_peer_ncnn_vulkan, &rapt_peer_ncnn_cpu,         &rapt_peer_aule,
};

enum { GOOD = 0, WRONG = 1, BAD_INPUT = 2, NO_DEVICE = 3, INTERRUPTED = 130 };

static const char help[] =
    "Usage: peers [--case NAME,...] [--backend NAME,...] [options]\n"
    "\n"
    "Runs attention cases through several libraries in interleaved rounds of one process. A result is "
    "compared\n"
    "with a double-precision one before and after it is timed; a wrong one is never timed. Rates are also "
    "given\n"
    "as parts of what this CPU does in the same rounds: multiply-adds (AVX2 where there is AVX2), memory "
    "read.\n"
    "Ratios are medians of the rounds' ratios, with their 95 % interval.\n"
    "\n"
    "  --list            cases and backends, and exit\n"
    "  --case NAME,...   cases (default: the first of the list); may be repeated\n"
    "  --backend NAME,.. backends (default: all that are there); ratios refer to the first\n"
    "  --together        all cases in the same rounds, with ratios between them too\n"
    "  --repeat N        rounds (default 9; an interval needs 6)\n"
    "  --settle SECONDS  pause before each sample (default 0.01)\n"
    "  --native SECONDS  length of each native sample (default 0.02; 0: none)\n"
    "  --patience SECONDS  do rounds again in which other programs took over 5 % of the CPUs, for so long\n"
    "  --seed N          of the random inputs (default 1)\n"
    "  --library PATH    ggml's library or its folder (default: $RAPT_BENCH_GGML, else the system's)\n"
    "  --device TEXT     part of the Vulkan device's name\n"
    "                    (ncnn and aule are packages of $RAPT_BENCH_PYTHON, else of python3 on PATH)\n"
    "  --json            one JSON object on standard output instead of the table\n"
    "  --progress        which case, library and round it is at, on standard error\n"
    "  --verbose         progress and the libraries' own messages on standard error\n"
    "\n"
    "Examples:\n"
    "  peers --case B1H8D64N1024f32 --backend ggml-vulkan,ggml-cpu\n"
    "  peers --case B1H8D64N2048f32c,B1H8D64N2048f32 --together --backend ggml-cpu\n"
    "\n"
    "Ctrl-C ends it after the round at hand and keeps what was measured.\n"
    "Exit status: 0 good, 1 a result was wrong or a run failed, 2 bad input, 3 a backend cannot be opened,\n"
    "130 interrupted.\n";

typedef struct options {
    const char *cases[MAX_NAMES], *backends[MAX_NAMES];
    int case_count, backend_count;
    rapt_bench_plan plan;
    rapt_peer_options peer;
    uint64_t seed;
    bool together, json, all; // all: backends that cannot be opened are left out
} options;

// ---- output ----

static void print_json_string(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        const unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\')
            printf("\\%c", byte);
        else if (byte < 0x20)
            printf("\\u%04x", (unsigned)byte);
        else
            putchar(byte);
    }
    putchar('"');
}

static void print_json_number(const char *key, double value)
{
    if (isfinite(value))
        printf("\"%s\":%.9g", key, value);
    else
        printf("\"%s\":null", key);
}

static void print_json_interval(const char *key, rapt_interval r)
{
    printf(",\"%s\":{\"rounds\":%zu,", key, r.count);
    print_json_number("median", r.median);
    putchar(',');
    print_json_number("low", r.low);
    putchar(',');
    print_json_number("high", r.high);
    putchar(',');
    print_json_number("coverage", r.coverage);
    putchar('}');
}

// "4.25 [4.10, 4.31]", with a question mark where there were too few rounds for 95 %.
static void print_interval(rapt_interval r, double factor, const char *unit)
{
    printf("%.3g%s [%.3g, %.3g]%s", r.median * factor, unit, r.low * factor, r.high * factor,
           r.enough ? "" : "?");
}

static void print_peaks_json(const rapt_native_peaks *p)
{
    printf("\"native\":{\"cpu\":");
    print_json_string(p->cpu);
    printf(",\"threads\":%d,\"cache_bytes\":%zu,\"buffer_bytes\":%zu,\"reference\":\"%s\",\"reference_"
           "valid\":%s",
           p->threads, p->cache_bytes, p->buffer_bytes, rapt_native_item_name(p->reference),
           p->reference_valid ? "true" : "false");
    if (p->avx2_to_avx512 > 0)
        printf(",\"avx2_to_avx512\":%.4f", p->avx2_to_avx512);
    for (int item = 0; item < RAPT_NATIVE_ITEM_COUNT; item++)
        if (p->item[item].measured)
            printf(",\"%s\":{\"unit\":\"%s\",\"median\":%.6g,\"best\":%.6g}", rapt_native_item_name(item),
                   rapt_native_item_unit(item), p->item[item].median, p->item[item].best);
    printf("},");
}

static void print_peaks(const rapt_native_peaks *p)
{
    printf("%s, %d threads, last-level cache %.0f MiB, buffer %.0f MiB\n", p->cpu, p->threads,
           (double)p->cache_bytes / 1048576, (double)p->buffer_bytes / 1048576);
    for (int item = 0; item < RAPT_NATIVE_ITEM_COUNT; item++)
        if (p->item[item].measured)
            printf("  %-12s median %.1f, best %.1f %s\n", rapt_native_item_name(item), p->item[item].median,
                   p->item[item].best, rapt_native_item_unit(item));
    if (!p->reference_valid)
        printf("  AVX2 reached only %.3f of the AVX-512 rate (%.2f needed): the percentages below do not "
               "count\n",
               p->avx2_to_avx512, RAPT_NATIVE_VALID_RATIO);
}

static void print_entry_json(const rapt_bench_group *group, const rapt_bench_entry *e)
{
    const double flops = rapt_bench_flops(e->c), bytes = rapt_bench_kv_bytes(e->c);
    printf("{\"case\":\"%s\",\"backend\":\"%s\",\"peer\":", e->c->name, e->kind->name);
    print_json_string(e->kind->describe(e->peer));
    printf(",\"ok\":%s", e->ready ? "true" : "false");
    if (!e->ready) {
        printf(",\"error\":");
        print_json_string(e->error.text);
    }
    if (e->checked) {
        printf(",\"error_max\":%.4g,\"error_rms_relative\":%.4g", e->difference.max_abs, e->difference.rms);
    }
    if (e->ready) {
        const rapt_stats s = rapt_stats_of(e->seconds, (size_t)group->plan.rounds);
        const rapt_stats host = rapt_stats_of(e->host_seconds, (size_t)group->plan.rounds);
        printf(",\"first_ms\":%.6g,\"rounds\":%zu,\"runs_per_sample\":%d", e->first_seconds * 1e3, s.count,
               e->runs_per_sample);
        printf(",\"ms\":{\"median\":%.6g,\"min\":%.6g,\"max\":%.6g,\"q1\":%.6g,\"q3\":%.6g,\"spread\":%.4g}",
               s.median * 1e3, s.min * 1e3, s.max * 1e3, s.q1 * 1e3, s.q3 * 1e3, s.spread);
        printf(",\"host_cpu_ms\":%.6g,\"gflops\":%.6g,\"kv_gb_per_s\":%.6g", host.median * 1e3,
               flops / s.median * 1e-9, bytes / s.median * 1e-9);
        if (group->native) {
            print_json_interval("of_fma", rapt_bench_share(group, e, group->peaks.reference, flops));
            print_json_interval("of_memory_read", rapt_bench_share(group, e, RAPT_NATIVE_READ, bytes));
        }
        printf(",\"samples_ms\":[");
        for (int i = 0; i < group->plan.rounds; i++)
            printf("%s%.6g", i ? "," : "", e->seconds[i] * 1e3);
        putchar(']');
    }
    if (e != group->entries && e->ready && group->entries->ready)
        print_json_interval("time_over_first", rapt_bench_time_ratio(group, e, group->entries));
    putchar('}');
}

static void print_entry(const rapt_bench_group *group, const rapt_bench_entry *e)
{
    printf("%-24s %-18s ", e->c->name, e->kind->name);
    if (!e->ready) {
        printf("%s\n", e->error.text);
        return;
    }
    const double flops = rapt_bench_flops(e->c), bytes = rapt_bench_kv_bytes(e->c);
    const rapt_stats s = rapt_stats_of(e->seconds, (size_t)group->plan.rounds);
    const rapt_stats host = rapt_stats_of(e->host_seconds, (size_t)group->plan.rounds);
    printf("%9.3f ms (min %.3f, max %.3f, middle half %.0f %%), %.1f GFLOP/s, %.2f GB/s of KV\n",
           s.median * 1e3, s.min * 1e3, s.max * 1e3, s.spread * 100, flops / s.median * 1e-9,
           bytes / s.median * 1e-9);
    printf("%44sfirst run %.0f ms, host thread busy %.0f %%, largest error %.1e, relative rms %.1e\n", "",
           e->first_seconds * 1e3, 100 * host.median / s.median, e->difference.max_abs, e->difference.rms);
    if (group->native) {
        printf("%44s", "");
        print_interval(rapt_bench_share(group, e, group->peaks.reference, flops), 100, " %");
        printf(" of %s, ", rapt_native_item_name(group->peaks.reference));
        print_interval(rapt_bench_share(group, e, RAPT_NATIVE_READ, bytes), 100, " %");
        printf(" of memory read\n");
    }
    if (e != group->entries && group->entries->ready) {
        printf("%44s", "");
        print_interval(rapt_bench_time_ratio(group, e, group->entries), 1, "x");
        printf(" the time of %s %s\n", group->entries->c->name, group->entries->kind->name);
    }
}

static void print_group(const rapt_bench_group *group, bool json, bool first)
{
    if (json)
        printf("%s{", first ? "" : ",\n");
    if (group->native && json)
        print_peaks_json(&group->peaks);
    else if (group->native)
        print_peaks(&group->peaks);
    const double others = rapt_stats_of(group->others, (size_t)group->plan.rounds).median;
    if (json) {
        print_json_number("others_cpu_share", others);
        printf(",\"rounds_again\":%d,\"results\":[", group->rounds_again);
    } else if (others > group->plan.quiet_share || group->rounds_again > 0) {
        printf("  other programs took %.0f %% of the CPUs' time; %d rounds done again for that\n",
               others * 100, group->rounds_again);
    }
    for (int i = 0; i < group->count; i++) {
        if (json && i)
            printf(",\n");
        if (json)
            print_entry_json(group, &group->entries[i]);
        else
            print_entry(group, &group->entries[i]);
    }
    printf(json ? "]}" : "\n");
    fflush(stdout);
}

// ---- options ----

static int usage(const char *what, const char *argument)
{
    fprintf(stderr, "peers: %s%s%s (see --help)\n", what, argument ? " " : "", argument ? argument : "");
    return BAD_INPUT;
}

static bool add_names(char *list, const char **names, int *count)
{
    for (char *name = strtok(list, ","); name; name = strtok(NULL, ",")) {
        if (*count == MAX_NAMES)
            return false;
        names[(*count)++] = name;
    }
    return true;
}

static bool number(const char *text, double low, double high, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == 0 && *out >= low && *out <= high;
}

static const rapt_peer_kind *find_kind(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    // Short forms.
    if (strcmp(name, "vulkan") == 0)
        return &rapt_peer_ggml_vulkan;
    return strcmp(name, "cpu") == 0 ? &rapt_peer_ggml_cpu : NULL;
}

static void list(void)
{
    printf("cases (any other name of this form will do too):\n");
    for (const char *const *name = rapt_bench_case_names; *name; name++) {
        rapt_bench_case c;
        if (rapt_bench_case_parse(*name, &c, NULL))
            printf("  %-25s %.3g GFLOP, %.1f MiB of K and V\n", *name, rapt_bench_flops(&c) * 1e-9,
                   rapt_bench_kv_bytes(&c) / 1048576);
    }
    printf("backends:\n");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        printf("  %-25s %s\n", kinds[i]->name, kinds[i]->what);
}

// -1 to go on, else the exit status.
static int parse(int count, char **arguments, options *o)
{
    for (int i = 1; i < count; i++) {
        const char *name = arguments[i];
        if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
            fputs(help, stdout);
            return GOOD;
        }
        if (strcmp(name, "--list") == 0) {
            list();
            return GOOD;
        }
        if (strcmp(name, "--json") == 0)
            o->json = true;
        else if (strcmp(name, "--together") == 0)
            o->together = true;
        else if (strcmp(name, "--progress") == 0)
            o->plan.progress = true;
        else if (strcmp(name, "--verbose") == 0)
            o->plan.progress = o->peer.verbose = true;
        else {
            static const char *const valued[] = {"--case",   "--backend", "--repeat",
                                                 "--settle", "--native",  "--patience",
                                                 "--seed",   "--library", "--device"};
            bool known = false;
            for (size_t v = 0; v < sizeof valued / sizeof *valued; v++)
                known = known || strcmp(name, valued[v]) == 0;
            if (!known)
                return usage("unknown option", name);
            if (i + 1 == count)
                return usage("no value after", name);
            char *value = arguments[++i];
            double x = 0;
            bool good = true;
            if (strcmp(name, "--case") == 0)
                good = add_names(value, o->cases, &o->case_count);
            else if (strcmp(name, "--backend") == 0)
                good = add_names(value, o->backends, &o->backend_count);
            else if (strcmp(name, "--library") == 0)
                o->peer.library = value;
            else if (strcmp(name, "--device") == 0)
                o->peer.device = value;
            else if (strcmp(name, "--repeat") == 0) {
                good = number(value, 1, 100000, &x);
                o->plan.rounds = (int)x;
            } else if (strcmp(name, "--seed") == 0) {
                good = number(value, 0, 9e15, &x);
                o->seed = (uint64_t)x;
            } else if (strcmp(name, "--settle") == 0)
                good = number(value, 0, 60, &o->plan.settle_seconds);
            else if (strcmp(name, "--patience") == 0)
                good = number(value, 0, 86400, &o->plan.patience_seconds);
            else
                good = number(value, 0, 60, &o->plan.native_seconds);
            if (!good)
                return usage("bad value after", name);
        }
    }
    if (o->case_count == 0)
        o->cases[o->case_count++] = rapt_bench_case_names[0];
    o->all = o->backend_count == 0;
    if (o->all)
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
            o->backends[o->backend_count++] = kinds[i]->name;
    return -1;
}

// ---- main ----

typedef struct bench {
    options o;
    const rapt_peer_kind *kind[MAX_NAMES];
    rapt_peer *peer[MAX_NAMES];
    rapt_bench_case cases[MAX_NAMES];
    const char *missing[MAX_NAMES]; // names of what was left out, and why
    rapt_bench_error why[MAX_NAMES];
    int missing_count;
} bench;

// Opens every backend; false if one that was asked for by name, or all, cannot be.
static bool open_all(bench *b)
{
    const int wanted = b->o.backend_count;
    rapt_bench_error error;
    b->o.backend_count = 0;
    for (int i = 0; i < wanted; i++) {
        const rapt_peer_kind *kind = b->kind[i];
        rapt_peer *peer = kind->open(kind, &b->o.peer, &error);
        if (peer) {
            if (!b->o.json)
                printf("%-18s %s\n", kind->name, kind->describe(peer));
            b->kind[b->o.backend_count] = kind;
            b->peer[b->o.backend_count++] = peer;
            continue;
        }
        fprintf(stderr, "peers: %s: %s\n", kind->name, error.text);
        if (!b->o.all)
            return false;
        b->missing[b->missing_count] = kind->name;
        b->why[b->missing_count++] = error;
    }
    return b->o.backend_count > 0;
}

static void print_missing(const bench *b)
{
    printf("],\n\"missing\":[");
    for (int i = 0; i < b->missing_count; i++) {
        printf("%s{\"backend\":\"%s\",\"why\":", i ? "," : "", b->missing[i]);
        print_json_string(b->why[i].text);
        putchar('}');
    }
    printf("]}\n");
}

// One group of entries: these cases with every backend.
static int run_group(bench *b, int first_case, int case_count, bool first)
{
    rapt_bench_error error = {{0}};
    rapt_bench_inputs *inputs = calloc((size_t)case_count, sizeof *inputs);
    rapt_bench_group group = {.count = case_count * b->o.backend_count, .plan = b->o.plan};
    group.entries = calloc((size_t)group.count, sizeof *group.entries);
    bool good = inputs && group.entries;
    if (!good) {
        rapt_bench_fail(&error, "out of memory");
        group.count = 0;
    }
    for (int i = 0; good && i < case_count; i++) {
        const rapt_bench_case *c = &b->cases[first_case + i];
        good = rapt_bench_inputs_make(c, b->o.seed, &inputs[i], &error);
        for (int k = 0; k < b->o.backend_count; k++)
            group.entries[i * b->o.backend_count + k] =
                (rapt_bench_entry){.kind = b->kind[k], .peer = b->peer[k], .c = c, .inputs = &inputs[i]};
    }
    good = good && rapt_bench_measure(&group, &error);
    int status = good ? GOOD : WRONG;
    if (good)
        print_group(&group, b->o.json, first);
    else
        fprintf(stderr, "peers: %s\n", error.text);
    for (int i = 0; i < group.count; i++)
        if (!group.entries[i].ready)
            status = WRONG;
    rapt_bench_group_free(&group);
    free(group.entries);
    for (int i = 0; inputs && i < case_count; i++)
        rapt_bench_inputs_free(&inputs[i]);
    free(inputs);
    return status;
}

static int run(bench *b)
{
    rapt_bench_error error;
    for (int i = 0; i < b->o.case_count; i++)
        if (!rapt_bench_case_parse(b->o.cases[i], &b->cases[i], &error))
            return usage(error.text, NULL);
    for (int i = 0; i < b->o.backend_count; i++) {
        b->kind[i] = find_kind(b->o.backends[i]);
        if (!b->kind[i])
            return usage("unknown backend", b->o.backends[i]);
    }
    if (!open_all(b))
        return NO_DEVICE;
    int status = GOOD;
    const int step = b->o.together ? b->o.case_count : 1;
    if (b->o.json)
        printf("{\"groups\":[");
    for (int i = 0; i < b->o.case_count && !rapt_bench_stopped; i += step) {
        const int one = run_group(b, i, step, i == 0);
        status = one > status ? one : status;
    }
    if (b->o.json)
        print_missing(b);
    return rapt_bench_stopped ? INTERRUPTED : status;
}

static void on_interrupt(int number)
{
    rapt_bench_stopped = 1;
    signal(number, SIG_DFL); // the second one ends the program
}

int main(int count, char **arguments)
{
    static bench b;
    b.o.plan = rapt_bench_plan_default;
    b.o.seed = 1;
    signal(SIGINT, on_interrupt);
    int status = parse(count, arguments, &b.o);
    if (status < 0)
        status = run(&b);
    for (int i = 0; i < b.o.backend_count; i++)
        if (b.peer[i])
            b.kind[i]->close(b.peer[i]);
    return status;
}
