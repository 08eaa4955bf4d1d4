#!/usr/bin/env python3
"""What goes wrong most often is said in the user's names, with both numbers and with what to do about it: one test
for each message, from the command line as a user would meet it.

usage: test_messages.py HTXVK [-v] [TEST...]"""
import os, re, shutil, signal, subprocess, sys, tempfile, time, unittest

HTXVK = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else 'htxvk'
CONFIG = '''run: {seed: 1}
model: {arch: hierarchical, num_tokens: 128, dim: 16, depth: 1, dim_head: 8, heads: 2, seq_len: 32, hierarchies: [1],
  window_sizes: [8]}
data: {train: [text.txt], split: [0.8, 0.1, 0.1]}
train: {steps: 6, batch: 2}
optim: {lr: 1.0e-3}
eval: {every: 0}
sample: {every: 0}
save: {every: 2, keep: 3}
log: {every: 1}
'''
LAVAPIPE = next((f'/usr/share/vulkan/icd.d/lvp_icd.{m}.json' for m in ('x86_64', 'aarch64')
                 if os.path.exists(f'/usr/share/vulkan/icd.d/lvp_icd.{m}.json')), None)
needs_lavapipe = unittest.skipUnless(LAVAPIPE, 'no software Vulkan here')


class Messages(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='htxvk-messages-')
        os.chmod(self.dir, 0o755)
        self.put('c.yaml', CONFIG)
        self.put('text.txt', ''.join(f'line {i} of a text that is not very long.\n' for i in range(200)))

    def tearDown(self):
        shutil.rmtree(self.dir)

    def at(self, name):
        return os.path.join(self.dir, name)

    def put(self, name, text):
        with open(self.at(name), 'w') as f:
            f.write(text)
        return self.at(name)

    def run_it(self, *args, env=None, **more):
        e = {k: v for k, v in os.environ.items() if k not in ('HX_FAULT', 'HTXVK_DRI')} | (env or {})
        r = subprocess.run([HTXVK, *args], cwd=self.dir, env=e, capture_output=True, text=True, timeout=300, **more)
        return r.returncode, r.stderr

    def says(self, code, pattern, *args, **more):
        """Exit code, and one line that matches all of `pattern`."""
        rc, err = self.run_it(*args, **more)
        self.assertEqual(rc, code, err)
        self.assertRegex(err, re.compile('^' + pattern + '$', re.M))
        return err

    def train(self, *more, out='run'):
        return 'train', 'c.yaml', '--out', out, '--device', 'host', *more

    def test_unknown_key(self):
        self.put('bad.yaml', CONFIG.replace('batch: 2', 'clip_nrom: 1'))
        line, column = 5, CONFIG.splitlines()[4].index('batch') + 1
        self.says(3, rf"error: bad\.yaml:{line}:{column}: unknown key 'train\.clip_nrom'; did you mean 'clip_norm'\? "
                  r'\[E-CONF-KEY\]', 'train', 'bad.yaml', '--device', 'host')

    def test_no_driver(self):
        none = {'VK_DRIVER_FILES': '/nonexistent', 'VK_ICD_FILENAMES': '/nonexistent'}
        self.says(4, r"error: device '0': .*no Vulkan driver where the environment variable VK_DRIVER_FILES points: unset "
                  r'it, or run `apt install libvulkan1 mesa-vulkan-drivers` \[E-NODEVICE\]',
                  'train', 'c.yaml', '--device', '0', env=none)
        self.says(0, r'warning: no usable Vulkan device \(.*\): running on the host\'s processors', 'train', 'c.yaml',
                  '--out', 'auto', env=none)

    @needs_lavapipe
    def test_software_instead_of_a_gpu(self):
        env = {'VK_DRIVER_FILES': LAVAPIPE, 'VK_ICD_FILENAMES': LAVAPIPE, 'HTXVK_DRI': self.at('dri')}
        args = 'check', 'add', '--cases', '1'
        os.mkdir(self.at('dri'))
        self.assertNotIn('although', self.run_it(*args, env=env)[1])
        node = self.put('dri/renderD128', '')
        self.says(0, rf'warning: using llvmpipe.*, a processor, although a GPU is present, {node}: no Vulkan driver for it '
                  r'was found; `htxvk doctor` says what to do', *args, env=env)
        self.assertNotIn('although', self.run_it(*args, '--device', 'name:llvmpipe', env=env)[1])
        os.chmod(node, 0)
        user = {'user': 65534, 'group': 65534, 'extra_groups': []} if os.getuid() == 0 else {}
        try:
            self.says(0, rf"warning: using llvmpipe.*, a processor, although a GPU is present: {node} is not readable and "
                      r"writable by user '[^']+'; it belongs to group '[^']+'\. Fix: (sudo usermod -aG \S+ \S+, then log in "
                      r'again|start the container with --group-add \d+)', *args, env=env, **user)
        except PermissionError:
            self.skipTest('nobody may not run the program')

    @needs_lavapipe
    def test_memory(self):
        env = {'VK_DRIVER_FILES': LAVAPIPE, 'VK_ICD_FILENAMES': LAVAPIPE}
        err = self.says(6, r"error: parameters, gradients and optimizer need ([\d.]+) MiB on 'llvmpipe.*', which has ([\d.]+) "
                        r'MiB: make the model smaller \[E-NOMEM\]', 'train', 'preset:block_recurrent', '--data', 'text.txt',
                        '--device', '0', '--set', 'model.dim=8192', '--set', 'train.seq_len=512', '--set', 'data.split=[0.6, 0.2, 0.2]', env=env)
        need, have = map(float, re.search(r'need ([\d.]+) .* has ([\d.]+)', err).groups())
        self.assertGreater(need, have)

    @needs_lavapipe
    def test_tensor_larger_than_a_binding(self):
        env = {'VK_DRIVER_FILES': LAVAPIPE, 'VK_ICD_FILENAMES': LAVAPIPE}
        err = self.says(6, r"error: tensor '\w+' of operator \w+, \S+, has (\d+) bytes; 'llvmpipe.*' binds at most (\d+) at "
                        r'once: make the batch, the sequence, the vocabulary or the width smaller \[E-RANGE\]', 'train', 'c.yaml',
                        '--device', '0', '--set', 'model.dim=64', '--set', 'model.ff_mult=140', '--set', 'model.seq_len=4096',
                        '--set', 'train.seq_len=4096', '--set', 'train.batch=1', '--set', 'data.split=[0.4, 0.3, 0.3]',
                        '--set', f'data.train=[{self.put("long.txt", "so many words " * 3000)}]', env=env)
        need, most = map(float, re.search(r'has (\d+) bytes.* most (\d+) at', err).groups())
        self.assertGreater(need, most)

    def test_sequence_too_short_for_a_hierarchy(self):
        self.says(3, r'error: train\.seq_len: of 1 tokens hierarchy 4 makes one, which has no next one to predict; it needs 2 at '
                  r'least \[E-LENGTH\]', *self.train('--set', 'model.hierarchies=[1, 4]', '--set', 'model.window_sizes=null',
                                                   '--set', 'train.seq_len=1'))

    @needs_lavapipe
    def test_device_lost(self):
        env = {'VK_DRIVER_FILES': LAVAPIPE, 'VK_ICD_FILENAMES': LAVAPIPE,
               'HX_FAULT': 'vk:vkWaitSemaphores:*:DEVICE_LOST'}
        rc, err = self.run_it('train', 'c.yaml', '--out', 'run', '--device', '0', env=env)
        if rc == 0:
            self.skipTest('built without faults')
        self.assertEqual(rc, 75, err)
        self.assertRegex(err, r'error: llvmpipe.*: the device was lost in .*; given up after 3 tries from one checkpoint, go '
                         r'on with `htxvk train run`')

    def test_not_finite(self):
        self.says(5, r"error: (the loss|the gradient's norm) is not finite at step \d+ \(first bad tensor: \S+.*\); last "
                  r'checkpoint: (none|run/ckpt/step-\d+); try a lower optim\.lr or train\.clip_norm, or '
                  r'train\.non_finite=skip \[E-NUMERIC\]', *self.train('--set', 'optim.lr=1000', '--set', 'train.clip_norm=0',
                                                                    '--set', 'train.steps=50'))

    def test_incomplete_checkpoint(self):
        self.assertEqual(self.run_it(*self.train())[0], 0)
        os.remove(self.at('run/ckpt/step-00000006/MANIFEST.json'))
        err = self.says(0, r'warning: checkpoint step-00000006 is left out: .*MANIFEST\.json.*', 'train', 'run')
        self.assertRegex(err, r'step 4  resumed from run/ckpt/step-00000004')

    def test_text_of_a_preset(self):
        os.remove(self.at('text.txt'))
        self.says(3, r"error: preset:hierarchical trains on '.*/text\.txt', which is not there: name your own text with --data "
                  r'FILE \[E-PRESET-DATA\]', 'train', 'preset:hierarchical', '--device', 'host')

    def test_fewer_steps(self):
        self.assertEqual(self.run_it(*self.train())[0], 0)
        self.says(2, r'error: train\.steps: 3, but run has made 6 steps: name more to train on, or begin another run with --out '
                  r'\[E-STEPS\]', 'train', 'run', '--set', 'train.steps=3')
        # nothing has changed: the run is still one of 6 steps
        self.says(0, r'step 6  all 6 steps are done; for more: htxvk train run --set train\.steps=12', 'train', 'run')

    def test_stopped_at_once(self):
        # from loading the program on, milliseconds apart; only before main() a signal may end it as it does any program
        codes = set()
        for i in range(20):
            p = subprocess.Popen([HTXVK, *self.train(out=f'soon{i}')], cwd=self.dir, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True)
            while True:                        # until the dynamic linker is through: main() ignores SIGPIPE first
                with open(f'/proc/{p.pid}/status') as f:
                    ignored = re.search(r'SigIgn:\s*(\w+)', f.read())
                if p.poll() is not None or (ignored and int(ignored[1], 16) >> (signal.SIGXFSZ - 1) & 1):
                    break
            time.sleep(0.0005 * i)
            p.send_signal(signal.SIGTERM)
            err = p.communicate(timeout=300)[1]
            codes.add(p.returncode)
            self.assertIn(p.returncode, (0, 75), err)
        self.assertIn(75, codes)

    def test_stopped_while_it_starts(self):
        for i, sig in enumerate((signal.SIGTERM, signal.SIGINT, signal.SIGHUP)):
            p = subprocess.Popen([HTXVK, *self.train(out=f'early{i}')], cwd=self.dir, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True)
            # from the moment at which the process asks for signals
            while p.poll() is None:
                with open(f'/proc/{p.pid}/status') as f:
                    caught = re.search(r'SigCgt:\s*(\w+)', f.read())
                if caught and int(caught[1], 16) >> (sig - 1) & 1:
                    break
            p.send_signal(sig)
            err = p.communicate(timeout=300)[1]
            if p.returncode == 0:              # it was faster
                continue
            self.assertEqual(p.returncode, 75, err)
            self.assertRegex(err, r'(?m)^stopped (before the first step|at step \d+ of 6, saved; go on with .*) \[E-STOPPED\]$')
            # what is there goes on, what is not can begin
            again = ['train', f'early{i}'] if os.path.isdir(self.at(f'early{i}')) else self.train(out=f'early{i}')
            rc, err = self.run_it(*again)
            self.assertEqual(rc, 0, err)


if __name__ == '__main__':
    unittest.main()
