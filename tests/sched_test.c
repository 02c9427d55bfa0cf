/* Several devices as one: the same bits as one device, whatever fails. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L /* setenv */
#endif
#include "rig.h"

#include "check/half.h"
#include "check/problem.h"

#include <math.h>
#include <stdatomic.h>

enum { MEMBERS = 2 };

static rig the_rig;
static rapt_device *devices[MEMBERS];

/* Devices of the default kind, each of an instance of its own. */
static void open_devices(const rig_options *options)
{
    rig_open(&the_rig, options);
    devices[0] = the_rig.device;
    for (int i = 1; i < MEMBERS; i++)
        RIG_OK(rapt_device_open(the_rig.runtime, NULL, &devices[i], error));
}

static void close_devices(void)
{
    for (int i = 1; i < MEMBERS; i++)
        rapt_device_destroy(&devices[i]);
    rig_close(&the_rig);
}

static rapt_group *group_of(const rapt_group_options *options)
{
    rapt_group *group = NULL;
    RIG_OK(rapt_group_create(devices, MEMBERS, options, &group, error));
    return group;
}

/* ---- cases of the check part, with host tensors ---- */

/* A problem's tensors in host memory as the group takes them, and outputs full of poison. */
typedef struct shared {
    rapt_check_problem problem;
    rapt_group_attention_args args;
    char *out, *lse;
} shared;

static const void *image(const rapt_check_problem *p, int operand)
{
    const rapt_check_operand *o = &p->operands[operand];
    return o->bytes > 0 ? (const char *)p->operands[o->shares].image + o->offset : NULL;
}

static char *poisoned(const rapt_check_operand *o)
{
    char *image = malloc(o->bytes + 4);
    assert_non_null(image);
    const uint32_t poison = RAPT_POISON;
    for (uint64_t i = 0; i < o->bytes; i += 4)
        memcpy(image + i, &poison, 4);
    return image;
}

static void shared_make(const rapt_case *c, shared *s)
{
    assert_true(rapt_check_problem_make(c, 0, &s->problem));
    const rapt_check_problem *p = &s->problem;
    s->args = (rapt_group_attention_args)RAPT_GROUP_ATTENTION_ARGS_INIT;
    s->out = poisoned(&p->operands[RAPT_OP_OUT]);
    s->lse = poisoned(&p->operands[RAPT_OP_LSE]);
    s->args.q = image(p, RAPT_OP_Q);
    s->args.k = image(p, RAPT_OP_K);
    s->args.v = image(p, RAPT_OP_V);
    s->args.cu_seqlens_q = image(p, RAPT_OP_CU_Q);
    s->args.cu_seqlens_k = image(p, RAPT_OP_CU_K);
    s->args.sinks = image(p, RAPT_OP_SINKS);
    s->args.alibi = image(p, RAPT_OP_ALIBI);
    s->args.key_bias = image(p, RAPT_OP_KEY_BIAS);
    s->args.segments = image(p, RAPT_OP_SEGMENTS);
    s->args.gate = image(p, RAPT_OP_GATE);
    s->args.bias = image(p, RAPT_OP_BIAS);
    s->args.bias_u = image(p, RAPT_OP_BIAS_U);
    s->args.bias_v = image(p, RAPT_OP_BIAS_V);
    s->args.block_mask = image(p, RAPT_OP_BLOCKS);
    s->args.relative = image(p, RAPT_OP_RELATIVE);
    s->args.decay = image(p, RAPT_OP_DECAY);
    s->args.out = s->out + p->operands[RAPT_OP_OUT].offset;
    s->args.lse = p->operands[RAPT_OP_LSE].bytes > 0 ? s->lse + p->operands[RAPT_OP_LSE].offset : NULL;
}

static void shared_free(shared *s)
{
    rapt_check_problem_free(&s->problem);
    free(s->out);
    free(s->lse);
}

