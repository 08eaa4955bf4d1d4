#!/usr/bin/env python3
"""Training steps of htxvk beside the PyTorch reference classes, in one call.

The reference classes are not part of this project. Put them into a folder first:
    pip install --no-deps --target REF simple-hierarchical-transformer==0.2.0 local-attention==1.11.2 \
        einops hyper-connections torch-einops-utils packaging
Usage:
    bench_torch.py --reference REF --htxvk build/htxvk [--torch-device cpu|cuda] [--threads 2]
                   [--device host --device 0 ...] [--case NAME ...] [--reps 5] [--attention]
Prints a table in markdown. A step is forward, backward, clipping to norm 0.5 and AdamW, in fp32;
the median of --reps after two to warm up. --attention: local attention alone, forward and
backward, rotary embedding included, over growing sequences.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

# constructor arguments, batch, sequence
CASES = {
    'cpu': (dict(num_tokens=256, dim=256, depth=4, seq_len=512, hierarchies=(1, 2), window_sizes=(16, 32)), 2, 512),
    'three': (dict(num_tokens=256, dim=512, depth=6, seq_len=2048, hierarchies=(1, 2, 8),
                   window_sizes=(32, 64, None)), 4, 2048),
    'wide': (dict(num_tokens=256, dim=1024, depth=8, seq_len=2048, hierarchies=(1, 2), window_sizes=(32, 64)), 4, 2048),
    'four': (dict(num_tokens=256, dim=(128, 256, 512, 1024), depth=8, seq_len=1024, hierarchies=(1, 2, 4, 16),
                  hierarchical_stride=(1, 1, 1, 8), window_sizes=(16, 32, 64, None), ff_mult=(2, 2, 4, 4),
                  dim_head=(16, 32, 64, 64), heads=(2, 4, 8, 8)), 4, 1024),
}


def sync(torch, device):
    if device == 'cuda':
        torch.cuda.synchronize()


def timed(torch, device, reps, run):
    times = []
    for i in range(reps + 2):
        sync(torch, device)
        start = time.perf_counter()
        run()
        sync(torch, device)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[2:])


def torch_gemm(torch, device, reps):
    """GFLOP/s of a 1024 x 1024 x 1024 product."""
    a, b = (torch.randn(1024, 1024, device=device) for _ in range(2))
    return 2 * 1024 ** 3 / timed(torch, device, reps, lambda: a @ b) * 1e-6


def torch_step(torch, case, device, reps):
    from simple_hierarchical_transformer import HierarchicalTransformer
    args, batch, seq = CASES[case]
    torch.manual_seed(1)
    model = HierarchicalTransformer(**args, ignore_index=-1).to(device)
    optim = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.99), weight_decay=0.01)
    ids = torch.randint(0, 256, (batch, seq + 1), device=device)

    def step():
        loss, _ = model(ids, return_loss=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optim.step()
        optim.zero_grad()
    ms = timed(torch, device, reps, step)
    peak = torch.cuda.max_memory_allocated() / 2 ** 30 if device == 'cuda' else None
    return ms, peak


def config(case):
    args, batch, seq = CASES[case]
    model = {'arch': 'hierarchical', 'ignore_index': -1}
    model.update({k: list(v) if isinstance(v, tuple) else v for k, v in args.items()})
    return {'model': model, 'data': {'train': ['none']},
            'train': {'steps': 1, 'batch': batch, 'seq_len': seq, 'clip_norm': 0.5}}


def htxvk_step(o, case, device):
    with tempfile.NamedTemporaryFile('w', suffix='.yaml') as f:
        json.dump(config(case), f)
        f.flush()
        run = subprocess.run([o.htxvk, 'bench', '--config', f.name, '--device', device,
                              '--precision', o.precision, '--reps', str(o.reps),
                              '--threads', str(o.threads), '--json', '-'], capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr)
    return json.loads(run.stdout)['results'][0]


HEADS, WIDTH, WINDOW = 8, 64, 32


def torch_attention(torch, device, reps, tokens):
    from local_attention import LocalAttention
    layer = LocalAttention(dim=WIDTH, window_size=WINDOW, causal=True, exact_windowsize=True, autopad=True).to(device)
    q, k, v = (torch.randn(2, HEADS, tokens, WIDTH, device=device, requires_grad=True) for _ in range(3))
    g = torch.randn(2, HEADS, tokens, WIDTH, device=device)
    return timed(torch, device, reps, lambda: layer(q, k, v).backward(g))


def htxvk_op(o, device, op, sample):
    run = subprocess.run([o.htxvk, 'bench', op, '--sample', sample, '--device', device, '--reps', str(o.reps),
                          '--threads', str(o.threads), '--json', '-'], capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr)
    return json.loads(run.stdout)['results'][0]['ms']


def htxvk_attention(o, device, tokens):
    """Queries and keys turned, attention, its gradient in three kernels, gradients turned back."""
    D = HEADS * WIDTH
    rule = 'B=2 N=%d M=%d D=%d heads=%d w=%d' % (tokens, tokens, D, HEADS, WINDOW)
    turn = 'B=2 T=%d D=%d P=%d K=%d heads=%d' % (tokens, D, tokens, WIDTH, HEADS)
    return 4 * htxvk_op(o, device, 'rotary', turn) + sum(
        htxvk_op(o, device, op, rule) for op in ['attn_band', 'attn_band_dq', 'attn_band_dkv']) + \
        htxvk_op(o, device, 'attn_delta', 'B=2 T=%d D=%d heads=%d -dl' % (tokens, D, HEADS))


def attention_table(torch, o):
    print('| tokens | PyTorch module ms | %s |\n|---|---|%s' % (
        ' | '.join('htxvk %s ms, times its speed' % d for d in o.device), '---|' * len(o.device)))
    for tokens in [1024, 2048, 4096, 8192]:
        base = torch_attention(torch, o.torch_device, o.reps, tokens)
        row = [htxvk_attention(o, d, tokens) for d in o.device]
        print('| %d | %.1f | %s |' % (tokens, base, ' | '.join('%.2f, %.1f' % (ms, base / ms) for ms in row)),
              flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--reference', required=True)
    p.add_argument('--htxvk', default='build/htxvk')
    p.add_argument('--torch-device', default='cpu')
    p.add_argument('--threads', type=int, default=2)
    p.add_argument('--device', action='append')
    p.add_argument('--case', action='append', choices=CASES)
    p.add_argument('--precision', default='fp32', help='of htxvk; PyTorch computes fp32')
    p.add_argument('--reps', type=int, default=5)
    p.add_argument('--attention', action='store_true')
    o = p.parse_args()
    o.device = o.device or ['host']
    os.environ['OPENBLAS_NUM_THREADS'] = os.environ['OMP_NUM_THREADS'] = str(o.threads)
    sys.path.insert(0, o.reference)
    import torch
    torch.set_num_threads(o.threads)
    print('PyTorch %s on %s, %d threads: fp32 product of 1024 cubed at %.1f GFLOP/s\n' %
          (torch.__version__, torch.cuda.get_device_name() if o.torch_device == 'cuda' else 'the processor',
           o.threads, torch_gemm(torch, o.torch_device, o.reps)))
    if o.attention:
        attention_table(torch, o)
        return
    print('| case | what | step ms | times PyTorch\'s speed | peak GiB |\n|---|---|---|---|---|')
    for case in o.case or ['cpu']:
        base, peak = torch_step(torch, case, o.torch_device, o.reps)
        print('| %s | PyTorch eager fp32 | %.1f | 1 | %s |' % (case, base, '%.2f' % peak if peak else ''))
        for device in o.device:
            r = htxvk_step(o, case, device)
            print('| %s | htxvk %s | %.1f | %.2f | %.2f |' % (case, device, r['step_ms'], base / r['step_ms'],
                                                          r['peak_bytes'] / 2 ** 30), flush=True)


main()
