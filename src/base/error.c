/* Status names, error messages, version. */
#include "base/base.h"

#include <stdio.h>
#include <string.h>

const char *rapt_status_name(rapt_status status)
{
    switch (status) {
    case RAPT_OK:
        return "ok";
    case RAPT_ERROR_INVALID:
        return "invalid";
    case RAPT_ERROR_UNSUPPORTED:
        return "unsupported";
    case RAPT_ERROR_NO_DEVICE:
        return "no device";
    case RAPT_ERROR_DEVICE_LOST:
        return "device lost";
    case RAPT_ERROR_OUT_OF_HOST_MEMORY:
        return "out of host memory";
    case RAPT_ERROR_OUT_OF_DEVICE_MEMORY:
        return "out of device memory";
    case RAPT_ERROR_TIMEOUT:
        return "timeout";
    case RAPT_ERROR_INCOMPLETE:
        return "incomplete";
    case RAPT_ERROR_BUSY:
        return "busy";
    case RAPT_ERROR_COMPILE:
        return "compile";
    case RAPT_ERROR_WRONG_RESULT:
        return "wrong result";
    case RAPT_ERROR_IO:
        return "io";
    case RAPT_ERROR_VULKAN:
        return "vulkan";
    case RAPT_ERROR_CANCELLED:
        return "cancelled";
    }
    return "unknown status";
}

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)

uint32_t rapt_version(void)
{
    return RAPT_VERSION;
}

const char *rapt_version_string(void)
{
    return TEXT(RAPT_VERSION_MAJOR) "." TEXT(RAPT_VERSION_MINOR) "." TEXT(RAPT_VERSION_PATCH);
}

/* Copies `text` (as much as fits) as one line. */
static void set_message(rapt_error *error, rapt_status status, const char *text)
{
    size_t length = strlen(text);
    if (length >= sizeof error->message) {
        length = sizeof error->message - 1;
        while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
            length--; /* not within a UTF-8 sequence */
    }
    for (size_t i = 0; i < length; i++)
        error->message[i] = (unsigned char)text[i] < ' ' ? ' ' : text[i];
    while (length > 0 && error->message[length - 1] == ' ')
        length--;
    error->message[length] = '\0';
    error->status = status;
}

rapt_status rapt_fail(rapt_error *error, rapt_status status, const char *format, ...)
{
    if (error == NULL)
        return status;
    char text[sizeof error->message + 4]; /* apart from error->message, which may be among the arguments */
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof text, format, args) < 0)
        text[0] = '\0';
    va_end(args);
    set_message(error, status, text);
    return status;
}

rapt_status rapt_fail_prefix(rapt_error *error, rapt_status status, const char *format, ...)
{
    if (error == NULL)
        return status;
    char text[sizeof error->message + 4];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t used = n < 0 ? 0 : RAPT_MIN((size_t)n, sizeof text - 1);
    if (error->status != RAPT_OK) {
        status = error->status;
        snprintf(text + used, sizeof text - used, ": %s", error->message);
    }
    set_message(error, status, text);
    return status;
}
