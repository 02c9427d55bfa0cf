#include "user_options.h"

#include "check/half.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (1u << 20) /* the library has a lower limit of its own, and words for it */

void tool_user_free(tool_user *u)
{
    for (size_t n = 0; n < TOOL_COUNT(u->texts); n++)
        free(u->texts[n]);
    for (size_t n = 0; n < TOOL_COUNT(u->names); n++) {
        free(u->names[n]);
        tensor_file_free(&u->files[n]);
    }
    *u = (tool_user){0};
}

/* The next of a comma list, from malloc; *list goes behind it, or becomes NULL at the end. */
static char *next_item(const char **list)
{
    const char *comma = strchr(*list, ',');
    const size_t length = comma ? (size_t)(comma - *list) : strlen(*list);
    char *item = malloc(length + 1);
    if (item) {
        memcpy(item, *list, length);
        item[length] = 0;
    }
    *list = comma ? comma + 1 : NULL;
    return item;
}

bool tool_read_text(const char *option, const char *path, char **out, rapt_error *error)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return tool_fail(error, RAPT_ERROR_IO, "%s %s: %s", option, path, strerror(errno));
    char *text = malloc(TEXT_MAX + 1);
    const size_t size = text ? fread(text, 1, TEXT_MAX, file) : 0;
    const bool failed = ferror(file) != 0;
    fclose(file);
    *out = text;
    if (!text)
        return tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %s", path);
    text[size] = 0;
    if (failed)
        return tool_fail(error, RAPT_ERROR_IO, "%s %s: it cannot be read", option, path);
    if (size == TEXT_MAX || strlen(text) != size)
        return tool_fail(error, RAPT_ERROR_INVALID, "%s %s: %s", option, path,
                         size == TEXT_MAX ? "1 MiB or more is no snippet" : "it holds a byte 0, no text");
    return true;
}

static bool read_texts(const char *option, const char *list, char *texts[], const char *mods[], rapt_error *error)
{
    for (size_t n = 0; list; n++) {
        if (n == RAPT_USER_MODS)
            return tool_fail(error, RAPT_ERROR_INVALID, "%s: more than %d files", option, RAPT_USER_MODS);
        char *path = next_item(&list);
        if (!path)
            return tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the name of a file");
        const bool good = tool_read_text(option, path, &texts[n], error);
        free(path);
        if (!good)
            return false;
        mods[n] = texts[n];
    }
    return true;
}

/* float16 becomes float32. */
static bool widen(tensor_file *t, const char *path, rapt_error *error)
{
    if (t->dtype == RAPT_F32 || t->dtype == RAPT_I32)
        return true;
    float *wide = malloc((size_t)t->count * 4 + 1);
    if (!wide)
        return tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for %s", path);
    for (uint64_t n = 0; n < t->count; n++)
        wide[n] = rapt_check_load(t->data, t->dtype, (int64_t)n);
    free(t->data);
    t->data = wide;
    t->dtype = RAPT_F32;
    return true;
}

static bool read_buffers(const char *list, tool_user *u, rapt_attention_desc *d, rapt_error *error)
{
    for (size_t n = 0; list; n++) {
        if (n == RAPT_USER_BUFFERS)
            return tool_fail(error, RAPT_ERROR_INVALID, "--user: more than %d buffers", RAPT_USER_BUFFERS);
        char *name = u->names[n] = next_item(&list);
        char *path = name ? strchr(name, '=') : NULL;
        if (!name)
            return tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for the name of a buffer");
        if (!path || path == name || path[1] == 0)
            return tool_fail(error, RAPT_ERROR_INVALID, "--user '%.80s': NAME=FILE is needed", name);
        *path++ = 0;
        if (!tensor_file_read(path, &u->files[n], error) || !widen(&u->files[n], path, error))
            return false;
        d->user[n] = (rapt_user_buffer){name, u->files[n].dtype, u->files[n].count};
    }
    return true;
}

static bool read_constants(const char *list, rapt_attention_desc *d, rapt_error *error)
{
    for (size_t n = 0; list; n++) {
        if (n == RAPT_USER_CONSTANTS)
            return tool_fail(error, RAPT_ERROR_INVALID, "--user-const: more than %d numbers", RAPT_USER_CONSTANTS);
        char *word = next_item(&list);
        double value = 0;
        if (!word)
            return tool_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a number");
        const bool good = tool_number("--user-const", word, &value, error);
        free(word);
        if (!good)
            return false;
        d->user_constants[n] = (float)value;
        if (!isfinite(d->user_constants[n]))
            return tool_fail(error, RAPT_ERROR_INVALID, "--user-const %g: beyond single precision", value);
    }
    return true;
}

bool tool_user_make(const tool_user_options *o, tool_user *u, rapt_attention_desc *d, rapt_error *error)
{
    *u = (tool_user){0};
    if ((o->buffers || o->constants) && !o->score_mod && !o->mask_mod)
        return tool_fail(error, RAPT_ERROR_INVALID, "%s goes with --score-mod or --mask-mod",
                         o->buffers ? "--user" : "--user-const");
    return read_texts("--score-mod", o->score_mod, u->texts, d->score_mod, error) &&
           read_texts("--mask-mod", o->mask_mod, u->texts + RAPT_USER_MODS, d->mask_mod, error) &&
           read_buffers(o->buffers, u, d, error) && read_constants(o->constants, d, error);
}

void tool_user_json(const rapt_attention_desc *d, cJSON *object)
{
    if (!d->score_mod[0] && !d->mask_mod[0])
        return;
    size_t scores = 0, masks = 0;
    while (scores < RAPT_USER_MODS && d->score_mod[scores])
        scores++;
    while (masks < RAPT_USER_MODS && d->mask_mod[masks])
        masks++;
    cJSON_AddNumberToObject(object, "score_mods", (double)scores);
    cJSON_AddNumberToObject(object, "mask_mods", (double)masks);
    cJSON *names = cJSON_AddArrayToObject(object, "user_buffers");
    for (size_t n = 0; n < RAPT_USER_BUFFERS && d->user[n].name; n++)
        cJSON_AddItemToArray(names, cJSON_CreateString(d->user[n].name));
}
