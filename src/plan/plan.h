/* Planning: (problem, capability snapshot, kernel table, verdicts) -> an ordered list of steps. Pure: no Vulkan call, no
 * global, no clock; the same inputs give the same plan. */
#ifndef RAPT_PLAN_PLAN_H
#define RAPT_PLAN_PLAN_H

#include "kernel/kernel.h"
#include "op/attention.h"
#include "op/combine.h"
#include "op/linear.h"
#include "op/memory.h"
#include "op/route.h"
#include "op/rows.h"
#include "op/scan.h"
#include "plan/grid.h"
#include <rapt/plan.h>
#include <rapt/tune.h>

#define RAPT_PUSH_WORDS 16
#define RAPT_MAX_OPERANDS 14
#define RAPT_MAX_CONSTANTS 16
#define RAPT_MAX_PIPELINES 8 /* the main one, a merge or a second pass, and maps: prepare, pack, lists of tiles, gate, margins */

/* What this device has shown so far. */
typedef enum rapt_verdict_kind {
    RAPT_VERDICT_UNKNOWN = 0,
    RAPT_VERDICT_GOOD,
    RAPT_VERDICT_BAD,
} rapt_verdict_kind;

struct rapt_plan_pipeline;
typedef struct rapt_verdicts {
    /* Looked up with a row of the table and its resolved constants. `reason` (may be NULL) receives static or
     * device-lived text. */
    rapt_verdict_kind (*lookup)(void *user, const struct rapt_plan_pipeline *pipeline, const char **reason);
    void *user;
    double flops_per_second; /* measured on this device, for slices; 0: not yet */
    /* The measured choice for a problem (rapt_tuning_key); NULL or false: none. */
    bool (*tuned)(void *user, rapt_hash key, rapt_tuned *out);
    /* Whether a row is on the block list, and why; NULL: none is. */
    bool (*blocked)(void *user, const rapt_kernel_row *row, char *reason, size_t capacity);
} rapt_verdicts;

/* A row with its specialization constants. */
typedef struct rapt_plan_pipeline {
    const rapt_kernel_row *row;             /* of the table; with code of the app: the plan's copy with its operands */
    uint32_t constants[RAPT_MAX_CONSTANTS]; /* by position in row->constants */
    const rapt_kernel_row *base;            /* of the table; NULL: `row` is */
    uint32_t form;                          /* RAPT_FORM_*; 0: as built in */
    rapt_hash code;                         /* of the app's code; zero without */
    const struct rapt_user_code *user;      /* the code itself (compiler/user.h); the plan's */
} rapt_plan_pipeline;

/* How a kernel was compiled with code of an app. It then has one constant more than its row, of this id: the group. */
#define RAPT_USER_GROUP_ID 31
enum { RAPT_FORM_USER = 1, RAPT_FORM_SCORE = 2, RAPT_FORM_MASK = 4 };
static inline uint32_t rapt_problem_form(const rapt_problem *p)
{
    return (p->score_mod || p->mask_mod ? RAPT_FORM_USER : 0) | (p->score_mod ? RAPT_FORM_SCORE : 0) |
           (p->mask_mod ? RAPT_FORM_MASK : 0);
}
/* Whether kernels with code of an app are compiled without this operand, for buffers of the user to have its place. */
static inline bool rapt_role_left_out(const rapt_problem *p, rapt_role role)
{
    return (!p->varlen && !p->ragged && (role == RAPT_ROLE_CU_Q || role == RAPT_ROLE_CU_K)) || (!p->bias && role == RAPT_ROLE_BIAS) ||
           (!rapt_problem_has_extra_operand(p) && !p->bias && role == RAPT_ROLE_EXTRA);
}

/* The part of a tensor or workspace slot that a step may touch, in bytes from its start; what is bound covers it. */
typedef struct rapt_window {
    uint64_t first, bytes;
} rapt_window;

