#!/usr/bin/env python3
"""Every example and preset: its configuration is valid, a step can be planned, and, in a small size, it trains."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

HTXVK, ROOT = sys.argv[1], pathlib.Path(sys.argv[2])
# what makes each architecture small without changing what it is
SMALL = {
    'block_recurrent': ['model.dim=32', 'model.dim_head=8', 'model.heads=4', 'model.block_width=16', 'model.max_seq_len=32'],
    'compressive': ['model.dim=32', 'model.heads=4', 'model.depth=2', 'model.seq_len=32', 'model.mem_len=32', 'model.cmem_len=12'],
    'hierarchical': ['model.dim=32', 'model.dim_head=8', 'model.heads=4', 'model.depth=1', 'model.seq_len=64'],
    'hourglass': ['model.dim=32', 'model.dim_head=8', 'model.heads=4', 'model.depth=[1,2,1]', 'model.max_seq_len=64'],
    'infini': ['model.dim=32', 'model.dim_head=8', 'model.heads=4', 'model.depth=2', 'model.segment_length=32'],
    'memformer': ['model.dim=32', 'model.enc_max_seq_len=16'],
    'rmt': ['model.segment_size=16', 'model.backbone.dim=32', 'model.backbone.dim_head=8'],
    'rmt_encoder': ['model.hidden_size=32', 'model.intermediate_size=32', 'train.curriculum=[]', 'train.curriculum_steps=[]'],
    'rmt_lucidrains': ['model.dim=32', 'model.dim_head=8', 'model.heads=4', 'model.depth=2', 'model.seq_len=32'],
    'rmt_transformer_xl': ['model.d_model=32', 'model.d_head=8', 'model.n_layer=2', 'model.tgt_len=16', 'model.mem_len=16'],
    'rmt_wrapper': ['model.dim=32', 'model.depth=2', 'model.segment_size=16'],
    'transformer_xl': ['model.n_layer=2', 'model.d_model=32', 'model.d_head=8', 'model.n_head=4', 'model.d_inner=64', 'model.tgt_len=16',
                       'model.mem_len=16', 'model.eval_tgt_len=16', 'model.eval_mem_len=32'],
}


def arch(file):
    return next(line.split(':')[1].strip() for line in file.read_text().splitlines() if line.strip().startswith('arch:'))


class Examples(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.text = pathlib.Path(self.dir.name) / 'text.txt'
        self.text.write_bytes(b'The quick brown fox jumps over the lazy dog. ' * 100)

    def ok(self, *args):
        r = subprocess.run([HTXVK, *map(str, args)], capture_output=True, text=True)
        self.assertEqual(r.returncode, 0, r.stderr[-1500:])
        return r.stdout

    def test_all(self):
        files = sorted(ROOT.glob('examples/**/*.yaml')) + sorted(ROOT.glob('presets/*.yaml'))
        self.assertGreaterEqual(len(files), 20)
        for file in files:
            with self.subTest(file=file.name):
                self.small(file)

    def small(self, file):
        # tasks have another vocabulary: all ids of this text are below 128
        data = ['data.train=["%s"]' % self.text, 'data.split=[0.6, 0.2, 0.2]']
        data += ['data.valid=[]'] if 'valid:' in file.read_text() else []
        if arch(file) == 'rmt_encoder':
            facts = pathlib.Path(self.dir.name) / 'facts'
            self.ok('data', 'task', 'detect_memorize', '--classes', 1, '--lengths', 64, '--out', facts, '--train', 40, '--test', 8)
            data = ['data.train=["%s/train"]' % facts, 'data.valid=[]']
        own = SMALL[arch(file)]
        if arch(file) == 'block_recurrent' and 'num_state_vectors' in file.read_text():
            own = own + ['model.num_state_vectors=8']
        sets = data + own + ['train.steps=2', 'train.batch=2', 'train.accumulate=1', 'schedule.warmup=1',
                             'eval.every=0', 'sample.every=0', 'log.every=1']
        if arch(file) != 'rmt_encoder':
            sets.append('train.seq_len=64')
        if 'window_sizes' in file.read_text():
            sets.append('model.window_sizes=8')
        plan = json.loads(self.ok('plan', file, '--json', *(x for s in data for x in ('--set', s))))
        self.assertGreater(plan['parameters'], 0)
        run = pathlib.Path(self.dir.name) / (file.parent.name + '-' + file.stem)
        self.ok('train', file, '--out', run, '--device', 'host', *(x for s in sets for x in ('--set', s)))
        rows = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
        losses = [r['loss'] for r in rows if r['type'] == 'train']
        self.assertEqual(len(losses), 2)
        self.assertTrue(all(0 < x < 20 for x in losses), losses)
        self.assertNotEqual(losses[0], losses[1])

    def test_controls(self):
        """Documents that exchange what follows a segment, with memories that change rows there, are the documents."""
        conf = pathlib.Path(self.dir.name) / 'c.yaml'
        data, crossed = conf.with_name('data'), conf.with_name('crossed')
        common = ['--lengths', 8, '--answer', 1, '--symbols', 4, '--train', 400, '--test', 16]
        self.ok('data', 'task', 'copy', '--out', data, *common)
        self.ok('data', 'task', 'copy', '--out', crossed, '--cross', 4, *common)
        shown = [[self.ok('data', 'info', d / 'test', '--document', i).splitlines()[-1].split()[-1] for i in (2, 3)]
                 for d in (data, crossed)]
        self.assertEqual(shown[1], [shown[0][0][:4] + shown[0][1][4:], shown[0][1][:4] + shown[0][0][4:]])

        def loss(d, name, how, steps=1, init='base'):
            conf.write_text('model: {arch: rmt_transformer_xl, n_token: 128, n_layer: 2, n_head: 2, d_model: 16, d_head: 8, '
                            'd_inner: 32, tgt_len: 4, num_mem_tokens: 2, mem_len: 0%s}\n'
                            'data: {train: [%s/train], valid: [%s/test]}\n'
                            'train: {steps: %d, batch: 8, seq_len: 8, init: "%s"}\noptim: {lr: 1e-2}\n'
                            'schedule: {warmup: 0}\neval: {every: 1, batches: 2}\nsample: {every: 0}\n' % (how, d, d, steps, init))
            self.ok('train', conf, '--out', conf.with_name(name), '--device', 'host')
            rows = map(json.loads, conf.with_name(name).joinpath('metrics.jsonl').read_text().splitlines())
            return next(r['loss'] for r in rows if r['type'] == 'eval')
        loss(data, 'base', '', 300, '')
        kept, cross = loss(data, 'kept', ''), loss(crossed, 'cross', '')
        swap = ', eval_memory: swap, eval_memory_at: 1'
        # a permutation of the rows: sums are rounded in another order
        self.assertAlmostEqual(loss(crossed, 'both', swap), kept, delta=1e-5)
        self.assertGreater(abs(cross - kept), 1e-3)
        self.assertGreater(abs(loss(data, 'swap', swap) - kept), 1e-3)
        self.assertGreater(abs(loss(data, 'zero', ', eval_memory: zero') - kept), 1e-3)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1])
