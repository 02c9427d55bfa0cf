// error: 2: arrays have one dimension
float score_mod(float score, uint b, uint h, uint q, uint k) { float a[64][64]; return a[0][0]; }
