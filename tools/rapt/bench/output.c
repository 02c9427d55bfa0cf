#include "output.h"

#include "bench.h"
#include "process.h"
#include "text_file.h"

#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#define PYTHON "python"
#else
#define PYTHON "python3"
#endif

static bool to_stdout(const char *path)
{
    return path && strcmp(path, "-") == 0;
}

/* The reporter of the installation, else that of the sources this was built from. */
static bool find_reporter(char *out, size_t capacity)
{
    if (process_beside(RAPT_REPORT_INSTALLED, out, capacity))
        return true;
    snprintf(out, capacity, "%s", RAPT_REPORT_SOURCE);
    return process_file_exists(out);
}

bool output_check(const output_files *o, rapt_error *error)
{
    const char *const paths[] = {o->json, o->csv, o->html, o->picture};
    char reporter[2048];
    for (size_t n = 0; n < TOOL_COUNT(paths); n++) {
        if (!paths[n])
            continue;
        for (size_t other = 0; other < n; other++)
            if (paths[other] && strcmp(paths[other], paths[n]) == 0)
                return tool_fail(error, RAPT_ERROR_INVALID, "'%.300s' is named for two outputs", paths[n]);
        if (!to_stdout(paths[n]) && !text_file_writable(paths[n], error))
            return false;
    }
    if (!o->html && !o->picture)
        return true;
    const char *option = o->html ? "--html" : "--picture";
    if (to_stdout(o->html) || to_stdout(o->picture))
        return tool_fail(error, RAPT_ERROR_INVALID, "%s needs the name of a file", to_stdout(o->html) ? "--html" : "--picture");
    if (!find_reporter(reporter, sizeof reporter))
        return tool_fail(error, RAPT_ERROR_IO, "%s: the reporter is neither at %s nor installed", option,
                         RAPT_REPORT_SOURCE);
    if (process_run((const char *[]){PYTHON, "-c", "", NULL}, NULL) != 0)
        return tool_fail(error, RAPT_ERROR_IO, "%s: " PYTHON ", which makes the page, cannot be started", option);
    return true;
}

static int report(const rapt_error *error)
{
    return tool_error(TOOL_BAD_INPUT, "%s", error->message);
}

/* Page and picture are made from the JSON's file, or from one beside them that is gone afterwards. */
static int write_page(const output_files *o, const char *text)
{
    char reporter[2048], beside[2048];
    rapt_error error = {0};
    const bool own = !o->json || to_stdout(o->json);
    const char *made = o->html ? o->html : o->picture;
    snprintf(beside, sizeof beside, "%.2000s.json", made);
    const char *source = own ? beside : o->json;
    if (own && !text_file_write(beside, text, strlen(text), &error))
        return report(&error);
    const char *words[8] = {PYTHON, reporter, source};
    size_t count = 3;
    const char *const outputs[2][2] = {{"-o", o->html}, {"--picture", o->picture}};
    for (size_t n = 0; n < 2; n++)
        if (outputs[n][1]) {
            words[count++] = outputs[n][0];
            words[count++] = outputs[n][1];
        }
    const int code = find_reporter(reporter, sizeof reporter) ? process_run(words, NULL) : -1;
    if (code != 0)
        return tool_error(TOOL_BAD_INPUT, "%s: the reporter failed (%d); the results are in %s", made, code, source);
    if (own)
        remove(beside);
    return TOOL_GOOD;
}

static int write_text(const char *path, const char *text)
{
    rapt_error error = {0};
    if (!to_stdout(path))
        return text_file_write(path, text, strlen(text), &error) ? TOOL_GOOD : report(&error);
    fputs(text, stdout);
    return fflush(stdout) == 0 ? TOOL_GOOD
                               : tool_error(TOOL_BAD_INPUT, "standard output could not be written");
}

int output_write(const output_files *o, const cJSON *json)
{
    int code = TOOL_GOOD;
    const bool page = o->html || o->picture;
    char *printed = o->json || page ? cJSON_Print(json) : NULL;
    char *text = printed ? malloc(strlen(printed) + 2) : NULL;
    if (text) {
        strcpy(text, printed);
        strcat(text, "\n");
    }
    cJSON_free(printed);
    if ((o->json || page) && !text)
        code = tool_no_memory();
    if (text && o->json)
        code = write_text(o->json, text);
    if (o->csv) {
        char *csv = bench_csv(json);
        const int one = csv ? write_text(o->csv, csv) : tool_no_memory();
        code = code == TOOL_GOOD ? one : code;
        free(csv);
    }
    if (text && page) {
        const int one = write_page(o, text);
        code = code == TOOL_GOOD ? one : code;
    }
    free(text);
    return code;
}
