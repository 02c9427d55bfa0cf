/* The oracle of Multi-Token Attention. */
#include "oracle_system.h"

static const rapt_check_array *maybe(oracle *o, const char *name)
{
    for (uint32_t n = 0; n < o->p->input_count; n++)
        if (strcmp(o->p->inputs[n].name, name) == 0)
            return input(o, name);
    return NULL;
}

/* Section 3.1, Mask_0, convolution, then the mask of the softmax: what query i of head h sees of key j. */
static double convolved(oracle *o, uint64_t b, uint64_t h, int64_t i, int64_t j)
{
    const rapt_check_array *q = input(o, "q"), *k = input(o, "k"), *kernel = input(o, "kernel_qk");
    const int64_t rows = (int64_t)kernel->shape[1], columns = (int64_t)kernel->shape[2], n = (int64_t)q->shape[2];
    const double scale = scale_of(o, q->shape[3]);
    double sum = 0, size = 0;
    for (int64_t back = 0; back < rows; back++)
        for (int64_t c = 0; c < columns; c++) {
            const int64_t from = i - back, key = j + c - columns / 2;
            if (from < 0 || key < 0 || key >= n || key > from)
                continue;
            const double x = r(o, kernel->data[((int64_t)h * rows + rows - 1 - back) * columns + c] *
                                      product(o, row4(q, b, h, (uint64_t)from), row4(k, b, h, (uint64_t)key), q->shape[3], scale));
            sum = r(o, sum + x);
            size += fabs(x);
        }
    o->to->score = fmax(o->to->score, size);
    return sum;
}

/* Then section 3.2, heads mixed behind the softmax, and section 3.3, a norm per head with a factor. */
static bool multi_token(oracle *o)
{
    const rapt_check_array *q = input(o, "q"), *v = input(o, "v"), *mix = maybe(o, "kernel_heads"), *norm = maybe(o, "norm");
    const uint64_t heads = q->shape[1], n = q->shape[2], dv = v->shape[3], mixed = mix ? mix->shape[1] : 1;
    const double eps = strtod(text_of(o, "eps"), NULL), factor = strtod(text_of(o, "depth_scale"), NULL);
    double *part = malloc((size_t)(dv + 1) * sizeof *part), unused;
    query one;
    const bool good = query_make(&one, n, dv) && part && room(o, q->shape[0] * heads * n * dv, 0);
    for (uint64_t at = 0; at < q->shape[0] * heads * n && good; at++) {
        const uint64_t b = at / (heads * n), h = at / n % heads, i = at % n, first = h / mixed * mixed;
        double *out = o->to->out + at * dv, squares = 0;
        for (uint64_t e = 0; e < dv; e++)
            out[e] = 0;
        for (uint64_t u = 0; u < mixed; u++) {
            for (uint64_t j = 0; j < n; j++) {
                one.seen[j] = j <= i;
                one.s[j] = j <= i ? convolved(o, b, first + u, (int64_t)i, (int64_t)j) : 0;
                one.v[j] = row4(v, b, h, j);
            }
            one.out = part;
            one.lse = &unused;
            softmax(o, &one);
            const double w = mix ? mix->data[h * mixed + u] : 1;
            for (uint64_t e = 0; e < dv; e++)
                out[e] = r(o, out[e] + r(o, w * part[e]));
        }
        for (uint64_t e = 0; e < dv; e++)
            squares = r(o, squares + r(o, out[e] * out[e]));
        for (uint64_t e = 0; e < dv; e++)
            out[e] = stored(o, r(o, r(o, out[e] * r(o, factor / r(o, sqrt(r(o, squares / (double)dv + eps))))) * (norm ? norm->data[e] : 1)));
    }
    query_free(&one);
    free(part);
    return good && !o->failed;
}

static const oracle_entry entries[] = {
    {"Multi-Token Attention (MTA)", multi_token},
};
const oracle_family rapt_oracles_multi_token = {entries, sizeof entries / sizeof *entries};
