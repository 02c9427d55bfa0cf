"""The GPUs that report.py asks, how to read each driver's statistics, and the gates that default kernels must pass."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    target: str  # run-on's name
    device_class: str  # as in the sidecars' scores
    generation: str = ""  # where the gates tell generations of one class apart
    isa: str | None = None  # a key of count_isa.ISAS; None: the driver prints no assembly that is counted


GPUS = [
    Gpu("radv:navi31", "amd-rdna", isa="amd"),
    Gpu("radv:gfx1201", "amd-rdna", isa="amd"),
    Gpu("radv:vangogh", "amd-rdna", isa="amd"),
    Gpu("radv:navi21", "amd-rdna", isa="amd"),
    Gpu("radv:polaris10", "amd-gcn", isa="amd"),
    Gpu("radv:vega10", "amd-gcn", isa="amd"),
    Gpu("anv:dg2", "intel", isa="intel"),
    Gpu("anv:tgl", "intel", isa="intel"),
    Gpu("anv:bmg", "intel", isa="intel"),
    Gpu("turnip:740", "adreno", "7xx", "ir3"),
    Gpu("turnip:630", "adreno", "6xx", "ir3"),
    Gpu("nvk:172", "nvk", isa="nvk"),
    Gpu("hk", "apple"),
    Gpu("panvk:a867", "mali"),
    Gpu("panvk:7212", "mali"),
    Gpu("v3dv:42", "v3d"),
    Gpu("pvr:36.53.104.796", "powervr"),
]


# ---- statistics ----


@dataclass
class Figures:
    """One compiled kernel on one GPU. None: the driver does not say."""

    subgroup_size: int
    registers: float | None
    occupancy: float | None  # in the driver's unit, see _OCCUPANCY_UNITS
    spills: float  # spill and fill instructions, or spilled registers
    scratch: float  # private memory: bytes, or the instructions that reach it
    cycles: float | None
    loops: float | None = None
    instructions: float | None = None


class UnreadableStatistics(Exception):
    pass


# driver -> (registers, occupancy, spills, scratch, cycles, loops, instructions): names of statistics; spills and
# scratch are sums. Zero spills is not zero traffic: an array indexed at run time shows only under scratch.
_STATISTICS = {
    "radv": (
        "VGPRs",
        "Subgroups per SIMD",
        ["Spilled SGPRs", "Spilled VGPRs"],
        ["Scratch size"],
        "Inverse Throughput",
        None,
        "Instructions",
    ),
    "anv": (
        "Max live registers",
        None,
        ["Spills", "Fills"],
        ["Scratch Memory Size"],
        "Cycles",
        "Loops",
        "Instructions",
    ),
    "turnip": (
        "Registers used",
        "Max Waves Per Core",
        ["STP Count", "LDP Count"],
        [],
        None,
        "Loops",
        "Instruction Count",
    ),
    "nvk": (
        "Number of GPRs",
        "Max warps/SM",
        ["Spills to memory", "Fills from memory"],
        ["SLM size"],
        "Static cycle count",
        None,
        "Instruction count",
    ),
    "hk": ("GPRs", "Threads", ["Spills", "Fills"], ["Scratch"], "ALU", "Loops", "Instructions"),
    "panvk": ("Registers used", "Threads", ["Spills", "Fills"], ["Spill cost"], "Cycles", "Loops", "Instructions"),
    "pvr": ("Temp count", None, ["Spill count"], ["Scratch size"], None, "Loop count", "Inst group count"),
}
_SCRATCH_IN_BYTES = ("radv", "anv", "nvk", "hk", "pvr")  # turnip and v3dv print none, panvk a cost
_VENDORS = {
    "radv": "AMD",
    "anv": "Intel",
    "turnip": "Qualcomm",
    "nvk": "NVIDIA",
    "hk": "Apple",
    "panvk": "Arm",
    "v3dv": "Broadcom",
    "pvr": "Imagination",
}
_OCCUPANCY_UNITS = {
    "radv": "waves/SIMD",
    "turnip": "waves/core",
    "nvk": "warps/SM",
    "hk": "threads",
    "panvk": "thread class",
    "v3dv": "threads/QPU",
}
# v3dv's own statistics print the size of the spill buffer as both its spills and its fills
_V3D_SHADER_DB = re.compile(
    r"SHADER-DB-[0-9a-f]{64} .*?(\d+) inst, (\d+) threads, (\d+) loops, .*?(\d+) max-temps, (\d+):(\d+) spills:fills, "
    r".*?(\d+) inst-and-stalls"
)


def occupancy_unit(gpu):
    return _OCCUPANCY_UNITS.get(gpu.target.partition(":")[0], "")


def vendor(gpu):
    return _VENDORS[gpu.target.partition(":")[0]]


def scratch_bytes(gpu, figures):
    """None where the driver does not give bytes."""
    return figures.scratch if gpu.target.partition(":")[0] in _SCRATCH_IN_BYTES else None


def environment(gpu):
    """Extra environment that makes the driver say what read_figures needs."""
    return {"V3D_DEBUG": "shaderdb"} if gpu.device_class == "v3d" else {}


def read_figures(gpu, executable, stderr):
    """Figures from one executable of pipestats --json; stderr is what the driver printed meanwhile."""
    driver = gpu.target.partition(":")[0]
    subgroup = executable["subgroup_size"]
    if driver == "v3dv":
        lines = _V3D_SHADER_DB.findall(stderr)
        if not lines:
            raise UnreadableStatistics("v3dv printed no shader-db line for the kernel")
        instructions, threads, loops, temporaries, spills, fills, cycles = map(int, lines[-1])
        return Figures(subgroup, temporaries, threads, spills + fills, 0, cycles, loops, instructions)

    values = {s["name"]: s["value"] for s in executable["statistics"]}

    def value(name):
        if name not in values:
            raise UnreadableStatistics(f"{driver} printed no statistic '{name}'; it has {', '.join(values) or 'none'}")
        return values[name]

    registers, occupancy, spills, scratch, cycles, loops, instructions = _STATISTICS[driver]
    figures = Figures(
        subgroup,
        value(registers),
        value(occupancy) if occupancy else None,
        sum(value(name) for name in spills),
        sum(value(name) for name in scratch),
        value(cycles) if cycles else None,
        value(loops) if loops else None,
        value(instructions),
    )
    if gpu.device_class == "amd-rdna" and subgroup == 64:
        figures.occupancy /= 2  # RADV counts a wave of 64 lanes as two there
    return figures


# ---- gates ----

ANY = ""


@dataclass(frozen=True)
class Gate:
    """What the default rows of a device class must reach; the names are those of report.Judged.measures()."""

    device_class: str
    generation: str = ANY
    kind: str = ANY  # scalar or coopmat
    dtype: str = ANY  # storage type of q, k, v
    at_least: tuple = ()
    at_most: tuple = ()

    def applies(self, gpu, kind, dtype):
        return (
            self.device_class in (ANY, gpu.device_class)
            and self.generation in (ANY, gpu.generation)
            and self.kind in (ANY, kind)
            and self.dtype in (ANY, dtype)
        )


GATES = [
    Gate(ANY, at_most=(("spills", 0), ("scratch", 0))),
    Gate("amd-rdna", kind="scalar", dtype="f16", at_least=(("M/V", 0.86), ("M/I", 0.70), ("occupancy", 6))),
    Gate("amd-rdna", kind="coopmat", at_least=(("occupancy", 4),), at_most=(("VALU/mma", 11), ("shared/mma", 9))),
    Gate("amd-gcn", kind="scalar", dtype="f32", at_least=(("M/V", 0.80), ("M/I", 0.65), ("occupancy", 2))),
    Gate("amd-gcn", kind="scalar", dtype="f16", at_least=(("M/V", 0.75), ("occupancy", 2))),
    Gate(
        "nvk",
        kind="scalar",
        at_least=(("M/V", 0.84), ("M/I", 0.72), ("occupancy", 16)),
        at_most=(("registers", 128),),
    ),
    Gate("nvk", kind="coopmat", at_least=(("occupancy", 12),), at_most=(("VALU/mma", 13), ("shared/mma", 2.5))),
    Gate("adreno", "7xx", "scalar", "f32", at_least=(("M/V", 0.78), ("occupancy", 6))),
    Gate("adreno", "7xx", "scalar", "f16", at_least=(("M/V", 0.62),)),
    Gate("adreno", "6xx", "scalar", "f32", at_least=(("M/V", 0.75), ("occupancy", 2))),
    Gate("intel", kind="scalar", dtype="f32", at_least=(("M/V", 0.72),)),
    Gate("apple", kind="scalar", at_least=(("occupancy", 576),)),
    Gate("mali", kind="scalar", at_most=(("registers", 64),)),
    Gate("v3d", kind="scalar", at_least=(("occupancy", 2),)),
    Gate("powervr", kind="scalar", at_most=(("registers", 128),)),
]

# Families that are compiled and shown, and held to nothing: they measure a device, no problem is solved with them.
UNGATED_FAMILIES = ("peak",)

# Rows for a head_dim_v above this are of last resort: only the gate of every class (spills, scratch) judges them.
LARGEST_GATED_HEAD_DIM_V = 512


@dataclass(frozen=True)
class Budget:
    """A gate that is known to be missed on one GPU: how far at most, and why."""

    target: str  # of the Gpu
    rows: str  # regular expression that the whole name of a row matches
    measure: str
    limit: float
    reason: str


_LAST_RESORT = "a head_dim_v over 512 is served, not served well"
_NOT_RUN = "the driver is of Vulkan 1.0, which rapt does not run on: the row compiles there, no more"
BUDGETS = [
    Budget("panvk:a867", "tile-.*-d576", "spills", 100, _LAST_RESORT),
    Budget("panvk:a867", "tile-.*-d576", "scratch", 4600, _LAST_RESORT),
    Budget("panvk:7212", "tile-.*-d576", "spills", 160, _NOT_RUN),
    Budget("panvk:7212", "tile-.*-d576", "scratch", 7500, _NOT_RUN),
    Budget("v3dv:42", "tile-.*-d576", "spills", 10, _LAST_RESORT),
    Budget("pvr:36.53.104.796", "tile-.*-d576", "spills", 135, _LAST_RESORT),
    Budget("panvk:7212", "tile-r2-loop-.*", "spills", 12, _NOT_RUN),
    Budget("panvk:7212", "tile-r2-loop-.*", "scratch", 950, _NOT_RUN),
]
