/* Measured choices: what wins is proven and kept, what is wrong is blocked, what is on disk is believed only
 * as a whole, and no batch changes a row's kernel. */
#include "rig.h"
#include "vk/exec.h"

#include <pthread.h>
#include <stdatomic.h>

static rig the_rig;

enum { MOST = 64 };
static rapt_tune_candidate candidates[MOST];

static rapt_attention_desc small(uint64_t batch)
{
    return rig_desc(RAPT_F32, batch, 2, 2, 5, 40, 64, false);
}

static rapt_plan_info planned(const rapt_attention_desc *d)
{
    rapt_plan *plan;
    rapt_plan_info info = RAPT_PLAN_INFO_INIT;
    RIG_OK(rapt_attention_plan(the_rig.device, d, &plan, error));
    RIG_OK(rapt_plan_describe(plan, &info, error));
    rapt_plan_destroy(&plan);
    return info;
}

/* Rows for `d` beside the naive one: all but the best `keep` are blocked, since each takes a driver long to
 * compile. Their names, best first; the number of them. */
static int keep_few(const rapt_attention_desc *d, int keep, char names[][64])
{
    int kept = 0;
    for (; kept < keep; kept++) { /* the best, then what is best without it, .. */
        rapt_plan *plan;
        rapt_plan_info info = RAPT_PLAN_INFO_INIT;
        if (rapt_attention_plan(the_rig.device, d, &plan, NULL) != RAPT_OK)
            break;
        RIG_OK(rapt_plan_describe(plan, &info, error));
        snprintf(names[kept], 64, "%s", info.kernel); /* not what packs vectors before it */
        rapt_plan_destroy(&plan);
        RIG_OK(rapt_device_block(the_rig.device, names[kept], NULL, NULL, error));
    }
    for (uint32_t i = 0; i < rapt_kernel_count(); i++) {
        rapt_kernel_info info = RAPT_KERNEL_INFO_INIT;
        RIG_OK(rapt_kernel_describe(i, &info, error));
        if (strcmp(info.family, "naive") != 0 && strcmp(info.family, "merge") != 0 && strcmp(info.family, "map") != 0)
            RIG_OK(rapt_device_block(the_rig.device, info.name, "not in this test", NULL, error));
    }
    for (int i = 0; i < kept; i++)
        RIG_OK(rapt_device_unblock(the_rig.device, names[i], NULL, error));
    return kept;
}

static const rapt_tune_candidate *find_candidate(const rapt_tune_result *r, const char *kernel)
{
    for (uint32_t i = 0; i < r->candidate_count && i < MOST; i++)
        if (strcmp(candidates[i].kernel, kernel) == 0)
            return &candidates[i];
    return NULL;
}

static rapt_tune_result tune(const rapt_attention_desc *d, const rapt_tune_options *given)
{
    rapt_tune_options options = RAPT_TUNE_OPTIONS_INIT;
    rapt_tune_result result = RAPT_TUNE_RESULT_INIT;
    options.seconds = 0.05;
    memset(candidates, 0, sizeof candidates);
    RIG_OK(
        rapt_attention_tune(the_rig.device, d, given ? given : &options, &result, candidates, MOST, error));
    return result;
}

typedef struct found {
    char path[1024];
    unsigned count;
} found;

static void find_tuning(const char *path, void *user)
{
    found *f = user;
    if (strstr(path, "tuning-")) {
        f->count++;
        snprintf(f->path, sizeof f->path, "%.1023s", path);
    }
}

/* ---- */

