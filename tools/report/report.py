#!/usr/bin/env python3
"""Make one self-contained page of what `rapt bench --json` measured, or of what `rapt simulate --json` foresees.

    report.py RESULTS.json [MORE.json ...] -o report.html [--lab lab.json] [--picture report.svg [--sweep NAME]]

Several files are compared side by side. The page needs no network and loads nothing. Its charts are drawn by Plotly, which is
packed into it; where Plotly is not installed they are still pictures, and the page says so. --picture writes the headline as a
picture too, or one sweep, or of forecasts the time of a step: FILE.svg, or FILE.png where rsvg-convert or Chromium is installed.
Of forecasts it may do without a page.

exit status: 0 written; 2 bad input, bad arguments or an output that cannot be written, with one line that says what
"""

import argparse
import os
import pathlib
import sys

import forecast
import live
import picture
from page import Page
from results import BadInput, read_lab, read_runs


def parse(arguments):
    parser = argparse.ArgumentParser(prog="report.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", metavar="RESULTS.json")
    parser.add_argument("-o", "--output", metavar="FILE.html")
    parser.add_argument("--lab", metavar="FILE", help="what the vendor lab wrote as JSON: adds its heat map")
    parser.add_argument("--picture", metavar="FILE", help="also the headline picture, .svg or .png, 1200 wide")
    parser.add_argument("--sweep", metavar="NAME", help="let --picture be of this sweep (block-density, tokens, ...), not of the headline")
    parser.add_argument("--plotly", metavar="FILE", help="this plotly.js; 'none': still pictures")
    options = parser.parse_args(arguments)
    if not options.output and not options.picture:
        parser.error("-o FILE.html is needed")
    return options


def script_of(chosen):
    """plotly.js as bytes, or None."""
    if chosen == "none":
        return None
    path = chosen or live.find_script()
    if path is None:
        return None
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        if chosen:
            raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
        return None


def write(path, data):
    """All of it or nothing: what was there stays until the new file is whole. Pipes and devices are written to as they are."""
    path = pathlib.Path(path)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    whole = not path.exists() or path.is_file()
    try:
        (beside if whole else path).write_bytes(data)
        if whole:
            beside.replace(path)
    except OSError as error:
        if whole:
            beside.unlink(missing_ok=True)
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from None


def tell_of_script(script, options):
    if script is None and options.plotly != "none":
        print("report: plotly.js was not found (Debian: python3-plotly, PyPI: plotly): the charts are still pictures", file=sys.stderr)


def foresee(options):
    """One file of forecasts: page, picture, or both."""
    if len(options.results) > 1 or options.lab or options.sweep:
        raise BadInput("forecasts are shown one file at a time, without --lab and --sweep")
    script = script_of(options.plotly)
    made = forecast.Forecast(options.results[0], script)
    if options.output:
        write(options.output, made.html().encode())
        tell_of_script(script, options)
    if options.picture:
        write(options.picture, made.picture(options.picture))
    return 0


def main(arguments=None):
    options = parse(arguments)
    try:
        if options.sweep and not options.picture:
            raise BadInput("--sweep says what --picture shows, and there is no --picture")
        if forecast.is_forecast(options.results[0]):
            return foresee(options)
        if not options.output:
            raise BadInput("-o FILE.html is needed: only forecasts make a picture alone")
        runs, devices = read_runs(options.results)
        lab = read_lab(options.lab) if options.lab else None
        script = script_of(options.plotly)
        write(options.output, Page(runs, devices, lab, script).html().encode())
        if options.picture:
            write(options.picture, picture.made(options.picture, runs, devices, options.sweep))
    except BadInput as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    tell_of_script(script, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
