// error: 2: no directives
#version 460
float score_mod(float score, uint b, uint h, uint q, uint k) { return score; }
