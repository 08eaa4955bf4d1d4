// quirks.c - drivers that report what they do not have; the only file that knows a vendor.
#include "vk.h"

typedef struct quirk {
    uint32_t driver;                       // VkDriverId
    uint32_t from, before;                 // driver numbers, major * 1000 + minor; before 0: all
    uint32_t hide;                         // HX_CAP_*; 0: only tell
    const char *why;
} quirk;

static const quirk quirks[] = {
    { VK_DRIVER_ID_MESA_LLVMPIPE, 0, 23000, 0,
      "ends a shader silently after 65,535 loop iterations of one invocation; kernels stay below "
      "60,000 (fixed in Mesa 23)" },
    { VK_DRIVER_ID_AMD_PROPRIETARY, 0, 0, HX_CAP_COOPMAT | HX_CAP_COOPMAT_BF,
      "offers cooperative matrices on GPUs without matrix units, slower than plain arithmetic" },
    { VK_DRIVER_ID_AMD_OPEN_SOURCE, 0, 0, HX_CAP_COOPMAT | HX_CAP_COOPMAT_BF,
      "offers cooperative matrices on GPUs without matrix units, slower than plain arithmetic" },
    { VK_DRIVER_ID_MESA_RADV, 0, 0, HX_CAP_FACTORS,
      "a factor of matrix units takes eight registers of 256, for RDNA 3 holds it twice; kernels "
      "that keep own rows of 128 channels in registers would spill" },
};

void hx_vk_quirks(hx_vk_gpu *gpu)
{
    for (int i = 0; i < HX_COUNT(quirks); i++) {
        const quirk *q = &quirks[i];
        if (gpu->driver_id != q->driver || gpu->driver_number < q->from ||
            (q->before && gpu->driver_number >= q->before))
            continue;
        if (q->hide && !(gpu->caps.has & q->hide))
            continue;
        gpu->caps.has &= ~q->hide;
        hx_log(HX_LOG_DEBUG, "%s: %s", gpu->caps.name, q->why);
    }
}
