/* Buffers whose memory comes as it is asked for, on devices that have it and on those that have not; and decoding from such a cache as
 * it grows, against the same keys in plain buffers. */
#include "rig.h"
#include "vk_fault.h"

static rig the_rig;

enum { BATCH = 2, HEADS = 2, Q_HEADS = 4, DIM = 64, ROOM = 16384, PIECE = 2 << 20 };

static uint64_t used(void)
{
    rapt_memory_info info;
    rapt_device_memory(the_rig.device, &info);
    return info.used_bytes;
}

static bool on_demand(const rapt_buffer *buffer)
{
    return rapt_buffer_backed(buffer) < rapt_buffer_size(buffer);
}

static void test_memory(void **state)
{
    (void)state;
    static const char *const masks[] = {NULL, "no-sparse"};
    for (size_t n = 0; n < 2; n++) {
        rapt_buffer *buffer = NULL, *plain = NULL;
        uint32_t words[3] = {1, 2, 3}, back[3] = {0};
        rig_open(&the_rig, &(rig_options){.mask = masks[n]});
        const uint64_t before = used(), size = 8 * PIECE + 100;
        RIG_OK(rapt_buffer_reserve(the_rig.device, size, &buffer, error));
        const bool pieces = on_demand(buffer);
        assert_false(pieces && masks[n] != NULL);
        assert_int_equal(rapt_buffer_size(buffer), size);
        assert_true(pieces ? used() == before && rapt_buffer_backed(buffer) == 0 : used() >= before + size && rapt_buffer_backed(buffer) == size);
        if (pieces)
            RIG_FAILS(rapt_buffer_upload(buffer, 0, words, 12, error), RAPT_ERROR_INVALID, "beyond the 0 that have memory");
        RIG_OK(rapt_buffer_back(buffer, 12, error));
        RIG_OK(rapt_buffer_upload(buffer, 0, words, 12, error));
        RIG_OK(rapt_buffer_back(buffer, 5, error)); /* there already */
        assert_true(!pieces || (rapt_buffer_backed(buffer) >= PIECE && used() <= before + 2 * PIECE));
        RIG_OK(rapt_buffer_back(buffer, 5 * PIECE + 1, error));
        RIG_OK(rapt_buffer_upload(buffer, 5 * PIECE - 8, words, 12, error)); /* across pieces, as one */
        const uint64_t most = the_rig.device->caps.max_allocation;
        the_rig.device->caps.max_allocation = PIECE; /* the rest is more than the device allocates at once */
        RIG_OK(rapt_buffer_back(buffer, size, error));
        the_rig.device->caps.max_allocation = most;
        assert_int_equal(rapt_buffer_backed(buffer), size);
        if (pieces)
            RIG_FAILS(rapt_buffer_reserve(the_rig.device, INT64_MAX, &plain, error), RAPT_ERROR_UNSUPPORTED, "can address");
        RIG_OK(rapt_buffer_fill(buffer, size - 100, 100, 7, error));
        RIG_OK(rapt_buffer_download(buffer, 0, back, 12, error));
        assert_memory_equal(back, words, 12);
        RIG_OK(rapt_buffer_download(buffer, 5 * PIECE - 8, back, 12, error));
        assert_memory_equal(back, words, 12);
        RIG_FAILS(rapt_buffer_back(buffer, size + 1, error), RAPT_ERROR_INVALID, "were reserved");
        RIG_FAILS(rapt_buffer_back(NULL, 1, error), RAPT_ERROR_INVALID, "buffer is NULL");
        RIG_FAILS(rapt_buffer_reserve(the_rig.device, 0, &plain, error), RAPT_ERROR_INVALID, "at least 1 byte");
        rapt_buffer_destroy(&buffer);
        assert_int_equal(used(), before);
        RIG_OK(rapt_buffer_create(the_rig.device, 100, &plain, error));
        assert_int_equal(rapt_buffer_backed(plain), 100);
        RIG_OK(rapt_buffer_back(plain, 100, error));
        rapt_buffer_destroy(&plain);
        rig_close(&the_rig);
    }
}

/* Each call of Vulkan fails in turn: nothing is left behind, and what had memory before keeps it. */
static void test_failures(void **state)
{
    (void)state;
    int n = 0, reserved = 0;
    if (!vk_fault_open())
        skip();
    rig_open(&the_rig, &(rig_options){.get_proc = vk_fault_get_instance_proc});
    const int live = vk_fault_live();
    for (bool done = false; !done; n++) {
        rapt_buffer *buffer = NULL;
        rapt_error failure = {0};
        vk_fault_arm(n, VK_ERROR_OUT_OF_DEVICE_MEMORY, NULL);
        rapt_status status = rapt_buffer_reserve(the_rig.device, 3 * PIECE, &buffer, &failure);
        reserved += status == RAPT_OK;
        if (status == RAPT_OK)
            status = rapt_buffer_back(buffer, 2 * PIECE, &failure);
        const char *fired = vk_fault_fired();
        done = fired == NULL;
        vk_fault_arm(-1, VK_SUCCESS, NULL);
        /* Waiting is done once more; memory of another type may be there. */
        const bool recovers = done || strcmp(fired, "vkWaitForFences") == 0 || (strcmp(fired, "vkAllocateMemory") == 0 && status == RAPT_OK);
        if (status != (recovers ? RAPT_OK : RAPT_ERROR_OUT_OF_DEVICE_MEMORY))
            fail_msg("call %d, %s: %s", n, done ? "none failed" : fired, rapt_status_name(status));
        if (buffer != NULL) /* it goes on */
            RIG_OK(rapt_buffer_back(buffer, 2 * PIECE, error));
        rapt_buffer_destroy(&buffer);
        assert_true(vk_fault_live() <= live + 1); /* blocks of memory stay for the next */
    }
    assert_true(n > 2 && reserved > 0);
    rig_close(&the_rig);
    vk_fault_close();
}

