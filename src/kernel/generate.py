#!/usr/bin/env python3
"""Compile the kernels that the sidecars list and write the table that librapt embeds.

Each shader has a sidecar beside it (shaders/tile/tile.comp + tile.toml). A sidecar says:

    shader = "tile.comp"
    family = "tile"                       # rapt_family
    operands = ["q@1", "k@2", "v@3", "out@4 w", "lse@5 w", "cu_q@6", "cu_k@7", "part_acc@4 w", "part_ml@5 w"]
                                          # role@binding[:kind][ w]
    [[constants]]                         # specialization constants, as tables id/name and value or from
    id = 0
    name = "LOCAL_SIZE"
    value = 64
    [[rows]]                              # defaults of all rows may stand in [defaults]
    name = "tile-{dtype}-d{d}"            # {..}: keys of `pairs`
    pairs = [{dtype = "f32", d = 64}, {dtype = "f16", d = 64}]    # one row each; never a product
    defines = { D_MAX = "{d}" }           # DTYPE is defined from dtype by itself (1 f32, 2 f16, 3 bf16)
    dtypes = ["{dtype}"]
    supports = ["causal", "varlen", "partial", "group", "unaligned"]
    requires = ["subgroup-shuffle"]       # names of RAPT_FEATURES in rapt/caps.h
    head_dim_qk = [1, 64, 1]              # min, max, multiple
    head_dim_v = [1, 64, 1]
    rows_per_tile = 32
    keys_per_tile = 32
    local_size = 64
    shared_bytes = 4608
    subgroup_exact = 8                    # or subgroup_min
    coopmat = [16, 16, 16]
    constants = { LOCAL_SIZE = 128 }      # overrides of literal constants, by name
    score = { default = 50, software = 10 }
    glslang = "coopmat"                   # needs a toolchain feature; absent: the row drops out
    lab = { macs_per_lane = 4096, qk_trip = 8, pv_trip = 8 }      # for tools/lab/report.py

Rows with the same shader and defines share one module. Modules of a shader lie in blocks, which --pack makes .xz streams of.
"""
import argparse
import concurrent.futures
import hashlib
import json
import lzma
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

DTYPES = {"f32": 1, "f16": 2, "bf16": 3, "i32": 4}
CLASSES = ["other", "software", "amd-rdna", "amd-gcn", "nvidia", "intel", "adreno", "mali", "apple", "v3d", "powervr",
           "nvk"]
SAME_GPUS = {"nvk": "nvidia"}  # a class without a score of its own takes that of the other driver for its GPUs
FAMILIES = ["tile", "broadcast", "coopmat", "coopmat2", "decode", "merge", "naive", "peak", "map", "route", "state", "scan"]
ROLES = ["none", "q", "k", "v", "out", "lse", "cu_q", "cu_k", "part_acc", "part_ml", "extra",
         "sinks", "alibi", "key_bias", "segments", "relative", "weight_decay", "block_mask", "block_table", "gate", "bias", "source_q", "source_k",
         "factor_q", "factor_k", "col_sums", "row_max", "a", "b", "decay", "beta", "state", "norm", "state_in", "norm_in", "chunks", "chunk_norms",
         "steps", "summary", "pooled", "scores", "mask", "list", "within", "rows", "weight", "x", "coef", "scan_b", "scan_c", "dt", "scan_z", "skip",
         "term_0", "term_1", "term_2", "term_weight_0", "term_weight_1", "term_weight_2", "norm_weight",
         "source_v", "source_a", "source_b", "scale_q", "scale_k", "sums", "result", "state_out", "norm_out", "positions"]
KINDS = ["storage", "r32f", "rgba32f", "rgba16f", "rg32ui", "rgba32ui", "r16f", "r16ui", "words"]
SOURCES = ["literal", "head_dim_qk", "head_dim_v", "causal", "varlen", "partial", "group", "aligned", "nq_is_one",
           "whole_keys", "window", "soft_cap", "link", "extras", "grid_rank", "decay", "log_decay", "beta", "normalize", "phi",
           "pass", "summary", "select", "pooled", "single_keys", "rows_kind", "weighted", "scan_op", "scan_flags", "coef", "states",
           "map_q", "map_k", "scan_act", "k_format", "v_format", "margin", "out_format", "normed", "rope", "patch_tiles", "patch_heads",
           "skips", "chunk"]
