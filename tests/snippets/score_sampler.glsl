// error: 2: 'sampler2D' is not allowed
float f(sampler2D s) { return 1.0; }
float score_mod(float score, uint b, uint h, uint q, uint k) { return score; }
