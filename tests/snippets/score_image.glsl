// error: 2: 'imageLoad' is not allowed
float score_mod(float score, uint b, uint h, uint q, uint k) { return imageLoad(i, ivec2(0)).x; }
