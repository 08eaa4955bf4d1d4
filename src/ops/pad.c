// pad.c - weights filled up with zeros to whole eights, for kernels that move eight numbers at a time.
#include "elem.h"
#include "t.h"
#include <string.h>

enum { R, C };
extern const hx_op hx_op_crop;

// rows, cols: of each part of y
typedef struct pad_attrs { int32_t parts, rows, cols; } pad_attrs;
static const hx_field pad_fields[] = {
    { "parts", HX_I32, offsetof(pad_attrs, parts), "1", 1, INT32_MAX, "parts of the rows" },
    { "rows", HX_I32, offsetof(pad_attrs, rows), NULL, 1, INT32_MAX, "rows of a part of y" },
    { "cols", HX_I32, offsetof(pad_attrs, cols), NULL, 1, INT32_MAX, "columns of y" },
    { 0 }
};
// have: rows of a part of x; C columns
typedef struct crop_attrs { int32_t parts, have, cols; } crop_attrs;
static const hx_field crop_fields[] = {
    { "parts", HX_I32, offsetof(crop_attrs, parts), "1", 1, INT32_MAX, "parts of the rows" },
    { "have", HX_I32, offsetof(crop_attrs, have), NULL, 1, INT32_MAX, "rows of a part of x" },
    { "cols", HX_I32, offsetof(crop_attrs, cols), NULL, 1, INT32_MAX, "columns of x" },
    { 0 }
};

static void pad_ref(const hx_ref *r)
{
    const pad_attrs *a = r->attrs;
    int64_t have = r->dim[R] / a->parts, at = 0;
    for (int64_t p = 0; p < a->parts; p++)
        for (int64_t i = 0; i < a->rows; i++)
            for (int64_t j = 0; j < a->cols; j++)
                r->a[1][at++] = i < have && j < r->dim[C] ? r->a[0][(p * have + i) * r->dim[C] + j] : 0;
}

static void pad_host(const hx_call *c)
{
    const pad_attrs *a = c->attrs;
    int64_t have = c->dim[R] / a->parts, width = c->dim[C];
    for (int64_t row = 0; row < (int64_t)a->parts * a->rows; row++) {
        float *y = (float *)c->a[1] + row * a->cols;
        int64_t i = row % a->rows, n = i < have ? width : 0;
        if (n)
            memcpy(y, (const float *)c->a[0] + (row / a->rows * have + i) * width, (size_t)n * sizeof *y);
        memset(y + n, 0, (size_t)(a->cols - n) * sizeof *y);
    }
}

static const char *pad_wrong(const int64_t *dim, const void *attrs)
{
    const pad_attrs *a = attrs;
    if (dim[R] % a->parts) return "parts must divide the rows";
    return dim[R] / a->parts > a->rows || dim[C] > a->cols ? "y must be as large as x" : NULL;
}

static void pad_vjp(const hx_node *n, hx_t *d)
{
    const pad_attrs *a = (const pad_attrs *)n->attrs;
    hx_apply(&hx_op_crop, &(crop_attrs){ a->parts, (int32_t)(n->dim[R] / a->parts), (int32_t)n->dim[C] },
             (hx_t[]){ n->grad[0], HX_NONE }, d);
}

static bool whole_eights(const int64_t *dim, const void *attrs)
{
    (void)dim;
    return ((const pad_attrs *)attrs)->cols % 8 == 0;
}

HX_OP(pad,
    .math = "y = parts of x, zeros below and beside each", .source = "definition",
    .sig = "x[R,C] -> y[parts*rows,cols]", .attrs = pad_fields, .attrs_size = sizeof(pad_attrs),
    .ref = pad_ref, .vjp = pad_vjp, .host = pad_host, .wrong_if = pad_wrong, .cheap = hx_always_cheap,
    .grid = "parts*rows*cols/256", .flops = "0",
    .kernels = { { "pad" }, { "pad.half", .grid = "parts*rows*cols/2048", .fits = whole_eights,
                   .precision = HX_AUTO, .rounds = 1, .half = 2 } },
    .check = "R=1 C=1 rows=1 cols=1; R=6 C=5 parts=2 rows=8 cols=8; R=7 C=257 rows=7 cols=264;"
             " R=10 C=16 parts=2 rows=9 cols=17; R=8 C=40 rows=16 cols=40",
    .wrong = "R=3 C=5 parts=2 rows=8 cols=8: parts must divide; R=3 C=5 rows=2 cols=8: as large as x",
    .fuzz = "parts=1..3 R=parts..parts*40:parts rows=R..R+9 cols=C..C+9", .exact = "2",
    .bench = "R=2730 C=512 parts=2 rows=1368 cols=512; R=512 C=1365 rows=512 cols=1368");

