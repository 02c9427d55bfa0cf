/* Which cases a mode times. A sweep is one entry of a table: an axis, its places, and what each line of it
 * is. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#define SOFTWARE_FLOPS 4e10 /* of a sweep's point on a device that runs on CPUs */
#define TINY_FLOPS 4e9      /* per second: a device that reaches less is given less to do */
#define DISCRETE 2          /* VkPhysicalDeviceType */

/* ---- lists ---- */

/* Prefill, causal, GQA and decode in both types; sizes that keep the kind of device busy, and no longer. */
static const char *const quick_small[] = {"B1H8D64N1024f32",
                                          "B1H8D64N1024f16",
                                          "B1H8D64N1024f32c",
                                          "B1H8D64N1024f16c",
                                          "B1H8K2D64N1024f32",
                                          "B1H8K2D64N1024f16",
                                          "B1H8D128N1024f32",
                                          "B1H8D128N1024f16",
                                          "B1H32K8D128Q1N4096f32",
                                          "B1H32K8D128Q1N4096f16",
                                          NULL};
static const char *const quick_tiny[] = {"B1H2D64N256f32",
                                         "B1H2D64N256f16",
                                         "B1H2D64N256f32c",
                                         "B1H2D64N256f16c",
                                         "B1H4K1D64N128f32",
                                         "B1H4K1D64N128f16",
                                         "B1H2D128N128f32",
                                         "B1H2D128N128f16",
                                         "B1H8K2D128Q1N1024f32",
                                         "B1H8K2D128Q1N1024f16",
                                         NULL};
static const char *const quick_large[] = {"B2H16D64N4096f32",
                                          "B2H16D64N4096f16",
                                          "B2H16D64N4096f32c",
                                          "B2H16D64N4096f16c",
                                          "B2H16K4D64N4096f32",
                                          "B2H16K4D64N4096f16",
                                          "B2H16D128N4096f32",
                                          "B2H16D128N4096f16",
                                          "B4H32K8D128Q1N16384f32",
                                          "B4H32K8D128Q1N16384f16",
                                          NULL};
/* Sparse attention, timed by full runs beside the table's own cases: blocks, neighbourhoods, quantised caches. */
static const char *const sparse[] = {"B1H8D64N4096f32b8",
                                     "B1H8D64N4096f32cw255",
                                     "B1H8D64N4096f32g64x64k7x7",
                                     "B1H8D64N4096f32g64x64k13x13",
                                     "B1H8D64N4096f32g16x16x16k3x5x5",
                                     NULL};
static const char *const sustained_tiny[] = {"B1H2D64N256f32", NULL};
static const char *const sustained_small[] = {"B1H8D64N1024f32", NULL};
static const char *const sustained_large[] = {"B2H16D64N4096f16", NULL};

/* d NULL: of no device in particular. */
static const char *const *list_of(bench_mode mode, const bench_device *d)
{
    const bool large = d && d->caps->device_type == DISCRETE;
    const double peak = d ? bench_peak(&d->roof, "f32") : 0;
    const bool tiny = peak > 0 && peak < TINY_FLOPS;
    if (mode == BENCH_SUSTAINED)
        return tiny ? sustained_tiny : large ? sustained_large : sustained_small;
    return tiny ? quick_tiny : large ? quick_large : quick_small;
}

/* ---- collecting ---- */

typedef struct list {
    bench_case *cases;
    size_t count;
    bool failed;
} list;

static void add(list *l, const bench_case *c)
{
    for (size_t n = 0; n < l->count; n++)
        if (strcmp(l->cases[n].c.name, c->c.name) == 0)
            return;
    bench_case *more = realloc(l->cases, (l->count + 1) * sizeof *more);
    l->failed = l->failed || !more;
    if (!more)
        return;
    l->cases = more;
    l->cases[l->count++] = *c;
}

/* Every attention problem that has a name, and every system. */
typedef struct known_cases {
    rapt_case *attention;
    rapt_system_case *systems;
    size_t attention_count, system_count;
} known_cases;

static bool known_make(uint32_t groups, known_cases *k)
{
    k->attention = rapt_cases(groups, NULL, &k->attention_count);
    k->systems = rapt_system_cases(&k->system_count);
    return k->attention && k->systems;
}

static void known_free(known_cases *k)
{
    free(k->attention);
    free(k->systems);
}

static bench_case of_attention(const rapt_case *c, const char *kernel)
{
    return (bench_case){.c = *c, .kernel = kernel, .joules = -1};
}

