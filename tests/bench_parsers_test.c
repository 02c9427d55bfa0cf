/* What rapt bench reads: earlier results and recordings, good, hostile and mutilated ones; and what it makes
 * of them. */
#include "support.h"

#include "bench/baseline.h"
#include "bench/replay.h"
#include "bench/sensors.h"
#include "bench/text_file.h"

#include <math.h>
#if defined(_WIN32)
#include <direct.h>
#define mkdir(path, mode) _mkdir(path)
#else
#include <sys/stat.h>
#endif

static char folder[512];

static const char *path_of(const char *name)
{
    static char path[640];
    snprintf(path, sizeof path, "%s-%s", folder, name);
    return path;
}

static const char *file_with(const char *text, size_t size)
{
    const char *path = path_of("a.json");
    remove(path); /* some file systems write a file that is cut and filled again out at once */
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    fclose(file);
    return path;
}

/* One clear line that names the file. */
static void clear_line(const rapt_error *error, const char *path)
{
    assert_true(error->status != RAPT_OK);
    assert_null(strchr(error->message, '\n'));
    if (!strstr(error->message, path))
        fail_msg("no file is named: %s", error->message);
}

/* ---- earlier results ---- */

#define FIGURE(m)                                                                                            \
    "{\"median\":" m                                                                                         \
    ",\"min\":0.5,\"max\":9,\"low\":0.9,\"high\":8,\"coverage\":0.97,\"count\":14,\"samples\":[]}"
#define CASE(name, members) "{\"name\":\"" name "\",\"status\":\"ok\"," members "}"
#define RESULT(cases)                                                                                        \
    "{\"schema\":\"rapt-bench/"                                                                              \
    "1\",\"started\":\"2026-01-31T12:00:00Z\",\"devices\":[{\"device\":{\"name\":\"dev\"},\"cases\":[" cases \
    "]}]}"
#define GOOD_CASE CASE("A", "\"device\":" FIGURE("1.5") ",\"wall\":" FIGURE("2"))

static bool read_baseline(const char *text, size_t size, baseline *b, rapt_error *error)
{
    *error = (rapt_error){0};
    const char *path = file_with(text, size);
    const bool good = baseline_read(path, b, error);
    if (!good)
        clear_line(error, path);
    return good;
}

static void baseline_good(void **state)
{
    (void)state;
    static const char text[] = RESULT(GOOD_CASE ",{\"name\":\"B\",\"status\":\"wrong\",\"message\":\"x\"}");
    baseline b;
    rapt_error error;
    assert_true(read_baseline(text, strlen(text), &b, &error));
    assert_int_equal(b.count, 2);
    assert_string_equal(b.started, "2026-01-31T12:00:00Z");
    const baseline_case *c = baseline_find(&b, "dev", "A");
    assert_non_null(c);
    assert_true(c->ok && c->by_name && c->clock[0].median == 1.5 && c->clock[1].median == 2 &&
                c->clock[0].count == 14);
    assert_ptr_equal(baseline_find(&b, "another device", "A"), c); /* it knows one alone */
    assert_false(baseline_find(&b, "dev", "B")->ok);
    assert_null(baseline_find(&b, "dev", "C"));
    baseline_free(&b);
    assert_null(b.cases);
}

static void baseline_sweeps(void **state)
{
    (void)state;
    static const char text[] =
        "{\"schema\":\"rapt-bench/1\",\"devices\":[{\"device\":{\"name\":\"d1\"},\"sweeps\":[{\"series\":["
        "{\"points\":[{\"x\":1,\"case\":" GOOD_CASE "}]}]}]},"
        "{\"device\":{\"name\":\"d2\"},\"cases\":[" GOOD_CASE "]}]}";
    baseline b;
    rapt_error error;
    assert_true(read_baseline(text, strlen(text), &b, &error));
    assert_int_equal(b.count, 2);
    assert_true(baseline_find(&b, "d1", "A")->by_name);
    assert_true(baseline_find(&b, "d2", "A")->by_name);
    assert_null(baseline_find(&b, "d3", "A")); /* of two devices, which? */
    baseline_free(&b);
}

