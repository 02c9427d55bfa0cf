#!/usr/bin/env python3
"""The built `rapt` as a black box: its contract, checked against a reference in plain Python.

    tests/tool_test.py build/tools/rapt/rapt [unittest options]

Runs on the Vulkan device that is there; without one, what needs a device is skipped.
"""
import ctypes
import json
import math
import os
import random
import shlex
import signal
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from tool_reference import ADDITIVE, Tensor, bf16, f16, f32, npy_bytes, read_npy, reference

RAPT = None  # path of the program
WRAPPER = os.environ.get("RAPT_TEST_WRAPPER", "").split()  # what starts rapt on another driver
GOOD, FAILED, BAD_INPUT, NO_DEVICE, REFUSED, DEVICE_LOST = range(6)
SCORE_MOD = b"// a snippet\nfloat score_mod(float score, uint b, uint h, uint q, uint k) {\n    return %s;\n}\n\n"
MASK_MOD = b"bool mask_mod(uint b, uint h, uint q, uint k) { return %s; }\n"


# ---- running


def run(*arguments, env=None):
    wrapper = [] if any(name.startswith("VK_") for name in env or {}) else WRAPPER  # a driver of the test's own
    return subprocess.run([*wrapper, RAPT, *map(str, arguments)], capture_output=True, text=True, timeout=300, env={**os.environ, **(env or {})})


def has_device():
    return run("devices").returncode == GOOD


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def write(self, name, data):
        Path(self.path(name)).write_bytes(data)
        return self.path(name)

    def file(self, name, descr, shape, values):
        return self.write(name, npy_bytes(descr, shape, values))

    def tensor(self, name, t, descr="<f4", layout="bhnd"):
        shape, values = t.bnhd() if layout == "bnhd" else (t.shape, t.values)
        return self.write(name, npy_bytes(descr, shape, values))

    def inputs(self, q, k, v, descr="<f4", layout="bhnd"):
        arguments = []
        for name, t in (("q", q), ("k", k), ("v", v)):
            arguments += [f"--{name}", self.tensor(f"{name}.npy", t, descr, layout)]
        return arguments

    def broken(self, kernel):
        """The row, and settings with which it subtracts where it should add."""
        spirv = self.path("k.spv")
        self.assertEqual(run("compile", kernel, "--spirv", spirv).returncode, GOOD)
        words = list(struct.unpack(f"<{os.path.getsize(spirv) // 4}I", Path(spirv).read_bytes()))
        at = 5
        while at < len(words):  # OpFAdd becomes OpFSub
            words[at] += 2 if words[at] & 0xFFFF == 129 else 0
            at += words[at] >> 16
        row = next(k for k in json.loads(run("compile", "--list", "--json").stdout)["kernels"] if k["name"] == kernel)
        os.mkdir(self.path("override"))
        Path(self.path("override"), row["hash"] + ".spv").write_bytes(struct.pack(f"<{len(words)}I", *words))
        return row, {"RAPT_SHADER_OVERRIDE": self.path("override"), "RAPT_CACHE_DIR": ""}

    def fails(self, code, text, *arguments, env=None):
        """One clear line on standard error, and the exit code."""
        r = run(*arguments, env=env)
        self.assertEqual(r.returncode, code, r.stderr + r.stdout)
        lines = [l for l in r.stderr.splitlines() if l and not l.startswith("device:")]
        self.assertEqual(len(lines), 1, r.stderr)
        self.assertTrue(lines[0].startswith("rapt: "), lines[0])
        self.assertIn(text, lines[0])
        return lines[0]


