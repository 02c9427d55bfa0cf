/* Several devices of one command: --devices A,B. */
#ifndef RAPT_TOOL_DEVICE_LIST_H
#define RAPT_TOOL_DEVICE_LIST_H

#include "tool.h"

/* Opens the devices of a comma list, each of an instance of its own, and names them on `tell`. An exit code; *count are open in any case. */
int tool_device_list_open(rapt_runtime *runtime, const char *list, const tool_device_options *given, FILE *tell, rapt_device *devices[RAPT_GROUP_MAX],
                          uint32_t *count);
/* A group of them, with a thread for each, that tells on standard error which device fails. An exit code. */
int tool_device_list_group(rapt_device *const *devices, uint32_t count, rapt_group **group);

#endif
