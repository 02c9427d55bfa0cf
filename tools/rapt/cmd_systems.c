/* rapt systems: the published systems, and which of them rapt computes. */
#include "args.h"
#include "tool.h"

#include <string.h>

static const char *status_of(const rapt_system_info *i)
{
    return i->works ? "works" : "planned";
}

static cJSON *fields_json(const rapt_system_field *fields, uint32_t count, bool parameters)
{
    cJSON *array = cJSON_CreateArray();
    for (uint32_t n = 0; n < count; n++) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "name", fields[n].name);
        if (parameters && !fields[n].shape[0])
            cJSON_AddNullToObject(o, "default"); /* must be given */
        else
            cJSON_AddStringToObject(o, parameters ? "default" : "shape", fields[n].shape);
        cJSON_AddStringToObject(o, "about", fields[n].about);
        if (fields[n].optional)
            cJSON_AddTrueToObject(o, "optional");
        cJSON_AddItemToArray(array, o);
    }
    return array;
}

static cJSON *system_json(const rapt_system_info *i)
{
    const struct {
        const char *name, *text;
    } texts[] = {
        {"name", i->name},       {"tier", i->tier},   {"reason", i->reason},   {"status", status_of(i)},
        {"family", i->family},   {"paper", i->paper}, {"formula", i->formula}, {"engines", i->engines},
        {"reduces", i->reduces}, {"doubt", i->doubt},
    };
    cJSON *o = cJSON_CreateObject();
    for (size_t n = 0; n < TOOL_COUNT(texts); n++)
        cJSON_AddStringToObject(o, texts[n].name, texts[n].text);
    cJSON_AddItemToObject(o, "inputs", fields_json(i->inputs, i->input_count, false));
    cJSON_AddItemToObject(o, "parameters", fields_json(i->parameters, i->parameter_count, true));
    cJSON_AddItemToObject(o, "outputs", fields_json(i->outputs, i->output_count, false));
    return o;
}

static void print_fields(const char *title, const rapt_system_field *fields, uint32_t count, bool parameters)
{
    for (uint32_t n = 0; n < count; n++) {
        const rapt_system_field *f = &fields[n];
        printf("  %-11s %s%s%s%s%s%s\n", n == 0 ? title : "", f->name, parameters ? " = " : " ",
               parameters && !f->shape[0] ? "(must be given)" : f->shape,
               f->optional ? ", where asked for" : "", f->about[0] ? ": " : "", f->about);
    }
}

static void print_full(const rapt_system_info *i)
{
    const struct {
        const char *title, *text;
    } texts[] = {
        {"paper", i->paper},     {"formula", i->formula},
        {"engines", i->engines}, {i->works ? "made of" : "works of it", i->reduces},
        {"doubt", i->doubt},
    };
    printf("%s\n  %-11s %s\n  %-11s %s (%s), family %s\n", i->name, "status", status_of(i), "tier", i->tier,
           i->reason, i->family);
    for (size_t n = 0; n < TOOL_COUNT(texts); n++)
        if (texts[n].text[0])
            printf("  %-11s %s\n", texts[n].title, texts[n].text);
    print_fields("inputs", i->inputs, i->input_count, false);
    print_fields("parameters", i->parameters, i->parameter_count, true);
    print_fields("outputs", i->outputs, i->output_count, false);
    if (!i->works)
        return;
    printf("  %-11s rapt run system '%s'", "run", i->name);
    for (uint32_t n = 0; n < i->input_count; n++)
        printf(" --in %s=%s.npy", i->inputs[n].name, i->inputs[n].name);
    for (uint32_t n = 0; n < i->parameter_count; n++)
        if (!i->parameters[n].shape[0])
            printf(" --set %s=..", i->parameters[n].name);
    for (uint32_t n = 0; n < i->output_count; n++)
        if (!i->outputs[n].optional)
            printf(" --out %s=%s.npy", i->outputs[n].name, i->outputs[n].name);
    printf("\n");
}

/* Columns of UTF-8: the bytes that begin a character. */
static int columns(const char *text)
{
    int count = 0;
    for (; *text; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static void print_short(const rapt_system_info *i)
{
    const int pad = 62 - columns(i->name);
    printf("%-8s %s  %s%*s %s\n", status_of(i), i->tier, i->name, pad > 0 ? pad : 0, "", i->family);
}

static const char text[] =
    "Lists the published attention systems that rapt means to compute, and which of them work.\n"
    "With NAME: one of them in full. Case, spaces and dashes do not count, and a part of the\n"
    "name that is unique is enough.\n"
    "\n"
    "Tiers: A, an operator of its own; B, made of operators of A; C, a study or an\n"
    "application. works: the paper's operator is computed entirely, by rapt run system NAME;\n"
    "planned: it is not. Formulas whose doubt is told are not yet compared with the paper.";
static const char *const examples[] = {"rapt systems --status works", "rapt systems streaming-llm",
                                       "rapt systems --tier A --json", NULL};

int tool_systems(int argc, char **argv)
{
    bool json = false, full = false;
    const char *tier = NULL, *status = NULL, *words[1];
    const tool_option options[] = {
        {"--tier", "A|B|C", "only those of this tier", &tier, NULL},
        {"--status", "works|planned", "only those", &status, NULL},
        {"--full", NULL, "everything of each: formula, inputs, parameters, outputs", NULL, &full},
        {"--json", NULL, "an array on standard output, everything of each", NULL, &json},
        {NULL, NULL, NULL, NULL, NULL},
    };
    const tool_usage usage = {"rapt systems [NAME] [options]", text, examples, options};
    size_t count;
    int code;
    if (!tool_arguments(argc, argv, &usage, words, 1, &count, &code))
        return code;
    if (tier && (strlen(tier) != 1 || !strchr("ABC", tier[0])))
        return tool_error(TOOL_BAD_INPUT, "--tier '%.40s': A, B or C is needed", tier);
    if (status && strcmp(status, "works") != 0 && strcmp(status, "planned") != 0)
        return tool_error(TOOL_BAD_INPUT, "--status '%.40s': works or planned is needed", status);
    uint32_t first = 0, end = rapt_system_count();
    rapt_error error = {0};
    if (count > 0) {
        if (rapt_system_find(words[0], &first, &error) != RAPT_OK)
            return tool_report(&error);
        end = first + 1;
    }
    cJSON *array = json ? cJSON_CreateArray() : NULL;
    unsigned shown = 0, works = 0;
    for (uint32_t n = first; n < end; n++) {
        rapt_system_info i = RAPT_SYSTEM_INFO_INIT;
        if (rapt_system_describe(n, &i, &error) != RAPT_OK)
            return tool_report(&error);
        if ((tier && strcmp(tier, i.tier) != 0) || (status && strcmp(status, status_of(&i)) != 0))
            continue;
        if (json) {
            cJSON_AddItemToArray(array, system_json(&i));
        } else if (full || count > 0) {
            printf("%s", shown ? "\n" : "");
            print_full(&i);
        } else {
            print_short(&i);
        }
        shown++;
        works += i.works;
    }
    if (json)
        return tool_json_print(array, NULL);
    if (count == 0)
        printf("%u systems, %u work\n", shown, works);
    return TOOL_GOOD;
}
