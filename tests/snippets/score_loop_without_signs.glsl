// error: 2: 'for' needs two
float score_mod(float score, uint b, uint h, uint q, uint k) { for (int i = 0; i < 3) { } return score; }
