#!/usr/bin/env python3
"""Write the table of published systems, table/*.toml, as C or as a table for people.

    generate.py --output systems_table.c table/shapes.toml table/dense.toml ..
    generate.py --markdown table/*.toml           # what works, for a README

shapes.toml has inputs and outputs that many systems share, each under a name of its own:

    [qkv]
    inputs = ["q (batch, q_heads, nq, d): queries", ..]     # name, shape, and after a colon what it is
    outputs = ["out (batch, q_heads, nq, d_v)", "lse? (..)"]  # with ?: written where asked for

The other files have one table per system:

    [[system]]
    name = "StreamingLLM"
    tier = "B"                      # A an operator of its own, B made of A's operators, C a study or an application
    reason = "why this tier"        # A: may be left out
    family = "sparse-static"        # or one for the whole file, before its first system
    paper = "title, place or arXiv number"
    formula = "o_i = .."            # one line
    io = "qkv"                      # of shapes.toml; `inputs` and `outputs` add to it
    parameters = ["sinks = 4: the first keys, seen by all"]      # nothing behind the =: must be given
    engines = ["tile"]
    recipe = "streaming"            # works: rapt_system_streaming of src/system; without it the system is planned
    reduces = "to what"             # works: what it is made of; planned: the part that works, if there is one
    doubt = "what is not certain"   # "memory", "inferred": the sentences of DOUBTS
    checks = ["q=1,2,9,16 k=1,2,9,16 v=1,2,9,16 | window=3"]     # works: small problems, see src/check/systems.h
    bench = "q=1,8,N,64 k=1,8,N,64 v=1,8,N,64 | window=128"      # such a problem worth timing, of N tokens (L: 1 + ceil(log2 N)); may be left out
"""
import argparse
import pathlib
import re
import sys
import tomllib

KEYS = {"name", "tier", "reason", "family", "paper", "formula", "io", "inputs", "parameters", "outputs", "engines",
        "recipe", "reduces", "doubt", "checks", "bench"}
NEEDED = ["name", "tier", "family", "paper", "formula", "engines"]
FAMILIES = ["dense", "compiler-systems", "distributed", "sparse-static", "sparse-dynamic", "decode-kvcache", "modifier",
            "linear", "delta-rule", "ssm-recurrent", "hybrid", "vision-local", "channel", "other", "analysis-only"]
ENGINES = ["tile", "state", "route", "merge", "scan", "map"]
DOUBTS = {
    "memory": "The formula is written from memory: compare it with the paper's before an oracle is made from it.",
    "inferred": "The formula is inferred from the abstract, not read in the paper.",
}


class Bad(Exception):
    pass


def plain(name):
    return "".join(c for c in name.lower() if c.isascii() and c.isalnum() or not c.isascii())


def tensor(text):
    m = re.fullmatch(r"(\w+)(\??) (\([^:]*\))(?:: (.*))?", text)
    if not m:
        raise Bad(f"'{text}' is not 'name (axes): what it is'")
    return m[1], m[3], m[4] or "", bool(m[2])


def parameter(text):
    m = re.fullmatch(r"(\w+) =(?: ([^:]*))?: (.*)", text)
    if not m:
        raise Bad(f"'{text}' is not 'name = default: what it is'")
    return m[1], m[2] or "", m[3], False


