// gpu.c - what a physical device can do: limits, capabilities, why it cannot be used, and the
// features that are switched on for it.
#include "vk.h"
#include <stdio.h>
#include <string.h>

// Newer than the headers of Debian 12; values from the Vulkan registry.
enum {
    TYPE_COOPMAT_FEATURES  = 1000506000,
    TYPE_COOPMAT_SHAPE     = 1000506001,
    TYPE_BF16_FEATURES     = 1000141000,
    TYPE_COOPMAT2_FEATURES = 1000593000,
    COMPONENT_FP16 = 0, COMPONENT_FP32 = 1, COMPONENT_BF16 = 1000141000,
    SCOPE_SUBGROUP = 3,
};
typedef struct { VkStructureType sType; void *pNext; VkBool32 on, robust; } coopmat_features;
typedef struct { VkStructureType sType; void *pNext; VkBool32 type, dot, coopmat; } bf16_features;
typedef struct {
    VkStructureType sType;
    void *pNext;
    VkBool32 workgroup, flexible, reductions, conversions, per_element, addressing, block_loads;
} coopmat2_features;
typedef struct {
    VkStructureType sType;
    void *pNext;
    uint32_t m, n, k, a, b, c, result;
    VkBool32 saturating;
    uint32_t scope;
} coopmat_shape;
typedef VkResult (VKAPI_PTR *coopmat_shapes_fn)(VkPhysicalDevice, uint32_t *, coopmat_shape *);

// Every feature struct this device knows, ready for a query or for vkCreateDevice.
typedef struct feature_chain {
    VkPhysicalDeviceFeatures2 top;
    VkPhysicalDeviceVulkan11Features v11;
    VkPhysicalDeviceVulkan12Features v12;
    VkPhysicalDeviceSubgroupSizeControlFeaturesEXT subgroup;
    coopmat_features  coopmat;
    bf16_features     bf16;
    coopmat2_features coopmat2;
} feature_chain;

static void chain_init(feature_chain *c, const hx_vk_gpu *gpu)
{
    *c = (feature_chain){
        .top = { VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, &c->v11 },
        .v11 = { VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, &c->v12 },
        .v12 = { VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES },
        .subgroup = { VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT },
        .coopmat = { (VkStructureType)TYPE_COOPMAT_FEATURES },
        .bf16 = { (VkStructureType)TYPE_BF16_FEATURES },
        .coopmat2 = { (VkStructureType)TYPE_COOPMAT2_FEATURES },
    };
    void **tail = &c->v12.pNext;
    if (gpu->ext_subgroup_size)
        *tail = &c->subgroup, tail = &c->subgroup.pNext;
    if (gpu->ext_coopmat)
        *tail = &c->coopmat, tail = &c->coopmat.pNext;
    if (gpu->ext_bf16)
        *tail = &c->bf16, tail = &c->bf16.pNext;
    if (gpu->ext_coopmat2)
        *tail = &c->coopmat2;
}

static void read_extensions(hx_vk_gpu *gpu)
{
    VkExtensionProperties ext[512];
    uint32_t n = HX_COUNT(ext);
    if (vkEnumerateDeviceExtensionProperties(gpu->phys, NULL, &n, ext) < 0)
        return;
    struct { const char *name; bool *has; } known[] = {
        { VK_EXT_MEMORY_BUDGET_EXTENSION_NAME, &gpu->ext_budget },
        { VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME, &gpu->ext_facts },
        { VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME, &gpu->ext_subgroup_size },
        { "VK_KHR_cooperative_matrix", &gpu->ext_coopmat },
        { "VK_KHR_shader_bfloat16", &gpu->ext_bf16 },
        { "VK_NV_cooperative_matrix2", &gpu->ext_coopmat2 },
    };
    for (uint32_t i = 0; i < n; i++)
        for (int j = 0; j < HX_COUNT(known); j++)
            if (!strcmp(ext[i].extensionName, known[j].name))
                *known[j].has = true;
    // both say what a cooperative matrix may hold and do, so neither means anything without it
    gpu->ext_coopmat2 &= gpu->ext_coopmat;
}

static int64_t clip(uint64_t n)
{
    return n > INT64_MAX ? INT64_MAX : (int64_t)n;
}

