#!/usr/bin/env python3
"""Allocations and system calls that fail, one in a run: no crash, no hang, the right exit code.

usage: test_faults.py HTXVK FAIL_ALLOC.so [-v] [TEST...]
HTXVK_ALL_FAULTS=1: every allocation (500 of a check) and every call with two of the errors, instead of a sample"""
import collections, concurrent.futures, hashlib, os, re, shutil, subprocess, sys, tempfile, time, unittest

HTXVK, PRELOAD = (os.path.abspath(p) for p in (sys.argv.pop(1), sys.argv.pop(1)))
ALL = os.environ.get('HTXVK_ALL_FAULTS') == '1'
SECONDS = 10                                   # longer is a hang
ERRORS = 'EIO', 'ENOSPC', 'EROFS', 'EMFILE', 'EACCES', 'EINTR', 'short'
CONFIG = '''run: {seed: 1}
model: {arch: hierarchical, num_tokens: 128, dim: 16, depth: 1, dim_head: 8, heads: 2, seq_len: 16,
        hierarchies: [1], window_sizes: [null]}
data: {train: [text.txt], split: [0.8, 0.1, 0.1]}
train: {steps: 2, batch: 1}
optim: {name: adamw, lr: 1e-3}
eval: {every: 1, batches: 1}
sample: {every: 0}
save: {every: 1}
'''
DEVICE = '--device', 'host', '--threads', '1'
COMMANDS = {
    'train': ('train', 'tiny.yaml', '--out', 'RUN', *DEVICE),
    'resume': ('train', 'RUN', '--set', 'train.steps=4', *DEVICE),
    'eval': ('eval', 'done', *DEVICE),
    'generate': ('generate', 'done', '--length', '8', *DEVICE),
    'inspect': ('inspect', 'done'),
    'check': ('check', 'add', 'infini', '--cases', '2', '--jobs', '1', *DEVICE),
    'plan': ('plan', 'tiny.yaml'),
    'config': ('config', 'check', 'tiny.yaml'),
    'prepare': ('data', 'prepare', 'text.txt', '--out', 'RUN'),
    'report': ('report', 'RUN'),
}
MANY = 500                                     # allocations of a command that has thousands of them
Run = collections.namedtuple('Run', 'rc out err seconds weights')


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.top = tempfile.mkdtemp(prefix='htxvk-faults-')
        with open(os.path.join(cls.top, 'text.txt'), 'w') as f:
            f.write('the quick brown fox. ' * 200)
        with open(os.path.join(cls.top, 'tiny.yaml'), 'w') as f:
            f.write(CONFIG)
        r = subprocess.run([HTXVK, 'train', 'tiny.yaml', '--out', 'done', *DEVICE], cwd=cls.top, capture_output=True)
        assert r.returncode == 0, r.stderr

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.top)

    def htxvk(self, command, wrap=(), again=False, **env):
        folder = tempfile.mkdtemp(dir=self.top)
        if command in ('resume', 'report'):
            shutil.copytree(os.path.join(self.top, 'done'), folder + '/run')
        run = self.once(COMMANDS[command], folder, wrap, env)
        if again and run.rc != 0:              # what was saved before must do
            run = self.once(COMMANDS[command], folder, wrap, {})
            if run.rc == 2:                    # the run is there and is gone on with
                run = self.once(('train', 'RUN', *DEVICE), folder, wrap, {})
        shutil.rmtree(folder)
        return run

    def once(self, args, folder, wrap, env):
        args = [folder + '/run' if a == 'RUN' else a for a in args]
        begun = time.monotonic()
        p = subprocess.Popen([*wrap, HTXVK, *args], cwd=self.top, env=os.environ | {'VK_DRIVER_FILES': '/none'} | env,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, err = p.communicate(timeout=6 * SECONDS)
        except subprocess.TimeoutExpired:
            p.kill()
            out, err = p.communicate()
        seconds, weights = time.monotonic() - begun, None
        for step in '4', '2':
            path = f'{folder}/run/ckpt/step-0000000{step}/model.safetensors'
            if os.path.exists(path) and not weights:
                with open(path, 'rb') as f:
                    weights = hashlib.sha256(f.read()).hexdigest()
        return Run(p.returncode, out, err, seconds, weights)

    def judge(self, run, clean, code, may_pass):
        """What is wrong with a run; None: nothing."""
        if run.rc < 0 or run.rc in (134, 136, 139):
            return f'ended by a signal, {run.rc}'
        if run.seconds > SECONDS:
            return f'took {run.seconds:.1f} s'
        if run.rc == 0:
            if not may_pass:
                return 'nobody noticed'
            return None if run.weights == clean.weights else 'other weights'
        if run.rc != code:
            return f'exit code {run.rc}, not {code}: {run.err[-300:]!r}'
        if len(re.findall(r'^error: .*\[E-[A-Z0-9-]+\]', run.err, re.M)) != 1:
            return f'not one clear message: {run.err[-300:]!r}'
        return None

    def all_of(self, plan, one):
        """one(*case) for every case, in two threads; the exit codes."""
        tally, wrong = collections.Counter(), []
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for case, (rc, why) in zip(plan, pool.map(lambda c: one(*c), plan)):
                tally[rc] += 1
                if why:
                    wrong.append(f'{case}: {why}')
        print(f'{len(plan)} faults, exit codes {dict(tally)}')
        self.assertFalse(wrong, '\n'.join([f'{len(wrong)} wrong'] + wrong[:60]))

    def test_memory(self):
        plan, clean = [], {}
        for command in COMMANDS:
            count = os.path.join(self.top, 'count')
            clean[command] = self.htxvk(command, LD_PRELOAD=PRELOAD, HTXVK_ALLOC_COUNT=count)
            self.assertEqual(clean[command].rc, 0, clean[command].err)
            with open(count) as f:
                n = int(f.read())
            self.assertGreater(n, 10)
            step = max(1, n // (MANY if ALL else 12))
            plan += [(command, k) for k in range(1, n + 1, step)]

        def one(command, k):
            run = self.htxvk(command, LD_PRELOAD=PRELOAD, HTXVK_ALLOC_FAIL=str(k))
            return run.rc, self.judge(run, clean[command], 6, True)
        self.all_of(plan, one)

    def test_files(self):
        plan, clean = [], {}
        for command in COMMANDS:
            log = os.path.join(self.top, 'calls')
            with open(log, 'w'):
                pass
            clean[command] = self.htxvk(command, HX_FAULT_LOG=log)
            self.assertEqual(clean[command].rc, 0, clean[command].err)
            seen = collections.Counter()
            with open(log) as f:
                names = [n for n in f.read().split() if n.startswith('io:')]
            if not names and command == 'train':
                self.skipTest('built without faults')
            for i, name in enumerate(names):
                seen[name] += 1
                two = ERRORS[i % len(ERRORS)], ERRORS[(i + 3) % len(ERRORS)]
                errors = two if ALL else two[:1] if i % 4 == 0 else ()
                plan += [(command, f'{name}:{seen[name]}:{e}') for e in errors
                         if e != 'short' or name in ('io:read', 'io:write')]

        def one(command, fault):
            run = self.htxvk(command, HX_FAULT=fault, again=command in ('train', 'resume') and ':EIO' in fault)
            # what may not be read is a wrong file, as one that is not there
            code = 3 if run.rc == 3 and fault.startswith('io:open') and fault.endswith('EACCES') and \
                '[E-FILE]' in run.err else 7
            return run.rc, self.judge(run, clean[command], code, True)
        self.all_of(plan, one)

    def test_control(self):
        """A crash, a wrong code and silence must be noticed."""
        clean = self.htxvk('train')
        for script, why in (('"$@"; exit 70', 'exit code 70'), ('kill -SEGV $$', 'signal'), ('exit 6', 'clear message'),
                            ('echo "error: x [E-X]" >&2; exit 6', None), ('exit 0', 'other weights')):
            said = self.judge(self.htxvk('train', wrap=['sh', '-c', script, 'sh']), clean, 6, True)
            self.assertTrue(said is None if why is None else said and why in said, (script, said))


unittest.main()
