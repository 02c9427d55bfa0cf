// Benchmark cases: their names, inputs, counts and the naive result they are proven against.
#ifndef RAPT_BENCH_CASES_H
#define RAPT_BENCH_CASES_H

#include "os.h"

typedef enum rapt_bench_dtype { RAPT_BENCH_F32, RAPT_BENCH_F16 } rapt_bench_dtype;

// Scaled dot-product attention, scale 1/sqrt(head_dim). Query i of nq stands at key i + (nk - nq); causal
// shows it the keys up to there. Query head h reads kv head floor(h * kv_heads / q_heads).
typedef struct rapt_bench_case {
    int batch, q_heads, kv_heads, head_dim, nq, nk;
    rapt_bench_dtype dtype; // of K and V
    bool causal;
    char name[64];
} rapt_bench_case;

// B1H8D64N1024f32, B1H32K8D128Q1N4096f16, B1H8D64N2048f32c: batch, query heads, [kv heads], head dim,
// [queries], keys, dtype, [c for causal]. What is in brackets defaults to its neighbour on the left or to the
// keys.
bool rapt_bench_case_parse(const char *name, rapt_bench_case *out, rapt_bench_error *error);
extern const char *const rapt_bench_case_names[]; // the usual ones, NULL-ended

// Everything is (batch, heads, sequence, head_dim), without gaps. q is float whatever the case's dtype, its
// values being exact in that dtype; k and v are in it.
typedef struct rapt_bench_inputs {
    float *q;
    void *k, *v;
    double *expected; // double precision from exactly these values
    double expected_rms;
} rapt_bench_inputs;

bool rapt_bench_inputs_make(const rapt_bench_case *c, uint64_t seed, rapt_bench_inputs *out,
                            rapt_bench_error *error);
void rapt_bench_inputs_free(rapt_bench_inputs *inputs);

typedef struct rapt_bench_difference {
    double max_abs; // infinite if anything is not finite
    double rms;     // root mean square error over root mean square of the expected output
} rapt_bench_difference;

rapt_bench_difference rapt_bench_compare(const rapt_bench_case *c, const rapt_bench_inputs *inputs,
                                         const float *out);

size_t rapt_bench_q_count(const rapt_bench_case *c);  // elements of q and of the output
size_t rapt_bench_kv_count(const rapt_bench_case *c); // elements of k, and of v
double rapt_bench_flops(const rapt_bench_case *c);    // 4 per visible query-key pair and head_dim element
double rapt_bench_kv_bytes(const rapt_bench_case *c); // of K and V together, each counted once

uint16_t rapt_bench_half(float value); // round to nearest even
float rapt_bench_float(uint16_t half);

#endif