static void baseline_hostile(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reason;
    } bad[] = {
        {"", "no JSON"},
        {"{", "no JSON"},
        {"[1, 2]", "no \"schema\""},
        {"{\"cases\":[]}", "no \"schema\""},
        {"{\"schema\":\"rapt-bench/2\",\"devices\":[]}", "'rapt-bench/2'"},
        {"{\"schema\":7,\"devices\":[]}", "no \"schema\""},
        {"{\"schema\":\"rapt-bench/1\",\"devices\":{}}", "no \"schema\""},
        {"{\"schema\":\"rapt-bench/1\",\"devices\":[]}", "no case"},
        {"{\"schema\":\"rapt-bench/1\",\"devices\":[7]}", "device 0: no name"},
        {"{\"schema\":\"rapt-bench/1\",\"devices\":[{\"device\":{\"name\":\"d\"},\"cases\":3}]}", "no list"},
        {RESULT(GOOD_CASE) " x", "no JSON"},
        {RESULT("{\"status\":\"ok\"}"), "without name"},
        {RESULT("{\"name\":\"A\"}"), "without status"},
        {RESULT("7"), "without name"},
        {RESULT(CASE("A", "\"device\":null,\"wall\":null")), "has no time"},
        {RESULT(CASE("A", "\"wall\":7")), "no figure"},
        {RESULT(CASE("A", "\"wall\":" FIGURE("-1"))), "no figure"},
        {RESULT(CASE("A", "\"wall\":" FIGURE("0"))), "no figure"},
        {RESULT(CASE("A", "\"wall\":" FIGURE("\"1\""))), "no figure"},
        {RESULT(CASE("A", "\"wall\":" FIGURE("8.5"))), "no figure"}, /* outside its own interval */
        {RESULT(CASE("A", "\"wall\":" FIGURE("1e999"))), "no figure"},
        {RESULT(CASE("A", "\"wall\":" FIGURE("null"))), "no figure"},
    };
    for (size_t n = 0; n < sizeof bad / sizeof bad[0]; n++) {
        baseline b;
        rapt_error error;
        assert_false(read_baseline(bad[n].text, strlen(bad[n].text), &b, &error));
        if (!strstr(error.message, bad[n].reason))
            fail_msg("%s: expected '%s' in: %s", bad[n].text, bad[n].reason, error.message);
        baseline_free(&b);
    }
    baseline b;
    rapt_error error;
    static char deep[4000];
    memset(deep, '[', sizeof deep);
    assert_false(read_baseline(deep, sizeof deep, &b, &error));
    baseline_free(&b);
    assert_false(read_baseline("{\"a\":\0}", 7, &b, &error));
    assert_non_null(strstr(error.message, "no text file"));
    baseline_free(&b);
    assert_false(baseline_read("/nonexistent/x.json", &b, &error));
    clear_line(&error, "/nonexistent/x.json");
    baseline_free(&b);
    assert_false(baseline_read("/", &b, &error)); /* a folder */
    baseline_free(&b);
}

/* Cut anywhere it is refused; with any bit changed it is read or refused, and what is read is in order. */
static void baseline_mutilated(void **state)
{
    (void)state;
    static const char text[] = RESULT(GOOD_CASE);
    char copy[sizeof text];
    const size_t size = strlen(text);
    baseline b;
    rapt_error error;
    for (size_t cut = 0; cut < size; cut++) {
        assert_false(read_baseline(text, cut, &b, &error));
        baseline_free(&b);
    }
    for (size_t at = 0; at < size; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            memcpy(copy, text, size);
            copy[at] ^= (char)(1u << bit);
            if (read_baseline(copy, size, &b, &error))
                for (size_t n = 0; n < b.count; n++)
                    for (int k = 0; k < 2; k++) {
                        const bench_figure *f = &b.cases[n].clock[k];
                        assert_true(f->count == 0 ||
                                    (f->min > 0 && f->min <= f->low && f->low <= f->median &&
                                     f->median <= f->high && f->high <= f->max && isfinite(f->max)));
                    }
            baseline_free(&b);
        }
}

