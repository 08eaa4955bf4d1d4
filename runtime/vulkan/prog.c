// prog.c - programs: command buffers that are recorded once and submitted many times.
//
// Barriers are global (all memory), between the stages in use: compute, or transfer for fills and
// copies. Going from one stage to the other records its own barrier, so that the usual barrier
// stays compute to compute.
#include "vk.h"
#include <stdio.h>
#include <stdlib.h>

enum { COMPUTE = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, TRANSFER = VK_PIPELINE_STAGE_TRANSFER_BIT };

// Room for one more entry of an array that doubles.
static hx_result grow(void **array, int n, int *cap, size_t size)
{
    if (n < *cap)
        return HX_OK;
    int more = *cap ? 2 * *cap : 8;
    void *p = realloc(*array, (size_t)more * size);
    if (!p)
        return hx_fail(HX_E_NOMEM, "no host memory to record a program [E-NOMEM]");
    *array = p;
    *cap = more;
    return HX_OK;
}

static VkCommandBuffer recording(const hx_vk_prog *p)
{
    return p->piece[p->n_piece - 1].cmd;
}

static VkAccessFlags writes_of(VkPipelineStageFlags s)
{
    return (s & COMPUTE ? VK_ACCESS_SHADER_WRITE_BIT : 0) |
           (s & TRANSFER ? VK_ACCESS_TRANSFER_WRITE_BIT : 0);
}

static VkAccessFlags reads_of(VkPipelineStageFlags s)
{
    return (s & COMPUTE ? VK_ACCESS_SHADER_READ_BIT : 0) |
           (s & TRANSFER ? VK_ACCESS_TRANSFER_READ_BIT : 0) |
           (s & VK_PIPELINE_STAGE_HOST_BIT ? VK_ACCESS_HOST_READ_BIT : 0);
}

static void barrier(hx_vk *d, VkCommandBuffer cmd, VkPipelineStageFlags from,
                    VkPipelineStageFlags to)
{
    VkMemoryBarrier m = { VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = writes_of(from),
                          .dstAccessMask = reads_of(to) | writes_of(to) };
    d->fn.vkCmdPipelineBarrier(cmd, from, to, 0, 1, &m, 0, NULL, 0, NULL);
}

void hx_vk_barrier(hx_vk *d, VkCommandBuffer cmd, bool to_host)
{
    barrier(d, cmd, COMPUTE | TRANSFER, to_host ? VK_PIPELINE_STAGE_HOST_BIT : COMPUTE | TRANSFER);
}

// Moves to the stage of the next command.
static void enter(hx_vk_prog *p, VkPipelineStageFlags stage)
{
    if (p->stage != stage)
        barrier((hx_vk *)p->base.dev, recording(p), p->stage, stage);
    p->stage = stage;
}

static void count(hx_vk_prog *p)
{
    p->objects++;
    p->base.dev->stats.objects++;
}

static hx_result piece_begin(hx_vk_prog *p)
{
    hx_vk *d = (hx_vk *)p->base.dev;
    HX_TRY(grow((void **)&p->piece, p->n_piece, &p->cap_piece, sizeof *p->piece));
    hx_vk_piece *piece = &p->piece[p->n_piece];
    *piece = (hx_vk_piece){ 0 };
    VkCommandBufferAllocateInfo info = { VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = p->commands, .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1 };
    HX_VK_TRY(d, d->fn.vkAllocateCommandBuffers(d->dev, &info, &piece->cmd),
              "making a command buffer");
    count(p);
    hx_vk_name(d, VK_OBJECT_TYPE_COMMAND_BUFFER, piece->cmd, p->name);
    VkCommandBufferBeginInfo begin = { VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO };
    HX_VK_TRY(d, d->fn.vkBeginCommandBuffer(piece->cmd, &begin), "recording a program");
    p->n_piece++;
    p->bound = VK_NULL_HANDLE;
    return HX_OK;
}

