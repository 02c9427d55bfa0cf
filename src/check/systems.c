#include "systems.h"

#include "cases.h"
#include "half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A comma list of whole numbers; their count, 0 if it is not one or has more than `capacity`. */
static uint32_t numbers(const char *text, uint64_t *out, uint32_t capacity)
{
    uint32_t count = 0;
    for (const char *at = text;; at++) {
        char *end;
        if (*at < '0' || *at > '9' || count == capacity)
            return 0;
        out[count++] = strtoull(at, &end, 10);
        at = end;
        if (*at == 0)
            return count;
        if (*at != ',')
            return 0;
    }
}

/* A number, or a letter: the tokens of the problem. */
static uint64_t below_what(const char *text, uint64_t tokens)
{
    return *text >= 'a' && *text <= 'z' ? tokens : strtoull(text, NULL, 10);
}

/* tokens: of the first input, 0 while there is none. */
static bool fill(rapt_check_array *a, const char *about, char *value, rapt_dtype dtype, uint64_t tokens, rapt_random *random)
{
    static const char single[] = "float32", below[] = "int32 below ", rising[] = "int32 rising below ", share[] = "float32 in (0, 1)",
                      negative[] = "float32, negative", positive[] = "float32, positive", above[] = "positive ";
    const bool is_negative = strncmp(about, negative, sizeof negative - 1) == 0;
    const bool is_share = is_negative || strncmp(about, share, sizeof share - 1) == 0 || strncmp(about, positive, sizeof positive - 1) == 0 ||
                          strncmp(about, above, sizeof above - 1) == 0;
    uint64_t list[16];
    char *star = strchr(value, '*');
    const double factor = star ? strtod(star + 1, NULL) : 1;
    if (star)
        *star = 0;
    const uint32_t count = numbers(value, list, 16);
    a->count = 1;
    if (strncmp(a->name, "cu_", 3) == 0) {
        a->dtype = RAPT_I32;
        a->rank = 1;
        a->count = a->shape[0] = count;
        a->bounds = malloc((count + 1) * sizeof *a->bounds);
        for (uint32_t n = 0; n < count && a->bounds; n++)
            a->bounds[n] = (int32_t)list[n];
        return count > 0 && a->bounds;
    }
    if (count == 0 || count > 4)
        return false;
    a->rank = count;
    const bool rises = strncmp(about, rising, sizeof rising - 1) == 0;
    if (rises || strncmp(about, below, sizeof below - 1) == 0) {
        const uint64_t end = below_what(about + (rises ? sizeof rising : sizeof below) - 1, tokens), row = list[count - 1],
                       step = rises && row > 0 ? end / row : end;
        a->dtype = RAPT_I32;
        for (uint32_t n = 0; n < count; n++)
            a->count *= a->shape[n] = list[n];
        a->bounds = a->count < (1u << 24) ? malloc((size_t)(a->count + 1) * sizeof *a->bounds) : NULL;
        for (uint64_t n = 0; n < a->count && a->bounds; n++)
            a->bounds[n] = (int32_t)(rapt_random_below(random, step) + (rises ? n % row * step : 0));
        return step > 0 && a->bounds;
    }
    a->dtype = strncmp(about, single, sizeof single - 1) == 0 ? RAPT_F32 : dtype;
    for (uint32_t n = 0; n < count; n++) {
        a->shape[n] = list[n];
        a->count *= list[n];
    }
    a->data = a->count < (1u << 25) ? malloc((size_t)(a->count + 1) * sizeof *a->data) : NULL;
    for (uint64_t n = 0; n < a->count && a->data; n++) {
        const double x = rapt_random_normal(random);
        a->data[n] = (double)rapt_check_round(a->dtype, (float)(factor * (is_negative ? -1 / (1 + exp(-x)) : is_share ? 1 / (1 + exp(-x)) : x)));
    }
    return a->data != NULL;
}

/* What the table says of an input. */
static const char *about(const rapt_system_info *info, const char *name)
{
    for (uint32_t n = 0; n < info->input_count; n++)
        if (strcmp(info->inputs[n].name, name) == 0)
            return info->inputs[n].about;
    return "";
}

bool rapt_check_system_make(const rapt_system_info *info, const char *check, rapt_dtype dtype, uint64_t seed,
                            rapt_check_system *out)
{
    rapt_random random = {seed};
    bool parameters = false;
    *out = (rapt_check_system){.info = info, .dtype = dtype};
    if ((size_t)snprintf(out->text, sizeof out->text, "%s", check) >= sizeof out->text)
        return false;
    for (char *word = out->text; *word;) {
        char *next = word + strcspn(word, " "), *value = strchr(word, '=');
        if (*next)
            *next++ = 0;
        if (strcmp(word, "|") == 0) {
            parameters = true;
            word = next;
            continue;
        }
        if (!value || (parameters ? out->setting_count : out->input_count) == RAPT_CHECK_FIELDS)
            return false;
        *value++ = 0;
        if (parameters) {
            for (char *at = value; (at = strchr(at, '~')) != NULL;)
                *at = ' ';
            out->settings[out->setting_count++] = (rapt_system_setting){word, value};
        } else {
            rapt_check_array *a = &out->inputs[out->input_count++];
            snprintf(a->name, sizeof a->name, "%.23s", word);
            const uint64_t tokens = out->input_count > 1 ? out->inputs[0].shape[2] : 0;
            if (!fill(a, about(info, a->name), value, dtype, tokens, &random))
                return false;
        }
        word = next;
    }
    return out->input_count > 0;
}

void rapt_check_system_free(rapt_check_system *system)
{
    for (uint32_t n = 0; n < system->input_count; n++) {
        free(system->inputs[n].data);
        free(system->inputs[n].bounds);
    }
    system->input_count = 0;
}
