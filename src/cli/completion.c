// completion.c - `htxvk completion`: what a shell needs to complete commands and options.
#include <string.h>

#include "cli.h"

// Calls put() with every option of a command as it is written: "--save-every".
static void each_option(const hx_cmd *c, void (*put_one)(const hx_cmd *c, const char *name, const hx_field *f))
{
    const hx_field *lists[] = { c->opts, hx_cli_common };
    for (int l = 0; l < 2; l++)
        for (const hx_field *f = lists[l]; f && f->name; f++) {
            char name[64];
            snprintf(name, sizeof name, "--%s", f->name);
            for (char *s = name; *s; s++)
                *s = *s == '_' ? '-' : *s;
            put_one(c, name, f);
        }
}

// A text inside single quotes of a shell, without what zsh's descriptions are made of.
static void put_quoted(const char *s)
{
    for (; *s; s++) {
        if (*s == '\'')
            fputs("'\\''", stdout);
        else
            putchar(strchr("[]:`", *s) ? ' ' : *s);
    }
}

static void put_word(const hx_cmd *c, const char *name, const hx_field *f)
{
    (void)c, (void)f;
    printf(" %s", name);
}

static void bash(void)
{
    fputs("# bash completion of htxvk\n_htxvk()\n{\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} options=\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W '", stdout);
    for (int i = 0; i < hx_n_cmds; i++)
        printf("%s%s", i ? " " : "", hx_cmds[i]->name);
    fputs("' -- \"$word\"))\n        return\n    fi\n    case ${COMP_WORDS[1]} in\n", stdout);
    for (int i = 0; i < hx_n_cmds; i++) {
        printf("    %s) options='", hx_cmds[i]->name);
        each_option(hx_cmds[i], put_word);
        fputs("' ;;\n", stdout);
    }
    fputs("    esac\n    case $word in\n    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n"
          "    *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n    esac\n}\n"
          "complete -o filenames -F _htxvk htxvk\n", stdout);
}

static void put_zsh(const hx_cmd *c, const char *name, const hx_field *f)
{
    (void)c;
    printf(" \\\n            '%s[", name);
    put_quoted(f->help);
    printf("]%s'", f->type == HX_BOOL ? "" : ":value:_files");
}

static void zsh(void)
{
    fputs("#compdef htxvk\nlocal -a commands\ncommands=(\n", stdout);
    for (int i = 0; i < hx_n_cmds; i++) {
        printf("    '%s:", hx_cmds[i]->name);
        put_quoted(hx_cmds[i]->help);
        fputs("'\n", stdout);
    }
    fputs(")\nif (( CURRENT == 2 )); then\n    _describe command commands\nelse\n"
          "    local command=$words[2]\n    shift words\n    (( CURRENT-- ))\n    case $command in\n", stdout);
    for (int i = 0; i < hx_n_cmds; i++) {
        printf("        %s) _arguments", hx_cmds[i]->name);
        each_option(hx_cmds[i], put_zsh);
        fputs(" '*:file:_files' ;;\n", stdout);
    }
    fputs("    esac\nfi\n", stdout);
}

static void put_fish(const hx_cmd *c, const char *name, const hx_field *f)
{
    printf("complete -c htxvk -n '__fish_seen_subcommand_from %s' -l %s %s-d '", c->name, name + 2,
           f->type == HX_BOOL ? "" : "-r ");
    put_quoted(f->help);
    fputs("'\n", stdout);
}

static void fish(void)
{
    for (int i = 0; i < hx_n_cmds; i++) {
        printf("complete -c htxvk -n __fish_use_subcommand -a %s -d '", hx_cmds[i]->name);
        put_quoted(hx_cmds[i]->help);
        fputs("'\n", stdout);
        each_option(hx_cmds[i], put_fish);
    }
}

static hx_result run(hx_cli *c)
{
    static const struct { const char *name; void (*run)(void); } shells[] = {
        { "bash", bash }, { "zsh", zsh }, { "fish", fish } };
    for (int i = 0; i < HX_COUNT(shells); i++)
        if (!strcmp(shells[i].name, c->args[0])) {
            shells[i].run();
            return HX_OK;
        }
    return hx_fail(HX_E_USAGE, "completion: there is bash, zsh and fish, not '%s' [E-USAGE]", c->args[0]);
}

HX_CMD(completion, .args = "bash|zsh|fish", .help = "completion of commands and options for a shell",
       .min_args = 1, .max_args = 1, .run = run, .more = "example: source <(htxvk completion bash)\n");
