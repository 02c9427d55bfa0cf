/* rapt simulate: one attention over devices that are not here. */
#include "args.h"
#include "bench/head.h"
#include "bench/output.h"
#include "number_list.h"
#include "simulate_rates.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct simulate_options {
    const char *method, *devices, *seq, *batch, *heads, *kv_heads, *head_dim, *v_head_dim, *dtype, *pattern, *queries;
    const char *rate, *linear_rate, *memory, *copy, *call, *from, *speeds, *link, *at_once;
    const char *json, *html, *picture;
    bool equal, cache_is_copied;
    tool_device_options device;
} simulate_options;

typedef struct simulation {
    const simulate_options *o;
    rapt_spread spread;
    rapt_cluster cluster;
    rapt_dtype dtype;
    bool methods[RAPT_SPREAD_METHODS], measured;
    int64_t devices[NUMBER_LIST_MOST], seq[NUMBER_LIST_MOST];
    double rates[NUMBER_LIST_MOST], speeds[NUMBER_LIST_MOST], each[RAPT_CLUSTER_DEVICES];
    size_t device_counts, seq_counts, rate_count, speed_count;
    simulate_rates known;
    FILE *out;
    cJSON *forecasts;
} simulation;

/* ---- the command line ---- */

static bool read_methods(simulation *s, rapt_error *error)
{
    for (const char *at = s->o->method ? s->o->method : "zigzag"; *at;) {
        const size_t length = strcspn(at, ",");
        int m = 0;
        while (m < RAPT_SPREAD_METHODS &&
               (strlen(rapt_spread_name((rapt_spread_method)m)) != length || strncmp(rapt_spread_name((rapt_spread_method)m), at, length) != 0))
            m++;
        const bool all = length == 3 && strncmp(at, "all", 3) == 0;
        if (m == RAPT_SPREAD_METHODS && !all)
            return tool_fail(error, RAPT_ERROR_INVALID, "--method '%.40s': of ring, zigzag, gather, heads, decode, lasp2, all, with commas between", at);
        for (int n = 0; n < RAPT_SPREAD_METHODS; n++)
            s->methods[n] |= all || n == m;
        at += length + (at[length] == ',');
    }
    return true;
}

static bool read_pattern(simulation *s, rapt_error *error)
{
    const char *word = s->o->pattern ? s->o->pattern : "causal";
    int64_t window = 0;
    if (strcmp(word, "full") == 0) {
        s->spread.pattern = RAPT_SPREAD_FULL;
    } else if (strcmp(word, "causal") == 0) {
        s->spread.pattern = RAPT_SPREAD_CAUSAL;
    } else if (strncmp(word, "window=", 7) == 0) {
        s->spread.pattern = RAPT_SPREAD_WINDOW;
        if (!tool_integer("--pattern window", word + 7, 1, INT32_MAX, &window, error))
            return false;
        s->spread.window = (uint64_t)window;
    } else if (strncmp(word, "density=", 8) == 0) {
        s->spread.pattern = RAPT_SPREAD_DENSITY;
        if (!tool_number("--pattern density", word + 8, &s->spread.density, error))
            return false;
        if (!(s->spread.density > 0 && s->spread.density <= 1))
            return tool_fail(error, RAPT_ERROR_INVALID, "--pattern '%.40s': a density is above 0, and at most 1", word);
    } else {
        return tool_fail(error, RAPT_ERROR_INVALID, "--pattern '%.40s': full, causal, window=W or density=D is needed", word);
    }
    return true;
}

static bool read_size(const char *option, const char *word, uint64_t otherwise, uint64_t *out, rapt_error *error)
{
    int64_t x = (int64_t)otherwise;
    if (word && !tool_integer(option, word, 1, INT32_MAX, &x, error))
        return false;
    *out = (uint64_t)x;
    return true;
}

