// error: 2: the size of an array must be one number
float score_mod(float score, uint b, uint h, uint q, uint k) { float a[1 << 30]; return a[0]; }
