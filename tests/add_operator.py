#!/usr/bin/env python3
"""Adding an operator takes its own files and one line in each of two others.

Copies the tree, adds y = x sigmoid(x) with its gradient and two kernels as ARCHITECTURE.md says,
builds, and runs the checks that follow from the descriptor. A wrong derivative must be refused.
Usage: add_operator.py SOURCE_ROOT
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile

OP = r'''// swish.c - x sigmoid(x) and its derivative.
#include "t.h"
#include <math.h>

static void swish_bwd_ref(const hx_ref *r)
{
    for (int64_t i = 0; i < r->dim[0] * r->dim[1]; i++) {
        real s = 1 / (1 + exp(-r->a[1][i]));
        r->a[2][i] = r->a[0][i] * (s + r->a[1][i] * s * (1 - s));
    }
}

HX_OP(swish_bwd, .math = "dx = dy (s + x s (1 - s)),  s = sigmoid(x)", .source = "differentiated from swish",
    .sig = "dy[R,C] x[R,C] -> dx[R,C]", .ref = swish_bwd_ref, .grid = "R*C/256", .kernels = { { "swish_bwd" } },
    .check = "R=1 C=1; R=3 C=257", .bench = "R=4096 C=512");

static void swish_ref(const hx_ref *r)
{
    for (int64_t i = 0; i < r->dim[0] * r->dim[1]; i++)
        r->a[1][i] = r->a[0][i] / (1 + exp(-r->a[0][i]));
}

static void swish_vjp(const hx_node *n, hx_t *d)
{
    hx_apply(&hx_op_swish_bwd, NULL, (hx_t[]){ n->grad[0], n->arg[0] }, d);
}

HX_OP(swish, .math = "y = x sigmoid(x)", .source = "Ramachandran et al. 2017", .sig = "x[R,C] -> y[R,C]",
    .ref = swish_ref, .vjp = swish_vjp, .grid = "R*C/256", .kernels = { { "swish" } },
    .check = "R=1 C=1; R=3 C=257", .bench = "R=4096 C=512");

hx_t t_swish(hx_t x)
{
    hx_t y;
    hx_apply(&hx_op_swish, NULL, &x, &y);
    return y;
}
'''
HEAD = '''#version 460
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, C; };
'''
MAIN = '''
void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i < R * C) %s;
}
'''
SHADERS = {
    'swish': HEAD + 'IN(0, x);  OUT(1, y);' + MAIN % 'y[i] = x[i] / (1 + exp(-x[i]))',
    'swish_bwd': HEAD + 'IN(0, dy);  IN(1, x);  OUT(2, dx);' + MAIN %
        '{ float s = 1 / (1 + exp(-x[i])); dx[i] = dy[i] * (s + x[i] * s * (1 - s)); }',
}


def add_line(path, before, line):
    """Puts `line` before the first line that starts with `before`; it must be there."""
    text = path.read_text().splitlines(keepends=True)
    at = next(i for i, t in enumerate(text) if t.startswith(before))
    path.write_text(''.join(text[:at] + [line] + text[at:]))


def check(root, op):
    run = subprocess.run(['build/tests/check_ops', op, 'host'], cwd=root, capture_output=True, text=True)
    print(run.stdout + run.stderr)
    return run.returncode == 0


def main():
    source = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as temp:
        root = pathlib.Path(temp) / 'htxvk'
        root.mkdir()
        for part in ['meson.build', 'meson_options.txt', 'README.md', 'CHANGELOG.md', 'runtime', 'shaders', 'src',
                     'tests', 'docs', 'examples', 'presets', 'tools']:
            copy = shutil.copytree if (source / part).is_dir() else shutil.copy
            copy(source / part, root / part)
        (root / 'src/ops/swish.c').write_text(OP)
        for name, text in SHADERS.items():
            (root / 'shaders' / (name + '.comp')).write_text(text)
        add_line(root / 'src/ops/meson.build', "  'unfold'", "  'swish': ['swish', 'swish_bwd'],\n")
        add_line(root / 'src/ops/t.h', 'hx_t t_colsum', 'hx_t t_swish(hx_t x);                      // x sigmoid(x)\n')
        subprocess.run(['meson', 'setup', 'build', '--buildtype=plain'], cwd=root, check=True, stdout=subprocess.DEVNULL)
        build = ['ninja', '-C', 'build', 'tests/check_ops']
        subprocess.run(build, cwd=root, check=True, stdout=subprocess.DEVNULL)
        good = check(root, 'swish') and check(root, 'swish_bwd')
        (root / 'src/ops/swish.c').write_text(OP.replace('* (1 - s));', '* (1 + s));'))
        subprocess.run(build, cwd=root, check=True, stdout=subprocess.DEVNULL)
        caught = not check(root, 'swish')
        print('operator added: %s; wrong derivative refused: %s' % (good, caught))
        sys.exit(0 if good and caught else 1)


main()
