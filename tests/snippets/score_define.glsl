// error: 2: no directives
#define score_mod harmless
float score_mod(float score, uint b, uint h, uint q, uint k) { return score; }
