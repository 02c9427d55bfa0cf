/* Preloaded before libpanfrost_noop_drm_shim.so, which leaves the GPU's core features at 0 where the driver
 * tells Mali-G720 and G725 (4) and G310 (1 to 4) apart by them: PAN_SHIM_VARIANT in the environment sets
 * them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

/* from the kernel's panthor_drm.h */
#define DRM_IOCTL_PANTHOR_DEV_QUERY 0xc0106440u
enum { QUERY_GPU_INFO = 0, CORE_FEATURES_OFFSET = 96 };
struct device_query {
    uint32_t type, size;
    uint64_t pointer;
};

int ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    int (*next)(int, unsigned long, ...) = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    int result = next(fd, request, argument);
    const char *variant = getenv("PAN_SHIM_VARIANT");
    struct device_query *query = argument;
    if ((uint32_t)request == DRM_IOCTL_PANTHOR_DEV_QUERY && variant && query->type == QUERY_GPU_INFO &&
        query->pointer && query->size >= CORE_FEATURES_OFFSET + sizeof(uint32_t))
        *(uint32_t *)(uintptr_t)(query->pointer + CORE_FEATURES_OFFSET) = (uint32_t)atoi(variant);
    return result;
}
