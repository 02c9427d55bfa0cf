// error: 2: the size of an array must be one number
const int N = 1000000; float score_mod(float score, uint b, uint h, uint q, uint k) { float a[N]; return a[0]; }
