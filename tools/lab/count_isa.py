#!/usr/bin/env python3
"""Count the instructions of an attention kernel's hot loop, per key/value tile, in a vendor's final assembly.

The input is what `pipestats --ir` prints. The hot loop is the one that takes the exponentials and holds the most
multiply-adds; loops inside it (over the head dimension for QK^T, over the keys for PV) are weighted by the trip
counts given. With --macs, the multiply-adds per lane that a tile needs, the result is

  M/V  useful multiply-adds per vector ALU instruction
  M/I  useful multiply-adds per issued instruction of any kind (shared memory, waits, scalar, no-ops)

and for kernels of cooperative matrices, vector ALU and shared-memory instructions per matrix instruction.
Not modelled: bank conflicts, caches, barrier stalls, dual issue beyond what the compiler already paired.
"""

import argparse
import itertools
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field

MACS_PER_MATRIX_OP = 64  # only to find the hot loop: any number that outweighs scalar multiply-adds


class CountError(Exception):
    """The assembly does not hold what was to be counted."""


@dataclass
class Instruction:
    counts: Counter  # category -> how many; "issued" is always among them
    target: str | None = None  # the label it may jump to
    falls_through: bool = True


@dataclass
class Program:
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)  # label -> index of the instruction behind it


@dataclass
class LoopCount:
    """What one trip through the hot loop issues, by category."""

    counts: Counter
    inner_macs: list[int]  # multiply-adds in the body of each weighted inner loop
    inner_trips: list[int]
    useful_macs: int | None

    @property
    def macs_per_valu(self):
        return self._ratio("valu")

    @property
    def macs_per_issue(self):
        return self._ratio("issued")

    def _ratio(self, category):
        if not self.useful_macs or self.counts["mma"]:
            return None
        return self.useful_macs / max(1, self.counts[category])

    @property
    def valu_per_mma(self):
        return self.counts["valu"] / self.counts["mma"] if self.counts["mma"] else None

    @property
    def shared_per_mma(self):
        return self.counts["shared"] / self.counts["mma"] if self.counts["mma"] else None


def _counts(*categories, **amounts):
    return Counter({"issued": 1, **{name: 1 for name in categories}, **amounts})


# ---- AMD: the assembly that ACO prints ----

_AMD_MAC = re.compile(r"v_(fma|fmac|mac|mad|fmaak|fmamk|madak|madmk)_(mix|mixlo|mixhi|f32|legacy)")
_AMD_HINTS = ("s_delay_alu", "s_nop", "s_clause", "s_inst_prefetch", "s_set_vgpr_msb")


def _classify_amd(opcode, operands):
    if opcode.startswith(("v_wmma", "v_swmmac", "v_mfma")):
        return _counts("mma")
    if opcode.startswith("v_dual_"):
        macs = sum("fma" in name for name in re.findall(r"v_dual_\w+", f"{opcode} {operands}"))
        return _counts("valu", "dual", mac=macs)
    if opcode.startswith(("v_pk_fma", "v_dot2")):
        return _counts("valu", mac=2)
    if _AMD_MAC.match(opcode):
        return _counts("valu", "mac")
    if re.match(r"v_(exp|log|rcp|rsq|sqrt|sin|cos)_", opcode):
        return _counts("valu", "transcendental")
    if opcode.startswith("v_"):
        return _counts("valu", convert="cvt" in opcode, move="mov" in opcode)
    if opcode.startswith("ds_"):
        return _counts("shared")
    if opcode.startswith("scratch_"):
        return _counts("memory", "scratch")
    if re.match(r"(buffer|global|flat|tbuffer|image)_", opcode):
        return _counts("memory")
    if re.match(r"s_(buffer_)?load", opcode):
        return _counts("scalar_memory")
    if opcode.startswith(("s_waitcnt", "s_wait_")):
        return _counts("wait")
    if opcode.startswith("s_barrier"):
        return _counts("barrier")
    if opcode in _AMD_HINTS:
        return _counts("hint")
    return _counts("scalar")


def parse_amd(text):
    program = Program()
    for line in text.splitlines():
        if label := re.match(r"(BB\d+):", line):
            program.labels[label[1]] = len(program.instructions)
        elif match := re.match(r"\s+([a-z]\w+)\s*(.*?)\s*(;.*)?$", line):
            opcode, operands = match[1], match[2]
            target = re.search(r"\bBB\d+\b", operands) if re.match(r"s_c?branch", opcode) else None
            program.instructions.append(
                Instruction(
                    _classify_amd(opcode, operands),
                    target[0] if target else None,
                    opcode not in ("s_branch", "s_endpgm"),
                )
            )
    return program


