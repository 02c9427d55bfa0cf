/* Linear attention on a device, against the recurrence in double precision. */
#include "linear_problems.h"

static rig the_rig;

static const lin cases[] = {
    {"plain", RAPT_F32, .heads = 2, .n = 37, D(64, 64), REC},
    {"plain-chunked", RAPT_F32, .heads = 2, .n = 37, D(64, 64), CHU},
    {"head-decay", RAPT_F32, .batch = 2, .heads = 2, .n = 50, D(32, 40), REC, .decay = DECAY_HEAD},
    {"head-decay-chunked", RAPT_F32, .batch = 2, .heads = 2, .n = 50, D(32, 40), CHU, .decay = DECAY_HEAD},
    {"token-decay", RAPT_F16, .heads = 2, .n = 50, D(20, 12), REC, .decay = DECAY_TOKEN, .state_out = true},
    {"token-decay-chunked", RAPT_F16, .heads = 2, .n = 50, D(20, 12), CHU, .decay = DECAY_TOKEN,
     .state_in = true},
    {"gate", RAPT_BF16, .heads = 2, .n = 50, D(33, 7), REC, .decay = DECAY_CHANNEL, .state_in = true},
    {"gate-chunked", RAPT_BF16, .heads = 2, .n = 50, D(33, 7), CHU, .decay = DECAY_CHANNEL, .state_in = true,
     .state_out = true},
    {"gate-bf16", RAPT_BF16, .heads = 2, .n = 50, D(32, 16), REC, .decay = DECAY_CHANNEL, .state_in = true},
    {"gate-bf16-chunked", RAPT_BF16, .heads = 2, .n = 50, D(32, 16), CHU, .decay = DECAY_CHANNEL,
     .state_in = true},
    {"gate-log-odd", RAPT_F16, .heads = 2, .n = 41, D(33, 31), CHU, .decay = DECAY_CHANNEL, .log = true,
     .odd = true, .state_in = true, .state_out = true},
    {"beta", RAPT_F32, .heads = 2, .n = 40, D(16, 16), CHU, .beta = true, .decay = DECAY_TOKEN},
    {"delta", RAPT_F32, .heads = 2, .n = 70, D(64, 64), REC, .rule = RAPT_LINEAR_DELTA, .beta = true},
    {"delta-chunked", RAPT_F32, .heads = 2, .n = 70, D(64, 64), CHU, .rule = RAPT_LINEAR_DELTA, .beta = true},
    {"gated-delta-chunked", RAPT_F16, .heads = 2, .n = 70, D(40, 24), CHU, .rule = RAPT_LINEAR_DELTA,
     .beta = true, .decay = DECAY_TOKEN, .state_in = true, .state_out = true},
    {"kda-chunked", RAPT_F32, .batch = 2, .heads = 2, .n = 70, D(33, 17), CHU, .rule = RAPT_LINEAR_DELTA,
     .beta = true, .decay = DECAY_CHANNEL, .odd = true, .state_in = true, .state_out = true},
    {"delta-without-beta", RAPT_BF16, .heads = 1, .n = 20, D(12, 64), REC, .rule = RAPT_LINEAR_DELTA},
    {"dplr", RAPT_F32, .heads = 2, .n = 60, D(64, 32), REC, .rule = RAPT_LINEAR_DPLR, .decay = DECAY_CHANNEL},
    {"dplr-chunked", RAPT_F32, .heads = 2, .n = 60, D(64, 32), CHU, .rule = RAPT_LINEAR_DPLR,
     .decay = DECAY_CHANNEL, .state_in = true, .state_out = true},
    {"dplr-f16", RAPT_F16, .heads = 2, .n = 33, D(17, 5), CHU, .rule = RAPT_LINEAR_DPLR, .odd = true},
    {"shared-heads", RAPT_F32, .heads = 6, .heads_q = 3, .heads_k = 2, .heads_v = 6, .n = 20, D(16, 24), CHU,
     .decay = DECAY_TOKEN},
    {"elu1", RAPT_F32, .heads = 1, .n = 40, D(24, 16), CHU, .feature = RAPT_PHI_ELU1, .normalize = true},
    {"relu", RAPT_F32, .heads = 1, .n = 40, D(24, 16), REC, .feature = RAPT_PHI_RELU},
    {"relu2", RAPT_F32, .heads = 1, .n = 40, D(24, 16), CHU, .feature = RAPT_PHI_RELU2},
    {"exp", RAPT_F32, .heads = 2, .n = 40, D(24, 16), CHU, .feature = RAPT_PHI_EXP, .normalize = true,
     .state_in = true, .state_out = true, .decay = DECAY_CHANNEL},
    {"softmax", RAPT_F16, .heads = 2, .n = 40, D(24, 16), CHU, .feature = RAPT_PHI_SOFTMAX, .normalize = true,
     .decay = DECAY_HEAD},
    {"softmax-recurrent", RAPT_F32, .heads = 2, .n = 21, D(65, 9), REC, .feature = RAPT_PHI_SOFTMAX,
     .normalize = true, .state_in = true, .state_out = true},
    {"in-place", RAPT_F32, .batch = 2, .heads = 2, .n = 3, D(32, 32), REC, .decay = DECAY_HEAD,
     .in_place = true, .normalize = true, .feature = RAPT_PHI_EXP},
    {"one", RAPT_F32, .batch = 2, .heads = 4, .n = 1, D(32, 40), .decay = DECAY_HEAD, .state_in = true,
     .state_out = true},
    {"one-gate-in-place", RAPT_F16, .batch = 2, .heads = 4, .n = 1, D(32, 40), .decay = DECAY_CHANNEL,
     .in_place = true, .feature = RAPT_PHI_ELU1, .beta = true},
    {"one-from-nothing", RAPT_BF16, .batch = 2, .heads = 4, .n = 1, D(32, 40), .state_out = true},
    {"one-delta", RAPT_F32, .batch = 2, .heads = 4, .n = 1, D(256, 40), .rule = RAPT_LINEAR_DELTA,
     .beta = true, .decay = DECAY_CHANNEL, .in_place = true},
    {"one-delta-packed", RAPT_F32, .heads = 2, .n = 3, D(32, 40), .rule = RAPT_LINEAR_DELTA, .beta = true,
     .decay = DECAY_TOKEN, .sequences = 5, .length = {1, 0, 1, 0, 1}, .max_seqlen = 1, .state_in = true,
     .state_out = true},
    {"one-dplr", RAPT_F32, .batch = 2, .heads = 2, .n = 1, D(64, 32), .rule = RAPT_LINEAR_DPLR,
     .decay = DECAY_CHANNEL, .state_in = true, .state_out = true},
    {"in-place-wide", RAPT_F32, .batch = 4, .heads = 8, .n = 5, D(32, 200), REC, .decay = DECAY_HEAD,
     .in_place = true, .normalize = true, .feature = RAPT_PHI_EXP},
    {"in-place-wide-f16", RAPT_F16, .batch = 4, .heads = 8, .n = 5, D(33, 200), REC, .in_place = true,
     .normalize = true, .feature = RAPT_PHI_EXP},
    {"in-place-chunked", RAPT_F32, .batch = 2, .heads = 2, .n = 35, D(32, 32), CHU, .rule = RAPT_LINEAR_DELTA,
     .in_place = true},
    {"d-1", RAPT_F16, .heads = 1, .n = 5, D(1, 1), REC},
    {"d-256", RAPT_F32, .heads = 1, .n = 20, D(256, 256), CHU, .decay = DECAY_CHANNEL, .state_out = true},
    {"d-256-dplr", RAPT_F32, .heads = 1, .n = 20, D(256, 130), CHU, .rule = RAPT_LINEAR_DPLR},
    {"no-tokens", RAPT_F32, .heads = 2, .n = 0, D(8, 8), .state_in = true, .state_out = true},
    {"no-tokens-chunked", RAPT_F32, .heads = 2, .n = 0, D(8, 8), CHU, .state_in = true, .state_out = true},
    {"varlen", RAPT_F32, .heads = 2, .n = 60, D(32, 16), REC, .decay = DECAY_TOKEN, .sequences = 4,
     .length = {9, 0, 50, 1}, .state_in = true, .state_out = true},
    {"varlen-chunked", RAPT_F16, .heads = 2, .n = 60, D(32, 16), CHU, .decay = DECAY_CHANNEL, .sequences = 4,
     .length = {9, 0, 50, 1}, .state_in = true, .state_out = true, .normalize = true,
     .feature = RAPT_PHI_EXP},
    {"varlen-delta", RAPT_F32, .heads = 2, .n = 64, D(32, 16), CHU, .rule = RAPT_LINEAR_DELTA, .beta = true,
     .sequences = 3, .length = {30, 4, 30}, .max_seqlen = 20, .state_out = true},
    {"spans", RAPT_F32, .heads = 2, .n = 150, D(32, 32), CHU, .decay = DECAY_TOKEN, .limit = 40000},
    {"spans-normalised", RAPT_F32, .heads = 2, .n = 150, D(32, 32), CHU, .normalize = true,
     .feature = RAPT_PHI_ELU1, .limit = 60000, .state_in = true},
    {"spans-delta", RAPT_F32, .heads = 2, .n = 150, D(32, 32), CHU, .rule = RAPT_LINEAR_DELTA, .limit = 80000,
     .state_in = true, .state_out = true},
    {"spans-recurrent", RAPT_F32, .heads = 2, .n = 1500, D(32, 32), REC, .decay = DECAY_TOKEN,
     .slice_ms = 0.001f, .state_in = true, .normalize = true, .feature = RAPT_PHI_ELU1},
};

