#!/usr/bin/env python3
"""The command as users and scripts meet it: results on stdout, one clear message on stderr, documented
exit codes, nothing lost. Everything runs on the host device unless a test is about devices.

usage: test_cli.py HTXVK [-v] [TEST...]"""
import json, os, pathlib, re, shutil, signal, struct, subprocess, sys, tempfile, time, unittest

HTXVK = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else 'htxvk'
CONFIG = '''run: {seed: 1}
model:
  arch: hierarchical
  num_tokens: 128
  dim: [16, 24]
  depth: 1
  dim_head: 8
  heads: 2
  seq_len: 32
  hierarchies: [1, 4]
  window_sizes: [8, null]
data: {train: [text.txt], split: [0.8, 0.1, 0.1]}
train: {steps: 4, batch: 2}
optim: {name: adamw, lr: 1e-3}
eval: {every: 2, batches: 1}
sample: {every: 0}
save: {every: 2, keep: 3}
log: {every: 1}
'''
CASE = {'model': 'hierarchical', 'num_tokens': 16, 'dim': 8, 'depth': 1, 'dim_head': 4, 'heads': 2, 'seq_len': 16}
NO_DRIVER = {'VK_DRIVER_FILES': '/nonexistent', 'VK_ICD_FILENAMES': '/nonexistent'}


def tensors(path):
    with open(path, 'rb') as f:
        data = f.read()
    n = struct.unpack('<Q', data[:8])[0]
    head = json.loads(data[8:8 + n])
    head.pop('__metadata__', None)
    return {k: (v['dtype'], v['shape'], data[8 + n + v['data_offsets'][0]:8 + n + v['data_offsets'][1]])
            for k, v in head.items()}


def write_tensors(path, items):
    head, body = {}, b''
    for name, (dtype, shape, data) in items.items():
        head[name] = {'dtype': dtype, 'shape': shape, 'data_offsets': [len(body), len(body) + len(data)]}
        body += data
    head = json.dumps(head).encode()
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(head)) + head + body)