typedef struct rapt_step {
    uint8_t pipeline; /* index into plan->pipelines */
    uint32_t phase;   /* steps of one phase do not depend on each other; a barrier stands between phases */
    bool barrier;     /* a full memory dependency stands before this step */
    uint32_t slice;
    uint32_t groups[3];
    uint64_t flops;
    /* Push constants. Entry b - 1 of the first eight is the base of binding b: here minus the first element of the
     * window (modulo 2^32); binding adds where the window begins in what is bound. */
    uint32_t push[RAPT_PUSH_WORDS];
    rapt_window windows[RAPT_MAX_OPERANDS]; /* by position in row->operands; bytes 0: nothing bound (a dummy) */
} rapt_step;

typedef struct rapt_workspace_slot {
    rapt_role role;
    uint64_t offset, bytes;
} rapt_workspace_slot;

/* Why one row was not taken (or was): one line of explain. */
typedef struct rapt_candidate {
    const rapt_kernel_row *row;
    int score;
    int passed; /* how many of the predicates it passed before the one that refused it */
    bool chosen;
    bool unfit; /* was chosen, but its launches cannot be cut to what the device binds: out for good */
    char reason[120]; /* "" : eligible */
} rapt_candidate;

/* How kernels find the extra vectors in the operand that holds them: the only one itself, or all of them packed. */
typedef struct rapt_extra_layout {
    bool packed;
    uint64_t words; /* packed: of all together */
    struct {
        uint64_t first, stride_b, stride_h; /* words */
    } place[RAPT_X_COUNT];
} rapt_extra_layout;

/* Lists of the tiles that query tiles visit, behind the packed vectors: (batch, head groups, query tiles), the first two 1 where
 * all have the same lists; `pitch` words each. See shaders/hook/tiles.glsl. */
typedef struct rapt_list_layout {
    bool listed;
    uint32_t rows, keys; /* of a tile */
    uint64_t batch, groups, tiles, pitch;
    uint64_t first, stride_b, stride_g; /* words in the extra operand; strides 0 where an axis has one entry */
} rapt_list_layout;
/* How linear attention is walked: plan/linear_recurrent.c, plan/linear_chunked.c. */
typedef struct rapt_linear_layout {
    uint32_t chunk;       /* tokens; 0: the recurrent form */
    uint64_t span;        /* tokens between two hand-overs of the running state */
    uint64_t chain;       /* updates of the state that wait for each other */
    uint32_t chunk_pitch; /* see linear_params.h */
    uint32_t step_size, step_pitch;
    bool carried;         /* the running state lies in the workspace */
    uint64_t fixed_bytes, token_bytes; /* of the workspace, beside what the form needs: in all, and for each token of a span */
} rapt_linear_layout;

/* How a scan is walked: plan/scan.c. */
typedef struct rapt_scan_layout {
    uint32_t chunk; /* tokens; 0: one after the other */
    uint64_t span;  /* tokens between two hand-overs of the running state */
    uint64_t chain; /* updates of the state that wait for each other */
    uint32_t pitch; /* see scan_params.h */
    bool carried;   /* the running state lies in the workspace */
} rapt_scan_layout;

/* Which operator a plan is for. */
typedef enum rapt_op { RAPT_OP_ATTENTION = 0, RAPT_OP_LINEAR, RAPT_OP_ROUTE, RAPT_OP_SCAN, RAPT_OP_COMBINE, RAPT_OP_ROWS, RAPT_OP_MEMORY } rapt_op;

/* Behind the parameters of a binding, for operands that are not there; also the alignment that all devices' descriptors take. */
#define RAPT_STAND_IN_BYTES 256

/* Bytes [begin, end) of some memory that a plan's work reads, or writes (and perhaps reads). */
typedef struct rapt_access {
    uint64_t memory; /* equal for the same memory alone */
    uint64_t begin, end;
    bool written;
} rapt_access;