SUPPORTS = {"causal": 1, "varlen": 2, "partial": 4, "group": 8, "unaligned": 16, "bench-only": 32, "window": 64,
            "soft-cap": 128, "extras": 256, "links": 512, "walks": 1024, "scans": 2048, "products": 4096, "copies": 8192,
            "rule-none": 16384, "rule-delta": 32768, "rule-dplr": 65536, "normalize": 131072, "beta": 262144,
            "outputs": 524288, "adds": 1048576, "gate": 2097152, "scalar-decay": 4194304, "soft-phi": 8388608,
            "summarises": 1024, "scores": 2048, "selects": 4096, "moves-rows": 1024, "places-rows": 2048, "paged-tiles": 1 << 26, "paged": 1 << 27,
            "quantised": 1 << 25, "blocks": 1 << 28, "grid": 1 << 29, "learns": 1 << 30,
            # rows of scans, whose bits mean something else
            "scan-walks": 1 << 8, "scan-carries": 1 << 9, "scan-real": 1 << 10, "scan-complex": 1 << 11, "scan-gated": 1 << 12,
            "scan-maps": 1 << 13, "scan-generated": 1 << 14,
            "scan-sum": 1 << 16, "scan-max": 1 << 17, "scan-linear": 1 << 18, "scan-softmax": 1 << 19, "scan-ssm": 1 << 20,
            "scan-selective": 1 << 21, "scan-hold": 1 << 22, "scan-conv": 1 << 23, "scan-conv2d": 1 << 24,
            # rows of linear attention, likewise
            "maps": 64, "finishes": 128, "moves": 256, "applies": 512, "solves": 1 << 24, "leaps": 1 << 25}
ROW_KEYS = {"name", "pairs", "defines", "dtypes", "supports", "requires", "head_dim_qk", "head_dim_v", "nq_max",
            "rows_per_tile", "keys_per_tile", "local_size", "shared_bytes", "subgroup_exact", "subgroup_min",
            "coopmat", "constants", "score", "glslang", "lab", "operands", "optimise"}


class SidecarError(Exception):
    pass


def feature_names(caps_header):
    """The feature names of RAPT_FEATURES, in order: the index is the bit."""
    text = pathlib.Path(caps_header).read_text()
    return re.findall(r'^\s*X\((?:\w+), "([\w-]+)",', text, re.M)


def substitute(value, pair):
    """Replace {key} in strings (and in lists and tables of strings) by the pair's values."""
    if isinstance(value, str):
        out = re.sub(r"\{(\w+)\}", lambda m: str(pair[m.group(1)]), value)
        if out != value and re.fullmatch(r"-?\d+", out):
            return int(out)
        return out
    if isinstance(value, list):
        return [substitute(v, pair) for v in value]
    if isinstance(value, dict):
        return {k: substitute(v, pair) for k, v in value.items()}
    return value


def parse_operand(text, where):
    m = re.fullmatch(r"(\w+)@(\d+)(?::(\w+))?( w)?", text)
    if not m or m.group(1) not in ROLES or (m.group(3) or "storage") not in KINDS:
        raise SidecarError(f"{where}: bad operand '{text}' (role@binding[:kind][ w])")
    return ROLES.index(m.group(1)), int(m.group(2)), KINDS.index(m.group(3) or "storage"), 1 if m.group(4) else 0


