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

bool rapt_record_takes(const rapt_problem *p)
{
    return !p->score_mod && !p->mask_mod && !p->blocks && !p->col_sums && !p->row_max;
}

/* Axes with stride 0 are written as having one entry, which is what they mean here. */
static void add_broadcast(rapt_text *t, const char *name, const uint64_t stride[3], uint64_t batch, uint64_t heads, uint64_t rows, uint64_t inner)
{
    add_tensor(t, name, (uint64_t[]){stride[0] ? batch : 1, stride[1] ? heads : 1, rows, inner}, stride, 4);
}

/* Vectors beside the tensors, by the axes of rapt_attention_desc. */
static void add_extras(rapt_text *t, const rapt_problem *p)
{
    static const char *const names[RAPT_X_BLOCKS] = {[RAPT_X_SINKS] = "sinks",       [RAPT_X_ALIBI] = "alibi",       [RAPT_X_KEY_BIAS] = "key_bias",
                                                     [RAPT_X_SEGMENTS] = "segments", [RAPT_X_RELATIVE] = "relative", [RAPT_X_DECAY] = "decay"};
    for (unsigned i = 0; i < RAPT_X_BLOCKS; i++) {
        const rapt_extra *x = &p->extra[i];
        const uint64_t rows = p->relative_size[0], columns = p->relative_size[1];
        if (!(p->extras >> i & 1))
            continue;
        if (i == RAPT_X_KEY_BIAS)
            add_tensor(t, names[i], (uint64_t[]){x->batch, x->heads, x->count}, (uint64_t[]){x->stride_b, x->stride_h, 1}, 3);
        else if (i == RAPT_X_SEGMENTS)
            add_tensor(t, names[i], (uint64_t[]){x->batch, x->count}, (uint64_t[]){x->stride_b, 1}, 2);
        else if (i == RAPT_X_RELATIVE && (p->place_width > 0 || p->grid.rank == 2))
            add_tensor(t, names[i], (uint64_t[]){x->heads, rows, columns}, (uint64_t[]){x->stride_h, columns, 1}, 3);
        else if (i == RAPT_X_RELATIVE)
            add_tensor(t, names[i], (uint64_t[]){x->heads, columns}, (uint64_t[]){x->stride_h, 1}, 2);
        else
            add_tensor(t, names[i], &x->heads, &x->stride_h, 1);
    }
    if (p->place_width > 0)
        rapt_text_add(t, ",\"place_width\":%u", p->place_width);
    if (p->bias)
        add_broadcast(t, "bias", p->stride[RAPT_T_BIAS], p->batch, p->heads_q, p->nq, p->nk);
}

static void add_link(rapt_text *t, const rapt_problem *p)
{
    const double offset = (double)p->link_offset, range = (double)p->link_range;
    if (p->link != RAPT_LINK_SOFTMAX)
        rapt_text_add(t, ",\"link\":\"%s\"", rapt_link_name((rapt_link)p->link));
    if (p->link == RAPT_LINK_CLIPPED)
        rapt_text_add(t, ",\"link_gamma\":%.9g,\"link_zeta\":%.9g", offset, offset + range);
    if (p->link == RAPT_LINK_AFFINE)
        rapt_text_add(t, ",\"link_alpha\":%.9g,\"link_beta\":%.9g", range, offset);
}

/* What rewrites q and k. */
static void add_prepared(rapt_text *t, const rapt_problem *p)
{
    const uint64_t batch = p->varlen ? 1 : p->batch;
    if (p->norm_epsilon >= 0.0f)
        rapt_text_add(t, ",\"qk_norm_epsilon\":%.9g", (double)p->norm_epsilon);
    if (p->rope_dim > 0)
        rapt_text_add(t, ",\"rope_base\":%.17g,\"rope_dim\":%u,\"rope_interleaved\":%s", p->rope_base, p->rope_dim,
                      p->rope_interleaved ? "true" : "false");
    if (p->rank > 0) {
        add_broadcast(t, "bias_u", p->factor[0].stride, batch, p->heads_q, p->total_q, p->rank);
        add_broadcast(t, "bias_v", p->factor[1].stride, batch, p->heads_q, p->total_k, p->rank);
    }
}

/* Pages and quantised rows; k and v themselves. */
static void add_keys(rapt_text *t, const rapt_problem *p)
{
    static const char *const names[] = {"k", "v"};
    const uint64_t batch = p->varlen ? 1 : p->batch, stride[] = {p->extra[RAPT_X_PAGES].stride_b, 1};
    for (unsigned i = RAPT_T_K; i <= RAPT_T_V; i++) {
        const char *name = names[i - RAPT_T_K];
        const uint64_t row = i == RAPT_T_K && p->prepared ? p->source_dim : rapt_problem_row(p, i);
        if (rapt_problem_dtype(p, i) != p->dtype)
            rapt_text_add(t, ",\"%s_dtype\":\"%s\"", name, rapt_dtype_name(rapt_problem_dtype(p, i)));
        add_tensor(t, name, (uint64_t[]){p->paged ? p->pages : batch, p->heads_kv, p->paged ? p->page_size : p->total_k, row},
                   i == RAPT_T_K && p->prepared ? p->source[1].stride : p->stride[i], 4);
    }
    if (p->paged) {
        rapt_text_add(t, ",\"page_size\":%u", p->page_size);
        add_tensor(t, "block_table", (uint64_t[]){batch, p->extra[RAPT_X_PAGES].count}, stride, 2);
    }
    if (p->ragged)
        add_tensor(t, "k_lengths", &batch, (uint64_t[]){1}, 1);
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
    add_link(t, p);
    add_extras(t, p);
    add_prepared(t, p);
    add_tensor(t, "q", (uint64_t[]){batch, p->heads_q, p->total_q, p->prepared ? p->source_dim : p->head_dim_qk},
               p->prepared ? p->source[0].stride : p->stride[RAPT_T_Q], 4);
    add_keys(t, p);
    add_tensor(t, "out", (uint64_t[]){batch, p->heads_out, p->total_q, p->head_dim_v}, p->stride[RAPT_T_OUT],
               4);
    if (p->gate) {
        rapt_text_add(t, ",\"gate_by_row\":%s", p->gate_by_row ? "true" : "false");
        add_tensor(t, "gate", (uint64_t[]){batch, p->heads_out, p->total_q, p->head_dim_v}, p->stride[RAPT_T_GATE], 4);
    }
    if (p->lse && !p->lse_hidden)
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
