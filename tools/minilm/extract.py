#!/usr/bin/env python3
"""Writes the Q, K, V and attention output of every layer of all-MiniLM-L6-v2 for real text.

For each layer N: layerN-q.npy, -k.npy, -v.npy and -o.npy, float32 with axes (batch, heads, sequence, head_dim);
o is the plain softmax attention with scale 1/sqrt(head_dim), computed by numpy in float32. Layouts:

  default       texts packed one after another: batch 1, and cu_seqlens.npy with where each begins
  --padded      one text a batch entry, zeros after its end, and lengths.npy
  --length N    the texts as one stream, cut into a batch of equal windows of N tokens: nothing to mask

Exit status: 0 good, 2 bad input (or no weights: nothing is made up here).
"""

import argparse
import json
import sys
from pathlib import Path

import common


def parse(arguments):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=Path, help="folder to write into; made if missing")
    p.add_argument("--texts", type=Path, default=common.TEXTS, metavar="F", help="UTF-8, one text a paragraph")
    p.add_argument("--model", type=Path, metavar="DIR", help="folder of config.json, model.safetensors and vocab.txt")
    p.add_argument("--limit", type=int, default=256, metavar="N", help="tokens a text is cut to, 3 to 512 (256)")
    layout = p.add_mutually_exclusive_group()
    layout.add_argument("--padded", action="store_true")
    layout.add_argument("--length", type=int, metavar="N", help="3 to 512")
    p.add_argument("--safetensors", type=Path, metavar="F", help="also one file with tensors layerN.q, .k, .v and .o")
    a = p.parse_args(arguments)
    for name in ("limit", "length"):
        value = getattr(a, name)
        if value is not None and not 3 <= value <= 512:
            p.error(f"--{name} {value} is not within 3 to 512, the model's positions")
    return a


def windows(tokenizer, texts, length):
    """The texts' tokens as one stream in windows of `length`, start and end marks included."""
    stream = [i for t in texts for i in tokenizer.plain(t)]
    step, start, end = length - 2, tokenizer.ids["[CLS]"], tokenizer.ids["[SEP]"]
    return [[start, *stream[at : at + step], end] for at in range(0, len(stream) - step + 1, step)]


def main(arguments=None):
    a = parse(arguments)
    why = common.enter_venv(need_weights=a.model is None)
    if why:
        print(f"extract: no weights to run the encoder with: {why}", file=sys.stderr)
        return 2
    import numpy as np

    import encoder
    import tensors

    try:
        model = encoder.Encoder(a.model)
        texts = common.read_texts(a.texts)
        if a.length:
            ids = windows(model.tokenizer, texts, a.length)
            if not ids:
                raise ValueError(f"{a.texts}: too short for one window of {a.length} tokens")
        else:
            ids = [model.tokenizer.encode(t, a.limit) for t in texts]
        a.out.mkdir(parents=True, exist_ok=True)
        for name in ("lengths.npy", "cu_seqlens.npy"):  # of an earlier run with another layout
            (a.out / name).unlink(missing_ok=True)
        kept, shape = {}, None

        def tap(layer, q, k, v, o, cu_seqlens):
            nonlocal shape
            for name, x in zip("qkvo", (q, k, v, o)):
                if a.length:
                    x = x.reshape(x.shape[0], -1, a.length, x.shape[2]).swapaxes(0, 1)
                elif a.padded:
                    whole = np.zeros((len(ids), x.shape[0], max(map(len, ids)), x.shape[2]), np.float32)
                    for i, (begin, end) in enumerate(zip(cu_seqlens[:-1], cu_seqlens[1:])):
                        whole[i, :, : end - begin] = x[:, begin:end]
                    x = whole
                else:
                    x = x[None]
                x = np.ascontiguousarray(x)
                shape = list(x.shape)
                np.save(a.out / f"layer{layer}-{name}.npy", x)
                if a.safetensors:
                    kept[f"layer{layer}.{name}"] = x

        model.encode(ids, tap=tap)
        lengths = np.array([len(i) for i in ids], np.int32)
        if a.padded:
            np.save(a.out / "lengths.npy", lengths)
        elif not a.length:
            np.save(a.out / "cu_seqlens.npy", np.concatenate(([0], np.cumsum(lengths))).astype(np.int32))
        layout = "windows" if a.length else "padded" if a.padded else "packed"
        summary = {
            "model": "all-MiniLM-L6-v2", "texts": str(a.texts.name), "layout": layout, "layers": model.layers,
            "axes": ["batch", "heads", "sequence", "head_dim"], "shape": shape, "dtype": "float32",
            "scale": model.head_dim**-0.5, "causal": False, "lengths": lengths.tolist(), "tokens": int(lengths.sum()),
        }  # fmt: skip
        (a.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
        if a.safetensors:
            if layout == "packed":
                kept["cu_seqlens"] = np.load(a.out / "cu_seqlens.npy")
            elif layout == "padded":
                kept["lengths"] = lengths
            tensors.write(a.safetensors, kept, {"model": summary["model"], "layout": layout})
    except (OSError, ValueError) as e:
        print(f"extract: {e}", file=sys.stderr)
        return 2
    print(f"{model.layers} layers of q, k, v, o {tuple(shape)} float32, {layout}, {summary['tokens']} tokens: {a.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
