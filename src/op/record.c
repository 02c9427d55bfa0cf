#include "op/record.h"

#include <string.h>

rapt_hash rapt_record_key(const rapt_problem *problem)
{
    rapt_problem p;
    memcpy(&p, problem, sizeof p); /* padding too: equal problems are equal bytes */
    /* What a line does not hold: how the problem was to be run, and on what buffers. */
    memset(p.align, 0, sizeof p.align);
    memset(p.usage, 0, sizeof p.usage);
    memset(p.kernel, 0, sizeof p.kernel);
    p.batch_tuned = false;
    p.key_splits = 0;
    p.slice_ms = 0;
    return rapt_hash_bytes(RAPT_HASH_INIT, &p, sizeof p);
}

static void add_tensor(rapt_text *t, const char *name, const uint64_t *size, const uint64_t stride[3],
                       unsigned rank)
{
    rapt_text_add(t, ",\"%s\":{\"dims\":[", name);
    for (unsigned i = 0; i < rank; i++)
        rapt_text_add(t, "%s%llu", i ? "," : "", (unsigned long long)size[i]);
    rapt_text_add(t, "],\"strides\":[");
    for (unsigned i = 0; i < rank; i++)
        rapt_text_add(t, "%s%llu", i ? "," : "", (unsigned long long)(i < 3 ? stride[i] : 1));
    rapt_text_add(t, "]}");
}

void rapt_record_line(const rapt_problem *p, uint64_t count, rapt_text *t)
{
    const uint64_t batch = p->varlen ? 1 : p->batch;
    rapt_text_add(t,
                  "{\"op\":\"attention\",\"count\":%llu,\"dtype\":\"%s\",\"causal\":%s,\"causal_offset\":%d,"
                  "\"scale\":%.9g",
                  (unsigned long long)count, rapt_dtype_name(p->dtype), p->causal ? "true" : "false",
                  p->causal_offset, (double)p->scale);
    if (p->window)
        rapt_text_add(t, ",\"window\":[%d,%d],\"sink_tokens\":%u", p->window_left, p->window_right, p->sink_tokens);
    if (p->grid.rank > 0) {
        rapt_text_add(t, ",\"grid\":{");
        rapt_grid_describe(&p->grid, true, t);
        rapt_text_add(t, "}");
    }
    if (p->soft_cap > 0.0f)
        rapt_text_add(t, ",\"soft_cap\":%.9g", (double)p->soft_cap);
    add_tensor(t, "q", (uint64_t[]){batch, p->heads_q, p->total_q, p->head_dim_qk}, p->stride[RAPT_T_Q], 4);
    add_tensor(t, "k", (uint64_t[]){batch, p->heads_kv, p->total_k, p->head_dim_qk}, p->stride[RAPT_T_K], 4);
    add_tensor(t, "v", (uint64_t[]){batch, p->heads_kv, p->total_k, p->head_dim_v}, p->stride[RAPT_T_V], 4);
    add_tensor(t, "out", (uint64_t[]){batch, p->heads_out, p->total_q, p->head_dim_v}, p->stride[RAPT_T_OUT],
               4);
    if (p->lse)
        add_tensor(t, "lse", (uint64_t[]){batch, p->heads_out, p->total_q}, p->stride[RAPT_T_LSE], 3);
    else
        rapt_text_add(t, ",\"lse\":null");
    rapt_text_add(t, ",\"sequences\":%llu,\"max_seqlen_q\":%llu,\"max_seqlen_k\":%llu}\n",
                  (unsigned long long)(p->varlen ? p->batch : 0),
                  (unsigned long long)(p->varlen && p->bounded_q ? p->nq : 0),
                  (unsigned long long)(p->varlen && p->bounded_k ? p->nk : 0));
}
