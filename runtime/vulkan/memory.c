// memory.c - buffers from a few large blocks of device memory.
//
// Each block keeps its free ranges sorted; the first that is large enough is taken. Places and
// sizes are multiples of 256 bytes, which satisfies every alignment Vulkan 1.2 allows drivers to
// ask of buffers and of flushes.
#include "vk.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 256, STAGE_BYTES = 16 << 20 };

static const char *const kind_names[] = { "device", "upload", "download" };

static double mib(int64_t bytes)
{
    return (double)bytes / (1 << 20);
}

// ---- ranges ------------------------------------------------------------------------------

static bool range_insert(hx_vk_block *b, int at, hx_vk_range r)
{
    if (b->n_free == b->cap_free) {
        int cap = b->cap_free ? 2 * b->cap_free : 16;
        hx_vk_range *more = realloc(b->free, (size_t)cap * sizeof *more);
        if (!more)
            return false;
        b->free = more;
        b->cap_free = cap;
    }
    memmove(b->free + at + 1, b->free + at, (size_t)(b->n_free++ - at) * sizeof *b->free);
    b->free[at] = r;
    return true;
}

static void range_remove(hx_vk_block *b, int at)
{
    memmove(b->free + at, b->free + at + 1, (size_t)(--b->n_free - at) * sizeof *b->free);
}

// First fit; false when no free range is large enough. `align` is a power of two >= ALIGN.
static bool range_take(hx_vk_block *b, int64_t bytes, int64_t align, hx_vk_range *out)
{
    for (int i = 0; i < b->n_free; i++) {
        hx_vk_range f = b->free[i];
        int64_t at = hx_align(f.at, align), end = f.at + f.bytes;
        if (end - at < bytes)
            continue;
        hx_vk_range before = { f.at, at - f.at }, after = { at + bytes, end - at - bytes };
        if (before.bytes && after.bytes && !range_insert(b, i, before))
            return false;
        if (before.bytes && after.bytes)
            b->free[i + 1] = after;
        else if (before.bytes || after.bytes)
            b->free[i] = before.bytes ? before : after;
        else
            range_remove(b, i);
        *out = (hx_vk_range){ at, bytes };
        return true;
    }
    return false;
}

// Gives a range back and joins it with its free neighbours.
static void range_give(hx_vk_block *b, hx_vk_range r)
{
    int i = 0;
    while (i < b->n_free && b->free[i].at < r.at)
        i++;
    bool left = i > 0 && b->free[i - 1].at + b->free[i - 1].bytes == r.at;
    bool right = i < b->n_free && r.at + r.bytes == b->free[i].at;
    if (left && right) {
        b->free[i - 1].bytes += r.bytes + b->free[i].bytes;
        range_remove(b, i);
    } else if (left) {
        b->free[i - 1].bytes += r.bytes;
    } else if (right) {
        b->free[i].at = r.at;
        b->free[i].bytes += r.bytes;
    } else if (!range_insert(b, i, r)) {
        hx_log(HX_LOG_WARN, "no host memory to remember %.1f MiB of free device memory",
               mib(r.bytes));
    }
}

// ---- blocks ------------------------------------------------------------------------------

static uint32_t heap_of(const hx_vk *d, uint32_t type)
{
    return d->gpu.memory.memoryTypes[type].heapIndex;
}

// Bytes that can still be had from a heap: what the driver says is left to this process, or
// else the heap less what we took.
static int64_t heap_free(hx_vk *d, uint32_t heap)
{
    int64_t left = (int64_t)hx_min((int64_t)(d->gpu.memory.memoryHeaps[heap].size >> 1),
                                   INT64_MAX / 2) * 2 - d->heap_used[heap];
    if (d->gpu.ext_budget) {
        VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
            VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT };
        VkPhysicalDeviceMemoryProperties2 m = {
            VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, &budget };
        vkGetPhysicalDeviceMemoryProperties2(d->gpu.phys, &m);
        left = hx_min(left, (int64_t)budget.heapBudget[heap] - (int64_t)budget.heapUsage[heap]);
    }
    return hx_max(left, 0);
}

