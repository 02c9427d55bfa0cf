#!/usr/bin/env python3
"""Tests of report.py: reading, what the page says, hostile and broken files. The browser's part is test_browser.py."""

import copy
import html.parser
import io
import json
import pathlib
import tempfile
import unittest
import xml.etree.ElementTree
from contextlib import redirect_stderr

import charts
import report
import results
import still
import test_sample_data as sample
import units

VOID = {"meta", "link", "input", "br"}
HOSTILE = "</title></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&<a href=\"javascript:alert(3)\">x</a>\u2028%{x}"


class Outline(html.parser.HTMLParser):
    """The page's elements, their attributes, and text; complains about what is not closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if self.open[-1:] != [tag]:
            raise AssertionError(f"</{tag}> closes {self.open[-3:]}")
        self.open.pop()

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["style"]):
            self.words.append(data)

    def text(self):
        return " ".join(self.words)

    def count(self, tag):
        return sum(name == tag for name, _ in self.elements)


class Reports(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def file(self, content, name="results.json"):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else (content if isinstance(content, str) else json.dumps(content)).encode())
        return str(path)

    def call(self, *arguments):
        """status, what stood on standard error, the page or None"""
        output = self.folder / "report.html"
        output.unlink(missing_ok=True)
        errors = io.StringIO()
        with redirect_stderr(errors):
            status = report.main([*arguments, "-o", str(output)])
        return status, errors.getvalue(), output.read_text() if output.exists() else None

    def page(self, *contents, options=("--plotly", "none")):
        paths = [self.file(content, f"{i}.json") for i, content in enumerate(contents)]
        status, errors, page = self.call(*paths, *options)
        self.assertEqual((status, errors), (0, ""))
        return Outline(page), page


class Good(Reports):
    def test_sections(self):
        outline, page = self.page(sample.run(), options=("--plotly", "none", "--lab", self.file(sample.lab(), "lab.json")))
        self.assertEqual(outline.open, [])
        ids = [a["id"] for tag, a in outline.elements if tag == "h2"]
        self.assertEqual(ids, ["headline", "roofline", "speed", "sweeps", "sustained", "peers", "comparison", "table", "points", "device", "lab", "how"])
        every = [a["id"] for _, a in outline.elements if a.get("id")]
        self.assertEqual(len(every), len(set(every)), "an id stands twice")
        for wanted in ("SAMPLE DATA", "broadcast-f32-d64", "software device with 8 lanes", "LLVM keeps 14", "made without Plotly", "1.40 %"):
            self.assertIn(wanted, outline.text())
        self.assertNotIn("http", page.replace("http-equiv", ""), "an address")

    def test_every_case_is_on_the_roofline_and_in_the_table(self):
        run = sample.run()
        outline, _ = self.page(run)
        cases = run["devices"][0]["cases"]
        good = {c["name"] for c in cases if c["status"] == "ok"}
        points = [p["case"] for s in run["devices"][0]["sweeps"] for line in s["series"] for p in line["points"]]
        good |= {c["name"] for c in points if c["name"] not in {c["name"] for c in cases}}
        _, devices = results.read_runs([self.file(run)])
        drawn = [p.name for s in charts.roofline(devices[0], "r").series if s.markers for p in s.points]
        self.assertEqual(sorted(drawn), sorted(good))
        rows = [a for tag, a in outline.elements if tag == "th" and a.get("scope") == "row"]
        self.assertGreaterEqual(len(rows), len(cases))

    def test_wrong_case_has_no_time(self):
        run = sample.run()
        run["devices"] = [run["devices"][0]]
        wrong = next(c for c in run["devices"][0]["cases"] if c["status"] == "wrong")
        case = results.read_case(wrong)
        self.assertIn("device", wrong)
        self.assertEqual((case.time, case.rate, case.bandwidth, case.share), (None, None, None, None))
        outline, page = self.page(run)
        self.assertIn("row 17: 0.25 apart", outline.text())
        row = page[page.index("<tr class=bad><th scope=\"row\"><code>" + wrong["name"]) :]
        row = row[: row.index("</tr>")]
        self.assertNotIn(" ns", row)
        self.assertNotIn("FLOP/s", row)

    def test_values_of_a_point(self):
        run = sample.run()
        raw = run["devices"][0]["cases"][0]
        case = results.read_case(raw)
        self.assertAlmostEqual(case.rate.median, raw["flops"] / raw["device"]["median"], delta=1)
        self.assertAlmostEqual(case.rate.low, raw["flops"] / raw["device"]["high"], delta=1)
        self.assertAlmostEqual(case.share.median, raw["of_roof"])
        self.assertAlmostEqual(case.share.high / case.share.median, raw["device"]["median"] / raw["device"]["low"])
        raw["clock"] = "wall"
        self.assertAlmostEqual(results.read_case(raw).time.median, raw["wall"]["median"])

    def test_several_devices_and_files(self):
        outline, page = self.page(sample.run(2), sample.run(1))
        self.assertIn("side by side", outline.text())
        self.assertIn("device A, 0.json", outline.text())  # the same driver, mode and moment: the files tell them apart
        self.assertNotIn("device B, 0.json", outline.text())
        self.assertEqual(page.count('id="roofline-'), 2 * 3)

    def test_busy_interrupted_and_above_the_roof(self):
        run = sample.run()
        run["host"]["others_share"], run["interrupted"] = 0.4, True
        run["devices"][0]["cases"][0]["of_roof"] = 1.5
        text = self.page(run)[0].text()
        for wanted in ("40.0 % of the CPUs", "was interrupted", "above 100 % of the roofline"):
            self.assertIn(wanted, text)

    def test_plotly_is_packed_once(self):
        script = self.file(b"window.Plotly = 'a script';" * 100, "plotly.js")
        _, page = self.page(sample.run(), options=("--plotly", script))
        self.assertEqual(page.count('<script type="text/plain" id="plotly">'), 1)
        figures = json.loads(page.split('id="figures">')[1].split("</script>")[0])
        self.assertIn("roofline-0", [f["id"] for f in figures])
        self.assertIn('id="roofline-0-still"', page)

    def test_picture(self):
        target = self.folder / "picture.svg"
        self.page(sample.run(), options=("--plotly", "none", "--picture", str(target)))
        root = xml.etree.ElementTree.parse(target).getroot()
        self.assertEqual(root.get("width"), "1200")
        self.assertLess(target.stat().st_size, 150_000)
        self.assertIn("B1H8D64N1024f32", target.read_text())

    def test_picture_of_a_sweep(self):
        target = self.folder / "density.svg"
        self.page(sample.run(), options=("--plotly", "none", "--picture", str(target), "--sweep", "density"))
        root = xml.etree.ElementTree.parse(target).getroot()
        self.assertEqual(root.get("width"), "1200")
        self.assertIn("Speed against density", target.read_text())
        self.assertEqual(len([e for e in root.iter() if e.get("class", "").startswith("line")]), 2)
        run = sample.run()
        for sweep in run["devices"][0]["sweeps"]:
            sweep["speed"] = "calls"  # where the lines' work differs
        self.page(run, options=("--plotly", "none", "--picture", str(target), "--sweep", "density"))
        self.assertIn("calls/s", target.read_text())
        for sweep in run["devices"][0]["sweeps"]:
            sweep["speed"] = "time of a token"
        self.page(run, options=("--plotly", "none", "--picture", str(target), "--sweep", "N"))
        self.assertIn("Time of a token against N", target.read_text())
        path = self.file(sample.run(), "run.json")
        for arguments, words in ((("--picture", str(target), "--sweep", "nonsense"), "there are: N, density, head_dim"),
                                 (("--sweep", "density"), "there is no --picture")):
            status, errors, _ = self.call(path, "--plotly", "none", *arguments)
            self.assertEqual(status, 2)
            self.assertIn(words, errors)


class Missing(Reports):
    def test_nothing_at_all(self):
        for devices in ([], None, "none", [None, 3], {}):
            outline, _ = self.page({"schema": results.SCHEMA, "devices": devices})
            self.assertIn("no device", outline.text())

    def test_empty_device(self):
        outline, _ = self.page({"schema": results.SCHEMA, "devices": [{}]})
        self.assertIn("no gauges and no a roofline and no cases".replace("no a", "no"), outline.text().replace("no a roofline", "no roofline"))

    def test_each_member_gone_or_another_type(self):
        """Whatever a member becomes, there is a page, and it is well-formed."""
        whole = sample.run(1)
        device = whole["devices"][0]
        device["cases"], device["gauges"] = device["cases"][:2], device["gauges"][:9]
        for sweep in device["sweeps"]:
            sweep["series"] = sweep["series"][:1]
            sweep["series"][0]["points"] = sweep["series"][0]["points"][:2]
        device["sustained"][0]["points"] = device["sustained"][0]["points"][:2]

        def places(value, path=()):
            if isinstance(value, dict):
                for key in value:
                    if key not in ("schema", "samples"):
                        yield (*path, key)
                        yield from places(value[key], (*path, key))
            elif isinstance(value, list):
                for index in range(min(len(value), 1)):
                    yield (*path, index)
                    yield from places(value[index], (*path, index))

        paths = list(places(whole))
        self.assertGreater(len(paths), 150)
        for count, path in enumerate(paths):
            for new in (None, "text", -1, [], {}, 1e308) if count % 8 == 0 else (None, [7]):
                changed = copy.deepcopy(whole)
                holder = changed
                for key in path[:-1]:
                    holder = holder[key]
                holder[path[-1]] = new
                with self.subTest(path=path, new=new):
                    self.assertEqual(self.page(changed)[0].open, [])

    def test_numbers_that_are_none(self):
        run = json.dumps(sample.run())
        for bad in ("NaN", "Infinity", "-Infinity", "0", "-5", "1e400", "true", '"12"'):
            first = run.replace('"median": ', f'"median": {bad}, "was": ')
            self.assertEqual(self.page(first)[0].open, [])
            self.assertEqual(self.page(run.replace('"x": ', f'"x": {bad}, "was": '))[0].open, [])

    def test_one_point_and_equal_values(self):
        run = sample.run()
        device = run["devices"][0]
        device["cases"] = device["cases"][:1]
        device["roofline"] = {}
        for sweep in device["sweeps"]:
            for series in sweep["series"]:
                series["points"] = series["points"][:1]
        device["sustained"][0]["points"] = device["sustained"][0]["points"][:1]
        self.assertEqual(self.page(run)[0].open, [])


class Hostile(Reports):
    def test_text_stays_text(self):
        def poison(value):
            if isinstance(value, dict):
                return {HOSTILE if k in ("f32", "f16") else k: poison(v) if k not in ("schema", "status", "clock") else v for k, v in value.items()}
            if isinstance(value, list):
                return [poison(v) for v in value]
            return HOSTILE + value if isinstance(value, str) else value

        script = self.file(b"window.Plotly = null", "plotly.js")
        lab = self.file(poison(sample.lab()), "lab.json")
        picture = self.folder / "picture.svg"
        outline, page = self.page(poison(sample.run(2)), options=("--plotly", script, "--lab", lab, "--picture", str(picture)))
        self.assertEqual(outline.open, [])
        self.assertEqual([a.get("type") for tag, a in outline.elements if tag == "script"], ["application/json", "text/plain", None])
        self.assertEqual(outline.count("img"), 0)
        self.assertTrue(all(a.get("href", "#").startswith(("#", "data:,")) for tag, a in outline.elements if tag in ("a", "link")))
        self.assertFalse([a for _, a in outline.elements if any(name.startswith("on") for name in a)])
        json.loads(page.split('id="figures">')[1].split("</script>")[0])
        xml.etree.ElementTree.parse(picture)

    def test_half_a_surrogate(self):
        run = sample.run()
        run["devices"][0]["device"]["name"] = "x\ud800y"
        self.page(run)

    def test_very_many(self):
        run = sample.run()
        device = run["devices"][0]
        device["cases"] = device["cases"][:1] * 9000
        device["sustained"][0]["points"] = [{"t": i, "seconds": 0.01} for i in range(50000)]
        device["device"]["features"] = ["f" * 50] * 100000
        outline, page = self.page(run)
        self.assertIn("more are in the JSON", outline.text())
        self.assertLess(len(page), 20 << 20)


class Bad(Reports):
    def refused(self, wanted, *arguments):
        status, errors, page = self.call(*arguments)
        self.assertEqual(status, 2)
        self.assertIsNone(page)
        self.assertEqual(errors.count("\n"), 1, errors)
        self.assertRegex(errors, wanted)

    def test_files(self):
        for content, wanted in (
            ("", "not JSON"), ("{", "not JSON"), (b"\xff\xfe\x00", "not JSON"), ("[]", "an object is needed"), ("{}", "no member schema"),
            ('{"schema": "rapt-bench/2"}', "rapt-bench/2.*rapt-bench/1 is needed"), ('{"schema": 7}', "schema is '7'"), ("[" * 100000, "nested too deeply"),
            ('{"schema": "rapt-bench/1", "seconds": ' + "9" * 5000 + "}", "not JSON"),
        ):
            with self.subTest(content=content[:40]):
                self.refused(wanted, self.file(content))
        self.refused("nowhere.json: cannot be read", str(self.folder / "nowhere.json"))
        self.refused("cannot be read", str(self.folder))

    def test_lab(self):
        good = self.file(sample.run())
        self.refused("not what the lab writes", good, "--lab", self.file("3", "lab.json"))
        self.refused("names a row and a gpu", good, "--lab", self.file([{"a": 1}], "lab.json"))

    def test_outputs(self):
        good = self.file(sample.run())
        errors = io.StringIO()
        with redirect_stderr(errors):
            self.assertEqual(report.main([good, "-o", str(self.folder / "no" / "such.html")]), 2)
        self.assertRegex(errors.getvalue(), "^report: .*cannot be written")
        self.refused("cannot be read", good, "--plotly", str(self.folder / "none.js"))
        status, errors, _ = self.call(good, "--plotly", "none", "--picture", str(self.folder / "a.gif"))
        self.assertEqual((status, errors.count("\n")), (2, 1))
        with self.assertRaises(SystemExit) as stopped, redirect_stderr(io.StringIO()):
            report.main([good])
        self.assertEqual(stopped.exception.code, 2)


class Forecasts(Reports):
    FORECAST = {"schema": "rapt-simulate/1", "command": HOSTILE, "problem": {"q_heads": 8, "kv_heads": 2, "head_dim_qk": 64, "dtype": "f16", "pattern": HOSTILE},
                "rates": {"flops_per_second": 6e13, "from": HOSTILE}, "link": {"bytes_per_second": 2.5e10},
                "forecasts": [{"method": method, "devices": devices, "tokens": 4096, "seconds": 1 / devices, "sent_bytes": 1e6 * (devices - 1), "balance": 1,
                               "efficiency": 1} for method in ("ring", HOSTILE) for devices in (1, 2, 1024)]}

    def test_page(self):
        outline, page = self.page(self.FORECAST)
        self.assertEqual(outline.open, [])
        self.assertEqual([a["id"] for tag, a in outline.elements if tag == "h2"], ["charts", "table"])
        self.assertEqual([a["id"] for _, a in outline.elements if a.get("id", "").endswith("-still")], ["step-still", "efficiency-still", "traffic-still", "balance-still"])
        self.assertEqual(outline.count("img"), 0)
        self.assertIn("60.0 TFLOP/s", outline.text())

    def test_picture_alone(self):
        path = self.file(self.FORECAST)
        picture = self.folder / "step.svg"
        self.assertEqual(report.main([path, "--picture", str(picture)]), 0)
        xml.etree.ElementTree.parse(picture)

    def test_refusals(self):
        for content in ({"schema": "rapt-simulate/1"}, {"schema": "rapt-simulate/1", "forecasts": [{"devices": "two"}]}):
            status, errors, page = self.call(self.file(content))
            self.assertEqual((status, page), (2, None))
            self.assertIn("no forecast", errors)


class Units(unittest.TestCase):
    def test_numbers(self):
        for made, wanted in (
            (units.seconds(0.0032), "3.20 ms"), (units.seconds(4.2e-6), "4.20 µs"), (units.seconds(59), "59.0 s"), (units.rate(110e9, "FLOP/s"), "110 GFLOP/s"),
            (units.rate(999.6e9, "B/s"), "1.00 TB/s"), (units.size(24 << 30), "24 GiB"), (units.size(100), "100 B"), (units.percent(0.3766), "37.7 %"),
            (units.moment("2026-01-31T12:00:00Z"), "31 January 2026, 12:00 UTC"), (units.moment("then"), "then"), (units.duration(312.4), "5 min 12 s"),
        ):
            self.assertEqual(made, wanted)


class Stills(unittest.TestCase):
    def test_ticks_are_apart_and_inside(self):
        for low, high, log in ((0.003, 9, True), (1e-9, 1e12, True), (0, 41.3, False), (5, 5, False), (40, 41, True)):
            scale = still.Scale(charts.Axis("", log=log), [low, high], 50, 500)
            places = [p for p, _ in scale.ticks(34)]
            self.assertGreaterEqual(len(places), 1, (low, high))
            self.assertTrue(all(49 <= p <= 501 for p in places))
            self.assertTrue(all(b - a >= 34 for a, b in zip(places, places[1:])))


if __name__ == "__main__":
    unittest.main()
