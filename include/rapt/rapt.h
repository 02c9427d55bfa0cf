/* rapt: tiled, sparse and linear attention on any Vulkan device. Part of rapt (MIT licence).
 * rapt/vulkan.h, for apps with a VkDevice of their own, is apart. */
#ifndef RAPT_RAPT_H
#define RAPT_RAPT_H

#include <rapt/attention.h>
#include <rapt/cache.h>
#include <rapt/caps.h>
#include <rapt/combine.h>
#include <rapt/device.h>
#include <rapt/graph.h>
#include <rapt/linear.h>
#include <rapt/measure.h>
#include <rapt/memory.h>
#include <rapt/pattern.h>
#include <rapt/plan.h>
#include <rapt/route.h>
#include <rapt/rows.h>
#include <rapt/runtime.h>
#include <rapt/scan.h>
#include <rapt/sched.h>
#include <rapt/simulate.h>
#include <rapt/status.h>
#include <rapt/system.h>
#include <rapt/tensor.h>
#include <rapt/tune.h>

#endif
