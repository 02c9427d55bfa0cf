// error: 2: 'double' is not allowed
float score_mod(float score, uint b, uint h, uint q, uint k) { double d = 1.0; return float(d); }
