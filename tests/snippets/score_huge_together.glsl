// error: 4: arrays of more than
float score_mod(float score, uint b, uint h, uint q, uint k) { float a[1000];
float b1 = 1.0,
 c[1000]; return a[0] + c[0]; }