# ---- NVIDIA: the assembly that NAK prints ----


def _classify_nvk(opcode, result, comment):
    delay = re.search(r"delay=(\d+)", comment)
    extra = {"cycles": int(delay[1]) if delay else 1, "wait": "wt=" in comment}
    if opcode.startswith(("hmma", "imma")):
        return _counts("mma", **extra)
    if opcode.startswith("ffma"):
        return _counts("valu", "mac", **extra)
    if opcode.startswith("hfma2"):
        return _counts("valu", mac=2, **extra)
    if re.match(r"(ldsm|lds|sts|atoms|(ld|st|atom)\.shared)\b", opcode):
        return _counts("shared", **extra)
    if re.match(r"(ldl|stl)\b", opcode):
        return _counts("memory", "scratch", **extra)
    if re.match(r"(ldg|stg|ld|st|atom|atomg|red)\b", opcode):
        return _counts("memory", **extra)
    if opcode.startswith("ldc"):
        return _counts("scalar_memory", **extra)
    if opcode.startswith("shfl"):
        return _counts("shuffle", **extra)
    if opcode.startswith("mufu"):
        return _counts("valu", "transcendental", **extra)
    if re.match(r"bar\b", opcode):
        return _counts("barrier", **extra)
    if re.match(r"(bra|bssy|bsync|bclear|nop|exit|vote|warpsync)\b", opcode):
        return _counts("control", **extra)
    if re.match(r"u[rp]\d", result):
        return _counts("scalar", **extra)
    is_convert = opcode.startswith("f2f") or "hadd2.f32" in opcode
    return _counts("valu", move=opcode == "mov", convert=is_convert, **extra)


def parse_nvk(text):
    program = Program()
    for line in text.splitlines():
        if label := re.match(r"block(?:\.u)? \d+ (L\d+) ", line):
            program.labels[label[1]] = len(program.instructions)
            continue
        match = re.match(r"(@!?\w+)?\s*(?:(\S.*?)\s*=\s)?\s*([a-z]\w[\w.\[\]x]*)\s*(.*?)\s*//(.*)$", line)
        if not match:
            continue
        predicate, result, opcode, operands, comment = match.groups()
        target = re.search(r"L\d+", operands) if opcode == "bra" else None
        always = not predicate and (opcode == "exit" or (opcode == "bra" and operands.startswith("pT")))
        program.instructions.append(
            Instruction(_classify_nvk(opcode, result or "", comment), target[0] if target else None, not always)
        )
    return program


# ---- Adreno: the assembly that ir3 prints ----


def _classify_ir3(opcode, repeat, idle, flags):
    extra = {"issued": repeat + idle, "nop": idle, "ss": "(ss)" in flags, "sy": "(sy)" in flags}
    if opcode == "nop":
        return Counter({**extra, "nop": repeat + idle})
    if re.match(r"mad\.f(32|16)", opcode):
        return Counter(extra, valu=repeat, mac=repeat)
    if re.match(r"(ldp|stp)\b", opcode):
        return Counter(extra, memory=1, scratch=1)
    if re.match(r"(ldl|stl)", opcode):
        return Counter(extra, shared=1)
    if re.match(r"(ldib|stib|isam|ldg|stg|ldc|ldv)", opcode):
        return Counter(extra, memory=1)
    if re.match(r"h?(rcp|exp2|log2|sqrt|rsq|sin|cos)\b", opcode):
        return Counter(extra, valu=repeat, transcendental=repeat)
    if re.match(r"(shfl|quad|brcst)", opcode):
        return Counter(extra, shuffle=1)
    if re.match(r"(bar|fence)\b", opcode):
        return Counter(extra, barrier=1)
    if re.match(r"(br|jump|pred[tfe]|shps|shpe|getone|kill|end|bany|ball)", opcode):
        return Counter(extra, control=1)
    return Counter(
        extra, valu=repeat, convert=repeat * opcode.startswith("cov"), move=repeat * opcode.startswith("mov")
    )


