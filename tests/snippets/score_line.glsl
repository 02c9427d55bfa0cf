// error: 3: no directives
float score_mod(float score, uint b, uint h, uint q, uint k) {
#line 100
return score; }
