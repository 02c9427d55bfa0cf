// compile: 2: 
float score_mod(float score, uint b, uint h, uint q, uint k) { bool x = score; return 1.0; }