struct rapt_plan {
    rapt_op op;
    rapt_allocator allocator;
    struct rapt_device *device; /* NULL: planned for a snapshot only */
    rapt_arena arena;           /* everything below */
    rapt_caps caps;
    rapt_problem problem; /* of other operators than attention: only what every operator has (dtype, counts, slice_ms, kernel) */
    rapt_combine_problem combine;
    rapt_memory_problem memory;
    rapt_linear_problem linear; /* what steps work on: `outer`, or with features made first, what is left then */
    rapt_linear_problem outer;  /* the app's */
    rapt_linear_layout layout;
    rapt_route_problem route;
    rapt_rows_problem rows;
    rapt_scan_problem scan;
    rapt_scan_layout scan_layout;
    rapt_plan_pipeline pipelines[RAPT_MAX_PIPELINES];
    uint32_t pipeline_count;
    rapt_step *steps;
    uint32_t step_count, step_capacity;
    uint32_t slice_count, phase_count;
    rapt_workspace_slot slots[14]; /* those of partial results, if any, come first */
    uint32_t slot_count;
    uint64_t workspace_bytes;
    uint32_t group, splits, split_keys, part_stride;
    uint64_t first_key; /* no query sees a key before it */
    bool aligned;
    rapt_grid_tiling grid; /* of a grid */
    rapt_extra_layout extras;
    rapt_list_layout lists;
    bool has_tuned; /* there is one for this problem; taken if its row accepts */
    rapt_tuned tuned;
    uint64_t *positions; /* owned: those of linear.positions and outer.positions; NULL without */
    struct rapt_user_code *user_code; /* owned (api/plan.c); NULL without */
    struct rapt_user_row {
        rapt_kernel_row row;
        rapt_kernel_operand operands[RAPT_MAX_OPERANDS];
        rapt_kernel_constant constants[RAPT_MAX_CONSTANTS];
    } user_rows[4]; /* with it: pipelines[0].row, and the rows that make lists, row maxima, column sums */
    uint8_t params[768]; /* the uniform block, as the kernels read it */
    uint32_t params_bytes;
    rapt_candidate *candidates;
    uint32_t candidate_count;
    rapt_hash user_hash; /* of linear attention: user_code's, or zero */
    uint32_t generation;
    bool prepared;
    bool own;      /* an app's, not a probe's or a measurement's */
    bool recorded; /* its submits are counted under record_key where the runtime records; else, if it is own, as left out */
    rapt_hash record_key;
    bool refused; /* planning again came to nothing: there are no steps */
    double flops_per_second; /* what the slices assume */
    struct rapt_kernel **kernels; /* prepared pipelines, by position in `pipelines` */
};

/* Makes a plan into `plan`, whose allocator and device are set and whose rest is zero. On failure its candidates may be
 * filled (for explain); rapt_plan_clear frees either way. `table` is rapt_kernels() but for tests. */
rapt_status rapt_plan_make(rapt_plan *plan, const rapt_problem *problem, const rapt_caps *caps,
                           const rapt_kernel_table *table, const rapt_verdicts *verdicts, rapt_error *error);
void rapt_plan_clear(rapt_plan *plan);

/* The same for linear attention (linear.c). */
rapt_status rapt_linear_plan_make(rapt_plan *plan, const rapt_linear_problem *problem, const rapt_caps *caps,
                                  const rapt_kernel_table *table, const rapt_verdicts *verdicts, rapt_error *error);
/* Its lines of explain. */
void rapt_linear_explain_problem(const rapt_plan *plan, rapt_text *text);
void rapt_linear_explain_problem_json(const rapt_plan *plan, rapt_text *text);

/* The same for routing (route.c). */
/* Blocks from which on a tile by itself is worth a workgroup for selecting. */
#define RAPT_ROUTE_MANY_BLOCKS 256u
rapt_status rapt_route_plan_make(rapt_plan *plan, const rapt_route_problem *problem, const rapt_caps *caps,
                                 const rapt_kernel_table *table, const rapt_verdicts *verdicts, rapt_error *error);
void rapt_route_explain_problem(const rapt_plan *plan, rapt_text *text);
void rapt_route_explain_problem_json(const rapt_plan *plan, rapt_text *text);

/* The same for rows by index (rows.c). */
rapt_status rapt_rows_plan_make(rapt_plan *plan, const rapt_rows_problem *problem, const rapt_caps *caps,
                                const rapt_kernel_table *table, const rapt_verdicts *verdicts, rapt_error *error);
void rapt_rows_explain_problem(const rapt_plan *plan, rapt_text *text);
void rapt_rows_explain_problem_json(const rapt_plan *plan, rapt_text *text);
/* The same for scans (scan.c). */
rapt_status rapt_scan_plan_make(rapt_plan *plan, const rapt_scan_problem *problem, const rapt_caps *caps,
                                const rapt_kernel_table *table, const rapt_verdicts *verdicts, rapt_error *error);
