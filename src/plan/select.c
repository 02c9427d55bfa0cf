/* Selection: an ordered list of predicates over the rows of the kernel table, each of which says why it refuses. */
#include "plan/combine.h"
#include "plan/turns.h"

#include "common/linear_params.h"
#include "common/scan_params.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

int rapt_role_tensor(rapt_role role)
{
    switch (role) {
    case RAPT_ROLE_Q:
        return RAPT_T_Q;
    case RAPT_ROLE_K:
        return RAPT_T_K;
    case RAPT_ROLE_V:
        return RAPT_T_V;
    case RAPT_ROLE_OUT:
        return RAPT_T_OUT;
    case RAPT_ROLE_LSE:
        return RAPT_T_LSE;
    case RAPT_ROLE_GATE:
        return RAPT_T_GATE;
    case RAPT_ROLE_BIAS:
        return RAPT_T_BIAS;
    case RAPT_ROLE_COL_SUMS:
        return RAPT_T_COL_SUMS;
    case RAPT_ROLE_ROW_MAX:
        return RAPT_T_ROW_MAX;
    default:
        return -1;
    }
}

uint64_t rapt_window_limit(const rapt_caps *caps, rapt_operand_kind kind)
{
    if (kind == RAPT_OPERAND_STORAGE) {
        /* 32-bit element indices, and the window starts up to one alignment step before its first byte. */
        uint64_t range = RAPT_MIN(caps->max_storage_range, 0xfffffffcull);
        return range > caps->storage_align ? range - caps->storage_align : 0;
    }
    uint64_t texel = rapt_operand_texel_bytes(kind);
    uint64_t bytes = RAPT_MIN(caps->max_texel_elements, 0x7fffffffull) * texel;
    return bytes > caps->texel_align + texel ? bytes - caps->texel_align - texel : 0;
}

uint32_t rapt_problem_role_element(const rapt_problem *p, rapt_role role)
{
    const int tensor = rapt_role_tensor(role);
    if (role >= RAPT_ROLE_SOURCE_Q && role <= RAPT_ROLE_FACTOR_K)
        return rapt_dtype_size(p->dtype);
    return tensor >= 0 ? RAPT_T_ELEMENT(p, tensor) : 4;
}

uint32_t rapt_plan_role_element(const rapt_plan *plan, rapt_role role)
{
    if (plan->op == RAPT_OP_LINEAR) {
        const bool stored = role == RAPT_ROLE_Q || role == RAPT_ROLE_K || role == RAPT_ROLE_V || role == RAPT_ROLE_OUT ||
                            role == RAPT_ROLE_A || role == RAPT_ROLE_B;
        const bool of_app = role == RAPT_ROLE_SOURCE_Q || role == RAPT_ROLE_SOURCE_K || role == RAPT_ROLE_SOURCE_V ||
                            role == RAPT_ROLE_SOURCE_A || role == RAPT_ROLE_SOURCE_B || role == RAPT_ROLE_RESULT;
        return stored ? rapt_dtype_size(plan->linear.dtype) : of_app ? rapt_dtype_size(plan->outer.dtype) : 4;
    }
    if (plan->op == RAPT_OP_ROWS)
        return role == RAPT_ROLE_ROWS || role == RAPT_ROLE_OUT
                   ? plan->rows.tensor[role == RAPT_ROLE_OUT ? RAPT_M_OUT : RAPT_M_X].element
                   : 4;
    if (plan->op == RAPT_OP_ROUTE)
        return role == RAPT_ROLE_Q || role == RAPT_ROLE_K ? rapt_dtype_size(plan->route.dtype) : 4;
    if (plan->op == RAPT_OP_SCAN)
        return role == RAPT_ROLE_X || role == RAPT_ROLE_OUT || role == RAPT_ROLE_SCAN_Z ? rapt_dtype_size(plan->problem.dtype) : 4;
    if (plan->op == RAPT_OP_COMBINE)
        return rapt_combine_role_element(plan, role);
    if (plan->op == RAPT_OP_MEMORY)
        return rapt_memory_role_element(plan, role);
    return rapt_problem_role_element(&plan->problem, role);
}

uint32_t rapt_binding_base(uint32_t binding)
{
    switch (binding) {
    case RAPT_BIND_TEXEL_K:
        return RAPT_BIND_K;
    case RAPT_BIND_TEXEL_V:
        return RAPT_BIND_V;
    case RAPT_BIND_TEXEL_Q:
        return RAPT_BIND_Q;
    case RAPT_BIND_TEXEL_DECAY:
        return RAPT_BIND_DECAY;
    case RAPT_BIND_TEXEL_A:
        return RAPT_BIND_A;
    case RAPT_BIND_TEXEL_B:
        return RAPT_BIND_B;
    case RAPT_BIND_TEXEL_STATE: /* may be read beside what is written through another binding */
        return RAPT_PUSH_READ_BASE + 1;
    case RAPT_SCAN_TEXEL_SKIP:
        return RAPT_SCAN_PUSH_SKIP_BASE + 1;
    default:
        return binding;
    }
}

#define REFUSE(...)                                                                                                    \
    do {                                                                                                               \
        snprintf(reason, size, __VA_ARGS__);                                                                           \
        return false;                                                                                                  \
    } while (0)

