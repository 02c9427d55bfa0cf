"""Pieces of the page that are plain HTML: bars, tables, the heat map."""

import itertools
import re
from collections import defaultdict
from dataclasses import dataclass
from html import escape

import units
from charts import case_lines, spread
from results import Figure, figure, mapping, number, positive, text

MOST_ROWS = 4000  # of a table or a row of bars; a page of more is of no use


def cut(items, most=MOST_ROWS):
    """The items that are shown, and a paragraph that says how many are not."""
    left = len(items) - most
    return items[:most], f'<p class="muted small">{left} more are in the JSON.</p>' if left > 0 else ""


# ---- bars ----


@dataclass
class Bar:
    figure: Figure
    told: str
    colour: str
    hover: str = ""
    mark: float | None = None  # what it is held against


def bars(rows, whole=None):
    """rows: (label, [Bar, ..]), or (label, None) for a heading. `whole`: what the full width stands for."""
    figures = [bar for _, group in rows for bar in group or ()]
    whole = whole or max((max(b.figure.high, b.mark or 0) for b in figures), default=1) * 1.02
    out = ['<div class="bars">']
    for label, group in rows:
        if group is None:
            out.append(f'<div class="bar heading">{escape(label)}</div>')
            continue
        track, told = [], []
        for bar in group:
            f = bar.figure
            part = [min(100 * v / whole, 100) for v in (f.median, f.low, f.high)]
            whisker = (f'<span class="whisker" style="left:{part[1]:.2f}%;width:{part[2] - part[1]:.2f}%"></span>'
                       if f.high > f.low else "")
            mark = f'<span class="mark" style="left:{min(100 * bar.mark / whole, 100):.2f}%"></span>' if bar.mark else ""
            track.append(f'<span class="cell" title="{escape(bar.hover)}" style="position:relative;display:block">'
                         f'<span class="fill b-{bar.colour}" style="width:{part[0]:.2f}%"></span>{whisker}{mark}</span>')
            told.append(f"<span>{escape(bar.told)}</span>")
        out.append(f'<div class="bar"><code class="label">{escape(label)}</code><span class="track" aria-hidden="true">'
                   f'{"".join(track)}</span><span class="told">{"".join(told)}</span></div>')
    return "".join(out) + "</div>"


def legend(entries):
    """entries: (name, colour)"""
    return '<ul class="legend">' + "".join(f'<li><i class="b-{c}"></i>{escape(n)}</li>' for n, c in entries) + "</ul>"


# ---- tables ----


def cell(shown, value=None, css="n"):
    """A cell that sorts by a number, where one is given; "" sorts to the end."""
    key = f' data-v="{value!r}"' if value is not None else ' data-v=""' if css == "n" else ""
    return f'<td class="{css}"{key}>{shown}</td>'


def measured(value, show, css="n"):
    return cell(escape(show(value)) if value is not None else "", value, css)


def table(id, heads, rows, pinned=True):
    """heads: (text, number?, first order, hint). rows: HTML of <tr>."""
    head = "".join(
        f'<th scope="col"{" class=n" if numeric else ""} data-first="{first}"{f" title={chr(34)}{escape(hint)}{chr(34)}" if hint else ""}>'
        f'<button type="button">{escape(name)}</button></th>' for name, numeric, first, hint in heads)
    return (f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(id)}"><table id="{escape(id)}" '
            f'class="sort{" pinned" if pinned else ""}"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>')


_UP, _DOWN = "ascending", "descending"
CASE_HEADS = [
    ("case", False, _UP, ""), ("group", False, _UP, ""), ("kernel, and why", False, _UP, ""), ("time", True, _UP, "median"),
    ("±", True, _UP, "half of the interval that holds the median, as a part of it"), ("FLOP/s", True, _DOWN, ""),
    ("B/s", True, _DOWN, ""), ("FLOP/B", True, _DOWN, "intensity"), ("of roofline", True, _DOWN, ""), ("bound", False, _UP, ""),
    ("cold start", True, _UP, "plan, prepare, bind and the first run"), ("memory", True, _UP, "all the device memory that rapt held"),
    ("error", True, _UP, "the largest, against double precision"), ("energy", True, _UP, "per run"), ("status", False, _UP, ""),
]


