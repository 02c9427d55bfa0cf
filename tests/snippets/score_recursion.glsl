// error: 2: 'f' calls itself
float f(float x) { return f(x); }
float score_mod(float score, uint b, uint h, uint q, uint k) { return f(score); }
