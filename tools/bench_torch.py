#!/usr/bin/env python3
"""Training steps and operators of htxvk beside PyTorch and the reference classes, in one call.

The reference classes are not part of this project. Put them into a folder first:
    pip install --no-deps --target REF simple-hierarchical-transformer==0.2.0 local-attention==1.11.2 \\
        einops hyper-connections torch-einops-utils packaging beartype \\
        block-recurrent-transformer-pytorch==0.4.4
Usage:
    bench_torch.py --reference REF --htxvk build/htxvk [--torch-device cpu|cuda] [--threads 2]
                   [--device host --device 0 ...] [--precision fp32|bf16] [--case NAME ...] [--reps 5]
                   [--torch fp32 --torch bf16 --torch compile ...] [--attention] [--operators [--flex]]
Prints tables in markdown. A step is forward, backward, clipping to norm 0.5 and AdamW; the median
of --reps after two to warm up. --torch: what PyTorch runs: eager in fp32, eager under autocast to
bf16, or compiled with TF32 (a minute or two of compilation, not timed). --attention: local attention
alone, forward and backward, rotary embedding included, over growing sequences. --operators: matrix
products (cuBLAS) and attention (SDPA, with --flex compiled FlexAttention) in bf16, on a GPU.
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
    # two segments of 1024 tokens, the gradient through both
    'br': (dict(num_tokens=256, dim=512, depth=6, max_seq_len=1024, block_width=512, num_state_vectors=512,
                recurrent_layers=(4,)), 4, 2048),
}
CASES['three16'] = (CASES['three'][0], 16, 2048)


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


def torch_model(case):
    args = CASES[case][0]
    if 'block_width' in args:
        from block_recurrent_transformer_pytorch import BlockRecurrentTransformer, RecurrentTrainerWrapper
        model = BlockRecurrentTransformer(**args)
        wrapped = RecurrentTrainerWrapper(model, xl_memories_dropout=0., state_dropout=0.)
        return wrapped, lambda ids: wrapped(ids)
    from simple_hierarchical_transformer import HierarchicalTransformer
    model = HierarchicalTransformer(**args, ignore_index=-1)
    return model, lambda ids: model(ids, return_loss=True)[0]


def torch_step(torch, case, device, reps, how):
    """Milliseconds of a step, GiB at its peak."""
    batch, seq = CASES[case][1:]
    torch.manual_seed(1)
    if device == 'cuda':
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    model, loss_of = torch_model(case)
    model.to(device)
    if how == 'compile':
        torch.set_float32_matmul_precision('high')
        loss_of = torch.compile(loss_of)
    optim = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.99), weight_decay=0.01)
    ids = torch.randint(0, 256, (batch, seq + 1), device=device)

    def step():
        with torch.autocast(device, dtype=torch.bfloat16, enabled=how == 'bf16'):
            loss = loss_of(ids)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optim.step()
        optim.zero_grad()
    ms = timed(torch, device, reps, step)
    peak = torch.cuda.max_memory_allocated() / 2 ** 30 if device == 'cuda' else None
    torch.set_float32_matmul_precision('highest')
    return ms, peak


def config(case):
    args, batch, seq = CASES[case]
    model = {'arch': 'block_recurrent'} if 'block_width' in args else {'arch': 'hierarchical', 'ignore_index': -1}
    model.update({k: list(v) if isinstance(v, tuple) else v for k, v in args.items()})
    return {'model': model, 'data': {'train': ['none']},
            'train': {'steps': 1, 'batch': batch, 'seq_len': seq, 'clip_norm': 0.5}}


def htxvk(o, *args):
    run = subprocess.run([o.htxvk, 'bench', *args, '--threads', str(o.threads), '--json', '-'],
                         capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr)
    return json.loads(run.stdout)['results'][0]


def htxvk_step(o, case, device):
    with tempfile.NamedTemporaryFile('w', suffix='.yaml') as f:
        json.dump(config(case), f)
        f.flush()
        return htxvk(o, '--config', f.name, '--device', device, '--precision', o.precision, '--reps', str(o.reps))


HEADS, WIDTH, WINDOW = 8, 64, 32


def torch_attention(torch, device, reps, tokens):
    from local_attention import LocalAttention
    layer = LocalAttention(dim=WIDTH, window_size=WINDOW, causal=True, exact_windowsize=True, autopad=True).to(device)
    q, k, v = (torch.randn(2, HEADS, tokens, WIDTH, device=device, requires_grad=True) for _ in range(3))
    g = torch.randn(2, HEADS, tokens, WIDTH, device=device)
    return timed(torch, device, reps, lambda: layer(q, k, v).backward(g))


def htxvk_op(o, device, op, sample):
    return htxvk(o, op, '--sample', sample, '--device', device, '--precision', o.precision,
                 '--reps', str(o.reps))['ms']


def htxvk_attention(o, device, tokens):
    """Queries and keys turned, attention, its gradient in three kernels, gradients turned back."""
    D = HEADS * WIDTH
    rule = 'B=2 N=%d M=%d D=%d heads=%d w=%d -gone' % (tokens, tokens, D, HEADS, WINDOW)
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


# rows, inner, outer of x w^T
PRODUCTS = [(4096, 4096, 4096), (8192, 8192, 8192), (8192, 512, 2048), (8192, 2048, 512), (16384, 512, 1536)]
# name, batch, tokens, window (None: causal)
RULES = [('causal', 4, 8192, None), ('window 64', 4, 8192, 64), ('window 512', 1, 32768, 512)]


def fastest(torch, reps, run):
    """Milliseconds on the GPU's own clock."""
    best = float('inf')
    for _ in range(reps + 3):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        best = min(best, begin.elapsed_time(end))
    return best


