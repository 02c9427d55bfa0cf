/* Several devices as one: the same bits as one device, whatever fails. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L /* setenv */
#endif
#include "rig.h"

#include "check/half.h"
#include "check/problem.h"
#include "op/copy.h"
#include "vk/vk.h"

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

/* ---- parts of the keys ---- */

static const rapt_case long_keys[] = {
    {"decode-long", SHAPE(1, 2, 1, 1, 5000, 64, 64), .dtype = RAPT_F32},
    {"decode-long-f16", SHAPE(1, 2, 1, 1, 4100, 64, 64), .dtype = RAPT_F16, .causal = true, .alibi = true, .key_bias = 2, .sinks = 1},
    {"few-rows-bf16-window", SHAPE(1, 1, 1, 3, 3000, 32, 40), .dtype = RAPT_BF16, .causal = true, .window = true,
     .window_left = 700, .window_right = -1, .sink_tokens = 3},
    {"gaps-poisoned", SHAPE(1, 1, 1, 5, 2600, 16, 16), .dtype = RAPT_F32, .layout = RAPT_LAYOUT_ODD, .causal = true,
     .causal_offset = -2598, .input = RAPT_INPUT_POISONED},
};

static double number(rapt_dtype dtype, const char *image, uint64_t at)
{
    float x;
    rapt_widen(&x, image + at * rapt_dtype_size(dtype), dtype, 1);
    return (double)x;
}

/* Elements of a tensor, each within `most` of the other's size; infinities are equal. NaN in `b` is poison that was not downloaded: the last
 * two bytes of an odd number of half elements. */
static void near_to(const char *name, const rapt_tensor *t, const char *a, const char *b, double most)
{
    const uint64_t d = t->rank == 4 ? t->size[3] : 1;
    for (uint64_t i = 0; i < t->size[0] * t->size[1] * t->size[2] * d; i++) {
        const uint64_t row = i / d;
        const int64_t at = (int64_t)(row / t->size[2] / t->size[1]) * t->stride[0] +
                           (int64_t)(row / t->size[2] % t->size[1]) * t->stride[1] + (int64_t)(row % t->size[2]) * t->stride[2] +
                           (int64_t)(i % d);
        const double x = number(t->dtype, a, (uint64_t)at), y = number(t->dtype, b, (uint64_t)at);
        if (!isnan(y) && x != y && (isinf(y) || !(fabs(x - y) <= most * (1 + fabs(y)))))
            fail_msg("%s: element %llu is %g, one device has %g", name, (unsigned long long)i, x, y);
    }
}

static void near_one_device(const rapt_check_problem *p, const char *name, const char *out, const char *lse, const char *out_alone,
                            const char *lse_alone)
{
    const uint64_t *at = &p->operands[RAPT_OP_OUT].offset;
    /* Sums in float32, of about 1,024 keys a part, in another order: sqrt(1,024) roundings at random, by 2^-24. Half types: both rounded, each by
     * half a unit of 2^-10 or 2^-7. */
    const double sums = 0x1p-19, most = p->desc.out.dtype == RAPT_F32 ? sums : p->desc.out.dtype == RAPT_F16 ? 0x1p-10 : 0x1p-7;
    near_to(name, &p->desc.out, out + *at, out_alone + *at, most);
    if (p->desc.lse.dtype != RAPT_DTYPE_NONE)
        near_to(name, &p->desc.lse, lse + p->operands[RAPT_OP_LSE].offset, lse_alone + p->operands[RAPT_OP_LSE].offset, sums);
}

