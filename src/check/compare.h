/* Right or wrong: how far results may be from the oracle, and what to say when they are further.
 *
 * A tolerance is earned, not chosen: twice the largest error that the plainest single-precision
 * implementation makes on the same stored inputs (rounding its output to the same storage type), plus a
 * floor. The floor is there because a case of a few elements may leave the plain one without any error by
 * luck. With S the most that a partial sum of a score can be (scale * |q| |k|), it is 2^-22, four roundings
 * of single precision, of the largest of 1, S and |lse| for the LSE; and for the output, of the largest |v|
 * times the larger of 1 and S / 4: rows of V are averaged, and a score rounded once at S shifts its weight
 * by S * 2^-24 of itself; where weights do not sum to one, at least of the largest |output|. For the same reason the plain one's error counts
 * as no less than one rounding of the largest |output| to its storage type, or two where weights are 16-bit: of a few elements
 * none may lie near the middle between two numbers, where another order of sums rounds the other way. Vulkan grants exp2 an error of 3 ulp and a division 2.5; the host's have less
 * than 1.
 */
#ifndef RAPT_CHECK_COMPARE_H
#define RAPT_CHECK_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAPT_CHECK_FACTOR 2.0
#define RAPT_CHECK_FLOOR 0x1p-22

typedef struct rapt_check_difference {
    uint64_t compared;  /* elements */
    uint64_t wrong;     /* elements beyond the tolerance */
    uint64_t nans;      /* of them, NaN where a number was wanted */
    uint64_t first_nan; /* its index */
    double tolerance;   /* 0: compared exactly */
    double max_abs;     /* largest |got - want|, infinite where one of them alone is not finite */
    double rms;         /* of the finite differences */
    uint64_t worst;     /* index of max_abs, with both numbers */
    double got, want;
} rapt_check_difference;

/* |got - want|; equal numbers (infinities of one sign, zeros of any sign) differ by 0, NaN from everything by
 * infinity. */
double rapt_check_distance(double got, double want);

/* Largest distance between two results over the rows that are RAPT_ROW_DONE (see oracle_attention.h). */
double rapt_check_max_distance(const double *a, const double *b, const uint8_t *rows, uint64_t row_count,
                               uint64_t row_size);

/* The tolerance earned by a largest plain error, for numbers of up to `magnitude`. */
double rapt_check_tolerance(double plain_error, double magnitude);

/* Compares the rows that are RAPT_ROW_DONE: row_count rows of row_size elements. tolerance 0 asks for
 * equality. */
rapt_check_difference rapt_check_compare(const double *got, const double *want, const uint8_t *rows,
                                         uint64_t row_count, uint64_t row_size, double tolerance);

/* One line about the worst element of a tensor of up to four axes (trailing axes first filled: unused ones
 * are 1). */
void rapt_check_describe(const rapt_check_difference *difference, const char *tensor, const uint64_t size[4],
                         char *text, size_t capacity);

#endif
