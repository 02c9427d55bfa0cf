#!/usr/bin/env python3
"""`rapt run memory` as a black box, checked against the formulas in plain Python.

    tests/tool_memory_test.py build/tools/rapt/rapt [unittest options]
"""
import json
import math
import os
import random
import sys
import unittest

import tool_test
from tool_reference import Tensor, f16, f32, read_npy
from tool_test import BAD_INPUT, GOOD, REFUSED, run


def silu(x):
    return x / (1 + math.exp(-x))


def slope(x):
    s = 1 / (1 + math.exp(-x))
    return s * (1 + x * (1 - s))


def times(x, w):
    """x W, W a list of rows."""
    return [sum(x[r] * w[r][j] for r in range(len(x))) for j in range(len(w[0]))]


def softmax(x):
    top = max(x)
    e = [math.exp(y - top) for y in x]
    return [y / sum(e) for y in e]


def log_sum(x):
    top = max(x)
    return top + math.log(sum(math.exp(y - top) for y in x)) if top > -math.inf else top


def rows(flat, columns):
    return [list(flat[at:at + columns]) for at in range(0, len(flat), columns)]


def recall(layers, x):
    y = times(x, layers[0])
    return times([silu(u) for u in y], layers[1]) if len(layers) > 1 else y


def gradient(layers, k, v):
    """Of |M(k) - v|^2, layer by layer."""
    inner = times(k, layers[0])
    error = [2 * (y - w) for y, w in zip(recall(layers, k), v)]
    if len(layers) == 1:
        return [[[x * e for e in error] for x in k]]
    back = [slope(u) * sum(e * w for e, w in zip(error, row)) for u, row in zip(inner, layers[1])]
    return [[[x * b for b in back] for x in k], [[silu(u) * e for e in error] for u in inner]]


def learn(q, k, v, rates, layers, moments, chunk, read_start=False):
    """The outputs of one head, and layers and moments at the end, one after the other."""
    out = []
    for t in range(len(q)):
        if t % chunk == 0:
            start = layers
        alpha, eta, theta = rates[t]
        slopes = gradient(start, k[t], v[t])
        moments = [[[eta * s - theta * g for s, g in zip(*r)] for r in zip(*p)] for p in zip(moments, slopes)]
        layers = [[[(1 - alpha) * m + s for m, s in zip(*r)] for r in zip(*p)] for p in zip(layers, moments)]
        out += recall(start if read_start else layers, q[t])
    return out, [x for part in (layers, moments) for layer in part for row in layer for x in row]


def share(q, k, v, w, z, chunk):
    """Gecko's working memory."""
    out = []
    for first in range(0, len(q), chunk):
        end = min(first + chunk, len(q))
        for t in range(first, end):
            out += times(softmax(q[t]), w)
        errors = [[a - b for a, b in zip(v[t], times(softmax(k[t]), w))] for t in range(first, end)]
        for r in range(len(w)):
            column = [k[t][r] for t in range(first, end)]
            new = log_sum([z[r], log_sum(column)])
            part, weights = math.exp(log_sum(column) - new), softmax(column)
            w[r] = [x + part * (sum(c * e[j] for c, e in zip(weights, errors)) - x) for j, x in enumerate(w[r])]
            z[r] = new
    return out, [x for row in w for x in row] + z


class WithoutDevice(tool_test.Case):
    def setUp(self):
        super().setUp()
        rng = random.Random(1)
        for name, shape in (("q", (1, 2, 5, 4)), ("k", (1, 2, 5, 4)), ("v", (1, 2, 5, 3)), ("r", (1, 2, 5, 3))):
            self.tensor(f"{name}.npy", Tensor.random(rng, shape))
        self.files = [w for n in "qkv" for w in (f"--{n}", self.path(f"{n}.npy"))]
        self.good = [*self.files, "--rates", self.path("r.npy"), "--out", self.path("o.npy")]

    def wrong(self, text, *arguments):
        self.fails(BAD_INPUT, text, "run", "memory", *arguments)

    def test_help(self):
        r = run("run", "memory", "--help")
        self.assertEqual(r.returncode, GOOD)
        for option in ("--form", "--q", "--k", "--v", "--rates", "--state-in", "--state-out", "--hidden", "--act", "--chunk",
                       "--read-start", "--workspace-limit", "--dtype", "--out"):
            self.assertIn(option + " ", r.stdout + " ")

    def test_mistakes(self):
        self.wrong("--out FILE is missing", *self.good[:-2])
        self.wrong("--v FILE is missing", *self.good[:4], *self.good[6:])
        self.wrong("--form 'matrix'", *self.good, "--form", "matrix")
        self.wrong("--act 'relu'", *self.good, "--form", "mlp", "--act", "relu")
        self.wrong("--act goes with", *self.good, "--act", "gelu")
        self.wrong("--dtype 'i32'", *self.good, "--dtype", "i32")
        self.wrong("--chunk", *self.good, "--chunk", "0")
        self.wrong("--hidden", *self.good, "--hidden", "4096")
        self.wrong("an MLP of zeros", *self.good, "--form", "mlp", "--hidden", "4")
        self.wrong("same file", *self.good, "--state-out", self.path("o.npy"))
        self.wrong("float32 with 3 is needed", *self.good, "--state-in", self.path("r.npy"))
        self.wrong("with 4 is needed", *self.files, "--rates", self.file("x.npy", "<f4", (2, 5, 3), [0.0] * 30), "--out", self.path("o.npy"))


