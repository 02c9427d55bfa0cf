"""Reads what `rapt bench --json` and the vendor lab wrote. Nothing in a file is trusted: what is missing or of another type is
None, a number that is not finite is None, and only a file that is not such a report at all is an error."""

import json
import pathlib
from dataclasses import dataclass, field

import units

SCHEMA = "rapt-bench/1"
LARGEST_FILE = 256 << 20


class BadInput(Exception):
    """One line for the user: which file, what is wrong."""


# ---- members of a JSON object ----


def number(holder, *path):
    """The number at the end of a path of keys, or None; so too for what no measurement can be, such as 1e300."""
    for key in path:
        if not isinstance(holder, dict):
            return None
        holder = holder.get(key)
    if isinstance(holder, bool) or not isinstance(holder, (int, float)):
        return None
    try:
        value = float(holder)
    except OverflowError:
        return None
    return value if value == 0 or 1e-30 < abs(value) < 1e30 else None  # never so for a NaN


def positive(holder, *path):
    """As number(), for what can be divided by or drawn on a logarithmic axis."""
    value = number(holder, *path)
    return value if value is not None and value > 0 else None


def text(holder, *path):
    """The text at the end of a path of keys, or ""; numbers become text."""
    for key in path:
        if not isinstance(holder, dict):
            return ""
        holder = holder.get(key)
    if isinstance(holder, str):
        return holder.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be written
    if isinstance(holder, (int, float)) and not isinstance(holder, bool):
        return f"{holder:g}"
    return ""


def mapping(holder, key):
    value = holder.get(key) if isinstance(holder, dict) else None
    return value if isinstance(value, dict) else {}


def objects(holder, key):
    """The objects of a list; whatever else is in it is left out."""
    value = holder.get(key) if isinstance(holder, dict) else None
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


@dataclass
class Figure:
    """A median with the interval that holds the true one with the probability `coverage`."""

    median: float
    low: float
    high: float
    coverage: float | None = None
    count: int | None = None

    @property
    def half_width(self):
        """Half the interval as a part of the median."""
        return (self.high - self.low) / 2 / abs(self.median) if self.median else None

    def inverse(self, work):
        """The rate, where this is the time of `work`."""
        return Figure(work / self.median, work / self.high, work / self.low, self.coverage, self.count)

    def times(self, factor):
        return Figure(self.median * factor, self.low * factor, self.high * factor, self.coverage, self.count)


def figure(holder, key):
    value = holder.get(key) if isinstance(holder, dict) else None
    if isinstance(value, (int, float)):
        value = {"median": value}
    median = positive(value, "median")
    if median is None:
        return None
    low, high = positive(value, "low"), positive(value, "high")
    low = median if low is None or low > median else low
    high = median if high is None or high < median else high
    count = number(value, "count")
    return Figure(median, low, high, number(value, "coverage"), None if count is None else int(count))


# ---- the parts of a report ----


@dataclass
class Case:
    raw: dict
    name: str
    group: str
    dtype: str
    status: str
    message: str
    kernel: str
    clock: str
    time: Figure | None  # in seconds, by the clock that the rates come from
    flops: float | None
    bytes: float | None
    intensity: float | None
    rate: Figure | None  # FLOP/s
    bandwidth: Figure | None  # B/s
    share: Figure | None  # of the roof
    bound: str

    @property
    def ok(self):
        return self.status == "ok"


def read_case(raw):
    status = text(raw, "status") or "unknown"
    clock = text(raw, "clock")
    time = flops = size = intensity = rate = bandwidth = share = None
    flops, size = positive(raw, "flops"), positive(raw, "bytes")
    if status == "ok":  # a case that is not has no times, whatever the file says
        clocks = [clock] if clock in ("device", "wall") else ["device", "wall"]
        clock, time = next(((c, f) for c in clocks if (f := figure(raw, c))), (clock, None))
        intensity = positive(raw, "intensity") or (flops / size if flops and size else None)
        if time and flops:
            rate = time.inverse(flops)
        if time and size:
            bandwidth = time.inverse(size)
        of_roof = positive(raw, "of_roof")
        roof = positive(raw, "roof")
        if of_roof is None and rate and roof:
            of_roof = rate.median / roof
        if of_roof is not None:
            share = time.inverse(of_roof * time.median) if time else Figure(of_roof, of_roof, of_roof)
    return Case(raw, text(raw, "name") or "unnamed", text(raw, "group"), text(raw, "dtype"), status, text(raw, "message"),
                text(raw, "kernel"), clock, time, flops, size, intensity, rate, bandwidth, share, text(raw, "bound"))


@dataclass
class Gauge:
    raw: dict
    name: str
    group: str
    unit: str
    status: str
    message: str
    bytes: float | None
    value: Figure | None
    native: Figure | None
    lower_is_better: bool

    @property
    def ok(self):
        return self.status == "ok" and self.value is not None


