// error: 2: 'uniform' is not allowed
uniform float x;
float score_mod(float score, uint b, uint h, uint q, uint k) { return score; }
