// pipeline.c - compute pipelines, made once for each kernel and its specialization constants.
#include "vk.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static uint64_t hash_of(const hx_kernel *k)
{
    uint64_t h = XXH3_64bits(k->name, strlen(k->name));
    h = XXH3_64bits_withSeed(&k->spirv, sizeof k->spirv, h);
    return XXH3_64bits_withSeed(k->spec, (size_t)k->n_spec * sizeof *k->spec, h);
}

static bool same(const hx_kernel *a, const hx_kernel *b)
{
    return a->spirv == b->spirv && a->n_bindings == b->n_bindings &&
           a->push_bytes == b->push_bytes && a->n_spec == b->n_spec &&
           !memcmp(a->spec, b->spec, (size_t)a->n_spec * sizeof *a->spec) &&
           !strcmp(a->name, b->name);
}

// A module that disagrees with its kernel record, or asks for more than the device has, would
// compute nonsense or lose the device: it is refused here.
static hx_result check(const hx_vk *d, const hx_kernel *k, hx_reflect *r)
{
    const hx_dev_caps *c = &d->gpu.caps;
    if (!k->spirv)
        return hx_fail(HX_E_NODEVICE, "kernel %s has no shader: it runs on the host device only "
            "[E-KERNEL]", k->name);
    HX_TRY(hx_reflect_spirv(k->name, k->spirv, k->n_words, k->spec, k->n_spec, r));
    if (r->n_binding > k->n_bindings)
        return hx_fail(HX_E_INTERNAL, "kernel %s: its shader has %d buffers, its record %d "
            "[E-KERNEL]", k->name, r->n_binding, k->n_bindings);
    if (r->push_bytes > k->push_bytes)
        return hx_fail(HX_E_INTERNAL, "kernel %s: its shader has %d bytes of push constants, its "
            "record %d [E-KERNEL]", k->name, r->push_bytes, k->push_bytes);
    for (int i = 0; i < r->n_binding; i++)
        if (r->binding[i].present && r->binding[i].readonly && (k->writes >> i & 1))
            return hx_fail(HX_E_INTERNAL, "kernel %s: buffer %s is written by its record and "
                "readonly in its shader [E-KERNEL]", k->name, r->binding[i].name);
    int64_t local = (int64_t)r->local[0] * r->local[1] * r->local[2];
    if (local > c->max_invocations)
        return hx_fail(HX_E_NODEVICE, "kernel %s needs %lld invocations a workgroup, %s has %d "
            "[E-KERNEL]", k->name, (long long)local, c->name, c->max_invocations);
    if (r->shared_bytes > c->shared_bytes)
        return hx_fail(HX_E_NODEVICE, "kernel %s needs %lld bytes of shared memory, %s has %d "
            "[E-KERNEL]", k->name, (long long)r->shared_bytes, c->name, c->shared_bytes);
    return HX_OK;
}

hx_result hx_vk_set_layout(hx_vk *d, int n, VkDescriptorSetLayout *out)
{
    VkDescriptorSetLayoutBinding b[HX_MAX_BINDINGS];
    for (int i = 0; i < n; i++)
        b[i] = (VkDescriptorSetLayoutBinding){ (uint32_t)i, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1,
                                               VK_SHADER_STAGE_COMPUTE_BIT, NULL };
    VkDescriptorSetLayoutCreateInfo info = {
        VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO, .bindingCount = (uint32_t)n,
        .pBindings = b };
    if (!d->set_layout[n])
        HX_VK_TRY(d, d->fn.vkCreateDescriptorSetLayout(d->dev, &info, NULL, &d->set_layout[n]),
                  "making a descriptor layout");
    *out = d->set_layout[n];
    return HX_OK;
}

static hx_result make_layout(hx_vk *d, const hx_kernel *k, VkPipelineLayout *out)
{
    VkDescriptorSetLayout set;
    HX_TRY(hx_vk_set_layout(d, k->n_bindings, &set));
    VkPushConstantRange push = { VK_SHADER_STAGE_COMPUTE_BIT, 0, (uint32_t)k->push_bytes };
    VkPipelineLayoutCreateInfo info = { VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1, .pSetLayouts = &set,
        .pushConstantRangeCount = k->push_bytes > 0, .pPushConstantRanges = &push };
    HX_VK_TRY(d, d->fn.vkCreatePipelineLayout(d->dev, &info, NULL, out),
              "making a pipeline layout");
    return HX_OK;
}

