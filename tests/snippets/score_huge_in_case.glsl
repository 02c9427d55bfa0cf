// error: 2: arrays of more than
float score_mod(float score, uint b, uint h, uint q, uint k) { switch (q) { case 0u: float a[5000]; return a[0]; default: return score; } }
