#!/usr/bin/env python3
"""Installs into a folder and uses what is there: the command, manual pages, completions, and the library from C.

usage: test_install.py BUILD SOURCE"""
import glob, os, re, shutil, subprocess, sys, tempfile

build, source = map(os.path.abspath, sys.argv[1:3])
root = tempfile.mkdtemp(prefix='htxvk-install-')


def run(*args, **more):
    p = subprocess.run(args, capture_output=True, text=True, **more)
    assert p.returncode == 0, f'{args}: {p.returncode}\n{p.stdout}\n{p.stderr}'
    return p.stdout


def one(pattern):
    found = glob.glob(os.path.join(root, '**', pattern), recursive=True)
    assert len(found) == 1, f'{pattern}: {found}'
    return found[0]


try:
    run('meson', 'install', '-C', build, '--no-rebuild', '--destdir', root)
    htxvk = one('bin/htxvk')
    commands = re.findall(r'^  (\w+) ', run(htxvk, '--help'), re.M)
    assert 'train' in commands and 'doctor' in commands, commands
    # every command has a page that names each of its options, and help
    for c in commands:
        page = open(one(f'man1/htxvk-{c}.1')).read().replace('\\-', '-')
        for option in re.findall(r'^  (--[\w-]+)', run(htxvk, c, '--help'), re.M):
            assert option in page, f'{c}: {option} is not in its page'
    one('man1/htxvk.1')
    assert 'train.skip_zscore' in open(one('man5/htxvk-config.5')).read().replace('\\-', '-')
    if shutil.which('man'):
        env = {**os.environ, 'LC_ALL': 'C.UTF-8', 'MANROFFSEQ': ''}
        p = subprocess.run(['man', '--warnings', '-l', one('man1/htxvk-train.1')], capture_output=True, text=True, env=env)
        assert not p.stderr, p.stderr
    # bash takes its completion and finds a command and an option
    script = f'source {one("bash-completion/completions/htxvk")}; COMP_WORDS=(htxvk tr); COMP_CWORD=1; _htxvk; ' \
             'echo "${COMPREPLY[@]}"; COMP_WORDS=(htxvk train --tra); COMP_CWORD=2; _htxvk; echo "${COMPREPLY[@]}"'
    assert run('bash', '-c', script).splitlines() == ['train', '--trace --trace-steps']
    one('site-functions/_htxvk')
    one('vendor_completions.d/htxvk.fish')

    # the library: nothing but its own names, and a program of a few lines
    library = os.path.realpath(one('libhtxvk.so'))
    if '__asan_init' in run('nm', '-D', library):
        print('a library with sanitizers needs a program with them')
        sys.exit(77)
    names = re.findall(r' [A-Z] (\w+)', run('nm', '-D', '--defined-only', library))
    header = open(one('include/htxvk.h')).read()
    assert sorted(names) == sorted(re.findall(r'HTXVK_API [^;(]*?(htxvk_\w+)\(', header)), names
    pc = one('htxvk.pc')
    prefix = os.path.dirname(os.path.dirname(one('include/htxvk.h')))
    env = {**os.environ, 'PKG_CONFIG_PATH': os.path.dirname(pc)}
    flags = run('pkg-config', f'--define-variable=prefix={prefix}', '--cflags', '--libs', 'htxvk', env=env).split()
    example = os.path.join(source, 'examples/train.c')
    run(os.environ.get('CC', 'cc'), '-Wall', '-Wextra', '-Werror', '-Wno-sign-compare', '-Wno-missing-field-initializers', example, *flags, '-o', os.path.join(root, 'train'))
    with open(os.path.join(root, 'text.txt'), 'w') as f:
        f.write(''.join(f'The {i}. sheep jumps over the fence.\n' for i in range(400)))
    env = {**os.environ, 'LD_LIBRARY_PATH': os.path.dirname(library)}
    out = run(os.path.join(root, 'train'), 'text.txt', cwd=root, env=env)
    losses = [float(x) for x in re.findall(r'loss ([\d.]+)', out)]
    assert len(losses) == 6 and losses[-1] < losses[0] - 0.3, out
    assert 'whole' in run(htxvk, 'inspect', os.path.join(root, 'ckpt'))
    p = subprocess.run([os.path.join(root, 'train')], capture_output=True, text=True, env=env, cwd=root)
    assert p.returncode and 'is needed' in p.stdout
finally:
    shutil.rmtree(root)