// "Mesa 22.3.6 (LLVM 15.0.6)" -> 22003. Mesa's software driver reports version 0.0.1 otherwise.
static uint32_t driver_number(const char *info, uint32_t version)
{
    unsigned major, minor;
    if (sscanf(info, "Mesa %u.%u", &major, &minor) == 2)
        return major * 1000 + minor;
    return VK_API_VERSION_MAJOR(version) * 1000 + VK_API_VERSION_MINOR(version);
}

static hx_dev_type type_of(VkPhysicalDeviceType t)
{
    switch (t) {
    case VK_PHYSICAL_DEVICE_TYPE_CPU:            return HX_DEV_CPU;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return HX_DEV_INTEGRATED;
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:   return HX_DEV_DISCRETE;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:    return HX_DEV_VIRTUAL;
    default:                                     return HX_DEV_OTHER;
    }
}

// Only reads what a device of Vulkan 1.0 has too, so that an old one can be named in the list.
static void read_basics(hx_vk_gpu *gpu)
{
    VkPhysicalDeviceProperties p;
    vkGetPhysicalDeviceProperties(gpu->phys, &p);
    vkGetPhysicalDeviceMemoryProperties(gpu->phys, &gpu->memory);
    memcpy(gpu->cache_uuid, p.pipelineCacheUUID, VK_UUID_SIZE);
    hx_dev_caps *c = &gpu->caps;
    strcpy(c->kind, "vulkan");
    snprintf(c->name, sizeof c->name, "%s", p.deviceName);
    c->type = type_of(p.deviceType);
    c->vendor = p.vendorID;
    c->device = p.deviceID;
    c->driver_version = p.driverVersion;
    c->api_version = p.apiVersion;
    c->max_range = p.limits.maxStorageBufferRange;
    c->offset_align = clip(p.limits.minStorageBufferOffsetAlignment);
    for (int i = 0; i < 3; i++)
        c->max_groups[i] = p.limits.maxComputeWorkGroupCount[i];
    c->max_invocations = (int)hx_min(p.limits.maxComputeWorkGroupInvocations,
                                     p.limits.maxComputeWorkGroupSize[0]);
    c->shared_bytes = (int)hx_min(p.limits.maxComputeSharedMemorySize, INT32_MAX);
    c->push_bytes = (int)hx_min(p.limits.maxPushConstantsSize, INT32_MAX);
    c->flops_guess = c->type == HX_DEV_CPU ? 0 : c->type == HX_DEV_DISCRETE ? 5e12 : 1e12;
    c->timestamp_ns = p.limits.timestampPeriod;
}

// Compute without graphics first: such queues do not wait for a desktop's frames.
static bool read_queue(hx_vk_gpu *gpu)
{
    VkQueueFamilyProperties q[32];
    uint32_t n = HX_COUNT(q);
    vkGetPhysicalDeviceQueueFamilyProperties(gpu->phys, &n, q);
    int best = -1;
    for (uint32_t i = 0; i < n; i++) {
        if (!(q[i].queueFlags & VK_QUEUE_COMPUTE_BIT) || !q[i].queueCount)
            continue;
        if (best < 0 || (!(q[i].queueFlags & VK_QUEUE_GRAPHICS_BIT) &&
                         (q[best].queueFlags & VK_QUEUE_GRAPHICS_BIT)))
            best = (int)i;
    }
    gpu->family = best < 0 ? 0 : (uint32_t)best;
    uint32_t bits = best < 0 ? 0 : q[best].timestampValidBits;
    gpu->timestamp_mask = bits >= 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
    if (!bits)
        gpu->caps.timestamp_ns = 0;
    return best >= 0;
}

