#!/usr/bin/env python3
"""Tests of this folder. Parts that need numpy, the weights, a C compiler or a built rapt are skipped where they are
missing, with the reason. RAPT_BUILD names rapt's build folder.
"""

import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import common

_why = common.enter_venv(install=False) if __name__ == "__main__" else None

import rapt  # noqa: E402
import tokenizer  # noqa: E402

try:
    import numpy as np

    import encoder
    import extract
    import tensors
except ImportError:
    np = None
HERE = Path(__file__).resolve().parent
TEXT = "The ferry to the island leaves twice a day, once in the morning and once before dusk."


def weights():
    if np is None:
        return None
    try:
        return encoder.find_weights()
    except encoder.WeightsMissing:
        return None


needs_numpy = unittest.skipIf(np is None, "no numpy (tools/minilm/setup-venv installs it)")
needs_weights = unittest.skipIf(weights() is None, "no weights (tools/minilm/setup-venv installs them)")


class Tokens(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        file = Path(self.folder.name) / "vocab.txt"
        file.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nsea\n##son\n##s\n,\ncafe\nσ\n中\n", encoding="utf-8")
        self.tokenizer = tokenizer.Tokenizer(file)

    def test_longest_pieces_first(self):
        self.assertEqual(self.tokenizer.encode("Seasons, SEA"), [2, 4, 5, 6, 7, 4, 3])

    def test_normalisation(self):
        self.assertEqual(tokenizer.words("Café\tnaïve\u200b\x00 a-b\u2003Σ"), ["cafe", "naive", "a", "-", "b", "σ"])
        self.assertEqual(tokenizer.words("x中中y"), ["x", "中", "中", "y"])

    def test_unknown_and_too_long(self):
        self.assertEqual(self.tokenizer.plain("seab"), [1])
        self.assertEqual(self.tokenizer.plain("sea" + "s" * 98), [1])

    def test_cut(self):
        self.assertEqual(self.tokenizer.encode("sea sea sea sea", 4), [2, 4, 4, 3])
        self.assertEqual(self.tokenizer.encode(""), [2, 3])

    @needs_weights
    def test_real_vocabulary(self):
        real = tokenizer.Tokenizer(weights() / "vocab.txt")
        expected = [
            101,
            4895,
            27753,
            23393,
            3085,
            10204,
            1024,
            1017,
            1012,
            2403,
            1000,
            15743,
            1000,
            1746,
            1861,
            17737,
            1517,
            100,
            1060,
            1035,
            1061,
            102,
        ]  # of the package tokenizers 0.23.3, by the model's tokenizer.json
        self.assertEqual(real.encode('Unfathomable Zürich: 3.14 "naïve" 中文 kHz—🚀 x_y'), expected)


@needs_numpy
class Files(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.file = Path(self.folder.name) / "x.safetensors"

    def test_round_trip(self):
        a = {
            "a": np.arange(6, dtype=np.float32).reshape(2, 3),
            "b": np.int32([7]),
            "empty": np.zeros((0, 2), np.float16),
        }
        tensors.write(self.file, a, {"note": "x"})
        b = tensors.read(self.file)
        self.assertEqual(list(a), list(b))
        for name in a:
            self.assertEqual(a[name].dtype, b[name].dtype)
            np.testing.assert_array_equal(a[name], b[name])

    def test_refusals(self):
        def made(header, data=b"", length=None):
            header = header if isinstance(header, bytes) else json.dumps(header).encode()
            return (len(header) if length is None else length).to_bytes(8, "little") + header + data

        entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
        for blob, words in (
            (b"", "too short"),
            (made(b"{}", length=2**63), "header of"),
            (made(b"{"), "not valid"),
            (made(b"[]"), "not valid"),
            (made({"t": {"dtype": "F32"}}), "not valid"),
            (made({"t": dict(entry, dtype="F7")}, b"\0" * 8), "F7"),
            (made({"t": entry}, b"\0" * 7), "does not fit"),
            (made({"t": dict(entry, shape=[3])}, b"\0" * 8), "does not fit"),
            (made({"t": dict(entry, shape=[-2])}, b"\0" * 8), "does not fit"),
            (made({"t": dict(entry, data_offsets=[-8, 0])}, b"\0" * 8), "does not fit"),
        ):
            self.file.write_bytes(blob)
            with self.subTest(words=words, blob=blob[:60]), self.assertRaisesRegex(tensors.FormatError, words):
                tensors.read(self.file)

    def test_texts(self):
        file = Path(self.folder.name) / "t.txt"
        file.write_text("# note\n\none\ntwo\n\n\n three \n")
        self.assertEqual(common.read_texts(file), ["one two", "three"])
        file.write_text("# note\n\n")
        self.assertRaisesRegex(ValueError, "no text", common.read_texts, file)
        file.write_bytes(b"ab\xff")
        self.assertRaisesRegex(ValueError, "byte 2", common.read_texts, file)


@needs_numpy
class Numbers(unittest.TestCase):
    def test_gelu(self):
        x = np.concatenate((np.linspace(-10, 10, 4001), [-300, 300, 0])).astype(np.float32).reshape(1, -1)
        exact = np.array([t * 0.5 * math.erfc(-t / math.sqrt(2)) for t in x[0].astype(float)])
        self.assertLess((abs(encoder.gelu(x)[0] - exact) / np.maximum(abs(x[0]), 1)).max(), 2e-7)

    def test_attention_against_the_formula(self):
        source, starts = np.random.default_rng(1), np.int32([0, 5, 6, 13])
        q, k, v = (source.standard_normal((2, 13, 4)).astype(np.float32) for _ in range(3))
        got = encoder.softmax_attention(q, k, v, starts)
        for h in range(2):
            for begin, end in zip(starts[:-1], starts[1:]):
                for i in range(begin, end):
                    w = [
                        math.exp(sum(float(x) * float(y) for x, y in zip(q[h, i], k[h, j])) / 2)
                        for j in range(begin, end)
                    ]
                    for d in range(4):
                        o = sum(a * float(v[h, j, d]) for a, j in zip(w, range(begin, end))) / sum(w)
                        self.assertAlmostEqual(got[h, i, d], o, places=5)


# What sentence-transformers 6.2.0 with PyTorch 2.15.0 (CPU, float32) gives for TEXT: the first eight numbers.
GOLDEN = [0.0744024, 0.0267311, 0.0477206, 0.0950801, -0.0111906, -0.038303, 0.0325352, -0.05903]


@needs_weights
class Encoding(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = encoder.Encoder()

    def test_same_as_sentence_transformers(self):
        e = self.model.embed([TEXT])[0]
        np.testing.assert_allclose(e[:8], GOLDEN, atol=2e-6)
        self.assertAlmostEqual(float(e @ e), 1, places=5)

    def test_packing_changes_nothing(self):
        texts = common.read_texts()[-6:]
        alone = np.concatenate([self.model.embed([t]) for t in texts])
        self.assertLess(abs(self.model.embed(texts) - alone).max(), 2e-6)

    def test_attention_is_pluggable(self):
        plain = self.model.embed([TEXT])
        shifted = self.model.embed([TEXT], attention=lambda q, k, v, c: encoder.softmax_attention(q, k, v, c) + 0.1)
        self.assertGreater(abs(plain - shifted).max(), 1e-3)

    def test_lengths_are_checked(self):
        for ids in ([], [[]], [[101] * 513]):
            self.assertRaises(ValueError, self.model.encode, ids)

    def test_extract_layouts_agree(self):
        with tempfile.TemporaryDirectory() as folder:
            file, text = Path(folder) / "t.txt", Path(folder) / "x"
            file.write_text("One short text.\n\nAnother text, which is somewhat longer than that.\n")
            quiet = open(os.devnull, "w")
            self.addCleanup(quiet.close)
            sys.stdout, kept = quiet, sys.stdout
            try:
                for more in ([], ["--padded"], ["--length", "5"]):
                    one = str(Path(folder) / "one.safetensors")
                    self.assertEqual(
                        extract.main([str(text) + "".join(more), "--texts", str(file), "--safetensors", one, *more]), 0
                    )
            finally:
                sys.stdout = kept
            packed, padded, equal = (Path(str(text) + s) for s in ("", "--padded", "--length5"))
            starts, lengths = np.load(packed / "cu_seqlens.npy"), np.load(padded / "lengths.npy")
            self.assertEqual(list(np.diff(starts)), list(lengths))
            for name in "qkvo":
                a, b = np.load(packed / f"layer5-{name}.npy"), np.load(padded / f"layer5-{name}.npy")
                self.assertEqual((a.shape, b.shape), ((1, 12, starts[-1], 32), (2, 12, max(lengths), 32)))
                for i, n in enumerate(lengths):
                    np.testing.assert_array_equal(a[0, :, starts[i] : starts[i + 1]], b[i, :, :n])
                    self.assertFalse(b[i, :, n:].any())
            dense = [np.load(equal / f"layer3-{n}.npy") for n in "qkvo"]
            self.assertEqual(dense[0].shape[1:], (12, 5, 32))
            read = tensors.read(Path(folder) / "one.safetensors")
            np.testing.assert_array_equal(read["layer3.v"], dense[2])
            one = [x[1] for x in dense]
            np.testing.assert_allclose(encoder.softmax_attention(*one[:3], [0, 5]), one[3], atol=1e-6)


class Layout(unittest.TestCase):
    """The structures of rapt.py against the headers."""

    def test_structures(self):
        compiler = os.environ.get("CC", "cc").split()
        if not shutil.which(compiler[0]):
            self.skipTest(f"no C compiler ({compiler[0]})")
        lines, expected = [], []
        for name, structure in rapt.STRUCTURES.items():
            lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
            expected.append(f"{name} {rapt.c.sizeof(structure)}")
            for field, _ in structure._fields_:
                lines.append(
                    f'printf("{name}.{field} %zu %zu\\n", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));'
                )
                member = getattr(structure, field)
                expected.append(f"{name}.{field} {member.offset} {member.size}")
        constants = {n: getattr(rapt, n.removeprefix("RAPT_").removeprefix("ERROR_").removeprefix("DTYPE_")) for n in (
            "RAPT_OK", "RAPT_ERROR_UNSUPPORTED", "RAPT_ERROR_DEVICE_LOST", "RAPT_ERROR_OUT_OF_HOST_MEMORY",
            "RAPT_ERROR_INCOMPLETE", "RAPT_ERROR_WRONG_RESULT", "RAPT_ERROR_IO", "RAPT_ERROR_VULKAN",
            "RAPT_DTYPE_NONE", "RAPT_F32", "RAPT_I32")}  # fmt: skip
        constants |= {"RAPT_VERSION_MAJOR": rapt.VERSION[0], "RAPT_VERSION_MINOR": rapt.VERSION[1]}
        for name, value in constants.items():
            lines.append(f'printf("{name} %d\\n", (int){name});')
            expected.append(f"{name} {value}")
        source = "#include <rapt/rapt.h>\n#include <stdio.h>\nint main(void)\n{\n" + "\n".join(lines) + "\n}\n"
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "layout"
            include = HERE.parent.parent / "include"
            subprocess.run([*compiler, f"-I{include}", "-xc", "-", "-o", program], input=source, text=True, check=True)
            got = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
        self.assertEqual(expected, got)


class Library(unittest.TestCase):
    """The binding against a built library and a device."""

    @classmethod
    def setUpClass(cls):
        try:
            cls.runtime = rapt.Runtime(rapt.find_library(os.environ.get("RAPT_BUILD")))
            cls.addClassCleanup(cls.runtime.close)
            cls.device = cls.runtime.open()
            cls.addClassCleanup(cls.device.close)
        except rapt.LibraryMissing as e:
            raise unittest.SkipTest(str(e)) from e
        except rapt.RaptError as e:
            if e.status != rapt.NO_DEVICE:
                raise
            raise unittest.SkipTest(str(e)) from e
        if cls.device.caps.no_execution:
            raise unittest.SkipTest(f"{cls.device.name} executes nothing")

    def test_snapshots(self):
        self.assertIn(bytes(self.device.caps.device_uuid), [bytes(d.device_uuid) for d in self.runtime.devices()])

    def test_buffer(self):
        with self.device.buffer(1000) as buffer:
            back = bytearray(990)
            buffer.upload(bytes(range(250)) * 4)
            buffer.download(back, 10)
            self.assertEqual(back, (bytes(range(250)) * 4)[10:])
            with self.assertRaises(rapt.RaptError) as failed:
                buffer.upload(bytes(64), 1000)
            self.assertEqual(failed.exception.status, rapt.INVALID)
            self.assertTrue(str(failed.exception))

    def test_refusals(self):
        with self.assertRaises(rapt.RaptError) as failed:
            rapt.PackedAttention(self.device, [4], 1, 32, kernel="no-such-kernel")
        self.assertIn("no-such-kernel", str(failed.exception))
        with self.assertRaises(rapt.RaptError) as failed:
            self.runtime.open("no such device")
        self.assertEqual(failed.exception.status, rapt.NO_DEVICE)

    def test_packed_attention(self):
        lengths, heads, head_dim = [3, 1, 17], 2, 8
        tokens, source = sum(lengths), random.Random(1)
        q, k, v = ([source.gauss(0, 1) for _ in range(tokens * heads * head_dim)] for _ in range(3))
        got = rapt.c.c_float * len(q)
        out = got()
        with rapt.PackedAttention(self.device, lengths, heads, head_dim) as bound:
            for _ in range(2):
                bound(got(*q), got(*k), got(*v), out)
            self.assertIn(bound.info.kernel.decode(), bound.explain())

        def row(x, token, head):
            at = (token * heads + head) * head_dim
            return x[at : at + head_dim]

        begin = 0
        for length in lengths:
            for i in range(begin, begin + length):
                for h in range(heads):
                    keys = range(begin, begin + length)
                    w = [
                        math.exp(sum(map(float.__mul__, row(q, i, h), row(k, j, h))) / math.sqrt(head_dim))
                        for j in keys
                    ]
                    for d, o in enumerate(row(out, i, h)):
                        self.assertAlmostEqual(o, sum(a * row(v, j, h)[d] for a, j in zip(w, keys)) / sum(w), places=5)
            begin += length


if __name__ == "__main__":
    unittest.main()
