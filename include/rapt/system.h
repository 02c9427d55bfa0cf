/* Published attention systems by name: what each computes, and for those that rapt's engines compute, the
 * recipe. Part of rapt (MIT licence). */
#ifndef RAPT_SYSTEM_H
#define RAPT_SYSTEM_H

#include <rapt/combine.h>
#include <rapt/linear.h>
#include <rapt/memory.h>
#include <rapt/pattern.h>
#include <rapt/route.h>
#include <rapt/rows.h>
#include <rapt/scan.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An input, a parameter or an output. */
typedef struct rapt_system_field {
    const char *name;
    const char *shape; /* "(batch, heads, n, d)"; of a parameter: its default, "" where it must be given */
    const char *about; /* "" where the name says it */
    uint32_t optional; /* outputs: written only where asked for */
} rapt_system_field;

/* One system. All text is UTF-8 and valid for ever; "" where there is nothing to say. */
typedef struct rapt_system_info {
    uint32_t struct_size;
    uint32_t works; /* 1: the operator is computed entirely, rapt_system_recipe_make has it; 0: planned */
    char tier[2]; /* "A" an operator of its own, "B" made of operators of A, "C" a study or an application */
    const char *name;   /* unique, whatever its case, spaces and punctuation */
    const char *reason; /* of the tier */
    const char *family; /* "dense", "sparse-static", "linear", .. */
    const char *paper;
    const char *formula; /* in one line */
    const char *engines; /* comma list: tile, state, route, merge, scan, map */
    const char *reduces; /* works: what it is made of; planned: the part that works, where there is one */
    const char *doubt;   /* what is not certain of the formula */
    const rapt_system_field *inputs, *parameters, *outputs;
    uint32_t input_count, parameter_count, output_count;
    const char *const *checks; /* small problems for tests, see src/check/systems.h */
    uint32_t check_count;
    const char *bench; /* such a problem worth timing, with N for its number of tokens, L for 1 + ceil(log2 N); "": none */
} rapt_system_info;
#define RAPT_SYSTEM_INFO_INIT                                                                                \
    {                                                                                                        \
        .struct_size = sizeof(rapt_system_info)                                                              \
    }

RAPT_API uint32_t rapt_system_count(void);
RAPT_API rapt_status rapt_system_describe(uint32_t index, rapt_system_info *info, rapt_error *error);
/* By name: letters and digits alone count, in either case. What stands before a bracket, in it, or between
 * slashes is enough where it is unique, else the beginning of the name, from three letters on.
 * RAPT_ERROR_INVALID names the nearest, or all those meant. */
RAPT_API rapt_status rapt_system_find(const char *name, uint32_t *index, rapt_error *error);

/* ---- Recipes: a system as steps of attention
 * --------------------------------------------------------------------- */

#define RAPT_SYSTEM_TENSORS 32
#define RAPT_SYSTEM_STEPS 96
#define RAPT_SYSTEM_HEADS 256 /* that a parameter can have a number for */

typedef struct rapt_system_input {
    const char *name;
    rapt_tensor tensor; /* axes as the system's shape has them, of any strides; the last one's is 1 */
} rapt_system_input;

/* A parameter as text: a whole number, a number, a comma list of either, or GLSL, as its default shows. GLSL must outlive the
 * recipe. */
typedef struct rapt_system_setting {
    const char *name, *value;
} rapt_system_setting;

typedef struct rapt_system_request {
    uint32_t struct_size;
    uint32_t input_count, setting_count, output_count;
    const rapt_system_input *inputs;
    const rapt_system_setting *settings;
    const char *const *outputs; /* optional outputs that are wanted; the others are written always */
} rapt_system_request;
#define RAPT_SYSTEM_REQUEST_INIT                                                                             \
    {                                                                                                        \
        .struct_size = sizeof(rapt_system_request)                                                           \
    }

typedef enum rapt_system_role {
    RAPT_SYSTEM_IN = 0,
    RAPT_SYSTEM_OUT = 1,     /* contiguous */
    RAPT_SYSTEM_BETWEEN = 2, /* written by one step, read by later ones; contiguous */
    RAPT_SYSTEM_PATTERN = 3, /* to be filled with rapt_pattern_fill(&recipe->pattern, ..) before the first step; contiguous */
} rapt_system_role;

