/* The kernel table: one row per variant, generated at build time from the sidecars beside the shaders
 * (shaders/<family>/<name>.toml) by src/kernel/generate.py. Nothing else names a SPIR-V module. */
#ifndef RAPT_KERNEL_H
#define RAPT_KERNEL_H

#include <rapt/caps.h>
#include <rapt/tensor.h>
#include <stdbool.h>

/* What a kernel reads or writes, whatever its binding number. */
typedef enum rapt_role {
    RAPT_ROLE_NONE = 0,
    RAPT_ROLE_Q,
    RAPT_ROLE_K,
    RAPT_ROLE_V,
    RAPT_ROLE_OUT,
    RAPT_ROLE_LSE,
    RAPT_ROLE_CU_Q,
    RAPT_ROLE_CU_K,     /* or k_lengths */
    RAPT_ROLE_PART_ACC, /* partial accumulators (row, split, head_dim_v), float, in the workspace */
    RAPT_ROLE_PART_ML,  /* partial (m, l) pairs (row, split), float, in the workspace */
    RAPT_ROLE_EXTRA,    /* one of the extra vectors, or several packed, in the workspace, and lists of tiles there */
    RAPT_ROLE_SINKS,    /* the extra vectors themselves, where they are packed; in the order of RAPT_X_* */
    RAPT_ROLE_ALIBI,
    RAPT_ROLE_KEY_BIAS,
    RAPT_ROLE_SEGMENTS,
    RAPT_ROLE_RELATIVE,
    RAPT_ROLE_WEIGHT_DECAY,
    RAPT_ROLE_BLOCK_MASK,
    RAPT_ROLE_BLOCK_TABLE,
    RAPT_ROLE_GATE,
    RAPT_ROLE_BIAS, /* dense */
    RAPT_ROLE_SOURCE_Q, /* q and k as the app has them, where they are rewritten first: q and k are then in the workspace */
    RAPT_ROLE_SOURCE_K,
    RAPT_ROLE_FACTOR_Q, /* factors of a low-rank bias */
    RAPT_ROLE_FACTOR_K,
    RAPT_ROLE_COL_SUMS, /* what is left of scores along an axis: shaders/map/margin.comp */
    RAPT_ROLE_ROW_MAX,
    RAPT_ROLE_A, /* from here to NORM_IN: of linear attention (include/rapt/linear.h) */
    RAPT_ROLE_B,
    RAPT_ROLE_DECAY, /* or gate */
    RAPT_ROLE_BETA,
    RAPT_ROLE_STATE, /* the running state, in the caller's tensor or in the workspace; read and written */
    RAPT_ROLE_NORM,  /* the running normaliser, likewise */
    RAPT_ROLE_STATE_IN,
    RAPT_ROLE_NORM_IN,
    RAPT_ROLE_CHUNKS,      /* states of chunks, in the workspace: what each adds, then where each begins */
    RAPT_ROLE_CHUNK_NORMS, /* the same of normalisers */
    RAPT_ROLE_STEPS,       /* what each chunk multiplies the state by, in the workspace; for rows that leap all that it does */
    RAPT_ROLE_SUMMARY, /* from here to WITHIN: of routing (include/rapt/route.h) */
    RAPT_ROLE_POOLED,  /* queries averaged by tile, in the workspace */
    RAPT_ROLE_SCORES,
    RAPT_ROLE_MASK,
    RAPT_ROLE_LIST,
    RAPT_ROLE_WITHIN,
    RAPT_ROLE_ROWS, /* of rows by index (include/rapt/rows.h), with LIST */
    RAPT_ROLE_WEIGHT,
    RAPT_ROLE_X, /* from here to SKIP: of scans (include/rapt/scan.h), which have STATE, STATE_IN and CHUNKS too */
    RAPT_ROLE_COEF, /* a, or scores */
    RAPT_ROLE_SCAN_B, /* or weight */
    RAPT_ROLE_SCAN_C,
    RAPT_ROLE_DT,
    RAPT_ROLE_SCAN_Z,
    RAPT_ROLE_SKIP, /* or bias */
    RAPT_ROLE_TERM_0,      /* from here to NORM_WEIGHT: what is put together (include/rapt/combine.h) */
    RAPT_ROLE_TERM_1,
    RAPT_ROLE_TERM_2, /* or the gate */
    RAPT_ROLE_TERM_WEIGHT_0,
    RAPT_ROLE_TERM_WEIGHT_1,
    RAPT_ROLE_TERM_WEIGHT_2,
    RAPT_ROLE_NORM_WEIGHT,
    RAPT_ROLE_SOURCE_V, /* from here to NORM_OUT: where features are made first (plan/linear_mapped.c), what the app has */
    RAPT_ROLE_SOURCE_A,
    RAPT_ROLE_SOURCE_B,
    RAPT_ROLE_SCALE_Q,
    RAPT_ROLE_SCALE_K,
    RAPT_ROLE_SUMS,   /* outputs of blocks of features, added up, in the workspace */
    RAPT_ROLE_RESULT, /* the app's out, while OUT is in the workspace */
    RAPT_ROLE_STATE_OUT,
    RAPT_ROLE_NORM_OUT,
    RAPT_ROLE_POSITIONS, /* of rows that are placed (include/rapt/rows.h) */
    RAPT_ROLE_USER,     /* the first of RAPT_USER_BUFFERS buffers that code of the app reads */
    RAPT_ROLE_USER_1,
    RAPT_ROLE_USER_2,
    RAPT_ROLE_USER_3,
    RAPT_ROLE_COUNT
} rapt_role;

