#include "number_list.h"

#include "args.h"
#include "tool.h"

#include <string.h>

/* The next word of a comma list, cut to fit; moves *at behind it. */
static void next_word(const char **at, char out[40])
{
    const size_t length = strcspn(*at, ",");
    snprintf(out, 40, "%.*s", (int)(length < 39 ? length : 39), *at);
    *at += length + ((*at)[length] == ',' && (*at)[length + 1] != 0);
}

static bool is_full(const char *option, size_t count, rapt_error *error)
{
    return count < NUMBER_LIST_MOST || tool_fail(error, RAPT_ERROR_INVALID, "%s: more than %d numbers", option, NUMBER_LIST_MOST);
}

/* What stands for "..." before `last`. */
static bool fill(const char *option, int64_t last, int64_t out[NUMBER_LIST_MOST], size_t *count, rapt_error *error)
{
    const int64_t a = *count > 1 ? out[*count - 2] : 0, b = *count > 1 ? out[*count - 1] : 0;
    const bool times = a > 0 && b % a == 0 && b > a;
    int64_t x = b;
    if (*count < 2 || b <= a)
        return tool_fail(error, RAPT_ERROR_INVALID, "%s: before '...' stand two numbers that rise", option);
    while (x < last) {
        x = times ? x * (b / a) : x + (b - a);
        if (x < last && !is_full(option, *count, error))
            return false;
        if (x < last)
            out[(*count)++] = x;
    }
    return x == last || tool_fail(error, RAPT_ERROR_INVALID, "%s: %lld is not among what '...' comes to", option, (long long)last);
}

bool number_list_read(const char *option, const char *word, int64_t low, int64_t high, int64_t out[NUMBER_LIST_MOST], size_t *count,
                      rapt_error *error)
{
    bool dots = false;
    *count = 0;
    for (const char *at = word; *at != 0 || *count == 0;) {
        char one[40];
        int64_t x;
        next_word(&at, one);
        if (strcmp(one, "...") == 0 && !dots) {
            dots = true;
            continue;
        }
        if (!tool_integer(option, one, low, high, &x, error) || (dots && !fill(option, x, out, count, error)) || !is_full(option, *count, error))
            return false;
        dots = false;
        out[(*count)++] = x;
    }
    return !dots || tool_fail(error, RAPT_ERROR_INVALID, "%s: a number must stand behind '...'", option);
}

bool number_list_read_real(const char *option, const char *word, bool zero, double out[NUMBER_LIST_MOST], size_t *count, rapt_error *error)
{
    *count = 0;
    for (const char *at = word; *at != 0 || *count == 0;) {
        char one[40];
        next_word(&at, one);
        if (!is_full(option, *count, error) || !tool_number(option, one, &out[*count], error))
            return false;
        if (!(out[*count] > 0 || (zero && out[*count] == 0)))
            return tool_fail(error, RAPT_ERROR_INVALID, "%s: %.40s is not above 0", option, one);
        ++*count;
    }
    return true;
}
