#!/usr/bin/env python3
"""Compares `htxvk forward --grad` with reference results, tensor by tensor.

A case is a folder with config.json, model.safetensors and io.safetensors; io holds the inputs and
every expected output. Each tensor must agree: ||out - ref|| / ||ref|| within 2e-5 for outputs and
losses, 1e-4 for gradients; where the reference is zero, 1e-6 in every element.
Exit status: 0 all agree, 1 something does not, 77 the driver or the device is not there.
"""
import argparse
import array
import json
import math
import os
import subprocess
import sys
import tempfile

OUTPUT_LIMIT, GRAD_LIMIT, ZERO_LIMIT = 2e-5, 1e-4, 1e-6
EXIT_SKIPPED, EXIT_NO_DEVICE = 77, 4


class Case:
    """The two sides of one tensor and how far they are apart."""

    def __init__(self, name, ref, out):
        self.name = name
        norm = math.sqrt(math.fsum(x * x for x in ref))
        # an infinity or NaN compares with nothing unless both sides have it
        diffs = [0.0 if a == b or (a != a and b != b) else a - b for a, b in zip(out, ref)]
        bad = any(not math.isfinite(d) for d in diffs)
        worst = max((abs(d) for d in diffs), default=0.0)
        self.zero = norm == 0
        limit = GRAD_LIMIT if name.startswith("grad.") else OUTPUT_LIMIT
        self.limit = ZERO_LIMIT if self.zero else limit
        self.error = math.inf if bad else worst if self.zero else self.relative(diffs, ref, norm)
        self.ok = self.error <= self.limit

    @staticmethod
    def relative(diffs, ref, norm):
        if not math.isfinite(norm):
            norm = math.sqrt(math.fsum(x * x for x in ref if math.isfinite(x)))
        size = math.sqrt(math.fsum(d * d for d in diffs))
        return size / norm if size else 0.0

    def text(self):
        kind = "largest element" if self.zero else "relative"
        return f"{self.name}: {kind} error {self.error:.2e}, limit {self.limit:.0e}"


def read_safetensors(path):
    """{name: (dtype, shape, bytes)} of a safetensors file."""
    with open(path, "rb") as f:
        head = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        body = f.read()
    head.pop("__metadata__", None)
    return {k: (v["dtype"], v["shape"], body[slice(*v["data_offsets"])]) for k, v in head.items()}


def floats(data):
    a = array.array("f", data)
    if sys.byteorder == "big":
        a.byteswap()
    return a


def compare(expected, got):
    """Tensors side by side, and sentences about what cannot be compared."""
    cases, wrong = [], []
    for name, (dtype, shape, data) in expected.items():
        if name not in got:
            wrong.append(f"{name}: missing in the output")
        elif got[name][0] != "F32" or dtype != "F32":
            wrong.append(f"{name}: {got[name][0]} in the output, {dtype} in the reference")
        elif got[name][1] != shape:
            wrong.append(f"{name}: shape {got[name][1]} in the output, {shape} in the reference")
        else:
            cases.append(Case(name, floats(data), floats(got[name][2])))
    wrong += [f"{name}: not in the reference" for name in got if name not in expected]
    return cases, wrong


def worst_of(cases, grad):
    these = [c for c in cases if c.name.startswith("grad.") == grad]
    if not these:
        return "none"
    c = max(these, key=lambda c: c.error / c.limit)
    return f"{c.error:.1e} {c.name}"


def check(args, folder):
    """Runs one case; True when every tensor agrees."""
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        inputs = json.load(f).get("inputs", ["ids"])
    io = read_safetensors(os.path.join(folder, "io.safetensors"))
    expected = {k: v for k, v in io.items() if k not in inputs and k.rsplit(".", 1)[0] not in inputs}
    with tempfile.TemporaryDirectory() as tmp:
        out = os.path.join(tmp, "out.safetensors")
        run = subprocess.run([args.htxvk, "forward", "--grad", "--output", out, "--device", args.device,
                              "--config", os.path.join(folder, "config.json"),
                              "--weights", os.path.join(folder, "model.safetensors"),
                              "--input", os.path.join(folder, "io.safetensors")],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        label = os.path.basename(os.path.normpath(folder))
        if run.returncode == EXIT_NO_DEVICE:
            print(f"{label}: skipped, {run.stderr.strip()}")
            sys.exit(EXIT_SKIPPED)
        if run.returncode:
            print(f"{label}: exit status {run.returncode}: {run.stderr.strip()}")
            return False
        cases, wrong = compare(expected, read_safetensors(out))
    wrong += [c.text() for c in cases if not c.ok]
    print(f"{label} on {args.device}: {len(cases)} tensors, worst output {worst_of(cases, False)}, "
          f"worst gradient {worst_of(cases, True)}")
    for w in wrong:
        print(f"  WRONG {w}")
    return bool(cases) and not wrong


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--htxvk", default="build/htxvk", help="the executable (build/htxvk)")
    p.add_argument("--device", default="host", help="as `htxvk --device`")
    p.add_argument("--driver", help="driver file (ICD) to run with; 77 if it is not there")
    p.add_argument("--width", help="LP_NATIVE_VECTOR_WIDTH for lavapipe: 128, 256 or 512")
    p.add_argument("cases", nargs="+", help="folders")
    args = p.parse_args()
    if args.driver:
        if not os.path.exists(args.driver):
            print(f"skipped: no {args.driver}")
            return EXIT_SKIPPED
        os.environ["VK_DRIVER_FILES"] = os.environ["VK_ICD_FILENAMES"] = os.path.abspath(args.driver)
    if args.width:
        os.environ["LP_NATIVE_VECTOR_WIDTH"] = args.width
    return 0 if all([check(args, c) for c in args.cases]) else 1


if __name__ == "__main__":
    sys.exit(main())
