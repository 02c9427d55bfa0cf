// error: 2: 'mask_mod' must be
float mask_mod(uint b, uint h, uint q, uint k) { return 1.0; }