static bool read_problem(simulation *s, rapt_error *error)
{
    const simulate_options *o = s->o;
    rapt_spread *p = &s->spread;
    const char *dtype = o->dtype ? o->dtype : "f16";
    s->dtype = strcmp(dtype, "f32") == 0 ? RAPT_F32 : strcmp(dtype, "f16") == 0 ? RAPT_F16 : strcmp(dtype, "bf16") == 0 ? RAPT_BF16 : RAPT_DTYPE_NONE;
    if (s->dtype == RAPT_DTYPE_NONE)
        return tool_fail(error, RAPT_ERROR_INVALID, "--dtype '%.40s': f32, f16 or bf16 is needed", dtype);
    p->element_bytes = rapt_dtype_size(s->dtype);
    p->cache_is_copied = o->cache_is_copied;
    if (!read_size("--batch", o->batch, 1, &p->batch, error) || !read_size("--heads", o->heads, 32, &p->q_heads, error) ||
        !read_size("--kv-heads", o->kv_heads, p->q_heads, &p->kv_heads, error) || !read_size("--head-dim", o->head_dim, 128, &p->d_qk, error) ||
        !read_size("--v-head-dim", o->v_head_dim, p->d_qk, &p->d_v, error) || !read_size("--queries", o->queries, 1, &p->queries, error))
        return false;
    return p->q_heads % p->kv_heads == 0 ||
           tool_fail(error, RAPT_ERROR_INVALID, "--heads %" PRIu64 " is no multiple of --kv-heads %" PRIu64, p->q_heads, p->kv_heads);
}

/* A number above 0 in some unit; absent: 0. */
static bool read_rate(const char *option, const char *word, double unit, double *out, rapt_error *error)
{
    double x;
    if (!word)
        return true;
    if (!tool_number(option, word, &x, error))
        return false;
    *out = x * unit;
    return x > 0 || tool_fail(error, RAPT_ERROR_INVALID, "%s: %.40s is not above 0", option, word);
}

static bool read_link(simulation *s, rapt_error *error)
{
    double link[NUMBER_LIST_MOST];
    size_t count;
    if (!s->o->link)
        return tool_fail(error, RAPT_ERROR_INVALID, "--link is needed: GB/s of a device's link each way, and microseconds of a message, as in 25,5");
    if (!number_list_read_real("--link", s->o->link, true, link, &count, error))
        return false;
    if (count > 2 || link[0] <= 0)
        return tool_fail(error, RAPT_ERROR_INVALID, "--link '%.60s': GB/s above 0, and microseconds, are needed", s->o->link);
    s->cluster.link_bytes = link[0] * 1e9;
    s->cluster.link_seconds = count > 1 ? link[1] * 1e-6 : 0;
    return true;
}

static bool read_speeds(simulation *s, rapt_error *error)
{
    const simulate_options *o = s->o;
    int64_t at_once = 0;
    s->measured = !o->rate || strcmp(o->rate, "measured") == 0;
    if (!s->measured && o->from)
        return tool_fail(error, RAPT_ERROR_INVALID, "--rate %.40s and --from exclude each other", o->rate);
    if (!s->measured && !number_list_read_real("--rate", o->rate, false, s->rates, &s->rate_count, error))
        return false;
    if (o->speeds && s->rate_count > 1)
        return tool_fail(error, RAPT_ERROR_INVALID, "--speeds and several --rate exclude each other");
    if (o->speeds && !number_list_read_real("--speeds", o->speeds, false, s->speeds, &s->speed_count, error))
        return false;
    for (size_t n = 0; n < s->rate_count && s->rate_count > 1; n++)
        s->speeds[s->speed_count++] = s->rates[n] / s->rates[0];
    if (o->at_once && !tool_integer("--at-once", o->at_once, 1, RAPT_CLUSTER_DEVICES, &at_once, error))
        return false;
    s->cluster.at_once = (uint32_t)at_once;
    s->cluster.equal_shares = o->equal;
    for (size_t n = 0; n < RAPT_CLUSTER_DEVICES && s->speed_count > 0; n++)
        s->each[n] = s->speeds[n % s->speed_count];
    s->cluster.speeds = s->speed_count > 0 ? s->each : NULL;
    return true;
}

static bool read_all(simulation *s, rapt_error *error)
{
    const simulate_options *o = s->o;
    return read_methods(s, error) && read_problem(s, error) && read_pattern(s, error) && read_link(s, error) && read_speeds(s, error) &&
           number_list_read("--devices", o->devices ? o->devices : "1,2,4,8", 1, RAPT_CLUSTER_DEVICES, s->devices, &s->device_counts, error) &&
           number_list_read("--seq", o->seq ? o->seq : "32768", 1, INT32_MAX, s->seq, &s->seq_counts, error);
}

