"""What each chart shows, whoever draws it: still.py as SVG, live.py with Plotly."""

import math
from dataclasses import dataclass, field

import units
from results import number, objects, positive, read_case, text

COLOURS = 8  # --c1 .. --c8 of page.css
DTYPES = {"f32": ("c1", "circle"), "f16": ("c2", "square"), "bf16": ("c3", "diamond"), "int8": ("c4", "triangle-up")}
MOST_POINTS = 2000  # of one series; what is more is thinned out


@dataclass
class Axis:
    label: str
    log: bool = False
    ticks: list | None = None  # (value, text); None: chosen by who draws
    low: float | None = None
    high: float | None = None


@dataclass
class Point:
    x: float
    y: float
    low: float | None = None  # of y
    high: float | None = None
    name: str = ""
    hover: list = field(default_factory=list)


@dataclass
class Series:
    name: str
    points: list
    colour: str = "c1"
    line: bool = False
    markers: bool = True
    dash: bool = False
    symbol: str = "circle"
    legend: bool = True
    named: bool = False  # the points' names are written beside them where there is room


@dataclass
class Note:
    x: float
    y: float
    text: str
    anchor: str  # the end of the text that is at x: left, right
    colour: str
    below: bool = False


@dataclass
class Chart:
    id: str
    title: str
    alt: str  # the chart in one sentence
    x: Axis
    y: Axis
    series: list
    notes: list = field(default_factory=list)
    wide: bool = False
    caption: str = ""


def look(dtype, index=0):
    """The colour and symbol of a storage type."""
    for name in sorted(DTYPES, key=len, reverse=True):  # of "matrix-bf16" too, and not as f16
        if name in dtype:
            return DTYPES[name]
    return f"c{5 + index % 4}", "triangle-up"


def thin(points):
    step = math.ceil(len(points) / MOST_POINTS)
    return points[::step] if step > 1 else points


def spread(figure):
    width = figure.half_width if figure else None
    if width is None or figure.low == figure.high:
        return ""
    return f" ± {width * 100:.1f} %" if width < 0.095 else f" ± {width * 100:.0f} %"


