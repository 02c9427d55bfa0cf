"""The page: which sections there are, and what each says where something is missing."""

import json
import pathlib
from html import escape

import charts
import live
import parts
import still
import units
from parts import Bar
from results import figure, mapping, number, objects, positive, read_peers, text

HERE = pathlib.Path(__file__).resolve().parent
BUSY = 0.1  # share of the CPUs that others took, from which the page warns
MOST_BARS = 120


class Page:
    def __init__(self, runs, devices, lab, script):
        self.runs, self.devices, self.lab, self.script = runs, devices, lab, script
        self.several = len(devices) > 1
        self.figures, self.sections = [], []

    def section(self, id, title, short, body):
        self.sections.append((id, short, f'<section aria-labelledby="{id}"><h2 id="{id}">{escape(title)}</h2>{body}</section>'))

    def chart(self, chart, lone=False, room=540):
        if self.script:
            self.figures.append(live.figure(chart))
        wide = chart.wide and lone
        desktop = still.draw(chart, 1080 if lone else room, 470 if wide else 350)
        phone = still.draw(chart, 380, 380 if chart.wide else 320)
        caption = f"<figcaption>{escape(chart.caption)}</figcaption>" if chart.caption else ""
        css = ("wide " if chart.wide else "") + ("lone " if lone else "")
        return (f'<figure class="card chart {css}"><h3>{escape(chart.title)}</h3>'
                f'<div id="{chart.id}-still" class="still"><div class="for-desktop">{desktop}</div><div class="for-phone">{phone}</div></div>'
                f'<div id="{chart.id}-live" class="live" role="img" aria-label="{escape(chart.alt)}" hidden></div>{caption}</figure>')

    def charts(self, made):
        columns = "grid2" if len(made) in (1, 2, 4) or any(c.wide for c in made) else "grid2 grid3"
        return f'<div class="{columns}">' + "".join(self.chart(c, len(made) == 1, 400 if "grid3" in columns else 540) for c in made) + "</div>"

    def html(self):
        head = header(self)
        body = []
        for build in (headline, rooflines, case_bars, sweep_charts, sustained, peers, comparison, all_cases, sheet, lab_section, how):
            build(self)
        title = "rapt bench: " + (" and ".join(dict.fromkeys(text(d.info, "name") or d.label for d in self.devices)) or "no device")
        return self.document(title, head, footer(self))

    def document(self, title, head, foot):
        """All sections so far, as a page that needs nothing else."""
        body = "".join(html for _, _, html in self.sections)
        links = "".join(f'<li><a href="#{id}">{escape(short)}</a></li>' for id, short, _ in self.sections)
        script = f'<script type="text/plain" id="plotly">{live.packed(self.script)}</script>' if self.script and self.figures else ""
        figures = safe_json(self.figures)
        # The page can reach nothing: no address of any kind may be loaded.
        policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; font-src data:"
        return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
                f'<meta http-equiv="Content-Security-Policy" content="{policy}"><meta name="color-scheme" content="light dark">'
                f'<title>{escape(title)}</title><link rel="icon" href="data:,"><style>\n{(HERE / "page.css").read_text()}</style></head>\n<body>{head}'
                f'<nav aria-label="sections"><ul>{links}</ul></nav>\n<main>{body}</main>\n{foot}\n'
                f'<script type="application/json" id="figures">{figures}</script>\n{script}\n'
                f'<script>\n{(HERE / "page.js").read_text()}</script></body></html>\n')


def safe_json(value):
    """JSON that can stand in a <script>: nothing in it ends the element or a line."""
    made = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return made.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def facts(entries):
    return '<dl class="facts">' + "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in entries if v) + "</dl>"


def driver_of(device):
    driver, info = text(device.info, "driver"), text(device.info, "driver_info")
    return f"{driver}, {info}" if driver and info and driver not in info else info or driver