/* Matrices of f16 with f32 accumulators, of the row's shape or, where workgroups have them, of multiples of it. */
static bool matrices_accept(const rapt_kernel_row *row, const rapt_caps *caps, char *reason, size_t size)
{
    const uint32_t m = row->coopmat[0], n = row->coopmat[1], k = row->coopmat[2];
    bool found = m == 0;
    if (row->family != RAPT_FAMILY_COOPMAT2) {
        for (uint32_t i = 0; i < caps->coopmat_count && !found; i++) {
            const rapt_coopmat_shape *s = &caps->coopmat[i];
            found = s->m == m && s->n == n && s->k == k && s->a_type == 0 && s->b_type == 0 && s->c_type == 1 &&
                    s->result_type == 1 && s->scope == 3;
        }
        if (!found)
            REFUSE("needs %ux%ux%u f16 matrices with f32 accumulators, which the device does not list", m, n, k);
        return true;
    }
    for (uint32_t i = 0; i < caps->coopmat_flexible_count && !found; i++) {
        const rapt_coopmat_flexible *s = &caps->coopmat_flexible[i];
        found = s->invocations == row->local_size && s->m != 0 && s->n != 0 && s->k != 0 && m % s->m == 0 &&
                n % s->n == 0 && k % s->k == 0 && s->a_type == 0 && s->b_type == 0 && s->c_type == 1 && s->result_type == 1;
    }
    if (!found)
        REFUSE("needs f16 matrices of multiples of %ux%ux%u with f32 accumulators in workgroups of %u, which the device does not list",
               m, n, k, row->local_size);
    const uint32_t widest = RAPT_MAX(RAPT_MAX(row->head_dim_qk_max, row->head_dim_v_max),
                                     RAPT_MAX(row->rows_per_tile, row->keys_per_tile));
    if (m != 0 && widest > caps->coopmat2_max_dimension)
        REFUSE("needs matrices of %u rows or columns, the device has %u", widest, caps->coopmat2_max_dimension);
    return true;
}

/* What the device must have, whatever the problem. */
bool rapt_device_accepts(const rapt_kernel_row *row, const rapt_caps *caps, char *reason, size_t size)
{
    uint64_t missing = row->features & ~caps->features;
    for (uint32_t i = 0; missing != 0; i++, missing >>= 1)
        if (missing & 1)
            REFUSE("needs %s, which the device%s lacks", rapt_feature_name(i), caps->masked ? " (as masked)" : "");
    if (row->local_size > caps->max_invocations || row->local_size > caps->max_group_size[0])
        REFUSE("needs %u invocations a workgroup, the device has %u", row->local_size,
               RAPT_MIN(caps->max_invocations, caps->max_group_size[0]));
    const uint32_t kept = row->features & RAPT_FEATURE_BIT(COOPERATIVE_MATRIX_2) ? caps->coopmat2_shared_bytes : 0;
    if ((uint64_t)row->shared_bytes + kept > caps->max_shared_bytes)
        REFUSE("needs %u bytes of shared memory, the device has %u", row->shared_bytes,
               caps->max_shared_bytes > kept ? caps->max_shared_bytes - kept : 0);
    if (RAPT_PUSH_WORDS * 4 > caps->max_push_bytes)
        REFUSE("needs %u bytes of push constants, the device has %u", RAPT_PUSH_WORDS * 4, caps->max_push_bytes);
    if (row->subgroup_exact != 0 && row->subgroup_exact != caps->subgroup_size) {
        if (!(caps->features & RAPT_FEATURE_BIT(SUBGROUP_SIZE_CONTROL)) ||
            row->subgroup_exact < caps->subgroup_size_min || row->subgroup_exact > caps->subgroup_size_max)
            REFUSE("needs a subgroup size of %u, the device has %u to %u", row->subgroup_exact,
                   caps->subgroup_size_min, caps->subgroup_size_max);
    }
    if (row->subgroup_exact == 0 && row->subgroup_min > caps->subgroup_size_min)
        REFUSE("needs subgroups of at least %u, the device has %u", row->subgroup_min, caps->subgroup_size_min);
    if (!matrices_accept(row, caps, reason, size))
        return false;
    return true;
}

static bool has_role(const rapt_kernel_row *row, rapt_role role)
{
    for (uint32_t i = 0; i < row->operand_count; i++)
        if (row->operands[i].role == role)
            return true;
    return false;
}

/* As many storage buffers as a stage may have. */
static bool buffers_fit(const rapt_kernel_row *row, const rapt_problem *p, const rapt_caps *caps, char *reason,
                        size_t size)
{
    const bool user = rapt_problem_form(p) != 0 && row->family != RAPT_FAMILY_MERGE &&
                      (row->family != RAPT_FAMILY_MAP || has_role(row, RAPT_ROLE_COL_SUMS));
    uint32_t storage = user ? p->user_count : 0;
    for (uint32_t i = 0; i < row->operand_count; i++)
        if (row->operands[i].kind == RAPT_OPERAND_STORAGE) {
            if (user && rapt_role_left_out(p, (rapt_role)row->operands[i].role))
                continue; /* left out: see rapt_plan.user_row */
            bool twice = false; /* two roles may share a binding: only one is bound */
            for (uint32_t j = 0; j < i; j++)
                twice |= row->operands[j].binding == row->operands[i].binding &&
                         !(user && rapt_role_left_out(p, (rapt_role)row->operands[j].role));
            storage += !twice;
        }
    if (storage > caps->max_storage_buffers)
        REFUSE("needs %u storage buffers%s, the device has %u", storage,
               user && p->user_count > 0 ? " with those of the user" : "", caps->max_storage_buffers);
    return true;
}

