#!/usr/bin/env python3
"""How far `rapt simulate` is from real runs: the forecast for 1, 2 and 4 ranks of this machine, from rates measured here, beside
`mpirun -n N rapt bench --distributed`.

    bench/simulate_check.py --build build [--tokens N] [--heads N] [--head-dim N] [--rounds N] [--ranks 1,2] [--cores N]

Each round measures the rates right after each number of ranks has run, so that a drift of the machine meets both; times are medians of all
rounds, errors the median of the rounds' ratios. A rank's device has one thread (LP_NUM_THREADS=1), as the one whose rates are measured. --cores: how many ranks run at full speed
together, an input of the forecast; default: the machine's. The links' figures are those that the runs measured themselves. The bound is an
error of 20 %. Prints a table; exit status 1 where a case is beyond the bound, 2 for what cannot be run.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

BOUND = 0.2


def run(words, folder):
    out = folder / "out.json"
    r = subprocess.run([*words, "--json", str(out)], capture_output=True, text=True, env={**os.environ, "LP_NUM_THREADS": "1"})
    if r.returncode != 0:
        print(f"{' '.join(words)}: exit status {r.returncode}\n{r.stdout[-800:]}{r.stderr[-800:]}", file=sys.stderr)
        sys.exit(2)
    return json.loads(out.read_text())


def real(o, rapt, ranks, folder):
    return run([o.mpirun, "-n", str(ranks), rapt, "bench", "--distributed", "--tokens", str(o.tokens), "--heads", str(o.heads), "--head-dim", str(o.head_dim),
                "--runs", str(o.runs)], folder)


def foreseen(o, rapt, ranks, link, pattern, methods, folder):
    link = f"{link['bytes_per_second'] / 1e9:.6g},{link['seconds'] * 1e6:.6g}" if link["bytes_per_second"] else "1,1"
    found = run([rapt, "simulate", "--method", methods, "--pattern", pattern, "--devices", str(ranks), "--seq", str(o.tokens), "--heads", str(o.heads),
                 "--head-dim", str(o.head_dim), "--dtype", "f32", "--cache-copied", "--link", link, "--at-once", str(o.cores)], folder)
    return {f["method"]: f for f in found["forecasts"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    for name, value in (("--tokens", 2048), ("--heads", 8), ("--head-dim", 64), ("--rounds", 3), ("--runs", 5), ("--cores", os.cpu_count())):
        parser.add_argument(name, type=int, default=value)
    parser.add_argument("--ranks", default="1,2,4")
    o = parser.parse_args()
    o.mpirun, rapt = shutil.which("mpirun"), str(o.build / "tools/rapt/rapt")
    if not o.mpirun or not os.path.exists(rapt):
        print(f"mpirun or {rapt} is not there", file=sys.stderr)
        return 2
    times, worst = {}, 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for _ in range(o.rounds):
            for ranks in map(int, o.ranks.split(",")):
                was = real(o, rapt, ranks, folder)
                told = foreseen(o, rapt, ranks, was["link"], "causal", "zigzag,gather,heads,decode,lasp2", folder) | foreseen(o, rapt, ranks, was["link"], "full", "ring", folder)
                for case in was["cases"]:
                    forecast = told[case["method"]]
                    if forecast["sent_bytes"] != case["sent_bytes"]:
                        print(f"{case['method']}: {forecast['sent_bytes']} bytes foreseen, {case['sent_bytes']} sent", file=sys.stderr)
                        return 1
                    times.setdefault((case["method"], ranks), []).append((forecast["seconds"], case["seconds"]))
    print("| method | ranks | foreseen | measured | error |\n|---|---|---|---|---|")
    for (method, ranks), pairs in sorted(times.items()):
        a, b = (statistics.median(p[i] for p in pairs) for i in (0, 1))
        error = statistics.median(f / m for f, m in pairs) - 1
        worst = max(worst, abs(error))
        print(f"| {method} | {ranks} | {a * 1e3:.2f} ms | {b * 1e3:.2f} ms | {error * 100:+.0f} % |")
    print(f"\n{o.tokens} tokens, {o.heads} heads of {o.head_dim}, float32; {o.rounds} rounds, {o.cores} cores; the worst is {worst * 100:.0f} %, the bound {BOUND * 100:.0f} %")
    return 0 if worst <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
