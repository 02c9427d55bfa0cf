// What coopmat2.comp does with matrices, by GL_NV_cooperative_matrix2. Macros, since matrices are not passed by reference.
#define QUERIES coopmat<float16_t, gl_ScopeWorkgroup, TILE_ROWS, D_QK, gl_MatrixUseA>
#define KEYS coopmat<float16_t, gl_ScopeWorkgroup, D_QK, TILE_KEYS, gl_MatrixUseB>
#define SCORES coopmat<float, gl_ScopeWorkgroup, TILE_ROWS, TILE_KEYS, gl_MatrixUseAccumulator>
#define WEIGHTS coopmat<float16_t, gl_ScopeWorkgroup, TILE_ROWS, TILE_KEYS, gl_MatrixUseA>
#define VALUES coopmat<float16_t, gl_ScopeWorkgroup, TILE_KEYS, D_V, gl_MatrixUseB>
#define OUTPUTS coopmat<float, gl_ScopeWorkgroup, TILE_ROWS, D_V, gl_MatrixUseAccumulator>
#define QUERIES_HALF coopmat<float16_t, gl_ScopeWorkgroup, TILE_ROWS, D_QK, gl_MatrixUseAccumulator>

#define EACH_ELEMENT [[unroll]]
#define FILL(x, value) [[unroll]] for (int i = 0; i < x.length(); i++) x[i] = value;

#define AS_WEIGHT(x) float(float16_t(x))

// Rows of packed heads lie in no tensor: element by element, once.
#define LOAD_QUERIES(q)                                                                                     \
    {                                                                                                       \
        QUERIES_HALF half_q = QUERIES_HALF(0.0);                                                            \
        coopMatPerElementNV(half_q, half_q, query_element);                                                 \
        q = QUERIES(half_q);                                                                                \
    }

// Of keys as tensors of (key, element). Plain ones know no bounds; the others read zeros past the keys that any row sees, and
// past head_dim.
#define CLAMPED tensorLayoutNV<2, gl_CooperativeMatrixClampModeConstantNV>
#define KEY_LAYOUTS                                                                                         \
    tensorLayoutNV<2> k_plain = setTensorLayoutDimensionNV(createTensorLayoutNV(2), keys_end, D_QK);        \
    tensorLayoutNV<2> v_plain = setTensorLayoutDimensionNV(createTensorLayoutNV(2), keys_end, D_V);         \
    CLAMPED k_clamped = createTensorLayoutNV(2, gl_CooperativeMatrixClampModeConstantNV);                   \
    CLAMPED v_clamped = createTensorLayoutNV(2, gl_CooperativeMatrixClampModeConstantNV);                   \
    k_clamped = setTensorLayoutDimensionNV(k_clamped, keys_end, HEAD_DIM_QK);                               \
    v_clamped = setTensorLayoutDimensionNV(v_clamped, keys_end, HEAD_DIM_V);                                \
    k_plain = setTensorLayoutStrideNV(k_plain, p.k_stride_s & ~7u, 1u);                                     \
    v_plain = setTensorLayoutStrideNV(v_plain, p.v_stride_s & ~7u, 1u);                                     \
    k_clamped = setTensorLayoutStrideNV(k_clamped, p.k_stride_s & ~7u, 1u);                                 \
    v_clamped = setTensorLayoutStrideNV(v_clamped, p.v_stride_s & ~7u, 1u);                                 \
    tensorViewNV<2, false, 1, 0> transposed = createTensorViewNV(2, false, 1, 0);

// A matrix that was loaded in two ways would have to stay in registers: the products are in the branches.
#define MULTIPLY_BY_K(s, q, whole)                                                                          \
    if (HEAD_DIM_QK == D_QK && whole) {                                                                     \
        KEYS k;                                                                                             \
        coopMatLoadTensorNV(k, k_lines, k_first >> 3, sliceTensorLayoutNV(k_plain, first_key, TILE_KEYS, 0, D_QK), transposed); \
        s = coopMatMulAdd(q, k, s);                                                                         \
    } else {                                                                                                \
        KEYS k;                                                                                             \
        coopMatLoadTensorNV(k, k_lines, k_first >> 3, sliceTensorLayoutNV(k_clamped, first_key, TILE_KEYS, 0, D_QK), transposed); \
        s = coopMatMulAdd(q, k, s);                                                                         \
    }

#define LOAD_CLAMPED_V(v)                                                                                   \
    coopMatLoadTensorNV(v, v_lines, v_first >> 3, sliceTensorLayoutNV(v_clamped, first_key, TILE_KEYS, 0, D_V));
#define MULTIPLY_BY_V(acc, s, whole)                                                                        \
    {                                                                                                       \
        if (HEAD_DIM_V == D_V && whole) {                                                                   \
            VALUES v;                                                                                       \
            coopMatLoadTensorNV(v, v_lines, v_first >> 3, sliceTensorLayoutNV(v_plain, first_key, TILE_KEYS, 0, D_V)); \
            acc = coopMatMulAdd(WEIGHTS(s), v, acc);                                                        \
        } else {                                                                                            \
            VALUES v;                                                                                       \
            LOAD_CLAMPED_V(v)                                                                               \
            acc = coopMatMulAdd(WEIGHTS(s), v, acc);                                                        \
        }                                                                                                   \
    }

#define MULTIPLY_BY_FINITE_V(acc, s)                                                                        \
    {                                                                                                       \
        VALUES v;                                                                                           \
        LOAD_CLAMPED_V(v)                                                                                   \
        [[unroll]] for (int i = 0; i < v.length(); i++)                                                     \
            v[i] = finite_only(v[i]);                                                                       \
        acc = coopMatMulAdd(WEIGHTS(s), v, acc);                                                            \
    }

// By a product: how many of each kind there are among the keys that a row sees.
#define ADD_NOT_FINITE(acc, s)                                                                              \
    [[dont_unroll]] for (uint kind = 0; kind < NOT_FINITE_KINDS; kind++) {                                  \
        SCORES seen;                                                                                        \
        VALUES v;                                                                                           \
        OUTPUTS count = OUTPUTS(0.0);                                                                       \
        LOAD_CLAMPED_V(v)                                                                                   \
        [[unroll]] for (int i = 0; i < s.length(); i++)                                                     \
            seen[i] = s[i] == NEG_INF ? 0.0 : 1.0;                                                          \
        [[unroll]] for (int i = 0; i < v.length(); i++)                                                     \
            v[i] = is_kind(v[i], kind);                                                                     \
        count = coopMatMulAdd(WEIGHTS(seen), v, count);                                                     \
        [[unroll]] for (int i = 0; i < acc.length(); i++)                                                   \
            acc[i] += count[i] > 0.0 ? value_of_kind(kind) : 0.0;                                           \
    }

#define EACH_SCORE(s, function) coopMatPerElementNV(s, s, function);
#define EACH_OUTPUT(x, function) coopMatPerElementNV(x, x, function);
#define STORE_SUMS(m, l) coopMatPerElementNV(m, m, sums_element, l);
#define ROW_MAXIMA(to, x) coopMatReduceNV(to, x, gl_CooperativeMatrixReduceRowNV, larger);
#define ROW_SUMS(to, x) coopMatReduceNV(to, x, gl_CooperativeMatrixReduceRowNV, added);
// From one number a row, in all columns, to the columns of an output.
#define SPREAD(to, x) coopMatReduceNV(to, x, gl_CooperativeMatrixReduceRowNV, larger);
