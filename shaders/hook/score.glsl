// Hook "score": from scale * log2(e) * q.k to the logit, in the same units. A kernel may define IS_SOFT_CAP (a constant, a
// specialization constant); else it is read from the parameters.
#ifndef IS_SOFT_CAP
#define IS_SOFT_CAP ((p.flags & RAPT_PARAM_SOFT_CAP) != 0u)
#endif
// Whether scores are anything but scaled dot products, or weights anything but their exponentials.
#if defined(USER_CODE) && USER_SCORE // see hook/user.glsl
#define IS_SCORED true
#else
#define IS_SCORED (IS_SOFT_CAP ? true : IS_BIASED ? true : IS_SHAPED) // (not ||: see walk.glsl)
#endif

// To single precision (relative error 2e-7): 1 - 2 / (exp(2 x) + 1) alone would lose small ones, so below 0.6 it is an odd
// polynomial, fitted to minimal relative error there.
float tanh_exact(float x)
{
    float y = x * x;
    float small = fma(fma(fma(fma(-0.005905863, y, 0.02080538), y, -0.053786684), y, 0.13331959), y, -0.333333);
    float large = 1.0 - 2.0 / (exp2(abs(x) * 2.885390081777927) + 1.0);
    return abs(x) < 0.6 ? fma(x * y, small, x) : (x < 0.0 ? -large : large);
}

float score_hook(float score)
{
    if (IS_SOFT_CAP)
        score = p.soft_cap * tanh_exact(score * p.soft_cap_inverse);
    return score;
}

// What the biases of a row depend on.
struct RowBias {
    uint place;       // the query's key position; may have wrapped around
    float slope;      // of ALiBi, in units of log2
    uint key_bias_at; // where the biases of the row's keys begin
    uint bias_at;     // and the row of the dense bias
};

RowBias row_bias(Walk w, uint head, uint query)
{
    uint head_q = head * p.heads_q / p.heads_out;
    RowBias b = RowBias(query + uint(w.diagonal) - 1u, 0.0, 0u, 0u);
    if (IS_ALIBI)
        b.slope = EXTRA_NUMBER(pc.x_base + p.x_alibi + head_q * p.x_alibi_stride_h) * LOG2_E;
    if (IS_KEY_BIAS)
        b.key_bias_at = pc.x_base + p.x_key_bias + batch_or_zero(w) * p.x_key_bias_stride_b +
                        head_q * p.x_key_bias_stride_h + w.k_first;
    if (IS_BIAS)
        b.bias_at = pc.cq_base + w.batch * p.bias_stride_b + head_q * p.bias_stride_h + query * p.bias_stride_q;
    return b;
}

// The logit of a key that exists. -inf: the key is to have no weight.
float score_bias(float score, RowBias b, uint key)
{
    if (IS_BIAS)
        score += DENSE_BIAS(b.bias_at + key) * LOG2_E;
    if (IS_KEY_BIAS)
        score += EXTRA_NUMBER(b.key_bias_at + key) * LOG2_E;
    if (IS_ALIBI)
        score -= b.slope * float(abs(int(b.place - key)));
    return score;
}
