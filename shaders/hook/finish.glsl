// Hook "finish": from the running state (m, l, acc) of a row to its output and log-sum-exp, or to a partial result.
// m is in units of log2: weights are exp2(score * log2(e) - m).

#ifndef IS_SECOND_PASS
#define IS_SECOND_PASS false
#endif

// What the accumulator is multiplied by. A row that saw no key has l = 0 and gives 0.
float finish_factor(float l) { return l == 0.0 ? 0.0 : 1.0 / l; }

float finish_lse(float m, float l) { return l == 0.0 ? NEG_INF : (m + log2(l)) * LN2; }

// Four elements d .. d+3 of the normalised output row that starts at element `row_index`; those from head_dim_v on
// do not exist.
void finish_store4(uint row_index, uint d, vec4 x)
{
    if (d < p.head_dim_v)
        store_out4(row_index + d, x, min(p.head_dim_v - d, 4u));
}

// The same of an unnormalised accumulator; partial accumulators are float whatever the dtype.
void partial_store4(uint part, uint d, vec4 x)
{
    uint at = pc.o_base + part * p.part_stride + d;
    if (d < p.head_dim_v) part_acc[at] = x.x;
    if (d + 1u < p.head_dim_v) part_acc[at + 1u] = x.y;
    if (d + 2u < p.head_dim_v) part_acc[at + 2u] = x.z;
    if (d + 3u < p.head_dim_v) part_acc[at + 3u] = x.w;
}

// Either the log-sum-exp (if it is wanted) or the partial (m, l). One invocation of a row calls this.
void finish_store_sums(Walk w, uint head, uint query, float m, float l)
{
    if (IS_PARTIAL) {
        uint at = pc.l_base + part_number(w, head, query) * 2u;
        lse_or_ml[at] = m;
        lse_or_ml[at + 1u] = l;
    } else if (!IS_SECOND_PASS && (p.flags & RAPT_PARAM_LSE) != 0u) {
        lse_or_ml[lse_index(w, head, query)] = finish_lse(m, l);
    }
}
