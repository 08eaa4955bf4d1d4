// vk_layer.c - a Vulkan layer for tests: makes calls fail, and hides all that tier T0 lacks.
//
//   HTXVK_LAYER_LOG=FILE           appends the name of each call that may fail
//   HTXVK_LAYER_FAULT=NAME:N:CODE  the N-th call of NAME (any: of all) returns CODE, such as
//                                  DEVICE_LOST, after which the device stays lost; once, also
//                                  across an exec
//   HTXVK_LAYER_SEED=core|best|sync|gpu  what goes on to the validation layer has a mistake of that kind
//   HTXVK_LAYER_DROP=N             the N-th barrier does not go on
//   HTXVK_LAYER_BARRIERS=FILE      appends a word for each barrier: what is made visible to whom
//   HTXVK_LAYER_FLOOR=t0,NAME=N... limits, features and extensions of tier T0, changed by name
//
// One instance and one device at a time. Loader interface 2.
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))
#define EXPORT __attribute__((visibility("default")))

// ---- faults ------------------------------------------------------------------------------

static struct { unsigned n_any, n_named; bool lost; } state;

static VkResult code_of(const char *text)
{
    static const struct { const char *name; VkResult r; } codes[] = {
        { "DEVICE_LOST", VK_ERROR_DEVICE_LOST },
        { "OUT_OF_HOST_MEMORY", VK_ERROR_OUT_OF_HOST_MEMORY },
        { "OUT_OF_DEVICE_MEMORY", VK_ERROR_OUT_OF_DEVICE_MEMORY },
        { "INITIALIZATION_FAILED", VK_ERROR_INITIALIZATION_FAILED },
    };
    for (int i = 0; i < COUNT(codes); i++)
        if (!strcmp(text, codes[i].name))
            return codes[i].r;
    fprintf(stderr, "vk_layer: unknown code %s\n", text);
    abort();
}

static void log_call(const char *name)
{
    const char *path = getenv("HTXVK_LAYER_LOG");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (fd >= 0) {
        dprintf(fd, "%s\n", name);
        close(fd);
    }
}

// What this call is to return; VK_SUCCESS: whatever the driver says.
static VkResult fault(const char *name)
{
    log_call(name);
    state.n_any++;
    const char *spec = getenv("HTXVK_LAYER_FAULT");
    char want[64], code[64];
    unsigned n;
    if (spec && sscanf(spec, "%63[^:]:%u:%63s", want, &n, code) == 3) {
        bool any = !strcmp(want, "any");
        state.n_named += !strcmp(want, name);
        if ((any || !strcmp(want, name)) && n == (any ? state.n_any : state.n_named)) {
            VkResult r = code_of(code);
            state.lost = r == VK_ERROR_DEVICE_LOST;
            // once: a program that begins again in its own place inherits this
            unsetenv("HTXVK_LAYER_FAULT");
            return r;
        }
    }
    // Vulkan lets only these tell that a device was lost before
    bool tells = !strcmp(name, "vkQueueSubmit") || !strcmp(name, "vkWaitSemaphores") ||
                 !strcmp(name, "vkDeviceWaitIdle") || !strcmp(name, "vkGetQueryPoolResults");
    return state.lost && tells ? VK_ERROR_DEVICE_LOST : VK_SUCCESS;
}

// ---- the next layer's functions ------------------------------------------------------------

static PFN_vkGetInstanceProcAddr next_gipa;
static PFN_vkGetDeviceProcAddr next_gdpa;

