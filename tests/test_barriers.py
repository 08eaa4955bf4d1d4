#!/usr/bin/env python3
"""Barriers that are left out, one in a run: Vulkan's synchronisation validation must report each.

usage: test_barriers.py HTXVK FOLDER_OF_THE_LAYER [--every N] [--first N] [MODEL...]
A training of three steps; tests/vk_layer.c leaves a barrier out. What nobody reports has a reason:
host         it makes results visible to the host, whose reads the layer does not follow
begin, last  of a program, and of its plan: the one before, or the one after, does the same, but both must be there,
             for a program does not know what is submitted before and after it
Anything else is a write after a write of ranges that overlap as they are bound and not as they are written (columns
of one tensor, outputs into storage that others were in); the layer never reports that for bound buffers. More
than one in twelve fails."""
import argparse, collections, concurrent.futures, os, re, shutil, subprocess, sys, tempfile

DRIVER = os.environ.get('DRIVER', '/usr/share/vulkan/icd.d/lvp_icd.x86_64.json')
MANIFEST = '/usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json'
MODELS = {
    'hierarchical': 'num_tokens: 128, dim: [24, 16], depth: 1, dim_head: 8, heads: 2, seq_len: 24, hierarchies: [1, 4], '
                    'window_sizes: [8, null]',
    'block_recurrent': 'num_tokens: 128, dim: 24, depth: 2, dim_head: 8, heads: 2, max_seq_len: 12, block_width: 6',
    'infini': 'num_tokens: 128, dim: 24, depth: 1, dim_head: 8, heads: 2, segment_length: 12',
}
CONFIG = '''run: {{seed: 1}}
model: {{arch: {arch}, {model}}}
data: {{train: [text.txt], split: [0.9, 0.05, 0.05]}}
train: {{steps: 3, batch: 2, seq_len: 24, clip_norm: 1}}
optim: {{name: adamw, lr: 3e-3}}
eval: {{every: 0}}
sample: {{every: 0}}
save: {{every: 0}}
'''


def train(o, folder, name, tag, **more):
    """Exit code and what was said about hazards."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(('HTXVK_', 'VK_'))}
    env |= {'VK_DRIVER_FILES': DRIVER, 'VK_ICD_FILENAMES': DRIVER, 'LP_NUM_THREADS': '1',
            'VK_LAYER_PATH': o.layer + ':' + os.path.dirname(MANIFEST), 'VK_INSTANCE_LAYERS': 'VK_LAYER_HTXVK_test',
            'HTXVK_VALIDATION': 'sync'} | more
    out = os.path.join(folder, f'{name}-{tag}')
    r = subprocess.run([o.htxvk, 'train', name + '.yaml', '--out', out, '--device', '0', '--precision', 'fp32',
                        '--validation', '--no-cache'], cwd=folder, env=env, capture_output=True, text=True)
    shutil.rmtree(out, ignore_errors=True)
    return r.returncode, re.findall(r'SYNC-HAZARD-[A-Z-]+', r.stderr), r.stderr


def kinds(words):
    """What each barrier is, by its neighbours."""
    for i, word in enumerate(words):
        if word.endswith('host'):
            yield 'host'
        elif i == 0 or words[i - 1].endswith('host'):
            yield 'begin'
        else:
            yield 'last' if words[i + 1:i + 2] and words[i + 1].endswith('host') else 'inside'


def mutants(o, folder, name):
    log = os.path.join(folder, 'barriers')
    rc, said, err = train(o, folder, name, 'whole', HTXVK_LAYER_BARRIERS=log)
    if rc or said:
        print(f'{name}: with all barriers: exit code {rc}: {err[-600:]}')
        return 1
    with open(log) as f:
        kind = list(kinds(f.read().split()))
    os.remove(log)
    plan = range(o.first, len(kind) + 1, o.every)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda i: train(o, folder, name, i, HTXVK_LAYER_DROP=str(i)), plan))
    silent = collections.defaultdict(list)
    for i, (rc, said, _) in zip(plan, runs):
        if not said:
            silent[kind[i - 1]].append(i)
    missed = sum(len(x) for x in silent.values())
    print(f'{name}: {len(kind)} barriers, {len(plan)} left out in turn, {len(plan) - missed} reported, silent: {dict(silent)}',
          flush=True)
    inside = sum(kind[i - 1] == 'inside' for i in plan)
    return inside == 0 or len(silent['inside']) * 12 > inside


def main():
    p = argparse.ArgumentParser()
    p.add_argument('htxvk', type=os.path.abspath)
    p.add_argument('layer', type=os.path.abspath)
    p.add_argument('models', nargs='*')
    p.add_argument('--every', type=int, default=1)
    p.add_argument('--first', type=int, default=1)
    o = p.parse_intermixed_args()
    if not os.path.exists(MANIFEST) or not os.path.exists(DRIVER):
        print('skipped: vulkan-validationlayers or lavapipe is not installed')
        return 77
    folder, bad = tempfile.mkdtemp(prefix='htxvk-barriers-'), 0
    with open(os.path.join(folder, 'text.txt'), 'w') as f:
        f.write('the quick brown fox jumps over the lazy dog and goes home again. ' * 100)
    for name in o.models or MODELS:
        with open(os.path.join(folder, name + '.yaml'), 'w') as f:
            f.write(CONFIG.format(arch=name, model=MODELS[name]))
        bad += mutants(o, folder, name)
    shutil.rmtree(folder)
    return bad != 0


sys.exit(main())