static void test_race(void **state)
{
    (void)state;
    char folder[512], names[2][64];
    static char text[1 << 17];
    rapt_attention_desc d = small(1), four = small(4);
    rig_folder(folder, "tune");
    rig_open(&the_rig, &(rig_options){.cache_dir = folder});
    const int kept = keep_few(&d, 2, names);
    const rapt_tune_result r = tune(&d, NULL);
    assert_string_equal(r.default_kernel, names[0]);
    assert_string_equal(r.problem, "f32, heads 2:2, nq 5, nk 40, head_dim 64");
    assert_true(r.rounds >= 6 && r.stored && !r.stopped && r.blocked == 0);
    assert_true(r.speedup >= 1 && r.speedup_low <= r.speedup && r.speedup <= r.speedup_high);
    assert_non_null(find_candidate(&r, "naive-f32"));
    unsigned winners = 0, defaults = 0, rows = 0;
    for (uint32_t i = 0; i < r.candidate_count; i++) {
        const rapt_tune_candidate *c = &candidates[i];
        winners += c->is_winner;
        defaults += c->is_default;
        rows += strcmp(c->kernel, names[0]) == 0 || (kept > 1 && strcmp(c->kernel, names[1]) == 0) ||
                strcmp(c->kernel, "naive-f32") == 0;
        assert_true(c->state == RAPT_TUNE_TIMED || c->state == RAPT_TUNE_SLOW);
        assert_true(c->samples > 0 && c->min_ns <= c->median_ns && c->median_ns <= c->max_ns &&
                    c->min_ns > 0);
        assert_true(c->error <= 1);
        if (c->is_winner && !c->is_default)
            assert_true(c->speedup_low > 1.02);
        if (c->is_winner)
            assert_string_equal(c->kernel, r.kernel);
    }
    assert_true(winners == 1 && defaults == 1);
    assert_int_equal(rows, r.candidate_count);
    assert_string_equal(planned(&d).kernel, r.kernel);
    rig_close(&the_rig);

    /* Another process: kept, for any batch. */
    rig_open(&the_rig, &(rig_options){.cache_dir = folder});
    assert_int_equal(rapt_device_tuned_count(the_rig.device), 1);
    rapt_tuned t = RAPT_TUNED_INIT;
    RIG_OK(rapt_device_tuned(the_rig.device, 0, &t, error));
    RIG_FAILS(rapt_device_tuned(the_rig.device, 1, &t, error), RAPT_ERROR_INVALID, "1 of 1");
    assert_string_equal(t.kernel, r.kernel);
    assert_int_equal(t.struct_size, sizeof t);
    for (const rapt_attention_desc *one = &d; one; one = one == &d ? &four : NULL) {
        rapt_plan *plan;
        RIG_OK(rapt_attention_plan(the_rig.device, one, &plan, error));
        RIG_OK(rapt_plan_prepare(plan, error));
        assert_true(rapt_plan_is_tuned(plan));
        assert_true(rapt_plan_explain(plan, RAPT_TEXT, text, sizeof text) > 1);
        assert_non_null(strstr(text, "\ntuned    "));
        rapt_plan_destroy(&plan);
    }
    assert_int_equal(rapt_device_forget_tuned(the_rig.device), 1);
    assert_int_equal(rapt_device_forget_tuned(the_rig.device), 0);
    assert_true(rapt_device_blocked_count(the_rig.device) > 0); /* that list is another */
    rig_close(&the_rig);
    rig_open(&the_rig, &(rig_options){.cache_dir = folder});
    assert_int_equal(rapt_device_tuned_count(the_rig.device), 0);
    rig_close(&the_rig);
    rig_remove_folder(folder);
}

/* Puts a choice in as if it had been measured. */
static void keep(const rapt_attention_desc *d, const char *kernel, uint32_t splits)
{
    rapt_problem p;
    rapt_hash key;
    bool stored;
    rapt_tuned t = RAPT_TUNED_INIT;
    RIG_OK(rapt_attention_problem(d, &p, error));
    assert_true(rapt_tuning_key(&p, rapt_device_caps(the_rig.device), &key));
    snprintf(t.kernel, sizeof t.kernel, "%s", kernel);
    snprintf(t.default_kernel, sizeof t.default_kernel, "other");
    t.key_splits = splits;
    t.speedup = 2;
    RIG_OK(rapt_tuning_keep(the_rig.device, key, &t, &stored, error));
}

