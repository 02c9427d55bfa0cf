/* One attention as work for a pool: what its units are, and how a run of them goes through one device. */
#include "api/group.h"

#include "op/copy.h"

#include <string.h>

#define LEAST_ROWS 128 /* queries of a unit, where queries are cut: fewer may be another kernel's */
#define LEAST_KEYS 1024 /* keys of a part, where keys are cut: fewer are not worth the way */
#define KEYS_UNIT 64    /* keys are cut at multiples of it */

/* A call; its units are numbered (parts of the keys, batch entries, head units, tiles of queries), the last fastest. Read-only once
 * begun. */
typedef struct sharing {
    rapt_group *group;
    rapt_arena arena; /* everything below that is a pointer, but for the app's tensors */
    rapt_attention_desc desc;
    const void *data[RAPT_PLACES];
    void *out[RAPT_CUT_TENSORS];
    uint64_t out_elements[RAPT_CUT_TENSORS]; /* of one part of the keys, where there are several */
    const int32_t *cu_q, *cu_k;
    uint64_t number;                 /* of the call */
    rapt_cut whole;
    uint64_t per_batch, per_heads, per_tile, per_keys; /* batch entries, head units, queries and keys of a unit */
    uint64_t batches, heads, tiles, parts;             /* units along each axis */
    rapt_group_merge *merge;         /* of several parts, whose results `desc` and `out` then mean; not owned */
    double *before;                          /* weight of all units before each, and of all at the end */
} sharing;

/* Some units on one device. */
typedef struct run {
    const sharing *s;
    rapt_group_seat *seat;
    rapt_device *device;
    rapt_cut cut;
    rapt_attention_desc part; /* with the whole's strides */
    rapt_attention_desc desc; /* with those on the device */
    uint64_t first[RAPT_CUT_TENSORS];
    int32_t *cu; /* of the part, both, one behind the other */
    rapt_plan *plan;
    rapt_binding *binding;
    rapt_hash key; /* of plan and binding */
    bool has_key;
    bool keeps; /* they are good for the next part of the same shape */
} run;

/* ---- units ---- */

static rapt_range along(uint64_t first, uint64_t count, uint64_t per, uint64_t size)
{
    const uint64_t from = first * per;
    return (rapt_range){from, RAPT_MIN(count * per, size - from)};
}

static rapt_cut cut_of(const sharing *s, uint64_t at, uint64_t count)
{
    const uint64_t row = s->tiles, entry = s->heads * s->tiles, part = s->batches * entry, first = at % part;
    const uint64_t tiles = RAPT_MIN(count, row), heads = RAPT_MAX(1, RAPT_MIN(count, entry) / row);
    rapt_cut cut = {
        .batch = along(first / entry, RAPT_MAX(1, count / entry), s->per_batch, s->whole.batch.count),
        .heads = along(first / row % s->heads, heads, s->per_heads, s->whole.heads.count),
        .queries = along(first % row, tiles, s->per_tile, s->whole.queries.count),
        .keys = along(at / part, 1, s->per_keys, s->whole.keys.count),
    };
    return cut;
}

/* A run is tiles of one head, or heads of one batch entry, or batch entries; and one part of the keys, so that its bits do not
 * depend on who takes what. */
static uint64_t fit(void *user, uint64_t at, uint64_t most)
{
    const sharing *s = user;
    const uint64_t row = s->tiles, entry = s->heads * s->tiles, part = s->batches * entry, first = at % part;
    const uint64_t count = RAPT_MIN(most, part - first);
    if (first % row != 0 || count < row)
        return RAPT_MIN(count, row - first % row);
    if (first % entry != 0 || count < entry)
        return RAPT_MIN(count / row, (entry - first % entry) / row) * row;
    return count / entry * entry;
}

static double weight(void *user, uint64_t first, uint64_t count)
{
    const sharing *s = user;
    return s->before[first + count] - s->before[first];
}

/* ---- a run ---- */

