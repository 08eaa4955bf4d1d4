#!/usr/bin/env python3
"""A Vulkan device of tier T0, devices below it, and Vulkan calls that fail, by tests/vk_layer.c.

usage: test_vk_faults.py HTXVK FOLDER_OF_THE_LAYER [-v] [TEST...]
HTXVK_ALL_FAULTS=1: every call with every code instead of a sample; DRIVER: which driver's file"""
import collections, concurrent.futures, hashlib, os, re, shutil, subprocess, sys, tempfile, time, unittest

HTXVK, LAYER = (os.path.abspath(p) for p in (sys.argv.pop(1), sys.argv.pop(1)))
DRIVER = os.environ.get('DRIVER', '/usr/share/vulkan/icd.d/lvp_icd.x86_64.json')
ALL = os.environ.get('HTXVK_ALL_FAULTS') == '1'
CODES = {'DEVICE_LOST': 75, 'OUT_OF_DEVICE_MEMORY': 6, 'OUT_OF_HOST_MEMORY': 6,
         'INITIALIZATION_FAILED': 4}
# without these all goes on: pipelines compiled anew, no optional extension, an end without waiting
SPARED = {'vkCreatePipelineCache', 'vkGetPipelineCacheData', 'vkDeviceWaitIdle',
          'vkEnumerateDeviceExtensionProperties'}
SECONDS = 10                                   # longer is a hang
CONFIG = '''run: {seed: 1}
device: {select: '0'}
model: {arch: hierarchical, num_tokens: 128, dim: 16, depth: 1, dim_head: 8, heads: 2, seq_len: 16,
        hierarchies: [1], window_sizes: [null]}
data: {train: [text.txt], split: [0.8, 0.1, 0.1]}
train: {steps: 2, batch: 1}
optim: {name: adamw, lr: 1e-3}
eval: {every: 0}
sample: {every: 0}
save: {every: 1}
'''
Run = collections.namedtuple('Run', 'rc out err seconds weights')


def weights_of(folder):
    for step in 3, 2:
        path = os.path.join(folder, f'run/ckpt/step-0000000{step}/model.safetensors')
        if os.path.exists(path):
            with open(path, 'rb') as f:
                return hashlib.sha256(f.read()).hexdigest()


def spared(names, i):
    """May call i fail unnoticed? Also: a wait for work that an earlier wait saw done."""
    before = names[:i]
    since = before[len(before) - before[::-1].index('vkQueueSubmit'):] if 'vkQueueSubmit' in before else []
    return names[i] in SPARED or names[i] == 'vkWaitSemaphores' and 'vkWaitSemaphores' in since


def judge(names, i, code, run, clean):
    """What is wrong with a run in which call i failed; None: nothing."""
    if run.rc < 0 or run.rc in (134, 136, 139):
        return f'ended by a signal, {run.rc}'
    if run.rc is None or run.seconds > SECONDS:
        return f'took {run.seconds:.1f} s'
    errors = re.findall(r'^error: .*', run.err, re.M)
    if run.rc == 0:
        again = code == 'DEVICE_LOST' and 'going on from the last checkpoint' in run.err
        smaller = names[i] in ('vkAllocateMemory', 'vkMapMemory') and CODES[code] == 6
        if not (spared(names, i) or again or smaller):
            return 'nobody noticed'
        return 'other weights' if run.weights != clean.weights else None
    # with a driver's file named, loaders say this when they cannot read it: instance.c
    file = names[i] == 'vkCreateInstance' and code == 'OUT_OF_HOST_MEMORY'
    right = 4 if file else CODES[code]
    if run.rc != right:
        return f'exit code {run.rc}, not {right}: {errors}'
    if len(errors) != 1 or not re.search(r'\[E-[A-Z0-9-]+\]', errors[0]):
        return f'not one clear message: {run.err!r}'
    return None


