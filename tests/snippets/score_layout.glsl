// error: 2: 'layout' is not allowed
layout(set = 0, binding = 4) buffer Out { float o[]; };
float score_mod(float score, uint b, uint h, uint q, uint k) { return score; }
