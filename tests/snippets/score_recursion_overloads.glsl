// compile: Recursion
float f(float x) { return x; }
float f(int x) { return f(x); }
float score_mod(float score, uint b, uint h, uint q, uint k) { return f(int(q)); }