// Functions of a device that may fail: name, parameters, arguments.
#define DEVICE_CALLS(X)                                                                       \
    X(QueueSubmit, (VkQueue q, uint32_t n, const VkSubmitInfo *s, VkFence f), (q, n, s, f))    \
    X(WaitSemaphores, (VkDevice d, const VkSemaphoreWaitInfo *i, uint64_t t), (d, i, t))       \
    X(AllocateMemory, (VkDevice d, const VkMemoryAllocateInfo *i,                              \
                       const VkAllocationCallbacks *a, VkDeviceMemory *o), (d, i, a, o))       \
    X(MapMemory, (VkDevice d, VkDeviceMemory m, VkDeviceSize at, VkDeviceSize n,               \
                  VkMemoryMapFlags f, void **o), (d, m, at, n, f, o))                          \
    X(FlushMappedMemoryRanges, (VkDevice d, uint32_t n, const VkMappedMemoryRange *r),         \
      (d, n, r))                                                                               \
    X(InvalidateMappedMemoryRanges, (VkDevice d, uint32_t n, const VkMappedMemoryRange *r),    \
      (d, n, r))                                                                               \
    X(BindBufferMemory, (VkDevice d, VkBuffer b, VkDeviceMemory m, VkDeviceSize at),           \
      (d, b, m, at))                                                                           \
    X(CreateBuffer, (VkDevice d, const VkBufferCreateInfo *i, const VkAllocationCallbacks *a,  \
                     VkBuffer *o), (d, i, a, o))                                               \
    X(CreateShaderModule, (VkDevice d, const VkShaderModuleCreateInfo *i,                      \
                           const VkAllocationCallbacks *a, VkShaderModule *o), (d, i, a, o))   \
    X(CreatePipelineCache, (VkDevice d, const VkPipelineCacheCreateInfo *i,                    \
                            const VkAllocationCallbacks *a, VkPipelineCache *o), (d, i, a, o)) \
    X(GetPipelineCacheData, (VkDevice d, VkPipelineCache c, size_t *n, void *o), (d, c, n, o)) \
    X(CreateComputePipelines, (VkDevice d, VkPipelineCache c, uint32_t n,                      \
                               const VkComputePipelineCreateInfo *i,                           \
                               const VkAllocationCallbacks *a, VkPipeline *o),                 \
      (d, c, n, i, a, o))                                                                      \
    X(CreatePipelineLayout, (VkDevice d, const VkPipelineLayoutCreateInfo *i,                  \
                             const VkAllocationCallbacks *a, VkPipelineLayout *o),             \
      (d, i, a, o))                                                                            \
    X(CreateDescriptorSetLayout, (VkDevice d, const VkDescriptorSetLayoutCreateInfo *i,        \
                                  const VkAllocationCallbacks *a, VkDescriptorSetLayout *o),   \
      (d, i, a, o))                                                                            \
    X(CreateDescriptorPool, (VkDevice d, const VkDescriptorPoolCreateInfo *i,                  \
                             const VkAllocationCallbacks *a, VkDescriptorPool *o),             \
      (d, i, a, o))                                                                            \
    X(AllocateDescriptorSets, (VkDevice d, const VkDescriptorSetAllocateInfo *i,               \
                               VkDescriptorSet *o), (d, i, o))                                 \
    X(CreateCommandPool, (VkDevice d, const VkCommandPoolCreateInfo *i,                        \
                          const VkAllocationCallbacks *a, VkCommandPool *o), (d, i, a, o))     \
    X(ResetCommandPool, (VkDevice d, VkCommandPool p, VkCommandPoolResetFlags f), (d, p, f))   \
    X(AllocateCommandBuffers, (VkDevice d, const VkCommandBufferAllocateInfo *i,               \
                               VkCommandBuffer *o), (d, i, o))                                 \
    X(BeginCommandBuffer, (VkCommandBuffer c, const VkCommandBufferBeginInfo *i), (c, i))      \
    X(EndCommandBuffer, (VkCommandBuffer c), (c))                                              \
    X(CreateSemaphore, (VkDevice d, const VkSemaphoreCreateInfo *i,                            \
                        const VkAllocationCallbacks *a, VkSemaphore *o), (d, i, a, o))         \
    X(CreateQueryPool, (VkDevice d, const VkQueryPoolCreateInfo *i,                            \
                        const VkAllocationCallbacks *a, VkQueryPool *o), (d, i, a, o))         \
    X(GetQueryPoolResults, (VkDevice d, VkQueryPool p, uint32_t from, uint32_t n, size_t bytes, \
                            void *o, VkDeviceSize s, VkQueryResultFlags f),                    \
      (d, p, from, n, bytes, o, s, f))