static const void *place_data(run *r, unsigned place)
{
    if (place == RAPT_PLACE_CU_Q)
        return r->cu;
    if (place == RAPT_PLACE_CU_K)
        return r->cu + r->cut.batch.count + 1;
    if (place >= RAPT_PLACE_USER)
        return r->s->data[place];
    const rapt_tensor *t = rapt_cut_tensor(&r->part, place);
    return (const char *)r->s->data[place] + r->first[place] * rapt_dtype_size(t->dtype);
}

static uint64_t place_bytes(run *r, unsigned place)
{
    if (place == RAPT_PLACE_CU_Q || place == RAPT_PLACE_CU_K)
        return r->desc.sequences > 0 ? (r->cut.batch.count + 1) * sizeof(int32_t) : 0;
    if (place >= RAPT_PLACE_USER)
        return r->s->data[place] != NULL ? r->desc.user[place - RAPT_PLACE_USER].count * 4 : 0;
    const rapt_tensor *t = rapt_cut_tensor(&r->desc, place);
    return t->dtype != RAPT_DTYPE_NONE ? rapt_tensor_bytes(t) : 0;
}

static rapt_slot *place_slot(rapt_attention_args *args, unsigned place)
{
    rapt_slot *const slots[RAPT_PLACES] = {
        [RAPT_CUT_Q] = &args->q,
        [RAPT_CUT_K] = &args->k,
        [RAPT_CUT_V] = &args->v,
        [RAPT_CUT_OUT] = &args->out,
        [RAPT_CUT_LSE] = &args->lse,
        [RAPT_CUT_SINKS] = &args->sinks,
        [RAPT_CUT_ALIBI] = &args->alibi,
        [RAPT_CUT_KEY_BIAS] = &args->key_bias,
        [RAPT_CUT_SEGMENTS] = &args->segments,
        [RAPT_CUT_GATE] = &args->gate,
        [RAPT_CUT_BIAS] = &args->bias,
        [RAPT_CUT_BIAS_U] = &args->bias_u,
        [RAPT_CUT_BIAS_V] = &args->bias_v,
        [RAPT_CUT_BLOCKS] = &args->block_mask,
        [RAPT_CUT_RELATIVE] = &args->relative,
        [RAPT_CUT_DECAY] = &args->decay,
        [RAPT_PLACE_CU_Q] = &args->cu_seqlens_q,
        [RAPT_PLACE_CU_K] = &args->cu_seqlens_k,
        [RAPT_PLACE_USER] = &args->user[0],
        [RAPT_PLACE_USER + 1] = &args->user[1],
        [RAPT_PLACE_USER + 2] = &args->user[2],
        [RAPT_PLACE_USER + 3] = &args->user[3],
    };
    return slots[place];
}

/* Kernel and key splits follow from the heads and queries of a call: those of the whole, so that a part's bits are the whole's;
 * or, where keys are cut, those of the first part. What the member knows is good for one call. */
static rapt_status plan_whole(run *r, rapt_error *error)
{
    rapt_group_seat *seat = r->seat;
    rapt_plan *whole = NULL;
    rapt_verdicts verdicts = rapt_device_verdicts(r->device);
    if (seat->planned == r->s->number)
        return RAPT_OK;
    rapt_attention_desc desc;
    rapt_cut cut = r->s->whole;
    uint64_t first[RAPT_CUT_TENSORS];
    cut.keys.count = RAPT_MIN(cut.keys.count, r->s->per_keys);
    rapt_attention_cut(&r->s->desc, &cut, r->s->cu_q, r->s->cu_k, &desc, first);
    rapt_status status = rapt_plan_new(r->device, &r->device->caps, &desc, &verdicts, &whole, error);
    if (status == RAPT_OK) {
        seat->planned = r->s->number;
        seat->kernel = whole->step_count > 0 ? whole->pipelines[0].row->name : NULL;
        seat->key_splits = whole->splits;
    }
    rapt_plan_destroy(&whole);
    return status;
}

