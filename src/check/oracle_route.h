/* What routing is, in the fewest words: summaries, scores and selections by their definitions, in double precision. */
#ifndef RAPT_CHECK_ORACLE_ROUTE_H
#define RAPT_CHECK_ORACLE_ROUTE_H

#include <rapt/route.h>
#include <stdbool.h>

/* The summary of kv head (b, h)'s block: head_dim numbers, or twice as many. `k`: element 0 of desc->k. `single`: every
 * operation is rounded to single precision. */
void rapt_check_route_summary(const rapt_route_desc *desc, const void *k, bool single, uint64_t b, uint64_t h, uint64_t block,
                              double *out);
/* The scores of a row (b, row head, tile) against all blocks, by the summaries of k; -inf where no query of the tile sees the
 * block, or the coarser mask leaves it out. `q`, `k`, `within`: element 0 of the tensors. False: no memory. */
bool rapt_check_route_scores(const rapt_route_desc *desc, const void *q, const void *k, const int32_t *within, bool single, uint64_t b, uint64_t head,
                             uint64_t tile, double *out);
/* What a row takes by these scores: 1 or 0 per block. All blocks are put in order, largest first, lower blocks first among
 * equals. `nq`, `nk`: lengths. False: no memory. */
bool rapt_check_route_select(const rapt_route_desc *desc, uint64_t nq, uint64_t nk, uint64_t tile, const double *scores,
                             int32_t *taken);

#endif
