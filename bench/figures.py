#!/usr/bin/env python3
"""Measure the figures that the README states, and print them as its table.

Each line is a claim: what is compared, the bound, what this machine gives (median and 95 % interval of interleaved
rounds in one process), and whether it holds. Programs used: bench/peers, bench/overhead, bench/schedule, bench/distributed in
the build folder.

    bench/figures.py --build build                          what needs no peer
    bench/figures.py --build build --ggml FOLDER            beside ggml's libraries (see bench/README.md)
    bench/figures.py --build build --run "tools/lab/run-on lvp" --ggml FOLDER --only prefill,decode
    bench/figures.py --build build --only scheduler --drivers LVP_ICD.json:SWIFTSHADER_ICD.json

Nothing else should run meanwhile: lines whose rounds lost more than 5 % of the CPUs to others are marked.
Exit status: 0 all hold, 1 some do not, 2 bad input.
"""
import argparse
import json
import math
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

VULKAN, SLEEP, CPU = "ggml-vulkan", "ggml-vulkan-sleep", "ggml-cpu"


class Bench:
    def __init__(self, args):
        self.args = args
        self.rows = []
        self.log = []

    def environment(self, extra=None):
        env = dict(os.environ)
        if self.args.ggml:
            env["RAPT_BENCH_GGML"] = str(self.args.ggml)
        env.update(extra or {})
        return env

    def peers(self, cases, backends, together=False, extra=None):
        """The JSON of one run of bench/peers, or None with a line in the log."""
        command = [*self.args.run, str(self.args.build / "bench" / "peers"), "--json", "--case", ",".join(cases),
                   "--backend", ",".join(backends), "--repeat", str(self.args.repeat),
                   "--patience", str(self.args.patience)]
        if together:
            command.append("--together")
        if self.args.device:
            command += ["--device", self.args.device]
        print("figures: " + " ".join(cases) + ": " + ", ".join(backends), file=sys.stderr)
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment(extra))
        if done.returncode != 0:
            self.log.append(f"{shlex.join(command)}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError:
            return None

    def claim(self, what, bound, op, value, interval=None, unit="x", note=""):
        holds = None if value is None else (value >= bound if op == ">=" else value <= bound)
        self.rows.append({"what": what, "bound": bound, "op": op, "value": value, "interval": interval, "unit": unit,
                          "holds": holds, "note": note})


def result(data, case, backend):
    for group in (data or {}).get("groups", []):
        for r in group["results"]:
            if r["case"] == case and r["backend"] == backend and r["ok"]:
                return r, group
    return None, None


def paired_ratio(data, case, numerator, denominator, case2=None):
    """Median of numerator time / denominator time, round by round, with its interval from order statistics."""
    a, group = result(data, case, numerator)
    b, _ = result(data, case2 or case, denominator)
    if not a or not b:
        return None, None, ""
    ratios = sorted(x / y for x, y in zip(a["samples_ms"], b["samples_ms"]))
    n = len(ratios)
    rank = 0  # the widest symmetric pair of ranks that still covers 95 %
    total, cumulative = 2 ** n, 0
    for k in range(n // 2):
        cumulative += math.comb(n, k)
        if 1 - 2 * cumulative / total < 0.95:
            break
        rank = k
    note = disturbed(group)
    return statistics.median(ratios), (ratios[rank], ratios[n - 1 - rank]), note


def disturbed(group):
    share = group.get("others_cpu_share", 0) if group else 0
    return f"others took {share:.0%} of the CPUs" if share and share > 0.05 else ""


def share_of(data, case, key):
    r, group = result(data, case, "rapt")
    if not r or key not in r:
        return None, None, ""
    note = disturbed(group)
    if key == "of_fma" and not group["native"].get("reference_valid", True):
        note = "the AVX2 loop does not count here"
    return r[key]["median"], (r[key]["low"], r[key]["high"]), note


def prefill(bench):
    for head_dim, share, cpu, ratios in ((64, 0.38, 0.45, True), (128, 0.28, 0.27, False)):
        for tokens in (1024, 2048):
            for dtype in ("f32", "f16"):
                case = f"B1H8D{head_dim}N{tokens}{dtype}"
                backends = ["rapt"]
                # The machine's peak beside rapt alone: peers' thread pools spin on for a while after their work.
                data = bench.peers([case], backends)
                value, interval, note = share_of(data, case, "of_fma")
                bench.claim(f"{case}: share of the AVX2 FMA peak", share, ">=", value, interval, "%", note)
                long_case = head_dim == 128 and (dtype == "f32" or tokens == 2048)
                if bench.args.ggml:
                    backends += [CPU]
                    if not long_case and (head_dim == 64 or bench.args.long):
                        backends += [VULKAN, SLEEP]
                if not bench.args.ggml:
                    continue
                data = bench.peers([case], backends)
                value, interval, note = paired_ratio(data, case, CPU, "rapt")
                bench.claim(f"{case}: speed beside ggml's CPU kernel", cpu, ">=", value, interval, "x", note)
                if VULKAN in backends:
                    bound = 20 if head_dim == 128 else 15 if case == "B1H8D64N1024f32" else 11
                    value, interval, note = paired_ratio(data, case, VULKAN, "rapt")
                    bench.claim(f"{case}: speed beside ggml-vulkan", bound, ">=", value, interval, "x", note)
                    if head_dim == 64:
                        value, interval, note = paired_ratio(data, case, SLEEP, "rapt")
                        bench.claim(f"{case}: the same without its fence spin", 7, ">=", value, interval, "x", note)


def shape(bench):
    data = bench.peers(["B1H8D64N2048f32c", "B1H8D64N2048f32"], ["rapt"], together=True)
    value, interval, note = paired_ratio(data, "B1H8D64N2048f32c", "rapt", "rapt", "B1H8D64N2048f32")
    bench.claim("causal at N 2048: time beside full", 0.56, "<=", value, interval, "x", note)
    data = bench.peers(["B1H8K2D64N1024f32", "B1H8D64N1024f32"], ["rapt"], together=True)
    value, interval, note = paired_ratio(data, "B1H8K2D64N1024f32", "rapt", "rapt", "B1H8D64N1024f32")
    # "No more than": equal work cannot be told apart more finely than the rounds' own interval.
    holds = value is not None and (value <= 1.0 or interval[0] <= 1.0)
    bench.claim("GQA 8:2 at N 1024: time beside MHA", 1.0, "<=", value, interval, "x", note)
    bench.rows[-1]["holds"] = None if value is None else holds


def decode(bench):
    for tokens in (4096, 16384):
        for dtype, share in (("f32", 0.30), ("f16", 0.20)):
            case = f"B1H32K8D128Q1N{tokens}{dtype}"
            backends = ["rapt"] + ([VULKAN, SLEEP] if bench.args.ggml and (dtype == "f16" or bench.args.long) else [])
            data = bench.peers([case], backends)
            value, interval, note = share_of(data, case, "of_memory_read")
            bench.claim(f"{case}: KV bytes/s, share of the memory read rate", share, ">=", value, interval, "%", note)
            if VULKAN in backends:
                value, interval, note = paired_ratio(data, case, VULKAN, "rapt")
                bench.claim(f"{case}: speed beside ggml-vulkan", 8, ">=", value, interval, "x", note)


def rungs(bench):
    """Rows meant for other devices, forced on this one, beside the naive kernel."""
    case = "B1H8D64N512f32"
    for kernel, bound in ((bench.args.tile, 2.0), (bench.args.subgroup, 1.5)):
        data = bench.peers([case], ["rapt", "rapt-naive"], extra={"RAPT_BENCH_KERNEL": kernel})
        value, interval, note = paired_ratio(data, case, "rapt-naive", "rapt")
        bench.claim(f"{case}: {kernel} beside the naive kernel", bound, ">=", value, interval, "x", note)


def overhead(bench):
    program = str(bench.args.build / "bench" / "overhead")

    def first(env, runs):
        times = []
        for _ in range(runs):
            begin = time.monotonic()
            done = subprocess.run([*bench.args.run, program, "first"], capture_output=True, text=True,
                                  env=bench.environment(env))
            if done.returncode != 0:
                bench.log.append(f"overhead first: {done.stderr.strip()}")
                return None, None
            times.append(time.monotonic() - begin)
        return statistics.median(times), (min(times), max(times))

    value, interval = first({"MESA_SHADER_CACHE_DISABLE": "true", "RAPT_CACHE_DIR": ""}, 5)
    bench.claim("process start to first correct result, no caches", 1.0, "<=", value, interval, "s")
    with tempfile.TemporaryDirectory() as tmp:
        env = {"RAPT_CACHE_DIR": tmp + "/rapt", "MESA_SHADER_CACHE_DIR": tmp + "/mesa"}
        env["MESA_SHADER_CACHE_DISABLE"] = "false"
        first(env, 2)
        value, interval = first(env, 9)
    bench.claim("process start to first correct result, with caches", 0.1, "<=", value, interval, "s")
    done = subprocess.run([*bench.args.run, program, "record"], capture_output=True, text=True,
                          env=bench.environment())
    words = done.stdout.split()
    value = float(words[2]) if done.returncode == 0 else None
    bench.claim("CPU time of recording a planned attention", 10, "<=", value, None, "us")


def schedule(bench, part, *options, env=None):
    """The figures of one run of bench/schedule, by name: (median, low, high); and what else took the CPUs."""
    command = [*bench.args.run, str(bench.args.build / "bench" / "schedule"), part, "--json", *options]
    print("figures: " + shlex.join(command), file=sys.stderr)
    done = subprocess.run(command, capture_output=True, text=True, env=bench.environment(env))
    if done.returncode != 0:
        bench.log.append(f"{shlex.join(command)}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
        return {}, ""
    data = json.loads(done.stdout)
    return data["figures"], disturbed(data)


def scheduler(bench):
    """Several devices, time slices, ranks: what the scheduler is held to."""
    one_thread = {"LP_NUM_THREADS": "1"}
    device = ["--devices", bench.args.device] if bench.args.device else []

    def claim(what, bound, op, figures, name, note, unit="x"):
        value = figures.get(name)
        bench.claim(what, bound, op, value and value[0], value and value[1:], unit, note)

    figures, note = schedule(bench, "vendors", *(["--devices", bench.args.pair] if bench.args.pair else []),
                             env={"VK_DRIVER_FILES": bench.args.drivers, "VK_ICD_FILENAMES": bench.args.drivers} if bench.args.drivers else None)
    claim("two vendors at one attention: time beside the best static split", 1.1, "<=", figures, "beside_best", note)
    if figures:
        off = abs(figures["share"][0] - figures["best_share"][0])
        bench.claim("the same: share of the slower one, off the best split's", 0.1, "<=", off, None, "%", note)
    claim("the same: time beside the faster device alone", 1.03, "<=", figures, "beside_faster", note)
    figures, note = schedule(bench, "twins", *device, env=one_thread)
    claim("one device twice, a thread each: speed beside one alone", 1.6, ">=", figures, "speedup", note)
    figures, note = schedule(bench, "slow", *device, env=one_thread)
    claim("the same, one made half as fast: speed beside the sum of both", 0.9, ">=", figures, "of_sum", note)
    figures, note = schedule(bench, "slices", *device)
    claim("slices of 50 ms: time beside uncut", 1.03, "<=", figures, "cost", note)
    figures, note = schedule(bench, "latency", *device)
    value = figures.get("latency")
    bench.claim("small work beside a prefill of 65,536 tokens: the longest of all, in slices", 3, "<=", value and value[2], value and value[1:], "slices", note)
    ranks(bench)


def ranks(bench):
    """What four ranks send, beside the formulas."""
    def distributed(tokens):
        with tempfile.TemporaryDirectory() as tmp:
            path = pathlib.Path(tmp) / "ranks.json"
            # The launchers of both MPIs: Open MPI's wants leave to be root, and to have more ranks than cores.
            env = {"LP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1"}
            command = ["mpirun", "-n", "4", *bench.args.run, str(bench.args.build / "bench" / "distributed"), "--tokens", str(tokens), "--runs", "1",
                       "--json", str(path)]
            print("figures: " + shlex.join(command), file=sys.stderr)
            try:
                done = subprocess.run(command, capture_output=True, text=True, env=bench.environment(env))
            except OSError as error:
                bench.log.append(f"{command[0]}: {error.strerror}")
                return {}
            if done.returncode != 0:
                bench.log.append(f"{shlex.join(command)}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
                return {}
            return {case["method"]: case for case in json.loads(path.read_text())["cases"] if case["right"]}

    short, long = distributed(1024), distributed(2048)
    for name in ("ring", "zigzag"):
        case = long.get(name)
        bench.claim(f"{name} over 4 ranks: bytes sent beside its formula", 1, "<=", case and case["sent_bytes"] / case["formula_bytes"])
    both = "lasp2" in short and "lasp2" in long
    bench.claim("LASP-2 over 4 ranks: bytes sent at twice the tokens", 1, "<=", long["lasp2"]["sent_bytes"] / short["lasp2"]["sent_bytes"] if both else None)


def show(row):
    if row["value"] is None:
        return "not measured"
    scale = 100 if row["unit"] == "%" else 1
    text = f"{row['value'] * scale:.3g}{' ' if row['unit'] not in 'x' else ''}{row['unit']}"
    if row["interval"]:
        text += f" [{row['interval'][0] * scale:.3g}, {row['interval'][1] * scale:.3g}]"
    return text


def table(rows):
    lines = ["| figure | bound | measured | holds |", "|---|---|---|---|"]
    for r in rows:
        bound = f"{'at least' if r['op'] == '>=' else 'at most'} {r['bound'] * (100 if r['unit'] == '%' else 1):g} {r['unit']}"
        holds = {True: "yes", False: "**no**", None: "-"}[r["holds"]]
        note = f" ({r['note']})" if r["note"] else ""
        lines.append(f"| {r['what']} | {bound} | {show(r)}{note} | {holds} |")
    return "\n".join(lines)


PARTS = {"prefill": prefill, "shape": shape, "decode": decode, "rungs": rungs, "overhead": overhead, "scheduler": scheduler}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"), help="build folder (default: build)")
    ap.add_argument("--ggml", type=pathlib.Path, help="folder of ggml's libraries: adds the peers' lines")
    ap.add_argument("--run", type=shlex.split, default=[], help="command put before each program")
    ap.add_argument("--device", help="part of the Vulkan device's name")
    ap.add_argument("--only", default=",".join(p for p in PARTS if p != "scheduler"),
                    help="comma list of " + ", ".join(PARTS) + " (default: all but the scheduler's, which takes minutes and two drivers)")
    ap.add_argument("--repeat", type=int, default=11, help="rounds (default 11)")
    ap.add_argument("--patience", type=int, default=60, help="seconds to spend on repeating disturbed rounds")
    ap.add_argument("--long", action="store_true", help="also the peers' cases that compile for minutes")
    ap.add_argument("--tile", default="tile-r8-f32-d64",
                    help="shared-memory row to force (default: the one that plan prefers on software devices)")
    ap.add_argument("--subgroup", default="tile-sg-r8-f32-d64", help="subgroup row to force")
    ap.add_argument("--drivers", help="Vulkan driver files for the scheduler's two vendors, by colons (default: what the loader finds)")
    ap.add_argument("--pair", help="the two devices of the scheduler's two vendors, the faster first: A,B (default: the default device, any other)")
    ap.add_argument("--json", type=pathlib.Path, help="write the lines as JSON too")
    args = ap.parse_args()
    if not (args.build / "bench" / "peers").exists():
        print(f"figures: no {args.build}/bench/peers: build first", file=sys.stderr)
        return 2
    unknown = set(args.only.split(",")) - set(PARTS)
    if unknown:
        print(f"figures: unknown parts: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    bench = Bench(args)
    for name in args.only.split(","):
        PARTS[name](bench)
    print(table(bench.rows))
    for line in bench.log:
        print("figures: " + line, file=sys.stderr)
    if args.json:
        args.json.write_text(json.dumps(bench.rows, indent=1) + "\n")
    return 1 if any(r["holds"] is False or r["value"] is None for r in bench.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