hx_result hx_vk_prog_new(hx_dev *dev, bool profile, const char *name, hx_prog **out)
{
    hx_vk *d = (hx_vk *)dev;
    *out = NULL;
    HX_TRY(hx_vk_check(d));
    hx_vk_prog *p = calloc(1, sizeof *p);
    if (!p)
        return hx_fail(HX_E_NOMEM, "no host memory for program %s [E-NOMEM]", name);
    p->base = (hx_prog){ dev, profile };
    snprintf(p->name, sizeof p->name, "%s", name);
    VkCommandPoolCreateInfo info = { VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .queueFamilyIndex = d->gpu.family };
    VkResult made = HX_VK_CALL(d->fn.vkCreateCommandPool(d->dev, &info, NULL, &p->commands));
    if (!made)
        count(p);
    hx_result r = made ? hx_vk_fail(d, made, "making a command pool") : piece_begin(p);
    if (r) {
        hx_vk_prog_free(&p->base);
        return r;
    }
    barrier(d, recording(p), COMPUTE | TRANSFER, COMPUTE);
    p->stage = COMPUTE;
    *out = &p->base;
    return HX_OK;
}

// Pools grow with the program; each is twice the one before, up to 1024 sets.
static hx_result pool_new(hx_vk_prog *p, int n_bindings)
{
    hx_vk *d = (hx_vk *)p->base.dev;
    HX_TRY(grow((void **)&p->pool, p->n_pool, &p->cap_pool, sizeof *p->pool));
    int sets = p->n_pool > 5 ? 1024 : 32 << p->n_pool;
    hx_vk_pool pool = { .sets = sets, .bindings = (int)hx_max(sets * 8, n_bindings) };
    VkDescriptorPoolSize size = { VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, (uint32_t)pool.bindings };
    VkDescriptorPoolCreateInfo info = { VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = (uint32_t)pool.sets, .poolSizeCount = 1, .pPoolSizes = &size };
    HX_VK_TRY(d, d->fn.vkCreateDescriptorPool(d->dev, &info, NULL, &pool.pool),
              "making a descriptor pool");
    count(p);
    p->pool[p->n_pool++] = pool;
    return HX_OK;
}

static hx_result set_new(hx_vk_prog *p, const hx_binding *bind, int n, VkDescriptorSet *out)
{
    hx_vk *d = (hx_vk *)p->base.dev;
    hx_vk_pool *pool = p->n_pool ? &p->pool[p->n_pool - 1] : NULL;
    if (!pool || !pool->sets || pool->bindings < n) {
        HX_TRY(pool_new(p, n));
        pool = &p->pool[p->n_pool - 1];
    }
    VkDescriptorSetLayout layout;
    HX_TRY(hx_vk_set_layout(d, n, &layout));
    VkDescriptorSetAllocateInfo info = { VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = pool->pool, .descriptorSetCount = 1, .pSetLayouts = &layout };
    HX_VK_TRY(d, d->fn.vkAllocateDescriptorSets(d->dev, &info, out), "making a descriptor set");
    count(p);
    pool->sets--;
    pool->bindings -= n;

    VkDescriptorBufferInfo range[HX_MAX_BINDINGS];
    for (int i = 0; i < n; i++)
        range[i] = (VkDescriptorBufferInfo){ ((hx_vk_buf *)bind[i].buf)->buffer,
            (VkDeviceSize)bind[i].offset, (VkDeviceSize)bind[i].bytes };
    // bindings of one type follow one another, so one write fills them all
    VkWriteDescriptorSet write = { VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET, .dstSet = *out,
        .descriptorCount = (uint32_t)n, .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
        .pBufferInfo = range };
    if (n)
        d->fn.vkUpdateDescriptorSets(d->dev, 1, &write, 0, NULL);
    return HX_OK;
}

