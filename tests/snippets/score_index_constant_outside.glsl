// compile: 2: 
float score_mod(float score, uint b, uint h, uint q, uint k) { float a[3] = float[3](1.0, 2.0, 3.0); return a[3]; }
