// error: 2: 'gl_GlobalInvocationID' is not allowed
float score_mod(float score, uint b, uint h, uint q, uint k) { return float(gl_GlobalInvocationID.x); }
