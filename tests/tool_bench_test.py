#!/usr/bin/env python3
"""`rapt bench` as a black box.

    tests/tool_bench_test.py build/tools/rapt/rapt [unittest options]
"""
import csv
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

import tool_test
from tool_reference import Tensor
from tool_test import BAD_INPUT, FAILED, GOOD, NO_DEVICE, REFUSED, has_device, run

TINY = "B1H2D64N64f32,B1H1D64Q1N100f32"
BENCH = ("bench", "--gauges", "none", "--samples", "6")  # no device suite: the roofline alone

# Speaks as bench/peer_python.py does, with an attention of its own.
PYTHON_PEER = """
import math, struct, sys
kind, source, out = sys.argv[2], sys.stdin.buffer, sys.stdout.buffer
def say(data):
    out.write(data)
    out.flush()
say(f"ok fake {kind}\\n".encode())
while words := source.readline().decode().split():
    if words[0] == "prepare":
        d, n = int(words[5]), int(words[7])
        q, k, v = ([struct.unpack(f"{d}f", source.read(4 * d)) for _ in range(n)] for _ in range(3))
        o = []
        for row in q:
            w = [math.exp(sum(a * b for a, b in zip(row, key)) / math.sqrt(d)) for key in k]
            o += [sum(x * value[i] for x, value in zip(w, v)) / sum(w) for i in range(d)]
    if words[0] == "run" and kind == "aule":
        sys.exit(0)
    if words[0] == "read":
        o[0] += kind == "ncnn-cpu"
        say(f"ok {4 * len(o)}\\n".encode() + struct.pack(f"{len(o)}f", *o))
    else:
        say(b"ok\\n")
"""


def recorded(count, dtype, nq, nk, heads=2, d=32, causal=False, **more):
    """A line of a recording: BNHD in memory, as models have it."""

    def tensor(n):
        return {"dims": [1, heads, n, d], "strides": [n * heads * d, d, heads * d, 1]}

    problem = {"op": "attention", "count": count, "dtype": dtype, "causal": causal, "causal_offset": 0, "scale": 0.25,
               "q": tensor(nq), "k": tensor(nk), "v": tensor(nk), "out": tensor(nq), "lse": None,
               "sequences": 0, "max_seqlen_q": 0, "max_seqlen_k": 0}
    return json.dumps({**problem, **more}) + "\n"


def recorded_linear(count, dtype, n, heads=2, d=16, rule="none", flags=(), **more):
    """The same of linear attention; what is in `more` is by name, (dims) of float32 beside each other."""

    def tensor(*dims):
        strides = [1]
        for size in reversed(dims[1:]):
            strides.insert(0, strides[0] * size)
        return {"dims": list(dims), "strides": strides}

    one = tensor(1, heads, n, d)
    problem = {"op": "linear", "count": count, "dtype": dtype, "rule": rule, "feature": "identity", "feature_k": "identity",
               "feature_power": 0, "feature_scale": 1, "scale": 0.5, "flags": list(flags), "q": one, "k": one, "v": one, "out": one,
               "sequences": 0, "max_seqlen": 0}
    return json.dumps({**problem, **{k: tensor(*v) if isinstance(v, tuple) else v for k, v in more.items()}}) + "\n"


