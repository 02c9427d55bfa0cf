// error: 2: '"' is not GLSL
float score_mod(float score, uint b, uint h, uint q, uint k) { "text"; return score; }
