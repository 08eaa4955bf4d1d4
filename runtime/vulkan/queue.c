// queue.c - the compute queue: submitting, waiting, and work that runs once.
//
// One timeline semaphore counts submits; a ticket is the value that says a submit is done.
#include "vk.h"
#include <stdlib.h>

hx_result hx_vk_queue_init(hx_vk *d)
{
    VkSemaphoreTypeCreateInfo type = { VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE };
    VkSemaphoreCreateInfo info = { VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, &type };
    HX_VK_TRY(d, d->fn.vkCreateSemaphore(d->dev, &info, NULL, &d->timeline), "making a semaphore");
    VkCommandPoolCreateInfo pool = { VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT, .queueFamilyIndex = d->gpu.family };
    HX_VK_TRY(d, d->fn.vkCreateCommandPool(d->dev, &pool, NULL, &d->once_pool),
              "making a command pool");
    VkCommandBufferAllocateInfo cmd = { VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = d->once_pool, .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1 };
    HX_VK_TRY(d, d->fn.vkAllocateCommandBuffers(d->dev, &cmd, &d->once), "making a command buffer");
    return HX_OK;
}

void hx_vk_queue_done(hx_vk *d)
{
    d->fn.vkDestroyCommandPool(d->dev, d->once_pool, NULL);
    d->fn.vkDestroySemaphore(d->dev, d->timeline, NULL);
}

// One vkQueueSubmit of `n` command buffers. chained: it starts when the one before has ended.
static hx_result submit_now(hx_vk *d, const VkCommandBuffer *cmd, uint32_t n, bool chained)
{
    uint64_t before = d->ticket, after = d->ticket + 1;
    VkPipelineStageFlags stage =
        VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    VkTimelineSemaphoreSubmitInfo values = { VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .waitSemaphoreValueCount = chained, .pWaitSemaphoreValues = &before,
        .signalSemaphoreValueCount = 1, .pSignalSemaphoreValues = &after };
    VkSubmitInfo info = { VK_STRUCTURE_TYPE_SUBMIT_INFO, &values,
        .waitSemaphoreCount = chained, .pWaitSemaphores = chained ? &d->timeline : NULL,
        .pWaitDstStageMask = &stage, .commandBufferCount = n, .pCommandBuffers = cmd,
        .signalSemaphoreCount = 1, .pSignalSemaphores = &d->timeline };
    HX_VK_TRY(d, d->fn.vkQueueSubmit(d->queue, 1, &info, VK_NULL_HANDLE), "submitting work");
    d->ticket = after;
    return HX_OK;
}

static hx_result wait_for(hx_vk *d, uint64_t ticket, uint64_t timeout_ns)
{
    VkSemaphoreWaitInfo info = { VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO, .semaphoreCount = 1,
        .pSemaphores = &d->timeline, .pValues = &ticket };
    VkResult r = HX_VK_CALL(d->fn.vkWaitSemaphores(d->dev, &info, timeout_ns));
    if (r == VK_TIMEOUT) {
        d->lost = d->hung = true;
        return hx_fail(HX_E_LOST, "%s: still busy after %.1f s: given up; it may hang "
            "[E-VK-TIMEOUT]", d->gpu.caps.name, (double)timeout_ns * 1e-9);
    }
    // the caller frees what the work uses, so it must be over even if this cannot be told
    if (r && r != VK_ERROR_DEVICE_LOST)
        d->fn.vkDeviceWaitIdle(d->dev);
    return r ? hx_vk_fail(d, r, "waiting for work") : HX_OK;
}

hx_result hx_vk_wait(hx_dev *dev, uint64_t ticket, int64_t timeout_ms)
{
    hx_vk *d = (hx_vk *)dev;
    HX_TRY(hx_vk_check(d));
    bool ever = timeout_ms <= 0 || timeout_ms > INT64_MAX / 1000000;
    return wait_for(d, ticket, ever ? UINT64_MAX : (uint64_t)timeout_ms * 1000000);
}

// A recording may not be submitted again before its last run ended.
static hx_result ready(hx_vk *d, hx_prog *const *progs, int n)
{
    uint64_t last = 0;
    for (int i = 0; i < n; i++) {
        const hx_vk_prog *p = (const hx_vk_prog *)progs[i];
        last = p->ticket > last ? p->ticket : last;
    }
    return last ? wait_for(d, last, UINT64_MAX) : HX_OK;
}

static hx_result submit_list(hx_vk *d, hx_prog *const *progs, int n, bool by_piece,
                             VkCommandBuffer *cmd)
{
    uint32_t n_cmd = 0;
    for (int i = 0; i < n; i++) {
        hx_vk_prog *p = (hx_vk_prog *)progs[i];
        for (int j = 0; j < p->n_piece; j++) {
            cmd[n_cmd++] = p->piece[j].cmd;
            if (by_piece) {
                HX_TRY(submit_now(d, cmd, 1, true));
                d->base.stats.submits++;
                p->ticket = d->ticket;
                n_cmd = 0;
            }
            d->base.stats.dispatches += p->piece[j].dispatches;
            d->base.stats.barriers += p->piece[j].barriers;
        }
    }
    if (by_piece)
        return HX_OK;
    HX_TRY(submit_now(d, cmd, n_cmd, false));
    d->base.stats.submits++;
    for (int i = 0; i < n; i++)
        ((hx_vk_prog *)progs[i])->ticket = d->ticket;
    return HX_OK;
}

hx_result hx_vk_submit(hx_dev *dev, hx_prog *const *progs, int n, bool by_piece, uint64_t *ticket)
{
    hx_vk *d = (hx_vk *)dev;
    HX_TRY(hx_vk_check(d));
    if (d->compile_only)
        return hx_fail(HX_E_USAGE, "submit: %s was opened to compile only [E-PROGRAM]",
            d->gpu.caps.name);
    HX_TRY(ready(d, progs, n));
    size_t n_cmd = 1;
    for (int i = 0; i < n; i++)
        n_cmd += (size_t)((hx_vk_prog *)progs[i])->n_piece;
    VkCommandBuffer *cmd = malloc(n_cmd * sizeof *cmd);
    if (!cmd)
        return hx_fail(HX_E_NOMEM, "no host memory to submit %d programs [E-NOMEM]", n);
    hx_result r = submit_list(d, progs, n, by_piece, cmd);
    free(cmd);
    *ticket = d->ticket;
    return r;
}

hx_result hx_vk_once_begin(hx_vk *d, VkCommandBuffer *cmd)
{
    HX_VK_TRY(d, d->fn.vkResetCommandPool(d->dev, d->once_pool, 0), "resetting a command pool");
    VkCommandBufferBeginInfo info = { VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT };
    HX_VK_TRY(d, d->fn.vkBeginCommandBuffer(d->once, &info), "recording a copy");
    hx_vk_barrier(d, d->once, false);
    *cmd = d->once;
    return HX_OK;
}

hx_result hx_vk_once_end(hx_vk *d)
{
    hx_vk_barrier(d, d->once, true);
    HX_VK_TRY(d, d->fn.vkEndCommandBuffer(d->once), "recording a copy");
    HX_TRY(submit_now(d, &d->once, 1, false));
    return wait_for(d, d->ticket, UINT64_MAX);
}