static bench_case of_system(const rapt_system_case *s, const char *kernel)
{
    bench_case c = {.system = *s, .kernel = kernel, .joules = -1};
    snprintf(c.c.name, sizeof c.c.name, "%s", s->name);
    c.c.dtype = s->dtype;
    return c;
}

/* A shape, or a system with its tokens. */
static bool parse(const char *name, const char *kernel, bench_case *out)
{
    rapt_case c;
    rapt_system_case s;
    if (rapt_case_parse(name, &c))
        *out = of_attention(&c, kernel);
    else if (rapt_system_case_parse(name, &s))
        *out = of_system(&s, kernel);
    else
        return false;
    return true;
}

/* A name of the table of cases, or one that says what it is. */
static bool find(const known_cases *known, const char *name, const char *kernel, bench_case *out)
{
    for (size_t n = 0; n < known->attention_count; n++)
        if (strcmp(known->attention[n].name, name) == 0) {
            *out = of_attention(&known->attention[n], kernel);
            return true;
        }
    return parse(name, kernel, out);
}

static bool add_named(list *l, const known_cases *known, const char *text, const char *kernel,
                      rapt_error *error)
{
    for (const char *at = text;; at++) {
        char name[192];
        bench_case c;
        const size_t length = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), at);
        if (!find(known, name, kernel, &c))
            return tool_fail(error, RAPT_ERROR_INVALID,
                             "case '%.80s': neither a known name nor of the form "
                             "B<n>H<n>[K<n>]D<n>[V<n>][Q<n>]N<n>f32|f16|bf16[c][w<n>], as in B1H8D64N1024f32, nor a "
                             "system that works with its tokens, as in gla@1024f32, or one of its checks, as in gla#1f32",
                             name);
        add(l, &c);
        at += length;
        if (*at == 0)
            return true;
    }
}

static bool wanted(const bench *b, const char *name)
{
    return !b->o->filter || strstr(name, b->o->filter);
}

/* What an earlier run timed; of its device if it knows several. */
static void add_old(const bench *b, list *l, const known_cases *known, const rapt_caps *caps)
{
    for (size_t n = 0; n < b->old.count; n++) {
        bench_case c;
        const baseline_case *old = &b->old.cases[n];
        if (old->by_name && wanted(b, old->name) &&
            baseline_find(&b->old, caps->device_name, old->name) == old &&
            find(known, old->name, b->o->kernel, &c))
            add(l, &c);
    }
}

static void add_recorded(const bench *b, list *l)
{
    for (size_t n = 0; n < b->recorded.count && !l->failed; n++) {
        const replay_problem *p = &b->recorded.problems[n];
        bench_case c = of_attention(&p->c, b->o->kernel);
        c.as = p->is_linear ? NULL : &p->desc;
        c.linear = p->is_linear ? p : NULL;
        c.weight = p->count;
        if (wanted(b, p->c.name))
            add(l, &c);
    }
}

/* The mode's own list; all that is worth timing in a full run, and with --filter in a quick one too. Systems that have but a small
 * problem are among them only where the filter names them. */
static void add_usual(const bench *b, const bench_device *d, list *l, const known_cases *known)
{
    const bench_options *o = b->o;
    const bool all = o->mode == BENCH_FULL || (o->mode == BENCH_QUICK && o->filter);
    for (const char *const *name = list_of(o->mode, d); *name && (o->mode != BENCH_QUICK || !o->filter); name++) {
        bench_case c;
        if (wanted(b, *name) && find(known, *name, o->kernel, &c))
            add(l, &c);
    }
    for (const char *const *name = sparse; *name && all; name++) {
        bench_case c;
        if (wanted(b, *name) && find(known, *name, o->kernel, &c))
            add(l, &c);
    }
    for (size_t n = 0; n < known->attention_count && all; n++) {
        const bench_case c = of_attention(&known->attention[n], o->kernel);
        if ((c.c.groups & RAPT_CASE_BENCH) && wanted(b, c.c.name))
            add(l, &c);
    }
    for (size_t n = 0; n < known->system_count && all && !o->kernel; n++) {
        const bench_case c = of_system(&known->systems[n], NULL);
        if (wanted(b, c.c.name) && (o->filter || strchr(c.c.name, '@')))
            add(l, &c);
    }
}

