/* Command lines: long options with values, flags, positional words. */
#ifndef RAPT_TOOL_ARGS_H
#define RAPT_TOOL_ARGS_H

#include <rapt/status.h>
#include <stdbool.h>
#include <stddef.h>

/* One option. With `value` it takes the next word (or what follows '='), whatever that begins with but "--",
 * so that numbers may be negative and "-" may be standard output; with `flag` it takes none. With `most` it may be given
 * that often, and `value` is that many places long: the values in their order. */
typedef struct tool_option {
    const char *name;        /* "--causal-offset" */
    const char *placeholder; /* "N" */
    const char *help;
    const char **value;
    bool *flag;
    unsigned most;
} tool_option;

/* What a command is; prints its --help. */
typedef struct tool_usage {
    const char *synopsis;        /* "rapt run attention --q FILE .." */
    const char *text;            /* what it does, and what its files mean */
    const char *const *examples; /* NULL-ended */
    const tool_option *options;  /* ended by a NULL name */
} tool_usage;

typedef enum tool_parsed { TOOL_PARSED_OK, TOOL_PARSED_HELP, TOOL_PARSED_ERROR } tool_parsed;

/* argv[0] is skipped. Words that are no options fill words[0 .. *word_count - 1], at most max_words. An
 * unknown or repeated option, a missing value, one word too many: TOOL_PARSED_ERROR with one line in `error`.
 * --help and -h: TOOL_PARSED_HELP, and nothing is printed. */
tool_parsed tool_parse(int argc, char **argv, const tool_option *options, const char **words,
                       size_t max_words, size_t *word_count, rapt_error *error);

/* Parses; prints help or the error. True: go on; false: return *exit_code. */
bool tool_arguments(int argc, char **argv, const tool_usage *usage, const char **words, size_t max_words,
                    size_t *word_count, int *exit_code);

/* Whole-word numbers within bounds; false fills `error` naming the option, the word and the bounds. */
bool tool_integer(const char *option, const char *word, int64_t low, int64_t high, int64_t *out,
                  rapt_error *error);
bool tool_number(const char *option, const char *word, double *out, rapt_error *error); /* finite */
/* Which of the `count` names the word is; `list` says them in the error. */
bool tool_one_of(const char *option, const char *word, const char *(*name)(unsigned), unsigned count, unsigned *out,
                 const char *list, rapt_error *error);

#endif
