// instance.c - the loader, the instance, the validation layer, and the list of devices.
//
// The loader is opened at run time, so that a program without Vulkan still starts.
#define VOLK_IMPLEMENTATION
#include "vk.h"
#include <pthread.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

static const char no_loader[] = "no Vulkan loader (libvulkan.so.1): run `apt install libvulkan1 "
    "mesa-vulkan-drivers`";
static const char old_loader[] = "the Vulkan loader knows less than Vulkan 1.2: run `apt install "
    "libvulkan1`";
static const char no_driver[] = "no Vulkan driver: run `apt install libvulkan1 "
    "mesa-vulkan-drivers`, or install the driver of your GPU";
static const char bad_driver_files[] = "no Vulkan driver where the environment variable "
    "VK_DRIVER_FILES points: unset it, or run `apt install libvulkan1 mesa-vulkan-drivers`";
static const char bad_icd_filenames[] = "no Vulkan driver where the environment variable "
    "VK_ICD_FILENAMES points: unset it, or run `apt install libvulkan1 mesa-vulkan-drivers`";

static pthread_once_t loader_once = PTHREAD_ONCE_INIT;
static bool loader_found;

static void loader_open(void)
{
    loader_found = volkInitialize() == VK_SUCCESS && vkCreateInstance;
}

static const char *no_driver_note(void)
{
    if (getenv("VK_DRIVER_FILES"))
        return bad_driver_files;
    return getenv("VK_ICD_FILENAMES") ? bad_icd_filenames : no_driver;
}

// What the layer says about its own settings is not about us; names of its versions since 2023.
static bool is_setup(const char *id)
{
    return id && (strstr(id, "GPU-Assisted Validation Warning") ||
                  strstr(id, "WARNING-GPU-Assisted-Validation") ||
                  // what debugging itself asks for; an array large enough needs no count first
                  strstr(id, "specialuse-extension-debugging") ||
                  strstr(id, "DevLimit-MissingQueryCount") ||
                  strstr(id, "VALIDATION-SETTINGS") || strstr(id, "WARNING-Setting"));
}

static VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                      VkDebugUtilsMessageTypeFlagsEXT type,
                                      const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    (void)type;
    hx_vk *d = user;
    bool error = severity & VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
    if (!error && is_setup(data->pMessageIdName)) {
        hx_log(HX_LOG_DEBUG, "vulkan validation: %s", data->pMessage);
        return VK_FALSE;
    }
    __atomic_fetch_add(&d->base.stats.validation_messages, 1, __ATOMIC_RELAXED);
    hx_log(error ? HX_LOG_ERROR : HX_LOG_WARN, "vulkan validation: %s", data->pMessage);
    return VK_FALSE;
}

static bool layer_present(const char *name)
{
    VkLayerProperties layer[64];
    uint32_t n = HX_COUNT(layer);
    if (vkEnumerateInstanceLayerProperties(&n, layer) < 0)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(layer[i].layerName, name))
            return true;
    return false;
}

// What the layer checks: HTXVK_VALIDATION = sync (default), gpu (bounds, inside the shaders), best
// (practices) or core. Layers of 2023 read the check across submits from the environment only; later ones
// always make it, and look at shader accesses only when told so.
static void choose_checks(VkValidationFeaturesEXT *f, VkValidationFeatureEnableEXT *enable)
{
    const char *mode = getenv("HTXVK_VALIDATION");
    f->pEnabledValidationFeatures = enable;
    if (mode && !strcmp(mode, "core"))
        return;
    if (mode && !strcmp(mode, "best")) {
        enable[f->enabledValidationFeatureCount++] = VK_VALIDATION_FEATURE_ENABLE_BEST_PRACTICES_EXT;
        return;
    }
    if (mode && !strcmp(mode, "gpu")) {
        enable[f->enabledValidationFeatureCount++] = VK_VALIDATION_FEATURE_ENABLE_GPU_ASSISTED_EXT;
        enable[f->enabledValidationFeatureCount++] =
            VK_VALIDATION_FEATURE_ENABLE_GPU_ASSISTED_RESERVE_BINDING_SLOT_EXT;
        return;
    }
    enable[f->enabledValidationFeatureCount++] =
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
    setenv("VK_LAYER_ENABLES",
           "VALIDATION_CHECK_ENABLE_SYNCHRONIZATION_VALIDATION_QUEUE_SUBMIT", 0);
    setenv("VK_VALIDATION_SYNCVAL_SHADER_ACCESSES_HEURISTIC", "true", 0);
}

static hx_result create(hx_vk *d, const VkInstanceCreateInfo *info, VkInstance *out,
                        const char **note)
{
    VkResult r = HX_VK_CALL(vkCreateInstance(info, NULL, out));
    // loaders say that memory is out when they cannot parse a driver's file
    bool named = getenv("VK_DRIVER_FILES") || getenv("VK_ICD_FILENAMES");
    if (r == VK_ERROR_INCOMPATIBLE_DRIVER || (r == VK_ERROR_OUT_OF_HOST_MEMORY && named)) {
        *note = no_driver_note();
        return hx_fail(HX_E_NODEVICE, "%s [E-VK-NODRIVER]", *note);
    }
    if (r)
        return hx_vk_fail(d, r, "opening Vulkan");
    volkLoadInstanceOnly(*out);
    return HX_OK;
}

