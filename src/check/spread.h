/* Attention over tensors that lie in shares on several ranks: each rank makes its own from numbers that all know, and any row of the whole can be
 * computed from the definition, in double precision, without the tensors. */
#ifndef RAPT_CHECK_SPREAD_H
#define RAPT_CHECK_SPREAD_H

#include <stdbool.h>
#include <stdint.h>

/* The whole: out of attention is (batch, q_heads, queries, d_v); of linear attention q_heads = kv_heads and queries = keys. */
typedef struct rapt_check_spread {
    uint64_t batch, q_heads, kv_heads, queries, keys, d_qk, d_v;
    bool causal; /* queries are the last tokens; of linear attention always */
} rapt_check_spread;

enum { RAPT_CHECK_SPREAD_Q, RAPT_CHECK_SPREAD_K, RAPT_CHECK_SPREAD_V };

/* Tokens map[0 .. n) of each line (batch and head) of a tensor, from -1 to 1, one line behind the other; to be freed. NULL: no memory. */
float *rapt_check_spread_share(const rapt_check_spread *s, int tensor, const uint64_t *map, uint64_t n);
/* softmax(q k^T / sqrt(d_qk)) v of one query: d_v numbers, and the log-sum-exp. false: no memory. */
bool rapt_check_spread_attention(const rapt_check_spread *s, uint64_t batch, uint64_t head, uint64_t query, double *out, double *lse);
/* sum over t <= query of (q k_t) v_t, and of the sizes of its terms. */
void rapt_check_spread_linear(const rapt_check_spread *s, uint64_t batch, uint64_t head, uint64_t query, double *out, double *size);
/* What float32 may lose of sums over the keys of products over d_qk: each addition rounds by 2^-24 of a sum whose terms' sizes add up to 1 or so
 * (of linear attention: to `size`), as scores of such numbers and averages of values do. */
double rapt_check_spread_bound(const rapt_check_spread *s);

#endif