def header(page):
    runs, devices = page.runs, page.devices
    names = list(dict.fromkeys(d.label for d in devices)) or ["No device was measured"]
    out = ['<header><p class="kicker">rapt bench, attention over Vulkan</p>', f"<h1>{'<br>'.join(map(escape, names[:8]))}</h1>"]
    for run in runs:
        raw, host = run.raw, mapping(run.raw, "host")
        drivers = list(dict.fromkeys(driver_of(d) for d in run.devices if driver_of(d)))
        cpus, ram, others = number(host, "cpus"), positive(host, "ram_bytes"), number(host, "others_share")
        took = positive(raw, "seconds")
        cpu = ", ".join(filter(None, (text(host, "cpu"), f"{cpus:g} CPUs" if cpus else "", f"{units.size(ram)} of memory" if ram else "")))
        out.append(facts([
            ("measured", units.moment(text(raw, "started"))),
            ("mode", text(raw, "mode") + (f", took {units.duration(took)}" if took else "")),
            ("driver", "; ".join(drivers)),
            ("rapt", " ".join(filter(None, (text(raw, "rapt", "version"), text(raw, "rapt", "build"))))),
            ("replayed", replayed(mapping(raw, "replay")) or "; ".join(filter(None, (replayed(r) for r in objects(raw, "replay"))))),
            ("host", cpu), ("system", text(host, "system")),
            ("other programs meanwhile", f"{units.percent(others)} of the CPUs" if others is not None else "not known"),
        ]))
    out += notices(page)
    return "".join(out) + "</header>"


def replayed(entry):
    counts = [f"{number(entry, key):g} {name}" for key, name in (("problems", "problems"), ("timed", "timed"), ("calls", "calls"))
              if number(entry, key) is not None]
    took = positive(entry, "seconds")
    return ", ".join(filter(None, (text(entry, "file"), *counts, f"{units.seconds(took)} in all" if took else "")))


def notices(page):
    out = []

    def notice(html, bad=False):
        out.append(f'<div class="notice{" bad" if bad else ""}" role="note">{html}</div>')

    wrong = [(d, c) for d in page.devices for c in d.every_case() if c.status in ("wrong", "failed")]
    wrong_gauges = [(d, g) for d in page.devices for g in d.gauges if g.status in ("wrong", "failed")]
    if wrong:
        items = "".join(f"<li><code>{escape(c.name)}</code> on {escape(d.label)}"
                        f"{f' by <code>{escape(c.kernel)}</code>' if c.kernel else ''}: {escape(c.message or c.status)}</li>" for d, c in wrong[:50])
        notice(f"<p><strong>{len(wrong)} case{'s' * (len(wrong) > 1)} gave no right result, and {'have' if len(wrong) > 1 else 'has'} no time:</strong></p>"
               f"<ul>{items}</ul>", bad=True)
    if wrong_gauges:
        items = "".join(f"<li><code>{escape(g.name)}</code> on {escape(d.label)}: {escape(g.message or g.status)}</li>" for d, g in wrong_gauges[:20])
        notice(f"<p><strong>Gauges without a figure:</strong></p><ul>{items}</ul>", bad=True)
    above = [(d, c) for d in page.devices for c in d.every_case() if c.share and c.share.low > 1]
    if above:
        notice(f"<p><strong>{len(above)} case{'s' * (len(above) > 1)} above 100 % of the roofline</strong>, so the roofline was measured too low: "
               f"{escape(', '.join(c.name for _, c in above[:8]))}</p>", bad=True)
    for run in page.runs:
        others = number(run.raw, "host", "others_share")
        of = f" ({escape(run.path)})" if len(page.runs) > 1 else ""
        if run.raw.get("interrupted") is True:
            notice(f"<p>The run was interrupted{of}: what is here was measured, the rest is missing.</p>")
        if others is not None and others >= BUSY:
            notice(f"<p>Other programs took {escape(units.percent(others))} of the CPUs{of}: the times are less certain than on a quiet machine.</p>")
    if not page.devices:
        notice("<p>There is no device in what was read, so there is nothing to show.</p>")
    for device in page.devices:
        missing = [name for name, there in (("gauges", device.gauges), ("a roofline", device.roofs()), ("cases", device.cases or device.sweeps
                   or device.sustained)) if not there]
        if missing:
            notice(f"<p>{escape(device.label)}: the file has no {' and no '.join(missing)}.</p>")
    if not page.script:
        notice("<p>This page was made without Plotly, so its charts are still pictures. Debian and Ubuntu have it as "
               "<code>python3-plotly</code>, PyPI as <code>plotly</code>.</p>")
    return out