static bool dim_accepts(const char *name, uint32_t dim, uint32_t min, uint32_t max, uint32_t multiple, char *reason,
                        size_t size)
{
    if (dim < min || dim > max)
        REFUSE("takes %s %u to %u, not %u", name, min, max, dim);
    if (multiple > 1 && dim % multiple != 0)
        REFUSE("takes multiples of %u as %s, not %u", multiple, name, dim);
    return true;
}

/* Whether every base, stride and head_dim of the row's tensors is a multiple of `elements`. */
static bool role_aligned(const rapt_problem *p, int tensor, uint32_t elements)
{
    uint32_t element = RAPT_T_ELEMENT(p, tensor);
    for (int axis = 0; axis < 3; axis++)
        if (p->stride[tensor][axis] % elements != 0)
            return false;
    return p->align[tensor] >= elements * element;
}

bool rapt_problem_aligned(const rapt_problem *p)
{
    if (p->head_dim_qk % 4 != 0 || p->head_dim_v % 4 != 0)
        return false;
    for (int t = RAPT_T_Q; t <= RAPT_T_OUT; t++) /* rows of words are read word by word, or by texels */
        if (!rapt_dtype_is_quantised(rapt_problem_dtype(p, (unsigned)t)) && !role_aligned(p, t, 4))
            return false;
    return !p->gate || p->gate_by_row || role_aligned(p, RAPT_T_GATE, 4);
}

/* Whether quantised keys and values lie at multiples of 4 words, as they do where nothing is between their rows. */
static bool words_aligned(const rapt_problem *p)
{
    return (!p->k_format || role_aligned(p, RAPT_T_K, 4)) && (!p->v_format || role_aligned(p, RAPT_T_V, 4));
}

/* What the operands' kinds and the buffers' declared usages demand. */
static bool operands_accept(const rapt_kernel_row *row, const rapt_problem *p, char *reason, size_t size)
{
    for (uint32_t i = 0; i < row->operand_count; i++) {
        const rapt_kernel_operand *op = &row->operands[i];
        int tensor = rapt_role_tensor((rapt_role)op->role);
        if (tensor < 0 || (tensor == RAPT_T_LSE && !p->lse))
            continue;
        uint32_t usage = op->kind == RAPT_OPERAND_STORAGE ? RAPT_BUFFER_STORAGE : RAPT_BUFFER_UNIFORM_TEXEL;
        if (p->usage[tensor] != 0 && !(p->usage[tensor] & usage))
            REFUSE("needs the %s usage on the buffer of %s, which is not declared",
                   usage == RAPT_BUFFER_STORAGE ? "storage" : "uniform texel", rapt_role_name((rapt_role)op->role));
        uint32_t elements = op->kind == RAPT_OPERAND_TEXEL_WORDS
                                ? rapt_operand_texel_bytes((rapt_operand_kind)op->kind) / RAPT_T_ELEMENT(p, tensor)
                                : rapt_operand_texel_elements((rapt_operand_kind)op->kind);
        if (elements > 1 && !role_aligned(p, tensor, elements))
            REFUSE("needs strides and offset of %s to be multiples of %u elements",
                   rapt_role_name((rapt_role)op->role), elements);
    }
    return true;
}

