// compile: 2: 
float score_mod(float score, uint b, uint h, uint q, uint k) { float f() { return 1.0; } return score; }
