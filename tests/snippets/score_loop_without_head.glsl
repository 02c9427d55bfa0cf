// error: 2: a loop without
float score_mod(float score, uint b, uint h, uint q, uint k) { while true { } return score; }