def product_table(torch, o):
    print('\n| x w^T, bf16: rows x inner x outer | cuBLAS TFLOP/s | htxvk TFLOP/s | share |\n|---|---|---|---|')
    for R, I, O in PRODUCTS:
        x, w = (torch.randn(n, I, device='cuda', dtype=torch.bfloat16) for n in (R, O))
        base = fastest(torch, 20, lambda: x @ w.T)
        own = htxvk_op(o, o.device[0], 'linear', 'R=%d I=%d O=%d -b -r -h' % (R, I, O))
        rate = [2e-9 * R * I * O / ms for ms in (base, own)]
        print('| %d x %d x %d | %.0f | %.0f | %.2f |' % (R, I, O, *rate, rate[1] / rate[0]), flush=True)


def torch_rule(torch, B, tokens, window):
    """Milliseconds of attention forward, and of forward and backward."""
    q, k, v = (torch.randn(B, HEADS, tokens, WIDTH, device='cuda', dtype=torch.bfloat16, requires_grad=True)
               for _ in range(3))
    g = torch.randn_like(q)
    if window is None:
        run = lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    else:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention
        seen = create_block_mask(lambda b, h, i, j: (i >= j) & (i - j <= window), None, None, tokens, tokens)
        compiled = torch.compile(flex_attention)
        run = lambda: compiled(q, k, v, block_mask=seen)
    with torch.no_grad():
        forward = fastest(torch, 20, run)
    return forward, fastest(torch, 20, lambda: run().backward(g))


def rule_table(torch, o):
    torch.use_deterministic_algorithms(True, warn_only=True)
    print('\n| attention, bf16, batch x 8 heads of 64 x tokens | PyTorch ms: forward, with backward | '
          'htxvk ms | times its speed |\n|---|---|---|---|')
    for name, B, tokens, window in RULES:
        if window is not None and not o.flex:
            continue
        base = torch_rule(torch, B, tokens, window)
        D, op = HEADS * WIDTH, 'attn_causal' if window is None else 'attn_band'
        rule = 'B=%d N=%d M=%d D=%d heads=%d -gone' % (B, tokens, tokens, D, HEADS)
        rule += '' if window is None else ' w=%d' % window
        forward = htxvk_op(o, o.device[0], op, rule)
        both = forward + sum(htxvk_op(o, o.device[0], op + part, rule) for part in ('_dq', '_dkv')) + \
            htxvk_op(o, o.device[0], 'attn_delta', 'B=%d T=%d D=%d heads=%d -dl' % (B, tokens, D, HEADS))
        print('| %s, %d x %d | %.3f, %.3f | %.3f, %.3f | %.2f, %.2f |' % (
            name, B, tokens, *base, forward, both, base[0] / forward, base[1] / both), flush=True)


def step_table(torch, o):
    print('| case | what | step ms | times its speed | peak GiB |\n|---|---|---|---|---|')
    for case in o.case or ['cpu']:
        first = None
        for how in o.torch:
            try:
                ms, peak = torch_step(torch, case, o.torch_device, o.reps, how)
            except Exception as e:
                print('| %s | PyTorch %s | failed: %s | | |' % (case, how, str(e).split('\n')[0][:80]), flush=True)
                continue
            first = first or ms
            name = 'compiled, TF32' if how == 'compile' else 'eager ' + how
            print('| %s | PyTorch %s | %.1f | %.2f | %s |' % (case, name, ms, first / ms,
                                                           '%.2f' % peak if peak else ''), flush=True)
        for device in o.device:
            r = htxvk_step(o, case, device)
            print('| %s | htxvk %s %s | %.1f | %s | %.2f |' % (
                case, device, o.precision, r['step_ms'], '%.2f' % (first / r['step_ms']) if first else '',
                r['peak_bytes'] / 2 ** 30), flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--reference', required=True)
    p.add_argument('--htxvk', default='build/htxvk')
    p.add_argument('--torch-device', default='cpu')
    p.add_argument('--threads', type=int, default=2)
    p.add_argument('--device', action='append')
    p.add_argument('--case', action='append', choices=CASES)
    p.add_argument('--precision', default='fp32', help='of htxvk')
    p.add_argument('--torch', action='append', choices=['fp32', 'bf16', 'compile'])
    p.add_argument('--reps', type=int, default=5)
    p.add_argument('--attention', action='store_true')
    p.add_argument('--operators', action='store_true')
    p.add_argument('--flex', action='store_true')
    o = p.parse_args()
    o.torch = o.torch or ['fp32']
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
    if o.case or not o.operators:
        step_table(torch, o)
    if o.operators:
        product_table(torch, o)
        rule_table(torch, o)


main()