# ---- headline ----


def headline_figures(device):
    """(label, value, note) of what people ask first."""
    out = []
    every = device.every_case()
    cases = [c for c in every if c.ok]
    shares = [c for c in cases if c.share]
    if shares:
        best = max(shares, key=lambda c: c.share.median)
        out.append(("best share of the roofline", units.percent(best.share.median), best.name))
    rated = [c for c in cases if c.rate]
    if rated:
        best = max(rated, key=lambda c: c.rate.median)
        out.append(("fastest attention", units.rate(best.rate.median, "FLOP/s"), best.name))
    moved = [c for c in cases if c.bandwidth and c.bound == "memory"]
    if moved:
        best = max(moved, key=lambda c: c.bandwidth.median)
        out.append(("fastest memory-bound", units.rate(best.bandwidth.median, "B/s"), best.name))
    roofs = device.roofs()
    if roofs:
        name = "f32" if "f32" in roofs else max(roofs, key=roofs.get)
        gauge = text(device.roofline, "flops_gauge", name)
        native = next((g for g in device.gauges if g.name == gauge and positive(g.raw, "of_native")), None)
        out.append((f"{name} peak of this device", units.rate(roofs[name], "FLOP/s"),
                    f"{units.percent(positive(native.raw, 'of_native'))} of native code" if native else gauge))
    memory = positive(device.roofline, "bytes_per_second")
    if memory:
        gauge = text(device.roofline, "bytes_gauge")
        native = next((g for g in device.gauges if g.name == gauge and positive(g.raw, "of_native")), None)
        out.append(("memory read", units.rate(memory, "B/s"),
                    f"{units.percent(positive(native.raw, 'of_native'))} of native code" if native else gauge))
    tried = [c for c in every if c.status in ("ok", "wrong", "failed")]
    if tried:
        out.append(("cases proven right", f"{len(cases)} of {len(tried)}", "before any was timed"))
    return out


def value_html(value):
    number_, _, unit = value.partition(" ")
    return f"{escape(number_)} <small>{escape(unit)}</small>"


def headline(page):
    body = []
    if page.several:
        columns = [{label: (value, note) for label, value, note in headline_figures(d)} for d in page.devices]
        head = "".join(f'<th scope="col" class="n">{escape(d.label)}</th>' for d in page.devices)
        rows = "".join(f'<tr><th scope="row">{escape(label)}</th>' + "".join(
            f'<td class="n"><strong>{escape(c[label][0])}</strong><div class="muted small">{escape(c[label][1])}</div></td>' if label in c else "<td></td>"
            for c in columns) + "</tr>" for label in dict.fromkeys(label for c in columns for label in c))
        if rows:
            body.append(f'<div class="card scroll glance" tabindex="0" role="region" aria-label="at a glance"><table class="pinned"><thead><tr><th></th>{head}'
                        f"</tr></thead><tbody>{rows}</tbody></table></div>")
    elif page.devices and (figures := headline_figures(page.devices[0])):
        body.append('<div class="cards">' + "".join(
            f'<div class="card"><div class="figure-label">{escape(label)}</div><div class="figure-value">{value_html(value)}</div>'
            f'<div class="figure-note">{escape(note)}</div></div>' for label, value, note in figures) + "</div>")
    if body:
        page.section("headline", "At a glance", "At a glance", "".join(body))


# ---- attention ----


def rooflines(page):
    made = [c for i, d in enumerate(page.devices) if (c := charts.roofline(d, f"roofline-{i}", "" if page.several else "Rate over arithmetic intensity"))]
    body = ('<p class="under">Each proven case at its arithmetic intensity. The lines are what this device was measured to do in the same run: '
            "the memory line for what no cache holds, the cache line for what one does. No case may be above the line that bounds it.</p>")
    body += page.charts(made) if made else '<p class="muted">No case was timed, and no roofline measured.</p>'
    page.section("roofline", "Roofline", "Roofline", body)