/* A row's bits do not depend on the batch around it, tuned or not. */
static void test_determinism(void **state)
{
    (void)state;
    enum { ROW = 2 * 5 * 64, KEYS = 2 * 40 * 64, BATCH = 4 };
    static float out[2][BATCH * ROW];
    rig_open(&the_rig, NULL);
    rapt_attention_desc one = small(1), four = small(BATCH);
    keep(&four, "naive-f32", 3); /* measured at one batch, taken at another */
    const rapt_plan_info a = planned(&one), b = planned(&four);
    assert_string_equal(a.kernel, "naive-f32");
    assert_string_equal(b.kernel, a.kernel);
    assert_int_equal(a.key_splits, 3);
    assert_int_equal(b.key_splits, a.key_splits);
    rapt_attention_desc alone = four;
    alone.flags = RAPT_ATTENTION_BATCH_TUNED;
    assert_string_not_equal(planned(&alone).kernel, "naive-f32");
    float *q = rig_numbers(RAPT_F32, BATCH * ROW, 1), *k = rig_numbers(RAPT_F32, BATCH * KEYS, 2),
          *v = rig_numbers(RAPT_F32, BATCH * KEYS, 3);
    for (uint64_t n = 0; n < BATCH; n++) {
        rig_call call = {
            .desc = one, .q = q + n * ROW, .k = k + n * KEYS, .v = v + n * KEYS, .out = out[0] + n * ROW};
        rig_run(the_rig.device, &call);
    }
    rig_call call = {.desc = four, .q = q, .k = k, .v = v, .out = out[1]};
    rig_run(the_rig.device, &call);
    assert_memory_equal(out[0], out[1], sizeof out[0]);
    free(q);
    free(k);
    free(v);
    rig_close(&the_rig);
}

/* A kernel that computes nonsense and was never probed: it is the reference at first, or one that is held
 * against it. */
static void test_wrong_kernel(void **state)
{
    (void)state;
    char folder[512], cache[512], names[2][64];
    rapt_attention_desc d = small(1);
    rig_folder(folder, "tune-override");
    rig_folder(cache, "tune-override-cache");
    rig_open(&the_rig, NULL);
    const int kept = keep_few(&d, 2, names);
    rig_close(&the_rig);
    if (kept < 2)
        skip();
    for (int which = 0; which < 2; which++) {
        uint32_t words;
        uint32_t *lie = rig_hollow(rig_module(names[which]), &words);
        rig_override(folder, rig_module(names[which]), lie, words * sizeof *lie);
        free(lie);
        rig_open(&the_rig, &(rig_options){.override_dir = folder, .cache_dir = cache, .no_probe = true});
        keep_few(&d, 2, names);
        const uint32_t before = rapt_device_blocked_count(the_rig.device);
        rapt_tune_options dry = RAPT_TUNE_OPTIONS_INIT;
        dry.seconds = 0.01;
        dry.dry_run = 1;
        rapt_tune_result r = tune(&d, &dry);
        assert_int_equal(find_candidate(&r, names[which])->state, RAPT_TUNE_WRONG);
        assert_int_equal(rapt_device_blocked_count(the_rig.device), before);
        assert_int_equal(rapt_device_tuned_count(the_rig.device), 0);
        r = tune(&d, NULL);
        const rapt_tune_candidate *bad = find_candidate(&r, names[which]),
                                  *good = find_candidate(&r, names[1 - which]);
        assert_int_equal(bad->state, RAPT_TUNE_WRONG);
        assert_true(bad->error > 1 && bad->samples == 0 && !bad->is_winner);
        assert_non_null(strstr(bad->reason, "off by"));
        assert_int_not_equal(good->state, RAPT_TUNE_WRONG);
        assert_string_not_equal(r.kernel, names[which]);
        assert_string_equal(r.default_kernel, names[1 - which]);
        assert_int_equal(r.blocked, 1);
        assert_false(r.stored); /* overridden kernels are not what was measured */
        assert_int_equal(rapt_device_blocked_count(the_rig.device), before + 1);
        rapt_blocked b = RAPT_BLOCKED_INIT;
        RIG_OK(rapt_device_blocked(the_rig.device, before, &b, error));
        assert_string_equal(b.kernel, names[which]);
        assert_non_null(strstr(b.reason, "f32, heads 2:2"));
        assert_true(rig_logged(&the_rig, "is blocked: off by") >= 1);
        assert_int_equal(rapt_device_forget_tuned(the_rig.device), 1);
        assert_string_equal(planned(&d).kernel, names[1 - which]);
        rig_close(&the_rig);
        rig_remove_folder(folder);
        rig_folder(folder, "tune-override");
    }
    found f = {{0}, 0};
    rig_each_file(cache, find_tuning, &f);
    assert_int_equal(f.count, 0);
    rig_remove_folder(folder);
    rig_remove_folder(cache);
}

