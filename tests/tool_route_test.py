#!/usr/bin/env python3
"""`rapt run route` as a black box, checked against the definition in plain Python.

    tests/tool_route_test.py build/tools/rapt/rapt [unittest options]
"""
import json
import math
import os
import random
import sys
import unittest

import tool_test
from tool_reference import Tensor, read_npy
from tool_test import BAD_INPUT, GOOD, run


def mean(rows):
    return [sum(column) / len(rows) for column in zip(*rows)]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


SCORES = {
    "mean": lambda q, keys: dot(q, mean(keys)),
    "max": lambda q, keys: dot(q, [max(c) for c in zip(*keys)]),
    "min-max": lambda q, keys: sum(max(x * min(c), x * max(c)) for x, c in zip(q, zip(*keys))),
    "landmark": lambda q, keys: dot(q, keys[-1]),
}


def route(q, k, block_q, block_k, summary, select, causal=False, heads="each", queries="mean", first=0, last=0):
    """Flat mask (batch, heads, tiles, blocks), and the lists. select: a function of the visible blocks' scores, and those of
    blocks that are always taken, to the blocks taken."""
    batch, n_heads, nq, d = q.shape
    _, kv_heads, nk, _ = k.shape
    group, tiles, blocks = n_heads // kv_heads, -(-nq // block_q), -(-nk // block_k)
    masks, lists = [], []
    for b in range(batch):
        rows = []
        for h in range(n_heads):
            for t in range(tiles):
                tile = [q.row(b, h, i) for i in range(t * block_q, min(nq, (t + 1) * block_q))]
                scores = []
                for j in range(blocks):
                    keys = [k.row(b, h // group, i) for i in range(j * block_k, min(nk, (j + 1) * block_k))]
                    of = SCORES[summary]
                    s = max(of(x, keys) for x in tile) if queries == "max" else of(mean(tile), keys)
                    scores.append(s / math.sqrt(d))
                rows.append(scores)
        if heads != "each":
            merge = sum if heads == "sum" else max
            rows = [[merge(rows[(h * group + g) * tiles + t][j] for g in range(group)) for j in range(blocks)]
                    for h in range(kv_heads) for t in range(tiles)]
        taken = []
        for n, scores in enumerate(rows):
            begin = n % tiles * block_q + nk - nq
            end = min(nq, (n % tiles + 1) * block_q) - 1 + nk - nq
            seen = [j for j in range(blocks) if not causal or j * block_k <= end]
            always = [j for j in seen if j < first or (last and begin // block_k - last < j <= end // block_k)]
            taken.append(select({j: scores[j] for j in seen}, always))
        lists += taken
        for h in range(n_heads):
            for t in range(tiles):
                chosen = taken[(h if heads == "each" else h // group) * tiles + t]
                masks += [int(j in chosen) for j in range(blocks)]
    return masks, lists


def top_k(count):
    def choose(scores, always):
        order = [j for j in sorted(scores, key=lambda j: (-scores[j], j)) if j not in always]
        return sorted(always + order[: max(0, count - len(always))])
    return choose


def top_k_behind(count, skip):
    def choose(scores, always):
        order = sorted(scores, key=lambda j: (-scores[j], j))
        return sorted(order[skip : skip + count])
    return choose


def mass(share):
    def choose(scores, always):
        weight = {j: math.exp(s) for j, s in scores.items()}
        taken = list(always)
        for j in sorted(scores, key=lambda j: (-scores[j], j)):
            if j not in taken and sum(weight[i] for i in taken) < share * sum(weight.values()):
                taken.append(j)
        return sorted(taken)
    return choose


def threshold(least):
    return lambda scores, always: sorted(set(always) | {j for j, s in scores.items() if s >= least})


class NoDevice(tool_test.Case):
    def setUp(self):
        super().setUp()
        rng = random.Random(1)
        self.good = {"--block": "4", "--select": "top-k:2", "--mask-out": self.path("m.npy")}
        for name in ("q", "k"):
            self.good[f"--{name}"] = self.tensor(f"{name}.npy", Tensor.random(rng, (1, 2, 9, 4)))

    def wrong(self, text, option, value=None):
        """With the option's value, or without the option."""
        words = {**self.good, option: value}
        self.fails(BAD_INPUT, text, "run", "route", *(w for o, v in words.items() if v is not None for w in (o, v)))

    def test_help(self):
        r = run("run", "route", "--help")
        self.assertEqual(r.returncode, GOOD)
        for option in ("--block", "--summary", "--select", "--mask-out", "--list-out", "--scores-out", "--summary-out", "--queries",
                       "--heads", "--causal", "--always-first", "--always-last", "--skip", "--list-heads", "--within", "--within-blocks"):
            self.assertIn(option + " ", r.stdout + " ")

    def test_mistakes(self):
        self.wrong("nothing to write", "--mask-out")
        self.wrong("--block is missing", "--block")
        self.wrong("--select is missing", "--select")
        self.wrong("--q FILE is missing", "--q")
        self.wrong("--block '4y4'", "--block", "4y4")
        self.wrong("--block '0'", "--block", "0")
        self.wrong("--summary 'median'", "--summary", "median")
        self.wrong("--summary landmark", "--summary", "landmark:4")
        self.wrong("--select 'best'", "--select", "best")
        self.wrong("--select 'top-k'", "--select", "top-k")
        self.wrong("--select top-k", "--select", "top-k:0")
        self.wrong("--skip", "--skip", "-1")
        self.wrong("--list-heads", "--list-heads", "0")
        self.wrong("--heads 'all'", "--heads", "all")
        self.wrong("--queries 'min'", "--queries", "min")
        self.wrong("same file", "--list-out", self.path("m.npy"))


class WithDevice(tool_test.Case):
    @classmethod
    def setUpClass(cls):
        if not tool_test.has_device():
            raise unittest.SkipTest("no Vulkan device")

    def setUp(self):
        super().setUp()
        rng = random.Random(5)
        self.q, self.k = (Tensor.random(rng, shape) for shape in ((2, 4, 21, 8), (2, 2, 43, 8)))
        self.files = ["--q", self.tensor("q.npy", self.q), "--k", self.tensor("k.npy", self.k)]

    def check(self, options, *meaning, **more):
        r = run("run", "route", *self.files, *options, "--mask-out", self.path("m.npy"), "--list-out", self.path("l.npy"))
        self.assertEqual(r.returncode, GOOD, r.stderr)
        masks, lists = route(self.q, self.k, *meaning, **more)
        kind, shape, got = read_npy(self.path("m.npy"))
        self.assertEqual(kind, "<i4")
        self.assertEqual(math.prod(shape), len(masks))
        self.assertEqual(got, masks)
        _, shape, got = read_npy(self.path("l.npy"))
        for n, want in enumerate(lists):
            self.assertEqual(got[n * shape[3] : (n + 1) * shape[3]], want + [-1] * (shape[3] - len(want)))

    def test_selections(self):
        for summary in SCORES:
            self.check(["--block", "4x5", "--summary", summary, "--select", "top-k:3", "--causal"], 4, 5, summary, top_k(3), causal=True)
        self.check(["--block", "1x4", "--select", "top-k:4", "--heads", "max", "--always-last", "2", "--causal"], 1, 4, "mean",
                   top_k(4), causal=True, heads="max", last=2)
        self.check(["--block", "4", "--select", "mass:0.6", "--heads", "sum", "--always-first", "1"], 4, 4, "mean", mass(0.6),
                   heads="sum", first=1)
        self.check(["--block", "4", "--select", "threshold:0.3", "--queries", "max"], 4, 4, "mean", threshold(0.3), queries="max")

    def test_behind_the_largest(self):
        self.check(["--block", "4x5", "--select", "top-k:2", "--skip", "3", "--causal"], 4, 5, "mean", top_k_behind(2, 3), causal=True)
        self.check(["--block", "4x5", "--select", "top-k:20", "--skip", "0"], 4, 5, "mean", top_k_behind(20, 0))
        r = run("run", "route", *self.files, "--block", "4x5", "--select", "top-k:2", "--list-heads", "2", "--list-out", self.path("t.npy"))
        self.assertEqual(r.returncode, GOOD, r.stderr)
        r = run("run", "route", *self.files, "--block", "4x5", "--select", "top-k:2", "--list-out", self.path("l.npy"))
        self.assertEqual(r.returncode, GOOD, r.stderr)
        (_, shape, through), (_, _, own) = read_npy(self.path("t.npy")), read_npy(self.path("l.npy"))
        row = math.prod(shape[2:])
        for at, (x, y) in enumerate(zip(through, own)):
            b, h = at // row // shape[1], at // row % shape[1]
            self.assertEqual(x, -1 if y < 0 else (b * 2 + h * 2 // shape[1]) * 9 + y)

    def test_within_a_coarser_mask(self):
        words = ["--causal", "--summary", "mean"]
        r = run("run", "route", *self.files, "--block", "4x10", "--select", "top-k:2", *words, "--mask-out", self.path("c.npy"))
        self.assertEqual(r.returncode, GOOD, r.stderr)
        r = run("run", "route", *self.files, "--block", "4x5", "--select", "top-k:2", *words, "--within", self.path("c.npy"),
                "--within-blocks", "2", "--mask-out", self.path("m.npy"))
        self.assertEqual(r.returncode, GOOD, r.stderr)
        coarse, fine = read_npy(self.path("c.npy"))[2], read_npy(self.path("m.npy"))[2]
        for row in range(len(fine) // 9):
            taken = [j for j in range(9) if fine[row * 9 + j]]
            self.assertTrue(all(coarse[row * 5 + j // 2] for j in taken))
        r = run("run", "route", *self.files, "--block", "4x5", "--select", "top-k:2", "--within", self.path("c.npy"), "--mask-out", self.path("m.npy"))
        self.assertEqual(r.returncode, BAD_INPUT)
        self.assertIn("within: axis 3 has 5 entries, must be 9", r.stderr)

    def test_attention_takes_the_mask(self):
        rng = random.Random(6)
        v = self.tensor("v.npy", Tensor.random(rng, (2, 2, 43, 8)))
        r = run("run", "route", *self.files, "--block", "4x5", "--select", "top-k:99", "--causal", "--mask-out", self.path("m.npy"))
        self.assertEqual(r.returncode, GOOD, r.stderr)
        outs = []
        for options in ([], ["--block-mask", self.path("m.npy"), "--block", "4x5"]):
            r = run("run", "attention", *self.files, "--v", v, "--causal", "--out", self.path("o.npy"), *options)
            self.assertEqual(r.returncode, GOOD, r.stderr)
            outs.append(read_npy(self.path("o.npy"))[2])
        self.assertLess(max(abs(x - y) for x, y in zip(*outs)), 1e-5)

    def test_json(self):
        r = run("run", "route", *self.files, "--block", "8", "--select", "top-k:2", "--scores-out", self.path("s.npy"),
                "--summary-out", self.path("u.npy"), "--json", "--time", "2")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        answer = json.loads(r.stdout)
        self.assertEqual(answer["explain"]["problem"]["op"], "route")
        self.assertEqual(answer["time"]["repeats"], 2)
        self.assertEqual(read_npy(self.path("s.npy"))[1], (2, 4, 3, 6))
        self.assertEqual(read_npy(self.path("u.npy"))[1], (2, 2, 6, 8))


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    tool_test.RAPT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
