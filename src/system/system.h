/* What recipes stand on. A recipe is a pure function: it takes inputs and parameters by name and appends
 * steps. */
#ifndef RAPT_SYSTEM_SYSTEM_H
#define RAPT_SYSTEM_SYSTEM_H

#include "base/base.h"
#include <rapt/system.h>

typedef struct rapt_system_builder {
    const rapt_system_info *info;
    const rapt_system_request *request;
    rapt_system_recipe *recipe;
    rapt_error *error;
    rapt_dtype dtype; /* that all inputs share, bounds aside; RAPT_DTYPE_NONE until the first is taken */
} rapt_system_builder;

/* False: the builder's error is filled. */
typedef bool (*rapt_system_fn)(rapt_system_builder *b);

typedef struct rapt_system_row {
    rapt_system_info info;
    rapt_system_fn recipe; /* NULL: planned */
} rapt_system_row;

/* The table that generate.py writes from table/ (all of the files). */
extern const rapt_system_row rapt_system_rows[];
extern const uint32_t rapt_system_row_count;

/* Fails with RAPT_ERROR_INVALID; the message begins with the system's name. */
bool rapt_system_refuse(rapt_system_builder *b, const char *format, ...) RAPT_PRINTF(2, 3);

/* A view being handed on: which tensor, from which byte on, and the axes as the engine wants them. */
typedef struct rapt_system_view {
    rapt_system_operand at;
    rapt_tensor tensor;
} rapt_system_view;

/* The input of this name and rank, of a float type. The same input may be taken twice. */
bool rapt_system_in(rapt_system_builder *b, const char *name, uint32_t rank, rapt_system_view *view);
/* A float32 input of this name and rank, whatever type the others have; want: its sizes. */
bool rapt_system_in_f32(rapt_system_builder *b, const char *name, uint32_t rank, const uint64_t *want,
                        rapt_system_view *view);
/* The same of int32; its entries may be anything. */
bool rapt_system_in_i32(rapt_system_builder *b, const char *name, uint32_t rank, const uint64_t *want,
                        rapt_system_view *view);
/* An input of float32 or int32 of any rank, without gaps. */
bool rapt_system_in_numbers(rapt_system_builder *b, const char *name, rapt_system_view *view);
/* As rapt_system_in, of these sizes. Here and above, 0 stands for an axis of any size. */
bool rapt_system_in_sized(rapt_system_builder *b, const char *name, uint32_t rank, const uint64_t *want,
                          rapt_system_view *view);
/* Whether an input is there: those that may be absent. */
bool rapt_system_given(const rapt_system_builder *b, const char *name);
/* The int32 input of this name, whose entries rise from 0 to `end`; its number of entries. */
bool rapt_system_bounds(rapt_system_builder *b, const char *name, uint64_t end, rapt_system_operand *at,
                        uint64_t *count);
/* A contiguous new tensor. shape: of `rank` axes. */
bool rapt_system_new(rapt_system_builder *b, rapt_system_role role, const char *name, rapt_dtype dtype,
                     uint32_t rank, const uint64_t *shape, rapt_system_view *view);
/* Whether an optional output is wanted. */
bool rapt_system_wants(const rapt_system_builder *b, const char *name);

/* `count` entries of an axis, from `first` on. */
rapt_system_view rapt_system_part(rapt_system_view view, unsigned axis, uint64_t first, uint64_t count);
/* Every step-th entry of an axis, from `first` on. */
rapt_system_view rapt_system_every(rapt_system_view view, unsigned axis, uint64_t first, uint64_t step);
/* Rank 4 from other axes: axis n of the result is axes[n] of the view, or -1: a new one of size 1. */
rapt_system_view rapt_system_axes(rapt_system_view view, const int axes[4]);
/* The same of another rank, at most 4. */
rapt_system_view rapt_system_ranked(rapt_system_view view, uint32_t rank, const int axes[4]);
/* An axis cut in two, the second `inner` long, of a view of at most 3 axes: (.., a, ..) as (.., a / inner, inner, ..). */
rapt_system_view rapt_system_split(rapt_system_view view, unsigned axis, uint64_t inner);

