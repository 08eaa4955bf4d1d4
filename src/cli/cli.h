// cli.h - what a command is, and what main.c does for all of them. Only this room prints.
#pragma once
#include <stdio.h>

#include "../../runtime/arena.h"
#include "../../runtime/dev.h"

// What a command is given. Everything lives as long as `arena`.
typedef struct hx_cli {
    hx_arena   *arena;
    void       *opts;                      // the command's own options, filled in
    char      **args; int n_args;          // what is neither an option nor an option's value
    const char *device;                    // --device; NULL: not given
    const char *precision;                 // --precision; NULL: not given
    int         threads;                   // --threads; 0: all processors
    bool        validation, no_cache, quiet;
    bool        compile_only;              // see hx_dev_params; commands set it
} hx_cli;

// A command: one file, one word in meson.build. Its options are fields: from the table come
// parsing, bounds, help and "did you mean". A HX_BOOL option takes no value; a HX_STRS option may
// be repeated. '_' in a field's name is written '-' on the command line.
typedef struct hx_cmd {
    const char     *name, *args, *help;    // args: the rest of the usage line
    const char     *more;                  // printed after the options: notes and examples
    const hx_field *opts;                  // NULL: none of its own
    size_t          opts_size;
    int             min_args, max_args;
    hx_result     (*run)(hx_cli *c);
    void          (*early)(void);          // called before arguments are read; NULL: nothing
} hx_cmd;
#define HX_CMD(c, ...) const hx_cmd hx_cmd_##c = { .name = #c, __VA_ARGS__ }
extern const hx_cmd *const hx_cmds[];      // generated from src/cli/meson.build
extern const int hx_n_cmds;

// Fills c->opts, c->args and the common members from the words after the verb. `help` is set when
// --help was among them. HX_E_USAGE names the word that does not fit.
hx_result hx_cli_parse(const hx_cmd *cmd, int argc, char **argv, hx_cli *c, bool *help);
void      hx_cli_help(const hx_cmd *cmd, FILE *to);
extern const hx_field hx_cli_common[];     // options of every command

// Opens the device that --device names, else the one that `fallback` names (NULL: auto), for the
// precision that --precision names, else `precision` (NULL: fp32).
hx_result hx_cli_open(const hx_cli *c, const char *fallback, const char *precision, hx_dev **out);
// Closes it and passes `r` on; messages of Vulkan's validation make a failure of a success.
hx_result hx_cli_close(hx_dev **d, hx_result r);

// Where a command's JSON goes: `path` NULL: nowhere, "-": stdout, else a file that appears whole.
struct json_t;
hx_result hx_cli_json(const struct json_t *j, const char *path);

// "1.5 GiB" and "2.3 G": a number for people, in `a`.
const char *hx_cli_bytes(hx_arena *a, double bytes);
const char *hx_cli_count(hx_arena *a, double n);
const char *hx_cli_time(hx_arena *a, double seconds);      // "3m10s"