def load_rows(sidecar, features):
    """All rows of one sidecar, as plain dictionaries with every default filled in."""
    data = tomllib.loads(sidecar.read_text())
    if data.get("family") not in FAMILIES:
        raise SidecarError(f"{sidecar}: family '{data.get('family')}' is none of {', '.join(FAMILIES)}")
    shader = sidecar.parent / data["shader"]
    if not shader.exists():
        raise SidecarError(f"{sidecar}: no shader {shader}")
    rows = []
    for entry in data.get("rows", []):
        unknown = set(entry) - ROW_KEYS
        if unknown:
            raise SidecarError(f"{sidecar}: row {entry.get('name')}: unknown keys {sorted(unknown)}")
        for pair in entry.get("pairs", [{}]):
            merged = dict(data.get("defaults", {}))
            for key, value in entry.items():
                if isinstance(value, dict) and isinstance(merged.get(key), dict):
                    value = {**merged[key], **value}
                merged[key] = value
            raw = substitute({k: v for k, v in merged.items() if k != "pairs"}, pair)
            where = f"{sidecar.name}: row {raw['name']}"
            row = {"name": raw["name"], "family": data["family"], "shader": shader, "sidecar": sidecar}
            if len(row["name"]) > 60:
                raise SidecarError(f"{where}: the name is longer than 60 characters")
            defines = dict(raw.get("defines", {}))
            if "dtype" in pair:
                defines["DTYPE"] = DTYPES[pair["dtype"]]
            row["defines"] = " ".join(f"-D{k}={v}" for k, v in sorted(defines.items()))
            row["dtypes"] = sum(1 << DTYPES[d] for d in raw["dtypes"])
            row["supports"] = sum(SUPPORTS[s] for s in raw.get("supports", []))
            row["requires"] = raw.get("requires", [])
            for name in row["requires"]:
                if name not in features:
                    raise SidecarError(f"{where}: unknown capability '{name}'")
            row["features"] = sum(1 << features.index(n) for n in row["requires"])
            for key in ("head_dim_qk", "head_dim_v"):
                row[key] = raw.get(key, [1, 576, 1])
            row["nq_max"] = raw.get("nq_max", 0)
            for key in ("rows_per_tile", "keys_per_tile", "local_size"):
                row[key] = int(raw[key])
            row["shared_bytes"] = int(raw.get("shared_bytes", 0))
            row["subgroup_exact"] = raw.get("subgroup_exact", 0)
            row["subgroup_min"] = raw.get("subgroup_min", 0)
            row["coopmat"] = raw.get("coopmat", [0, 0, 0])
            score = raw.get("score", {})
            for name in score:
                if name != "default" and name not in CLASSES:
                    raise SidecarError(f"{where}: unknown device class '{name}'")
            default = score.get("default", 0)
            row["score"] = [score.get(c, score.get(SAME_GPUS.get(c), default)) for c in CLASSES]
            row["operands"] = [parse_operand(o, where) for o in raw.get("operands", data.get("operands", []))]
            overrides = dict(raw.get("constants", {}))
            row["constants"] = []
            for c in data.get("constants", []):
                source = c.get("from", "literal")
                if source not in SOURCES:
                    raise SidecarError(f"{where}: constant {c['name']}: unknown source '{source}'")
                value = overrides.pop(c["name"], c.get("value", 0))
                row["constants"].append((c["id"], SOURCES.index(source), int(value), c["name"]))
            if overrides:
                raise SidecarError(f"{where}: no such constants {sorted(overrides)}")
            row["glslang"] = raw.get("glslang", "")
            row["lab"] = raw.get("lab")
            row["optimise"] = bool(raw.get("optimise", False))
            rows.append(row)
    return rows


