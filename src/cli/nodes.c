// nodes.c - /dev/dri and /dev/nvidiactl.
#include "nodes.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../runtime/file.h"

bool hx_in_container(void)
{
    return !access("/.dockerenv", F_OK) || !access("/run/.containerenv", F_OK) || getenv("container");
}

hx_node_file hx_node_look(hx_arena *a, const char *path)
{
    struct stat s;
    hx_node_file f = { .path = path && !stat(path, &s) ? path : NULL };
    if (!f.path || !access(path, R_OK | W_OK))
        return f;
    const struct group *g = getgrgid(s.st_gid);
    const struct passwd *me = getpwuid(getuid());
    const char *group = g ? g->gr_name : "render", *name = me ? me->pw_name : "$USER";
    f.why = hx_sprintf(a, "%s is not readable and writable by user '%s'; it belongs to group '%s'", path,
                       name, group);
    f.fix = hx_in_container() ? hx_sprintf(a, "start the container with --group-add %u", s.st_gid)
                              : hx_sprintf(a, "sudo usermod -aG %s %s, then log in again", group, name);
    return f;
}

hx_node_file hx_node_get(hx_arena *a, int i)
{
    const char *own = getenv("HTXVK_DRI"), *dir = own && *own ? own : "/dev/dri";
    hx_names names = {0};
    if (hx_dir_list(a, dir, &names))
        names.n = 0;
    for (int k = 0; k < names.n; k++)
        if (!strncmp(names.v[k], "renderD", 7) && i-- == 0)
            return hx_node_look(a, hx_path_join(a, dir, names.v[k]));
    return i == 0 && !own ? hx_node_look(a, "/dev/nvidiactl") : (hx_node_file){0};
}