// DeviceWaitIdle is apart: it waits even when it then says that the device is lost.
static PFN_vkDeviceWaitIdle next_DeviceWaitIdle;
#define X(name, params, args) static PFN_vk##name next_##name;
DEVICE_CALLS(X)
#undef X

#define X(name, params, args)                                    \
    static VKAPI_ATTR VkResult VKAPI_CALL our_##name params      \
    {                                                            \
        VkResult bad = fault("vk" #name);                        \
        return bad ? bad : next_##name args;                     \
    }
DEVICE_CALLS(X)
#undef X

// ---- mistakes for the validation layer, each of which its lane must report -------------------

static bool seeded(const char *kind)
{
    const char *seed = getenv("HTXVK_LAYER_SEED");
    return seed && !strcmp(seed, kind);
}

// core: buffers that shaders write to were not made for that
static VKAPI_ATTR VkResult VKAPI_CALL seed_CreateBuffer(VkDevice d, const VkBufferCreateInfo *i,
    const VkAllocationCallbacks *a, VkBuffer *o)
{
    VkBufferCreateInfo changed = *i;
    if (seeded("core"))
        changed.usage = VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT;
    return our_CreateBuffer(d, &changed, a, o);
}

// best: a pool whose command buffers can be reset one by one
static VKAPI_ATTR VkResult VKAPI_CALL seed_CreateCommandPool(VkDevice d,
    const VkCommandPoolCreateInfo *i, const VkAllocationCallbacks *a, VkCommandPool *o)
{
    VkCommandPoolCreateInfo changed = *i;
    if (seeded("best"))
        changed.flags |= VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
    return our_CreateCommandPool(d, &changed, a, o);
}

// gpu: the third push constant, where `copy` finds its input, is 2^26 elements too far. (Layers of 2023
// know only where buffers end, not what part of them is bound.)
static PFN_vkCmdPushConstants next_CmdPushConstants;
static VKAPI_ATTR void VKAPI_CALL seed_CmdPushConstants(VkCommandBuffer c, VkPipelineLayout l,
    VkShaderStageFlags stages, uint32_t at, uint32_t bytes, const void *values)
{
    uint32_t word[64];
    if (seeded("gpu") && at == 0 && bytes >= 12 && bytes <= sizeof word) {
        memcpy(word, values, bytes);
        word[2] += 1u << 26;
        values = word;
    }
    next_CmdPushConstants(c, l, stages, at, bytes, values);
}

static PFN_vkCmdPipelineBarrier next_CmdPipelineBarrier;
static unsigned n_barriers;
static VKAPI_ATTR void VKAPI_CALL seed_CmdPipelineBarrier(VkCommandBuffer c,
    VkPipelineStageFlags from, VkPipelineStageFlags to, VkDependencyFlags how, uint32_t n,
    const VkMemoryBarrier *m, uint32_t n_buffer, const VkBufferMemoryBarrier *b, uint32_t n_image,
    const VkImageMemoryBarrier *i)
{
    const char *drop = getenv("HTXVK_LAYER_DROP"), *path = getenv("HTXVK_LAYER_BARRIERS");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (fd >= 0) {
        const char *const who[] = { "shaders", "copies", "both" };
        bool shaders = from & VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
        bool copies = from & VK_PIPELINE_STAGE_TRANSFER_BIT;
        dprintf(fd, "%s-%s\n", who[shaders && copies ? 2 : copies],
                to & VK_PIPELINE_STAGE_HOST_BIT ? "host" : "device");
        close(fd);
    }
    // sync: none at all
    if (!seeded("sync") && ++n_barriers != (drop ? strtoul(drop, NULL, 10) : 0))
        next_CmdPipelineBarrier(c, from, to, how, n, m, n_buffer, b, n_image, i);
}

static VKAPI_ATTR VkResult VKAPI_CALL our_DeviceWaitIdle(VkDevice d)
{
    VkResult r = fault("vkDeviceWaitIdle"), real = next_DeviceWaitIdle(d);
    return r ? r : real;
}

// Functions of an instance; asked for when it is made, because later the loader gives ours again.
#define INSTANCE_CALLS(X)                                                                     \
    X(EnumeratePhysicalDevices) X(EnumerateDeviceExtensionProperties)                          \
    X(GetPhysicalDeviceProperties) X(GetPhysicalDeviceProperties2) X(GetPhysicalDeviceFeatures2) \
    X(CreateDevice)
#define X(name) static PFN_vk##name next_##name;
INSTANCE_CALLS(X)
#undef X

// ---- the floor -----------------------------------------------------------------------------

static bool floor_on(void)
{
    return getenv("HTXVK_LAYER_FLOOR");
}

// "t0,shared=16384": the number given for `name`, else T0's.
static uint32_t limit(const char *name, uint32_t t0)
{
    const char *at = getenv("HTXVK_LAYER_FLOOR");
    size_t n = strlen(name);
    for (; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (!strncmp(at, name, n) && at[n] == '=')
            return (uint32_t)strtoul(at + n + 1, NULL, 0);
    return t0;
}

static void lower(VkPhysicalDeviceProperties *p)
{
    VkPhysicalDeviceLimits *l = &p->limits;
    p->apiVersion = VK_MAKE_API_VERSION(0, 1, limit("minor", 2), 0);
    l->maxComputeSharedMemorySize = limit("shared", 32 << 10);
    l->maxComputeWorkGroupInvocations = limit("invocations", 256);
    l->maxComputeWorkGroupSize[0] = l->maxComputeWorkGroupSize[1] = limit("invocations", 256);
    l->maxComputeWorkGroupSize[2] = 64;
    l->maxPushConstantsSize = limit("push", 128);
    l->maxStorageBufferRange = limit("range", 1 << 27);
    l->minStorageBufferOffsetAlignment = limit("align", 256);
    l->maxComputeWorkGroupCount[0] = limit("groups_x", 65535);
    l->maxComputeWorkGroupCount[1] = limit("groups_y", 65535);
    l->maxComputeWorkGroupCount[2] = 65535;
    l->maxPerStageDescriptorStorageBuffers = limit("stage_buffers", 30);
    l->maxDescriptorSetStorageBuffers = limit("set_buffers", 30);
    l->maxMemoryAllocationCount = 4096;
    l->maxBoundDescriptorSets = 4;
}

static VKAPI_ATTR void VKAPI_CALL our_GetPhysicalDeviceProperties(VkPhysicalDevice d,
                                                                  VkPhysicalDeviceProperties *p)
{
    next_GetPhysicalDeviceProperties(d, p);
    if (floor_on())
        lower(p);
}

static VKAPI_ATTR void VKAPI_CALL our_GetPhysicalDeviceProperties2(VkPhysicalDevice d,
                                                                   VkPhysicalDeviceProperties2 *p)
{
    next_GetPhysicalDeviceProperties2(d, p);
    if (!floor_on())
        return;
    lower(&p->properties);
    for (VkBaseOutStructure *s = p->pNext; s; s = s->pNext)
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES) {
            VkPhysicalDeviceVulkan11Properties *v = (void *)s;
            v->maxMemoryAllocationSize = 1 << 30;
            v->subgroupSupportedOperations = VK_SUBGROUP_FEATURE_BASIC_BIT;
        }
}

// Switches off every feature of a struct but one; a struct of features is a head and VkBool32s.
static void only(void *s, size_t bytes, VkBool32 *kept)
{
    size_t head = offsetof(VkPhysicalDeviceVulkan12Features, samplerMirrorClampToEdge);
    VkBool32 keep = kept ? *kept : 0;
    memset((char *)s + head, 0, bytes - head);
    if (kept)
        *kept = keep;
}

static VKAPI_ATTR void VKAPI_CALL our_GetPhysicalDeviceFeatures2(VkPhysicalDevice d,
                                                                 VkPhysicalDeviceFeatures2 *f)
{
    next_GetPhysicalDeviceFeatures2(d, f);
    if (!floor_on())
        return;
    memset(&f->features, 0, sizeof f->features);
    for (VkBaseOutStructure *s = f->pNext; s; s = s->pNext)
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES) {
            only(s, sizeof(VkPhysicalDeviceVulkan11Features), NULL);
        } else if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES) {
            VkPhysicalDeviceVulkan12Features *v = (void *)s;
            v->timelineSemaphore &= limit("timeline", 1);
            only(v, sizeof *v, &v->timelineSemaphore);
        }
}