bench_case *bench_suite(const bench *b, const bench_device *d, size_t *count, rapt_error *error)
{
    const bench_options *o = b->o;
    list l = {.cases = calloc(1, sizeof(bench_case))};
    known_cases known = {0};
    bool good = known_make(RAPT_CASE_FULL | RAPT_CASE_BENCH, &known) && l.cases;
    l.failed = !good;
    if (good && o->mode == BENCH_REPLAY)
        add_recorded(b, &l);
    else if (good && o->cases)
        good = add_named(&l, &known, o->cases, o->kernel, error);
    else if (good && o->mode == BENCH_COMPARE)
        add_old(b, &l, &known, d->caps);
    else if (good)
        add_usual(b, d, &l, &known);
    known_free(&known);
    if (l.failed)
        good = tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "out of host memory");
    else if (good && l.count == 0)
        good = tool_fail(error, RAPT_ERROR_INVALID,
                         o->filter ? "no case's name contains '%.60s'; rapt bench --list shows them"
                                   : "no case to time",
                         o->filter);
    if (!good) {
        free(l.cases);
        l.cases = NULL;
    }
    *count = good ? l.count : 0;
    return l.cases;
}

void bench_suite_print(FILE *out, bench_mode mode)
{
    known_cases known = {0};
    for (const char *const *name = list_of(mode, NULL); *name; name++)
        fprintf(out, "%s\n", *name);
    if (mode == BENCH_FULL && known_make(RAPT_CASE_BENCH, &known)) {
        for (size_t n = 0; n < known.attention_count; n++) {
            bool there = false;
            for (const char *const *name = list_of(mode, NULL); *name; name++)
                there = there || strcmp(*name, known.attention[n].name) == 0;
            if (!there)
                fprintf(out, "%s\n", known.attention[n].name);
        }
        for (const char *const *name = sparse; *name; name++)
            fprintf(out, "%s\n", *name);
        for (size_t n = 0; n < known.system_count; n++)
            if (strchr(known.systems[n].name, '@'))
                fprintf(out, "%s\n", known.systems[n].name);
    }
    known_free(&known);
}

/* ---- sweeps ---- */

/* Each line's name has %u for the place on the axis. */
static const struct {
    const char *name, *axis, *unit;
    const char *speed; /* see bench_sweep */
    uint32_t xs[16]; /* ended by 0 */
    struct {
        const char *label, *form;
        double heavier; /* what a byte of a system is weighed by, beside others; 0: 1 */
    } series[8]; /* ended by NULL */
} sweeps[] = {
    {"tokens",
     "N",
     "tokens",
     "work",
     {128, 256, 512, 1024, 2048, 4096, 8192, 16384},
     {{"f32", "B1H8D64N%uf32"},
      {"f32 causal", "B1H8D64N%uf32c"},
      {"f16", "B1H8D64N%uf16"},
      {"f16 causal", "B1H8D64N%uf16c"},
      {"f32 causal, window 256", "B1H8D64N%uf32cw255"}}},
    {"density",
     "density",
     "part of all pairs", /* x is what the window leaves of them */
     "work",
     {31, 63, 127, 255, 511, 1023, 4095},
     {{"f32 causal window", "B1H8D64N4096f32cw%u"}, {"f16 causal window", "B1H8D64N4096f16cw%u"}}},
    {"block-density",
     "density",
     "part of all pairs", /* x is how many blocks of 64 x 64 there are for each that is visible */
     "work",
     {1, 2, 4, 8, 16, 32},
     {{"f32 blocks", "B1H8D64N4096f32b%u"}, {"f16 blocks", "B1H8D64N4096f16b%u"}}},
    {"neighborhood",
     "kernel size",
     "tokens a side", /* of 64 x 64 places, seen from each */
     "work",
     {3, 5, 7, 9, 13, 17, 25, 33},
     {{"f32 neighborhood", "B1H8D64N4096f32g64x64k%ux%u"}, {"f16 neighborhood", "B1H8D64N4096f16g64x64k%ux%u"}}},
    {"context",
     "N",
     "tokens",
     "work",
     {512, 1024, 2048, 4096, 8192, 16384, 32768},
     {{"f32 decode", "B1H32K8D128Q1N%uf32"}, {"f16 decode", "B1H32K8D128Q1N%uf16"}}},
    {"head-dim",
     "head_dim",
     "elements",
     "work",
     {32, 64, 80, 96, 128, 160, 192, 256},
     {{"f32", "B1H8D%uN1024f32"}, {"f16", "B1H8D%uN1024f16"}}},
    {"linear",
     "N",
     "tokens",
     "time of a token",
     {1024, 2048, 4096, 8192, 16384, 32768},
     {{"softmax, causal", "B1H8D64N%uf32c"},
      {"softmax, causal, window 256", "B1H8D64N%uf32cw255"},
      {"Lightning Attention-2", "lightning-attention-2@%uf32"},
      {"GLA", "gla@%uf32"},
      {"Gated DeltaNet", "gated-deltanet@%uf32"},
      {"Log-Linear Attention", "log-linear-attention@%uf32", 7}}},
    {"caches",
     "N",
     "tokens",
     "calls",
     {1024, 2048, 4096, 8192, 16384, 32768},
     {{"f32", "B1H32K8D128Q1N%uf32"},
      {"f16", "B1H32K8D128Q1N%uf16"},
      {"f16 in pages of 16", "B1H32K8D128Q1N%uf16p16"},
      {"int8", "B1H32K8D128Q1N%uf16qint8"},
      {"int4", "B1H32K8D128Q1N%uf16qint4"},
      {"f16, window of 1,024", "B1H32K8D128Q1N%uf16cw1023"}}},
};

