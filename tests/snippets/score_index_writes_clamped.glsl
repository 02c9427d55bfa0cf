// passes
float score_mod(float score, uint b, uint h, uint q, uint k) { float a[3]; for (int i = -5; i < 1000; i++) a[i] = float(i); return a[q]; }
