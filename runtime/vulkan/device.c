// device.c - opening and closing the Vulkan device, and its table of functions.
#include "vk.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(VkResult r)
{
    switch (r) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:    return "out of host memory";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:  return "out of device memory";
    case VK_ERROR_DEVICE_LOST:           return "the device was lost";
    case VK_ERROR_INITIALIZATION_FAILED: return "the driver could not start";
    case VK_ERROR_LAYER_NOT_PRESENT:     return "a layer is missing";
    case VK_ERROR_EXTENSION_NOT_PRESENT: return "an extension is missing";
    case VK_ERROR_FEATURE_NOT_PRESENT:   return "a feature is missing";
    case VK_ERROR_INCOMPATIBLE_DRIVER:   return "the driver does not fit the loader";
    case VK_ERROR_TOO_MANY_OBJECTS:      return "too many objects";
    case VK_ERROR_FRAGMENTED_POOL:       return "a pool is fragmented";
    case VK_ERROR_FRAGMENTATION:         return "memory is fragmented";
    case VK_ERROR_OUT_OF_POOL_MEMORY:    return "a pool is full";
    case VK_TIMEOUT:                     return "timeout";
    case VK_NOT_READY:                   return "not ready";
    default:                             return "an error that should not occur";
    }
}

#ifdef HX_FAULTS
VkResult hx_vk_fault(const char *call)
{
    static const struct { const char *name; VkResult r; } codes[] = {
        { "DEVICE_LOST", VK_ERROR_DEVICE_LOST },
        { "OUT_OF_HOST_MEMORY", VK_ERROR_OUT_OF_HOST_MEMORY },
        { "OUT_OF_DEVICE_MEMORY", VK_ERROR_OUT_OF_DEVICE_MEMORY },
        { "FRAGMENTED_POOL", VK_ERROR_FRAGMENTED_POOL },
        { "INITIALIZATION_FAILED", VK_ERROR_INITIALIZATION_FAILED },
    };
    // "d->fn.vkCreateBuffer(d->dev, ..." -> "vkCreateBuffer"
    const char *at = strstr(call, "vk");
    while (at && !(at[2] >= 'A' && at[2] <= 'Z'))
        at = strstr(at + 1, "vk");
    if (!at)
        return VK_SUCCESS;
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(at, "( "), at);
    const char *what = hx_fault("vk", name);
    for (int i = 0; what && i < HX_COUNT(codes); i++)
        if (!strcmp(what, codes[i].name))
            return codes[i].r;
    return VK_SUCCESS;
}
#endif

// Marks the device as lost and lets it come to rest, which Vulkan promises for lost devices, so
// that what it used can be freed.
static void lose(hx_vk *d)
{
    if (!d->lost && d->queue)
        d->fn.vkDeviceWaitIdle(d->dev);
    d->lost = true;
}

hx_result hx_vk_fail(hx_vk *d, VkResult r, const char *what)
{
    const char *name = d ? d->gpu.caps.name : "Vulkan";
    switch (r) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_TOO_MANY_OBJECTS:
    case VK_ERROR_FRAGMENTED_POOL:
    case VK_ERROR_FRAGMENTATION:
    case VK_ERROR_OUT_OF_POOL_MEMORY:
        return hx_fail(HX_E_NOMEM, "%s: %s failed: %s (VkResult %d) [E-VK-NOMEM]", name, what,
                       text_of(r), r);
    case VK_ERROR_DEVICE_LOST:
        if (d)
            lose(d);
        return hx_fail(HX_E_LOST, "%s: the device was lost in %s: the driver reset it, often "
            "because one submit ran too long [E-VK-LOST]", name, what);
    case VK_ERROR_INITIALIZATION_FAILED:
    case VK_ERROR_LAYER_NOT_PRESENT:
    case VK_ERROR_EXTENSION_NOT_PRESENT:
    case VK_ERROR_FEATURE_NOT_PRESENT:
    case VK_ERROR_INCOMPATIBLE_DRIVER:
        return hx_fail(HX_E_NODEVICE, "%s: %s failed: %s (VkResult %d) [E-VK-DRIVER]", name, what,
                       text_of(r), r);
    default:
        return hx_fail(HX_E_INTERNAL, "%s: %s failed: %s (VkResult %d) [E-VK]", name, what,
                       text_of(r), r);
    }
}

