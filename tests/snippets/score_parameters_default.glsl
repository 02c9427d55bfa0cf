// error: 2: among parameters
float f(float x = 1.0) { return x; }
float score_mod(float score, uint b, uint h, uint q, uint k) { return f(); }
