/* The kernels built in, as the public API shows them. */
#include "base/base.h"
#include "kernel/kernel.h"
#include <rapt/plan.h>

#include <string.h>

uint32_t rapt_kernel_count(void)
{
    return rapt_kernels()->row_count;
}

rapt_status rapt_kernel_describe(uint32_t index, rapt_kernel_info *info, rapt_error *error)
{
    const rapt_kernel_table *table = rapt_kernels();
    if (info == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "info is NULL");
    if (info->struct_size < sizeof *info)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_kernel_info.struct_size is %u, expected %zu",
                         info->struct_size, sizeof *info);
    if (index >= table->row_count)
        return rapt_fail(error, RAPT_ERROR_INVALID, "kernel %u of %u", index, table->row_count);
    const rapt_kernel_row *row = &table->rows[index];
    const rapt_kernel_module *module = &table->modules[row->module];
    *info = (rapt_kernel_info){.struct_size = info->struct_size,
                               .name = row->name,
                               .family = rapt_family_name((rapt_family)row->family),
                               .shader = module->shader,
                               .defines = module->defines,
                               .spirv_bytes = module->words * 4ull};
    memcpy(info->hash, module->hash, sizeof info->hash);
    return RAPT_OK;
}

rapt_status rapt_kernel_spirv(uint32_t index, void *spirv, uint64_t bytes, rapt_error *error)
{
    const rapt_kernel_table *table = rapt_kernels();
    if (spirv == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "spirv is NULL");
    if (index >= table->row_count)
        return rapt_fail(error, RAPT_ERROR_INVALID, "kernel %u of %u", index, table->row_count);
    const rapt_kernel_module *module = &table->modules[table->rows[index].module];
    if (bytes < module->words * 4ull)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s has %llu bytes of SPIR-V, and there is room for %llu",
                         table->rows[index].name, module->words * 4ull, (unsigned long long)bytes);
    const rapt_allocator allocator = rapt_allocator_default();
    return rapt_kernel_unpack(module, &allocator, spirv, error);
}