def read_gauge(raw):
    status = text(raw, "status") or "unknown"
    return Gauge(raw, text(raw, "name") or "unnamed", text(raw, "group") or "other", text(raw, "unit"), status,
                 text(raw, "message"), positive(raw, "bytes"), figure(raw, "value") if status == "ok" else None,
                 figure(mapping(raw, "native"), "value"), raw.get("lower_is_better") in (True, 1))


@dataclass
class Device:
    run: "Run"
    info: dict
    label: str
    gauges: list
    cases: list
    roofline: dict
    sweeps: list
    sustained: list
    sensors: dict

    def sweep_cases(self):
        return [read_case(point["case"]) for sweep in self.sweeps for series in objects(sweep, "series") for point in objects(series, "points")
                if isinstance(point.get("case"), dict)]

    def every_case(self):
        """Those of the sweeps too; of a case that is in both, the suite's."""
        names = {case.name for case in self.cases}
        return self.cases + list({case.name: case for case in self.sweep_cases() if case.name not in names}.values())

    def roofs(self):
        """{dtype: FLOP/s} of the roofline."""
        flops = mapping(self.roofline, "flops")
        return {name: rate for name in flops if (rate := positive(flops, name))}


@dataclass
class Run:
    path: str
    raw: dict
    devices: list = field(default_factory=list)


def load(path):
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > LARGEST_FILE:
        raise BadInput(f"{path}: larger than {LARGEST_FILE >> 20} MiB, the most that is read")
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=lambda name: None)
    except RecursionError:
        raise BadInput(f"{path}: not a report: nested too deeply") from None
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}: not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except ValueError as error:  # not UTF-8, or an integer of too many digits
        raise BadInput(f"{path}: not JSON: {error}") from None


def read_run(path):
    raw = load(path)
    if not isinstance(raw, dict):
        raise BadInput(f"{path}: not a report of rapt bench: an object is needed")
    schema = text(raw, "schema")
    if schema != SCHEMA:
        given = f"its schema is '{schema[:60]}'" if schema else "it has no member schema"
        raise BadInput(f"{path}: not a report that this program reads: {given}, {SCHEMA} is needed")
    run = Run(str(path), raw)
    for entry in objects(raw, "devices"):
        info = mapping(entry, "device")
        run.devices.append(Device(
            run, info, text(info, "name") or "unnamed device",
            [read_gauge(g) for g in objects(entry, "gauges")], [read_case(c) for c in objects(entry, "cases")],
            mapping(entry, "roofline"), objects(entry, "sweeps"), objects(entry, "sustained"), mapping(entry, "sensors")))
    return run


def read_runs(paths):
    runs = [read_run(path) for path in paths]
    devices = [device for run in runs for device in run.devices]
    # The same device twice, of two runs or drivers: told apart by what differs.
    for differing in (lambda d: text(d.info, "driver_info") or text(d.info, "driver"), lambda d: text(d.run.raw, "mode"),
                      lambda d: units.moment(text(d.run.raw, "started")), lambda d: pathlib.Path(d.run.path).name):
        named = {}
        for device in devices:
            named.setdefault(device.label, []).append(device)
        for same in named.values():
            if len({differing(device) for device in same}) > 1:
                for device in same:
                    device.label = ", ".join(filter(None, (device.label, differing(device))))
    for index, device in enumerate(devices):
        if any(other.label == device.label for other in devices[:index]):
            device.label += f" #{index + 1}"
    return runs, devices


# ---- peers, and the lab ----


@dataclass
class PeerResult:
    case: str
    backend: str
    peer: str
    rate: Figure | None  # FLOP/s; the interval holds the middle half of the rounds
    error: str
    time_over_first: Figure | None


def read_peers(run):
    """The versions, and every result wherever it stands below `results`."""
    peers = mapping(run.raw, "peers")
    found, stack = [], [peers.get("results")]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(reversed(item))
        elif isinstance(item, dict) and isinstance(item.get("backend"), str) and isinstance(item.get("case"), str):
            found.append(read_peer(item))
        elif isinstance(item, dict):
            stack.extend(reversed(list(item.values())))
    return mapping(peers, "versions"), found


def read_peer(item):
    rate = None
    gflops, median = positive(item, "gflops"), positive(item, "ms", "median")
    if item.get("ok") is not False and gflops and median:
        flop_ms = gflops * 1e9 * median
        low = max(positive(item, "ms", "q1") or median, 1e-12)
        high = positive(item, "ms", "q3") or median
        rate = Figure(gflops * 1e9, flop_ms / max(high, median), flop_ms / min(low, median))
    return PeerResult(text(item, "case"), text(item, "backend"), text(item, "peer"), rate, text(item, "error"),
                      figure(item, "time_over_first"))


def read_lab(path):
    raw = load(path)
    if isinstance(raw, dict):
        raw = next((value for value in raw.values() if isinstance(value, list)), None)
    if not isinstance(raw, list):
        raise BadInput(f"{path}: not what the lab writes: a list of rows and GPUs is needed")
    cells = [cell for cell in raw if isinstance(cell, dict) and text(cell, "row") and text(cell, "gpu")]
    if raw and not cells:
        raise BadInput(f"{path}: not what the lab writes: no entry names a row and a gpu")
    return cells