static VKAPI_ATTR VkResult VKAPI_CALL our_EnumerateDeviceExtensionProperties(
    VkPhysicalDevice d, const char *layer, uint32_t *n, VkExtensionProperties *out)
{
    VkResult r = fault("vkEnumerateDeviceExtensionProperties");
    if (r)
        return r;
    if (!floor_on() || layer)
        return next_EnumerateDeviceExtensionProperties(d, layer, n, out);
    *n = 0;
    return VK_SUCCESS;
}

// A floor device gives nothing that it did not offer.
static VkResult refuse(const VkDeviceCreateInfo *info)
{
    if (info->enabledExtensionCount)
        return VK_ERROR_EXTENSION_NOT_PRESENT;
    for (const VkBaseInStructure *s = info->pNext; s; s = s->pNext)
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES) {
            VkPhysicalDeviceVulkan11Features asked = *(const VkPhysicalDeviceVulkan11Features *)s;
            if (asked.storageBuffer16BitAccess || asked.uniformAndStorageBuffer16BitAccess)
                return VK_ERROR_FEATURE_NOT_PRESENT;
        } else if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES) {
            VkPhysicalDeviceVulkan12Features asked = *(const VkPhysicalDeviceVulkan12Features *)s;
            if (asked.shaderFloat16 || asked.vulkanMemoryModel || asked.bufferDeviceAddress)
                return VK_ERROR_FEATURE_NOT_PRESENT;
        }
    return VK_SUCCESS;
}

