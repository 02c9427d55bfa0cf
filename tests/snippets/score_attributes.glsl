// error: 2: a computed index
float f(float x) { [[unroll]] for (int i = 0; i < 2; i++) x += 1.0; return x; }
float score_mod(float score, uint b, uint h, uint q, uint k) { return f(score); }