size_t bench_sweep_count(void)
{
    return TOOL_COUNT(sweeps);
}

/* `form` with x for each %u. */
static bool make_case(const char *form, uint32_t x, const char *kernel, bench_case *out)
{
    char name[192] = "";
    size_t length = 0;
    for (const char *at = form; *at && length + 16 < sizeof name; at++) {
        const bool place = at[0] == '%' && at[1] == 'u';
        length += (size_t)snprintf(name + length, sizeof name - length, place ? "%u" : "%c", place ? x : (unsigned)*at);
        at += place;
    }
    return parse(name, kernel, out);
}

/* FLOP of attention, before masks other than causal windows; of systems, whose work grows as their tensors do, as if each byte met 64
 * numbers, or `heavier` times as many. */
static double work(const bench_case *of, double heavier)
{
    const rapt_case *c = &of->c;
    if (bench_case_is_system(of))
        return 64.0 * bench_case_bytes(of) * (heavier > 0 ? heavier : 1);
    const bool bounded = c->causal && c->window && c->window_left >= 0 && (uint64_t)c->window_left < (uint64_t)c->nk;
    const double keys = bounded ? (double)c->window_left + 1 : (double)c->nk;
    return 2.0 * (double)c->batch * (double)c->q_heads * (double)c->nq * keys *
           (double)(c->d_qk + c->d_v) / (c->blocks_of ? c->blocks_of : c->grid.rank > 0 ? 8 : 1);
}

static bool fits_filter(size_t index, size_t series, const char *filter)
{
    return !filter || strstr(sweeps[index].name, filter) ||
           strstr(sweeps[index].series[series].form, filter) ||
           strstr(sweeps[index].series[series].label, filter);
}

bool bench_sweep_named(const char *filter)
{
    for (size_t n = 0; n < TOOL_COUNT(sweeps); n++)
        for (size_t k = 0; k < TOOL_COUNT(sweeps[n].series) && sweeps[n].series[k].label; k++)
            if (fits_filter(n, k, filter))
                return true;
    return false;
}

bool bench_sweep_make(size_t index, const rapt_caps *caps, const char *filter, const char *kernel,
                      bench_sweep *s)
{
    *s = (bench_sweep){.name = sweeps[index].name, .axis = sweeps[index].axis, .unit = sweeps[index].unit, .speed = sweeps[index].speed};
    for (; s->x_count < TOOL_COUNT(sweeps[index].xs) && sweeps[index].xs[s->x_count]; s->x_count++)
        s->xs[s->x_count] = sweeps[index].xs[s->x_count];
    for (size_t n = 0; n < TOOL_COUNT(sweeps[index].series) && sweeps[index].series[n].label; n++) {
        bench_sweep_series *series = &s->series[s->series_count];
        if (!fits_filter(index, n, filter))
            continue;
        series->label = sweeps[index].series[n].label;
        series->cases = calloc(s->x_count + 1, sizeof *series->cases);
        if (!series->cases)
            return false;
        s->series_count++;
        for (size_t x = 0; x < s->x_count; x++) {
            bench_case *c = &series->cases[x];
            if (!make_case(sweeps[index].series[n].form, (uint32_t)s->xs[x], kernel, c))
                return false;
            c->left_out = caps->device_class == RAPT_CLASS_SOFTWARE && work(c, sweeps[index].series[n].heavier) > SOFTWARE_FLOPS;
        }
    }
    return true;
}

void bench_sweep_free(bench_sweep *s)
{
    for (size_t n = 0; n < s->series_count; n++) {
        for (size_t x = 0; x < s->x_count; x++)
            bench_case_free(&s->series[n].cases[x]);
        free(s->series[n].cases);
    }
    *s = (bench_sweep){0};
}