def between(figure_, show):
    return f" ({show(figure_.low)}–{show(figure_.high)})" if figure_.high > figure_.low else ""


def case_bars(page):
    names = list(dict.fromkeys(c.name for d in page.devices for c in d.cases if c.ok and (c.share or c.time)))
    if not names:
        return
    found = [{c.name: c for c in d.cases if c.ok} for d in page.devices]
    group_of = {c.name: c.group for d in page.devices for c in d.cases}
    groups = list(dict.fromkeys(group_of[n] for n in names))
    names, rest = parts.cut(names, MOST_BARS)
    if page.several:
        key = parts.legend([(d.label, f"c{1 + i % charts.COLOURS}") for i, d in enumerate(page.devices)])
    else:
        key = parts.legend([(n or "cases", charts.look(n, i)[0]) for i, n in enumerate(dict.fromkeys(c.dtype for c in found[0].values()))])

    def rows(of, told, kept=lambda c: True):
        out = []
        for group in groups:
            block = []
            for name in (n for n in names if group_of[n] == group):
                made = []
                for place, cases in enumerate(found):
                    case = cases.get(name)
                    if case and of(case) and kept(case):
                        colour = f"c{1 + place % charts.COLOURS}" if page.several else charts.look(case.dtype)[0]
                        made.append(Bar(of(case), told(of(case)), colour, parts.case_hover(case)))
                if made:
                    block.append((name, made))
            if block:
                out += [(group, None)] * bool(group) + block
        return out

    body = [key]
    shares = rows(lambda c: c.share, lambda f: units.percent(f.median) + between(f, lambda v: units.digits(v * 100)))
    if shares:
        whole = max(1.0, max(b.figure.high for _, g in shares for b in g or ()))
        body.append(f'<div class="card"><h3>Share of the roofline</h3>{parts.bars(shares, whole)}'
                    f'<p class="muted small" style="margin:10px 0 0">The full width is {units.percent(whole)}.</p></div>')
    rates = [
        ("Arithmetic rates", rows(lambda c: c.rate, lambda f: units.rate(f.median, "FLOP/s") + charts.spread(f), lambda c: c.bound != "memory")),
        ("Memory rates, where memory is the bound", rows(lambda c: c.bandwidth, lambda f: units.rate(f.median, "B/s") + charts.spread(f), lambda c: c.bound == "memory")),
    ]
    for title, made in rates:
        if made:
            opened = "" if shares else " open"
            body.append(f'<details class="group card"{opened}><summary>{title}</summary><div style="margin-top:8px">{parts.bars(made)}</div></details>')
    page.section("speed", "Cases", "Cases", '<p class="under">Bars end at the median; whiskers span the interval that holds the true median with a '
                 "probability of 95 % (of fewer than 6 runs: the whole range).</p>" + "".join(body) + rest)


def sweep_charts(page):
    made, bad = [], []
    for place, device in enumerate(page.devices):
        more, wrong = charts.sweeps(device, f"device-{place}", page.several)
        made += more
        bad += wrong
    if made or bad:
        lost = "".join(f"<li><code>{escape(c.name)}</code>: {escape(c.status)}{f', {escape(c.message)}' if c.message else ''}</li>" for c in bad[:60])
        page.section("sweeps", "Speed against size", "Sweeps", (page.charts(made) if made else "") + (
            f'<div class="notice{" bad" if any(c.status in ("wrong", "failed") for c in bad) else ""}"><p>Points without a time:</p><ul>{lost}</ul></div>'
            if bad else ""))


def sustained(page):
    made = [c for i, d in enumerate(page.devices) for c in charts.sustained(d, f"device-{i}", page.several)]
    if not made:
        return
    why = [f"{escape(d.label)}: {escape(text(d.sensors, 'why_not'))}" for d in page.devices if d.sustained and text(d.sensors, "why_not")]
    page.section("sustained", "Over time", "Over time", page.charts(made) + "".join(f'<p class="muted small">{w}</p>' for w in why))


# ---- others ----