/* Merged parts are what one device computes but for rounding, the same bits each time; or, if so wanted, its very bits. */
static void check_parts(rapt_group *group, rapt_group *whole, const rapt_case *c)
{
    shared s;
    char *out, *lse, *again;
    shared_make(c, &s);
    const uint64_t bytes = s.problem.operands[RAPT_OP_OUT].bytes / 4 * 4;
    alone(devices[0], &s.problem, &out, &lse);
    RIG_OK(rapt_group_attention(whole, &s.problem.desc, &s.args, error));
    assert_memory_equal(s.out, out, bytes);
    again = poisoned(&s.problem.operands[RAPT_OP_OUT]);
    for (int i = 0; i < 3; i++) {
        RIG_OK(rapt_group_attention(group, &s.problem.desc, &s.args, error));
        near_one_device(&s.problem, c->name, s.out, s.lse, out, lse);
        if (i > 0 && memcmp(again, s.out, bytes) != 0)
            fail_msg("%s: call %d gives other bits", c->name, i);
        memcpy(again, s.out, bytes);
        check_shares(group, &s.problem);
    }
    uint32_t parts = 0;
    for (uint32_t i = 0; i < MEMBERS; i++) {
        rapt_group_member m = RAPT_GROUP_MEMBER_INIT;
        RIG_OK(rapt_group_describe(group, i, &m, error));
        parts += m.parts;
    }
    assert_true(parts >= 2); /* one head: the keys were cut */
    free(again);
    free(out);
    free(lse);
    shared_free(&s);
}

static void test_parts_of_keys(void **state)
{
    (void)state;
    open_devices(NULL);
    rapt_group *group = group_of(&(rapt_group_options){.struct_size = sizeof(rapt_group_options), .threads = 1});
    rapt_group *whole = group_of(&(rapt_group_options){.struct_size = sizeof(rapt_group_options), .whole_keys = 1});
    rapt_group *unthreaded = group_of(NULL);
    for (size_t i = 0; i < RAPT_COUNT(long_keys); i++)
        check_parts(group, whole, &long_keys[i]);
    check_parts(unthreaded, whole, &long_keys[0]);
    rapt_group_destroy(&group);
    rapt_group_destroy(&whole);
    rapt_group_destroy(&unthreaded);
    close_devices();
}

/* ---- keys that stay where they were put ---- */

enum { SHARDS = 4, KEYS = 300 };

/* Keys [first[i], first[i + 1]) of kv head i / 2 lie on member i % 2. */
typedef struct resident {
    rapt_group_resident whole;
    rapt_group_shard shard[SHARDS];
    rapt_attention_desc desc[SHARDS];
    rapt_attention_args args[SHARDS];
} resident;

static const uint64_t shard_first[SHARDS] = {0, 110, 0, 7}, shard_count[SHARDS] = {110, KEYS - 110, 7, KEYS - 7};

static void put_shard(resident *r, const shared *s, uint32_t i, uint32_t member)
{
    const rapt_attention_desc *whole = &s->problem.desc;
    rapt_attention_desc *d = &r->desc[i];
    *d = *whole;
    d->q.size[1] = d->out.size[1] = whole->q.size[1] / 2;
    d->k.size[1] = d->v.size[1] = 1;
    d->k.size[2] = d->v.size[2] = shard_count[i];
    d->causal_offset = (int64_t)(KEYS - shard_first[i] - shard_count[i]);
    r->args[i] = (rapt_attention_args)RAPT_ATTENTION_ARGS_INIT;
    rapt_slot *slots[2] = {&r->args[i].k, &r->args[i].v};
    const void *data[2] = {s->args.k, s->args.v};
    rapt_tensor *t[2] = {&d->k, &d->v};
    for (int n = 0; n < 2; n++) {
        const uint64_t at = (i / 2) * (uint64_t)t[n]->stride[1] + shard_first[i] * (uint64_t)t[n]->stride[2];
        RIG_OK(rapt_buffer_create(devices[member], rapt_tensor_bytes(t[n]), &slots[n]->buffer, error));
        RIG_OK(rapt_buffer_upload(slots[n]->buffer, 0, (const char *)data[n] + at * rapt_dtype_size(t[n]->dtype), rapt_tensor_bytes(t[n]), error));
    }
    r->shard[i] = (rapt_group_shard){.struct_size = sizeof(rapt_group_shard), .member = member, .part = i,
                                     .first_head = (uint32_t)((i / 2) * d->q.size[1]), .desc = d, .args = &r->args[i]};
}