/* ---- rates ---- */

static int64_t largest(const int64_t *list, size_t count)
{
    int64_t most = 0;
    for (size_t n = 0; n < count; n++)
        most = list[n] > most ? list[n] : most;
    return most;
}

/* What is measured: the problem with as many tokens as a software device takes in a moment. */
static simulate_problem problem_of(const simulation *s)
{
    const rapt_spread *p = &s->spread;
    const uint64_t most = (uint64_t)largest(s->seq, s->seq_counts);
    return (simulate_problem){.dtype = s->dtype, .batch = p->batch, .q_heads = p->q_heads, .kv_heads = p->kv_heads, .d_qk = p->d_qk, .d_v = p->d_v,
                              .tokens = most < 1024 ? most : 1024, .keys = most < 4096 ? most : 4096,
                              .causal = p->pattern == RAPT_SPREAD_CAUSAL || p->pattern == RAPT_SPREAD_WINDOW,
                              .attention = s->methods[RAPT_SPREAD_RING] || s->methods[RAPT_SPREAD_ZIGZAG] || s->methods[RAPT_SPREAD_GATHER] ||
                                           s->methods[RAPT_SPREAD_HEADS],
                              .decode = s->methods[RAPT_SPREAD_DECODE], .linear = s->methods[RAPT_SPREAD_LASP2]};
}

static int measure(simulation *s, const simulate_problem *p)
{
    tool_device d = {0};
    int code = tool_device_open(&s->o->device, s->out == stderr, &d);
    if (code == TOOL_GOOD && rapt_device_caps(d.device)->no_execution)
        code = tool_error(TOOL_REFUSED, "this device compiles only: nothing can be timed on it");
    if (code == TOOL_GOOD)
        code = simulate_measure(d.device, p, &s->known);
    tool_device_close(&d);
    return code;
}

/* What is given counts before what was found. */
static int find_rates(simulation *s)
{
    const simulate_options *o = s->o;
    const simulate_problem p = problem_of(s);
    rapt_error error = {0};
    simulate_rates *r = &s->known;
    int code = TOOL_GOOD;
    if (o->from && !simulate_read_rates(o->from, &p, r, &error))
        return tool_report(&error);
    if (!s->measured)
        snprintf(r->from, sizeof r->from, "given");
    else if (!o->from)
        code = measure(s, &p);
    if (code != TOOL_GOOD)
        return code;
    if (s->rate_count > 0)
        r->flops = s->rates[0] * 1e9;
    if (!read_rate("--linear-rate", o->linear_rate, 1e9, &r->linear_flops, &error) || !read_rate("--memory", o->memory, 1e9, &r->memory, &error) ||
        !read_rate("--copy", o->copy, 1e9, &r->copy, &error) || !read_rate("--call", o->call, 1e-6, &r->call, &error))
        return tool_report(&error);
    if (s->methods[RAPT_SPREAD_LASP2] && r->linear_flops <= 0)
        return tool_error(TOOL_BAD_INPUT, "lasp2 needs --linear-rate, GFLOP/s of linear attention, where it is not measured");
    if (r->memory <= 0)
        return tool_error(TOOL_BAD_INPUT, "--memory is needed, GB/s of decoding and merging, where it is not measured");
    if (p.attention && r->flops <= 0)
        return tool_error(TOOL_BAD_INPUT, "--rate is needed, GFLOP/s of attention, where it is not measured");
    s->cluster.flops = r->flops > 0 ? r->flops : 1e30; /* decoding alone: bound by memory */
    s->cluster.linear_flops = r->linear_flops;
    s->cluster.memory = r->memory;
    s->cluster.copy = r->copy;
    s->cluster.copy_call = r->copy_call;
    s->cluster.call = r->call;
    return TOOL_GOOD;
}

/* ---- what is told ---- */