/* The same on one device, gaps and all. */
static void alone(rapt_device *device, const rapt_check_problem *p, char **out, char **lse)
{
    rapt_buffer *buffers[RAPT_OP_COUNT] = {NULL};
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    rapt_slot *const slots[RAPT_OP_COUNT] = {
        [RAPT_OP_Q] = &args.q, [RAPT_OP_K] = &args.k, [RAPT_OP_V] = &args.v, [RAPT_OP_OUT] = &args.out,
        [RAPT_OP_LSE] = &args.lse, [RAPT_OP_CU_Q] = &args.cu_seqlens_q, [RAPT_OP_CU_K] = &args.cu_seqlens_k,
        [RAPT_OP_SINKS] = &args.sinks, [RAPT_OP_ALIBI] = &args.alibi, [RAPT_OP_KEY_BIAS] = &args.key_bias,
        [RAPT_OP_SEGMENTS] = &args.segments, [RAPT_OP_GATE] = &args.gate, [RAPT_OP_BIAS] = &args.bias,
        [RAPT_OP_BIAS_U] = &args.bias_u, [RAPT_OP_BIAS_V] = &args.bias_v, [RAPT_OP_BLOCKS] = &args.block_mask,
        [RAPT_OP_RELATIVE] = &args.relative, [RAPT_OP_DECAY] = &args.decay,
    };
    for (int i = 0; i < RAPT_OP_COUNT; i++) {
        const rapt_check_operand *o = &p->operands[i];
        if (o->bytes == 0)
            continue;
        RIG_OK(rapt_buffer_create(device, o->bytes, &buffers[i], error));
        if (i == RAPT_OP_OUT || i == RAPT_OP_LSE)
            RIG_OK(rapt_buffer_fill(buffers[i], 0, o->bytes / 4 * 4, RAPT_POISON, error));
        else
            RIG_OK(rapt_buffer_upload(buffers[i], 0, p->operands[o->shares].image, o->bytes, error));
        *slots[i] = (rapt_slot){buffers[i], o->offset};
    }
    RIG_OK(rapt_attention_run(device, &p->desc, &args, error));
    *out = poisoned(&p->operands[RAPT_OP_OUT]);
    *lse = poisoned(&p->operands[RAPT_OP_LSE]);
    if (buffers[RAPT_OP_OUT])
        RIG_OK(rapt_buffer_download(buffers[RAPT_OP_OUT], 0, *out, p->operands[RAPT_OP_OUT].bytes / 4 * 4, error));
    if (buffers[RAPT_OP_LSE])
        RIG_OK(rapt_buffer_download(buffers[RAPT_OP_LSE], 0, *lse, p->operands[RAPT_OP_LSE].bytes, error));
    for (int i = 0; i < RAPT_OP_COUNT; i++)
        rapt_buffer_destroy(&buffers[i]);
}

#define SHAPE(b, hq, hkv, q, k, d, dv)                                                                       \
    .batch = b, .q_heads = hq, .kv_heads = hkv, .nq = q, .nk = k, .d_qk = d, .d_v = dv, .seed = 7

static const rapt_case cases[] = {
    {"heads", SHAPE(1, 8, 8, 40, 50, 64, 64), .dtype = RAPT_F32},
    {"batch-causal", SHAPE(5, 2, 2, 65, 65, 64, 64), .dtype = RAPT_F32, .causal = true},
    {"gqa-f16", SHAPE(1, 12, 4, 33, 70, 64, 64), .dtype = RAPT_F16, .causal = true, .causal_offset = -3},
    {"decode", SHAPE(1, 8, 4, 1, 900, 64, 64), .dtype = RAPT_F16},
    {"fewer-query-heads", SHAPE(1, 2, 6, 9, 33, 16, 24), .dtype = RAPT_F32},
    {"odd-ratio", SHAPE(2, 6, 4, 9, 33, 16, 16), .dtype = RAPT_F32},
    {"queries", SHAPE(1, 1, 1, 700, 700, 64, 64), .dtype = RAPT_F32, .causal = true, .causal_offset = 4},
    {"queries-f16-window", SHAPE(1, 2, 1, 600, 640, 40, 40), .dtype = RAPT_F16, .causal = true, .window = true,
     .window_left = 100, .window_right = -1, .sink_tokens = 3},
    {"unaligned", SHAPE(2, 4, 2, 21, 37, 13, 7), .dtype = RAPT_F32, .layout = RAPT_LAYOUT_ODD},
    {"gaps", SHAPE(2, 4, 2, 21, 37, 16, 16), .dtype = RAPT_F16, .layout = RAPT_LAYOUT_ODD},
    {"bf16-bnhd", SHAPE(2, 4, 4, 20, 37, 40, 40), .dtype = RAPT_BF16, .layout = RAPT_LAYOUT_BNHD},
    {"packed-qkv", SHAPE(2, 4, 4, 30, 30, 32, 32), .dtype = RAPT_F32, .layout = RAPT_LAYOUT_PACKED},
    {"broadcast", SHAPE(3, 4, 4, 11, 30, 32, 32), .dtype = RAPT_F32, .layout = RAPT_LAYOUT_BROADCAST},
    {"varlen", SHAPE(1, 2, 1, 40, 60, 32, 32), .dtype = RAPT_F32, .causal = true, .sequences = 4,
     .length_q = {9, 0, 1, 30}, .length_k = {20, 3, 7, 30}},
    {"varlen-short-bound", SHAPE(1, 2, 2, 24, 24, 16, 16), .dtype = RAPT_F32, .sequences = 2,
     .length_q = {12, 12}, .length_k = {12, 12}, .max_seqlen_q = 5},
    {"split", SHAPE(1, 4, 4, 5, 600, 64, 64), .dtype = RAPT_F32, .causal = true, .key_splits = 4},
    {"poisoned", SHAPE(1, 4, 4, 70, 70, 64, 64), .dtype = RAPT_F32, .causal = true, .input = RAPT_INPUT_POISONED},
    {"no-queries", SHAPE(2, 3, 3, 0, 5, 8, 8), .dtype = RAPT_F32},
    {"no-keys", SHAPE(2, 3, 3, 5, 0, 8, 8), .dtype = RAPT_F32},
    {"vectors", SHAPE(2, 4, 2, 40, 50, 32, 32), .dtype = RAPT_F32, .causal = true, .sinks = 1, .key_bias = 1, .alibi = true,
     .segments = 3},
    {"vectors-shared", SHAPE(2, 4, 2, 40, 50, 32, 32), .dtype = RAPT_F32, .key_bias = 3, .bias = 2, .gate = true},
    {"low-rank-rope", SHAPE(1, 2, 2, 300, 300, 32, 32), .dtype = RAPT_F32, .causal = true, .rank = 4, .rope = 1, .qk_norm = true},
    {"bias-queries", SHAPE(1, 1, 1, 400, 300, 32, 32), .dtype = RAPT_F32, .bias = 1, .gate = true, .alibi = true},
    {"blocks-queries", SHAPE(1, 2, 2, 640, 320, 32, 32), .dtype = RAPT_F32, .blocks = 1, .block_q = 48, .block_k = 32},
    {"relative-queries", SHAPE(1, 2, 2, 300, 310, 32, 32), .dtype = RAPT_F32, .causal = true, .relative = 1, .decay = true},
    {"grid", SHAPE(2, 2, 2, 130, 130, 64, 64), .dtype = RAPT_F32, .grid = {2, {10, 13}, {5, 4}}},
    {"sigmoid", SHAPE(1, 4, 4, 30, 30, 32, 32), .dtype = RAPT_F32, .link = RAPT_LINK_SIGMOID},
};