static bench_figure figure(double low, double median, double high)
{
    return (bench_figure){
        .median = median, .min = low, .max = high, .low = low, .high = high, .coverage = 0.97, .count = 11};
}

static void verdicts(void **state)
{
    (void)state;
    const baseline_case old = {.ok = true, .clock = {{0}, figure(0.9, 1.0, 1.1)}};
    const baseline_case both = {.ok = true, .clock = {figure(1.9, 2.0, 2.1), figure(0.9, 1.0, 1.1)}};
    baseline_ratio r;
    const struct {
        bench_figure now;
        baseline_verdict verdict;
    } cases[] = {
        {figure(1.3, 1.4, 1.5), BASELINE_SLOWER},
        {figure(1.05, 1.4, 1.5), BASELINE_SAME}, /* the intervals meet */
        {figure(1.101, 1.105, 1.2), BASELINE_SLOWER},
        {figure(1.101, 1.095, 1.2), BASELINE_SAME}, /* within the threshold */
        {figure(0.5, 0.6, 0.7), BASELINE_FASTER},
        {figure(0.5, 0.6, 0.95), BASELINE_SAME},
        {figure(0.9, 1.0, 1.1), BASELINE_SAME},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        const bench_figure now[2] = {{0}, cases[n].now};
        assert_int_equal(baseline_judge(&old, now, 0.1, &r), cases[n].verdict);
        assert_true(!r.device_clock && r.low <= r.high);
    }
    const bench_figure device[2] = {figure(1.9, 2.0, 2.1), figure(5, 5, 5)};
    assert_int_equal(baseline_judge(&both, device, 0.1, &r),
                     BASELINE_SAME); /* by the device's clock, not by the wall's */
    assert_true(r.device_clock && r.median == 1);
    const bench_figure device_only[2] = {figure(1.9, 2.0, 2.1), {0}};
    assert_int_equal(baseline_judge(&old, device_only, 0.1, &r), BASELINE_NEW);
    bench_figure few[2] = {{0}, old.clock[1]}; /* a sample or two, twice as slow: nobody can tell */
    few[1].median *= 2;
    few[1].low = few[1].high = few[1].median;
    few[1].coverage = 0;
    assert_int_equal(baseline_judge(&old, few, 0.1, &r), BASELINE_UNKNOWN);
    for (int n = 0; n < BASELINE_VERDICTS; n++)
        assert_true(strlen(baseline_verdict_name((baseline_verdict)n)) > 2);
}

/* ---- figures ---- */

static void figures(void **state)
{
    (void)state;
    const double samples[] = {5, 1, 3, 2, 4, 6, 7, 11, 10, 9, 8};
    bench_figure f = bench_figure_of(samples, 11), again;
    assert_true(f.median == 6 && f.min == 1 && f.max == 11 && f.low == 2 && f.high == 10 &&
                f.coverage > 0.98);
    assert_true(fabs(bench_figure_spread(&f) - 4.0 / 6) < 1e-12);
    f = bench_figure_of(samples, 3);
    assert_true(f.low == 1 && f.high == 5 && bench_figure_spread(&f) < 0);
    cJSON *o = cJSON_CreateObject();
    bench_figure_add(o, "x", samples, 11, 0.5);
    bench_figure_add(o, "none", samples, 0, 1);
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(o, "none")));
    assert_true(bench_figure_read(cJSON_GetObjectItem(o, "x"), &again) && again.median == 3 &&
                again.high == 5);
    assert_false(bench_figure_read(cJSON_GetObjectItem(o, "none"), &again));
    cJSON_Delete(o);
}

/* ---- recordings ---- */

#define HEAD "{\"rapt_record\":1}\n"
#define TENSOR(d, s) "{\"dims\":[" d "],\"strides\":[" s "]}"
#define PROBLEM(op, count, dtype, q, rest)                                                                   \
    "{\"op\":\"" op "\",\"count\":" count ",\"dtype\":\"" dtype                                              \
    "\",\"causal\":false,\"causal_offset\":0,\"scale\":0.5,\"q\":" q rest
