/* Attention over keys and values that lie on members' devices: one unit for each part, which only those that have it can run. */
#include "api/group.h"

#include "op/copy.h"

#include <string.h>

typedef struct shard {
    uint32_t member, part;
    rapt_attention_desc desc; /* q, out and lse without gaps, as they lie on the device */
    rapt_attention_args args;
    uint64_t q_first, out_first, lse_first; /* elements, in the whole's q and in a part of the results */
    double flops;
} shard;

/* A call. Read-only once begun. */
typedef struct sharing {
    rapt_group *group;
    rapt_arena arena;
    uint64_t number; /* of the call */
    rapt_tensor q;   /* the app's */
    const void *q_data;
    shard *shards;
    uint32_t count, parts;
    rapt_tensor out, lse; /* of one part's results, in host memory */
    char *out_data, *lse_data;
} sharing;

typedef struct run {
    const sharing *s;
    const shard *shard;
    rapt_group_seat *seat;
    rapt_plan *plan;
    rapt_binding *binding;
} run;

/* ---- a run: one shard ---- */

static const shard *shard_of(const sharing *s, uint32_t member, uint64_t part)
{
    for (uint32_t i = 0; i < s->count; i++)
        if (s->shards[i].member == member && s->shards[i].part == part)
            return &s->shards[i];
    return NULL;
}

static bool may(void *user, uint32_t member, uint64_t unit)
{
    return shard_of(user, member, unit) != NULL;
}