static uint32_t constant_value(const rapt_kernel_constant *c, const rapt_problem *p, const rapt_choice *choice)
{
    switch ((rapt_constant_source)c->source) {
    case RAPT_CONST_LITERAL:
        return c->value;
    case RAPT_CONST_HEAD_DIM_QK:
        return p->head_dim_qk;
    case RAPT_CONST_HEAD_DIM_V:
        return p->head_dim_v;
    case RAPT_CONST_CAUSAL:
        return p->causal;
    case RAPT_CONST_VARLEN:
        return p->varlen;
    case RAPT_CONST_PARTIAL:
        return choice->splits > 1;
    case RAPT_CONST_GROUP:
        return choice->group;
    case RAPT_CONST_ALIGNED:
        return choice->aligned;
    case RAPT_CONST_NQ_IS_ONE:
        return p->nq == 1;
    case RAPT_CONST_GRID_RANK:
        return p->grid.rank;
    case RAPT_CONST_WHOLE_KEYS:
        if (p->grid.rank > 0)
            return choice->grid.whole && !p->mask_mod && !(p->extras >> RAPT_X_SEGMENTS & 1);
        if (p->causal || p->window || p->varlen || p->paged || p->ragged || p->mask_mod || p->blocks ||
            p->extras >> RAPT_X_SEGMENTS & 1)
            return 0;
        if (p->nk % choice->row->keys_per_tile == 0)
            return 1;
        return p->score_mod ? 0 : 2; /* an app's code is not asked about keys that are not there */
    case RAPT_CONST_WINDOW:
        return p->window;
    case RAPT_CONST_SOFT_CAP:
        return p->soft_cap > 0.0f;
    case RAPT_CONST_LINK:
        return choice->second_pass || !rapt_link_two_passes(p->link) ? p->link : RAPT_LINK_SOFTMAX;
    case RAPT_CONST_EXTRAS:
        return p->extras << RAPT_PARAM_EXTRA_SHIFT | (p->bias ? RAPT_PARAM_BIAS : 0) | (p->blocks ? RAPT_PARAM_BLOCKS : 0) |
               (p->place_width > 0 ? RAPT_PARAM_PLACED : 0) |
               (choice->listed ? RAPT_PARAM_LISTED : 0) | (p->paged ? RAPT_PARAM_PAGED : 0) |
               (p->ragged ? RAPT_PARAM_RAGGED : 0);
    case RAPT_CONST_K_FORMAT:
        return p->k_format;
    case RAPT_CONST_V_FORMAT:
        return p->v_format;
    case RAPT_CONST_MARGIN:
        return choice->margin;
    case RAPT_CONST_DECAY: /* of linear attention: linear.c */
    case RAPT_CONST_LOG_DECAY:
    case RAPT_CONST_BETA:
    case RAPT_CONST_NORMALIZE:
    case RAPT_CONST_PHI:
    case RAPT_CONST_PASS:
    case RAPT_CONST_CHUNK:
    case RAPT_CONST_SUMMARY: /* of routing */
    case RAPT_CONST_SELECT:
    case RAPT_CONST_POOLED:
    case RAPT_CONST_SINGLE_KEYS:
    case RAPT_CONST_PATCH_TILES:
    case RAPT_CONST_PATCH_HEADS:
    case RAPT_CONST_SKIPS:
    case RAPT_CONST_ROWS_KIND: /* of rows by index */
    case RAPT_CONST_WEIGHTED:
    case RAPT_CONST_OUT_FORMAT:
    case RAPT_CONST_NORMED:
    case RAPT_CONST_ROPE:
    case RAPT_CONST_SCAN_OP: /* of scans */
    case RAPT_CONST_SCAN_FLAGS:
    case RAPT_CONST_COEF:
    case RAPT_CONST_STATES:
    case RAPT_CONST_MAP_Q:
    case RAPT_CONST_MAP_K:
    case RAPT_CONST_SCAN_ACT:
        break;
    }
    return 0;
}

/* Key splits: enough workgroups to fill the device, but never few keys each. Depends on one sequence's own
 * shape and the device, never on the batch, unless the caller allows that. `least` 0: only those that are asked for.
 * `tuned`: how many were measured to be best; 0: not known. */
static void choose_splits(const rapt_problem *p, const rapt_caps *caps, uint32_t tuned, uint32_t least,
                          rapt_choice *choice)
{
    const rapt_kernel_row *row = choice->row;
    uint64_t splits = p->key_splits;
    if (splits == 0 && least > 0)
        splits = tuned;
    /* Keys before all windows are left out, in whole tiles; with sinks the first ones are seen. */
    choice->first_key = 0;
    if (!p->varlen && p->sink_tokens == 0)
        choice->first_key = rapt_first_visible_key(p) / row->keys_per_tile * row->keys_per_tile;
    const uint64_t nk = p->nk - choice->first_key;
    if (splits == 0) {
        splits = 1;
        if (least > 0 && !rapt_link_two_passes(p->link) && (row->supports & RAPT_ROW_PARTIAL) && p->bounded_k && p->bounded_q) {
            uint32_t width = caps->compute_units ? caps->compute_units : 16;
            uint64_t want = (uint64_t)width * (caps->device_class == RAPT_CLASS_SOFTWARE ? 2 : 4);
            uint64_t tiles = rapt_div_up(p->nq * choice->group, row->rows_per_tile);
            uint64_t groups = p->heads_out / choice->group * tiles;
            if (p->batch_tuned)
                groups *= p->batch;
            uint64_t least_keys = RAPT_MAX(256u, row->keys_per_tile);
            if (groups != 0 && groups < want)
                splits = RAPT_MAX(1, RAPT_MIN(rapt_div_up(want, groups), nk / least_keys));
            splits = RAPT_MIN(splits, 256);
        }
    }
    splits = RAPT_MAX(splits, least);
    if ((row->supports & RAPT_ROW_PARTIAL) && !rapt_link_two_passes(p->link) && least > 0)
        splits = RAPT_MAX(splits, rapt_div_up(nk, rapt_most_keys(row, p, caps)));
    uint64_t keys = rapt_align_up(rapt_div_up(RAPT_MAX(nk, 1), splits), row->keys_per_tile);
    choice->split_keys = (uint32_t)keys;
    choice->splits = (uint32_t)RAPT_MAX(1, rapt_div_up(nk, keys));
}

/* Turns that a merge takes for each split: it makes a part of four rows at most. */
#define MERGE_TURNS 10u

static bool is_tuned(const rapt_kernel_row *row, const rapt_tuned *tuned)
{
    return tuned != NULL && row->family != RAPT_FAMILY_MERGE && strcmp(tuned->kernel, row->name) == 0;
}