#define Q TENSOR("1,4,10,8", "320,8,32,1")
#define KV ",\"k\":" TENSOR("1,2,20,8", "320,8,16,1") ",\"v\":" TENSOR("1,2,20,16", "640,16,32,1")
#define OUT ",\"out\":" TENSOR("1,4,10,16", "640,160,16,1")
#define LAST ",\"lse\":null,\"sequences\":0,\"max_seqlen_q\":0,\"max_seqlen_k\":0}\n"
#define GOOD_LINE PROBLEM("attention", "7", "f16", Q, KV OUT LAST)

static bool read_replay(const char *text, size_t size, replay *r, rapt_error *error)
{
    *error = (rapt_error){0};
    const char *path = file_with(text, size);
    const bool good = replay_read(path, r, error);
    if (!good)
        clear_line(error, path);
    return good;
}

static void replay_good(void **state)
{
    (void)state;
    static const char text[] = HEAD
        GOOD_LINE "\n"
                  "{\"op\":\"attention\",\"count\":1,\"dtype\":\"f32\",\"causal\":true,\"causal_offset\":-3,"
                  "\"scale\":null,\"q\":" TENSOR("1,2,100,8", "1600,800,8,1") ",\"k\":" TENSOR("1,2,60,8", "9"
                                                                                                           "6"
                                                                                                           "0"
                                                                                                           ","
                                                                                                           "4"
                                                                                                           "8"
                                                                                                           "0"
                                                                                                           ","
                                                                                                           "8"
                                                                                                           ","
                                                                                                           "1") ",\"v\":" TENSOR(
                      "1,2,60,8",
                      "0,480,8,1") ",\"out\":" TENSOR("1,2,100,8",
                                                      "1600,800,8,1") ",\"lse\":" TENSOR("1,2,100",
                                                                                         "200,100,1") ",\"seq"
                                                                                                      "uences"
                                                                                                      "\":3,"
                                                                                                      "\"max_"
                                                                                                      "seqlen"
                                                                                                      "_q\":"
                                                                                                      "40,"
                                                                                                      "\"max_"
                                                                                                      "seqlen"
                                                                                                      "_k\":"
                                                                                                      "0}";
    replay r;
    rapt_error error;
    assert_true(read_replay(text, strlen(text), &r, &error));
    assert_int_equal(r.count, 2);
    const replay_problem *p = r.problems;
    assert_string_equal(p->c.name, "1:B1H4K2D8V16Q10N20f16");
    assert_true(p->count == 7 && p->desc.flags == RAPT_ATTENTION_SCALE && p->desc.scale == 0.5f &&
                p->c.no_lse);
    assert_true(p->desc.q.stride[2] == 32 && p->desc.k.size[2] == 20 && p->desc.v.size[3] == 16);
    p++;
    assert_string_equal(p->c.name, "2:B1H2D8Q100N60f32cs3");
    assert_true(p->desc.flags == RAPT_ATTENTION_CAUSAL && p->desc.causal_offset == -3 && !p->c.no_lse);
    assert_true(p->c.length_q[0] == 40 && p->c.length_q[0] + p->c.length_q[1] + p->c.length_q[2] == 100);
    for (int s = 0; s < 3; s++)
        assert_true(p->c.length_q[s] <= 40);
    assert_int_equal(p->c.length_k[0] + p->c.length_k[1] + p->c.length_k[2], 60);
    replay_free(&r);
    assert_null(r.problems);
}

