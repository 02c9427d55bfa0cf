// error: 2: arrays of more than
float score_mod(float score, uint b, uint h, uint q, uint k) { float a[100000000]; return a[q]; }
