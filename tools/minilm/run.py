#!/usr/bin/env python3
"""Runs the all-MiniLM-L6-v2 sentence encoder on real text with rapt doing its attention on a Vulkan device, and checks
the embeddings against the plain computation in numpy.

Without the weights (no network on the first run) it says so and checks attention on generated numbers instead.

Exit status: 0 good, 1 a check failed, 2 bad input, 3 no device, 4 refused, 5 device lost.
"""

import array
import math
import operator
import random
import statistics
import sys
import time
from pathlib import Path

import common
import rapt

LIMIT = 1e-4  # largest difference of any number of an embedding
EXIT = {rapt.INVALID: 2, rapt.NO_DEVICE: 3, rapt.DEVICE_LOST: 5, rapt.INCOMPLETE: 1, rapt.WRONG_RESULT: 1, rapt.IO: 2}


def parse(arguments):
    p = common.device_parser(__doc__)
    p.add_argument("--kernel", metavar="NAME", help="force a kernel by name")
    p.add_argument("--texts", type=Path, default=common.TEXTS, metavar="F", help="UTF-8, one text a paragraph")
    p.add_argument("--model", type=Path, metavar="DIR", help="folder of config.json, model.safetensors and vocab.txt")
    p.add_argument("--generated", action="store_true", help="generated numbers instead of the encoder")
    p.add_argument("--repeats", type=int, default=5, metavar="N", help="timed runs of each layer (5)")
    a = p.parse_args(arguments)
    if a.repeats < 1:
        p.error(f"--repeats {a.repeats}: at least 1")
    return a


def shorten(text, width):
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def verdict(what, difference):
    good = difference <= LIMIT  # false for NaN
    print(f"{what}: largest difference {difference:.1e}, allowed {LIMIT:.0e}: {'good' if good else 'FAILED'}")
    return 0 if good else 1


def similar(texts, embeddings, rows=12):
    """Prints each text with the one closest to it, the closest pairs first."""
    cosine = embeddings @ embeddings.T
    for i in range(len(texts)):
        cosine[i, i] = -2
    pairs = sorted({(min(i, j), max(i, j)) for i, j in enumerate(cosine.argmax(axis=1))}, key=lambda p: -cosine[p])
    print("\nclosest texts (cosine of their embeddings, attention by rapt)")
    for i, j in pairs[:rows]:
        print(f"  {cosine[i, j]:.3f}  {shorten(texts[i], 52):52}  {shorten(texts[j], 52)}")


def timed(call):
    begin = time.perf_counter()
    result = call()
    return result, time.perf_counter() - begin


def times(captured, plain, ours, repeats):
    """Prints the median time of each layer's attention: rapt and numpy in turn, on the same numbers."""
    print(f"\nattention, milliseconds (median of {repeats})")
    print("  layer  rapt  of it on device  numpy  largest difference")
    totals, worst = [0.0, 0.0], 0.0
    for layer, inputs in enumerate(captured):
        fast, slow, device = [], [], []
        for _ in range(repeats):
            o, t = timed(lambda: ours(*inputs))
            fast.append(t)
            device.append(ours.bound.device_seconds())
            expected, t = timed(lambda: plain(*inputs))
            slow.append(t)
        difference = float(abs(o - expected).max())
        worst = difference if not difference <= worst else worst
        fast, slow = statistics.median(fast), statistics.median(slow)
        inside = "-" if None in device else f"{statistics.median(device) * 1e3:.2f}"
        print(f"  {layer:5}  {fast * 1e3:4.2f}  {inside:>15}  {slow * 1e3:5.2f}  {difference:.1e}")
        totals = [totals[0] + fast, totals[1] + slow]
    print(f"  {'all':>5}  {totals[0] * 1e3:4.2f}  {'':15}  {totals[1] * 1e3:5.2f}")
    print("  rapt's time includes copying q, k, v to the device and the output back")


class Attention:
    """The encoder's attention function, by rapt. Bound at the first call; later calls have the same lengths."""

    def __init__(self, device, kernel):
        self.device, self.kernel, self.bound = device, kernel, None

    def __call__(self, q, k, v, cu_seqlens):
        import numpy as np

        lengths = [int(b - a) for a, b in zip(cu_seqlens[:-1], cu_seqlens[1:])]
        heads, _, head_dim = q.shape
        if self.bound is None:
            self.bound = rapt.PackedAttention(self.device, lengths, heads, head_dim, self.kernel)
            self.lengths = lengths
        if self.lengths != lengths:
            raise ValueError(f"bound for sequences of {self.lengths} tokens, called for {lengths}")
        o = np.empty((q.shape[1], heads, head_dim), np.float32)
        self.bound(*(np.ascontiguousarray(x.swapaxes(0, 1), np.float32) for x in (q, k, v)), o)
        return o.swapaxes(0, 1)

    def close(self):
        if self.bound:
            self.bound.close()