static rapt_status plan_as(run *r, const char *kernel, uint32_t key_splits, rapt_error *error)
{
    rapt_verdicts verdicts = rapt_device_verdicts(r->device);
    rapt_attention_desc desc = r->desc;
    if (desc.kernel == NULL)
        desc.kernel = kernel;
    if (desc.key_splits == 0)
        desc.key_splits = key_splits;
    rapt_plan_destroy(&r->plan);
    rapt_status status = rapt_plan_new(r->device, &r->device->caps, &desc, &verdicts, &r->plan, error);
    return status == RAPT_OK ? rapt_plan_prepare(r->plan, error) : status;
}

/* A kernel that fails its probe is known by then, and the whole is planned without it. */
#define MOST_KERNELS 8
static rapt_status plan_part(run *r, rapt_error *error)
{
    for (int i = 0; i < MOST_KERNELS && r->desc.kernel == NULL; i++) {
        rapt_error why = {RAPT_OK, ""};
        rapt_status status = plan_whole(r, &why);
        if (status == RAPT_OK)
            status = plan_as(r, r->seat->kernel, r->seat->key_splits, &why);
        const bool next = status == RAPT_ERROR_UNSUPPORTED || status == RAPT_ERROR_WRONG_RESULT || status == RAPT_ERROR_COMPILE;
        if (!next) {
            if (status != RAPT_OK && error != NULL)
                *error = why;
            return status;
        }
        r->seat->planned = 0;
    }
    return plan_as(r, NULL, 0, error);
}

/* What a plan is made of: the part, and the whole, which kernel and key splits follow from. Bytes between members count too, so that equal
 * descriptors may differ; different ones never agree. false: it has text of an app's, which lies where it likes. */
static bool key_of(const run *r, rapt_hash *key)
{
    rapt_attention_desc whole = r->s->desc, part = r->desc;
    const char *kernel = whole.kernel != NULL ? whole.kernel : "";
    if (whole.score_mod[0] != NULL || whole.mask_mod[0] != NULL || whole.user[0].name != NULL)
        return false;
    whole.kernel = part.kernel = NULL; /* a copy of the call's */
    *key = rapt_hash_bytes(RAPT_HASH_INIT, &whole, sizeof whole);
    *key = rapt_hash_bytes(*key, &r->s->per_keys, sizeof r->s->per_keys);
    *key = rapt_hash_bytes(*key, &part, sizeof part);
    *key = rapt_hash_bytes(*key, kernel, strlen(kernel));
    return true;
}

/* The buffers of the part, at least as large as it needs, and the arguments that name them. */
static rapt_status take_places(run *r, rapt_attention_args *args, rapt_error *error)
{
    for (unsigned i = 0; i < RAPT_PLACES; i++) {
        const uint64_t bytes = place_bytes(r, i);
        if (bytes == 0)
            continue;
        rapt_status status = rapt_group_take_place(r->device, r->seat, i, bytes, error);
        if (status != RAPT_OK)
            return status;
        place_slot(args, i)->buffer = r->seat->places[i].buffer;
    }
    return RAPT_OK;
}

static void copy_cu(run *r)
{
    const rapt_range batch = r->cut.batch;
    for (uint64_t i = 0; i <= batch.count && r->cu != NULL; i++) {
        r->cu[i] = r->s->cu_q[batch.first + i] - r->s->cu_q[batch.first];
        r->cu[batch.count + 1 + i] = r->s->cu_k[batch.first + i] - r->s->cu_k[batch.first];
    }
}

static void end(void *user)
{
    run *r = user;
    const rapt_allocator *a = &r->s->group->allocator;
    if (r->keeps) {
        rapt_group_keep(r->seat, r->key, r->s->number, r->plan, r->binding);
    } else {
        rapt_binding_destroy(&r->binding);
        rapt_plan_destroy(&r->plan);
    }
    if (r->cu != NULL)
        rapt_free(a, r->cu, 2 * (r->cut.batch.count + 1) * sizeof *r->cu);
    rapt_free(a, r, sizeof *r);
}

