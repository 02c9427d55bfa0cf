/* Which pages of a pool hold which keys of which sequence: what a key-value cache has to remember while sequences grow, branch, lose
 * keys and end. Part of rapt (MIT licence). */
#ifndef RAPT_CACHE_H
#define RAPT_CACHE_H

#include <rapt/runtime.h>
#include <rapt/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A pool of pages of page_size keys each, and sequences, each of which has a line of pages: a block table (PagedAttention,
 * arXiv:2309.06180). It knows places, no contents and no device: one cache serves the keys and the values of all layers that see the
 * same tokens. What it decides is told as slots, which rapt/rows.h reads and writes and rapt/attention.h finds through the table:
 * slot = page * page_size + place.
 *
 * Each call does all that it says, or fails and changes nothing. After rapt_cache_create nothing allocates. Calls take time in
 * proportion to the keys and pages that they name, not to the pool. The same calls give the same places: a page that was given back
 * last is handed out first.
 *
 * On the device, with the pool's tensor of rapt_cache_pool for keys and values each, in any order of calls:
 *
 *   append    rapt_cache_append; perform its moves, if any; place the new rows in its slots (RAPT_ROWS_PLACE: with norm, rotary
 *             positions and quantisation on the way)
 *   attention block_table and k_lengths from rapt_cache_table
 *   evict     rapt_cache_keep; perform its moves
 *   branch    rapt_cache_fork: nothing to do. Pages are shared until one of those that share them writes
 *
 * Moves are performed by gathering (RAPT_ROWS_GATHER) the rows of all `from` slots of a call from rapt_cache_rows, the pool seen as
 * rows, into memory of their own, and placing these rows in the `to` slots: all are read before any is written, since a slot may
 * be in both. Pages that are given back may be handed out by the next call: work that still reads them must be submitted before what
 * writes them. Quantised rows cannot be moved yet: gathering does not take them. Of such caches a branch is made at a multiple of
 * page_size, and keys are not evicted but cut off; neither has moves.
 *
 * Thread-safety: one thread at a time. */
typedef struct rapt_cache rapt_cache;

typedef struct rapt_cache_desc {
    uint32_t struct_size;
    uint32_t page_size;       /* keys of a page, 1 to 2^29; see rapt_attention_desc.page_size */
    uint32_t pages;           /* of the pool, at least 1; pages * page_size at most 2^31 - 1, so that slots are int32 */
    uint32_t sequences;       /* alive at a time, at least 1 */
    uint32_t pages_each;      /* the most that one sequence has, the width of its line of the block table; 0: all */
    const rapt_allocator *allocator; /* copied; NULL: malloc */
} rapt_cache_desc;
#define RAPT_CACHE_DESC_INIT {.struct_size = sizeof(rapt_cache_desc)}

/* Memory for bookkeeping is taken here: 4 bytes for each entry of the block tables, 8 a page, 16 a sequence. */
RAPT_API rapt_status rapt_cache_create(const rapt_cache_desc *desc, rapt_cache **cache, rapt_error *error);
/* NULL-safe; sets *cache to NULL. */
RAPT_API void rapt_cache_destroy(rapt_cache **cache);

/* The key or value of slot `from` goes to slot `to`. */
typedef struct rapt_cache_move {
    int32_t from, to;
} rapt_cache_move;

/* A new sequence without keys. RAPT_ERROR_OUT_OF_DEVICE_MEMORY: `sequences` of them are alive. */
RAPT_API rapt_status rapt_cache_open(rapt_cache *cache, uint32_t *sequence, rapt_error *error);
/* Ends a sequence; pages that nobody else has are free again. */
RAPT_API rapt_status rapt_cache_close(rapt_cache *cache, uint32_t sequence, rapt_error *error);
/* A new sequence that begins with the first `length` keys of another, whose pages both have. */
RAPT_API rapt_status rapt_cache_fork(rapt_cache *cache, uint32_t sequence, uint64_t length, uint32_t *branch, rapt_error *error);
/* Room for `count` keys behind the last: their slots, in order. Where the last page has room but is shared, its keys go to a page of
 * the sequence's own first: their moves, fewer than page_size, are written to `moves` and counted in *move_count.
 * RAPT_ERROR_OUT_OF_DEVICE_MEMORY says how many pages are needed and free; RAPT_ERROR_UNSUPPORTED: more than pages_each would be
 * needed; RAPT_ERROR_INVALID: more moves than move_capacity. */
RAPT_API rapt_status rapt_cache_append(rapt_cache *cache, uint32_t sequence, uint64_t count, int32_t *slots, rapt_cache_move *moves,
                                       uint64_t move_capacity, uint64_t *move_count, rapt_error *error);
/* Only the first `length` keys stay: drafts that were refused, say. Nothing moves. */
RAPT_API rapt_status rapt_cache_cut(rapt_cache *cache, uint32_t sequence, uint64_t length, rapt_error *error);
/* Only the `count` keys whose numbers `keys` has, rising, stay, side by side as keys 0 .. count - 1: eviction (H2O, arXiv:2306.14048).
 * At most one move for each of them. Shared pages are left as they are for the others: the sequence then gets pages of its own, and
 * RAPT_ERROR_OUT_OF_DEVICE_MEMORY where there are too few. Other errors as of rapt_cache_append. */
RAPT_API rapt_status rapt_cache_keep(rapt_cache *cache, uint32_t sequence, const uint32_t *keys, uint64_t count, rapt_cache_move *moves,
                                     uint64_t move_capacity, uint64_t *move_count, rapt_error *error);

/* The number of a sequence's keys; 0 of one that is not alive. */
RAPT_API uint64_t rapt_cache_length(const rapt_cache *cache, uint32_t sequence);
/* A block table and lengths of `count` sequences as a batch: table (count, width), -1 behind a line's pages; lengths (count). Either
 * may be NULL. RAPT_ERROR_INVALID: a sequence is not alive, or has more than `width` pages. */
RAPT_API rapt_status rapt_cache_table(const rapt_cache *cache, const uint32_t *sequences, uint32_t count, uint32_t width, int32_t *table,
                                      int32_t *lengths, rapt_error *error);

typedef struct rapt_cache_info {
    uint32_t struct_size;
    uint32_t pages, free_pages;
    uint32_t shared_pages; /* that more than one sequence has */
    uint32_t sequences;    /* alive */
    uint64_t keys;         /* of all sequences; shared ones count for each */
} rapt_cache_info;
#define RAPT_CACHE_INFO_INIT {.struct_size = sizeof(rapt_cache_info)}
RAPT_API rapt_status rapt_cache_describe(const rapt_cache *cache, rapt_cache_info *info, rapt_error *error);

/* The pool of one layer's keys or values, (pages, heads, page_size, width), the slots of a head side by side; width: head_dim, or
 * rapt_quantised_words of it. What attention takes as k and v, and placing as out. */
RAPT_API rapt_tensor rapt_cache_pool(const rapt_cache *cache, rapt_dtype dtype, uint64_t heads, uint64_t width);
/* The same memory as rows by slot, (1, heads, pages * page_size, width). */
RAPT_API rapt_tensor rapt_cache_rows(const rapt_cache *cache, rapt_dtype dtype, uint64_t heads, uint64_t width);

#ifdef __cplusplus
}
#endif
#endif
