/* Published systems against their papers: small problems from the checks of the systems table, and one oracle
 * per system. A check is written as inputs, a bar, and parameters:
 *
 *     q=1,4,30,16 k=1,2,30,16 v=1,2,30,16 cu_seqlens=0,7,7,16,21 | last=9
 *
 * The numbers are shapes; of inputs named cu_.. they are the entries. An input that the table calls "float32" is that whatever
 * the problem's type; "float32 in (0, 1)" and "float32, positive" lie in (0, 1), "float32, negative" in (-1, 0), "positive .." in
 * (0, 1) in the problem's type; "int32 below N" has entries from 0 to N - 1, "int32 rising below N" rising ones along the last axis;
 * where N is a letter, below the first input's third size.
 * A number of a float input behind a star, k=1,2,30,16*0.2, is what its entries are multiplied with. In parameters ~ stands for a
 * space. */
#ifndef RAPT_CHECK_SYSTEMS_H
#define RAPT_CHECK_SYSTEMS_H

#include <rapt/system.h>
#include <stdbool.h>

#define RAPT_CHECK_FIELDS 12

typedef struct rapt_check_array {
    char name[24];
    rapt_dtype dtype;
    uint32_t rank;
    uint64_t shape[4], count;
    double *data; /* of stored values: exact in the problem's type; NULL for bounds */
    int32_t *bounds; /* of int32; the sizes are in shape all the same */
} rapt_check_array;

typedef struct rapt_check_system {
    const rapt_system_info *info;
    rapt_dtype dtype;
    uint32_t input_count, setting_count;
    rapt_check_array inputs[RAPT_CHECK_FIELDS];
    rapt_system_setting settings[RAPT_CHECK_FIELDS];
    char text[600]; /* that the settings point into */
} rapt_check_system;

/* Parses a check and fills the inputs with normally distributed numbers, rounded to the type. False: not of
 * that form, or no memory. Free in any case. */
bool rapt_check_system_make(const rapt_system_info *info, const char *check, rapt_dtype dtype, uint64_t seed,
                            rapt_check_system *out);
void rapt_check_system_free(rapt_check_system *system);

typedef enum rapt_check_precision {
    RAPT_CHECK_DOUBLE = 0,
    RAPT_CHECK_SINGLE,       /* the plainest single precision, what is stored rounded to the type */
    RAPT_CHECK_HALF_WEIGHTS, /* and weights rounded to the type too */
} rapt_check_precision;

/* Contiguous, of the shapes of outputs "out" and "lse". From malloc. */
typedef struct rapt_check_expected {
    double *out, *lse;
    uint64_t out_count, lse_count;
    double score; /* the most that a partial sum of a score can be */
} rapt_check_expected;

/* Whether there is an oracle for the system of this name. */
bool rapt_check_system_has_oracle(const char *name);
/* False where there is no oracle, an input or parameter that it needs, or memory. */
bool rapt_check_system_expect(const rapt_check_system *system, rapt_check_precision precision,
                              rapt_check_expected *expected);
void rapt_check_expected_free(rapt_check_expected *expected);

#endif