static void test_cases(void **state)
{
    (void)state;
    rig_open(&the_rig, &(rig_options){.validation = true});
    for (size_t i = 0; i < RAPT_COUNT(cases); i++) {
        if (!test_takes(i))
            continue;
        check(the_rig.device, &cases[i], 1);
        if (atomic_load(&the_rig.runtime->validation_messages) != 0)
            fail_msg("%s: validation: %.400s", cases[i].name, strstr(the_rig.log, "validation: "));
    }
    rig_close(&the_rig);
}

/* Every length around the edges of chunks and blocks. */
static void test_lengths(void **state)
{
    (void)state;
    static const uint64_t primes[] = {37, 61, 127, 257, 509};
    static const lin kinds[] = {
        {"tiles", RAPT_F32, .heads = 2, D(32, 40), CHU, .decay = DECAY_TOKEN, .state_in = true,
         .state_out = true},
        {"tiles-gate", RAPT_F32, .heads = 2, D(24, 16), CHU, .decay = DECAY_CHANNEL, .state_in = true,
         .state_out = true},
        {"walk", RAPT_F16, .heads = 2, D(20, 12), CHU, .decay = DECAY_TOKEN, .state_in = true,
         .state_out = true},
        {"delta", RAPT_F32, .heads = 2, D(32, 16), CHU, .rule = RAPT_LINEAR_DELTA, .beta = true,
         .state_in = true, .state_out = true},
        {"dplr", RAPT_F32, .heads = 2, D(64, 32), CHU, .rule = RAPT_LINEAR_DPLR, .decay = DECAY_CHANNEL,
         .state_in = true, .state_out = true},
        {"recurrent", RAPT_F16, .heads = 2, D(20, 12), REC, .decay = DECAY_TOKEN, .state_in = true,
         .state_out = true},
    };
    rig_open(&the_rig, NULL);
    for (size_t i = 0; i < RAPT_COUNT(kinds); i++) {
        lin l = kinds[i];
        if (!test_takes(i))
            continue;
        for (l.n = 1; l.n <= 33; l.n++)
            check(the_rig.device, &l, 0);
        for (size_t n = 0; n < RAPT_COUNT(primes); n++) {
            l.n = primes[n];
            check(the_rig.device, &l, 0);
        }
    }
    rig_close(&the_rig);
}