static void read_properties(hx_vk_gpu *gpu)
{
    VkPhysicalDeviceMaintenance4Properties m4 = {
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES };
    VkPhysicalDeviceSubgroupSizeControlPropertiesEXT sizes = {
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES_EXT, .pNext = NULL };
    VkPhysicalDeviceVulkan12Properties v12 = {
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES };
    VkPhysicalDeviceVulkan11Properties v11 = {
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES, &v12 };
    VkPhysicalDeviceProperties2 p = { VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, &v11 };
    void **tail = &v12.pNext;
    bool has_m4 = gpu->caps.api_version >= VK_API_VERSION_1_3;
    if (gpu->ext_subgroup_size)
        *tail = &sizes, tail = &sizes.pNext;
    if (has_m4)
        *tail = &m4;
    vkGetPhysicalDeviceProperties2(gpu->phys, &p);
    hx_dev_caps *c = &gpu->caps;
    memcpy(c->uuid, v11.deviceUUID, sizeof c->uuid);
    snprintf(c->driver, sizeof c->driver, "%.120s%s%.120s", v12.driverName,
             v12.driverInfo[0] ? " " : "", v12.driverInfo);
    gpu->driver_id = v12.driverID;
    gpu->driver_number = driver_number(v12.driverInfo, c->driver_version);
    gpu->max_alloc = clip(v11.maxMemoryAllocationSize);
    c->max_buffer = has_m4 ? hx_min(clip(m4.maxBufferSize), gpu->max_alloc) : gpu->max_alloc;
    c->max_range = hx_min(c->max_range, c->max_buffer);
    c->subgroup_min = (int)(gpu->ext_subgroup_size ? sizes.minSubgroupSize : v11.subgroupSize);
    c->subgroup_max = (int)(gpu->ext_subgroup_size ? sizes.maxSubgroupSize : v11.subgroupSize);
    VkSubgroupFeatureFlags ops = VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_ARITHMETIC_BIT
                                 | VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
    if ((v11.subgroupSupportedOperations & ops) == ops &&
        (v11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT))
        c->has |= HX_CAP_SUBGROUP;
    if (c->shared_bytes >= 48 << 10)
        c->has |= HX_CAP_SHARED48;
    if (c->shared_bytes >= 64 << 10)
        c->has |= HX_CAP_SHARED64;
    if (c->max_invocations >= 1024)
        c->has |= HX_CAP_WIDE;
    if (c->type != HX_DEV_CPU)
        c->has |= HX_CAP_GPU;
    else if ((c->has & HX_CAP_SUBGROUP) && c->subgroup_min >= 8)
        c->has |= HX_CAP_LANES;
}

// Does the device multiply matrices of type `in` and add up in fp32, a subgroup at a time? Then mnk
// gets the largest of its shapes that divide 16 x 16 x 16, which kernels' tiles are made of.
static bool find_shape(VkInstance instance, const hx_vk_gpu *gpu, uint32_t in, uint32_t mnk[3])
{
    coopmat_shape shape[256];
    uint32_t n = HX_COUNT(shape);
    coopmat_shapes_fn get = (coopmat_shapes_fn)(void (*)(void))vkGetInstanceProcAddr(instance,
        "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    for (uint32_t i = 0; i < n; i++)
        shape[i] = (coopmat_shape){ (VkStructureType)TYPE_COOPMAT_SHAPE };
    if (!get || get(gpu->phys, &n, shape) < 0)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        const coopmat_shape *s = &shape[i];
        bool fits = s->m && s->n && s->k && !(16 % s->m) && !(16 % s->n) && !(16 % s->k) &&
                    s->n >= 4 && s->k >= 8;
        if (fits && s->a == in && s->b == in && s->c == COMPONENT_FP32 &&
            s->result == COMPONENT_FP32 && s->scope == SCOPE_SUBGROUP && !s->saturating &&
            s->m * s->n * s->k > mnk[0] * mnk[1] * mnk[2])
            memcpy(mnk, (uint32_t[]){ s->m, s->n, s->k }, 3 * sizeof *mnk);
    }
    return mnk[0] > 0;
}

static void read_features(VkInstance instance, hx_vk_gpu *gpu, bool *timeline)
{
    feature_chain f;
    chain_init(&f, gpu);
    vkGetPhysicalDeviceFeatures2(gpu->phys, &f.top);
    uint32_t *has = &gpu->caps.has;
    *timeline = f.v12.timelineSemaphore;
    gpu->full_subgroups = f.subgroup.computeFullSubgroups && f.subgroup.subgroupSizeControl;
    gpu->memory_model = f.v12.vulkanMemoryModel;
    if (f.v11.storageBuffer16BitAccess)
        *has |= HX_CAP_STORE16;
    if (f.v11.storageBuffer16BitAccess && f.v12.shaderFloat16)
        *has |= HX_CAP_FP16;
    if (!f.coopmat.on || !gpu->memory_model || !(*has & HX_CAP_FP16))
        return;
    if (find_shape(instance, gpu, COMPONENT_FP16, gpu->caps.matrix[HX_FP16 - HX_BF16]))
        *has |= HX_CAP_COOPMAT;
    if (f.bf16.type && f.bf16.coopmat &&
        find_shape(instance, gpu, COMPONENT_BF16, gpu->caps.matrix[0]))
        *has |= HX_CAP_COOPMAT_BF;
    if (*has & (HX_CAP_COOPMAT | HX_CAP_COOPMAT_BF))
        *has |= HX_CAP_FACTORS;
    if (f.coopmat2.workgroup && f.coopmat2.flexible && f.coopmat2.reductions &&
        f.coopmat2.conversions && f.coopmat2.per_element && f.coopmat2.addressing &&
        f.coopmat2.block_loads)
        *has |= HX_CAP_COOPMAT2;
}

