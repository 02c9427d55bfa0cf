#!/usr/bin/env python3
"""No source file over 1,000 lines, no shader over 600. Prints each that is; status 1 if there is one."""
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHADER = {".comp", ".glsl"}
SOURCE = {".c", ".h", ".cpp", ".hpp", ".py", ".sh", ".bash", ".toml", ".build"}
FOLDERS = ["include", "src", "shaders", "tools", "bench", "tests"]


def main():
    bad = 0
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            limit = 600 if path.suffix in SHADER else 1000
            if path.suffix not in SHADER | SOURCE or not path.is_file():
                continue
            lines = path.read_bytes().count(b"\n")
            if lines > limit:
                print(f"{path.relative_to(ROOT)}: {lines} lines, {limit} at most")
                bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main())
