/* Preloaded before libv3d_noop_drm_shim.so, to answer what that shim does not: v3dv refuses a device without
 * the multisync extension, and wants a primary DRM node, of which the shim has none. With V3D_SHIM_VER=71 in
 * the environment the device is a V3D 7.1 (Raspberry Pi 5) in place of a 4.2 (Pi 4). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* from the kernel's v3d_drm.h */
#define DRM_IOCTL_V3D_GET_PARAM 0xc0106444u
enum {
    PARAM_CORE0_IDENT0 = 4,
    PARAM_CORE0_IDENT1 = 5,
    PARAM_SUPPORTS_MULTISYNC_EXT = 11,
    PARAM_SUPPORTS_CPU_QUEUE = 12,
    PARAM_MAX_PERF_COUNTERS = 13,
};
struct get_param {
    uint32_t param, pad;
    uint64_t value;
};

int ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if ((uint32_t)request == DRM_IOCTL_V3D_GET_PARAM) {
        struct get_param *get = argument;
        const char *version = getenv("V3D_SHIM_VER");
        bool is_71 = version && atoi(version) == 71;
        switch (get->param) {
        case PARAM_CORE0_IDENT0:
        case PARAM_CORE0_IDENT1:
            if (!is_71)
                break;
            get->value = get->param == PARAM_CORE0_IDENT0 ? 0x07443356 : 0x81001421;
            return 0;
        case PARAM_SUPPORTS_MULTISYNC_EXT:
        case PARAM_SUPPORTS_CPU_QUEUE:
            get->value = 1;
            return 0;
        case PARAM_MAX_PERF_COUNTERS:
            get->value = 0;
            return 0;
        }
    }
    int (*next)(int, unsigned long, ...) = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    return next(fd, request, argument);
}

int open64(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    int mode = va_arg(arguments, int);
    va_end(arguments);
    int (*next)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    return next(path && !*path ? "/dev/dri/renderD128" : path, flags, mode);
}