// ---- instance and device -------------------------------------------------------------------

static VKAPI_ATTR VkResult VKAPI_CALL our_EnumeratePhysicalDevices(VkInstance i, uint32_t *n,
                                                                   VkPhysicalDevice *out)
{
    VkResult r = fault("vkEnumeratePhysicalDevices");
    return r ? r : next_EnumeratePhysicalDevices(i, n, out);
}

static VKAPI_ATTR VkResult VKAPI_CALL our_CreateInstance(const VkInstanceCreateInfo *info,
    const VkAllocationCallbacks *alloc, VkInstance *out)
{
    const VkLayerInstanceCreateInfo *link = info->pNext;
    while (link && !(link->sType == VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO &&
                     link->function == VK_LAYER_LINK_INFO))
        link = link->pNext;
    VkResult r = fault("vkCreateInstance");
    if (r || !link)
        return r ? r : VK_ERROR_INITIALIZATION_FAILED;
    next_gipa = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    // the chain is handed on to the next layer, which finds its own link first
    ((VkLayerInstanceCreateInfo *)link)->u.pLayerInfo = link->u.pLayerInfo->pNext;
    r = ((PFN_vkCreateInstance)next_gipa(NULL, "vkCreateInstance"))(info, alloc, out);
    if (r)
        return r;
#define X(name) next_##name = (PFN_vk##name)next_gipa(*out, "vk" #name);
    INSTANCE_CALLS(X)
#undef X
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL our_CreateDevice(VkPhysicalDevice phys,
    const VkDeviceCreateInfo *info, const VkAllocationCallbacks *alloc, VkDevice *out)
{
    const VkLayerDeviceCreateInfo *link = info->pNext;
    while (link && !(link->sType == VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO &&
                     link->function == VK_LAYER_LINK_INFO))
        link = link->pNext;
    state.lost = false;
    VkResult r = fault("vkCreateDevice");
    r = r ? r : floor_on() ? refuse(info) : VK_SUCCESS;
    if (r || !link)
        return r ? r : VK_ERROR_INITIALIZATION_FAILED;
    next_gdpa = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
    ((VkLayerDeviceCreateInfo *)link)->u.pLayerInfo = link->u.pLayerInfo->pNext;
    r = next_CreateDevice(phys, info, alloc, out);
    if (r)
        return r;
    next_DeviceWaitIdle = (PFN_vkDeviceWaitIdle)next_gdpa(*out, "vkDeviceWaitIdle");
    next_CmdPipelineBarrier = (PFN_vkCmdPipelineBarrier)next_gdpa(*out, "vkCmdPipelineBarrier");
    next_CmdPushConstants = (PFN_vkCmdPushConstants)next_gdpa(*out, "vkCmdPushConstants");
#define X(name, params, args) next_##name = (PFN_vk##name)next_gdpa(*out, "vk" #name);
    DEVICE_CALLS(X)
#undef X
    return VK_SUCCESS;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL our_GetDeviceProcAddr(VkDevice d, const char *name)
{
    if (!strcmp(name, "vkGetDeviceProcAddr"))
        return (PFN_vkVoidFunction)our_GetDeviceProcAddr;
    if (!strcmp(name, "vkDeviceWaitIdle"))
        return (PFN_vkVoidFunction)our_DeviceWaitIdle;
#define SEED(call) \
    if (!strcmp(name, "vk" #call)) return (PFN_vkVoidFunction)seed_##call
    SEED(CreateBuffer);
    SEED(CreateCommandPool);
    SEED(CmdPushConstants);
    SEED(CmdPipelineBarrier);
#define X(call, params, args) \
    if (!strcmp(name, "vk" #call)) return (PFN_vkVoidFunction)our_##call;
    DEVICE_CALLS(X)
#undef X
    return next_gdpa ? next_gdpa(d, name) : NULL;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL our_GetInstanceProcAddr(VkInstance i,
                                                                        const char *name)
{
    static const struct { const char *name; PFN_vkVoidFunction f; } ours[] = {
#define OURS(name) { "vk" #name, (PFN_vkVoidFunction)our_##name }
        OURS(GetInstanceProcAddr), OURS(GetDeviceProcAddr), OURS(CreateInstance),
        OURS(CreateDevice), OURS(EnumeratePhysicalDevices), OURS(GetPhysicalDeviceProperties),
        OURS(GetPhysicalDeviceProperties2), OURS(GetPhysicalDeviceFeatures2),
        OURS(EnumerateDeviceExtensionProperties), OURS(DeviceWaitIdle),
#define X(call, params, args) OURS(call),
        DEVICE_CALLS(X)
#undef X
    };
    for (int k = 0; k < COUNT(ours); k++)
        if (!strcmp(name, ours[k].name))
            return ours[k].f;
    return next_gipa ? next_gipa(i, name) : NULL;
}

EXPORT VKAPI_ATTR VkResult VKAPI_CALL
vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *v)
{
    v->loaderLayerInterfaceVersion = 2;
    v->pfnGetInstanceProcAddr = our_GetInstanceProcAddr;
    v->pfnGetDeviceProcAddr = our_GetDeviceProcAddr;
    v->pfnGetPhysicalDeviceProcAddr = NULL;
    return VK_SUCCESS;
}