def case_table(entries, several, id="cases"):
    """entries: (device, case)"""
    rows = []
    entries, rest = cut(entries)
    for device, case in entries:
        raw, time = case.raw, case.time
        why = "; ".join(filter(None, (text(raw, "why"), f"merge: {text(raw, 'merge_kernel')}" if text(raw, "merge_kernel") else "",
                                      f"{number(raw, 'key_splits'):g} key splits" if (number(raw, "key_splits") or 0) > 1 else "",
                                      f"{number(raw, 'slices'):g} slices" if (number(raw, "slices") or 0) > 1 else "")))
        error, allowed = number(raw, "proof", "max_error"), number(raw, "proof", "tolerance")
        status = {"ok": "good", "refused": "warn"}.get(case.status, "bad")
        told = "proven" if case.ok and raw.get("proof") else case.status
        half = time.half_width if time and time.high > time.low else None
        bound_by = f'<div class="muted small">{escape(text(raw, "peak"))}</div>' if case.ok and case.bound == "compute" and text(raw, "peak") else ""
        rows.append(
            f'<tr{" class=bad" if case.status in ("wrong", "failed") else ""}><th scope="row"><code>{escape(case.name)}</code></th>'
            + (f'<td class="device">{escape(device.label)}</td>' if several else "")
            + f'<td>{escape(case.group)}</td><td class="why"><code>{escape(case.kernel)}</code>'
            + f'<div class="muted small">{escape(why)}</div></td>'
            + measured(time.median if time else None, units.seconds) + measured(half, units.percent)
            + measured(case.rate.median if case.rate else None, lambda v: units.rate(v, "FLOP/s"))
            + measured(case.bandwidth.median if case.bandwidth else None, lambda v: units.rate(v, "B/s"))
            + measured(case.intensity, units.digits) + measured(case.share.median if case.share else None, units.percent)
            + f"<td>{escape(case.bound)}{bound_by}</td>" + measured(positive(raw, "cold_seconds") if case.ok else None, units.seconds)
            + measured(positive(raw, "memory_bytes"), units.size)
            + cell(f'{error:.1e}<div class="muted small">of {allowed:.1e}</div>' if error is not None and allowed else
                   f"{error:.1e}" if error is not None else "", error)
            + measured(positive(raw, "joules") if case.ok else None, lambda v: units.rate(v, "J") if v >= 1 else f"{v * 1e3:.3g} mJ")
            + f'<td class="why"><span class="tag {status}">{escape(told)}</span>'
            + (f'<div class="small">{escape(case.message)}</div>' if case.message else "") + "</td></tr>")
    heads = [CASE_HEADS[0], *([("device", False, _UP, "")] if several else []), *CASE_HEADS[1:]]
    return table(id, heads, rows) + rest


# ---- the device ----

GROUPS = {
    "arithmetic": "Arithmetic", "matrix": "Cooperative matrices", "memory": "Device memory", "cache": "Caches", "shared": "Shared memory",
    "atomic": "Atomics", "transfer": "Transfers", "latency": "Latencies", "subgroup": "Subgroup operations",
}
BYTES = {"max_shared_bytes", "max_storage_range", "max_uniform_range", "max_allocation", "device_heap_bytes", "host_heap_bytes"}
UNTOLD = {"index", "chosen", "uuid", "driver_uuid", "name"}


