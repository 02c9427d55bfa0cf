// compile: 2: 'pc'
float score_mod(float score, uint b, uint h, uint q, uint k) { return float(pc.q_base); }
