// compile: 2: 'table'
float score_mod(float score, uint b, uint h, uint q, uint k) { return table(q); }
