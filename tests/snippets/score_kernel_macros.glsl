// passes
float GROUP(float x) { return x; }
const float NEG_INF = 1.0;
float score_mod(float score, uint b, uint h, uint q, uint k) { float IS_CAUSAL = NEG_INF, DTYPE = 1.0, ROWS = 2.0; return GROUP(score) + IS_CAUSAL + DTYPE * ROWS; }