static rapt_status make(void *user, uint32_t member, uint64_t first, uint64_t count, void **out, rapt_error *error)
{
    const sharing *s = user;
    (void)count; /* always 1 */
    run *r = rapt_calloc(&s->group->allocator, 1, sizeof *r);
    if (r == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a part of a call");
    *out = r;
    r->s = s;
    r->shard = shard_of(s, member, first);
    r->seat = &s->group->seats[member];
    const rapt_attention_desc *d = &r->shard->desc;
    rapt_device *device = rapt_pool_device(s->group->pool, member);
    rapt_attention_args args = r->shard->args;
    const struct {
        unsigned place;
        const rapt_tensor *tensor;
        rapt_slot *slot;
    } moved[] = {{RAPT_CUT_Q, &d->q, &args.q}, {RAPT_CUT_OUT, &d->out, &args.out}, {RAPT_CUT_LSE, &d->lse, &args.lse}};
    rapt_status status = rapt_attention_plan(device, d, &r->plan, error);
    if (status == RAPT_OK)
        status = rapt_plan_prepare(r->plan, error);
    for (unsigned i = 0; status == RAPT_OK && i < RAPT_COUNT(moved); i++) {
        rapt_place *place = &r->seat->places[moved[i].place];
        status = rapt_group_take_place(device, r->seat, moved[i].place, RAPT_MAX(rapt_tensor_bytes(moved[i].tensor), 4), error);
        *moved[i].slot = (rapt_slot){place->buffer, 0};
    }
    return status == RAPT_OK ? rapt_attention_bind(r->plan, &args, &r->binding, error) : status;
}

static rapt_status load(void *user, rapt_error *error)
{
    run *r = user;
    const sharing *s = r->s;
    const rapt_tensor *there = &r->shard->desc.q;
    rapt_place *place = &r->seat->places[RAPT_CUT_Q];
    rapt_tensor here = s->q;
    memcpy(here.size, there->size, sizeof here.size);
    const uint64_t bytes = rapt_tensor_bytes(there);
    const bool held = place->call == s->number && place->first == r->shard->q_first &&
                      memcmp(place->size, there->size, sizeof place->size) == 0;
    rapt_status status = held ? RAPT_OK : rapt_group_take_scratch(s->group, r->seat, bytes, error);
    if (status == RAPT_OK && !held) {
        rapt_tensor_copy(r->seat->scratch, there, (const char *)s->q_data + r->shard->q_first * rapt_dtype_size(here.dtype), &here);
        place->call = 0;
        status = rapt_buffer_upload_within(place->buffer, 0, r->seat->scratch, bytes, s->group->timeout, error);
    }
    if (status != RAPT_OK)
        return status;
    place->call = s->number;
    place->first = r->shard->q_first;
    memcpy(place->size, there->size, sizeof place->size);
    return rapt_submit(r->binding, error);
}

static rapt_status wait(void *user, uint64_t timeout, rapt_error *error)
{
    run *r = user;
    return rapt_wait(r->binding, timeout, error);
}

/* An output of the shard to its part of the results. */
static rapt_status fetch(run *r, unsigned place, const rapt_tensor *there, const rapt_tensor *whole, char *to, uint64_t first,
                         rapt_error *error)
{
    rapt_group *group = r->s->group;
    const uint64_t bytes = rapt_tensor_bytes(there), element = rapt_dtype_size(there->dtype);
    rapt_status status = rapt_group_take_scratch(group, r->seat, bytes, error);
    if (status == RAPT_OK)
        status = rapt_buffer_download_within(r->seat->places[place].buffer, 0, r->seat->scratch, bytes, group->timeout, error);
    if (status == RAPT_OK)
        rapt_tensor_copy(to + (r->shard->part * (rapt_tensor_bytes(whole) / element) + first) * element, whole, r->seat->scratch, there);
    return status;
}

static rapt_status store(void *user, rapt_error *error)
{
    run *r = user;
    const sharing *s = r->s;
    const rapt_attention_desc *d = &r->shard->desc;
    rapt_status status = fetch(r, RAPT_CUT_OUT, &d->out, &s->out, s->out_data, r->shard->out_first, error);
    return status == RAPT_OK ? fetch(r, RAPT_CUT_LSE, &d->lse, &s->lse, s->lse_data, r->shard->lse_first, error) : status;
}

static void end(void *user)
{
    run *r = user;
    rapt_binding_destroy(&r->binding);
    rapt_plan_destroy(&r->plan);
    rapt_free(&r->s->group->allocator, r, sizeof *r);
}

/* ---- the work ---- */

static double weight(void *user, uint64_t first, uint64_t count)
{
    const sharing *s = user;
    double sum = 0;
    for (uint32_t i = 0; i < s->count; i++)
        if (s->shards[i].part >= first && s->shards[i].part < first + count)
            sum += s->shards[i].flops;
    return sum;
}

static uint64_t fit(void *user, uint64_t first, uint64_t count)
{
    (void)user;
    (void)first;
    (void)count;
    return 1;
}

static void trim(void *user, uint32_t member)
{
    const sharing *s = user;
    rapt_group_trim(s->group, member);
}

static void sharing_free(void *user)
{
    sharing *s = user;
    const rapt_allocator a = s->group->allocator;
    rapt_arena_free(&s->arena);
    rapt_free(&a, s, sizeof *s);
}

/* ---- a call ---- */

static rapt_status check_whole(const rapt_group_resident *w, rapt_error *error)
{
    if (w->struct_size < sizeof *w)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_group_resident.struct_size is %u, expected %zu", w->struct_size, sizeof *w);
    if (w->q.rank != 4 || w->out.rank != 4 || w->q.dtype != w->out.dtype ||
        memcmp(w->q.size, w->out.size, 3 * sizeof w->q.size[0]) != 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "q and out must have rank 4, one dtype, and equal batch, heads and queries");
    if (w->lse.dtype != RAPT_DTYPE_NONE &&
        (w->lse.dtype != RAPT_F32 || w->lse.rank != 3 || memcmp(w->q.size, w->lse.size, 3 * sizeof w->q.size[0]) != 0))
        return rapt_fail(error, RAPT_ERROR_INVALID, "lse must be float32 of (batch, heads, queries)");
    rapt_status status = rapt_tensor_check(&w->q, "q", 4, false, error);
    if (status == RAPT_OK)
        status = rapt_tensor_check(&w->out, "out", 4, true, error);
    if (status == RAPT_OK && w->lse.dtype != RAPT_DTYPE_NONE)
        status = rapt_tensor_check(&w->lse, "lse", 3, true, error);
    uint64_t numbers = (uint64_t)RAPT_GROUP_SHARDS * sizeof(float); /* bytes of all parts' results */
    for (unsigned axis = 0; axis < 4 && status == RAPT_OK; axis++)
        if (!rapt_mul_u64(numbers, RAPT_MAX(w->out.size[axis], 1), &numbers) || numbers > SIZE_MAX / 2)
            return rapt_fail(error, RAPT_ERROR_INVALID, "out of %llu x %llu x %llu x %llu is larger than memory can be",
                             (unsigned long long)w->out.size[0], (unsigned long long)w->out.size[1],
                             (unsigned long long)w->out.size[2], (unsigned long long)w->out.size[3]);
    if (status != RAPT_OK)
        return status;
    if (w->q_data == NULL || w->out_data == NULL || (w->lse.dtype != RAPT_DTYPE_NONE && w->lse_data == NULL))
        return rapt_fail(error, RAPT_ERROR_INVALID, "q, out or lse is NULL");
    return RAPT_OK;
}

/* One shard: checked against the whole, its descriptor made the device's. */
static rapt_status take_shard(sharing *s, const rapt_group_shard *given, uint32_t index, rapt_error *error)
{
    shard *to = &s->shards[index];
    rapt_problem problem;
    if (given->struct_size < sizeof *given || given->desc == NULL || given->args == NULL ||
        given->desc->struct_size < sizeof to->desc || given->args->struct_size < sizeof to->args)
        return rapt_fail(error, RAPT_ERROR_INVALID, "shard %u: struct_size, desc or args is not as it must be", index);
    if (given->member >= rapt_pool_count(s->group->pool) || given->part >= RAPT_GROUP_SHARDS)
        return rapt_fail(error, RAPT_ERROR_INVALID, "shard %u: member %u, part %u; there are %u members and %u parts at most", index,
                         given->member, given->part, rapt_pool_count(s->group->pool), RAPT_GROUP_SHARDS);
    *to = (shard){.member = given->member, .part = given->part, .desc = *given->desc, .args = *given->args};
    rapt_attention_desc *d = &to->desc;
    const uint64_t *size = d->q.size, *whole = s->q.size;
    if (d->q.rank != 4 || d->q.dtype != s->q.dtype || size[0] > whole[0] || given->first_batch > whole[0] - size[0] ||
        size[1] > whole[1] || given->first_head > whole[1] - size[1] || size[2] != whole[2] || size[3] != whole[3] ||
        d->out.size[3] != s->out.size[3])
        return rapt_fail(error, RAPT_ERROR_INVALID, "shard %u: its q or out is no part of the whole's", index);
    if (d->link != RAPT_LINK_SOFTMAX || d->gate.dtype != RAPT_DTYPE_NONE || d->sequences > 0 || d->k.size[1] > size[1] ||
        d->score_mod[0] != NULL || d->mask_mod[0] != NULL || d->col_sums.dtype != RAPT_DTYPE_NONE || d->row_max.dtype != RAPT_DTYPE_NONE)
        return rapt_fail(error, RAPT_ERROR_UNSUPPORTED,
                         "shard %u: shards are softmax attention without gates, packed sequences, score_mod, mask_mod, col_sums and "
                         "row_max, with no more heads of k than of q",
                         index);
    to->q_first = given->first_batch * (uint64_t)s->q.stride[0] + given->first_head * (uint64_t)s->q.stride[1];
    to->out_first = given->first_batch * (uint64_t)s->out.stride[0] + given->first_head * (uint64_t)s->out.stride[1];
    to->lse_first = given->first_batch * (uint64_t)s->lse.stride[0] + given->first_head * (uint64_t)s->lse.stride[1];
    d->q = rapt_tensor_bhnd(s->q.dtype, size[0], size[1], size[2], size[3]);
    d->out = rapt_tensor_bhnd(s->q.dtype, size[0], size[1], size[2], s->out.size[3]);
    d->lse = d->out;
    d->lse.dtype = RAPT_F32;
    d->lse.rank = 3;
    d->lse.stride[0] = (int64_t)(size[1] * size[2]);
    d->lse.stride[1] = (int64_t)size[2];
    d->lse.stride[2] = 1;
    if (d->kernel != NULL && (d->kernel = rapt_arena_strdup(&s->arena, d->kernel)) == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a descriptor");
    rapt_status status = rapt_attention_problem(d, &problem, error);
    to->flops = status == RAPT_OK ? (double)problem.flops + 1 : 1;
    return status;
}

/* All shards; parts must be numbered without gaps. */
static rapt_status take_shards(sharing *s, const rapt_group_shard *given, rapt_error *error)
{
    s->shards = rapt_arena_alloc(&s->arena, s->count, sizeof *s->shards);
    if (s->shards == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u shards", s->count);
    for (uint32_t i = 0; i < s->count; i++) {
        rapt_status status = take_shard(s, &given[i], i, error);
        if (status != RAPT_OK)
            return status;
        s->parts = RAPT_MAX(s->parts, given[i].part + 1);
    }
    for (uint32_t part = 0; part < s->parts; part++) {
        bool is_there = false;
        for (uint32_t i = 0; i < s->count; i++)
            is_there |= s->shards[i].part == part;
        if (!is_there)
            return rapt_fail(error, RAPT_ERROR_INVALID, "no shard has part %u of %u", part, s->parts);
    }
    return RAPT_OK;
}

/* The largest part number, for the results, before the shards are looked at closely. */
static uint32_t parts_of(const rapt_group_shard *shards, uint32_t count)
{
    uint32_t parts = 1;
    for (uint32_t i = 0; i < count; i++)
        if (shards[i].part < RAPT_GROUP_SHARDS)
            parts = RAPT_MAX(parts, shards[i].part + 1);
    return parts;
}

static rapt_status begin(sharing *s, const rapt_group_shard *shards, rapt_group_merge *merge, rapt_error *error)
{
    rapt_group *group = s->group;
    void *out, *lse;
    rapt_group_merge_parts(merge, &s->out, &out, &s->lse, &lse);
    s->out_data = out;
    s->lse_data = lse;
    rapt_status status = take_shards(s, shards, error);
    if (status != RAPT_OK) {
        sharing_free(s);
        return status;
    }
    const uint64_t kind[] = {s->q.dtype, s->q.size[1], s->q.size[3], s->parts, rapt_group_length_kind(s->shards[0].desc.k.size[2]), s->shards[0].desc.k.dtype};
    const rapt_pool_work work = {.user = s,
                                 .units = s->parts,
                                 .kind = rapt_hash_bytes(RAPT_HASH_INIT, kind, sizeof kind).lo,
                                 .settles = true,
                                 .may = may,
                                 .weight = weight,
                                 .fit = fit,
                                 .make = make,
                                 .load = load,
                                 .wait = wait,
                                 .store = store,
                                 .end = end,
                                 .trim = trim,
                                 .free = sharing_free};
    return rapt_pool_begin(group->pool, &work, error);
}

rapt_status rapt_group_attention_resident_begin(rapt_group *group, const rapt_group_resident *whole, const rapt_group_shard *shards,
                                                uint32_t count, rapt_error *error)
{
    rapt_group_merge *merge = NULL;
    if (group == NULL || whole == NULL || shards == NULL || count < 1 || count > RAPT_GROUP_SHARDS)
        return rapt_fail(error, RAPT_ERROR_INVALID, "group, whole or shards is NULL, or there are not 1 to %u shards", RAPT_GROUP_SHARDS);
    rapt_status status = check_whole(whole, error);
    if (status != RAPT_OK || whole->out.size[0] * whole->out.size[1] * whole->out.size[2] * whole->out.size[3] == 0)
        return status;
    status = rapt_group_merge_new(group, parts_of(shards, count), &whole->out, whole->out_data, &whole->lse, whole->lse_data, &merge,
                                  error);
    if (status != RAPT_OK)
        return status;
    sharing *s = rapt_calloc(&group->allocator, 1, sizeof *s);
    if (s == NULL) {
        rapt_group_merge_free(merge);
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a call");
    }
    *s = (sharing){.group = group, .number = ++group->calls, .q = whole->q, .q_data = whole->q_data, .count = count};
    rapt_arena_init(&s->arena, &group->allocator);
    status = begin(s, shards, merge, error);
    if (status == RAPT_OK)
        group->merge = merge;
    else
        rapt_group_merge_free(merge);
    return status;
}

rapt_status rapt_group_attention_resident(rapt_group *group, const rapt_group_resident *whole, const rapt_group_shard *shards,
                                          uint32_t count, rapt_error *error)
{
    rapt_status status = rapt_group_attention_resident_begin(group, whole, shards, count, error);
    return status == RAPT_OK ? rapt_group_wait(group, UINT64_MAX, error) : status;
}