class WithoutDevice(tool_test.Case):
    def test_bad_input(self):
        good = self.write("good.jsonl", b'{"rapt_record":1}\n' + recorded(1, "f32", 4, 4).encode())
        self.fails(BAD_INPUT, "'fly'", "bench", "fly")
        self.fails(BAD_INPUT, "needs a file", "bench", "replay")
        self.fails(BAD_INPUT, "needs a file", "bench", "compare")
        self.fails(BAD_INPUT, "one word too many", "bench", "quick", "x")
        self.fails(BAD_INPUT, "no case's name contains 'nonsense'", "bench", "--filter", "nonsense")
        self.fails(BAD_INPUT, "no sweep's", "bench", "sweep", "--filter", "nonsense")
        self.fails(BAD_INPUT, "exclude each other", "bench", "--case", TINY, "--filter", "x")
        self.fails(BAD_INPUT, "--seconds", "bench", "sustained", "--seconds", "0")
        self.fails(BAD_INPUT, "--threshold", "bench", "--threshold", "-1")
        self.fails(BAD_INPUT, "no kernel row", "bench", "--kernel", "nonsense")
        self.fails(BAD_INPUT, "has no place", "bench", "replay", good, "--case", TINY)
        strange = self.path("strange.jsonl")
        Path(strange).write_text(Path(good).read_text().replace('"op"', '"colour": true, "op"'))
        self.fails(BAD_INPUT, '"colour" is not known', "bench", "replay", strange)

    def test_corrupt_files(self):
        for mode in (("bench", "compare"), ("bench", "replay"), ("bench", "--compare")):
            self.fails(BAD_INPUT, "/nonexistent/x: No such file", *mode, "/nonexistent/x")
            self.fails(BAD_INPUT, "", *mode, self.folder.name)
            for content in (b"", b"\0\0", b"{", b"[]", b"{}", b"x" * 70000, b'{"schema":"rapt-bench/1"}', b'{"rapt_record":1}\n{}'):
                path = self.write("corrupt", content)
                self.assertIn("corrupt", self.fails(BAD_INPUT, "", *mode, path))

    def test_outputs_are_tried_first(self):
        self.fails(BAD_INPUT, "/nonexistent/r.json: cannot be written", "bench", "--case", TINY, "--json", "/nonexistent/r.json")
        self.fails(BAD_INPUT, "folder", "bench", "--case", TINY, "--csv", self.folder.name)
        self.fails(BAD_INPUT, "/nonexistent/r.html", "bench", "--case", TINY, "--html", "/nonexistent/r.html")
        self.fails(BAD_INPUT, "two outputs", "bench", "--case", TINY, "--json", self.path("a"), "--csv", self.path("a"))
        self.assertEqual(os.listdir(self.folder.name), [])

    def test_lists(self):
        self.assertIn("B1H8D64N1024f32", run("bench", "full", "--list").stdout.split())
        path = self.write("r.jsonl", b'{"rapt_record":1}\n' + recorded(1, "f16", 7, 9).encode())
        self.assertEqual(run("bench", "replay", path, "--list").stdout.split(), ["1:B1H2D32Q7N9f16"])


