// crash_states.c - what a disk may hold after a crash at any moment of a save, and that recovery
// finds a whole checkpoint in every such state.
//
// The system calls of one hx_ckpt_write are recorded (this file's functions stand before libc's).
// A state is a prefix of them in which some that no fsync has made durable are missing, or a write
// is torn: file contents need an fsync of the file, names one of their directory. Removing any
// one fsync must lead to a state that cannot be recovered.
#include "../src/core/ckpt.h"
#include "scratch.h"
#include "toy.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>

// ---- a file system in memory ----------------------------------------------------------------

enum { MAX_NODES = 96, MAX_OPS = 256, ROOT = 0, SECTOR = 512 };
typedef enum { NONE, FILE_NODE, DIR_NODE, LINK_NODE } node_kind;
typedef struct node { node_kind kind; int64_t n; uint8_t *data; } node;   // link: its target
typedef struct entry { int dir, node; char name[64]; } entry;             // node < 0: removed
typedef struct disk { int n_node, n_entry; node node[MAX_NODES]; entry entry[MAX_NODES]; } disk;

typedef enum { CREATE, WRITE, RESIZE, RENAME, REMOVE, SYNC } op_kind;
typedef struct op {
    op_kind  kind;
    int      node, dir;                    // what; the directory whose entry changes
    char     from[64], to[64];
    int64_t  at, n;
    uint8_t *data;
} op;

static disk now_on_disk, before;           // with everything applied; as the save began
static op   ops[MAX_OPS];
static int  n_ops, n_syncs, left_out;      // left_out: number of the fsync that does nothing; 0: none
static bool recording;
static int  node_of_fd[1024];

static entry *find_entry(disk *d, int dir, const char *name)
{
    for (int i = 0; i < d->n_entry; i++)
        if (d->entry[i].node >= 0 && d->entry[i].dir == dir && !strcmp(d->entry[i].name, name))
            return &d->entry[i];
    return NULL;
}

static void add_entry(disk *d, int dir, const char *name, int child)
{
    entry *e = find_entry(d, dir, name);
    if (!e)
        e = &d->entry[d->n_entry++];
    ck_assert_int_lt(d->n_entry, MAX_NODES);
    *e = (entry){ .dir = dir, .node = child };
    snprintf(e->name, sizeof e->name, "%s", name);
}

static void resize(node *f, int64_t n)
{
    uint8_t *more = calloc(1, (size_t)n + 1);
    if (f->n)
        memcpy(more, f->data, (size_t)hx_min(n, f->n));
    free(f->data);
    f->data = more;
    f->n = n;
}

// Does what `o` says; torn >= 0: only so many bytes of a write, < -1: only some sectors of it, at
// random. What is not written there is 0, as in space that was set aside.
static void apply(disk *d, const op *o, int64_t torn)
{
    node *f = &d->node[o->node];
    entry *e;
    switch (o->kind) {
    case CREATE:
        add_entry(d, o->dir, o->to, o->node);
        break;
    case WRITE:
        if (o->at + o->n > f->n)
            resize(f, o->at + o->n);
        for (int64_t from = 0; from < o->n; from += SECTOR) {
            uint32_t rnd = (uint32_t)-torn * 2654435761u + (uint32_t)from;
            rnd = (rnd ^ rnd >> 15) * 2246822519u;
            rnd = (rnd ^ rnd >> 13) * 3266489917u;
            int64_t n = hx_min(SECTOR, o->n - from);
            n = torn >= 0 ? hx_min(n, hx_max(torn - from, 0)) : torn < -1 && rnd >> 31 ? 0 : n;
            memcpy(f->data + o->at + from, o->data + from, (size_t)n);
        }
        break;
    case RESIZE:
        if (o->at == 0 || o->n > f->n)     // at 0: cut to n; 1: at least n
            resize(f, o->n);
        break;
    case RENAME:
        if ((e = find_entry(d, o->dir, o->from))) {
            int child = e->node;
            e->node = -1;
            add_entry(d, o->dir, o->to, child);
        }
        break;
    case REMOVE:
        if ((e = find_entry(d, o->dir, o->from)))
            e->node = -1;
        break;
    case SYNC:
        break;
    }
}