/* Decays at their extremes: nothing overflows, nothing that counts is lost. */
static void test_extremes(void **state)
{
    (void)state;
    static const struct {
        double low, high, extreme;
        bool log;
    } ranges[] = {
        {0.9, 1, 0, false},         {1, 1, 1 - 1e-7, false},       {1 - 1e-7, 1, 1, false},
        {0, 0.001, 1, false},       {-80, -79, -0.01, true},       {-0.1, -0.01, -80, true},
        {-1e-7, -1e-8, -200, true}, {-1e4, -1e4, -INFINITY, true},
    };
    static const lin kinds[] = {
        {"token", RAPT_F32, .heads = 2, .n = 70, D(32, 40), CHU, .decay = DECAY_TOKEN},
        {"token-walk", RAPT_F32, .heads = 2, .n = 70, D(32, 40), CHU, .decay = DECAY_TOKEN,
         .kernel = "state-none-f32"},
        {"gate", RAPT_F32, .heads = 2, .n = 70, D(24, 16), CHU, .decay = DECAY_CHANNEL},
        {"gate-walk", RAPT_F32, .heads = 2, .n = 70, D(24, 16), CHU, .decay = DECAY_CHANNEL,
         .kernel = "state-none-f32"},
        {"gate-recurrent", RAPT_F32, .heads = 2, .n = 70, D(24, 16), REC, .decay = DECAY_CHANNEL},
        {"gated-delta", RAPT_F32, .heads = 2, .n = 70, D(32, 16), CHU, .rule = RAPT_LINEAR_DELTA,
         .beta = true, .decay = DECAY_TOKEN},
    };
    rig_open(&the_rig, NULL);
    for (size_t i = 0; i < RAPT_COUNT(kinds); i++)
        for (size_t r = 0; r < RAPT_COUNT(ranges); r++) {
            lin l = kinds[i];
            l.low = ranges[r].low;
            l.high = ranges[r].high;
            l.extreme = ranges[r].extreme;
            l.extremes = l.state_in = l.state_out = true;
            l.log = ranges[r].log;
            check(the_rig.device, &l, 0);
        }
    rig_close(&the_rig);
}