typedef enum rapt_operand_kind {
    RAPT_OPERAND_STORAGE = 0,
    RAPT_OPERAND_TEXEL_R32F,    /* uniform texel buffer, one f32 a texel */
    RAPT_OPERAND_TEXEL_RGBA32F, /* four f32 a texel: strides and base are multiples of 4 elements */
    RAPT_OPERAND_TEXEL_RGBA16F, /* four f16 a texel */
    RAPT_OPERAND_TEXEL_RG32UI,  /* four 16-bit elements a texel, raw bits */
    RAPT_OPERAND_TEXEL_RGBA32UI, /* eight 16-bit elements a texel, raw bits */
    RAPT_OPERAND_TEXEL_R16F,    /* one f16 a texel */
    RAPT_OPERAND_TEXEL_R16UI,   /* one 16-bit element a texel, raw bits */
    RAPT_OPERAND_TEXEL_WORDS,   /* 16 bytes of whatever a texel, raw bits */
} rapt_operand_kind;

typedef struct rapt_kernel_operand {
    uint8_t role;    /* rapt_role */
    uint8_t binding; /* RAPT_BIND_* of shaders/common/attention_params.h */
    uint8_t kind;    /* rapt_operand_kind */
    uint8_t writes;  /* 1: written, else read */
} rapt_kernel_operand;