def parse_ir3(text):
    program = Program()
    for line in text.splitlines():
        if label := re.match(r"(l\d+):", line):
            program.labels[label[1]] = len(program.instructions)
            continue
        match = re.match(r"((?:\([a-z]+\d*\))*)\s*([a-z]\w*(?:\.\w+)*)\s*(.*)$", line)
        if not match:
            continue
        flags, opcode, operands = match.groups()
        repeat = re.search(r"\(rpt(\d+)\)", flags)
        idle = re.search(r"\(nop(\d+)\)", line)
        is_branch = re.match(r"(br|jump|brax|bany|ball)", opcode)
        target = re.search(r"#(l\d+)", operands) if is_branch else None
        program.instructions.append(
            Instruction(
                _classify_ir3(opcode, 1 + int(repeat[1] if repeat else 0), int(idle[1] if idle else 0), flags),
                target[1] if target else None,
                opcode not in ("jump", "end"),
            )
        )
    return program


# ---- Intel: the assembly that brw prints ----

_INTEL_CONTROL = ("while", "if", "else", "endif", "break", "cont", "nop", "jmpi", "halt")


def _classify_intel(opcode):
    if opcode == "sync":
        return Counter(sync=1)  # waits on the software scoreboard: listed, not counted as issued
    if opcode == "dpas":
        return _counts("mma")
    if opcode in ("mad", "mac"):
        return _counts("valu", "mac")
    if opcode == "math":
        return _counts("valu", "transcendental")
    if opcode == "mov":
        return _counts("valu", "move")
    if opcode.startswith("send"):
        return _counts("send")
    if opcode in _INTEL_CONTROL:
        return _counts("control")
    return _counts("valu")


def parse_intel(text):
    program = Program()
    lines = text.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if label := re.match(r"(LABEL\d+):", line):
            program.labels[label[1]] = len(program.instructions)
            continue
        match = re.match(r"(?:\([-+]f[^)]*\) )?([a-z]\w*)(?:\.\w+| \w+)*\(\d+\)\s*(.*)$", line)
        if not match:
            continue
        opcode, operands = match.groups()
        counts = _classify_intel(opcode)
        if counts["send"]:  # the message is on the next line: slm is shared memory
            counts["shared" if following.split()[:1] == ["slm"] else "memory"] = 1
        # `break` leaves the loop at the `while` that its label stands before
        jumps = opcode in ("while", "if", "else", "break")
        target = re.search(r"JIP:\s+(LABEL\d+)", operands) if jumps else None
        program.instructions.append(Instruction(counts, target[1] if target else None, opcode != "else"))
    return program


ISAS = {
    # name: (parser, name of the driver's internal representation)
    "amd": (parse_amd, "Assembly"),
    "nvk": (parse_nvk, "NAK assembly"),
    "ir3": (parse_ir3, "IR3 Assembly"),
    "intel": (parse_intel, "GEN Assembly"),
}


# ---- control flow ----


def _blocks_of(program):
    """Basic blocks as (first, last + 1), and the successors of each."""
    instructions, labels = program.instructions, program.labels
    leaders = {0} | set(labels.values())
    leaders |= {k + 1 for k, i in enumerate(instructions) if i.target or not i.falls_through}
    leaders = sorted(k for k in leaders if k < len(instructions))
    number = {first: n for n, first in enumerate(leaders)}
    blocks = list(zip(leaders, [*leaders[1:], len(instructions)], strict=True))
    successors = []
    for n, (_, end) in enumerate(blocks):
        last = instructions[end - 1]
        after = []
        if last.target is not None and labels.get(last.target) in number:
            after.append(number[labels[last.target]])
        if last.falls_through and n + 1 < len(blocks):
            after.append(n + 1)
        successors.append(after)
    return blocks, successors


def _natural_loops(successors):
    """header -> set of blocks, for every block that a back edge reaches."""
    reachable, stack = set(), [0]
    while stack:
        n = stack.pop()
        if n not in reachable:
            reachable.add(n)
            stack.extend(successors[n])
    predecessors = {n: [] for n in reachable}
    for n in reachable:
        for after in successors[n]:
            predecessors[after].append(n)
    dominators = {n: set(reachable) for n in reachable}
    dominators[0] = {0}
    changed = True
    while changed:
        changed = False
        for n in sorted(reachable - {0}):
            new = set.intersection(*(dominators[p] for p in predecessors[n])) | {n}
            if new != dominators[n]:
                dominators[n], changed = new, True
    loops = {}
    for n in reachable:
        for header in successors[n]:
            if header not in dominators[n]:
                continue
            body, stack = {header}, [n]
            while stack:
                block = stack.pop()
                if block not in body:
                    body.add(block)
                    stack.extend(predecessors[block])
            loops[header] = loops.get(header, set()) | body
    return loops


