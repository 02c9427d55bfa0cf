// Hook "link": from logits, in units of log2, to weights.
//
// Softmax and its kin keep a running maximum m and a sum l of weights exp2(logit - m). Links without a denominator
// (IS_ADDITIVE) leave m at 0 and l at 1, in the first split: partial results then simply add up in the merge, and the
// output is the accumulator itself. The clipped
// and the affine link are such ones, whose second pass finds softmax's log-sum-exp in m. A kernel may define LINK (a specialization constant); else it is read from the parameters.
#ifndef LINK
#define LINK (p.flags >> RAPT_PARAM_LINK_SHIFT & RAPT_PARAM_LINK_MASK)
#endif
#define IS_OFFBYONE (LINK == RAPT_PARAM_LINK_OFFBYONE)
#define IS_SIGNED (LINK == RAPT_PARAM_LINK_SIGNED)
#define IS_SECOND_PASS (LINK >= RAPT_PARAM_LINK_CLIPPED)
#define IS_ADDITIVE (LINK >= RAPT_PARAM_LINK_SIGMOID)
#define IS_SHAPED (LINK >= RAPT_PARAM_LINK_SIGNED) // weights are not exp2(logit - m)

// The m and l that a row begins with. A sink is a key without a value, seen by the first split alone.
float start_maximum(Walk w, uint head, uint query)
{
    if (IS_SECOND_PASS) // m is the log-sum-exp that the first pass left
        return max(lse_or_ml[lse_index(w, head, query)] * LOG2_E, MAXIMUM_START);
    if (IS_ADDITIVE)
        return 0.0;
    float maximum = MAXIMUM_START;
    if (IS_OFFBYONE)
        maximum = w.split == 0u ? 0.0 : MAXIMUM_START;
    if (IS_SINKS) {
        uint sink = head * p.x_sinks_heads / p.heads_out;
        float logit = EXTRA_NUMBER(pc.x_base + p.x_sinks + sink * p.x_sinks_stride_h) * LOG2_E;
        maximum = w.split == 0u ? max(logit, MAXIMUM_START) : MAXIMUM_START;
    }
    return maximum;
}
float start_sum(Walk w, float maximum)
{
    if (IS_SECOND_PASS)
        return 1.0;
    return w.split == 0u && maximum > MAXIMUM_START ? 1.0 : 0.0;
}

// To single precision (absolute error 1.4e-7): polynomials fitted below 1, and of log2(1 - erf) up to 4.
float erf_exact(float x)
{
    float a = min(abs(x), 4.0), y = a * a;
    float low = 7.93335057e-05;
    low = fma(low, y, -0.000803480507);
    low = fma(low, y, 0.00519121392);
    low = fma(low, y, -0.026855398);
    low = fma(low, y, 0.112836257);
    low = fma(low, y, -0.376126289);
    low = fma(low, y, 1.12837923);
    float high = 0.000226906763;
    high = fma(high, a, -0.00382900168);
    high = fma(high, a, 0.0297690984);
    high = fma(high, a, -0.145046115);
    high = fma(high, a, -0.924992204);
    high = fma(high, a, -1.62339091);
    high = fma(high, a, -0.00115449948);
    float e = a < 1.0 ? low * a : 1.0 - exp2(high);
    return x < 0.0 ? -e : e;
}

// The weight of a logit, with IS_ADDITIVE.
float link_weight(float logit, float m)
{
    if (IS_SECOND_PASS) {
        float weight = p.link_range * exp2(logit - m) + p.link_offset;
        return LINK == RAPT_PARAM_LINK_CLIPPED ? clamp(weight, 0.0, 1.0) : weight;
    }
    float s = logit * LN2;
    if (LINK == RAPT_PARAM_LINK_SIGMOID)
        return 1.0 / (1.0 + exp2(-logit));
    if (LINK == RAPT_PARAM_LINK_LAPLACE) // (s - sqrt(1/2)) / sqrt(2 / (4 pi))
        return 0.5 + 0.5 * erf_exact((s - 0.70710678118654752) * 2.50662827463100050);
    if (LINK == RAPT_PARAM_LINK_RELU)
        return max(s, 0.0);
    return s;
}
