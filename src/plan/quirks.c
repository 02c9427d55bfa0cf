/* Drivers known to fail on kernels that their capabilities admit: data, not ifs. The known-answer probe finds
 * what is wrong; this list is for what a probe cannot try without harm, such as compilers that take minutes.
 * A row that is forced by name runs all the same. */
#include "plan/plan.h"

#include <stdio.h>
#include <string.h>

typedef struct quirk {
    uint32_t driver_id; /* VkDriverId */
    int mesa_below;     /* holds for Mesa before this major version; 0: for all */
    uint32_t families;  /* bit per rapt_family */
    uint32_t scores;    /* holds for rows of more than so many scores a lane: unrolled patches; 0: for all */
    bool exact;         /* holds for rows of one subgroup size only: those for software devices */
    const char *reason;
    const char *row; /* holds for this row alone; NULL: for all */
    const char *but; /* not for rows whose names begin so */
} quirk;

static const quirk quirks[] = {
    /* Measured on 22.3.6: 10 to 60 s to compile a kernel that 25.0 compiles in one; what came out ran at 0.2
       GFLOP/s. */
    {13 /* VK_DRIVER_ID_MESA_LLVMPIPE */, 23, 1u << RAPT_FAMILY_BROADCAST | 1u << RAPT_FAMILY_DECODE, 0, false,
     "avoided on lavapipe before Mesa 23, whose compiler takes minutes for it", NULL, "tile-"},
    /* Measured on 22.3.6: 11 s for one that 25.0 compiles in one; the test of linear attention took more than 4 minutes. */
    {13, 23, 1u << RAPT_FAMILY_STATE, 0, true, "avoided on lavapipe before Mesa 23, whose compiler takes long for it", NULL, NULL},
    /* One lane for a row of many blocks falls short of what loops may take there (rapt_loop_turns). */
    {13, 23, 1u << RAPT_FAMILY_ROUTE, 0, false, "avoided on lavapipe before Mesa 23, which ends long loops early", "route-select", NULL},
    /* Measured with Subzero: 0.8 s for 4 scores a lane, 2.4 s for 8, 6 s for 16, minutes for 32. */
    {10 /* VK_DRIVER_ID_GOOGLE_SWIFTSHADER */, 0, 1u << RAPT_FAMILY_TILE, 8, false,
     "avoided on SwiftShader, whose compiler takes minutes for it", NULL, NULL},
};

/* The major version in "Mesa 22.3.6 (LLVM 15.0.6)"; 0 when there is none. */
static int mesa_major(const rapt_caps *caps)
{
    int major = 0;
    const char *at = strstr(caps->driver_info, "Mesa ");
    return at != NULL && sscanf(at + 5, "%d", &major) == 1 ? major : 0;
}

const char *rapt_quirk(const rapt_kernel_row *row, const rapt_caps *caps)
{
    for (size_t i = 0; i < RAPT_COUNT(quirks); i++) {
        const quirk *q = &quirks[i];
        int major = mesa_major(caps);
        bool version = q->mesa_below == 0 || (major != 0 && major < q->mesa_below);
        uint64_t scores = (uint64_t)row->rows_per_tile * row->keys_per_tile / RAPT_MAX(row->local_size, 1);
        if (q->driver_id == caps->driver_id && (q->families >> row->family & 1) && version &&
            (q->scores == 0 || scores > q->scores) && (!q->exact || row->subgroup_exact != 0) &&
            (q->row == NULL || strcmp(q->row, row->name) == 0) && (q->but == NULL || strncmp(row->name, q->but, strlen(q->but)) != 0))
            return q->reason;
    }
    return NULL;
}

/* Measured on 22.3.6: rows over 100,000 keys in one split came out wrong, over 20,000 right; with the naive kernel over 6,000. The
 * compiler of Mesa before 23 counts turns down from there, of all loops of an invocation. */
uint64_t rapt_loop_turns(const rapt_caps *caps)
{
    const int major = mesa_major(caps);
    return caps->driver_id == 13 && major != 0 && major < 23 ? 65535 : UINT64_MAX;
}