@dataclass
class _Side:
    """The blocks on one side of a branch, up to where both sides meet again."""

    blocks: frozenset
    other: frozenset


def _branch_sides(successors, loops, hot, inner_blocks):
    """Both sides of every branch within the hot loop, outside its inner loops."""
    order = sorted(loops[hot])

    def goes_on(n, after):  # not out of the hot loop, and not back to the head of a loop
        return after in loops[hot] and n not in loops.get(after, ())

    forward = {n: [after for after in successors[n] if goes_on(n, after)] for n in order}
    post = {n: set(order) for n in order}
    changed = True
    while changed:
        changed = False
        for n in reversed(order):
            after = [post[s] for s in forward[n]]
            new = (set.intersection(*after) if after else set()) | {n}
            if new != post[n]:
                post[n], changed = new, True
    sides = []
    for n in order:
        if n in inner_blocks or len(forward[n]) != 2:
            continue
        meeting = max(post[n] - {n}, key=lambda m: len(post[m]), default=None)
        reached = []
        for start in forward[n]:
            region, stack = set(), [start]
            while stack:
                block = stack.pop()
                if block != meeting and block not in region:
                    region.add(block)
                    stack.extend(forward[block])
            reached.append(frozenset(region))
        for side, other in (reached, reached[::-1]):
            if side:
                sides.append(_Side(side, other))
    return sides


def _choose_trips(trips, inner, once, useful_macs):
    """Which trip count belongs to which inner loop, or None. A compiler may unroll one of them for good: then the
    choice is the one that comes closest to the multiply-adds that the tile needs."""
    choices = sorted(set(itertools.combinations(trips, len(inner))))
    if not choices or (len(choices) > 1 and not useful_macs):
        return None

    def total(choice):
        return once["mac"] + sum((trip - 1) * loop["mac"] for trip, loop in zip(choice, inner, strict=True))

    return list(min(choices, key=lambda choice: abs(total(choice) - (useful_macs or 0))))


def _weigh(counts_of, blocks, loops, inner, trips, useful_macs):
    """Counts of the hot loop's `blocks`, inner loops weighted; None where the trip counts cannot be given out."""
    present = [header for header in inner if header in blocks]
    inner_counts = [counts_of(loops[header] & blocks) for header in present]
    total = counts_of(blocks)
    chosen = _choose_trips(trips, inner_counts, total, useful_macs) if trips else [1] * len(present)
    if chosen is None:
        return None
    for trip, counts in zip(chosen, inner_counts, strict=True):
        for name, amount in counts.items():
            total[name] += (trip - 1) * amount
    return LoopCount(total, [c["mac"] for c in inner_counts], chosen, useful_macs)


def _does_the_work(result):
    """Whether the multiply-adds are those that a tile needs, or cannot be compared."""
    if result is None:
        return False
    if not result.useful_macs or result.counts["mma"]:
        return True
    return 0.98 <= result.counts["mac"] / result.useful_macs <= 1.25


