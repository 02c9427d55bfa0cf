// error: 3: there is no bool mask_mod
float score_mod(float score, uint b, uint h, uint q, uint k) { return score; }
