// passes
float score_mod(float score, uint b, uint h, uint q, uint k) { for (;;) { score += 1.0; } while (score > 0.0) score -= 1.0; do { score *= 0.5; } while (true); for (int i = 0, j = 3; i < j; i++) for (;;) ; return score; }
