/* Measured choices and the block list of one device, in memory and in one file of the disk cache. */
#include "vk/exec.h"

#include <stdio.h>
#include <string.h>

#define CHOICES_MAX 1024 /* then the oldest goes */

typedef struct choice {
    rapt_hash key;
    rapt_tuned tuned;
} choice;

struct rapt_tuning {
    rapt_mutex lock; /* guards everything here */
    choice *choices;
    rapt_blocked *blocks;
    uint32_t choice_count, block_count, block_capacity;
};

static const rapt_hash file_key = {0x74756e65, 1};

/* The file: these counts, then the choices, then the blocks, as in memory; the store vouches for the build
 * that wrote it. */
typedef struct file_header {
    uint32_t choice_count, block_count;
} file_header;

/* An overridden kernel is not the one that was measured. */
static bool on_disk(const rapt_device *device)
{
    return device->runtime->override_dir[0] == 0 && device->runtime->store.dir[0] != 0;
}

static bool ended(const char *text, size_t capacity)
{
    return memchr(text, 0, capacity) != NULL;
}

/* The new entry is the last; with `most` of them the first one goes. */
static rapt_status add_choice(rapt_device *device, const choice *c, rapt_error *error)
{
    struct rapt_tuning *t = device->tuning;
    uint32_t at = 0;
    while (at < t->choice_count && !rapt_hash_equal(t->choices[at].key, c->key))
        at++;
    if (at < t->choice_count || t->choice_count == CHOICES_MAX) {
        at = at < t->choice_count ? at : 0;
        memmove(&t->choices[at], &t->choices[at + 1], (t->choice_count - at - 1) * sizeof *t->choices);
        t->choices[t->choice_count - 1] = *c;
        return RAPT_OK;
    }
    choice *grown = rapt_realloc_array(&device->runtime->allocator, t->choices, t->choice_count,
                                       t->choice_count + 1, sizeof *grown);
    if (grown == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a measured choice");
    t->choices = grown;
    t->choices[t->choice_count++] = *c;
    return RAPT_OK;
}

static uint32_t find_block(const struct rapt_tuning *t, const char *kernel)
{
    uint32_t at = 0;
    while (at < t->block_count && strcmp(t->blocks[at].kernel, kernel) != 0)
        at++;
    return at;
}

static rapt_status add_block(rapt_device *device, const rapt_blocked *b, rapt_error *error)
{
    struct rapt_tuning *t = device->tuning;
    uint32_t at = find_block(t, b->kernel);
    if (at < t->block_count) {
        t->blocks[at] = *b;
        return RAPT_OK;
    }
    if (t->block_count == t->block_capacity) {
        rapt_blocked *grown = rapt_realloc_array(&device->runtime->allocator, t->blocks, t->block_capacity,
                                                 t->block_capacity + 1, sizeof *grown);
        if (grown == NULL)
            return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the block list");
        t->blocks = grown;
        t->block_capacity++;
    }
    t->blocks[t->block_count++] = *b;
    return RAPT_OK;
}

/* Adds what is on disk and not in memory. What does not look as it should is no entry. */
static void merge_file(rapt_device *device)
{
    struct rapt_tuning *t = device->tuning;
    void *data;
    size_t size;
    if (!on_disk(device) || !rapt_store_read(&device->runtime->store, RAPT_STORE_TUNING, device->identity,
                                             file_key, &data, &size))
        return;
    file_header h = {0, 0};
    if (size >= sizeof h)
        memcpy(&h, data, sizeof h);
    bool good = h.choice_count <= CHOICES_MAX && h.block_count <= rapt_kernels()->row_count &&
                size == sizeof h + h.choice_count * sizeof(choice) + h.block_count * sizeof(rapt_blocked);
    const unsigned char *at = (const unsigned char *)data + sizeof h;
    for (uint32_t i = 0; i < h.choice_count && good; i++, at += sizeof(choice)) {
        choice c;
        memcpy(&c, at, sizeof c);
        bool known = false;
        for (uint32_t k = 0; k < t->choice_count; k++)
            known |= rapt_hash_equal(t->choices[k].key, c.key);
        if (!known && ended(c.tuned.kernel, sizeof c.tuned.kernel) && c.tuned.key_splits <= 1u << 16 && c.tuned.form <= RAPT_LINEAR_CHUNKED && c.tuned.chunk <= 1024 &&
            ended(c.tuned.default_kernel, sizeof c.tuned.default_kernel) &&
            ended(c.tuned.problem, sizeof c.tuned.problem))
            (void)add_choice(device, &c, NULL);
    }
    for (uint32_t i = 0; i < h.block_count && good; i++, at += sizeof(rapt_blocked)) {
        rapt_blocked b;
        memcpy(&b, at, sizeof b);
        if (ended(b.kernel, sizeof b.kernel) && ended(b.reason, sizeof b.reason) &&
            find_block(t, b.kernel) == t->block_count)
            (void)add_block(device, &b, NULL);
    }
    rapt_free(&device->runtime->allocator, data, size);
}

/* true if what memory holds can be read back. */
static bool write_file(rapt_device *device)
{
    const struct rapt_tuning *t = device->tuning;
    const rapt_allocator *a = &device->runtime->allocator;
    const file_header h = {t->choice_count, t->block_count};
    const size_t choices = h.choice_count * sizeof *t->choices, blocks = h.block_count * sizeof *t->blocks;
    const size_t size = sizeof h + choices + blocks;
    if (!on_disk(device))
        return false;
    unsigned char *data = rapt_calloc(a, 1, size);
    if (data == NULL)
        return false;
    memcpy(data, &h, sizeof h);
    if (choices > 0)
        memcpy(data + sizeof h, t->choices, choices);
    if (blocks > 0)
        memcpy(data + sizeof h + choices, t->blocks, blocks);
    rapt_store_write(&device->runtime->store, RAPT_STORE_TUNING, device->identity, file_key, data, size);
    void *back;
    size_t back_size;
    bool good = rapt_store_read(&device->runtime->store, RAPT_STORE_TUNING, device->identity, file_key, &back,
                                &back_size);
    if (good) {
        good = back_size == size && memcmp(back, data, size) == 0;
        rapt_free(a, back, back_size);
    }
    rapt_free(a, data, size);
    return good;
}

rapt_status rapt_tuning_create(rapt_device *device, rapt_error *error)
{
    struct rapt_tuning *t = rapt_calloc(&device->runtime->allocator, 1, sizeof *t);
    if (t == NULL || !rapt_mutex_init(&t->lock)) {
        rapt_free(&device->runtime->allocator, t, sizeof *t);
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for measured choices");
    }
    device->tuning = t;
    merge_file(device);
    return RAPT_OK;
}

void rapt_tuning_destroy(rapt_device *device)
{
    struct rapt_tuning *t = device->tuning;
    const rapt_allocator *a = &device->runtime->allocator;
    if (t == NULL)
        return;
    rapt_free(a, t->choices, t->choice_count * sizeof *t->choices);
    rapt_free(a, t->blocks, t->block_capacity * sizeof *t->blocks);
    rapt_mutex_destroy(&t->lock);
    rapt_free(a, t, sizeof *t);
    device->tuning = NULL;
}

bool rapt_tuning_find(void *user, rapt_hash key, rapt_tuned *out)
{
    struct rapt_tuning *t = ((rapt_device *)user)->tuning;
    bool found = false;
    rapt_mutex_lock(&t->lock);
    for (uint32_t i = 0; i < t->choice_count && !found; i++) {
        found = rapt_hash_equal(t->choices[i].key, key);
        if (found)
            *out = t->choices[i].tuned;
    }
    rapt_mutex_unlock(&t->lock);
    return found;
}

bool rapt_tuning_blocked(void *user, const rapt_kernel_row *row, char *reason, size_t capacity)
{
    struct rapt_tuning *t = ((rapt_device *)user)->tuning;
    rapt_mutex_lock(&t->lock);
    const uint32_t at = find_block(t, row->name);
    const bool found = at < t->block_count;
    if (found)
        snprintf(reason, capacity, "%s", t->blocks[at].reason);
    rapt_mutex_unlock(&t->lock);
    return found;
}

rapt_status rapt_tuning_keep(rapt_device *device, rapt_hash key, const rapt_tuned *tuned, bool *stored,
                             rapt_error *error)
{
    choice c;
    memset(&c, 0, sizeof c); /* what is written holds no chance bytes */
    c.key = key;
    c.tuned = *tuned;
    rapt_mutex_lock(&device->tuning->lock);
    merge_file(device); /* what another process found meanwhile */
    rapt_status status = add_choice(device, &c, error);
    *stored = status == RAPT_OK && write_file(device);
    rapt_mutex_unlock(&device->tuning->lock);
    return status;
}

/* ---- the public lists */

static rapt_status known_row(const char *kernel, rapt_error *error)
{
    const rapt_kernel_table *table = rapt_kernels();
    for (uint32_t i = 0; kernel != NULL && i < table->row_count; i++)
        if (strcmp(table->rows[i].name, kernel) == 0)
            return RAPT_OK;
    return rapt_fail(error, RAPT_ERROR_INVALID, "no kernel is named '%.64s' (rapt compile --list names them)",
                     kernel != NULL ? kernel : "");
}

rapt_status rapt_device_block(rapt_device *device, const char *kernel, const char *reason, uint32_t *stored,
                              rapt_error *error)
{
    if (stored != NULL)
        *stored = 0;
    if (device == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "device is NULL");
    rapt_status status = known_row(kernel, error);
    if (status != RAPT_OK)
        return status;
    rapt_blocked b;
    memset(&b, 0, sizeof b);
    b.struct_size = sizeof b;
    snprintf(b.kernel, sizeof b.kernel, "%s", kernel);
    snprintf(b.reason, sizeof b.reason, "%s", reason != NULL && reason[0] != 0 ? reason : "blocked by hand");
    rapt_mutex_lock(&device->tuning->lock);
    merge_file(device);
    status = add_block(device, &b, error);
    bool good = status == RAPT_OK && write_file(device);
    rapt_mutex_unlock(&device->tuning->lock);
    if (stored != NULL)
        *stored = good;
    return status;
}

rapt_status rapt_device_unblock(rapt_device *device, const char *kernel, uint32_t *stored, rapt_error *error)
{
    if (stored != NULL)
        *stored = 0;
    if (device == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "device is NULL");
    rapt_status status = known_row(kernel, error);
    if (status != RAPT_OK)
        return status;
    struct rapt_tuning *t = device->tuning;
    rapt_mutex_lock(&t->lock);
    merge_file(device);
    const uint32_t at = find_block(t, kernel);
    bool good = false;
    if (at < t->block_count) {
        rapt_blocked *list = t->blocks;
        memmove(&list[at], &list[at + 1], (t->block_count - at - 1) * sizeof *list);
        t->block_count--;
        good = write_file(device);
    } else {
        status = rapt_fail(error, RAPT_ERROR_INVALID, "kernel '%s' is not on the block list", kernel);
    }
    rapt_mutex_unlock(&t->lock);
    if (stored != NULL)
        *stored = good;
    return status;
}

uint32_t rapt_device_blocked_count(rapt_device *device)
{
    if (device == NULL)
        return 0;
    rapt_mutex_lock(&device->tuning->lock);
    const uint32_t count = device->tuning->block_count;
    rapt_mutex_unlock(&device->tuning->lock);
    return count;
}

uint32_t rapt_device_tuned_count(rapt_device *device)
{
    if (device == NULL)
        return 0;
    rapt_mutex_lock(&device->tuning->lock);
    const uint32_t count = device->tuning->choice_count;
    rapt_mutex_unlock(&device->tuning->lock);
    return count;
}

rapt_status rapt_device_blocked(rapt_device *device, uint32_t index, rapt_blocked *out, rapt_error *error)
{
    if (device == NULL || out == NULL || out->struct_size < sizeof *out)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s",
                         device == NULL ? "device is NULL"
                         : out == NULL  ? "blocked is NULL"
                                        : "rapt_blocked.struct_size: use RAPT_BLOCKED_INIT");
    struct rapt_tuning *t = device->tuning;
    rapt_mutex_lock(&t->lock);
    const uint32_t count = t->block_count, size = out->struct_size;
    if (index < count)
        *out = t->blocks[index];
    rapt_mutex_unlock(&t->lock);
    out->struct_size = size;
    return index < count ? RAPT_OK
                         : rapt_fail(error, RAPT_ERROR_INVALID, "blocked row %u of %u", index, count);
}

