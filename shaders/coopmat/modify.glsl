// What a score goes through that depends on its row and key, and what a weight is made of, for the cooperative-matrix kernel.
//
// Scores that biases, decay or code of an app change (IS_HOOKED) pass through shared memory, a matrix at a time: there each lane
// knows the row and the keys of what it holds. Everything else is done where the elements lie.

#ifndef USER_LOOP
#define USER_LOOP [[unroll]]
#endif

// Whether scores depend on where they stand by more than what hides them.
#if USER_SCORE || USER_MASK
const bool IS_HOOKED = true;
#else
const bool IS_HOOKED = IS_BIASED ? true : IS_DECAY; // (not ||: see walk.glsl)
#endif
// Whether a row's limit alone does not say which keys it sees, or with which sign.
const bool IS_PAIRWISE = is_window ? true : IS_HOOKED ? true : IS_SHAPED ? true
                         : (extras & (RAPT_PARAM_SEGMENTS | RAPT_PARAM_BLOCKS | RAPT_PARAM_PAGED)) != 0u;

// Where biases and links leave few keys that count, a sum of rounded weights, which the output is divided by, is not the one
// that the log-sum-exp is right with: there are two then. With decay the output's weights are rounded after it, and one sum will do.
const bool SUMS_TWICE = IS_DECAY ? false : IS_ADDITIVE ? false : IS_HOOKED ? true : IS_SIGNED;

// A sum over the columns of a row of a matrix in shared memory.
float row_total(uint at)
{
    float sum = 0.0;
    [[unroll]] for (uint i = 0; i < TN; i++)
        sum += scratch.rows_exchange[at + i];
    return sum;
}

// Whether rows begin with a maximum and a sum: of a sink, or of the one of off-by-one.
const bool STARTS = IS_SINKS ? true : IS_OFFBYONE;

// One matrix of scores in shared memory at `exchange`, rows from `first_row` on and keys from `key0` on: biases and code of the app;
// then, unless all rows see the whole tile, what a row does not see becomes -inf. `early_scale`: what scores that no hook has
// scaled are multiplied by before that.
void hook_scores(Walk w, uint exchange, uint first_row, uint rows, uint key0, bool whole, float early_scale)
{
    const uint quads = TN / 4;
    [[dont_unroll]] for (uint e = gl_SubgroupInvocationID; e < TM * quads; e += SG_SIZE) {
        uint r = e / quads, c0 = e % quads * 4u, at = exchange + r * S_PITCH + c0;
        uint row = min(first_row + r, rows - 1u), head = row_head(w, row), query = row_query(row);
        RowBias bias = row_bias(w, head, query);
        Sight range = sight(w, query);
        uint line = IS_BLOCKS ? block_line(w, head, query) : 0u;
        USER_LOOP for (uint c = 0; c < 4; c++) {
            uint key = key0 + c0 + c, token = min(key, w.key_end - 1u);
            float s = scratch.rows_exchange[at + c];
            if (IS_BIASED)
                s = score_bias(s, bias, token);
#if USER_SCORE
            s = user_score_hook(w, row, token, s);
#endif
            if (!whole) {
                bool seen = sees(w, range, key);
                if (IS_BLOCKS)
                    seen = block_shows(line, token) && seen;
                s = mask_score(s * early_scale, seen);
#if USER_MASK
                s = mask_score(s, user_sees(w, row, token));
#endif
            }
            scratch.rows_exchange[at + c] = s;
        }
    }
}

// The exponents (of 2) of the decay of one matrix of weights, there.
void place_decay(Walk w, uint exchange, uint first_row, uint rows, uint key0)
{
    const uint quads = TN / 4;
    [[dont_unroll]] for (uint e = gl_SubgroupInvocationID; e < TM * quads; e += SG_SIZE) {
        uint r = e / quads, c0 = e % quads * 4u;
        uint row = min(first_row + r, rows - 1u);
        RowBias bias = row_bias(w, row_head(w, row), row_query(row));
        [[unroll]] for (uint c = 0; c < 4; c++)
            scratch.rows_exchange[exchange + r * S_PITCH + c0 + c] = decay_exponent(bias, min(key0 + c0 + c, w.key_end - 1u));
    }
}

// Links without a denominator have weights of any size and sign, which f16 would not hold. So they too keep a running maximum m of
// a row, of the log2 of their weights' sizes, and multiply by exp2(m) in the end. In place of a score then stands the weight
// itself, 0 for a key that is not seen.
const float LEAST_MAXIMUM = -120.0; // exp2(-m) is finite

// From what stands in place of a score to what the maximum is taken of.
float score_size(float s) { return IS_ADDITIVE ? abs(s) : IS_SIGNED && s != NEG_INF ? abs(s) : s; }

// And from the largest of a row to its maximum.
float size_maximum(float size, float scale)
{
    if (IS_ADDITIVE)
        return size > 0.0 ? max(log2(size), LEAST_MAXIMUM) : NEG_INF;
    return size * scale;
}

// The weight: at most exp2(RESCALE_ABOVE), and its sign.
float weight_size(float s, float scale, float m)
{
    if (IS_ADDITIVE)
        return s == 0.0 ? 0.0 : abs(s) * exp2(-m);
    if (IS_HOOKED && s == NEG_INF) // exp2(-inf) need not be 0 everywhere, and a row of nothing else must come to 0
        return 0.0;
    return exp2(fma(score_size(s), scale, -m));
}
