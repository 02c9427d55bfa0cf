#!/usr/bin/env python3
"""Modifiers of `rapt run attention` that depend on where a key lies from a query, as a black box.

    tests/tool_modifier_test.py build/tools/rapt/rapt [unittest options]
"""
import math
import os
import random
import sys
import unittest

import tool_test
from tool_reference import Tensor, f32, read_npy, reference
from tool_test import BAD_INPUT, GOOD, run


def clamp(x, half):
    return max(-half, min(half, x))


def apart(width):
    """Rows and columns from place a to place b."""
    return (lambda a, b: (b // width - a // width, b % width - a % width)) if width else (lambda a, b: (0, b - a))


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def scores(q, k, b, h, i, scale):
    return [scale * dot(q.row(b, h, i), k.row(b, h * k.shape[1] // q.shape[1], j)) for j in range(k.shape[2])]


def softmax(s):
    top = max(s)
    e = [math.exp(x - top) for x in s]
    return [x / sum(e) for x in e]


class Modifiers(tool_test.Case):
    def draw(self, seed, q_heads, kv_heads, nq, nk, d=8):
        rng = random.Random(seed)
        return [Tensor.random(rng, s) for s in ((2, q_heads, nq, d), (2, kv_heads, nk, d), (2, kv_heads, nk, d))]

    def out(self, q, k, v, *options):
        r = run("run", "attention", *self.inputs(q, k, v), "--out", self.path("o.npy"), *options)
        self.assertEqual(r.returncode, GOOD, r.stderr)
        return read_npy(self.path("o.npy"))[2]

    def close(self, got, want, tolerance=3e-6):
        self.assertEqual(len(got), len(want))
        for n, (a, b) in enumerate(zip(got, want)):
            self.assertLessEqual(abs(a - b), tolerance, f"element {n}: {a}, not {b}")

    def weighted(self, q, k, v, weights):
        """sum over j of weights(b, h, i)[j] v_j."""
        out = []
        for b in range(q.shape[0]):
            for h in range(q.shape[1]):
                for i in range(q.shape[2]):
                    w = weights(b, h, i)
                    out += [sum(x * v.row(b, h * v.shape[1] // q.shape[1], j)[e] for j, x in enumerate(w))
                            for e in range(v.shape[3])]  # fmt: skip
        return out

    def test_relative_line(self):
        q, k, v = self.draw(1, 4, 2, 6, 9)
        rng = random.Random(2)
        for heads, half, offset in ((4, 3, 0), (1, 20, 0), (4, 2, -5), (1, 0, 0)):
            table = [f32(rng.gauss(0, 1)) for _ in range(heads * (2 * half + 1))]
            path = self.file("t.npy", "<f4", (heads, 2 * half + 1), table)
            want, _ = reference(q, k, v, bias=lambda b, h, i, j: table[h % heads * (2 * half + 1) + half + clamp(j - (i + 3 + offset), half)])
            self.close(self.out(q, k, v, "--bias-relative", path, "--causal-offset", str(offset)), want.values)

    def test_relative_window(self):
        """The bias table of a Swin window of 3 x 4."""
        q, k, v = self.draw(3, 2, 2, 12, 12)
        rng = random.Random(4)
        table = [f32(rng.gauss(0, 1)) for _ in range(2 * 5 * 7)]
        away = apart(4)

        def bias(b, h, i, j):
            dy, dx = away(i, j)
            return table[(h * 5 + dy + 2) * 7 + dx + 3]

        path = self.file("t.npy", "<f4", (2, 5, 7), table)
        self.close(self.out(q, k, v, "--bias-relative", path, "--place-width", "4"), reference(q, k, v, bias=bias)[0].values)
        base = ["run", "attention", *self.inputs(q, k, v), "--out", self.path("o.npy"), "--bias-relative"]
        self.fails(BAD_INPUT, "relative", *base, path)
        self.fails(BAD_INPUT, "causal_offset 0", *base, path, "--place-width", "4", "--causal-offset", "1")
        self.fails(BAD_INPUT, "odd", *base, self.file("e.npy", "<f4", (2, 6), [0] * 12))
        self.fails(BAD_INPUT, "q_heads 2", *base, self.file("e.npy", "<f4", (3, 5), [0] * 15))
        self.fails(BAD_INPUT, "--place-width", *base, path, "--place-width", "0")
        self.fails(BAD_INPUT, "place_width goes with", *base[:-1], "--place-width", "4")

    def test_alibi_places(self):
        q, k, v = self.draw(5, 2, 1, 12, 12)
        slopes = [0.5, 0.125]
        away = apart(4)
        option = ["--alibi", self.file("a.npy", "<f4", (2,), slopes), "--place-width", "4"]
        want, _ = reference(q, k, v, bias=lambda b, h, i, j: -slopes[h] * sum(map(abs, away(i, j))))
        self.close(self.out(q, k, v, *option), want.values)

    def test_retention(self):
        """RetNet's parallel form, (Q K^T * D) V, D = gamma^(n - m)."""
        q, k, v = self.draw(6, 4, 4, 7, 7)
        gammas = [f32(1 - 2.0 ** (-2 - h)) for h in range(4)]
        option = ["--decay", self.file("g.npy", "<f4", (4,), gammas), "--link", "none", "--causal", "--scale", "1"]
        want = self.weighted(q, k, v, lambda b, h, i: [x * gammas[h] ** (i - j) if j <= i else 0
                                                       for j, x in enumerate(scores(q, k, b, h, i, 1))])  # fmt: skip
        self.close(self.out(q, k, v, *option), want, 1e-5)
        self.fails(BAD_INPUT, "decay", "run", "attention", *self.inputs(q, k, v), "--out", self.path("o.npy"), "--decay",
                   self.file("g.npy", "<f4", (3,), [0.5] * 3))  # fmt: skip

    def test_manhattan(self):
        """RMT's (softmax(Q K^T) * D) V, D = gamma^(|dx| + |dy|)."""
        q, k, v = self.draw(7, 2, 2, 15, 15)
        gammas = [f32(0.75), f32(0.9375)]
        away = apart(5)
        option = ["--decay", self.file("g.npy", "<f4", (2,), gammas), "--place-width", "5"]
        want = self.weighted(q, k, v, lambda b, h, i: [x * gammas[h] ** sum(map(abs, away(i, j))) for j, x in
                                                       enumerate(softmax(scores(q, k, b, h, i, 8**-0.5)))])  # fmt: skip
        self.close(self.out(q, k, v, *option), want)

    def test_margins(self):
        """Column sums over queries, by query head and by kv head, and row maxima; the LSE is not asked for."""
        q, k, v = self.draw(8, 4, 2, 6, 9)
        names = [self.path(n) for n in ("o.npy", "c.npy", "m.npy")]
        base = ["run", "attention", *self.inputs(q, k, v), "--out", names[0], "--col-sums", names[1], "--row-max", names[2], "--causal"]
        sums, maxima = [[0.0] * 9 for _ in range(2 * 4)], []
        for b in range(2):
            for h in range(4):
                for i in range(6):
                    s = scores(q, k, b, h, i, 8**-0.5)[: i + 4]
                    maxima.append(max(s))
                    for j, w in enumerate(softmax(s)):
                        sums[b * 4 + h][j] += w
        self.assertEqual(run(*base).returncode, GOOD)
        descr, shape, got = read_npy(names[1])
        self.assertEqual((descr, shape), ("<f4", (2, 4, 9)))
        self.close(got, sum(sums, []))
        self.assertEqual(read_npy(names[2])[1], (2, 4, 6))
        self.close(read_npy(names[2])[2], maxima)
        self.assertEqual(run(*base, "--by-kv-head").returncode, GOOD)
        self.assertEqual(read_npy(names[1])[1], (2, 2, 9))
        self.close(read_npy(names[1])[2], [x + y for n in range(0, 8, 2) for x, y in zip(sums[n], sums[n + 1])])
        self.fails(BAD_INPUT, "same file", *base, "--lse", names[2])
        self.fails(BAD_INPUT, "--col-sums", *base[:8], "--out", names[0], "--by-kv-head")


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    tool_test.RAPT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
