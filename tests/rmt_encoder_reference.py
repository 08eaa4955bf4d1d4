#!/usr/bin/env python3
"""Compares `htxvk forward` of rmt_encoder with the same mathematics in plain Python: BERT's layers, the
memory in place of its rows, the short segment first. Exit status: 0 it agrees, 1 it does not."""
import array
import json
import math
import os
import random
import struct
import subprocess
import sys
import tempfile

CONF = dict(vocab_size=13, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
            max_position_embeddings=12, num_labels=5, num_mem_tokens=2, input_size=9, cls_token_id=3)
B, T = 2, 10                              # segments of 2, 4 and 4 tokens


def save(path, tensors):
    head, data = {}, b""
    for name, (shape, values, kind) in tensors.items():
        raw = array.array("i" if kind == "I32" else "f", values).tobytes()
        head[name] = dict(dtype=kind, shape=shape, data_offsets=[len(data), len(data) + len(raw)])
        data += raw
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def load(path):
    raw = open(path, "rb").read()
    n, = struct.unpack("<Q", raw[:8])
    head = json.loads(raw[8:8 + n])
    return {k: list(array.array("f", raw[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]))
            for k, v in head.items() if k != "__metadata__"}


def shapes(k):
    d, i, at = k["hidden_size"], k["intermediate_size"], "model.bert."
    yield at + "embeddings.word_embeddings.weight", [k["vocab_size"] + k["num_mem_tokens"], d]
    yield at + "embeddings.position_embeddings.weight", [k["max_position_embeddings"], d]
    yield at + "embeddings.token_type_embeddings.weight", [2, d]
    norms, maps = [at + "embeddings.LayerNorm"], []
    for n in range(k["num_hidden_layers"]):
        p = f"{at}encoder.layer.{n}."
        maps += [(p + f"attention.self.{x}", d, d) for x in ("query", "key", "value")]
        maps += [(p + "attention.output.dense", d, d), (p + "intermediate.dense", i, d),
                 (p + "output.dense", d, i)]
        norms += [p + "attention.output.LayerNorm", p + "output.LayerNorm"]
    maps += [(at + "pooler.dense", d, d), ("model.classifier", k["num_labels"], d)]
    for name in norms:
        yield name + ".weight", [d]
        yield name + ".bias", [d]
    for name, o, n in maps:
        yield name + ".weight", [o, n]
        yield name + ".bias", [o]