// Start or end of a timed dispatch. Each pool is reset where recording first reaches it.
static hx_result timestamp(hx_vk_prog *p, int query)
{
    hx_vk *d = (hx_vk *)p->base.dev;
    int pool = query / HX_VK_QUERIES;
    if (pool == p->n_query) {
        HX_TRY(grow((void **)&p->query, p->n_query, &p->cap_query, sizeof *p->query));
        VkQueryPoolCreateInfo info = { VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
            .queryType = VK_QUERY_TYPE_TIMESTAMP, .queryCount = HX_VK_QUERIES };
        HX_VK_TRY(d, d->fn.vkCreateQueryPool(d->dev, &info, NULL, &p->query[pool]),
                  "making timestamps");
        count(p);
        p->n_query++;
        d->fn.vkCmdResetQueryPool(recording(p), p->query[pool], 0, HX_VK_QUERIES);
    }
    d->fn.vkCmdWriteTimestamp(recording(p), VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, p->query[pool],
                              (uint32_t)(query % HX_VK_QUERIES));
    return HX_OK;
}

hx_result hx_vk_prog_dispatch(hx_prog *prog, const hx_kernel *k, const hx_binding *bind,
                              const void *push, const uint32_t groups[3])
{
    hx_vk_prog *p = (hx_vk_prog *)prog;
    hx_vk *d = (hx_vk *)prog->dev;
    hx_vk_pipeline *pipe;
    VkDescriptorSet set;
    bool timed = prog->profile && d->gpu.caps.timestamp_ns > 0;
    HX_TRY(hx_vk_check(d));
    HX_TRY(hx_vk_pipeline_get(d, k, &pipe));
    HX_TRY(set_new(p, bind, k->n_bindings, &set));
    VkCommandBuffer cmd = recording(p);
    enter(p, COMPUTE);
    if (p->bound != pipe->pipeline)
        d->fn.vkCmdBindPipeline(cmd, VK_PIPELINE_BIND_POINT_COMPUTE, pipe->pipeline);
    p->bound = pipe->pipeline;
    d->fn.vkCmdBindDescriptorSets(cmd, VK_PIPELINE_BIND_POINT_COMPUTE, pipe->layout, 0, 1, &set, 0,
                                  NULL);
    if (k->push_bytes)
        d->fn.vkCmdPushConstants(cmd, pipe->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                                 (uint32_t)k->push_bytes, push);
    // a timed dispatch runs alone
    if (timed) {
        barrier(d, cmd, COMPUTE, COMPUTE);
        HX_TRY(timestamp(p, 2 * p->n_timed));
    }
    d->fn.vkCmdDispatch(cmd, groups[0], groups[1], groups[2]);
    if (timed)
        HX_TRY(timestamp(p, 2 * p->n_timed++ + 1));
    p->piece[p->n_piece - 1].dispatches++;
    return HX_OK;
}

hx_result hx_vk_prog_barrier(hx_prog *prog)
{
    hx_vk_prog *p = (hx_vk_prog *)prog;
    hx_vk *d = (hx_vk *)prog->dev;
    HX_TRY(hx_vk_check(d));
    if (++d->n_recorded == d->drop_barrier)
        return HX_OK;
    barrier(d, recording(p), p->stage, p->stage);
    p->piece[p->n_piece - 1].barriers++;
    return HX_OK;
}

hx_result hx_vk_prog_fill(hx_prog *prog, hx_binding b, uint32_t word)
{
    hx_vk_prog *p = (hx_vk_prog *)prog;
    hx_vk *d = (hx_vk *)prog->dev;
    HX_TRY(hx_vk_check(d));
    enter(p, TRANSFER);
    d->fn.vkCmdFillBuffer(recording(p), ((hx_vk_buf *)b.buf)->buffer, (VkDeviceSize)b.offset,
                          (VkDeviceSize)hx_align(b.bytes, 4), word);
    return HX_OK;
}