static hx_result make_pipeline(hx_vk *d, const hx_kernel *k, const hx_reflect *r,
                               VkPipelineLayout layout, VkPipeline *out)
{
    VkSpecializationMapEntry entry[HX_MAX_SPEC];
    for (int i = 0; i < k->n_spec; i++)
        entry[i] = (VkSpecializationMapEntry){ (uint32_t)i, (uint32_t)i * 4, 4 };
    VkSpecializationInfo spec = { (uint32_t)k->n_spec, entry, (size_t)k->n_spec * 4, k->spec };
    VkShaderModuleCreateInfo code = { VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = k->n_words * 4, .pCode = k->spirv };
    VkShaderModule module;
    HX_VK_TRY(d, d->fn.vkCreateShaderModule(d->dev, &code, NULL, &module), "loading a shader");
    // matrix units work on whole subgroups
    bool full = r->coopmat && d->gpu.full_subgroups;
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfoEXT size = {
        VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO_EXT,
        .requiredSubgroupSize = (uint32_t)d->gpu.caps.subgroup_max };
    bool varies = d->gpu.caps.subgroup_min != d->gpu.caps.subgroup_max;
    VkComputePipelineCreateInfo info = { VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = d->compile_only && d->gpu.ext_facts ? VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR : 0,
        .layout = layout, .stage = { VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
            .pNext = full && varies ? &size : NULL,
            .flags = full ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT_EXT : 0,
            .stage = VK_SHADER_STAGE_COMPUTE_BIT, .module = module, .pName = "main",
            .pSpecializationInfo = &spec } };
    VkResult made = HX_VK_CALL(d->fn.vkCreateComputePipelines(d->dev, d->cache, 1, &info, NULL,
                                                              out));
    d->fn.vkDestroyShaderModule(d->dev, module, NULL);
    char what[96];
    snprintf(what, sizeof what, "compiling kernel %.64s", k->name);
    return made ? hx_vk_fail(d, made, what) : HX_OK;
}

static void pipeline_free(hx_vk *d, hx_vk_pipeline *p)
{
    d->fn.vkDestroyPipeline(d->dev, p->pipeline, NULL);
    d->fn.vkDestroyPipelineLayout(d->dev, p->layout, NULL);
    free(p);
}

hx_result hx_vk_pipeline_get(hx_vk *d, const hx_kernel *k, hx_vk_pipeline **out)
{
    uint64_t hash = hash_of(k);
    hx_vk_pipeline **bucket = &d->pipelines[hash % HX_VK_BUCKETS];
    for (hx_vk_pipeline *p = *bucket; p; p = p->next)
        if (p->hash == hash && same(&p->kernel, k)) {
            *out = p;
            return HX_OK;
        }
    hx_reflect r;
    HX_TRY(check(d, k, &r));
    hx_vk_pipeline *p = calloc(1, sizeof *p);
    if (!p)
        return hx_fail(HX_E_NOMEM, "no host memory for kernel %s [E-NOMEM]", k->name);
    p->hash = hash;
    p->kernel = *k;
    hx_result made = make_layout(d, k, &p->layout);
    if (!made)
        made = make_pipeline(d, k, &r, p->layout, &p->pipeline);
    if (made) {
        pipeline_free(d, p);
        return made;
    }
    hx_vk_name(d, VK_OBJECT_TYPE_PIPELINE, p->pipeline, k->name);
    d->base.stats.objects += 2;            // with its layout
    p->next = *bucket;
    *bucket = *out = p;
    return HX_OK;
}

static double number_of(const VkPipelineExecutableStatisticKHR *s)
{
    switch (s->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR: return s->value.b32;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR: return (double)s->value.i64;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR: return (double)s->value.u64;
    default: return s->value.f64;
    }
}

hx_result hx_vk_facts(hx_dev *dev, const hx_kernel *k, hx_fact *out, int cap, int *n)
{
    hx_vk *d = (hx_vk *)dev;
    hx_vk_pipeline *p;
    HX_TRY(hx_vk_pipeline_get(d, k, &p));
    if (!d->compile_only || !d->gpu.ext_facts)
        return HX_OK;
    // a compute pipeline is one executable
    VkPipelineExecutableInfoKHR one = { VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
        .pipeline = p->pipeline };
    VkPipelineExecutableStatisticKHR s[64];
    uint32_t count = HX_COUNT(s);
    for (uint32_t i = 0; i < count; i++)
        s[i] = (VkPipelineExecutableStatisticKHR){
            VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR };
    VkResult r = HX_VK_CALL(d->fn.vkGetPipelineExecutableStatisticsKHR(d->dev, &one, &count, s));
    if (r != VK_SUCCESS && r != VK_INCOMPLETE)
        return hx_vk_fail(d, r, "asking about a kernel");
    for (uint32_t i = 0; i < count && *n < cap; i++) {
        hx_fact *f = &out[(*n)++];
        snprintf(f->name, sizeof f->name, "%s", s[i].name);
        f->value = number_of(&s[i]);
    }
    return HX_OK;
}

void hx_vk_pipelines_done(hx_vk *d)
{
    for (int i = 0; i < HX_VK_BUCKETS; i++)
        while (d->pipelines[i]) {
            hx_vk_pipeline *p = d->pipelines[i];
            d->pipelines[i] = p->next;
            pipeline_free(d, p);
        }
    for (int i = 0; i <= HX_MAX_BINDINGS; i++)
        d->fn.vkDestroyDescriptorSetLayout(d->dev, d->set_layout[i], NULL);
}
