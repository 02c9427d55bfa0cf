// compile: 2: 'out_words1'
float score_mod(float score, uint b, uint h, uint q, uint k) { out_words1[0] = 0.0; return score; }
