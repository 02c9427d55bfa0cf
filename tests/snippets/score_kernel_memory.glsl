// compile: 2: 'q_words1'
float score_mod(float score, uint b, uint h, uint q, uint k) { return float(q_words1[0]); }
