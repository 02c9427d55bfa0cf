// error: 3: a comment that does not end
float score_mod(float score, uint b, uint h, uint q, uint k) { return score; }
/* and so on
