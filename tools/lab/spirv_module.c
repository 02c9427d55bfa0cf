#include "spirv_module.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The part of the SPIR-V specification's numbering that is read here. */
enum {
    OP_ENTRY_POINT = 15,
    OP_EXECUTION_MODE = 16,
    OP_CAPABILITY = 17,
    OP_TYPE_BOOL = 20,
    OP_TYPE_INT = 21,
    OP_TYPE_FLOAT = 22,
    OP_TYPE_VECTOR = 23,
    OP_TYPE_MATRIX = 24,
    OP_TYPE_IMAGE = 25,
    OP_TYPE_SAMPLED_IMAGE = 27,
    OP_TYPE_ARRAY = 28,
    OP_TYPE_RUNTIME_ARRAY = 29,
    OP_TYPE_STRUCT = 30,
    OP_TYPE_POINTER = 32,
    OP_CONSTANT_TRUE = 41,
    OP_CONSTANT_FALSE = 42,
    OP_CONSTANT = 43,
    OP_CONSTANT_COMPOSITE = 44,
    OP_CONSTANT_NULL = 46,
    OP_SPEC_CONSTANT_TRUE = 48,
    OP_SPEC_CONSTANT_FALSE = 49,
    OP_SPEC_CONSTANT = 50,
    OP_SPEC_CONSTANT_COMPOSITE = 51,
    OP_SPEC_CONSTANT_OP = 52,
    OP_VARIABLE = 59,
    OP_DECORATE = 71,
    OP_COMPOSITE_EXTRACT = 81,
    OP_U_CONVERT = 113,
    OP_S_CONVERT = 114,
    OP_S_NEGATE = 126,
    OP_I_ADD = 128,
    OP_I_SUB = 130,
    OP_I_MUL = 132,
    OP_U_DIV = 134,
    OP_S_DIV = 135,
    OP_U_MOD = 137,
    OP_S_REM = 138,
    OP_LOGICAL_EQUAL = 164,
    OP_LOGICAL_NOT_EQUAL = 165,
    OP_LOGICAL_OR = 166,
    OP_LOGICAL_AND = 167,
    OP_LOGICAL_NOT = 168,
    OP_SELECT = 169,
    OP_I_EQUAL = 170,
    OP_I_NOT_EQUAL = 171,
    OP_U_GREATER = 172,
    OP_S_GREATER = 173,
    OP_U_GREATER_EQUAL = 174,
    OP_S_GREATER_EQUAL = 175,
    OP_U_LESS = 176,
    OP_S_LESS = 177,
    OP_U_LESS_EQUAL = 178,
    OP_S_LESS_EQUAL = 179,
    OP_SHIFT_RIGHT_LOGICAL = 194,
    OP_SHIFT_RIGHT_ARITHMETIC = 195,
    OP_SHIFT_LEFT = 196,
    OP_BITWISE_OR = 197,
    OP_BITWISE_XOR = 198,
    OP_BITWISE_AND = 199,
    OP_NOT = 200,
    OP_EXECUTION_MODE_ID = 331,
};

enum {
    MAGIC = 0x07230203,
    EXECUTION_MODEL_GLCOMPUTE = 5,
    EXECUTION_MODE_LOCAL_SIZE = 17,
    EXECUTION_MODE_LOCAL_SIZE_ID = 38,
    STORAGE_UNIFORM_CONSTANT = 0,
    STORAGE_UNIFORM = 2,
    STORAGE_WORKGROUP = 4,
    STORAGE_PUSH_CONSTANT = 9,
    STORAGE_STORAGE_BUFFER = 12,
    DECORATION_SPEC_ID = 1,
    DECORATION_BUFFER_BLOCK = 3,
    DECORATION_BUILT_IN = 11,
    DECORATION_BINDING = 33,
    DECORATION_DESCRIPTOR_SET = 34,
    BUILT_IN_WORKGROUP_SIZE = 25,
    DIM_BUFFER = 5,
    MAX_ID_BOUND = 1 << 22, /* the specification's universal limit */
    MAX_DEPTH = 256,
};