/* Where the value of a specialization constant comes from. */
typedef enum rapt_constant_source {
    RAPT_CONST_LITERAL = 0,
    RAPT_CONST_HEAD_DIM_QK,
    RAPT_CONST_HEAD_DIM_V,
    RAPT_CONST_CAUSAL,  /* 0 or 1 */
    RAPT_CONST_VARLEN,  /* 0 or 1 */
    RAPT_CONST_PARTIAL, /* 0 or 1: key splits write partial results */
    RAPT_CONST_GROUP,   /* heads packed as rows */
    RAPT_CONST_ALIGNED, /* 1: every base, stride and head_dim of q, k, v and out is a multiple of 4 elements */
    RAPT_CONST_NQ_IS_ONE, /* 1: one query per sequence */
    RAPT_CONST_WHOLE_KEYS, /* every row sees every key; 1: of whole tiles of keys, 2: the last one is cut short */
    RAPT_CONST_WINDOW,     /* 0 or 1 */
    RAPT_CONST_SOFT_CAP,   /* 0 or 1 */
    RAPT_CONST_LINK,       /* rapt_link */
    RAPT_CONST_EXTRAS,     /* bits of RAPT_PARAM_EXTRAS, and RAPT_PARAM_BLOCKS, _LISTED, _PAGED and _RAGGED */
    RAPT_CONST_GRID_RANK,  /* axes of the grid */
    RAPT_CONST_DECAY,      /* of linear attention, and those below: RAPT_DECAY_* */
    RAPT_CONST_LOG_DECAY,  /* 0 or 1 */
    RAPT_CONST_BETA,       /* 0 or 1 */
    RAPT_CONST_NORMALIZE,  /* 0 or 1 */
    RAPT_CONST_PHI,        /* rapt_phi */
    RAPT_CONST_PASS,       /* RAPT_PASS_* of shaders/common/linear_params.h */
    RAPT_CONST_SUMMARY,    /* of routing, and those below: rapt_summary */
    RAPT_CONST_SELECT,     /* rapt_select */
    RAPT_CONST_POOLED,     /* 1: scores are of averaged queries */
    RAPT_CONST_SINGLE_KEYS, /* 1: blocks are single keys */
    RAPT_CONST_ROWS_KIND,  /* of rows by index: rapt_rows_kind */
    RAPT_CONST_WEIGHTED,   /* 0 or 1 */
    RAPT_CONST_SCAN_OP,    /* of scans: rapt_scan_op */
    RAPT_CONST_SCAN_FLAGS, /* rapt_scan_flags and those of shaders/common/scan_params.h */
    RAPT_CONST_COEF,       /* RAPT_COEF_* of op/scan.h */
    RAPT_CONST_STATES,     /* numbers of state a channel */
    RAPT_CONST_MAP_Q,      /* rapt_phi of the pass that makes features of q, and of k */
    RAPT_CONST_MAP_K,
    RAPT_CONST_SCAN_ACT,   /* rapt_scan_act */
    RAPT_CONST_K_FORMAT,   /* rapt_dtype of quantised keys, 0 of others; likewise of values */
    RAPT_CONST_V_FORMAT,
    RAPT_CONST_MARGIN,     /* rapt_margin: what is left of scores along an axis */
    RAPT_CONST_OUT_FORMAT, /* of rows that are placed: the same of the cache */
    RAPT_CONST_NORMED,     /* 0 or 1 */
    RAPT_CONST_ROPE,       /* 0, 1: halves, 2: interleaved */
    RAPT_CONST_PATCH_TILES, /* of routing: tiles, and query heads of one tile, that scores are made of at once */
    RAPT_CONST_PATCH_HEADS,
    RAPT_CONST_SKIPS, /* of routing: whether the largest are left out */
    RAPT_CONST_CHUNK, /* tokens of a chunk, for rows that leap */
} rapt_constant_source;

typedef struct rapt_kernel_constant {
    uint16_t id;     /* constant_id */
    uint16_t source; /* rapt_constant_source */
    uint32_t value;  /* for RAPT_CONST_LITERAL */
    const char *name;
} rapt_kernel_constant;

