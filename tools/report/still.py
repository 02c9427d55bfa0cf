"""Charts as still SVG pictures: what the page shows without scripts, on paper, and where Plotly is not installed."""

import math
from html import escape

from charts import log_ticks

FONT = 12
_SYMBOLS = {
    "circle": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    "square": "M-3.7-3.7h7.4v7.4h-7.4z",
    "diamond": "M0-5l5 5l-5 5l-5-5z",
    "triangle-up": "M0-5l5 8.6h-10z",
}


def text_width(text, size=FONT):
    """A little more than what it takes in common fonts."""
    return len(text) * size * 0.56


class Scale:
    def __init__(self, axis, values, start, end):
        self.log = axis.log and all(v > 0 for v in values)
        low = axis.low if axis.low is not None else min(values)
        high = axis.high if axis.high is not None else max(values)
        if self.log:
            low, high = math.log10(low), math.log10(high)
        margin = (high - low) * 0.04 or (0.3 if self.log else abs(high) * 0.1 or 1)
        self.low = low if axis.low is not None else low - margin
        self.high = high if axis.high is not None else high + margin
        if axis.low is not None and not axis.log and axis.high is None:
            self.high = high + (high - low) * 0.08
        if self.high <= self.low:
            self.high = self.low + 1
        self.start, self.end, self.axis = start, end, axis

    def __call__(self, value):
        if self.log:
            value = math.log10(max(value, 1e-300))
        part = (value - self.low) / (self.high - self.low)
        return self.start + (self.end - self.start) * min(max(part, -0.5), 1.5)

    def ticks(self, room):
        """(position, text), at most one in `room` pixels."""
        if self.axis.ticks:
            marks = [(v, t) for v, t in self.axis.ticks if not self.log or v > 0]
        elif self.log:
            marks = self._decades()
        else:
            marks = self._round()
        kept = []
        for value, label in marks:
            place = self(value)
            need = max(room, text_width(label) * 0.5 + 14) if room > 30 else room
            if min(self.start, self.end) - 1 <= place <= max(self.start, self.end) + 1 and all(
                    abs(place - other) >= need for other, _ in kept):
                kept.append((place, label))
        return kept

    def _decades(self):
        return log_ticks(10**self.low, 10**self.high)

    def _round(self):
        raw = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(raw))
        step = next((m * power for m in (1, 2, 5) if m * power >= raw), 10 * power)
        first = math.ceil(self.low / step - 1e-9)
        return [(i * step, f"{i * step:.10g}") for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def marker(symbol, x, y, colour, size=1.0):
    return (f'<path d="{_SYMBOLS.get(symbol, _SYMBOLS["circle"])}" transform="translate({x:.1f} {y:.1f}) scale({size:g})" '
            f'class="f-{colour}"/>')


def overlaps(box, boxes):
    return any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in boxes)