def peers(page):
    body = []
    for run in page.runs:
        versions, found = read_peers(run)
        if not found and not versions:
            continue
        told = ", ".join(f"{name} {text(versions, name)}".strip() for name in versions)
        backends = list(dict.fromkeys(p.backend for p in found))
        key = {b: f"c{1 + i % charts.COLOURS}" for i, b in enumerate(backends)}
        rows, lost = [], []
        for case in dict.fromkeys(p.case for p in found):
            bars = [Bar(p.rate, units.rate(p.rate.median, "FLOP/s"), key[p.backend], f"{p.backend}: {p.peer}")
                    for p in found if p.case == case and p.rate]
            lost += [f"<li>{escape(p.backend)}, <code>{escape(case)}</code>: {escape(p.error or 'no result')}</li>" for p in found if p.case == case and not p.rate]
            if bars:
                rows.append((case, bars))
        rows, rest = parts.cut(rows, MOST_BARS)
        body.append((f'<p class="under">{escape(told)}. All in interleaved rounds of one process, each result proven; whiskers span the middle half of the rounds.</p>')
                    + parts.legend([(b, key[b]) for b in backends])
                    + (f'<div class="card">{parts.bars(rows)}</div>' if rows else "") + rest
                    + (f'<div class="notice"><ul>{"".join(lost[:40])}</ul></div>' if lost else ""))
    if body:
        page.section("peers", "Beside other libraries", "Peers", "".join(body))


VERDICTS = {"same": "", "faster": "good", "new": "", "slower": "bad", "wrong": "bad", "missing": "warn", "unknown": "warn"}


def comparison(page):
    for place, run in enumerate(page.runs):
        compared = mapping(run.raw, "comparison")
        cases = objects(compared, "cases")
        if not compared:
            continue
        counts = {v: sum(text(c, "verdict") == v for c in cases) for v in VERDICTS}
        told = ", ".join(f"{n} {v}" for v, n in counts.items() if n) or "no case to compare"
        rows = []
        cases, rest = parts.cut(cases)
        for c in cases:
            ratio, verdict = figure(c, "ratio"), text(c, "verdict")
            between = f'<div class="muted small">{units.digits(ratio.low)} to {units.digits(ratio.high)}</div>' if ratio and ratio.high > ratio.low else ""
            rows.append(f'<tr{" class=bad" if VERDICTS.get(verdict) == "bad" else ""}><th scope="row"><code>{escape(text(c, "case"))}</code></th>'
                        + (f'<td>{escape(text(c, "device"))}</td>' if page.several else "")
                        + parts.cell(f"{units.digits(ratio.median)}{between}" if ratio else "", ratio.median if ratio else None)
                        + f'<td><span class="tag {VERDICTS.get(verdict, "")}">{escape(verdict)}</span></td><td class="why">{escape(text(c, "why"))}</td></tr>')
        heads = [("case", False, "ascending", ""), *([("device", False, "ascending", "")] if page.several else []),
                 ("time, now : then", True, "descending", "above 1: slower now"), ("verdict", False, "ascending", ""), ("why", False, "ascending", "")]
        page.section(f"comparison-{place}" if place else "comparison", "Beside an earlier run", "Comparison",
                     f'<p class="under">Against {escape(text(compared, "baseline") or "a baseline")}'
                     + (f' of {escape(units.moment(text(compared, "started")))}' if text(compared, "started") else "")
                     + f": {escape(told)}.</p><div class='card'>{parts.table(f'comparison-table-{place}', heads, rows)}</div>{rest}")


def all_cases(page):
    entries = [(d, c) for d in page.devices for c in d.cases]
    if entries:
        page.section("table", "All cases", "Table", '<p class="under">A click on a heading sorts.</p>'
                     '<input class="filter" type="search" placeholder="filter cases" aria-label="filter cases" data-of="cases">'
                     f'<div class="card">{parts.case_table(entries, page.several)}</div>')
    points = [(d, case) for d in page.devices for case in d.sweep_cases()]
    if points:
        body = f"<details><summary>The {len(points)} points of the sweeps</summary><div class='card'>{parts.case_table(points, page.several, 'sweep-points')}</div></details>"
        page.section("points", "Sweep points", "Points", body)