static void check_shares(rapt_group *group, const rapt_check_problem *p)
{
    double share = 0;
    uint32_t parts = 0;
    for (uint32_t i = 0; i < MEMBERS; i++) {
        rapt_group_member m = RAPT_GROUP_MEMBER_INIT;
        RIG_OK(rapt_group_describe(group, i, &m, error));
        assert_int_equal(m.quarantined, 0);
        assert_int_equal(m.status, RAPT_OK);
        share += m.share;
        parts += m.parts;
    }
    if (p->rows_total > 0 && p->c.nq > 0) {
        assert_true(fabs(share - 1) < 1e-9);
        assert_true(parts >= 1);
    }
}

/* Twice, as the second call goes by what the first one measured. */
static void check_case(rapt_group *group, const rapt_case *c)
{
    shared s;
    char *out, *lse;
    shared_make(c, &s);
    alone(devices[0], &s.problem, &out, &lse);
    for (int i = 0; i < 2; i++) {
        RIG_OK(rapt_group_attention(group, &s.problem.desc, &s.args, error));
        if (memcmp(s.out, out, s.problem.operands[RAPT_OP_OUT].bytes / 4 * 4) != 0)
            fail_msg("%s: call %d gives other bits than one device", c->name, i);
        if (memcmp(s.lse, lse, s.problem.operands[RAPT_OP_LSE].bytes) != 0)
            fail_msg("%s: call %d gives another lse than one device", c->name, i);
        check_shares(group, &s.problem);
    }
    free(out);
    free(lse);
    shared_free(&s);
}

static void test_same_bits(void **state)
{
    (void)state;
    open_devices(NULL);
    rapt_group *group = group_of(&(rapt_group_options){.struct_size = sizeof(rapt_group_options), .threads = 1});
    for (size_t i = 0; i < RAPT_COUNT(cases); i++)
        check_case(group, &cases[i]);
    rapt_group_destroy(&group);
    close_devices();
}

/* Pages and lengths are refused by name. */
static void test_refusals(void **state)
{
    (void)state;
    open_devices(NULL);
    rapt_group *group = group_of(NULL);
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_group_attention_args args = RAPT_GROUP_ATTENTION_ARGS_INIT;
    d.q = d.k = d.v = d.out = rapt_tensor_bhnd(RAPT_F32, 2, 1, 4, 8);
    d.k_lengths = (rapt_tensor){.dtype = RAPT_I32, .rank = 1, .size = {2}, .stride = {1}};
    RIG_FAILS(rapt_group_attention(group, &d, &args, error), RAPT_ERROR_UNSUPPORTED, "k_lengths");
    rapt_group_destroy(&group);
    close_devices();
}

/* The app's thread drives both devices. */
static void test_without_threads(void **state)
{
    (void)state;
    open_devices(NULL);
    rapt_group *group = group_of(NULL);
    for (size_t i = 0; i < 3; i++)
        check_case(group, &cases[i]);
    rapt_group_destroy(&group);
    close_devices();
}

int main(void)
{
#if !defined(_WIN32) /* no lavapipe there */
    setenv("LP_NUM_THREADS", "1", 0); /* lavapipe: one core for each device */
#endif
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_without_threads),
        cmocka_unit_test(test_refusals),
    };
    return RIG_RUN("sched", tests);
}