def draw(chart, width, height, legend=True, box_only=False):
    """The chart as <svg>; with box_only its inner part alone, for a picture that places it itself."""
    left, right, top, bottom = 52, 14, 12, 44
    entries = [s for s in chart.series if s.legend and s.markers or s.legend and s.line]
    legend_lines = []
    if legend and len(entries) > 1:
        legend_lines, x, y = [], left, 14
        for series in entries:
            need = 26 + text_width(series.name[:44])
            if x > left and x + need > width - right:
                x, y = left, y + 18
            legend_lines.append((series, x, y))
            x += need + 8
        top = y + 14
    points = [p for s in chart.series for p in s.points]
    xs = [p.x for p in points]
    ys = [v for p in points for v in (p.y, p.low, p.high) if v is not None]
    sx, sy = Scale(chart.x, xs, left, width - right), Scale(chart.y, ys, height - bottom, top)
    out = [] if box_only else [f'<svg viewBox="0 0 {width} {height}" class="drawing" role="img" aria-label="{escape(chart.alt)}">']
    for place, label in sx.ticks(34):
        out.append(f'<path class="grid" d="M{place:.1f} {top}V{height - bottom}"/>'
                   f'<text class="tick" x="{place:.1f}" y="{height - bottom + 16}" text-anchor="middle">{escape(label)}</text>')
    for place, label in sy.ticks(16):
        out.append(f'<path class="grid" d="M{left} {place:.1f}H{width - right}"/>'
                   f'<text class="tick" x="{left - 6}" y="{place + 4:.1f}" text-anchor="end">{escape(label)}</text>')
    out.append(f'<text class="axis" x="{(left + width - right) / 2:.0f}" y="{height - 8}" text-anchor="middle">{escape(chart.x.label)}</text>'
               f'<text class="axis" transform="translate(13 {(top + height - bottom) / 2:.0f}) rotate(-90)" text-anchor="middle">'
               f'{escape(chart.y.label)}</text>')
    taken = []
    for series in chart.series:
        places = [(sx(p.x), sy(p.y), p) for p in series.points]
        if series.line and len(places) > 1:
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in places)
            out.append(f'<path class="line s-{series.colour}{" dash" if series.dash else ""}" d="M{path}"/>')
            for (x0, y0, _), (x1, y1, _) in zip(places, places[1:]) if len(places) < 20 else ():
                taken += [(x - 3, y - 3, x + 3, y + 3) for x, y in ((x0 + (x1 - x0) * i / 60, y0 + (y1 - y0) * i / 60) for i in range(61))]
        for x, y, p in places:
            if p.low is not None and p.high is not None and p.high > p.low:
                out.append(f'<path class="whisker s-{series.colour}" d="M{x:.1f} {sy(p.low):.1f}V{sy(p.high):.1f}"/>')
                taken.append((x - 2, sy(p.high), x + 2, sy(p.low)))
            if series.markers:
                told = escape("\n".join([p.name, *p.hover]))
                out.append(f"<g><title>{told}</title>{marker(series.symbol, x, y, series.colour)}</g>")
                taken.append((x - 6, y - 6, x + 6, y + 6))
    for note in chart.notes:
        x, y = sx(note.x), sy(note.y)
        span = text_width(note.text, 11)
        line = y + 17 if note.below else y - 6  # where the letters stand
        if note.anchor == "right":
            x = min(max(x - 6, left + span + 2), width - right - 2)
            box = (x - span, line - 11, x, line + 2)
        else:
            x = min(x + 8, width - right - 2 - span)
            box = (x, line - 11, x + span, line + 2)
        taken.append(box)
        out.append(f'<text class="note t-{note.colour}" x="{x:.1f}" y="{line:.1f}" '
                   f'text-anchor="{"end" if note.anchor == "right" else "start"}">{escape(note.text)}</text>')
    for series in chart.series:
        if series.named:
            for p in sorted(series.points, key=lambda p: -p.y)[:40]:
                out.extend(name_beside(p, sx(p.x), sy(p.y), taken, (left, top, width - right, height - bottom)))
    for series, x, y in legend_lines:
        swatch = (marker(series.symbol, x + 8, y - 4, series.colour) if series.markers else
                  f'<path class="line s-{series.colour}{" dash" if series.dash else ""}" d="M{x} {y - 4}h16"/>')
        out.append(f'{swatch}<text class="tick" x="{x + 20}" y="{y}">{escape(series.name[:44])}</text>')
    if not box_only:
        out.append("</svg>")
    return "".join(out)


def name_beside(point, x, y, taken, area):
    """The point's name where it hides nothing, or nowhere."""
    span = text_width(point.name, 10)
    for bx, by, anchor in ((x + 8, y - 5, "start"), (x - 8, y - 5, "end"), (x, y + 7, "middle"), (x, y - 18, "middle")):
        left = bx if anchor == "start" else bx - span if anchor == "end" else bx - span / 2
        box = (left, by, left + span, by + 11)
        if area[0] <= box[0] and box[2] <= area[2] and area[1] <= box[1] and box[3] <= area[3] and not overlaps(box, taken):
            taken.append(box)
            yield f'<text class="name" x="{bx:.1f}" y="{by + 9:.1f}" text-anchor="{anchor}">{escape(point.name)}</text>'
            return