static void test_blocks(void **state)
{
    (void)state;
    char folder[512], names[2][64];
    rapt_plan *plan;
    uint32_t stored = 7;
    rapt_blocked b = RAPT_BLOCKED_INIT;
    rapt_attention_desc d = small(1);
    rig_folder(folder, "tune-blocks");
    rig_open(&the_rig, &(rig_options){.cache_dir = folder});
    snprintf(names[0], 64, "%s", planned(&d).kernel);
    RIG_FAILS(rapt_device_block(the_rig.device, "nonsense", NULL, NULL, error), RAPT_ERROR_INVALID,
              "'nonsense'");
    RIG_FAILS(rapt_device_block(the_rig.device, NULL, NULL, NULL, error), RAPT_ERROR_INVALID, "named");
    RIG_FAILS(rapt_device_block(NULL, names[0], NULL, NULL, error), RAPT_ERROR_INVALID, "device");
    RIG_FAILS(rapt_device_unblock(the_rig.device, names[0], &stored, error), RAPT_ERROR_INVALID,
              "not on the block list");
    RIG_OK(rapt_device_block(the_rig.device, names[0], "hangs", &stored, error));
    assert_int_equal(stored, 1);
    RIG_OK(rapt_device_block(the_rig.device, names[0], "hangs at noon", NULL,
                             error)); /* the newer words count */
    assert_int_equal(rapt_device_blocked_count(the_rig.device), 1);
    rig_close(&the_rig);
    rig_open(&the_rig, &(rig_options){.cache_dir = folder});
    RIG_OK(rapt_device_blocked(the_rig.device, 0, &b, error));
    assert_string_equal(b.reason, "hangs at noon");
    RIG_FAILS(rapt_device_blocked(the_rig.device, 1, &b, error), RAPT_ERROR_INVALID, "1 of 1");
    assert_string_not_equal(planned(&d).kernel, names[0]);
    d.kernel = names[0];
    assert_string_equal(planned(&d).kernel, names[0]); /* by force */
    d.kernel = NULL;
    RIG_OK(rapt_device_unblock(the_rig.device, names[0], &stored, error));
    assert_int_equal(stored, 1);
    assert_string_equal(planned(&d).kernel, names[0]);
    /* All: a refusal that says why. */
    keep_few(&d, 1, names);
    RIG_OK(rapt_device_block(the_rig.device, names[0], "hangs", NULL, error));
    RIG_FAILS(rapt_attention_plan(the_rig.device, &d, &plan, error), RAPT_ERROR_UNSUPPORTED, "block list");
    rig_close(&the_rig);
    rig_remove_folder(folder);
    /* Without a folder it holds for the device's life. */
    rig_open(&the_rig, NULL);
    RIG_OK(rapt_device_block(the_rig.device, names[0], NULL, &stored, error));
    assert_int_equal(stored, 0);
    assert_int_equal(rapt_device_blocked_count(the_rig.device), 1);
    rig_close(&the_rig);
}

