// vk.h - what the files of the Vulkan device share; nothing outside this folder includes it.
//
// A device is used by one thread at a time. Every function returns HX_E_LOST at once after the
// device was lost, and waits for nothing then.
#pragma once
#include "../dev.h"
#include "../fault.h"
#include "../log.h"
#include "reflect.h"
#include <volk.h>

typedef struct hx_vk hx_vk;

// What is read about a physical device, whether it can be used or not.
typedef struct hx_vk_gpu {
    VkPhysicalDevice phys;
    VkPhysicalDeviceMemoryProperties memory;
    hx_dev_caps caps;
    char     why_not[256];                 // empty: usable
    uint32_t family;                       // queue family
    uint32_t driver_id;
    uint32_t driver_number;                // major * 1000 + minor of the driver; 0: unknown
    uint8_t  cache_uuid[VK_UUID_SIZE];
    uint64_t timestamp_mask;               // valid bits
    int64_t  max_alloc;                    // bytes of one allocation
    bool     ext_budget, ext_coopmat, ext_bf16, ext_coopmat2, ext_subgroup_size, ext_facts;
    bool     full_subgroups;               // can be asked for in compute shaders
    bool     memory_model;
} hx_vk_gpu;

// Part of a block of device memory, or free space in one.
typedef struct hx_vk_range { int64_t at, bytes; } hx_vk_range;
typedef struct hx_vk_block {
    struct hx_vk_block *next;
    VkDeviceMemory memory;
    uint32_t     type;
    int64_t      bytes;
    char        *map;                      // NULL: not visible to the host
    hx_vk_range *free;                     // by offset; neighbours never touch
    int          n_free, cap_free;
} hx_vk_block;

typedef struct hx_vk_buf {
    hx_buf       base;
    VkBuffer     buffer;
    hx_vk_block *block;
    hx_vk_range  place;                    // in the block
    char        *map;                      // NULL: reached through a staging buffer
    bool         coherent;
} hx_vk_buf;

typedef struct hx_vk_pipeline {
    struct hx_vk_pipeline *next;           // of the same bucket
    uint64_t         hash;
    hx_kernel        kernel;               // the key: name, spirv and specialization constants
    VkPipelineLayout layout;
    VkPipeline       pipeline;
} hx_vk_pipeline;

enum { HX_VK_BUCKETS = 256 };

struct hx_vk {
    hx_dev                base;
    hx_vk_gpu             gpu;
    VkInstance            instance;
    VkDebugUtilsMessengerEXT messenger;
    VkDevice              dev;
    struct VolkDeviceTable fn;
    VkQueue               queue;
    bool                  validation, lost, hung, compile_only;
    int64_t               drop_barrier;    // the barrier with this number is not recorded; 0: none
    int64_t               n_recorded;      // barriers so far
    // queue.c
    VkSemaphore           timeline;
    uint64_t              ticket;          // last value that a submit will signal
    VkCommandPool         once_pool;
    VkCommandBuffer       once;
    // memory.c
    hx_vk_block          *blocks;
    int64_t               heap_used[VK_MAX_MEMORY_HEAPS];
    hx_vk_buf            *stage[2];        // up, down; made when first needed
    // pipeline.c, cache.c
    VkPipelineCache       cache;
    char                 *cache_path;      // NULL: none
    uint64_t              cache_hash;      // of the blob that was loaded
    VkDescriptorSetLayout set_layout[HX_MAX_BINDINGS + 1];
    hx_vk_pipeline       *pipelines[HX_VK_BUCKETS];
};

// instance.c
// Makes the instance, with the validation layer if d->validation, and reads device `index`.
// HX_E_NODEVICE says what is missing: loader, driver, layer, device or a feature of it.
hx_result hx_vk_find(hx_vk *d, int index);

// gpu.c
void hx_vk_gpu_read(VkInstance instance, VkPhysicalDevice phys, hx_vk_gpu *out);
// Creates the logical device with the features that caps.has stands for and no others.
// facts: pipelines can be asked for statistics too.
VkResult hx_vk_gpu_open(const hx_vk_gpu *gpu, bool facts, VkDevice *out);
// Memory type for buffers of this kind among the types in `allowed`; -1 if there is none.
int hx_vk_gpu_memory_type(const hx_vk_gpu *gpu, hx_buf_kind kind, uint32_t allowed);

// quirks.c: hides capabilities that a driver reports but does not have.
void hx_vk_quirks(hx_vk_gpu *gpu);

