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

// Where a key position lies: row and column of a grid of place_width columns; without one all lie in row 0, some maybe before
// column 0.
ivec2 place_of(uint position)
{
    uint row = IS_PLACED ? position / p.place_width : 0u;
    return ivec2(row, position - row * p.place_width);
}

// To single precision (relative error 2e-7) also near 1, where drivers' log2 need not be. x > 0.
float log2_exact(float x)
{
    uint bits = floatBitsToUint(x);
    float mantissa = uintBitsToFloat((bits & 0x7fffffu) | 0x3f800000u);
    bool high = mantissa > 1.41421356;
    float exponent = float(int(bits >> 23) - (high ? 126 : 127));
    mantissa = high ? mantissa * 0.5 : mantissa;
    float t = (mantissa - 1.0) / (mantissa + 1.0), y = t * t; // 2 artanh(t)
    return exponent + t * fma(fma(fma(fma(0.320598898, y, 0.412198583), y, 0.577078016), y, 0.961796694), y, 2.88539008);
}

// What the biases of a row depend on, and how its weights decay.
struct RowBias {
    uint place;       // the query's key position; may have wrapped around
    float slope;      // of ALiBi, in units of log2
    uint key_bias_at; // where the biases of the row's keys begin
    uint bias_at;     // and the row of the dense bias
    ivec2 at;         // where the query lies
    uint relative_at; // the table's entry for a key at the same place
    float decay;      // log2 of what a step away multiplies weights by
};

RowBias row_bias(Walk w, uint head, uint query)
{
    uint head_q = head * p.heads_q / p.heads_out;
    RowBias b = RowBias(query + uint(w.diagonal) - 1u, 0.0, 0u, 0u, ivec2(0), 0u, 0.0);
    if (IS_AWAY)
        b.at = place_of(b.place);
    if (IS_RELATIVE)
        b.relative_at = pc.x_base + p.x_relative + head_q * p.x_relative_stride_h +
                        p.relative_half_y * p.relative_pitch + p.relative_half_x;
    if (IS_DECAY)
        b.decay = log2_exact(max(EXTRA_NUMBER(pc.x_base + p.x_decay + head_q * p.x_decay_stride_h), 1e-37));
    if (IS_ALIBI)
        b.slope = EXTRA_NUMBER(pc.x_base + p.x_alibi + head_q * p.x_alibi_stride_h) * LOG2_E;
    if (IS_KEY_BIAS)
        b.key_bias_at = pc.x_base + p.x_key_bias + batch_or_zero(w) * p.x_key_bias_stride_b +
                        head_q * p.x_key_bias_stride_h + w.k_first;
    if (IS_BIAS)
        b.bias_at = pc.cq_base + w.batch * p.bias_stride_b + head_q * p.bias_stride_h + query * p.bias_stride_q;
    return b;
}

// From the row's query to a key, and how far that is.
ivec2 apart(RowBias b, uint key) { return place_of(key) - b.at; }
float far(RowBias b, uint key)
{
    uvec2 steps = uvec2(abs(apart(b, key)));
    return float(steps.x + steps.y);
}

float relative_bias(RowBias b, uint key)
{
    ivec2 half_size = ivec2(p.relative_half_y, p.relative_half_x);
    ivec2 entry = clamp(apart(b, key), -half_size, half_size);
    return EXTRA_NUMBER(b.relative_at + uint(entry.x * int(p.relative_pitch) + entry.y)) * LOG2_E;
}

// What the weight of a key is multiplied by, after the link.
float decay_exponent(RowBias b, uint key) { return b.decay * far(b, key); } // of 2
float decay_factor(RowBias b, uint key) { return exp2(decay_exponent(b, key)); }

// The logit of a key that exists. -inf: the key is to have no weight.
float score_bias(float score, RowBias b, uint key)
{
    if (IS_BIAS)
        score += DENSE_BIAS(b.bias_at + key) * LOG2_E;
    if (IS_KEY_BIAS)
        score += EXTRA_NUMBER(b.key_bias_at + key) * LOG2_E;
    if (IS_ALIBI)
        score -= b.slope * far(b, key);
    if (IS_RELATIVE)
        score += relative_bias(b, key);
    return score;
}
