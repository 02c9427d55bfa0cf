"""Numbers for people."""

import datetime

_PREFIXES = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")]
_SMALL = [(1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")]


def digits(value):
    """Three significant digits, no exponent for what people read as a number."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6 or size < 1e-3:
        return f"{value:.3g}"
    if size >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 9.995 else f"{value:.2f}"


def seconds(value):
    for factor, unit in _SMALL:
        if abs(value) >= 0.9995 * factor:
            return f"{digits(value / factor)} {unit}"
    return f"{digits(value * 1e9)} ns"


def duration(value):
    return f"{int(value // 60)} min {value % 60:.0f} s" if value >= 120 else f"{value:.0f} s" if value >= 10 else seconds(value)


def rate(value, unit):
    """123e9, FLOP/s -> 123 GFLOP/s"""
    for factor, prefix in _PREFIXES:
        if abs(value) >= 0.9995 * factor:
            return f"{digits(value / factor)} {prefix}{unit}"
    return f"{digits(value)} {unit}"


def quantity(value, unit):
    return seconds(value) if unit == "s" else rate(value, unit)


def size(value):
    """Bytes, in powers of two."""
    for shift, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if value >= 0.9995 * (1 << shift):
            return f"{digits(value / (1 << shift)).removesuffix('.00').removesuffix('.0')} {unit}"
    return f"{value:.0f} B"


def percent(part):
    return f"{digits(part * 100)} %"


def axis_scale(values, unit):
    """(factor, unit) so that the largest of the values is a handy number."""
    largest = max((abs(v) for v in values), default=0)
    if unit == "s":
        for factor, name in _SMALL:
            if largest >= factor:
                return factor, name
        return 1e-9, "ns"
    for factor, prefix in _PREFIXES:
        if largest >= factor:
            return factor, prefix + unit
    return 1.0, unit


def moment(iso):
    """2026-01-31T12:00:00Z -> 31 January 2026, 12:00 UTC; anything else as it is."""
    try:
        when = datetime.datetime.strptime(iso, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return iso
    return f"{when.day} {when:%B %Y, %H:%M} UTC"