static void copy_disk(disk *to, const disk *from)
{
    *to = *from;
    for (int i = 0; i < to->n_node; i++)
        if (from->node[i].data) {
            to->node[i].data = malloc((size_t)from->node[i].n + 1);
            memcpy(to->node[i].data, from->node[i].data, (size_t)from->node[i].n);
        }
}

static void free_disk(disk *d)
{
    for (int i = 0; i < d->n_node; i++)
        free(d->node[i].data);
    *d = (disk){ 0 };
}

// ---- recording ------------------------------------------------------------------------------

static int new_node(node_kind kind)
{
    // known before and after the save: states know every node, names decide which are reached
    ck_assert_int_lt(now_on_disk.n_node, MAX_NODES);
    now_on_disk.node[now_on_disk.n_node].kind = kind;
    return now_on_disk.n_node++;
}

// The node that a path below the scratch directory names, and that of its directory.
static int walk(const char *path, int *dir, char name[64])
{
    *dir = -1;
    size_t n = strlen(scratch);
    if (strncmp(path, scratch, n))
        return -1;
    int at = ROOT;
    name[0] = 0;
    for (const char *s = path + n; *s;) {
        s += strspn(s, "/");
        size_t len = strcspn(s, "/");
        if (!len)
            break;
        *dir = at;
        snprintf(name, 64, "%.*s", (int)len, s);
        entry *e = at >= 0 ? find_entry(&now_on_disk, at, name) : NULL;
        at = e ? e->node : -1;
        s += len;
    }
    return at;
}

static void record(op o)
{
    ck_assert_int_lt(n_ops, MAX_OPS);
    ops[n_ops++] = o;
    apply(&now_on_disk, &o, -1);
}

static void record_create(node_kind kind, const char *path, const char *target)
{
    op o = { .kind = CREATE };
    if (walk(path, &o.dir, o.to) >= 0 || o.dir < 0)
        return;
    o.node = new_node(kind);
    node *f = &now_on_disk.node[o.node];
    if (target) {
        f->data = (uint8_t *)strdup(target);
        f->n = (int64_t)strlen(target) + 1;
    }
    record(o);
}

static void record_remove(const char *path)
{
    op o = { .kind = REMOVE };
    o.node = walk(path, &o.dir, o.from);
    if (o.node >= 0)
        record(o);
}

// These stand before the functions of libc. Open descriptors are remembered by their node.
int open(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    int mode = flags & O_CREAT ? va_arg(ap, int) : 0, dir;
    va_end(ap);
    char name[64];
    if (recording && flags & O_CREAT)
        record_create(FILE_NODE, path, NULL);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd >= 0 && fd < HX_COUNT(node_of_fd))
        node_of_fd[fd] = recording ? walk(path, &dir, name) : -1;
    return fd;
}

int openat(int at, const char *path, int flags, ...)
{
    int fd = (int)syscall(SYS_openat, at, path, flags, 0), dir = at;
    if (!recording || fd < 0)
        return fd;
    entry *e = dir >= 0 && node_of_fd[dir] >= 0 ? find_entry(&now_on_disk, node_of_fd[dir], path)
                                                : NULL;
    node_of_fd[fd] = e ? e->node : -1;
    return fd;
}

ssize_t write(int fd, const void *data, size_t n)
{
    ssize_t done = syscall(SYS_write, fd, data, n);
    if (recording && done > 0 && fd < HX_COUNT(node_of_fd) && node_of_fd[fd] >= 0) {
        off_t end = lseek(fd, 0, SEEK_CUR);
        op o = { .kind = WRITE, .node = node_of_fd[fd], .at = end - done, .n = done,
                 .data = malloc((size_t)done) };
        memcpy(o.data, data, (size_t)done);
        record(o);
    }
    return done;
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
    if (recording && node_of_fd[fd] >= 0)
        record((op){ .kind = RESIZE, .node = node_of_fd[fd], .at = 1, .n = n });
    return (int)syscall(SYS_fallocate, fd, mode, at, n);
}