def encoder_run(device, a):
    import encoder

    texts = common.read_texts(a.texts)
    model = encoder.Encoder(a.model)
    ids = [model.tokenizer.encode(t) for t in texts]
    tokens = sum(map(len, ids))
    print(f"encoder  all-MiniLM-L6-v2, {model.layers} layers, {model.heads} heads of {model.head_dim}, float32")
    print(f"input    {len(texts)} texts, {tokens} tokens, {min(map(len, ids))} to {max(map(len, ids))} each: {a.texts}")
    captured = []

    def tap(layer, q, k, v, o, cu_seqlens):
        captured.append((q, k, v, cu_seqlens))

    model.encode(ids, tap=tap)
    expected, plain_time = timed(lambda: model.encode(ids))
    ours = Attention(device, a.kernel)
    try:
        ours(*captured[0])  # plans, compiles and probes
        got, our_time = timed(lambda: model.encode(ids, attention=ours))
        print(f"kernel   {ours.bound.info.kernel.decode()}, {ours.bound.info.precision.decode()}")
        similar(texts, got)
        times(captured, encoder.softmax_attention, ours, a.repeats)
        print(f"\nwhole encoder: {our_time:.2f} s with rapt's attention, {plain_time:.2f} s all in numpy")
        return verdict("embeddings, rapt against numpy", float(abs(got - expected).max()))
    finally:
        ours.close()


def generated_run(device, a):
    """Attention on generated numbers, against float64 in plain Python: needs neither weights nor numpy."""
    lengths, heads, head_dim = [70, 1, 33, 64, 128], 12, 32
    width, tokens, source = heads * head_dim, sum(lengths), random.Random(1)
    q, k, v = (array.array("f", (source.gauss(0, 1) for _ in range(tokens * width))) for _ in range(3))
    got = array.array("f", bytes(4 * tokens * width))
    spread = f"{min(lengths)} to {max(lengths)} tokens"
    print(f"input    generated: {len(lengths)} sequences of {spread}, {heads} heads of {head_dim}")
    with rapt.PackedAttention(device, lengths, heads, head_dim, a.kernel) as bound:
        print(f"kernel   {bound.info.kernel.decode()}, {bound.info.precision.decode()}")
        bound(q, k, v, got)
        bound(q, k, v, got)
    worst, begin = 0.0, 0
    for length in lengths:
        for head in range(heads):
            at = [(begin + i) * width + head * head_dim for i in range(length)]
            columns = list(zip(*(v[j : j + head_dim] for j in at)))
            keys = [k[j : j + head_dim] for j in at]
            for i in at:
                row = q[i : i + head_dim]
                scores = [sum(map(operator.mul, row, key)) / math.sqrt(head_dim) for key in keys]
                top = max(scores)
                weights = [math.exp(s - top) for s in scores]
                total = sum(weights)
                for x, column in zip(got[i : i + head_dim], columns):
                    difference = abs(x - sum(map(operator.mul, weights, column)) / total)
                    worst = difference if not difference <= worst else worst
        begin += length
    return verdict("attention, rapt against float64", worst)


def main(arguments=None):
    a = parse(arguments)
    try:
        library = rapt.find_library(a.build)
        why = None if a.generated else common.enter_venv(need_weights=a.model is None)
        with rapt.Runtime(library) as runtime, runtime.open(a.device, a.caps_mask) as device:
            print(f"rapt     {runtime.library.version}: {runtime.library.path}")
            print(f"device   {device.name}")
            if not why and not a.generated:
                return encoder_run(device, a)
            if why:
                print(f"\nNo weights of the encoder: {why}.\nFalling back to generated numbers; no text is encoded.\n")
            return generated_run(device, a)
    except rapt.RaptError as e:
        print(f"run: {e}", file=sys.stderr)
        return EXIT.get(e.status, 4)
    except rapt.LibraryMissing as e:
        print(f"run: {e}", file=sys.stderr)
        return 2
    except (OSError, ValueError) as e:
        print(f"run: {e}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
