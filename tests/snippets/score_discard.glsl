// error: 2: 'discard' is not allowed
float score_mod(float score, uint b, uint h, uint q, uint k) { discard; }
