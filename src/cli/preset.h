// preset.h - configurations that come with the program, and reading one of them or a file.
#pragma once
#include "../train/conf_run.h"
#include "cli.h"

typedef struct hx_preset { const char *name, *text; } hx_preset;
extern const hx_preset hx_presets[];       // ends with a zero row; made from src/cli/meson.build

// The text of a preset: a file NAME.yaml in $XDG_CONFIG_HOME/htxvk/presets (~/.config), or one that
// comes with the program. HX_E_INPUT names the nearest.
hx_result hx_preset_text(hx_arena *a, const char *name, const char **text);
// Reads "preset:NAME" or a file, with --set. `data`, if there is any, replaces data.train; its
// paths are those of the working directory.
hx_result hx_cli_conf(hx_cli *c, const char *path, const hx_strs *set, const hx_strs *data,
                      hx_run_conf **out);
