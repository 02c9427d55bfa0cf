"""Attention in plain Python, and the files and numbers that tests of the tool need."""
import math
import struct
from pathlib import Path

SIZES = {"<f4": ("f", 4), "<f2": ("e", 2), "<i4": ("i", 4), "|u1": ("B", 1), "|b1": ("?", 1)}


# ---- files


def npy_bytes(descr, shape, values):
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {tuple(shape)!r}, }}"
    text += " " * (-(10 + len(text) + 1) % 64) + "\n"
    code, _ = SIZES[descr]
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + struct.pack(f"<{len(values)}{code}", *values)


def read_npy(path):
    """dtype, shape, flat values of a file, by a parser of its own."""
    data = Path(path).read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00", data[:8]
    (length,) = struct.unpack("<H", data[8:10])
    header = eval(data[10 : 10 + length].decode(), {"__builtins__": {}}, {"False": False, "True": True})
    code, size = SIZES[header["descr"]]
    assert header["fortran_order"] is False and (10 + length) % 64 == 0
    count = math.prod(header["shape"])
    assert len(data) == 10 + length + count * size
    return header["descr"], header["shape"], list(struct.unpack(f"<{count}{code}", data[10 + length :]))


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def f16(x):
    return struct.unpack("<e", struct.pack("<e", x))[0]


def bf16(x):
    """Rounded to nearest, ties to even."""
    (bits,) = struct.unpack("<I", struct.pack("<f", x))
    bits += 0x7FFF + (bits >> 16 & 1)
    return struct.unpack("<f", struct.pack("<I", bits & 0xFFFF0000))[0]


# ---- the reference


class Tensor:
    """Four axes (batch, heads, sequence, head_dim), whatever the layout of its file."""

    def __init__(self, shape, values):
        self.shape, self.values = tuple(shape), values
        assert len(values) == math.prod(shape)

    @staticmethod
    def random(rng, shape, rounding=f32):
        return Tensor(shape, [rounding(rng.gauss(0, 1)) for _ in range(math.prod(shape))])

    def row(self, b, h, i):
        _, heads, n, d = self.shape
        at = ((b * heads + h) * n + i) * d
        return self.values[at : at + d]

    def at(self, b, h, i):
        """The same where batch and heads may be 1."""
        return self.row(b % self.shape[0], h % self.shape[1], i)

    def rounded(self, rounding):
        return Tensor(self.shape, [rounding(x) for x in self.values])

    def bnhd(self):
        """The values in (batch, sequence, heads, head_dim) order, and that shape."""
        b, h, n, d = self.shape
        values = [x for bb in range(b) for i in range(n) for hh in range(h) for x in self.row(bb, hh, i)]
        return (b, n, h, d), values


ADDITIVE = {
    "sigmoid": lambda s: 1 / (1 + math.exp(-s)),
    "laplace": lambda s: 0.5 * (1 + math.erf((s - math.sqrt(0.5)) / (math.sqrt(1 / (4 * math.pi)) * math.sqrt(2)))),
    "relu": lambda s: max(s, 0),
    "none": lambda s: s,
}


def attend(q, keys, values, scale, cap=None, biases=None, sink=-math.inf, mod=None, link="softmax", clip=None):
    """One row: output and LSE."""
    scores = [scale * sum(a * b for a, b in zip(q, k)) for k in keys]
    if cap is not None:
        scores = [cap * math.tanh(s / cap) for s in scores]
    if biases is not None:
        scores = [s + b for s, b in zip(scores, biases)]
    if mod is not None:
        scores = [mod(s, n) for n, s in enumerate(scores)]
    if link in ADDITIVE:
        weights = [ADDITIVE[link](s) for s in scores]
        return [sum(w * v[e] for w, v in zip(weights, values)) for e in range(len(values[0]))] if values else [], 0.0
    signs = [1] * len(scores)
    if link == "signed":
        signs = [(s > 0) - (s < 0) for s in scores]
        scores = [abs(s) for s in scores]
    if link == "offbyone":
        sink = 0
    top = max([sink, *scores])
    if top == -math.inf:
        return [0.0] * len(values[0]) if values else [], -math.inf
    if not keys:
        return [], sink
    weights = [math.exp(s - top) for s in scores]
    total = sum(weights) + math.exp(sink - top)
    weights = [sign * w for sign, w in zip(signs, weights)]
    if link == "clipped":
        clipped = [min(max((clip[1] - clip[0]) * w / total + clip[0], 0), 1) for w in weights]
        return [sum(w * v[e] for w, v in zip(clipped, values)) for e in range(len(values[0]))], top + math.log(total)
    if link == "affine":
        weights = [total * (clip[0] * w / total + clip[1]) for w in weights]
    out = [sum(w * v[e] for w, v in zip(weights, values)) / total for e in range(len(values[0]))]
    return out, top + math.log(total)


