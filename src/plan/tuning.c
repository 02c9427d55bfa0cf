/* What a tuned choice holds for. The key is all that a choice may depend on, and nothing of the batch unless
 * the caller allows it: else a row's bits would depend on what is around it. */
#include "plan/linear.h"

#include <string.h>

/* What rows are accepted by; a mask lowers it. */
static rapt_hash add_caps(rapt_hash hash, const rapt_caps *caps)
{
    const uint64_t words[] = {caps->features, caps->subgroup_size, caps->subgroup_size_min, caps->subgroup_size_max,
                              caps->max_shared_bytes, caps->max_invocations, caps->max_group_size[0], caps->max_storage_buffers,
                              caps->max_push_bytes, caps->max_storage_range, caps->max_texel_elements, caps->coopmat_count};
    return rapt_hash_bytes(hash, words, sizeof words);
}

bool rapt_tuning_key(const rapt_problem *p, const rapt_caps *caps, rapt_hash *key)
{
    /* The lengths are the batch's own where no bound is given. */
    if (!rapt_problem_is_tunable(p)) /* no proof of results knows the rest */
        return false;
    if (p->empty || (!p->batch_tuned && !(p->bounded_q && p->bounded_k)))
        return false;
    const uint64_t words[] = {
        p->dtype, p->head_dim_qk, p->head_dim_v, p->heads_q, p->heads_kv, p->nq, p->nk, p->causal,
        (uint64_t)(int64_t)p->causal_offset, p->window, (uint64_t)(int64_t)p->window_left,
        (uint64_t)(int64_t)p->window_right, p->sink_tokens, p->soft_cap > 0.0f, p->varlen, rapt_problem_aligned(p), p->key_splits,
        p->batch_tuned, p->batch_tuned ? p->batch : 0, p->batch_tuned ? p->total_q : 0,
        p->batch_tuned ? p->total_k : 0, p->batch_tuned ? p->bounded_q : 0, p->batch_tuned ? p->bounded_k : 0};
    *key = add_caps(rapt_hash_bytes(RAPT_HASH_INIT, words, sizeof words), caps);
    if (p->grid.rank > 0)
        *key = rapt_hash_bytes(*key, &p->grid, sizeof p->grid);
    const uint64_t cache[] = {p->k_format, p->v_format, p->paged, p->page_size, p->ragged, p->extras, p->place_width};
    if (p->k_format || p->v_format || p->paged || p->ragged || p->extras)
        *key = rapt_hash_bytes(*key, cache, sizeof cache);
    return true;
}

void rapt_tuning_label(const rapt_problem *p, char *out, size_t capacity)
{
    rapt_text t = rapt_text_over(out, capacity);
    rapt_text_add(&t, "%s, heads %llu:%llu, nq %llu, nk %llu, head_dim %u", rapt_dtype_name(p->dtype),
                  (unsigned long long)p->heads_q, (unsigned long long)p->heads_kv, (unsigned long long)p->nq,
                  (unsigned long long)p->nk, p->head_dim_qk);
    if (p->head_dim_v != p->head_dim_qk)
        rapt_text_add(&t, "/%u", p->head_dim_v);
    if (p->causal)
        rapt_text_add(&t, ", causal%+d", p->causal_offset);
    if (p->window)
        rapt_text_add(&t, ", window %d,%d after %u sink tokens", p->window_left, p->window_right, p->sink_tokens);
    if (p->grid.rank > 0)
        rapt_grid_describe(&p->grid, false, &t);
    if (p->soft_cap > 0.0f)
        rapt_text_add(&t, ", soft cap");
    if (p->paged)
        rapt_text_add(&t, ", pages of %u", p->page_size);
    if (p->k_format || p->v_format)
        rapt_text_add(&t, ", %s keys, %s values", rapt_dtype_name(rapt_problem_dtype(p, RAPT_T_K)), rapt_dtype_name(rapt_problem_dtype(p, RAPT_T_V)));
    rapt_text_add(&t, "%s%s%s", p->ragged ? ", ragged" : "", p->extras >> RAPT_X_SINKS & 1 ? ", sinks" : "",
                  p->extras >> RAPT_X_ALIBI & 1 ? ", ALiBi" : "");
    rapt_text_add(&t, "%s%s", p->varlen ? ", packed" : "", rapt_problem_aligned(p) ? "" : ", unaligned");
    if (p->key_splits)
        rapt_text_add(&t, ", %u key splits asked for", p->key_splits);
    if (p->batch_tuned)
        rapt_text_add(&t, ", batch %llu alone", (unsigned long long)p->batch);
}

bool rapt_linear_tuning_key(const rapt_linear_problem *p, const rapt_caps *caps, rapt_hash *key)
{
    if (p->empty || p->varlen || p->mapped || p->bidirectional || p->position_count != 0)
        return false;
    static const char operator_name[] = "linear";
    const uint64_t words[] = {p->dtype, p->d_k, p->d_v, p->heads, p->tokens, p->rule, p->feature, p->decay, p->log_decay, p->beta,
                              p->normalize, p->in_place, rapt_linear_is_aligned(p), p->workspace_limit};
    *key = add_caps(rapt_hash_bytes(rapt_hash_bytes(RAPT_HASH_INIT, operator_name, sizeof operator_name), words, sizeof words), caps);
    for (int i = 0; i < RAPT_L_COUNT; i++) {
        const uint64_t tensor[] = {p->tensor[i].present, p->tensor[i].heads};
        *key = rapt_hash_bytes(*key, tensor, sizeof tensor);
    }
    return true;
}

void rapt_linear_tuning_label(const rapt_linear_problem *p, char *out, size_t capacity)
{
    static const char *const decays[] = {"no decay", "fixed decay", "decay per token", "decay per channel"};
    rapt_text t = rapt_text_over(out, capacity);
    rapt_text_add(&t, "linear %s, rule %s, %s, heads %llu, tokens %llu, d_k %u, d_v %u", rapt_dtype_name(p->dtype),
                  rapt_linear_rule_name((rapt_linear_rule)p->rule), decays[p->decay], (unsigned long long)p->heads,
                  (unsigned long long)p->tokens, p->d_k, p->d_v);
    if (p->feature != RAPT_PHI_IDENTITY)
        rapt_text_add(&t, ", feature %s", rapt_phi_name((rapt_phi)p->feature));
    rapt_text_add(&t, "%s%s%s%s", p->beta ? ", beta" : "", p->normalize ? ", normalised" : "", p->in_place ? ", in place" : "",
                  rapt_linear_is_aligned(p) ? "" : ", unaligned");
}
