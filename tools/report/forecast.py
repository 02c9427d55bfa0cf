"""What `rapt simulate --json` wrote: a page, and a picture, of forecasts for clusters."""

from html import escape

import charts
import parts
import picture
import still
import units
from page import Page, facts
from results import BadInput, load, mapping, number, objects, positive, text

SCHEMA = "rapt-simulate/1"
FIELDS = ("seconds", "compute_seconds", "waiting_seconds", "sent_bytes", "held_bytes", "balance", "efficiency")


def is_forecast(path):
    raw = load(path)
    return isinstance(raw, dict) and text(raw, "schema") == SCHEMA


class Forecast(Page):
    def __init__(self, path, script):
        super().__init__([], [], None, script)
        self.path, self.raw = path, load(path)
        self.points = [p for p in objects(self.raw, "forecasts") if positive(p, "devices") and positive(p, "seconds")]
        if not self.points:
            raise BadInput(f"{path}: there is no forecast in it")

    def lines(self):
        """{(method, tokens): its points by devices}"""
        found = {}
        for point in self.points:
            found.setdefault((text(point, "method"), number(point, "tokens")), []).append(point)
        return {key: sorted(points, key=lambda p: number(p, "devices")) for key, points in found.items()}

    def title(self):
        p = mapping(self.raw, "problem")
        return (f"{text(p, 'q_heads')} heads on {text(p, 'kv_heads')} of {text(p, 'head_dim_qk')}, {text(p, 'dtype')}, {text(p, 'pattern')}")

    def chart_of(self, id, title, axis, low, value, shown, log, caption):
        """One figure of each forecast over the number of devices."""
        series = []
        for place, ((method, tokens), points) in enumerate(self.lines().items()):
            there = [(p, value(p)) for p in points if value(p) is not None and (value(p) > 0 or not log)]
            if there:
                series.append(charts.Series(f"{method}, {tokens:g} tokens", [
                    charts.Point(number(p, "devices"), v, name=f"{method}, {number(p, 'devices'):g} devices", hover=[shown(v)]) for p, v in there],
                    f"c{1 + place % charts.COLOURS}", line=True, dash=place >= charts.COLOURS))
        if not series:
            return None
        xs = sorted({p.x for s in series for p in s.points})
        ticks = xs if len(xs) <= 12 else xs[:: -(-len(xs) // 12)]
        ys = [p.y for s in series for p in s.points]
        return charts.Chart(id, title, f"{title}: {shown(min(ys))} to {shown(max(ys))} on {xs[0]:g} to {xs[-1]:g} devices.",
                            charts.Axis("devices", log=len(xs) > 1, ticks=[(x, f"{x:g}") for x in ticks], low=xs[0] * 0.9, high=xs[-1] * 1.1),
                            charts.Axis(axis, log=log, low=min(ys) / 1.3 if log else low, high=max(ys) * 1.3 if log else None), series, caption=caption)

    def step_chart(self):
        factor, unit = units.axis_scale([number(p, "seconds") for p in self.points], "s")
        return self.chart_of("step", "Time of a step", unit, None, lambda p: positive(p, "seconds") / factor, lambda v: units.seconds(v * factor), True,
                             "Until the last device is done.")

    def made_charts(self):
        sent = [number(p, "sent_bytes") for p in self.points if positive(p, "sent_bytes")]
        scale, unit = units.axis_scale(sent, "B") if sent else (1, "B")
        return [c for c in (
            self.step_chart(),
            self.chart_of("efficiency", "Efficiency", "%", 0, lambda p: number(p, "efficiency") * 100 if number(p, "efficiency") is not None else None,
                          lambda v: f"{units.digits(v)} %", False, "Speed-up over one device, as a part of what all devices together could be."),
            self.chart_of("traffic", "Bytes sent by a device", unit, None, lambda p: (number(p, "sent_bytes") or 0) / scale,
                          lambda v: units.rate(v * scale, "B"), True, "Of the device that sends most."),
            self.chart_of("balance", "Balance", "mean over busiest", 0, lambda p: number(p, "balance"), units.digits, False,
                          "Mean of all devices' work over the busiest one's: 1 is even.")) if c]

    def table(self):
        heads = [("method", False, "ascending", ""), ("devices", True, "ascending", ""), ("tokens", True, "ascending", ""),
                 *((name, True, "ascending", "") for name in ("step", "work", "waiting", "sent", "held", "balance", "efficiency"))]
        show = (units.seconds, units.seconds, units.seconds, lambda v: units.rate(v, "B"), lambda v: units.rate(v, "B"), units.digits, units.percent)
        points, rest = parts.cut(self.points)
        rows = []
        for p in points:
            values = [number(p, field) for field in FIELDS]
            rows.append(f'<tr><th scope="row">{escape(text(p, "method"))}</th>' + parts.cell(f"{number(p, 'devices'):g}", number(p, "devices"))
                        + parts.cell(text(p, "tokens"), number(p, "tokens"))
                        + "".join(parts.cell("" if v is None else escape(f(v)), v) for f, v in zip(show, values)) + "</tr>")
        return f'<div class="card">{parts.table("forecasts", heads, rows)}</div>{rest}'

    def html(self):
        rates, link = mapping(self.raw, "rates"), mapping(self.raw, "link")

        def rate(holder, key, unit):
            value = positive(holder, key)
            return units.rate(value, unit) if value else ""

        call, latency = positive(rates, "call_seconds"), positive(link, "seconds")
        head = ('<header><p class="kicker">rapt simulate, a forecast</p>' f"<h1>{escape(self.title())}</h1>" + facts([
            ("attention", rate(rates, "flops_per_second", "FLOP/s")), ("linear attention", rate(rates, "linear_flops_per_second", "FLOP/s")),
            ("decoding", rate(rates, "bytes_per_second", "B/s")), ("copies", rate(rates, "copy_bytes_per_second", "B/s")),
            ("a call", units.seconds(call) if call else ""), ("rates", text(rates, "from")),
            ("links", rate(link, "bytes_per_second", "B/s") + (f", {units.seconds(latency)} a message" if latency else "")),
            ("made", units.moment(text(self.raw, "started")))]) + "</header>")
        self.section("charts", "Against the number of devices", "Charts", self.charts(self.made_charts()))
        self.section("table", "All forecasts", "Table", self.table())
        command = text(self.raw, "command")
        footer = f"<footer>Computed from one device's rates and the links' figures, not measured{f', by <code>{escape(command)}</code>' if command else ''}.</footer>"
        return self.document(f"rapt simulate: {self.title()}", head, footer)

    def picture(self, path):
        chart = self.step_chart()
        width, height = picture.WIDTH, picture.HEIGHT
        drawing = "".join((picture.opening(chart.alt), picture.said(36, 50, 26, picture.short(f"Time of a step: {self.title()}", 76), weight=650),
                           picture.said(36, 76, 14, picture.short(f"a forecast; rates {text(self.raw, 'rates', 'from')}", 150), "m"),
                           f'<rect class="c" x="36" y="94" width="{width - 72}" height="{height - 122}" rx="9"/><g transform="translate(44 106)">',
                           still.draw(chart, width - 88, height - 146, box_only=True), "</g></svg>\n"))
        return picture.written(path, drawing.encode())
