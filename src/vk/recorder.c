/* The recorder: counts the problems an app submits, and writes them down when it stops. All its memory is
 * taken when it starts; counting allocates nothing. */
#include "op/record.h"
#include "vk/exec.h"

#include <stdio.h>
#include <string.h>

#define SLOTS (2 * RAPT_RECORD_PROBLEMS) /* of the hash table: half are always free */

typedef struct recorded {
    rapt_hash key;
    rapt_op op; /* RAPT_OP_ATTENTION or RAPT_OP_LINEAR */
    union {
        rapt_problem attention;
        rapt_linear_problem linear;
    } problem;
    uint64_t count;
} recorded;

struct rapt_recorder {
    char path[1024];
    recorded entries[RAPT_RECORD_PROBLEMS];
    uint32_t entry_count;
    uint32_t slots[SLOTS]; /* index into entries, plus 1; 0: free */
    uint64_t dropped;      /* submits of problems for which there was no entry any more */
    uint64_t omitted;      /* submits of what a line cannot describe */
};

/* The entry of a key, made if there is room; NULL if there is not. Under the lock. */
static recorded *find(struct rapt_recorder *r, const rapt_plan *plan)
{
    uint32_t slot = (uint32_t)(plan->record_key.lo % SLOTS);
    for (; r->slots[slot] != 0; slot = (slot + 1) % SLOTS) {
        recorded *entry = &r->entries[r->slots[slot] - 1];
        if (rapt_hash_equal(entry->key, plan->record_key))
            return entry;
    }
    if (r->entry_count == RAPT_RECORD_PROBLEMS)
        return NULL;
    recorded *entry = &r->entries[r->entry_count++];
    r->slots[slot] = r->entry_count;
    entry->key = plan->record_key;
    entry->op = plan->op;
    if (plan->op == RAPT_OP_LINEAR)
        memcpy(&entry->problem.linear, &plan->outer, sizeof plan->outer);
    else
        memcpy(&entry->problem.attention, &plan->problem, sizeof plan->problem);
    return entry;
}

void rapt_recorder_count(rapt_runtime *runtime, const rapt_plan *plan)
{
    if (!plan->own || !atomic_load_explicit(&runtime->recording, memory_order_relaxed))
        return;
    bool full = false, omits = false;
    rapt_mutex_lock(&runtime->record_lock);
    if (runtime->recorder != NULL && !plan->recorded) {
        omits = runtime->recorder->omitted++ == 0;
    } else if (runtime->recorder != NULL) {
        recorded *entry = find(runtime->recorder, plan);
        if (entry != NULL)
            entry->count++;
        else
            full = runtime->recorder->dropped++ == 0;
    }
    rapt_mutex_unlock(&runtime->record_lock);
    if (full)
        rapt_log_write(&runtime->log, RAPT_LOG_WARNING,
                       "recording: more than %d distinct problems; further ones are counted, not recorded",
                       RAPT_RECORD_PROBLEMS);
    if (omits)
        rapt_log_write(&runtime->log, RAPT_LOG_WARNING,
                       "recording: attention with an app's code, block masks, col_sums or row_max, linear attention with an app's feature map or "
                       "states at positions, and other operators, are counted, not recorded");
}

/* The file's text is the header alone until the recording ends. */
static rapt_status write_out(rapt_runtime *runtime, const struct rapt_recorder *r, rapt_error *error)
{
    const size_t capacity = sizeof RAPT_RECORD_HEADER + RAPT_RECORD_LINE_MAX + (size_t)r->entry_count * RAPT_RECORD_LINE_MAX;
    char *data = rapt_calloc(&runtime->allocator, capacity, 1);
    if (data == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "%s: no memory to write the recording",
                         r->path);
    rapt_text text = rapt_text_over(data, capacity);
    rapt_text_add(&text, "%s", RAPT_RECORD_HEADER);
    for (uint32_t i = 0; i < r->entry_count; i++) {
        const recorded *entry = &r->entries[i];
        if (entry->op == RAPT_OP_LINEAR)
            rapt_record_linear_line(&entry->problem.linear, entry->count, &text);
        else
            rapt_record_line(&entry->problem.attention, entry->count, &text);
    }
    if (r->omitted > 0)
        rapt_text_add(&text, "{\"omitted\":%llu}\n", (unsigned long long)r->omitted);
    rapt_status status = rapt_file_replace(r->path, data, RAPT_MIN(text.length, capacity - 1), error);
    rapt_free(&runtime->allocator, data, capacity);
    if (status != RAPT_OK)
        return rapt_fail_prefix(error, status, "the recording was not written");
    if (r->dropped > 0)
        rapt_log_write(&runtime->log, RAPT_LOG_WARNING,
                       "%s: %llu submits of problems beyond the first %d are not in it", r->path,
                       (unsigned long long)r->dropped, RAPT_RECORD_PROBLEMS);
    return RAPT_OK;
}

/* A recorder whose file can be written, which its empty recording proves. */
static rapt_status start(rapt_runtime *runtime, const char *path, struct rapt_recorder **out,
                         rapt_error *error)
{
    *out = NULL;
    if (strlen(path) >= sizeof(*out)->path)
        return rapt_fail(error, RAPT_ERROR_INVALID, "the recording's path is longer than %zu bytes",
                         sizeof(*out)->path - 1);
    struct rapt_recorder *r = rapt_calloc(&runtime->allocator, 1, sizeof *r);
    if (r == NULL)
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory to record %d problems",
                         RAPT_RECORD_PROBLEMS);
    memcpy(r->path, path, strlen(path) + 1);
    rapt_status status = write_out(runtime, r, error);
    if (status == RAPT_OK)
        *out = r;
    else
        rapt_free(&runtime->allocator, r, sizeof *r);
    return status;
}

rapt_status rapt_runtime_record(rapt_runtime *runtime, const char *path, rapt_error *error)
{
    if (runtime == NULL)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_runtime_record: runtime is NULL");
    struct rapt_recorder *next = NULL;
    rapt_status status = RAPT_OK;
    rapt_mutex_lock(&runtime->record_lock);
    struct rapt_recorder *last = runtime->recorder;
    if (last != NULL) {
        status = write_out(runtime, last, error); /* before the next begins: it may be the same file */
        rapt_free(&runtime->allocator, last, sizeof *last);
        runtime->recorder = NULL;
    }
    if (status == RAPT_OK && path != NULL && path[0] != '\0')
        status = start(runtime, path, &next, error);
    runtime->recorder = next;
    atomic_store(&runtime->recording, next != NULL);
    rapt_mutex_unlock(&runtime->record_lock);
    return status;
}