static void tell_rates(const simulation *s)
{
    const simulate_rates *r = &s->known;
    fprintf(s->out, "one device: ");
    if (r->flops > 0)
        fprintf(s->out, "attention %.4g GFLOP/s, ", r->flops * 1e-9);
    if (r->linear_flops > 0)
        fprintf(s->out, "linear attention %.4g GFLOP/s, ", r->linear_flops * 1e-9);
    fprintf(s->out, "decoding %.4g GB/s, ", r->memory * 1e-9);
    if (r->copy > 0)
        fprintf(s->out, "copies %.4g GB/s and %.4g us each, ", r->copy * 1e-9, r->copy_call * 1e6);
    fprintf(s->out, "a call %.4g us; %s\n", r->call * 1e6, r->from);
    fprintf(s->out, "links: %.4g GB/s each way, %.4g us a message\n\n", s->cluster.link_bytes * 1e-9, s->cluster.link_seconds * 1e6);
}

static cJSON *rates_json(const simulation *s)
{
    cJSON *o = cJSON_CreateObject();
    const simulate_rates *r = &s->known;
    const struct {
        const char *name;
        double value;
    } all[] = {{"flops_per_second", r->flops}, {"linear_flops_per_second", r->linear_flops}, {"bytes_per_second", r->memory},
               {"copy_bytes_per_second", r->copy}, {"copy_seconds", r->copy_call}, {"call_seconds", r->call}};
    for (size_t n = 0; n < TOOL_COUNT(all); n++)
        if (all[n].value > 0)
            tool_json_number(o, all[n].name, all[n].value);
    cJSON_AddStringToObject(o, "from", r->from);
    cJSON *speeds = s->speed_count > 0 ? cJSON_AddArrayToObject(o, "speeds") : NULL;
    for (size_t n = 0; n < s->speed_count; n++)
        cJSON_AddItemToArray(speeds, cJSON_CreateNumber(s->speeds[n]));
    return o;
}

static cJSON *problem_json(const simulation *s)
{
    cJSON *o = cJSON_CreateObject();
    const rapt_spread *p = &s->spread;
    cJSON_AddNumberToObject(o, "batch", (double)p->batch);
    cJSON_AddNumberToObject(o, "q_heads", (double)p->q_heads);
    cJSON_AddNumberToObject(o, "kv_heads", (double)p->kv_heads);
    cJSON_AddNumberToObject(o, "head_dim_qk", (double)p->d_qk);
    cJSON_AddNumberToObject(o, "head_dim_v", (double)p->d_v);
    cJSON_AddStringToObject(o, "dtype", rapt_dtype_name(s->dtype));
    cJSON_AddStringToObject(o, "pattern", s->o->pattern ? s->o->pattern : "causal");
    cJSON_AddNumberToObject(o, "queries", (double)p->queries);
    return o;
}

/* "1.23 GB" */
static void bytes_text(double bytes, char out[24])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    size_t unit = 0;
    for (; bytes >= 999.5 && unit + 1 < TOOL_COUNT(units); unit++)
        bytes /= 1000;
    snprintf(out, 24, "%.3g %s", bytes, units[unit]);
}

static void tell_head(const simulation *s)
{
    fprintf(s->out, "%-8s %8s %10s %11s %11s %11s %10s %10s %8s %10s\n", "method", "devices", "tokens", "step", "work", "waiting", "sent", "held", "balance",
            "efficiency");
}

static void tell(simulation *s, const rapt_forecast *f)
{
    const char *method = rapt_spread_name(s->spread.method);
    char step[32], work[32], waiting[32], sent[24], held[24];
    tool_duration(f->seconds * 1e9, step);
    tool_duration(f->compute * 1e9, work);
    tool_duration(f->waiting * 1e9, waiting);
    bytes_text(f->sent_most, sent);
    bytes_text(f->held, held);
    fprintf(s->out, "%-8s %8u %10" PRIu64 " %11s %11s %11s %10s %10s %8.3f %9.1f%%\n", method, s->cluster.devices, s->spread.tokens, step, work, waiting,
            sent, held, f->balance, 100 * f->efficiency);
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "method", method);
    cJSON_AddNumberToObject(o, "devices", s->cluster.devices);
    cJSON_AddNumberToObject(o, "tokens", (double)s->spread.tokens);
    tool_json_number(o, "seconds", f->seconds);
    tool_json_number(o, "compute_seconds", f->compute);
    tool_json_number(o, "waiting_seconds", f->waiting);
    tool_json_number(o, "alone_seconds", f->alone);
    tool_json_number(o, "sent_bytes", f->sent_most);
    tool_json_number(o, "sent_bytes_all", f->sent);
    tool_json_number(o, "held_bytes", f->held);
    tool_json_number(o, "balance", f->balance);
    tool_json_number(o, "efficiency", f->efficiency);
    cJSON_AddItemToArray(s->forecasts, o);
}

