// passes
float score_mod(float score, uint b, uint h, uint q, uint k) { float a[3] = float[3](1.0, 2.0, 3.0); mat3 m = mat3(1.0); vec3 row = m[int(k) - 7]; int at[2]; at[0] = 1; at[1] = -1; return a[q * 4u - 9u] + row[h] + m[1][2] + a[at[k]]; }
