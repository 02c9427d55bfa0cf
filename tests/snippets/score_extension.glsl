// error: 3: no directives
float score_mod(float score, uint b, uint h, uint q, uint k) { return score; }
#extension GL_KHR_shader_subgroup_basic : require
