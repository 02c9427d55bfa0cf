#!/usr/bin/env python3
"""`rapt run linear` as a black box, checked against the recurrence in plain Python.

    tests/tool_linear_test.py build/tools/rapt/rapt [unittest options]
"""
import json
import math
import os
import random
import shlex
import sys
import unittest
from pathlib import Path

import tool_test
from tool_reference import Tensor, bf16, f16, f32, read_npy
from tool_test import BAD_INPUT, FAILED, GOOD, REFUSED, run


def softmax(x):
    e = [math.exp(y - max(x)) for y in x]
    return [y / sum(e) for y in e]


FEATURES = {
    "identity": lambda x: x,
    "elu1": lambda x: [y + 1 if y > 0 else math.exp(y) for y in x],
    "relu": lambda x: [max(y, 0) for y in x],
    "relu2": lambda x: [max(y, 0) ** 2 for y in x],
    "exp": lambda x: [math.exp(y) for y in x],
    "softmax": softmax,
}


def recurrence(q, k, v, heads, decay=None, gate=None, beta=None, rule="none", a=None, b=None, feature="identity",
               normalize=False, scale=1.0, state=None, norm=None, spans=None):
    """Flat outputs (batch, heads, N, d_v), states and normalisers. decay(b, h, t) and beta(b, h, t) are functions; spans:
    the (first, last) tokens of each state, of packed sequences."""
    batch, _, n, d_k = q.shape
    d_v = v.shape[3]
    phi = FEATURES[feature]
    out, states, norms = [0.0] * (batch * heads * n * d_v), [], []
    for s in range(len(spans) if spans else batch):
        bb = 0 if spans else s
        for h in range(heads):
            row = lambda t, i: t.row(bb, h * t.shape[1] // heads, i)
            at = (s * heads + h) * d_k
            S = [[state[(at + i) * d_v + e] if state else 0.0 for e in range(d_v)] for i in range(d_k)]
            z = [norm[at + i] if norm else 0.0 for i in range(d_k)]
            for t in range(*(spans[s] if spans else (0, n))):
                qt, kt, vt = phi(row(q, t)), phi(row(k, t)), row(v, t)
                alpha = row(gate, t) if gate else [decay(bb, h, t) if decay else 1.0] * d_k
                scaled = [[alpha[i] * S[i][e] for e in range(d_v)] for i in range(d_k)]
                factor = beta(bb, h, t) if beta else 1.0
                if rule == "delta":
                    known = [sum(kt[i] * scaled[i][e] for i in range(d_k)) for e in range(d_v)]
                    S = [[scaled[i][e] - factor * kt[i] * known[e] + factor * kt[i] * vt[e] for e in range(d_v)] for i in range(d_k)]
                elif rule == "dplr":
                    read = [sum(row(a, t)[i] * S[i][e] for i in range(d_k)) for e in range(d_v)]
                    S = [[scaled[i][e] + row(b, t)[i] * read[e] + kt[i] * vt[e] for e in range(d_v)] for i in range(d_k)]
                else:
                    S = [[scaled[i][e] + factor * kt[i] * vt[e] for e in range(d_v)] for i in range(d_k)]
                z = [alpha[i] * z[i] + kt[i] for i in range(d_k)]
                divisor = scale * sum(qt[i] * z[i] for i in range(d_k)) if normalize else 1.0
                for e in range(d_v):
                    out[((bb * heads + h) * n + t) * d_v + e] = scale * sum(qt[i] * S[i][e] for i in range(d_k)) / divisor
            states += [x for r in S for x in r]
            norms += z
    return out, states, norms


class WithoutDevice(tool_test.Case):
    def setUp(self):
        super().setUp()
        rng = random.Random(1)
        self.good = []
        for name, shape in (("q", (1, 2, 5, 4)), ("k", (1, 2, 5, 4)), ("v", (1, 2, 5, 3))):
            self.good += [f"--{name}", self.tensor(f"{name}.npy", Tensor.random(rng, shape))]
        self.good += ["--out", self.path("o.npy")]

    def wrong(self, text, *arguments, code=BAD_INPUT):
        self.fails(code, text, "run", "linear", *self.good, *arguments)

    def array(self, name, shape, descr="<f4"):
        return self.file(name, descr, shape, [0] * math.prod(shape))

    def test_help(self):
        r = run("run", "linear", "--help")
        self.assertEqual(r.returncode, GOOD)
        for option in ("--decay", "--gate", "--log-gate", "--beta", "--rule", "--feature", "--normalize", "--scale", "--state-in",
                       "--state-out", "--states-at", "--states-out", "--norms-out", "--norm-in", "--norm-out", "--chunk", "--recurrent", "--cu-seqlens", "--a", "--b", "--out"):
            self.assertIn(option + " ", r.stdout + " ")

    def test_mistakes(self):
        gate, decay = self.array("g.npy", (1, 2, 5, 4)), self.array("d.npy", (2,))
        state, norm = self.array("s.npy", (1, 2, 4, 3)), self.array("n.npy", (1, 2, 4))
        self.fails(BAD_INPUT, "--out FILE is missing", "run", "linear", *self.good[:6])
        self.fails(BAD_INPUT, "--k FILE is missing", "run", "linear", *self.good[:2], *self.good[4:])
        self.fails(BAD_INPUT, "one word too many", "run", "linear", *self.good, "word")
        self.wrong("--rule 'gamma'", "--rule", "gamma")
        self.wrong("--feature 'sine'", "--feature", "sine")
        self.wrong("nowhere.glsl: No such file", "--feature", self.path("nowhere.glsl"))
        self.wrong("--feature-power '0.5'", "--feature", "focused", "--feature-power", "0.5")
        self.wrong("exclude each other", "--decay", decay, "--gate", gate)
        self.wrong("exclude each other", "--gate", gate, "--log-gate", gate)
        self.wrong("exclude each other", "--chunk", "16", "--recurrent")
        self.wrong("--chunk", "--chunk", "0")
        self.wrong("--scale", "--scale", "big")
        self.wrong("needs --norm-in", "--normalize", "--state-in", state)
        self.wrong("needs --normalize", "--norm-in", norm)
        self.wrong("needs --normalize", "--norm-out", self.path("z.npy"))
        self.wrong("same file", "--state-out", self.path("o.npy"))
        self.wrong("float32 is needed", "--state-in", self.array("h.npy", (1, 2, 4, 3), "<f2"))
        self.wrong("float32 or float16 is needed", "--gate", self.array("i.npy", (1, 2, 5, 4), "<i4"))
        self.wrong("int32 is needed", "--cu-seqlens", decay)
        for values, text in (([0, 4], "ends at 4"), ([0, 6, 5], "below"), ([1, 5], "begins with 0")):
            self.wrong(text, "--cu-seqlens", self.file("c.npy", "<i4", (len(values),), values))
        self.wrong("no kernel row is named", "--kernel", "nonsense")

    def test_check(self):
        self.fails(BAD_INPUT, "no case's name contains 'nonsense'", "check", "linear", "--filter", "nonsense")
        self.fails(BAD_INPUT, "no kernel row is named", "check", "linear", "--kernel", "nonsense")
        self.fails(BAD_INPUT, "--repeat", "check", "linear", "--repeat", "-1")
        self.fails(BAD_INPUT, "exclude each other", "check", "linear", "--chosen", "--kernel", "state-none-f32")
        quick, full = (run("check", "linear", "--list", *o).stdout.split() for o in ([], ["--full"]))
        self.assertTrue(set(quick) < set(full) and "gated-delta" in quick)


class WithDevice(tool_test.Case):
    def test_check(self):
        r = run("check", "linear", "--chosen", "--filter", "plain-steps-f32", "--caps", "floor", "--repeat", "2", "--json")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        summary = json.loads(r.stdout)
        self.assertEqual((summary["runs"], summary["failed"], summary["failures"]), (1, 0, []))
        self.assertEqual(summary["kernels"][0]["caps"], "floor")
        self.assertTrue(0 < summary["kernels"][0]["worst_error_to_tolerance"] <= 1)
        r = run("check", "linear", "--kernel", "state-none-f32", "--filter", "one-token")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        self.assertRegex(r.stdout, r"state-none-f32 +1 +0 +2 ")

    def test_check_report(self):
        row, env = self.broken("state-none-f32")
        report = self.path("report.md")
        r = run("check", "linear", "--kernel", "state-none-f32", "--filter", "one-token", "--no-probe", "--report", report, "--json", env=env)
        self.assertEqual(r.returncode, FAILED, r.stdout + r.stderr)
        (failure,) = json.loads(r.stdout)["failures"]
        self.assertIn("f32, batch", failure["shape"])
        text = Path(report).read_text()
        for part in ("# rapt check linear: 1 of 1 runs failed", "### 1. state-none-f32, ", "- shape: " + failure["shape"], row["hash"],
                     "    " + failure["command"], "| state-none-f32 |  | 0 | 1 | "):  # fmt: skip
            self.assertIn(part, text)
        again = shlex.split(failure["command"])
        self.assertEqual(run(*again[1:], env=env).returncode, FAILED)
        self.assertEqual(run(*again[1:], env={"RAPT_CACHE_DIR": ""}).returncode, GOOD)
        self.fails(BAD_INPUT, "/nonexistent/r.md", "check", "linear", "--report", "/nonexistent/r.md")

    def check(self, arguments, want, tolerance=2e-5, out="o.npy"):
        r = run("run", "linear", *arguments)
        self.assertEqual(r.returncode, GOOD, r.stderr)
        for name, expected in want.items():
            _, shape, got = read_npy(self.path(name))
            self.assertEqual(len(got), len(expected))
            size = max(1.0, max(map(abs, expected)))
            worst = max(abs(x - y) for x, y in zip(got, expected))
            self.assertLessEqual(worst, tolerance * size, f"{name} of {arguments}")
        return r

    @classmethod
    def setUpClass(cls):
        if not tool_test.has_device():
            raise unittest.SkipTest("no Vulkan device")

    def setUp(self):
        super().setUp()
        self.rng = random.Random(7)

    def numbers(self, name, shape, make=None):
        t = Tensor(shape, [f32(make() if make else self.rng.gauss(0, 1)) for _ in range(math.prod(shape))])
        return t, self.tensor(name, t)

    def problem(self, batch=1, heads=2, n=21, d_k=5, d_v=6, key=1.0):
        self.q, q = self.numbers("q.npy", (batch, heads, n, d_k))
        self.k, k = self.numbers("k.npy", (batch, heads, n, d_k), lambda: self.rng.gauss(0, 1) * key)
        self.v, v = self.numbers("v.npy", (batch, heads, n, d_v))
        return ["--q", q, "--k", k, "--v", v, "--out", self.path("o.npy")]

    def test_decays(self):
        files = self.problem()
        _, head = self.numbers("head.npy", (2,), self.rng.random)
        token, token_file = self.numbers("token.npy", (1, 2, 21), self.rng.random)
        gate, gate_file = self.numbers("gate.npy", (1, 2, 21, 5), self.rng.random)
        log = Tensor(gate.shape, [f32(math.log(x)) for x in gate.values])
        log_file = self.tensor("log.npy", log)
        exact = Tensor(gate.shape, [math.exp(x) for x in log.values])
        _, _, heads = read_npy(head)
        cases = [([], {}), (["--decay", head], {"decay": lambda b, h, t: heads[h]}),
                 (["--decay", token_file], {"decay": lambda b, h, t: token.values[h * 21 + t]}),
                 (["--gate", gate_file], {"gate": gate}), (["--log-gate", log_file], {"gate": exact})]
        for form in ([], ["--recurrent"], ["--chunk", "8"], ["--chunk", "7", "--scale", "-0.5"]):
            for options, meaning in cases:
                out, states, _ = recurrence(self.q, self.k, self.v, 2, scale=-0.5 if "--scale" in form else 1.0, **meaning)
                self.check([*files, *options, *form, "--state-out", self.path("s.npy")], {"o.npy": out, "s.npy": states})

    def test_rules(self):
        files = self.problem(key=0.4)
        _, beta = self.numbers("beta.npy", (1, 2, 21), self.rng.random)
        gate, gate_file = self.numbers("gate.npy", (1, 2, 21, 5), self.rng.random)
        a, a_file = self.numbers("a.npy", (1, 2, 21, 5), lambda: self.rng.gauss(0, 0.3))
        b, b_file = self.numbers("b.npy", (1, 2, 21, 5), lambda: self.rng.gauss(0, 0.3))
        _, _, values = read_npy(beta)
        betas = lambda b, h, t: values[h * 21 + t]
        for form in (["--recurrent"], ["--chunk", "8"]):
            for options, meaning in ((["--beta", beta], {"beta": betas}), (["--rule", "delta"], {"rule": "delta"}),
                                     (["--rule", "delta", "--beta", beta, "--gate", gate_file], {"rule": "delta", "beta": betas, "gate": gate}),
                                     (["--rule", "dplr", "--a", a_file, "--b", b_file, "--gate", gate_file],
                                      {"rule": "dplr", "a": a, "b": b, "gate": gate})):
                self.check([*files, *options, *form], {"o.npy": recurrence(self.q, self.k, self.v, 2, **meaning)[0]})
        self.fails(BAD_INPUT, "needs a and b", "run", "linear", *files, "--rule", "dplr")
        self.fails(BAD_INPUT, "beta does not go", "run", "linear", *files, "--rule", "dplr", "--a", a_file, "--b", b_file, "--beta", beta)
        self.fails(BAD_INPUT, "rule none", "run", "linear", *files, "--rule", "delta", "--normalize")

    def test_maps(self):
        """Maps by the weights that they stand for: out_t = sum over j <= t of w(q_t, k_j) v_j, or over all j."""
        files = self.problem(n=12, d_k=6, key=0.5)
        dot = lambda a, b: sum(x * y for x, y in zip(a, b))
        length = lambda a: math.sqrt(dot(a, a))
        taylor = lambda s: 1 + s + s * s / 2

        def focused(x, p=3):
            y = [max(e, 0) for e in x]
            z = [e ** p for e in y]
            return [e * length(y) / length(z) for e in z]

        def standard(x):
            mean = sum(x) / len(x)
            deviation = math.sqrt(sum((e - mean) ** 2 for e in x) / len(x))
            return [(e - mean) / deviation for e in x]

        text = self.path("map.glsl")
        with open(text, "w") as f:
            f.write("float feature_map(float x)\n{\n    return log(1.0 + exp(x));\n}\n")
        soft = lambda x: [math.log(1 + math.exp(e)) for e in x]
        cases = [("taylor2", ["--feature-scale", "0.5"], lambda q, k: taylor(0.5 * dot(q, k))),
                 ("poly", ["--standardize"], lambda q, k: taylor(dot(standard(q), standard(k)))),
                 ("poly", ["--feature-power", "1"], lambda q, k: 1 + dot(q, k)),
                 ("focused", [], lambda q, k: dot(focused(q), focused(k))),
                 ("focused", ["--feature-power", "2"], lambda q, k: dot(focused(q, 2), focused(k, 2))),
                 ("lognormal", [], lambda q, k: sum(math.exp(x + y) for x, y in zip(q, k))),
                 ("cosine", [], lambda q, k: dot(q, k) / length(q) / length(k)),
                 ("exp", ["--feature-k", "relu"], lambda q, k: sum(math.exp(x) * max(y, 0) for x, y in zip(q, k))),
                 (text, [], lambda q, k: dot(soft(q), soft(k)))]
        for feature, options, weight in cases:
            for both in (False, True):
                for normalize in (False, True):
                    if normalize and (feature == "cosine" or "1" in options):
                        continue  # normalisers near 0
                    if both and (normalize or feature not in ("taylor2", "exp")):
                        continue  # tests/linear_map_test.c has more
                    want = []
                    for h in range(2):
                        for t in range(12):
                            seen = range(12) if both else range(t + 1)
                            w = [weight(self.q.row(0, h, t), self.k.row(0, h, j)) for j in seen]
                            norm = sum(w) if normalize else 1
                            want += [sum(x * self.v.row(0, h, j)[e] for x, j in zip(w, seen)) / norm for e in range(6)]
                    self.check([*files, "--feature", feature, *options, *(["--bidirectional"] if both else []),
                                *(["--normalize"] if normalize else [])], {"o.npy": want}, tolerance=1e-4)
        self.fails(BAD_INPUT, "exclude each other", "run", "linear", *files, "--bidirectional", "--normalize", "--normalize-keys")
        with open(text, "w") as f:
            f.write("float feature_map(float x)\n{\n    while (true) {}\n    return q_words[0];\n}\n")
        self.fails(BAD_INPUT, "feature_map:", "run", "linear", *files, "--feature", text)

    def test_features_and_states(self):
        files = self.problem(batch=2, heads=1, n=9)
        state, state_file = self.numbers("si.npy", (2, 1, 5, 6))
        norm, norm_file = self.numbers("ni.npy", (2, 1, 5), lambda: 0.5 + self.rng.random())
        for feature in FEATURES:
            for normalize in (False, True):
                if normalize and feature in ("identity", "relu", "relu2"):
                    continue  # normalisers near 0
                out, states, norms = recurrence(self.q, self.k, self.v, 1, feature=feature, normalize=normalize, state=state.values,
                                                norm=norm.values if normalize else None)
                options = ["--feature", feature, "--state-in", state_file, "--state-out", self.path("s.npy")]
                want = {"o.npy": out, "s.npy": states}
                if normalize:
                    options += ["--normalize", "--norm-in", norm_file, "--norm-out", self.path("n.npy")]
                    want["n.npy"] = norms
                for form in ([], ["--chunk", "4"]):
                    self.check([*files, *options, *form], want)

    def test_states_within(self):
        files = self.problem(n=21)
        at = [0, 3, 16]
        options = [*files, "--feature", "elu1", "--normalize", "--states-at", self.file("at.npy", "<i4", (3,), at), "--states-out",
                   self.path("ss.npy"), "--norms-out", self.path("zs.npy"), "--state-out", self.path("s.npy"), "--norm-out", self.path("n.npy")]
        out, states, norms = recurrence(self.q, self.k, self.v, 2, feature="elu1", normalize=True)
        within = [recurrence(self.q, self.k, self.v, 2, feature="elu1", normalize=True, spans=[(0, p)])[1:] for p in at]
        heads = lambda which, size: [x for h in range(2) for w in within for x in w[which][h * size:(h + 1) * size]]
        for form in (["--recurrent"], ["--chunk", "8"]):
            self.check([*options, *form], {"o.npy": out, "s.npy": states, "n.npy": norms, "ss.npy": heads(0, 30), "zs.npy": heads(1, 5)})
            self.assertEqual(read_npy(self.path("ss.npy"))[1], (1, 2, 3, 5, 6))
            self.assertEqual(read_npy(self.path("n.npy"))[1], (1, 2, 5))
        bad = lambda values: ["--states-at", self.file("at.npy", "<i4", (len(values),), values), "--states-out", self.path("ss.npy")]
        self.fails(BAD_INPUT, "must rise", "run", "linear", *files, *bad([3, 3]))
        self.fails(BAD_INPUT, "up to 21", "run", "linear", *files, *bad([22]))
        self.fails(BAD_INPUT, "entry 0 is -1", "run", "linear", *files, *bad([-1]))
        self.fails(BAD_INPUT, "needs --states-out", "run", "linear", *files, *bad([3])[:2])
        self.fails(BAD_INPUT, "need --states-at", "run", "linear", *files, "--states-out", self.path("ss.npy"))
        self.fails(BAD_INPUT, "BIDIRECTIONAL", "run", "linear", *files, *bad([3]), "--bidirectional")

    def test_packed_and_shared_heads(self):
        self.q, q = self.numbers("q.npy", (1, 2, 30, 4))
        self.k, k = self.numbers("k.npy", (1, 1, 30, 4))
        self.v, v = self.numbers("v.npy", (1, 4, 30, 3))
        cu = self.file("cu.npy", "<i4", (4,), [0, 11, 11, 30])
        files = ["--q", q, "--k", k, "--v", v, "--out", self.path("o.npy"), "--cu-seqlens", cu, "--state-out", self.path("s.npy")]
        out, states, _ = recurrence(self.q, self.k, self.v, 4, spans=[(0, 11), (11, 11), (11, 30)])
        for form in (["--recurrent"], ["--chunk", "4"]):
            self.check([*files, *form], {"o.npy": out, "s.npy": states})

    def test_types(self):
        files = self.problem(n=12)
        for name, rounding, tolerance in (("f16", f16, 2e-3), ("bf16", bf16, 2e-2)):
            out = recurrence(self.q.rounded(rounding), self.k.rounded(rounding), self.v.rounded(rounding), 2)[0]
            self.check([*files, "--dtype", name], {"o.npy": out}, tolerance)
            self.assertEqual(read_npy(self.path("o.npy"))[0], "<f2" if name == "f16" else "<f4")

    def test_json_and_explain(self):
        files = self.problem(n=40)
        r = self.check([*files, "--chunk", "8", "--explain"], {})
        self.assertIn("a chain of 5 steps", r.stdout)
        r = self.check([*files, "--recurrent", "--explain"], {})
        self.assertIn("a chain of 40 steps", r.stdout)
        j = json.loads(self.check([*files, "--chunk", "8", "--json", "--time", "3"], {}).stdout)
        self.assertEqual(j["explain"]["form"], "chunked")
        self.assertEqual(j["explain"]["state_chain"], 5)
        self.assertEqual(j["time"]["repeats"], 3)
        self.fails(REFUSED, "the limit is 100", "run", "linear", *files, "--chunk", "8", "--workspace-limit", "100")

    def test_explain_and_tune_by_shape(self):
        r = run("explain", "linear", "--shape", "1,2,100,16", "--decay", "fixed", "--chunk", "10")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        self.assertIn("a chain of 10 steps", r.stdout)
        j = json.loads(run("explain", "linear", "--shape", "1,2,100,16,24", "--rule", "delta", "--beta", "--json").stdout)
        self.assertEqual((j["problem"]["rule"], j["problem"]["d_v"], j["problem"]["beta"]), ("delta", 24, True))
        r = run("explain", "linear", "--shape", "1,2,100,16", "--no-device")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        r = run("tune", "linear", "--shape", "1,2,17,16", "--decay", "token", "--seconds", "0.05", "--dry-run", "--json", "-")
        self.assertEqual(r.returncode, GOOD, r.stderr)
        problem = json.loads(r.stdout)["problems"][0]
        self.assertEqual(problem["problem"], "linear f32, rule none, decay per token, heads 2, tokens 17, d_k 16, d_v 16")
        self.assertIn(problem["chunk"], {c["chunk"] for c in problem["candidates"] if c["winner"]})
        self.assertLess({0, 16}, {c["chunk"] for c in problem["candidates"]} | {-1})
        for words, options in [("--shape B,H,N,DK[,DV]", []), ("four or five", ["--shape", "1,2,3"]),
                               ("--decay 'x'", ["--shape", "1,1,1,1", "--decay", "x"]),
                               ("--log-decay needs", ["--shape", "1,1,1,1", "--log-decay"]),
                               ("--rule 'x'", ["--shape", "1,1,1,1", "--rule", "x"]),
                               ("empty", ["--shape", "1,1,0,4"])]:
            self.fails(BAD_INPUT, words, "tune", "linear", *options)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    tool_test.RAPT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
