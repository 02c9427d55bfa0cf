/* Other libraries on the same cases: bench/peers, run as a program of its own. */
#include "bench.h"
#include "process.h"

#include <stdlib.h>
#include <string.h>

#define MOST_BYTES ((size_t)64 << 20)

/* All of the file from its beginning on, to be freed. */
static char *read_all(FILE *file)
{
    if (fseek(file, 0, SEEK_END) != 0)
        return NULL;
    const long size = ftell(file);
    if (size < 0 || (size_t)size > MOST_BYTES)
        return NULL;
    char *text = malloc((size_t)size + 1);
    rewind(file);
    if (text)
        text[fread(text, 1, (size_t)size, file)] = 0;
    return text;
}

/* {"rapt": "rapt 0.1.0 on ..", "ggml-cpu": "ggml 0.25.1, .."} */
static void add_versions(cJSON *peers, const cJSON *results)
{
    cJSON *versions = cJSON_AddObjectToObject(peers, "versions");
    const cJSON *group, *one;
    cJSON_ArrayForEach(group, cJSON_GetObjectItemCaseSensitive(results, "groups"))
    {
        cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(group, "results"))
        {
            const cJSON *backend = cJSON_GetObjectItemCaseSensitive(one, "backend"),
                        *peer = cJSON_GetObjectItemCaseSensitive(one, "peer");
            if (cJSON_IsString(backend) && cJSON_IsString(peer) &&
                !cJSON_HasObjectItem(versions, backend->valuestring))
                cJSON_AddStringToObject(versions, backend->valuestring, peer->valuestring);
        }
    }
}

static void print(bench *b, const cJSON *results)
{
    const cJSON *group, *one;
    fprintf(b->out, "%-24s %-18s %12s %12s %12s\n", "case", "library", "median ms", "GFLOP/s",
            "of the first");
    cJSON_ArrayForEach(group, cJSON_GetObjectItemCaseSensitive(results, "groups"))
    {
        cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(group, "results"))
        {
            const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(one, "case")),
                       *backend = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(one, "backend")),
                       *error = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(one, "error"));
            const cJSON *ms = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(one, "ms"),
                                                               "median"),
                        *rate = cJSON_GetObjectItemCaseSensitive(one, "gflops"),
                        *ratio = cJSON_GetObjectItemCaseSensitive(
                            cJSON_GetObjectItemCaseSensitive(one, "time_over_first"), "median");
            char beside[16] = "";
            if (cJSON_IsNumber(ratio))
                snprintf(beside, sizeof beside, "%.3gx", ratio->valuedouble);
            fprintf(b->out, "%-24s %-18s ", name ? name : "?", backend ? backend : "?");
            if (cJSON_IsNumber(ms) && cJSON_IsNumber(rate))
                fprintf(b->out, "%12.4g %12.4g %12s\n", ms->valuedouble, rate->valuedouble, beside);
            else
                fprintf(b->out, "%s%.60s%s\n", bench_red(b), error ? error : "no time", bench_plain(b));
        }
    }
}

int bench_peers(bench *b)
{
    char program[2048];
    if (!process_beside(RAPT_BENCH_PEERS_BUILD, program, sizeof program) &&
        !process_beside(RAPT_BENCH_PEERS_INSTALLED, program, sizeof program))
        return tool_error(
            TOOL_BAD_INPUT,
            "peers: no program 'peers' beside this one: it comes with -Dbench=true -Dpeers=enabled");
    const bench_options *o = b->o;
    if (o->kernel || o->seconds || o->gauges || o->caps || o->filter || o->devices[1])
        return tool_error(TOOL_BAD_INPUT, "peers takes --case, --samples, one --device, --json, --csv and --html alone");
    const char *words[16] = {program, "--json", "--progress"};
    size_t count = 3;
    if (b->o->cases) {
        words[count++] = "--case";
        words[count++] = b->o->cases;
    }
    if (b->o->samples) {
        words[count++] = "--repeat";
        words[count++] = b->o->samples;
    }
    if (b->o->devices[0]) {
        words[count++] = "--device";
        words[count++] = b->o->devices[0];
    }
    FILE *output = tmpfile();
    if (!output)
        return tool_error(TOOL_BAD_INPUT, "peers: no temporary file can be made");
    fprintf(b->out, "peers: timing the libraries that are there\n");
    fflush(b->out);
    const int code = process_run(words, output);
    char *text = read_all(output);
    fclose(output);
    cJSON *results = text ? cJSON_Parse(text) : NULL;
    free(text);
    if (!results)
        return tool_interrupted() ? TOOL_INTERRUPTED
               : code == 3 ? tool_error(TOOL_NO_DEVICE, "peers: none of them could be opened, see above")
               : code == 2 ? TOOL_BAD_INPUT
                           : tool_error(TOOL_CHECK_FAILED, "peers: %s",
                                        code < 0 ? "could not be run" : "printed no JSON");
    cJSON *peers = cJSON_AddObjectToObject(b->json, "peers");
    add_versions(peers, results);
    print(b, results);
    cJSON_AddItemToObject(peers, "results", results);
    return code == 0 ? TOOL_GOOD : TOOL_CHECK_FAILED;
}
