"""What the tools that train many small models share: runs of htxvk side by side, results as JSON lines from
which an interrupted experiment goes on, tables, and plots."""
import argparse
import concurrent.futures
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLORS = ['#15803d', '#2563eb', '#b45309', '#7c3aed', '#be123c', '#0e7490', '#4d7c0f', '#a21caf', '#1e3a8a', '#78350f']


def parser(doc, out, jobs=1):
    """Options of every experiment. HTXVK_SWEEP_DEVICE names a device where --device does not."""
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--htxvk', default=str(ROOT / 'build/htxvk'))
    p.add_argument('--device', default=os.environ.get('HTXVK_SWEEP_DEVICE', 'auto'), help='see `htxvk devices`')
    p.add_argument('--out', default=out, help='runs and results; goes on with what is there (%s)' % out)
    p.add_argument('--jobs', type=int, default=jobs, help='runs at the same time (%d)' % jobs)
    p.add_argument('--seconds', type=float, default=math.inf, help='begin no run later than this; 0: report what is there')
    p.add_argument('--docs', help='also renew table and plot in this folder of pages')
    p.add_argument('--quick', action='store_true', help='a few steps: does everything work?')
    return p


class Experiment:
    """Runs below o.out, and o.out/results.jsonl: a line for every key that is done."""

    def __init__(self, o):
        self.o, self.begin, self.lock = o, time.time(), threading.Lock()
        self.out = pathlib.Path(o.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.file = self.out / 'results.jsonl'
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self.done = {r['key']: r for r in map(json.loads, lines)}

    def htxvk(self, *args):
        r = subprocess.run([self.o.htxvk, *map(str, args)], capture_output=True, text=True)
        if r.returncode:
            raise RuntimeError('htxvk %s: %s' % (' '.join(map(str, args)), r.stderr[-600:]))
        return r.stdout

    def late(self):
        return time.time() - self.begin > self.o.seconds

    def once(self, key, make):
        """The result of `key`: what was noted, else what make() returns now; None when time is up."""
        if key in self.done:
            return self.done[key]
        if self.late():
            return None
        start = time.time()
        row = dict({'key': key}, **make())
        row['took'] = round(time.time() - start, 2)
        row = json.loads(json.dumps(row))
        with self.lock:
            self.done[key] = row
            with open(self.file, 'a') as f:
                f.write(json.dumps(row) + '\n')
            print('%6.1f s  %s' % (time.time() - self.begin, json.dumps({k: v for k, v in row.items() if k != 'curve'})),
                  flush=True)
        return row

    def data(self, task, name, *args):
        """A generated set, made once."""
        to = self.out / 'data' / name
        if not to.exists() and not self.late():
            to.parent.mkdir(exist_ok=True)
            self.htxvk('data', 'task', task, '--out', to, '--quiet', *args)
        return to.resolve()

    def train(self, name, conf, sets=(), precision='fp32'):
        """Trains `conf` (text of a configuration) as run `name` and returns the rows of its metrics."""
        run, file = self.out / name, self.out / (name + '.yaml')
        shutil.rmtree(run, ignore_errors=True)
        file.write_text(conf)
        args = [x for s in sets for x in ('--set', s)]
        self.htxvk('train', file, '--out', run, '--device', self.o.device, '--precision', precision, *args)
        return [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]

    def evaluate(self, run, *args, precision='fp32'):
        return json.loads(self.htxvk('eval', self.out / run, '--device', self.o.device, '--precision', precision,
                                     '--json', '-', *args))

    def each(self, calls):
        """Calls functions side by side; the first failure is raised when all have ended."""
        with concurrent.futures.ThreadPoolExecutor(self.o.jobs) as pool:
            for f in [pool.submit(c) for c in calls]:
                f.result()

    def write(self, page, name, table, svg=None, svg_name=None):
        """Table and plot below o.out, and with --docs also in that page between its marks for `name`."""
        (self.out / (name + '.md')).write_text(table)
        print('\n' + table)
        if svg:
            (self.out / svg_name).write_text(svg)
        if not self.o.docs:
            return
        docs = pathlib.Path(self.o.docs)
        if svg:
            (docs / svg_name).write_text(svg)
            table += '\n![%s](%s)\n' % (name.replace('_', ' '), svg_name)
        first, last = '<!-- %s -->\n' % name, '<!-- end of %s -->\n' % name
        text = (docs / page).read_text()
        if first not in text or last not in text:
            sys.exit('%s has no marks for %s' % (docs / page, name))
        (docs / page).write_text(text[:text.index(first)] + first + table + text[text.index(last):])


RECALL = '''run: {seed: %(seed)d}
model: {%(model)s}
data: {train: [%(train)s], valid: [%(test)s]}
train: {steps: %(steps)d, batch: %(batch)d, seq_len: %(length)d, clip_norm: 1.0, init: "%(init)s"}
optim: {name: adamw, lr: %(lr)g}
schedule: {name: cosine, warmup: %(warmup)d, min_lr: 1e-4}
eval: {every: %(every)d, batches: 16}
sample: {every: 0}
save: {every: 0, best: false}
log: {every: 100}
'''


class Recall:
    """One set for each distance; a model is trained on all of them and scored on each."""

    def __init__(self, e, distances, length, name='d'):
        self.e, self.distances, self.length, self.name = e, distances, length, name

    def sets(self):
        o = self.e.o
        return [lambda d=d: self.e.data('recall', '%s%d' % (self.name, d), '--lengths', self.length, '--distance', d, '--symbols', o.symbols,
                                        '--train', o.documents, '--test', 50 if o.quick else 500, '--seed', o.seed + d) for d in self.distances]

    def learn(self, run, model, steps, batch, lr, init='', each=True):
        """Trains `model`, a text of configuration, from the weights of run `init`; its scores by distance."""
        e, at = self.e, (self.e.out / 'data' / self.name).resolve()
        start = time.time()
        metrics = e.train(run, RECALL % {
            'seed': e.o.seed, 'model': model, 'steps': steps, 'batch': batch, 'length': self.length, 'lr': lr,
            'warmup': min(100, steps // 4 + 1), 'every': max(steps // 5, 1),
            'init': (e.out / init).resolve() if init else '',
            'train': ', '.join('%s%d/train' % (at, d) for d in self.distances),
            'test': ', '.join('%s%d/test' % (at, d) for d in self.distances)})
        took = time.time() - start
        # one number for all distances together, and one each
        if not each:
            return {'acc_all': last_eval(metrics)['acc'], 'train_s': round(took, 1), 'device': metrics[0]['device']}
        acc = {d: e.evaluate(run, '--data', '%s%d/test' % (at, d), '--seq-len', self.length, '--batch', 50)['acc']
               for d in self.distances}
        return {'acc': acc, 'train_s': round(took, 1), 'steps': steps, 'device': metrics[0]['device']}


def speed(metrics):
    """Median time of a step in ms; the first ones measure how to submit."""
    ms = sorted(r['step_ms'] for r in metrics if r['type'] == 'train' and r['step'] > 10)
    return ms[len(ms) // 2] if ms else float('nan')


def last_eval(metrics):
    return [r for r in metrics if r['type'] == 'eval'][-1]


def table(head, rows):
    lines = [head, ['---'] * len(head)] + rows
    return ''.join('| %s |\n' % ' | '.join(str(c) for c in line) for line in lines)


def percent(x):
    return '' if x is None else '%.1f %%' % (100 * x)


def plot(curves, x_label, x_log=False, y_range=(0, 1), y_text=lambda y: '%g %%' % (100 * y), mark=None, ticks=None):
    """Curves {title: [(x, y)]} as SVG; mark: a dashed line at this height; ticks: labels of the x axis."""
    w, h, left, top, right, bottom = 640, 360, 60, 20, 20, 50
    of = math.log2 if x_log else float
    xs = sorted({p[0] for c in curves.values() for p in c})
    lo, hi = of(xs[0]), of(xs[-1])
    x = lambda v: left + (w - left - right) * ((of(v) - lo) / (hi - lo) if hi > lo else 0.5)
    y = lambda v: h - bottom - (h - top - bottom) * (v - y_range[0]) / (y_range[1] - y_range[0])
    s = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">' % (w, h),
         '<rect width="100%" height="100%" fill="white"/>']
    for i in range(5):
        v = y_range[0] + i / 4 * (y_range[1] - y_range[0])
        s.append('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">'
                 '%s</text>' % (left, w - right, y(v), y(v), left - 8, y(v) + 4, y_text(v)))
    last = 0
    for v in reversed(ticks or xs):
        if not last or x(v) < last - 28:
            last = x(v)
            s.append('<text x="%.1f" y="%d" text-anchor="middle">%s</text>' % (last, h - bottom + 18, f'{v:g}' if v < 1e5
                     else '%gM' % round(v / 2**20, 2)))
    if mark is not None:
        s.append('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#999" stroke-dasharray="4 4"/>' % (
            left, w - right, y(mark), y(mark)))
    s.append('<text x="%d" y="%d" text-anchor="middle">%s</text>' % ((left + w - right) / 2, h - 12, x_label))
    for i, (title, c) in enumerate(curves.items()):
        color = COLORS[i % len(COLORS)]
        s.append('<polyline fill="none" stroke-width="2.5" stroke="%s" points="%s"/>' % (
            color, ' '.join('%.1f,%.1f' % (x(a), y(b)) for a, b in c)))
        s.append('<text x="%d" y="%d" fill="%s">%s</text>' % (w - right - 180, top + 40 + 18 * i, color, title))
    return '\n'.join(s + ['</svg>', ''])
