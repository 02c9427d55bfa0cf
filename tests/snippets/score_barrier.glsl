// error: 2: 'barrier' is not allowed
float score_mod(float score, uint b, uint h, uint q, uint k) { barrier(); return score; }
