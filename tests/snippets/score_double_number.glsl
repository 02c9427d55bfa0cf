// error: 2: '1.0lf' is no float
float score_mod(float score, uint b, uint h, uint q, uint k) { return float(1.0lf); }
