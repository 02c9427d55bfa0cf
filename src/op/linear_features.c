/* Feature maps of linear attention: what goes with them, and how many features they make. */
#include "op/linear.h"

#include <math.h>

#define MAX_BLOCK 128u /* features of products at once: what kernels of matrix products take. Other maps make d_k of them, in one block */

const char *rapt_phi_name(rapt_phi feature)
{
    static const char *const features[] = {"identity", "elu1", "relu",    "relu2",     "exp",    "softmax",
                                           "taylor2",  "poly", "focused", "lognormal", "cosine", "user"};
    _Static_assert(RAPT_COUNT(features) == RAPT_PHI_COUNT, "a feature map has no name");
    return (unsigned)feature < RAPT_PHI_COUNT ? features[feature] : "unknown";
}

static bool makes_products(rapt_phi feature)
{
    return feature == RAPT_PHI_TAYLOR2 || feature == RAPT_PHI_POLY;
}

/* Features of d_k: those of maps of products are 1, each x_i, and at order 2 each x_i x_j with i <= j. */
static uint32_t feature_count(rapt_phi feature, float power, uint32_t d_k)
{
    if (!makes_products(feature))
        return d_k;
    return 1 + d_k + (feature == RAPT_PHI_POLY && power == 1.0f ? 0 : d_k * (d_k + 1) / 2);
}

static void cut_blocks(uint32_t features, bool wide, uint32_t *block, uint32_t *blocks)
{
    *blocks = wide ? (uint32_t)rapt_div_up(features, MAX_BLOCK) : 1;
    *block = (uint32_t)rapt_div_up(features, *blocks);
    if (wide)
        *block = (uint32_t)rapt_align_up(*block, 4);
}

uint32_t rapt_linear_state_rows(rapt_phi feature, float feature_power, uint32_t d_k)
{
    uint32_t block, blocks;
    if (d_k < 1 || d_k > RAPT_LINEAR_MAX_DIM)
        return 0;
    cut_blocks(feature_count(feature, feature_power, d_k), makes_products(feature), &block, &blocks);
    return block * blocks;
}

static bool has(const rapt_linear_desc *d, rapt_phi feature)
{
    return d->feature == feature || ((d->flags & RAPT_LINEAR_FEATURE_K) && d->feature_k == feature);
}

static rapt_status check_power(const rapt_linear_desc *d, rapt_linear_problem *p, rapt_error *error)
{
    const bool poly = has(d, RAPT_PHI_POLY), focused = has(d, RAPT_PHI_FOCUSED);
    p->power = d->feature_power;
    if (p->power == 0.0f)
        p->power = poly ? 2.0f : focused ? 3.0f : 0.0f;
    else if (!poly && !focused)
        return rapt_fail(error, RAPT_ERROR_INVALID, "feature_power goes with the maps poly and focused");
    if (poly && p->power != 1.0f && p->power != 2.0f)
        return rapt_fail(error, RAPT_ERROR_INVALID, "feature_power %g: the map poly has order 1 or 2",
                         (double)p->power);
    if (focused && !(p->power >= 1.0f && p->power <= 64.0f))
        return rapt_fail(error, RAPT_ERROR_INVALID, "feature_power %g: the map focused takes 1 to 64",
                         (double)p->power);
    return RAPT_OK;
}

static rapt_status check_bidirectional(const rapt_linear_desc *d, rapt_error *error)
{
    const bool both = d->flags & RAPT_LINEAR_BIDIRECTIONAL, keys = d->flags & RAPT_LINEAR_NORMALIZE_KEYS;
    const char *wrong = NULL;
    if (keys && (d->flags & RAPT_LINEAR_NORMALIZE))
        wrong = "RAPT_LINEAR_NORMALIZE and RAPT_LINEAR_NORMALIZE_KEYS exclude each other";
    else if (keys && !both)
        wrong = "RAPT_LINEAR_NORMALIZE_KEYS needs RAPT_LINEAR_BIDIRECTIONAL";
    else if (keys && (d->state_in.dtype || d->state_out.dtype))
        wrong = "RAPT_LINEAR_NORMALIZE_KEYS has no states in or out";
    else if (both && (d->rule != RAPT_LINEAR_NONE || d->decay.dtype || d->gate.dtype))
        wrong = "RAPT_LINEAR_BIDIRECTIONAL needs rule none without decays";
    else if (both && d->form == RAPT_LINEAR_RECURRENT)
        wrong = "RAPT_LINEAR_BIDIRECTIONAL has no recurrent form";
    return wrong ? rapt_fail(error, RAPT_ERROR_INVALID, "%s", wrong) : RAPT_OK;
}

