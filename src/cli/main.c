// main.c - finds the command, calls it, turns its result into one message and an exit code.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "../../runtime/log.h"
#include "cli.h"

static void print_log(void *user, hx_log_level level, const char *text)
{
    static const char *const names[] = { "error", "warning", "note", "debug" };
    const bool *quiet = user;
    if (level == HX_LOG_DEBUG || (*quiet && level != HX_LOG_ERROR))
        return;
    fprintf(stderr, "%s: %s\n", names[level], text);
}

static void print_overview(FILE *to)
{
    fputs("htxvk " HX_VERSION
          ": trains and runs long-context transformers on any GPU with Vulkan\n\n"
          "usage: htxvk COMMAND [options]\n\n",
          to);
    for (int i = 0; i < hx_n_cmds; i++)
        fprintf(to, "  %-10s %s\n", hx_cmds[i]->name, hx_cmds[i]->help);
    fputs("\n`htxvk COMMAND --help` tells more. Exit codes: 0 done, 2 usage, 3 bad input, 4 no "
          "device,\n"
          "5 numerical stop, 6 out of memory, 7 input/output, 8 a check failed, 70 defect, 75 "
          "resumable.\n",
          to);
}

static const hx_cmd *find_command(const char *name)
{
    const char *names[32];
    for (int i = 0; i < hx_n_cmds; i++) {
        if (!strcmp(hx_cmds[i]->name, name))
            return hx_cmds[i];
        names[i % 32] = hx_cmds[i]->name;
    }
    const char *near = hx_nearest(name, names, hx_n_cmds);
    if (near)
        hx_fail(HX_E_USAGE, "there is no command '%s'; did you mean '%s'? [E-USAGE]", name, near);
    else
        hx_fail(HX_E_USAGE, "there is no command '%s'; see `htxvk --help` [E-USAGE]", name);
    return NULL;
}

// An earlier write may have failed, whose reason is gone by now.
static hx_result flushed(void)
{
    errno = 0;
    if (!fflush(stdout) && !ferror(stdout))
        return HX_OK;
    return hx_fail(HX_E_IO, "standard output: %s [E-IO-WRITE]",
                   errno ? strerror(errno) : "not all could be written");
}

static hx_result run_command(const hx_cmd *cmd, int argc, char **argv)
{
    if (cmd->early)
        cmd->early();
    hx_cli c = { .arena = hx_arena_new() };
    if (!c.arena)
        return HX_E_NOMEM;
    bool help = false;
    hx_result r = hx_cli_parse(cmd, argc, argv, &c, &help);
    hx_log_to(print_log, &c.quiet);
    if (!r && help)
        hx_cli_help(cmd, stdout);
    else if (!r)
        r = cmd->run(&c);
    hx_log_to(NULL, NULL);
    // a full disk behind stdout is a failure, too
    r = r ? r : flushed();
    hx_arena_free(&c.arena);
    return r;
}

static hx_result dispatch(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    if (!strcmp(verb, "--version") || !strcmp(verb, "version")) {
        puts("htxvk " HX_VERSION);
        return flushed();
    }
    bool help = !strcmp(verb, "help"), about = !strcmp(verb, "--help") || !strcmp(verb, "-h");
    if (about || (help && argc == 2)) {
        print_overview(stdout);
        return HX_OK;
    }
    if (!*verb) {
        print_overview(stderr);
        return hx_fail(HX_E_USAGE, "a command is missing [E-USAGE]");
    }
    const hx_cmd *cmd = find_command(help ? argv[2] : verb);
    if (!cmd)
        return HX_E_USAGE;
    if (help) {
        hx_cli_help(cmd, stdout);
        return HX_OK;
    }
    return run_command(cmd, argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    // closed standard descriptors would be reused by the first file that is opened
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_WRONLY : O_RDONLY) < 0)
            return 7;
    // a reader that goes away is an error from write(), not a signal
    signal(SIGPIPE, SIG_IGN);
    // and so is a limit on the size of files
    signal(SIGXFSZ, SIG_IGN);

    hx_result r = dispatch(argc, argv);
    if (r) {
        const char *why = hx_last_message();
        const char *id = !*why && r == HX_E_NOMEM ? " [E-NOMEM]" : "";
        fprintf(stderr, "%s%s%s\n", r == HX_E_STOPPED ? "" : "error: ",
                *why ? why : hx_result_text(r), id);
    }
    if (r == HX_E_LOST) {
        // a driver that hangs still runs threads of its own: exit() would wait for them or race them
        fflush(NULL);
        _exit(hx_result_exit(r));
    }
    return hx_result_exit(r);
}
