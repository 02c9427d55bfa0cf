#!/usr/bin/env python3
"""`rapt run scan` as a black box, checked against the formulas in plain Python.

    tests/tool_scan_test.py build/tools/rapt/rapt [unittest options]
"""
import json
import math
import os
import random
import sys
import unittest

import tool_test
from tool_reference import Tensor, bf16, f16, f32, read_npy
from tool_test import BAD_INPUT, GOOD, REFUSED, run


def silu(z):
    return z / (1 + math.exp(-z))


def scan(op, x, a=None, b=None, c=None, dt=None, skip=None, z=None, state=None, blend=False, reverse=False, complexes=False,
         states=1, spans=None):
    """Flat outputs (batch, heads, N, d) and states. a(b, h, t, e, n) and so on are functions; spans: the (first, last) tokens
    of each state, of packed sequences."""
    batch, heads, n, d = x.shape
    out, ends = [0.0] * (batch * heads * n * d), []
    for s in range(len(spans) if spans else batch):
        bb = 0 if spans else s
        for h in range(heads):
            for e in range(d):
                at = ((s * heads + h) * d + e) * states
                now = state[at:at + states] if state else [-math.inf if op in ("max", "softmax") and i == 0 else 0.0 for i in range(states)]
                tokens = range(*(spans[s] if spans else (0, n)))
                for t in reversed(tokens) if reverse else tokens:
                    xt = x.row(bb, h, t)[e]
                    if op == "sum":
                        now = [now[0] + xt]
                    elif op == "max":
                        now = [max(now[0], xt)]
                    elif op == "linear":
                        f = a(bb, h, t, e) if a else 1.0
                        now = [f * now[0] + ((1 - f) * xt if blend else xt)]
                    elif op == "softmax":
                        score, (m, l, acc) = a(bb, h, t, e), now
                        top = max(m, score)
                        keep = math.exp(m - top) if m > -math.inf else 0.0
                        weight = math.exp(score - top) if score > -math.inf else 0.0
                        now = [top, l * keep + weight, acc * keep + (weight * xt if weight else 0.0)]
                    else:
                        step = dt(bb, h, t, e) if dt else 1.0
                        pairs = [complex(now[i], now[i + 1]) for i in range(0, states, 2)] if complexes else now
                        if dt:
                            pairs = [math.exp(step * a(bb, h, t, e, i)) * y + step * b(bb, h, t, e, i) * xt for i, y in enumerate(pairs)]
                        else:
                            pairs = [a(bb, h, t, e, i) * y + b(bb, h, t, e, i) * xt for i, y in enumerate(pairs)]
                        y = sum(c(bb, h, t, e, i) * p for i, p in enumerate(pairs)).real + (skip(h, e) * xt if skip else 0.0)
                        now = [v for p in pairs for v in (p.real, p.imag)] if complexes else pairs
                        value = y * silu(z.row(bb, h, t)[e]) if z else y
                    if op == "softmax":
                        value = now[2] / now[1] if now[1] > 0 else 0.0
                    elif op in ("sum", "max", "linear"):
                        value = now[0]
                    out[((bb * heads + h) * n + t) * d + e] = value
                ends += now
    return out, ends


