// error: 2: 'score_mod' must be
float score_mod(float score, int b, uint h, uint q, uint k) { return score; }
