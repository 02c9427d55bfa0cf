// error: 2: 'usr_tick' is not allowed
float score_mod(float score, uint b, uint h, uint q, uint k) { usr_tick(); return score; }
