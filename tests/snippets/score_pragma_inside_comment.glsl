// passes
/* #pragma x */ // #define y
float score_mod(float score, uint b, uint h, uint q, uint k) { return score; }