/* Parameters: what the request says, else the row's default; where the row has no such parameter, *out stays.
 */
bool rapt_system_integer(rapt_system_builder *b, const char *name, int64_t low, int64_t high, int64_t *out);
bool rapt_system_list(rapt_system_builder *b, const char *name, int64_t high, int64_t *out, uint32_t capacity,
                      uint32_t *count); /* 0 to `high` each, rising */
bool rapt_system_sizes(rapt_system_builder *b, const char *name, int64_t high, uint32_t *out, uint32_t capacity,
                       uint32_t *count); /* 1 to `high` each */

bool rapt_system_number(rapt_system_builder *b, const char *name, float *out);
bool rapt_system_numbers(rapt_system_builder *b, const char *name, float *out, uint32_t capacity, uint32_t *count);
/* As it stands; "" where it must be given and is not. */
const char *rapt_system_text(rapt_system_builder *b, const char *name);

/* Parameters that many systems share, into a descriptor: causal (0 or 1), scale ("1/sqrt(d)" or a number),
 * key_splits. */
bool rapt_system_common(rapt_system_builder *b, rapt_attention_desc *d);
/* Appends a step and returns it for what is particular; NULL when there is no room. `lse` may be NULL. */
rapt_system_step *rapt_system_step_add(rapt_system_builder *b, const char *what,
                                       const rapt_attention_desc *base, rapt_system_view q,
                                       rapt_system_view k, rapt_system_view v, rapt_system_view out,
                                       const rapt_system_view *lse);
/* The same of linear attention; its operands are absent until they are filled in. */
rapt_system_step *rapt_system_linear_step_add(rapt_system_builder *b, const char *what, const rapt_linear_desc *base);
rapt_system_step *rapt_system_route_step_add(rapt_system_builder *b, const char *what, const rapt_route_desc *base);
rapt_system_step *rapt_system_rows_step_add(rapt_system_builder *b, const char *what, rapt_rows_kind kind, rapt_system_view x,
                                            rapt_system_view list, rapt_system_view out);
/* A sum of up to RAPT_COMBINE_TERMS tensors of rank 4, each times a number, and times the numbers of `weight` (rank 3) where it is
 * not NULL. */
typedef struct rapt_system_term {
    rapt_system_view x;
    float factor;
    const rapt_system_view *weight;
} rapt_system_term;
rapt_system_step *rapt_system_combine_step_add(rapt_system_builder *b, const char *what, rapt_system_view out,
                                               const rapt_system_term *terms, uint32_t count);
/* A scan of x; its other operands are absent until rapt_system_give gives them. */
rapt_system_step *rapt_system_scan_step_add(rapt_system_builder *b, const char *what, const rapt_scan_desc *base,
                                            rapt_system_view x, rapt_system_view out);
static inline void rapt_system_give(rapt_tensor *tensor, rapt_system_operand *at, const rapt_system_view *view)
{
    *tensor = view->tensor;
    *at = view->at;
}
/* A memory that learns from k and v and is read by q; rates and states are absent until rapt_system_give gives them. */
rapt_system_step *rapt_system_memory_step_add(rapt_system_builder *b, const char *what, const rapt_memory_desc *base, rapt_system_view q,
                                              rapt_system_view k, rapt_system_view v, rapt_system_view out);
/* Batch and heads of a view of rank 4 as one axis: of what lies evenly, else of a copy of this name, which a step makes. */
bool rapt_system_merge(rapt_system_builder *b, const char *name, rapt_system_view *view);
/* ---- small sums, in arithmetic.c. Lines are float32 numbers of rows, (batch, heads, n, 1). */

