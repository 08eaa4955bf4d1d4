#!/usr/bin/env python3
"""Every model trained on the host and on another device: the same losses.

usage: test_curves.py HTXVK [--device 0] [--steps N] [--validation MODE] [MODEL...]
--validation core|best|sync|gpu: only the device, under Vulkan's validation layer, whose messages fail it.
Losses may be apart by 1e-3 of themselves: what rounding in another order leaves after 100 steps."""
import argparse, json, os, shutil, subprocess, sys, tempfile

# tokens of a sequence, then the model
MODELS = {
    'hierarchical': (24, 'dim: [24, 16], depth: 2, dim_head: 8, heads: 2, seq_len: 24, hierarchies: [1, 4], '
                         'window_sizes: [8, null]'),
    'block_recurrent': (24, 'dim: 24, depth: 2, dim_head: 8, heads: 2, max_seq_len: 12, block_width: 6'),
    'hourglass': (24, 'dim: 24, depth: [1, 1, 1], shorten_factor: 3, dim_head: 8, heads: 2, max_seq_len: 24'),
    'infini': (24, 'dim: 24, depth: 2, dim_head: 8, heads: 2, segment_length: 8'),
    'compressive': (16, 'dim: 24, depth: 2, heads: 2, seq_len: 8'),
    'transformer_xl': (12, 'd_model: 24, n_layer: 2, n_head: 2, d_head: 8, d_inner: 32, tgt_len: 6, mem_len: 6'),
    'rmt_transformer_xl': (12, 'd_model: 24, n_layer: 2, n_head: 2, d_head: 8, d_inner: 32, tgt_len: 6, '
                               'mem_len: 0, num_mem_tokens: 2'),
    'rmt_lucidrains': (18, 'dim: 24, depth: 2, dim_head: 8, heads: 2, seq_len: 9, num_memory_tokens: 3'),
    'rmt': (18, 'segment_size: 12, backbone: {arch: hourglass, num_tokens: 128, dim: 24, max_seq_len: 18, '
            'depth: [1, 1, 1], shorten_factor: 3, heads: 3, dim_head: 8}'),
    'rmt_wrapper': (18, 'dim: 24, depth: 2, heads: 3, num_mem_tokens: 3, segment_size: 12'),
    'memformer': (24, 'dim: 24, num_memory_slots: 4, dec_num_tokens: 128, enc_max_seq_len: 12, enc_depth: 1, '
                      'enc_heads: 2, dec_max_seq_len: 12, dec_depth: 1, dec_heads: 2, mem_update_attn_heads: 2'),
}
TOKENS = {'transformer_xl': 'n_token', 'rmt_transformer_xl': 'n_token', 'memformer': 'enc_num_tokens'}
# what has no such argument
INSTEAD = {'rmt': 'num_mem_tokens: 3'}
CONFIG = '''run: {{seed: 1}}
model: {{arch: {arch}, {tokens}, {model}}}
data: {{train: [text.txt], split: [0.9, 0.05, 0.05]}}
train: {{steps: {steps}, batch: 2, seq_len: {length}, clip_norm: 1}}
optim: {{name: adamw, lr: 3e-3}}
eval: {{every: 0}}
sample: {{every: 0}}
save: {{every: 0}}
log: {{every: 1}}
'''
NEAR = 1e-3


def train(o, folder, name, device, *more):
    out = os.path.join(folder, f'{name}-{device.replace(":", "-")}')
    r = subprocess.run([os.path.abspath(o.htxvk), 'train', f'{name}.yaml', '--out', out, '--device', device,
                        '--precision', 'fp32', '--quiet', *more], cwd=folder, capture_output=True, text=True)
    if r.returncode:
        return f'exit code {r.returncode}: {r.stderr[-600:]}', []
    with open(os.path.join(out, 'metrics.jsonl')) as f:
        rows = [json.loads(line) for line in f]
    return None, [row['loss'] for row in rows if row['type'] == 'train']


def compare(o, folder, name):
    """What is wrong, or None; and a line to print."""
    more = ['--validation'] if o.validation else []
    wrong, got = train(o, folder, name, o.device, *more)
    if wrong or len(got) != o.steps:
        return wrong or f'{len(got)} losses of {o.steps}', ''
    if o.validation:
        return None, f'{o.steps} steps, no message'
    wrong, ref = train(o, folder, name, 'host')
    if wrong:
        return wrong, ''
    worst = max(abs(a - b) / abs(b) for a, b in zip(got, ref))
    falls = ref[0] - sum(ref[-5:]) / 5
    line = f'{o.steps} steps, loss {ref[0]:.3f} to {ref[-1]:.3f}, apart by {worst:.1e} at most'
    if falls <= 0:
        return 'it does not learn', line
    return (None if worst <= NEAR else f'losses apart by {worst:.1e}'), line


def main():
    p = argparse.ArgumentParser()
    p.add_argument('htxvk')
    p.add_argument('models', nargs='*')
    p.add_argument('--device', default='0')
    p.add_argument('--steps', type=int, default=100)
    p.add_argument('--validation', choices=['core', 'best', 'sync', 'gpu'])
    o = p.parse_intermixed_args()
    if o.validation:
        os.environ['HTXVK_VALIDATION'] = o.validation
    folder, bad = tempfile.mkdtemp(prefix='htxvk-curves-'), 0
    with open(os.path.join(folder, 'text.txt'), 'w') as f:
        f.write('the quick brown fox jumps over the lazy dog and goes home again. ' * 100)
    for name in o.models or MODELS:
        length, model = MODELS[name]
        with open(os.path.join(folder, name + '.yaml'), 'w') as f:
            f.write(CONFIG.format(arch=name, model=model, steps=o.steps, length=length,
                                  tokens=INSTEAD.get(name, TOKENS.get(name, 'num_tokens') + ': 128')))
        wrong, line = compare(o, folder, name)
        print(f'{name:20} {line}{"  FAILED: " + wrong if wrong else ""}', flush=True)
        bad += wrong is not None
    shutil.rmtree(folder)
    return bad != 0


sys.exit(main())