/* Whether the features of `p` go with the rest. */
static rapt_status check_width(const rapt_linear_desc *d, const rapt_linear_problem *p, uint32_t features,
                               rapt_error *error)
{
    const rapt_phi of_q = (rapt_phi)p->feature, of_k = (rapt_phi)p->feature_k;
    const uint32_t d_k = (uint32_t)d->q.size[3], of_keys = feature_count(of_k, p->power, d_k);
    if (features != of_keys || makes_products(of_q) != makes_products(of_k))
        return rapt_fail(error, RAPT_ERROR_INVALID, "the maps of q and k, %s and %s, make %u and %u features",
                         rapt_phi_name(of_q), rapt_phi_name(of_k), features, of_keys);
    if (makes_products(of_q) && d->gate.dtype != RAPT_DTYPE_NONE)
        return rapt_fail(error, RAPT_ERROR_INVALID, "gate has %u channels, the feature map %s makes %u features of them",
                         d_k, rapt_phi_name(of_q), features);
    if (makes_products(of_q) && d->rule == RAPT_LINEAR_DPLR)
        return rapt_fail(error, RAPT_ERROR_INVALID, "the feature map %s does not go with rule dplr", rapt_phi_name(of_q));
    if (p->blocks > 1 && d->rule != RAPT_LINEAR_NONE)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%u features: a rule other than none takes at most %u", features,
                         MAX_BLOCK);
    return RAPT_OK;
}

rapt_status rapt_linear_problem_map(const rapt_linear_desc *d, rapt_linear_problem *p, rapt_error *error)
{
    const bool own = d->flags & RAPT_LINEAR_FEATURE_K;
    if ((unsigned)d->feature_k >= RAPT_PHI_COUNT)
        return rapt_fail(error, RAPT_ERROR_INVALID, "feature_k is %u, of %u feature maps", (unsigned)d->feature_k,
                         (unsigned)RAPT_PHI_COUNT);
    if (!own && d->feature_k != RAPT_PHI_IDENTITY)
        return rapt_fail(error, RAPT_ERROR_INVALID, "feature_k needs RAPT_LINEAR_FEATURE_K");
    if (has(d, RAPT_PHI_USER) != (d->feature_map != NULL))
        return rapt_fail(error, RAPT_ERROR_INVALID,
                         d->feature_map ? "feature_map goes with RAPT_PHI_USER" : "RAPT_PHI_USER needs feature_map");
    p->feature = d->feature;
    p->feature_k = own ? d->feature_k : d->feature;
    rapt_status status = check_power(d, p, error);
    if (status == RAPT_OK)
        status = check_bidirectional(d, error);
    if (status != RAPT_OK)
        return status;
    p->bidirectional = d->flags & RAPT_LINEAR_BIDIRECTIONAL;
    p->normalize_keys = d->flags & RAPT_LINEAR_NORMALIZE_KEYS;
    p->standardize = d->flags & RAPT_LINEAR_STANDARDIZE;
    p->feature_scale = d->feature_scale == 0.0f ? 1.0f : d->feature_scale;
    if (!isfinite(p->feature_scale))
        return rapt_fail(error, RAPT_ERROR_INVALID, "feature_scale is not finite");
    p->mapped = p->feature_scale != 1.0f || p->feature > RAPT_PHI_SOFTMAX || p->feature_k != p->feature || p->bidirectional || p->standardize ||
                d->scale_q.dtype != RAPT_DTYPE_NONE || d->scale_k.dtype != RAPT_DTYPE_NONE;
    const uint32_t features = feature_count((rapt_phi)p->feature, p->power, (uint32_t)d->q.size[3]);
    cut_blocks(features, makes_products((rapt_phi)p->feature), &p->block, &p->blocks);
    return check_width(d, p, features, error);
}