class WithoutDevice(Case):
    def test_help_and_version(self):
        r = run("--help")
        self.assertEqual(r.returncode, GOOD)
        for command in ("devices", "run", "explain", "check", "bench", "tune", "systems", "compile"):
            self.assertIn(command, r.stdout)
            h = run(command, "--help")
            self.assertEqual(h.returncode, GOOD, command)
            self.assertIn("Examples:", h.stdout)
            self.assertIn("--json", h.stdout)
            self.assertEqual(h.stderr, "")
        self.assertRegex(run("--version").stdout, r"^rapt \d+\.\d+\.\d+")

    def test_unknown(self):
        self.fails(BAD_INPUT, "no command")
        self.fails(BAD_INPUT, "'fly'", "fly")
        for command in ("devices", "run", "explain", "check", "bench", "tune", "systems", "compile"):
            self.fails(BAD_INPUT, "'--frobnicate'", command, "--frobnicate")
        self.fails(BAD_INPUT, "'conv'", "run", "conv")
        self.fails(BAD_INPUT, "which operator", "run")
        self.fails(BAD_INPUT, "is missing", "run", "attention")
        self.fails(BAD_INPUT, "needs a value", "run", "attention", "--out")
        self.fails(BAD_INPUT, "'b'", "explain", "attention", "b")
        self.fails(BAD_INPUT, "no kernel row is named 'nonsense'", "explain", "--shape", "1,1,1,1,1,8", "--kernel", "nonsense")
        self.fails(BAD_INPUT, "no kernel row is named 'nonsense'", "compile", "nonsense")
        self.fails(BAD_INPUT, "B1H8", "bench", "--case", "B1H8")
        self.fails(BAD_INPUT, "no case", "check", "--filter", "nonsense")
        self.fails(BAD_INPUT, "what to tune", "tune")
        self.fails(BAD_INPUT, "exclude each other", "tune", "--shape", "1,1,1,1,1,8", "--case", "usual")
        self.fails(BAD_INPUT, "without a problem", "tune", "--shape", "1,1,1,1,1,8", "--list")
        self.fails(BAD_INPUT, "no kernel row is named 'nonsense'", "tune", "--block", "nonsense")
        self.fails(BAD_INPUT, "--seconds", "tune", "--shape", "1,1,1,1,1,8", "--seconds", "soon")

    def test_lists(self):
        kernels = json.loads(run("compile", "--list", "--json").stdout)["kernels"]
        self.assertGreater(len(kernels), 5)
        self.assertIn("poison-causal", run("check", "--list").stdout.split())
        self.assertIn("B1H8D64N1024f32", run("bench", "--list").stdout.split())

    def test_compile_spirv(self):
        row = json.loads(run("compile", "--list", "--json").stdout)["kernels"][0]
        path = self.path("k.spv")
        r = run("compile", row["name"], "--spirv", path)
        self.assertEqual(r.returncode, GOOD, r.stderr)
        data = Path(path).read_bytes()
        self.assertEqual(len(data), row["spirv_bytes"])
        self.assertEqual(struct.unpack("<I", data[:4])[0], 0x07230203)
        self.assertIn(row["hash"], r.stdout)

    def test_bad_files(self):
        rng = random.Random(1)
        t = Tensor.random(rng, (1, 2, 3, 4))
        good = self.inputs(t, t, t)
        out = ["--out", self.path("o.npy")]

        def bad(text, **replaced):
            arguments = list(good)
            for name, value in replaced.items():
                arguments[arguments.index(f"--{name}") + 1] = value
            line = self.fails(BAD_INPUT, text, "run", "attention", *arguments, *out)
            self.assertFalse(os.path.exists(out[1]))
            return line

        whole = npy_bytes("<f4", t.shape, t.values)
        missing = bad("No such file", q=self.path("missing.npy"))
        self.assertIn("missing.npy", missing)
        bad("not an npy file", q=self.write("x.npy", b"hello, world"))
        bad("not an npy file", k=self.write("x.npy", b""))
        bad("truncated", v=self.write("x.npy", whole[:-1]))
        bad("more data", v=self.write("x.npy", whole + b"\0"))
        bad("Fortran", q=self.write("x.npy", whole.replace(b"False", b"True ")))
        bad("'<f8'", q=self.write("x.npy", whole.replace(b"<f4", b"<f8")))
        bad("'>f4'", q=self.write("x.npy", whole.replace(b"<f4", b">f4")))
        bad("truncated", q=self.write("x.npy", whole.replace(b"(1, 2, 3, 4)", b"(1, 2, 9, 4)")))
        bad("2^56", q=self.write("x.npy", whole.replace(b"(1, 2, 3, 4), }           ", b"(1, 2, 3, 99999999999999999)}")))
        bad("int32", q=self.write("x.npy", npy_bytes("<i4", t.shape, [0] * 24)))
        bad("axes", q=self.write("x.npy", npy_bytes("<f4", (2, 3, 4), t.values)))
        bad("differ in dtype", k=self.write("x.npy", npy_bytes("<f2", t.shape, t.values)))
        bad("batch sizes", k=self.tensor("x.npy", Tensor.random(rng, (2, 2, 3, 4))))
        bad("kv heads", k=self.tensor("x.npy", Tensor.random(rng, (1, 1, 3, 4))))
        bad("keys and values", k=self.tensor("x.npy", Tensor.random(rng, (1, 2, 5, 4))))
        bad("head_dim", q=self.tensor("x.npy", Tensor.random(rng, (1, 2, 3, 5))))
        bad("", q=self.folder.name)

    def test_bad_options(self):
        t = Tensor.random(random.Random(2), (1, 2, 3, 4))
        base = ["run", "attention", *self.inputs(t, t, t), "--out", self.path("o.npy")]
        self.fails(BAD_INPUT, "--dtype", *base, "--dtype", "f64")
        self.fails(BAD_INPUT, "--layout", *base, "--layout", "nbhd")
        self.fails(BAD_INPUT, "--causal-offset", *base, "--causal", "--causal-offset", "1.5")
        self.fails(BAD_INPUT, "--scale", *base, "--scale", "nan")
        self.fails(BAD_INPUT, "--window", *base, "--window", "-2")
        self.fails(BAD_INPUT, "--window", *base, "--window", "3,")
        self.fails(BAD_INPUT, "--window", *base, "--window", "1,2,3")
        self.fails(BAD_INPUT, "--window", *base, "--window", "1.5")
        self.fails(BAD_INPUT, "--sink-tokens", *base, "--sink-tokens", "3")
        self.fails(BAD_INPUT, "--sink-tokens", *base, "--window", "3", "--sink-tokens", "-1")
        self.fails(BAD_INPUT, "--softcap", *base, "--softcap", "0")
        self.fails(BAD_INPUT, "--softcap", *base, "--softcap", "-3")
        self.fails(BAD_INPUT, "--softcap", *base, "--softcap", "1e99")
        for link in ("softmin", "", "relu:1", "clipped", "clipped:1", "clipped:a,b", "clipped:-1,2,3", "affine", "affine:1"):
            self.fails(BAD_INPUT, "--link", *base, "--link", link)
        self.fails(BAD_INPUT, "--scale", *base, "--scale", "much")
        self.fails(BAD_INPUT, "--time", *base, "--time", "0")
        self.fails(BAD_INPUT, "twice", *base, "--out", "p.npy")
        self.fails(BAD_INPUT, "same file", *base, "--lse", self.path("o.npy"))
        self.fails(BAD_INPUT, "nonsense", *base, "--kernel", "nonsense")
        self.fails(BAD_INPUT, "word too many", *base, "more")

    def test_bad_snippet_options(self):
        t = Tensor.random(random.Random(2), (1, 2, 3, 4))
        base = ["run", "attention", *self.inputs(t, t, t), "--out", self.path("o.npy")]
        good = self.write("good.glsl", SCORE_MOD % b"score")
        floats = self.write("f.npy", npy_bytes("<f4", (2,), [1, 2]))
        self.fails(BAD_INPUT, "--user goes with", *base, "--user", f"a={floats}")
        self.fails(BAD_INPUT, "--user-const goes with", *base, "--user-const", "1")
        self.fails(BAD_INPUT, "nowhere.glsl", *base, "--score-mod", self.path("nowhere.glsl"))
        self.fails(BAD_INPUT, "byte 0", *base, "--score-mod", self.write("0.glsl", b"a\0b"))
        self.fails(BAD_INPUT, "1 MiB", *base, "--score-mod", self.write("long.glsl", b" " * (1 << 20)))
        self.fails(BAD_INPUT, "more than 4 files", *base, "--score-mod", ",".join([good] * 5))
        self.fails(BAD_INPUT, "NAME=FILE", *base, "--score-mod", good, "--user", floats)
        self.fails(BAD_INPUT, "more than 4 buffers", *base, "--score-mod", good, "--user", ",".join(f"a{n}={floats}" for n in range(5)))
        self.fails(BAD_INPUT, "nowhere.npy", *base, "--score-mod", good, "--user", "a=" + self.path("nowhere.npy"))
        self.fails(BAD_INPUT, "more than 16 numbers", *base, "--score-mod", good, "--user-const", ",".join(["1"] * 17))
        self.fails(BAD_INPUT, "--user-const", *base, "--score-mod", good, "--user-const", "1,x")
        self.fails(BAD_INPUT, "single precision", *base, "--score-mod", good, "--user-const", "1e99")

    def test_bad_cu_seqlens(self):
        t = Tensor.random(random.Random(3), (1, 2, 6, 4))
        base = ["run", "attention", *self.inputs(t, t, t), "--out", self.path("o.npy")]
        good = self.write("good.npy", npy_bytes("<i4", (3,), [0, 2, 6]))

        def bad(text, data):
            path = self.write("cu.npy", data)
            self.fails(BAD_INPUT, text, *base, "--cu-seqlens-q", path, "--cu-seqlens-k", good)
            self.fails(BAD_INPUT, text, *base, "--cu-seqlens-q", good, "--cu-seqlens-k", path)

        bad("begin with 0", npy_bytes("<i4", (3,), [1, 2, 6]))
        bad("begin with 0", npy_bytes("<i4", (0,), []))
        bad("below", npy_bytes("<i4", (4,), [0, 4, 2, 6]))
        bad("below", npy_bytes("<i4", (3,), [0, -1, 6]))
        bad("ends at 5", npy_bytes("<i4", (3,), [0, 2, 5]))
        bad("ends at 7", npy_bytes("<i4", (3,), [0, 2, 7]))
        bad("entries", npy_bytes("<i4", (4,), [0, 2, 4, 6]))
        bad("int32", npy_bytes("<f4", (3,), [0, 2, 6]))
        bad("int32", npy_bytes("<i4", (3, 1), [0, 2, 6]))
        self.fails(BAD_INPUT, "--cu-seqlens-k is missing", *base, "--cu-seqlens-q", good)
        two = Tensor.random(random.Random(3), (2, 2, 6, 4))
        self.fails(BAD_INPUT, "batch must be 1", "run", "attention", *self.inputs(two, two, two), "--out", self.path("o.npy"),
                   "--cu-seqlens-q", good, "--cu-seqlens-k", good)

    def test_no_device(self):
        t = Tensor.random(random.Random(4), (1, 1, 2, 4))
        base = ["run", "attention", *self.inputs(t, t, t), "--out", self.path("o.npy")]
        nowhere = {"VK_ICD_FILENAMES": "/nonexistent.json", "VK_DRIVER_FILES": "/nonexistent.json"}
        self.fails(NO_DEVICE, "", *base, env=nowhere)
        self.fails(NO_DEVICE, "", "devices", env=nowhere)
        r = run("explain", "--shape", "1,8,8,64,64,64", "--no-device", env=nowhere)
        self.assertEqual(r.returncode, GOOD, r.stderr)


