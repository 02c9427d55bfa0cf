/* Energy, clock and temperature of a device, where the system lets itself be read (Linux: files of /sys). */
#ifndef RAPT_TOOL_BENCH_SENSORS_H
#define RAPT_TOOL_BENCH_SENSORS_H

#include <cjson/cJSON.h>
#include <rapt/caps.h>
#include <stdbool.h>

typedef struct sensors sensors;

/* Those of a graphics card found by vendor and device number, or of the CPU for a device that runs on it.
 * `root`: "/sys", or a folder that looks like it, for tests. Never fails: what cannot be read is told by
 * sensors_json. NULL: no memory. */
sensors *sensors_open(const char *root, const rapt_caps *caps);
void sensors_close(sensors *s);

/* Negative: cannot be read. NULL is fine. */
double sensors_joules(sensors *s);  /* a counter: differences count; call it at least once a minute */
double sensors_hertz(sensors *s);   /* now; of a CPU the mean of its cores */
double sensors_celsius(sensors *s); /* now */

/* {"energy", "clock", "temperature": where each comes from or null, "why_not"} */
cJSON *sensors_json(const sensors *s);

#endif