static hx_result create_validated(hx_vk *d, VkInstanceCreateInfo *info, VkInstance *out,
                                  const char **note)
{
    const char *layer = "VK_LAYER_KHRONOS_validation";
    const char *ext[] = { VK_EXT_DEBUG_UTILS_EXTENSION_NAME,
                          VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME };
    if (!layer_present(layer))
        return hx_fail(HX_E_NODEVICE, "validation was asked for but the layer %s is not installed: "
            "run `apt install vulkan-validationlayers` [E-VK-NOLAYER]", layer);
    VkValidationFeatureEnableEXT enable[4];
    VkValidationFeaturesEXT checks = { VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT };
    choose_checks(&checks, enable);
    VkDebugUtilsMessengerCreateInfoEXT messenger = {
        VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .pNext = &checks,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = d,
    };
    info->pNext = &messenger;
    info->enabledLayerCount = 1;
    info->ppEnabledLayerNames = &layer;
    info->enabledExtensionCount = HX_COUNT(ext);
    info->ppEnabledExtensionNames = ext;
    HX_TRY(create(d, info, out, note));
    messenger.pNext = NULL;
    HX_VK_TRY(d, vkCreateDebugUtilsMessengerEXT(*out, &messenger, NULL, &d->messenger),
              "listening to the validation layer");
    return HX_OK;
}

// `d` may be NULL; `note` says what is missing when there is no loader or no driver.
static hx_result open_instance(hx_vk *d, VkInstance *instance, const char **note)
{
    pthread_once(&loader_once, loader_open);
    if (!loader_found) {
        *note = no_loader;
        return hx_fail(HX_E_NODEVICE, "%s [E-VK-NOLOADER]", *note);
    }
    if (!vkEnumerateInstanceVersion || volkGetInstanceVersion() < VK_API_VERSION_1_2) {
        *note = old_loader;
        return hx_fail(HX_E_NODEVICE, "%s [E-VK-OLDLOADER]", *note);
    }
    VkApplicationInfo app = { VK_STRUCTURE_TYPE_APPLICATION_INFO, .pApplicationName = "htxvk",
                              .pEngineName = "htxvk", .apiVersion = VK_API_VERSION_1_2 };
    VkInstanceCreateInfo info = { VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                  .pApplicationInfo = &app };
    if (d && d->validation)
        return create_validated(d, &info, instance, note);
    return create(d, &info, instance, note);
}

// Physical devices in the loader's order; fails with HX_E_NODEVICE when there is none.
static hx_result physical(VkInstance instance, VkPhysicalDevice *phys, uint32_t *n,
                          const char **note)
{
    VkResult r = HX_VK_CALL(vkEnumeratePhysicalDevices(instance, n, phys));
    if (r < 0)
        return hx_vk_fail(NULL, r, "listing Vulkan devices");
    if (!*n) {
        *note = no_driver_note();
        return hx_fail(HX_E_NODEVICE, "%s [E-VK-NODRIVER]", *note);
    }
    return HX_OK;
}

hx_result hx_vulkan_list(hx_dev_info *out, int cap, int *n, const char **note)
{
    const char *missing = NULL;
    VkInstance instance = NULL;
    VkPhysicalDevice phys[64];
    uint32_t count = HX_COUNT(phys);
    *n = 0;
    hx_result r = open_instance(NULL, &instance, &missing);
    if (!r)
        r = physical(instance, phys, &count, &missing);
    for (uint32_t i = 0; !r && i < count && *n < cap; i++, ++*n) {
        hx_vk_gpu gpu;
        hx_vk_gpu_read(instance, phys[i], &gpu);
        out[*n] = (hx_dev_info){ .caps = gpu.caps };
        snprintf(out[*n].selector, sizeof out->selector, "%u", i);
        memcpy(out[*n].why_not, gpu.why_not, sizeof gpu.why_not);
    }
    if (instance)
        vkDestroyInstance(instance, NULL);
    if (note)
        *note = missing;
    return missing ? HX_OK : r;
}

hx_result hx_vk_find(hx_vk *d, int index)
{
    const char *note;
    VkPhysicalDevice phys[64];
    uint32_t n = HX_COUNT(phys);
    HX_TRY(open_instance(d, &d->instance, &note));
    HX_TRY(physical(d->instance, phys, &n, &note));
    if (index < 0 || index >= (int)n)
        return hx_fail(HX_E_NODEVICE, "there is no Vulkan device %d: there are %u, counted from 0 "
            "[E-VK-INDEX]", index, n);
    hx_vk_gpu_read(d->instance, phys[index], &d->gpu);
    if (d->gpu.why_not[0])
        return hx_fail(HX_E_NODEVICE, "Vulkan device %d (%s) cannot be used: %s [E-VK-FLOOR]",
            index, d->gpu.caps.name, d->gpu.why_not);
    d->base.caps = d->gpu.caps;
    return HX_OK;
}
