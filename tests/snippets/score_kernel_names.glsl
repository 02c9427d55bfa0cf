// passes
float main(float x) { return x; }
float score_hook(float x) { return main(x); }
float walk_begin(float p) { return p; }
float score_mod(float score, uint b, uint h, uint q, uint k) { float pc = score, w = 1.0, lane = 2.0; return score_hook(pc) + walk_begin(w * lane); }