/* Beta at 0 and 2, keys that are nearly the same. */
static void test_delta(void **state)
{
    (void)state;
    static const double betas[] = {-1, 1, 2};
    rig_open(&the_rig, NULL);
    for (int form = RAPT_LINEAR_RECURRENT; form <= RAPT_LINEAR_CHUNKED; form++)
        for (size_t i = 0; i < RAPT_COUNT(betas); i++)
            for (int collinear = 0; collinear < 2; collinear++) {
                const lin l = {"delta",
                               RAPT_F32,
                               .heads = 2,
                               .n = 100,
                               D(32, 16),
                               .rule = RAPT_LINEAR_DELTA,
                               .form = (rapt_linear_form)form,
                               .chunk = 16,
                               .beta = true,
                               .beta_is = betas[i],
                               .collinear = collinear ? 1e-3 : 0,
                               .state_in = true,
                               .state_out = true};
                check(the_rig.device, &l, 0);
            }
    rig_close(&the_rig);
}

/* What a token holds reaches no earlier one. */
static void test_poison(void **state)
{
    (void)state;
    static const lin kinds[] = {
        {"tiles", RAPT_F32, .heads = 2, .n = 70, D(32, 40), CHU, .decay = DECAY_TOKEN},
        {"tiles-gate", RAPT_F32, .heads = 2, .n = 70, D(24, 16), CHU, .decay = DECAY_CHANNEL},
        {"tiles-beta", RAPT_F32, .heads = 2, .n = 40, D(16, 16), CHU, .beta = true, .decay = DECAY_TOKEN},
        {"walk", RAPT_F16, .heads = 2, .n = 70, D(20, 12), CHU, .decay = DECAY_TOKEN},
        {"delta", RAPT_F32, .heads = 2, .n = 70, D(32, 16), CHU, .rule = RAPT_LINEAR_DELTA, .beta = true},
    };
    rig_open(&the_rig, NULL);
    for (size_t i = 0; i < RAPT_COUNT(kinds); i++)
        for (uint64_t token = 15; token < 36; token += 5) {
            lin l = kinds[i];
            l.poison = token;
            check(the_rig.device, &l, 0);
        }
    rig_close(&the_rig);
}

