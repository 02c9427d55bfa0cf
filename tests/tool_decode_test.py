#!/usr/bin/env python3
"""`rapt run decode` as a black box, checked against attention in plain Python.

    tests/tool_decode_test.py build/tools/rapt/rapt [unittest options]
"""
import json
import math
import os
import random
import sys
import unittest

import tool_test
from tool_reference import Tensor, attend, f16, f32, read_npy
from tool_test import BAD_INPUT, GOOD, run


def decode(q, key, value, lengths, kv_heads, causal=False, window=None):
    """Outputs and LSE; key(b, h, j) is a row of K, or None where there is none."""
    batch, heads, nq, d = q.shape
    out, lse = [], []
    for b in range(batch):
        for h in range(heads):
            g = h * kv_heads // heads
            for i in range(nq):
                p = i + lengths[b] - nq
                seen = [j for j in range(lengths[b]) if key(b, g, j) is not None and (not causal or j <= p) and
                        (window is None or p - window <= j)]
                o, l = attend(q.row(b, h, i), [key(b, g, j) for j in seen], [value(b, g, j) for j in seen], 1 / math.sqrt(d))
                out += o if seen else [0.0] * d
                lse.append(l)
    return out, lse


class WithoutDevice(tool_test.Case):
    def setUp(self):
        super().setUp()
        rng = random.Random(1)
        shapes = (("q", (2, 4, 1, 8)), ("k", (2, 2, 12, 8)), ("v", (2, 2, 12, 8)))
        self.good = []
        for name, shape in shapes:
            self.good += [f"--{name}", self.tensor(f"{name}.npy", Tensor.random(rng, shape))]
        self.good += ["--out", self.path("o.npy")]

    def wrong(self, text, *arguments):
        self.fails(BAD_INPUT, text, "run", "decode", *self.good, *arguments)

    def words(self, name, shape, values):
        return self.file(name, "<i4", shape, values)

    def test_help(self):
        for command in ("run", "explain"):
            r = run(command, "decode", "--help")
            self.assertEqual(r.returncode, GOOD)
            for option in ("--lengths", "--page-size", "--block-table", "--k-dtype", "--v-dtype", "--splits", "--causal", "--window"):
                self.assertIn(option + " ", r.stdout + " ")

    def test_mistakes(self):
        self.fails(BAD_INPUT, "--out FILE is missing", "run", "decode", *self.good[:6])
        self.wrong("one word too many", "word")
        self.wrong("--page-size", "--page-size", "0")
        self.wrong("int32 (batch) is needed", "--lengths", self.file("f.npy", "<f4", (2,), [1, 2]))
        self.wrong("3 entries", "--lengths", self.words("l.npy", (3,), [1, 2, 3]))
        self.wrong("entry 1 is 13", "--lengths", self.words("l.npy", (2,), [1, 13]))
        self.wrong("entry 0 is -1", "--lengths", self.words("l.npy", (2,), [-1, 3]))
        self.wrong("int32 (batch, max pages) is needed", "--block-table", self.words("t.npy", (2,), [0, 1]))
        self.wrong("3 lines", "--block-table", self.words("t.npy", (3, 1), [0, 1, 0]))
        self.wrong("K has pages of 12 keys", "--block-table", self.words("t.npy", (2, 1), [0, 1]), "--page-size", "4")
        self.wrong("int8, int4, fp8 or f32, as the rest is, is needed", "--k-dtype", "int5")
        self.wrong("--v-dtype 'f16'", "--v-dtype", "f16")
        self.wrong("unknown option", "--rope", "10000")
        self.wrong("no kernel row is named", "--kernel", "nonsense")


