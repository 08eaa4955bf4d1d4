#!/usr/bin/env python3
"""Fails on an #include that points up, and on printing, exiting, Vulkan or vendor ids out of place.

usage: layers.py ROOT    (checks itself on seeded mistakes first)"""
import os, re, sys, tempfile

DEV = 'dev kernel'.split()                     # runtime/NAME.[ch]; the other files there are 'base'
ABOVE = 'base dev core ops models optim masks data'
MAY = {                                        # room: rooms and files that it may include
    'base': 'base', 'dev': 'base dev', 'host': 'base dev host', 'null': 'base dev null',
    'vulkan': 'base dev vulkan', 'core': 'base dev core', 'ops': 'base core ops',
    'models': 'base core models src/ops/t.h', 'optim': 'base core optim src/ops/t.h',
    'masks': 'base masks src/ops/attention.h src/ops/attention_drop.h', 'data': 'base data src/core/conf.h',
    'train': ABOVE + ' train', 'top': ABOVE + ' train top', 'cli': ABOVE + ' train top cli host null vulkan',
}
WORDS = [                                      # what may not be written outside the places named
    ('prints or ends the process', r'\b(v?printf|puts|putchar|perror|_?exit|abort)\s*\(|\b(stdout|stderr)\b', r'src/cli/'),
    ('knows Vulkan', r'\b(Vk[A-Z]\w+|vk[A-Z]\w+|VK_\w+)|#\s*include\s*<(vulkan|volk)', r'runtime/vulkan/'),
    ('knows a vendor', r'(?i)\b0x(10de|1002|8086|13b5|5143|1010|106b|14e4)\b', r'runtime/vulkan/quirks\.c$'),
]


def room(path):
    part = path.split('/')
    if part[0] == 'src':
        return part[1] if len(part) > 2 else 'top'
    return part[1] if len(part) > 2 else 'dev' if part[1].split('.')[0] in DEV else 'base'


def without(text, what):                       # blanks comments, or strings, but keeps lines
    return re.sub(what, lambda m: re.sub(r'[^\n]', ' ', m[0]), text, flags=re.S)


def mistakes(root):
    for top in 'runtime', 'src':
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(names):
                path = os.path.relpath(os.path.join(folder, name), root)
                if re.search(r'\.(c|h|c\.in)$', name):
                    with open(os.path.join(root, path), encoding='utf-8') as f:
                        yield from in_file(path, without(f.read(), r'/\*.*?\*/|//[^\n]*'))


def in_file(path, text):
    may = MAY.get(room(path), '').split()
    for m in re.finditer(r'^\s*#\s*include\s*"([^"]+)"', text, re.M):
        to = os.path.normpath(os.path.join(os.path.dirname(path), m[1]))
        if to.startswith(('runtime/', 'src/')) and room(to) not in may and to not in may:
            yield f'{path}: may not include {to}'
    text = without(text, r'"(\\.|[^"\\\n])*"')
    for what, pattern, place in WORDS:
        m = re.search(pattern, text)
        if m and not re.match(place, path):
            yield f'{path}:{text.count(chr(10), 0, m.start()) + 1}: {what}: {m[0].strip()}'


def check_itself():
    wrong = {'runtime/host/a.c': '#include "../vulkan/vk.h"', 'runtime/base.c': '#include "../src/core/op.h"',
             'runtime/pool.c': '#include "dev.h"', 'src/core/a.c': '#include "../ops/t.h"',
             'src/ops/a.c': '#include "../../runtime/dev.h"', 'src/models/a.c': '#include "../optim/optim.h"',
             'src/optim/a.c': '#include "../../runtime/dev.h"', 'src/data/a.c': '#include "../core/tape.h"',
             'src/train/a.c': '#include "../cli/cli.h"', 'src/train/b.c': 'void f(void) { printf("x"); }',
             'src/core/b.c': 'void f(void) { exit(1); }', 'src/core/c.c': 'VkBuffer b;',
             'runtime/dev.c': '#include <vulkan/vulkan.h>', 'runtime/vulkan/a.c': 'int v = 0x10DE;'}
    right = {'src/cli/a.c': '#include "../train/train.h"\nint main(void) { printf("x"); }',
             'runtime/vulkan/quirks.c': '#include "../dev.h"\nint v = 0x10de;', 'runtime/vulkan/b.c': 'VkBuffer b;',
             'src/ops/b.c': '// printf("x"), VkBuffer\nconst char *s = "exit(1)";', 'src/models/b.c': '#include "../ops/t.h"'}
    with tempfile.TemporaryDirectory() as root:
        for path, text in {**wrong, **right}.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), 'w') as f:
                f.write(text)
        found = sorted(re.match(r'[^:]+', m)[0] for m in mistakes(root))
        assert found == sorted(wrong), f'layers.py itself is wrong: {set(found) ^ set(wrong)}'


check_itself()
found = list(mistakes(sys.argv[1]))
print('\n'.join(found) or 'every arrow points down')
sys.exit(bool(found))
