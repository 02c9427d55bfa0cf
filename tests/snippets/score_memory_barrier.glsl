// error: 2: 'memoryBarrierShared' is not allowed
float score_mod(float score, uint b, uint h, uint q, uint k) { memoryBarrierShared(); return score; }