def count_program(program, trips=(), useful_macs=None, rare_branches=0):
    """Count the hot loop of a parsed program; see count()."""
    if not program.instructions:
        raise CountError("no instructions: is this the assembly of that GPU?")
    blocks, successors = _blocks_of(program)
    loops = _natural_loops(successors)
    per_block = [sum((i.counts for i in program.instructions[first:end]), Counter()) for first, end in blocks]

    def counts_of(members):
        return sum((per_block[n] for n in members), Counter())

    weight = {}
    for header, body in loops.items():
        counts = counts_of(body)
        work = counts["mac"] + MACS_PER_MATRIX_OP * counts["mma"]
        if counts["transcendental"] and work:
            weight[header] = (work, len(body))
    if not weight:
        raise CountError("no loop with both exponentials and multiply-adds")
    hot = max(weight, key=weight.get)
    body = loops[hot]
    nested = [h for h in loops if h != hot and loops[h] < body]
    nested = [h for h in nested if not any(g != h and loops[h] < loops[g] for g in nested)]
    inner = [h for h in sorted(nested) if counts_of(loops[h])["mac"] or counts_of(loops[h])["mma"]]
    inner_blocks = set().union(*(loops[h] for h in nested)) if nested else set()
    sides = _branch_sides(successors, loops, hot, inner_blocks)

    # Where branches choose between two ways of doing the work (the second one for ragged or masked tiles), only one
    # may count: the fewest sides are left out with which the multiply-adds are those of one tile.
    heavy = useful_macs / 10 if useful_macs else float("inf")
    working = [s for s in sides if s.blocks & set(inner) or counts_of(s.blocks)["mac"] > heavy]
    result = None
    for left_out in itertools.chain.from_iterable(itertools.combinations(working[:12], n) for n in range(4)):
        kept = body - frozenset().union(*(s.blocks for s in left_out))
        attempt = _weigh(counts_of, kept, loops, inner, trips, useful_macs)
        if not left_out or _does_the_work(attempt):
            result = attempt
        if _does_the_work(attempt):
            break
    if result is None:
        raise CountError(f"{len(inner)} inner loops with multiply-adds, but {len(trips)} trip counts")
    if not _does_the_work(result):
        raise CountError(
            f"the hot loop has {result.counts['mac']} multiply-adds a tile where {useful_macs} are needed "
            f"(inner loops {result.inner_macs}, trips {result.inner_trips}): are the trip counts right?"
        )

    def issued(members):
        return counts_of(members)["issued"]

    # the other side of a rare branch is empty, or a few moves
    rare = [s.blocks for s in sides if s not in working and issued(s.other) <= issued(s.blocks) / 4]
    taken = set(body - kept)
    for region in sorted(rare, key=issued, reverse=True):
        if rare_branches and not region & taken:
            result.counts.subtract(counts_of(region))
            taken |= region
            rare_branches -= 1
    return result


def count(isa, text, trips=(), useful_macs=None, rare_branches=0):
    """Count the hot loop in the assembly `text` of `isa` (a key of ISAS).

    trips: the trip counts of the inner loops, in program order (QK^T, PV). useful_macs: multiply-adds per lane
    and tile; where branches lead to several ways of doing the work, it decides which one is counted. rare_branches:
    how many of the largest skippable branches (a lazy rescale, the mask of a ragged tile) to leave out.
    """
    return count_program(ISAS[isa][0](text), trips, useful_macs, rare_branches)


def section_of(text, name):
    """The section of `pipestats --ir` output with the representation `name`; the last one if several."""
    sections = re.split(r"^---- ", text, flags=re.M)
    found = [s for s in sections[1:] if s.startswith(f"{name} (")]
    if not found:
        have = [s.split(" (")[0] for s in sections[1:]]
        raise CountError(f"no representation '{name}' in the input; it has {have or 'none'}")
    return found[-1].partition("\n")[2]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("isa", choices=ISAS)
    parser.add_argument("file", help="output of pipestats --ir; - for standard input")
    parser.add_argument("--macs", type=int, metavar="N", help="useful multiply-adds per lane and tile")
    parser.add_argument("--trips", type=int, nargs="*", default=[], metavar="N", help="of the inner loops, in order")
    parser.add_argument(
        "--rare-branches", type=int, default=0, metavar="N", help="leave out the N largest branches in the loop"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        if arguments.file == "-":
            text = sys.stdin.read()
        else:
            with open(arguments.file, encoding="utf-8", errors="replace") as file:
                text = file.read()
        text = section_of(text, ISAS[arguments.isa][1])
        result = count(arguments.isa, text, arguments.trips, arguments.macs, arguments.rare_branches)
    except (CountError, OSError) as error:
        print(f"count_isa.py: {error}", file=sys.stderr)
        return 2
    figures = {
        "macs_per_valu": result.macs_per_valu,
        "macs_per_issue": result.macs_per_issue,
        "valu_per_mma": result.valu_per_mma,
        "shared_per_mma": result.shared_per_mma,
    }
    counts = {name: amount for name, amount in sorted(result.counts.items()) if amount}
    if arguments.json:
        print(json.dumps({**figures, "counts": counts, "inner_trips": result.inner_trips}))
        return 0
    print(" ".join(f"{name}={value:.3f}" for name, value in figures.items() if value is not None))
    print(f"inner loops: {list(zip(result.inner_macs, result.inner_trips, strict=True))} as (multiply-adds, trips)")
    print(" ".join(f"{name}={amount}" for name, amount in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