/* Infinite values stay what they are, also where tokens are taken two at a time and the last one has no other. */
static void test_infinite(void **state)
{
    (void)state;
    static const lin kinds[] = {
        {"none", RAPT_F32, .heads = 1, .n = 3, D(32, 40), REC, .decay = DECAY_TOKEN, .state_out = true},
        {"delta", RAPT_F32, .heads = 1, .n = 3, D(32, 40), REC, .rule = RAPT_LINEAR_DELTA, .decay = DECAY_CHANNEL, .state_out = true},
        {"dplr", RAPT_F32, .heads = 1, .n = 3, D(32, 40), REC, .rule = RAPT_LINEAR_DPLR, .state_out = true},
    };
    rig_open(&the_rig, NULL);
    for (size_t i = 0; i < RAPT_COUNT(kinds); i++) {
        made m;
        make(&kinds[i], &m);
        for (uint64_t e = 0; e < kinds[i].d_v; e++)
            rapt_check_store(m.data[V], RAPT_F32, 2 * m.d.v.stride[2] + (int64_t)e, INFINITY);
        run(the_rig.device, &m, 0);
        for (uint64_t e = 0; e < m.state_count; e++)
            if (!isinf(m.state[e]))
                fail_msg("%s: element %llu of the state is %g", kinds[i].name, (unsigned long long)e, m.state[e]);
        drop(&m);
    }
    rig_close(&the_rig);
}

/* Tokens [first, last) of a problem, as a problem of their own. */
static void piece(const made *m, uint64_t first, uint64_t last, made *part)
{
    *part = *m;
    rapt_linear_desc *d = &part->d;
    rapt_tensor *const tensors[TENSORS] = {&d->q,
                                           &d->k,
                                           &d->v,
                                           &d->out,
                                           &d->a,
                                           &d->b,
                                           d->gate.dtype ? &d->gate : &d->decay,
                                           &d->beta,
                                           &d->state_in,
                                           &d->state_out,
                                           &d->norm_in,
                                           &d->norm_out,
                                           &d->scale_q,
                                           &d->scale_k,
                                           NULL};
    memcpy(part->tensor, tensors, sizeof tensors);
    for (int t = 0; t <= BETA; t++) {
        rapt_tensor *x = tensors[t];
        if (x->dtype == RAPT_DTYPE_NONE || x->rank == 1)
            continue;
        x->size[2] = last - first;
        part->data[t] = (char *)m->data[t] + first * (uint64_t)x->stride[2] * rapt_dtype_size(x->dtype);
        part->bytes[t] = rapt_tensor_bytes(x);
    }
    part->out_count = m->out_count / m->d.q.size[2] * (last - first);
    part->out = calloc(part->out_count + 1, sizeof(double));
    part->state = calloc(part->state_count + 1, sizeof(double));
    part->norm = calloc(part->norm_count + 1, sizeof(double));
    assert_true(part->out && part->state && part->norm);
}

/* A call of N tokens is two of N1 and N2 with the state handed over; and one, then steps of one token in
 * place. */
