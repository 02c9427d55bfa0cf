/* Drivers known to fail on kernels that their capabilities admit: data, not ifs. The known-answer probe finds
 * what is wrong; this list is for what a probe cannot try without harm, such as compilers that take minutes.
 * A row that is forced by name runs all the same. */
#include "plan/plan.h"

#include <stdio.h>
#include <string.h>

typedef struct quirk {
    uint32_t driver_id; /* VkDriverId */
    int mesa_below;     /* holds for Mesa before this major version */
    uint32_t families;  /* bit per rapt_family */
    const char *reason;
} quirk;

static const quirk quirks[] = {
    /* Measured on 22.3.6: 10 to 60 s to compile a kernel that 25.0 compiles in one; what came out ran at 0.2
       GFLOP/s. */
    {13 /* VK_DRIVER_ID_MESA_LLVMPIPE */, 23, 1u << RAPT_FAMILY_BROADCAST | 1u << RAPT_FAMILY_DECODE,
     "avoided on lavapipe before Mesa 23, whose compiler takes minutes for it"},
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
        if (q->driver_id == caps->driver_id && (q->families >> row->family & 1) && major != 0 &&
            major < q->mesa_below)
            return q->reason;
    }
    return NULL;
}