static void resident_make(resident *r, const shared *s)
{
    const rapt_attention_desc *d = &s->problem.desc;
    *r = (resident){.whole = RAPT_GROUP_RESIDENT_INIT};
    r->whole.q = d->q;
    r->whole.out = d->out;
    r->whole.lse = d->lse;
    r->whole.q_data = s->args.q;
    r->whole.out_data = s->args.out;
    r->whole.lse_data = s->args.lse;
}

static void resident_free(resident *r)
{
    for (uint32_t i = 0; i < SHARDS; i++) {
        rapt_buffer_destroy(&r->args[i].k.buffer);
        rapt_buffer_destroy(&r->args[i].v.buffer);
    }
}

static void test_resident(void **state)
{
    static const rapt_case kinds[] = {
        {"resident", SHAPE(1, 4, 2, 3, KEYS, 32, 24), .dtype = RAPT_F32, .causal = true},
        {"resident-f16", SHAPE(1, 6, 2, 1, KEYS, 64, 64), .dtype = RAPT_F16, .causal = true, .layout = RAPT_LAYOUT_BNHD},
    };
    (void)state;
    open_devices(NULL);
    for (size_t n = 0; n < RAPT_COUNT(kinds); n++) {
        rapt_group *group = group_of(&(rapt_group_options){.struct_size = sizeof(rapt_group_options), .threads = n == 0});
        shared s;
        resident r;
        char *out, *lse;
        shared_make(&kinds[n], &s);
        resident_make(&r, &s);
        for (uint32_t i = 0; i < SHARDS; i++)
            put_shard(&r, &s, i, i % MEMBERS);
        alone(devices[0], &s.problem, &out, &lse);
        for (int i = 0; i < 2; i++) {
            RIG_OK(rapt_group_attention_resident(group, &r.whole, r.shard, SHARDS, error));
            near_one_device(&s.problem, kinds[n].name, s.out, s.lse, out, lse);
            for (uint32_t m = 0; m < MEMBERS; m++) {
                rapt_group_member info = RAPT_GROUP_MEMBER_INIT;
                RIG_OK(rapt_group_describe(group, m, &info, error));
                assert_int_equal(info.parts, 2); /* its own */
            }
        }
        r.shard[1].part = 5;
        RIG_FAILS(rapt_group_attention_resident(group, &r.whole, r.shard, SHARDS, error), RAPT_ERROR_INVALID, "no shard has part 1");
        r.shard[1].part = 1;
        r.desc[2].link = RAPT_LINK_RELU;
        RIG_FAILS(rapt_group_attention_resident(group, &r.whole, r.shard, SHARDS, error), RAPT_ERROR_UNSUPPORTED, "shard 2");
        resident_free(&r);
        rapt_group_destroy(&group);
        free(out);
        free(lse);
        shared_free(&s);
    }
    close_devices();
}

