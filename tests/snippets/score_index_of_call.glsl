// error: 2: a computed index stands behind the name
float score_mod(float score, uint b, uint h, uint q, uint k) { return vec4(score)[q]; }