/* What a row can do, beyond the plain dense case. */
enum {
    RAPT_ROW_CAUSAL = 1,
    RAPT_ROW_VARLEN = 2,
    RAPT_ROW_PARTIAL = 4,   /* can write partial results of key splits */
    RAPT_ROW_GROUP = 8,     /* can pack the heads of a group as rows (params.group > 1) */
    RAPT_ROW_UNALIGNED = 16, /* takes bases, strides and head dims that are not multiples of 4 elements */
    RAPT_ROW_BENCH_ONLY = 32, /* never chosen, only forced: the naive yardstick */
    RAPT_ROW_WINDOW = 64,
    RAPT_ROW_SOFT_CAP = 128,
    RAPT_ROW_LINKS = 512,
    RAPT_ROW_EXTRAS = 256, /* sinks, ALiBi, key biases, segments */
    RAPT_ROW_GRID = 1 << 29, /* neighbourhoods of a grid, and nothing else */
    RAPT_ROW_BLOCKS = 1 << 28, /* block masks */
    RAPT_ROW_PAGED = 1 << 27,  /* keys in pages of any size, and batch entries with numbers of keys of their own */
    RAPT_ROW_PAGED_TILES = 1 << 26, /* the same, where pages hold whole tiles of keys */
    RAPT_ROW_QUANTISED = 1 << 25, /* keys or values quantised, and nothing else */
    /* Rows of linear attention. What a row does in a plan: */
    RAPT_ROW_WALKS = 1024,   /* walks tokens with the state at hand: the recurrence, whole or within chunks */
    RAPT_ROW_SCANS = 2048,   /* passes states from chunk to chunk, where each multiplies them element by element */
    RAPT_ROW_PRODUCTS = 4096, /* the same, where each multiplies them by a matrix */
    RAPT_ROW_COPIES = 8192,  /* copies states */
    RAPT_ROW_RULE_NONE = 16384, /* the rules it knows */
    RAPT_ROW_RULE_DELTA = 32768,
    RAPT_ROW_RULE_DPLR = 65536,
    RAPT_ROW_NORMALIZE = 131072,
    RAPT_ROW_BETA = 262144,
    RAPT_ROW_OUTPUTS = 524288, /* like the first four: outputs of chunks from the states they begin with */
    RAPT_ROW_ADDS = 1048576,   /* what chunks add to the state and multiply it by */
    RAPT_ROW_GATE = 2097152,   /* decays per channel */
    RAPT_ROW_SCALAR_DECAY = 4194304, /* no decays, or one number a token */
    RAPT_ROW_SOFT_PHI = 8388608,     /* the feature map over all features */
    /* In bits that mean something else to other families: */
    RAPT_ROW_MAPS = 64,      /* makes features of q, k and what goes with them, in the workspace */
    RAPT_ROW_FINISHES = 128, /* makes outputs of what was summed there */
    RAPT_ROW_MOVES = 256,    /* states from the app to the workspace and back */
    RAPT_ROW_APPLIES = 512,  /* outputs of all tokens from one state */
    RAPT_ROW_SOLVES = 1 << 24, /* what chunks do to any state, where each token reads what those before it wrote: solved for */
    RAPT_ROW_LEAPS = 1 << 25,  /* walks chunks by that with the state at hand: outputs, and the state */
    /* Rows of routing; other families use these bits for themselves. What a row does in a plan: */
    RAPT_ROW_SUMMARISES = 1024,
    RAPT_ROW_SCORES = 2048,
    RAPT_ROW_SELECTS = 4096,
    RAPT_ROW_MOVES_ROWS = 1024, /* of family map */
    RAPT_ROW_PLACES_ROWS = 2048, /* and rewrites them */
    RAPT_ROW_LEARNS = 1 << 30,   /* memories that learn */
};

/* Rows of scans have bits of their own beside VARLEN, UNALIGNED and BENCH_ONLY. */
enum {
    RAPT_ROW_SCAN_WALKS = 1 << 8,   /* walks tokens */
    RAPT_ROW_SCAN_CARRIES = 1 << 9, /* passes states from chunk to chunk, and copies them */
    RAPT_ROW_SCAN_REAL = 1 << 10,
    RAPT_ROW_SCAN_COMPLEX = 1 << 11,
    RAPT_ROW_SCAN_GATED = 1 << 12, /* skip and z */
    RAPT_ROW_SCAN_MAPS = 1 << 13,  /* what has no recurrence */
    RAPT_ROW_SCAN_GENERATED = 1 << 14, /* for every token taps of its own, and nothing else */
    RAPT_ROW_SCAN_OP_SHIFT = 16, /* a bit per rapt_scan_op from here on */
};

