// schedule: what the scheduler promises, measured: several devices at one attention (`vendors`, `twins`, `slow`), and time slices on
// one (`slices`, `latency`). Every result is proven against double precision before it is timed, and once more behind. What is compared
// takes turns, round by round; a figure is the median of the rounds' ratios with its 95 % interval.
#include "os.h"
#include "stats.h"

#include "check/host.h"

#include <rapt/graph.h>
#include <rapt/rapt.h>
#define VK_NO_PROTOTYPES
#include <rapt/vulkan.h>

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROUNDS = 60, MOST_SPLITS = 17, MOST_SMALL = 4000, GOOD = 0, WRONG = 1, BAD_INPUT = 2, NO_DEVICE = 3 };

static const char help[] =
    "Usage: schedule vendors | twins | slow | slices | latency [options]\n"
    "\n"
    "  vendors  the first device of --devices and a slower one of another vendor at one attention: beside the\n"
    "           first alone, and beside static splits of the heads, swept\n"
    "  twins    the first device opened twice (LP_NUM_THREADS=1: a thread of a software device each), bit-equal to one\n"
    "  slow     the same, one of the two slowed to half its speed between rapt and the driver\n"
    "  slices   one attention cut into slices of --slice-ms beside the same uncut\n"
    "  latency  small work of another thread on a device that runs a long prefill, in slices that a graph holds back\n"
    "\n"
    "  --devices A,B    selectors as of rapt devices; default: the default device, and for vendors any other\n"
    "  --rounds N       default 15; of latency: prefills, default 2\n"
    "  --tokens N       default 2048; of vendors 1024, of slices 8192, of latency 65536\n"
    "  --heads N        default 8; of vendors 16, of slices and latency 1\n"
    "  --slice-ms X     target of a slice; default 50\n"
    "  --in-flight N    latency: slices given to the device at a time; default 2\n"
    "  --json           one object on standard output\n"
    "\n"
    "Exit status: 0 good, 1 wrong result or failure, 2 bad input, 3 no device.\n";

typedef struct options {
    const char *part, *devices;
    uint64_t rounds, tokens, heads, in_flight;
    float slice_ms;
    bool json;
} options;

static int fail(rapt_status status, const rapt_error *error)
{
    fprintf(stderr, "schedule: %s: %s\n", rapt_status_name(status), error->message);
    return status == RAPT_ERROR_NO_DEVICE ? NO_DEVICE : WRONG;
}

// ---- what is told ----

static bool is_json, is_first;
static double others_then, then;

static void begin_report(const options *o, const char *devices)
{
    is_json = o->json;
    is_first = true;
    if (is_json)
        printf("{\"part\": \"%s\", \"devices\": \"%s\", \"tokens\": %" PRIu64 ", \"heads\": %" PRIu64 ", \"rounds\": %" PRIu64 ", \"figures\": {", o->part,
               devices, o->tokens, o->heads, o->rounds);
    else
        printf("%s: %s, %" PRIu64 " tokens, %" PRIu64 " heads of 64, float32\n", o->part, devices, o->tokens, o->heads);
    others_then = rapt_bench_others_cpu();
    then = rapt_bench_now();
}

static void tell(const char *name, const char *words, rapt_interval f)
{
    if (is_json)
        printf("%s\"%s\": [%.6g, %.6g, %.6g]", is_first ? "" : ", ", name, f.median, f.low, f.high);
    else
        printf("  %-62s %.4g [%.4g, %.4g]\n", words, f.median, f.low, f.high);
    is_first = false;
}

static void tell_number(const char *name, const char *words, double x)
{
    tell(name, words, (rapt_interval){.median = x, .low = x, .high = x});
}

static void end_report(void)
{
    const double share = rapt_bench_others_share(others_then, then);
    if (is_json)
        printf("}, \"others_cpu_share\": %.4f}\n", share);
    else if (share > 0.05)
        printf("  (others took %.0f %% of the CPUs)\n", share * 100);
}

static rapt_interval ratio(const double *a, const double *b, size_t count)
{
    return rapt_stats_ratio(a, b, count, 0.95);
}

// ---- a device made slower ----

static char slow_path[1024];

// The library that stands between rapt and the loader, beside this program; "" where it was not built.
static const char *slow_loader(void)
{
    static const char here = 0;
    char folder[900];
    void *library = NULL;
    if (rapt_bench_library_folder(&here, folder, sizeof folder)) {
        snprintf(slow_path, sizeof slow_path, "%s/" RAPT_BENCH_SLOW_VULKAN, folder);
        library = RAPT_BENCH_SLOW_VULKAN[0] ? rapt_bench_library_open(slow_path, false, NULL) : NULL;
    }
    return library ? slow_path : "";
}

