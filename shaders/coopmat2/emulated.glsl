// What coopmat2.comp does with matrices, where there are none: element e of invocation i is number e * WG_SIZE + i of the matrix,
// row by row. It runs the kernel's own logic, masks, poison and sums, on any device; it is not fast.
#define SCORES float[TILE_ROWS * TILE_KEYS / WG_SIZE]
#define OUTPUTS float[TILE_ROWS * D_V / WG_SIZE]
#define QUERIES uint

shared float16_t queries[TILE_ROWS * D_QK];
shared float weights[TILE_ROWS * TILE_KEYS];
shared float row_numbers[TILE_ROWS];
shared float exchange[TILE_ROWS * TILE_KEYS];

uint number_of(int e) { return uint(e) * WG_SIZE + gl_LocalInvocationIndex; }

#define EACH_ELEMENT [[dont_unroll]]
#define AS_WEIGHT(x) x // not rounded
#define FILL(x, value) [[dont_unroll]] for (int i = 0; i < x.length(); i++) x[i] = value;
#define LOAD_QUERIES(q)                                                                                     \
    q = 0u;                                                                                                 \
    [[dont_unroll]] for (uint e = gl_LocalInvocationIndex; e < TILE_ROWS * D_QK; e += WG_SIZE)              \
        queries[e] = query_element(e / D_QK, e % D_QK, float16_t(0.0));                                     \
    barrier();
#define KEY_LAYOUTS

// As the clamped layouts read.
float16_t key_or_zero(uint key, uint d)
{
    return key < keys_end && d < HEAD_DIM_QK ? float16_t(LOAD_ELEMENT(k_words1, k_first + key * p.k_stride_s + d)) : float16_t(0.0);
}
float16_t value_or_zero(uint key, uint d)
{
    return key < keys_end && d < HEAD_DIM_V ? float16_t(value_element(key, d)) : float16_t(0.0);
}

#define MULTIPLY_BY_K(s, q, whole)                                                                          \
    [[dont_unroll]] for (int i = 0; i < s.length(); i++) {                                                  \
        uint r = number_of(i) / TILE_KEYS, c = number_of(i) % TILE_KEYS;                                    \
        [[dont_unroll]] for (uint d = q; d < HEAD_DIM_QK; d++)                                              \
            s[i] += float(queries[r * D_QK + d]) * float(key_or_zero(first_key + c, d));                    \
    }

#define MULTIPLY(acc, s, change)                                                                            \
    barrier();                                                                                              \
    [[dont_unroll]] for (int i = 0; i < s.length(); i++)                                                    \
        weights[number_of(i)] = s[i];                                                                       \
    barrier();                                                                                              \
    [[dont_unroll]] for (int i = 0; i < acc.length(); i++) {                                                \
        uint r = number_of(i) / D_V, c = number_of(i) % D_V;                                                \
        [[dont_unroll]] for (uint k = 0u; k < TILE_KEYS; k++) {                                             \
            float16_t v = value_or_zero(first_key + k, c);                                                  \
            acc[i] += weights[r * TILE_KEYS + k] * float(change);                                           \
        }                                                                                                   \
    }
#define MULTIPLY_BY_V(acc, s, whole) { MULTIPLY(acc, s, v) }
#define MULTIPLY_BY_FINITE_V(acc, s) { MULTIPLY(acc, s, finite_only(v)) }
#define ADD_NOT_FINITE(acc, s)                                                                              \
    [[dont_unroll]] for (uint kind = 0; kind < NOT_FINITE_KINDS; kind++) {                                  \
        SCORES seen;                                                                                        \
        OUTPUTS count;                                                                                      \
        FILL(count, 0.0)                                                                                    \
        [[dont_unroll]] for (int i = 0; i < s.length(); i++)                                                \
            seen[i] = s[i] == NEG_INF ? 0.0 : 1.0;                                                          \
        MULTIPLY(count, seen, is_kind(v, kind))                                                             \
        [[dont_unroll]] for (int i = 0; i < acc.length(); i++)                                              \
            acc[i] += count[i] > 0.0 ? value_of_kind(kind) : 0.0;                                           \
    }

#define EACH(x, width, function)                                                                            \
    [[dont_unroll]] for (int i = 0; i < x.length(); i++)                                                    \
        x[i] = function(number_of(i) / width, number_of(i) % width, x[i]);
#define EACH_SCORE(s, function) EACH(s, TILE_KEYS, function)
#define EACH_OUTPUT(x, function) EACH(x, D_V, function)
#define STORE_SUMS(m, l)                                                                                    \
    [[dont_unroll]] for (int i = 0; i < m.length(); i++)                                                    \
        sums_element(number_of(i) / TILE_KEYS, number_of(i) % TILE_KEYS, m[i], l[i]);

#define REDUCE(to, x, function)                                                                             \
    {                                                                                                       \
        barrier();                                                                                          \
        [[dont_unroll]] for (int i = 0; i < x.length(); i++)                                                \
            exchange[number_of(i)] = x[i];                                                                  \
        barrier();                                                                                          \
        [[dont_unroll]] for (int i = 0; i < x.length(); i++) {                                              \
            uint r = number_of(i) / TILE_KEYS;                                                              \
            float y = exchange[r * TILE_KEYS];                                                              \
            [[dont_unroll]] for (uint k = 1u; k < TILE_KEYS; k++)                                           \
                y = function(y, exchange[r * TILE_KEYS + k]);                                               \
            to[i] = y;                                                                                      \
        }                                                                                                   \
    }
#define ROW_MAXIMA(to, x) REDUCE(to, x, larger)
#define ROW_SUMS(to, x) REDUCE(to, x, added)
#define SPREAD(to, x)                                                                                       \
    barrier();                                                                                              \
    [[dont_unroll]] for (int i = 0; i < x.length(); i++)                                                    \
        row_numbers[number_of(i) / TILE_KEYS] = x[i];                                                       \
    barrier();                                                                                              \
    [[dont_unroll]] for (int i = 0; i < to.length(); i++)                                                   \
        to[i] = row_numbers[number_of(i) / D_V];
