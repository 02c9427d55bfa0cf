// error: 2: 'shared' is not allowed
shared float x[4];
float score_mod(float score, uint b, uint h, uint q, uint k) { return score; }
