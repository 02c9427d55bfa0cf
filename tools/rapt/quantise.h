/* Keys and values of files as quantised tensors. */
#ifndef RAPT_TOOL_QUANTISE_H
#define RAPT_TOOL_QUANTISE_H

#include <rapt/rows.h>

/* Names of --k-dtype and --v-dtype. RAPT_DTYPE_NONE: none of them. */
rapt_dtype tool_quantised_dtype(const char *name);
/* Places the rows of `from`, (batch, heads, rows, head_dim), each where it is, in a new buffer that is laid
 * out as `to`: rapt/rows.h quantises them on the device. data NULL: the buffer stays as it is. */
rapt_status tool_quantise(rapt_device *device, const rapt_tensor *from, const void *data,
                          const rapt_tensor *to, rapt_buffer **buffer, rapt_error *error);

#endif