class Toolchain:
    """glslang, spirv-val and spirv-opt, and which optional GLSL features they know."""

    FLAGS = ["-V", "-g0", "--quiet"]  # no names, a sixth of a module; src/compiler leaves them out too
    PROBES = {
        "coopmat": "#version 450\n#extension GL_KHR_cooperative_matrix : require\n"
                   "#extension GL_KHR_memory_scope_semantics : require\n"
                   "#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require\n"
                   "layout(local_size_x = 32) in;\n"
                   "void main() { coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA> a; }\n",
    }

    PROBES["coopmat2"] = PROBES["coopmat"].replace("layout(", "#extension GL_NV_cooperative_matrix2 : require\nlayout(", 1)

    def __init__(self, glslang, spirv_val, spirv_opt, include):
        self.glslang = glslang.split(";")
        self.spirv_val = spirv_val.split(";") if spirv_val else None
        self.spirv_opt = spirv_opt.split(";") if spirv_opt else None
        self.include = include
        self.known = {}

    def supports(self, feature):
        if not feature:
            return True
        if feature not in self.known:
            with tempfile.TemporaryDirectory() as tmp:
                src = pathlib.Path(tmp) / "probe.comp"
                src.write_text(self.PROBES[feature])
                self.known[feature] = self.run(src, "", pathlib.Path(tmp) / "probe.spv", "vulkan1.3") is None
        return self.known[feature]

    def run(self, source, defines, output, target):
        """None, or the compiler's words."""
        cmd = [*self.glslang, *self.FLAGS, "--target-env", target, f"-I{self.include}", *defines.split(),
               "-o", str(output), str(source)]
        done = subprocess.run(cmd, capture_output=True, text=True)
        if done.returncode != 0:
            return done.stdout + done.stderr
        if self.spirv_val:
            done = subprocess.run([*self.spirv_val, "--target-env", target, str(output)], capture_output=True, text=True)
            if done.returncode != 0:
                return "spirv-val: " + done.stdout + done.stderr
        return None

    def optimise(self, path):
        done = subprocess.run([*self.spirv_opt, "-O", str(path), "-o", str(path)], capture_output=True, text=True)
        return None if done.returncode == 0 else done.stderr

    def identity(self):
        tools = [t for t in (self.glslang, self.spirv_val, self.spirv_opt) if t]
        return " ".join(self.FLAGS) + "".join(subprocess.run([*t, "--version"], capture_output=True, text=True).stdout for t in tools)


def target_of(row):
    """The oldest Vulkan whose SPIR-V can express a row: some drivers of 1.0 compile what asks no more."""
    if row["glslang"].startswith("coopmat"):
        return "vulkan1.3"
    return "vulkan1.1" if "subgroup" in row["requires"] else "vulkan1.0"


def include_closure(path, include, seen):
    """Every file that a shader includes, itself first."""
    path = path.resolve()
    if path in seen:
        return
    seen.append(path)
    for name in re.findall(r'^\s*#include\s+"([^"]+)"', path.read_text(), re.M):
        for base in (path.parent, include):
            if (base / name).exists():
                include_closure(base / name, include, seen)
                break
        else:
            raise SidecarError(f"{path}: included file '{name}' not found")


def compile_module(toolchain, module, cache, identity):
    shader, defines, target, optimise = module
    files = []
    include_closure(shader, toolchain.include, files)
    key = hashlib.sha256()
    key.update(f"{identity}|{defines}|{target}|{optimise}".encode())
    for f in files:
        key.update(f.read_bytes())
    cached = cache / (key.hexdigest()[:32] + ".spv")
    if not cached.exists():
        tmp = cached.with_suffix(f".{os.getpid()}.{abs(hash(module))}.tmp")
        words = toolchain.run(shader, defines, tmp, target)
        if words is None and optimise and toolchain.spirv_opt:
            words = toolchain.optimise(tmp)
        if words is not None:
            tmp.unlink(missing_ok=True)
            return None, files, f"{shader} {defines}:\n{words}"
        tmp.replace(cached)
    return cached, files, None


def spirv_hash(data):
    return hashlib.sha256(data).hexdigest()[:32]


