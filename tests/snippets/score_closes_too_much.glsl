// error: 2: '}' closes nothing
float score_mod(float score, uint b, uint h, uint q, uint k) { return score; } }