hx_result hx_vk_prog_copy(hx_prog *prog, hx_binding from, hx_binding to)
{
    hx_vk_prog *p = (hx_vk_prog *)prog;
    hx_vk *d = (hx_vk *)prog->dev;
    HX_TRY(hx_vk_check(d));
    enter(p, TRANSFER);
    VkBufferCopy c = { (VkDeviceSize)from.offset, (VkDeviceSize)to.offset,
                       (VkDeviceSize)from.bytes };
    d->fn.vkCmdCopyBuffer(recording(p), ((hx_vk_buf *)from.buf)->buffer,
                          ((hx_vk_buf *)to.buf)->buffer, 1, &c);
    return HX_OK;
}

hx_result hx_vk_prog_cut(hx_prog *prog)
{
    hx_vk_prog *p = (hx_vk_prog *)prog;
    hx_vk *d = (hx_vk *)prog->dev;
    HX_TRY(hx_vk_check(d));
    HX_VK_TRY(d, d->fn.vkEndCommandBuffer(recording(p)), "recording a program");
    return piece_begin(p);
}

hx_result hx_vk_prog_end(hx_prog *prog)
{
    hx_vk_prog *p = (hx_vk_prog *)prog;
    hx_vk *d = (hx_vk *)prog->dev;
    HX_TRY(hx_vk_check(d));
    hx_vk_barrier(d, recording(p), true);
    HX_VK_TRY(d, d->fn.vkEndCommandBuffer(recording(p)), "recording a program");
    return HX_OK;
}

void hx_vk_prog_free(hx_prog *prog)
{
    hx_vk_prog *p = (hx_vk_prog *)prog;
    hx_vk *d = (hx_vk *)prog->dev;
    if (!d->lost && p->ticket)
        hx_vk_wait(&d->base, p->ticket, 0);
    if (d->hung)
        return;
    for (int i = 0; i < p->n_pool; i++)
        d->fn.vkDestroyDescriptorPool(d->dev, p->pool[i].pool, NULL);
    for (int i = 0; i < p->n_query; i++)
        d->fn.vkDestroyQueryPool(d->dev, p->query[i], NULL);
    d->fn.vkDestroyCommandPool(d->dev, p->commands, NULL);
    d->base.stats.objects -= p->objects;
    free(p->piece);
    free(p->pool);
    free(p->query);
    free(p);
}

hx_result hx_vk_prog_times(hx_prog *prog, double *begin, double *ms, int cap, int *n)
{
    hx_vk_prog *p = (hx_vk_prog *)prog;
    hx_vk *d = (hx_vk *)prog->dev;
    uint64_t tick[HX_VK_QUERIES];
    *n = 0;
    HX_TRY(hx_vk_check(d));
    if (!d->gpu.caps.timestamp_ns)
        return hx_fail(HX_E_NODEVICE, "%s has no timestamps [E-VK-TIMESTAMPS]", d->gpu.caps.name);
    while (*n < p->n_timed && *n < cap) {
        int first = 2 * *n / HX_VK_QUERIES * HX_VK_QUERIES;
        int count = (int)hx_min(2 * hx_min(p->n_timed, cap) - first, HX_VK_QUERIES);
        VkResult r = HX_VK_CALL(d->fn.vkGetQueryPoolResults(d->dev,
            p->query[first / HX_VK_QUERIES], 0, (uint32_t)count, (size_t)count * 8, tick, 8,
            VK_QUERY_RESULT_64_BIT));
        if (r == VK_NOT_READY)
            return hx_fail(HX_E_USAGE, "program %s has not finished a run: wait for it before "
                "asking for times [E-VK-TIMES]", p->name);
        if (r)
            return hx_vk_fail(d, r, "reading timestamps");
        for (int i = 0; i < count; i += 2) {
            if (begin)
                begin[*n] = (double)(tick[i] & d->gpu.timestamp_mask) * d->gpu.caps.timestamp_ns * 1e-6;
            ms[(*n)++] = (double)((tick[i + 1] - tick[i]) & d->gpu.timestamp_mask) *
                         d->gpu.caps.timestamp_ns * 1e-6;
        }
    }
    return HX_OK;
}