def read(paths):
    """Every system, in the order of the files, all keys filled in."""
    tables = {p.stem: tomllib.loads(p.read_text(encoding="utf-8")) for p in paths}
    shapes = tables.pop("shapes")
    systems, seen = [], {}
    for stem, table in tables.items():
        for s in table["system"]:
            name = s.get("name", "?")
            try:
                s.setdefault("family", table.get("family"))
                if s.get("tier") == "A":
                    s.setdefault("reason", "an operator of its own")
                for key in NEEDED + ["reason"]:
                    if not s.get(key):
                        raise Bad(f"no {key}")
                if unknown := set(s) - KEYS:
                    raise Bad(f"unknown keys: {', '.join(sorted(unknown))}")
                if s["tier"] not in ("A", "B", "C"):
                    raise Bad(f"tier {s['tier']}")
                if s["family"] not in FAMILIES:
                    raise Bad(f"family {s['family']}")
                if bad := [e for e in s["engines"] if e not in ENGINES]:
                    raise Bad(f"engines {bad}")
                if seen.setdefault(plain(name), name) is not name:
                    raise Bad(f"named like {seen[plain(name)]}")
                if s.get("recipe") and not (s.get("reduces") and s.get("checks")):
                    raise Bad("works, but without reduces or checks")
                if s.get("bench") and not s.get("recipe"):
                    raise Bad("bench, but without a recipe")
                io = shapes[s["io"]] if "io" in s else {}
                s["inputs"] = [tensor(t) for t in io.get("inputs", []) + s.get("inputs", [])]
                s["outputs"] = [tensor(t) for t in io.get("outputs", []) + s.get("outputs", [])]
                s["parameters"] = [parameter(t) for t in s.get("parameters", [])]
                for kind in ("inputs", "outputs", "parameters"):
                    names = [f[0] for f in s[kind]]
                    if len(set(names)) != len(names):
                        raise Bad(f"{kind} twice: {names}")
                s["doubt"] = DOUBTS.get(s.get("doubt", ""), s.get("doubt", ""))
                if any("\n" in s[k] for k in ("formula", "reason", "paper", "doubt")):
                    raise Bad("a text of more than one line")
            except (Bad, KeyError) as e:
                raise SystemExit(f"{stem}.toml: {name}: {e}")
            systems.append(s)
    return systems


def quoted(text):
    out = ""
    for byte in text.encode():
        c = chr(byte)
        # Octal: its length is bounded, so no digit behind it is taken in.
        out += f"\\{c}" if c in '"\\' else c if 32 <= byte < 127 and c != "?" else f"\\{byte:03o}"
    return f'"{out}"'


def write_c(systems):
    lines = ["/* Written by src/system/generate.py. */", '#include "system/system.h"', ""]
    rows = []
    for n, s in enumerate(systems):
        info = {"works": int("recipe" in s), "tier": quoted(s["tier"]),
                "engines": quoted(", ".join(s["engines"]))}
        for key in ("name", "reason", "family", "paper", "formula", "reduces", "doubt", "bench"):
            info[key] = quoted(s.get(key, ""))
        for kind in ("inputs", "parameters", "outputs"):
            if s[kind]:
                lines.append(f"static const rapt_system_field {kind}_{n}[] = {{")
                lines += [f"    {{{quoted(a)}, {quoted(b)}, {quoted(c)}, {int(d)}}}," for a, b, c, d in s[kind]]
                lines.append("};")
                info[kind], info[kind[:-1] + "_count"] = f"{kind}_{n}", len(s[kind])
        if s.get("checks"):
            lines.append(f"static const char *const checks_{n}[] = {{{', '.join(map(quoted, s['checks']))}}};")
            info["checks"], info["check_count"] = f"checks_{n}", len(s["checks"])
        rows.append("    {{" + ", ".join(f".{k} = {v}" for k, v in info.items()) + "}, " +
                    (f"rapt_system_{s['recipe']}" if "recipe" in s else "NULL") + "},")
    lines += ["", "const rapt_system_row rapt_system_rows[] = {", *rows, "};",
              f"const uint32_t rapt_system_row_count = {len(systems)};", ""]
    return "\n".join(lines)


def write_markdown(systems):
    lines = ["| tier | works | planned |", "|---|---|---|"]
    for tier in "ABC":
        of = [s for s in systems if s["tier"] == tier]
        works = sum("recipe" in s for s in of)
        lines.append(f"| {tier} | {works} | {len(of) - works} |")
    lines += ["", "| system | tier | what it is made of |", "|---|---|---|"]
    lines += [f"| {s['name']} | {s['tier']} | {s['reduces']} |" for s in systems if "recipe" in s]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", help="the C file")
    parser.add_argument("--markdown", action="store_true", help="print what works instead")
    parser.add_argument("tables", nargs="+", type=pathlib.Path)
    args = parser.parse_args()
    systems = read(args.tables)
    if args.markdown:
        sys.stdout.write(write_markdown(systems))
    else:
        pathlib.Path(args.output).write_text(write_c(systems), encoding="utf-8")


if __name__ == "__main__":
    main()
