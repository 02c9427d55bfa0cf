// compile: 3: 
float score_mod(float score, uint b, uint h, uint q, uint k) {
return nothing; }
