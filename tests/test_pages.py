#!/usr/bin/env python3
"""Pages, completions, kernels, timings and memory as commands print them.

usage: test_pages.py HTXVK [-v] [TEST...]"""
import json, os, re, subprocess, sys, tempfile, unittest

HTXVK = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else 'htxvk'


def run(*args, code=0):
    r = subprocess.run([HTXVK, *args], capture_output=True, text=True)
    assert r.returncode == code, (args, r.returncode, r.stderr)
    return r.stdout


class Pages(unittest.TestCase):
    def commands(self):
        names = re.findall(r'^  ([a-z]+) {2,}', run('--help'), re.M)
        self.assertIn('train', names)
        return names

    def test_manual(self):
        page = run('manual')
        self.assertRegex(page, r'(?m)^\.TH ')
        for name in self.commands():
            self.assertIn(name, page)
        self.assertNotRegex(page, r'(?m)^\.[a-z]')      # nothing of ours is taken for a request

    def test_completion(self):
        script = run('completion', 'bash')
        subprocess.run(['bash', '-n'], input=script, text=True, check=True)
        for name in self.commands():
            self.assertIn(name, script)
        self.assertIn('--device', script)
        run('completion', 'nothing', code=2)

    def test_kernels(self):
        out = run('kernels', 'add', 'rotary', '--device', 'name:llvmpipe', '--json', '-')
        self.assertIn('rotary', out)
        run('kernels', 'nothing', '--device', 'name:llvmpipe', code=2)

    def test_bench(self):
        for device in 'host', 'name:llvmpipe':
            rows = json.loads(run('bench', 'add', '--sample', 'R=8 C=16', '--reps', '1', '--device', device, '--json', '-'))
            self.assertIn('add', json.dumps(rows))
        run('bench', 'nothing', '--device', 'host', code=2)

    def test_bench_steps(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, 'tiny.yaml')
            with open(path, 'w') as f:
                f.write('model: {arch: hierarchical, num_tokens: 128, dim: 16, depth: 1, dim_head: 8, heads: 2, seq_len: 32,\n'
                        '  hierarchies: [1], window_sizes: [null]}\ndata: {train: [text.txt]}\ntrain: {steps: 2, batch: 1}\n')
            rows = run('bench', '--config', path, '--reps', '1', '--device', 'name:llvmpipe', '--profile', '--json', '-')
            self.assertGreater(len(json.loads(rows)), 0)
            peak = run('plan', path, '--peak')
            self.assertRegex(peak, r'level \d+ of \d+: [0-9.]+ MiB')
            self.assertRegex(peak, r'\d+ x \w+\.\w+')


unittest.main()
