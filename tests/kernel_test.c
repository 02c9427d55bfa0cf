/* The kernel table: modules come out of their blocks whole, through the public API too. */
#include "base/base.h"
#include "kernel/kernel.h"
#include "support.h"

#include <rapt/plan.h>

/* Whether the words are one module: a header, and instructions up to the last word. */
static bool whole(const uint32_t *words, uint32_t count)
{
    if (count < 5 || words[0] != 0x07230203u || words[3] == 0 || words[4] != 0)
        return false;
    uint32_t at = 5;
    while (at < count && words[at] >> 16 != 0)
        at += words[at] >> 16;
    return at == count;
}

static void all_modules(void **state)
{
    (void)state;
    const rapt_kernel_table *table = rapt_kernels();
    const rapt_allocator allocator = rapt_allocator_default();
    assert_true(table->module_count > 0);
    for (uint32_t i = 0; i < table->module_count; i++) {
        const rapt_kernel_module *m = &table->modules[i];
        uint32_t *words = malloc((m->words + 1) * sizeof *words);
        assert_non_null(words);
        words[m->words] = 0xabcdef01u;
        assert_int_equal(rapt_kernel_unpack(m, &allocator, words, NULL), RAPT_OK);
        if (!whole(words, m->words))
            fail_msg("%s %s is not a module", m->shader, m->defines);
        assert_int_equal(words[m->words], 0xabcdef01u);
        free(words);
    }
}

static void no_memory(void **state)
{
    (void)state;
    const rapt_kernel_module *m = &rapt_kernels()->modules[1];
    uint32_t *words = malloc(m->words * sizeof *words);
    assert_non_null(words);
    rapt_status status = RAPT_ERROR_OUT_OF_HOST_MEMORY;
    for (size_t fail_at = 1; status != RAPT_OK; fail_at++) {
        assert_true(fail_at < 100);
        failing f = {0, fail_at, 0};
        const rapt_allocator a = {&f, failing_alloc, failing_realloc, failing_free};
        rapt_error error = {0};
        status = rapt_kernel_unpack(m, &a, words, &error);
        if (status != RAPT_OK) {
            assert_int_equal(status, RAPT_ERROR_OUT_OF_HOST_MEMORY);
            assert_non_null(strstr(error.message, m->shader));
        }
        assert_int_equal(f.bytes, 0);
    }
    assert_true(whole(words, m->words));
    free(words);
}

#ifdef RAPT_PACK
/* A block that is cut short, or that has other bytes, has no modules. */
static void spoilt(void **state)
{
    (void)state;
    const rapt_allocator allocator = rapt_allocator_default();
    rapt_kernel_module m = rapt_kernels()->modules[0];
    char *bytes = malloc(m.block->size);
    uint32_t *words = malloc(m.words * sizeof *words);
    assert_true(bytes && words);
    memcpy(bytes, m.block->bytes, m.block->size);
    rapt_kernel_block block = {bytes, 100};
    m.block = &block;
    rapt_error error = {0};
    assert_int_equal(rapt_kernel_unpack(&m, &allocator, words, &error), RAPT_ERROR_COMPILE);
    assert_non_null(strstr(error.message, "cannot be unpacked"));
    block.size = rapt_kernels()->modules[0].block->size;
    bytes[1] ^= 1;
    assert_int_equal(rapt_kernel_unpack(&m, &allocator, words, &error), RAPT_ERROR_COMPILE);
    free(bytes);
    free(words);
}
#endif

static void public_calls(void **state)
{
    (void)state;
    rapt_kernel_info info = RAPT_KERNEL_INFO_INIT;
    rapt_error error = {0};
    assert_int_equal(rapt_kernel_describe(0, &info, &error), RAPT_OK);
    uint32_t *words = malloc((size_t)info.spirv_bytes);
    assert_non_null(words);
    assert_int_equal(rapt_kernel_spirv(0, words, info.spirv_bytes, &error), RAPT_OK);
    assert_true(whole(words, (uint32_t)(info.spirv_bytes / 4)));
    assert_int_equal(rapt_kernel_spirv(0, words, info.spirv_bytes - 1, &error), RAPT_ERROR_INVALID);
    assert_non_null(strstr(error.message, info.name));
    assert_int_equal(rapt_kernel_spirv(0, NULL, info.spirv_bytes, &error), RAPT_ERROR_INVALID);
    assert_int_equal(rapt_kernel_spirv(rapt_kernel_count(), words, info.spirv_bytes, &error), RAPT_ERROR_INVALID);
    free(words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_modules),
        cmocka_unit_test(no_memory),
#ifdef RAPT_PACK
        cmocka_unit_test(spoilt),
#endif
        cmocka_unit_test(public_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