/* Whether the row computes such attention at all, on whatever device. */
static bool forms_accept(const rapt_kernel_row *row, const rapt_problem *p, bool merge, char *reason, size_t size)
{
    if (p->causal && !merge && !(row->supports & RAPT_ROW_CAUSAL))
        REFUSE("has no causal form");
    if (p->window && !merge && !(row->supports & RAPT_ROW_WINDOW))
        REFUSE("has no form for windows");
    if (p->soft_cap > 0.0f && !merge && !(row->supports & RAPT_ROW_SOFT_CAP))
        REFUSE("has no soft cap");
    if (p->link != RAPT_LINK_SOFTMAX && !merge && !(row->supports & RAPT_ROW_LINKS))
        REFUSE("has no link but softmax");
    if (p->extras != 0 && !merge && !(row->supports & RAPT_ROW_EXTRAS))
        REFUSE("has no form for sinks, segments, biases, ALiBi and decay");
    if (p->bias && !merge && !(row->supports & RAPT_ROW_EXTRAS))
        REFUSE("has no form for biases");
    if (p->blocks && !merge && !(row->supports & RAPT_ROW_BLOCKS))
        REFUSE("has no form for block masks");
    const bool quantised = p->k_format || p->v_format;
    if (quantised && !merge && !(row->supports & RAPT_ROW_QUANTISED))
        REFUSE("has no form for quantised keys and values");
    if (p->paged && !merge && !(row->supports & (RAPT_ROW_PAGED | RAPT_ROW_PAGED_TILES)))
        REFUSE("has no form for keys in pages");
    if (p->paged && !merge && !(row->supports & RAPT_ROW_PAGED) && p->page_size % row->keys_per_tile != 0)
        REFUSE("takes pages of a multiple of %u keys, not %u", row->keys_per_tile, p->page_size);
    if (p->ragged && !merge && !(row->supports & (RAPT_ROW_PAGED | RAPT_ROW_PAGED_TILES)))
        REFUSE("has no form for batch entries of different lengths");
    if (p->lengths_usage != 0 && !(p->lengths_usage & RAPT_BUFFER_STORAGE))
        REFUSE("needs the storage usage on the buffer of k_lengths, which is not declared");
    if (p->usage[RAPT_T_GATE] != 0 && !(p->usage[RAPT_T_GATE] & RAPT_BUFFER_STORAGE))
        REFUSE("is followed by a gate, which needs the storage usage on the buffer of gate, which is not declared");
    for (unsigned t = RAPT_T_COL_SUMS; t <= RAPT_T_ROW_MAX; t++)
        if (p->usage[t] != 0 && !(p->usage[t] & RAPT_BUFFER_STORAGE))
            REFUSE("is followed by %s, which needs the storage usage on its buffer, which is not declared",
                   t == RAPT_T_ROW_MAX ? "row_max" : "col_sums");
    for (unsigned i = 0; i < RAPT_X_COUNT; i++)
        if (p->extra[i].usage != 0 && !(p->extra[i].usage & RAPT_BUFFER_STORAGE))
            REFUSE("needs the storage usage on the buffer of %s, which is not declared",
                   rapt_role_name((rapt_role)(RAPT_ROLE_SINKS + i)));
    if (p->score_mod && !merge && !rapt_family_has_score_mod((rapt_family)row->family))
        REFUSE("has no place for a score_mod");
    if (p->mask_mod && !merge && !rapt_family_has_mask_mod((rapt_family)row->family))
        REFUSE("has no place for a mask_mod");
    if (p->grid.rank > 0 && !merge && !(row->supports & RAPT_ROW_GRID))
        REFUSE("has no form for neighbourhoods of a grid");
    if (p->grid.rank == 0 && (row->supports & RAPT_ROW_GRID))
        REFUSE("is for neighbourhoods of a grid");
    if (p->varlen && !(row->supports & RAPT_ROW_VARLEN))
        REFUSE("has no form for packed sequences");
    return true;
}