rapt_status rapt_device_tuned(rapt_device *device, uint32_t index, rapt_tuned *out, rapt_error *error)
{
    if (device == NULL || out == NULL || out->struct_size < sizeof *out)
        return rapt_fail(error, RAPT_ERROR_INVALID, "%s",
                         device == NULL ? "device is NULL"
                         : out == NULL  ? "tuned is NULL"
                                        : "rapt_tuned.struct_size: use RAPT_TUNED_INIT");
    struct rapt_tuning *t = device->tuning;
    rapt_mutex_lock(&t->lock);
    const uint32_t count = t->choice_count, size = out->struct_size;
    if (index < count)
        *out = t->choices[index].tuned;
    rapt_mutex_unlock(&t->lock);
    out->struct_size = size;
    return index < count ? RAPT_OK
                         : rapt_fail(error, RAPT_ERROR_INVALID, "measured choice %u of %u", index, count);
}

uint32_t rapt_device_forget_tuned(rapt_device *device)
{
    if (device == NULL)
        return 0;
    struct rapt_tuning *t = device->tuning;
    rapt_mutex_lock(&t->lock);
    merge_file(device);
    const uint32_t count = t->choice_count;
    rapt_free(&device->runtime->allocator, t->choices, count * sizeof *t->choices);
    t->choices = NULL;
    t->choice_count = 0;
    if (count > 0)
        (void)write_file(device);
    rapt_mutex_unlock(&t->lock);
    return count;
}
