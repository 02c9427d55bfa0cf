#include "cases_random.h"

#include "cases_grid.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const rapt_dtype dtypes[] = {RAPT_F32, RAPT_F16, RAPT_BF16};
static const uint16_t lengths[] = {1, 2, 4, 5, 13, 16, 30, 32, 41, 64, 77, 100, 128, 150, 211};
static const int16_t sides[] = {-1, 0, 1, 5, 16, 30, 31, 64, 100}, offsets[] = {0, 0, 0, 1, -1, -5, 9, -40, 40};
static const uint8_t block_sizes[] = {1, 2, 5, 8, 16, 24, 32, 33, 64, 100};

#define MIXED_SEQUENCES 8

static void draw_sequences(rapt_random *r, rapt_case *c)
{
    c->nq = c->nk = 0;
    for (uint32_t s = 0; s < c->sequences; s++) {
        c->length_q[s] = rapt_random_below(r, 5) == 0 ? 0 : lengths[rapt_random_below(r, COUNT(lengths) - 4)];
        c->length_k[s] = rapt_random_below(r, 2) ? c->length_q[s] : lengths[rapt_random_below(r, COUNT(lengths) - 4)];
        c->nq += c->length_q[s];
        c->nk += c->length_k[s];
    }
}

rapt_case rapt_case_mixed(rapt_random *r)
{
    static const uint16_t dims[] = {1, 8, 16, 24, 32, 40, 64, 64, 64, 80, 96, 128, 128, 160, 256};
    static const uint8_t heads[][2] = {{1, 1}, {2, 2}, {4, 2}, {4, 1}, {8, 2}, {3, 2}, {2, 4}, {6, 6}};
    rapt_case c = {.batch = 1 + rapt_random_below(r, 2)};
    const uint8_t *pair = heads[rapt_random_below(r, COUNT(heads))];
    c.q_heads = pair[0];
    c.kv_heads = pair[1];
    c.nq = lengths[rapt_random_below(r, COUNT(lengths))];
    c.nk = rapt_random_below(r, 3) == 0 ? c.nq : lengths[rapt_random_below(r, COUNT(lengths))];
    c.d_qk = dims[rapt_random_below(r, COUNT(dims))];
    c.d_v = rapt_random_below(r, 4) > 0 ? c.d_qk : dims[rapt_random_below(r, COUNT(dims))];
    c.dtype = dtypes[rapt_random_below(r, 3)];
    c.causal = rapt_random_below(r, 2);
    c.causal_offset = c.causal ? offsets[rapt_random_below(r, COUNT(offsets))] : 0;
    c.layout = (rapt_case_layout)rapt_random_below(r, RAPT_LAYOUT_COUNT);
    c.input = (rapt_case_input)rapt_random_below(r, RAPT_INPUT_COUNT);
    c.key_splits = rapt_random_below(r, 3) == 0 ? 1 + (uint32_t)rapt_random_below(r, 6) : 0;
    c.no_lse = rapt_random_below(r, 8) == 0;
    if (rapt_random_below(r, 4) == 0) {
        c.batch = 1;
        c.sequences = 1 + (uint32_t)rapt_random_below(r, MIXED_SEQUENCES);
        draw_sequences(r, &c);
    }
    if (rapt_random_below(r, 4) == 0) {
        c.window = true;
        c.window_left = sides[rapt_random_below(r, COUNT(sides))];
        c.window_right = sides[rapt_random_below(r, COUNT(sides))];
        c.sink_tokens = rapt_random_below(r, 2) ? rapt_random_below(r, 40) : 0;
        c.causal_offset = offsets[rapt_random_below(r, COUNT(offsets))];
    }
    if (rapt_random_below(r, 6) == 0)
        c.soft_cap = (float)(1 + rapt_random_below(r, 50));
    if (rapt_random_below(r, 3) == 0) {
        c.sinks = (uint8_t)rapt_random_below(r, 3);
        c.alibi = rapt_random_below(r, 3) == 0;
        c.key_bias = rapt_random_below(r, 2) ? (uint8_t)rapt_random_below(r, 4) : 0;
        c.segments = rapt_random_below(r, 3) == 0 ? 1 + (uint8_t)rapt_random_below(r, 4) : 0;
    }
    if (rapt_random_below(r, 4) == 0) {
        c.link = (rapt_link)rapt_random_below(r, RAPT_LINK_COUNT);
        c.sinks = c.link == RAPT_LINK_SOFTMAX || c.link == RAPT_LINK_SIGNED ? c.sinks : 0;
        c.key_splits = c.link >= RAPT_LINK_CLIPPED ? 0 : c.key_splits;
    }
    if (rapt_random_below(r, 6) == 0 && !(c.soft_cap > 0))
        c.rank = (uint8_t)(1 + rapt_random_below(r, 20));
    c.rope = c.d_qk >= 4 && c.d_qk % 2 == 0 && rapt_random_below(r, 5) == 0 ? (uint8_t)(1 + rapt_random_below(r, 3)) : 0;
    c.qk_norm = rapt_random_below(r, 8) == 0;
    if (c.d_qk + c.rank > 576)
        c.rank = 0;
    c.gate = rapt_random_below(r, 6) == 0;
    if (c.sequences == 0 && rapt_random_below(r, 4) == 0)
        c.bias = (uint8_t)(1 + rapt_random_below(r, 3));
    if (rapt_random_below(r, 4) == 0) {
        c.blocks = c.input == RAPT_INPUT_EXACT ? 3 : 1 + (uint8_t)rapt_random_below(r, 3);
        c.block_q = block_sizes[rapt_random_below(r, COUNT(block_sizes))];
        c.block_k = block_sizes[rapt_random_below(r, COUNT(block_sizes))];
    }
    if (rapt_random_below(r, 5) == 0) {
        c.relative = (uint8_t)rapt_random_below(r, 3);
        c.decay = rapt_random_below(r, 2);
        if (c.sequences == 0 && c.nq <= c.nk && c.causal_offset == 0 && (c.relative || c.decay))
            c.place_width = (uint32_t)rapt_random_below(r, 20);
    }
    return c;
}