typedef struct rapt_system_tensor {
    const char *name; /* valid for ever */
    rapt_system_role role;
    rapt_tensor tensor;
    uint64_t bounds; /* int32 inputs: their entries must rise from 0 to this, or the result is of no use; UINT64_MAX: any will do */
} rapt_system_tensor;

/* A step's view into tensors[tensor], from this byte on; tensor < 0: absent. */
typedef struct rapt_system_operand {
    int32_t tensor;
    uint64_t offset;
} rapt_system_operand;

typedef enum rapt_system_op { RAPT_SYSTEM_ATTENTION = 0, RAPT_SYSTEM_LINEAR = 1, RAPT_SYSTEM_ROUTE = 2, RAPT_SYSTEM_ROWS = 3, RAPT_SYSTEM_COMBINE = 4,
               RAPT_SYSTEM_SCAN = 5, RAPT_SYSTEM_MEMORY = 6 } rapt_system_op;

typedef struct rapt_system_step {
    const char *what; /* in a few words; valid for ever */
    rapt_system_op op;
    rapt_attention_desc attention; /* the descriptor of this op */
    rapt_linear_desc linear;
    rapt_route_desc route;
    rapt_rows_desc rows;
    rapt_combine_desc combine;
    rapt_scan_desc scan;
    rapt_memory_desc memory;
    rapt_system_operand q, k, v, out;
    rapt_system_operand lse, cu_seqlens_q, cu_seqlens_k, gate, bias_u, bias_v, block_mask; /* of attention; lse and gate also of combining */
    rapt_system_operand sinks, alibi, key_bias, segments, bias, relative, decays, user[RAPT_USER_BUFFERS]; /* of attention; decays: its decay */
    rapt_system_operand row_max, k_lengths, block_table;  /* of attention */
    rapt_system_operand decay, beta, state_in, state_out; /* of linear attention; decay: or its gate */
    rapt_system_operand a, b, norm_in, norm_out, scale_q, scale_k;
    rapt_system_operand rates;                            /* of memories that learn, which have q, k, v, out and states too */
    rapt_system_operand summary, scores, mask, list, within; /* of routing */
    rapt_system_operand x, weight;                        /* of rows by index, with list and out; of scans */
    rapt_system_operand c, dt, skip, z;                   /* of scans, which have a, b, bias, scores and states too */
    rapt_system_operand term[RAPT_COMBINE_TERMS], term_weight[RAPT_COMBINE_TERMS], norm_weight; /* of combining */
} rapt_system_step;

/* Steps run in order, each after the one before it has ended: rapt_system_step_plan, rapt_plan_prepare,
 * rapt_system_step_bind, rapt_submit and rapt_wait. Together they write every element of every output. Nearly a megabyte: too large
 * for stacks. Thread-safety: plain data. */
typedef struct rapt_system_recipe {
    uint32_t struct_size;
    uint32_t tensor_count, step_count;
    rapt_system_tensor tensors[RAPT_SYSTEM_TENSORS];
    rapt_system_step steps[RAPT_SYSTEM_STEPS];
    rapt_pattern pattern; /* where a tensor has the role RAPT_SYSTEM_PATTERN; may point into numbers: not to be copied then */
    float numbers[2][RAPT_SYSTEM_HEADS];
} rapt_system_recipe;

/* Fills `recipe` for these shapes and settings; knows no device. RAPT_ERROR_INVALID says which input or
 * parameter is missing, unknown or wrong; RAPT_ERROR_UNSUPPORTED: the system is planned, or needs more steps
 * than there is room for. */
RAPT_API rapt_status rapt_system_recipe_make(uint32_t index, const rapt_system_request *request,
                                             rapt_system_recipe *recipe, rapt_error *error);

/* rapt_attention_plan and rapt_attention_bind, or those of rapt_linear_.., rapt_route_.., rapt_rows_.., rapt_combine_.., rapt_scan_.. or rapt_memory_..: as the
 * step's op says. buffers:
 * one for each tensor of the recipe, in its order; those must outlive the binding. */
RAPT_API rapt_status rapt_system_step_plan(rapt_device *device, const rapt_system_step *step, rapt_plan **plan,
                                           rapt_error *error);
RAPT_API rapt_status rapt_system_step_bind(rapt_plan *plan, const rapt_system_step *step, rapt_buffer *const *buffers,
                                           rapt_binding **binding, rapt_error *error);

#ifdef __cplusplus
}
#endif
#endif
