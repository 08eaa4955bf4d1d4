"""What RADV's compiler says about every kernel (tools/amd): judged, compared with docs/amd.csv, written down."""
import csv
import glob
import json
import os
import sys

# generations, oldest first, as RADV names a chip of each
FAMILIES = {'TONGA': 'GCN 3', 'POLARIS10': 'GCN 4', 'VEGA10': 'GCN 5', 'RENOIR': 'GCN 5 APU', 'NAVI10': 'RDNA 1',
            'NAVI21': 'RDNA 2', 'NAVI31': 'RDNA 3', 'GFX1150': 'RDNA 3.5', 'GFX1201': 'RDNA 4'}
LDS_LIMIT = 65536
COLUMNS = ['kernel', 'family', 'variants', 'vgprs', 'sgprs', 'lds', 'occupancy', 'latency', 'code']
CSV, PAGE = 'docs/amd.csv', 'docs/devices.md'
BEGIN, END = '<!-- amd table: tools/amd --write -->\n', '<!-- end of amd table -->\n'


def read(folder):
    """All variants (specialization constants) of each kernel: (kernel, family) -> {constants: facts}; what fails."""
    seen, wrong, driver = {}, [], ''
    for path in sorted(glob.glob(os.path.join(folder, '*.json'))):
        family = os.path.basename(path).split('.')[0]
        with open(path) as f:
            report = json.load(f)
        driver = report['driver']
        for r in report['results']:
            name = '%s[%s] on %s' % (r['kernel'], r['constants'], family)
            facts = r['facts']
            if not r['compiles']:
                wrong.append('%s does not compile: %s' % (name, r.get('error', '')))
                continue
            if 'VGPRs' not in facts:
                sys.exit('tools/amd: this driver tells nothing about %s' % name)
            for what in ['Spilled VGPRs', 'Spilled SGPRs', 'Scratch size']:
                if facts[what] > 0:
                    wrong.append('%s: %s is %d' % (name, what, facts[what]))
            if facts['LDS size'] > LDS_LIMIT:
                wrong.append('%s: %d bytes of shared memory' % (name, facts['LDS size']))
            seen.setdefault((r['kernel'], family), {})[r['constants']] = facts
    return seen, wrong, driver


def summary(seen):
    """The worst variant of each kernel in each respect."""
    rows = []
    for (kernel, family), variants in sorted(seen.items(), key=lambda x: (x[0][0], list(FAMILIES).index(x[0][1]))):
        v = list(variants.values())
        most = lambda what: int(max(f[what] for f in v))
        rows.append(dict(zip(COLUMNS, [kernel, family, len(v), most('VGPRs'), most('SGPRs'), most('LDS size'),
                                       int(min(f['Subgroups per SIMD'] for f in v)), most('Latency'),
                                       most('Code size')])))
    return rows


def worse(rows):
    if not os.path.exists(CSV):
        return []
    with open(CSV) as f:
        old = {(r['kernel'], r['family']): r for r in csv.DictReader(f)}
    out = []
    for r in rows:
        o = old.get((r['kernel'], r['family']))
        if o and (r['vgprs'] > 1.1 * int(o['vgprs']) + 4 or r['occupancy'] < int(o['occupancy'])):
            out.append('%s on %s: %s registers (before: %s), occupancy %s (%s)' % (
                r['kernel'], r['family'], r['vgprs'], o['vgprs'], r['occupancy'], o['occupancy']))
    return out


def table(rows, driver):
    by = {}
    for r in rows:
        by.setdefault(r['kernel'], {})[r['family']] = r
    text = ('%s, %d kernels. A cell: vector registers, KiB of shared memory, subgroups a SIMD can hold (the worst of '
            'the kernel\'s variants in each respect).\n\n' % (driver, len(by)))
    text += '| kernel | variants | %s |\n|---|---|%s\n' % (
        ' | '.join('%s<br>%s' % (FAMILIES[f], f) for f in FAMILIES), '---|' * len(FAMILIES))
    for kernel, cells in by.items():
        line = ['%d %.3g %d' % (c['vgprs'], c['lds'] / 1024, c['occupancy']) if (c := cells.get(f)) else ''
                for f in FAMILIES]
        text += '| %s | %d | %s |\n' % (kernel, max(c['variants'] for c in cells.values()), ' | '.join(line))
    return text


def write(rows, driver):
    with open(CSV, 'w', newline='') as f:
        w = csv.DictWriter(f, COLUMNS, lineterminator='\n')
        w.writeheader()
        w.writerows(rows)
    with open(PAGE) as f:
        page = f.read()
    head, rest = page.split(BEGIN)
    with open(PAGE, 'w') as f:
        f.write(head + BEGIN + table(rows, driver) + END + rest.split(END)[1])


def main():
    seen, wrong, driver = read(sys.argv[-1])
    rows = summary(seen)
    n = sum(r['variants'] for r in rows)
    families = {r['family'] for r in rows}
    if '--write' in sys.argv:
        write(rows, driver)
    else:
        wrong += worse(rows)
    for line in wrong:
        print(line)
    print('%d kernels compiled for %d families, %d findings' % (n, len(families), len(wrong)))
    return 1 if wrong or len(families) < len(FAMILIES) else 0


sys.exit(main())