int ftruncate(int fd, off_t n)
{
    if (recording && node_of_fd[fd] >= 0)
        record((op){ .kind = RESIZE, .node = node_of_fd[fd], .at = 0, .n = n });
    return (int)syscall(SYS_ftruncate, fd, n);
}

int fsync(int fd)
{
    if (recording && node_of_fd[fd] >= 0 && ++n_syncs != left_out)
        record((op){ .kind = SYNC, .node = node_of_fd[fd] });
    return 0;
}

int rename(const char *from, const char *to)
{
    op o = { .kind = RENAME };
    int dir;
    if (recording) {
        o.node = walk(from, &o.dir, o.from);
        walk(to, &dir, o.to);
        ck_assert_int_eq(dir, o.dir);
        record(o);
    }
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int mkdir(const char *path, mode_t mode)
{
    if (recording)
        record_create(DIR_NODE, path, NULL);
    return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int symlink(const char *target, const char *path)
{
    if (recording)
        record_create(LINK_NODE, path, target);
    return (int)syscall(SYS_symlinkat, target, AT_FDCWD, path);
}

int unlink(const char *path)
{
    if (recording)
        record_remove(path);
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
    if (recording)
        record_remove(path);
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}

int unlinkat(int at, const char *path, int flags)
{
    if (recording && at >= 0 && node_of_fd[at] >= 0) {
        op o = { .kind = REMOVE, .dir = node_of_fd[at] };
        snprintf(o.from, sizeof o.from, "%s", path);
        record(o);
    }
    return (int)syscall(SYS_unlinkat, at, path, flags);
}

// ---- the save -------------------------------------------------------------------------------

enum { WIDTH = 3000 };
static hx_params *ps;
static toy_conf   conf;
static float     *weights[3];              // of the first and the second checkpoint: all arenas alike

static hx_result save(int64_t step)
{
    const float *w = weights[step];
    const hx_ckpt c = { .model = &toy, .conf = &conf, .params = ps, .p = w, .m = w, .v = w,
                        .state = { .step = step } };
    return hx_ckpt_write(at("ckpt"), &c, 1);
}

// The real directory, as it is, into now_on_disk.
static void read_disk(const char *path, int id)
{
    DIR *d = opendir(path);
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e; (e = readdir(d));) {
        char sub[512], target[128];
        struct stat st;
        if (e->d_name[0] == '.' && (!e->d_name[1] || e->d_name[1] == '.'))
            continue;
        snprintf(sub, sizeof sub, "%s/%s", path, e->d_name);
        ck_assert_int_eq(lstat(sub, &st), 0);
        bool is_dir = S_ISDIR(st.st_mode), is_link = S_ISLNK(st.st_mode);
        int child = new_node(is_dir ? DIR_NODE : is_link ? LINK_NODE : FILE_NODE);
        add_entry(&now_on_disk, id, e->d_name, child);
        node *f = &now_on_disk.node[child];
        hx_blob b = { 0 };
        if (is_dir) {
            read_disk(sub, child);
        } else if (is_link) {
            ssize_t n = readlink(sub, target, sizeof target - 1);
            target[n] = 0;
            f->data = (uint8_t *)strdup(target);
            f->n = n + 1;
        } else {
            ck_ok(hx_file_read(sub, 1 << 20, 0, &b));
            f->data = b.data;
            f->n = b.size;
        }
    }
    closedir(d);
}

// Saves step 1, then step 2 while recording, without fsync number `leave_out`.
static void record_save(int leave_out)
{
    for (int i = 0; i < n_ops; i++)
        free(ops[i].data);
    free_disk(&now_on_disk);
    free_disk(&before);
    n_ops = n_syncs = 0;
    left_out = leave_out;
    hx_dir_remove(at("ckpt"));
    ck_ok(save(1));
    new_node(DIR_NODE);
    read_disk(scratch, ROOT);
    copy_disk(&before, &now_on_disk);
    for (int i = 0; i < HX_COUNT(node_of_fd); i++)
        node_of_fd[i] = -1;
    recording = true;
    hx_result r = save(2);
    recording = false;
    ck_ok(r);
    // states know the nodes that came later, too, as empty ones
    for (int i = before.n_node; i < now_on_disk.n_node; i++) {
        const node *f = &now_on_disk.node[i];
        before.node[i].kind = f->kind;
        if (f->kind == LINK_NODE) {
            before.node[i].data = (uint8_t *)strdup((char *)f->data);
            before.node[i].n = f->n;
        }
    }
    before.n_node = now_on_disk.n_node;
}

// ---- states ---------------------------------------------------------------------------------

static void write_disk(const disk *d, int dir, const char *path)
{
    for (int i = 0; i < d->n_entry; i++) {
        const entry *e = &d->entry[i];
        if (e->node < 0 || e->dir != dir)
            continue;
        char sub[512];
        snprintf(sub, sizeof sub, "%s/%s", path, e->name);
        const node *f = &d->node[e->node];
        if (f->kind == DIR_NODE) {
            ck_assert_int_eq(mkdir(sub, 0700), 0);
            write_disk(d, e->node, sub);
        } else if (f->kind == LINK_NODE) {
            ck_assert_int_eq(symlink((char *)f->data, sub), 0);
        } else {
            int fd = open(sub, O_WRONLY | O_CREAT, 0600);
            ck_assert_int_eq(f->n ? write(fd, f->data, (size_t)f->n) : 0, f->n);
            close(fd);
        }
    }
}

static uint64_t mix(uint64_t h, const void *data, int64_t n)
{
    const uint8_t *p = data;
    for (int64_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3;
    return h;
}

// The same for disks with the same reachable names and contents, whatever the order.
static uint64_t hash_disk(const disk *d, int dir)
{
    uint64_t sum = 0;
    for (int i = 0; i < d->n_entry; i++) {
        const entry *e = &d->entry[i];
        if (e->node < 0 || e->dir != dir)
            continue;
        const node *f = &d->node[e->node];
        uint64_t h = mix(0xcbf29ce484222325, e->name, (int64_t)strlen(e->name) + 1);
        h = f->kind == DIR_NODE ? h * 31 + hash_disk(d, e->node) : mix(h, f->data, f->n);
        sum += h * 0x9e3779b97f4a7c15;
    }
    return sum;
}

enum { SEEN = 1 << 17 };
static uint64_t seen[SEEN];
static int      distinct;

static bool is_new(uint64_t h)
{
    h += !h;
    uint64_t i = h % SEEN;
    while (seen[i] && seen[i] != h)
        i = (i + 1) % SEEN;
    bool fresh = !seen[i];
    seen[i] = h;
    distinct += fresh;
    return fresh;
}

// Can a whole checkpoint be read from what the disk holds, and is it the second one where the save
// had returned?
static bool recovers(const disk *d, bool complete)
{
    const char *dir = at("state"), *found = NULL;
    hx_arena *a = hx_arena_new();
    hx_dir_remove(dir);
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    write_disk(d, ROOT, dir);
    hx_result r = hx_ckpt_find(a, dir, &found);
    int step = !r && found && strstr(found, "step-00000002") ? 2 : 1;
    float *w = hx_alloc(a, (size_t)ps->bytes), *m = hx_alloc(a, (size_t)ps->bytes);
    bool good = !r && found && (step == 2 || !complete) && !hx_ckpt_read(found, ps, w, m, NULL) &&
                !memcmp(w, weights[step], (size_t)ps->bytes) &&
                !memcmp(m, weights[step], (size_t)ps->bytes);
    hx_arena_free(&a);
    return good;
}

// Which of the first k operations may be missing.
static int pending(int k, int list[MAX_OPS])
{
    int n = 0;
    for (int i = 0; i < k; i++) {
        int needs = ops[i].kind == WRITE || ops[i].kind == RESIZE ? ops[i].node : ops[i].dir;
        bool durable = ops[i].kind == SYNC;
        for (int j = i + 1; j < k && !durable; j++)
            durable = ops[j].kind == SYNC && ops[j].node == needs;
        if (!durable)
            list[n++] = i;
    }
    return n;
}

static int bad_states;

static void try_state(int k, const bool *missing, int torn_op, int64_t torn)
{
    disk d;
    copy_disk(&d, &before);
    for (int i = 0; i < k; i++)
        if (!missing[i])
            apply(&d, &ops[i], i == torn_op ? torn : -1);
    bool complete = k == n_ops;
    // the same bytes are judged otherwise before and after the save has returned
    if (is_new(hash_disk(&d, ROOT) * 2 + complete) && !recovers(&d, complete))
        bad_states++;
    free_disk(&d);
}

// Everything that may be missing after the first k operations: all, each one alone, all but one,
// and `draws` random choices; every write torn at each sector, with and without the later ones,
// and with `masks` random choices of its sectors.
static void try_prefix(int k, int draws, int masks, uint32_t *rnd)
{
    int list[MAX_OPS], n = pending(k, list);
    bool missing[MAX_OPS] = { 0 };
    for (int choice = 0; choice < 2 + 2 * n + draws; choice++) {
        for (int i = 0; i < n; i++) {
            *rnd = *rnd * 1664525 + 1013904223;
            missing[list[i]] = choice == 0         ? false
                             : choice == 1         ? true
                             : choice < 2 + n      ? i == choice - 2
                             : choice < 2 + 2 * n  ? i != choice - 2 - n
                                                   : *rnd >> 30 & 1;
        }
        try_state(k, missing, -1, 0);
    }
    for (int others = 0; others < 2; others++)
        for (int i = 0; i < n; i++) {
            const op *o = &ops[list[i]];
            for (int64_t torn = 0; o->kind == WRITE && torn < o->n; torn += SECTOR) {
                for (int j = 0; j < n; j++)
                    missing[list[j]] = others && j > i;
                try_state(k, missing, list[i], torn);
            }
            memset(missing, 0, sizeof missing);
            for (int m = 0; o->kind == WRITE && o->n > SECTOR && m < masks / 2; m++)
                try_state(k, missing, list[i], -2 - m - masks * (2 * k + others));
        }
}

static int count_bad(int draws, int masks)
{
    uint32_t rnd = 1;
    memset(seen, 0, sizeof seen);
    distinct = bad_states = 0;
    for (int k = 0; k <= n_ops; k++)
        try_prefix(k, draws, masks, &rnd);
    return bad_states;
}

START_TEST(every_state_recovers)
{
    record_save(0);
    ck_assert_int_eq(count_bad(250, 3000), 0);
    printf("%d operations, %d fsyncs, %d states\n", n_ops, n_syncs, distinct);
    ck_assert_int_ge(distinct, 10000);
}
END_TEST

START_TEST(every_fsync_counts)
{
    record_save(0);
    int all = n_syncs;
    ck_assert_int_ge(all, 7);
    for (int i = 1; i <= all; i++) {
        record_save(i);
        ck_assert_msg(count_bad(4, 2) > 0, "without fsync %d of %d nothing is lost", i, all);
    }
}
END_TEST

static void begin(void)
{
    setup();
    ps = hx_params_new();
    hx_param_add(ps, HX_INIT_NORMAL, 1, 1, (const int64_t[]){ WIDTH }, "w");
    for (int s = 1; s <= 2; s++) {
        weights[s] = hx_alloc(arena, (size_t)ps->bytes);
        hx_param_init(&ps->list[0], (uint64_t)s, weights[s]);
    }
    ck_ok(hx_fields_default(toy_fields, &conf));
    conf.num_tokens = 256;
}

static void end(void)
{
    hx_params_free(&ps);
    teardown();
}

int main(void)
{
    const TTest *tests[] = { every_state_recovers, every_fsync_counts };
    return run_suite("crash_states", begin, end, tests, HX_COUNT(tests));
}
