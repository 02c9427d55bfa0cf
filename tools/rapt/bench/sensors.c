#include "sensors.h"

#include "bench/os.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CPUS 256
#define CPU_DEVICE 4 /* VkPhysicalDeviceType */

typedef struct sensors_file {
    char path[400]; /* "": none */
    char what[96];  /* for people */
    double unit;    /* of one step in the file */
} sensors_file;

struct sensors {
    sensors_file energy, power, clock, temperature;
    char cpus[MAX_CPUS][16]; /* whose clocks are averaged */
    size_t cpu_count;
    char cpu_folder[300];
    double wrap, last, passed; /* of the energy counter, in joules */
    double power_since;        /* energy summed up from power readings; negative: none yet */
    char why_not[300];
};

/* ---- files ---- */

static bool read_line(const char *path, char *out, size_t size)
{
    FILE *file = fopen(path, "r");
    const bool good = file && fgets(out, (int)size, file);
    if (file)
        fclose(file);
    if (good)
        out[strcspn(out, "\n")] = 0;
    return good;
}

static bool read_number(const char *path, int base, double *out)
{
    char text[64], *end;
    if (!path[0] || !read_line(path, text, sizeof text))
        return false;
    *out = base == 16 ? (double)strtoul(text, &end, 16) : strtod(text, &end);
    return end != text;
}

/* Takes the file if it can be read. */
static bool take(sensors_file *f, const char *folder, const char *name, double unit, const char *what)
{
    double value;
    sensors_file found = {.unit = unit};
    if (f->path[0] ||
        (size_t)snprintf(found.path, sizeof found.path, "%s/%s", folder, name) >= sizeof found.path ||
        !read_number(found.path, 10, &value))
        return false;
    snprintf(found.what, sizeof found.what, "%s", what);
    *f = found;
    return true;
}

typedef struct walk {
    sensors *s;
    const char *folder;
    const rapt_caps *caps;
    bool denied;
} walk;

static bool each(walk *w, const char *folder, bool (*see)(void *context, const char *name))
{
    w->folder = folder;
    return rapt_bench_folder_each(folder, see, w);
}

/* ---- the CPU ---- */

static bool see_powercap(void *context, const char *name)
{
    walk *w = context;
    char path[400], what[96], zone[40], value[64];
    if (strncmp(name, "intel-rapl:", 11) != 0 || strchr(name + 11, ':')) /* whole packages only */
        return false;
    snprintf(path, sizeof path, "%.250s/%.60s/name", w->folder, name);
    if (!read_line(path, zone, sizeof zone) || strncmp(zone, "package-0", 9) != 0)
        return false;
    snprintf(what, sizeof what, "intel-rapl: %s", zone);
    snprintf(path, sizeof path, "%.250s/%.60s", w->folder, name);
    if (take(&w->s->energy, path, "energy_uj", 1e-6, what)) {
        snprintf(path, sizeof path, "%.250s/%.60s/max_energy_range_uj", w->folder, name);
        if (read_number(path, 10, &w->s->wrap))
            w->s->wrap *= 1e-6;
        return true;
    }
    snprintf(path, sizeof path, "%.250s/%.60s/energy_uj", w->folder, name);
    w->denied = !read_line(path, value, sizeof value) && errno == EACCES;
    return false;
}

static bool see_cpu_hwmon(void *context, const char *name)
{
    walk *w = context;
    static const char *const chips[] = {"coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu"};
    char path[400], chip[40], what[96];
    snprintf(path, sizeof path, "%.250s/%.60s/name", w->folder, name);
    if (!read_line(path, chip, sizeof chip))
        return false;
    for (size_t n = 0; n < sizeof chips / sizeof *chips; n++)
        if (strcmp(chip, chips[n]) == 0) {
            snprintf(path, sizeof path, "%.250s/%.60s", w->folder, name);
            snprintf(what, sizeof what, "hwmon: %s", chip);
            return take(&w->s->temperature, path, "temp1_input", 1e-3, what);
        }
    return false;
}