static void replay_hostile(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reason;
    } bad[] = {
        {"", "is empty"},
        {"\n", "line 1: not a recording"},
        {"hello", "line 1: no JSON object"},
        {"{}", "line 1: not a recording"},
        {"{\"rapt_record\":2}", "another version"},
        {HEAD, "holds no problem"},
        {HEAD GOOD_LINE "{\"op\":", "line 3: no JSON object"},
        {HEAD "[1]\n", "line 2: no JSON object"},
        {HEAD PROBLEM("conv", "1", "f16", Q, KV OUT LAST), "\"op\""},
        {HEAD PROBLEM("attention", "0", "f16", Q, KV OUT LAST), "\"count\""},
        {HEAD PROBLEM("attention", "1.5", "f16", Q, KV OUT LAST), "\"count\""},
        {HEAD PROBLEM("attention", "1e300", "f16", Q, KV OUT LAST), "\"count\""},
        {HEAD PROBLEM("attention", "1", "f64", Q, KV OUT LAST), "\"dtype\""},
        {HEAD PROBLEM("attention", "1", "f16", "7", KV OUT LAST), "\"q\""},
        {HEAD PROBLEM("attention", "1", "f16", TENSOR("1,4,10", "320,8,32"), KV OUT LAST), "\"q\""},
        {HEAD PROBLEM("attention", "1", "f16", TENSOR("1,4,10,8", "320,8,32"), KV OUT LAST), "\"q\""},
        {HEAD PROBLEM("attention", "1", "f16", TENSOR("1,4,-1,8", "320,8,32,1"), KV OUT LAST), "\"q\""},
        {HEAD PROBLEM("attention", "1", "f16", TENSOR("1,4,10,8", "320,-8,32,1"), KV OUT LAST), "\"q\""},
        {HEAD PROBLEM("attention", "1", "f16", TENSOR("1,4,10,8", "320,8,32,2"), KV OUT LAST),
         "head_dim is not 1"},
        {HEAD PROBLEM("attention", "1", "f16", TENSOR("2000000000,2000000000,1,8", "60000000000,8,8,1"),
                      KV OUT LAST),
         "2^36"},
        {HEAD PROBLEM("attention", "1", "f16", TENSOR("1,4,10,9", "320,8,32,1"), KV OUT LAST),
         "\"k\" does not fit"},
        {HEAD PROBLEM("attention", "1", "f16", TENSOR("1,4,11,8", "320,8,32,1"), KV OUT LAST),
         "\"out\" does not fit"},
        {HEAD PROBLEM("attention", "1", "f16", Q, KV LAST), "\"out\""},
        {HEAD PROBLEM("attention", "1", "f16", Q, KV OUT "}"), "\"sequences\""},
        {HEAD PROBLEM("attention", "1", "f16", Q,
                      KV OUT ",\"sequences\":100000,\"max_seqlen_q\":1,\"max_seqlen_k\":1}"),
         "256 at most"},
        {HEAD PROBLEM("attention", "1", "f16", Q, KV OUT ",\"lse\":3,\"sequences\":0}"), "\"lse\""},
        {HEAD PROBLEM("attention", "1", "f16", Q, KV OUT ",\"link\":\"tanh\"" LAST), "\"link\" is no name"},
        {HEAD PROBLEM("attention", "1", "f16", Q, KV OUT ",\"link_gamma\":\"1\"" LAST), "\"link_gamma\" is no number"},
        {HEAD PROBLEM("attention", "1", "f16", Q, KV OUT ",\"k_dtype\":\"f64\"" LAST), "\"k_dtype\" is none of"},
        {HEAD PROBLEM("attention", "1", "f16", Q, KV OUT ",\"v_dtype\":\"int8\"" LAST), "\"v\" does not fit"},
        {HEAD PROBLEM("attention", "1", "f16", Q, KV OUT ",\"rope_base\":1,\"causal_offset\":0" LAST), "\"rope_base\" is no number above 1"},
        {HEAD PROBLEM("attention", "1", "f16", Q, KV OUT ",\"alibi\":7" LAST), "\"alibi\""},
        {HEAD PROBLEM("attention", "1", "f16", Q, KV OUT ",\"relative\":" TENSOR("4", "1") LAST), "\"relative\""},
        {HEAD PROBLEM("attention", "1", "f16", Q, KV OUT ",\"block_table\":" TENSOR("1,3", "3,1") LAST), "\"page_size\""},
        {HEAD PROBLEM("attention", "1", "f16", Q, KV OUT ",\"page_size\":7,\"block_table\":" TENSOR("1,3", "3,1") LAST), "\"k\" does not fit"},
        {HEAD PROBLEM("attention", "1", "f16", Q, KV OUT ",\"place_width\":-1" LAST), "\"place_width\""},
    };
    for (size_t n = 0; n < sizeof bad / sizeof bad[0]; n++) {
        replay r;
        rapt_error error;
        if (read_replay(bad[n].text, strlen(bad[n].text), &r, &error))
            fail_msg("taken: %s", bad[n].text);
        if (!strstr(error.message, bad[n].reason))
            fail_msg("%s: expected '%s' in: %s", bad[n].text, bad[n].reason, error.message);
        replay_free(&r);
    }
}

