#!/usr/bin/env python3
"""`rapt run attention --devices` as a black box: several devices give what one gives, and tell what each did.

    tests/tool_group_test.py build/tools/rapt/rapt [unittest options]
"""
import json
import os
import random
import sys
import unittest

import tool_test
from tool_reference import Tensor, read_npy
from tool_test import BAD_INPUT, GOOD, run

os.environ.setdefault("LP_NUM_THREADS", "1")  # lavapipe: one core for each device


class WithDevice(tool_test.Case):
    @classmethod
    def setUpClass(cls):
        if not tool_test.has_device():
            raise unittest.SkipTest("no Vulkan device")

    close = tool_test.WithDevice.close

    def setUp(self):
        super().setUp()
        self.rng = random.Random(3)
        device = os.environ.get("RAPT_DEVICE", "0")
        self.twice = f"{device},{device}"
        self.one = ("--device", device)

    def inputs(self, heads, queries, keys, width):
        shapes = {"q": (1, heads, queries, width), "k": (1, heads, keys, width), "v": (1, heads, keys, width)}
        return [word for name, shape in shapes.items() for word in (f"--{name}", self.tensor(f"{name}.npy", Tensor.random(self.rng, shape)))]

    def outputs(self, words, *more):
        out, lse = self.path("o.npy"), self.path("l.npy")
        r = run("run", "attention", *words, "--out", out, "--lse", lse, *more)
        self.assertEqual(r.returncode, GOOD, r.stderr)
        return read_npy(out), read_npy(lse), r.stdout

    def test_heads_are_shared(self):
        words = [*self.inputs(4, 20, 30, 16), "--causal"]
        alone = self.outputs(words, *self.one)
        shared = self.outputs(words, "--devices", self.twice, "--json", "--time", "2")
        self.assertEqual(shared[:2], alone[:2])  # bit by bit
        told = json.loads(shared[2])
        self.assertEqual(len(told["devices"]), 2)
        self.assertAlmostEqual(sum(d["share"] for d in told["devices"]), 1, places=9)
        self.assertGreater(sum(d["parts"] for d in told["devices"]), 0)
        self.assertEqual([d["quarantined"] for d in told["devices"]], [False, False])
        self.assertEqual(told["time"]["repeats"], 2)

    def test_keys_are_shared(self):
        words = self.inputs(1, 1, 2500, 16)
        (_, shape, out), (_, _, lse), _ = self.outputs(words, *self.one)
        (_, shared_shape, shared), (_, _, shared_lse), printed = self.outputs(words, "--devices", self.twice)
        self.assertEqual(shape, shared_shape)
        self.close(shared, out, 2e-6)
        self.close(shared_lse, lse, 2e-6)
        self.assertRegex(printed, r"(?m)^0: share [0-9.]+ %, \d+ parts?, busy ")

    def test_bench(self):
        file = self.path("b.json")
        r = run("bench", "--devices", self.twice, "--case", "B1H4D16N64f32", "--samples", "2", "--json", file)
        self.assertEqual(r.returncode, GOOD, r.stderr)
        self.assertRegex(r.stdout, r"(?m)^ +all .* of the sum of all rates$")
        with open(file) as made:
            (shared,) = json.load(made)["shared"]
        self.assertEqual(len(shared["devices"]), 2)
        self.assertGreater(shared["group"]["of_sum"], 0)
        self.assertAlmostEqual(sum(d["share"] for d in shared["devices"]), 1, places=9)
        self.fails(BAD_INPUT, "alone", "bench", "full", "--devices", self.twice)
        self.fails(BAD_INPUT, "with commas between", "bench", "--devices", ",")

    def test_mistakes(self):
        words = [*self.inputs(1, 2, 3, 4), "--out", self.path("o.npy")]
        self.fails(BAD_INPUT, "with commas between", "run", "attention", *words, "--devices", self.twice.split(",")[0] + ",")
        self.fails(BAD_INPUT, "--devices goes without", "run", "attention", *words, "--devices", self.twice, *self.one)
        self.fails(BAD_INPUT, "--devices goes without", "run", "attention", *words, "--devices", self.twice, "--explain")
        self.assertFalse(os.path.exists(self.path("o.npy")))


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    tool_test.RAPT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