static void slow_down(rapt_device *device, unsigned percent)
{
    void (*slow)(const void *, const void *, unsigned) = NULL;
    void *library = rapt_bench_library_open(slow_path, false, NULL);
    void *symbol = library ? rapt_bench_library_symbol(library, "slow_vulkan") : NULL;
    memcpy(&slow, &symbol, sizeof symbol); // ISO C has no cast from an object's to a function's address
    VkDevice handle;
    VkQueue queue;
    rapt_device_handles(device, NULL, NULL, &handle, &queue, NULL);
    if (slow)
        slow(handle, queue, percent);
}

// ---- devices ----

typedef struct scene {
    rapt_runtime *runtime;
    rapt_device *device[2];
    rapt_group *alone[2], *both;
    rapt_check_host host;
    double seconds[3][MOST_ROUNDS]; // of each alone, and both
} scene;

static const char *name_of(const scene *s, int i)
{
    return rapt_device_caps(s->device[i])->device_name;
}

// A device of another driver than the first one, where no selector says which.
static rapt_status find_other(const scene *s, char selector[16], rapt_error *error)
{
    uint32_t count = 0;
    rapt_status status = rapt_device_count(s->runtime, &count, error);
    for (uint32_t i = 0; i < count && status == RAPT_OK; i++) {
        static rapt_caps caps;
        status = rapt_device_query(s->runtime, i, &caps, error);
        if (status == RAPT_OK && strcmp(caps.driver_name, rapt_device_caps(s->device[0])->driver_name) != 0) {
            snprintf(selector, 16, "%u", i);
            return RAPT_OK;
        }
    }
    if (status == RAPT_OK) {
        snprintf(error->message, sizeof error->message, "all %u devices are of one driver: this takes two", count);
        status = RAPT_ERROR_NO_DEVICE;
    }
    return status;
}

static rapt_status open_devices(scene *s, const options *o, bool two, bool slowed, rapt_error *error)
{
    rapt_runtime_options runtime = RAPT_RUNTIME_OPTIONS_INIT;
    rapt_device_options device = RAPT_DEVICE_OPTIONS_INIT;
    char first[80] = "", second[80] = "";
    const char *comma = o->devices ? strchr(o->devices, ',') : NULL;
    if (o->devices)
        snprintf(first, sizeof first, "%.*s", comma ? (int)(comma - o->devices) : 79, o->devices);
    runtime.vulkan_library = slowed ? slow_loader() : NULL;
    if (slowed && !runtime.vulkan_library[0]) {
        snprintf(error->message, sizeof error->message, "the library that makes a device slower is not there: %.300s", slow_path);
        return RAPT_ERROR_IO;
    }
    rapt_status status = rapt_runtime_create(&runtime, &s->runtime, error);
    device.selector = first;
    if (status == RAPT_OK)
        status = rapt_device_open(s->runtime, &device, &s->device[0], error);
    if (status != RAPT_OK || !two)
        return status;
    if (comma)
        snprintf(second, sizeof second, "%s", comma + 1);
    else if (strcmp(o->part, "vendors") == 0)
        status = find_other(s, second, error);
    else
        snprintf(second, sizeof second, "%s", first);
    device.selector = second;
    return status == RAPT_OK ? rapt_device_open(s->runtime, &device, &s->device[1], error) : status;
}

static rapt_status open_groups(scene *s, rapt_error *error)
{
    rapt_group_options group = RAPT_GROUP_OPTIONS_INIT;
    group.threads = 1;
    rapt_status status = RAPT_OK;
    for (int i = 0; i < 2 && status == RAPT_OK; i++)
        status = rapt_group_create(&s->device[i], 1, &group, &s->alone[i], error);
    return status == RAPT_OK ? rapt_group_create(s->device, 2, &group, &s->both, error) : status;
}

static void close_scene(scene *s)
{
    rapt_group_destroy(&s->both);
    for (int i = 0; i < 2; i++)
        rapt_group_destroy(&s->alone[i]);
    for (int i = 0; i < 2; i++)
        rapt_device_destroy(&s->device[i]);
    rapt_runtime_destroy(&s->runtime);
    rapt_check_host_free(&s->host);
}