/* ---- of linear attention ---- */

#define LINEAR_OF(rule, feature, flags, q, more)                                                                     \
    "{\"op\":\"linear\",\"count\":3,\"dtype\":\"bf16\",\"rule\":\"" rule "\",\"feature\":\"" feature                      \
    "\",\"feature_k\":\"exp\",\"feature_power\":0,\"feature_scale\":0.5,\"scale\":0.25,\"flags\":" flags ",\"q\":" q          \
    ",\"k\":" TENSOR("1,2,20,8", "0,160,8,1") ",\"v\":" TENSOR("1,4,20,16", "0,320,16,1") ",\"out\":" TENSOR(      \
        "1,4,20,16", "0,320,16,1") more
#define LINEAR_Q TENSOR("1,2,20,8", "0,160,8,1")
#define LINEAR_STATE ",\"state_out\":" TENSOR("3,4,8,16", "512,128,16,1")
#define LINEAR_REST ",\"decay\":" TENSOR("4", "2") LINEAR_STATE ",\"sequences\":3,\"max_seqlen\":9}\n"
#define LINEAR(rule, flags) LINEAR_OF(rule, "relu", flags, LINEAR_Q, LINEAR_REST)

static void replay_linear(void **state)
{
    (void)state;
    static const char text[] = HEAD LINEAR("none", "[\"log_decay\",\"in_place\"]");
    replay r;
    rapt_error error;
    if (!read_replay(text, strlen(text), &r, &error))
        fail_msg("%s", error.message);
    assert_int_equal(r.count, 1);
    const replay_problem *p = r.problems;
    const rapt_linear_desc *d = &p->linear;
    assert_true(p->is_linear && p->count == 3 && p->c.dtype == RAPT_BF16);
    assert_string_equal(p->c.name, "1:linear-fixed-B1H4K2D8V16N20bf16s3");
    assert_int_equal(d->flags, RAPT_LINEAR_SCALE | RAPT_LINEAR_FEATURE_K | RAPT_LINEAR_LOG_DECAY | RAPT_LINEAR_IN_PLACE);
    assert_true(d->rule == RAPT_LINEAR_NONE && d->feature == RAPT_PHI_RELU && d->feature_k == RAPT_PHI_EXP);
    assert_true(d->feature_scale == 0.5f && d->scale == 0.25f && d->sequences == 3 && d->max_seqlen == 9);
    assert_true(d->decay.rank == 1 && d->decay.stride[0] == 2 && d->decay.dtype == RAPT_F32 && d->state_out.size[0] == 3);
    assert_true(d->beta.dtype == RAPT_DTYPE_NONE && d->gate.dtype == RAPT_DTYPE_NONE);
    assert_int_equal(p->lengths[0], 9);
    assert_int_equal(p->lengths[0] + p->lengths[1] + p->lengths[2], 20);
    replay_free(&r);
}

