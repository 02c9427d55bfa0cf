/* The code of an app in a kernel: score_mod and mask_mod, checked and made ready to be compiled with any stock kernel whose
 * source includes hook/user.glsl. In librapt: it needs no compiler. */
#ifndef RAPT_COMPILER_USER_H
#define RAPT_COMPILER_USER_H

#include "compiler/compiler.h"
#include "compiler/snippet.h"
#include <rapt/attention.h>

typedef struct rapt_user_code {
    const rapt_allocator *allocator;
    rapt_hash hash; /* of all that follows */
    char defines[128];
    uint32_t tokens; /* of all texts, calls written out */
    bool mask_by_batch, mask_by_head; /* whether a mask_mod names b, and h: else its answers are the same for all */
    rapt_compile_file files[1 + 2 * RAPT_USER_MODS]; /* the first is hook/user_code.glsl, which includes the others */
    size_t sizes[1 + 2 * RAPT_USER_MODS];            /* of their texts */
    char names[2 * RAPT_USER_MODS][16];
    uint32_t file_count;
} rapt_user_code;

/* The same of a feature map of linear attention, for state/features.comp. text NULL: *code is. */
rapt_status rapt_user_feature_make(const rapt_allocator *a, const char *text, rapt_user_code **code, rapt_error *error);

/* What a kernel has buffers for, besides those of the user and what every one has. */
typedef struct rapt_user_operands {
    bool cu_seqlens, extra, bias;
} rapt_user_operands;

/* From the texts and user buffers of `desc`, for kernels with these operands. *code is NULL where there is no text. RAPT_ERROR_INVALID: one line, "score_mod:3: ..". */
rapt_status rapt_user_code_make(const rapt_allocator *a, const rapt_attention_desc *desc, rapt_user_operands operands,
                                rapt_user_code **code, rapt_error *error);
void rapt_user_code_free(rapt_user_code **code);

#endif
