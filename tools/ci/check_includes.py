#!/usr/bin/env python3
"""Includes point one way, down the table of layers. Prints each include that does not; status 1 if there is one."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# What each layer may include of the others, beside the public headers. plan.h is what plan and vk share;
# compiler.h is the interface to a library that is loaded at run time.
LAYERS = {
    "base": [],
    "op": ["base"],
    "system": ["base", "op"],
    "kernel": ["base"],
    "plan": ["base", "op", "system", "kernel"],
    "compiler": ["base"],
    "vk": ["base", "op", "plan", "kernel", "compiler"],
    "measure": ["base", "plan", "kernel", "vk"],
    "sched": ["base", "plan", "vk"],
    "api": ["base", "op", "system", "plan", "kernel", "compiler", "vk", "sched"],
    "mpi": [],  # the public API only
    "check": [],  # the public API only
}
# Programs see the public API and check, nothing else of src/; the tool loads the run-time compiler too.
PROGRAMS = {"tools/rapt": ["check", "compiler"], "bench": ["check"], "tests/embed": []}
# Types of Vulkan.
VULKAN = {"src/vk", "src/api", "src/measure"}
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.M)


def problems():
    for path in sorted(ROOT.glob("include/rapt/*.h")):
        for kind, name in INCLUDE.findall(path.read_text()):
            if name.startswith("vulkan/") and path.name != "vulkan.h":
                yield path, name, "only rapt/vulkan.h has Vulkan types"
            elif kind == '"' or name.split("/")[0] in LAYERS:
                yield path, name, "public headers include public headers only"

    folders = {f"src/{layer}": (layer, allowed) for layer, allowed in LAYERS.items()}
    folders |= {folder: (None, allowed) for folder, allowed in PROGRAMS.items()}
    for folder in sorted((ROOT / "src").iterdir()):
        if folder.is_dir() and any(folder.glob("*.[ch]")) and folder.name not in LAYERS:
            yield folder, folder.name, "a layer that tools/ci/check_includes.py does not know"
    for folder, (layer, allowed) in folders.items():
        for path in sorted(p for p in (ROOT / folder).rglob("*") if p.suffix in (".c", ".h", ".cpp")):
            for kind, name in INCLUDE.findall(path.read_text()):
                top = name.split("/")[0]
                if (top == "vulkan" or name == "rapt/vulkan.h") and layer and folder not in VULKAN:
                    yield path, name, "Vulkan types stay in src/vk"
                elif top == "vk" and name.startswith("vulkan"):
                    yield path, name, "Vulkan types stay in src/vk"
                elif kind == '"' and "/" in name and top in LAYERS and top != layer and top not in allowed:
                    yield path, name, f"{folder} may include of the layers: {', '.join(allowed) or 'none'}"
                elif kind == '"' and name.startswith(".."):
                    yield path, name, "no paths that climb"
                elif kind == '"' and "/" not in name and not (path.parent / name).exists() \
                        and not (layer is None and (ROOT / folder / name).exists()):
                    yield path, name, "not beside this file: name its layer"


def main():
    found = list(problems())
    for path, name, why in found:
        print(f"{path.relative_to(ROOT)}: includes {name}: {why}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
