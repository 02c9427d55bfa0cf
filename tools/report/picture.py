"""The headline, or one sweep, as one picture of 1200 x 630, for a README or a message."""

import pathlib
import re
import shutil
import subprocess
import tempfile
from html import escape

import charts
import still
import units
from page import HERE, driver_of, headline_figures
from results import BadInput, text

WIDTH, HEIGHT = 1200, 630


def style():
    """The page's colours and the drawing's rules alone."""
    css = (HERE / "page.css").read_text()
    roots = re.findall(r"(?m)^:root \{[^}]*\}", css)[:1] + re.findall(r"@media \(prefers-color-scheme: dark\) \{\s*:root \{[^}]*\}\s*\}", css)
    rules = re.findall(r"(?m)^\.(?:drawing \.?\w|[sf]-c).*$", css)
    return "\n".join(roots + [rule.replace(".drawing ", "") for rule in rules]).replace("color-scheme: light dark;", "")


def opening(label):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
            f'aria-label="{escape(label)}"><style>{style()}\n'
            "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif;fill:var(--ink)}"
            ".m{fill:var(--muted)}.p{fill:var(--page)}.c{fill:var(--card);stroke:var(--rule)}.k{fill:var(--soft)}.mono{font-family:ui-monospace,Menlo,Consolas,"
            "'DejaVu Sans Mono',monospace}</style>" f'<rect class="p" width="{WIDTH}" height="{HEIGHT}"/>')


def said(x, y, size, content, css="", anchor="start", weight=400):
    css = f' class="{css}"' if css else ""
    return f'<text x="{x}" y="{y}" style="font-size:{size}px" font-weight="{weight}" text-anchor="{anchor}"{css}>{escape(content)}</text>'


def told(device):
    """Under what a device was measured, in one line."""
    raw = device.run.raw
    return short(" · ".join(filter(None, (driver_of(device), text(raw, "host", "cpu"),
                                          f"rapt {text(raw, 'rapt', 'version')}" if text(raw, "rapt", "version") else "",
                                          units.moment(text(raw, "started"))))), 150)


def sweep_svg(devices, name):
    """One sweep of the first device that has it, over the whole picture."""
    for device in devices:
        for index, sweep in enumerate(device.sweeps):
            drawn, _ = charts.sweeps(device, "picture", False) if text(sweep, "name") == name else ([], [])
            chart = next((c for c in drawn if c.id == f"picture-sweep-{index}"), None)
            if chart:
                return "".join((opening(chart.alt), said(36, 50, 26, short(f"{chart.title}: {text(device.info, 'name') or device.label}", 76), weight=650),
                                said(36, 76, 14, told(device), "m"),
                                f'<rect class="c" x="36" y="94" width="{WIDTH - 72}" height="{HEIGHT - 122}" rx="9"/><g transform="translate(44 106)">',
                                still.draw(chart, WIDTH - 88, HEIGHT - 146, box_only=True), "</g></svg>\n"))
    known = sorted({text(sweep, "name") for device in devices for sweep in device.sweeps if text(sweep, "name")})
    raise BadInput(f"no sweep '{name[:60]}' with a timed case in these results; there are: {', '.join(known) or 'none'}")


def svg(runs, devices):
    device = max(devices, key=lambda d: sum(c.ok for c in d.every_case()), default=None)
    out = [opening(f"rapt bench: {device.label if device else 'no device'}")]

    def say(*what, **how):
        out.append(said(*what, **how))

    if device is None:
        say(40, 60, 26, "rapt bench: no device was measured", weight=650)
        return "".join(out) + "</svg>\n"
    say(36, 50, 26, short(f"rapt bench on {text(device.info, 'name') or device.label}", 62), weight=650)
    say(36, 76, 14, told(device), "m")
    figures = headline_figures(device)[:6]
    room = (WIDTH - 72 - 12 * (len(figures) - 1)) / max(len(figures), 1)
    for place, (label, value, note) in enumerate(figures):
        x = 36 + place * (room + 12)
        out.append(f'<rect class="c" x="{x:.1f}" y="94" width="{room:.1f}" height="86" rx="9"/>')
        say(round(x + 12, 1), 115, 11.5, short(label, int(room / 6)), "m")
        say(round(x + 12, 1), 145, round(min(23, (room - 24) / still.text_width(value, 1.12)), 1), value, weight=650)
        say(round(x + 12, 1), 168, 11, short(note, int(room / 6.2)), "m")
    chart = charts.roofline(device, "picture")
    out.append('<rect class="c" x="36" y="194" width="700" height="408" rx="9"/>')
    if chart:
        say(52, 218, 14, "Roofline, measured in the same run", weight=650)
        out.append(f'<g transform="translate(40 224)">{still.draw(chart, 690, 374, box_only=True)}</g>')
    else:
        say(386, 400, 14, "no case was timed", "m", "middle")
    cases = sorted((c for c in device.every_case() if c.ok and c.share), key=lambda c: -c.share.median)
    out.append('<rect class="c" x="748" y="194" width="416" height="408" rx="9"/>')
    sure = all((c.share.coverage or 0) >= 0.95 for c in cases[:15])
    say(764, 218, 14, f"Share of the roofline, with {'95 % intervals' if sure else 'the spread of the runs'}", weight=650)
    for place, case in enumerate(cases[:15]):
        y, left, full = 234 + place * 24, 944, 160
        say(764, y + 12, 11, short(case.name, 27), "mono")
        part = [min(v, 1.0) * full for v in (case.share.median, case.share.low, case.share.high)]
        out.append(f'<rect class="k" x="{left}" y="{y + 1}" width="{full}" height="14" rx="2"/>'
                   f'<rect class="f-{charts.look(case.dtype)[0]}" x="{left}" y="{y + 1}" width="{part[0]:.1f}" height="14" rx="2"/>')
        if part[2] > part[1]:
            out.append(f'<path stroke="var(--ink)" fill="none" d="M{left + part[1]:.1f} {y + 4}v8m0-4H{left + part[2]:.1f}m0-4v8"/>')
        say(1150, y + 12, 12, units.percent(case.share.median), anchor="end")
    return "".join(out) + "</svg>\n"


def short(content, most):
    return content if len(content) <= most else content[: most - 1] + "…"


def made(path, runs, devices, sweep=None):
    """The bytes of the picture that a file of this name holds: the headline, or a sweep by its name."""
    return written(path, (sweep_svg(devices, sweep) if sweep else svg(runs, devices)).encode())


def written(path, drawing):
    """An SVG drawing as what a file of this name holds."""
    kind = pathlib.Path(path).suffix.lower()
    if kind == ".svg":
        return drawing
    if kind != ".png":
        raise BadInput(f"{path}: the picture is .svg or .png")
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    converter = shutil.which("rsvg-convert")
    if not browser and not converter:
        raise BadInput(f"{path}: for .png Chromium or rsvg-convert is needed (or write .svg)")
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder, "picture.svg"), pathlib.Path(folder, "picture.png")
        source.write_bytes(drawing)
        command = ([browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/profile",
                    f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={target}", source.as_uri()] if browser
                   else [converter, "--output", target, source])
        try:
            subprocess.run(command, capture_output=True, timeout=120, check=True)
            return target.read_bytes()
        except (OSError, subprocess.SubprocessError) as error:
            raise BadInput(f"{path}: {pathlib.Path(command[0]).name} failed: {str(error)[:200]}") from None
