// compile: 4: 'nothing'
float score_mod(float score, uint b, uint h, uint q, uint k) {
 float x = 1.0;
 return nothing; }