static rapt_status make_case(scene *s, const options *o, bool causal)
{
    rapt_case c = {.batch = 1, .q_heads = o->heads, .kv_heads = o->heads, .nq = o->tokens, .nk = o->tokens, .d_qk = 64, .d_v = 64,
                   .dtype = RAPT_F32, .causal = causal, .no_lse = true, .seed = 7};
    snprintf(c.name, sizeof c.name, "%s", o->part);
    return rapt_check_host_make(&c, 4e8, &s->host) ? RAPT_OK : RAPT_ERROR_OUT_OF_HOST_MEMORY;
}

// Two devices with a group of each and one of both, and the case.
static rapt_status make_two(scene *s, const options *o, bool slowed, rapt_error *error)
{
    rapt_status status = open_devices(s, o, true, slowed, error);
    if (status == RAPT_OK)
        status = open_groups(s, error);
    return status == RAPT_OK ? make_case(s, o, false) : status;
}

// One device, and the case.
static rapt_status make_one(scene *s, const options *o, bool causal, rapt_error *error)
{
    const rapt_status status = open_devices(s, o, false, false, error);
    return status == RAPT_OK ? make_case(s, o, causal) : status;
}

// The output is what it must be; and poison from now on, so that the next call cannot lean on it.
static bool prove(scene *s, const char *what, void *keep)
{
    char message[300] = "";
    const bool right = rapt_check_host_right(&s->host, message, sizeof message);
    const size_t bytes = (size_t)s->host.problem.operands[RAPT_OP_OUT].bytes;
    if (!right)
        fprintf(stderr, "schedule: %s: WRONG: %s\n", what, message);
    if (keep)
        memcpy(keep, s->host.out, bytes);
    memset(s->host.out, 0xff, bytes);
    return right;
}

// ---- groups ----

static rapt_status call(scene *s, rapt_group *group, double *seconds, rapt_error *error)
{
    const double start = rapt_bench_now();
    const rapt_status status = rapt_group_attention(group, &s->host.problem.desc, &s->host.args, error);
    *seconds = rapt_bench_now() - start;
    return status;
}

// Heads [first, first + count) to a group of one device.
static rapt_status begin_heads(scene *s, rapt_group *group, uint64_t first, uint64_t count, rapt_error *error)
{
    rapt_attention_desc d = s->host.problem.desc;
    rapt_group_attention_args a = s->host.args;
    rapt_tensor *const tensors[4] = {&d.q, &d.k, &d.v, &d.out};
    const void **const from[3] = {&a.q, &a.k, &a.v};
    const int64_t bytes = (int64_t)first * d.q.stride[1] * 4;
    for (int i = 0; i < 4; i++)
        tensors[i]->size[1] = count;
    for (int i = 0; i < 3; i++)
        *from[i] = (const char *)*from[i] + bytes;
    a.out = (char *)a.out + bytes;
    return rapt_group_attention_begin(group, &d, &a, error);
}

// Heads shared out beforehand: the last `second` of them to the second device.
static rapt_status call_split(scene *s, uint64_t second, double *seconds, rapt_error *error)
{
    const uint64_t heads = s->host.problem.desc.q.size[1];
    const double start = rapt_bench_now();
    rapt_status status = begin_heads(s, s->alone[0], 0, heads - second, error);
    if (status == RAPT_OK && second > 0)
        status = begin_heads(s, s->alone[1], heads - second, second, error);
    const rapt_status first_done = rapt_group_wait(s->alone[0], UINT64_MAX, error);
    const rapt_status second_done = second > 0 ? rapt_group_wait(s->alone[1], UINT64_MAX, error) : RAPT_OK;
    *seconds = rapt_bench_now() - start;
    return status != RAPT_OK ? status : first_done != RAPT_OK ? first_done : second_done;
}

// Calls that are not timed: what compiles, and shares that settle. Proven.
static rapt_status settle(scene *s, rapt_group *group, int calls, const char *what, void *keep, bool *right, rapt_error *error)
{
    rapt_status status = RAPT_OK;
    double seconds;
    for (int i = 0; i < calls && status == RAPT_OK && *right; i++) {
        status = call(s, group, &seconds, error);
        *right = status != RAPT_OK || prove(s, what, keep);
    }
    return status;
}

static double share_of(const scene *s, uint32_t member)
{
    rapt_group_member m = RAPT_GROUP_MEMBER_INIT;
    rapt_error ignored;
    return rapt_group_describe(s->both, member, &m, &ignored) == RAPT_OK ? m.share : -1;
}

// ---- twins, slow ----