static void replay_linear_hostile(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reason;
    } bad[] = {
        {HEAD LINEAR("gated", "[]"), "\"rule\""},
        {HEAD LINEAR("none", "{}"), "\"flags\""},
        {HEAD LINEAR("none", "[1]"), "\"flags\""},
        {HEAD LINEAR("none", "[\"causal\"]"), "\"flags\""},
        {HEAD LINEAR_OF("none", "user", "[]", LINEAR_Q, LINEAR_REST), "\"feature\""},
        {HEAD LINEAR_OF("none", "relu", "[]", "3", LINEAR_REST), "\"q\""},
        {HEAD LINEAR_OF("none", "relu", "[]", TENSOR("1,2,20", "0,160,8"), LINEAR_REST), "\"q\""},
        {HEAD LINEAR_OF("none", "relu", "[]", LINEAR_Q, ",\"decay\":" TENSOR("4,20", "20,1") ",\"sequences\":0,\"max_seqlen\":0}"), "\"decay\""},
        {HEAD LINEAR_OF("none", "relu", "[]", LINEAR_Q, ",\"sequences\":100000,\"max_seqlen\":0}"), "256 at most"},
        {HEAD LINEAR_OF("none", "relu", "[]", LINEAR_Q, ",\"sequences\":3,\"max_seqlen\":6}"), "outside every sequence"},
        {HEAD LINEAR_OF("none", "relu", "[]", LINEAR_Q, ",\"causal\":true,\"sequences\":0,\"max_seqlen\":0}"), "\"causal\" is not known"},
        {HEAD LINEAR_OF("none", "relu", "[]", LINEAR_Q, "}"), "\"sequences\""},
    };
    for (size_t n = 0; n < sizeof bad / sizeof bad[0]; n++) {
        replay r;
        rapt_error error;
        if (read_replay(bad[n].text, strlen(bad[n].text), &r, &error))
            fail_msg("taken: %s", bad[n].text);
        if (!strstr(error.message, bad[n].reason))
            fail_msg("%s: expected '%s' in: %s", bad[n].text, bad[n].reason, error.message);
        replay_free(&r);
    }
}

static void replay_linear_mutilated(void **state)
{
    (void)state;
    static const char text[] = HEAD LINEAR("delta", "[]");
    char copy[sizeof text];
    const size_t size = strlen(text);
    for (size_t at = 0; at < size; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            replay r;
            rapt_error error;
            memcpy(copy, text, size);
            copy[at] ^= (char)(1u << bit);
            if (read_replay(copy, size, &r, &error))
                for (size_t n = 0; n < r.count; n++)
                    assert_true(r.problems[n].count >= 1 && r.problems[n].linear.q.rank == 4);
            replay_free(&r);
        }
}

static void replay_mutilated(void **state)
{
    (void)state;
    static const char text[] = HEAD GOOD_LINE;
    char copy[sizeof text];
    const size_t size = strlen(text);
    replay r;
    rapt_error error;
    for (size_t cut = 0; cut + 1 < size; cut++) {
        assert_false(read_replay(text, cut, &r, &error));
        replay_free(&r);
    }
    for (size_t at = 0; at < size; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            memcpy(copy, text, size);
            copy[at] ^= (char)(1u << bit);
            if (read_replay(copy, size, &r, &error))
                for (size_t n = 0; n < r.count; n++)
                    assert_true(r.problems[n].count >= 1 && r.problems[n].desc.q.stride[3] == 1 &&
                                r.problems[n].desc.k.size[3] == r.problems[n].c.d_qk);
            replay_free(&r);
        }
}

/* ---- files ---- */

static void files(void **state)
{
    (void)state;
    rapt_error error = {0};
    size_t size;
    char path[640];
    snprintf(path, sizeof path, "%s", path_of("out.txt"));
    assert_true(text_file_writable(path, &error));
    assert_null(fopen(path, "rb")); /* asking leaves nothing behind */
    assert_true(text_file_write(path, "one\n", 4, &error));
    assert_true(text_file_writable(path, &error));
    char *text = text_file_read(path, 100, &size, &error);
    assert_string_equal(text, "one\n"); /* nor does it touch what is there */
    free(text);
    assert_true(text_file_write(path, "two", 3, &error));
    text = text_file_read(path, 100, &size, &error);
    assert_string_equal(text, "two");
    free(text);
    remove(path);
    assert_false(text_file_writable("/nonexistent/x", &error));
    assert_non_null(strstr(error.message, "/nonexistent/x"));
    assert_false(text_file_write("/nonexistent/x", "", 0, &error));
    assert_false(text_file_writable("/", &error));
}

