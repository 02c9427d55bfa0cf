/* Lists of numbers on the command line: "1,2,8", and "1,2,4,...,1024" for all in between. */
#ifndef RAPT_TOOL_NUMBER_LIST_H
#define RAPT_TOOL_NUMBER_LIST_H

#include <rapt/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NUMBER_LIST_MOST 64

/* Whole numbers from low to high. "..." goes on as the two numbers before it do, by their ratio where that is whole and above 1, else by
 * their difference, up to the number behind it, which must be one of them. */
bool number_list_read(const char *option, const char *word, int64_t low, int64_t high, int64_t out[NUMBER_LIST_MOST], size_t *count,
                      rapt_error *error);
/* Finite numbers above 0, or with `zero` 0. */
bool number_list_read_real(const char *option, const char *word, bool zero, double out[NUMBER_LIST_MOST], size_t *count, rapt_error *error);

#endif
