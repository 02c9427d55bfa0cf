// error: 2: 'subgroupAdd' is not allowed
float score_mod(float score, uint b, uint h, uint q, uint k) { return subgroupAdd(score); }