struct SpirvInstruction {
    const uint32_t *words; /* null: no such id; words[0] holds opcode and length */
    uint32_t set, binding;
    bool has_set, has_binding, is_buffer_block, is_workgroup_size;
    uint32_t constant_index; /* into SpirvModule.constants, plus 1 */
    uint32_t spec_id;
    bool has_spec_id;
};

static bool fail(SpirvModule *module, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool fail(SpirvModule *module, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(module->error, sizeof module->error, format, arguments);
    va_end(arguments);
    return false;
}

static uint32_t opcode_of(const uint32_t *words)
{
    return words[0] & 0xffff;
}

static uint32_t length_of(const uint32_t *words)
{
    return words[0] >> 16;
}

/* The instruction that defines `id`, with at least `length` words; null (and an error) where none is. */
static const uint32_t *definition(SpirvModule *module, uint32_t id, uint32_t length)
{
    const uint32_t *words = id < module->id_bound ? module->ids[id].words : NULL;
    if (!words || length_of(words) < length) {
        fail(module, "id %u is not defined, or its definition is cut short", id);
        return NULL;
    }
    return words;
}

/* The word that holds the result id; 0 for instructions that define nothing read here. */
static uint32_t result_position(uint32_t opcode)
{
    switch (opcode) {
    case OP_TYPE_BOOL:
    case OP_TYPE_INT:
    case OP_TYPE_FLOAT:
    case OP_TYPE_VECTOR:
    case OP_TYPE_MATRIX:
    case OP_TYPE_IMAGE:
    case OP_TYPE_SAMPLED_IMAGE:
    case OP_TYPE_ARRAY:
    case OP_TYPE_RUNTIME_ARRAY:
    case OP_TYPE_STRUCT:
    case OP_TYPE_POINTER:
        return 1;
    case OP_CONSTANT_TRUE:
    case OP_CONSTANT_FALSE:
    case OP_CONSTANT:
    case OP_CONSTANT_COMPOSITE:
    case OP_CONSTANT_NULL:
    case OP_SPEC_CONSTANT_TRUE:
    case OP_SPEC_CONSTANT_FALSE:
    case OP_SPEC_CONSTANT:
    case OP_SPEC_CONSTANT_COMPOSITE:
    case OP_SPEC_CONSTANT_OP:
    case OP_VARIABLE:
        return 2;
    default:
        return 0;
    }
}

/* ---- constants ---- */

/* In bits, a boolean counting 32; 0 (and an error) where the type is no scalar. */
static uint32_t scalar_width(SpirvModule *module, uint32_t type_id)
{
    const uint32_t *type = definition(module, type_id, 2);
    if (!type)
        return 0;
    uint32_t opcode = opcode_of(type), width = 0;
    if (opcode == OP_TYPE_BOOL)
        width = 32;
    else if ((opcode == OP_TYPE_INT || opcode == OP_TYPE_FLOAT) && length_of(type) > 2)
        width = type[2];
    if (width != 8 && width != 16 && width != 32 && width != 64) {
        fail(module, "type %u is no scalar of 8, 16, 32 or 64 bits", type_id);
        return 0;
    }
    return width;
}

static uint64_t truncate_to(uint64_t value, uint32_t width)
{
    return width >= 64 ? value : value & ((UINT64_C(1) << width) - 1);
}

static int64_t sign_extend(uint64_t value, uint32_t width)
{
    if (width == 0 || width >= 64)
        return (int64_t)value;
    uint64_t sign = UINT64_C(1) << (width - 1);
    return (int64_t)((truncate_to(value, width) ^ sign) - sign);
}

static bool evaluate(SpirvModule *module, uint32_t id, unsigned depth, uint64_t *value);

static bool evaluate_operation(SpirvModule *module, const uint32_t *words, unsigned depth, uint64_t *value)
{
    uint32_t operation = length_of(words) > 3 ? words[3] : 0;
    uint32_t operand_count = length_of(words) > 4 ? length_of(words) - 4 : 0;
    if (operation == OP_COMPOSITE_EXTRACT) {
        const uint32_t *composite = operand_count == 2 ? definition(module, words[4], 3) : NULL;
        if (!composite || (opcode_of(composite) != OP_CONSTANT_COMPOSITE &&
                           opcode_of(composite) != OP_SPEC_CONSTANT_COMPOSITE))
            return fail(module, "constant %u extracts from no plain composite", words[2]);
        if (words[5] >= length_of(composite) - 3)
            return fail(module, "constant %u extracts member %u of %u", words[2], words[5],
                        length_of(composite) - 3);
        return evaluate(module, composite[3 + words[5]], depth, value);
    }

    uint64_t operands[3] = {0};
    if (operand_count == 0 || operand_count > 3)
        return fail(module, "constant %u has %u operands", words[2], operand_count);
    for (uint32_t i = 0; i < operand_count; i++)
        if (!evaluate(module, words[4 + i], depth, &operands[i]))
            return false;
    const uint32_t *first = definition(module, words[4], 3);
    uint32_t width = scalar_width(module, words[1]);
    uint32_t operand_width = first ? scalar_width(module, first[1]) : 0;
    if (!width || !operand_width)
        return false;
    uint64_t a = operands[0], b = operands[1];
    int64_t sa = sign_extend(a, operand_width), sb = sign_extend(b, operand_width);
    bool divides =
        operation == OP_U_DIV || operation == OP_S_DIV || operation == OP_U_MOD || operation == OP_S_REM;
    if (divides && (b == 0 || (sa == INT64_MIN && sb == -1)))
        return fail(module, "constant %u divides by zero or overflows under these specialization constants",
                    words[2]);
    uint64_t r;
    /* clang-format off */
    switch (operation) {
    case OP_U_CONVERT: r = a; break;
    case OP_S_CONVERT: r = (uint64_t)sa; break;
    case OP_S_NEGATE: r = 0 - a; break;
    case OP_I_ADD: r = a + b; break;
    case OP_I_SUB: r = a - b; break;
    case OP_I_MUL: r = a * b; break;
    case OP_U_DIV: r = a / b; break;
    case OP_S_DIV: r = (uint64_t)(sa / sb); break;
    case OP_U_MOD: r = a % b; break;
    case OP_S_REM: r = (uint64_t)(sa % sb); break;
    case OP_LOGICAL_EQUAL: case OP_I_EQUAL: r = a == b; break;
    case OP_LOGICAL_NOT_EQUAL: case OP_I_NOT_EQUAL: r = a != b; break;
    case OP_LOGICAL_OR: r = a || b; break;
    case OP_LOGICAL_AND: r = a && b; break;
    case OP_LOGICAL_NOT: r = !a; break;
    case OP_SELECT: r = a ? b : operands[2]; break;
    case OP_U_GREATER: r = a > b; break;
    case OP_S_GREATER: r = sa > sb; break;
    case OP_U_GREATER_EQUAL: r = a >= b; break;
    case OP_S_GREATER_EQUAL: r = sa >= sb; break;
    case OP_U_LESS: r = a < b; break;
    case OP_S_LESS: r = sa < sb; break;
    case OP_U_LESS_EQUAL: r = a <= b; break;
    case OP_S_LESS_EQUAL: r = sa <= sb; break;
    case OP_SHIFT_RIGHT_LOGICAL: r = b < 64 ? a >> b : 0; break;
    case OP_SHIFT_RIGHT_ARITHMETIC: r = (uint64_t)(sa >> (b < 63 ? b : 63)); break;
    case OP_SHIFT_LEFT: r = b < 64 ? a << b : 0; break;
    case OP_BITWISE_OR: r = a | b; break;
    case OP_BITWISE_XOR: r = a ^ b; break;
    case OP_BITWISE_AND: r = a & b; break;
    case OP_NOT: r = ~a; break;
    default:
        return fail(module, "constant %u uses operation %u, which is not understood here", words[2], operation);
    }
    /* clang-format on */
    *value = truncate_to(r, width);
    return true;
}

/* The value of a scalar constant, as bits, under the constants that spirv_specialize stored. */
static bool evaluate(SpirvModule *module, uint32_t id, unsigned depth, uint64_t *value)
{
    const uint32_t *words = definition(module, id, 3);
    if (!words)
        return false;
    if (depth == 0)
        return fail(module, "constant %u is nested too deep", id);
    if (module->ids[id].constant_index) {
        *value = module->constants[module->ids[id].constant_index - 1].value;
        return true;
    }
    switch (opcode_of(words)) {
    case OP_CONSTANT_TRUE:
    case OP_SPEC_CONSTANT_TRUE:
        *value = 1;
        return true;
    case OP_CONSTANT_FALSE:
    case OP_SPEC_CONSTANT_FALSE:
    case OP_CONSTANT_NULL:
        *value = 0;
        return true;
    case OP_CONSTANT:
    case OP_SPEC_CONSTANT: {
        if (length_of(words) < 4)
            return fail(module, "constant %u has no value", id);
        *value = words[3] | (length_of(words) > 4 ? (uint64_t)words[4] << 32 : 0);
        uint32_t width = scalar_width(module, words[1]);
        *value = truncate_to(*value, width);
        return width != 0;
    }
    case OP_SPEC_CONSTANT_OP:
        return evaluate_operation(module, words, depth - 1, value);
    default:
        return fail(module, "id %u is not a scalar constant", id);
    }
}

/* ---- types ---- */

/* Size and alignment under the standard storage buffer layout, with booleans of 32 bits: what Vulkan counts
 * against maxComputeSharedMemorySize. */
static bool layout_of(SpirvModule *module, uint32_t type_id, unsigned depth, uint64_t *size, uint64_t *align)
{
    const uint32_t *type = definition(module, type_id, 2);
    if (!type)
        return false;
    if (depth == 0)
        return fail(module, "type %u is nested too deep", type_id);
    uint32_t opcode = opcode_of(type), length = length_of(type);
    switch (opcode) {
    case OP_TYPE_BOOL:
    case OP_TYPE_INT:
    case OP_TYPE_FLOAT:
        *size = *align = scalar_width(module, type_id) / 8;
        return *size != 0;
    case OP_TYPE_VECTOR:
    case OP_TYPE_MATRIX:
    case OP_TYPE_ARRAY: {
        uint64_t count;
        if (length < 4)
            return fail(module, "type %u is cut short", type_id);
        if (!layout_of(module, type[2], depth - 1, size, align))
            return false;
        if (opcode == OP_TYPE_VECTOR) {
            if (type[3] < 2 || type[3] > 4)
                return fail(module, "type %u is a vector of %u", type_id, type[3]);
            *align = *size * (type[3] == 3 ? 4 : type[3]);
            *size *= type[3];
            return true;
        }
        if (opcode == OP_TYPE_MATRIX)
            count = type[3];
        else if (!evaluate(module, type[3], MAX_DEPTH, &count))
            return false;
        uint64_t stride = (*size + *align - 1) / *align * *align;
        if (count > UINT32_MAX || stride > UINT32_MAX)
            return fail(module, "type %u is larger than 4 GiB", type_id);
        *size = stride * count;
        return true;
    }
    case OP_TYPE_STRUCT: {
        uint64_t end = 0, strictest = 1;
        for (uint32_t i = 2; i < length; i++) {
            if (!layout_of(module, type[i], depth - 1, size, align))
                return false;
            end = (end + *align - 1) / *align * *align + *size;
            strictest = *align > strictest ? *align : strictest;
        }
        *size = (end + strictest - 1) / strictest * strictest;
        *align = strictest;
        return true;
    }
    default:
        return fail(module, "type %u (opcode %u) has no size in shared memory", type_id, opcode);
    }
}

/* The descriptor type of a variable of type `type_id` in `storage`. */
static bool descriptor_type(SpirvModule *module, uint32_t type_id, uint32_t storage, VkDescriptorType *result)
{
    const uint32_t *type = definition(module, type_id, 2);
    if (!type)
        return false;
    if (storage == STORAGE_STORAGE_BUFFER ||
        (storage == STORAGE_UNIFORM && module->ids[type_id].is_buffer_block)) {
        *result = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
        return true;
    }
    if (storage == STORAGE_UNIFORM) {
        *result = VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER;
        return true;
    }
    if (opcode_of(type) == OP_TYPE_SAMPLED_IMAGE)
        type = length_of(type) > 2 ? definition(module, type[2], 9) : NULL;
    if (type && opcode_of(type) == OP_TYPE_IMAGE && length_of(type) >= 9 && type[3] == DIM_BUFFER) {
        *result =
            type[7] == 2 ? VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER : VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER;
        return true;
    }
    return fail(module, "type %u is no storage, uniform or texel buffer", type_id);
}

static bool add_binding(SpirvModule *module, uint32_t variable_id)
{
    const SpirvInstruction *variable = &module->ids[variable_id];
    const uint32_t *pointer = definition(module, variable->words[1], 4);
    if (!pointer)
        return false;
    if (!variable->has_set || !variable->has_binding)
        return fail(module, "resource variable %u has no descriptor set or binding", variable_id);
    uint64_t count = 1;
    uint32_t type_id = pointer[3];
    const uint32_t *type = definition(module, type_id, 2);
    if (type && opcode_of(type) == OP_TYPE_RUNTIME_ARRAY)
        return fail(module, "set %u binding %u is an unbounded descriptor array", variable->set,
                    variable->binding);
    if (type && opcode_of(type) == OP_TYPE_ARRAY) {
        if (length_of(type) < 4)
            return fail(module, "type %u is cut short", type_id);
        if (!evaluate(module, type[3], MAX_DEPTH, &count))
            return false;
        type_id = type[2];
    }
    SpirvBinding found = {variable->set, variable->binding, (uint32_t)count, VK_DESCRIPTOR_TYPE_MAX_ENUM};
    if (!type || !descriptor_type(module, type_id, variable->words[3], &found.type))
        return false;
    for (uint32_t i = 0; i < module->binding_count; i++) {
        SpirvBinding *other = &module->bindings[i];
        if (other->set != found.set || other->binding != found.binding)
            continue;
        if (other->type != found.type)
            return fail(module, "set %u binding %u is declared with two descriptor types", found.set,
                        found.binding);
        other->count = found.count > other->count ? found.count : other->count;
        return true; /* an alias */
    }
    if (module->binding_count == SPIRV_MAX_BINDINGS)
        return fail(module, "more than %d bindings", SPIRV_MAX_BINDINGS);
    module->bindings[module->binding_count++] = found;
    return true;
}

static bool add_constant(SpirvModule *module, uint32_t id)
{
    SpirvInstruction *instruction = &module->ids[id];
    const uint32_t *words = instruction->words;
    uint32_t opcode = opcode_of(words);
    bool specializable =
        opcode == OP_SPEC_CONSTANT || opcode == OP_SPEC_CONSTANT_TRUE || opcode == OP_SPEC_CONSTANT_FALSE;
    if (!specializable || !instruction->has_spec_id)
        return true;
    if (module->constant_count == SPIRV_MAX_CONSTANTS)
        return fail(module, "more than %d specialization constants", SPIRV_MAX_CONSTANTS);
    SpirvConstant constant = {.constant_id = instruction->spec_id};
    const uint32_t *type = definition(module, words[1], 2);
    uint32_t width = scalar_width(module, words[1]);
    if (!type || !width || !evaluate(module, id, MAX_DEPTH, &constant.value))
        return false;
    constant.size = width / 8;
    constant.is_float = opcode_of(type) == OP_TYPE_FLOAT;
    if (constant.is_float && width != 32 && width != 64)
        return fail(module, "specialization constant %u is a %u-bit float", constant.constant_id, width);
    module->constants[module->constant_count++] = constant;
    instruction->constant_index = module->constant_count;
    return true;
}

/* ---- the module ---- */

static bool read_entry_point(SpirvModule *module, const uint32_t *words)
{
    if (length_of(words) < 4 || words[1] != EXECUTION_MODEL_GLCOMPUTE)
        return true;
    if (module->entry_point[0])
        return fail(module, "more than one compute entry point");
    size_t room = (length_of(words) - 3) * sizeof *words;
    const char *name = (const char *)&words[3];
    size_t length = strnlen(name, room);
    if (length == 0 || length == room || length >= sizeof module->entry_point)
        return fail(module, "the entry point's name is empty, unterminated or longer than %zu bytes",
                    sizeof module->entry_point - 1);
    memcpy(module->entry_point, name, length + 1);
    return true;
}

static bool read_decoration(SpirvModule *module, const uint32_t *words)
{
    if (length_of(words) < 3)
        return fail(module, "OpDecorate is cut short");
    uint32_t target = words[1], decoration = words[2];
    bool has_operand = length_of(words) > 3;
    if (target >= module->id_bound)
        return fail(module, "OpDecorate names id %u, past the bound %u", target, module->id_bound);
    SpirvInstruction *id = &module->ids[target];
    if (decoration == DECORATION_BUFFER_BLOCK)
        id->is_buffer_block = true;
    if (!has_operand)
        return true;
    if (decoration == DECORATION_DESCRIPTOR_SET) {
        id->set = words[3];
        id->has_set = true;
    } else if (decoration == DECORATION_BINDING) {
        id->binding = words[3];
        id->has_binding = true;
    } else if (decoration == DECORATION_SPEC_ID) {
        id->spec_id = words[3];
        id->has_spec_id = true;
    } else if (decoration == DECORATION_BUILT_IN && words[3] == BUILT_IN_WORKGROUP_SIZE) {
        id->is_workgroup_size = true;
    }
    return true;
}

static bool read_instruction(SpirvModule *module, const uint32_t *words)
{
    uint32_t opcode = opcode_of(words), position = result_position(opcode);
    if (opcode == OP_CAPABILITY && length_of(words) > 1) {
        if (module->capability_count == SPIRV_MAX_CAPABILITIES)
            return fail(module, "more than %d capabilities", SPIRV_MAX_CAPABILITIES);
        module->capabilities[module->capability_count++] = words[1];
    } else if (opcode == OP_ENTRY_POINT) {
        return read_entry_point(module, words);
    } else if (opcode == OP_DECORATE) {
        return read_decoration(module, words);
    } else if (position) {
        if (length_of(words) <= position || words[position] >= module->id_bound)
            return fail(module, "an instruction with opcode %u has no valid result id", opcode);
        if (opcode == OP_VARIABLE && length_of(words) < 4)
            return fail(module, "variable %u has no storage class", words[position]);
        module->ids[words[position]].words = words;
    }
    return true;
}

bool spirv_parse(SpirvModule *module, const uint32_t *words, size_t word_count)
{
    *module = (SpirvModule){.words = words, .word_count = word_count};
    if (word_count < 5 || words[0] != MAGIC)
        return fail(module, "no SPIR-V module: it does not start with the magic number 0x%08x", MAGIC);
    module->version = VK_MAKE_API_VERSION(0, words[1] >> 16 & 0xff, words[1] >> 8 & 0xff, 0);
    module->id_bound = words[3];
    if (module->id_bound > MAX_ID_BOUND)
        return fail(module, "id bound %u is past the limit %d", module->id_bound, MAX_ID_BOUND);
    module->ids = calloc(module->id_bound + 1, sizeof *module->ids);
    if (!module->ids)
        return fail(module, "no memory for %u ids", module->id_bound);
    for (size_t i = 5; i < word_count; i += length_of(&words[i])) {
        if (length_of(&words[i]) == 0 || length_of(&words[i]) > word_count - i)
            return fail(module, "the instruction at word %zu runs past the module's end", i);
        if (!read_instruction(module, &words[i]))
            return false;
    }
    if (!module->entry_point[0])
        return fail(module, "no compute entry point");
    for (uint32_t id = 0; id < module->id_bound; id++)
        if (module->ids[id].words && !add_constant(module, id))
            return false;
    for (uint32_t id = 0; id < module->id_bound; id++) {
        const uint32_t *variable = module->ids[id].words;
        if (!variable || opcode_of(variable) != OP_VARIABLE)
            continue;
        uint32_t storage = variable[3];
        if (storage == STORAGE_PUSH_CONSTANT)
            module->uses_push_constants = true;
        bool is_resource = storage == STORAGE_STORAGE_BUFFER || storage == STORAGE_UNIFORM ||
                           storage == STORAGE_UNIFORM_CONSTANT;
        if (is_resource && !add_binding(module, id))
            return false;
    }
    return true;
}

static bool local_size_component(SpirvModule *module, uint32_t id, uint32_t *size)
{
    uint64_t value;
    if (!evaluate(module, id, MAX_DEPTH, &value))
        return false;
    *size = (uint32_t)value;
    return true;
}

bool spirv_workgroup(SpirvModule *module, uint32_t local_size[3], uint64_t *shared_bytes)
{
    bool known = false;
    for (size_t i = 5; i < module->word_count; i += length_of(&module->words[i])) {
        const uint32_t *words = &module->words[i];
        bool by_id = opcode_of(words) == OP_EXECUTION_MODE_ID;
        if ((!by_id && opcode_of(words) != OP_EXECUTION_MODE) || length_of(words) < 6)
            continue;
        if (words[2] != (by_id ? EXECUTION_MODE_LOCAL_SIZE_ID : EXECUTION_MODE_LOCAL_SIZE))
            continue;
        for (int axis = 0; axis < 3; axis++) {
            if (!by_id)
                local_size[axis] = words[3 + axis];
            else if (!local_size_component(module, words[3 + axis], &local_size[axis]))
                return false;
        }
        known = true;
    }
    *shared_bytes = 0;
    for (uint32_t id = 0; id < module->id_bound; id++) {
        const uint32_t *words = module->ids[id].words;
        if (!words)
            continue;
        if (module->ids[id].is_workgroup_size && length_of(words) == 6) {
            for (int axis = 0; axis < 3; axis++)
                if (!local_size_component(module, words[3 + axis], &local_size[axis]))
                    return false;
            known = true; /* it overrides the execution mode */
        }
        if (opcode_of(words) == OP_VARIABLE && words[3] == STORAGE_WORKGROUP) {
            const uint32_t *pointer = definition(module, words[1], 4);
            uint64_t size, align;
            if (!pointer || !layout_of(module, pointer[3], MAX_DEPTH, &size, &align))
                return false;
            *shared_bytes = (*shared_bytes + align - 1) / align * align + size;
        }
    }
    return known || fail(module, "no workgroup size");
}

bool spirv_specialize(SpirvModule *module, uint32_t constant_id, const char *text, bool *found)
{
    *found = false;
    for (uint32_t i = 0; i < module->constant_count; i++) {
        SpirvConstant *constant = &module->constants[i];
        if (constant->constant_id != constant_id)
            continue;
        char *end;
        errno = 0;
        if (constant->is_float) {
            double wide = strtod(text, &end);
            float narrow = (float)wide;
            memcpy(&constant->value, constant->size == 4 ? (void *)&narrow : (void *)&wide, constant->size);
        } else if (text[0] == '-') {
            constant->value = truncate_to((uint64_t)strtoll(text, &end, 0), constant->size * 8);
        } else {
            constant->value = strtoull(text, &end, 0);
            if (constant->value != truncate_to(constant->value, constant->size * 8))
                errno = ERANGE;
        }
        if (end == text || *end || errno)
            return fail(module, "'%s' is no value for specialization constant %u", text, constant_id);
        constant->specialized = *found = true;
    }
    return true;
}

void spirv_release(SpirvModule *module)
{
    free(module->ids);
    module->ids = NULL;
}