static void write_all(const char *path, const uint8_t *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* Damage is a miss: no entry, no error, and the next write mends it. */
static void test_damaged_file(void **state)
{
    (void)state;
    char folder[512];
    static uint8_t file[1 << 16], bad[1 << 16];
    rapt_attention_desc d = small(1);
    found f = {{0}, 0};
    rig_folder(folder, "tune-damage");
    rig_open(&the_rig, &(rig_options){.cache_dir = folder});
    keep(&d, "naive-f32", 0);
    RIG_OK(rapt_device_block(the_rig.device, "naive-f16", NULL, NULL, error));
    const rapt_hash identity = the_rig.device->identity;
    rig_close(&the_rig);
    rig_each_file(folder, find_tuning, &f);
    assert_int_equal(f.count, 1);
    FILE *in = fopen(f.path, "rb");
    assert_non_null(in);
    const size_t size = fread(file, 1, sizeof file, in);
    fclose(in);
    assert_true(size > 104 && size < sizeof file);
    /* One bit of each part; cut short; nothing; too long. */
    for (size_t at = 0; at < size + 3; at = at < size ? at + RAPT_MAX(size / 12, 1) : at + 1) {
        size_t bytes = size;
        memcpy(bad, file, size);
        if (at < size)
            bad[at] ^= 1;
        else if (at == size)
            bytes = size / 2;
        else
            bytes = at == size + 1 ? 0 : size + 1;
        write_all(f.path, bad, bytes);
        rig_open(&the_rig, &(rig_options){.cache_dir = folder});
        assert_int_equal(rapt_device_tuned_count(the_rig.device), 0);
        assert_int_equal(rapt_device_blocked_count(the_rig.device), 0);
        assert_string_not_equal(planned(&d).kernel, "naive-f32");
        rig_close(&the_rig);
    }
    /* Whole as a file, and nonsense inside: counts that do not fit, names without an end. */
    const size_t inner = size - 104;
    for (int what = 0; what < 4; what++) {
        rig_open(&the_rig, &(rig_options){.cache_dir = folder});
        memcpy(bad, file + 104, inner);
        if (what == 0)
            memset(bad, 0xff, 8);
        else if (what == 1)
            bad[0]++;
        else if (what == 2)
            memset(bad + 8, 'x', inner - 8);
        rapt_store_write(&the_rig.runtime->store, RAPT_STORE_TUNING, identity, (rapt_hash){0x74756e65, 1},
                         bad, what == 3 ? 3 : inner);
        rig_close(&the_rig);
        rig_open(&the_rig, &(rig_options){.cache_dir = folder});
        assert_int_equal(rapt_device_tuned_count(the_rig.device), 0);
        assert_int_equal(rapt_device_blocked_count(the_rig.device), 0);
        rig_close(&the_rig);
    }
    write_all(f.path, file, size);
    rig_open(&the_rig, &(rig_options){.cache_dir = folder}); /* sound again */
    assert_int_equal(rapt_device_tuned_count(the_rig.device), 1);
    assert_int_equal(rapt_device_blocked_count(the_rig.device), 1);
    assert_string_equal(planned(&d).kernel, "naive-f32");
    rig_close(&the_rig);
    rig_remove_folder(folder);
}

static int stop_at_once(void *user, const rapt_tune_progress *progress)
{
    int *left = user;
    assert_true(progress->done <= progress->total && progress->kernel && progress->stage);
    return (*left)-- <= 0;
}

static void test_stopping_and_bad_input(void **state)
{
    (void)state;
    char names[1][64];
    rapt_attention_desc d = small(1);
    rapt_tune_options options = RAPT_TUNE_OPTIONS_INIT;
    rapt_tune_result r = RAPT_TUNE_RESULT_INIT;
    rig_open(&the_rig, NULL);
    keep_few(&d, 1, names);
    for (int calls = 0; calls < 4; calls++) {
        int left = calls;
        options.progress = stop_at_once;
        options.user = &left;
        r = tune(&d, &options);
        assert_int_equal(r.stopped, 1);
        assert_int_equal(rapt_device_tuned_count(the_rig.device), 0);
    }
    options = (rapt_tune_options)RAPT_TUNE_OPTIONS_INIT;
    rapt_device *dev = the_rig.device;
    RIG_FAILS(rapt_attention_tune(NULL, &d, NULL, &r, NULL, 0, error), RAPT_ERROR_INVALID, "device");
    RIG_FAILS(rapt_attention_tune(dev, &d, NULL, NULL, NULL, 0, error), RAPT_ERROR_INVALID, "result");
    RIG_FAILS(rapt_attention_tune(dev, NULL, NULL, &r, NULL, 0, error), RAPT_ERROR_INVALID, "NULL");
    options.seconds = -1;
    RIG_FAILS(rapt_attention_tune(dev, &d, &options, &r, NULL, 0, error), RAPT_ERROR_INVALID, "seconds");
    options.struct_size = 4;
    RIG_FAILS(rapt_attention_tune(dev, &d, &options, &r, NULL, 0, error), RAPT_ERROR_INVALID, "struct_size");
    d.kernel = "naive-f32";
    RIG_FAILS(rapt_attention_tune(dev, &d, NULL, &r, NULL, 0, error), RAPT_ERROR_INVALID, "forced");
    d.kernel = NULL;
    d.sequences = 2;
    RIG_FAILS(rapt_attention_tune(dev, &d, NULL, &r, NULL, 0, error), RAPT_ERROR_INVALID, "max_seqlen");
    d = rig_desc(RAPT_F32, 1, 2, 2, 0, 40, 64, false);
    RIG_FAILS(rapt_attention_tune(dev, &d, NULL, &r, NULL, 0, error), RAPT_ERROR_INVALID, "empty");
    d = rig_desc(RAPT_F32, 1, 2, 2, 40, 40, 64, false);
    d.link = RAPT_LINK_RELU;
    RIG_FAILS(rapt_attention_tune(dev, &d, NULL, &r, NULL, 0, error), RAPT_ERROR_UNSUPPORTED, "a link, a gate, col_sums or row_max are not tuned");
    d.link = RAPT_LINK_SOFTMAX;
    d.decay = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {2}, .stride = {1}};
    RIG_FAILS(rapt_attention_tune(dev, &d, NULL, &r, NULL, 0, error), RAPT_ERROR_UNSUPPORTED, "decay");
    rig_close(&the_rig);
}