// Largest buffer that would still fit: a free range of a block, or a new block.
static int64_t largest_fit(hx_vk *d, uint32_t type)
{
    int64_t best = hx_min(heap_free(d, heap_of(d, type)), d->gpu.max_alloc);
    for (hx_vk_block *b = d->blocks; b; b = b->next)
        for (int i = 0; b->type == type && i < b->n_free; i++)
            best = hx_max(best, b->free[i].bytes);
    return hx_min(best, d->gpu.caps.max_buffer) / ALIGN * ALIGN;
}

static void block_free(hx_vk *d, hx_vk_block *b)
{
    for (hx_vk_block **at = &d->blocks; *at; at = &(*at)->next)
        if (*at == b) {
            *at = b->next;
            break;
        }
    d->heap_used[heap_of(d, b->type)] -= b->bytes;
    d->fn.vkFreeMemory(d->dev, b->memory, NULL);
    d->base.stats.objects--;
    free(b->free);
    free(b);
}

static hx_result block_new(hx_vk *d, uint32_t type, int64_t bytes, hx_vk_block **out)
{
    uint32_t heap = heap_of(d, type);
    *out = NULL;
    if (bytes > d->gpu.max_alloc || bytes > heap_free(d, heap))
        return HX_E_NOMEM;
    hx_vk_block *b = calloc(1, sizeof *b);
    if (!b || !range_insert(b, 0, (hx_vk_range){ 0, bytes })) {
        free(b);
        return hx_fail(HX_E_NOMEM, "no host memory for a block of device memory [E-NOMEM]");
    }
    b->type = type;
    b->bytes = bytes;
    VkMemoryAllocateInfo info = { VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .allocationSize = (VkDeviceSize)bytes, .memoryTypeIndex = type };
    VkMemoryPropertyFlags flags = d->gpu.memory.memoryTypes[type].propertyFlags;
    VkResult r = HX_VK_CALL(d->fn.vkAllocateMemory(d->dev, &info, NULL, &b->memory));
    if (!r && (flags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT)) {
        r = HX_VK_CALL(d->fn.vkMapMemory(d->dev, b->memory, 0, VK_WHOLE_SIZE, 0,
                                         (void **)&b->map));
        if (r)
            d->fn.vkFreeMemory(d->dev, b->memory, NULL);
    }
    if (r) {
        free(b->free);
        free(b);
        return hx_vk_fail(d, r, "allocating memory");
    }
    d->base.stats.objects++;
    d->heap_used[heap] += bytes;
    b->next = d->blocks;
    d->blocks = b;
    *out = b;
    return HX_OK;
}

// Space for a buffer: in a block of this type, in a new block, or in one of just its size.
static hx_result place_new(hx_vk *d, uint32_t type, int64_t bytes, int64_t align, hx_buf_kind kind,
                           hx_vk_buf *b)
{
    for (b->block = d->blocks; b->block; b->block = b->block->next)
        if (b->block->type == type && range_take(b->block, bytes, align, &b->place))
            return HX_OK;
    int64_t heap = (int64_t)(d->gpu.memory.memoryHeaps[heap_of(d, type)].size >> 4);
    int64_t usual = kind == HX_BUF_DEVICE ? 256 << 20 : 16 << 20;
    usual = hx_min(hx_min(usual, heap), d->gpu.max_alloc) / ALIGN * ALIGN;
    hx_result r = HX_E_NOMEM;
    if (bytes < usual)
        r = block_new(d, type, usual, &b->block);
    if (r == HX_E_NOMEM)
        r = block_new(d, type, bytes, &b->block);
    if (r)
        return r;
    return range_take(b->block, bytes, align, &b->place) ? HX_OK : HX_E_NOMEM;
}

// ---- buffers -----------------------------------------------------------------------------