static void test_handover(void **state)
{
    (void)state;
    static const lin kinds[] = {
        {"recurrent", RAPT_F32, .heads = 1, .n = 75, D(32, 40), REC, .decay = DECAY_TOKEN, .state_in = true,
         .state_out = true},
        {"recurrent-delta", RAPT_F32, .heads = 1, .n = 75, D(32, 16), REC, .rule = RAPT_LINEAR_DELTA,
         .beta = true, .state_in = true, .state_out = true},
        {"tiles", RAPT_F32, .heads = 1, .n = 75, D(32, 40), CHU, .decay = DECAY_TOKEN, .state_in = true,
         .state_out = true},
        {"chunked-delta", RAPT_F32, .heads = 1, .n = 75, D(32, 16), CHU, .rule = RAPT_LINEAR_DELTA,
         .beta = true, .state_in = true, .state_out = true},
    };
    rig_open(&the_rig, NULL);
    for (size_t i = 0; i < RAPT_COUNT(kinds); i++) {
        const lin *l = &kinds[i];
        made whole;
        make(l, &whole);
        run(the_rig.device, &whole, 0);
        double size = 0;
        for (uint64_t e = 0; e < whole.out_count; e++)
            size = fmax(size, fabs(whole.out[e]));
        made first, second;
        piece(&whole, 0, 33, &first);
        run(the_rig.device, &first, 0);
        piece(&whole, 33, 75, &second);
        float *handed = malloc(whole.bytes[STATE_IN]);
        for (uint64_t r = 0; r < l->d_k; r++)
            for (uint64_t c = 0; c < l->d_v; c++)
                handed[(int64_t)r * whole.d.state_in.stride[2] + (int64_t)c] =
                    (float)first.state[r * l->d_v + c];
        second.data[STATE_IN] = handed;
        run(the_rig.device, &second, 0);
        /* The recurrent form has one order of sums; chunks begin elsewhere. */
        const double allowed = l->form == RAPT_LINEAR_RECURRENT ? 0 : 1e-5 * size;
        for (uint64_t e = 0; e < whole.out_count; e++) {
            const double got = e < first.out_count ? first.out[e] : second.out[e - first.out_count];
            if (fabs(got - whole.out[e]) > allowed)
                fail_msg("%s: element %llu is %.9g in two calls, %.9g in one", l->name, (unsigned long long)e,
                         got, whole.out[e]);
        }
        for (uint64_t e = 0; e < whole.state_count; e++)
            assert_true(fabs(second.state[e] - whole.state[e]) <=
                        (allowed > 0 ? 1e-5 * (1 + fabs(whole.state[e])) : 0));
        /* Decode: token by token in place. */
        for (uint64_t t = 33; t < 75; t++) {
            made one;
            piece(&whole, t, t + 1, &one);
            one.d.form = RAPT_LINEAR_AUTO;
            one.d.flags |= RAPT_LINEAR_IN_PLACE;
            one.d.state_in = (rapt_tensor){0};
            one.data[STATE_IN] = NULL;
            one.data[STATE_OUT] = handed;
            run(the_rig.device, &one, 0);
            for (uint64_t e = 0; e < l->d_v; e++) {
                const double want = whole.out[t * l->d_v + e];
                if (fabs(one.out[e] - want) > 1e-5 * (size + fabs(want)))
                    fail_msg("%s: element %llu of token %llu is %.9g as a step, %.9g in the whole", l->name,
                             (unsigned long long)e, (unsigned long long)t, one.out[e], want);
            }
            for (uint64_t r = 0; r < l->d_k; r++)
                for (uint64_t c = 0; c < l->d_v; c++)
                    handed[(int64_t)r * whole.d.state_in.stride[2] + (int64_t)c] =
                        (float)one.state[r * l->d_v + c];
            free(one.out);
            free(one.state);
            free(one.norm);
        }
        made *const parts[] = {&first, &second};
        for (int n = 0; n < 2; n++) {
            free(parts[n]->out);
            free(parts[n]->state);
            free(parts[n]->norm);
        }
        free(handed);
        drop(&whole);
    }
    rig_close(&the_rig);
}

/* States within a sequence, in both forms and where features are made ahead; rows of odd sizes and wide normalisers go to
 * rows for GPUs. */
