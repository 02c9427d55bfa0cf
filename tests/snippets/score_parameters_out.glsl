// passes
void f(inout float x, out float y) { x += 1.0; y = x; }
float score_mod(float score, uint b, uint h, uint q, uint k) { float y; f(score, y); return score + y; }
