// error: 2: 'buffer' is not allowed
buffer Out { float o[]; };
float score_mod(float score, uint b, uint h, uint q, uint k) { return score; }