/* A line of the cache for each batch entry and head, with room for ROOM keys; the batch has that many in turn: `length` keys of the
 * first entry, one less of the second. All lines lie side by side, key by key, so that what is needed is at the front. */
static rapt_attention_desc cache_desc(const rapt_buffer *cache)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    d.q = d.out = rapt_tensor_bhnd(RAPT_F32, BATCH, Q_HEADS, 1, DIM);
    d.k = rapt_tensor_bnhd(RAPT_F32, BATCH, HEADS, ROOM, DIM);
    d.k.stride[2] *= BATCH;
    d.k.stride[0] = HEADS * DIM;
    d.k.usage = cache != NULL ? rapt_buffer_uses(cache) : 0;
    d.v = d.k;
    d.k_lengths = (rapt_tensor){.dtype = RAPT_I32, .rank = 1, .size = {BATCH}, .stride = {1}};
    return d;
}

/* `of`: the buffer whose uses the plan is to be content with; NULL: all, and then the call may be refused. */
static bool decode(const rapt_buffer *of, rapt_buffer *k, rapt_buffer *v, const float *q, int32_t length, float *out)
{
    const rapt_attention_desc d = cache_desc(of);
    const int32_t lengths[BATCH] = {length, length - 1};
    rapt_error failure = {0};
    rapt_buffer *b[] = {rig_upload(the_rig.device, q, BATCH * Q_HEADS * DIM * 4), rig_upload(the_rig.device, out, BATCH * Q_HEADS * DIM * 4),
                        rig_upload(the_rig.device, lengths, sizeof lengths)};
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    args.q.buffer = b[0];
    args.k.buffer = k;
    args.v.buffer = v;
    args.out.buffer = b[1];
    args.k_lengths.buffer = b[2];
    const rapt_status status = rapt_attention_run(the_rig.device, &d, &args, &failure);
    if (of != NULL && status != RAPT_OK)
        fail_msg("%s", failure.message);
    if (status == RAPT_OK)
        RIG_OK(rapt_buffer_download(b[1], 0, out, BATCH * Q_HEADS * DIM * 4, error));
    else if (strstr(failure.message, "uniform texel usage") == NULL)
        fail_msg("'%s' names no use", failure.message);
    for (size_t n = 0; n < RAPT_COUNT(b); n++)
        rapt_buffer_destroy(&b[n]);
    return status == RAPT_OK;
}

static void test_a_cache_that_grows(void **state)
{
    (void)state;
    static const int32_t lengths[] = {1, 100, 2047, 2049, 6000};
    const rapt_attention_desc d = cache_desc(NULL);
    const uint64_t bytes = rapt_tensor_bytes(&d.k), row = BATCH * HEADS * DIM * 4, most = 6000 * row;
    float out[BATCH * Q_HEADS * DIM], want[BATCH * Q_HEADS * DIM];
    float *q = rig_numbers(RAPT_F32, RAPT_COUNT(out), 1), *rows[2] = {rig_numbers(RAPT_F32, most / 4, 2), rig_numbers(RAPT_F32, most / 4, 3)};
    rapt_buffer *grown[2], *plain[2];
    rig_open(&the_rig, NULL);
    for (int n = 0; n < 2; n++) {
        RIG_OK(rapt_buffer_reserve(the_rig.device, bytes, &grown[n], error));
        RIG_OK(rapt_buffer_create(the_rig.device, bytes, &plain[n], error));
        RIG_OK(rapt_buffer_fill(plain[n], 0, bytes, 0xffffffff, error)); /* NaN where there is nothing */
        RIG_OK(rapt_buffer_upload(plain[n], 0, rows[n], most, error));
    }
    const bool pieces = on_demand(grown[0]);
    for (size_t i = 0; i < RAPT_COUNT(lengths); i++) {
        const uint64_t from = i > 0 ? (uint64_t)lengths[i - 1] * row : 0, to = (uint64_t)lengths[i] * row;
        for (int n = 0; n < 2; n++) {
            RIG_OK(rapt_buffer_back(grown[n], to, error));
            RIG_OK(rapt_buffer_upload(grown[n], from, (const char *)rows[n] + from, to - from, error));
        }
        decode(grown[0], grown[0], grown[1], q, lengths[i], out);
        decode(grown[0], plain[0], plain[1], q, lengths[i], want);
        assert_memory_equal(out, want, sizeof out);
    }
    assert_true(!pieces || on_demand(grown[0]));
    if (decode(NULL, grown[0], grown[1], q, 6000, out)) /* a plan that reads as the buffers cannot be read is refused, never wrong */
        assert_memory_equal(out, want, sizeof out);
    for (int n = 0; n < 2; n++) {
        rapt_buffer_destroy(&grown[n]);
        rapt_buffer_destroy(&plain[n]);
        free(rows[n]);
    }
    free(q);
    rig_close(&the_rig);
}

int main(void)
{
    struct CMUnitTest tests[] = {cmocka_unit_test(test_memory), cmocka_unit_test(test_failures), cmocka_unit_test(test_a_cache_that_grows)};
    return RIG_RUN("reserve", tests);
}
