// error: 2: 'precision' is not allowed
precision highp float;
float score_mod(float score, uint b, uint h, uint q, uint k) { return score; }
