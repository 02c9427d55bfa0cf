// error: 2: 'texelFetch' is not allowed
float score_mod(float score, uint b, uint h, uint q, uint k) { return texelFetch(t, 0).x; }
