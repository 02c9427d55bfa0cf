#!/usr/bin/env python3
"""`rapt run merge` as a black box: attention over parts of the keys, merged, is attention over all of them, in plain Python.

    tests/tool_merge_test.py build/tools/rapt/rapt [unittest options]
"""
import json
import math
import os
import random
import sys
import unittest

import tool_test
from tool_reference import Tensor, attend, read_npy
from tool_test import BAD_INPUT, GOOD, run

SHAPE = (2, 3, 5, 8)


class NoDevice(tool_test.Case):
    def setUp(self):
        super().setUp()
        rng = random.Random(1)
        self.part = self.files("a", SHAPE, SHAPE[:3], rng)
        self.good = ["--part", self.part, "--part", self.part, "--out", self.path("o.npy")]

    def files(self, name, shape, rows, rng):
        out = self.tensor(f"{name}.npy", Tensor.random(rng, shape))
        return out + "," + self.file(f"{name}_lse.npy", "<f4", rows, [0.0] * math.prod(rows))

    def wrong(self, text, *words):
        self.fails(BAD_INPUT, text, "run", "merge", *words)

    def test_help(self):
        r = run("run", "merge", "--help")
        self.assertEqual(r.returncode, GOOD)
        for option in ("--part", "--out", "--lse", "--dtype"):
            self.assertIn(option + " ", r.stdout + " ")

    def test_mistakes(self):
        rng = random.Random(2)
        self.wrong("needed twice", *self.good[2:])
        self.wrong("--out FILE is missing", *self.good[:4])
        self.wrong("same file", *self.good, "--lse", self.path("o.npy"))
        self.wrong("--dtype 'i32'", *self.good, "--dtype", "i32")
        self.wrong("OUT,LSE is needed", *self.good, "--part", self.path("a.npy"))
        self.wrong("OUT,LSE is needed", *self.good, "--part", self.part + ",x")
        self.wrong("float32 (batch, heads, sequence)", *self.good, "--part", self.files("b", SHAPE, (2, 3, 4), rng))
        self.wrong("not the first part's", *self.good, "--part", self.files("c", (2, 3, 4, 8), (2, 3, 4), rng))
        self.wrong("--part", *self.good, *self.good[:4])  # four


class WithDevice(tool_test.Case):
    @classmethod
    def setUpClass(cls):
        if not tool_test.has_device():
            raise unittest.SkipTest("no Vulkan device")

    def merged(self, keys):
        """Parts of `keys` keys each through rapt run attention, merged; and the reference over all keys."""
        rng = random.Random(7)
        batch, heads, n, d = SHAPE
        total = sum(keys)
        q, k, v = (Tensor.random(rng, s) for s in (SHAPE, (batch, heads, total, d), (batch, heads, total, d)))
        words, begin = [], 0
        for part, count in enumerate(keys):
            names = [self.path(f"{part}_{x}.npy") for x in ("out", "lse")]
            rows = [[x for b in range(batch) for h in range(heads) for j in range(begin, begin + count) for x in t.row(b, h, j)]
                    for t in (k, v)]
            tensors = [Tensor((batch, heads, count, d), x) for x in rows]
            r = run("run", "attention", *self.inputs(q, *tensors), "--out", names[0], "--lse", names[1])
            self.assertEqual(r.returncode, GOOD, r.stderr)
            words += ["--part", ",".join(names)]
            begin += count
        want = [attend(q.row(b, h, i), [k.row(b, h, j) for j in range(total)], [v.row(b, h, j) for j in range(total)], d**-0.5)
                for b in range(batch) for h in range(heads) for i in range(n)]
        return words, [x for row, _ in want for x in row], [lse for _, lse in want]

    def check(self, keys, *more):
        words, want, lse = self.merged(keys)
        r = run("run", "merge", *words, "--out", self.path("o.npy"), "--lse", self.path("l.npy"), *more)
        self.assertEqual(r.returncode, GOOD, r.stderr)
        tolerance = 2e-3 if more else 2e-5
        for name, shape, numbers, off in (("o.npy", SHAPE, want, tolerance), ("l.npy", SHAPE[:3], lse, 1e-4)):
            _, got_shape, got = read_npy(self.path(name))
            self.assertEqual(tuple(got_shape), shape)
            for n, (x, y) in enumerate(zip(got, numbers, strict=True)):
                self.assertLessEqual(abs(x - y), off * (1 + abs(y)), f"{name}, element {n}: {x}, not {y}")
        return r

    def test_two_and_three_parts(self):
        self.check((7, 12))
        self.check((1, 20, 6))
        self.check((9, 4), "--dtype", "f16")

    def test_json_and_time(self):
        words, _, _ = self.merged((3, 4))
        r = run("run", "merge", *words, "--out", self.path("o.npy"), "--json", "--time", "2")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        told = json.loads(r.stdout)
        self.assertEqual(told["out"], self.path("o.npy"))
        self.assertNotIn("lse", told)
        self.assertIn("time", told)

    def test_a_part_without_keys(self):
        """LSE -inf: it counts nothing, whatever it holds."""
        words, want, _ = self.merged((6,))
        empty = self.tensor("nan.npy", Tensor(SHAPE, [math.nan] * math.prod(SHAPE)))
        empty += "," + self.file("none.npy", "<f4", SHAPE[:3], [-math.inf] * math.prod(SHAPE[:3]))
        r = run("run", "merge", *words, "--part", empty, "--out", self.path("o.npy"))
        self.assertEqual(r.returncode, GOOD, r.stderr)
        for x, y in zip(read_npy(self.path("o.npy"))[2], want, strict=True):
            self.assertLessEqual(abs(x - y), 2e-5 * (1 + abs(y)))


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    tool_test.RAPT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