static int simulate_one(simulation *s, rapt_spread_method method, int64_t devices, int64_t tokens)
{
    rapt_error error = {0};
    rapt_forecast f = RAPT_FORECAST_INIT;
    s->spread.method = method;
    s->spread.tokens = (uint64_t)tokens;
    s->cluster.devices = (uint32_t)devices;
    const rapt_status status = rapt_simulate(&s->cluster, &s->spread, &f, &error);
    if (status != RAPT_OK)
        return tool_status_error(status, &error);
    tell(s, &f);
    return TOOL_GOOD;
}

static int simulate_all(simulation *s)
{
    int code = TOOL_GOOD;
    tell_head(s);
    for (int m = 0; m < RAPT_SPREAD_METHODS; m++)
        for (size_t t = 0; t < s->seq_counts && s->methods[m]; t++)
            for (size_t d = 0; d < s->device_counts && code == TOOL_GOOD; d++)
                code = simulate_one(s, (rapt_spread_method)m, s->devices[d], s->seq[t]);
    return code;
}

static int run(simulation *s, int argc, char **argv)
{
    const simulate_options *o = s->o;
    const output_files files = {.json = o->json, .html = o->html, .picture = o->picture};
    rapt_error error = {0};
    if (!read_all(s, &error) || !output_check(&files, &error))
        return tool_error(TOOL_BAD_INPUT, "%s", error.message);
    s->out = o->json && strcmp(o->json, "-") == 0 ? stderr : stdout;
    int code = find_rates(s);
    if (code != TOOL_GOOD)
        return code;
    cJSON *json = head_json("simulate", argc, argv);
    cJSON_ReplaceItemInObjectCaseSensitive(json, "schema", cJSON_CreateString("rapt-simulate/1"));
    cJSON_AddItemToObject(json, "problem", problem_json(s));
    cJSON_AddItemToObject(json, "rates", rates_json(s));
    cJSON *link = cJSON_AddObjectToObject(json, "link");
    tool_json_number(link, "bytes_per_second", s->cluster.link_bytes);
    tool_json_number(link, "seconds", s->cluster.link_seconds);
    s->forecasts = cJSON_AddArrayToObject(json, "forecasts");
    tell_rates(s);
    code = simulate_all(s);
    if (code == TOOL_GOOD)
        code = output_write(&files, json);
    cJSON_Delete(json);
    return code;
}

static const char text[] =
    "Tells what one attention would take on N devices: seconds of a step, bytes that each device\n"
    "sends, how even the work is, and how near the speed-up comes to N. Nothing but one device's\n"
    "rates and the links' figures is needed, for up to 4,096 devices.\n"
    "\n"
    "  ring     keys and values go round, each device's share one piece (Ring Attention)\n"
    "  zigzag   the same with shares of two pieces, so that causal attention is even\n"
    "  gather   keys and values of all are gathered first\n"
    "  heads    all-to-all to shares of the heads, and back (Ulysses)\n"
    "  decode   --queries rows over a cache of --seq keys that is spread; results are merged\n"
    "  lasp2    linear attention, one gathering of states (LASP-2)\n"
    "\n"
    "work: of the busiest device; waiting: of the one that is done last, for others and for\n"
    "transfers that do not hide behind work; sent, held: bytes, and bytes of keys and values, of\n"
    "the device with the most; balance: mean of all devices' work over the busiest one's;\n"
    "efficiency: speed-up over one device, as a part of what the devices together could be.\n"
    "\n"
    "Rates are measured on the device at hand (--rate measured), with the kernels that it would\n"
    "take and up to 1,024 tokens; read from a file of rapt bench --json (--from); or given. The\n"
    "model is that of librapt_mpi's calls: rapt/simulate.h says it in formulas.";