/* A new contiguous tensor between steps. */
static inline bool rapt_system_between(rapt_system_builder *b, const char *name, rapt_dtype dtype, uint32_t rank,
                                       const uint64_t *shape, rapt_system_view *view)
{
    return rapt_system_new(b, RAPT_SYSTEM_BETWEEN, name, dtype, rank, shape, view);
}
/* to = x y^T: every row of x with every row of y, in single precision. */
bool rapt_system_row_products(rapt_system_builder *b, const char *what, rapt_system_view x, rapt_system_view y, rapt_system_view to);
/* to = x, of rank 4, in single precision. */
bool rapt_system_widen(rapt_system_builder *b, rapt_system_view x, rapt_system_view to);
/* `x`, of rank 4, in single precision: itself, or a copy of this name that a step makes. */
bool rapt_system_single(rapt_system_builder *b, const char *name, rapt_system_view x, rapt_system_view *to);
/* A copy in any case, without gaps. */
bool rapt_system_single_copy(rapt_system_builder *b, const char *name, rapt_system_view x, rapt_system_view *to);
/* out = act(factor x + offset). */
bool rapt_system_map(rapt_system_builder *b, const char *what, rapt_system_view out, rapt_system_view x, float factor, float offset,
                     rapt_combine_act act);
/* out = act(factor * line * x), each row of x times its number. */
bool rapt_system_weigh(rapt_system_builder *b, const char *what, rapt_system_view out, rapt_system_view x, rapt_system_view line,
                       float factor, rapt_combine_act act);
/* Every number of a line is `value`; any: what is read, and of no account. */
bool rapt_system_fill(rapt_system_builder *b, const char *what, rapt_system_view line, rapt_system_view any, float value);
/* (1, 1, count, count): 1 on the diagonal, else 0. one: of which the first number is finite. */
bool rapt_system_identity(rapt_system_builder *b, rapt_system_view one, uint64_t count, rapt_system_view *to);
/* A line as the weights of a term. */
rapt_system_view rapt_system_weights(rapt_system_view line);
/* `count` lines for (batch, heads, n), in one tensor: line l is rapt_system_line(lines, l). */
bool rapt_system_lines(rapt_system_builder *b, const char *name, uint64_t count, const uint64_t rows[3], rapt_system_view *lines);
rapt_system_view rapt_system_line(rapt_system_view lines, uint64_t line);
/* The operands of a step of linear attention. */
void rapt_system_linear_give(rapt_system_step *s, rapt_system_view q, rapt_system_view k, rapt_system_view v, rapt_system_view out);

/* q, k and v of rank 4, out and, if wanted, lse: what most systems have. Checks the shapes against each
 * other. */
typedef struct rapt_system_qkv {
    rapt_system_view q, k, v, out, lse;
    bool has_lse;
} rapt_system_qkv;
bool rapt_system_qkv_take(rapt_system_builder *b, rapt_system_qkv *t);