def log_ticks(low, high):
    """(value, text) for a logarithmic axis: decades, and 2 and 5 between where there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if math.log10(high / low) < 2.6 else (1,)
    marks = [s * 10.0**e for e in range(first, last + 1, math.ceil((last - first) / 8) or 1) for s in steps]
    marks = [v for v in marks if low <= v <= high]
    if len(marks) < 2:
        marks = [float(f"{low * (high / low) ** part:.3g}") for part in (0.1, 0.5, 0.9)]
    return [(v, f"{v:,.10g}" if 1e-4 <= v < 1e6 else f"{v:.0e}") for v in dict.fromkeys(marks)]


def case_lines(case):
    """What hovering over a case tells."""
    lines = []
    if case.time:
        lines.append(f"{units.seconds(case.time.median)}{spread(case.time)} ({case.clock or 'unknown'} clock)")
    if case.rate:
        lines.append(units.rate(case.rate.median, "FLOP/s"))
    if case.bandwidth:
        lines.append(units.rate(case.bandwidth.median, "B/s"))
    if case.share:
        lines.append(f"{units.percent(case.share.median)} of the roofline" + (f", bound by {case.bound}" if case.bound else ""))
    if case.kernel:
        lines.append(case.kernel)
    return lines


# ---- roofline ----


def roofline(device, id, title=""):
    """None where there is nothing to draw. Of the cases only those that were proven right and timed have a place."""
    cases = [c for c in device.every_case() if c.ok and c.rate and c.intensity]
    roofs = device.roofs()
    memory, cache = positive(device.roofline, "bytes_per_second"), positive(device.roofline, "cache_bytes_per_second")
    if not cases and not (roofs and memory):
        return None
    # A kernel that stores f16 but sums in f32 is bound by the f32 peak: which peaks bound a case here, the cases tell.
    bounding = {text(c.raw, "peak") for c in cases} & set(roofs) or set(roofs)
    ridges = [roofs[name] / memory for name in bounding] if memory else []
    xs = [c.intensity for c in cases] + ridges
    low, high = (min(xs) / 3, max(xs) * 3) if xs else (0.1, 1000)
    tops = list(roofs.values()) + [c.rate.high for c in cases]
    bottoms = [c.rate.low for c in cases] + [max(rate, max(tops) * 1e-4) for rate in roofs.values()]
    bottoms += [max(low * memory, max(tops) * 1e-4)] if memory else []
    bottom, top = min(bottoms or tops) / 1.6, max(tops) * 2.2
    line = (top / bottom) ** 0.06  # as a factor: a line of letters
    top = max(top, max(tops) * line**3.5)
    factor, unit = units.axis_scale([max(tops)], "FLOP/s")

    series, notes = [], []

    def slope(bandwidth, name, end, dash):
        start = max(low, bottom / bandwidth)
        if start >= end:
            return
        points = [Point(x, x * bandwidth / factor, name=name, hover=[units.rate(bandwidth, "B/s")]) for x in (start, end)]
        series.append(Series(name, points, "roof", line=True, markers=False, dash=dash, legend=False))
        # Named at their upper ends: what stands there is above every case.
        place = math.log(end / low) / math.log(high / low)
        crowded = dash and memory and math.log(memory_end / end) / math.log(high / low) < 0.3
        anchor = "right" if place > (0.8 if not dash else 0.3) else "left"
        lift = line**2 if crowded and anchor == "left" else line
        notes.append(Note(end, end * bandwidth / factor * lift, f"{name} {units.rate(bandwidth, 'B/s')}", anchor, "muted"))

    peak = max((roofs[name] for name in bounding), default=None) or max(tops)
    memory_end = min(peak / memory, high) if memory else high
    if memory:
        slope(memory, "memory", memory_end, False)
    if cache and (not memory or cache > 1.05 * memory):
        slope(cache, "cache", min(peak / cache, high), True)
    close, last = 0, None  # the roof before this one
    for index, (name, rate) in enumerate(sorted(roofs.items(), key=lambda item: -item[1])):
        start = max(low, rate / memory) if memory else low
        points = [Point(x, rate / factor, name=f"{name} peak", hover=[units.rate(rate, "FLOP/s")]) for x in (start, high)]
        series.append(Series(f"{name} peak", points, look(name, index)[0], line=True, markers=False, dash=name not in bounding, legend=False))
        told = f"{name} {units.rate(rate, 'FLOP/s')}"
        if name not in bounding:  # the cases are further right
            notes.append(Note(start, rate / factor, told, "left", look(name, index)[0]))
            continue
        # Names of roofs that are close to each other: above, below, and the same again further left.
        close = close + 1 if last and math.log(last / rate) < 0.25 else 0
        last = rate
        notes.append(Note(high * (start / high) ** (0.36 * (close // 2)), rate / factor, told, "right", look(name, index)[0], below=close % 2 == 1))
    for index, dtype in enumerate(dict.fromkeys(c.dtype for c in cases)):
        colour, symbol = look(dtype, index)
        points = [Point(c.intensity, c.rate.median / factor, c.rate.low / factor, c.rate.high / factor, c.name, case_lines(c))
                  for c in cases if c.dtype == dtype]
        series.append(Series(dtype or "cases", thin(points), colour, symbol=symbol, named=True))
    shares = [c.share.median for c in cases if c.share]
    best = f"; the best reaches {units.percent(max(shares))} of its roof" if shares else ""
    return Chart(id, title or device.label, f"Roofline of {device.label}: {len(cases)} cases by intensity and rate{best}.",
                 Axis("intensity, FLOP per byte", log=True, low=low, high=high),
                 Axis(unit, log=True, low=bottom / factor, high=top / factor), series, notes, wide=True,
                 caption="" if bounding >= set(roofs) else "Dashed: " + ", ".join(n for n in roofs if n not in bounding)
                 + " arithmetic, which bounds none of these cases: their kernels compute in "
                 + " or ".join(sorted(bounding)) + ", whatever they store.")


# ---- speed against a size ----


AXES = {"N": "sequence length, tokens", "head_dim": "head dimension", "density": "density, visible pairs / all pairs"}


def sweeps(device, prefix, several):
    """A chart of each sweep, and the cases in it that have no time."""
    charts, bad = [], []
    for index, sweep in enumerate(device.sweeps):
        axis = text(sweep, "axis") or text(sweep, "name")
        read = []
        for series in objects(sweep, "series"):
            points = []
            for point in objects(series, "points"):
                x = number(point, "x")
                case = read_case(point["case"]) if isinstance(point.get("case"), dict) else None
                if case and not case.ok:
                    bad.append(case)
                if x is not None and case and case.rate:
                    points.append((x, case))
            if points:
                read.append((text(series, "label") or "unnamed", sorted(points, key=lambda p: p[0])))
        cases = [case for _, points in read for _, case in points]
        if not cases:
            continue
        memory = all(c.bound == "memory" and c.bandwidth for c in cases)
        of, unit_of_rate = (lambda x, c: c.bandwidth, "B/s") if memory else (lambda x, c: c.rate, "FLOP/s")
        speed = text(sweep, "speed")
        if speed == "calls":
            of, unit_of_rate = (lambda x, c: c.time.inverse(1)), "calls/s"
        by_token = speed == "time of a token"
        if by_token:
            of, unit_of_rate = (lambda x, c: c.time.times(1 / x)), "s"
        values = [(of(x, case).median, case.name) for _, points in read for x, case in points]
        factor, unit = units.axis_scale([value for value, _ in values], unit_of_rate)
        xs = sorted({x for _, points in read for x, _ in points})
        log = xs[0] > 0 and xs[-1] / xs[0] >= 8
        drawn = []
        for place, (label, points) in enumerate(read):
            drawn.append(Series(label, thin([
                Point(x, of(x, c).median / factor, of(x, c).low / factor, of(x, c).high / factor, c.name, case_lines(c)) for x, c in points
            ]), f"c{1 + place % COLOURS}", line=True, symbol=["circle", "square", "diamond", "triangle-up"][place % 4]))
        title = f"{'Time of a token' if by_token else 'Speed'} against {axis}" + (f", {device.label}" if several else "")
        best, fastest = (min if by_token else max)(values)
        charts.append(Chart(
            f"{prefix}-sweep-{index}", title,
            f"{title}: {len(drawn)} series; the fastest point is {fastest} at {units.seconds(best) if by_token else units.rate(best, unit_of_rate)}.",
            Axis(AXES.get(axis, " ".join(filter(None, (axis, text(sweep, "unit"))))), log=log,
                 ticks=apart(xs, log) if len(xs) <= 16 else None),
            Axis(unit, log=True) if speed == "calls" or by_token else Axis(unit, low=0), drawn))  # a call takes longer with each token: powers, not zero, matter
    return charts, bad


def apart(xs, log):
    """Ticks at the values, but for those that would stand too close to the one before."""
    places = [math.log(x) if log else x for x in xs]
    kept = []
    for x, place in zip(xs, places):
        if not kept or place - kept[-1][1] > 0.11 * (places[-1] - places[0]):
            kept.append((x, place))
    return [(x, f"{x:g}") for x, _ in kept]


# ---- over time ----


def sustained(device, prefix, several):
    charts = []
    for index, entry in enumerate(device.sustained):
        points = sorted((p for p in objects(entry, "points") if number(p, "t") is not None), key=lambda p: number(p, "t"))
        case, flops = text(entry, "case") or "unnamed", positive(entry, "flops")
        rates = [(number(p, "t"), flops / positive(p, "seconds") if flops else positive(p, "seconds"))
                 for p in points if positive(p, "seconds")]
        if not rates:
            continue
        factor, unit = units.axis_scale([r for _, r in rates], "FLOP/s" if flops else "s")
        where = f", {device.label}" if several else ""
        slowdown = positive(entry, "slowdown")
        told = f"{case}: {units.quantity(rates[0][1], unit_base(flops))} at first, {units.quantity(rates[-1][1], unit_base(flops))} at the end"
        if slowdown:
            told += f"; a run takes {slowdown:.2f} times as long as at the start"
        name = f"{prefix}-sustained-{index}"
        charts.append(Chart(name, f"{case} over time{where}", f"{told}.", Axis("seconds since the start"), Axis(unit, low=0), [
            Series(case, thin([Point(t, r / factor, name=f"{t:.0f} s", hover=[units.quantity(r, unit_base(flops))]) for t, r in rates]),
                   "c1", line=True, markers=len(rates) <= 30, legend=False)], caption=f"{told}."))
        for key, title, label, scale, colour in (("clock_hz", "Clock", "GHz", 1e9, "c4"), ("celsius", "Temperature", "°C", 1, "c5"),
                                                 ("watts", "Power", "W", 1, "c3")):
            read = [(number(p, "t"), positive(p, key)) for p in points if positive(p, key)]
            if read:
                charts.append(Chart(
                    f"{name}-{key}", f"{title} meanwhile{where}",
                    f"{title} while {case} ran: {units.digits(read[0][1] / scale)} {label} at first, "
                    f"{units.digits(read[-1][1] / scale)} {label} at the end.",
                    Axis("seconds since the start"), Axis(label, low=None if key == "celsius" else 0),
                    [Series(title, thin([Point(t, v / scale, name=f"{t:.0f} s", hover=[f"{units.digits(v / scale)} {label}"])
                                         for t, v in read]), colour, line=True, markers=len(read) <= 30, legend=False)]))
    return charts


def unit_base(flops):
    return "FLOP/s" if flops else "s"


# ---- bandwidth against working set ----


def cache(devices, id="cache"):
    series, all_rates = [], []
    for device in devices:
        gauges = sorted((g for g in device.gauges if g.group == "cache" and g.bytes and g.unit == "B/s"), key=lambda g: g.bytes)
        # cache-texel-16KiB, cache-texel-64KiB, ..: one line.
        kinds = list(dict.fromkeys(g.name.rpartition("-")[0] for g in gauges))[:12]
        for kind in kinds:
            for native in (False, True):
                points = [(g, g.native if native else g.value) for g in gauges if g.name.rpartition("-")[0] == kind]
                points = [(g, value) for g, value in points if value]
                if not points:
                    continue
                all_rates += [value.median for _, value in points]
                name = ", ".join(filter(None, (device.label if len(devices) > 1 else "", kind, "native code" if native else "")))
                index = len([s for s in series if not s[3]]) - native  # a native line has the colour of its kernel's
                series.append((name, points, f"c{1 + index % COLOURS}", native))
    if not series:
        return None
    factor, unit = units.axis_scale(all_rates, "B/s")
    xs = sorted({g.bytes for _, points, _, _ in series for g, _ in points})
    return Chart(
        id, "Read rate against working set",
        f"Read rate against working set, {units.size(xs[0])} to {units.size(xs[-1])}: "
        f"{units.rate(min(all_rates), 'B/s')} to {units.rate(max(all_rates), 'B/s')}.",
        Axis("working set", log=True, ticks=[(x, units.size(x)) for x in xs]), Axis(unit, low=0),
        [Series(name, [Point(g.bytes, v.median / factor, v.low / factor, v.high / factor, units.size(g.bytes),
                             [f"{name}: {units.rate(v.median, 'B/s')}{spread(v)}"]) for g, v in points],
                colour, line=True, dash=native, symbol="square" if native else "circle") for name, points, colour, native in series])
