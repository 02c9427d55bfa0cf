/* What every operator's plan has: steps, slices, and the throughput they assume. */
#include "plan/plan.h"

#include <string.h>

#define MAX_STEPS (1u << 20)

/* One more step, all zero. */
rapt_status rapt_plan_new_step(rapt_plan *plan, rapt_step **out, rapt_error *error)
{
    if (plan->step_count == plan->step_capacity) {
        uint32_t capacity = plan->step_capacity ? plan->step_capacity * 2 : 16;
        if (capacity > MAX_STEPS)
            return rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "the plan would need more than %u dispatches",
                             MAX_STEPS);
        rapt_step *grown = rapt_realloc_array(&plan->allocator, plan->steps, plan->step_capacity, capacity,
                                              sizeof *plan->steps);
        if (grown == NULL)
            return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u steps", capacity);
        plan->steps = grown;
        plan->step_capacity = capacity;
    }
    rapt_step *step = &plan->steps[plan->step_count++];
    memset(step, 0, sizeof *step);
    *out = step;
    return RAPT_OK;
}

/* Throughput that slices assume until the device has shown its own: low enough to be safe on slow ones. */
double rapt_assumed_flops_per_second(const rapt_caps *caps)
{
    switch (caps->device_class) {
    case RAPT_CLASS_SOFTWARE:
        return 5e10 * RAPT_MAX(caps->compute_units, 1); /* and no watchdog */
    case RAPT_CLASS_V3D:
    case RAPT_CLASS_POWERVR:
    case RAPT_CLASS_MALI:
        return 1e10;
    case RAPT_CLASS_ADRENO:
        return 5e10;
    case RAPT_CLASS_NVIDIA:
    case RAPT_CLASS_AMD_RDNA:
        return RAPT_MAX(2e11, 2e10 * caps->compute_units); /* a twentieth of what their units can do */
    default:
        return 2e11;
    }
}

/* Puts steps into slices of about the time target, and barriers between phases. */
void rapt_plan_cut_slices(rapt_plan *plan, double slice_flops)
{
    double sum = 0;
    uint32_t slice = 0;
    for (uint32_t i = 0; i < plan->step_count; i++) {
        rapt_step *step = &plan->steps[i];
        if (i > 0 && sum + (double)step->flops > slice_flops) {
            slice++;
            sum = 0;
        }
        sum += (double)step->flops;
        step->slice = slice;
        step->barrier = i > 0 && step->phase != plan->steps[i - 1].phase;
    }
    plan->slice_count = plan->step_count ? slice + 1 : 0;
    plan->phase_count = plan->step_count ? plan->steps[plan->step_count - 1].phase + 1u : 0;
}
