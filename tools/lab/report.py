#!/usr/bin/env python3
"""Compile kernels with every vendor's compiler in the lab and judge what comes out.

MANIFEST is what `src/kernel/generate.py --manifest` writes: a JSON list of kernel rows. Of each row these are read:

  name, family, spv     the row, and the path of its SPIR-V
  dtypes                bit per storage type, as rapt_dtype: 2 f32, 4 f16, 8 bf16
  score                 {device class: preference}; a negative one is never chosen
  requires              capability names, as in include/rapt/caps.h
  coopmat               [m, n, k], or zeros
  head_dim_qk, head_dim_v  [least, most, multiple]
  spec                  {constant id: value}
  spec_from             {constant id: source}: head_dim_qk and head_dim_v become the most the row takes, aligned
                        and group become 1, the others 0
  subgroup, subgroup_min, push   the exact subgroup size or null, the least one, bytes of push constants
  lab                   null, or {macs_per_lane, qk_trip, pv_trip} for count_isa.py; rare_branches and any source
                        of spec_from may stand there too

On each GPU the rows of one kind, storage type and head dimension compete; of those that the GPU can run, the one
with the best score is the default row. Default rows are judged by the gates of gpus.py; --all measures the other
rows too. A crash or a timeout of a vendor's compiler is a result, and fails the row that would be the default.

What a compiler answers is kept, in LAB/answers, as soon as it is there: a run that was stopped goes on where it was
when it is started again, and only what has changed is compiled anew.

exit status: 0 all gates passed; 1 a gate failed, a figure is worse than the baseline, or a GPU did not answer; 2 bad
manifest, baseline or arguments, or no output; 128 + a signal's number: stopped by it
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import signal
import sys
from dataclasses import dataclass, field

import answers
import baseline
import count_isa
import gpus

HERE = pathlib.Path(__file__).resolve().parent
PROCESSES = 2
DTYPE_BITS = {"f32": 1, "f16": 2, "bf16": 3, "i32": 4}
SPEC_SOURCES = {"causal": 0, "varlen": 0, "partial": 0, "group": 1, "aligned": 1, "nq_is_one": 0, "whole_keys": 1}
SPEC_SOURCES |= {"window": 0, "soft_cap": 0, "extras": 0, "link": 0, "grid_rank": 2}
SPEC_SOURCES |= {"k_format": 5, "v_format": 5, "margin": 2, "out_format": 5, "normed": 1, "rope": 1}  # keys and values of int8; placed as such
SPEC_SOURCES |= {"decay": 2, "log_decay": 0, "beta": 0, "normalize": 0, "phi": 0, "pass": 0, "map_q": 1, "map_k": 1, "chunk": 32}  # of linear attention: a decay per token
SPEC_SOURCES |= {"rows_kind": 1, "weighted": 1}  # of rows by index: put back, with weights
SPEC_SOURCES |= {"summary": 0, "select": 0, "pooled": 1, "single_keys": 0, "patch_tiles": 4, "patch_heads": 1, "skips": 0}  # of routing: means, top-k
SPEC_SOURCES |= {"scan_op": 2, "scan_flags": 0, "coef": 2, "states": 16, "scan_act": 1}  # of scans: linear ones, a per channel
LOOP_FAMILIES = ("tile", "coopmat")  # whose hot loop is counted
ROW_KEYS = (
    "name family spv dtypes score requires coopmat head_dim_qk head_dim_v spec spec_from subgroup subgroup_min push lab"
).split()

# Capabilities that a row may require, by what pipestats prints of a device. The ones that name nothing play no
# part in compiling.
_VOTE, _ARITHMETIC, _BALLOT, _SHUFFLE, _CLUSTERED = 0x2, 0x4, 0x8, 0x10, 0x40  # VkSubgroupFeatureFlagBits
CAPABILITIES = {
    "subgroup": lambda d: d["subgroup_operations"] & 1,
    "subgroup-vote": lambda d: d["subgroup_operations"] & _VOTE,
    "subgroup-ballot": lambda d: d["subgroup_operations"] & _BALLOT,
    "subgroup-arithmetic": lambda d: d["subgroup_operations"] & _ARITHMETIC,
    "subgroup-shuffle": lambda d: d["subgroup_operations"] & _SHUFFLE,
    "subgroup-clustered": lambda d: d["subgroup_operations"] & _CLUSTERED,
    "subgroup-size-control": lambda d: d["subgroup_size_control"],
    "full-subgroups": lambda d: d["full_subgroups"],
    "fp16": lambda d: d["float16"],
    "16bit": lambda d: d["storage16"],
    "8bit": lambda d: d["storage8"],
    "int8": lambda d: d["int8"],
    "int8-dot": lambda d: d["dot_product"],
    "int64": lambda d: d["int64"],
    "bda": lambda d: d["device_address"],
    "coopmat": lambda d: d["cooperative_matrix"],
    "coopmat2": lambda d: False,  # NVIDIA's own driver alone has them
    "memory-model": lambda d: d["memory_model"],
    "pipeline-statistics": lambda d: d["pipeline_statistics"],
    "texel": lambda d: True,
    "push-descriptor": lambda d: True,
    "timeline": lambda d: True,
    "memory-budget": lambda d: True,
}


class ManifestError(Exception):
    pass


@dataclass
class Judged:
    """One row on one GPU."""

    gpu: gpus.Gpu
    row: dict
    status: str  # ok, or why not: unsupported, refused, crashed, timed out, unreadable
    reason: str = ""
    figures: gpus.Figures | None = None
    loop: count_isa.LoopCount | None = None
    loop_error: str = ""
    local_size: list = field(default_factory=list)
    shared_bytes: int | None = None
    is_default: bool = False
    is_kept: bool = False  # read from the answers that are kept
    seconds: float | None = None  # that compiling took
    failures: list = field(default_factory=list)
    excused: list = field(default_factory=list)  # gates that are missed within a budget

    def measures(self):
        """What gates may name; None where it is not known."""
        figures, loop = self.figures, self.loop
        return {
            "registers": figures and figures.registers,
            "occupancy": figures and figures.occupancy,
            "spills": figures and figures.spills,
            "scratch": figures and figures.scratch,
            "cycles": figures and figures.cycles,
            "M/V": loop and loop.macs_per_valu,
            "M/I": loop and loop.macs_per_issue,
            "VALU/mma": loop and loop.valu_per_mma,
            "shared/mma": loop and loop.shared_per_mma,
        }


LOOP_MEASURES = ("M/V", "M/I", "VALU/mma", "shared/mma")


# ---- the manifest ----


def load_manifest(path):
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path}: {error}") from error
    if not isinstance(rows, list) or not rows:
        raise ManifestError(f"{path}: not a list with at least one row")
    for number, row in enumerate(rows):
        name = row.get("name", f"row {number}") if isinstance(row, dict) else f"row {number}"
        missing = [key for key in ROW_KEYS if not isinstance(row, dict) or key not in row]
        if missing:
            raise ManifestError(f"{path}: {name}: no {', '.join(missing)}")
        unknown = [r for r in row["requires"] if r not in CAPABILITIES]
        if unknown and not is_ungated(row):
            raise ManifestError(f"{path}: {name}: requires {unknown}; known are {', '.join(CAPABILITIES)}")
        sources = {*SPEC_SOURCES, "head_dim_qk", "head_dim_v"}
        unknown = [s for s in row["spec_from"].values() if s not in sources]
        if unknown:
            raise ManifestError(f"{path}: {name}: spec_from {unknown}; known are {', '.join(sorted(sources))}")
        row["spv"] = path.parent / row["spv"]
        if not row["spv"].is_file():
            raise ManifestError(f"{path}: {name}: no SPIR-V at {row['spv']}")
    return rows


def kind_of(row):
    return "coopmat" if any(row["coopmat"]) else "scalar"


def dtype_of(row):
    """The storage type, or all of them joined where the row takes several."""
    return "+".join(name for name, bit in DTYPE_BITS.items() if row["dtypes"] & 1 << bit)


ROW_GRID = 1 << 29  # RAPT_ROW_GRID of src/kernel/kernel.h: rows for other problems than the default rows'
ROW_LEAPS = 3 << 24  # RAPT_ROW_SOLVES and RAPT_ROW_LEAPS: parts of one form, which stand for no other row
ROW_RULES = 7 << 14  # RAPT_ROW_RULE_NONE, _DELTA and _DPLR: what such parts are for


def is_ungated(row):
    return row["family"] in gpus.UNGATED_FAMILIES or bool(row.get("supports", 0) & ROW_GRID)


def competition_of(row):
    """Rows with the same key stand for the same problems on a GPU. Ungated rows compete with none."""
    if is_ungated(row):
        return (row["name"],)
    group = "mainloop" if row["family"] in ("tile", "broadcast", "coopmat") else row["family"]
    if row["family"] == "state":
        supports = row.get("supports", 0)
        group += f"-{supports & (ROW_LEAPS | ROW_RULES if supports & ROW_LEAPS else 0):x}"
    return group, kind_of(row), row["dtypes"], tuple(row["head_dim_qk"]), tuple(row["head_dim_v"])


def matrix_types_of(row):
    """As pipestats prints them. Attention's are all the same; a peak row names its own: ...-coopmat-s8-s32-..."""
    own = re.search(r"-coopmat-([a-z]+\d+)-([a-z]+\d+)-", row["name"])
    return f"{own[1]}*{own[1]}+{own[2]}" if own and is_ungated(row) else "f16*f16+f32"


