// error: 2: '{' is not closed
float score_mod(float score, uint b, uint h, uint q, uint k) { return score;