#if defined(__linux__)
/* A folder that looks like /sys. */
static void put(const char *path, const char *text)
{
    char full[900], *at = full;
    snprintf(full, sizeof full, "%s-sys/%s", folder, path);
    while ((at = strchr(at + 1, '/')) != NULL) {
        *at = 0;
        mkdir(full, 0700);
        *at = '/';
    }
    FILE *file = fopen(full, "wb");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void sensor_files(void **state)
{
    (void)state;
    char root[600];
    snprintf(root, sizeof root, "%s-sys", folder);
    rapt_caps caps = {.device_type = 4};
    put("class/powercap/intel-rapl:0/name", "package-0\n");
    put("class/powercap/intel-rapl:0/energy_uj", "9000000\n");
    put("class/powercap/intel-rapl:0/max_energy_range_uj", "10000000\n");
    put("class/hwmon/hwmon0/name", "coretemp\n");
    put("class/hwmon/hwmon0/temp1_input", "51500\n");
    put("devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1000000\n");
    put("devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "3000000\n");
    sensors *s = sensors_open(root, &caps);
    assert_true(sensors_celsius(s) == 51.5 && sensors_hertz(s) == 2e9);
    const double before = sensors_joules(s);
    put("class/powercap/intel-rapl:0/energy_uj", "500000\n"); /* around the end of its range */
    assert_true(fabs(sensors_joules(s) - before - 1.5) < 1e-9);
    cJSON *json = sensors_json(s);
    assert_string_equal(cJSON_GetObjectItem(json, "energy")->valuestring, "intel-rapl: package-0");
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(json, "why_not")));
    cJSON_Delete(json);
    sensors_close(s);

    caps = (rapt_caps){.device_type = 2, .vendor_id = 0x1002, .device_id = 0x744c};
    s = sensors_open(root, &caps);
    assert_true(sensors_joules(s) < 0 && sensors_hertz(s) < 0 && sensors_celsius(s) < 0);
    json = sensors_json(s);
    assert_non_null(strstr(cJSON_GetObjectItem(json, "why_not")->valuestring, "1002:744c"));
    cJSON_Delete(json);
    sensors_close(s);
    put("class/drm/card1/device/vendor", "0x1002\n");
    put("class/drm/card1/device/device", "0x744c\n");
    put("class/drm/card1/device/hwmon/hwmon3/name", "amdgpu\n");
    put("class/drm/card1/device/hwmon/hwmon3/power1_average", "250000000\n");
    put("class/drm/card1/device/hwmon/hwmon3/freq1_input", "2400000000\n");
    s = sensors_open(root, &caps);
    assert_true(sensors_joules(s) == 0 && sensors_hertz(s) == 2.4e9 && sensors_celsius(s) < 0);
    assert_true(sensors_joules(s) >= 0);
    sensors_close(s);
    char command[700];
    snprintf(command, sizeof command, "rm -r '%s'", root);
    assert_int_equal(system(command), 0);
    s = sensors_open("/nonexistent", &caps);
    assert_true(sensors_joules(s) < 0);
    sensors_close(s);
}
#endif

int main(void)
{
    test_folder(folder, "bench");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(baseline_good),
        cmocka_unit_test(baseline_sweeps),
        cmocka_unit_test(baseline_hostile),
        cmocka_unit_test(baseline_mutilated),
        cmocka_unit_test(verdicts),
        cmocka_unit_test(figures),
        cmocka_unit_test(replay_good),
        cmocka_unit_test(replay_hostile),
        cmocka_unit_test(replay_mutilated),
        cmocka_unit_test(replay_linear),
        cmocka_unit_test(replay_linear_hostile),
        cmocka_unit_test(replay_linear_mutilated),
        cmocka_unit_test(files),
#if defined(__linux__)
        cmocka_unit_test(sensor_files),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