def c_string(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def write_if_changed(path, text):
    """Leave the file's time alone when nothing changed, so that nothing is built again for it."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


# Larger blocks pack better (1 MiB: a fifth smaller), and take longer to unpack up to the last module of one.
BLOCK_BYTES = 512 << 10
OCTAL = [f"\\{b:03o}" for b in range(256)]


def blocks_of(modules):
    """Modules of one shader in a row, as (bytes, [offset of each])."""
    blocks = []
    shader = None
    for path, _, data in modules:
        if path != shader or len(blocks[-1][0]) + len(data) > BLOCK_BYTES:
            blocks.append((bytearray(), []))
        shader = path
        blocks[-1][1].append(len(blocks[-1][0]))
        blocks[-1][0].extend(data)
    return blocks


def packed(block, cache):
    """The block as an .xz stream, tuned to words of 32 bits."""
    stored = cache / (hashlib.sha256(block).hexdigest()[:32] + ".xz")
    if not stored.exists():
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": BLOCK_BYTES, "lc": 0, "lp": 2, "pb": 2}]
        tmp = stored.with_suffix(f".{os.getpid()}.tmp")
        tmp.write_bytes(lzma.compress(block, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, filters=filters))
        tmp.replace(stored)
    return stored.read_bytes()


def vulkan_minor(data):
    """As rapt_spirv_vulkan_minor has it."""
    version = int.from_bytes(data[4:8], "little")
    return 3 if version >= 0x10600 else 2 if version >= 0x10500 else 1 if version >= 0x10300 else 0


def write_table(out, rows, modules, root, pack):
    """The C file: blocks of modules as strings, which compilers read twenty times as fast as arrays, then rows."""
    lines = ["/* Generated by src/kernel/generate.py. Do not edit. */", '#include "kernel/kernel.h"', "",
             "#ifdef __GNUC__", '#pragma GCC diagnostic ignored "-Woverlength-strings"', "#endif"]
    blocks = blocks_of(modules)
    contents = [pack(bytes(block)) for block, _ in blocks]
    for i, data in enumerate(contents):
        lines.append(f"static const char block_{i}[] =")
        lines += ['"' + "".join(OCTAL[b] for b in data[k:k + 64]) + '"' for k in range(0, len(data), 64)]
        lines[-1] += ";"
    if not rows:
        lines += ["static const rapt_kernel_table table;", "const rapt_kernel_table *rapt_kernels(void)", "{",
                  "    return &table;", "}", ""]
        write_if_changed(out, "\n".join(lines))
        return
    lines.append("static const rapt_kernel_block blocks[] = {")
    lines += [f"    {{block_{i}, {len(data)}}}," for i, data in enumerate(contents)]
    lines += ["};", "static const rapt_kernel_module modules[] = {"]
    places = [(i, offset) for i, (_, offsets) in enumerate(blocks) for offset in offsets]
    for (shader, defines, data), (block, offset) in zip(modules, places):
        name = shader.resolve().relative_to(root.resolve()).as_posix()
        lines.append(f"    {{{c_string(name)}, {c_string(defines)}, &blocks[{block}], {offset}, {len(data) // 4}, "
                     f"{vulkan_minor(data)}, {c_string(spirv_hash(data))}}},")
    lines.append("};")
    for i, row in enumerate(rows):
        ops = ", ".join(f"{{{r}, {b}, {k}, {w}}}" for r, b, k, w in row["operands"]) or "{0}"
        lines.append(f"static const rapt_kernel_operand operands_{i}[] = {{{ops}}};")
        cons = ", ".join(f"{{{a}, {s}, {v}u, {c_string(n)}}}" for a, s, v, n in row["constants"]) or "{0}"
        lines.append(f"static const rapt_kernel_constant constants_{i}[] = {{{cons}}};")
    lines.append("static const rapt_kernel_row rows[] = {")
    for i, row in enumerate(rows):
        qk, v = row["head_dim_qk"], row["head_dim_v"]
        lines.append(
            f"    {{{c_string(row['name'])}, {FAMILIES.index(row['family'])}, {row['module']}, {row['dtypes']}u, "
            f"{row['supports']}u, {row['features']}ull, {qk[0]}, {qk[1]}, {qk[2]}, {v[0]}, {v[1]}, {v[2]}, "
            f"{row['nq_max']}u, {row['rows_per_tile']}, {row['keys_per_tile']}, {row['local_size']}, "
            f"{row['shared_bytes']}, {row['subgroup_exact']}, {row['subgroup_min']}, "
            f"{{{', '.join(map(str, row['coopmat']))}}}, {{{', '.join(map(str, row['score']))}}}, "
            f"{len(row['operands'])}, {len(row['constants'])}, operands_{i}, constants_{i}}},")
    lines.append("};")
    lines += ["static const rapt_kernel_table table = {rows, sizeof rows / sizeof rows[0], modules, "
              "sizeof modules / sizeof modules[0]};",
              "const rapt_kernel_table *rapt_kernels(void)", "{", "    return &table;", "}", ""]
    write_if_changed(out, "\n".join(lines))


def manifest(rows, modules, cache_paths):
    """What tools/lab/report.py judges."""
    return [{"name": r["name"], "spv": str(cache_paths[r["module"]]), "shader": str(r["shader"]),
             "family": r["family"], "requires": r["requires"], "coopmat": r["coopmat"], "dtypes": r["dtypes"],
             "spec": {str(i): v for i, s, v, _ in r["constants"] if s == 0},
             "spec_from": {str(i): SOURCES[s] for i, s, _, _ in r["constants"] if s != 0},
             "head_dim_qk": r["head_dim_qk"], "head_dim_v": r["head_dim_v"],
             "score": dict(zip(CLASSES, r["score"])), "supports": r["supports"],
             "subgroup": r["subgroup_exact"] or None, "subgroup_min": r["subgroup_min"], "push": 64,
             "local_size": r["local_size"], "shared_bytes": r["shared_bytes"], "lab": r["lab"]} for r in rows]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--shaders", required=True, type=pathlib.Path, help="the shaders/ folder")
    ap.add_argument("--caps", required=True, help="include/rapt/caps.h")
    ap.add_argument("--glslang", default="glslangValidator", help="command; ';' separates words")
    ap.add_argument("--spirv-val", default="", help="command, or empty")
    ap.add_argument("--spirv-opt", default="", help="command, or empty")
    ap.add_argument("--cache", type=pathlib.Path, help="folder of compiled modules")
    ap.add_argument("--pack", action="store_true", help="pack the modules; librapt then needs liblzma")
    ap.add_argument("--output", type=pathlib.Path, help="the C file to write")
    ap.add_argument("--depfile", type=pathlib.Path)
    ap.add_argument("--manifest", type=pathlib.Path, help="also write the rows as JSON, for the lab")
    ap.add_argument("--list-dropped", action="store_true",
                    help="only print the rows that this toolchain cannot compile, one a line")
    args = ap.parse_args()

    features = feature_names(args.caps)
    sidecars = sorted(args.shaders.rglob("*.toml"))
    try:
        rows = [row for s in sidecars for row in load_rows(s, features)]
    except (SidecarError, KeyError, tomllib.TOMLDecodeError) as e:
        print(f"generate.py: {e!r}" if isinstance(e, KeyError) else f"generate.py: {e}", file=sys.stderr)
        return 1
    names = [r["name"] for r in rows]
    twice = {n for n in names if names.count(n) > 1}
    if twice:
        print(f"generate.py: rows named twice: {sorted(twice)}", file=sys.stderr)
        return 1

    toolchain = Toolchain(args.glslang, args.spirv_val, args.spirv_opt, args.shaders)
    dropped = [r for r in rows if not toolchain.supports(r["glslang"])]
    if args.list_dropped:
        for r in dropped:
            print(f"{r['name']} (needs {r['glslang']})")
        return 0
    rows = [r for r in rows if r not in dropped]

    # Builds of several kinds can share what they compiled.
    args.cache = pathlib.Path(os.environ.get("RAPT_SPIRV_CACHE") or args.cache)
    args.cache.mkdir(parents=True, exist_ok=True)
    identity = toolchain.identity()
    keys = []
    for r in rows:
        key = (r["shader"], r["defines"], target_of(r), r["optimise"])
        if key not in keys:
            keys.append(key)
        r["module"] = keys.index(key)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda k: compile_module(toolchain, k, args.cache, identity), keys))
    failures = [r[2] for r in results if r[2]]
    if failures:
        print("\n".join(failures), file=sys.stderr)
        return 1
    modules = [(k[0], k[1], r[0].read_bytes()) for k, r in zip(keys, results)]
    write_table(args.output, rows, modules, args.shaders, (lambda block: packed(block, args.cache)) if args.pack else bytes)
    if args.manifest:
        write_if_changed(args.manifest, json.dumps(manifest(rows, modules, [r[0] for r in results]), indent=1) + "\n")
    if args.depfile:
        folders = {str(d) for d in args.shaders.rglob("*") if d.is_dir()}  # a new sidecar changes its folder
        deps = sorted({str(f) for r in results for f in r[1]} | {str(s) for s in sidecars} | {args.caps} | folders)
        args.depfile.write_text(f"{args.output}: " + " ".join(d.replace(" ", "\\ ") for d in deps) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
