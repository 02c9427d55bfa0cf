#!/usr/bin/env python3
"""`rapt systems` and `rapt run system` as a black box, checked against the reference of tool_reference.py.

    tests/tool_system_test.py build/tools/rapt/rapt [unittest options]
"""
import json
import math
import os
import random
import shlex
import sys
import unittest

import tool_test
from tool_reference import Tensor, attend, npy_bytes, read_npy, reference
from tool_test import BAD_INPUT, GOOD, run


class WithoutDevice(tool_test.Case):
    def test_table(self):
        self.assertIn("FlashAttention", run("systems").stdout)
        systems = json.loads(run("systems", "--json").stdout)
        self.assertIsInstance(systems, list)
        self.assertGreaterEqual(len(systems), 227)
        self.assertEqual(len({s["name"] for s in systems}), len(systems))
        for s in systems:
            self.assertIn(s["tier"], ("A", "B", "C"), s["name"])
            self.assertIn(s["status"], ("works", "planned"), s["name"])
            for key in ("reason", "formula", "family", "paper", "engines"):
                self.assertTrue(s[key], (s["name"], key))
            for f in s["inputs"] + s["outputs"]:
                self.assertRegex(f["shape"], r"^\(.*\)$")
            for f in s["parameters"]:
                self.assertTrue(f["name"] and f["about"] and "default" in f, s["name"])
            self.assertIsInstance(s["doubt"], str)
            if s["status"] == "works":
                self.assertTrue(s["reduces"] and s["inputs"] and s["outputs"], s["name"])
        works = [s["name"] for s in systems if s["status"] == "works"]
        for name in ("FlashAttention", "Memory-efficient attention (Rabe & Staats)", "StreamingLLM", "SQA (Sparse Query Attention)"):
            self.assertIn(name, works)
        for tier in "ABC":
            shown = json.loads(run("systems", "--json", "--tier", tier, "--status", "works").stdout)
            self.assertEqual([s["name"] for s in shown], [s["name"] for s in systems if s["tier"] == tier and s["status"] == "works"])
        (one,) = json.loads(run("systems", "streaming-llm", "--json").stdout)
        self.assertEqual(one["name"], "StreamingLLM")
        full = run("systems", "Streaming LLM").stdout
        for part in ("status", "works", "formula", "sinks = 4", "rapt run system 'StreamingLLM'", "q (batch, q_heads, nq, d)"):
            self.assertIn(part, full)
        self.assertEqual(run("systems", "--full").stdout.count("  formula "), len(systems))
        shown = [shlex.split(l) for l in run("systems", "--full", "--status", "works").stdout.splitlines() if l.startswith("  run ")]
        self.assertEqual([words[4] for words in shown], works)  # as a shell would take them

    def test_unknown(self):
        self.fails(BAD_INPUT, "near: FlashAttention;", "systems", "flash-atention")
        self.fails(BAD_INPUT, "may be any of: MoA (automatic", "systems", "moa")
        self.fails(BAD_INPUT, "neither letter nor digit", "systems", "")
        self.fails(BAD_INPUT, "", "systems", "a\nb")
        self.fails(BAD_INPUT, "--tier", "systems", "--tier", "D")
        self.fails(BAD_INPUT, "--tier", "systems", "--tier", "a")
        self.fails(BAD_INPUT, "--status", "systems", "--status", "ready")
        self.fails(BAD_INPUT, "one word too many", "systems", "MoBA", "FLARE")
        self.fails(BAD_INPUT, "which system", "run", "system")
        self.fails(BAD_INPUT, "near: FlashAttention;", "run", "system", "flash-atention")
        planned = json.loads(run("systems", "--json", "--status", "planned").stdout)[0]["name"]
        self.fails(BAD_INPUT, f"{planned} is planned", "run", "system", planned)
        self.assertIn("Examples:", run("run", "system", "--help").stdout)

    def test_bad_arguments(self):
        t = Tensor.random(random.Random(2), (1, 2, 3, 4))
        q = self.tensor("q.npy", t)
        out = self.path("o.npy")
        base = ["run", "system", "StreamingLLM", "--in", f"k={q}", "--in", f"v={q}"]
        whole = [*base, "--in", f"q={q}"]
        good = [*whole, "--out", f"out={out}"]
        self.fails(BAD_INPUT, "--out out=FILE is missing", *whole)
        self.fails(BAD_INPUT, "NAME=FILE is needed", *good, "--in", "q")
        self.fails(BAD_INPUT, "NAME=FILE is needed", *good, "--in", "=q.npy")
        self.fails(BAD_INPUT, "NAME=FILE is needed", *good, "--in", "q=")
        self.fails(BAD_INPUT, "NAME=VALUE is needed", *good, "--set", "sinks")
        self.fails(BAD_INPUT, "input 'q' is missing: (batch, q_heads, nq, d)", *base, "--out", f"out={out}")
        self.fails(BAD_INPUT, "input 'q' is given twice", *good, "--in", f"q={q}")
        self.fails(BAD_INPUT, "no input is named 'x'; there are: q, k, v", *good, "--in", f"x={q}")
        self.fails(BAD_INPUT, "no parameter is named 'sink'; there are: sinks, recent, scale", *good, "--set", "sink=3")
        self.fails(BAD_INPUT, "'sinks' is given twice", *good, "--set", "sinks=3", "--set", "sinks=3")
        for value in ("3.5", "-1", "many", "3 ", "9999999999", "99999999999999999999"):
            self.fails(BAD_INPUT, "a whole number from 0", *good, "--set", f"sinks={value}")
        self.fails(BAD_INPUT, "no output is named 'o'; there are: out, lse", *good, "--out", f"o={self.path('p.npy')}")
        self.fails(BAD_INPUT, "another --out's", *good, "--out", f"lse={out}")
        self.fails(BAD_INPUT, "another --out's", *good, "--out", f"out={self.path('p.npy')}")
        self.fails(BAD_INPUT, "No such file", *base, "--in", f"q={self.path('missing.npy')}", "--out", f"out={out}")
        self.fails(BAD_INPUT, "not an npy file", *base, "--in", "q=" + self.write("x.npy", b"hello"), "--out", f"out={out}")
        flat = self.write("flat.npy", npy_bytes("<f4", (2, 3, 4), t.values))
        self.fails(BAD_INPUT, "'q' has 3 axes; 4 are needed", *base, "--in", f"q={flat}", "--out", f"out={out}")
        deep = self.write("deep.npy", npy_bytes("<f4", (1, 1, 2, 3, 4), t.values))
        self.fails(BAD_INPUT, "5 axes", *base, "--in", f"q={deep}", "--out", f"out={out}")
        half = self.write("half.npy", npy_bytes("<f2", t.shape, t.values))
        self.fails(BAD_INPUT, "one type for all", *base, "--in", f"q={half}", "--out", f"out={out}")
        whole_numbers = self.write("i.npy", npy_bytes("<i4", t.shape, [1] * 24))
        self.fails(BAD_INPUT, "'q' is i32", *base, "--in", f"q={whole_numbers}", "--out", f"out={out}")
        other = self.tensor("other.npy", Tensor.random(random.Random(2), (2, 2, 3, 4)))
        self.fails(BAD_INPUT, "batch sizes disagree: q (2, 2, 3, 4)", *base, "--in", f"q={other}", "--out", f"out={out}")
        self.fails(BAD_INPUT, "too often", *good, *["--set", "sinks=1"] * 17)
        blocks = ["run", "system", "block-attention", *(w for n in "qkv" for w in ("--in", f"{n}={q}")), "--out", f"out={out}", "--set", "last=1"]
        for text, cu in (("rise from 0", [1, 2]), ("rise from 0", [0, 3, 2]), ("ends at 3, not at 2", [0, 3]), ("ends at 1, not at 2", [0, 1])):
            bounds = self.write("cu.npy", npy_bytes("<i4", (len(cu),), cu))
            self.fails(BAD_INPUT, text, *blocks, "--in", f"cu_seqlens={bounds}")
        self.fails(BAD_INPUT, "int32 with one axis", *blocks, "--in", f"cu_seqlens={q}")
        self.fails(BAD_INPUT, "'last' is missing: tokens of the question", *blocks[:-2], "--in", f"cu_seqlens={q}")
        s2o = ["run", "system", "S2O", *(w for n in "qkv" for w in ("--in", f"{n}={q}")), "--out", f"out={out}"]
        for setting, text in (("budget=1", "'budget' is 1; 0 to less than 1"), ("budget=-0.1", "'budget' is -0.1"), ("budget=nan", "budget"),
                              ("segment=0", "a whole number from 1"), ("tile=0", "a whole number from 1"), ("growth=17", "from 1 to 16")):
            self.fails(BAD_INPUT, text, *s2o, "--set", setting)
        long = self.tensor("long.npy", Tensor.random(random.Random(3), (1, 1, 30, 4)))
        self.fails(BAD_INPUT, "29 keys are more than 21 tiles, of 1 keys at first", *s2o[:3],
                   *(w for n in "qkv" for w in ("--in", f"{n}={long}")), "--out", f"out={out}", "--set", "segment=1", "--set", "tile=1")
        delta = ["run", "system", "DeltaLLM", *s2o[3:]]
        self.fails(BAD_INPUT, "'threshold' is -1; at least 0", *delta, "--set", "threshold=-1")
        self.fails(BAD_INPUT, "a whole number from 1", *delta, "--set", "window=0")
        self.assertFalse(os.path.exists(out))


