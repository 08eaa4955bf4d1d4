// devices.c - `htxvk devices`: what can be selected, and what each can do.
#include <jansson.h>
#include <string.h>

#include "../../runtime/file.h"
#include "../core/op.h"
#include "cli.h"

typedef struct devices_opts { bool json; } devices_opts;
static const hx_field devices_fields[] = {
    { "json", HX_BOOL, offsetof(devices_opts, json), "false", 0, 0, "one JSON document on stdout" },
    {0}
};

enum { MAX_DEVICES = 64 };
static const char *const type_names[] = {"processor", "integrated", "discrete", "virtual", "other"};

// The words of caps->has, separated by `sep`.
static const char *cap_words(hx_arena *a, uint32_t has, const char *sep)
{
    const char *s = "";
    for (int i = 0; i < HX_N_CAPS; i++)
        if (has >> i & 1)
            s = hx_sprintf(a, "%s%s%s", s, *s ? sep : "", hx_cap_names[i]);
    return *s ? s : "-";
}

static const char *matrix_units(const hx_dev_caps *c)
{
    return c->has & HX_CAP_COOPMAT2 ? "workgroup" : c->has & HX_CAP_COOPMAT_BF ? "fp16+bf16"
         : c->has & HX_CAP_COOPMAT ? "fp16" : "-";
}

static const char *uuid_text(hx_arena *a, const uint8_t *u)
{
    char *s = hx_alloc(a, 33);
    for (int i = 0; i < 16 && s; i++)
        sprintf(s + 2 * i, "%02x", u[i]);
    return s ? s : "";
}

static json_t *device_json(hx_arena *a, const hx_dev_info *d)
{
    const hx_dev_caps *c = &d->caps;
    json_t *has = json_array();
    for (int i = 0; i < HX_N_CAPS; i++)
        if (c->has >> i & 1)
            json_array_append_new(has, json_string(hx_cap_names[i]));
    json_t *j = json_pack("{ss ss ss ss ss sb si so sI sI sI sI sI si si si si}",
        "selector", d->selector, "kind", c->kind, "name", hx_printable(a, c->name),
        "type", type_names[c->type], "driver", hx_printable(a, c->driver), "usable", !d->why_not[0],
        "tier", c->tier, "has", has, "api_version", (json_int_t)c->api_version,
        "memory_bytes", (json_int_t)c->memory_bytes, "max_buffer", (json_int_t)c->max_buffer,
        "max_range", (json_int_t)c->max_range, "offset_align", (json_int_t)c->offset_align,
        "max_invocations", c->max_invocations, "shared_bytes", c->shared_bytes,
        "subgroup_min", c->subgroup_min, "subgroup_max", c->subgroup_max);
    if (j && !strcmp(c->kind, "vulkan"))
        json_object_set_new(j, "uuid", json_string(uuid_text(a, c->uuid)));
    if (j && d->why_not[0])
        json_object_set_new(j, "why_not", json_string(hx_printable(a, d->why_not)));
    return j;
}

static void print_device(hx_arena *a, const hx_dev_info *d)
{
    const hx_dev_caps *c = &d->caps;
    bool vulkan = !strcmp(c->kind, "vulkan");
    printf("%-8s  %s\n", d->selector, hx_printable(a, c->name));
    printf("          %s, %s", type_names[c->type],
           c->driver[0] ? hx_printable(a, c->driver) : "-");
    if (c->memory_bytes > 0)
        printf(", %s memory", hx_cli_bytes(a, (double)c->memory_bytes));
    puts("");
    if (d->why_not[0])
        printf("          cannot be used: %s\n", hx_printable(a, d->why_not));
    if (!vulkan)
        return;
    printf("          Vulkan %u.%u, tier T%d, matrix units %s, subgroup %d..%d, %d invocations, %s "
           "shared,\n"
           "          %s a binding, %s a buffer\n",
           c->api_version >> 22 & 0x7f, c->api_version >> 12 & 0x3ff, c->tier, matrix_units(c),
           c->subgroup_min, c->subgroup_max, c->max_invocations, hx_cli_bytes(a, c->shared_bytes),
           hx_cli_bytes(a, (double)c->max_range), hx_cli_bytes(a, (double)c->max_buffer));
    printf("          has %s; uuid:%s\n", cap_words(a, c->has, " "), uuid_text(a, c->uuid));
}

static hx_result run(hx_cli *c)
{
    const devices_opts *o = c->opts;
    hx_dev_info *list = hx_new(c->arena, hx_dev_info, MAX_DEVICES);
    if (!list)
        return HX_E_NOMEM;
    int n = 0;
    const char *note = NULL;
    HX_TRY(hx_dev_list(list, MAX_DEVICES, &n, &note));
    if (!o->json) {
        for (int i = 0; i < n; i++)
            print_device(c->arena, &list[i]);
        if (note && *note)
            printf("note: %s\n", note);
        if (*hx_spirvs_left_out)
            printf(
                "note: the shader compiler of this build did not know what these kernels need: %s; "
                "see tools/setup\n",
                hx_spirvs_left_out);
        return HX_OK;
    }
    json_t *j = json_pack("{so}", "devices", json_array());
    for (int i = 0; i < n; i++)
        json_array_append_new(json_object_get(j, "devices"), device_json(c->arena, &list[i]));
    if (note && *note)
        json_object_set_new(j, "note", json_string(note));
    json_object_set_new(j, "kernels_left_out", json_string(hx_spirvs_left_out));
    hx_result r = hx_cli_json(j, "-");
    json_decref(j);
    return r;
}

HX_CMD(devices, .args = "[--json]", .help = "list the devices that --device can select",
       .opts = devices_fields, .opts_size = sizeof(devices_opts), .run = run,
       .more = "Select one with --device: its selector (host, 0, 1, ...), name:TEXT (part of its "
               "name, any case)\n"
               "or uuid:HEX (its 32 digits).\n");