int tool_simulate(int argc, char **argv)
{
    simulate_options o = {0};
    const tool_option options[] = {
        {"--method", "LIST", "of the above, or all; default zigzag", &o.method, NULL, 0},
        {"--devices", "LIST", "numbers of devices; 1,2,4,...,1024 goes on as it began; default 1,2,4,8", &o.devices, NULL, 0},
        {"--seq", "LIST", "tokens of all devices together; default 32768", &o.seq, NULL, 0},
        {"--batch", "N", "default 1", &o.batch, NULL, 0},
        {"--heads", "N", "query heads; default 32", &o.heads, NULL, 0},
        {"--kv-heads", "N", "default: as many", &o.kv_heads, NULL, 0},
        {"--head-dim", "N", "default 128", &o.head_dim, NULL, 0},
        {"--v-head-dim", "N", "of v and out; default: the same", &o.v_head_dim, NULL, 0},
        {"--dtype", "f32|f16|bf16", "of what is stored and sent; default f16", &o.dtype, NULL, 0},
        {"--pattern", "P", "full, causal (the default), window=W: itself and W - 1 tokens before, or\ndensity=D: this part of all pairs", &o.pattern, NULL, 0},
        {"--queries", "N", "rows of each head that are decoded; default 1", &o.queries, NULL, 0},
        {"--rate", "GFLOPS|measured", "of attention on one device. A list: devices of these rates in turn, whose\nshares are in proportion", &o.rate, NULL, 0},
        {"--from", "FILE", "rates of the first device of what rapt bench --json wrote", &o.from, NULL, 0},
        {"--linear-rate", "GFLOPS", "of linear attention, 4 head_dim^2 for each token and head", &o.linear_rate, NULL, 0},
        {"--memory", "GB/s", "of decoding and merging", &o.memory, NULL, 0},
        {"--copy", "GB/s", "between host and device; without: tensors lie on the device", &o.copy, NULL, 0},
        {"--call", "US", "microseconds of a call beside its work", &o.call, NULL, 0},
        {"--speeds", "LIST", "of the devices in turn, as parts of the rates: 1,0.5", &o.speeds, NULL, 0},
        {"--equal", NULL, "equal shares, whatever the speeds", NULL, &o.equal, 0},
        {"--link", "GB/s,US", "of a device's link each way, and the latency of a message", &o.link, NULL, 0},
        {"--at-once", "N", "devices that share cores: so many run at full speed together", &o.at_once, NULL, 0},
        {"--cache-copied", NULL, "decoding takes its cache from host memory in each call", NULL, &o.cache_is_copied, 0},
        {"--json", "FILE", "everything as JSON into FILE, - for standard output", &o.json, NULL, 0},
        {"--html", "FILE", "a page with charts; needs python3", &o.html, NULL, 0},
        {"--picture", "FILE", "one chart, .svg or .png; needs python3", &o.picture, NULL, 0},
        {"--device", "SEL", "which one is measured: index, UUID, or part of a name", &o.device.device, NULL, 0},
        {"--verbose", NULL, "tell what the library does, on standard error", NULL, &o.device.verbose, 0},
        {NULL, NULL, NULL, NULL, NULL, 0},
    };
    static const char *const examples[] = {
        "rapt simulate --method ring,zigzag --devices 1,2,4,...,1024 --seq 131072 --link 25,5 \\\n      --rate 60000 --memory 1500 --call 10 --html cluster.html",
        "rapt simulate --method all --heads 8 --head-dim 64 --seq 8192 --link 10,20",
        "rapt simulate --from bench.json --devices 1,2,3,...,16 --link 12.5,8 --pattern window=4096",
        "rapt simulate --rate 60000,20000 --memory 1000 --devices 2,4 --link 25,5",
        NULL,
    };
    const tool_usage usage = {"rapt simulate --link GB/s,US [options]", text, examples, options};
    size_t count;
    int code;
    if (!tool_arguments(argc, argv, &usage, NULL, 0, &count, &code))
        return code;
    simulation *s = calloc(1, sizeof *s);
    if (!s)
        return tool_no_memory();
    s->o = &o;
    s->spread = (rapt_spread)RAPT_SPREAD_INIT;
    s->cluster = (rapt_cluster)RAPT_CLUSTER_INIT;
    code = run(s, argc, argv);
    free(s);
    return code;
}
