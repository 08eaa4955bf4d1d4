#!/usr/bin/env python3
"""Commands that help to decide: config, plan, inspect, doctor; and a device that is lost.

usage: test_help.py HTXVK [-v] [TEST...]"""
import json, os, re, shutil, signal, subprocess, sys, tempfile, time, unittest

HTXVK = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else 'htxvk'
LAVAPIPE = '/usr/share/vulkan/icd.d/lvp_icd.x86_64.json'
CONFIG = '''run: {seed: 1}
device: {select: host}
model: {arch: hierarchical, num_tokens: 128, dim: [16, 24], depth: 1, dim_head: 8, heads: 2, seq_len: 32,
  hierarchies: [1, 4], window_sizes: [8, null]}
data: {train: [text.txt], split: [0.8, 0.1, 0.1]}
train: {steps: 12, batch: 2}
eval: {every: 0, batches: 1}
sample: {every: 0}
save: {every: 4}
log: {every: 4}
'''


class Help(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='htxvk-help-')
        self.put('c.yaml', CONFIG)
        self.put('text.txt', ''.join(f'line {i} of a text that is not very long.\n' for i in range(200)))

    def tearDown(self):
        shutil.rmtree(self.dir)

    def put(self, name, text):
        os.makedirs(os.path.dirname(os.path.join(self.dir, name)), exist_ok=True)
        with open(os.path.join(self.dir, name), 'w') as f:
            f.write(text)

    def run_(self, *args, code=0, env={}):
        p = subprocess.run([HTXVK, *args], cwd=self.dir, capture_output=True, text=True, env={**os.environ, **env})
        self.assertEqual(p.returncode, code, f'{args}\n{p.stdout}\n{p.stderr}')
        return p

    def read(self, name, mode='rb'):
        with open(os.path.join(self.dir, name), mode) as f:
            return f.read()

    def test_presets(self):
        listed = re.findall(r'^(\w+)', self.run_('config', 'presets').stdout, re.M)
        self.assertGreaterEqual(len(listed), 7)
        for name in listed:
            self.run_('config', 'check', 'preset:' + name)
            self.assertIn('parameters', self.run_('plan', 'preset:' + name).stdout)
            # what is shown reads back to the same
            shown = self.run_('config', 'show', 'preset:' + name).stdout
            self.put('shown.yaml', shown)
            self.assertEqual(self.run_('config', 'show', 'shown.yaml').stdout, shown)
        self.assertIn("did you mean 'demo'", self.run_('config', 'init', 'dmo', code=3).stderr)

    def test_own_preset(self):
        self.put('conf/htxvk/presets/mine.yaml', CONFIG)
        env = {'XDG_CONFIG_HOME': os.path.join(self.dir, 'conf')}
        self.assertEqual(self.run_('config', 'init', 'mine', env=env).stdout, CONFIG)
        self.run_('config', 'check', 'preset:../mine', code=3, env=env)
        out = self.run_('train', 'preset:mine', '--data', 'text.txt', '--set', 'train.steps=1', env=env).stdout
        self.assertRegex(out, r'^runs/mine-\d{8}-\d{6}\n$')

    def test_config(self):
        self.run_('config', 'init', '--out', 'new.yaml')
        self.run_('config', 'check', 'new.yaml', '--data', 'text.txt')
        self.run_('config', 'init', '--out', 'new.yaml', code=2)
        self.put('bad.yaml', CONFIG.replace('batch', 'bacth'))
        self.assertRegex(self.run_('config', 'check', 'bad.yaml', code=3).stderr, r"bad.yaml:6:\d+: .*bacth.*'batch'")
        keys = self.run_('config', 'keys').stdout
        for key in ('train.skip_zscore', 'save.every', 'model.hierarchies', 'model.block_width'):
            self.assertIn(key + ':', keys)
        self.assertNotIn('save.every', self.run_('config', 'keys', 'train').stdout)
        self.run_('config', 'keys', 'trian', code=2)

    def test_plan(self):
        plan = lambda *args: json.loads(self.run_('plan', 'c.yaml', '--json', *args).stdout)
        n = plan('--fit', '3MiB')['largest_batch']
        self.assertGreater(n, 2)
        self.assertLessEqual(plan('--set', f'train.batch={n}')['peak_bytes'], 3 << 20)
        self.assertGreater(plan('--set', f'train.batch={n + 1}')['peak_bytes'], 3 << 20)
        self.assertEqual(plan('--fit', '10KiB')['largest_batch'], 0)
        timed = plan('--time', '--device', 'host')
        self.assertAlmostEqual(timed['seconds'], 12 * timed['seconds_per_step'], delta=1e-6)
        self.run_('plan', 'c.yaml', '--fit', 'much', code=2)
        self.run_('plan', 'c.yaml', '--time', code=2)
        self.run_('plan', 'c.yaml', '--fit', 'device', code=2)

    def test_inspect(self):
        self.run_('train', 'c.yaml', '--out', 'r', '--set', 'train.ema=0.9')
        doc = json.loads(self.run_('inspect', 'r', '--json', '-', '--stats').stdout)
        self.assertEqual(doc['state']['step'], 12)
        for name in ('model', 'optimizer', 'ema'):
            rows = doc[name + '.safetensors']
            self.assertTrue(all(r['not_finite'] == 0 and r['min'] <= r['max'] for r in rows))
        self.assertIn('token_emb.weight', self.run_('inspect', 'r/ckpt/latest/model.safetensors').stdout)
        path = os.path.join(self.dir, 'r/ckpt/step-00000012/ema.safetensors')
        with open(path, 'r+b') as f:
            f.seek(-1, 2)
            f.write(b'\x55')
        self.assertIn('damaged', self.run_('inspect', 'r/ckpt/step-00000012', code=3).stderr)
        # and the one before it is what is found
        self.assertIn('step-00000008', self.run_('inspect', 'r').stdout)

    def test_doctor(self):
        self.put('broken.json', '{"ICD": {"library_path": "/nonexistent/libvulkan_none.so"}}')
        p = self.run_('doctor', code=4, env={'VK_DRIVER_FILES': os.path.join(self.dir, 'broken.json')})
        self.assertIn('/nonexistent/libvulkan_none.so', p.stdout)
        self.assertIn('unset VK_DRIVER_FILES', p.stdout)
        if os.path.exists(LAVAPIPE):
            doc = json.loads(self.run_('doctor', '--json', '-', env={'VK_DRIVER_FILES': LAVAPIPE}).stdout)
            self.assertGreaterEqual(doc['devices'], 1)

    def test_full_disk(self):
        p = subprocess.run([HTXVK, 'train', 'c.yaml', '--out', 'f', '--set', 'save.every=0'], cwd=self.dir,
                           capture_output=True, text=True, env={**os.environ, 'HX_FAULT': 'io:statvfs:*:ENOSPC'})
        if p.returncode == 0:
            self.skipTest('built without faults')
        self.assertEqual(p.returncode, 7, p.stderr)
        self.assertRegex(p.stderr, r'no room for a checkpoint of 0\.\d MiB in .*E-IO-FULL')
        self.assertEqual(os.listdir(os.path.join(self.dir, 'f/ckpt')), [])

    @unittest.skipUnless(os.path.exists(LAVAPIPE), 'no lavapipe')
    def test_lost_device(self):
        env = {'VK_DRIVER_FILES': LAVAPIPE}
        self.run_('train', 'c.yaml', '--device', '0', '--out', 'a', env=env)
        p = self.run_('train', 'c.yaml', '--device', '0', '--out', 'b',
                      env={**env, 'HX_FAULT': 'vk:vkQueueSubmit:9:DEVICE_LOST'})
        if 'was lost' not in p.stderr:
            self.skipTest('built without faults')
        self.assertEqual(p.stdout, 'b\n')
        self.assertIn('resumed from b/ckpt/step-', p.stderr)
        name = 'ckpt/step-00000012/model.safetensors'
        self.assertEqual(self.read('a/' + name), self.read('b/' + name))
        # without a checkpoint to go on from it is given up
        p = self.run_('train', 'c.yaml', '--device', '0', '--out', 'c', '--set', 'save.every=0', code=75,
                      env={**env, 'HX_FAULT': 'vk:vkQueueSubmit:6:DEVICE_LOST', 'HTXVK_RETRY': '3 none'})
        self.assertIn('given up after 3 tries', p.stderr)

    def test_signals(self):
        for sent, code in ((signal.SIGUSR2, None), (signal.SIGHUP, 75)):
            name = 'run' + str(int(sent))
            p = subprocess.Popen([HTXVK, 'train', 'c.yaml', '--out', name, '--set', 'train.steps=1000000', '--set',
                                  'save.every=0', '--set', 'save.best=false'], cwd=self.dir,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            log = os.path.join(self.dir, name, 'train.log')
            has = lambda word: os.path.exists(log) and word in self.read(log, 'r')
            def wait(word):
                end = time.monotonic() + 60
                while not has(word) and time.monotonic() < end:
                    time.sleep(0.02)
                self.assertTrue(has(word), word)
            wait('step 1/')
            p.send_signal(sent)
            wait('saved')
            if code is None:
                self.assertIsNone(p.poll())
                p.kill()
            p.communicate()
            if code is not None:
                self.assertEqual(p.returncode, code)


if __name__ == '__main__':
    unittest.main()