static bool see_thermal(void *context, const char *name)
{
    walk *w = context;
    char path[400], type[60], what[96];
    if (strncmp(name, "thermal_zone", 12) != 0)
        return false;
    snprintf(path, sizeof path, "%.250s/%.60s/type", w->folder, name);
    if (!read_line(path, type, sizeof type) || (!strstr(type, "cpu") && !strstr(type, "x86_pkg")))
        return false;
    snprintf(path, sizeof path, "%.250s/%.60s", w->folder, name);
    snprintf(what, sizeof what, "thermal zone: %s", type);
    return take(&w->s->temperature, path, "temp", 1e-3, what);
}

static bool see_cpu(void *context, const char *name)
{
    walk *w = context;
    char path[400];
    double value;
    if (strncmp(name, "cpu", 3) != 0 || name[3] < '0' || name[3] > '9' ||
        strlen(name) >= sizeof w->s->cpus[0])
        return false;
    snprintf(path, sizeof path, "%.250s/%s/cpufreq/scaling_cur_freq", w->folder, name);
    if (read_number(path, 10, &value) && w->s->cpu_count < MAX_CPUS)
        strcpy(w->s->cpus[w->s->cpu_count++], name);
    return false;
}

static void find_cpu(sensors *s, const char *root, walk *w)
{
    char folder[300];
    snprintf(folder, sizeof folder, "%.200s/class/powercap", root);
    each(w, folder, see_powercap);
    snprintf(folder, sizeof folder, "%.200s/class/hwmon", root);
    if (!each(w, folder, see_cpu_hwmon)) {
        snprintf(folder, sizeof folder, "%.200s/class/thermal", root);
        each(w, folder, see_thermal);
    }
    snprintf(s->cpu_folder, sizeof s->cpu_folder, "%.200s/devices/system/cpu", root);
    each(w, s->cpu_folder, see_cpu);
    if (s->cpu_count > 0)
        snprintf(s->clock.what, sizeof s->clock.what, "cpufreq: mean of %zu cores", s->cpu_count);
    snprintf(s->why_not, sizeof s->why_not, "%s%s%s",
             s->energy.path[0] ? ""
             : w->denied       ? "energy: intel-rapl may be read by root only; "
                               : "energy: no intel-rapl package in /sys/class/powercap; ",
             s->cpu_count > 0 ? "" : "clock: no cpufreq in /sys; ",
             s->temperature.path[0] ? ""
                                    : "temperature: no sensor of the CPU in /sys/class/hwmon or thermal; ");
}

/* ---- a graphics card ---- */

static bool see_card_hwmon(void *context, const char *name)
{
    walk *w = context;
    char path[400], chip[40] = "?", what[96];
    snprintf(path, sizeof path, "%.250s/%.60s/name", w->folder, name);
    read_line(path, chip, sizeof chip);
    snprintf(path, sizeof path, "%.250s/%.60s", w->folder, name);
    snprintf(what, sizeof what, "hwmon: %s", chip);
    take(&w->s->energy, path, "energy1_input", 1e-6, what);
    if (!take(&w->s->power, path, "power1_average", 1e-6, what))
        take(&w->s->power, path, "power1_input", 1e-6, what);
    take(&w->s->clock, path, "freq1_input", 1, what);
    take(&w->s->temperature, path, "temp1_input", 1e-3, what);
    return false;
}

static bool see_card(void *context, const char *name)
{
    walk *w = context;
    char folder[300], path[400];
    double vendor, device;
    if (strncmp(name, "card", 4) != 0 || strchr(name, '-')) /* card0-HDMI-A-1: a connector */
        return false;
    const char *cards = w->folder;
    snprintf(path, sizeof path, "%.200s/%.60s/device/vendor", cards, name);
    if (!read_number(path, 16, &vendor) || (uint32_t)vendor != w->caps->vendor_id)
        return false;
    snprintf(path, sizeof path, "%.200s/%.60s/device/device", cards, name);
    if (!read_number(path, 16, &device) || (uint32_t)device != w->caps->device_id)
        return false;
    snprintf(folder, sizeof folder, "%.200s/%.60s/device/hwmon", cards, name);
    each(w, folder, see_card_hwmon);
    snprintf(folder, sizeof folder, "%.200s/%.60s", cards, name);
    take(&w->s->clock, folder, "gt_act_freq_mhz", 1e6, "i915: gt_act_freq_mhz");
    w->folder = cards;
    return true;
}

