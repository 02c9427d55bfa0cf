// error: 2: 'max' is the name of a built-in function
const float max = 1.0;
float score_mod(float score, uint b, uint h, uint q, uint k) { return score; }