static int twins(scene *s, const options *o, bool slowed)
{
    rapt_error error = {0};
    bool right = true;
    rapt_status status = make_two(s, o, slowed, &error);
    if (status != RAPT_OK)
        return fail(status, &error);
    const size_t bytes = (size_t)s->host.problem.operands[RAPT_OP_OUT].bytes;
    char *one = malloc(2 * bytes), *all = one + bytes;
    if (!one)
        return fail(RAPT_ERROR_OUT_OF_HOST_MEMORY, &error);
    status = settle(s, s->alone[0], 2, "one alone", one, &right, &error);
    if (slowed)
        slow_down(s->device[1], 200);
    if (status == RAPT_OK)
        status = settle(s, s->alone[1], 3, "the other alone", NULL, &right, &error);
    if (status == RAPT_OK)
        status = settle(s, s->both, 6, "both", all, &right, &error);
    const bool equal = memcmp(one, all, bytes) == 0;
    begin_report(o, name_of(s, 0));
    for (uint64_t n = 0; n < o->rounds && status == RAPT_OK && right; n++)
        for (int i = 0; i < 3 && status == RAPT_OK; i++) {
            const int t = n % 2 ? 2 - i : i;
            status = call(s, t == 2 ? s->both : s->alone[t], &s->seconds[t][n], &error);
        }
    const double share = share_of(s, 1);
    if (status == RAPT_OK && right)
        status = settle(s, s->both, 1, "both, behind", all, &right, &error);
    const bool good = right && equal && memcmp(one, all, bytes) == 0;
    free(one);
    if (status != RAPT_OK || !good) {
        if (status == RAPT_OK)
            fprintf(stderr, "schedule: %s\n", right ? "both do not give the bits of one" : "wrong");
        return status == RAPT_OK ? WRONG : fail(status, &error);
    }
    double sum[MOST_ROUNDS]; // what both rates together would take
    for (uint64_t n = 0; n < o->rounds; n++)
        sum[n] = 1 / (1 / s->seconds[0][n] + 1 / s->seconds[1][n]);
    tell("speedup", "both, beside the first alone", ratio(s->seconds[0], s->seconds[2], o->rounds));
    tell("of_sum", "both, of the sum of both rates", ratio(sum, s->seconds[2], o->rounds));
    tell("second", "the second alone, beside the first", ratio(s->seconds[0], s->seconds[1], o->rounds));
    tell_number("share", "share of the second in the last call", share);
    end_report();
    return GOOD;
}

// ---- vendors ----

// Some of the heads on one device of the two, alone.
static rapt_status call_heads(scene *s, int device, uint64_t heads, double *seconds, rapt_error *error)
{
    const double start = rapt_bench_now();
    rapt_status status = begin_heads(s, s->alone[device], 0, heads, error);
    if (status == RAPT_OK)
        status = rapt_group_wait(s->alone[device], UINT64_MAX, error);
    *seconds = rapt_bench_now() - start;
    return status;
}

typedef struct sweep {
    int count; // static splits tried: none of the heads to the second device, one, ..
    double seconds[MOST_SPLITS][MOST_ROUNDS]; // of those that may be the best
    double first[MOST_SPLITS];                // the first measurement
    double share[MOST_ROUNDS];                // of the second device where both share
    double one_head[2];                       // each alone: seconds
} sweep;

// Splits, until one takes twice the best: more of the heads to the slower device take longer still.
static rapt_status try_splits(scene *s, const options *o, sweep *w, bool *right, rapt_error *error)
{
    rapt_status status = RAPT_OK;
    double best = 0;
    for (int i = 0; i < 2 && status == RAPT_OK; i++)
        for (int n = 0; n < 2 && status == RAPT_OK; n++)
            status = call_heads(s, i, 1, &w->one_head[i], error);
    for (w->count = 0; (uint64_t)w->count < o->heads && w->count < MOST_SPLITS && status == RAPT_OK && *right;) {
        double *seconds = &w->first[w->count];
        for (int n = 0; n < 2 && status == RAPT_OK && *right; n++) { // the first one prepares
            status = call_split(s, (uint64_t)w->count, seconds, error);
            *right = status != RAPT_OK || prove(s, "a static split", NULL);
        }
        best = w->count == 0 || *seconds < best ? *seconds : best;
        w->count++;
        if (*seconds > 2 * best)
            break;
    }
    return status;
}

