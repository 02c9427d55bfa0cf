#!/usr/bin/env python3
"""The README's table of faults: runs the tests that inject them, and puts the numbers of their runs between its marks.

    tests/fault_table.py BUILD [--runs N] [--rounds N] [--write README.md]

--runs: tries of each kind at random places, beside those in order (RAPT_TEST_FAULT_RUNS); --rounds: how often a rank of four dies. Without
--write the table is printed. Nothing is written where a test fails.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys

BEGIN, END = "<!-- faults: tests/fault_table.py -->\n", "<!-- end of faults -->\n"


def run(words, good=(0,), **more):
    r = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **more})
    if r.returncode not in good:
        sys.exit(f"{words[0]}: exit status {r.returncode}\n{r.stdout[-2000:]}")
    return r.stdout


def ranks(build, rounds):
    """The line of ranks that die, or none where there is no MPI."""
    mpirun, program = shutil.which("mpirun"), build / "tests/mpi_test"
    if not mpirun or not program.exists() or "HYDRA" not in run([mpirun, "--version"]):
        return []
    for _ in range(rounds):
        said = run([mpirun, "-disable-auto-cleanup", "-n", "4", str(program), "--die"], (0, 3), LP_NUM_THREADS="1")  # 3: of the one that dies
        if said.count(" survived\n") != 3 or "FAILED" in said:
            sys.exit(f"a rank of four died:\n{said[-2000:]}")
    return [f"| one of four MPI ranks ends without a word | {rounds} | a status on the three others within two minutes, then refusals |"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--write", type=pathlib.Path)
    o = parser.parse_args()
    said = run([str(o.build / "tests/sched_fault_test"), "--table"], RAPT_TEST_FAULT_RUNS=str(o.runs))
    lines = [line for line in said.splitlines() if line.startswith("| ")]
    if not lines:
        sys.exit(f"no fault was tried: {said[-300:]}")
    table = "\n".join(["| what fails | runs | what came of each |", "|---|---|---|", *lines, *ranks(o.build, o.rounds)]) + "\n"
    if not o.write:
        print(table, end="")
        return
    text = o.write.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"{o.write}: the marks of the table are not there once each")
    o.write.write_text(re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: BEGIN + table + END, text, flags=re.S))


if __name__ == "__main__":
    main()