def normed(x, epsilon):
    if epsilon is None:
        return x
    return [a / math.sqrt(sum(b * b for b in x) / len(x) + epsilon) for a in x]


def rotate(x, place, base, dim=None, interleaved=False):
    """RoFormer's rotary positions."""
    x, dim = list(x), dim or len(x)
    for i in range(dim // 2):
        m, n = (2 * i, 2 * i + 1) if interleaved else (i, i + dim // 2)
        turn = complex(x[m], x[n]) * complex(math.cos(place * base ** (-2 * i / dim)), math.sin(place * base ** (-2 * i / dim)))
        x[m], x[n] = turn.real, turn.imag
    return x


def reference(q, k, v, causal=False, offset=0, scale=None, cu_q=None, cu_k=None, window=(-1, -1), sinks=0, cap=None,
              score=None, mask=None, slopes=None, bias=None, key_bias=None, segments=None, sink_logits=None, link="softmax", clip=None,
              gate=None, rope=None, norm=None, low_rank=None):
    """bias(b, h, i, j), key_bias(b, h, j), segments[b][j]."""
    batch, q_heads, nq, d = q.shape
    kv_heads, nk, dv = k.shape[1], k.shape[2], v.shape[3]
    scale = 1 / math.sqrt(d) if scale is None else scale
    heads = max(q_heads, kv_heads)
    cu_q, cu_k = cu_q or [0, nq], cu_k or [0, nk]
    out, lse = [], []
    for b in range(batch):
        for g in range(heads):
            h, h_kv = g * q_heads // heads, g * kv_heads // heads
            for i in range(nq):
                s = max(n for n in range(len(cu_q) - 1) if cu_q[n] <= i)
                first, length_q, length_k = cu_k[s], cu_q[s + 1] - cu_q[s], cu_k[s + 1] - cu_k[s]
                p = (i - cu_q[s]) + (length_k - length_q) + offset
                left, right = window
                seen = [first + j for j in range(length_k) if (not causal or j <= p) and
                        (j < sinks or ((left < 0 or j >= p - left) and (right < 0 or j <= p + right))) and
                        (mask is None or mask(b + s, h, i - cu_q[s], j))]
                if segments is not None:
                    mine = first + p - offset
                    seen = [j for j in seen if mine >= first and segments[b][j] == segments[b][mine]]
                biases = [(bias(b, h, i, j) if bias else 0) + (key_bias(b, h, j) if key_bias else 0) -
                          (slopes[h] * abs(p - (j - first)) if slopes else 0) for j in seen]
                sink = sink_logits[g * len(sink_logits) // heads] if sink_logits else -math.inf
                mod = score and (lambda x, n: score(x, b + s, h, i - cu_q[s], seen[n] - first))
                turned = lambda x, at: rotate(normed(x, norm), at, *rope) if rope else normed(x, norm)
                if low_rank:
                    biases = [x + sum(u * w for u, w in zip(low_rank[0].at(b, h, i), low_rank[1].at(b, h, j)))
                              for x, j in zip(biases, seen)]
                o, l = attend(turned(q.row(b, h, i), p), [turned(k.row(b, h_kv, j), j - first) for j in seen], [v.row(b, h_kv, j) for j in seen], scale, cap,
                              biases, sink, mod, link, clip)
                if gate is not None and seen:
                    o = [x / (1 + math.exp(-y)) for x, y in zip(o, gate.row(b, g, i))]
                out += o if seen else [0.0] * dv
                lse.append(l)
    return Tensor((batch, heads, nq, dv), out), lse
