/* Status codes and error messages. Part of rapt (MIT licence). */
#ifndef RAPT_STATUS_H
#define RAPT_STATUS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(RAPT_STATIC)
#define RAPT_API
#elif defined(_WIN32)
#if defined(RAPT_BUILD)
#define RAPT_API __declspec(dllexport)
#else
#define RAPT_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define RAPT_API __attribute__((visibility("default")))
#else
#define RAPT_API
#endif

/* What a call came to. Every rapt call that can fail returns one of these; none aborts, throws or exits. */
typedef enum rapt_status {
    RAPT_OK = 0,
    RAPT_ERROR_INVALID = 1,       /* a bad argument: shape, stride, overlap, dtype, option, NULL */
    RAPT_ERROR_UNSUPPORTED = 2,   /* well-formed, but refused by this device's limits or by the kernels built in */
    RAPT_ERROR_NO_DEVICE = 3,     /* no Vulkan loader, no device, or none that matches */
    RAPT_ERROR_DEVICE_LOST = 4,   /* the device was lost; the rapt_device stays lost until destroyed */
    RAPT_ERROR_OUT_OF_HOST_MEMORY = 5,
    RAPT_ERROR_OUT_OF_DEVICE_MEMORY = 6,
    RAPT_ERROR_TIMEOUT = 7,       /* a deadline passed; the work may still be running */
    RAPT_ERROR_INCOMPLETE = 8,    /* the driver reported success, but the completion canary was not written */
    RAPT_ERROR_BUSY = 9,          /* the object is in flight */
    RAPT_ERROR_COMPILE = 10,      /* a shader or pipeline did not compile */
    RAPT_ERROR_WRONG_RESULT = 11, /* a known-answer probe or a check found wrong numbers */
    RAPT_ERROR_IO = 12,           /* a file could not be read or written */
    RAPT_ERROR_VULKAN = 13,       /* any other VkResult; the message names it */
    RAPT_ERROR_CANCELLED = 14,    /* the caller's own wish, or a deadline of its; nothing runs any more */
} rapt_status;

/* A short fixed name such as "invalid" or "device lost". Never NULL. */
RAPT_API const char *rapt_status_name(rapt_status status);

/* Where and why a call failed. Owned by the caller, filled only on failure; every `rapt_error *` parameter may be
 * NULL. `message` says what, where and which limit, in one line without a newline.
 * Thread-safety: plain data. */
typedef struct rapt_error {
    rapt_status status;
    char message[508];
} rapt_error;

/* The library's version as 0xMMmmpp and as text, to be compared with RAPT_VERSION of the headers in use. */
#define RAPT_VERSION_MAJOR 0
#define RAPT_VERSION_MINOR 1
#define RAPT_VERSION_PATCH 0
#define RAPT_VERSION ((RAPT_VERSION_MAJOR << 16) | (RAPT_VERSION_MINOR << 8) | RAPT_VERSION_PATCH)
RAPT_API uint32_t rapt_version(void);
RAPT_API const char *rapt_version_string(void);

#ifdef __cplusplus
}
#endif
#endif