// performance.md's ladder: each rung needs the ones below. T5 (matrix 2 without workgroup scope)
// has no kernel rows of its own, so it is not told apart from T4.
static int tier(uint32_t has)
{
    if (!(has & HX_CAP_STORE16))
        return 0;
    if (!(has & HX_CAP_FP16))
        return 1;
    if (!(has & HX_CAP_COOPMAT))
        return 2;
    if (!(has & HX_CAP_COOPMAT_BF))
        return 3;
    return has & HX_CAP_COOPMAT2 ? 6 : 4;
}

// The floor that every kernel may assume; the first limit below it is the reason.
static void check_floor(hx_vk_gpu *gpu, bool queue, bool timeline)
{
    const hx_dev_caps *c = &gpu->caps;
    VkPhysicalDeviceProperties p;
    vkGetPhysicalDeviceProperties(gpu->phys, &p);
    struct { const char *what; int64_t has, least; } floor[] = {
        { "queues that compute", queue, 1 },
        { "timeline semaphores", timeline, 1 },
        { "invocations a workgroup", c->max_invocations, 256 },
        { "bytes of shared memory", c->shared_bytes, 32 << 10 },
        { "bytes of push constants", c->push_bytes, HX_MAX_PUSH },
        { "workgroups in x", c->max_groups[0], 65535 },
        { "workgroups in y", c->max_groups[1], 65535 },
        { "storage buffers a shader", p.limits.maxPerStageDescriptorStorageBuffers,
          HX_MAX_BINDINGS },
        { "storage buffers a set", p.limits.maxDescriptorSetStorageBuffers, HX_MAX_BINDINGS },
        { "bytes in one binding", c->max_range, 1 << 27 },
    };
    for (int i = 0; i < HX_COUNT(floor); i++)
        if (floor[i].has < floor[i].least) {
            snprintf(gpu->why_not, sizeof gpu->why_not, "%s: it has %lld, %lld are needed",
                     floor[i].what, (long long)floor[i].has, (long long)floor[i].least);
            return;
        }
    if (c->offset_align > 256)
        snprintf(gpu->why_not, sizeof gpu->why_not, "alignment of buffer offsets: it needs %lld "
                 "bytes, at most 256 are given", (long long)c->offset_align);
}

void hx_vk_gpu_read(VkInstance instance, VkPhysicalDevice phys, hx_vk_gpu *gpu)
{
    *gpu = (hx_vk_gpu){ .phys = phys };
    bool timeline = false;
    read_basics(gpu);
    bool queue = read_queue(gpu);
    uint32_t api = gpu->caps.api_version;
    if (api < VK_API_VERSION_1_2) {
        snprintf(gpu->why_not, sizeof gpu->why_not, "Vulkan version: it has %u.%u, 1.2 is needed",
                 VK_API_VERSION_MAJOR(api), VK_API_VERSION_MINOR(api));
        return;
    }
    read_extensions(gpu);
    read_properties(gpu);
    read_features(instance, gpu, &timeline);
    int type = hx_vk_gpu_memory_type(gpu, HX_BUF_DEVICE, UINT32_MAX);
    if (type >= 0)
        gpu->caps.memory_bytes =
            clip(gpu->memory.memoryHeaps[gpu->memory.memoryTypes[type].heapIndex].size);
    hx_vk_quirks(gpu);
    gpu->caps.tier = tier(gpu->caps.has);
    check_floor(gpu, queue, timeline);
}