/* A member is lost: a copy of its shards elsewhere does for them; without one the call fails by name, and out stays. */
static void test_resident_loss(void **state)
{
    static const rapt_case kind = {"resident-loss", SHAPE(1, 2, 2, 2, KEYS, 16, 16), .dtype = RAPT_F32, .causal = true};
    (void)state;
    open_devices(NULL);
    rapt_group *group = group_of(NULL);
    shared s;
    resident r, copy;
    char *out, *lse;
    rapt_group_shard shards[2 * SHARDS];
    shared_make(&kind, &s);
    resident_make(&r, &s);
    resident_make(&copy, &s);
    for (uint32_t i = 0; i < SHARDS; i++) {
        put_shard(&r, &s, i, i % MEMBERS);
        put_shard(&copy, &s, i, 0);
        shards[i] = r.shard[i];
        shards[SHARDS + i] = copy.shard[i];
    }
    alone(devices[0], &s.problem, &out, &lse);
    const uint64_t bytes = s.problem.operands[RAPT_OP_OUT].bytes / 4 * 4;
    char *before = poisoned(&s.problem.operands[RAPT_OP_OUT]);
    rapt_device_note_hung(devices[1]);
    RIG_FAILS(rapt_group_attention_resident(group, &r.whole, r.shard, SHARDS, error), RAPT_ERROR_DEVICE_LOST, "for part 1");
    assert_memory_equal(s.out, before, bytes);
    RIG_OK(rapt_group_attention_resident(group, &r.whole, shards, 2 * SHARDS, error));
    near_one_device(&s.problem, kind.name, s.out, s.lse, out, lse);
    rapt_group_destroy(&group);
    atomic_store(&devices[1]->hung, false); /* it never was: what it has can go */
    resident_free(&r);
    resident_free(&copy);
    free(before);
    free(out);
    free(lse);
    shared_free(&s);
    close_devices();
}

static void count_refusal(void *user, const rapt_group_event *event)
{
    if (event->kind == RAPT_GROUP_REFUSES && event->member == 1)
        atomic_fetch_add((atomic_uint *)user, 1);
}

/* A member cannot run one of its shards: its copy does, the member's others stay with it, and without a copy the call fails by name. */
static void test_resident_refusal(void **state)
{
    static const rapt_case kind = {"resident-refusal", SHAPE(1, 2, 2, 2, KEYS, 16, 16), .dtype = RAPT_F32, .causal = true};
    (void)state;
    atomic_uint refusals = 0;
    open_devices(NULL);
    for (uint32_t threads = 0; threads < 2; threads++) {
        rapt_group *group = group_of(&(rapt_group_options){.struct_size = sizeof(rapt_group_options), .threads = threads,
                                                           .event = count_refusal, .event_user = &refusals});
        shared s;
        resident r, copy;
        char *out, *lse;
        rapt_group_shard shards[SHARDS + 1];
        shared_make(&kind, &s);
        resident_make(&r, &s);
        resident_make(&copy, &s);
        for (uint32_t i = 0; i < SHARDS; i++) {
            put_shard(&r, &s, i, i % MEMBERS);
            shards[i] = r.shard[i];
        }
        put_shard(&copy, &s, 1, 0);
        shards[SHARDS] = copy.shard[1];
        r.desc[1].kernel = "naive-f16"; /* which takes no float32 */
        alone(devices[0], &s.problem, &out, &lse);
        RIG_OK(rapt_group_attention_resident(group, &r.whole, shards, SHARDS + 1, error));
        near_one_device(&s.problem, kind.name, s.out, s.lse, out, lse);
        rapt_group_member info = RAPT_GROUP_MEMBER_INIT;
        RIG_OK(rapt_group_describe(group, 1, &info, error));
        assert_int_equal(info.quarantined, 0);
        assert_int_equal(info.parts, 1); /* the other one that lies there */
        assert_true(threads == 1 || atomic_load(&refusals) == 1);
        char *before = poisoned(&s.problem.operands[RAPT_OP_OUT]);
        memcpy(s.out, before, s.problem.operands[RAPT_OP_OUT].bytes / 4 * 4);
        RIG_FAILS(rapt_group_attention_resident(group, &r.whole, shards, SHARDS, error), RAPT_ERROR_UNSUPPORTED, "for part 1");
        assert_memory_equal(s.out, before, s.problem.operands[RAPT_OP_OUT].bytes / 4 * 4);
        rapt_group_destroy(&group);
        resident_free(&r);
        resident_free(&copy);
        free(before);
        free(out);
        free(lse);
        shared_free(&s);
    }
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
        cmocka_unit_test(test_parts_of_keys),
        cmocka_unit_test(test_resident),
        cmocka_unit_test(test_resident_loss),
        cmocka_unit_test(test_resident_refusal),
    };
    return RIG_RUN("sched", tests);
}
