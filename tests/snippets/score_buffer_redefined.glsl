// error: 2: 'slopes' is the name of a user buffer
float slopes(uint i) { return 1.0; }
float score_mod(float score, uint b, uint h, uint q, uint k) { return slopes(0u); }