hx_result hx_vk_check(const hx_vk *d)
{
    if (d->lost)
        return hx_fail(HX_E_LOST, "%s: the device was lost earlier; open it again and go on from "
            "the last checkpoint [E-VK-LOST]", d->gpu.caps.name);
    return HX_OK;
}

void hx_vk_name(hx_vk *d, VkObjectType type, void *object, const char *name)
{
    VkDebugUtilsObjectNameInfoEXT info = { VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT,
        .objectType = type, .objectHandle = (uint64_t)(uintptr_t)object, .pObjectName = name };
    if (d->validation)
        vkSetDebugUtilsObjectNameEXT(d->dev, &info);
}

static void close_device(hx_dev *dev)
{
    hx_vk *d = (hx_vk *)dev;
    if (d->hung) {
        // destroying what a hung device still uses can block for ever or crash
        hx_log(HX_LOG_WARN, "%s never answered: its memory stays with the process",
               d->gpu.caps.name);
        return;
    }
    if (d->dev) {
        if (!d->lost && d->ticket)
            d->fn.vkDeviceWaitIdle(d->dev);
        hx_vk_cache_close(d);
        hx_vk_pipelines_done(d);
        hx_vk_memory_done(d);
        hx_vk_queue_done(d);
        d->fn.vkDestroyDevice(d->dev, NULL);
    }
    if (d->messenger) {
        // the loaded functions are those of the last instance, which may not have had this one
        PFN_vkDestroyDebugUtilsMessengerEXT destroy = (PFN_vkDestroyDebugUtilsMessengerEXT)
            vkGetInstanceProcAddr(d->instance, "vkDestroyDebugUtilsMessengerEXT");
        destroy(d->instance, d->messenger, NULL);
    }
    if (d->instance)
        vkDestroyInstance(d->instance, NULL);
    free(d);
}

static const hx_dev_fns fns = {
    .close = close_device,
    .buf_new = hx_vk_buf_new,
    .buf_free = hx_vk_buf_free,
    .buf_write = hx_vk_buf_write,
    .buf_read = hx_vk_buf_read,
    .prog_new = hx_vk_prog_new,
    .prog_dispatch = hx_vk_prog_dispatch,
    .prog_barrier = hx_vk_prog_barrier,
    .prog_fill = hx_vk_prog_fill,
    .prog_copy = hx_vk_prog_copy,
    .prog_cut = hx_vk_prog_cut,
    .prog_end = hx_vk_prog_end,
    .prog_free = hx_vk_prog_free,
    .prog_times = hx_vk_prog_times,
    .submit = hx_vk_submit,
    .wait = hx_vk_wait,
    .facts = hx_vk_facts,
};

static hx_result open_device(hx_vk *d, int index, const hx_dev_params *p)
{
    HX_TRY(hx_vk_find(d, index));
    bool facts = p->compile_only && d->gpu.ext_facts;
    HX_VK_TRY(d, hx_vk_gpu_open(&d->gpu, facts, &d->dev), "opening the device");
    volkLoadDeviceTable(&d->fn, d->dev);
    d->fn.vkGetDeviceQueue(d->dev, d->gpu.family, 0, &d->queue);
    if (d->compile_only)
        return HX_OK;
    HX_TRY(hx_vk_queue_init(d));
    hx_vk_cache_open(d, !p->no_cache);
    d->base.caps.whole_ranges = d->validation;
    return HX_OK;
}

hx_result hx_vulkan_open(int index, const hx_dev_params *p, hx_dev **out)
{
    static const hx_dev_params plain = { 0 };
    hx_vk *d = calloc(1, sizeof *d);
    *out = NULL;
    if (!d)
        return hx_fail(HX_E_NOMEM, "no host memory for a device [E-NOMEM]");
    p = p ? p : &plain;
    d->base.fn = &fns;
    d->validation = p->validation;
    d->compile_only = p->compile_only;
    // a test proves with this that the layer would see a missing barrier
    const char *drop = p->validation ? getenv("HTXVK_DROP_BARRIER") : NULL;
    d->drop_barrier = drop ? atoll(drop) : 0;
    hx_result r = open_device(d, index, p);
    if (r) {
        close_device(&d->base);
        return r;
    }
    *out = &d->base;
    return HX_OK;
}
