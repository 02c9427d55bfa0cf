#!/usr/bin/env python3
"""The page in a real browser: headless Chromium, phone and desktop width, light and dark, with and without scripts.

    test_browser.py [--pictures FOLDER] [REPORT.html ...]

Without a page, one is made of sample data. Exit status 77, with the reason as the last line, where there is no browser.
"""

import argparse
import itertools
import json
import pathlib
import sys
import tempfile
import unittest

import live
import report
import test_sample_data as sample
from browser import Browser, NoBrowser

WIDTHS = {"phone": 390, "desktop": 1280}
PAGES, PICTURES, BROWSER = [], None, None

OVERFLOW = """
const out = [];
for (const e of document.querySelectorAll("main *, header *, footer *")) {
  const box = e.getBoundingClientRect();
  if (box.width && box.right > innerWidth + 1 && !e.closest(".scroll, .live, nav, svg")) out.push(e.tagName + "." + e.className + " " + box.right);
}
return [document.scrollingElement.scrollWidth, innerWidth, out.slice(0, 5)];"""

# The least contrast of any visible text against what is painted behind it, with the text.
CONTRAST = """
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] / 255 + below[i] * (1 - top[3] / 255)).concat(255);
const behind = (e) => {
  const stack = [];
  for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3]) stack.push(c); if (c[3] === 255) break; }
  return stack.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 255]);
};
const light = (c) => { const l = c.slice(0, 3).map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * l[0] + 0.7152 * l[1] + 0.0722 * l[2]; };
const worst = new Map();
for (const e of document.querySelectorAll("body *")) {
  if (!e.checkVisibility() || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || e.closest("script, style")) continue;
  const style = getComputedStyle(e), ground = behind(e);
  const ink = over(rgba(e.closest("svg") ? style.fill : style.color), ground);
  const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) worst.set(e.tagName + "." + (e.className.baseVal ?? e.className) + ": " + e.textContent.trim().slice(0, 30), ratio.toFixed(2));
}
return [...worst].slice(0, 8);"""