def device_value(key, value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        number_ = number({"v": value}, "v")
        if number_ is None:
            return ""
        if key in BYTES:
            return units.size(number_)
        return f"0x{value:04x}" if key in ("vendor_id", "device_id") and isinstance(value, int) and value >= 0 else f"{value:,}"
    if isinstance(value, str):
        return text({"v": value}, "v")
    if isinstance(value, dict):
        return ", ".join(f"{k} {device_value(k, v)}" for k, v in list(value.items())[:40])
    if isinstance(value, list):
        short = key.startswith("max_") and all(isinstance(v, int) for v in value)
        joint = " × " if short else "; " if any(isinstance(v, dict) for v in value) else ", "
        return joint.join(device_value(key, v) for v in value[:200]) or "none"
    return ""


def capabilities(devices):
    """One column for each device."""
    keys = list(dict.fromkeys(k for d in devices for k in d.info if k not in UNTOLD))[:200]
    if not keys:
        return '<p class="muted">The file says nothing of the device.</p>'
    head = "".join(f'<th scope="col">{escape(d.label)}</th>' for d in devices)
    rows = "".join(
        f'<tr><th scope="row">{escape(key.replace("_", " "))}</th>'
        + "".join(f"<td>{escape(device_value(key, d.info.get(key)))}</td>" for d in devices) + "</tr>" for key in keys)
    return (f'<div class="scroll" tabindex="0" role="region" aria-label="capabilities"><table class="pinned"><thead><tr><th scope="col">'
            f'capability</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>')


def gauge_table(device, group):
    gauges, rest = cut([g for g in device.gauges if g.group == group], 400)
    largest = defaultdict(float)
    for g in gauges:
        if g.ok:
            largest[g.unit] = max(largest[g.unit], g.value.median)
    with_native = any(g.native for g in gauges)
    with_best = any(positive(g.raw, "of_best_known") for g in gauges)
    rows = []
    for g in gauges:
        what = escape(text(g.raw, "what"))
        limit = text(g.raw, "limit")
        if g.ok:
            part = 100 * g.value.median / largest[g.unit] if largest[g.unit] else 0
            meter = f'<span class="meter" aria-hidden="true"><span style="width:{part:.1f}%"></span></span>' if not g.lower_is_better else ""
            shown = (f"{escape(units.quantity(g.value.median, g.unit))}<span class='muted'>{escape(spread(g.value))}</span>"
                     f"{meter}")
        else:
            bad = "bad" if g.status in ("wrong", "failed") else ""
            shown = f'<span class="tag {bad}">{escape(g.status)}</span>'
        columns = cell(shown)
        if with_native:
            native_name, valid = text(g.raw, "native", "name"), (g.raw.get("native") or {}).get("valid") is not False if g.native else True
            told = f"{escape(units.quantity(g.native.median, g.unit))}<div class='muted small'>{escape(native_name)}</div>" if g.native else ""
            of_native = positive(g.raw, "of_native")
            other = figure(mapping(mapping(g.raw, "native"), "other"), "value")
            if g.native and other:
                told += (f'<div class="muted small">{escape(text(g.raw, "native", "other", "name"))} '
                         f"{escape(units.quantity(other.median, g.unit))}</div>")
            if g.native and not valid:
                told += f"<span class='tag warn'>does not count</span><div class='muted small'>{escape(text(g.raw, 'native', 'why'))}</div>"
            columns += cell(told) + cell(escape(units.percent(of_native)) if of_native and valid else "")
        if with_best:
            of_best = positive(g.raw, "of_best_known")
            where = text(g.raw, "best_known", "where")
            columns += cell((escape(units.percent(of_best)) if of_best else "")
                            + (f"<div class='muted small'>{escape(where)}</div>" if where else ""))
        notes = [f'<div class="muted small">{what}</div>' if what else ""]
        notes += [f'<div class="small">Limit: {escape(limit)}</div>'] if limit else []
        notes += [f'<div class="small">{escape(g.message)}</div>'] if g.message else []
        rows.append(f'<tr{" class=bad" if g.status in ("wrong", "failed") else ""}><th scope="row"><code>{escape(g.name)}</code></th>{columns}'
                    f'<td class="why">{"".join(notes)}</td></tr>')
    heads = "<th scope=col>gauge</th><th scope=col class=n>measured</th>"
    heads += "<th scope=col class=n>native code</th><th scope=col class=n>of native</th>" if with_native else ""
    heads += "<th scope=col class=n>of best known</th>" if with_best else ""
    return (f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(group)}"><table class="pinned"><thead><tr>{heads}'
            f'<th scope=col>what</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>{rest}')


def gauges_side_by_side(devices):
    """The gauges that more than one device has."""
    names = list(dict.fromkeys(g.name for d in devices for g in d.gauges if g.ok))
    found = [{g.name: g for g in d.gauges if g.ok} for d in devices]
    names = [n for n in names if sum(n in f for f in found) > 1][:400]
    if not names:
        return ""
    head = "".join(f'<th scope="col" class="n">{escape(d.label)}</th>' for d in devices)
    rows = "".join(f'<tr><th scope="row"><code>{escape(n)}</code></th>' + "".join(
        cell(escape(units.quantity(f[n].value.median, f[n].unit)) if n in f else "") for f in found) + "</tr>" for n in names)
    return (f'<div class="card"><h3>The same gauges side by side</h3><div class="scroll" tabindex="0" role="region" aria-label="gauges side by side">'
            f'<table class="pinned"><thead><tr><th scope="col">gauge</th>{head}</tr></thead><tbody>{rows}</tbody></table></div></div>')


