// error: 2: only whole functions
float counter;
float score_mod(float score, uint b, uint h, uint q, uint k) { return score; }
