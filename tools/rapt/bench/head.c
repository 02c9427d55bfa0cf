#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L /* gmtime_r, uname */
#include <sys/utsname.h>
#endif
#include "head.h"

#include "bench/os.h"

#include <string.h>
#include <time.h>

static void add_command(cJSON *o, int argc, char **argv)
{
    char text[2048] = "rapt";
    size_t used = strlen(text);
    for (int n = 0; n < argc; n++) { /* argv[0] is "bench" */
        const bool quote = argv[n][strcspn(argv[n], " \t\"'$*")] != 0;
        const int more = snprintf(text + used, sizeof text - used, quote ? " '%s'" : " %s", argv[n]);
        if (more < 0 || (size_t)more >= sizeof text - used)
            break;
        used += (size_t)more;
    }
    cJSON_AddStringToObject(o, "command", text);
}

static void add_time(cJSON *o)
{
    char text[32];
    const time_t now = time(NULL);
    struct tm utc;
#if defined(_WIN32)
    gmtime_s(&utc, &now);
#else
    gmtime_r(&now, &utc);
#endif
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    cJSON_AddStringToObject(o, "started", text);
}

static void add_host(cJSON *o)
{
    char system[300] = "Windows", cpu[96] = "";
    cJSON *host = cJSON_AddObjectToObject(o, "host");
#if !defined(_WIN32)
    struct utsname u;
    if (uname(&u) == 0)
        snprintf(system, sizeof system, "%.100s %.100s %.60s", u.sysname, u.release, u.machine);
#endif
    cJSON_AddStringToObject(host, "system", system);
    if (rapt_bench_cpu_name(cpu, sizeof cpu))
        cJSON_AddStringToObject(host, "cpu", cpu);
    cJSON_AddNumberToObject(host, "cpus", rapt_bench_cpus());
    if (rapt_bench_ram_bytes() > 0)
        cJSON_AddNumberToObject(host, "ram_bytes", (double)rapt_bench_ram_bytes());
}

cJSON *head_json(const char *mode, int argc, char **argv)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "schema", "rapt-bench/1");
    cJSON_AddStringToObject(o, "mode", mode);
    add_command(o, argc, argv);
    add_time(o);
    cJSON_AddNullToObject(o, "seconds"); /* filled in at the end */
    cJSON_AddFalseToObject(o, "interrupted");
    cJSON_AddStringToObject(cJSON_AddObjectToObject(o, "rapt"), "version", rapt_version_string());
    add_host(o);
    return o;
}