class WithDevice(Case):
    @classmethod
    def setUpClass(cls):
        if not has_device():
            raise unittest.SkipTest("no Vulkan device")

    def attention(self, q, k, v, *options, layout="bhnd", descr="<f4", tolerance=2e-6, rounding=f32, want_descr=None, **meaning):
        """Runs and compares output and LSE with the reference."""
        out, lse = self.path("o.npy"), self.path("l.npy")
        r = run("run", "attention", *self.inputs(q, k, v, descr, layout), "--out", out, "--lse", lse, "--layout", layout, *options)
        self.assertEqual(r.returncode, GOOD, r.stderr)
        want, want_lse = reference(q.rounded(rounding), k.rounded(rounding), v.rounded(rounding), **meaning)
        got_descr, shape, values = read_npy(out)
        self.assertEqual(got_descr, want_descr or descr)
        want_shape, want_values = want.bnhd() if layout == "bnhd" else (want.shape, want.values)
        self.assertEqual(shape, tuple(want_shape))
        self.close(values, want_values, tolerance)
        lse_descr, lse_shape, lse_values = read_npy(lse)
        self.assertEqual((lse_descr, lse_shape), ("<f4", want.shape[:3]))
        self.close(lse_values, want_lse, 4e-6)
        return r

    def close(self, got, want, tolerance):
        self.assertEqual(len(got), len(want))
        for n, (a, b) in enumerate(zip(got, want)):
            if math.isinf(b):
                self.assertEqual(a, b, f"element {n}")
            else:
                self.assertLessEqual(abs(a - b), tolerance * max(1, abs(b)), f"element {n}: {a}, not {b}")

    def random(self, seed, batch, q_heads, kv_heads, nq, nk, d, dv=None, rounding=f32):
        rng = random.Random(seed)
        return [Tensor.random(rng, s, rounding) for s in
                ((batch, q_heads, nq, d), (batch, kv_heads, nk, d), (batch, kv_heads, nk, dv or d))]  # fmt: skip

    def test_plain(self):
        r = self.attention(*self.random(1, 2, 2, 2, 5, 7, 8))
        self.assertTrue(r.stdout.startswith("device: "))

    def test_odd_head_dims(self):
        self.attention(*self.random(2, 1, 2, 2, 4, 9, 5, 3))

    def test_scale(self):
        self.attention(*self.random(3, 1, 1, 1, 4, 6, 16), "--scale", "0.5", scale=0.5)
        self.attention(*self.random(3, 1, 1, 1, 4, 6, 16), "--scale", "-0.25", scale=-0.25)
        self.attention(*self.random(3, 1, 1, 1, 4, 6, 16), "--scale=0", scale=0)

    def test_causal(self):
        for nq, nk in ((6, 6), (3, 8), (8, 3)):
            for offset in (0, -5, 2, -100, 100):
                q, k, v = self.random(4, 1, 2, 2, nq, nk, 8)
                self.attention(q, k, v, "--causal", "--causal-offset", str(offset), causal=True, offset=offset)

    def test_window(self):
        q, k, v = self.random(11, 1, 2, 1, 20, 24, 8)
        self.attention(q, k, v, "--window", "3", window=(3, 3))
        self.attention(q, k, v, "--window", "3,1", window=(3, 1))
        self.attention(q, k, v, "--window", "-1,2", window=(-1, 2))
        self.attention(q, k, v, "--window", "4,-1", "--causal", window=(4, -1), causal=True)
        self.attention(q, k, v, "--window", "2", "--sink-tokens", "3", "--causal-offset", "-5", window=(2, 2), sinks=3, offset=-5)
        self.attention(q, k, v, "--window", "2", "--sink-tokens", "3", "--causal", window=(2, 2), sinks=3, causal=True)
        self.attention(q, k, v, "--window", "2", "--causal-offset", "90", window=(2, 2), offset=90)

    def test_soft_cap(self):
        q, k, v = self.random(12, 1, 2, 1, 6, 9, 8)
        self.attention(q, k, v, "--softcap", "1.5", "--scale", "2", cap=1.5, scale=2)
        self.attention(q, k, v, "--softcap", "0.5", "--causal", "--window", "2", cap=0.5, causal=True, window=(2, 2))

    def needs_compiler(self):
        q, k, v = self.random(1, 1, 1, 1, 1, 1, 4)
        r = run("run", "attention", *self.inputs(q, k, v), "--out", self.path("o.npy"), "--score-mod", self.write("x.glsl", SCORE_MOD % b"score"))
        if r.returncode == REFUSED and "no run-time compiler" in r.stderr:
            self.skipTest("no run-time compiler")

    def test_score_mod(self):
        self.needs_compiler()
        q, k, v = self.random(13, 2, 4, 2, 7, 9, 8)
        cap = self.write("cap.glsl", SCORE_MOD % b"user_f(1) * tanh(score / user_f(1))")
        alibi = self.write("alibi.glsl", SCORE_MOD % b"score - slopes(h) * abs(float(q) - float(k))")
        slopes = [0.5, 0.25, 0.125, 0.0625]
        files = ["--user", "slopes=" + self.write("s.npy", npy_bytes("<f4", (4,), slopes))]
        self.attention(q, k, v, "--score-mod", cap, "--user-const", "7,1.5", cap=1.5)
        bias = lambda s, b, h, i, j: s - slopes[h] * abs(i - j)
        self.attention(q, k, v, "--score-mod", alibi, *files, score=bias)
        self.attention(q, k, v, "--score-mod", f"{cap},{alibi}", *files, "--user-const", "0,1.5", "--causal", cap=1.5, score=bias, causal=True)
        r = self.attention(q, k, v, "--softcap", "0.7", "--score-mod", alibi, *files, "--json", cap=0.7, score=bias)
        problem = json.loads(r.stdout)["problem"]
        self.assertEqual((problem["score_mods"], problem["mask_mods"], problem["user_buffers"]), (1, 0, ["slopes"]))

    def test_mask_mod(self):
        self.needs_compiler()
        q, k, v = self.random(14, 1, 2, 2, 12, 12, 8)
        causal = self.write("causal.glsl", MASK_MOD % b"k <= q")
        documents = self.write("doc.glsl", MASK_MOD % b"doc(q) == doc(k)")
        doc = [0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 3]
        files = ["--user", "doc=" + self.write("d.npy", npy_bytes("<i4", (12,), doc))]
        self.attention(q, k, v, "--mask-mod", causal, causal=True)
        self.attention(q, k, v, "--mask-mod", f"{documents},{causal}", *files, causal=True, mask=lambda b, h, i, j: doc[i] == doc[j])
        self.attention(q, k, v, "--mask-mod", self.write("none.glsl", MASK_MOD % b"q > 4u"), mask=lambda b, h, i, j: i > 4)
        cu = self.write("cu.npy", npy_bytes("<i4", (3,), [0, 5, 12]))
        self.attention(q, k, v, "--mask-mod", self.write("s.glsl", MASK_MOD % b"b == 1u || k % 2u == 0u"), "--cu-seqlens-q", cu, "--cu-seqlens-k", cu,
                       cu_q=[0, 5, 12], cu_k=[0, 5, 12], mask=lambda b, h, i, j: b == 1 or j % 2 == 0)

    def test_bad_snippets(self):
        self.needs_compiler()
        q, k, v = self.random(15, 1, 1, 1, 3, 3, 4)
        base = ["run", "attention", *self.inputs(q, k, v), "--out", self.path("o.npy")]
        for body, words in ((b"score + nothing", "score_mod:3: error: 'nothing' : undeclared identifier"),
                            (b"score; }\n#include \"x\"", "score_mod:4: '#': no directives"),
                            (b"subgroupAdd(score)", "score_mod:3: 'subgroupAdd' is not allowed"),
                            (b"slopes(h)", "score_mod:3: error: 'slopes'"),
                            (b"score", "mask_mod:6: there is no bool mask_mod")):
            snippet = self.write("bad.glsl", SCORE_MOD % body)
            self.fails(BAD_INPUT, words, *base, "--mask-mod" if "no bool" in words else "--score-mod", snippet)
        good = self.write("good.glsl", SCORE_MOD % b"score")
        four = ",".join(f"a{n}=" + self.write("f.npy", npy_bytes("<f4", (2,), [1, 2])) for n in range(4))
        self.fails(REFUSED, "needs 9 storage buffers", *base, "--score-mod", good, "--user", four, "--caps", "floor")

    def test_sinks(self):
        q, k, v = self.random(13, 2, 4, 2, 6, 9, 8)
        logits = [0.5, -1.0, 3.0, 0.0]
        self.attention(q, k, v, "--sinks", self.file("s.npy", "<f4", (4,), logits), "--causal", causal=True, sink_logits=logits)
        self.attention(q, k, v, "--sinks", self.path("s.npy"), "--causal", "--causal-offset", "-6", causal=True, offset=-6,
                       sink_logits=logits)  # rows that see no key
        q, k, v = self.random(14, 1, 2, 4, 5, 9, 8)
        self.attention(q, k, v, "--sinks", self.file("t.npy", "<f4", (2,), logits[:2]), sink_logits=logits[:2])

    def test_alibi(self):
        q, k, v = self.random(15, 1, 4, 2, 7, 11, 8)
        slopes = [0.5, 0.25, 0.125, 1.0]
        option = ["--alibi", self.file("a.npy", "<f4", (4,), slopes)]
        self.attention(q, k, v, *option, slopes=slopes)
        self.attention(q, k, v, *option, "--causal", "--causal-offset", "-2", causal=True, offset=-2, slopes=slopes)
        self.attention(q, k, v, *option, "--causal-offset", "3", offset=3, slopes=slopes)

    def test_bias(self):
        q, k, v = self.random(22, 2, 4, 2, 6, 9, 8)
        rng = random.Random(4)
        for batch, heads in ((1, 1), (2, 4), (1, 4), (2, 1)):
            bias = [f32(rng.gauss(0, 1)) if n % 7 else -math.inf for n in range(batch * heads * 54)]
            option = ["--bias", self.file("b.npy", "<f4", (batch, heads, 6, 9), bias)]
            self.attention(q, k, v, *option, "--softcap", "1.5", "--causal", cap=1.5, causal=True,
                           bias=lambda b, h, i, j: bias[((b % batch * heads + h % heads) * 6 + i) * 9 + j])  # fmt: skip

    def test_rope_and_qk_norm(self):
        q, k, v = self.random(23, 2, 4, 2, 6, 9, 8)
        self.attention(q, k, v, "--rope", "10000", rope=(10000,), tolerance=4e-6)
        self.attention(q, k, v, "--rope", "100,4", "--causal", "--causal-offset", "1", rope=(100, 4), causal=True, offset=1, tolerance=4e-6)
        self.attention(q, k, v, "--rope", "50.5,6,interleaved", "--qk-norm", "1e-5", rope=(50.5, 6, True), norm=1e-5, tolerance=4e-6)
        self.attention(q, k, v, "--rope", "50,interleaved", "--softcap", "2", rope=(50, None, True), cap=2, tolerance=4e-6)
        self.attention(q, k, v, "--qk-norm", "0.5", norm=0.5)
        base = ["run", "attention", *self.inputs(q, k, v), "--out", self.path("o.npy")]
        for bad in ("", "1", "0", "-3", "x", "100,3", "100,10", "100,4,5", "100,interleaved,4", "nan"):
            self.fails(BAD_INPUT, "rope", *base, "--rope", bad)
        self.fails(BAD_INPUT, "qk_norm_epsilon", *base, "--qk-norm", "-1")

    def test_low_rank_bias(self):
        q, k, v = self.random(24, 2, 4, 4, 6, 9, 8)
        rng = random.Random(5)
        for batch, heads in ((1, 1), (2, 4), (1, 4)):
            u, w = Tensor.random(rng, (batch, heads, 6, 3)), Tensor.random(rng, (1, heads, 9, 3))
            files = f"{self.file('u.npy', '<f4', u.shape, u.values)},{self.file('w.npy', '<f4', w.shape, w.values)}"
            self.attention(q, k, v, "--bias-lowrank", files, "--causal", causal=True, low_rank=(u, w), tolerance=4e-6)
        base = ["run", "attention", *self.inputs(q, k, v), "--out", self.path("o.npy")]
        self.fails(BAD_INPUT, "--bias-lowrank", *base, "--bias-lowrank", self.path("u.npy"))
        self.fails(BAD_INPUT, "soft_cap", *base, "--bias-lowrank", files, "--softcap", "3")
        self.fails(BAD_INPUT, "bias_u", *base, "--bias-lowrank", ",".join(reversed(files.split(","))))

    def test_key_bias(self):
        q, k, v = self.random(16, 2, 4, 2, 6, 9, 8)
        rng = random.Random(3)
        for batch, heads in ((1, 1), (2, 4), (1, 4), (2, 1)):
            bias = [f32(rng.gauss(0, 1)) if n % 7 else -math.inf for n in range(batch * heads * 9)]
            option = ["--bias-key", self.file("b.npy", "<f4", (batch, heads, 9), bias)]
            self.attention(q, k, v, *option, "--softcap", "1.5", cap=1.5,
                           key_bias=lambda b, h, j: bias[(b % batch * heads + h % heads) * 9 + j])  # fmt: skip

    def test_block_mask(self):
        q, k, v = self.random(5, 2, 2, 1, 7, 10, 8)
        rng = random.Random(5)
        for descr, size, heads, batch in (("<i4", (3, 4), 2, 2), ("|u1", (2, 5), 1, 1), ("|b1", (1, 1), 2, 1), ("<f4", (20, 3), 1, 2)):
            lines, pitch = -(-7 // size[0]), -(-10 // size[1])
            flags = [int(rng.random() < 0.6) for _ in range(batch * heads * lines * pitch)]
            path = self.file("b.npy", descr, (batch, heads, lines, pitch), flags)

            def shown(b, h, i, j):
                line = (b % batch * heads + h % heads) * lines + i // size[0]
                return flags[line * pitch + j // size[1]] != 0

            options = ["--block-mask", path, "--block", f"{size[0]}x{size[1]}"]
            self.attention(q, k, v, *options, mask=shown)
            self.attention(q, k, v, *options, "--causal", "--window", "4,1", causal=True, window=(4, 1), mask=shown)
        path = self.write("m.glsl", b"bool mask_mod(uint b, uint h, uint q, uint k) { return (q + k) % 3u != h; }")
        for lists in ("choose", "never", "always"):
            self.attention(q, k, v, "--mask-mod", path, "--tile-lists", lists, mask=lambda b, h, i, j: (i + j) % 3 != h)
        r = run("run", "attention", *self.inputs(q, k, v), "--out", self.path("o.npy"), *options, "--json", "--explain")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        told = json.loads(r.stdout)
        self.assertTrue(told["problem"]["block_mask"])
        self.assertEqual((told["problem"]["block_q"], told["problem"]["block_k"]), size)
        self.assertGreater(told["explain"]["tile_lists"], 0)

    def test_patterns(self):
        q, k, v = self.random(7, 1, 2, 2, 24, 24, 8)

        def close(i, j, n):
            return abs(i // 4 - j // 4) < n

        self.attention(q, k, v, "--pattern", "chunks:2,1", "--block", "4x4",
                       mask=lambda b, h, i, j: 0 <= i // 8 - j // 8 <= 1)
        self.attention(q, k, v, "--pattern", "chunks:2,0,1", "--block", "4x4", "--causal", causal=True,
                       mask=lambda b, h, i, j: -1 <= i // 8 - j // 8 <= 0)
        self.attention(q, k, v, "--pattern", "strided:1,3", "--block", "4x4", "--causal", causal=True,
                       mask=lambda b, h, i, j: close(i, j, 1) or (j // 4 + h + 1) % 3 == 0)
        self.attention(q, k, v, "--pattern", "dilated:1,2", "--block", "4x4",
                       mask=lambda b, h, i, j: close(i, j, 1) or (close(i, j, 3) and (i // 4 - j // 4 + h) % 2 == 0))
        self.attention(q, k, v, "--pattern", "prefix:1,2", "--block", "4x4",
                       mask=lambda b, h, i, j: i < 4 or j < 4 or close(i, j, 2))
        self.attention(q, k, v, "--pattern", "spans:1,0,0.25,9,0", "--block", "4x4", "--causal", causal=True,
                       mask=lambda b, h, i, j: j < 4 or close(i, j, 2 if h == 0 else 3))

        def radial(b, h, i, j):
            apart, inside = abs(i // 3 - j // 3), abs(i % 3 - j % 3)
            e = 2 ** math.floor(math.log2(max(apart, 1)))
            return j < 3 or (e <= 3 and inside + 1 <= 3 / e) or (apart % math.ceil(e / 3) == 0 and inside == 0)

        self.attention(q, k, v, "--pattern", "radial:3", "--block", "1x1", mask=radial)
        base = ["run", "attention", *self.inputs(q, k, v), "--out", self.path("o.npy"), "--block", "4x4"]
        for pattern in ("", "chunks", "rings:1,2", "chunks:1", "chunks:1,2,3,4", "chunks:0,1", "chunks:1.5,1", "chunks:-1,1", "chunks:1,",
                        "radial:0", "spans:1,2", "spans:1,2,3,4", "spans:1,2,-3", "strided:1,x"):
            self.fails(BAD_INPUT, "attern", *base, "--pattern", pattern)
        self.fails(BAD_INPUT, "as many queries as keys", *base[:-1], "4x8", "--pattern", "radial:3")
        self.fails(BAD_INPUT, "exclude each other", *base, "--pattern", "radial:3", "--block-mask", "x.npy")
        r = run("explain", "--shape", "1,2,2,256,256,64", "--pattern", "strided:2,4", "--block", "32x32", "--json")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        self.assertEqual(json.loads(r.stdout)["problem"]["block_q"], 32)

    def test_bad_block_mask(self):
        q, k, v = self.random(6, 1, 2, 2, 6, 9, 8)
        base = ["run", "attention", *self.inputs(q, k, v), "--out", self.path("o.npy")]
        good = self.file("b.npy", "<i4", (1, 2, 3, 3), [1] * 18)
        self.fails(BAD_INPUT, "--block QxK is missing", *base, "--block-mask", good)
        self.fails(BAD_INPUT, "goes with --block-mask", *base, "--block", "2x3")
        for block in ("", "2", "2x", "x3", "2x3x4", "0x3", "2x-3", "2X3", "2x3 ", "2x536870913"):
            self.fails(BAD_INPUT, "--block", *base, "--block-mask", good, "--block", block)
        self.fails(BAD_INPUT, "(1 or 1, 2 or 1, 2, 3) with blocks of 3 x 3", *base, "--block-mask", good, "--block", "3x3")
        self.fails(BAD_INPUT, "axes", *base, "--block-mask", self.file("b.npy", "<i4", (3, 3), [1] * 9), "--block", "2x3")
        self.fails(BAD_INPUT, "No such file", *base, "--block-mask", self.path("nowhere.npy"), "--block", "2x3")
        self.fails(BAD_INPUT, "--tile-lists", *base, "--tile-lists", "perhaps")

    def test_segments(self):
        q, k, v = self.random(17, 2, 2, 1, 7, 10, 8)
        segments = [[0, 0, 0, 1, 1, 1, 1, 2, 2, 2], [5, 5, -1, 5, -1, -1, 5, 7, 5, 7]]
        option = ["--segments", self.file("g.npy", "<i4", (2, 10), segments[0] + segments[1])]
        self.attention(q, k, v, *option, segments=segments)
        self.attention(q, k, v, *option, "--causal", "--sinks", self.file("s.npy", "<f4", (2,), [1.0, -2.0]), causal=True,
                       segments=segments, sink_logits=[1.0, -2.0])

    def test_links(self):
        q, k, v = self.random(19, 1, 4, 2, 6, 9, 8)
        for link in ("softmax", "offbyone", "signed", *ADDITIVE):
            self.attention(q, k, v, "--link", link, "--causal", "--causal-offset", "-5", link=link, causal=True, offset=-5)
        self.attention(q, k, v, "--link", "clipped:-0.03,1.1", "--causal", "--causal-offset", "-5", link="clipped",
                       clip=(-0.03, 1.1), causal=True, offset=-5)
        self.attention(q, k, v, "--link", "affine:1.5,-0.25", "--causal", "--causal-offset", "-5", link="affine",
                       clip=(1.5, -0.25), causal=True, offset=-5)

    def test_gate(self):
        q, k, v = self.random(20, 2, 4, 2, 5, 9, 8, dv=6)
        gate = Tensor.random(random.Random(21), (2, 4, 5, 6), f32)
        for layout in ("bhnd", "bnhd"):
            self.attention(q, k, v, "--gate", self.tensor("g.npy", gate, "<f4", layout), layout=layout, gate=gate)
        self.fails(BAD_INPUT, "--gate", "run", "attention", *self.inputs(q, k, v), "--out", self.path("o.npy"), "--gate",
                   self.path("q.npy"))

    def test_vectors_of_wrong_shapes(self):
        q, k, v = self.random(18, 1, 4, 2, 5, 6, 8)
        base = ["run", "attention", *self.inputs(q, k, v), "--out", self.path("o.npy")]
        self.fails(BAD_INPUT, "--sinks", *base, "--sinks", self.file("x.npy", "<f4", (4, 1), [0] * 4))
        self.fails(BAD_INPUT, "sinks", *base, "--sinks", self.file("x.npy", "<f4", (3,), [0] * 3))
        self.fails(BAD_INPUT, "--alibi", *base, "--alibi", self.file("x.npy", "<i4", (4,), [0] * 4))
        self.fails(BAD_INPUT, "alibi", *base, "--alibi", self.file("x.npy", "<f4", (2,), [0] * 2))
        self.fails(BAD_INPUT, "bias is (1, 1, 5, 5), must be", *base, "--bias", self.file("x.npy", "<f4", (1, 1, 5, 5), [0] * 25))
        self.fails(BAD_INPUT, "key_bias", *base, "--bias-key", self.file("x.npy", "<f4", (1, 1, 5), [0] * 5))
        self.fails(BAD_INPUT, "segments", *base, "--segments", self.file("x.npy", "<i4", (2, 6), [0] * 12))

    def test_offset_alone_changes_nothing(self):
        self.attention(*self.random(5, 1, 1, 1, 4, 4, 8), "--causal-offset", "-2")

    def test_heads(self):
        for q_heads, kv_heads in ((4, 2), (6, 1), (3, 2), (2, 4), (1, 3), (2, 5)):
            self.attention(*self.random(6, 2, q_heads, kv_heads, 3, 5, 8), "--causal", causal=True)

    def test_layout(self):
        self.attention(*self.random(7, 2, 4, 2, 5, 6, 8, 4), layout="bnhd")

    def test_f16(self):
        q, k, v = self.random(8, 1, 2, 2, 5, 7, 8, rounding=f16)
        self.attention(q, k, v, descr="<f2", tolerance=1e-3, rounding=f16)

    def test_conversions(self):
        q, k, v = self.random(9, 1, 2, 2, 5, 7, 8)
        self.attention(q, k, v, "--dtype", "bf16", tolerance=8e-3, rounding=bf16, want_descr="<f4")
        self.attention(q, k, v, "--dtype", "f16", tolerance=1e-3, rounding=f16, want_descr="<f2")
        q, k, v = self.random(9, 1, 2, 2, 5, 7, 8, rounding=f16)
        self.attention(q, k, v, "--dtype", "f32", descr="<f2", rounding=f16, want_descr="<f4")

    def test_bf16_output_is_bf16(self):
        q, k, v = self.random(10, 1, 1, 1, 3, 4, 8)
        run("run", "attention", *self.inputs(q, k, v), "--out", self.path("o.npy"), "--dtype", "bf16")
        for x in read_npy(self.path("o.npy"))[2]:
            self.assertEqual(x, bf16(x))

    def test_varlen(self):
        for causal in (False, True):
            for layout in ("bhnd", "bnhd"):
                q, k, v = self.random(11, 1, 4, 2, 9, 12, 8)
                cu_q, cu_k = [0, 4, 4, 9], [0, 2, 5, 12]
                options = ["--cu-seqlens-q", self.write("a.npy", npy_bytes("<i4", (4,), cu_q)),
                           "--cu-seqlens-k", self.write("b.npy", npy_bytes("<i4", (4,), cu_k))]  # fmt: skip
                if causal:
                    options += ["--causal", "--causal-offset", "-1"]
                self.attention(q, k, v, *options, layout=layout, causal=causal, offset=-1, cu_q=cu_q, cu_k=cu_k)

    def test_nothing(self):
        for sizes in ((1, 2, 2, 0, 4, 8), (1, 2, 2, 3, 0, 8), (0, 2, 2, 3, 4, 8), (1, 2, 1, 0, 0, 8)):
            self.attention(*self.random(12, *sizes))

    def test_masked_nan(self):
        q, k, v = self.random(13, 1, 1, 1, 4, 4, 8)
        for e in range(8):
            k.values[3 * 8 + e] = v.values[3 * 8 + e] = math.nan
        out = self.path("o.npy")
        r = run("run", "attention", *self.inputs(q, k, v), "--out", out, "--causal")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        want, _ = reference(q, k, v, causal=True)
        self.close(read_npy(out)[2][:24], want.values[:24], 2e-6)

    def test_safetensors(self):
        q, k, v = self.random(14, 1, 2, 2, 3, 4, 8, rounding=bf16)
        for dtype, pack, descr, tolerance in (
            ("F32", lambda x: struct.pack("<f", x), "<f4", 2e-6),
            ("F16", lambda x: struct.pack("<e", x), "<f2", 1e-3),
            ("BF16", lambda x: struct.pack("<f", x)[2:], "<f4", 8e-3),
        ):
            header, data = {"__metadata__": {"format": "pt"}}, b""
            for name, t in (("q", q), ("k.0", k), ("v", v)):
                piece = b"".join(map(pack, t.values))
                header[name] = {"dtype": dtype, "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(piece)]}
                data += piece
            text = json.dumps(header).encode()
            path = self.write("m.safetensors", struct.pack("<Q", len(text)) + text + data)
            r = run("run", "attention", "--q", path + ":q", "--k", path + ":k.0", "--v", path + ":v", "--out", self.path("o.npy"))
            self.assertEqual(r.returncode, GOOD, r.stderr)
            got_descr, _, values = read_npy(self.path("o.npy"))
            self.assertEqual(got_descr, descr)
            rounding = f16 if dtype == "F16" else bf16
            want, _ = reference(q.rounded(rounding), k.rounded(rounding), v.rounded(rounding))
            self.close(values, want.values, tolerance)
        self.fails(BAD_INPUT, "no tensor 'z'", "run", "attention", "--q", path + ":z", "--k", path + ":k.0", "--v", path + ":v",
                   "--out", self.path("o.npy"))

    def test_json_and_time(self):
        q, k, v = self.random(15, 1, 2, 2, 5, 7, 8)
        r = run("run", "attention", *self.inputs(q, k, v), "--out", self.path("o.npy"), "--json", "--time", "3", "--explain")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        result = json.loads(r.stdout)
        self.assertIn("device: ", r.stderr)
        self.assertEqual(result["problem"]["nk"], 7)
        self.assertEqual(result["time"]["repeats"], 3)
        self.assertEqual(result["time"]["flops"], 2 * 16 * 2 * 5 * 7)
        self.assertLessEqual(result["time"]["wall"]["min_ns"], result["time"]["wall"]["median_ns"])
        self.assertTrue(result["kernel"])
        self.assertIsInstance(result["explain"], dict)
        r = run("run", "attention", *self.inputs(q, k, v), "--out", self.path("o.npy"), "--time", "2", "--explain")
        for word in ("GB/s", "TFLOP/s", "median", result["kernel"]):
            self.assertIn(word, r.stdout)

    def test_forced_kernel(self):
        q, k, v = self.random(16, 1, 2, 2, 5, 7, 8)
        self.assertIn("naive-f32", self.attention(q, k, v, "--kernel", "naive-f32").stdout)
        line = self.fails(REFUSED, "naive-f16", "run", "attention", *self.inputs(q, k, v), "--out", self.path("o.npy"),
                          "--kernel", "naive-f16")  # fmt: skip
        self.assertIn("f32", line)

    def test_caps(self):
        q, k, v = self.random(17, 1, 2, 2, 5, 7, 8)
        for caps in ("floor", "no-subgroup,no-fp16", "no-16bit,no-8bit,no-int64,no-bda,no-texel,no-coopmat",
                     "no-push-descriptor,no-timeline", "shared=16384,invocations=128,buffers=8,push=128"):  # fmt: skip
            self.attention(q, k, v, "--caps", caps)
        self.fails(BAD_INPUT, "no-gravity", "run", "attention", *self.inputs(q, k, v), "--out", self.path("o.npy"), "--caps",
                   "no-gravity")  # fmt: skip

    def test_device_selection(self):
        devices = json.loads(run("devices", "--json").stdout)["devices"]
        self.assertEqual(sum(d["chosen"] for d in devices), 1)
        chosen = next(d for d in devices if d["chosen"])
        q, k, v = self.random(18, 1, 1, 1, 2, 3, 4)
        base = ["run", "attention", *self.inputs(q, k, v), "--out", self.path("o.npy")]
        for selector in (str(chosen["index"]), chosen["uuid"], chosen["name"].upper()):
            r = run(*base, "--device", selector)
            self.assertEqual(r.returncode, GOOD, r.stderr)
            self.assertIn(chosen["name"], r.stdout)
        self.fails(NO_DEVICE, "no such device there", *base, "--device", "no such device there")
        self.fails(NO_DEVICE, "no such device there", *base, env={"RAPT_DEVICE": "no such device there"})

    def test_unwritable(self):
        q, k, v = self.random(19, 1, 1, 1, 2, 3, 4)
        self.fails(BAD_INPUT, "/nonexistent/o.npy", "run", "attention", *self.inputs(q, k, v), "--out", "/nonexistent/o.npy")

    def test_explain(self):
        r = run("explain", "--shape", "1,8,2,64,64,64", "--causal")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        self.assertIn("8 query heads, 2 kv heads", r.stdout)
        result = json.loads(run("explain", "--shape", "1,8,2,64,64,64,32", "--dtype", "f16", "--json").stdout)
        self.assertEqual(result["problem"]["head_dim_v"], 32)
        self.fails(BAD_INPUT, "--shape", "explain", "--shape", "1,2,3")
        self.fails(BAD_INPUT, "--shape", "explain", "--shape", "1,8,8,64,64,64,64,1")
        self.fails(BAD_INPUT, "--shape", "explain", "--shape", "1,8,8,64,64,x")
        refused = run("explain", "--shape", "1,8,8,64,64,1000")
        self.assertIn(refused.returncode, (BAD_INPUT, REFUSED))

    def test_check(self):
        r = run("check", "--filter", "exact-uniform", "--kernel", "naive-f32")
        self.assertEqual(r.returncode, GOOD, r.stdout + r.stderr)
        self.assertIn("0 failed", r.stdout)
        result = json.loads(run("check", "--filter", "exact-uniform", "--kernel", "naive-f32", "--json").stdout)
        self.assertEqual((result["runs"], result["failed"], result["failures"]), (1, 0, []))

    def test_check_random(self):
        result = json.loads(run("check", "--random", "1000", "--seed", "5", "--kernel", "naive-f16", "--json").stdout)
        row = next(k for k in result["kernels"] if k["name"] == "naive-f16")
        self.assertGreater(row["pass"], 0)
        self.assertEqual((row["fail"], row["pass"] + row["refused"]), (0, 1000))
        self.assertEqual(result["runs"], row["pass"])
        self.fails(BAD_INPUT, "--kernel alone", "check", "--random", "9", "--filter", "exact")
        self.fails(BAD_INPUT, "goes with --random", "check", "--seed", "5")

    def test_check_interrupted(self):
        """Ctrl-C ends a check in good order: what ran is in the report."""
        if WRAPPER or os.name == "nt":
            self.skipTest("the signal would not reach it")
        report = self.write("report.md", b"of an earlier run")
        command = [RAPT, "check", "--chosen", "--no-probe", "--repeat", "20", "--report", report]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        process.stdout.readline()  # the device's line: it has begun
        self.assertEqual(Path(report).read_text(), "of an earlier run")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 130, out + err)
        self.assertIn("rapt: interrupted", err)
        self.assertIn("#", Path(report).read_text())

    def test_lost_device(self):
        """Exit code 5 and one line, from every command that works on a device; what was there before stays, what was measured is kept."""
        lost = Path(os.environ.get("RAPT_TEST_LOST", "nowhere"))
        if WRAPPER or not (lost / "libvulkan.so.1").exists():
            self.skipTest("another driver's loader, or a system without LD_LIBRARY_PATH")
        ctypes.CDLL("libvulkan.so.1")
        real = next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libvulkan.so" in line)
        env = {"LD_LIBRARY_PATH": str(lost), "RAPT_TEST_LIBVULKAN": real, "RAPT_CACHE_DIR": ""}
        t = Tensor.random(random.Random(5), (1, 2, 40, 16))
        out = self.write("o.npy", b"of an earlier run")
        attention = ["run", "attention", *self.inputs(t, t, t), "--out", out]
        result = self.path("bench.json")
        bench = ["bench", "quick", "--gauges", "fma-f32", "--case", "B1H2D64N64f32,B1H2D64N65f32", "--samples", "3", "--json", result]
        for after, command in ((0, attention), (1, attention), (2, attention), (2, ["check", "--filter", "exact", "--chosen"]),
                               (3, ["check", "linear", "--filter", "one-token"]), (3, ["check", "systems", "--filter", "GLA"]),
                               (9, ["tune", "--case", "B1H2D64N64f32"]), (40, bench)):  # fmt: skip
            r = run(*command, env={**env, "RAPT_TEST_LOST_AFTER": str(after)})
            self.assertEqual(r.returncode, DEVICE_LOST, f"{command} {after}\n{r.stdout}{r.stderr}")
            self.assertRegex(r.stderr, "(?m)^rapt: .*device .*was lost")
        self.assertEqual(Path(out).read_bytes(), b"of an earlier run")
        self.assertEqual(json.loads(Path(result).read_text())["mode"], "quick")
        r = run(*attention, env={**env, "RAPT_TEST_LOST_AFTER": "100"})  # all that makes the difference
        self.assertEqual(r.returncode, GOOD, r.stderr)

    def test_check_report(self):
        """A kernel that adds where it should and subtracts where it should not: found, told, and shown again by its command."""
        row, env = self.broken("naive-f32")
        report = self.path("report.md")
        base = ["check", "--case", "poison-causal", "--kernel", "naive-f32"]
        r = run(*base, "--no-probe", "--repeat", "3", "--report", report, "--json", env=env)
        self.assertEqual(r.returncode, FAILED, r.stdout + r.stderr)
        result = json.loads(r.stdout)
        (failure,) = result["failures"]
        self.assertEqual((failure["case"], failure["kernel"], failure["caps"]), ("poison-causal", "naive-f32", ""))
        self.assertEqual((failure["runs"], failure["runs_wrong"], failure["repeats_differing"]), (4, 4, 0))
        self.assertGreater(failure["out"]["wrong"], 0)
        self.assertIn(failure["driver_info"], result["device"]["driver_info"])
        text = Path(report).read_text()
        for part in ("# rapt check: 1 of 1 runs failed", "### 1. naive-f32, poison-causal", "- shape: " + failure["shape"],
                     "- seed: " + failure["seed"], "tolerance", *failure["driver_info"].split()[:1], row["hash"],
                     "4 of 4 runs wrong; 0 of 3 repeats", "    " + failure["command"], "| naive-f32 |  | 0 | 1 | 0 |"):  # fmt: skip
            self.assertIn(part, text)
        again = shlex.split(failure["command"])
        self.assertEqual(again[0], "rapt")
        r = run(*again[1:], env=env)
        self.assertEqual(r.returncode, FAILED, r.stdout + r.stderr)
        self.assertIn("1 runs of 1 cases", r.stdout)
        self.assertEqual(run(*again[1:], env={"RAPT_CACHE_DIR": ""}).returncode, GOOD)  # the kernel itself is sound
        r = run(*base, "--report", report, env=env)  # the probe is faster
        self.assertEqual(r.returncode, FAILED, r.stdout + r.stderr)
        self.assertIn("its known-answer probe", Path(report).read_text())
        self.fails(BAD_INPUT, "/nonexistent/r.md", *base, "--report", "/nonexistent/r.md")
        self.fails(BAD_INPUT, "neither a known name", "check", "--case", "nonsense")
        self.fails(BAD_INPUT, "exclude each other", "check", "--case", "a", "--filter", "b")
        self.fails(BAD_INPUT, "--repeat", "check", "--repeat", "often")
        for part in ("", "1", "0/2", "3/2", "1/2x", "1/0", "-1/2"):
            self.fails(BAD_INPUT, "--part", "check", f"--part={part}")
        runs = [json.loads(run("check", "--filter", "exact-window", "--chosen", "--json", *part).stdout)["runs"]
                for part in ((), ("--part", "1/2"), ("--part", "2/2"))]
        self.assertEqual(runs[0], runs[1] + runs[2])
        self.assertGreater(runs[1], 0)
        r = run("check", "--case", "B1H1D8N20f32", "--chosen", "--caps", "floor", "--repeat", "2")
        self.assertEqual(r.returncode, GOOD, r.stdout + r.stderr)
        self.assertIn("2 repeats: 0 gave other bits", r.stdout)

    def test_tune(self):
        env = {"RAPT_CACHE_DIR": self.path("cache")}
        path = self.path("tune.json")
        # A device lowered so far that few rows remain: each takes long to compile.
        shape = ["--shape", "1,1,1,2,40,576", "--caps", "floor"]
        r = run("tune", *shape, "--seconds", "0.1", "--json", path, "--dry-run", env=env)
        self.assertEqual(r.returncode, GOOD, r.stdout + r.stderr)
        self.assertIn("would be kept", r.stdout)
        self.assertIn("0 measured choices", run("tune", "--list", env=env).stdout)
        r = run("tune", *shape, "--seconds", "0.1", "--json", path, env=env)
        self.assertEqual(r.returncode, GOOD, r.stdout + r.stderr)
        self.assertRegex(r.stdout, "(?m)^kept: ")
        (result,) = json.loads(Path(path).read_text())["problems"]
        self.assertTrue(result["stored"])
        kernels = [c["kernel"] for c in result["candidates"]]
        self.assertIn("naive-f32", kernels)
        self.assertEqual(sum(c["winner"] for c in result["candidates"]), 1)
        self.assertEqual(sum(c["default"] for c in result["candidates"]), 1)
        explained = json.loads(run("explain", *shape, "--json", env=env).stdout)["explain"]
        self.assertEqual((explained["kernel"], explained["tuned"]["kernel"]), (result["kernel"], result["kernel"]))
        self.assertIsNone(json.loads(run("explain", "--shape", "1,1,1,2,41,576", "--json", env=env).stdout)["explain"]["tuned"])
        listed = json.loads(run("tune", "--list", "--json", "-", env=env).stdout)
        self.assertEqual([t["kernel"] for t in listed["tuned"]], [result["kernel"]])
        # The block list, which explain names too.
        r = run("tune", "--block", result["kernel"], "--reason", "for a test", env=env)
        self.assertEqual(r.returncode, GOOD, r.stderr)
        self.assertIn("for a test", run("tune", "--list", env=env).stdout)
        explained = run("explain", *shape, env=env).stdout
        self.assertIn("is on the block list: for a test", explained)
        self.assertIn("cannot be taken now", explained)
        self.assertEqual(run("tune", "--unblock", result["kernel"], "--forget", env=env).returncode, GOOD)
        self.fails(BAD_INPUT, "not on the block list", "tune", "--unblock", result["kernel"], env=env)
        self.assertIn("0 measured choices", run("tune", "--list", env=env).stdout)
        self.fails(BAD_INPUT, "cannot be kept", "tune", "--block", "naive-f32", env={"RAPT_CACHE_DIR": ""})
        self.fails(BAD_INPUT, "neither a known name", "tune", "--case", "B1H8")

    def test_record(self):
        q, k, v = self.random(20, 1, 2, 2, 5, 7, 8)
        path = self.path("record.jsonl")
        base = ["run", "attention", *self.inputs(q, k, v), "--out", self.path("o.npy"), "--kernel", "naive-f32"]
        self.assertEqual(run(*base, "--time", "3", env={"RAPT_RECORD": path}).returncode, GOOD)
        lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
        self.assertEqual(lines[0], {"rapt_record": 1})
        self.assertEqual(len(lines), 2)
        self.assertGreaterEqual(lines[1]["count"], 4)
        self.assertEqual((lines[1]["q"]["dims"], lines[1]["k"]["dims"]), ([1, 2, 5, 8], [1, 2, 7, 8]))
        self.assertEqual(run(*base, "--link", "relu", env={"RAPT_RECORD": path}).returncode, GOOD)
        self.assertEqual(json.loads(Path(path).read_text().splitlines()[1])["link"], "relu")
        more = ["--row-max", self.path("m.npy")]  # counted, not described
        self.assertEqual(run(*base, *more, env={"RAPT_RECORD": path}).returncode, GOOD)
        lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
        self.assertEqual((lines[0], [*lines[1]]), ({"rapt_record": 1}, ["omitted"]))
        self.fails(BAD_INPUT, "holds no problem", "bench", "replay", path)
        r = run(*base, env={"RAPT_RECORD": "/nonexistent/record.jsonl"})  # the run's own business goes on
        self.assertEqual(r.returncode, GOOD, r.stderr)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    RAPT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