class WithDevice(tool_test.Case):
    @classmethod
    def setUpClass(cls):
        if not tool_test.has_device():
            raise unittest.SkipTest("no Vulkan device")

    close, random, needs_compiler = tool_test.WithDevice.close, tool_test.WithDevice.random, tool_test.WithDevice.needs_compiler

    ROWS = ("q_rows", "k_rows", "back")  # int32 inputs of three axes

    def system(self, name, tensors, *settings, outputs=("out",), extra=(), descr="<f4"):
        """Runs a system; shape and values of each output, and what it printed."""
        arguments = ["run", "system", name, *extra]
        for key, t in tensors.items():
            shape = (1, 1, len(t)) if key in self.ROWS else (len(t),) if isinstance(t, list) else t.shape
            data = npy_bytes("<i4", shape, t) if isinstance(t, list) else npy_bytes(descr, shape, t.values)
            arguments += ["--in", f"{key}=" + self.write(f"in-{key}.npy", data)]
        for setting in settings:
            arguments += ["--set", setting]
        for key in outputs:
            arguments += ["--out", f"{key}=" + self.path(f"out-{key}.npy")]
        r = run(*arguments)
        self.assertEqual(r.returncode, GOOD, r.stderr)
        return [read_npy(self.path(f"out-{key}.npy"))[1:] for key in outputs], r.stdout

    def test_one_step(self):
        q, k, v = self.random(31, 1, 4, 2, 40, 40, 16)
        named = {"q": q, "k": k, "v": v}
        for name, settings, meaning in (
            ("FlashAttention", [], {}),
            ("gqa", [], {"causal": True}),
            ("streaming-llm", ["sinks=3", "recent=7"], {"causal": True, "window": (6, -1), "sinks": 3}),
            ("sliding-window attention", ["window=9"], {"window": (4, 4)}),
            ("Mistral 7B sliding window", ["window=5"], {"causal": True, "window": (4, -1)}),
            ("gemma 2", ["soft_cap=2", "window=11", "scale=0.5"], {"causal": True, "window": (10, -1), "cap": 2, "scale": 0.5}),
        ):
            with self.subTest(name):
                want, want_lse = reference(q, k, v, **meaning)
                [(shape, out), (lse_shape, lse)], printed = self.system(name, named, *settings, outputs=("out", "lse"))
                self.assertEqual((shape, lse_shape), (want.shape, want.shape[:3]))
                self.close(out, want.values, 2e-6)
                self.close(lse, want_lse, 2e-6)
                self.assertIn("1 step\n", printed)

    def test_duo_attention(self):
        q, k, v = self.random(32, 1, 8, 4, 30, 30, 8)
        [(shape, out)], printed = self.system("duo", {"q": q, "k": k, "v": v}, "retrieval=1,2", "sinks=2", "recent=5")
        full, _ = reference(q, k, v, causal=True)
        streaming, _ = reference(q, k, v, causal=True, window=(4, -1), sinks=2)
        want = [x for h in range(8) for i in range(30) for x in (full if 2 <= h < 6 else streaming).row(0, h, i)]
        self.close(out, want, 2e-6)
        self.assertIn("3 steps\n", printed)

    def test_block_attention(self):
        q, k, v = self.random(33, 1, 2, 1, 20, 20, 8)
        [(shape, out)], printed = self.system("Block-Attention for RAG", {"q": q, "k": k, "v": v, "cu_seqlens": [0, 6, 6, 13]}, "last=7")
        alone, _ = reference(q, k, v, causal=True, cu_q=[0, 6, 6, 13, 20], cu_k=[0, 6, 6, 13, 20])
        over_all, _ = reference(q, k, v, causal=True)
        want = [x for h in range(2) for i in range(20) for x in (alone if i < 13 else over_all).row(0, h, i)]
        self.close(out, want, 2e-6)
        self.assertIn("2 steps\n", printed)

    def test_tasks_of_documents(self):
        """DistCA: tasks of two documents, of any lengths and in any order, are causal attention of each document."""
        q, k, v = self.random(35, 1, 4, 2, 24, 24, 8)
        bounds = [0, 15, 24]
        tasks = [(0, 9, 6), (1, 0, 2), (0, 0, 9), (1, 2, 7)]  # document, first query in it, queries
        q_rows, k_rows, cu_q, cu_k = [], [], [0], [0]
        for document, first, count in tasks:
            begin = bounds[document]
            q_rows += range(begin + first, begin + first + count)
            k_rows += range(begin, begin + first + count)
            cu_q.append(len(q_rows))
            cu_k.append(len(k_rows))
        back = [q_rows.index(i) for i in range(24)]
        inputs = {"q": q, "k": k, "v": v, "q_rows": q_rows, "k_rows": k_rows, "cu_q": cu_q, "cu_k": cu_k, "back": back}
        want, _ = reference(q, k, v, causal=True, cu_q=bounds, cu_k=bounds)
        for servers in (1, 3):
            [(shape, out)], printed = self.system("DistCA", inputs, f"servers={servers}")
            self.assertEqual(shape, want.shape)
            self.close(out, want.values, 2e-6)
            self.assertIn(f"{3 + (1 if servers == 1 else 2) + 1} steps\n", printed)

    def test_flare(self):
        rng = random.Random(34)
        latents, k, v = (Tensor.random(rng, s) for s in ((1, 2, 5, 8), (2, 2, 19, 8), (2, 2, 19, 8)))
        three = Tensor((2, 5, 8), latents.values)
        both = Tensor((2, 2, 5, 8), latents.values * 2)
        z, _ = reference(both, k, v, scale=1)
        want, _ = reference(k, both, z, scale=1)
        [(shape, out)], printed = self.system("flare", {"latents": three, "k": k, "v": v}, extra=["--json", "--caps", "floor", "--explain"])
        self.assertEqual(shape, want.shape)
        self.close(out, want.values, 4e-6)
        told = json.loads(printed)
        self.assertEqual([told["system"], len(told["steps"])], ["FLARE", 2])
        self.assertTrue(all(s["kernel"] and s["explain"] for s in told["steps"]))
        self.assertEqual(told["outputs"], [{"name": "out", "file": self.path("out-out.npy"), "dtype": "float32", "shape": [2, 2, 19, 8]}])

    def test_differential(self):
        rng = random.Random(38)
        tensors = {n: Tensor.random(rng, s) for n, s in (("q", (1, 4, 9, 8)), ("k", (1, 4, 9, 8)), ("v", (1, 2, 9, 6)))}
        lambdas = [0.3, 0.7]
        [(shape, out)], printed = self.system("differential attention", {**tensors, "lambda": Tensor((2,), lambdas)}, "lambda_init=0.2")
        self.assertEqual(shape, (1, 2, 9, 6))
        self.assertIn("3 steps\n", printed)
        q, k, v = tensors.values()
        for h in range(2):
            for i in range(9):
                a, c = (attend(q.row(0, 2 * h + n, i), [k.row(0, 2 * h + n, j) for j in range(i + 1)], [v.row(0, h, j) for j in range(i + 1)], 8 ** -0.5)[0]
                        for n in range(2))  # fmt: skip
                y = [x - lambdas[h] * z for x, z in zip(a, c)]
                root = (sum(x * x for x in y) / 6 + 1e-5) ** 0.5
                self.close(out[(h * 9 + i) * 6 : (h * 9 + i + 1) * 6], [0.8 * x / root for x in y], 2e-5)

    def test_code_of_the_app(self):
        q, k, v = self.random(39, 1, 2, 2, 12, 12, 8)
        slopes = Tensor((2,), [0.5, 0.25])
        code = "float score_mod(float score, uint b, uint h, uint q, uint k) { return score - u0(h) * abs(float(q) - float(k)); }"
        self.needs_compiler()
        [(shape, out)], _ = self.system("FlexAttention", {"q": q, "k": k, "v": v, "u0": slopes}, "score_mod=" + code,
                                        "mask_mod=bool mask_mod(uint b, uint h, uint q, uint k) { return k <= q; }")  # fmt: skip
        for h in range(2):
            for i in range(12):
                scores = [sum(a * c for a, c in zip(q.row(0, h, i), k.row(0, h, j))) * 8 ** -0.5 - slopes.values[h] * (i - j) for j in range(i + 1)]
                weights = [math.exp(s - max(scores)) for s in scores]
                want = [sum(w * v.row(0, h, j)[e] for j, w in enumerate(weights)) / sum(weights) for e in range(8)]
                self.close(out[(h * 12 + i) * 8 : (h * 12 + i + 1) * 8], want, 4e-6)

    def test_shortcuts_over_layers(self):
        rng = random.Random(35)
        q, k, v = (Tensor.random(rng, s) for s in ((1, 6, 2, 8), (4, 6, 2, 8), (4, 6, 2, 8)))
        [(shape, out)], _ = self.system("Layerwise attention shortcuts", {"q": Tensor((6, 2, 8), q.values), "k": k, "v": v})
        want = [x for t in range(6) for h in range(2)
                for x in attend(q.row(0, t, h), [k.row(l, t, h) for l in range(4)], [v.row(l, t, h) for l in range(4)], 8 ** -0.5)[0]]
        self.assertEqual(shape, (6, 2, 8))
        self.close(out, want, 2e-6)

    def test_states_are_handed_on(self):
        rng = random.Random(37)
        tensors = {n: Tensor.random(rng, (1, 2, 9, d)) for n, d in (("q", 4), ("k", 4), ("v", 6))}
        lengths = self.write("lambda.npy", npy_bytes("<f4", (2,), [0.75, 0.5]))

        def go(first, last, state=None):
            files = []
            for name, t in tensors.items():
                d = t.shape[3]
                part = [x for h in range(2) for i in range(first, last) for x in t.row(0, h, i)]
                files += ["--in", f"{name}=" + self.write(f"{name}.npy", npy_bytes("<f4", (1, 2, last - first, d), part))]
            files += ["--in", f"lambda={lengths}"] + (["--in", f"state={state}"] if state else [])
            out, after = self.path(f"o{first}-{last}.npy"), self.path(f"s{first}-{last}.npy")
            r = run("run", "system", "Lightning Attention-2", *files, "--out", f"out={out}", "--out", f"state_out={after}")
            self.assertEqual(r.returncode, GOOD, r.stderr)
            self.assertEqual(read_npy(after)[1], (1, 2, 4, 6))
            return read_npy(out)[2], after

        whole, end = go(0, 9)
        head, middle = go(0, 4)
        tail, last = go(4, 9, middle)
        for h in range(2):
            self.close(whole[h * 54 : h * 54 + 24] + whole[h * 54 + 24 : h * 54 + 54],
                       head[h * 24 : h * 24 + 24] + tail[h * 30 : h * 30 + 30], 2e-6)  # fmt: skip
        self.close(read_npy(end)[2], read_npy(last)[2], 2e-6)

    def test_states_of_scans_are_handed_on(self):
        rng = random.Random(41)
        n, cut = 9, 4
        # shapes with N for the tokens; values: of a usual number
        share = lambda x: 1 / (1 + math.exp(-x))
        systems = {
            "Aaren": ({"q": (2, 4), "k": (1, 2, "N", 4), "v": (1, 2, "N", 3)}, {"state": (1, 2, 3, 3)}),
            "minGRU": ({"x": (2, "N", 5), "keep": (2, "N", 5)}, {"state": (2, 5)}),
            "Mamba (selective scan)": ({"x": (1, "N", 5), "dt": (1, "N", 5), "a": (5, 2), "b": (1, "N", 2), "c": (1, "N", 2), "skip": (5,)},
                                       {"state": (1, 5, 2)}),
            "JetBlock": ({"q": (1, 2, "N", 4), "k": (1, 2, "N", 4), "v": (1, 2, "N", 6), "alpha": (1, 2, "N"), "beta": (1, 2, "N"),
                          "kernels": (1, 2, "N", 24), "gate": (1, 2, "N", 6), "norm": (6,)}, {"state": (1, 2, 4, 6), "tokens": (1, 2, 6, 3)}),
        }  # fmt: skip

        def part(shape, values, first, last):
            """The tokens [first, last) of an array, and its shape then."""
            if "N" not in shape:
                return shape, values
            at = shape.index("N")
            inner, outer = math.prod(shape[at + 1:]), math.prod(shape[:at])
            kept = [x for i in range(outer) for x in values[(i * n + first) * inner:(i * n + last) * inner]]
            return (*shape[:at], last - first, *shape[at + 1:]), kept

        for name, (shapes, states) in systems.items():
            values = {}
            for key, shape in shapes.items():
                usual = [rng.gauss(0, 1) for _ in range(math.prod(n if s == "N" else s for s in shape))]
                values[key] = [share(x) if key in ("keep", "alpha", "beta") else -share(x) if key == "a" else x for x in usual]

            def go(first, last, begin):
                tensors = {key: Tensor(*part(shapes[key], values[key], first, last)) for key in shapes}
                results, _ = self.system(name, {**tensors, **begin}, outputs=("out", *(f"{s}_out" for s in states)))
                for (shape, _), wanted in zip(results[1:], states.values()):
                    self.assertEqual(shape, wanted, name)
                return results[0], {s: Tensor(*r) for s, r in zip(states, results[1:])}

            out, end = go(0, n, {})
            head, middle = go(0, cut, {})
            tail, last = go(cut, n, middle)
            shape = [*out[0]]
            shape[-2] = "N"
            for (first, stop), got in (((0, cut), head), ((cut, n), tail)):
                self.close(part(tuple(shape), out[1], first, stop)[1], got[1], 4e-6)
            for key in states:
                self.close(end[key].values, last[key].values, 4e-6)

    def test_early_stop(self):
        """S2O: without a budget it is dense; with one, tiles of few heavy keys are enough."""
        q, k, v = self.random(37, 2, 4, 2, 48, 64, 8)
        for at in range(0, len(q.values), 8):
            q.values[at] += 6  # what all queries look for
        for row in range(0, len(k.values) // 8, 13):
            k.values[row * 8] += 6  # and a few keys have
        want, want_lse = reference(q, k, v, causal=True)
        tensors = {"q": q, "k": k, "v": v}
        read = []
        for budget in ("0", "0.2"):
            [(_, out), (_, lse), (shape, shares)], _ = self.system("S2O", tensors, "segment=8", "tile=8", f"budget={budget}", outputs=("out", "lse", "shares"))
            self.assertEqual(shape, (7, 2, 4, 48))
            self.assertTrue(all(0 <= x < math.inf for x in shares))
            read.append(sum(x > 0 for x in shares))
            self.close(out, want.values, 1e-5 if budget == "0" else 0.2)
            self.close(lse, want_lse, 1e-5 if budget == "0" else 0.2)
        self.assertEqual(read[0], 2 * 4 * 8 * sum(2 + n for n in range(6)))  # tiles before each segment
        self.assertLess(read[1], 0.6 * read[0])

    def test_held_keys(self):
        """DeltaLLM: without a threshold it is dense; what is held is handed on."""
        q, k, v = self.random(38, 1, 4, 2, 9, 40, 8)
        want, _ = reference(q, k, v, causal=True)
        [(_, out)], _ = self.system("DeltaLLM", {"q": q, "k": k, "v": v}, "window=5", "threshold=0")
        self.close(out, want.values, 2e-6)
        [(_, out), (shape, held)], _ = self.system("DeltaLLM", {"q": q, "k": k, "v": v}, "window=5", "threshold=0.7", outputs=("out", "held_keys"))
        self.assertEqual(shape, k.shape)
        for at, x in enumerate(k.values):
            first = at % (40 * 8) < 8
            self.assertEqual(held[at], x if first or abs(x - held[at - 8]) >= 0.7 else held[at - 8])
        [(_, again)], _ = self.system("DeltaLLM", {"q": q, "k": k, "v": v, "held": Tensor(shape, held)}, "window=5")
        self.assertEqual(out, again)
        self.assertGreater(max(abs(x - y) for x, y in zip(out, want.values)), 1e-3)

    def test_refused(self):
        q, k, v = self.random(36, 1, 1, 1, 4, 4, 600)
        arguments = [w for n, t in (("q", q), ("k", k), ("v", v)) for w in ("--in", f"{n}=" + self.tensor(f"{n}.npy", t))]
        self.fails(BAD_INPUT, "step 1, attention: ", "run", "system", "FlashAttention", *arguments, "--out", "out=" + self.path("o.npy"))


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    tool_test.RAPT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
