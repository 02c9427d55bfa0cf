#include "op/record.h"

static void add_tensor(rapt_text *t, const char *name, const uint64_t *size, const uint64_t *stride, unsigned rank)
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

/* Of the line itself, with no count: bytes between the members of a problem need not be equal. */
static rapt_hash hash_of(const rapt_text *line)
{
    return rapt_hash_bytes(RAPT_HASH_INIT, line->data, RAPT_MIN(line->length, line->capacity - 1));
}

rapt_hash rapt_record_key(const rapt_problem *p)
{
    char line[RAPT_RECORD_LINE_MAX];
    rapt_text text = rapt_text_over(line, sizeof line);
    rapt_record_line(p, 0, &text);
    return hash_of(&text);
}

/* ---- linear attention ---- */

bool rapt_record_takes_linear(const rapt_linear_problem *p)
{
    return p->feature != RAPT_PHI_USER && p->feature_k != RAPT_PHI_USER && p->position_count == 0;
}

rapt_hash rapt_record_linear_key(const rapt_linear_problem *p)
{
    char line[RAPT_RECORD_LINE_MAX];
    rapt_text text = rapt_text_over(line, sizeof line);
    rapt_record_linear_line(p, 0, &text);
    return hash_of(&text);
}

/* By its axes: (heads), (batch, heads, rows), or with what lies side by side behind each row. */
static void add_linear_tensor(rapt_text *t, const rapt_linear_problem *p, unsigned i, const char *name, unsigned rank)
{
    const rapt_linear_tensor *at = &p->tensor[i];
    const bool state = i >= RAPT_L_STATE_IN && i <= RAPT_L_NORM_OUT;
    const uint64_t batch = state || !p->varlen ? p->batch : 1, rows = state ? (uint64_t)p->block * p->blocks : p->total;
    if (!at->present)
        return;
    if (rank == 1)
        add_tensor(t, name, &at->heads, &at->stride[1], 1);
    else if (i == RAPT_L_NORM_IN || i == RAPT_L_NORM_OUT) /* whose rows lie side by side */
        add_tensor(t, name, (uint64_t[]){batch, at->heads, rows}, (uint64_t[]){at->stride[0], at->stride[1], 1}, 3);
    else
        add_tensor(t, name, (uint64_t[]){batch, at->heads, rows, at->inner}, at->stride, rank);
}

void rapt_record_linear_line(const rapt_linear_problem *p, uint64_t count, rapt_text *t)
{
    static const struct {
        const char *name;
        unsigned rank;
    } tensors[RAPT_L_COUNT] = {{"q", 4}, {"k", 4}, {"v", 4}, {"out", 4}, {"a", 4}, {"b", 4}, {"decay", 3}, {"beta", 3},
                               {"state_in", 4}, {"state_out", 4}, {"norm_in", 3}, {"norm_out", 3}, {"scale_q", 1}, {"scale_k", 1}};
    const struct {
        const char *name;
        bool set;
    } flags[] = {{"normalize", p->normalize}, {"log_decay", p->log_decay}, {"in_place", p->in_place},
                 {"bidirectional", p->bidirectional}, {"normalize_keys", p->normalize_keys}, {"standardize", p->standardize}};
    const char *between = "";
    rapt_text_add(t, "{\"op\":\"linear\",\"count\":%llu,\"dtype\":\"%s\",\"rule\":\"%s\",\"feature\":\"%s\",\"feature_k\":\"%s\","
                     "\"feature_power\":%.9g,\"feature_scale\":%.9g,\"scale\":%.9g,\"flags\":[",
                  (unsigned long long)count, rapt_dtype_name(p->dtype), rapt_linear_rule_name((rapt_linear_rule)p->rule),
                  rapt_phi_name((rapt_phi)p->feature), rapt_phi_name((rapt_phi)p->feature_k), (double)p->power, (double)p->feature_scale,
                  (double)p->scale);
    for (size_t i = 0; i < RAPT_COUNT(flags); i++)
        if (flags[i].set) {
            rapt_text_add(t, "%s\"%s\"", between, flags[i].name);
            between = ",";
        }
    rapt_text_add(t, "]");
    for (unsigned i = 0; i < RAPT_L_COUNT; i++) {
        const bool decay = i == RAPT_L_DECAY, gate = decay && p->decay == RAPT_DECAY_CHANNEL, fixed = decay && p->decay == RAPT_DECAY_HEAD;
        add_linear_tensor(t, p, i, gate ? "gate" : tensors[i].name, gate ? 4 : fixed ? 1 : tensors[i].rank);
    }
    rapt_text_add(t, ",\"sequences\":%llu,\"max_seqlen\":%llu}\n", (unsigned long long)(p->varlen ? p->batch : 0),
                  (unsigned long long)(p->varlen && p->tokens < p->total ? p->tokens : 0));
}