// Both share again and again, until each has been at two parts or more however slow it is: then shares have settled.
static rapt_status settle_both(scene *s, const sweep *w, bool *right, rapt_error *error)
{
    const double start = rapt_bench_now(), patience = 6 * (w->one_head[0] + w->one_head[1]);
    rapt_status status = RAPT_OK;
    for (int n = 0; status == RAPT_OK && *right && (n < 8 || rapt_bench_now() - start < patience); n++)
        status = settle(s, s->both, 1, "both", NULL, right, error);
    return status;
}

static rapt_status time_vendors(scene *s, const options *o, sweep *w, rapt_error *error)
{
    rapt_status status = RAPT_OK;
    for (uint64_t n = 0; n < o->rounds && status == RAPT_OK; n++)
        for (int i = 0; i <= w->count && status == RAPT_OK; i++) {
            const int t = n % 2 ? w->count - i : i;
            if (t == w->count) {
                status = call(s, s->both, &s->seconds[2][n], error);
                w->share[n] = share_of(s, 1);
            } else if (w->first[t] <= 2 * w->first[0] || n == 0) {
                status = call_split(s, (uint64_t)t, &w->seconds[t][n], error);
            }
        }
    return status;
}

static void tell_vendors(scene *s, const options *o, const sweep *w)
{
    int best = 0;
    tell_number("one_head_0", "one head on the first alone: seconds", w->one_head[0]);
    tell_number("one_head_1", "one head on the second alone: seconds", w->one_head[1]);
    for (int i = 0; i < w->count; i++) {
        char name[40], words[80];
        const bool often = w->first[i] <= 2 * w->first[0];
        snprintf(name, sizeof name, "split_%d", i);
        snprintf(words, sizeof words, "%d of %" PRIu64 " heads to the second: seconds%s", i, o->heads, often ? "" : ", once");
        tell(name, words, rapt_stats_interval(w->seconds[i], often ? o->rounds : 1, 0.95));
        if (often && rapt_stats_of(w->seconds[i], o->rounds).median < rapt_stats_of(w->seconds[best], o->rounds).median)
            best = i;
    }
    tell("both", "both: seconds", rapt_stats_interval(s->seconds[2], o->rounds, 0.95));
    tell("share", "share of the second", rapt_stats_interval(w->share, o->rounds, 0.95));
    tell_number("best_share", "its share in the best static split", (double)best / (double)o->heads);
    tell("beside_best", "time of both beside the best static split", ratio(s->seconds[2], w->seconds[best], o->rounds));
    tell("beside_faster", "time of both beside the faster alone", ratio(s->seconds[2], w->seconds[0], o->rounds));
}

static int vendors(scene *s, const options *o)
{
    static sweep w;
    rapt_error error = {0};
    bool right = true;
    rapt_status status = make_two(s, o, false, &error);
    if (status != RAPT_OK)
        return fail(status, &error);
    status = try_splits(s, o, &w, &right, &error);
    if (status == RAPT_OK && w.one_head[1] < w.one_head[0]) {
        snprintf(error.message, sizeof error.message, "the faster device must be the first of --devices: %.80s is", name_of(s, 1));
        status = RAPT_ERROR_INVALID;
    }
    if (status == RAPT_OK)
        status = settle_both(s, &w, &right, &error);
    char names[600];
    snprintf(names, sizeof names, "%.255s and %.255s", name_of(s, 0), name_of(s, 1));
    if (status == RAPT_OK && right) {
        begin_report(o, names);
        status = time_vendors(s, o, &w, &error);
    }
    if (status == RAPT_OK && right)
        status = settle(s, s->both, 1, "both, behind", NULL, &right, &error);
    if (status != RAPT_OK || !right)
        return right ? fail(status, &error) : WRONG;
    tell_vendors(s, o, &w);
    end_report();
    return GOOD;
}

// ---- one device ----

typedef struct work {
    rapt_buffer *buffer[4]; // q, k, v, out
    rapt_plan *plan;
    rapt_binding *binding;
    rapt_plan_info info;
} work;

static rapt_status make_buffers(scene *s, work *w, rapt_error *error)
{
    const rapt_group_attention_args *a = &s->host.args;
    const void *from[3] = {a->q, a->k, a->v};
    const rapt_attention_desc *d = &s->host.problem.desc;
    const rapt_tensor *tensor[4] = {&d->q, &d->k, &d->v, &d->out};
    rapt_status status = RAPT_OK;
    for (int i = 0; i < 4 && status == RAPT_OK; i++) {
        const uint64_t bytes = tensor[i]->size[1] * tensor[i]->size[2] * tensor[i]->size[3] * 4;
        status = rapt_buffer_create(s->device[0], bytes, &w->buffer[i], error);
        if (status == RAPT_OK && i < 3)
            status = rapt_buffer_upload(w->buffer[i], 0, from[i], bytes, error);
    }
    return status;
}