// device.c
// Turns a Vulkan error into a result; `what` names the step in the user's words.
hx_result hx_vk_fail(hx_vk *d, VkResult r, const char *what) __attribute__((nonnull(3)));
// Every call that can fail goes through here, so that HX_FAULT="vk:vkCreateBuffer:2:DEVICE_LOST"
// can make it fail instead (runtime/fault.h).
#ifdef HX_FAULTS
VkResult hx_vk_fault(const char *call);    // VK_SUCCESS: make the call
#define HX_VK_CALL(call) ({ VkResult vk_ = hx_vk_fault(#call); vk_ ? vk_ : (call); })
#else
#define HX_VK_CALL(call) (call)
#endif
#define HX_VK_TRY(d, call, what)                                    \
    do {                                                            \
        VkResult try_vk_ = HX_VK_CALL(call);                        \
        if (try_vk_)                                                \
            return hx_vk_fail((d), try_vk_, (what));                \
    } while (0)
hx_result hx_vk_check(const hx_vk *d);     // HX_E_LOST after the device was lost
// Names an object in the messages of the validation layer; does nothing without it.
void hx_vk_name(hx_vk *d, VkObjectType type, void *object, const char *name);

// memory.c
hx_result hx_vk_buf_new(hx_dev *d, int64_t bytes, hx_buf_kind kind, const char *name, hx_buf **out);
void      hx_vk_buf_free(hx_buf *b);
hx_result hx_vk_buf_write(hx_buf *b, int64_t offset, const void *src, int64_t bytes);
hx_result hx_vk_buf_read(hx_buf *b, int64_t offset, void *dst, int64_t bytes);
void      hx_vk_memory_done(hx_vk *d);

// pipeline.c
hx_result hx_vk_pipeline_get(hx_vk *d, const hx_kernel *k, hx_vk_pipeline **out);
hx_result hx_vk_facts(hx_dev *d, const hx_kernel *k, hx_fact *out, int cap, int *n);
hx_result hx_vk_set_layout(hx_vk *d, int n, VkDescriptorSetLayout *out);   // n storage buffers
void      hx_vk_pipelines_done(hx_vk *d);

// cache.c: the driver's compiled pipelines on disk. Failing to read or write is never an error.
void hx_vk_cache_open(hx_vk *d, bool use_disk);
void hx_vk_cache_close(hx_vk *d);

// prog.c
typedef struct hx_vk_prog hx_vk_prog;
hx_result hx_vk_prog_new(hx_dev *d, bool profile, const char *name, hx_prog **out);
hx_result hx_vk_prog_dispatch(hx_prog *p, const hx_kernel *k, const hx_binding *bind,
                              const void *push, const uint32_t groups[3]);
hx_result hx_vk_prog_barrier(hx_prog *p);
hx_result hx_vk_prog_fill(hx_prog *p, hx_binding b, uint32_t word);
hx_result hx_vk_prog_copy(hx_prog *p, hx_binding from, hx_binding to);
hx_result hx_vk_prog_cut(hx_prog *p);
hx_result hx_vk_prog_end(hx_prog *p);
void      hx_vk_prog_free(hx_prog *p);
hx_result hx_vk_prog_times(hx_prog *p, double *begin, double *ms, int cap, int *n);

// One command buffer of a program.
typedef struct hx_vk_piece { VkCommandBuffer cmd; int64_t dispatches, barriers; } hx_vk_piece;
// Descriptors that are left in a pool.
typedef struct hx_vk_pool { VkDescriptorPool pool; int sets, bindings; } hx_vk_pool;
struct hx_vk_prog {
    hx_prog       base;
    char          name[64];
    int           objects;                 // that go with it, as hx_dev_stats counts them
    VkCommandPool commands;
    hx_vk_piece  *piece;   int n_piece, cap_piece;
    hx_vk_pool   *pool;    int n_pool, cap_pool;
    VkQueryPool  *query;   int n_query, cap_query;      // HX_VK_QUERIES each, two a dispatch
    int           n_timed;                              // dispatches with timestamps
    VkPipelineStageFlags stage;                         // of the last command
    VkPipeline    bound;                                // in the piece being recorded
    uint64_t      ticket;                               // of the last submit; 0: none
};
enum { HX_VK_QUERIES = 512 };
// Everything written before in this queue becomes visible to everything after.
void hx_vk_barrier(hx_vk *d, VkCommandBuffer cmd, bool to_host);

// queue.c
hx_result hx_vk_queue_init(hx_vk *d);
void      hx_vk_queue_done(hx_vk *d);
hx_result hx_vk_submit(hx_dev *d, hx_prog *const *progs, int n, bool by_piece, uint64_t *ticket);
hx_result hx_vk_wait(hx_dev *d, uint64_t ticket, int64_t timeout_ms);
// A command buffer that runs once, at once: begin, record, end (which waits until it is done).
hx_result hx_vk_once_begin(hx_vk *d, VkCommandBuffer *cmd);
hx_result hx_vk_once_end(hx_vk *d);