def constants_of(row):
    lab = row["lab"] or {}
    sources = {**SPEC_SOURCES, "head_dim_qk": row["head_dim_qk"][1], "head_dim_v": row["head_dim_v"][1]}
    values = dict(row["spec"])
    for constant, source in row["spec_from"].items():
        values[constant] = lab.get(source, sources[source])
    return values


# ---- one row on one GPU ----


def last_words(done):
    """What the program said of its failure: its own line, or else the last one on stderr."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    own = [line for line in lines if line.startswith(("pipestats:", "run-on:")) and "note:" not in line]
    return (own or lines or ["nothing on stderr"])[-1].removeprefix("pipestats: ")


def describe_device(compilers, gpu):
    """The device as pipestats prints it, or a string that says why there is none."""
    try:
        done = compilers.run(gpu, [])
        return json.loads(done.stdout)["device"] if done.returncode == 0 else last_words(done)
    except answers.TimedOut as error:
        return str(error)
    except ValueError as error:
        return f"unreadable output: {error}"


def why_ineligible(row, device):
    unknown = [name for name in row["requires"] if name not in CAPABILITIES]
    if unknown:
        return f"requires {', '.join(unknown)}, which the lab does not know"
    lacking = [name for name in row["requires"] if not CAPABILITIES[name](device)]
    if lacking:
        return f"no {', '.join(lacking)}"
    if (row["subgroup_min"] or 0) > max(device["subgroup_size"], device["max_subgroup_size"]):
        return f"subgroups smaller than {row['subgroup_min']}"
    if any(row["coopmat"]):
        shape = "x".join(map(str, row["coopmat"])) + ":" + matrix_types_of(row)
        if shape not in device["matrix_shapes"].split():
            return f"no matrix shape {shape}"
    return ""


def arguments_of(gpu, row):
    """pipestats' arguments but the file."""
    arguments = ["--ir"] if gpu.isa else []
    arguments += ["--push", row["push"]]
    if row["subgroup"]:
        arguments += ["--subgroup", row["subgroup"]]
    if "full-subgroups" in row["requires"]:
        arguments.append("--full-subgroups")
    for constant, value in constants_of(row).items():
        arguments += ["--spec", f"{constant}={value}"]
    return arguments