static rapt_status make(void *user, uint32_t member, uint64_t first, uint64_t count, void **out, rapt_error *error)
{
    const sharing *s = user;
    const rapt_allocator *a = &s->group->allocator;
    rapt_attention_args args = RAPT_ATTENTION_ARGS_INIT;
    run *r = rapt_calloc(a, 1, sizeof *r);
    if (r == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a part of a call");
    *out = r;
    r->s = s;
    r->seat = &s->group->seats[member];
    r->device = rapt_pool_device(s->group->pool, member);
    r->cut = cut_of(s, first, count);
    if (s->cu_q != NULL) {
        r->cu = rapt_calloc(a, 2 * (r->cut.batch.count + 1), sizeof *r->cu);
        if (r->cu == NULL)
            return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the sequences of a part");
        copy_cu(r);
    }
    rapt_attention_cut(&s->desc, &r->cut, s->cu_q, s->cu_k, &r->part, r->first);
    r->desc = r->part;
    for (unsigned i = 0; i < RAPT_CUT_TENSORS; i++) {
        rapt_tensor *t = rapt_cut_tensor(&r->desc, i);
        if (t->dtype != RAPT_DTYPE_NONE)
            *t = rapt_tensor_packed(t);
    }
    r->has_key = key_of(r, &r->key);
    if (r->has_key && rapt_group_take_kept(r->device, r->seat, r->key, &r->plan, &r->binding))
        return RAPT_OK;
    rapt_status status = plan_part(r, error);
    if (status == RAPT_OK)
        status = take_places(r, &args, error);
    return status == RAPT_OK ? rapt_attention_bind(r->plan, &args, &r->binding, error) : status;
}

static rapt_status upload(run *r, unsigned i, uint64_t bytes, rapt_error *error)
{
    rapt_place *place = &r->seat->places[i];
    const void *data = place_data(r, i);
    const rapt_tensor *there = i < RAPT_CUT_TENSORS ? rapt_cut_tensor(&r->desc, i) : NULL;
    if (there != NULL) {
        const rapt_tensor *here = rapt_cut_tensor(&r->part, i);
        const bool held = place->call == r->s->number && place->first == r->first[i] &&
                          memcmp(place->size, there->size, sizeof place->size) == 0;
        if (held)
            return RAPT_OK;
        if (!rapt_tensor_lies_alike(here, there)) {
            rapt_status status = rapt_group_take_scratch(r->s->group, r->seat, bytes, error);
            if (status != RAPT_OK)
                return status;
            rapt_tensor_copy(r->seat->scratch, there, data, here);
            data = r->seat->scratch;
        }
    }
    place->call = 0;
    rapt_status status = rapt_buffer_upload_within(place->buffer, 0, data, bytes, r->s->group->timeout, error);
    if (status != RAPT_OK || there == NULL)
        return status;
    place->call = r->s->number;
    place->first = r->first[i];
    memcpy(place->size, there->size, sizeof place->size);
    return RAPT_OK;
}

static rapt_status load(void *user, rapt_error *error)
{
    run *r = user;
    for (unsigned i = 0; i < RAPT_PLACES; i++) {
        const uint64_t bytes = i < RAPT_CUT_TENSORS && rapt_cut_is_output(i) ? 0 : place_bytes(r, i);
        rapt_status status = bytes > 0 ? upload(r, i, bytes, error) : RAPT_OK;
        if (status != RAPT_OK)
            return status;
    }
    return rapt_submit(r->binding, error);
}

static rapt_status wait(void *user, uint64_t timeout, rapt_error *error)
{
    run *r = user;
    const rapt_status status = rapt_wait(r->binding, timeout, error);
    r->keeps = status == RAPT_OK && r->has_key;
    return status;
}

/* Rows [first, first + count) of the sequence axis. */
static rapt_tensor rows_of(const rapt_tensor *t, uint64_t count)
{
    rapt_tensor rows = *t;
    rows.size[2] = count;
    return rows;
}

/* Where an output of the part begins. */
static char *output(const run *r, unsigned i, const rapt_tensor *here)
{
    const sharing *s = r->s;
    const uint64_t before = s->merge != NULL ? r->cut.keys.first / s->per_keys * s->out_elements[i] : 0;
    return (char *)s->out[i] + (before + r->first[i]) * rapt_dtype_size(here->dtype);
}

/* From the packed tensor to the app's: all of it, or the rows that belong to sequences. */
static void spread(run *r, unsigned i, const char *from)
{
    const rapt_tensor *here = rapt_cut_tensor(&r->part, i), *there = rapt_cut_tensor(&r->desc, i);
    const size_t element = rapt_dtype_size(here->dtype);
    char *to = output(r, i, here);
    if (r->cu == NULL) {
        rapt_tensor_copy(to, here, from, there);
        return;
    }
    for (uint64_t n = 0; n < r->cut.batch.count; n++) {
        const uint64_t at = (uint64_t)r->cu[n];
        uint64_t count = (uint64_t)(r->cu[n + 1] - r->cu[n]);
        if (r->desc.max_seqlen_q != 0)
            count = RAPT_MIN(count, r->desc.max_seqlen_q); /* the rest is not computed */
        const rapt_tensor a = rows_of(here, count), b = rows_of(there, count);
        rapt_tensor_copy(to + at * (uint64_t)here->stride[2] * element, &a, from + at * (uint64_t)there->stride[2] * element, &b);
    }
}

static rapt_status store(void *user, rapt_error *error)
{
    run *r = user;
    for (unsigned i = RAPT_CUT_OUT; i <= RAPT_CUT_LSE; i++) {
        const uint64_t bytes = place_bytes(r, i);
        rapt_buffer *buffer = r->seat->places[i].buffer;
        const rapt_tensor *here = rapt_cut_tensor(&r->part, i);
        const bool direct = r->cu == NULL && bytes > 0 && rapt_tensor_lies_alike(here, rapt_cut_tensor(&r->desc, i));
        void *to = direct ? output(r, i, here) : NULL;
        rapt_status status = direct || bytes == 0 ? RAPT_OK : rapt_group_take_scratch(r->s->group, r->seat, bytes, error);
        if (status == RAPT_OK && bytes > 0)
            status = rapt_buffer_download_within(buffer, 0, direct ? to : r->seat->scratch, bytes, r->s->group->timeout, error);
        if (status != RAPT_OK)
            return status;
        if (!direct && bytes > 0)
            spread(r, i, r->seat->scratch);
    }
    return RAPT_OK;
}

static void trim(void *user, uint32_t member)
{
    const sharing *s = user;
    rapt_group_trim(s->group, member);
}

/* ---- a call ---- */

static void sharing_free(void *user)
{
    sharing *s = user;
    const rapt_allocator a = s->group->allocator;
    rapt_arena_free(&s->arena);
    rapt_free(&a, s, sizeof *s);
}

static bool copy_text(sharing *s, const char **text)
{
    if (*text != NULL)
        *text = rapt_arena_strdup(&s->arena, *text);
    return *text != NULL;
}

/* The descriptor, with all that it points to. */
static rapt_status copy_desc(sharing *s, const rapt_attention_desc *desc, rapt_error *error)
{
    rapt_attention_desc *d = &s->desc;
    bool good = true;
    *d = *desc;
    good = d->kernel == NULL || copy_text(s, &d->kernel);
    for (unsigned i = 0; i < RAPT_USER_MODS; i++) {
        good = good && (d->score_mod[i] == NULL || copy_text(s, &d->score_mod[i]));
        good = good && (d->mask_mod[i] == NULL || copy_text(s, &d->mask_mod[i]));
    }
    for (unsigned i = 0; i < RAPT_USER_BUFFERS; i++)
        good = good && (d->user[i].name == NULL || copy_text(s, &d->user[i].name));
    return good ? RAPT_OK : rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a descriptor");
}

/* The tensors' addresses, each there if the descriptor has it. */
static rapt_status take_tensors(sharing *s, const rapt_group_attention_args *args, rapt_error *error)
{
    const struct {
        const char *name;
        const void *data;
    } tensors[RAPT_CUT_TENSORS] = {
        [RAPT_CUT_Q] = {"q", args->q},
        [RAPT_CUT_K] = {"k", args->k},
        [RAPT_CUT_V] = {"v", args->v},
        [RAPT_CUT_OUT] = {"out", args->out},
        [RAPT_CUT_LSE] = {"lse", args->lse},
        [RAPT_CUT_SINKS] = {"sinks", args->sinks},
        [RAPT_CUT_ALIBI] = {"alibi", args->alibi},
        [RAPT_CUT_KEY_BIAS] = {"key_bias", args->key_bias},
        [RAPT_CUT_SEGMENTS] = {"segments", args->segments},
        [RAPT_CUT_GATE] = {"gate", args->gate},
        [RAPT_CUT_BIAS] = {"bias", args->bias},
        [RAPT_CUT_BIAS_U] = {"bias_u", args->bias_u},
        [RAPT_CUT_BIAS_V] = {"bias_v", args->bias_v},
        [RAPT_CUT_BLOCKS] = {"block_mask", args->block_mask},
        [RAPT_CUT_RELATIVE] = {"relative", args->relative},
        [RAPT_CUT_DECAY] = {"decay", args->decay},
    };
    for (unsigned i = 0; i < RAPT_CUT_TENSORS; i++) {
        const rapt_tensor *t = rapt_cut_tensor(&s->desc, i);
        if (t->dtype == RAPT_DTYPE_NONE || rapt_tensor_bytes(t) == 0)
            continue;
        if (tensors[i].data == NULL)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s is NULL", tensors[i].name);
        s->data[i] = tensors[i].data;
    }
    s->out[RAPT_CUT_OUT] = args->out;
    s->out[RAPT_CUT_LSE] = args->lse;
    for (unsigned i = 0; i < RAPT_USER_BUFFERS && s->desc.user[i].name != NULL; i++) {
        if (args->user[i] == NULL)
            return rapt_fail(error, RAPT_ERROR_INVALID, "user buffer '%.40s' is NULL", s->desc.user[i].name);
        s->data[RAPT_PLACE_USER + i] = args->user[i];
    }
    return RAPT_OK;
}

static rapt_status copy_sequences(sharing *s, const char *name, const int32_t *cu, uint64_t total, const int32_t **out,
                                  rapt_error *error)
{
    const uint64_t count = s->desc.sequences + 1ull;
    if (cu == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is NULL", name);
    int32_t *copy = rapt_arena_alloc(&s->arena, count, sizeof *copy);
    if (copy == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %s", name);
    memcpy(copy, cu, count * sizeof *copy);
    for (uint64_t i = 0; i < count; i++)
        if (copy[i] < (i > 0 ? copy[i - 1] : 0) || (uint64_t)copy[i] > total)
            return rapt_fail(error, RAPT_ERROR_INVALID, "%s[%llu] is %d, must not fall, nor exceed the packed length %llu",
                             name, (unsigned long long)i, copy[i], (unsigned long long)total);
    *out = copy;
    return RAPT_OK;
}

/* Long keys are cut where nothing else gives as many units as wanted: few queries of few heads. How many parts there are, and so
 * the bits of the result, follows from the shapes, the number of devices and the group's options. */
static void choose_parts(sharing *s, uint64_t wanted)
{
    const uint64_t units = s->batches * s->heads * s->tiles, keys = s->whole.keys.count;
    uint64_t unit;
    s->parts = 1;
    s->per_keys = RAPT_MAX(keys, 1);
    if (s->group->whole_keys || s->desc.key_splits != 0 || units >= wanted || rapt_cut_refuses_keys(&s->desc, &unit) != NULL)
        return;
    const uint64_t parts = RAPT_MIN(RAPT_MIN(rapt_div_up(wanted, units), keys / LEAST_KEYS), RAPT_GROUP_PARTS);
    if (parts < 2)
        return;
    s->per_keys = rapt_align_up(rapt_align_up(rapt_div_up(keys, parts), KEYS_UNIT), unit);
    s->parts = rapt_div_up(keys, s->per_keys);
}

/* How large units are: heads and batch entries by themselves, and queries cut where that gives fewer units than wanted. */
static void choose_units(sharing *s, uint32_t devices)
{
    const uint64_t wanted = (uint64_t)s->group->parts * devices, batch = s->whole.batch.count, heads = s->whole.heads.count;
    uint64_t unit, rows = s->whole.queries.count;
    s->per_batch = s->per_heads = 1;
    s->per_tile = RAPT_MAX(rows, 1);
    if (rapt_cut_refuses_heads(&s->desc) != NULL) {
        s->per_batch = RAPT_MAX(batch, 1);
        s->per_heads = RAPT_MAX(heads, 1);
    } else if (batch >= RAPT_POOL_UNITS / 4) {
        s->per_batch = rapt_div_up(batch, RAPT_POOL_UNITS);
        s->per_heads = heads;
    } else if (batch * heads > RAPT_POOL_UNITS) {
        s->per_heads = rapt_div_up(heads, RAPT_POOL_UNITS / batch);
    } else if (batch * heads > 0 && batch * heads < wanted && rapt_cut_refuses_queries(&s->desc, &unit) == NULL) {
        const uint64_t tiles = RAPT_MIN(rapt_div_up(wanted, batch * heads), RAPT_MAX(rows / LEAST_ROWS, 1));
        s->per_tile = rapt_align_up(rapt_align_up(rapt_div_up(RAPT_MAX(rows, 1), tiles), LEAST_ROWS), unit);
    }
    s->batches = RAPT_MAX(rapt_div_up(batch, s->per_batch), 1);
    s->heads = RAPT_MAX(rapt_div_up(heads, s->per_heads), 1);
    s->tiles = RAPT_MAX(rapt_div_up(rows, s->per_tile), 1);
    choose_parts(s, wanted);
}

/* Work of the units, by what their queries see; one for being there at all. */
static rapt_status weigh(sharing *s, const rapt_problem *problem, rapt_error *error)
{
    const uint64_t part_units = s->batches * s->heads * s->tiles, units = s->parts * part_units, tiles = s->parts * s->tiles;
    double *before = rapt_arena_alloc(&s->arena, units + 1, sizeof *before);
    double *tile = rapt_arena_alloc(&s->arena, tiles, sizeof *tile);
    if (before == NULL || tile == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %llu units", (unsigned long long)units);
    s->before = before;
    for (uint64_t t = 0; t < tiles && s->cu_q == NULL; t++) {
        rapt_attention_desc part;
        rapt_problem p;
        uint64_t first[RAPT_CUT_TENSORS];
        const rapt_cut cut = cut_of(s, t / s->tiles * part_units + t % s->tiles, 1);
        rapt_attention_cut(&s->desc, &cut, NULL, NULL, &part, first);
        rapt_status status = rapt_attention_problem(&part, &p, error);
        if (status != RAPT_OK)
            return status;
        tile[t] = (double)p.flops + 1;
    }
    const double per_pair = 2.0 * (problem->head_dim_qk + problem->head_dim_v) * (double)problem->heads_out / (double)s->heads;
    for (uint64_t u = 0; u < units; u++) {
        double w = tile[u / part_units * s->tiles + u % s->tiles];
        const rapt_range batch = cut_of(s, u, 1).batch;
        for (uint64_t n = batch.first; s->cu_q != NULL && n < batch.first + batch.count; n++)
            w += per_pair * (double)rapt_visible_pairs(problem, (uint64_t)(s->cu_q[n + 1] - s->cu_q[n]),
                                                       (uint64_t)(s->cu_k[n + 1] - s->cu_k[n]), problem->causal_offset) + 1;
        before[u + 1] = before[u] + w;
    }
    return RAPT_OK;
}

/* Parts of the keys write results of their own, each with its log-sum-exp. */
static rapt_status part_outputs(sharing *s, rapt_error *error)
{
    rapt_attention_desc *d = &s->desc;
    rapt_status status = rapt_group_merge_new(s->group, (uint32_t)s->parts, &d->out, s->out[RAPT_CUT_OUT], &d->lse,
                                              s->out[RAPT_CUT_LSE], &s->merge, error);
    if (status != RAPT_OK)
        return status;
    rapt_group_merge_parts(s->merge, &d->out, &s->out[RAPT_CUT_OUT], &d->lse, &s->out[RAPT_CUT_LSE]);
    for (unsigned i = RAPT_CUT_OUT; i <= RAPT_CUT_LSE; i++) {
        const rapt_tensor *t = rapt_cut_tensor(d, i);
        s->out_elements[i] = rapt_tensor_bytes(t) / rapt_dtype_size(t->dtype);
    }
    return RAPT_OK;
}

/* Calls that differ in batch, heads and numbers alone run at the same rates, and at about the same where lengths differ by less than a
 * factor of two: a cache that grows with each call does not begin anew. */
static uint64_t kind_of(const rapt_problem *p)
{
    const uint64_t nq = rapt_group_length_kind(p->nq), nk = rapt_group_length_kind(p->nk);
    const uint64_t shape[] = {p->dtype, p->head_dim_qk, p->head_dim_v, nq, nk, p->group, p->causal, p->window,
                              p->link, p->extras, p->bias, p->blocks, p->prepared, p->grid.rank, p->varlen};
    return rapt_hash_bytes(RAPT_HASH_INIT, shape, sizeof shape).lo;
}

static rapt_status sharing_make(sharing *s, const rapt_attention_desc *desc, const rapt_group_attention_args *args,
                                rapt_problem *problem, rapt_error *error)
{
    rapt_status status = rapt_attention_problem(desc, problem, error);
    if (status == RAPT_OK && (desc->block_table.dtype != RAPT_DTYPE_NONE || desc->k_lengths.dtype != RAPT_DTYPE_NONE))
        status = rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "a group of devices takes neither block_table nor k_lengths");
    if (status == RAPT_OK && (problem->col_sums || problem->row_max))
        status = rapt_fail(error, RAPT_ERROR_UNSUPPORTED, "a group of devices gives neither col_sums nor row_max");
    if (status == RAPT_OK)
        status = copy_desc(s, desc, error);
    if (status == RAPT_OK)
        status = take_tensors(s, args, error);
    if (status == RAPT_OK && desc->sequences > 0)
        status = copy_sequences(s, "cu_seqlens_q", args->cu_seqlens_q, desc->q.size[2], &s->cu_q, error);
    if (status == RAPT_OK && desc->sequences > 0)
        status = copy_sequences(s, "cu_seqlens_k", args->cu_seqlens_k, desc->k.size[2], &s->cu_k, error);
    if (status != RAPT_OK)
        return status;
    s->whole = rapt_cut_whole(&s->desc);
    choose_units(s, rapt_pool_count(s->group->pool));
    status = weigh(s, problem, error);
    return status == RAPT_OK && s->parts > 1 && !problem->empty ? part_outputs(s, error) : status;
}

rapt_status rapt_group_attention_begin(rapt_group *group, const rapt_attention_desc *desc,
                                       const rapt_group_attention_args *args, rapt_error *error)
{
    rapt_problem problem;
    if (group == NULL || desc == NULL || args == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s is NULL", group == NULL ? "group" : desc == NULL ? "desc" : "args");
    if (args->struct_size < sizeof *args)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_group_attention_args.struct_size is %u, expected %zu",
                         args->struct_size, sizeof *args);
    sharing *s = rapt_calloc(&group->allocator, 1, sizeof *s);
    if (s == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a call");
    s->group = group;
    s->number = ++group->calls;
    rapt_arena_init(&s->arena, &group->allocator);
    rapt_status status = sharing_make(s, desc, args, &problem, error);
    rapt_group_merge *merge = s->merge;
    if (status != RAPT_OK) {
        rapt_group_merge_free(merge);
        sharing_free(s);
        return status;
    }
    const rapt_pool_work work = {.user = s,
                                 .units = problem.empty ? 0 : s->parts * s->batches * s->heads * s->tiles,
                                 .kind = kind_of(&problem) + s->parts,
                                 .weight = weight,
                                 .fit = fit,
                                 .make = make,
                                 .load = load,
                                 .wait = wait,
                                 .store = store,
                                 .end = end,
                                 .trim = trim,
                                 .free = sharing_free};
    status = rapt_pool_begin(group->pool, &work, error);
    if (status == RAPT_OK)
        group->merge = merge;
    else
        rapt_group_merge_free(merge);
    return status;
}
