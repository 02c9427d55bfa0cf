// error: 2: 'score_mod' must be
float score_mod(float score, uint q, uint k) { return score; }