class Pages(unittest.TestCase):
    def test_nothing_overflows_and_all_is_drawn_and_legible(self):
        for page, width, dark in itertools.product(PAGES, WIDTHS, (False, True)):
            with self.subTest(page=page.name, width=width, dark=dark):
                BROWSER.view(WIDTHS[width], dark=dark)
                BROWSER.open(page)
                self.look_at(f"{page.stem}-{width}-{'dark' if dark else 'light'}")

    def look_at(self, name):
        if PICTURES:
            BROWSER.picture(PICTURES / f"{name}.png")
        whole, view, wide = BROWSER.run(OVERFLOW)
        self.assertLessEqual(whole, view, wide)
        self.assertEqual(wide, [])
        self.assertEqual(BROWSER.run(CONTRAST), [])
        figures = json.loads(BROWSER.run("return document.getElementById('figures').textContent"))
        script = BROWSER.run("return document.getElementById('plotly') !== null")
        charts = BROWSER.run("return [...document.querySelectorAll('.chart')].map(c => c.querySelector('.still').id.replace('-still', ''))")
        if script:
            self.assertEqual([f["id"] for f in figures], charts)
        for chart in charts:
            drawn = BROWSER.run("""
                const [live, still] = ["-live", "-still"].map((end) => document.getElementById(arguments[0] + end));
                const shown = live.hidden ? still : live, box = shown.getBoundingClientRect();
                const plot = live.hidden ? [...still.querySelectorAll("svg")].find((s) => s.checkVisibility()) : live.querySelector("svg.main-svg");
                const size = plot.getBoundingClientRect();
                return [live.hidden, still.checkVisibility(), box.width, box.height, size.width, size.height,
                        live.querySelectorAll(".scatterlayer .point, .scatterlayer .js-line").length];""", chart)
            self.assertEqual(drawn[:2], [not script, not script], chart)
            self.assertTrue(all(v > 150 for v in drawn[2:6]), (chart, drawn))
            if script:
                points = sum(len(t["x"]) for f in figures if f["id"] == chart for t in f["data"] if "markers" in t["mode"])
                self.assertGreaterEqual(drawn[6], max(points, 1), chart)

    def test_silent_and_alone(self):
        for page, width in itertools.product(PAGES, WIDTHS):
            with self.subTest(page=page.name, width=width):
                BROWSER.view(WIDTHS[width])
                BROWSER.open(page)
                self.assertEqual([m["message"] for m in BROWSER.logged("browser")], [])
                asked = [a for a in BROWSER.requests() if not a.startswith("data:")]
                self.assertEqual(asked, [page.resolve().as_uri()])

    def test_sorting(self):
        keys = """
            const table = document.getElementById("cases"), column = [...table.tHead.rows[0].cells].findIndex((c) => c.textContent.trim() === arguments[0]);
            const head = table.tHead.rows[0].cells[column];
            if (arguments[1]) head.querySelector("button").click();
            return [head.ariaSort, [...table.tBodies[0].rows].map((r) => "v" in r.cells[column].dataset ? r.cells[column].dataset.v : r.cells[column].textContent.trim())];"""
        for page in PAGES:
            with self.subTest(page=page.name):
                BROWSER.view(1280)
                BROWSER.open(page)
                if not BROWSER.run("return document.getElementById('cases') !== null"):
                    continue
                for column, first in (("time", "ascending"), ("FLOP/s", "descending")):
                    before = sorted(BROWSER.run(keys, column, False)[1])
                    for order in (first, "descending" if first == "ascending" else "ascending"):
                        said, now = BROWSER.run(keys, column, True)
                        self.assertEqual(said, order)
                        self.assertEqual(sorted(now), before)
                        known = [float(v) for v in now if v != ""]
                        self.assertEqual(known, sorted(known, reverse=order == "descending"))
                        self.assertEqual(now[len(known) :], [""] * (len(now) - len(known)), "what is missing comes last")
                said, now = BROWSER.run(keys, "case", True)
                self.assertEqual(said, "ascending")
                self.assertEqual(now, BROWSER.run("return arguments[0].sort((a, b) => a.toLowerCase().localeCompare(b.toLowerCase(), 'en', {numeric: true}))", now))
                self.assertEqual(BROWSER.run("return document.querySelectorAll('#cases [aria-sort]').length"), 1)

    def test_filter(self):
        for page in PAGES:
            BROWSER.view(1280)
            BROWSER.open(page)
            left = BROWSER.run("""
                const input = document.querySelector("input[data-of=cases]");
                if (!input) return null;
                input.value = "no such case"; input.dispatchEvent(new Event("input"));
                const none = [...document.querySelectorAll("#cases tbody tr")].filter((r) => r.checkVisibility()).length;
                input.value = ""; input.dispatchEvent(new Event("input"));
                return [none, [...document.querySelectorAll("#cases tbody tr")].filter((r) => !r.checkVisibility()).length];""")
            self.assertIn(left, ([0, 0], None))

    def test_colours_follow_the_scheme(self):
        for page in PAGES:
            BROWSER.view(1280)
            BROWSER.open(page)
            if not BROWSER.run("return document.querySelector('.live .xtick text') !== null"):
                continue
            colour = "return getComputedStyle(document.querySelector('.live .xtick text')).fill"
            light = BROWSER.run(colour)
            BROWSER.view(1280, dark=True)
            for _ in range(100):
                if BROWSER.run(colour) != light:
                    break
            self.assertNotEqual(BROWSER.run(colour), light)

    def test_without_scripts_and_on_paper(self):
        for page in PAGES:
            for options in ({"scripts": False}, {"media": "print"}):
                with self.subTest(page=page.name, **options):
                    BROWSER.view(1280, **options)
                    try:
                        BROWSER.open(page, wait="media" in options)
                        BROWSER.view(1280, media=options.get("media", "screen"))
                        seen = BROWSER.run("return [...document.querySelectorAll('.chart')].map(c => [c.querySelector('.still').getBoundingClientRect().height, "
                                           "c.querySelector('.live').getBoundingClientRect().height])")
                        self.assertTrue(all(still > 100 and live == 0 for still, live in seen), seen)
                    finally:
                        BROWSER.view(1280)


def samples(folder):
    """Pages of sample data: of one device with the lab, of two, and one with still pictures."""
    one, two, lab = folder / "one.json", folder / "two.json", folder / "lab.json"
    one.write_text(json.dumps(sample.run())), two.write_text(json.dumps(sample.run(2))), lab.write_text(json.dumps(sample.lab()))
    made = []
    for name, arguments in (("sample-one", [one, "--lab", lab]), ("sample-two", [two]), ("sample-still", [one, "--plotly", "none"])):
        made.append(folder / f"{name}.html")
        if report.main([*map(str, arguments), "-o", str(made[-1])]) != 0:
            raise SystemExit(1)
    return made


def main():
    global BROWSER, PICTURES
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", type=pathlib.Path, metavar="REPORT.html")
    parser.add_argument("--pictures", type=pathlib.Path, metavar="FOLDER", help="keep a picture of each view")
    options = parser.parse_args()
    PICTURES = options.pictures
    if PICTURES:
        PICTURES.mkdir(parents=True, exist_ok=True)
    try:
        BROWSER = Browser()
    except NoBrowser as reason:
        print(f"test_browser: {reason}")
        return 77
    with BROWSER, tempfile.TemporaryDirectory() as folder:
        PAGES.extend(options.pages or samples(pathlib.Path(folder)))
        if not options.pages and live.find_script() is None:
            print("test_browser: Plotly is not installed: still pictures alone are looked at", file=sys.stderr)
        result = unittest.TextTestRunner(verbosity=2).run(unittest.defaultTestLoader.loadTestsFromTestCase(Pages))
    return not result.wasSuccessful()


if __name__ == "__main__":
    sys.exit(main())