// Ranges of memory that is not coherent are moved in whole multiples of ALIGN.
static hx_result sync_map(hx_vk_buf *b, int64_t offset, int64_t bytes, bool to_device)
{
    hx_vk *d = (hx_vk *)b->base.dev;
    if (b->coherent)
        return HX_OK;
    int64_t from = (b->place.at + offset) / ALIGN * ALIGN;
    int64_t to = hx_align(b->place.at + offset + bytes, ALIGN);
    VkMappedMemoryRange r = { VK_STRUCTURE_TYPE_MAPPED_MEMORY_RANGE, .memory = b->block->memory,
        .offset = (VkDeviceSize)from, .size = (VkDeviceSize)(to - from) };
    HX_VK_TRY(d, to_device ? d->fn.vkFlushMappedMemoryRanges(d->dev, 1, &r)
                           : d->fn.vkInvalidateMappedMemoryRanges(d->dev, 1, &r),
              "exchanging memory with the host");
    return HX_OK;
}

static hx_result zero(hx_vk_buf *b)
{
    hx_vk *d = (hx_vk *)b->base.dev;
    if (b->map) {
        memset(b->map, 0, (size_t)b->base.bytes);
        return sync_map(b, 0, b->base.bytes, true);
    }
    VkCommandBuffer cmd;
    HX_TRY(hx_vk_once_begin(d, &cmd));
    d->fn.vkCmdFillBuffer(cmd, b->buffer, 0, VK_WHOLE_SIZE, 0);
    return hx_vk_once_end(d);
}

static hx_result no_memory(hx_vk *d, const char *name, int64_t bytes, hx_buf_kind kind,
                           uint32_t type)
{
    int64_t total = (int64_t)d->gpu.memory.memoryHeaps[heap_of(d, type)].size;
    return hx_fail(HX_E_NOMEM, "%s: buffer %s needs %.1f MiB of %s memory; %.1f of %.1f MiB are "
        "free and at most %.1f MiB would fit: make the batch, the sequence or the model smaller "
        "[E-VK-NOMEM]", d->gpu.caps.name, name, mib(bytes), kind_names[kind],
        mib(heap_free(d, heap_of(d, type))), mib(total), mib(largest_fit(d, type)));
}

static hx_result bind_new(hx_vk *d, hx_vk_buf *b, const char *name)
{
    hx_buf_kind kind = b->base.kind;
    VkBufferCreateInfo info = { VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = (VkDeviceSize)hx_align(b->base.bytes, 4),
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT };
    HX_VK_TRY(d, d->fn.vkCreateBuffer(d->dev, &info, NULL, &b->buffer), "making a buffer");
    d->base.stats.objects++;
    hx_vk_name(d, VK_OBJECT_TYPE_BUFFER, b->buffer, name);
    VkMemoryRequirements need;
    d->fn.vkGetBufferMemoryRequirements(d->dev, b->buffer, &need);
    int type = hx_vk_gpu_memory_type(&d->gpu, kind, need.memoryTypeBits);
    if (type < 0)
        return hx_fail(HX_E_NODEVICE, "%s: it has no memory for %s buffers [E-VK-MEMTYPE]",
                       d->gpu.caps.name, kind_names[kind]);
    int64_t bytes = hx_align((int64_t)need.size, ALIGN);
    int64_t align = hx_max((int64_t)need.alignment, ALIGN);
    hx_result r = place_new(d, (uint32_t)type, bytes, align, kind, b);
    if (r == HX_E_NOMEM)
        return no_memory(d, name, b->base.bytes, kind, (uint32_t)type);
    if (r)
        return r;
    HX_VK_TRY(d, d->fn.vkBindBufferMemory(d->dev, b->buffer, b->block->memory,
                                          (VkDeviceSize)b->place.at), "placing a buffer");
    b->map = b->block->map ? b->block->map + b->place.at : NULL;
    b->coherent = d->gpu.memory.memoryTypes[type].propertyFlags &
                  VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    return zero(b);
}

