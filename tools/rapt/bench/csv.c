/* The results as lines of text: nested members joined by dots, one line per gauge, case, sweep point,
 * sustained point and peer. */
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COLUMNS 160

typedef struct row {
    char *cells[MAX_COLUMNS];
} row;

typedef struct sheet {
    char *columns[MAX_COLUMNS];
    size_t column_count;
    row *rows;
    size_t row_count, row_room;
    bool failed;
} sheet;

static char *copy(const char *text)
{
    char *out = malloc(strlen(text) + 1);
    if (out)
        strcpy(out, text);
    return out;
}

static void put(sheet *s, const char *column, const char *text)
{
    size_t n = 0;
    while (n < s->column_count && strcmp(s->columns[n], column) != 0)
        n++;
    if (n == MAX_COLUMNS || s->row_count == 0)
        return;
    if (n == s->column_count) {
        s->columns[n] = copy(column);
        s->failed = s->failed || !s->columns[n];
        if (!s->columns[n])
            return;
        s->column_count++;
    }
    char **cell = &s->rows[s->row_count - 1].cells[n];
    free(*cell);
    *cell = copy(text);
    s->failed = s->failed || !*cell;
}

static void new_row(sheet *s, const char *kind, const char *device)
{
    if (s->row_count == s->row_room) {
        const size_t room = s->row_room > 0 ? 2 * s->row_room : 64;
        row *rows = realloc(s->rows, room * sizeof *rows);
        s->failed = s->failed || !rows;
        if (!rows)
            return;
        s->rows = rows;
        s->row_room = room;
    }
    s->rows[s->row_count++] = (row){{0}};
    put(s, "kind", kind);
    put(s, "device_name", device);
}

/* Every member below `json`, except samples. */
static void flatten(sheet *s, const char *prefix, const cJSON *json)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, json)
    {
        char name[128], text[64];
        if (!item->string || strcmp(item->string, "samples") == 0 || strcmp(item->string, "points") == 0)
            continue;
        snprintf(name, sizeof name, "%s%s%s", prefix, prefix[0] ? "." : "", item->string);
        if (cJSON_IsObject(item)) {
            flatten(s, name, item);
        } else if (cJSON_IsString(item)) {
            put(s, name, item->valuestring);
        } else if (cJSON_IsNumber(item)) {
            snprintf(text, sizeof text, "%.15g", item->valuedouble);
            put(s, name, text);
        } else if (cJSON_IsBool(item)) {
            put(s, name, cJSON_IsTrue(item) ? "true" : "false");
        }
    }
}

static const cJSON *member(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

static const char *text_of(const cJSON *object, const char *name)
{
    const cJSON *item = member(object, name);
    return cJSON_IsString(item) ? item->valuestring : "";
}

static void add_sweeps(sheet *s, const cJSON *device, const char *name)
{
    const cJSON *sweep, *series, *point;
    cJSON_ArrayForEach(sweep, member(device, "sweeps"))
    {
        cJSON_ArrayForEach(series, member(sweep, "series"))
        {
            cJSON_ArrayForEach(point, member(series, "points"))
            {
                char x[40];
                snprintf(x, sizeof x, "%.15g", cJSON_GetNumberValue(member(point, "x")));
                new_row(s, "sweep", name);
                put(s, "sweep", text_of(sweep, "name"));
                put(s, "axis", text_of(sweep, "axis"));
                put(s, "label", text_of(series, "label"));
                put(s, "x", x);
                flatten(s, "", member(point, "case"));
            }
        }
    }
}

static void add_device(sheet *s, const cJSON *device)
{
    const char *name = text_of(member(device, "device"), "name");
    const cJSON *item, *point;
    cJSON_ArrayForEach(item, member(device, "gauges"))
    {
        new_row(s, "gauge", name);
        flatten(s, "", item);
    }
    cJSON_ArrayForEach(item, member(device, "cases"))
    {
        new_row(s, "case", name);
        flatten(s, "", item);
    }
    add_sweeps(s, device, name);
    cJSON_ArrayForEach(item, member(device, "sustained"))
    {
        cJSON_ArrayForEach(point, member(item, "points"))
        {
            new_row(s, "sustained", name);
            flatten(s, "", item);
            flatten(s, "", point);
        }
    }
}

static void add_peers(sheet *s, const cJSON *results)
{
    const cJSON *group, *one;
    cJSON_ArrayForEach(group, member(results, "groups"))
    {
        cJSON_ArrayForEach(one, member(group, "results")) /* the library names what it runs on, in `peer` */
        {
            new_row(s, "peer", "");
            flatten(s, "", one);
        }
    }
}

/* ---- text ---- */

typedef struct text {
    char *data;
    size_t size, room;
    bool failed;
} text;

static void append(text *t, const char *bytes, size_t count)
{
    if (t->size + count + 1 > t->room) {
        const size_t room = 2 * (t->size + count + 1);
        char *data = realloc(t->data, room);
        t->failed = t->failed || !data;
        if (!data)
            return;
        t->data = data;
        t->room = room;
    }
    memcpy(t->data + t->size, bytes, count);
    t->size += count;
    t->data[t->size] = 0;
}

/* RFC 4180: quoted where it has to be. */
static void append_cell(text *t, const char *cell, bool last)
{
    const bool quote = cell && cell[strcspn(cell, ",\"\r\n")] != 0;
    if (quote)
        append(t, "\"", 1);
    for (const char *at = cell; at && *at; at++) {
        if (*at == '"')
            append(t, "\"", 1);
        append(t, at, 1);
    }
    if (quote)
        append(t, "\"", 1);
    append(t, last ? "\n" : ",", 1);
}

char *bench_csv(const cJSON *json)
{
    sheet s = {.failed = false};
    text t = {.failed = false};
    const cJSON *device;
    cJSON_ArrayForEach(device, member(json, "devices"))
    {
        add_device(&s, device);
    }
    add_peers(&s, member(member(json, "peers"), "results"));
    for (size_t n = 0; n < s.column_count; n++)
        append_cell(&t, s.columns[n], n + 1 == s.column_count);
    for (size_t r = 0; r < s.row_count; r++)
        for (size_t n = 0; n < s.column_count; n++)
            append_cell(&t, s.rows[r].cells[n], n + 1 == s.column_count);
    if (s.column_count == 0)
        append(&t, "kind,device_name\n", 17);
    for (size_t r = 0; r < s.row_count; r++)
        for (size_t n = 0; n < MAX_COLUMNS; n++)
            free(s.rows[r].cells[n]);
    for (size_t n = 0; n < s.column_count; n++)
        free(s.columns[n]);
    free(s.rows);
    if (s.failed || t.failed) {
        free(t.data);
        return NULL;
    }
    return t.data;
}