/* The recipes, one file per family. */
bool rapt_system_dense(rapt_system_builder *b);
bool rapt_system_mqa(rapt_system_builder *b);
bool rapt_system_gqa(rapt_system_builder *b);
bool rapt_system_packed(rapt_system_builder *b);
bool rapt_system_queries_behind(rapt_system_builder *b);
bool rapt_system_shared_kv(rapt_system_builder *b);
bool rapt_system_depth(rapt_system_builder *b);
bool rapt_system_local(rapt_system_builder *b);
bool rapt_system_causal_window(rapt_system_builder *b);
bool rapt_system_streaming(rapt_system_builder *b);
bool rapt_system_capped(rapt_system_builder *b);
bool rapt_system_duo(rapt_system_builder *b);
bool rapt_system_blocks(rapt_system_builder *b);
bool rapt_system_latent(rapt_system_builder *b);
bool rapt_system_signed(rapt_system_builder *b);
bool rapt_system_low_rank(rapt_system_builder *b);
bool rapt_system_gated(rapt_system_builder *b);
bool rapt_system_quantizable(rapt_system_builder *b);
bool rapt_system_lightning(rapt_system_builder *b);
bool rapt_system_gla(rapt_system_builder *b);
bool rapt_system_delta(rapt_system_builder *b);
bool rapt_system_gated_delta(rapt_system_builder *b);
bool rapt_system_outer_products(rapt_system_builder *b);
bool rapt_system_linear_transformer(rapt_system_builder *b);
bool rapt_system_fastmax(rapt_system_builder *b);
bool rapt_system_lognormal(rapt_system_builder *b);
bool rapt_system_efficient(rapt_system_builder *b);
bool rapt_system_based(rapt_system_builder *b);
bool rapt_system_decayed_hybrid(rapt_system_builder *b);
bool rapt_system_rwkv7(rapt_system_builder *b);
bool rapt_system_transnormer(rapt_system_builder *b);
bool rapt_system_kimi(rapt_system_builder *b);
bool rapt_system_ssd(rapt_system_builder *b);
bool rapt_system_neighborhood(rapt_system_builder *b);
bool rapt_system_s2(rapt_system_builder *b);
bool rapt_system_radial(rapt_system_builder *b);
bool rapt_system_moba(rapt_system_builder *b);
bool rapt_system_cached_outside(rapt_system_builder *b);
bool rapt_system_landmarks(rapt_system_builder *b);
bool rapt_system_aaren(rapt_system_builder *b);
bool rapt_system_min_gru(rapt_system_builder *b);
bool rapt_system_mamba(rapt_system_builder *b);
bool rapt_system_s4d(rapt_system_builder *b);
bool rapt_system_hymba(rapt_system_builder *b);
bool rapt_system_rat(rapt_system_builder *b);
bool rapt_system_jet_block(rapt_system_builder *b);
bool rapt_system_hyena(rapt_system_builder *b);
bool rapt_system_conf_hyena(rapt_system_builder *b);
bool rapt_system_selective_hybrid(rapt_system_builder *b);
bool rapt_system_gated_memory(rapt_system_builder *b);
bool rapt_system_mega(rapt_system_builder *b);
bool rapt_system_moving_average(rapt_system_builder *b); /* Mega's */
bool rapt_system_seqboat(rapt_system_builder *b);
bool rapt_system_dual(rapt_system_builder *b);
bool rapt_system_two_ways(rapt_system_builder *b);
bool rapt_system_cross_scan(rapt_system_builder *b);
bool rapt_system_local_and_scan(rapt_system_builder *b);
bool rapt_system_flatten(rapt_system_builder *b);
bool rapt_system_gated_convolution(rapt_system_builder *b);
bool rapt_system_area(rapt_system_builder *b);
bool rapt_system_agent(rapt_system_builder *b);
bool rapt_system_pooled_keys(rapt_system_builder *b);
bool rapt_system_top_keys(rapt_system_builder *b);
bool rapt_system_kept_keys(rapt_system_builder *b);
bool rapt_system_key_importance(rapt_system_builder *b);
bool rapt_system_expert_choice(rapt_system_builder *b);
bool rapt_system_clusters(rapt_system_builder *b);
bool rapt_system_layers(rapt_system_builder *b);
bool rapt_system_layers_by_head(rapt_system_builder *b);
bool rapt_system_spans(rapt_system_builder *b);
bool rapt_system_rotary_window(rapt_system_builder *b);
bool rapt_system_rotary_passes(rapt_system_builder *b);
bool rapt_system_longformer(rapt_system_builder *b);
bool rapt_system_differential(rapt_system_builder *b);
bool rapt_system_moh(rapt_system_builder *b);
bool rapt_system_expert_heads(rapt_system_builder *b);
bool rapt_system_soft_experts(rapt_system_builder *b);
bool rapt_system_two_sources(rapt_system_builder *b);
bool rapt_system_towards_identity(rapt_system_builder *b);
bool rapt_system_directions(rapt_system_builder *b);
bool rapt_system_embedded_heads(rapt_system_builder *b);
bool rapt_system_forward_cross(rapt_system_builder *b);
bool rapt_system_slices(rapt_system_builder *b);
bool rapt_system_flex(rapt_system_builder *b);
bool rapt_system_phases(rapt_system_builder *b);
bool rapt_system_convolved_relative(rapt_system_builder *b);
bool rapt_system_multi_token(rapt_system_builder *b);
bool rapt_system_inward_windows(rapt_system_builder *b);
bool rapt_system_target_and_search(rapt_system_builder *b);
bool rapt_system_pre_mixing(rapt_system_builder *b);
bool rapt_system_luong(rapt_system_builder *b);
bool rapt_system_by_layer(rapt_system_builder *b);
bool rapt_system_windows_or_all(rapt_system_builder *b);
bool rapt_system_relations(rapt_system_builder *b);
bool rapt_system_chunk_memory(rapt_system_builder *b);
bool rapt_system_affine_scaled(rapt_system_builder *b);
bool rapt_system_regions(rapt_system_builder *b);
bool rapt_system_large_kernel(rapt_system_builder *b);
bool rapt_system_channel_gates(rapt_system_builder *b);
bool rapt_system_conditions(rapt_system_builder *b);
bool rapt_system_circles(rapt_system_builder *b);
bool rapt_system_windows(rapt_system_builder *b);
bool rapt_system_inter_frame(rapt_system_builder *b);
bool rapt_system_halo(rapt_system_builder *b);
bool rapt_system_hidden_scores(rapt_system_builder *b);
bool rapt_system_redistributed(rapt_system_builder *b);
bool rapt_system_skipped(rapt_system_builder *b);
bool rapt_system_combiner(rapt_system_builder *b);
bool rapt_system_replaced(rapt_system_builder *b);
bool rapt_system_weighed_heads(rapt_system_builder *b);
bool rapt_system_flow(rapt_system_builder *b);
bool rapt_system_slots(rapt_system_builder *b);
bool rapt_system_log_linear(rapt_system_builder *b);
bool rapt_system_surgery(rapt_system_builder *b);
bool rapt_system_two_kinds_of_chunks(rapt_system_builder *b);
bool rapt_system_feedback(rapt_system_builder *b);
bool rapt_system_state_heads(rapt_system_builder *b);
bool rapt_system_jump_search(rapt_system_builder *b);
bool rapt_system_lengths(rapt_system_builder *b);
bool rapt_system_sparse_and_lightning(rapt_system_builder *b);
bool rapt_system_pyramid(rapt_system_builder *b);
bool rapt_system_ranked_keys(rapt_system_builder *b);
bool rapt_system_held_keys(rapt_system_builder *b);
bool rapt_system_length_scaled_chunks(rapt_system_builder *b);
bool rapt_system_halving(rapt_system_builder *b);
bool rapt_system_frames_then_blocks(rapt_system_builder *b);
bool rapt_system_pages_or_stream(rapt_system_builder *b);
bool rapt_system_triplet(rapt_system_builder *b);
bool rapt_system_channels_then_places(rapt_system_builder *b);
bool rapt_system_both_ways(rapt_system_builder *b);
bool rapt_system_skim(rapt_system_builder *b);
bool rapt_system_normed_decay(rapt_system_builder *b);
bool rapt_system_splits(rapt_system_builder *b);
bool rapt_system_pointer(rapt_system_builder *b);
bool rapt_system_sink_groups(rapt_system_builder *b);
bool rapt_system_learners(rapt_system_builder *b);
bool rapt_system_gated_reading(rapt_system_builder *b);
bool rapt_system_ring(rapt_system_builder *b);
bool rapt_system_offloaded(rapt_system_builder *b);
bool rapt_system_heads_and_chunks(rapt_system_builder *b);
bool rapt_system_disaggregated(rapt_system_builder *b);
bool rapt_system_gathered_states(rapt_system_builder *b);
bool rapt_system_titans(rapt_system_builder *b);
bool rapt_system_gecko(rapt_system_builder *b);

#endif