static rapt_status make_work(scene *s, work *w, work *of, float slice_ms, rapt_error *error)
{
    rapt_attention_desc d = s->host.problem.desc;
    rapt_attention_args a = RAPT_ATTENTION_ARGS_INIT;
    rapt_slot *slots[4] = {&a.q, &a.k, &a.v, &a.out};
    d.slice_ms = slice_ms;
    rapt_status status = of == w ? make_buffers(s, w, error) : RAPT_OK;
    for (int i = 0; i < 4; i++)
        slots[i]->buffer = of->buffer[i];
    if (status == RAPT_OK)
        status = rapt_attention_plan(s->device[0], &d, &w->plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(w->plan, error);
    w->info = (rapt_plan_info)RAPT_PLAN_INFO_INIT;
    if (status == RAPT_OK)
        status = rapt_plan_describe(w->plan, &w->info, error);
    return status == RAPT_OK ? rapt_attention_bind(w->plan, &a, &w->binding, error) : status;
}

static void free_work(work *w)
{
    rapt_binding_destroy(&w->binding);
    rapt_plan_destroy(&w->plan);
    for (int i = 0; i < 4; i++)
        rapt_buffer_destroy(&w->buffer[i]);
}

static rapt_status run(work *w, double *seconds, rapt_error *error)
{
    const double start = rapt_bench_now();
    rapt_status status = rapt_submit(w->binding, error);
    if (status == RAPT_OK)
        status = rapt_wait(w->binding, UINT64_MAX, error);
    *seconds = rapt_bench_now() - start;
    return status;
}

static rapt_status check_work(scene *s, work *of, const char *what, bool *right, rapt_error *error)
{
    const uint64_t bytes = rapt_buffer_size(of->buffer[3]);
    rapt_status status = rapt_buffer_download(of->buffer[3], 0, s->host.args.out, bytes, error);
    if (status == RAPT_OK)
        *right = *right && prove(s, what, NULL);
    return status == RAPT_OK ? rapt_buffer_fill(of->buffer[3], 0, bytes, 0xffffffffu, error) : status;
}

// A plan with slices by the speed that was measured: the first runs of a first one are thrown away.
static rapt_status make_sliced(scene *s, work *base, work *sliced, float slice_ms, rapt_error *error)
{
    double seconds;
    rapt_status status = make_work(s, base, base, 1e6f, error);
    for (int i = 0; i < 2 && status == RAPT_OK; i++) // the first may have a driver's compilation in it, and does not count
        status = run(base, &seconds, error);
    return status == RAPT_OK ? make_work(s, sliced, base, slice_ms, error) : status;
}

static int slices(scene *s, const options *o)
{
    static work whole, sliced;
    rapt_error error = {0};
    bool right = true;
    rapt_status status = make_one(s, o, false, &error);
    if (status == RAPT_OK)
        status = make_sliced(s, &whole, &sliced, o->slice_ms, &error);
    if (status == RAPT_OK)
        status = check_work(s, &whole, "uncut", &right, &error);
    if (status == RAPT_OK)
        status = run(&sliced, &s->seconds[1][0], &error);
    if (status == RAPT_OK)
        status = check_work(s, &whole, "in slices", &right, &error);
    if (status == RAPT_OK && right)
        begin_report(o, name_of(s, 0));
    for (uint64_t n = 0; n < o->rounds && status == RAPT_OK && right; n++)
        for (int i = 0; i < 2 && status == RAPT_OK; i++) {
            const int t = n % 2 ? 1 - i : i;
            status = run(t ? &sliced : &whole, &s->seconds[t][n], &error);
        }
    if (status == RAPT_OK && right)
        status = check_work(s, &whole, "behind", &right, &error);
    if (status == RAPT_OK && right) {
        tell_number("uncut_slices", "slices, uncut", whole.info.slices);
        tell_number("slices", "slices", sliced.info.slices);
        tell_number("slice_ms", "mean time of a slice, ms", rapt_stats_of(s->seconds[1], o->rounds).median * 1e3 / sliced.info.slices);
        tell("cost", "time in slices beside uncut", ratio(s->seconds[1], s->seconds[0], o->rounds));
        end_report();
    }
    free_work(&sliced);
    free_work(&whole);
    return status != RAPT_OK ? fail(status, &error) : right ? GOOD : WRONG;
}

// ---- latency ----

typedef struct sharing {
    rapt_graph *graph;
    work *small;
    rapt_status status[2];
    rapt_error error[2];
    double prefill;             // seconds
    double small_at[MOST_SMALL]; // seconds of each
    size_t count;
    atomic_bool done;
} sharing;

// Thread 0 runs the prefill, thread 1 small work until it is over, with pauses as of another client.
static void share_device(void *context, int thread)
{
    sharing *g = context;
    if (thread == 0) {
        const double start = rapt_bench_now();
        g->status[0] = rapt_graph_submit(g->graph, &g->error[0]);
        if (g->status[0] == RAPT_OK)
            g->status[0] = rapt_graph_wait(g->graph, UINT64_MAX, &g->error[0]);
        g->prefill = rapt_bench_now() - start;
        atomic_store(&g->done, true);
        return;
    }
    rapt_bench_sleep(0.2);
    while (!atomic_load(&g->done) && g->count < MOST_SMALL && g->status[1] == RAPT_OK) {
        g->status[1] = run(g->small, &g->small_at[g->count], &g->error[1]);
        g->count += !atomic_load(&g->done); // what ended behind the prefill was not all of it beside it
        rapt_bench_sleep(0.037);
    }
}

// One query of one head over 64 keys, of the prefill's own tensors.
static rapt_status make_small(scene *s, work *small, work *of, rapt_buffer **out, rapt_error *error)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_attention_args a = RAPT_ATTENTION_ARGS_INIT;
    d.q = d.out = rapt_tensor_bhnd(RAPT_F32, 1, 1, 1, 64);
    d.k = d.v = rapt_tensor_bhnd(RAPT_F32, 1, 1, 64, 64);
    rapt_status status = rapt_buffer_create(s->device[0], 256, out, error);
    a.q.buffer = of->buffer[0];
    a.k.buffer = of->buffer[1];
    a.v.buffer = of->buffer[2];
    a.out.buffer = *out;
    if (status == RAPT_OK)
        status = rapt_attention_plan(s->device[0], &d, &small->plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(small->plan, error);
    return status == RAPT_OK ? rapt_attention_bind(small->plan, &a, &small->binding, error) : status;
}

static rapt_status make_graph(scene *s, const options *o, work *prefill, rapt_graph **graph, rapt_error *error)
{
    rapt_graph_options g = RAPT_GRAPH_OPTIONS_INIT;
    g.in_flight = (uint32_t)o->in_flight;
    rapt_status status = rapt_graph_create(s->device[0], &g, graph, error);
    if (status == RAPT_OK)
        status = rapt_graph_add(*graph, prefill->binding, 0, NULL, error);
    return status == RAPT_OK ? rapt_graph_finish(*graph, error) : status;
}

static int latency(scene *s, const options *o)
{
    static work prefill, sliced, small;
    static sharing g;
    static double slice[MOST_SMALL]; // of the prefill that each small work ran beside
    rapt_buffer *out = NULL;
    rapt_error error = {0};
    bool right = true;
    size_t before = 0;
    rapt_status status = make_one(s, o, true, &error);
    if (status == RAPT_OK)
        status = make_sliced(s, &prefill, &sliced, o->slice_ms, &error);
    if (status == RAPT_OK)
        status = check_work(s, &prefill, "uncut", &right, &error);
    if (status == RAPT_OK)
        status = make_small(s, &small, &prefill, &out, &error);
    if (status == RAPT_OK)
        status = make_graph(s, o, &sliced, &g.graph, &error);
    double alone[21];
    for (int i = 0; i < 21 && status == RAPT_OK; i++)
        status = run(&small, &alone[i], &error);
    g.small = &small;
    if (status == RAPT_OK && right)
        begin_report(o, name_of(s, 0));
    for (uint64_t n = 0; n < o->rounds && status == RAPT_OK && right; n++) {
        atomic_store(&g.done, false);
        if (!rapt_bench_parallel(2, share_device, &g))
            status = RAPT_ERROR_OUT_OF_HOST_MEMORY;
        for (int i = 0; i < 2 && status == RAPT_OK; i++) {
            status = g.status[i];
            error = g.error[i];
        }
        s->seconds[1][n] = g.prefill;
        for (; before < g.count; before++)
            slice[before] = g.prefill / sliced.info.slices;
        if (status == RAPT_OK)
            status = check_work(s, &prefill, "beside small work", &right, &error);
        if (status == RAPT_OK)
            status = run(&prefill, &s->seconds[0][n], &error);
    }
    if (status == RAPT_OK && right) {
        double slices_of[MOST_SMALL], worst;
        for (size_t i = 0; i < g.count; i++)
            slices_of[i] = g.small_at[i] / slice[i];
        worst = rapt_stats_of(slices_of, g.count).max;
        tell_number("slices", "slices of the prefill", sliced.info.slices);
        tell("slice_ms", "mean time of a slice, ms", rapt_stats_interval((double[]){rapt_stats_of(slice, g.count).median * 1e3}, 1, 0.95));
        tell_number("small", "small works beside prefills", (double)g.count);
        tell_number("alone_ms", "small work alone, ms", rapt_stats_of(alone, 21).median * 1e3);
        tell("latency_ms", "small work beside a prefill, ms", (rapt_interval){.median = rapt_stats_of(g.small_at, g.count).median * 1e3, .low = rapt_stats_of(g.small_at, g.count).min * 1e3, .high = rapt_stats_of(g.small_at, g.count).max * 1e3});
        tell("latency", "the same in slices: median, least, most", (rapt_interval){.median = rapt_stats_of(slices_of, g.count).median, .low = rapt_stats_of(slices_of, g.count).min, .high = worst});
        tell_number("p99", "the same, 99 of 100 below", rapt_stats_quantile(slices_of, g.count, 0.99));
        tell("prefill", "prefill beside small work, beside uncut and alone", ratio(s->seconds[1], s->seconds[0], o->rounds));
        end_report();
    }
    rapt_graph_destroy(&g.graph);
    free_work(&small);
    rapt_buffer_destroy(&out);
    free_work(&sliced);
    free_work(&prefill);
    return status != RAPT_OK ? fail(status, &error) : right ? GOOD : WRONG;
}

// ---- the command line ----

static bool number(const char *word, uint64_t most, uint64_t *to)
{
    char *end;
    const unsigned long long n = strtoull(word, &end, 10);
    *to = n;
    return word[0] >= '0' && word[0] <= '9' && *end == 0 && n >= 1 && n <= most;
}

static bool read_options(int argc, char **argv, options *o)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        char *end;
        if (strcmp(word, "--json") == 0) {
            o->json = true;
            continue;
        }
        if (word[0] != '-' && !o->part) {
            o->part = word;
            continue;
        }
        i++;
        if (strcmp(word, "--devices") == 0 && value[0])
            o->devices = value;
        else if (strcmp(word, "--slice-ms") == 0 && (o->slice_ms = strtof(value, &end)) > 0 && *end == 0)
            continue;
        else if (!(strcmp(word, "--rounds") == 0 ? number(value, MOST_ROUNDS, &o->rounds)
                   : strcmp(word, "--tokens") == 0 ? number(value, 1u << 20, &o->tokens)
                   : strcmp(word, "--heads") == 0 ? number(value, 256, &o->heads)
                   : strcmp(word, "--in-flight") == 0 ? number(value, 1024, &o->in_flight) : false))
            return false;
    }
    return o->part != NULL;
}