/* Fills `choice` for this row, or says in `c` why not, and how far it came. */
static bool row_accepts(const rapt_kernel_row *row, const rapt_problem *p, const rapt_caps *caps,
                        const rapt_verdicts *verdicts, const rapt_tuned *tuned, uint32_t least_splits,
                        rapt_choice *choice, rapt_candidate *c)
{
    char *reason = c->reason;
    const size_t size = sizeof c->reason;
    bool merge = row->family == RAPT_FAMILY_MERGE;
    bool forced = !merge && strcmp(p->kernel, row->name) == 0;
    bool meant = forced || is_tuned(row, tuned);
    if (!merge && p->kernel[0] != 0 && !forced)
        REFUSE("another kernel is forced");
    if ((row->supports & RAPT_ROW_BENCH_ONLY) && !meant)
        REFUSE("a yardstick: runs only when forced by name");
    if (row->score[caps->device_class] < 0 && !meant)
        REFUSE("not meant for devices of class %s: runs only when forced by name",
               rapt_class_name(caps->device_class));
    const char *quirk = rapt_quirk(row, caps);
    if (quirk != NULL && !forced)
        REFUSE("%s", quirk);
    c->passed++; /* what somebody has blocked came closer than what nobody would take */
    char blocked[sizeof c->reason - 24];
    if (!forced && verdicts != NULL && verdicts->blocked != NULL &&
        verdicts->blocked(verdicts->user, row, blocked, sizeof blocked))
        REFUSE("is on the block list: %s", blocked);
    c->passed++;
    if (!(row->dtypes >> p->dtype & 1))
        REFUSE("does not store %s", rapt_dtype_name(p->dtype));
    if (!merge && !p->k_format && !p->v_format && (row->supports & RAPT_ROW_QUANTISED))
        REFUSE("is for quantised keys and values");
    c->passed++;
    if (!merge && !dim_accepts("head_dim_qk", p->head_dim_qk, row->head_dim_qk_min, row->head_dim_qk_max,
                               row->head_dim_qk_multiple, reason, size))
        return false;
    if (!dim_accepts("head_dim_v", p->head_dim_v, row->head_dim_v_min, row->head_dim_v_max, row->head_dim_v_multiple,
                     reason, size))
        return false;
    c->passed++;
    if (!forms_accept(row, p, merge, reason, size))
        return false;
    c->passed++;
    if (!rapt_device_accepts(row, caps, reason, size))
        return false;
    c->passed++;
    if (!buffers_fit(row, p, caps, reason, size))
        return false;
    c->passed++;
    if (!operands_accept(row, p, reason, size))
        return false;
    c->passed++;
    memset(choice, 0, sizeof *choice);
    choice->row = row;
    choice->aligned = rapt_problem_aligned(p);
    if (!choice->aligned && !(row->supports & RAPT_ROW_UNALIGNED))
        REFUSE("needs offsets, strides and head dims that are multiples of 4 elements");
    if (!(row->supports & RAPT_ROW_UNALIGNED) && !words_aligned(p))
        REFUSE("needs offsets and strides of quantised rows that are multiples of 4 words");
    if (row->family == RAPT_FAMILY_COOPMAT2 && !(role_aligned(p, RAPT_T_K, 8) && role_aligned(p, RAPT_T_V, 8)))
        REFUSE("needs offsets and strides of k and v that are multiples of 8 elements");
    choice->group = 1;
    choice->listed = (p->blocks || p->mask_tiles) && rapt_family_walks_lists((rapt_family)row->family);
    if (!merge) {
        /* Pack the heads of a group as rows of one tile while the queries are few. */
        const bool biased_by_head = p->extra[RAPT_X_KEY_BIAS].stride_h != 0; /* a workgroup reads those of one head */
        if ((row->supports & RAPT_ROW_GROUP) && !biased_by_head && p->bounded_q && p->nq <= 16 && p->heads_q > p->heads_kv)
            choice->group = (uint32_t)p->group;
        if (row->nq_max != 0 && !p->bounded_q)
            REFUSE("is for short queries: give max_seqlen_q");
        if (row->nq_max != 0 && p->nq * choice->group > row->nq_max && !forced)
            REFUSE("is for at most %llu query rows, not %llu", (unsigned long long)row->nq_max,
                   (unsigned long long)(p->nq * choice->group));
        choose_splits(p, caps, is_tuned(row, tuned) ? tuned->key_splits : 0, least_splits, choice);
        if (choice->splits > 1 && rapt_link_two_passes(p->link))
            REFUSE("cannot split the keys%s with a link of two passes",
                   p->key_splits > 1 ? "" : ", as the device's buffer ranges demand,");
        if (choice->splits > 1 && !(row->supports & RAPT_ROW_PARTIAL))
            REFUSE("cannot split the keys%s", p->key_splits > 1 ? "" : ", which the device's buffer ranges demand");
        if (p->grid.rank > 0)
            rapt_grid_tile(&p->grid, row->rows_per_tile, row->keys_per_tile, &choice->grid);
        if (choice->grid.tile_count > UINT32_MAX / row->rows_per_tile)
            REFUSE("numbers at most 2^32 places of query tiles, and this grid has more");
        const uint64_t keys = p->grid.rank > 0 ? choice->grid.most_key_tiles * row->keys_per_tile : RAPT_MIN(choice->split_keys, p->nk);
        if (keys > rapt_most_keys(row, p, caps) || choice->splits > rapt_most_steps(caps, MERGE_TURNS))
            REFUSE("may take more turns of loops than the %llu after which this driver ends them, without notice",
                   (unsigned long long)rapt_loop_turns(caps));
    } else {
        choice->splits = 2;
    }
    for (uint32_t i = 0; i < row->constant_count; i++)
        choice->constants[i] = constant_value(&row->constants[i], p, choice);
    if (!merge && rapt_problem_form(p) != 0) {
        if (row->constant_count == RAPT_MAX_CONSTANTS)
            REFUSE("has no room for an app's code");
        choice->constants[row->constant_count] = choice->group; /* RAPT_USER_GROUP_ID */
    }
    c->passed++;
    if (verdicts != NULL && verdicts->lookup != NULL) {
        const char *why = NULL;
        rapt_plan_pipeline pipeline = {.row = row};
        memcpy(pipeline.constants, choice->constants, sizeof pipeline.constants);
        if (!merge) {
            pipeline.form = rapt_problem_form(p);
            pipeline.code = p->user_code;
        }
        bool bad = verdicts->lookup(verdicts->user, &pipeline, &why) == RAPT_VERDICT_BAD;
        if (!bad && !merge && rapt_link_two_passes(p->link)) {
            rapt_choice second = *choice;
            rapt_choose_second_pass(p, &second);
            memcpy(pipeline.constants, second.constants, sizeof pipeline.constants);
            bad = verdicts->lookup(verdicts->user, &pipeline, &why) == RAPT_VERDICT_BAD;
        }
        if (bad)
            REFUSE("is refused on this device and driver: %s", why ? why : "its known-answer probe failed");
    }
    return true;
}

