// compile: 2: 'p'
float score_mod(float score, uint b, uint h, uint q, uint k) { return float(p.nq); }