/* Packed sequences, a causal mask, heads in groups, an LSE, strides with gaps: proven as anything else. */
static void test_shapes(void **state)
{
    (void)state;
    char names[1][64];
    rig_open(&the_rig, NULL);
    rapt_attention_desc d = rig_desc(RAPT_F32, 1, 4, 2, 30, 45, 64, true);
    d.flags = RAPT_ATTENTION_CAUSAL;
    d.sequences = 4;
    d.max_seqlen_q = 9;
    d.max_seqlen_k = 12;
    keep_few(&d, 1, names);
    rapt_tune_result r = tune(&d, NULL);
    assert_string_equal(r.problem, "f32, heads 4:2, nq 9, nk 12, head_dim 64, causal+0, packed");
    assert_true(find_candidate(&r, names[0])->error > 0 && find_candidate(&r, names[0])->error <= 1);
    rapt_attention_desc e = rig_desc(RAPT_BF16, 2, 2, 2, 3, 50, 64, true);
    e.q.stride[2] += 8;
    e.q.stride[1] = e.q.stride[2] * 3;
    e.q.stride[0] = e.q.stride[1] * 2;
    e.flags = RAPT_ATTENTION_CAUSAL | RAPT_ATTENTION_BATCH_TUNED;
    e.causal_offset = -48; /* rows that see nothing */
    rig_close(&the_rig);
    rig_open(&the_rig, NULL);
    keep_few(&e, 1, names);
    r = tune(&e, NULL);
    for (uint32_t i = 0; i < r.candidate_count; i++)
        assert_int_not_equal(candidates[i].state, RAPT_TUNE_WRONG);
    rig_close(&the_rig);
}

/* Caches: pages of a pool that is too small for all, rows of two quantised types, lengths, vectors beside them; and sinks of a query that
 * sees nothing. Each takes a choice of its own. */
