// sample.c - fuzz target: an operator's name, a line, then samples as `htxvk check` takes them; small
// ones are computed.
#include "../../src/core/opcheck.h"
#include "../../src/core/optrial.h"
#include "fuzz.h"

enum { MOST = 2000, WORK = 100000 };

static bool small(const hx_op *op, const hx_sample *s)
{
    const hx_sig *sig = hx_sig_of(op);
    int64_t sum = 0;
    for (int k = 0; k < sig->n_in + sig->n_out; k++) {
        int64_t n = hx_arg_count(op, s->dim, s->attrs, k);
        if (n < 0 || n > MOST || (sum += n) > MOST)
            return false;
    }
    return !op->flops || hx_eval(op->flops, op, s->dim, s->attrs) < WORK;
}

static void try(hx_dev *dev, const hx_op *op, const char *list)
{
    hx_sample s;
    hx_opreport r;
    int n = (int)hx_min(hx_sample_count(list), 4);
    for (int i = 0; i < n; i++) {
        if (hx_sample_read(op, list, i, &s))
            continue;
        if (*s.says && small(op, &s))
            hx_check_wrong(op, &s);
        if (hx_sample_wrong(op, &s) || s.odd_arg >= 0)
            continue;
        hx_sample_say(op, &s);
        if (small(op, &s))
            hx_check_kernel(dev, op, -1, &s, 1, &r);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static hx_dev *dev;
    char *text = strndup((const char *)data, size), *list = strchr(text, '\n');
    if (!dev && hx_dev_open(&(hx_dev_params){ .select = "host", .threads = 1 }, &dev))
        abort();
    if (list)
        *list++ = 0;
    const hx_op *op = hx_op_find(text);
    if (op && !op->view && list)
        try(dev, op, list);
    free(text);
    return 0;
}