int main(int argc, char **argv)
{
    static scene s;
    options o = {.in_flight = 2, .slice_ms = 50};
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(help, stdout);
        return GOOD;
    }
    if (!read_options(argc, argv, &o)) {
        fputs(help, stderr);
        return BAD_INPUT;
    }
    const bool is_latency = strcmp(o.part, "latency") == 0, is_slices = strcmp(o.part, "slices") == 0;
    const bool is_slow = strcmp(o.part, "slow") == 0, is_twins = strcmp(o.part, "twins") == 0;
    o.rounds = o.rounds ? o.rounds : is_latency ? 2 : 15;
    const bool is_vendors = strcmp(o.part, "vendors") == 0;
    o.tokens = o.tokens ? o.tokens : is_latency ? 65536 : is_slices ? 8192 : is_vendors ? 1024 : 2048;
    o.heads = o.heads ? o.heads : is_latency || is_slices ? 1 : is_vendors ? 16 : 8;
    int code = BAD_INPUT;
    if (is_latency)
        code = latency(&s, &o);
    else if (is_slices)
        code = slices(&s, &o);
    else if (is_slow || is_twins)
        code = twins(&s, &o, is_slow);
    else if (is_vendors)
        code = vendors(&s, &o);
    else
        fputs(help, stderr);
    close_scene(&s);
    return code;
}
