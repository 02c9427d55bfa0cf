// error: 2: arrays have one dimension
float score_mod(float score, uint b, uint h, uint q, uint k) { float[64] a[64]; return a[0][0]; }