# ---- the vendors' compilers ----


def heat_map(cells):
    gpus = list(dict.fromkeys(text(c, "gpu") for c in cells))[:60]
    vendor = {text(c, "gpu"): text(c, "vendor") for c in cells}
    gpus.sort(key=lambda g: vendor[g] or "~")
    natural = lambda pair: [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", " ".join(pair))]  # d64 before d128
    rows, rest = cut(sorted({(text(c, "family"), text(c, "row")) for c in cells}, key=natural), 1000)
    best = defaultdict(float)
    at = {}
    for c in cells:
        at[text(c, "row"), text(c, "gpu")] = c
        best[text(c, "gpu")] = max(best[text(c, "gpu")], positive(c, "occupancy") or 0)
    spilling = sum((number(c, "spills") or 0) > 0 for c in cells)
    body = []
    for family, row in rows:
        line = []
        for gpu in gpus:
            c = at.get((row, gpu))
            if c is None:
                line.append('<td class="none" title="not compiled"></td>')
                continue
            status, spills = text(c, "status") or "ok", number(c, "spills") or 0
            occupancy = positive(c, "occupancy")
            told = [f"{row} on {gpu}" + (f" ({vendor[gpu]})" if vendor[gpu] else "")]
            told += [f"{name}: {number(c, key):g}" for key, name in (
                ("registers", "registers"), ("occupancy", "occupancy"), ("spills", "spills"), ("scratch_bytes", "scratch bytes"),
                ("cycles", "cycles"), ("instructions", "instructions")) if number(c, key) is not None]
            told += [f"occupancy in {text(c, 'occupancy_unit')}"] if text(c, "occupancy_unit") and occupancy else []
            told += [text(c, "message")] if text(c, "message") else []
            if status != "ok":
                told.append(f"status: {status}")
                mark = "–" if status in ("refused", "unsupported", "ineligible", "skipped") else "×"
                line.append(f'<td class="none{" broken" * (mark == "×")}" title="{escape(chr(10).join(told))}">{mark}</td>')
            elif spills > 0:
                line.append(f'<td class="spill" title="{escape(chr(10).join(told))}">{spills:g}</td>')
            else:
                shade = 0.06 + 0.5 * occupancy / best[gpu] if occupancy and best[gpu] else 0.04
                shown = f"{occupancy:g}" if occupancy else f"{number(c, 'registers'):g}r" if number(c, "registers") is not None else "·"
                line.append(f'<td style="background:rgba(var(--heat),{shade:.2f})" title="{escape(chr(10).join(told))}">{shown}</td>')
        body.append(f'<tr data-family="{escape(family)}"><th scope="row">{escape(row)}</th>{"".join(line)}</tr>')
    head = "".join(f'<th scope="col">{escape(g)}</th>' for g in gpus)
    makers = "".join(f'<td class="maker" colspan="{len(list(group))}">{escape(maker)}</td>'
                     for maker, group in itertools.groupby(gpus, key=lambda g: vendor[g]))
    return (f'<p class="under">{len(rows)} kernels on {len(gpus)} GPUs, {spilling} of {len(cells)} combinations spill. '
            "A red cell gives the registers spilled or the spills' instructions; a blue one the occupancy in the driver's own unit, the darker "
            "the nearer to the most that any kernel has on that GPU, or the registers (r) where the driver tells no occupancy; – is a GPU that cannot run the kernel, × a compiler that failed, an empty one was not asked. "
            "Point at a cell for all its numbers.</p>"
            '<input class="filter" type="search" placeholder="filter kernels" aria-label="filter kernels" data-of="heat">'
            '<div class="scroll card" tabindex="0" role="region" aria-label="heat map"><table id="heat" class="heat pinned"><thead>'
            f'<tr><td class="maker"></td>{makers}</tr><tr>'
            f'<th scope="col">kernel</th>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>{rest}')


def case_hover(case):
    return "\n".join([case.name, *case_lines(case)])