/* Judges all rows for which `merge` matches; the best choice, or NULL. */
static bool judge(const rapt_problem *problem, const rapt_caps *caps, const rapt_kernel_table *table,
                  const rapt_verdicts *verdicts, const rapt_tuned *tuned, bool merge, uint32_t least_splits,
                  rapt_candidate *candidates, rapt_choice *best)
{
    int best_index = -1;
    for (uint32_t i = 0; i < table->row_count; i++) {
        const rapt_kernel_row *row = &table->rows[i];
        rapt_candidate *c = &candidates[i];
        if ((row->family == RAPT_FAMILY_MERGE) != merge || row->family == RAPT_FAMILY_PEAK ||
            row->family == RAPT_FAMILY_MAP || row->family == RAPT_FAMILY_ROUTE || row->family == RAPT_FAMILY_STATE ||
            row->family == RAPT_FAMILY_SCAN || c->unfit)
            continue;
        rapt_choice choice;
        *c = (rapt_candidate){.row = row, .score = row->score[caps->device_class]};
        if (!row_accepts(row, problem, caps, verdicts, tuned, least_splits, &choice, c))
            continue;
        bool best_is_tuned = best_index >= 0 && is_tuned(best->row, tuned);
        if (best_index < 0 || is_tuned(row, tuned) || (c->score > candidates[best_index].score && !best_is_tuned)) {
            best_index = (int)i;
            *best = choice;
        }
    }
    if (best_index >= 0)
        candidates[best_index].chosen = true;
    return best_index >= 0;
}

/* The words for a refusal: the forced row's reason, or that of the row which came furthest, of such the best. */
static rapt_status refused(const rapt_problem *p, const rapt_kernel_table *table, const rapt_candidate *candidates,
                           bool merge, rapt_error *error)
{
    const rapt_candidate *best = NULL;
    for (uint32_t i = 0; i < table->row_count; i++) {
        const rapt_candidate *c = &candidates[i];
        if (c->row == NULL || (c->row->family == RAPT_FAMILY_MERGE) != merge || c->row->family == RAPT_FAMILY_MAP ||
            c->row->family == RAPT_FAMILY_ROUTE)
            continue;
        if (!merge && p->kernel[0] != 0) {
            if (strcmp(c->row->name, p->kernel) == 0)
                return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "kernel '%s' cannot run this: it %s", p->kernel,
                                 c->reason);
        } else if (!(c->row->supports & RAPT_ROW_BENCH_ONLY) &&
                   (best == NULL || c->passed > best->passed ||
                    (c->passed == best->passed && c->score > best->score))) {
            best = c;
        }
    }
    if (!merge && p->kernel[0] != 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "no kernel is named '%s' (rapt compile --list names them)",
                         p->kernel);
    if (best == NULL)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "no %s kernel is built in", merge ? "merge" : "attention");
    return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "no %s kernel accepts this; the nearest, '%s', %s",
                     merge ? "merge" : "attention", best->row->name, best->reason);
}

rapt_status rapt_select_row(const rapt_problem *problem, const rapt_caps *caps, const rapt_kernel_table *table,
                            const rapt_verdicts *verdicts, const rapt_tuned *tuned, uint32_t least_splits,
                            rapt_candidate *candidates, rapt_choice *choice, rapt_error *error)
{
    if (!judge(problem, caps, table, verdicts, tuned, false, least_splits, candidates, choice))
        return refused(problem, table, candidates, false, error);
    return RAPT_OK;
}

rapt_status rapt_select_merge(const rapt_problem *problem, const rapt_caps *caps, const rapt_kernel_table *table,
                              const rapt_verdicts *verdicts, rapt_candidate *candidates, rapt_choice *choice,
                              rapt_error *error)
{
    if (!judge(problem, caps, table, verdicts, NULL, true, 1, candidates, choice))
        return refused(problem, table, candidates, true, error);
    return RAPT_OK;
}

rapt_margin rapt_margin_of(const rapt_problem *p, rapt_role role)
{
    return role == RAPT_ROLE_ROW_MAX      ? RAPT_MARGIN_ROW_MAX
           : role != RAPT_ROLE_COL_SUMS ? RAPT_MARGIN_NONE
           : p->col_sums_by_kv            ? RAPT_MARGIN_KV_HEADS
                                          : RAPT_MARGIN_HEADS;
}

/* The row of this role that the device likes best after `last` (NULL: of all); of equals the first of the table. NULL: none is left. */
static const rapt_kernel_row *next_map_row(const rapt_kernel_table *table, const rapt_problem *problem, rapt_role role,
                                           rapt_device_class class, const rapt_kernel_row *last, bool makes_up)
{
    const rapt_family family = role == RAPT_ROLE_EXTRA ? RAPT_FAMILY_ROUTE : RAPT_FAMILY_MAP;
    const bool by_dtype = role == RAPT_ROLE_GATE || role == RAPT_ROLE_SOURCE_Q || rapt_margin_of(problem, role) != RAPT_MARGIN_NONE;
    const rapt_kernel_row *best = NULL;
    for (const rapt_kernel_row *row = table->rows; row < table->rows + table->row_count; row++) {
        const int score = row->score[class];
        if (row->family != family || !has_role(row, role) || (score < 0 && !makes_up) || (by_dtype && !(row->dtypes >> problem->dtype & 1)))
            continue;
        if (last != NULL && (score > last->score[class] || (score == last->score[class] && row <= last)))
            continue;
        if (best == NULL || score > best->score[class])
            best = row;
    }
    return best;
}

