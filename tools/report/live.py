"""Charts as Plotly figures, and where plotly.js comes from. Only its script is used, not the Python package."""

import base64
import gzip
import importlib.util
import math
import pathlib

from charts import log_ticks

# Debian's python3-plotly keeps the script outside of the package.
DEBIAN = [pathlib.Path("/usr/share/python3-plotly/plotly.js"),
          pathlib.Path("/usr/lib/python3/dist-packages/plotly/package_data/plotly.min.js")]


def find_script():
    """The path of plotly.js, or None."""
    places = []
    try:
        spec = importlib.util.find_spec("plotly")
        for folder in spec.submodule_search_locations or [] if spec else []:
            places.append(pathlib.Path(folder) / "package_data" / "plotly.min.js")
    except (ImportError, ValueError):
        pass
    return next((path for path in places + DEBIAN if path.is_file()), None)


def packed(script):
    """The script, a third of its size: the browser unpacks it."""
    return base64.b64encode(gzip.compress(script, 9, mtime=0)).decode()


def plain(text):
    """Plotly takes tags and entities for markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def colour(name):
    return f"var(--{name})"  # page.js puts in what the page's colours are


def axis(given):
    made = {"title": {"text": plain(given.label), "standoff": 8}, "type": "log" if given.log else "linear", "automargin": True}
    if given.ticks:
        made |= {"tickvals": [v for v, _ in given.ticks], "ticktext": [plain(t) for _, t in given.ticks]}
    elif given.log and given.low and given.high:
        marks = log_ticks(given.low, given.high)
        made |= {"tickvals": [v for v, _ in marks], "ticktext": [t for _, t in marks]}
    if given.low is not None and given.high is not None:
        made["range"] = [math.log10(given.low), math.log10(given.high)] if given.log else [given.low, given.high]
    elif given.low == 0:
        made["rangemode"] = "tozero"
    return made


def figure(chart):
    traces = []
    for series in chart.series:
        mode = "+".join(filter(None, ("lines" if series.line else "", "markers" if series.markers else "")))
        trace = {
            "type": "scatter", "mode": mode, "name": plain(series.name), "showlegend": series.legend and len(chart.series) > 1,
            "x": [p.x for p in series.points], "y": [p.y for p in series.points],
            "hovertext": ["<br>".join(plain(t) for t in (f"{p.name}", *p.hover)) for p in series.points], "hoverinfo": "text",
            "marker": {"color": colour(series.colour), "symbol": series.symbol, "size": 9,
                       "line": {"width": 1, "color": colour("card")}},
            "line": {"color": colour(series.colour), "width": 2, "dash": "dash" if series.dash else "solid"},
        }
        if any(p.low is not None and p.high is not None for p in series.points):
            trace["error_y"] = {
                "type": "data", "symmetric": False, "thickness": 1.2, "width": 3, "color": colour(series.colour),
                "array": [(p.high if p.high is not None else p.y) - p.y for p in series.points],
                "arrayminus": [p.y - (p.low if p.low is not None else p.y) for p in series.points],
            }
        traces.append(trace)
    # On a logarithmic axis an annotation stands at the logarithm.
    notes = [{"x": math.log10(n.x) if chart.x.log else n.x, "y": math.log10(n.y) if chart.y.log else n.y, "text": plain(n.text), "showarrow": False,
              "xanchor": n.anchor, "yanchor": "top" if n.below else "bottom", "xshift": 8 if n.anchor == "left" else 0,
              "yshift": -3 if n.below else 0, "font": {"color": colour(n.colour), "size": 11}} for n in chart.notes]
    return {"id": chart.id, "data": traces, "x": axis(chart.x), "y": axis(chart.y), "notes": notes, "wide": chart.wide}
