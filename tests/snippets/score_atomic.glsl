// error: 2: 'atomicAdd' is not allowed
float score_mod(float score, uint b, uint h, uint q, uint k) { atomicAdd(q, 1u); return score; }