static void crop_ref(const hx_ref *r)
{
    const crop_attrs *a = r->attrs;
    int64_t rows = r->dim[R] / a->parts, at = 0;
    for (int64_t p = 0; p < a->parts; p++)
        for (int64_t i = 0; i < a->have; i++)
            for (int64_t j = 0; j < a->cols; j++, at++)
                r->a[2][at] = r->a[0][(p * rows + i) * r->dim[C] + j] + (r->a[1] ? r->a[1][at] : 0);
}

static void crop_host(const hx_call *c)
{
    const crop_attrs *a = c->attrs;
    int64_t rows = c->dim[R] / a->parts;
    for (int64_t row = 0; row < (int64_t)a->parts * a->have; row++) {
        const float *y = (const float *)c->a[0] + (row / a->have * rows + row % a->have) * c->dim[C];
        const float *add = c->a[1] ? (const float *)c->a[1] + row * a->cols : NULL;
        float *x = (float *)c->a[2] + row * a->cols;
        for (int64_t j = 0; j < a->cols; j++)
            x[j] = y[j] + (add ? add[j] : 0);
    }
}

static const char *crop_wrong(const int64_t *dim, const void *attrs)
{
    const crop_attrs *a = attrs;
    if (dim[R] % a->parts) return "parts must divide the rows";
    return dim[R] / a->parts < a->have || dim[C] < a->cols ? "x must not be larger than y" : NULL;
}

HX_OP(crop,
    .math = "x = first `have` rows of each part of y, first `cols` columns, + c", .source = "differentiated from pad",
    .sig = "y[R,C] c?[parts*have,cols] -> x[parts*have,cols]",
    .attrs = crop_fields, .attrs_size = sizeof(crop_attrs),
    .ref = crop_ref, .host = crop_host, .wrong_if = crop_wrong,
    .grid = "parts*have*cols/256", .adds = "c", .alias = "x=c",
    .kernels = { { "crop" } },
    .check = "R=1 C=1 have=1 cols=1; R=16 C=8 parts=2 have=3 cols=5 -c; R=7 C=264 have=7 cols=257;"
             " R=18 C=17 parts=2 have=5 cols=16",
    .wrong = "R=3 C=5 parts=2 have=1 cols=5: parts must divide; R=3 C=5 have=4 cols=5: must not be larger",
    .fuzz = "parts=1..3 R=parts*10..parts*40:parts C=9..300 have=1..10 cols=1..9", .exact = "3",
    .bench = "R=2736 C=512 parts=2 have=1365 cols=512; R=512 C=1368 have=512 cols=1365 -c");

// w with each part of its rows filled up to whole eights, and its columns if they are to be; made once.
static hx_t in_eights(hx_t w, int parts, bool rows, bool cols)
{
    hx_tape *t = w.tape;
    if (hx_value_of(w)->eights)
        return (hx_t){ t, hx_value_of(w)->eights };
    int64_t have = hx_dim(w, 0) / parts, width = hx_dim(w, 1);
    pad_attrs a = { parts, (int32_t)(rows ? hx_align(have, HX_HALF_EIGHT) : have),
                    (int32_t)(cols ? hx_align(width, HX_HALF_EIGHT) : width) };
    hx_t y;
    hx_apply(&hx_op_pad, &a, &w, &y);
    if (y.id)
        t->value[w.id].eights = y.id;
    return y;
}

hx_t t_geglu_layer(hx_t x, hx_t w1, hx_t w2, hx_t r)
{
    hx_tape *t = x.tape;
    if (t && t->narrow && w1.id && w2.id && hx_dim(w2, 1) % HX_HALF_EIGHT && hx_dim(w1, 1) % HX_HALF_EIGHT == 0) {
        w1 = in_eights(w1, 2, true, false);
        w2 = in_eights(w2, 1, false, true);
    }
    return t_linear(t_geglu(t_linear(x, w1, HX_NONE, HX_ACT_NONE, HX_NONE)), w2, HX_NONE, HX_ACT_NONE, r);
}
