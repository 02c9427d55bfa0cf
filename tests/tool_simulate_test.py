#!/usr/bin/env python3
"""`rapt simulate` as a black box: forecasts by given, read and measured rates; pages; bad input.

    tests/tool_simulate_test.py build/tools/rapt/rapt [unittest options]
"""
import json
import os
import sys
import unittest

import tool_test
from tool_test import BAD_INPUT, GOOD, run

# Attention 1 GFLOP/s; a byte of a link costs a nanosecond; nothing else costs anything to speak of.
GIVEN = ("--rate", "1", "--memory", "1e9", "--link", "1,0", "--heads", "2", "--head-dim", "8", "--dtype", "f32")


class Given(tool_test.Case):
    def forecasts(self, *words):
        r = run("simulate", *words, "--json", "-")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        return json.loads(r.stdout)["forecasts"]

    def test_ring(self):
        (f,) = self.forecasts(*GIVEN, "--method", "ring", "--pattern", "full", "--devices", "4", "--seq", "65536")
        block = 16384 * 2 * 16 * 4
        self.assertEqual(f["sent_bytes"], 3 * block)
        self.assertEqual(f["sent_bytes_all"], 12 * block)
        self.assertAlmostEqual(f["seconds"], 2 * 2 * 65536**2 * 16 / 4 / 1e9, places=2)
        self.assertAlmostEqual(f["efficiency"], 1, places=3)

    def test_zigzag_is_even(self):
        ring, zigzag = self.forecasts(*GIVEN, "--method", "ring,zigzag", "--devices", "8", "--seq", "8192")
        self.assertLess(ring["balance"], 0.6)
        self.assertGreater(zigzag["balance"], 0.99)
        self.assertLess(zigzag["seconds"], 0.6 * ring["seconds"])

    def test_thousands(self):
        found = self.forecasts(*GIVEN, "--devices", "1,2,4,...,2048", "--seq", "8192,65536")
        self.assertEqual([f["devices"] for f in found[:12]], [2**n for n in range(12)])
        self.assertEqual(len(found), 24)

    def test_mixed(self):
        words = ("--memory", "1e9", "--link", "1000,0", "--heads", "2", "--head-dim", "8", "--dtype", "f32", "--rate", "3,1", "--devices", "2", "--seq", "4096",
                 "--method", "ring", "--pattern", "full")
        shared, equal = self.forecasts(*words)[0], self.forecasts(*words, "--equal")[0]
        self.assertAlmostEqual(shared["balance"], 1, places=6)
        self.assertAlmostEqual(equal["seconds"] / shared["seconds"], 2, places=3)

    def test_long_sequences_cost_no_traffic(self):
        for method in ("lasp2", "decode"):
            found = self.forecasts(*GIVEN, "--linear-rate", "1", "--method", method, "--devices", "8", "--seq", "1024,1048576")
            self.assertEqual(found[0]["sent_bytes"], found[1]["sent_bytes"])

    def test_pages(self):
        r = run("simulate", *GIVEN, "--devices", "1,2,...,16", "--html", self.path("p.html"), "--picture", self.path("p.svg"), "--json", self.path("p.json"))
        self.assertEqual(r.returncode, GOOD, r.stderr)
        with open(self.path("p.html")) as page, open(self.path("p.svg")) as picture:
            self.assertIn("Bytes sent by a device", page.read())
            self.assertIn("Time of a step", picture.read())
        self.assertIn("zigzag", r.stdout)

    def test_from_a_bench(self):
        case = {"status": "ok", "system": "attention", "dtype": "f16", "shape": {"nq": 1024, "nk": 1024, "head_dim_qk": 64}, "causal": True}
        file = self.write("b.json", json.dumps({"schema": "rapt-bench/1", "devices": [{"gauges": [], "cases": [
            {**case, "name": "far", "group": "dense", "causal": False, "flops_per_second": 7e9}, {**case, "name": "near", "group": "causal", "flops_per_second": 5e9},
            {**case, "name": "step", "group": "decode", "shape": {"nq": 1, "nk": 4096, "head_dim_qk": 64}, "bytes_per_second": 3e9}]}]}).encode())
        r = run("simulate", "--from", file, "--head-dim", "64", "--link", "1,1", "--json", "-")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        rates = json.loads(r.stdout)["rates"]
        self.assertEqual((rates["flops_per_second"], rates["bytes_per_second"]), (5e9, 3e9))
        self.assertIn("near", rates["from"])
        r = run("simulate", "--from", file, "--dtype", "f32", "--link", "1,1")
        self.assertEqual(r.returncode, BAD_INPUT)
        self.assertIn("no dense or causal case of f32", r.stderr)

    def test_refusals(self):
        for words, said in (
            (("--rate", "1"), "--link is needed"),
            (("--rate", "1", "--memory", "1", "--link", "0,1"), "GB/s above 0"),
            ((*GIVEN, "--method", "star"), "--method 'star'"),
            ((*GIVEN, "--pattern", "dots"), "--pattern 'dots'"),
            ((*GIVEN, "--pattern", "density=2"), "density"),
            ((*GIVEN, "--devices", "8", "--seq", "7"), "7 tokens"),
            ((*GIVEN, "--devices", "5000"), "4096"),
            ((*GIVEN, "--kv-heads", "3"), "no multiple"),
            ((*GIVEN, "--method", "lasp2"), "--linear-rate"),
            (("--rate", "1", "--link", "1,1"), "--memory is needed"),
            ((*GIVEN, "--from", "x.json"), "exclude each other"),
            (("--from", self.path("none.json"), "--link", "1,1"), "none.json"),
        ):
            r = run("simulate", *words)
            self.assertEqual(r.returncode, BAD_INPUT, (words, r.stdout, r.stderr))
            self.assertIn(said, r.stderr)
            self.assertEqual(len(r.stderr.strip().splitlines()), 1, r.stderr)


class Measured(tool_test.Case):
    @classmethod
    def setUpClass(cls):
        if not tool_test.has_device():
            raise unittest.SkipTest("no Vulkan device")

    def test_all_methods(self):
        r = run("simulate", "--method", "all", "--devices", "1,2", "--seq", "256", "--heads", "2", "--head-dim", "16", "--dtype", "f32", "--link", "10,5",
                "--json", "-")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        told = json.loads(r.stdout)
        self.assertEqual(len(told["forecasts"]), 12)
        for name in ("flops_per_second", "linear_flops_per_second", "bytes_per_second", "copy_bytes_per_second", "call_seconds"):
            self.assertGreater(told["rates"][name], 0)
        self.assertIn("measured on", told["rates"]["from"])


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    tool_test.RAPT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