void rapt_scan_explain_problem(const rapt_plan *plan, rapt_text *text);
void rapt_scan_explain_problem_json(const rapt_plan *plan, rapt_text *text);

/* The same for memories that learn (memory.c). */
rapt_status rapt_memory_plan_make(rapt_plan *plan, const rapt_memory_problem *problem, const rapt_caps *caps,
                                  const rapt_kernel_table *table, const rapt_verdicts *verdicts, rapt_error *error);
uint32_t rapt_memory_role_element(const rapt_plan *plan, rapt_role role);
void rapt_memory_explain_problem(const rapt_plan *plan, rapt_text *text);
void rapt_memory_explain_problem_json(const rapt_plan *plan, rapt_text *text);

/* What plans of all operators share (steps.c, select.c): one more step, all zero; slices of about the time target, and barriers
 * between phases; the throughput that slices assume at first; what the device must have for a row, whatever the problem. */
rapt_status rapt_plan_new_step(rapt_plan *plan, rapt_step **step, rapt_error *error);
void rapt_plan_cut_slices(rapt_plan *plan, double slice_flops);
double rapt_assumed_flops_per_second(const rapt_caps *caps);
bool rapt_device_accepts(const rapt_kernel_row *row, const rapt_caps *caps, char *reason, size_t size);
/* Whether a row that is the operator's only one for a type may run: its device class, quirks, the device, the block list, the verdict on
 * the pipeline. false: c->reason says why not. */
bool rapt_pipeline_accepted(const rapt_plan_pipeline *pipeline, const rapt_caps *caps, const rapt_verdicts *verdicts, rapt_candidate *c);

/* Bytes of one element of a role's buffer in this plan. */
uint32_t rapt_plan_role_element(const rapt_plan *plan, rapt_role role);
uint32_t rapt_problem_role_element(const rapt_problem *problem, rapt_role role); /* of attention's */
/* Which push-constant base belongs to a binding: the binding's own but for texel buffers, which share that of the tensor. */
uint32_t rapt_binding_base(uint32_t binding);

/* Tensor index (RAPT_T_*) of a role; -1 for roles that are not tensors of the problem. */
int rapt_role_tensor(rapt_role role);

/* rapt_plan_explain, with the words of a refusal instead of steps when `failure` is not NULL. */
size_t rapt_plan_explain_to(const rapt_plan *plan, rapt_text_format format, const char *failure, char *buffer,
                            size_t capacity);

/* Why a row is avoided on this driver unless it is forced, or NULL (quirks.c). */
const char *rapt_quirk(const rapt_kernel_row *row, const rapt_caps *caps);

/* After how many turns of all its loops together this driver ends the loops of an invocation; UINT64_MAX: never (quirks.c). */
uint64_t rapt_loop_turns(const rapt_caps *caps);

/* Fills plan->params of a plan whose steps are there (params.c). */
void rapt_fill_params(rapt_plan *plan);
/* Of the turns of neighbouring pairs of rotary positions, as a 64-bit fraction (shaders/common/rope.glsl). */
void rapt_rope_ratio(double base, uint32_t dim, uint32_t *low, uint32_t *high);

/* ---- the extra operand (extras.c) */

/* Where kernels find the extra vectors. */
rapt_status rapt_place_extras(rapt_plan *plan, rapt_error *error);
/* The steps that pack them. */
rapt_status rapt_add_packs(rapt_plan *plan, uint8_t pipeline, rapt_error *error);

/* ---- lists of tiles (lists.c) */

/* Whether a device binds what lists for mask_mod take beside the rest, for problems that may do without. */
bool rapt_lists_fit(const rapt_problem *problem, const rapt_caps *caps);
/* Where the plan's lists lie: behind plan->extras.words, which it adds to. */
rapt_status rapt_place_lists(rapt_plan *plan, rapt_error *error);
/* The steps that make them. */
rapt_status rapt_add_lists(rapt_plan *plan, uint8_t pipeline, uint8_t phase, double slice_flops, rapt_error *error);

/* ---- row maxima and column sums (margins.c) */

/* What shaders/map/margin.comp makes: the largest score of each query, or sums of weights over queries for each key of an output
 * head, or of a kv head. */