class WithDevice(tool_test.Case):
    @classmethod
    def setUpClass(cls):
        if not tool_test.has_device():
            raise unittest.SkipTest("no Vulkan device")

    def setUp(self):
        super().setUp()
        self.rng = random.Random(5)

    def numbers(self, name, shape, make):
        values = [f32(make()) for _ in range(math.prod(shape))]
        return values, [f"--{name}", self.file(f"{name}.npy", "<f4", shape, values)]

    def problem(self, n, d, d_v, numbers):
        """Rows of q, k, v and rates by head, each head's state, and the words for them."""
        gauss = lambda size: lambda: size * self.rng.gauss(0, 1)
        parts, words = [], ["--out", self.path("o.npy"), "--state-out", self.path("s.npy")]
        for name, width, make in (("q", d, gauss(1)), ("k", d, gauss(0.3)), ("v", d_v, gauss(1)), ("rates", 3, lambda: self.rng.uniform(0, 0.6))):
            values, argument = self.numbers(name, (1, 2, n, width), make)
            parts.append([rows(values[h * n * width:(h + 1) * n * width], width) for h in range(2)])
            words += argument
        state, argument = self.numbers("state-in", (1, 2, numbers), gauss(0.3))
        return [*zip(*parts, (state[:numbers], state[numbers:]))], [*words, *argument]

    def check(self, words, heads, tolerance=1e-6):
        """Of the largest number: single precision beside double was off by up to 2.4e-7; float16's last half unit is 4.9e-4."""
        r = run("run", "memory", *words)
        self.assertEqual(r.returncode, GOOD, r.stderr)
        for name, part in (("o.npy", 0), ("s.npy", 1)):
            want, (_, _, got) = [x for head in heads for x in head[part]], read_npy(self.path(name))
            self.assertEqual(len(got), len(want))
            worst = max(abs(x - y) for x, y in zip(got, want))
            self.assertLessEqual(worst, tolerance * max(1.0, max(abs(x) for x in want)), f"{name} of {words}")
        return r

    def test_linear(self):
        heads, words = self.problem(21, 6, 5, 60)
        for start in (False, True):
            want = [learn(q, k, v, rates, [rows(s[:30], 5)], [rows(s[30:], 5)], 8, start) for q, k, v, rates, s in heads]
            self.check([*words, "--chunk", "8", *(["--read-start"] if start else [])], want)

    def test_mlp(self):
        heads, words = self.problem(19, 6, 5, 154)
        split = lambda s: [rows(s[:42], 7), rows(s[42:], 5)]
        want = [learn(q, k, v, rates, split(s[:77]), split(s[77:]), 8) for q, k, v, rates, s in heads]
        self.check([*words, "--form", "mlp", "--hidden", "7", "--chunk", "8"], want)

    def test_softmax(self):
        heads, words = self.problem(21, 6, 5, 36)
        words = [w for n, w in enumerate(words) if "--rates" not in words[max(n - 1, 0):n + 1]]
        want = [share(q, k, v, rows(s[:30], 5), list(s[30:]), 8) for q, k, v, _, s in heads]
        self.check([*words, "--form", "softmax", "--chunk", "8"], want)
        words = words[:-2]  # of nothing
        want = [share(q, k, v, [[0.0] * 5 for _ in range(6)], [-math.inf] * 6, 8) for q, k, v, _, s in heads]
        self.check([*words, "--form", "softmax", "--chunk", "8"], want)

    def test_types_and_explain(self):
        heads, words = self.problem(21, 6, 5, 60)
        halves = [[[f16(x) for x in row] for row in part] for head in heads for part in head[:3]]
        want = [learn(*halves[3 * h:3 * h + 3], head[3], [rows(head[4][:30], 5)], [rows(head[4][30:], 5)], 8) for h, head in enumerate(heads)]
        r = self.check([*words, "--chunk", "8", "--dtype", "f16", "--explain"], want, 6e-4)
        self.assertIn("memory-f16", r.stdout)
        self.assertEqual(read_npy(self.path("o.npy"))[0], "<f2")
        r = run("run", "memory", *words, "--chunk", "8", "--json", "--time", "3")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        self.assertEqual(json.loads(r.stdout)["time"]["repeats"], 3)
        self.fails(REFUSED, "there may be 64", "run", "memory", *words, "--workspace-limit", "64")
        self.fails(BAD_INPUT, "state_in: axis 2", "run", "memory", *words, "--form", "mlp", "--hidden", "3")


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    tool_test.RAPT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
