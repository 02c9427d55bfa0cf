// error: 2: 'struct' is not allowed
struct P { float x; };
float score_mod(float score, uint b, uint h, uint q, uint k) { return score; }
