// error: 2: a function inside a function
float score_mod(float score, uint b, uint h, uint q, uint k) { void f() { } return score; }
