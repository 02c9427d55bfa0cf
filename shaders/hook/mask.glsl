// Hook "mask": what a key that a row does not see becomes. Scores are *selected*, never multiplied or added to, so
// that nothing a masked key holds (NaN and Inf included) gets through.
const float LN2 = 0.69314718055994531, LOG2_E = 1.44269504088896341;
#define NEG_INF uintBitsToFloat(0xff800000u)

// The running maximum before any key. Finite, so that exp2(score - maximum) never sees inf - inf: a masked score
// gives exactly 0 from the first key on.
const float MAXIMUM_START = -3.402823466e38;

// A function, so that the score is there before it is chosen: `sees ? s * scale : NEG_INF` would be a branch.
float mask_score(float score, bool visible) { return visible ? score : NEG_INF; }