class WithDevice(tool_test.Case):
    def check(self, arguments, want, lse, tolerance=2e-5):
        r = run("run", "decode", *arguments, "--out", self.path("o.npy"), "--lse", self.path("lse.npy"))
        self.assertEqual(r.returncode, GOOD, r.stderr)
        _, _, got = read_npy(self.path("o.npy"))
        for n, (x, y) in enumerate(zip(got, want, strict=True)):
            self.assertLessEqual(abs(x - y), tolerance * (1 + abs(y)), f"element {n}: {x}, not {y}")
        for x, y in zip(read_npy(self.path("lse.npy"))[2], lse, strict=True):
            self.assertTrue(x == y or abs(x - y) <= 1e-4 * (1 + abs(y)), f"lse {x}, not {y}")
        return r

    def make(self, seed, batch, heads, kv_heads, nq, nk, d, rounding=f32):
        rng = random.Random(seed)
        return tuple(Tensor.random(rng, s, rounding) for s in
                     ((batch, heads, nq, d), (batch, kv_heads, nk, d), (batch, kv_heads, nk, d)))

    def test_one_cache_in_every_form(self):
        q, k, v = self.make(1, 3, 4, 2, 1, 70, 32)
        lengths = [70, 0, 33]
        for b in (1, 2):  # what lies behind the last key
            for h in range(2):
                for j in range(lengths[b], 70):
                    at = ((b * 2 + h) * 70 + j) * 32
                    k.values[at : at + 32] = v.values[at : at + 32] = [math.nan] * 32
        want, lse = decode(q, k.row, v.row, lengths, 2)
        files = [*self.inputs(q, k, v), "--lengths", self.file("l.npy", "<i4", (3,), lengths)]
        for more in ([], ["--page-size", "16"], ["--page-size", "5"], ["--page-size", "32", "--splits", "3"], ["--splits", "4"]):
            with self.subTest(more):
                r = self.check([*files, *more], want, lse)
                self.assertIn("lengths by batch entry", r.stdout)
                self.assertEqual("pages of" in r.stdout, "--page-size" in more)

    def test_whole_and_cut_pages_without_lengths(self):
        q, k, v = self.make(2, 2, 4, 4, 2, 48, 16)
        want, lse = decode(q, k.row, v.row, [48, 48], 4, causal=True)
        for size in ("16", "20"):
            with self.subTest(size):
                self.check([*self.inputs(q, k, v), "--causal", "--page-size", size], want, lse)

    def test_pools_shared_pages_and_holes(self):
        q, k, v = self.make(3, 2, 4, 2, 1, 8, 16)
        rng = random.Random(4)
        pools = [Tensor.random(rng, (6, 2, 8, 16)) for _ in range(2)]
        table = [5, 2, 0, 5, -1, 3]  # a shared first page; a hole
        lengths = [20, 24]
        row = lambda pool: lambda b, h, j: None if table[b * 3 + j // 8] < 0 else pool.row(table[b * 3 + j // 8], h, j % 8)
        want, lse = decode(q, row(pools[0]), row(pools[1]), lengths, 2, window=18)
        files = ["--q", self.tensor("q.npy", q), "--k", self.tensor("k.npy", pools[0]), "--v", self.tensor("v.npy", pools[1]),
                 "--lengths", self.file("l.npy", "<i4", (2,), lengths), "--block-table", self.file("t.npy", "<i4", (2, 3), table)]
        self.check([*files, "--window", "18,0"], want, lse)
        for n in range(2):  # layout bnhd: pages of keys of heads
            files[2 * n + 3] = self.tensor("kv"[n] + "b.npy", pools[n], layout="bnhd")
        files[1] = self.tensor("qb.npy", q, layout="bnhd")
        self.check([*files, "--window", "18,0", "--layout", "bnhd"], want, lse)

    def test_half_and_json(self):
        q, k, v = self.make(5, 2, 8, 2, 1, 40, 64, f16)
        want, lse = decode(q, k.row, v.row, [40, 40], 2)
        self.check([*self.inputs(q, k, v, "<f2"), "--page-size", "16"], want, lse, 2e-3)
        r = run("run", "decode", *self.inputs(q, k, v, "<f2"), "--page-size", "16", "--out", self.path("o.npy"), "--json")
        told = json.loads(r.stdout)["problem"]
        self.assertEqual((told["page_size"], told["pages"], told["nk"]), (16, 6, 48))

    def test_quantised(self):
        q, k, v = self.make(6, 2, 4, 2, 1, 40, 48)
        steps = {"int8": 127, "int4": 7}

        def stored(t, dtype):  # what of a tensor is left
            values = []
            for first in range(0, len(t.values), 48):
                for begin, end in ((0, 32), (32, 48)):  # blocks of a row
                    block = t.values[first + begin : first + end]
                    scale = max(map(abs, block)) / steps[dtype]
                    values += [round(x / scale) * scale for x in block]
            return Tensor(t.shape, values)

        for k_dtype, v_dtype, more in (("int8", "int8", []), ("int8", "int4", ["--page-size", "16"]), ("f32", "int8", []),
                                       ("int4", "f32", ["--page-size", "7", "--splits", "2"])):
            with self.subTest((k_dtype, v_dtype)):
                a = k if k_dtype == "f32" else stored(k, k_dtype)
                b = v if v_dtype == "f32" else stored(v, v_dtype)
                want, lse = decode(q, a.row, b.row, [40, 40], 2)
                r = self.check([*self.inputs(q, k, v), "--k-dtype", k_dtype, "--v-dtype", v_dtype, *more], want, lse, 2e-4)
                self.assertIn(f"K {k_dtype}, V {v_dtype}", r.stdout)
        want, lse = decode(q, k.row, v.row, [40, 40], 2)  # fp8 by its bound: about 1 of 16 an element, and much less of sums
        r = run("run", "decode", *self.inputs(q, k, v), "--k-dtype", "fp8", "--v-dtype", "fp8", "--out", self.path("o.npy"), "--json")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        self.assertEqual([json.loads(r.stdout)["problem"][n] for n in ("k_dtype", "v_dtype", "head_dim_v")], ["fp8", "fp8", 48])
        error = max(abs(x - y) for x, y in zip(read_npy(self.path("o.npy"))[2], want, strict=True))
        self.assertTrue(1e-5 < error < 0.06, error)

    def test_explain(self):
        r = run("explain", "decode", "--shape", "8,32,8,1,4096,128", "--dtype", "f16", "--page-size", "16", "--json")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        told = json.loads(r.stdout)["explain"]["problem"]
        self.assertEqual((told["page_size"], told["pages"]), (16, 2048))


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    tool_test.RAPT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
