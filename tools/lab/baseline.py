"""The committed baseline: what the pinned drivers made of the default rows, and whether a run is worse.

The file is JSON: {gpu: {"driver": version, "rows": {row: [figures, in the order of FIGURES]}}}. Figures of two versions
of a driver are not compared: they change by themselves.
"""

import json
from dataclasses import dataclass, field

FIGURES = ("registers", "occupancy", "spills", "scratch", "cycles", "instructions")


class BaselineError(Exception):
    pass


@dataclass
class Comparison:
    regressions: dict = field(default_factory=dict)  # (gpu, row) -> [words]
    better: int = 0  # figures that improved by more than the slack
    compared: int = 0  # rows
    new: list = field(default_factory=list)  # "gpu row": measured, not in the baseline
    other_drivers: list = field(default_factory=list)  # words on GPUs that are not compared


def driver_of(device):
    return device["driver_info"].strip()


def load(path):
    """Raises BaselineError, with one line that says what is wrong."""
    try:
        gpus = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaselineError(f"{path}: {error.strerror if isinstance(error, OSError) else error}") from error
    if not isinstance(gpus, dict) or not gpus:
        raise BaselineError(f"{path}: no object with at least one GPU")
    for target, entry in gpus.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("driver"), str):
            raise BaselineError(f"{path}: {target}: no driver")
        rows = entry.get("rows")
        if not isinstance(rows, dict):
            raise BaselineError(f"{path}: {target}: no rows")
        for name, values in rows.items():
            if not isinstance(values, list) or len(values) != len(FIGURES):
                raise BaselineError(f"{path}: {target} {name}: not a list of {len(FIGURES)} figures")
            if not all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in values):
                raise BaselineError(f"{path}: {target} {name}: a figure is no number")
    return gpus


def compact(value):
    return int(value) if value is not None and float(value).is_integer() else value


def save(path, devices, results):
    """The default rows that compiled. A row a line: so a change shows as what it is. GPUs that were not measured, or
    gave no answer, keep what the file has of them."""
    gpus = load(path) if path.exists() else {}
    for gpu, device in devices.items():
        mine = {j.row["name"]: j.figures for j in results if j.gpu == gpu and j.is_default and j.status == "ok"}
        if isinstance(device, str) or not mine:
            continue
        rows = {name: [compact(getattr(figures, key)) for key in FIGURES] for name, figures in sorted(mine.items())}
        gpus[gpu.target] = {"driver": driver_of(device), "rows": rows}
    blocks = []
    for target, entry in gpus.items():
        lines = [f"   {json.dumps(name)}: {json.dumps(values)}" for name, values in entry["rows"].items()]
        head = f' {json.dumps(target)}: {{\n  "driver": {json.dumps(entry["driver"])},\n  "rows": {{\n'
        blocks.append(head + ",\n".join(lines) + "\n  }\n }")
    path.write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")


def worse(name, value, base, slack):
    """Whether a figure is worse than the baseline's by more than slack percent, and whether it is better by as much."""
    if name == "occupancy":
        return value < base * (1 - slack / 100), value > base * (1 + slack / 100)
    return value > base * (1 + slack / 100), value < base * (1 - slack / 100)


def compare_row(judged, values, slack):
    """[words on what is worse], number of figures that are better."""
    if judged.status != "ok":
        return [f"{judged.status}: {judged.reason}; the baseline has figures"], 0
    words, better = [], 0
    base = dict(zip(FIGURES, values, strict=True))
    if base["occupancy"] is not None:
        del base["registers"]  # what they cost is said by the occupancy; some drivers take all that are free
    for name, old in base.items():
        new = getattr(judged.figures, name)
        if old is None:
            continue
        if new is None:
            words.append(f"{name} unknown, was {old:g}")
            continue
        is_worse, is_better = worse(name, new, old, slack)
        if is_worse:
            change = f" ({(new / old - 1) * 100:+.1f} %)" if old else ""
            words.append(f"{name} {new:g}, was {old:g}{change}")
        better += is_better
    return words, better


def compare(gpus, devices, results, slack):
    """The default rows of a run, those that the baseline knows, with it."""
    done = Comparison()
    comparable = set()
    for gpu, device in devices.items():
        entry = gpus.get(gpu.target)
        if isinstance(device, str):
            continue
        if entry is None:
            done.other_drivers.append(f"{gpu.target}: not in the baseline")
        elif entry["driver"] != driver_of(device):
            done.other_drivers.append(f"{gpu.target}: {driver_of(device)}, the baseline has {entry['driver']}")
        else:
            comparable.add(gpu)
    for judged in results:
        if judged.gpu not in comparable or not judged.is_default:
            continue
        name = judged.row["name"]
        values = gpus[judged.gpu.target]["rows"].get(name)
        if values is None:
            done.new.append(f"{judged.gpu.target} {name}")
            continue
        words, better = compare_row(judged, values, slack)
        done.compared += 1
        done.better += better
        if words:
            done.regressions[judged.gpu.target, name] = words
    return done
