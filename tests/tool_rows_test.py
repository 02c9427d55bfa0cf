#!/usr/bin/env python3
"""`rapt run rows` as a black box, checked against the definition in plain Python.

    tests/tool_rows_test.py build/tools/rapt/rapt [unittest options]
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


class NoDevice(tool_test.Case):
    def setUp(self):
        super().setUp()
        x = self.tensor("x.npy", Tensor.random(random.Random(1), (1, 2, 6, 4)))
        self.good = {"--op": "gather", "--x": x, "--list": self.file("l.npy", "<i4", (1, 2, 3), [0, 2, 5, 1, 3, -1]),
                     "--out": self.path("o.npy")}

    def wrong(self, text, **more):
        words = {**self.good, **{f"--{name}": value for name, value in more.items()}}
        self.fails(BAD_INPUT, text, "run", "rows", *(w for o, v in words.items() if v is not None for w in (o, v)))

    def test_help(self):
        r = run("run", "rows", "--help")
        self.assertEqual(r.returncode, GOOD)
        for option in ("--op", "--x", "--list", "--weight", "--cache", "--rows", "--runs", "--out"):
            self.assertIn(option + " ", r.stdout + " ")

    def test_mistakes(self):
        for name in ("op", "x", "list", "out"):
            self.wrong(f"--{name} is missing", **{name: None})
        self.wrong("--op 'move'", op="move")
        self.wrong("--rows with scattering", op="scatter")
        self.wrong("--cache goes with place", op="place")
        self.wrong("one too many", rows="4")
        self.wrong("--runs", runs="0")
        self.wrong("--list", list=self.good["--x"])
        self.wrong("--x", x=self.good["--list"])
        self.wrong("--dtype 'i32'", dtype="i32")
        self.wrong("go with place", norm="1e-6")
        place = {"op": "place", "cache": self.good["--x"]}
        self.wrong("--rope with --positions", **place, rope="100")
        self.wrong("--rope '0.5'", **place, rope="0.5", positions=self.file("p.npy", "<i4", (1, 6), [0] * 6))
        self.wrong("--norm: 'x'", **place, norm="x")


class WithDevice(tool_test.Case):
    @classmethod
    def setUpClass(cls):
        if not tool_test.has_device():
            raise unittest.SkipTest("no Vulkan device")

    def setUp(self):
        super().setUp()
        self.rng = random.Random(3)
        self.x = Tensor.random(self.rng, (2, 2, 5, 4))

    def out(self, *words):
        r = run("run", "rows", *words, "--out", self.path("o.npy"))
        self.assertEqual(r.returncode, GOOD, r.stderr)
        return read_npy(self.path("o.npy"))[1:]

    def check(self, got, shape, rows):
        self.assertEqual(tuple(got[0]), shape)
        want = [x for row in rows for x in row]
        for n, (x, y) in enumerate(zip(got[1], want, strict=True)):
            self.assertLessEqual(abs(x - y), 1e-5 * (1 + abs(y)), f"element {n}")

    def test_gather_and_scatter(self):
        entries = [[0, 3, 4], [1, 2, -1]]
        files = ["--x", self.tensor("x.npy", self.x), "--list", self.file("l.npy", "<i4", (1, 2, 3), sum(entries, []))]
        rows = [self.x.row(b, h, i) if i >= 0 else [0.0] * 4 for b in range(2) for h in range(2) for i in entries[h]]
        self.check(self.out("--op", "gather", *files), (2, 2, 3, 4), rows)
        weight = [self.rng.random() for _ in range(2 * 2 * 7)]
        files[1] = self.tensor("y.npy", y := Tensor((2, 2, 3, 4), [self.rng.gauss(0, 1) for _ in range(48)]))
        files += ["--weight", self.file("w.npy", "<f4", (2, 2, 7), weight), "--rows", "7"]
        rows = [[x * weight[(b * 2 + h) * 7 + i] for x in y.row(b, h, entries[h].index(i))] if i in entries[h] else [0.0] * 4
                for b in range(2) for h in range(2) for i in range(7)]
        for op in ("scatter", "scatter-mean"):
            self.check(self.out("--op", op, *files), (2, 2, 7, 4), rows)

    def test_place(self):
        cache = Tensor.random(self.rng, (3, 2, 4, 4))
        slots = [[11, 0, 5, -1, 7], [2, 3, 12, 4, 8]]  # 12: there is none
        rows = [cache.row(p, h, i) for p in range(3) for h in range(2) for i in range(4)]
        for b in range(2):
            for h in range(2):
                for i, slot in enumerate(slots[b]):
                    if 0 <= slot < 12:
                        rows[(slot // 4 * 2 + h) * 4 + slot % 4] = self.x.row(b, h, i)
        files = ["--x", self.tensor("x.npy", self.x), "--list", self.file("s.npy", "<i4", (2, 1, 5), sum(slots, [])),
                 "--cache", self.tensor("c.npy", cache)]
        self.check(self.out("--op", "place", *files), (3, 2, 4, 4), rows)
        place = [4, -3, 0, 9, 1000]
        files += ["--norm", "0.5", "--norm-weight", self.file("w.npy", "<f4", (4,), [1, 2, 3, 4]), "--rope", "10,2,interleaved",
                  "--positions", self.file("p.npy", "<i4", (1, 5), place)]
        for b in range(2):
            for h in range(2):
                for i, slot in enumerate(slots[b]):
                    if 0 <= slot < 12:
                        x = self.x.row(b, h, i)
                        size = math.sqrt(sum(e * e for e in x) / 4 + 0.5)
                        x = [e / size * (n + 1) for n, e in enumerate(x)]
                        c, s = math.cos(place[i]), math.sin(place[i])
                        rows[(slot // 4 * 2 + h) * 4 + slot % 4] = [x[0] * c - x[1] * s, x[1] * c + x[0] * s, *x[2:]]
        self.check(self.out("--op", "place", *files), (3, 2, 4, 4), rows)
        told = json.loads(run("run", "rows", "--op", "place", *files, "--out", self.path("o.npy"), "--json", "--time", "2").stdout)
        self.assertEqual(told["out"], self.path("o.npy"))
        self.assertIn("time", told)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    tool_test.RAPT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
