// error: 2: a computed index stands behind the name
float score_mod(float score, uint b, uint h, uint q, uint k) { mat4 m = mat4(1.0); return m[q][k]; }
