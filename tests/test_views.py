#!/usr/bin/env python3
"""What a run leaves to look at: report, plot, trace, TensorBoard's events.

usage: test_views.py HTXVK [-v] [TEST...]"""
import glob, json, os, re, shutil, struct, subprocess, sys, tempfile, unittest
import xml.etree.ElementTree as xml

HTXVK = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else 'htxvk'
CONFIG = '''run: {seed: 1}
device: {select: host}
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
train: {steps: 6, batch: 2, accumulate: 2}
optim: {name: adamw, lr: 1e-3}
eval: {every: 2, batches: 1}
sample: {every: 3, length: 12, prompt: "a <b> & c"}
save: {every: 3}
log: {every: 1, tensorboard: true}
'''


def crc32c(data):
    c = 0xffffffff
    for byte in data:
        c ^= byte
        for _ in range(8):
            c = c >> 1 ^ (0x82f63b78 if c & 1 else 0)
    c ^= 0xffffffff
    return ((c >> 15 | c << 17) + 0xa282ead8) & 0xffffffff


def fields(data):
    """Number, wire type and value of every field of a protobuf message."""
    def varint(at):
        v = shift = 0
        while True:
            v |= (data[at] & 127) << shift
            shift += 7
            at += 1
            if data[at - 1] < 128:
                return v, at
    at, out = 0, []
    while at < len(data):
        key, at = varint(at)
        if key & 7 == 0:
            value, at = varint(at)
        elif key & 7 == 2:
            n, at = varint(at)
            value, at = data[at:at + n], at + n
        else:
            n = {1: 8, 5: 4}[key & 7]
            value, at = struct.unpack('<d' if n == 8 else '<f', data[at:at + n])[0], at + n
        out.append((key >> 3, value))
    assert at == len(data)
    return out


def events(path):
    with open(path, 'rb') as f:
        data = f.read()
    at = 0
    while at < len(data):
        n, of_length = struct.unpack('<QI', data[at:at + 12])
        assert of_length == crc32c(data[at:at + 8])
        body = data[at + 12:at + 12 + n]
        assert struct.unpack('<I', data[at + 12 + n:at + 16 + n])[0] == crc32c(body)
        at += 16 + n
        yield dict(fields(body))


class Views(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix='htxvk-views-')
        with open(os.path.join(cls.dir, 'c.yaml'), 'w') as f:
            f.write(CONFIG)
        with open(os.path.join(cls.dir, 'text.txt'), 'w') as f:
            f.write(''.join(f'line {i} of a text that is not very long.\n' for i in range(200)))
        cls.run_(cls, 'train', 'c.yaml', '--out', 'run', '--trace', 'trace.json', '--trace-steps', '3')

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir)

    def run_(self, *args, code=0):
        p = subprocess.run([HTXVK, *args], cwd=self.dir, capture_output=True, text=True)
        if p.returncode != code:
            raise AssertionError(f'{args}: {p.returncode}\n{p.stderr}')
        return p

    def read(self, name):
        with open(os.path.join(self.dir, name), encoding='utf-8') as f:
            return f.read()

    def test_report(self):
        page = self.read('run/report.html')
        # nothing is fetched: the only addresses are names of XML
        self.assertEqual(set(re.findall(r'https?://[^"\s<]*', page)), {'http://www.w3.org/2000/svg'})
        self.assertNotRegex(page, r'<(link|img|iframe)|src=|@import|url\((?!#)')
        charts = re.findall(r'<svg.*?</svg>', page, re.S)
        self.assertGreaterEqual(len(charts), 6)
        for c in charts:
            xml.fromstring(c)
        for word in ('Bits per byte', 'Learning rate', 'Norm of the gradient', 'Tokens per second', 'Memory',
                     'recon_loss', 'step 6', 'a &lt;b&gt; &amp; c', 'arch: hierarchical'):
            self.assertIn(word, page)
        self.assertNotIn('a <b> & c', page)
        self.assertEqual(self.run_('report', 'run', '--out', 'other.html').stdout, 'other.html\n')
        self.assertEqual(self.read('other.html'), page)
        self.assertIn('metrics.jsonl', self.run_('report', '.', code=3).stderr)

    def test_plot(self):
        shutil.copytree(os.path.join(self.dir, 'run'), os.path.join(self.dir, 'run2'), dirs_exist_ok=True)
        for args in ([], ['--type', 'eval', '--x', 'tokens'], ['--metric', 'mem.device', '--x', 'time', '--log']):
            self.run_('plot', 'run', 'run2', '--out', 'p.svg', *args)
            root = xml.fromstring(self.read('p.svg'))
            lines = [e for e in root.iter('{http://www.w3.org/2000/svg}polyline') if e.get('class') != 'faint']
            self.assertEqual(len(lines), 2)
            self.assertGreater(len(lines[0].get('points').split()), 2)
            self.assertIn('run2', ''.join(root.itertext()))
        self.assertIn('no grad', self.run_('plot', 'run', '--metric', 'grad', code=3).stderr)

    def test_trace(self):
        rows = json.loads(self.read('trace.json'))['traceEvents']
        spans = [r for r in rows if r['ph'] == 'X']
        host = [r['name'] for r in spans if r['pid'] == 1]
        device = [r for r in spans if r['pid'] == 2]
        self.assertEqual(host.count('submit'), 3)
        self.assertIn('evaluation', host)
        self.assertEqual(sum(r['name'] == 'adamw' for r in device) % 3, 0)
        self.assertTrue(all(r['ts'] >= 0 and r['dur'] >= 0 for r in spans))
        # what the device did for a step lies between its submit and the end of the wait for it
        first = next(r for r in spans if r['name'] == 'submit')
        wait = next(r for r in spans if r['name'] == 'wait')
        step = device[:len(device) // 3]
        self.assertGreaterEqual(min(r['ts'] for r in step), first['ts'] - 1)
        self.assertLessEqual(max(r['ts'] + r['dur'] for r in step), wait['ts'] + wait['dur'] + 1)

    def test_events(self):
        self.run_('train', 'run', '--set', 'train.steps=7')
        files = sorted(glob.glob(os.path.join(self.dir, 'run/tb/events.out.tfevents.*')))
        self.assertEqual(len(files), 2)
        first, second = (list(events(f)) for f in files)
        self.assertEqual(first[0][3], b'brain.Event:2')
        # the second one says that it takes over from step 7 on
        self.assertEqual((second[1][2], dict(fields(second[1][7]))[1]), (7, 1))
        want = {}
        for line in self.read('run/metrics.jsonl').splitlines():
            row = json.loads(line)
            if row['type'] == 'train':
                want[row['step']] = row['loss']
        got, text = {}, b''
        for e in first + second:
            if 5 in e:
                value = dict(fields(dict(fields(e[5]))[1]))
                if value[1] == b'train/loss':
                    got[e[2]] = value[2]
                if value[1] == b'sample':
                    text = dict(fields(value[8]))[8]
        self.assertEqual(sorted(got), sorted(want))
        for step in want:
            self.assertAlmostEqual(got[step], want[step], delta=1e-6)
        self.assertTrue(text.startswith(b'a <b> & c'))


if __name__ == '__main__':
    unittest.main()