/* ---- by seed and number ---- */

/* Keys in pages, of lengths of their own, or quantised. */
static void draw_cache(rapt_random *r, rapt_case *c)
{
    static const rapt_dtype quantised[] = {RAPT_INT8, RAPT_INT4, RAPT_FP8};
    static const uint16_t pages[] = {1, 5, 7, 16, 32, 64};
    const uint64_t kind = rapt_random_below(r, 4);
    if (c->sequences > 0 || c->layout == RAPT_LAYOUT_PACKED || c->layout == RAPT_LAYOUT_BROADCAST || c->input == RAPT_INPUT_EXACT)
        return;
    c->ragged = kind != 2;
    c->rope = c->rank = 0; /* keys of a cache are kept rewritten, and lie on a line */
    c->qk_norm = false;
    c->place_width = 0;
    if (kind > 0)
        c->page_size = pages[rapt_random_below(r, COUNT(pages))];
    if (kind == 3) {
        c->k_dtype = quantised[rapt_random_below(r, 3)];
        c->v_dtype = quantised[rapt_random_below(r, 3)];
        c->input = RAPT_INPUT_NORMAL;
        c->nq = 1 + c->nq % 8;
    }
}

/* A stream of its own for each (seed, number). */
static rapt_random stream(uint64_t seed, uint64_t number)
{
    rapt_random a = {seed}, b = {rapt_random_next(&a) ^ number};
    return (rapt_random){rapt_random_next(&b)};
}

/* What pipelines are specialized for: the same for RAPT_CASE_RANDOM_GROUP numbers in a row. */
static rapt_case draw_composition(uint64_t seed, uint64_t group)
{
    rapt_random r = stream(~seed, group);
    if (rapt_random_below(&r, 5) == 0)
        return rapt_grid_case_random(&r);
    rapt_case c = rapt_case_mixed(&r);
    if (rapt_random_below(&r, 4) == 0)
        draw_cache(&r, &c);
    return c;
}

/* A length beside which the same kernel is chosen: few queries stay few. */
static uint64_t draw_length(rapt_random *r, uint64_t like)
{
    return like <= 8 ? 1 + rapt_random_below(r, 8) : 9 + rapt_random_below(r, 150);
}

/* What pipelines are not specialized for. */
static void draw_sizes(rapt_random *r, rapt_case *c)
{
    c->batch = c->sequences > 0 ? 1 : 1 + rapt_random_below(r, 3);
    if (c->sequences > 0) {
        draw_sequences(r, c);
    } else {
        const bool square = c->nq == c->nk && c->page_size == 0;
        c->nq = draw_length(r, c->nq);
        c->nk = square && rapt_random_below(r, 2) ? c->nq : 1 + rapt_random_below(r, 260);
        if (c->place_width > 0 && c->nk < c->nq)
            c->nk = c->nq;
    }
    for (uint32_t b = 0; b < c->batch && c->ragged; b++)
        c->length_k[b] = (uint32_t)rapt_random_below(r, c->nk + 1);
    if (c->causal || c->window)
        c->causal_offset = c->place_width > 0 ? 0 : offsets[rapt_random_below(r, COUNT(offsets))];
    if (c->window) {
        c->window_left = sides[rapt_random_below(r, COUNT(sides))];
        c->window_right = sides[rapt_random_below(r, COUNT(sides))];
    }
    if (c->soft_cap > 0)
        c->soft_cap = (float)(1 + rapt_random_below(r, 50));
    if (c->blocks > 0) {
        c->block_q = block_sizes[rapt_random_below(r, COUNT(block_sizes))];
        c->block_k = block_sizes[rapt_random_below(r, COUNT(block_sizes))];
    }
}

rapt_case rapt_case_random(uint64_t seed, uint64_t number)
{
    rapt_case c = draw_composition(seed, number / RAPT_CASE_RANDOM_GROUP);
    rapt_random r = stream(seed, number);
    if (c.grid.rank == 0)
        draw_sizes(&r, &c);
    c.seed = rapt_random_next(&r);
    snprintf(c.name, sizeof c.name, "random-%" PRIu64 "-%" PRIu64, seed, number);
    return c;
}

bool rapt_case_random_parse(const char *name, rapt_case *out)
{
    char again[sizeof out->name];
    uint64_t seed, number;
    if (sscanf(name, "random-%" SCNu64 "-%" SCNu64, &seed, &number) != 2)
        return false;
    snprintf(again, sizeof again, "random-%" PRIu64 "-%" PRIu64, seed, number);
    if (strcmp(again, name) != 0) /* nothing behind it, no sign, no zeros before it */
        return false;
    *out = rapt_case_random(seed, number);
    return true;
}
