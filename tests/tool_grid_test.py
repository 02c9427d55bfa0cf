#!/usr/bin/env python3
"""`rapt run neighborhood` and `rapt explain neighborhood` as a black box.

    tests/tool_grid_test.py build/tools/rapt/rapt [unittest options]
"""
import itertools
import json
import math
import os
import random
import sys
import unittest

import tool_test
from tool_reference import Tensor, f16, f32, npy_bytes, read_npy, reference
from tool_test import BAD_INPUT, GOOD, REFUSED, run


def axis_keys(n, K, d, s, causal, x):
    """The keys that the query at x sees along an axis, as NATTEN has them."""
    group, y = x % d, x // d
    m = (n - group + d - 1) // d
    if causal:
        c = min(y // s * s + s - 1, m - 1)
        return {j * d + group for j in range(max(0, c - K + 1), c + 1) if j <= y}
    c = min(y // s * s + s // 2, m - 1)
    start = min(max(c - K // 2, 0), m - K)
    return {j * d + group for j in range(start, start + K)}


def visible(size, kernel, dilation, stride, causal):
    """As a mask of flat indices."""
    seen = [[axis_keys(n, K, d, s, a in causal, x) for x in range(n)]
            for a, (n, K, d, s) in enumerate(zip(size, kernel, dilation, stride))]
    places = list(itertools.product(*(range(n) for n in size)))
    return lambda b, h, i, j: all(k in seen[a][q] for a, (q, k) in enumerate(zip(places[i], places[j])))


def sizes(values):
    return "x".join(map(str, values))


class Grid(tool_test.Case):
    def files(self, tensors, size, descr="<f4", layout="bhnd"):
        words = []
        for name, t in tensors.items():
            b, h, _, d = t.shape
            shape, values = ((b, h, *size, d), t.values) if layout == "bhnd" else ((b, *size, h, d), t.bnhd()[1])
            words += [f"--{name}", self.write(f"{name}.npy", npy_bytes(descr, shape, values))]
        return words


class WithoutDevice(Grid):
    def test_bad_input(self):
        rng = random.Random(1)
        t = Tensor.random(rng, (1, 2, 35, 4))
        files = self.files({"q": t, "k": t, "v": t}, (5, 7))
        base = ["run", "neighborhood", *files, "--out", self.path("o.npy")]
        self.fails(BAD_INPUT, "--kernel-size KxK is missing", *base)
        for bad in ("", "x", "7x", "3,3", "0x3", "-1x3", "3x3x3x3", "3.5x3", "99999999999x3"):
            self.fails(BAD_INPUT, "--kernel-size", *base, "--kernel-size", bad)
        self.fails(BAD_INPUT, "has 5 axes; with --kernel-size for 1 they are 4", *base, "--kernel-size", "3")
        self.fails(BAD_INPUT, "has 5 axes; with --kernel-size for 3 they are 6", *base, "--kernel-size", "3x3x3")
        self.fails(BAD_INPUT, "kernel size 8 times dilation 1 of axis 1 is more than its length 7", *base, "--kernel-size", "3x8")
        self.fails(BAD_INPUT, "kernel size 3 times dilation 2 of axis 0 is more than its length 5", *base, "--kernel-size", "3x3",
                   "--dilation", "2x1")
        self.fails(BAD_INPUT, "stride 4 of axis 0 is more than its kernel size 3", *base, "--kernel-size", "3x3", "--stride", "4x1")
        self.fails(BAD_INPUT, "--stride '1' has 1 numbers", *base, "--kernel-size", "3x3", "--stride", "1")
        self.fails(BAD_INPUT, "--dilation '0x1'", *base, "--kernel-size", "3x3", "--dilation", "0x1")
        for bad in ("", "2", "0,", ",1", "0x1", "-1", "first"):
            self.fails(BAD_INPUT, "--causal", *base, "--kernel-size", "3x3", "--causal", bad)
        self.fails(BAD_INPUT, "unknown option", *base, "--kernel-size", "3x3", "--window", "3")
        self.fails(BAD_INPUT, "no kernel", *base, "--kernel-size", "3x3", "--kernel", "no-such-kernel")
        other = Tensor.random(rng, (1, 2, 35, 4))
        mixed = self.files({"q": t}, (5, 7)) + self.files({"k": other, "v": other}, (7, 5))
        self.fails(BAD_INPUT, "axis 0 of the grid is 7 long, that of the queries is 5", "run", "neighborhood", *mixed, "--out",
                   self.path("o.npy"), "--kernel-size", "3x3")
        self.fails(BAD_INPUT, "B,HQ,HKV,X,Y,D[,DV]", "explain", "neighborhood", "--kernel-size", "3x3", "--shape", "1,2,2,64,8")
        self.fails(BAD_INPUT, "--shape", "explain", "neighborhood", "--kernel-size", "3x3")
        self.assertIn("Examples:", run("run", "neighborhood", "--help").stdout)

    def explain(self, *words):
        r = run("explain", "neighborhood", *words, "--no-device", "--json")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        return json.loads(r.stdout)

    def test_simulator(self):
        """What explain predicts, tile by tile, against a count of our own."""
        for size, kernel, dilation, stride, causal in (
            ((64, 64), (7, 7), (1, 1), (1, 1), ()), ((30, 41), (8, 5), (2, 3), (3, 5), (1,)), ((200,), (31,), (3,), (8,), (0,)),
            ((9, 12, 15), (3, 4, 5), (1, 2, 1), (1, 4, 2), (0, 2)), ((64, 64), (8, 8), (1, 1), (8, 8), ()),
        ):
            e = self.explain("--shape", ",".join(map(str, (1, 2, 2, *size, 64))), "--kernel-size", sizes(kernel), "--dilation",
                             sizes(dilation), "--stride", sizes(stride), *(["--causal", ",".join(map(str, causal))] if causal else []))
            self.assertEqual(e["problem"]["grid"], {"size": list(size), "kernel_size": list(kernel), "dilation": list(dilation),
                                                    "stride": list(stride), "causal": list(causal)})
            g = e["explain"]["grid"]
            per_axis, seen = [], 1
            for a, (n, K, d, s) in enumerate(zip(size, kernel, dilation, stride)):
                keys = [axis_keys(n, K, d, s, a in causal, x) for x in range(n)]
                seen *= sum(map(len, keys)) / n
                boxes = []
                for group in range(d):
                    own = keys[group::d]
                    for first in range(0, len(range(0, n, d)), g["query_tile"][a]):
                        union = set().union(*own[first : first + g["query_tile"][a]])
                        boxes.append((max(union) - min(union)) // d + 1 if union else 0)
                per_axis.append(boxes)
            tiles = [math.prod(t) for t in itertools.product(*per_axis)]
            self.assertEqual(g["query_tiles"], len(tiles))
            self.assertEqual(g["key_tiles"], sum(-(-t // g["key_tile"]) for t in tiles))
            self.assertEqual(g["most_key_tiles"], max(-(-t // g["key_tile"]) for t in tiles))
            self.assertAlmostEqual(g["seen_keys_per_query"], seen, delta=1e-4 * seen)
            self.assertAlmostEqual(g["speedup_bound"], g["dense_key_tiles"] / g["key_tiles"], delta=1e-4 * g["speedup_bound"])
        text = run("explain", "neighborhood", "--shape", "1,8,8,64,64,64", "--kernel-size", "7x7", "--no-device").stdout
        self.assertRegex(text, r"queries in \d+ tiles of \d+x\d+ visit \d+ tiles of \d+ keys: [\d.]+ keys a query, of which it sees 49")
        self.assertRegex(text, r"at most [\d.]+x the speed of all keys, by tiles; 83.59x")


class WithDevice(Grid):
    @classmethod
    def setUpClass(cls):
        if not tool_test.has_device():
            raise unittest.SkipTest("no Vulkan device")

    close = tool_test.WithDevice.close

    def neighborhood(self, heads, size, kernel, *options, dilation=None, stride=None, causal=(), dim=8, descr="<f4", rounding=f32,
                     layout="bhnd", tolerance=2e-6, **meaning):
        rng = random.Random(hash((size, kernel)) & 0xFFFF)
        n, axes = math.prod(size), len(size)
        q, k, v = (Tensor.random(rng, (1, h, n, dim), rounding) for h in (heads[0], heads[1], heads[1]))
        dilation, stride = dilation or (1,) * axes, stride or (1,) * axes
        out, lse = self.path("o.npy"), self.path("l.npy")
        words = ["run", "neighborhood", *self.files({"q": q, "k": k, "v": v}, size, descr, layout), "--out", out, "--lse", lse,
                 "--kernel-size", sizes(kernel), "--layout", layout, *options]
        if dilation != (1,) * axes:
            words += ["--dilation", sizes(dilation)]
        if stride != (1,) * axes:
            words += ["--stride", sizes(stride)]
        if causal:
            words += ["--causal", ",".join(map(str, causal))]
        r = run(*words)
        self.assertEqual(r.returncode, GOOD, r.stderr)
        want, want_lse = reference(q, k, v, mask=visible(size, kernel, dilation, stride, causal), **meaning)
        got_descr, shape, values = read_npy(out)
        h = max(heads)
        self.assertEqual((got_descr, shape), (descr, (1, h, *size, dim) if layout == "bhnd" else (1, *size, h, dim)))
        self.close(values, want.values if layout == "bhnd" else want.bnhd()[1], tolerance)
        lse_descr, lse_shape, lse_values = read_npy(lse)
        self.assertEqual((lse_descr, lse_shape), ("<f4", (1, h, *size)))
        self.close(lse_values, want_lse, 4e-6)
        return r

    def test_ranks(self):
        self.neighborhood((2, 2), (23,), (5,))
        self.neighborhood((4, 2), (7, 9), (3, 4))
        self.neighborhood((2, 1), (3, 5, 6), (3, 2, 3))

    def test_all_together(self):
        self.neighborhood((2, 2), (41,), (6,), dilation=(3,), stride=(4,), causal=(0,))
        self.neighborhood((2, 2), (9, 11), (4, 3), dilation=(2, 3), stride=(3, 2), causal=(1,))
        self.neighborhood((1, 1), (4, 5, 6), (2, 5, 3), dilation=(2, 1, 2), stride=(2, 5, 1), causal=(0, 2))

    def test_scale_layout_types(self):
        self.neighborhood((2, 2), (6, 7), (3, 3), "--scale", "0.75", scale=0.75)
        self.neighborhood((3, 3), (6, 7), (3, 5), layout="bnhd")
        self.neighborhood((2, 2), (6, 7), (3, 5), descr="<f2", rounding=f16, tolerance=2e-3)
        self.neighborhood((2, 2), (6, 7), (3, 5), "--softcap", "1.5", cap=1.5)
        mask = self.write("m.glsl", b"bool mask_mod(uint b, uint h, uint q, uint k) { return q % 3u == k % 3u || q == k; }")
        seen = visible((6, 7), (3, 5), (1, 1), (1, 1), ())
        out = self.path("o.npy")
        rng = random.Random(4)
        t = Tensor.random(rng, (1, 2, 42, 8))
        r = run("run", "neighborhood", *self.files({"q": t, "k": t, "v": t}, (6, 7)), "--out", out, "--kernel-size", "3x5",
                "--mask-mod", mask)
        if "no run-time compiler" not in r.stderr:
            self.assertEqual(r.returncode, GOOD, r.stderr)
            want, _ = reference(t, t, t, mask=lambda b, h, i, j: seen(b, h, i, j) and (i % 3 == j % 3 or i == j))
            self.close(read_npy(out)[2], want.values, 2e-6)

    def test_whole_axis_is_dense(self):
        rng = random.Random(9)
        q, k, v = (Tensor.random(rng, (1, 2, 48, 16)) for _ in range(3))
        grid, dense = self.path("g.npy"), self.path("d.npy")
        self.assertEqual(run("run", "neighborhood", *self.files({"q": q, "k": k, "v": v}, (6, 8)), "--out", grid, "--kernel-size",
                             "6x8").returncode, GOOD)
        self.assertEqual(run("run", "attention", *self.files({"q": q, "k": k, "v": v}, (48,)), "--out", dense).returncode, GOOD)
        self.close(read_npy(grid)[2], read_npy(dense)[2], 2e-6)

    def test_record_and_replay(self):
        rng = random.Random(9)
        t = Tensor.random(rng, (1, 2, 30, 16))
        record = self.path("record.jsonl")
        words = ["--kernel-size", "3x4", "--stride", "2x1", "--causal", "1"]
        r = run("run", "neighborhood", *self.files({"q": t, "k": t, "v": t}, (5, 6)), "--out", self.path("o.npy"), *words,
                env={"RAPT_RECORD": record})
        self.assertEqual(r.returncode, GOOD, r.stderr)
        with open(record) as f:
            head, line = f.read().splitlines()
        grid = {"size": [5, 6], "kernel_size": [3, 4], "dilation": [1, 1], "stride": [2, 1], "causal": [1]}
        self.assertEqual(json.loads(line)["grid"], grid)
        if os.environ.get("RAPT_TEST_NO_BENCH"):
            return
        base = ["bench", "replay", record, "--gauges", "none", "--samples", "2"]
        r = run(*base, "--json", "-")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        (case,) = json.loads(r.stdout)["devices"][0]["cases"]
        self.assertEqual((case["status"], case["group"], case["grid"]), ("ok", "neighborhood", grid))
        for key, value, words in (("size", [], "size of one to three"), ("size", [5, 6, 1, 1], "size of one to three"),
                                  ("stride", [1], "as many numbers"), ("dilation", [1, 1.5], "is not a count"),
                                  ("kernel_size", [3, -1], "is not a count"), ("causal", [2], "causal axis"), ("size", 7, "size of one")):
            with open(record, "w") as f:
                f.write(head + "\n" + json.dumps({**json.loads(line), "grid": {**grid, key: value}}) + "\n")
            self.fails(BAD_INPUT, words, *base)

    def test_tune(self):
        """A measured choice is kept for this grid alone."""
        env = {"RAPT_CACHE_DIR": self.path("cache")}
        shape = ["neighborhood", "--shape", "1,1,1,5,6,576", "--kernel-size", "3x3", "--caps", "floor"]
        r = run("tune", *shape, "--seconds", "0.1", "--json", self.path("t.json"), env=env)
        self.assertEqual(r.returncode, GOOD, r.stdout + r.stderr)
        with open(self.path("t.json")) as f:
            (result,) = json.load(f)["problems"]
        self.assertIn("naive-grid-f32", [c["kernel"] for c in result["candidates"]])
        self.assertEqual(json.loads(run("explain", *shape, "--json", env=env).stdout)["explain"]["tuned"]["kernel"], result["kernel"])
        other = [*shape[:4], "3x4", *shape[5:]]
        self.assertIsNone(json.loads(run("explain", *other, "--json", env=env).stdout)["explain"]["tuned"])
        self.fails(BAD_INPUT, "--kernel-size", "tune", *shape[:3])
        self.fails(BAD_INPUT, "X[,Y[,Z]]", "tune", "neighborhood")
        self.fails(BAD_INPUT, "unknown option", "tune", *shape, "--causal-offset", "1")

    def test_json_and_kernels(self):
        rng = random.Random(9)
        t = Tensor.random(rng, (1, 2, 30, 16))
        base = ["run", "neighborhood", *self.files({"q": t, "k": t, "v": t}, (5, 6)), "--out", self.path("o.npy"), "--kernel-size", "3x3"]
        r = run(*base, "--json", "--explain", "--time", "2", "--kernel", "naive-grid-f32")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        d = json.loads(r.stdout)
        self.assertEqual((d["kernel"], d["out"]["shape"]), ("naive-grid-f32", [1, 2, 5, 6, 16]))
        self.assertEqual(d["problem"]["grid"]["kernel_size"], [3, 3])
        self.assertEqual(d["time"]["flops"], 2 * 32 * 2 * 30 * 9)
        self.assertIn("speedup_bound", d["explain"]["grid"])
        r = run(*base, "--kernel", "naive-f32")
        self.assertEqual(r.returncode, REFUSED)
        self.assertIn("has no form for neighbourhoods of a grid", r.stderr)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    tool_test.RAPT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
