"""Gemma 3's text model in plain numpy, float32, one token at a time, with attention left open.

A layer: x += norm(attention(norm(x))), x += norm(mlp(norm(x))); queries and keys are normalised by head and turned by rotary
positions, of one base in layers that see a window and another in those that see all.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Shape:
    layers: int = 18
    width: int = 640
    hidden: int = 2048
    heads: int = 4
    kv_heads: int = 1
    head_dim: int = 256
    vocabulary: int = 262144
    window: int = 512
    global_every: int = 6  # the last of so many layers sees all tokens, the others a window
    local_base: float = 1e4
    global_base: float = 1e6
    epsilon: float = 1e-6

    def is_global(self, layer):
        return layer % self.global_every == self.global_every - 1


def random_weights(shape, seed=1):
    """Weights of that shape; the norms' are near 1. With a head of its own: the embedding would say the last token again."""
    r = np.random.default_rng(seed)

    def matrix(rows, columns):
        return (r.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)

    def scale(n):
        return (1 + 0.1 * r.standard_normal(n)).astype(np.float32)

    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    layers = []
    for _ in range(shape.layers):
        layers.append({
            "q": matrix(q, shape.width), "k": matrix(kv, shape.width), "v": matrix(kv, shape.width),
            "o": matrix(shape.width, q), "gate": matrix(shape.hidden, shape.width), "up": matrix(shape.hidden, shape.width),
            "down": matrix(shape.width, shape.hidden), "q_norm": scale(shape.head_dim), "k_norm": scale(shape.head_dim),
            **{n: scale(shape.width) for n in ("before", "after", "before_mlp", "after_mlp")},
        })  # fmt: skip
    return {"layers": layers, "embedding": matrix(shape.vocabulary, shape.width), "norm": scale(shape.width),
            "head": matrix(shape.vocabulary, shape.width)}  # fmt: skip


def norm(x, weight, epsilon):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(epsilon)) * weight


def turn(x, position, base):
    """Rotary positions of (heads, head_dim): pairs (i, i + head_dim / 2)."""
    half = x.shape[-1] // 2
    angle = position * base ** (-np.arange(half) / half)
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    a, b = x[:, :half], x[:, half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=1)


class PlainAttention:
    """All keys and values so far, in lists."""

    def __init__(self, shape, weights):
        self.shape, self.weights = shape, weights
        self.keys, self.values = ([[] for _ in range(shape.layers)] for _ in range(2))

    def __call__(self, layer, position, q, k, v):
        s, w = self.shape, self.weights["layers"][layer]
        base = s.global_base if s.is_global(layer) else s.local_base
        q = turn(norm(q, w["q_norm"], s.epsilon), position, base)
        self.keys[layer].append(turn(norm(k, w["k_norm"], s.epsilon), position, base))
        self.values[layer].append(v)
        first = 0 if s.is_global(layer) else max(0, position + 1 - s.window)
        keys, values = np.stack(self.keys[layer][first:]), np.stack(self.values[layer][first:])
        out = np.empty_like(q)
        for h in range(s.heads):
            g = h * s.kv_heads // s.heads
            scores = keys[:, g] @ q[h] * np.float32(s.head_dim**-0.5)
            weights = np.exp(scores - scores.max())
            out[h] = weights @ values[:, g] / weights.sum()
        return out


class Model:
    def __init__(self, shape, weights):
        self.shape, self.weights = shape, weights

    def step(self, token, position, attention):
        """Logits after one more token. attention(layer, position, q, k, v) has (heads, head_dim) in and out, q and k as they are
        before norm and turning."""
        s, w = self.shape, self.weights
        x = w["embedding"][token] * np.float32(np.sqrt(s.width))
        for n, layer in enumerate(w["layers"]):
            h = norm(x, layer["before"], s.epsilon)
            q, k, v = ((layer[name] @ h).reshape(-1, s.head_dim) for name in "qkv")
            h = layer["o"] @ attention(n, position, q, k, v).ravel()
            x = x + norm(h, layer["after"], s.epsilon)
            h = norm(x, layer["before_mlp"], s.epsilon)
            g = layer["gate"] @ h
            g = 0.5 * g * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (g + np.float32(0.044715) * g**3)))
            x = x + norm(layer["down"] @ (g * (layer["up"] @ h)), layer["after_mlp"], s.epsilon)
        return w.get("head", w["embedding"]) @ norm(x, w["norm"], s.epsilon)