static void test_caches(void **state)
{
    (void)state;
    char names[1][64], text[8192];
    rig_open(&the_rig, NULL);
    rapt_attention_desc d = rig_desc(RAPT_F32, 2, 4, 2, 3, 64, 64, true);
    d.flags = RAPT_ATTENTION_CAUSAL;
    d.causal_offset = -62;
    d.sinks = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {4}, .stride = {1}};
    d.alibi = (rapt_tensor){.dtype = RAPT_F32, .rank = 1, .size = {4}, .stride = {2}};
    keep_few(&d, 1, names);
    rapt_tune_result r = tune(&d, NULL);
    assert_string_equal(r.problem, "f32, heads 4:2, nq 3, nk 64, head_dim 64, causal-62, sinks, ALiBi");
    assert_true(find_candidate(&r, names[0])->error > 0 && find_candidate(&r, names[0])->error <= 1);
    rig_close(&the_rig);
    rig_open(&the_rig, NULL);
    d = rig_desc(RAPT_F32, 2, 4, 2, 1, 64, 64, false);
    d.page_size = 16;
    d.block_table = (rapt_tensor){.dtype = RAPT_I32, .rank = 2, .size = {2, 4}, .stride = {5, 1}};
    d.k_lengths = (rapt_tensor){.dtype = RAPT_I32, .rank = 1, .size = {2}, .stride = {1}};
    const uint64_t k_words = rapt_quantised_words(RAPT_INT8, 64), v_words = rapt_quantised_words(RAPT_FP8, 64);
    d.k = (rapt_tensor){.dtype = RAPT_INT8, .rank = 4, .size = {6, 2, 16, k_words}};
    d.v = (rapt_tensor){.dtype = RAPT_FP8, .rank = 4, .size = {6, 2, 16, v_words}};
    for (int i = 0; i < 2; i++) {
        rapt_tensor *t = i ? &d.v : &d.k;
        t->stride[3] = 1;
        t->stride[2] = (int64_t)t->size[3];
        t->stride[1] = 16 * t->stride[2];
        t->stride[0] = 2 * t->stride[1];
    }
    keep_few(&d, 1, names);
    r = tune(&d, NULL);
    assert_string_equal(r.problem, "f32, heads 4:2, nq 1, nk 64, head_dim 64, pages of 16, int8 keys, fp8 values, ragged");
    assert_true(find_candidate(&r, names[0])->error > 0 && find_candidate(&r, names[0])->error <= 1);
    assert_int_equal(rapt_device_tuned_count(the_rig.device), 1);
    rapt_plan *plan;
    RIG_OK(rapt_attention_plan(the_rig.device, &d, &plan, error));
    assert_true(rapt_plan_explain(plan, RAPT_TEXT, text, sizeof text) > 1);
    assert_non_null(strstr(text, "\ntuned    "));
    rapt_plan_destroy(&plan);
    d.v.dtype = RAPT_INT8; /* as many words: another problem */
    RIG_OK(rapt_attention_plan(the_rig.device, &d, &plan, error));
    assert_true(rapt_plan_explain(plan, RAPT_TEXT, text, sizeof text) > 1);
    assert_null(strstr(text, "\ntuned    "));
    rapt_plan_destroy(&plan);
    rig_close(&the_rig);
}

/* ---- host memory ends */

static struct {
    long left; /* allocations; negative: no end */
    long alive;
} budget = {-1, 0};

static void *budget_alloc(void *user, size_t size)
{
    (void)user;
    if (budget.left == 0)
        return NULL;
    budget.left -= budget.left > 0;
    void *memory = malloc(size);
    budget.alive += (long)size;
    return memory;
}

static void budget_free(void *user, void *memory, size_t size)
{
    (void)user;
    budget.alive -= memory ? (long)size : 0;
    free(memory);
}

static void *budget_realloc(void *user, void *old, size_t old_size, size_t size)
{
    if (size == 0) {
        budget_free(user, old, old_size);
        return NULL;
    }
    void *memory = budget_alloc(user, size);
    if (memory && old) {
        memcpy(memory, old, RAPT_MIN(old_size, size));
        budget_free(user, old, old_size);
    }
    return memory;
}

static void test_every_allocation(void **state)
{
    (void)state;
    const rapt_allocator allocator = {NULL, budget_alloc, budget_realloc, budget_free};
    char names[1][64];
    rapt_attention_desc d = small(1);
    rapt_tune_options options = RAPT_TUNE_OPTIONS_INIT;
    rapt_tune_result r = RAPT_TUNE_RESULT_INIT;
    options.seconds = 1e-3;
    budget.left = -1;
    rig_open(&the_rig, &(rig_options){.allocator = &allocator});
    keep_few(&d, 1, names);
    RIG_OK(rapt_attention_tune(the_rig.device, &d, &options, &r, NULL, 0, error)); /* pipelines, probes */
    RIG_OK(rapt_attention_tune(the_rig.device, &d, &options, &r, NULL, 0, error));
    const long before = budget.alive;
    rapt_status status = RAPT_ERROR_OUT_OF_HOST_MEMORY;
    unsigned refused = 0;
    for (long n = 0; n < 3000; n++) {
        rapt_error error = {0};
        r = (rapt_tune_result)RAPT_TUNE_RESULT_INIT;
        budget.left = n;
        status = rapt_attention_tune(the_rig.device, &d, &options, &r, NULL, 0, &error);
        const bool enough = budget.left > 0;
        budget.left = -1;
        assert_true(status == error.status);
        refused += status != RAPT_OK;
        if (budget.alive != before)
            fail_msg("allocation %ld: %ld bytes left", n, budget.alive - before);
        if (enough)
            break;
    }
    assert_int_equal(status, RAPT_OK);
    assert_true(refused > 5);
    rig_close(&the_rig);
    assert_int_equal(budget.alive, 0);
}

