// plan_peak.c - what is in memory at the level of a plan where most of it is alive.
#include "plan.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { const char *op, *out; bool half, again; int n; int64_t bytes, largest; } group;

static int64_t bytes_of(const hx_plan *p, int s)
{
    return hx_align(p->tape->storage[s].elems * (p->half[s] ? 2 : 4), 256);
}

static bool has_memory(const hx_plan *p, int s)
{
    return p->tape->storage[s].place == HX_TEMP && p->owner[s] == s && p->first[s] >= 0;
}

static int peak_level(const hx_plan *p, int64_t *most)
{
    int best = 0;
    *most = 0;
    for (int l = 0; l < p->n_level; l++) {
        int64_t sum = 0;
        for (int s = 0; s < p->tape->n_storage; s++)
            if (has_memory(p, s) && p->first[s] <= l && l <= p->last[s])
                sum += bytes_of(p, s);
        if (sum > *most) {
            *most = sum;
            best = l;
        }
    }
    return best;
}

// Which operator's output made each storage first; -1: none
static void find_makers(const hx_plan *p, int *node, int *arg)
{
    for (int s = 0; s < p->tape->n_storage; s++)
        node[s] = -1;
    for (int i = 0; i < p->n_step; i++) {
        const hx_node *n = &p->tape->node[p->step[i].node];
        for (int k = n->n_in; k < n->n_in + n->n_out; k++) {
            if (!hx_is(n->arg[k]))
                continue;
            int s = p->owner[p->tape->value[n->arg[k].id].storage];
            if (node[s] < 0) {
                node[s] = p->step[i].node;
                arg[s] = k;
            }
        }
    }
}

static int by_bytes(const void *a, const void *b)
{
    const group *x = a, *y = b;
    return (x->bytes < y->bytes) - (x->bytes > y->bytes);
}

char *hx_plan_peak(const hx_plan *p, hx_arena *a)
{
    const hx_tape *t = p->tape;
    int *node = hx_new(a, int, t->n_storage + 1), *arg = hx_new(a, int, t->n_storage + 1);
    group *g = hx_new(a, group, t->n_storage + 1);
    if (!node || !arg || !g)
        return NULL;
    int64_t most;
    int level = peak_level(p, &most), n = 0;
    find_makers(p, node, arg);
    for (int s = 0; s < t->n_storage; s++) {
        if (!has_memory(p, s) || p->first[s] > level || p->last[s] < level || node[s] < 0)
            continue;
        const hx_node *nd = &t->node[node[s]];
        int i = 0;
        while (i < n && (strcmp(g[i].op, nd->op->name) || g[i].half != p->half[s] ||
                         strcmp(g[i].out, nd->sig->name[arg[s]]) ||
                         g[i].again != (p->last[s] > p->first[s] + 8)))
            i++;
        n += i == n;
        g[i] = (group){ nd->op->name, nd->sig->name[arg[s]], p->half[s],
                        p->last[s] > p->first[s] + 8, g[i].n + 1,
                        g[i].bytes + bytes_of(p, s), hx_max(g[i].largest, bytes_of(p, s)) };
    }
    qsort(g, (size_t)n, sizeof *g, by_bytes);
    char *text = hx_sprintf(a, "level %d of %d: %.1f MiB\n", level, p->n_level, (double)most / 1048576);
    for (int i = 0; text && i < n; i++)
        text = hx_sprintf(a, "%s%9.1f MiB  %4d x %s.%s%s, %s\n", text, (double)g[i].bytes / 1048576,
                          g[i].n, g[i].op, g[i].out, g[i].half ? ", 16 bits" : "",
                          g[i].again ? "kept" : "passing");
    return text;
}
