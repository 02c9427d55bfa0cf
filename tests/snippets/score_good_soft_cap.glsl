// passes
float score_mod(float score, uint b, uint h, uint q, uint k) { return 30.0 * tanh(score / 30.0); }