VkResult hx_vk_gpu_open(const hx_vk_gpu *gpu, bool facts, VkDevice *out)
{
    uint32_t has = gpu->caps.has;
    bool coopmat = has & (HX_CAP_COOPMAT | HX_CAP_COOPMAT_BF | HX_CAP_COOPMAT2);
    const char *ext[8];
    uint32_t n_ext = 0;
    hx_vk_gpu used = *gpu;
    used.ext_coopmat = coopmat;
    used.ext_bf16 = has & HX_CAP_COOPMAT_BF;
    used.ext_coopmat2 = has & HX_CAP_COOPMAT2;
    used.ext_subgroup_size = coopmat && gpu->full_subgroups;
    if (gpu->ext_budget)
        ext[n_ext++] = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME;
    if (used.ext_subgroup_size)
        ext[n_ext++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
    if (used.ext_coopmat)
        ext[n_ext++] = "VK_KHR_cooperative_matrix";
    if (used.ext_bf16)
        ext[n_ext++] = "VK_KHR_shader_bfloat16";
    if (used.ext_coopmat2)
        ext[n_ext++] = "VK_NV_cooperative_matrix2";
    if (facts)
        ext[n_ext++] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;

    feature_chain f;
    chain_init(&f, &used);
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR tells = {
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pNext = f.top.pNext, .pipelineExecutableInfo = VK_TRUE };
    if (facts)
        f.top.pNext = &tells;
    f.v11.storageBuffer16BitAccess = !!(has & HX_CAP_STORE16);
    f.v12.shaderFloat16 = !!(has & HX_CAP_FP16);
    f.v12.timelineSemaphore = VK_TRUE;
    f.v12.vulkanMemoryModel = coopmat;
    f.subgroup.subgroupSizeControl = f.subgroup.computeFullSubgroups = used.ext_subgroup_size;
    f.coopmat.on = coopmat;
    f.bf16.type = f.bf16.coopmat = used.ext_bf16;
    f.coopmat2.workgroup = f.coopmat2.flexible = f.coopmat2.reductions = f.coopmat2.conversions =
        f.coopmat2.per_element = f.coopmat2.addressing = f.coopmat2.block_loads = used.ext_coopmat2;

    float priority = 1;
    VkDeviceQueueCreateInfo queue = { VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = gpu->family, .queueCount = 1, .pQueuePriorities = &priority };
    VkDeviceCreateInfo info = { VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, &f.top,
        .queueCreateInfoCount = 1, .pQueueCreateInfos = &queue,
        .enabledExtensionCount = n_ext, .ppEnabledExtensionNames = ext };
    return HX_VK_CALL(vkCreateDevice(gpu->phys, &info, NULL, out));
}

// Preference for a type that has every needed flag; larger is better.
static int rate(const hx_vk_gpu *gpu, hx_buf_kind kind, const VkMemoryType *t)
{
    VkMemoryPropertyFlags f = t->propertyFlags;
    bool local = f & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    bool visible = f & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT;
    bool coherent = f & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    bool cached = f & VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    bool small = gpu->memory.memoryHeaps[t->heapIndex].size <= 256u << 20;
    bool apart = gpu->caps.type == HX_DEV_DISCRETE || gpu->caps.type == HX_DEV_VIRTUAL;
    switch (kind) {
    case HX_BUF_DEVICE:     // memory that is the GPU's alone; memory that is shared anyway: mapped
        return 16 * local + 8 * !small + 4 * (visible != apart) + 2 * coherent + cached;
    case HX_BUF_UP:         // across the bus only into a window that is all of the memory
        return !visible ? -1 : 4 * (local && !small) + 2 * coherent + !cached;
    default:
        return !visible ? -1 : 4 * cached + 2 * coherent + !local;
    }
}

int hx_vk_gpu_memory_type(const hx_vk_gpu *gpu, hx_buf_kind kind, uint32_t allowed)
{
    int best = -1, best_rate = -1;
    const VkMemoryPropertyFlags plain = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT |
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT |
        VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    for (uint32_t i = 0; i < gpu->memory.memoryTypeCount; i++) {
        const VkMemoryType *t = &gpu->memory.memoryTypes[i];
        if (!(allowed >> i & 1) || (t->propertyFlags & ~plain))
            continue;
        int r = rate(gpu, kind, t);
        if (r > best_rate)
            best = (int)i, best_rate = r;
    }
    return best;
}
