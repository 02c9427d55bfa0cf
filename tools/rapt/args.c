#include "args.h"

#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OPTIONS 64

static const tool_option *find(const tool_option *options, const char *name, size_t length)
{
    for (const tool_option *o = options; o->name; o++)
        if (strlen(o->name) == length && strncmp(o->name, name, length) == 0)
            return o;
    return NULL;
}

/* Takes the option at argv[*at], and its value. */
static bool take(int argc, char **argv, int *at, const tool_option *options, unsigned *seen, rapt_error *error)
{
    const char *word = argv[*at], *equals = strchr(word, '=');
    const size_t length = equals ? (size_t)(equals - word) : strlen(word);
    const tool_option *o = find(options, word, length);
    if (!o)
        return tool_fail(error, RAPT_ERROR_INVALID,
                         "unknown option '%.*s'; rapt %s --help lists what there is",
                         (int)(length < 80 ? length : 80), word, argv[0]);
    const unsigned place = seen[o - options]++;
    if (place >= (o->most > 1 ? o->most : 1))
        return tool_fail(error, RAPT_ERROR_INVALID, "option %s is given %s", o->name,
                         o->most > 1 ? "too often" : "twice");
    if (o->flag) {
        if (equals)
            return tool_fail(error, RAPT_ERROR_INVALID, "option %s takes no value", o->name);
        *o->flag = true;
        return true;
    }
    if (equals) {
        o->value[place] = equals + 1;
        return true;
    }
    if (*at + 1 >= argc || strncmp(argv[*at + 1], "--", 2) == 0)
        return tool_fail(error, RAPT_ERROR_INVALID, "option %s needs a value: %s", o->name, o->placeholder);
    o->value[place] = argv[++*at];
    return true;
}

tool_parsed tool_parse(int argc, char **argv, const tool_option *options, const char **words,
                       size_t max_words, size_t *word_count, rapt_error *error)
{
    unsigned seen[MAX_OPTIONS] = {0};
    *word_count = 0;
    for (int at = 1; at < argc; at++)
        if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0)
            return TOOL_PARSED_HELP;
    for (int at = 1; at < argc; at++) {
        const char *word = argv[at];
        if (word[0] == '-' && word[1] != 0) {
            if (!take(argc, argv, &at, options, seen, error))
                return TOOL_PARSED_ERROR;
        } else if (*word_count == max_words) {
            tool_fail(error, RAPT_ERROR_INVALID,
                      "'%.80s' is one word too many; rapt %s --help shows the form", word, argv[0]);
            return TOOL_PARSED_ERROR;
        } else {
            words[(*word_count)++] = word;
        }
    }
    return TOOL_PARSED_OK;
}

static void print_help(const tool_usage *u)
{
    printf("Usage: %s\n\n%s\n\nOptions:\n", u->synopsis, u->text);
    for (const tool_option *o = u->options; o->name; o++) {
        char left[64];
        snprintf(left, sizeof left, "%s%s%s", o->name, o->placeholder ? " " : "",
                 o->placeholder ? o->placeholder : "");
        printf("  %-24s ", left);
        for (const char *at = o->help; *at; at++) { /* further lines of a help text are indented alike */
            putchar(*at);
            if (*at == '\n')
                printf("%27s", "");
        }
        putchar('\n');
    }
    printf("  %-24s show this and exit\n\nExamples:\n", "--help");
    for (const char *const *e = u->examples; *e; e++)
        printf("  %s\n", *e);
    printf("\nExit codes: 0 good, 1 a check failed or a regression, 2 bad input, 3 no device,\n"
           "4 refused by the device's limits, 5 device lost.\n");
}

/* "rapt check linear [options]": "check linear". */
static void command_of(const char *synopsis, char *out, size_t size)
{
    size_t length = 0;
    const char *at = synopsis + strcspn(synopsis, " ");
    while (at[0] == ' ' && at[1] >= 'a' && at[1] <= 'z') {
        const size_t word = strcspn(at + 1, " ");
        if (length + word + 2 > size)
            break;
        if (length > 0)
            out[length++] = ' ';
        memcpy(out + length, at + 1, word);
        length += word;
        at += 1 + word;
    }
    out[length] = 0;
}

bool tool_arguments(int argc, char **argv, const tool_usage *usage, const char **words, size_t max_words,
                    size_t *word_count, int *exit_code)
{
    rapt_error error = {0};
    char command[64], *const given = argv[0];
    command_of(usage->synopsis, command, sizeof command);
    argv[0] = command; /* for what errors tell */
    const tool_parsed parsed = tool_parse(argc, argv, usage->options, words, max_words, word_count, &error);
    argv[0] = given;
    switch (parsed) {
    case TOOL_PARSED_HELP:
        print_help(usage);
        *exit_code = TOOL_GOOD;
        return false;
    case TOOL_PARSED_ERROR:
        *exit_code = tool_report(&error);
        return false;
    default:
        return true;
    }
}

bool tool_integer(const char *option, const char *word, int64_t low, int64_t high, int64_t *out,
                  rapt_error *error)
{
    char *end;
    errno = 0;
    const long long value = strtoll(word, &end, 10);
    if (end == word || *end != 0 || errno == ERANGE || value < low || value > high || word[0] == ' ')
        return tool_fail(error, RAPT_ERROR_INVALID,
                         "%s: '%.60s' is not a whole number from %" PRId64 " to %" PRId64, option, word, low,
                         high);
    *out = value;
    return true;
}

bool tool_number(const char *option, const char *word, double *out, rapt_error *error)
{
    char *end;
    const double value = strtod(word, &end);
    if (end == word || *end != 0 || !isfinite(value) || word[0] == ' ')
        return tool_fail(error, RAPT_ERROR_INVALID, "%s: '%.60s' is not a finite number", option, word);
    *out = value;
    return true;
}

bool tool_one_of(const char *option, const char *word, const char *(*name)(unsigned), unsigned count, unsigned *out,
                 const char *list, rapt_error *error)
{
    for (unsigned n = 0; n < count; n++)
        if (strcmp(word, name(n)) == 0) {
            *out = n;
            return true;
        }
    return tool_fail(error, RAPT_ERROR_INVALID, "%s '%.60s': %s is needed", option, word, list);
}
