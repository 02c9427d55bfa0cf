"""The .safetensors format, read and written with numpy only."""

import json
import struct

import numpy as np

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"}
_NAMES = {np.dtype(v): k for k, v in _DTYPES.items()}
_MAX_HEADER = 100 << 20


class FormatError(ValueError):
    """The file is not what it says it is; the message names the file and the place."""


def read(path):
    """The file's tensors by name, as read-only views of the mapped file."""
    blob = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size else np.empty(0, np.uint8)
    if blob.size < 8:
        raise FormatError(f"{path}: {blob.size} bytes, too short for a safetensors header")
    (length,) = struct.unpack("<Q", blob[:8].tobytes())
    if length > min(blob.size - 8, _MAX_HEADER):
        raise FormatError(f"{path}: header of {length} bytes in a file of {blob.size}")
    try:
        header = json.loads(blob[8 : 8 + length].tobytes())
        entries = [(n, e["dtype"], e["shape"], *e["data_offsets"]) for n, e in header.items() if n != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise FormatError(f"{path}: header is not valid: {e}") from e
    data, tensors = blob[8 + length :], {}
    for name, dtype, shape, begin, end in entries:
        if dtype not in _DTYPES:
            raise FormatError(f"{path}: tensor {name} has type {dtype}; known are {', '.join(_DTYPES)}")
        kind = np.dtype(_DTYPES[dtype])
        count = int(np.prod(shape, dtype=object)) if shape else 1
        if not 0 <= begin <= end <= data.size or end - begin != count * kind.itemsize:
            raise FormatError(f"{path}: tensor {name} {shape} does not fit bytes {begin} to {end} of {data.size}")
        tensors[name] = data[begin:end].view(kind).reshape(shape)
    return tensors


def write(path, tensors, metadata=None):
    """Writes the arrays by name. `metadata`: strings by name, kept in the header."""
    header, at, arrays = {}, 0, []
    if metadata:
        header["__metadata__"] = metadata
    for name, array in tensors.items():
        array = np.ascontiguousarray(array)
        kind = array.dtype.newbyteorder("<") if array.dtype.itemsize > 1 else array.dtype
        if kind not in _NAMES:
            raise FormatError(f"{path}: tensor {name} has type {array.dtype}, which is not one of {', '.join(_DTYPES)}")
        header[name] = {"dtype": _NAMES[kind], "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
        arrays.append(array.astype(kind, copy=False))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)))
        f.write(text)
        for array in arrays:
            f.write(array.tobytes())
