/* Code of an app in a kernel, and the same in C for the oracle. */
#ifndef RAPT_CHECK_USER_H
#define RAPT_CHECK_USER_H

#include <rapt/attention.h>
#include <stdbool.h>

typedef struct rapt_check_user {
    const char *score_text[RAPT_USER_MODS], *mask_text[RAPT_USER_MODS]; /* for the descriptor */
    rapt_user_buffer buffers[RAPT_USER_BUFFERS];
    const void *data[RAPT_USER_BUFFERS]; /* of the buffers */
    float constants[RAPT_USER_CONSTANTS];
    rapt_tile_lists tile_lists;
    /* What all texts together do; NULL: nothing. */
    double (*score_mod)(const struct rapt_check_user *user, double score, uint64_t b, uint64_t h, uint64_t q,
                        uint64_t k);
    bool (*mask_mod)(const struct rapt_check_user *user, uint64_t b, uint64_t h, uint64_t q, uint64_t k);
} rapt_check_user;

#endif
