// error: 2: '{' in an expression
float score_mod(float score, uint b, uint h, uint q, uint k) { float a[2] = {1.0, 2.0}, b[100000000]; return a[0]; }