static void test_positions(void **state)
{
    (void)state;
    static const uint64_t some[] = {0, 1, 16, 40}, one[] = {0}, last[] = {20, 50};
#define AT(list) .positions = list, .position_count = RAPT_COUNT(list), .state_out = true
    static const lin kinds[] = {
        {"recurrent", RAPT_F32, .batch = 2, .heads = 2, .n = 50, D(32, 40), REC, .decay = DECAY_TOKEN, .state_in = true, AT(some)},
        {"recurrent-walk", RAPT_F32, .batch = 2, .heads = 2, .n = 50, D(33, 41), REC, .decay = DECAY_CHANNEL, .odd = true,
         .normalize = true, .feature = RAPT_PHI_EXP, .state_in = true, AT(some)},
        {"normalised-wide", RAPT_F16, .heads = 2, .n = 50, D(20, 200), REC, .normalize = true, .feature = RAPT_PHI_EXP, AT(last)},
        {"tiles", RAPT_F32, .batch = 2, .heads = 2, .n = 50, D(32, 40), CHU, .decay = DECAY_TOKEN, .normalize = true,
         .feature = RAPT_PHI_EXP, AT(some)},
        {"delta-chunked", RAPT_F32, .heads = 2, .n = 50, D(32, 16), CHU, .rule = RAPT_LINEAR_DELTA, .beta = true, .state_in = true,
         AT(last)},
        {"spans", RAPT_F32, .heads = 2, .n = 150, D(32, 40), CHU, .decay = DECAY_TOKEN, .normalize = true, .feature = RAPT_PHI_EXP,
         .limit = 50000, AT(some)},
        {"packed", RAPT_F32, .heads = 2, .n = 60, D(32, 16), REC, .decay = DECAY_TOKEN, .sequences = 4, .length = {9, 0, 50, 1},
         .state_in = true, AT(some)},
        {"one", RAPT_F32, .batch = 2, .heads = 4, .n = 1, D(32, 40), .rule = RAPT_LINEAR_DELTA, .beta = true, .state_in = true, AT(one)},
        {"mapped", RAPT_F32, .heads = 2, .n = 50, D(8, 12), REC, .feature = RAPT_PHI_TAYLOR2, .normalize = true, .state_in = true,
         AT(some)},
        {"mapped-chunked", RAPT_F32, .heads = 2, .n = 50, D(8, 12), CHU, .feature = RAPT_PHI_TAYLOR2, AT(some)},
    };
    rig_open(&the_rig, &(rig_options){.validation = true});
    for (size_t i = 0; i < RAPT_COUNT(kinds); i++)
        check(the_rig.device, &kinds[i], 0);
    assert_int_equal(atomic_load(&the_rig.runtime->validation_messages), 0);
    rig_close(&the_rig);
    /* More states of a head than a binding may take. */
    static const uint64_t many[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 20, 25, 30, 35, 40, 45, 49};
    static const lin far[] = {
        {"many", RAPT_F32, .heads = 2, .n = 50, D(32, 40), REC, .decay = DECAY_TOKEN, .state_in = true, AT(many)},
        {"many-chunked", RAPT_F32, .heads = 2, .n = 50, D(32, 40), CHU, .decay = DECAY_TOKEN, AT(many)},
    };
    rig_open(&the_rig, &(rig_options){.mask = "range=65536,texels=8192"});
    for (size_t i = 0; i < RAPT_COUNT(far); i++)
        check(the_rig.device, &far[i], 0);
    rig_close(&the_rig);
}

/* Lower rungs: the same numbers with fewer capabilities and smaller limits, down to the floor. */
static void test_masks(void **state)
{
    (void)state;
    static const char *const masks[] = {
        "floor",       "no-subgroup",          "no-texel",   "shared=16384,invocations=128",
        "range=65536", "no-texel,range=65536", "texels=4096"};
    static const lin kinds[] = {
        {"token", RAPT_F32, .batch = 3, .heads = 4, .n = 300, D(32, 40), CHU, .decay = DECAY_TOKEN,
         .state_in = true},
        {"gate-auto", RAPT_F32, .heads = 2, .n = 300, D(24, 16), .decay = DECAY_CHANNEL, .state_in = true,
         .state_out = true},
        {"delta", RAPT_F32, .batch = 2, .heads = 2, .n = 300, D(32, 16), CHU, .rule = RAPT_LINEAR_DELTA,
         .beta = true},
        {"long", RAPT_F32, .heads = 1, .n = 3000, D(32, 16), REC, .rule = RAPT_LINEAR_DELTA, .beta = true},
    };
    for (size_t m = 0; m < RAPT_COUNT(masks); m++) {
        rig_open(&the_rig, &(rig_options){.mask = masks[m]});
        for (size_t i = 0; i < RAPT_COUNT(kinds); i++)
            check(the_rig.device, &kinds[i], 0);
        rig_close(&the_rig);
    }
}

static void test_long(void **state)
{
    (void)state;
    const lin l = {"long",
                   RAPT_F32,
                   .heads = 1,
                   .n = 43884,
                   D(24, 16),
                   .form = RAPT_LINEAR_CHUNKED,
                   .decay = DECAY_CHANNEL,
                   .low = 0.2,
                   .high = 1,
                   .limit = 300000,
                   .state_in = true,
                   .state_out = true};
    rig_open(&the_rig, NULL);
    check(the_rig.device, &l, 0);
    rig_close(&the_rig);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases), cmocka_unit_test(test_lengths), cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_delta), cmocka_unit_test(test_poison),  cmocka_unit_test(test_handover),
        cmocka_unit_test(test_masks), cmocka_unit_test(test_long),
        cmocka_unit_test(test_positions), cmocka_unit_test(test_infinite),
    };
    return RIG_RUN("linear", tests);
}