typedef enum rapt_family {
    RAPT_FAMILY_TILE = 0,  /* shared-memory tiles, register patches */
    RAPT_FAMILY_BROADCAST, /* a lane per row, keys broadcast from registers: software devices */
    RAPT_FAMILY_COOPMAT,
    RAPT_FAMILY_COOPMAT2,  /* matrices of a workgroup */
    RAPT_FAMILY_DECODE,    /* few rows, many keys */
    RAPT_FAMILY_MERGE,
    RAPT_FAMILY_NAIVE,
    RAPT_FAMILY_PEAK, /* measures the device; never part of a plan for an operator */
    RAPT_FAMILY_MAP,  /* prepares operands */
    RAPT_FAMILY_ROUTE, /* makes lists of what others visit */
    RAPT_FAMILY_STATE, /* linear attention */
    RAPT_FAMILY_SCAN,  /* what runs along a sequence channel by channel */
    RAPT_FAMILY_COUNT
} rapt_family;

/* The SPIR-V of several modules, one after the other; as an .xz stream where the build has liblzma. */
typedef struct rapt_kernel_block {
    const char *bytes;
    size_t size;
} rapt_kernel_block;

typedef struct rapt_kernel_module {
    const char *shader;  /* "tile/tile.comp" */
    const char *defines; /* "-DDTYPE=1 .." */
    const rapt_kernel_block *block;
    uint32_t offset;       /* bytes of the unpacked block before it */
    uint32_t words;
    uint32_t vulkan_minor; /* of the Vulkan that its version of SPIR-V came with */
    char hash[33]; /* of the SPIR-V, hexadecimal */
} rapt_kernel_module;

typedef struct rapt_kernel_row {
    const char *name;
    uint16_t family, module;
    uint32_t dtypes;   /* bit per rapt_dtype: storage types of q, k, v and out */
    uint32_t supports; /* RAPT_ROW_* */
    uint64_t features; /* RAPT_FEATURE_BIT(..) all required */
    uint32_t head_dim_qk_min, head_dim_qk_max, head_dim_qk_multiple;
    uint32_t head_dim_v_min, head_dim_v_max, head_dim_v_multiple;
    uint64_t nq_max; /* most query rows per (sequence, packed heads) this row is meant for; 0: any */
    uint32_t rows_per_tile; /* query rows (times packed heads) per workgroup */
    uint32_t keys_per_tile; /* key splits are multiples of this */
    uint32_t local_size;
    uint32_t shared_bytes;
    uint32_t subgroup_exact; /* the subgroup size it is compiled for; 0: any of at least subgroup_min */
    uint32_t subgroup_min;
    uint32_t coopmat[3];     /* m, n, k of f16 x f16 -> f32 matrices (of family coopmat2: all are multiples of these); 0: none */
    int16_t score[RAPT_CLASS_COUNT]; /* preference by device class; higher first; negative: only when forced */
    uint16_t operand_count, constant_count;
    const rapt_kernel_operand *operands;
    const rapt_kernel_constant *constants;
} rapt_kernel_row;

typedef struct rapt_kernel_table {
    const rapt_kernel_row *rows;
    uint32_t row_count;
    const rapt_kernel_module *modules;
    uint32_t module_count;
} rapt_kernel_table;

/* The rows built in. Static data. */
const rapt_kernel_table *rapt_kernels(void);
/* Writes the module's SPIR-V, module->words words. The unpacker's memory (a megabyte at most) is the allocator's, and is given
 * back. Errors: RAPT_ERROR_OUT_OF_HOST_MEMORY. Thread-safety: safe. */
rapt_status rapt_kernel_unpack(const rapt_kernel_module *module, const rapt_allocator *allocator, void *words,
                               rapt_error *error);
const char *rapt_family_name(rapt_family family);
/* What of an app's code the shaders of a family have a place for. */
bool rapt_family_has_score_mod(rapt_family family);
bool rapt_family_has_mask_mod(rapt_family family);
/* Whether they visit the tiles of a list alone (shaders/hook/tiles.glsl). */
bool rapt_family_walks_lists(rapt_family family);
const char *rapt_role_name(rapt_role role);
/* Bytes of one texel and elements per texel of an operand kind; 0 for storage, and where elements may have any size. */
uint32_t rapt_operand_texel_bytes(rapt_operand_kind kind);
uint32_t rapt_operand_texel_elements(rapt_operand_kind kind);

#endif