class Bench(tool_test.Case):
    def setUp(self):
        if os.environ.get("RAPT_TEST_NO_BENCH"):
            self.skipTest("RAPT_TEST_NO_BENCH is set")
        super().setUp()
        if not has_device():
            self.skipTest("no Vulkan device")

    def result(self, *arguments, code=GOOD):
        """The JSON of a run, held against the schema where there is a program to do so."""
        path = self.path("result.json")
        r = run(*arguments, "--json", path)
        self.assertEqual(r.returncode, code, r.stdout + r.stderr)
        self.assertEqual(os.path.exists(path), True)
        result = json.loads(Path(path).read_text())
        try:
            import jsonschema
        except ImportError:
            return result, r
        schema = json.loads((Path(__file__).parents[1] / "bench" / "results.schema.json").read_text())
        jsonschema.Draft7Validator(schema).validate(result)
        return result, r

    def test_cases(self):
        table = self.path("result.csv")
        result, r = self.result(*BENCH, "--case", TINY, "--csv", table)
        self.assertTrue(all(len(line) <= 100 for line in r.stdout.splitlines() if not line.startswith("device:")), r.stdout)
        self.assertEqual((result["mode"], result["interrupted"]), ("quick", False))
        cases = result["devices"][0]["cases"]
        self.assertEqual([c["name"] for c in cases], TINY.split(","))
        self.assertEqual([c["group"] for c in cases], ["dense", "decode"])
        self.assertEqual(cases[0]["flops"], 4 * 64 * 2 * 64 * 64)
        self.assertEqual(cases[0]["bytes"], 4 * (4 * 2 * 64 * 64 + 2 * 64))  # q, k, v, out and the log-sum-exp
        for c in cases:
            self.assertLessEqual(c["proof"]["max_error"], c["proof"]["tolerance"])
            self.assertGreater(c["proof"]["rows"], 0)
            figure = c[c["clock"]]
            self.assertEqual((figure["count"], len(figure["samples"])), (6, 6))
            self.assertTrue(figure["min"] <= figure["low"] <= figure["median"] <= figure["high"] <= figure["max"])
            self.assertGreaterEqual(figure["coverage"], 0.95)
            self.assertAlmostEqual(c["flops_per_second"] * figure["median"] / c["flops"], 1)
            self.assertGreater(c["cold_seconds"], 0)
            self.assertGreater(c["memory_bytes"], c["bytes"])
        with open(table, newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([row["name"] for row in rows if row["kind"] == "case"], TINY.split(","))
        self.assertAlmostEqual(float(rows[-1]["wall.median"]), cases[-1]["wall"]["median"])
        self.assertEqual(sorted(os.listdir(self.folder.name)), ["result.csv", "result.json"])

    def test_page(self):
        page = self.path("page.html")
        r = run(*BENCH, "--case", "B1H2D64N64f32", "--html", page)
        self.assertEqual(r.returncode, GOOD, r.stdout + r.stderr)
        text = Path(page).read_text()
        self.assertIn("B1H2D64N64f32", text)
        self.assertIn("</html>", text)
        self.assertEqual(os.listdir(self.folder.name), ["page.html"])

    def test_peers(self):
        """They come with the build, or one line says that they did not; what is not installed is named."""
        path = self.path("peers.json")
        table = self.path("peers.csv")
        r = run("bench", "peers", "--case", "B1H2D64N64f32", "--samples", "6", "--json", path, "--csv", table)
        if r.returncode == BAD_INPUT:
            self.assertIn("no program 'peers'", r.stderr)
            self.skipTest("built without peers")
        if r.returncode == NO_DEVICE:
            self.skipTest("none that can be opened on this driver")
        self.assertEqual(r.returncode, GOOD, r.stdout + r.stderr)
        peers = json.loads(Path(path).read_text())["peers"]
        self.assertIn("rapt", peers["versions"]["rapt"])
        there = {result["backend"] for group in peers["results"]["groups"] for result in group["results"]}
        missing = {one["backend"] for one in peers["results"]["missing"]}
        self.assertEqual(there & missing, set())
        self.assertIn("ggml-cpu", there | missing)
        with open(table, newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual({row["backend"] for row in rows}, there)
        self.assertEqual({(row["kind"], row["case"]) for row in rows}, {("peer", "B1H2D64N64f32")})

    @unittest.skipIf(os.name == "nt", "peers in Python need POSIX pipes")
    def test_peers_in_python(self):
        """What stands for an interpreter with ncnn and aule: right, wrong, and ending in the midst of it."""
        python = self.path("python")
        Path(python).write_text(f"#!{sys.executable}\n{PYTHON_PEER}")
        os.chmod(python, 0o755)
        path = self.path("peers.json")
        r = run("bench", "peers", "--case", "B1H1D4N3f32", "--samples", "6", "--json", path, env={"RAPT_BENCH_PYTHON": python})
        if r.returncode in (BAD_INPUT, NO_DEVICE):
            self.skipTest("built without peers, or none that can be opened on this driver")
        self.assertEqual(r.returncode, FAILED, r.stdout + r.stderr)
        results = json.loads(Path(path).read_text())["peers"]["results"]
        found = {one["backend"]: one for group in results["groups"] for one in group["results"]}
        self.assertTrue(found["ncnn-vulkan"]["ok"], found["ncnn-vulkan"])
        self.assertEqual(found["ncnn-vulkan"]["peer"], "fake ncnn-vulkan")
        self.assertGreater(found["ncnn-vulkan"]["ms"]["median"], 0)
        self.assertFalse(found["ncnn-cpu"]["ok"])
        self.assertIn("wrong", found["ncnn-cpu"]["error"])
        self.assertIn("process has ended", found["aule"]["error"])

    def test_json_on_standard_output(self):
        r = run(*BENCH, "--case", "B1H2D64N64f32", "--json", "-")
        self.assertEqual(len(json.loads(r.stdout)["devices"][0]["cases"]), 1)
        self.assertIn("GFLOP/s", r.stderr)

    def test_devices(self):
        result, _ = self.result(*BENCH, "--case", "B1H2D64N64f32", "--device", "0,0", "--device", "0")
        self.assertEqual(len(result["devices"]), 1)
        self.assertEqual(run(*BENCH, "--case", "B1H2D64N64f32", "--device", "0,nonsense").returncode, NO_DEVICE)

    def test_gauges(self):
        result, r = self.result("bench", "--case", "B1H2D64N64f32", "--samples", "6", "--gauges", "fma-f32")
        device = result["devices"][0]
        self.assertTrue(all("fma-f32" in g["name"] for g in device["gauges"]) and device["gauges"])
        self.assertGreater(device["roofline"]["flops"]["f32"], 0)
        self.assertIn("roof", device["cases"][0])
        if device["device"]["type"] == "cpu":
            self.assertIn("fma", device["gauges"][0]["native"]["name"])
            self.assertIn(device["gauges"][0]["native"]["name"], r.stdout)

    def test_refused(self):
        result, r = self.result(*BENCH, "--case", "B1H2D64N64f32", "--kernel", "naive-f16", code=REFUSED)
        case = result["devices"][0]["cases"][0]
        self.assertEqual(case["status"], "refused")
        self.assertIn("does not store f32", case["message"])
        self.assertIn("does not store f32", r.stdout)
        result, r = self.result(*BENCH, "--case", "B1H8D64N1000000000f32", code=REFUSED)  # what no machine holds is not tried
        self.assertIn("GB of memory", result["devices"][0]["cases"][0]["message"])

    def test_compare(self):
        result, _ = self.result(*BENCH, "--case", TINY)
        old = self.path("old.json")
        for factor, code, verdict in ((1e-3, FAILED, "slower"), (1e3, GOOD, "faster")):  # nothing is that fast, or slow
            changed = json.loads(json.dumps(result))
            for c in changed["devices"][0]["cases"]:
                for clock in ("device", "wall"):
                    for name in ("median", "min", "max", "low", "high"):
                        if c[clock]:
                            c[clock][name] *= factor
            Path(old).write_text(json.dumps(changed))
            now, r = self.result("bench", "compare", old, *BENCH[1:], code=code)
            comparison = now["comparison"]
            self.assertEqual([c["verdict"] for c in comparison["cases"]], [verdict] * 2)
            self.assertAlmostEqual(comparison["threshold"], 0.1)
            self.assertIn(verdict, r.stdout)
        del changed["devices"][0]["cases"][0]
        Path(old).write_text(json.dumps(changed))
        now, r = self.result(*BENCH, "--case", TINY, "--compare", old)
        self.assertEqual([c["verdict"] for c in now["comparison"]["cases"]], ["new", "faster"])
        # A case that the spread of either run leaves open is no regression, however large the ratio.
        changed = json.loads(json.dumps(result))
        for c in changed["devices"][0]["cases"]:
            for clock in ("device", "wall"):
                if c[clock]:
                    c[clock].update(min=1e-9, low=1e-9, median=1e-9, high=1e3, max=1e3)
        Path(old).write_text(json.dumps(changed))
        now, _ = self.result("bench", "compare", old, *BENCH[1:])
        self.assertEqual([c["verdict"] for c in now["comparison"]["cases"]], ["same"] * 2)

    def test_replay(self):
        path = self.write("r.jsonl", ('{"rapt_record":1}\n' + recorded(5, "f32", 33, 33) + recorded(2, "f16", 40, 40, causal=True)
                                      + recorded(1, "f32", 50, 50, sequences=20, max_seqlen_q=9, max_seqlen_k=9)).encode())
        result, _ = self.result("bench", "replay", path, *BENCH[1:])
        device = result["devices"][0]
        cases = device["cases"]
        self.assertEqual([(c["status"], c["calls"]) for c in cases], [("ok", 5), ("ok", 2), ("ok", 1)])
        self.assertEqual((cases[2]["group"], cases[2]["shape"]["sequences"]), ("varlen", 20))
        total = sum(c["calls"] * c[c["clock"]]["median"] for c in cases)
        self.assertAlmostEqual(device["replay"]["seconds"] / total, 1)
        self.assertEqual((device["replay"]["calls"], device["replay"]["timed"]), (8, 3))

    def test_replay_of_modifiers(self):
        """What is recorded is what is replayed: the replay's own recording is the same, but for the counts. Cases at random, of
        vectors, links, pages, lengths, packed sequences and what rewrites q and k; and quantised pages."""

        def problems(path):
            lines = [json.loads(line) for line in Path(path).read_text().splitlines()[1:]]
            return sorted(json.dumps({**line, "count": 0}) for line in lines)

        q, k = (self.tensor(name, Tensor.random(random.Random(shape[2]), shape)) for name, shape in (("q.npy", (2, 2, 1, 32)), ("k.npy", (2, 1, 40, 32))))
        runs = [["check", "--random", "6", "--seed", seed] for seed in ("13", "20", "21", "22")]
        runs.append(["run", "decode", "--q", q, "--k", k, "--v", k, "--out", self.path("o.npy"),
                     "--page-size", "8", "--k-dtype", "int8", "--v-dtype", "int4"])
        first, again = self.path("first.jsonl"), self.path("again.jsonl")
        lines = []
        for words in runs:
            self.assertEqual(run(*words, env={"RAPT_RECORD": first}).returncode, GOOD)
            lines += [line for line in Path(first).read_text().splitlines()[1:] if "omitted" not in line]
        Path(first).write_text("\n".join(['{"rapt_record":1}', *lines]) + "\n")
        r = run("bench", "replay", first, *BENCH[1:], "--json", self.path("r.json"), env={"RAPT_RECORD": again})
        self.assertEqual(r.returncode, GOOD, r.stdout + r.stderr)
        cases = json.loads(Path(self.path("r.json")).read_text())["devices"][0]["cases"]
        self.assertEqual({c["status"] for c in cases}, {"ok"})
        self.assertTrue(cases[-1]["name"].endswith(":B2H2K1D32Q1N40f32p8-int8-int4"), cases[-1]["name"])
        self.assertGreater(len(lines), 15)
        self.assertEqual(problems(first), problems(again))

    def test_replay_of_linear_attention(self):
        path = self.write("r.jsonl", ('{"rapt_record":1}\n'
                                      + recorded_linear(4, "f32", 1, rule="delta", flags=["in_place"], beta=(1, 2, 1), state_out=(1, 2, 16, 16))
                                      + recorded_linear(2, "f16", 70, gate=(1, 2, 70, 16), state_in=(1, 2, 16, 16))
                                      + recorded_linear(1, "f32", 40, decay=(2,), sequences=3, max_seqlen=30)
                                      + recorded_linear(1, "f32", 40, decay=(3,))
                                      + recorded(1, "f32", 33, 33) + recorded_linear(1, "f32", 70000, heads=1, d=256)).encode())
        result, _ = self.result("bench", "replay", path, *BENCH[1:], code=BAD_INPUT)
        cases = result["devices"][0]["cases"]
        self.assertEqual([(c["name"], c["status"], c["system"]) for c in cases],
                         [("1:delta-B1H2D16N1f32", "ok", "linear attention"), ("2:linear-channel-B1H2D16N70f16", "ok", "linear attention"),
                          ("3:linear-fixed-B1H2D16N40f32s3", "ok", "linear attention"), ("4:linear-fixed-B1H2D16N40f32", "failed", "linear attention"),
                          ("5:B1H2D32N33f32", "ok", "attention"), ("6:linear-B1H1D256N70000f32", "refused", "linear attention")])
        self.assertIn("its proof would update 4.59e+09", cases[5]["message"])
        self.assertIn("decay: axis 0", cases[3]["message"])
        self.assertEqual(cases[0]["proof"]["rows"], 2 * 16)
        self.assertIn("state-", cases[1]["kernel"])

    def test_sustained(self):
        result, r = self.result("bench", "sustained", "--seconds", "3", "--case", "B1H2D64N64f32", "--gauges", "none")
        run_ = result["devices"][0]["sustained"][0]
        self.assertGreaterEqual(len(run_["points"]), 2)
        self.assertAlmostEqual(run_["slowdown"], run_["last"]["seconds"] / run_["first"]["seconds"])
        self.assertIn("the last tenth", r.stdout)
        self.assertIn("why_not", result["devices"][0]["sensors"])

    def test_sweep(self):
        result, _ = self.result("bench", "sweep", "--filter", "f16 decode", "--gauges", "none", "--samples", "1")
        (sweep,) = [s for s in result["devices"][0]["sweeps"] if s["series"]]
        points = sweep["series"][0]["points"]
        self.assertEqual((sweep["axis"], sweep["series"][0]["label"]), ("N", "f16 decode"))
        self.assertEqual([p["x"] for p in points], [p["case"]["shape"]["nk"] for p in points])
        self.assertGreater(len(points), 3)

    def test_systems(self):
        """Published systems by name: one of one step, one whose steps make a block mask, a small check."""
        result, r = self.result(*BENCH, "--case", "gla@100f32,s2-attention-dkernel@192f32,minGRU#1f16")
        gla, s2, gru = result["devices"][0]["cases"]
        self.assertEqual((gla["system"], gla["group"], gla["steps"]), ("GLA (Gated Linear Attention)", "linear", 1))
        self.assertIn("alpha=1,8,100,64", gla["problem"])
        self.assertGreater(gla["flops_per_second"], 0)
        blocks = sum(k == q or k == q - 1 for q in range(3) for k in range(3))  # 3 x 3 of 64 x 64: local=2 alone, without causal halves
        pairs = sum(k <= q and (q // 64 - k // 64 < 2) for q in range(192) for k in range(192))
        self.assertLessEqual(s2["flops"], 4 * 64 * 4 * blocks * 64 * 64)
        self.assertGreaterEqual(s2["flops"], 4 * 64 * 4 * pairs)
        self.assertEqual((gru["dtype"], gru["status"]), ("f16", "ok"))
        self.fails(BAD_INPUT, "as in gla@1024f32", "bench", "--case", "gla@f32")
        result, _ = self.result(*BENCH, "--case", "gla@100f32", "--kernel", "naive-f32", code=BAD_INPUT)
        self.assertIn("cannot be forced", result["devices"][0]["cases"][0]["message"])

    def test_interrupted(self):
        """Ctrl-C while cases are sampled, and while they are proven: what there is is written, whole."""
        if tool_test.WRAPPER or os.name == "nt":
            self.skipTest("the signal would not reach it")
        for delay in (0.1, 3, 6, 12, 24):
            path = self.path("result.json")
            command = [tool_test.RAPT, "bench", "--gauges", "none", "--case", TINY, "--samples", "1000", "--json", path]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            process.stdout.readline()  # the device's line: it has begun
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 130, out + err)
            self.assertIn("rapt: interrupted", err)
            result = json.loads(Path(path).read_text())
            self.assertTrue(result["interrupted"])
            self.assertTrue(all(c["status"] == "ok" for c in result["devices"][0]["cases"]))
            self.assertEqual(os.listdir(self.folder.name), ["result.json"])
            if len(result["devices"][0]["cases"]) == 2:  # it got as far as samples
                break
        self.assertEqual(len(result["devices"][0]["cases"]), 2, result)

    def test_peers_interrupted(self):
        """Ctrl-C as a terminal sends it, to the libraries' process too: the rounds that there were are written."""
        if tool_test.WRAPPER or os.name == "nt":
            self.skipTest("the signal would not reach it")
        self.fails(BAD_INPUT, "peers takes", "bench", "peers", "--gauges", "fma")
        path = self.path("peers.json")
        command = [tool_test.RAPT, "bench", "peers", "--case", "B1H2D64N64f32,B1H2D64N128f32", "--samples", "1000", "--json", path]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("round 3 of"):
                os.killpg(process.pid, signal.SIGINT)
                break
        else:
            process.communicate()
            self.assertTrue(any(t in "".join(lines) for t in ("no program", "opened")), lines)
            self.skipTest("".join(lines)[-300:])  # built without peers, or without any library
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        result = json.loads(Path(path).read_text())
        groups = result["peers"]["results"]["groups"]
        self.assertTrue(result["interrupted"])
        self.assertEqual(len(groups), 1)
        self.assertTrue(any(3 <= r.get("rounds", 0) < 1000 for r in groups[0]["results"]), groups)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    tool_test.RAPT = os.path.abspath(sys.argv.pop(1))
    unittest.main()
