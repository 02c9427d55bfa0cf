// error: 2: 'score_mod' must be
float score_mod(out float score, uint b, uint h, uint q, uint k) { return score; }