hx_result hx_vk_buf_new(hx_dev *dev, int64_t bytes, hx_buf_kind kind, const char *name,
                        hx_buf **out)
{
    hx_vk *d = (hx_vk *)dev;
    *out = NULL;
    HX_TRY(hx_vk_check(d));
    if (bytes > d->gpu.caps.max_buffer) {
        int type = hx_vk_gpu_memory_type(&d->gpu, kind, UINT32_MAX);
        return no_memory(d, name, bytes, kind, (uint32_t)hx_max(type, 0));
    }
    hx_vk_buf *b = calloc(1, sizeof *b);
    if (!b)
        return hx_fail(HX_E_NOMEM, "no host memory for buffer %s [E-NOMEM]", name);
    b->base = (hx_buf){ dev, bytes, kind };
    hx_result r = bind_new(d, b, name);
    if (b->place.bytes) {
        hx_dev_stats *s = &d->base.stats;
        s->bytes_now += b->place.bytes;
        s->bytes_peak = hx_max(s->bytes_peak, s->bytes_now);
    }
    if (r) {
        hx_vk_buf_free(&b->base);
        return r;
    }
    *out = &b->base;
    return HX_OK;
}

void hx_vk_buf_free(hx_buf *buf)
{
    hx_vk_buf *b = (hx_vk_buf *)buf;
    hx_vk *d = (hx_vk *)buf->dev;
    if (d->hung)
        return;
    if (b->buffer) {
        d->fn.vkDestroyBuffer(d->dev, b->buffer, NULL);
        d->base.stats.objects--;
    }
    if (b->place.bytes) {
        d->base.stats.bytes_now -= b->place.bytes;
        range_give(b->block, b->place);
        if (b->block->n_free == 1 && b->block->free[0].bytes == b->block->bytes)
            block_free(d, b->block);
    }
    free(b);
}

// Copies through the staging buffer of this direction, a piece at a time.
static hx_result staged(hx_vk_buf *b, int64_t offset, char *host, int64_t bytes, bool up)
{
    hx_vk *d = (hx_vk *)b->base.dev;
    if (!d->stage[!up]) {
        hx_dev_stats s = d->base.stats;
        HX_TRY(hx_vk_buf_new(&d->base, STAGE_BYTES, up ? HX_BUF_UP : HX_BUF_DOWN, "staging",
                             (hx_buf **)&d->stage[!up]));
        d->base.stats = s;              // ours, not the caller's
    }
    hx_vk_buf *stage = d->stage[!up];
    for (int64_t at = 0; at < bytes; at += STAGE_BYTES) {
        int64_t n = hx_min(bytes - at, STAGE_BYTES);
        VkBufferCopy there = { 0, (VkDeviceSize)(offset + at), (VkDeviceSize)n };
        VkBufferCopy back = { (VkDeviceSize)(offset + at), 0, (VkDeviceSize)n };
        VkCommandBuffer cmd;
        if (up)
            HX_TRY(hx_vk_buf_write(&stage->base, 0, host + at, n));
        HX_TRY(hx_vk_once_begin(d, &cmd));
        if (up)
            d->fn.vkCmdCopyBuffer(cmd, stage->buffer, b->buffer, 1, &there);
        else
            d->fn.vkCmdCopyBuffer(cmd, b->buffer, stage->buffer, 1, &back);
        HX_TRY(hx_vk_once_end(d));
        if (!up)
            HX_TRY(hx_vk_buf_read(&stage->base, 0, host + at, n));
    }
    return HX_OK;
}

hx_result hx_vk_buf_write(hx_buf *buf, int64_t offset, const void *src, int64_t bytes)
{
    hx_vk_buf *b = (hx_vk_buf *)buf;
    HX_TRY(hx_vk_check((hx_vk *)buf->dev));
    if (!b->map)
        return staged(b, offset, (char *)src, bytes, true);
    memcpy(b->map + offset, src, (size_t)bytes);
    return sync_map(b, offset, bytes, true);
}

hx_result hx_vk_buf_read(hx_buf *buf, int64_t offset, void *dst, int64_t bytes)
{
    hx_vk_buf *b = (hx_vk_buf *)buf;
    HX_TRY(hx_vk_check((hx_vk *)buf->dev));
    if (!b->map)
        return staged(b, offset, dst, bytes, false);
    HX_TRY(sync_map(b, offset, bytes, false));
    memcpy(dst, b->map + offset, (size_t)bytes);
    return HX_OK;
}

void hx_vk_memory_done(hx_vk *d)
{
    for (int i = 0; i < 2; i++)
        if (d->stage[i])
            hx_vk_buf_free(&d->stage[i]->base);
    while (d->blocks)
        block_free(d, d->blocks);
}
