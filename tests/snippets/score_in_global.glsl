// error: 2: only whole functions
in float x;
float score_mod(float score, uint b, uint h, uint q, uint k) { return score; }