/* ---- threads */

enum { THREADS = 3 };
static atomic_bool done;

static void *plan_often(void *user)
{
    const rapt_attention_desc d = small(2);
    (void)user;
    while (!atomic_load(&done)) {
        rapt_plan *plan;
        rapt_tuned t = RAPT_TUNED_INIT;
        rapt_blocked b = RAPT_BLOCKED_INIT;
        if (rapt_attention_plan(the_rig.device, &d, &plan, NULL) == RAPT_OK) /* not while all are blocked */
            rapt_plan_destroy(&plan);
        (void)rapt_device_tuned(the_rig.device, 0, &t, NULL);
        (void)rapt_device_blocked(the_rig.device, 0, &b, NULL);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    rapt_attention_desc d = small(1);
    rig_open(&the_rig, NULL);
    char names[1][64];
    snprintf(names[0], 64, "%s", planned(&d).kernel);
    atomic_store(&done, false);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, plan_often, NULL), 0);
    for (int i = 0; i < 100; i++) {
        keep(&d, "naive-f32", (uint32_t)i % 3);
        RIG_OK(rapt_device_block(the_rig.device, names[0], "for a moment", NULL, error));
        RIG_OK(rapt_device_unblock(the_rig.device, names[0], NULL, error));
        rapt_device_forget_tuned(the_rig.device);
    }
    keep_few(&d, 1, names);
    tune(&d, NULL);
    atomic_store(&done, true);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    rig_close(&the_rig);
}

/* A grid has rows of its own, and choices of its own beside those of the same tensors without one, or with another. */
static void test_grids(void **state)
{
    (void)state;
    char names[2][64];
    rapt_attention_desc d = rig_desc(RAPT_F32, 1, 2, 2, 40, 40, 64, false);
    rig_open(&the_rig, NULL);
    d.grid = (rapt_grid){2, {4, 10}, {3, 5}};
    const int kept = keep_few(&d, 1, names);
    const rapt_tune_result r = tune(&d, NULL);
    assert_string_equal(r.problem, "f32, heads 2:2, nq 40, nk 40, head_dim 64, grid 4x10, kernel 3x5, dilation 1x1, stride 1x1");
    assert_string_equal(r.default_kernel, names[0]);
    assert_non_null(find_candidate(&r, "naive-grid-f32"));
    assert_true(kept == 1 && r.candidate_count == 2 && r.blocked == 0);
    for (uint32_t i = 0; i < r.candidate_count; i++)
        assert_true(candidates[i].error <= 1 && candidates[i].samples > 0);
    rapt_problem p;
    rapt_hash with, without, other;
    RIG_OK(rapt_attention_problem(&d, &p, error));
    assert_true(rapt_tuning_key(&p, rapt_device_caps(the_rig.device), &with));
    d.grid.kernel_size[0] = 2;
    RIG_OK(rapt_attention_problem(&d, &p, error));
    assert_true(rapt_tuning_key(&p, rapt_device_caps(the_rig.device), &other));
    d.grid.rank = 0;
    RIG_OK(rapt_attention_problem(&d, &p, error));
    assert_true(rapt_tuning_key(&p, rapt_device_caps(the_rig.device), &without));
    assert_memory_not_equal(&with, &without, sizeof with);
    assert_memory_not_equal(&with, &other, sizeof with);
    rig_close(&the_rig);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_race),         cmocka_unit_test(test_determinism),
        cmocka_unit_test(test_wrong_kernel), cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_damaged_file), cmocka_unit_test(test_stopping_and_bad_input),
        cmocka_unit_test(test_shapes), cmocka_unit_test(test_caches),       cmocka_unit_test(test_every_allocation),
        cmocka_unit_test(test_threads),      cmocka_unit_test(test_grids),
    };
    return RIG_RUN("tune", tests);
}