class Cli(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='htxvk-cli-')
        self.put('c.yaml', CONFIG)
        self.put('text.txt', ''.join(f'line {i} of a text that is not very long.\n' for i in range(200)))

    def tearDown(self):
        shutil.rmtree(self.dir)

    def at(self, name):
        return os.path.join(self.dir, name)

    def put(self, name, text):
        with open(self.at(name), 'wb') as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        return self.at(name)

    def run_it(self, *args, env=None, **more):
        e = dict(os.environ, **(env or {}))
        return subprocess.run([HTXVK, *args], cwd=self.dir, env=e, capture_output=True, timeout=120, **more)

    def ok(self, *args, **more):
        r = self.run_it(*args, **more)
        self.assertEqual(r.returncode, 0, r.stderr.decode(errors='replace'))
        return r

    def fails(self, code, says, *args, **more):
        """Exit code, one message that begins with 'error: ', has an id and says each of `says`."""
        r = self.run_it(*args, **more)
        err = r.stderr.decode(errors='replace')
        self.assertEqual(r.returncode, code, f'{args}: {err}')
        lines = [l for l in err.splitlines() if l.startswith('error: ')]
        self.assertEqual(len(lines), 1, err)
        self.assertRegex(lines[0], r'\[E-[A-Z0-9-]+\]$')
        for word in [says] if isinstance(says, str) else says:
            self.assertIn(word, lines[0])
        return r

    def train(self, out='run', *more):
        return self.ok('train', 'c.yaml', '--out', out, '--device', 'host', *more)

    def case(self, conf=CASE, tokens=9, **change):
        """A case for `forward` with weights of our own; its parameters come from a short training."""
        conf = dict(conf, **change)
        model = {k: v for k, v in conf.items() if k != 'model'}
        lines = ''.join(f'  {k}: {json.dumps(v)}\n' for k, v in model.items())
        self.put('m.yaml', f'model:\n  arch: hierarchical\n{lines}data: {{train: [d.txt]}}\ntrain: {{steps: 1, batch: 1}}\n'
                           'eval: {every: 0}\nsample: {every: 0}\n')
        self.put('d.txt', bytes(i % 16 for i in range(300)))
        self.ok('train', 'm.yaml', '--out', 'm', '--device', 'host')
        shutil.copy(self.at('m/ckpt/latest/model.safetensors'), self.at('w.safetensors'))
        self.put('case.json', json.dumps(conf))
        self.ids = struct.pack(f'<{tokens}i', *[(7 * i + 3) % 16 for i in range(tokens)])
        write_tensors(self.at('io.safetensors'), {'ids': ('I32', [1, tokens], self.ids)})

    def forward(self, **change):
        a = dict(config='case.json', weights='w.safetensors', input='io.safetensors', output='out.safetensors', device='host')
        a.update(change)
        return ['forward'] + [w for k, v in a.items() if v is not None for w in (f'--{k}', v)]

    # ---- words ------------------------------------------------------------------------------

    def test_usage(self):
        self.fails(2, ["'trian'", "'train'"], 'trian')
        self.fails(2, 'command is missing')
        self.fails(2, ["'--promt'", "'--prompt'"], 'generate', 'x', '--promt', 'y')
        self.fails(2, "'--length' needs a value", 'generate', 'x', '--length')
        self.fails(2, '--length many', 'generate', 'x', '--length', 'many')
        self.fails(2, '--top-p 2', 'generate', 'x', '--top-p', '2')
        self.fails(2, 'CONFIG.yaml', 'plan')
        self.fails(2, "'b.yaml'", 'plan', 'a.yaml', 'b.yaml')
        self.fails(2, '--config', 'forward')
        self.fails(2, 'nothing_like_it', 'check', 'nothing_like_it', '--device', 'host')
        self.fails(2, '--split', 'eval', 'x', '--split')

    def test_untrained(self):
        self.put('br.json', json.dumps({
            'model': {'arch': 'block_recurrent', 'num_tokens': 128, 'dim': 16, 'depth': 2, 'dim_head': 8, 'heads': 2,
                      'max_seq_len': 32, 'block_width': 16, 'use_compressed_mem': True},
            'data': {'train': ['text.txt']}}))
        said = lambda *more: [w for w in ('writes the states gets no', 'mem_manager') if w in self.ok(
            'plan', 'br.json', *[a for m in more for a in ('--set', 'model.' + m)]).stderr.decode()]
        short = 'max_seq_len=16'
        self.assertEqual(said(), [])
        self.assertEqual(said(short), ['writes the states gets no', 'mem_manager'])
        self.assertEqual(said(short, 'recurrent_layers=[]'), ['mem_manager'])
        self.assertEqual(said(short, 'use_compressed_mem=false'), ['writes the states gets no'])
        self.assertEqual(said(short, 'live_states=true', 'live_memories=true'), [])

    def test_help(self):
        names = [l.split()[0] for l in self.ok('--help').stdout.decode().splitlines() if l.startswith('  ')]
        # one command for every file of src/cli that has one
        cli = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../src/cli')
        files = [f for f in os.listdir(cli) if f.endswith('.c')]
        with_command = [f[:-2] for f in files if re.search(r'^HX_CMD\(', open(os.path.join(cli, f)).read(), re.M)]
        self.assertEqual(sorted(names), sorted(with_command))
        for verb in names:
            text = self.ok(verb, '--help').stdout
            self.assertIn(b'--device', text)
            self.assertEqual(text, self.ok('help', verb).stdout)
        self.assertRegex(self.ok('--version').stdout.decode(), r'^htxvk \d+\.\d+\.\d+\n$')

    def test_json(self):
        kinds = [d['kind'] for d in json.loads(self.ok('devices', '--json').stdout)['devices']]
        self.assertEqual(kinds[0], 'host')
        plan = json.loads(self.ok('plan', 'c.yaml', '--json').stdout)
        self.assertGreater(plan['peak_bytes'], 16 * plan['parameters'])
        self.assertEqual(plan['submits'], 1)
        self.assertEqual(sum(plan['memory'].values()), plan['peak_bytes'])
        self.assertGreater(plan['host_copy_bytes'], 12 * plan['parameters'] - 1)
        bench = json.loads(self.ok('bench', '--config', 'c.yaml', '--reps', '2', '--device', 'host', '--json').stdout)
        self.assertLess(abs(bench['results'][0]['peak_bytes'] / plan['peak_bytes'] - 1), 0.02)
        self.ok('check', 'add', 'hierarchical', '--device', 'host', '--json', 'check.json')
        with open(self.at('check.json')) as f:
            results = json.load(f)['devices'][0]['results']
        self.assertTrue(results and all(r['ok'] for r in results))

    def test_streams(self):
        with open('/dev/full', 'w') as full:
            r = subprocess.run([HTXVK, 'devices'], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(r.returncode, 7)
        self.assertIn(b'No space left', r.stderr)
        # closed descriptors must not become the run's files
        shell = f'exec {HTXVK} train c.yaml --out closed --device host <&- >&- 2>&-'
        self.assertEqual(subprocess.run(['sh', '-c', shell], cwd=self.dir).returncode, 0)
        with open(self.at('closed/metrics.jsonl')) as f:
            for line in f:
                json.loads(line)

    # ---- devices ----------------------------------------------------------------------------

    def test_no_such_device(self):
        for select in ['99', 'name:no such gpu', 'uuid:00', 'gpu']:
            self.fails(4, [select, 'host'], 'check', 'add', '--device', select)

    def test_no_driver(self):
        r = self.ok('devices', env=NO_DRIVER)
        self.assertIn(b'no Vulkan driver', r.stdout)
        self.fails(4, 'no Vulkan driver', 'check', 'add', '--device', '0', env=NO_DRIVER)
        r = self.ok('check', 'add', env=NO_DRIVER)
        self.assertIn(b'warning: no usable Vulkan device', r.stderr)
        r = self.ok('check', 'add', '--device', 'host', env=NO_DRIVER)
        self.assertEqual(r.stderr, b'')

    def test_damaged_driver_file(self):
        env = dict.fromkeys(NO_DRIVER, self.put('bad.json', '{'))
        self.fails(4, 'VK_DRIVER_FILES', 'check', 'add', '--device', '0', env=env)

    def test_jobs(self):
        """Several operators at a time: the same results, in the same order."""
        results = []
        for jobs in '1', '3':
            args = ['softmax', 'add', 'rmsnorm*', 'memformer', '--cases', '4', '--device', 'host', '--jobs', jobs]
            self.ok('check', *args, '--json', 'check.json')
            with open(self.at('check.json')) as f:
                rows = json.load(f)['devices'][0]['results']
            results.append([{k: v for k, v in row.items() if k not in ('seconds', 'ms')} for row in rows])
        self.assertGreater(len(results[0]), 4)
        self.assertEqual(*results)

    def test_validation(self):
        """A training, a generation and a check under Vulkan's validation layer: no remarks."""
        kinds = [d['kind'] for d in json.loads(self.ok('devices', '--json').stdout)['devices'] if d['usable']]
        if 'vulkan' not in kinds:
            self.skipTest('no Vulkan device')
        args = ['--device', '0', '--validation']
        r = self.run_it('train', 'c.yaml', '--out', 'run', '--set', 'sample.every=2', '--set', 'sample.length=4',
                        '--set', 'train.accumulate=2', *args)
        if r.returncode == 4 and b'layer' in r.stderr:
            self.skipTest('no validation layer')
        self.assertEqual(r.returncode, 0, r.stderr.decode(errors='replace'))
        self.ok('generate', 'run', '--length', '40', *args)
        self.ok('check', 'hierarchical', *args)
        # the control: with any one of these barriers left out the layer must speak
        for n in ['7', '40']:
            r = self.run_it('train', 'c.yaml', '--out', 'bad' + n, '--set', 'train.steps=1', *args,
                            env={'HTXVK_DROP_BARRIER': n})
            self.assertEqual(r.returncode, 70, f'barrier {n} was left out: {r.stderr.decode(errors="replace")}')
            self.assertIn(b'hazard', r.stderr.lower())

    def test_same_bits(self):
        """Twenty trainings, on any number of threads, end with the same parameters."""
        kinds = [d['kind'] for d in json.loads(self.ok('devices', '--json').stdout)['devices'] if d['usable']]
        runs = [('host', {}, str(1 + i % 4)) for i in range(20)]
        if 'vulkan' in kinds:
            runs += [('0', {'LP_NUM_THREADS': str(i % 5)}, '0') for i in range(20)]
        seen = {}
        for i, (device, env, threads) in enumerate(runs):
            self.ok('train', 'c.yaml', '--out', f'r{i}', '--device', device, '--threads', threads,
                    '--set', 'train.steps=3', '--set', 'eval.every=0', '--set', 'sample.every=0', env=env)
            with open(self.at(f'r{i}/ckpt/latest/model.safetensors'), 'rb') as f:
                seen.setdefault(device, set()).add(f.read())
        for device, results in seen.items():
            self.assertEqual(len(results), 1, f'{len(results)} different results on {device}')

    # ---- configurations ---------------------------------------------------------------------

    def test_config(self):
        bad = {'  dim: [16, 24]': ('  dmi: [16, 24]', ['c.yaml:5:3', "'model.dmi'", "'dim'"]),
               'steps: 4': ('steps: many', ['c.yaml:13:', 'steps']),
               'heads: 2': ('heads: 0', ['c.yaml:', 'heads']),
               'batch: 2': ('batch: 1e30', ['c.yaml:13:', 'batch']),
               'name: adamw': ('name: adamv', ['adamv']),
               'arch: hierarchical': ('arch: hierarchic', ['hierarchic']),
               'hierarchies: [1, 4]': ('hierarchies: [1, 3]', ['hierarchies']),
               'window_sizes: [8, null]': ('window_sizes: [8]', ['window_sizes']),
               '  depth: 1': ('  depth: 1\n  predict_hierarchy: [1, 4]', ['predict_hierarchy', '2 values']),
               'sample: {every: 0}': ('sample: {prompt: "\u00e4"}', ['c.yaml:16:', 'byte 195', '128']),
               'data: {train: [text.txt], split: [0.8, 0.1, 0.1]}': ('', ['c.yaml: ', "'data.train'"]),
               'dim: [16, 24]': ('dim: [16, 24', ['c.yaml:'])}
        for old, (new, says) in bad.items():
            self.put('c.yaml', CONFIG.replace(old, new))
            for verb in 'plan', 'train':
                self.fails(3, says, verb, 'c.yaml')
        self.put('c.yaml', CONFIG)
        self.fails(2, ['train.setps', "'steps'"], 'plan', 'c.yaml', '--set', 'train.setps=3')
        self.fails(2, 'steps', 'plan', 'c.yaml', '--set', 'train.steps=some')
        # a message is one line whatever it quotes
        self.fails(2, ["'a?b'", 'a\\x0ab'], 'plan', 'c.yaml', '--set', 'train.steps=a\nb')
        self.fails(3, 'missing.yaml', 'train', 'missing.yaml')
        self.fails(3, 'config.yaml', 'train', '.')
        self.assertEqual(sorted(os.listdir(self.dir)), ['c.yaml', 'text.txt'])

    def test_absurd_sizes(self):
        def sets(*pairs):
            return [w for p in pairs for w in ('--set', p)]
        for pairs in [('model.dim=[65536, 65536]', 'model.depth=1000'), ('train.batch=65536', 'train.accumulate=65536'),
                      ('model.num_tokens=16777216', 'model.dim=[65536, 65536]')]:
            r = self.run_it('train', 'c.yaml', '--device', 'host', *sets(*pairs))
            self.assertIn(r.returncode, (3, 6), r.stderr)
            self.assertIn(b'error: ', r.stderr)
        self.fails(6, ['MiB', 'activations', 'fits with train.batch='], 'train', 'c.yaml', '--device', 'host',
                   *sets('train.batch=8192', 'model.dim=[1024, 1024]', 'model.depth=32'))
        # refused before the plan of such a model, which takes minutes
        self.fails(6, 'MiB', 'train', 'c.yaml', '--device', 'host', *sets('model.dim=4096', 'model.depth=4096'))
        self.assertFalse(os.path.exists(self.at('runs')))

    def test_text(self):
        def train(text):
            self.put('text.txt', text)
            return ['train', 'c.yaml', '--device', 'host', '--out', 'run']
        self.fails(3, 'empty', *train(''))
        self.fails(3, '33', *train('short'))
        self.fails(3, ['text.txt', '200', '3000'], *train(b'a' * 3000 + bytes([200]) + b'a' * 3000))
        os.remove(self.at('text.txt'))
        self.fails(3, 'text.txt', 'train', 'c.yaml', '--device', 'host')
        self.put('text.txt.gz', b'\x1f\x8b\x08\x00 not a gzip file')
        self.fails(3, 'text.txt.gz', 'train', 'c.yaml', '--device', 'host', '--set', 'data.train=[text.txt.gz]')
        self.assertFalse(os.path.exists(self.at('run')))

    # ---- runs -------------------------------------------------------------------------------

    def rows(self, run, kind):
        with open(self.at(run + '/metrics.jsonl')) as f:
            return [r for r in map(json.loads, f) if r['type'] == kind]

    def test_train(self):
        r = self.train()
        self.assertEqual(r.stdout, b'run\n')
        self.assertEqual([r['step'] for r in self.rows('run', 'train')], [1, 2, 3, 4])
        self.assertEqual([r['step'] for r in self.rows('run', 'eval')], [0, 2, 4])
        for row in self.rows('run', 'train'):
            self.assertEqual(row['tokens'], row['step'] * 2 * 32)
            for key in 'loss bpc lr grad_norm tok_s step_ms ce_loss recon_loss ar_loss'.split():
                self.assertIsInstance(row[key], (int, float), key)
            self.assertAlmostEqual(row['bpc'], row['ce_loss'] / 0.6931471805599453, places=5)
        for name in 'config.yaml train.log samples ckpt/step-00000002 ckpt/step-00000004/MANIFEST.json'.split():
            self.assertTrue(os.path.exists(self.at('run/' + name)), name)
        self.fails(2, 'exists already', 'train', 'c.yaml', '--out', 'run', '--device', 'host')
        self.fails(2, '--out', 'train', 'run', '--out', 'other')
        before = os.stat(self.at('run/ckpt/step-00000004/model.safetensors')).st_mtime_ns
        self.ok('train', 'run')
        self.assertEqual(os.stat(self.at('run/ckpt/step-00000004/model.safetensors')).st_mtime_ns, before)
        # more steps for a finished run
        self.ok('train', 'run', '--set', 'train.steps=6')
        self.assertTrue(os.path.exists(self.at('run/ckpt/step-00000006')))
        self.ok('train', 'run')

    def test_default_directory(self):
        out = self.ok('train', 'c.yaml', '--device', 'host', '--quiet')
        self.assertRegex(out.stdout.decode(), r'^runs/c-\d{8}-\d{6}\n$')
        self.assertEqual(out.stderr, b'')
        self.assertEqual(os.listdir(self.at('runs')), [out.stdout.decode().strip()[5:]])

    def test_one_token(self):
        """The prediction loss needs two tokens of a hierarchy: said in training, left out of an evaluation's sum."""
        self.fails(3, ['train.seq_len', '1 tokens', 'hierarchy 4', '2 at least'], 'train', 'c.yaml', '--out', 'short', '--device', 'host',
                   '--set', 'train.seq_len=1')
        self.train()
        self.put('34.txt', 'thirty-four bytes are here to read')
        e = json.loads(self.ok('eval', 'run', '--data', '34.txt', '--device', 'host', '--json').stdout)
        self.assertEqual((e['windows'], e['tokens']), (2, 33))
        self.assertGreater(e['loss'], e['ce_loss'])
        self.put('2.txt', 'ab')
        e = json.loads(self.ok('eval', 'run', '--data', '2.txt', '--device', 'host', '--json').stdout)
        self.assertNotIn('loss', e)

    def test_file_size_limit(self):
        """A checkpoint that the limit on file sizes forbids is a message, not a signal."""
        shell = f'ulimit -f 10; exec {HTXVK} train c.yaml --out small --device host'
        r = subprocess.run(['bash', '-c', shell], cwd=self.dir, capture_output=True, timeout=120)
        self.assertEqual(r.returncode, 7, r.stderr)
        self.assertRegex(r.stderr.decode(), r"error: .*small/ckpt/.*File too large \[E-IO\]\n$")

    def test_unwritable(self):
        self.fails(7, '/proc/', 'train', 'c.yaml', '--out', '/proc/run', '--device', 'host')

    def test_signal_and_resume(self):
        self.train('whole', '--set', 'train.steps=400', '--set', 'save.every=400', '--set', 'eval.every=100')
        args = ['train', 'c.yaml', '--out', 'cut', '--device', 'host', '--set', 'train.steps=400', '--set',
                'save.every=400', '--set', 'eval.every=100']
        stopped = 0
        for sig in signal.SIGTERM, signal.SIGINT, signal.SIGKILL:
            p = subprocess.Popen([HTXVK, *args], cwd=self.dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            rows = 0
            while p.poll() is None and rows < 30:      # let it take some steps of its own
                rows += b'ms/step' in p.stderr.readline()
            if p.poll() is None and sig != signal.SIGKILL:
                r = self.fails(7, ['another process'], 'train', 'cut', '--device', 'host')
            p.send_signal(sig)
            out, err = p.communicate(timeout=60)
            self.assertIn(p.returncode, (75, 0) if sig != signal.SIGKILL else (-9, 0), err)
            if p.returncode == 75:
                stopped += 1
                self.assertIn(b'htxvk train cut', err)
            args = ['train', 'cut']
        self.assertGreater(stopped, 0)
        self.ok('train', 'cut')
        for name in 'model', 'optimizer':
            a, b = (tensors(self.at(f'{run}/ckpt/step-00000400/{name}.safetensors')) for run in ('whole', 'cut'))
            self.assertEqual(a, b)
        strip = lambda rows: [{k: r[k] for k in ('step', 'loss', 'grad_norm', 'lr')} for r in rows]
        self.assertEqual(strip(self.rows('whole', 'train')), strip(self.rows('cut', 'train')))

    def test_damaged_checkpoint(self):
        self.train()
        def damage(step):
            path = self.at(f'run/ckpt/step-0000000{step}/model.safetensors')
            with open(path, 'r+b') as f:
                f.seek(-9, 2)
                byte = f.read(1)
                f.seek(-9, 2)
                f.write(bytes([byte[0] ^ 1]))
        damage(4)
        r = self.ok('train', 'run')
        self.assertIn(b'step-00000004', r.stderr)
        self.assertIn(b'resumed from run/ckpt/step-00000002', r.stderr)
        damage(2)
        damage(4)
        self.fails(3, 'run', 'generate', 'run', '--device', 'host')
        self.fails(3, 'no such run', 'generate', 'nowhere', '--device', 'host')
        self.fails(3, 'no checkpoint', 'eval', '.', '--device', 'host')

    def test_eval(self):
        self.train()
        self.put('e.txt', 'a' * 100)
        e = json.loads(self.ok('eval', 'run', '--data', 'e.txt', '--device', 'host', '--json').stdout)
        self.assertEqual((e['tokens'], e['windows']), (99, 4))
        self.assertAlmostEqual(e['bpc'], e['ce_loss'] / 0.6931471805599453, places=5)
        one = json.loads(self.ok('eval', 'run/ckpt/step-00000004', '--data', 'e.txt', '--device', 'host', '--batch', '1',
                                 '--json', '-').stdout)
        self.assertAlmostEqual(e['bpc'], one['bpc'], places=5)
        self.ok('eval', 'run', '--split', 'test', '--device', 'host')
        self.fails(3, 'empty', 'eval', 'run', '--data', self.put('empty', ''), '--device', 'host')
        self.fails(3, ['bad.txt', '255'], 'eval', 'run', '--data', self.put('bad.txt', b'ab\xff'), '--device', 'host')
        self.fails(3, 'nowhere', 'eval', 'run', '--data', 'nowhere', '--device', 'host')
        self.fails(2, '--data', 'eval', 'run/ckpt/latest', '--device', 'host')

    def test_generate(self):
        self.train()
        text = lambda *more: self.ok('generate', 'run', '--device', 'host', '--length', '50', *more).stdout
        self.assertEqual(len(text()), 50)
        self.assertEqual(text('--seed', '4'), text('--seed', '4'))
        self.assertNotEqual(text('--seed', '4'), text('--seed', '5'))
        self.assertEqual(text('--temp', '0'), text('--top-k', '1', '--seed', '9'))
        self.assertEqual(text('--prompt', 'line 7', '--temp', '0'),
                         self.ok('generate', 'run', '--device', 'host', '--length', '50', '--temp', '0', '--prompt', '-',
                                 input=b'line 7').stdout)
        self.fails(3, ['byte 195', 'offset 1'], 'generate', 'run', '--device', 'host', '--prompt', 'a\u00e4')
        self.assertEqual(self.ok('generate', 'run', '--length', '0', '--device', 'host').stdout, b'')

    # ---- data -------------------------------------------------------------------------------

    def test_task(self):
        self.ok('data', 'task', 'recall', '--out', 't', '--lengths', '32', '--train', '40', '--test', '6', '--seed', '3')
        info = json.loads(self.ok('data', 'info', 't/train', '--json').stdout)
        self.assertEqual((info['documents'], info['longest'], info['labels'], info['made']['seed']), (40, 33, 40, 3))
        self.assertRegex(self.ok('data', 'info', 't/test', '--document', '5').stdout.decode(), r'document +:([A-Z]).*\?\1\[.\]\n$')
        more = ['--set', 'data.train=[t/train]', '--set', 'data.valid=[t/test]']
        self.train('run', *more)
        rows = self.rows('run', 'eval')
        self.assertTrue(rows and all(0 <= r['acc'] == r['acc_all'] <= 1 for r in rows))
        self.assertNotIn('acc', self.rows('run', 'train')[0])
        # labels follow their own micro-batch
        self.train('half', *more, '--set', 'train.batch=1', '--set', 'train.accumulate=2')
        for a, b in zip(self.rows('run', 'train'), self.rows('half', 'train')):
            self.assertAlmostEqual(a['bpc'], b['bpc'], places=3)
        e = json.loads(self.ok('eval', 'run', '--data', 't/test', '--device', 'host', '--json').stdout)
        self.assertEqual((e['tokens'], e['windows']), (6, 6))
        self.assertEqual(e['acc'] * 6 % 1, 0)
        self.ok('plan', 'c.yaml', *more)
        # the same seed gives the same files, another one others; several lengths a folder each
        task = ['data', 'task', 'recall', '--train', '40', '--test', '0']
        self.ok(*task, '--out', 'u', '--lengths', '32', '--seed', '3')
        self.ok(*task, '--out', 'v', '--lengths', '32,40', '--seed', '4')
        read = lambda path: pathlib.Path(self.at(path)).read_bytes()
        self.assertEqual(read('t/train/MANIFEST.json'), read('u/train/MANIFEST.json'))
        self.assertEqual(read('t/train/tokens-00000.bin'), read('u/train/tokens-00000.bin'))
        self.assertNotEqual(read('t/train/tokens-00000.bin'), read('v/32/train/tokens-00000.bin'))
        self.assertEqual(sorted(os.listdir(self.at('v'))), ['32', '40'])
        self.assertFalse(os.path.exists(self.at('u/test')) or os.path.exists(self.at('u.tmp')))

    def test_task_refused(self):
        task = ['data', 'task', 'recall', '--out', 't', '--train', '60']
        self.fails(2, "did you mean 'reverse'", 'data', 'task', 'revers', '--out', 't')
        self.fails(2, ['--length 3 is too short', '5'], *task, '--lengths', '3')
        self.fails(2, 'commas', *task, '--lengths', '30,')
        self.fails(2, 'has 30 twice', *task, '--lengths', '30,30')
        self.fails(2, 'no --pairs', *task, '--pairs', '2')
        self.fails(2, '--out', 'data', 'task', 'copy')
        self.fails(2, 'prepare, task', 'data', 'make')
        self.assertFalse(os.path.exists(self.at('t')))
        self.ok(*task)
        self.fails(2, 't exists already', *task)
        self.fails(2, '--document 60: there are 60', 'data', 'info', 't/train', '--document', '60')
        more = ['--set', 'data.train=[t/train]', '--set', 'data.split=[1]', '--device', 'host', '--out', 'run']
        self.fails(3, ['documents of 257 tokens', 'train.seq_len: 256 (now 32)'], 'train', 'c.yaml', *more, '--set', 'eval.every=0')
        self.fails(3, ['not masked', 'data.train is'], 'train', 'c.yaml', *more, '--set', 'data.valid=[text.txt]')
        self.fails(3, ['answer', 'ignore_index, 97'], 'train', 'c.yaml', *more, '--set', 'model.ignore_index=97')
        path = self.at('t/train/tokens-00000.bin')
        with open(path, 'r+b') as f:
            f.write(b'!')
        self.fails(3, ['tokens-00000.bin', 'damaged'], 'train', 'c.yaml', *more)
        self.fails(3, 'E-SET-HASH', 'data', 'info', 't/train')

    def test_prepare(self):
        self.put('more.txt', 'another text')
        self.ok('data', 'prepare', 'text.txt', 'more.txt', '--out', 'set', '--shard-tokens', '1000')
        info = json.loads(self.ok('data', 'info', 'set', '--json').stdout)
        size = os.path.getsize(self.at('text.txt')) + 12
        self.assertEqual((info['tokens'], info['documents'], info['shortest'], info['num_tokens']), (size, 2, 12, 256))
        # a model with 256 tokens takes both to the same bits
        self.train('a', '--set', 'data.train=[text.txt, more.txt]', '--set', 'model.num_tokens=256')
        self.train('b', '--set', 'data.train=[set]', '--set', 'model.num_tokens=256')
        read = lambda run: pathlib.Path(self.at(run), 'ckpt/latest/model.safetensors').read_bytes()
        self.assertEqual(read('a'), read('b'))
        self.fails(2, 'prepared already', 'data', 'prepare', 'set', '--out', 'again')
        self.fails(3, 'nowhere', 'data', 'prepare', 'nowhere', '--out', 'again')
        self.fails(3, '1 of 2 paths', 'data', 'info', 'set', 'text.txt')
        self.assertIn('kind         text', self.ok('data', 'info', 'text.txt').stdout.decode())
        self.assertIn('kv_recall', self.ok('data', 'tasks').stdout.decode())

    def bpe(self, merges):
        """A byte-level tokenizer.json: bytes are their own ids, merged words follow."""
        plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
        char = {b: chr(b) for b in plain}
        char.update({b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in plain)})
        spell = lambda word: ''.join(char[b] for b in word.encode())
        vocab = {char[b]: b for b in range(256)}
        pairs = [(spell(a), spell(b)) for a, b in merges]
        for a, b in pairs:
            vocab[a + b] = len(vocab)
        self.put('tokenizer.json', json.dumps({
            'added_tokens': [], 'normalizer': None, 'pre_tokenizer': {'type': 'ByteLevel', 'add_prefix_space': False},
            'model': {'type': 'BPE', 'vocab': vocab, 'merges': [f'{a} {b}' for a, b in pairs]}}))

    def test_tokenizer(self):
        self.bpe([('l', 'i'), ('n', 'e'), ('li', 'ne'), (' ', 't'), (' ', 'o')])
        self.ok('data', 'prepare', 'text.txt', '--out', 'set', '--tokenizer', 'tokenizer.json')
        info = json.loads(self.ok('data', 'info', 'set', '--json').stdout)
        size = os.path.getsize(self.at('text.txt'))
        self.assertEqual((info['num_tokens'], info['source_bytes']), (261, size))
        self.assertEqual(info['tokens'], size - 200 * (3 + 2 + 1))    # "line", " t" twice, " o" in each line
        more = ['--set', 'data.train=[set]', '--set', 'model.num_tokens=261']
        self.train('run', *more, '--set', 'sample.every=4', '--set', 'sample.length=200')
        self.assertEqual(pathlib.Path(self.at('run/tokenizer.json')).read_bytes(),
                         pathlib.Path(self.at('tokenizer.json')).read_bytes())
        row = self.rows('run', 'eval')[0]
        self.assertAlmostEqual(row['bpc'], row['ce_loss'] / 0.6931471805599453 * info['tokens'] / size, places=4)
        # text goes in and comes out, also when the set is gone
        shutil.move(self.at('set'), self.at('other'))
        talk = lambda *args: self.ok('generate', 'run', '--device', 'host', '--temp', '0', *args).stdout
        self.assertEqual(talk('--prompt', 'line 7', '--length', '20'), talk('--prompt', 'line 7', '--length', '20'))
        self.assertGreaterEqual(len(talk('--prompt', 'line 7', '--length', '20')), 20)
        e = json.loads(self.ok('eval', 'run', '--data', 'other', '--device', 'host', '--json').stdout)
        self.assertEqual(e['tokens'], info['tokens'] - 1)
        self.assertAlmostEqual(e['bpc'], e['ce_loss'] / 0.6931471805599453 * info['tokens'] / size, places=5)
        self.fails(3, ['text.txt', 'made of bytes'], 'eval', 'run', '--data', 'text.txt', '--device', 'host')
        self.fails(3, 'other tokens than data.train', 'train', 'c.yaml', '--out', 'mixed', '--device', 'host', '--set',
                   'data.train=[other]', '--set', 'data.valid=[text.txt]', '--set', 'model.num_tokens=261')
        self.fails(3, ['id 25', 'model.num_tokens: 261'], 'train', 'c.yaml', '--out', 'small', '--device', 'host', '--set',
                   'data.train=[other]', '--set', 'model.num_tokens=256')
        self.fails(3, 'E-BPE', 'data', 'prepare', 'text.txt', '--out', 'bad', '--tokenizer', 'c.yaml')
        self.assertFalse(os.path.exists(self.at('bad')))

    # ---- forward ----------------------------------------------------------------------------

    def test_forward(self):
        self.case()
        self.ok(*self.forward(), '--grad')
        out = tensors(self.at('out.safetensors'))
        self.assertEqual(out['logits'][:2], ('F32', [1, 8, 16]))
        for name in 'loss', 'ce_loss', 'recon_loss', 'ar_loss':
            self.assertEqual(out[name][:2], ('F32', [1]))
        grads = {k[5:]: v[1] for k, v in out.items() if k.startswith('grad.')}
        weights = {k: v[1] for k, v in tensors(self.at('w.safetensors')).items() if not k.endswith(('inv_freq', '.scale'))}
        self.assertEqual(grads, weights)
        self.ok(*self.forward(output='plain.safetensors'))
        self.assertEqual({k: v for k, v in out.items() if not k.startswith('grad.')}, tensors(self.at('plain.safetensors')))

    def test_forward_refuses(self):
        self.case()
        io = {'ids': ('I32', [1, 9], self.ids)}
        def refused(says, items, **change):
            write_tensors(self.at('x.safetensors'), items)
            self.fails(3, says, *self.forward(input='x.safetensors', **change))
            self.assertFalse(os.path.exists(self.at('out.safetensors')))
        refused("'ids'", {'idz': io['ids']})
        refused('[batch, tokens]', {'ids': ('I32', [9], self.ids)})
        refused('token 16', {'ids': ('I32', [1, 2], struct.pack('<2i', 1, 16))})
        refused('token -1', {'ids': ('I32', [1, 2], struct.pack('<2i', 1, -1))})
        refused("'hidden'", dict(io, hidden=('F32', [1], b'\0' * 4)))
        refused("'grad.nothing'", dict(io, **{'grad.nothing': ('F32', [1], b'\0' * 4)}))
        refused("'logits'", dict(io, logits=('F32', [1, 1, 16], b'\0' * 64)))
        refused('', {'ids': ('I32', [1, 1], struct.pack('<i', 1))})
        refused('', {'ids': ('I32', [1, 18], struct.pack('<18i', *[1] * 18))})

    def test_forward_files(self):
        self.case()
        weights = tensors(self.at('w.safetensors'))
        name = 'to_logits.weight'
        for says, items in [(name, {k: v for k, v in weights.items() if k != name}),
                            ('extra.weight', dict(weights, **{'extra.weight': ('F32', [1], b'\0' * 4)})),
                            (name, dict(weights, **{name: ('F32', [8, 16], weights[name][2])}))]:
            write_tensors(self.at('x.safetensors'), items)
            self.fails(3, says, *self.forward(weights='x.safetensors'))
        with open(self.at('w.safetensors'), 'rb') as f:
            data = f.read()
        hostile = [b'', data[:7], data[:-1], data + b'\0', struct.pack('<Q', 2 ** 62) + data[8:], data[:8] + b'[' + data[9:]]
        for bad in hostile:
            self.fails(3, 'x.safetensors', *self.forward(weights=self.put('x.safetensors', bad)))
            self.fails(3, 'x.safetensors', *self.forward(input='x.safetensors'))
        self.fails(3, 'nowhere', *self.forward(weights='nowhere'))
        self.fails(3, 'nowhere', *self.forward(config='nowhere'))
        self.fails(7, '/proc', *self.forward(output='/proc/out.safetensors'))
        for change, says in [({'dimm': 8}, "'dimm'"), ({'model': 'hierarchicol'}, 'hierarchicol'), ({'dim': 'wide'}, 'dim')]:
            self.put('case.json', json.dumps(dict(CASE, **change)))
            self.fails(3, says, *self.forward())


if __name__ == '__main__':
    unittest.main()