class Model:
    def __init__(self, w, k):
        self.w, self.k = w, k

    def row(self, name, i):
        d = self.k["hidden_size"]
        return self.w[name][i * d:(i + 1) * d]

    def linear(self, name, x):
        w, b = self.w[name + ".weight"], self.w[name + ".bias"]
        return [b[o] + sum(w[o * len(x) + i] * v for i, v in enumerate(x)) for o in range(len(b))]

    def norm(self, name, x):
        mean = sum(x) / len(x)
        var = sum((v - mean) ** 2 for v in x) / len(x)
        g, b = self.w[name + ".weight"], self.w[name + ".bias"]
        return [(v - mean) / math.sqrt(var + 1e-5) * g[i] + b[i] for i, v in enumerate(x)]

    def layer(self, p, xs):
        heads, d = self.k["num_attention_heads"], self.k["hidden_size"]
        q, key, v = ([self.linear(p + "attention.self." + n, x) for x in xs] for n in ("query", "key", "value"))
        width, out = d // heads, []
        for i, x in enumerate(xs):
            y = []
            for h in range(heads):
                part = slice(h * width, (h + 1) * width)
                s = [math.exp(sum(a * b for a, b in zip(q[i][part], r[part])) / math.sqrt(width)) for r in key]
                y += [sum(a * r[c] for a, r in zip(s, v)) / sum(s) for c in range(part.start, part.stop)]
            y = self.linear(p + "attention.output.dense", y)
            x = self.norm(p + "attention.output.LayerNorm", [a + b for a, b in zip(x, y)])
            u = [a * 0.5 * (1 + math.erf(a / math.sqrt(2))) for a in self.linear(p + "intermediate.dense", x)]
            y = self.linear(p + "output.dense", u)
            out.append(self.norm(p + "output.LayerNorm", [a + b for a, b in zip(x, y)]))
        return out

    def segment(self, ids, memory):
        at, k = "model.bert.embeddings.", self.k
        sep = k.get("sep_token_id", k["vocab_size"] - 1)
        word = lambda i: self.row(at + "word_embeddings.weight", i)
        rows = [word(k["cls_token_id"])] + memory + [word(sep)] + [word(i) for i in ids] + [word(sep)]
        xs = [self.norm(at + "LayerNorm", [a + b + c for a, b, c in zip(
            r, self.row(at + "position_embeddings.weight", p), self.row(at + "token_type_embeddings.weight", 0))])
            for p, r in enumerate(rows)]
        for n in range(k["num_hidden_layers"]):
            xs = self.layer(f"model.bert.encoder.layer.{n}.", xs)
        return xs[0], xs[1:1 + len(memory)]

    def run(self, ids):
        k, step = self.k, self.k["input_size"] - self.k["num_mem_tokens"] - 3
        memory = [self.row("model.bert.embeddings.word_embeddings.weight", k["vocab_size"] + i)
                  for i in range(k["num_mem_tokens"])]
        cuts = list(range(len(ids), 0, -step))[::-1]
        memories, begin = [], 0
        for end in cuts:
            top, memory = self.segment(ids[begin:end], memory)
            memories.append(memory)
            begin = end
        pooled = [math.tanh(v) for v in self.linear("model.bert.pooler.dense", top)]
        return self.linear("model.classifier", pooled), memories


def main():
    htxvk, device = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "host"
    draw = random.Random(5)
    round32 = lambda x: struct.unpack("f", struct.pack("f", x))[0]
    w = {n: ([*s], [round32(draw.gauss(0, 0.3) + n.endswith("LayerNorm.weight")) for _ in range(math.prod(s))])
         for n, s in shapes(CONF)}
    ids = [[draw.randrange(CONF["vocab_size"]) for _ in range(T)] for _ in range(B)]
    labels = [draw.randrange(CONF["num_labels"]) for _ in range(B)]
    model = Model({n: v for n, (_, v) in w.items()}, CONF)
    want, loss = {"logits": []}, 0
    results = [model.run(row) for row in ids]
    for (logits, memories), label in zip(results, labels):
        want["logits"] += logits
        loss += math.log(sum(math.exp(v) for v in logits)) - logits[label]
        for s, rows in enumerate(memories):
            want.setdefault(f"memory.{s}", []).extend(v for r in rows for v in r)
    want["loss"] = [loss / B]
    with tempfile.TemporaryDirectory() as at:
        path = lambda name: os.path.join(at, name)
        with open(path("c.json"), "w") as f:
            json.dump({"model": "rmt_encoder", **CONF, "inputs": ["ids", "labels"]}, f)
        save(path("w"), {n: (s, v, "F32") for n, (s, v) in w.items()})
        io = {"ids": ([B, T], [i for r in ids for i in r], "I32"), "labels": ([B], labels, "I32")}
        m, d = CONF["num_mem_tokens"], CONF["hidden_size"]
        for n, v in want.items():
            shape = [1] if n == "loss" else [B, CONF["num_labels"]] if n == "logits" else [B, m, d]
            io[n] = (shape, v, "F32")
        save(path("io"), io)
        subprocess.run([htxvk, "forward", "--config", path("c.json"), "--weights", path("w"), "--input", path("io"),
                        "--output", path("out"), "--device", device, "--quiet"], check=True)
        got = load(path("out"))
    bad = 0
    for n, v in want.items():
        e = math.sqrt(sum((a - b) ** 2 for a, b in zip(got[n], v)) / sum(a * a for a in v))
        print(f"{n:10s} {e:.1e}")
        bad += not (len(got[n]) == len(v) and e <= 2e-5)
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