typedef enum rapt_margin { RAPT_MARGIN_NONE = 0, RAPT_MARGIN_ROW_MAX, RAPT_MARGIN_HEADS, RAPT_MARGIN_KV_HEADS } rapt_margin;
/* Which of them a role is, or none. */
rapt_margin rapt_margin_of(const rapt_problem *problem, rapt_role role);
/* The steps that make one of them, from *phase on, which moves past them. */
rapt_status rapt_add_margin(rapt_plan *plan, uint8_t pipeline, rapt_margin margin, uint32_t *phase, double slice_flops,
                            bool *unfit, rapt_error *error);

/* ---- measured choices (tuning.c) */

/* The same of linear attention. false: it is not tuned. */
bool rapt_linear_tuning_key(const rapt_linear_problem *problem, const rapt_caps *caps, rapt_hash *key);
void rapt_linear_tuning_label(const rapt_linear_problem *problem, char *out, size_t capacity);
/* What a choice for this problem is kept under. false: the problem may not be tuned, as its lengths have no bound of their own. */
bool rapt_tuning_key(const rapt_problem *problem, const rapt_caps *caps, rapt_hash *key);
/* The same in words. */
void rapt_tuning_label(const rapt_problem *problem, char *out, size_t capacity);
/* Whether this plan took its measured choice. */
bool rapt_plan_is_tuned(const rapt_plan *plan);

/* ---- selection (select.c) */

/* Whether every base, stride and head_dim is a multiple of 4 elements. */
bool rapt_problem_aligned(const rapt_problem *problem);

/* How a row would be used for this problem. */
typedef struct rapt_choice {
    const rapt_kernel_row *row;
    uint32_t group;      /* heads packed as rows */
    uint32_t splits;     /* key splits; 1: the row writes the output itself */
    uint64_t first_key;  /* where the first split begins; a multiple of keys_per_tile */
    uint32_t split_keys; /* keys per split, a multiple of keys_per_tile */
    bool aligned;
    rapt_grid_tiling grid; /* of a grid */
    bool second_pass; /* of a link that takes two */
    bool listed;      /* it visits the tiles of lists */
    rapt_margin margin;
    uint32_t constants[RAPT_MAX_CONSTANTS];
} rapt_choice;

/* Its constants for the second pass. */
void rapt_choose_second_pass(const rapt_problem *problem, rapt_choice *choice);

/* Judges every row and fills `candidates` (table->row_count entries). RAPT_ERROR_UNSUPPORTED names the best reason.
 * tuned: the measured choice, which goes first if it accepts, or NULL.
 * least_splits: key splits that windows demand; 1: none; 0: none, and no others either but what the caller asks for. */
rapt_status rapt_select_row(const rapt_problem *problem, const rapt_caps *caps, const rapt_kernel_table *table,
                            const rapt_verdicts *verdicts, const rapt_tuned *tuned, uint32_t least_splits,
                            rapt_candidate *candidates, rapt_choice *choice, rapt_error *error);
/* The row that merges what `choice` leaves. */
rapt_status rapt_select_merge(const rapt_problem *problem, const rapt_caps *caps, const rapt_kernel_table *table,
                              const rapt_verdicts *verdicts, rapt_candidate *candidates, rapt_choice *choice,
                              rapt_error *error);

/* The row that prepares or finishes the operand `role`: RAPT_ROLE_SINKS, which stands for all extra vectors (packed),
 * RAPT_ROLE_SOURCE_Q (what rewrites q and k), RAPT_ROLE_GATE, RAPT_ROLE_ROW_MAX, RAPT_ROLE_COL_SUMS, or RAPT_ROLE_EXTRA for
 * lists of tiles. `main`: how the main row
 * was chosen. */
rapt_status rapt_select_map(const rapt_problem *problem, const rapt_caps *caps, const rapt_kernel_table *table,
                            const rapt_verdicts *verdicts, rapt_role role, const rapt_choice *main,
                            rapt_candidate *candidates, rapt_plan_pipeline *pipeline, rapt_error *error);

/* Bytes that one binding of this operand kind may cover on this device, less the slack that alignment may cost. */
uint64_t rapt_window_limit(const rapt_caps *caps, rapt_operand_kind kind);

#endif
