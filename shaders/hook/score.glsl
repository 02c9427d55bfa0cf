// Hook "score": from scale * log2(e) * q.k to the logit, in the same units. A kernel may define IS_SOFT_CAP (a constant, a
// specialization constant); else it is read from the parameters.
#ifndef IS_SOFT_CAP
#define IS_SOFT_CAP ((p.flags & RAPT_PARAM_SOFT_CAP) != 0u)
#endif
// Whether scores are anything but scaled dot products.
#if defined(USER_CODE) && USER_SCORE // see hook/user.glsl
#define IS_SCORED true
#else
#define IS_SCORED IS_SOFT_CAP
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
