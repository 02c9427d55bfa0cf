// compile: 2: 'g'
float f(float x) { return g(x); }
float g(float x) { return f(x); }
float score_mod(float score, uint b, uint h, uint q, uint k) { return f(score); }