def ask(compilers, keeper, gpu, device, row):
    """The compiler's answer: the one kept, or else a new one."""
    arguments = arguments_of(gpu, row)
    key = keeper.key(gpu, device, arguments, row["spv"].read_bytes())
    answer = keeper.load(gpu, key)
    if answer is None:
        answer = compilers.run(gpu, [*arguments, row["spv"]])
        keeper.store(gpu, key, answer)
    return answer


def measure(compilers, keeper, gpu, device, row):
    reason = why_ineligible(row, device)
    if reason:
        return Judged(gpu, row, "unsupported", reason)
    try:
        answer = ask(compilers, keeper, gpu, device, row)
    except answers.TimedOut as error:
        return Judged(gpu, row, "timed out", str(error))
    except OSError as error:
        return Judged(gpu, row, "unreadable", f"{row['spv']}: {error.strerror}")
    judged = read_answer(gpu, row, answer)
    judged.is_kept, judged.seconds = answer.is_kept, answer.seconds
    return judged


def name_of_signal(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def read_answer(gpu, row, done):
    if done.returncode in (3, 4):
        return Judged(gpu, row, "refused", last_words(done))
    if done.returncode < 0:
        return Judged(gpu, row, "crashed", f"{name_of_signal(-done.returncode)}: {last_words(done)}")
    if done.returncode != 0:
        return Judged(gpu, row, "crashed", f"exit status {done.returncode}: {last_words(done)}")
    judged = Judged(gpu, row, "ok")
    try:
        output = json.loads(done.stdout)
        judged.local_size = output["shader"]["local_size"]
        judged.shared_bytes = output["shader"]["shared_bytes"]
        if not output["executables"]:
            raise gpus.UnreadableStatistics("the driver gave no executables")
        executable = output["executables"][0]
        judged.figures = gpus.read_figures(gpu, executable, done.stderr)
    except KeyError as error:
        judged.status, judged.reason = "unreadable", f"pipestats printed no {error}"
        return judged
    except (ValueError, gpus.UnreadableStatistics) as error:
        judged.status, judged.reason = "unreadable", str(error)
        return judged
    count_loop(judged, executable)
    return judged


def count_loop(judged, executable):
    row, isa = judged.row, judged.gpu.isa
    if row["family"] not in LOOP_FAMILIES:
        return
    if judged.figures.loops == 0:
        judged.loop_error = "the compiler left no loop: are the constants right?"
        return
    if not isa:
        return
    lab = row["lab"]
    if not lab:
        judged.loop_error = "the row has no lab figures"
        return
    representation = count_isa.ISAS[isa][1]
    texts = [r["text"] for r in executable["representations"] if r["name"] == representation]
    if not texts:
        judged.loop_error = f"the driver gave no '{representation}'"
        return
    try:
        trips = [lab["qk_trip"], lab["pv_trip"]]
        judged.loop = count_isa.count(isa, texts[-1], trips, lab["macs_per_lane"], lab.get("rare_branches", 0))
    except KeyError as error:
        judged.loop_error = f"the row's lab figures have no {error}"
    except count_isa.CountError as error:
        judged.loop_error = str(error)


# ---- judging ----


def of_last_resort(row):
    return row["head_dim_v"][1] > gpus.LARGEST_GATED_HEAD_DIM_V


def judge(judged):
    """Fill in the gates that a default row fails."""
    judged.is_default = True
    if judged.status != "ok":
        judged.failures.append(f"{judged.status}: {judged.reason}")
        return
    if judged.loop_error:
        judged.failures.append(f"hot loop not counted: {judged.loop_error}")
    measures = judged.measures()
    kind, dtype = kind_of(judged.row), dtype_of(judged.row)
    counted = judged.row["family"] in LOOP_FAMILIES
    gated = counted and not of_last_resort(judged.row)
    for gate in gpus.GATES:
        if not gate.applies(judged.gpu, kind, dtype):
            continue
        if not gated and gate.device_class != gpus.ANY:
            continue
        limits = [(n, v, "below") for n, v in gate.at_least] + [(n, v, "above") for n, v in gate.at_most]
        for name, limit, side in limits:
            value = measures[name]
            if value is None:
                if name not in LOOP_MEASURES or not judged.loop_error:
                    judged.failures.append(f"{name} unknown, gate {limit:g}")
            elif misses(value, limit, side):
                words = f"{name} {value:.3g} {side} {limit:g}"
                budget = budget_for(judged, name)
                if budget is None:
                    judged.failures.append(words)
                elif misses(value, budget.limit, side):
                    judged.failures.append(f"{words}, and {side} the budget of {budget.limit:g}")
                else:
                    judged.excused.append(f"{words}: {budget.reason}")


def misses(value, limit, side):
    return (value < limit) if side == "below" else (value > limit)


def budget_for(judged, measure):
    for budget in gpus.BUDGETS:
        matches = budget.target == judged.gpu.target and budget.measure == measure
        if matches and re.fullmatch(budget.rows, judged.row["name"]):
            return budget
    return None


def judge_competition(compilers, keeper, gpu, device, rows, measure_all, tell=lambda judged: None):
    """The rows of one competition on one GPU, best score first, down to the default row; all with measure_all."""

    def score(row):
        return row["score"].get(gpu.device_class, 0)

    results, has_default = [], False
    for row in sorted(rows, key=score, reverse=True):
        is_candidate = score(row) >= 0 and not has_default and not is_ungated(row)
        if not is_candidate and not measure_all and not is_ungated(row):
            continue
        judged = measure(compilers, keeper, gpu, device, row)
        tell(judged)
        results.append(judged)
        if is_candidate and judged.status not in ("unsupported", "refused"):
            judge(judged)
            has_default = judged.status == "ok"
    return results


def measure_gpus(compilers, keeper, chosen, rows, measure_all):
    """All rows on the chosen GPUs: {gpu: device or why there is none}, [Judged]."""
    competitions = {}
    for row in rows:
        competitions.setdefault(competition_of(row), []).append(row)
    pool = concurrent.futures.ThreadPoolExecutor(PROCESSES)
    tasks = []

    def tell(judged):
        words = f"{judged.gpu.target} {judged.row['name']}: {judged.status}"
        words += ", kept" if judged.is_kept else f", {judged.seconds} s" if judged.seconds is not None else ""
        print(f"[{sum(task.done() for task in tasks)}/{total}] {words}", file=sys.stderr)

    try:
        devices = dict(zip(chosen, pool.map(lambda gpu: describe_device(compilers, gpu), chosen), strict=True))
        total = sum(not isinstance(device, str) for device in devices.values()) * len(competitions)
        for gpu, device in devices.items():
            if isinstance(device, str):
                continue
            for members in competitions.values():
                words = (compilers, keeper, gpu, device, members, measure_all, tell)
                tasks.append(pool.submit(judge_competition, *words))
        for task in concurrent.futures.as_completed(tasks):
            task.result()  # an error of our own ends the run when it happens
        return devices, [judged for task in tasks for judged in task.result()]
    finally:
        compilers.stop()  # all has ended, or is to end: by a signal, or by an error of our own
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def stoppable(compilers):
    """Signals that would end this program in silence, and leave its compilers behind, raise Stopped instead."""

    def stop(number, _frame):
        compilers.stop()
        raise answers.Stopped(signal.Signals(number).name)

    former = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup's choice stays
            former[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


# ---- output ----


def show(value, digits=3):
    if value is None:
        return ""
    return f"{value:.{digits}g}" if isinstance(value, float) and not float(value).is_integer() else f"{value:.0f}"


LEGEND = """\
Static figures: nothing ran on a GPU. For each GPU the default rows, which are those that the planner would choose there,
by storage type and largest head_dim (512 stands for 576 of q and k, 512 of v).

- **registers**, **occupancy**, **cycles** are the driver's own, in its own units: compare them within a driver only.
- **spills**: spill and fill instructions or spilled registers, and private memory (bytes; on Mali a cost).
- **M/V**, **M/I**: useful multiply-adds per vector instruction, and per issued instruction, of the hot loop; of rows with
  cooperative matrices, vector and shared-memory instructions per matrix instruction. Not counted on Apple, Mali, V3D
  and PowerVR, whose drivers print no assembly that could be.
- **gate**: what `gpus.py` demands of the class. A *budget* is a gate that is known to be missed, by how much and why. Rows
  of *last resort*, for a head_dim_v over 512, have no gate but spills. *Peak* rows, which measure a device, have none.
"""
COLUMNS = "row subgroup registers occupancy spills cycles M/V M/I gate".split()


def verdict(judged):
    if judged.failures:
        return "**fails**: " + "; ".join(judged.failures)
    if judged.excused:
        return "budget: " + "; ".join(judged.excused)
    if judged.status != "ok":
        return f"{judged.status}: {judged.reason}"
    if not judged.is_default:
        return judged.loop_error
    return "no spills (last resort)" if of_last_resort(judged.row) else "passes"


def table_row(judged, mark_default):
    measures, figures = judged.measures(), judged.figures
    loop = [show(measures[key]) for key in ("M/V", "M/I")]
    if measures["VALU/mma"] is not None:
        loop = [f"{show(measures[key])} {unit}" for key, unit in (("VALU/mma", "V/mma"), ("shared/mma", "S/mma"))]
    spills = ""
    if figures:
        spills = show(figures.spills) + (f" + {show(figures.scratch)}" if figures.scratch else "")
    cells = [
        f"**{judged.row['name']}**" if mark_default and judged.is_default else judged.row["name"],
        str(figures.subgroup_size) if figures else "",
        show(measures["registers"]),
        show(measures["occupancy"]),
        spills,
        show(measures["cycles"]),
        *loop,
        verdict(judged),
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def ungated_words(judged):
    """What is to be said of rows without gates: how many compile, and which not, or with spills."""
    words = [f"{sum(j.status == 'ok' for j in judged)} compile"]
    for j in judged:
        if j.status != "ok":
            words.append(f"{j.row['name']} {j.status} ({j.reason})")
        elif j.figures.spills or j.figures.scratch:
            words.append(f"{j.row['name']} with {show(j.figures.spills)} spills, scratch {show(j.figures.scratch)}")
    return "; ".join(words) + "."


def in_order(results):
    """By what they are for, then as they were measured."""
    return sorted(results, key=lambda j: (kind_of(j.row), j.row["dtypes"], j.row["head_dim_v"][1]))


def summary(devices, results):
    """One line per GPU: how many default rows pass, and which do not."""
    lines = ["| GPU | device | default rows | pass | within a budget | fail |", "|" + "---|" * 6]
    for gpu, device in devices.items():
        if isinstance(device, str):
            lines.append(f"| {gpu.target} | **none**: {device} | | | | |")
            continue
        mine = [j for j in results if j.gpu == gpu and j.is_default]
        failed = [j for j in mine if j.failures]
        excused = [j for j in mine if j.excused and not j.failures]
        cells = [gpu.target, device["name"].strip(), len(mine), len(mine) - len(failed) - len(excused), len(excused)]
        cells.append(", ".join(j.row["name"] for j in failed) or "0")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def markdown(devices, results, measure_all, command):
    lines = ["# What the vendors' compilers make of the kernels", "", f"Written by `{command}`; do not edit.", ""]
    lines += LEGEND.splitlines() + [""]
    drivers = {d["driver_info"].strip() for d in devices.values() if not isinstance(d, str)}
    lines += ["Drivers: " + ", ".join(sorted(drivers)) + ".", "", *summary(devices, results)]
    for gpu, device in devices.items():
        if isinstance(device, str):
            continue
        mine = [j for j in in_order(results) if j.gpu == gpu and j.status != "unsupported"]
        ungated = [j for j in mine if is_ungated(j.row)]
        if not measure_all:
            mine = [j for j in mine if j.is_default]
        mine = [j for j in mine if j not in ungated]
        loops = [j for j in mine if measure_all or j.failures or j.excused or j.row["family"] in LOOP_FAMILIES]
        rest = [j for j in mine if j not in loops]
        unit = gpus.occupancy_unit(gpu)
        lines += ["", f"## {gpu.target}", "", f"{device['name'].strip()}, {device['driver']}"]
        lines[-1] += f"; occupancy in {unit}." if unit else "."
        if loops:
            lines += ["", "| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
            lines += [table_row(judged, measure_all) for judged in loops]
        if rest:
            lines += ["", "Also without spills: " + ", ".join(j.row["name"] for j in rest) + "."]
        if ungated:
            lines += ["", "Peak rows, which have no gates: " + ungated_words(ungated)]
    return "\n".join(lines) + "\n"


def as_json(devices, results, regressions):
    """A list, a row on a GPU each. Null: the driver does not say, or the row did not compile."""

    def one(judged):
        figures, loop = judged.figures, judged.loop
        measures = judged.measures()
        words = [judged.reason, *judged.failures, *judged.excused, judged.loop_error]
        return {
            "row": judged.row["name"],
            "family": judged.row["family"],
            "dtype": dtype_of(judged.row),
            "gpu": judged.gpu.target,
            "vendor": gpus.vendor(judged.gpu),
            "registers": measures["registers"],
            "occupancy": measures["occupancy"],
            "spills": measures["spills"],
            "scratch_bytes": gpus.scratch_bytes(judged.gpu, figures) if figures else None,
            "cycles": measures["cycles"],
            "instructions": figures.instructions if figures else None,
            "status": judged.status,
            "message": "; ".join(dict.fromkeys(filter(None, words))),
            "default": judged.is_default,
            "failures": judged.failures,
            "excused": judged.excused,
            "regressions": regressions.get((judged.gpu.target, judged.row["name"]), []),
            "device": devices[judged.gpu]["name"].strip(),
            "driver": devices[judged.gpu]["driver_info"].strip(),
            "occupancy_unit": gpus.occupancy_unit(judged.gpu),
            "subgroup_size": figures.subgroup_size if figures else None,
            "local_size": judged.local_size,
            "shared_bytes": judged.shared_bytes,
            "scratch": measures["scratch"],
            **{name: measures[name] for name in LOOP_MEASURES},
            "loop": {name: amount for name, amount in sorted(loop.counts.items()) if amount} if loop else None,
            "inner_trips": loop.inner_trips if loop else None,
        }

    return [one(judged) for judged in results]


def show_comparison(comparison, slack):
    for (gpu, name), words in comparison.regressions.items():
        warn(f"worse than the baseline by over {slack:g} %: {gpu} {name}: {'; '.join(words)}")
    for words in comparison.other_drivers:
        warn(f"not compared: {words}")
    if comparison.new:
        warn(f"not in the baseline: {', '.join(comparison.new)}")
    if comparison.better:
        warn(f"{comparison.better} figures better by over {slack:g} %: --save-baseline keeps them so")
    warn(f"{comparison.compared} rows compared with the baseline, {len(comparison.regressions)} worse")


class BadArguments(Exception):
    pass


def parse_arguments():
    """The arguments, with `lab`, `gpus` and `row_list` filled in. Raises BadArguments, ManifestError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("manifest", type=pathlib.Path)
    option("--gpu", action="append", metavar="GPU", help="only this GPU (repeatable), as run-on names it")
    option("--rows", default="", metavar="REGEX", help="only rows whose name matches")
    option("--all", action="store_true", help="measure every row, not only the defaults")
    option("--markdown", type=pathlib.Path, metavar="FILE", help="write the table there, not to stdout")
    option("--json", type=pathlib.Path, metavar="FILE", help="write all that was measured as a list")
    option("--timeout", type=int, default=600, metavar="S", help="processor seconds that a pipeline may take (600)")
    option("--cache", type=pathlib.Path, metavar="FOLDER", help="of the compilers' answers (LAB/answers)")
    option("--fresh", action="store_true", help="ask the compilers anew, whatever is kept")
    option("--against", type=pathlib.Path, metavar="FILE", help="compare the default rows with this baseline")
    option("--slack", type=float, default=5, metavar="P", help="percent that a figure may be worse (5)")
    option("--save-baseline", type=pathlib.Path, metavar="FILE", help="write all default rows of these GPUs there")
    arguments = parser.parse_args()
    lab = os.environ.get("RAPT_LAB")
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    arguments.lab = pathlib.Path(lab).resolve() if lab else pathlib.Path(cache) / "rapt" / "lab"
    known = [gpu.target for gpu in gpus.GPUS]
    unknown = sorted(set(arguments.gpu or []) - set(known))
    if unknown:
        raise BadArguments(f"no GPU {', '.join(unknown)}; there are {', '.join(known)}")
    arguments.gpus = [gpu for gpu in gpus.GPUS if not arguments.gpu or gpu.target in arguments.gpu]
    if arguments.timeout < 1 or not 0 <= arguments.slack < 100:
        raise BadArguments("--timeout is 1 or more, --slack from 0 to below 100")
    if arguments.save_baseline and arguments.rows:
        raise BadArguments("--save-baseline is for all rows, not for those of --rows")
    try:
        pattern = re.compile(arguments.rows)
    except re.error as error:
        raise BadArguments(f"--rows '{arguments.rows}': {error}") from error
    arguments.row_list = [row for row in load_manifest(arguments.manifest) if pattern.search(row["name"])]
    if not arguments.row_list:
        raise ManifestError(f"{arguments.manifest}: no row matches '{arguments.rows}'")
    if not (arguments.lab / "bin" / "pipestats").exists():
        raise BadArguments(f"no {arguments.lab / 'bin' / 'pipestats'}; run: {HERE / 'build-tools'}")
    return arguments


def command_of(arguments):
    """What a reader needs to get the same table."""
    command = "tools/lab/report.py kernels.json"
    command += "".join(f" --gpu {gpu}" for gpu in arguments.gpu or [])
    command += f" --rows '{arguments.rows}'" if arguments.rows else ""
    return command + (" --all" if arguments.all else "")


def write_results(arguments, devices, results, regressions):
    table = markdown(devices, results, arguments.all, command_of(arguments))
    if arguments.markdown:
        arguments.markdown.write_text(table, encoding="utf-8")
    else:
        print(table, end="")
    if arguments.json:
        text = json.dumps(as_json(devices, results, regressions), indent=1)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    if arguments.save_baseline:
        baseline.save(arguments.save_baseline, devices, results)


def warn(words):
    print(f"report.py: {words}", file=sys.stderr)


def main():
    try:
        arguments = parse_arguments()
        former = baseline.load(arguments.against) if arguments.against else None
        folder = arguments.cache or arguments.lab / "answers"
        folder.mkdir(parents=True, exist_ok=True)
    except (BadArguments, ManifestError, baseline.BaselineError) as error:
        warn(error)
        return 2
    except OSError as error:
        warn(f"{folder}, for the compilers' answers: {error.strerror}")
        return 2

    compilers = answers.Compilers(arguments.lab, arguments.timeout)
    keeper = answers.Keeper(folder, arguments.fresh, warn)
    try:
        with stoppable(compilers):
            devices, results = measure_gpus(compilers, keeper, arguments.gpus, arguments.row_list, arguments.all)
    except answers.Stopped as error:
        warn(f"stopped by {error}: nothing written; what was measured is kept, the same command goes on from there")
        return 128 + signal.Signals[str(error)].value

    comparison = baseline.Comparison()
    if former is not None:
        comparison = baseline.compare(former, devices, results, arguments.slack)
        show_comparison(comparison, arguments.slack)
    try:
        write_results(arguments, devices, results, comparison.regressions)
    except OSError as error:
        warn(f"{error.filename}: {error.strerror}")
        return 2
    except baseline.BaselineError as error:
        warn(f"{error}; not written anew")
        return 2
    silent = [gpu.target for gpu, device in devices.items() if isinstance(device, str)]
    failed = [judged for judged in results if judged.failures]
    for judged in failed:
        warn(f"{judged.gpu.target} {judged.row['name']} fails: {'; '.join(judged.failures)}")
    defaults = sum(judged.is_default for judged in results)
    words = f"{defaults} default rows on {len(devices) - len(silent)} GPUs, {len(failed)} fail a gate"
    warn(words + (f"; no answer from {', '.join(silent)}" if silent else ""))
    return 1 if failed or silent or comparison.regressions else 0


if __name__ == "__main__":
    sys.exit(main())
