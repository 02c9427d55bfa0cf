/* The table by index and by name. */
#include "system/system.h"

#include <string.h>

uint32_t rapt_system_count(void)
{
    return rapt_system_row_count;
}

rapt_status rapt_system_describe(uint32_t index, rapt_system_info *info, rapt_error *error)
{
    if (!info || info->struct_size == 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_system_describe: info is %s",
                         info ? "without struct_size" : "NULL");
    if (index >= rapt_system_row_count)
        return rapt_fail(error, RAPT_ERROR_INVALID, "system %u: there are %u", index, rapt_system_row_count);
    rapt_system_info full = rapt_system_rows[index].info;
    const uint32_t size = RAPT_MIN(info->struct_size, (uint32_t)sizeof full);
    full.struct_size = info->struct_size;
    memcpy(info, &full, size);
    return RAPT_OK;
}

/* ---- names ---- */

#define NAME_SIZE 128

/* Letters and digits of `text`, in lower case; bytes beyond ASCII stay. */
static void plain(const char *text, size_t length, char out[NAME_SIZE])
{
    size_t n = 0;
    for (size_t i = 0; i < length && text[i]; i++) {
        const unsigned char c = (unsigned char)text[i];
        const bool upper = c >= 'A' && c <= 'Z';
        if ((upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c >= 128) && n < NAME_SIZE - 1)
            out[n++] = (char)(upper ? c + 32 : c);
    }
    out[n] = 0;
}

/* Whether `want` is a part of the name that may stand for it: what precedes the bracket, what is in it, and
 * what lies between slashes or commas. */
static bool stands_for(const char *name, const char *want)
{
    char part[NAME_SIZE];
    const char *bracket = strchr(name, '(');
    plain(name, bracket ? (size_t)(bracket - name) : strlen(name), part);
    if (strcmp(part, want) == 0)
        return true;
    if (bracket) {
        plain(bracket, strlen(bracket), part);
        if (strcmp(part, want) == 0)
            return true;
    }
    for (const char *at = name; *at;) {
        const size_t length = strcspn(at, "/,()");
        plain(at, length, part);
        if (part[0] && strcmp(part, want) == 0)
            return true;
        at += length + (at[length] != 0);
    }
    return false;
}

/* Whether the name begins so. */
static bool begins(const char *name, const char *want)
{
    char whole[NAME_SIZE];
    plain(name, strlen(name), whole);
    return strlen(want) >= 3 && strncmp(whole, want, strlen(want)) == 0;
}

/* Edit distance, of names up to NAME_SIZE. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[NAME_SIZE];
    const size_t length = strlen(b);
    for (size_t j = 0; j <= length; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; a[i - 1]; i++) {
        unsigned corner = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= length; j++) {
            const unsigned above = row[j], change = corner + (a[i - 1] != b[j - 1]);
            row[j] = RAPT_MIN(change, RAPT_MIN(above, row[j - 1]) + 1);
            corner = above;
        }
    }
    return row[length];
}

/* How far a name is from what was asked for; a part of it is near. */
static unsigned farness(const char *name, const char *want)
{
    char whole[NAME_SIZE], head[NAME_SIZE];
    plain(name, strlen(name), whole);
    plain(name, strcspn(name, "("), head);
    if (strlen(want) >= 3 && strstr(whole, want))
        return 1;
    return RAPT_MIN(distance(want, whole), distance(want, head));
}

static rapt_status not_found(const char *name, const char *want, rapt_error *error)
{
    const char *best[3] = {NULL};
    unsigned far[3] = {~0u, ~0u, ~0u};
    for (uint32_t n = 0; n < rapt_system_row_count; n++) {
        const char *other = rapt_system_rows[n].info.name;
        const unsigned d = farness(other, want);
        for (int place = 0; place < 3; place++) {
            if (d >= far[place])
                continue;
            for (int i = 2; i > place; i--) {
                best[i] = best[i - 1];
                far[i] = far[i - 1];
            }
            best[place] = other;
            far[place] = d;
            break;
        }
    }
    return rapt_fail(error, RAPT_ERROR_INVALID, "no system is named '%.60s'; near: %s; %s; %s", name,
                     best[0] ? best[0] : "", best[1] ? best[1] : "", best[2] ? best[2] : "");
}

rapt_status rapt_system_find(const char *name, uint32_t *index, rapt_error *error)
{
    if (!name || !index)
        return rapt_fail(error, RAPT_ERROR_INVALID, "rapt_system_find: %s is NULL", name ? "index" : "name");
    char want[NAME_SIZE], whole[NAME_SIZE], list[300];
    rapt_text text = rapt_text_over(list, sizeof list);
    uint32_t count = 0;
    plain(name, strlen(name), want);
    if (want[0] == 0)
        return rapt_fail(error, RAPT_ERROR_INVALID, "the system's name '%.60s' has neither letter nor digit",
                         name);
    for (uint32_t n = 0; n < rapt_system_row_count; n++) {
        const char *other = rapt_system_rows[n].info.name;
        plain(other, strlen(other), whole);
        if (strcmp(whole, want) == 0) {
            *index = n;
            return RAPT_OK;
        }
    }
    for (int beginning = 0; beginning < 2 && count == 0; beginning++)
        for (uint32_t n = 0; n < rapt_system_row_count; n++) {
            const char *other = rapt_system_rows[n].info.name;
            if (!(beginning ? begins(other, want) : stands_for(other, want)))
                continue;
            if (count++ == 0)
                *index = n;
            rapt_text_add(&text, "%s%s", count > 1 ? "; " : "", other);
        }
    if (count > 1)
        return rapt_fail(error, RAPT_ERROR_INVALID, "'%.60s' may be any of: %s", name, list);
    return count == 1 ? RAPT_OK : not_found(name, want, error);
}