class WithoutDevice(tool_test.Case):
    def setUp(self):
        super().setUp()
        self.good = ["--x", self.tensor("x.npy", Tensor.random(random.Random(1), (1, 2, 5, 4))), "--out", self.path("o.npy")]

    def wrong(self, text, *arguments, code=BAD_INPUT):
        self.fails(code, text, "run", "scan", *self.good, *arguments)

    def array(self, name, shape, descr="<f4"):
        return self.file(name, descr, shape, [0] * math.prod(shape))

    def test_help(self):
        r = run("run", "scan", "--help")
        self.assertEqual(r.returncode, GOOD)
        for option in ("--op", "--x", "--a", "--log-a", "--scores", "--b", "--c", "--dt", "--skip", "--z", "--state-in", "--state-out",
                       "--reverse", "--blend", "--complex", "--weight", "--bias", "--act", "--ahead", "--channels-last", "--softplus", "--chunk", "--recurrent", "--cu-seqlens", "--out"):
            self.assertIn(option + " ", r.stdout + " ")

    def test_mistakes(self):
        a = self.array("a.npy", (1, 2, 5))
        self.fails(BAD_INPUT, "--out FILE is missing", "run", "scan", *self.good[:2], "--op", "sum")
        self.fails(BAD_INPUT, "--x FILE is missing", "run", "scan", *self.good[2:], "--op", "sum")
        self.wrong("--op NAME is missing")
        self.wrong("--op 'product'", "--op", "product")
        self.wrong("exclude each other", "--op", "linear", "--a", a, "--log-a", a)
        self.wrong("exclude each other", "--op", "linear", "--chunk", "16", "--recurrent")
        self.wrong("--chunk", "--op", "linear", "--chunk", "0")
        self.wrong("--act 'tanh'", "--op", "conv", "--act", "tanh")
        self.wrong("--ahead", "--op", "conv", "--ahead", "-1")
        self.wrong("same file", "--op", "sum", "--state-out", self.path("o.npy"))
        self.wrong("float32 is needed", "--op", "sum", "--state-in", self.array("h.npy", (1, 2, 4, 1), "<f2"))
        self.wrong("float32 or float16 is needed", "--op", "linear", "--a", self.array("i.npy", (1, 2, 5), "<i4"))
        for values, text in (([0, 4], "ends at 4"), ([0, 6, 5], "below"), ([1, 5], "begins with 0")):
            self.wrong(text, "--op", "sum", "--cu-seqlens", self.file("c.npy", "<i4", (len(values),), values))
        self.wrong("no kernel row is named", "--op", "sum", "--kernel", "nonsense")
        self.fails(BAD_INPUT, "--shape B,H,N,D is missing", "explain", "scan", "--op", "sum")
        self.fails(BAD_INPUT, "--shape '1,2,3'", "explain", "scan", "--op", "sum", "--shape", "1,2,3")

    def test_explain(self):
        r = run("explain", "scan", "--no-device", "--op", "linear", "--shape", "1,2,4096,64", "--chunk", "64")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        self.assertIn("a chain of 192 steps", r.stdout)
        r = run("explain", "scan", "--no-device", "--op", "selective", "--shape", "1,1,100,64", "--recurrent", "--json")
        self.assertEqual(json.loads(r.stdout)["state_chain"], 100)
        r = run("explain", "scan", "--no-device", "--op", "conv", "--shape", "1,1,100,64", "--taps", "7")
        self.assertIn("taps     7", r.stdout, r.stderr)
        r = run("explain", "scan", "--no-device", "--op", "conv2d", "--shape", "1,8,9,10", "--json")
        self.assertEqual(json.loads(r.stdout)["problem"]["taps"], [3, 3])