static void find_card(sensors *s, const char *root, walk *w)
{
    char folder[300];
    snprintf(folder, sizeof folder, "%.200s/class/drm", root);
    const bool found = each(w, folder, see_card);
    if (!found)
        snprintf(s->why_not, sizeof s->why_not, "no card %04x:%04x in /sys/class/drm; ", w->caps->vendor_id,
                 w->caps->device_id);
    else
        snprintf(s->why_not, sizeof s->why_not, "%s%s%s",
                 s->energy.path[0] || s->power.path[0] ? "" : "energy: the card's driver has none in /sys; ",
                 s->clock.path[0] ? "" : "clock: the card's driver has none in /sys; ",
                 s->temperature.path[0] ? "" : "temperature: the card's driver has none in /sys; ");
}

/* ---- the whole ---- */

sensors *sensors_open(const char *root, const rapt_caps *caps)
{
    sensors *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    walk w = {.s = s, .caps = caps};
    s->last = s->power_since = -1;
#if defined(__linux__)
    if (caps->device_type == CPU_DEVICE)
        find_cpu(s, root, &w);
    else
        find_card(s, root, &w);
#else
    (void)root;
    (void)w;
    snprintf(s->why_not, sizeof s->why_not, "read on Linux only; ");
#endif
    const size_t length = strlen(s->why_not);
    if (length >= 2)
        s->why_not[length - 2] = 0;
    return s;
}

void sensors_close(sensors *s)
{
    free(s);
}

double sensors_joules(sensors *s)
{
    double value;
    if (!s)
        return -1;
    if (s->energy.path[0]) {
        if (!read_number(s->energy.path, 10, &value))
            return -1;
        value *= s->energy.unit;
        if (s->last >= 0)
            s->passed += value >= s->last ? value - s->last : value - s->last + s->wrap;
        s->last = value;
        return s->passed;
    }
    if (s->power.path[0]) { /* watts times the time since the last look */
        const double now = rapt_bench_now();
        if (!read_number(s->power.path, 10, &value))
            return -1;
        if (s->power_since >= 0)
            s->passed += value * s->power.unit * (now - s->power_since);
        s->power_since = now;
        return s->passed;
    }
    return -1;
}

double sensors_hertz(sensors *s)
{
    double value, sum = 0;
    size_t count = 0;
    if (!s)
        return -1;
    if (s->clock.path[0])
        return read_number(s->clock.path, 10, &value) ? value * s->clock.unit : -1;
    for (size_t n = 0; n < s->cpu_count; n++) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s/cpufreq/scaling_cur_freq", s->cpu_folder, s->cpus[n]);
        if (read_number(path, 10, &value)) {
            sum += value * 1e3;
            count++;
        }
    }
    return count > 0 ? sum / (double)count : -1;
}

double sensors_celsius(sensors *s)
{
    double value;
    return s && read_number(s->temperature.path, 10, &value) ? value * s->temperature.unit : -1;
}

static void add(cJSON *o, const char *name, const char *what)
{
    if (what[0])
        cJSON_AddStringToObject(o, name, what);
    else
        cJSON_AddNullToObject(o, name);
}

cJSON *sensors_json(const sensors *s)
{
    cJSON *o = cJSON_CreateObject();
    if (!s)
        return o;
    add(o, "energy", s->energy.path[0] ? s->energy.what : s->power.what);
    add(o, "clock", s->clock.what);
    add(o, "temperature", s->temperature.what);
    add(o, "why_not", s->why_not);
    return o;
}
