// error: 2: is read as slopes(index)
float score_mod(float score, uint b, uint h, uint q, uint k) { return slopes[0]; }
