/* Systems that go through a few latent queries: what they gather is what the tokens then read. */
#include "system/system.h"

/* z = softmax(latents K^T) V, out = softmax(K latents^T) z. */
bool rapt_system_latent(rapt_system_builder *b)
{
    rapt_attention_desc d = RAPT_ATTENTION_DESC_INIT;
    rapt_system_view latents, k, v, z, out;
    if (!rapt_system_in(b, "latents", 3, &latents) || !rapt_system_in(b, "k", 4, &k) ||
        !rapt_system_in(b, "v", 4, &v) || !rapt_system_common(b, &d))
        return false;
    const uint64_t *a = latents.tensor.size, *c = k.tensor.size, *e = v.tensor.size;
    if (a[0] != c[1] || a[2] != c[3] || c[0] != e[0] || c[1] != e[1] || c[2] != e[2])
        return rapt_system_refuse(
            b,
            "shapes disagree: latents (%llu, %llu, %llu), k (%llu, %llu, %llu, %llu), v (%llu, %llu, %llu, "
            "%llu)",
            (unsigned long long)a[0], (unsigned long long)a[1], (unsigned long long)a[2],
            (unsigned long long)c[0], (unsigned long long)c[1], (unsigned long long)c[2],
            (unsigned long long)c[3], (unsigned long long)e[0], (unsigned long long)e[1],
            (unsigned long long)e[2], (unsigned long long)e[3]);
    if (!rapt_system_new(b, RAPT_SYSTEM_BETWEEN, "z", b->dtype, 4, (const uint64_t[]){c[0], c[1], a[1], e[3]},
                         &z) ||
        !rapt_system_new(b, RAPT_SYSTEM_OUT, "out", b->dtype, 4, e, &out))
        return false;
    rapt_system_view everywhere =
        rapt_system_axes(latents, (const int[]){-1, 0, 1, 2}); /* for every batch entry */
    everywhere.tensor.size[0] = c[0];
    return rapt_system_step_add(b, "latents gather", &d, everywhere, k, v, z, NULL) &&
           rapt_system_step_add(b, "tokens read", &d, k, everywhere, z, out, NULL);
}
