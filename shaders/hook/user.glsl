// Hook "user": score_mod and mask_mod, GLSL that an app gives at run time. Only the run-time compiler defines USER_CODE, and
// USER_SCORE and USER_MASK as 0 or 1; stock kernels have none of this.
//
// hook/user_code.glsl then is the generated text that holds the app's functions as
//   float user_score(float score, uint b, uint h, uint q, uint k)    natural units
//   bool user_mask(uint b, uint h, uint q, uint k)
// Include after hook/walk.glsl and hook/score.glsl.
// USER_LOOP stands before loops that call them for each score of a lane: long code is not to be there once for each.
#ifdef USER_CODE
#if USER_ROLLED
#define USER_LOOP [[dont_unroll]]
#else
#define USER_LOOP [[unroll]]
#endif

float user_f(uint i)
{
    i = min(i, 15u);
    return p.user_constants[i >> 2u][i & 3u];
}

// Snippets call these for tanh: what drivers have takes two exponentials.
float usr_tanh(float x) { return tanh_exact(x); }
vec2 usr_tanh(vec2 x) { return vec2(tanh_exact(x.x), tanh_exact(x.y)); }
vec3 usr_tanh(vec3 x) { return vec3(tanh_exact(x.x), tanh_exact(x.y), tanh_exact(x.z)); }
vec4 usr_tanh(vec4 x) { return vec4(tanh_exact(x.x), tanh_exact(x.y), tanh_exact(x.z), tanh_exact(x.w)); }

#include "hook/user_code.glsl"

uint user_head(Walk w, uint row) { return row_head(w, row) * p.heads_q / p.heads_out; }

#if USER_SCORE
// Kernels keep scores in units of log2.
float user_score_hook(Walk w, uint row, uint key, float score)
{
    return user_score(score * 0.69314718055994531, w.batch, user_head(w, row), row_query(row), key) *
           1.44269504088896341;
}
#endif

#if USER_MASK
bool user_sees(Walk w, uint row, uint key) { return user_mask(w.batch, user_head(w, row), row_query(row), key); }
#endif
#else
#define USER_SCORE 0
#define USER_MASK 0
#endif