class WithDevice(tool_test.Case):
    @classmethod
    def setUpClass(cls):
        if not tool_test.has_device():
            raise unittest.SkipTest("no Vulkan device")

    def setUp(self):
        super().setUp()
        self.rng = random.Random(7)

    def numbers(self, name, shape, make=None):
        values = [f32(make() if make else self.rng.gauss(0, 1)) for _ in range(math.prod(shape))]
        return values, self.file(name, "<f4", shape, values)

    def check(self, arguments, want, tolerance=2e-5):
        r = run("run", "scan", *arguments)
        self.assertEqual(r.returncode, GOOD, r.stderr)
        for name, expected in want.items():
            _, _, got = read_npy(self.path(name))
            self.assertEqual(len(got), len(expected))
            size = max(1.0, max(abs(x) for x in expected if math.isfinite(x)))
            worst = max(0.0 if x == y else abs(x - y) for x, y in zip(got, expected))
            self.assertLessEqual(worst, tolerance * size, f"{name} of {arguments}")
        return r

    def problem(self, shape=(1, 2, 21, 5)):
        values, file = self.numbers("x.npy", shape)
        self.x = Tensor(shape, values)
        return ["--x", file, "--out", self.path("o.npy"), "--state-out", self.path("s.npy")]

    def test_simple(self):
        files = self.problem()
        fixed, fixed_file = self.numbers("f.npy", (2, 5), self.rng.random)
        token, token_file = self.numbers("t.npy", (1, 2, 21), self.rng.random)
        each, each_file = self.numbers("e.npy", (1, 2, 21, 5), self.rng.random)
        logs, log_file = self.numbers("l.npy", (1, 2, 21, 5), lambda: math.log(self.rng.random()))
        begin, begin_file = self.numbers("b.npy", (1, 2, 5, 1))
        functions = {fixed_file: lambda b, h, t, e: fixed[h * 5 + e], token_file: lambda b, h, t, e: token[h * 21 + t],
                     each_file: lambda b, h, t, e: each[(h * 21 + t) * 5 + e],
                     log_file: lambda b, h, t, e: math.exp(logs[(h * 21 + t) * 5 + e])}
        for form in (["--recurrent"], ["--chunk", "8"], ["--chunk", "7", "--reverse"]):
            reverse = "--reverse" in form
            for op in ("sum", "max"):
                out, states = scan(op, self.x, reverse=reverse, state=begin)
                self.check([*files, "--op", op, "--state-in", begin_file, *form], {"o.npy": out, "s.npy": states})
            for name, a in functions.items():
                for blend in (False, True):
                    out, states = scan("linear", self.x, a=a, blend=blend, reverse=reverse)
                    self.check([*files, "--op", "linear", "--log-a" if name == log_file else "--a", name, *form,
                                *(["--blend"] if blend else [])], {"o.npy": out, "s.npy": states})

    def test_softmax(self):
        files = self.problem()
        scores, file = self.numbers("c.npy", (1, 2, 21), lambda: -math.inf if self.rng.random() < 0.2 else 5 * self.rng.gauss(0, 1))
        out, states = scan("softmax", self.x, a=lambda b, h, t, e: scores[h * 21 + t], states=3)
        for form in (["--recurrent"], ["--chunk", "8"]):
            self.check([*files, "--op", "softmax", "--scores", file, *form], {"o.npy": out, "s.npy": states})

    def test_state_space(self):
        files = self.problem()
        a, a_file = self.numbers("a.npy", (2, 5, 6), lambda: self.rng.uniform(-0.7, 0.7))
        b, b_file = self.numbers("b.npy", (2, 5, 6))
        c, c_file = self.numbers("c.npy", (2, 5, 6))
        d, d_file = self.numbers("d.npy", (2, 5))
        z, z_file = self.numbers("z.npy", (1, 2, 21, 5))
        state, state_file = self.numbers("i.npy", (1, 2, 5, 6))
        real = lambda v: lambda b, h, t, e, n: v[(h * 5 + e) * 6 + n]
        pair = lambda v: lambda b, h, t, e, n: complex(*v[(h * 5 + e) * 6 + 2 * n:][:2])
        for form in (["--recurrent"], ["--chunk", "8"]):
            for option, port in (([], real), (["--complex"], pair)):
                out, states = scan("ssm", self.x, a=port(a), b=port(b), c=port(c), skip=lambda h, e: d[h * 5 + e], state=state,
                                   z=Tensor((1, 2, 21, 5), z), states=6, complexes=bool(option))
                self.check([*files, "--op", "ssm", "--a", a_file, "--b", b_file, "--c", c_file, "--skip", d_file, "--z", z_file,
                            "--state-in", state_file, *option, *form], {"o.npy": out, "s.npy": states})

    def test_selective(self):
        files = self.problem((2, 1, 21, 5))
        a, a_file = self.numbers("a.npy", (1, 5, 4), lambda: -self.rng.uniform(0.1, 4))
        b, b_file = self.numbers("b.npy", (2, 1, 21, 4))
        c, c_file = self.numbers("c.npy", (2, 1, 21, 4))
        dt, dt_file = self.numbers("t.npy", (2, 1, 21, 5))
        port = lambda v: lambda b, h, t, e, n: v[(b * 21 + t) * 4 + n]
        out, states = scan("selective", self.x, a=lambda b, h, t, e, n: a[e * 4 + n], b=port(b), c=port(c), states=4,
                           dt=lambda b, h, t, e: math.log1p(math.exp(dt[(b * 21 + t) * 5 + e])))
        for form in (["--recurrent"], ["--chunk", "8"], ["--caps", "floor"]):
            self.check([*files, "--op", "selective", "--softplus", "--a", a_file, "--b", b_file, "--c", c_file, "--dt", dt_file, *form],
                       {"o.npy": out, "s.npy": states})

    def test_conv(self):
        files = self.problem()
        taps, taps_file = self.numbers("w.npy", (2, 5, 4))
        own, own_file = self.numbers("g.npy", (1, 2, 21, 20))
        bias, bias_file = self.numbers("b.npy", (2, 5))
        begin, begin_file = self.numbers("i.npy", (1, 2, 5, 3))
        fixed = lambda h, t, e, j: taps[(h * 5 + e) * 4 + j]
        for weight, w in ((taps_file, fixed), (own_file, lambda h, t, e, j: own[(h * 21 + t) * 20 + e * 4 + j])):
            out, states = [], []
            for h in range(2):
                lines = [begin[(h * 5 + e) * 3:][:3] + [self.x.row(0, h, t)[e] for t in range(21)] for e in range(5)]
                out += [silu(bias[h * 5 + e] + sum(w(h, t, e, j) * lines[e][t + j] for j in range(4))) for t in range(21) for e in range(5)]
                states += [x for line in lines for x in line[-3:]]
            self.check([*files, "--op", "conv", "--weight", weight, "--bias", bias_file, "--act", "silu", "--state-in", begin_file],
                       {"o.npy": out, "s.npy": states})
        out = [sum(fixed(h, t, e, j) * self.x.row(0, h, t + j - 1)[e] for j in range(4) if 0 <= t + j - 1 < 21)
               for h in range(2) for t in range(21) for e in range(5)]
        self.check([*files[:4], "--op", "conv", "--weight", taps_file, "--ahead", "2"], {"o.npy": out})

    def test_conv2d(self):
        x, x_file = self.numbers("x.npy", (2, 4, 5, 6))
        for last in (False, True):
            channels, height, width = (6, 4, 5) if last else (4, 5, 6)
            taps, taps_file = self.numbers("w.npy", (channels, 3, 5))
            at = (lambda b, c, i, j: x[((b * 4 + i) * 5 + j) * 6 + c]) if last else (lambda b, c, i, j: x[((b * 4 + c) * 5 + i) * 6 + j])
            place = lambda b, c, i, j: 1 / (1 + math.exp(-sum(
                taps[(c * 3 + k) * 5 + m] * at(b, c, i + k - 1, j + m - 2) for k in range(3) for m in range(5)
                if 0 <= i + k - 1 < height and 0 <= j + m - 2 < width)))
            out = [place(b, n, i, j) if last else place(b, i, j, n) for b in range(2) for i in range(4) for j in range(5) for n in range(6)]
            self.check(["--x", x_file, "--out", self.path("o.npy"), "--op", "conv2d", "--weight", taps_file, "--act", "sigmoid",
                        *(["--channels-last"] if last else [])], {"o.npy": out})

    def test_packed(self):
        files = self.problem((1, 2, 30, 4))
        cu = self.file("cu.npy", "<i4", (4,), [0, 11, 11, 30])
        out, states = scan("sum", self.x, spans=[(0, 11), (11, 11), (11, 30)])
        for form in (["--recurrent"], ["--chunk", "4"]):
            self.check([*files, "--op", "sum", "--cu-seqlens", cu, *form], {"o.npy": out, "s.npy": states})

    def test_types(self):
        files = self.problem()
        for name, rounding, tolerance in (("f16", f16, 2e-3), ("bf16", bf16, 2e-2)):
            out, _ = scan("sum", self.x.rounded(rounding))
            self.check([*files, "--op", "sum", "--dtype", name], {"o.npy": out}, tolerance)
            self.assertEqual(read_npy(self.path("o.npy"))[0], "<f2" if name == "f16" else "<f4")

    def test_json_and_explain(self):
        files = self.problem((1, 2, 40, 4))
        r = self.check([*files, "--op", "sum", "--chunk", "8", "--explain"], {})
        self.assertIn("a chain of 21 steps", r.stdout)
        j = json.loads(self.check([*files, "--op", "sum", "--chunk", "8", "--json", "--time", "3"], {}).stdout)
        self.assertEqual((j["explain"]["form"], j["explain"]["state_chain"], j["time"]["repeats"]), ("chunked", 21, 3))
        self.fails(REFUSED, "there may be 100", "run", "scan", *files, "--op", "sum", "--chunk", "8", "--workspace-limit", "100")
        self.fails(BAD_INPUT, "needs scores", "run", "scan", *files, "--op", "softmax")


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    tool_test.RAPT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
