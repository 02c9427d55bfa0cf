#!/usr/bin/env python3
"""Tests of tools/gemma. RAPT_BUILD names rapt's build folder; without it, or without numpy, those that run rapt are left out."""

import importlib.util
import os
import subprocess
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "minilm")]
import common  # noqa: E402

if __name__ == "__main__":
    common.enter_venv(need_weights=False, install=False)  # minilm's, where it was made
NUMPY = importlib.util.find_spec("numpy") is not None
BUILD = os.environ.get("RAPT_BUILD")


def run(*arguments):
    command = [sys.executable, str(HERE / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


class Mistakes(unittest.TestCase):
    def test_arguments(self):
        for words, text in ((["--caches", "f16"], "--caches f16"), (["--caches", "int8,int4,fp8"], "--caches"),
                            (["--tokens", "0"], "at least 1"), (["--sparse", "hip"], "--sparse")):  # fmt: skip
            r = run(*words)
            self.assertEqual(r.returncode, 2)
            self.assertIn(text, r.stderr)

    @unittest.skipUnless(NUMPY, "no numpy")
    def test_no_library(self):
        r = run("--build", str(HERE))
        self.assertEqual((r.returncode, r.stderr.count("\n")), (2, 1), r.stderr)


@unittest.skipUnless(NUMPY, "no numpy")
class Words(unittest.TestCase):
    def test_longest_match(self):
        from weights import encode

        words = ["<pad>", "<bos>", "a", "ab", "\u2581", "\u2581b", "b"]
        self.assertEqual(encode("aba bb", words), [1, 3, 2, 5, 6])
        with self.assertRaises(ValueError):
            encode("c", words)


@unittest.skipUnless(NUMPY and BUILD, "no numpy, or RAPT_BUILD is not set")
class Decoding(unittest.TestCase):
    def test_rings_that_wrap(self):
        """Six layers, the last one global; a window of 7 and 20 tokens."""
        r = run("--build", BUILD, "--random", "--window", "7", "--tokens", "16", "--text", "abc", "--caches", "f32", "int8,f32", "--sparse")
        if r.returncode == 3:
            self.skipTest("no Vulkan device")
        self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
        self.assertIn("16 of 16 tokens", r.stdout)
        self.assertIn("asked for: good", r.stdout)

    def test_sparse(self):
        """Blocks for all keys: as dense; for a few keys only: told, not judged."""
        for top, tokens in (("4", 4), ("2", 4)):
            r = run("--build", BUILD, "--random", "--window", "5", "--tokens", str(tokens), "--text", "abcdefg", "--caches", "--sparse", "moba",
                    "quest", "--block", "3", "--top", top)  # fmt: skip
            if r.returncode == 3:
                self.skipTest("no Vulkan device")
            self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
            for name in ("moba", "quest"):
                self.assertIn(f"{name}, {top} blocks of 3 of at most 11 keys", r.stdout)
            self.assertTrue(top == "2" or r.stdout.count("4 of 4 tokens") == 2, r.stdout)

    def test_floor(self):
        r = run("--build", BUILD, "--random", "--layers", "1", "--window", "5", "--tokens", "8", "--text", "a", "--caches", "f32",
                "--sparse", "--caps-mask", "floor")  # fmt: skip
        if r.returncode == 3:
            self.skipTest("no Vulkan device")
        self.assertEqual(r.returncode, 0, r.stdout + r.stderr)


if __name__ == "__main__":
    done = unittest.main(exit=False).result
    if done.wasSuccessful() and done.skipped:  # 77: skipped, as Meson and tools/ci have it
        print(done.skipped[0][1])
    sys.exit(77 if done.wasSuccessful() and done.skipped else not done.wasSuccessful())