class Layer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.top = tempfile.mkdtemp(prefix='htxvk-faults-')
        with open(os.path.join(cls.top, 'text.txt'), 'w') as f:
            f.write('the quick brown fox. ' * 200)
        with open(os.path.join(cls.top, 'tiny.yaml'), 'w') as f:
            f.write(CONFIG)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.top)

    def htxvk(self, *args, wrap=(), **more):
        env = {k: v for k, v in os.environ.items() if not k.startswith(('HTXVK_', 'VK_'))}
        env |= {'VK_DRIVER_FILES': DRIVER, 'VK_ICD_FILENAMES': DRIVER, 'VK_LAYER_PATH': LAYER,
                'VK_INSTANCE_LAYERS': 'VK_LAYER_HTXVK_test', 'LP_NUM_THREADS': '1',
                'XDG_CACHE_HOME': os.path.join(self.top, 'cache')} | more
        folder = tempfile.mkdtemp(dir=self.top)
        if args[1:2] == ('RUN',):
            shutil.copytree(os.path.join(self.top, 'done'), folder + '/run')
        args = [folder + '/run' if a == 'RUN' else a for a in args]
        begun = time.monotonic()
        p = subprocess.Popen([*wrap, HTXVK, *args], env=env, cwd=self.top, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = p.communicate(timeout=4 * SECONDS)
        except subprocess.TimeoutExpired:
            p.kill()
            out, err = p.communicate()
        # what a command is for: weights, or what it prints
        made = weights_of(folder)
        if args[0] == 'generate':
            made = hashlib.sha256(out.encode()).hexdigest()
        run = Run(p.returncode, out, err, time.monotonic() - begun, made)
        shutil.rmtree(folder)
        return run

    RESUME = 'train', 'RUN', '--set', 'train.steps=3', '--device', '0'
    EVAL = 'eval', 'done', '--device', '0'
    GENERATE = 'generate', 'done', '--length', '6', '--device', '0'
    TRAIN = 'train', 'tiny.yaml', '--out', 'RUN'
    CHECK = 'check', 'add', '--cases', '2', '--device', '0'


class Floor(Layer):
    def floor(self, *args, change=''):
        return self.htxvk(*args, HTXVK_LAYER_FLOOR='t0,' + change)

    def test_tier(self):
        run = self.floor('devices')
        self.assertEqual(run.rc, 0, run.err)
        for fact in 'Vulkan 1.2, tier T0', '256 invocations, 32.0 KiB shared', 'has -;':
            self.assertIn(fact, run.out)

    def test_operators(self):
        for args in (('linear', 'R=70 I=17 O=130 act=2 -b'), ('matmul_nn', 'M=65 K=17 N=70'),
                     ('matmul_tn', 'M=65 K=17 N=70'), ('heads_nn', '--quick'), ('attn_causal', '--quick'),
                     ('add', 'rmsnorm', 'softmax', 'attn_delta', 'adamw', '--cases', '4')):
            run = self.floor('check', *args, '--device', '0', '--jobs', '1')
            self.assertEqual(run.rc, 0, run.out + run.err)
            self.assertIn(' 0 failed', run.out)

    def test_training(self):
        run = self.floor(*self.TRAIN, '--set', 'train.steps=3')
        self.assertEqual(run.rc, 0, run.err)
        self.assertRegex(run.err, r'step 3/3  loss \d')

    def test_below(self):
        below = {'shared=16384': ('shared memory', 16384, 32768),
                 'invocations=128': ('invocations', 128, 256),
                 'push=64': ('push constants', 64, 128),
                 'minor=1': ('Vulkan version', '1.1', '1.2'),
                 'timeline=0': ('timeline semaphores', 0, 1),
                 'groups_x=32767': ('workgroups in x', 32767, 65535),
                 'groups_y=1024': ('workgroups in y', 1024, 65535),
                 'stage_buffers=4': ('storage buffers a shader', 4, r'\d+'),
                 'set_buffers=4': ('storage buffers a set', 4, r'\d+'),
                 'align=512': ('alignment of buffer offsets', 512, 256),
                 'range=65536': ('bytes in one binding', 65536, 134217728)}
        for change, (limit, has, needed) in below.items():
            for args in self.CHECK, self.TRAIN:
                with self.subTest(change=change, command=args[0]):
                    run = self.floor(*args, change=change)
                    self.assertEqual(run.rc, 4, run.err)
                    self.assertRegex(run.err, rf'^error: .*cannot be used: .*{limit}.*\b{has}\b.*\b{needed}\b')


class Faults(Layer):
    def calls(self, args):
        """Names of the calls that may fail, in order, and the run without faults."""
        log = os.path.join(self.top, 'calls')
        for _ in range(2):                     # the first fills the cache of pipelines
            with open(log, 'w'):
                pass
            run = self.htxvk(*args, HTXVK_LAYER_LOG=log)
            self.assertEqual(run.rc, 0, run.err)
        with open(log) as f:
            return f.read().split(), run

    def plan(self, names):
        """(call, code): every one of both, or each function once and every 25th of its calls."""
        n, codes, seen = len(names), list(CODES), collections.Counter()
        for i, name in enumerate(names):
            for k in range(len(codes)) if ALL else [i % len(codes)]:
                if ALL or seen[name] % 25 == 0:
                    yield i + 1, codes[k]
            seen[name] += 1

    def every(self, args):
        names, clean = self.calls(args)
        plan = list(self.plan(names))
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            runs = pool.map(lambda f: self.htxvk(*args, HTXVK_LAYER_FAULT=f'any:{f[0]}:{f[1]}'), plan)
            tally, wrong = collections.Counter(), []
            for (i, code), run in zip(plan, runs):
                tally[run.rc] += 1
                why = judge(names, i - 1, code, run, clean)
                if why:
                    wrong.append(f'any:{i}:{code} ({names[i - 1]}): {why}')
        print(f'{args[0]}: {len(names)} calls, {len(plan)} faults, exit codes {dict(tally)}')
        self.assertFalse(wrong, '\n'.join([f'{len(wrong)} wrong'] + wrong[:40]))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        run = cls().htxvk(*cls.TRAIN[:3], os.path.join(cls.top, 'done'), '--device', 'host')
        assert run.rc == 0, run.err

    def test_train(self):
        self.every(self.TRAIN)

    def test_resume(self):
        self.every(self.RESUME)

    def test_eval(self):
        self.every(self.EVAL)

    def test_generate(self):
        self.every(self.GENERATE)

    def test_check(self):
        self.every(self.CHECK)

    def test_recovery(self):
        _, clean = self.calls(self.TRAIN)
        for call in 'vkQueueSubmit:1', 'vkQueueSubmit:2', 'vkWaitSemaphores:2':
            with self.subTest(call=call):
                run = self.htxvk(*self.TRAIN, HTXVK_LAYER_FAULT=call + ':DEVICE_LOST')
                self.assertEqual(run.rc, 0, run.err)
                self.assertIn('going on from the last checkpoint', run.err)
                self.assertEqual(run.weights, clean.weights)

    def test_control(self):
        """A swallowed fault, a crash, a wrong code and a silent end must be noticed."""
        names, clean = self.calls(self.TRAIN)
        second = [i for i, name in enumerate(names) if name == 'vkCreateBuffer'][1]
        fault = {'HTXVK_LAYER_FAULT': 'vkCreateBuffer:2:OUT_OF_DEVICE_MEMORY'}
        for script, why in (('"$@"', None), ('"$@"; exit 0', 'nobody noticed'), ('"$@"; exit 70', 'exit code 70'),
                            ('"$@"; kill -SEGV $$', 'signal'), ('"$@" 2>&1; exit 6', 'clear message')):
            run = self.htxvk(*self.TRAIN, wrap=['sh', '-c', script, 'sh'], **fault)
            said = judge(names, second, 'OUT_OF_DEVICE_MEMORY', run, clean)
            self.assertTrue(said is None if why is None else said and why in said, (script, said))


if not os.path.exists(DRIVER):
    print(f'skipped: {DRIVER} is not there')
    sys.exit(77)
unittest.main()