rapt_status rapt_select_map(const rapt_problem *problem, const rapt_caps *caps, const rapt_kernel_table *table,
                            const rapt_verdicts *verdicts, rapt_role role, const rapt_choice *main,
                            rapt_candidate *candidates, rapt_plan_pipeline *pipeline, rapt_error *error)
{
    const rapt_family family = role == RAPT_ROLE_EXTRA ? RAPT_FAMILY_ROUTE : RAPT_FAMILY_MAP;
    const bool is_margin = rapt_margin_of(problem, role) != RAPT_MARGIN_NONE;
    const char *reason = "is not built in", *why = NULL;
    bool makes_up = false; /* for a row that is blocked or whose loops would take too long, by one meant for other devices */
    const rapt_kernel_row *row = NULL;
    while ((row = next_map_row(table, problem, role, caps->device_class, row, makes_up)) != NULL) {
        rapt_candidate *c = &candidates[row - table->rows];
        const rapt_choice choice = {.row = row,
                                    .group = 1,
                                    .splits = 1,
                                    .aligned = main->aligned,
                                    .second_pass = is_margin, /* the link that v is weighted by */
                                    .margin = rapt_margin_of(problem, role)};
        *pipeline = (rapt_plan_pipeline){.row = row, .base = row};
        for (uint32_t k = 0; k < row->constant_count; k++)
            pipeline->constants[k] = constant_value(&row->constants[k], problem, &choice);
        if ((family == RAPT_FAMILY_ROUTE || is_margin) && rapt_problem_form(problem) != 0) { /* it asks the mask_mod */
            pipeline->constants[row->constant_count] = is_margin ? 1 : main->group; /* RAPT_USER_GROUP_ID */
            pipeline->form = rapt_problem_form(problem);
            pipeline->code = problem->user_code;
        }
        *c = (rapt_candidate){.row = row, .score = row->score[caps->device_class]};
        char blocked[sizeof c->reason - 24];
        c->chosen = rapt_device_accepts(row, caps, c->reason, sizeof c->reason) &&
                    buffers_fit(row, problem, caps, c->reason, sizeof c->reason);
        if (c->chosen && family == RAPT_FAMILY_ROUTE && !rapt_lists_end(row, problem, caps, main)) {
            c->chosen = false;
            makes_up = true;
            snprintf(c->reason, sizeof c->reason,
                     "may take more turns of loops than the %llu after which this driver ends them, without notice",
                     (unsigned long long)rapt_loop_turns(caps));
        }
        if (c->chosen && verdicts != NULL && verdicts->blocked != NULL &&
            verdicts->blocked(verdicts->user, row, blocked, sizeof blocked)) {
            c->chosen = false;
            makes_up = family == RAPT_FAMILY_ROUTE;
            snprintf(c->reason, sizeof c->reason, "is on the block list: %s", blocked);
        }
        if (c->chosen && verdicts != NULL && verdicts->lookup != NULL &&
            verdicts->lookup(verdicts->user, pipeline, &why) == RAPT_VERDICT_BAD) {
            c->chosen = false;
            snprintf(c->reason, sizeof c->reason, "is refused on this device and driver: %s", why ? why : "it failed");
        }
        if (c->chosen)
            return RAPT_OK;
        reason = c->reason;
    }
    return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "the kernel for %s %s",
                     role == RAPT_ROLE_GATE       ? "gates"
                     : role == RAPT_ROLE_SOURCE_Q ? "QK-norm, rotary positions and low-rank biases"
                     : role == RAPT_ROLE_EXTRA    ? "lists of tiles"
                     : is_margin                  ? "row maxima and column sums"
                                                  : "several of sinks, ALiBi, key biases, segments, block masks and tables of pages",
                     reason);
}

bool rapt_pipeline_accepted(const rapt_plan_pipeline *pipeline, const rapt_caps *caps, const rapt_verdicts *verdicts, rapt_candidate *c)
{
    const rapt_kernel_row *row = pipeline->row;
    char *reason = c->reason, blocked[sizeof c->reason - 24];
    const size_t size = sizeof c->reason;
    const char *why = rapt_quirk(row, caps);
    if (row->score[caps->device_class] < 0)
        REFUSE("not meant for devices of class %s", rapt_class_name(caps->device_class));
    if (why != NULL)
        REFUSE("%s", why);
    if (!rapt_device_accepts(row, caps, reason, size))
        return false;
    if (verdicts != NULL && verdicts->blocked != NULL && verdicts->blocked(verdicts->user, row, blocked, sizeof blocked))
        REFUSE("is on the block list: %s", blocked);
    if (verdicts != NULL && verdicts->lookup != NULL && verdicts->lookup(verdicts->user, pipeline, &why) == RAPT_VERDICT_BAD)
        REFUSE("is refused on this device and driver: %s", why ? why : "its known-answer probe failed");
    return true;
}

void rapt_choose_second_pass(const rapt_problem *problem, rapt_choice *choice)
{
    choice->second_pass = true;
    for (uint32_t i = 0; i < choice->row->constant_count; i++)
        choice->constants[i] = constant_value(&choice->row->constants[i], problem, choice);
}