# ---- the device ----


def sheet(page):
    if not page.devices:
        return
    body = []
    cache = charts.cache(page.devices)
    if cache:
        body.append(f'<div class="grid2">{page.chart(cache, lone=True)}</div>')
    if page.several:
        body.append(f'<div style="margin-top:14px">{parts.gauges_side_by_side(page.devices)}</div>')
    for device in page.devices:
        groups = sorted(dict.fromkeys(g.group for g in device.gauges),
                        key=lambda g: list(parts.GROUPS).index(g) if g in parts.GROUPS else len(parts.GROUPS))
        if page.several and groups:
            body.append(f'<h3 style="margin-top:22px">{escape(device.label)}</h3>')
        for group in groups:
            count = sum(g.group == group for g in device.gauges)
            small = count <= 16 and not page.several
            body.append(f'<details class="group card" style="margin-top:12px"{" open" if small else ""}><summary>{escape(parts.GROUPS.get(group, group))} '
                        f'<span class="muted small">{count} gauge{"s" * (count > 1)}</span></summary>{parts.gauge_table(device, group)}</details>')
        sensors = [f"{k.replace('_', ' ')}: {text(device.sensors, k)}" for k in ("energy", "clock", "temperature", "why_not") if text(device.sensors, k)]
        if sensors:
            body.append(f'<p class="muted small" style="margin-top:10px">Sensors: {escape("; ".join(sensors))}</p>')
    body.append(f'<details class="group card" style="margin-top:12px"{"" if page.several else " open"}><summary>Capabilities</summary>{parts.capabilities(page.devices)}</details>')
    page.section("device", "The device" + "s" * page.several, "Device", "".join(body))


def lab_section(page):
    if page.lab is None:
        return
    body = parts.heat_map(page.lab) if page.lab else '<p class="muted">The lab file is empty.</p>'
    page.section("lab", "What the vendors' compilers make of the kernels", "Compilers", body)


HOW = [
    ("proof", "Before a case is timed its result is compared with one in double precision (of large cases a sample of rows). A wrong case is shown "
     "as wrong and has no time."),
    ("time", "One run from its first dispatch to its last, by the device's own timestamps where its queue has them, else by the wall clock; which of "
     "both is named at each case. The figure is the median."),
    ("interval", "From order statistics, without any assumption about the distribution: with 95 % probability it holds the true median. Fewer than 6 "
     "runs cannot give that; then it is the whole range."),
    ("FLOP", "Counted over the query and key pairs that the mask leaves visible: what a kernel does for hidden ones earns nothing."),
    ("bytes", "Every input and output once, as if all caches were perfect. Intensity is FLOP over bytes."),
    ("roofline", "The smaller of two: the measured arithmetic peak for what the kernel computes with, and intensity times the measured read rate for a "
     "working set of the case's size. Both are from the same run on the same device, never from a data sheet. The share is the case's rate over it."),
    ("gauges", "Small kernels that do one thing, grown until a run lasts some milliseconds; what a kernel computed is checked before its rate counts. "
     "Rates are medians; so are latencies."),
    ("native code", "On a device that is a CPU: plain loops with the CPU's own vector instructions, on all CPUs, in the same run. Where they themselves "
     "were disturbed they do not count, and the page says so."),
    ("cold start", "Planning, preparing, binding and the first run, with whatever caches there were."),
    ("energy", "From the platform's own counter, over many runs; absent where it cannot be read."),
    ("not measured", "What is missing here was not measured. Nothing is filled in."),
]


def how(page):
    page.section("how", "How each number is measured", "How", '<div class="card"><dl class="how">' + "".join(
        f"<dt>{k}</dt><dd>{v}</dd>" for k, v in HOW) + "</dl></div>")


def footer(page):
    lines = []
    for run in page.runs:
        command = text(run.raw, "command")
        lines.append(f"Made from <code>{escape(pathlib.Path(run.path).name)}</code>" + (f", written by <code>{escape(command)}</code>" if command else ""))
    return f'<footer>{"<br>".join(lines)}<br>This page holds all it needs: it loads nothing from anywhere.</footer>'
