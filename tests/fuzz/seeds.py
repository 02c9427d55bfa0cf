#!/usr/bin/env python3
"""Good inputs for the fuzzers to start from: FOLDER/<target>/<name>. usage: seeds.py FOLDER"""
import json
import pathlib
import struct
import sys


def npy(descr, shape, data, version=(1, 0)):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape!r}, }}"
    size = struct.pack("<H" if version == (1, 0) else "<I", len(header) + 1)
    return b"\x93NUMPY" + bytes(version) + size + header.encode() + b"\n" + data


def safetensors(tensors, metadata=None):
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, dtype, shape, content in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


SEEDS = {
    "npy": [npy("<f4", (1, 1, 2, 3), bytes(24)), npy("<f2", (4,), bytes(8)), npy("<i4", (), bytes(4)),
            npy("|b1", (0, 5), b""), npy(">f8", (2,), bytes(16), (2, 0))],
    "safetensors": [safetensors([("a", "F32", [1, 1, 2, 3], bytes(24))]),
                    safetensors([("b", "F16", [4], bytes(8)), ("a", "BF16", [2, 2], bytes(8))], {"format": "pt"}),
                    safetensors([("a", "I32", [0], b"")])],
    "caps": [b"floor", b"no-subgroup,no-fp16,no-16bit", b"no-texel,no-coopmat,no-push-descriptor,no-timeline",
             b"shared=16384,invocations=128,buffers=8,push=128", b"range=134217728,texels=65536,no-int64,no-8bit,no-bda"],
    "store": [b"\0RAPTBLOB" + struct.pack("<IIQ", 1, 1, 3) + bytes(80) + b"abc", b"\1some data", b"\2\x08\0\1more data"],
    # the kind, then the text
    "snippet": [(b"\1" if p.name.startswith("mask_") else b"\0") + p.read_bytes()
                for p in sorted((pathlib.Path(__file__).resolve().parents[1] / "snippets").glob("*.glsl"))],
    # (capabilities) (descriptor): see take_caps and take_desc
    "plan": [bytes([0, 1, 2, 0, 0, 1, 4, 4, 40, 50, 63, 0]),
             bytes([3, 1, 8, 5, 0, 17, 0x30, 2, 8, 2, 1, 127, 63, 0, 5, 0, 0, 0, 4]),
             bytes([9, 2, 4, 3, 3, 140, 10, 16, 1, 4, 4, 100, 100, 127, 0, 0, 0, 0])],
    # (capabilities) (descriptor): see take_caps and memory_fuzz.c's take_desc; a form each
    "memory": [bytes([0, 1, 2, 0, 0xc4, 2, 3, 40, 16, 12, 8]), bytes([0, 2, 2, 3, 0xc4, 1, 2, 37, 12, 10, 20, 8]),
               bytes([3, 1, 8, 5, 6, 0xc4, 2, 2, 100, 9, 7, 32])],
}

folder = pathlib.Path(sys.argv[1])
for target, seeds in SEEDS.items():
    (folder / target).mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (folder / target / f"seed-{number}").write_bytes(seed)
