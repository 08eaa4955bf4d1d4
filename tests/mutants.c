// mutants.c - scores the checks of operators: puts one mistake at a time into a compiled kernel and
// counts how many are noticed. Usage: mutants COUNT SEED [DEVICE [LEAST_PERCENT]]; prints a row of
// a table for each. Every mutant runs in a process of its own: crashes and hangs count too.
#include "spirv_mutants.h"
#include "src/core/opcheck.h"
#include "src/core/plan.h"
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CASES = 100, MOST_SITES = 20000, SECONDS = 60, SKIP = 77 };
enum { SURVIVED = 0, KILLED = 8, UNUSED = 9 };
typedef struct { const hx_op *op; const hx_spirv *module; site s; } mutant;
static const char *device = "0";

static int all_sites(mutant *out, int cap)
{
    site *s = malloc(MOST_SITES * sizeof *s);
    int n = 0;
    for (int i = 0; s && i < hx_n_ops; i++)
        for (int r = 0; r < HX_MAX_ROWS && hx_ops[i]->kernels[r].name; r++) {
            const hx_spirv *m = hx_spirv_find(hx_ops[i]->kernels[r].name);
            uint32_t matrix_units = HX_CAP_COOPMAT | HX_CAP_COOPMAT_BF | HX_CAP_COOPMAT2;
            bool seen = !m || hx_ops[i]->kernels[r].needs & matrix_units;
            for (int q = 0; q < r; q++)
                seen |= !strcmp(hx_ops[i]->kernels[q].name, hx_ops[i]->kernels[r].name);
            int k = seen ? 0 : find_sites(m->words, m->n_words, s, MOST_SITES);
            for (int j = 0; j < k && n < cap; j++)
                out[n++] = (mutant){ hx_ops[i], m, s[j] };
        }
    free(s);
    return n;
}

// In a child: the operator with the rows that use this module, broken, until a case fails.
static int try_mutant(const mutant *m)
{
    uint32_t *words = malloc(m->module->n_words * 4);
    memcpy(words, m->module->words, m->module->n_words * 4);
    mutate(words, &m->s);
    hx_spirv broken = { m->module->name, words, m->module->n_words };
    hx_op op = *m->op;
    memset(op.kernels, 0, sizeof op.kernels);
    for (int r = 0, n = 0; r < HX_MAX_ROWS && m->op->kernels[r].name; r++)
        if (!strcmp(m->op->kernels[r].name, m->module->name)) {
            op.kernels[n] = m->op->kernels[r];
            op.kernels[n++].module = &broken;
        }
    hx_dev *d;
    hx_lab *l;
    if (hx_dev_open(&(hx_dev_params){ .select = device, .threads = 1, .no_cache = true },
        &d) || hx_lab_new(d, &l))
        return SKIP;
    int ran = 0, samples = hx_sample_count(op.check);
    for (int i = 0; i < CASES + samples; i++) {
        hx_sample s;
        hx_opreport r;
        int rows = 0;
        if (i < samples ? hx_sample_read(&op, op.check, i, &s) : hx_sample_random(&op,
            (uint64_t)i, &s))
            return SKIP;
        s.random_layout = true;
        if (hx_lab_check_rows(l, &op, &s, (uint64_t)i, &r, &rows))
            return KILLED;
        ran += rows;
    }
    return ran ? SURVIVED : UNUSED;
}

static const char *verdict(const mutant *m, bool *killed)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(SECONDS);
        _exit(try_mutant(m));
    }
    int status = 0;
    *killed = true;
    if (child < 0 || waitpid(child, &status, 0) < 0)
        return "could not run";
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGALRM ? "killed: took over a minute"
            : "killed: crashed the driver";
    *killed = WEXITSTATUS(status) == KILLED;
    return WEXITSTATUS(status) == KILLED ? "killed" : WEXITSTATUS(status) == SURVIVED ? "survived"
         : WEXITSTATUS(status) == UNUSED ? "not run" : "skipped";
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 100, killed = 0, ran = 0;
    uint64_t state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    device = argc > 3 ? argv[3] : "0";
    mutant *all = malloc(100000 * sizeof *all);
    int n = all ? all_sites(all, 100000) : 0;
    hx_dev_info list[8];
    int devices = 0;
    const char *note;
    if (hx_dev_list(list, 8, &devices, &note) || devices < 2)
        return SKIP;
    printf("%d sites\n\n| operator | module | mistake | word | verdict | s |\n", n);
    printf("|---|---|---|---|---|---|\n");
    for (int i = 0; i < count && n; i++) {
        bool dead;
        state = state * 6364136223846793005u + 1442695040888963407u;
        const mutant *m = &all[(state >> 33) % (uint64_t)n];
        time_t from = time(NULL);
        const char *v = verdict(m, &dead);
        bool valid = strcmp(v, "not run") && strcmp(v, "skipped");
        ran += valid;
        killed += valid && dead;
        printf("| %s | %s | %s | %u | %s | %d |\n", m->op->name, m->module->name,
            mutation_names[m->s.kind], m->s.at, v,
               (int)(time(NULL) - from));
    }
    printf("%d of %d killed\n", killed, ran);
    free(all);
    return ran && 100 * killed >= ran * (argc > 4 ? atoi(argv[4]) : 0) ? 0 : 1;
}
