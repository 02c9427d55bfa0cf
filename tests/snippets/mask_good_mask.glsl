// passes
bool mask_mod(uint b, uint h, uint q, uint k) { return k <= q && !(k == 3u); }
