"""The attention of a decoding step by rapt: what tools/gemma/model.py leaves open.

Of each layer, four calls, planned and bound once: queries are normalised and turned (placed in a buffer of their own), keys are
normalised, turned and placed in the cache, values are placed there, and attention reads the cache. Layers with a window keep a ring
of its size, whose slots need no order since keys are turned already; the others keep pages behind a block table.

Sparse layers: those that see all tokens keep them in order, a fifth call chooses blocks of them for each query head, on the device, and
attention reads what the mask shows. The choice knows the query's position, so that it is planned anew for each token.
"""

import numpy as np
import rapt

DTYPES = {"f32": rapt.F32, "int8": rapt.INT8, "int4": rapt.INT4, "fp8": rapt.FP8}
PAGE = 16
# What stands for a block of keys; the query's own block is always taken.
SPARSE = {"moba": rapt.SUMMARY_MEAN,  # its mean (MoBA, arXiv:2502.13189)
          "quest": rapt.SUMMARY_MIN_MAX}  # its smallest and largest elements, a bound (Quest, arXiv:2406.10774)  # fmt: skip


class Caches:
    def __init__(self, device, shape, weights, capacity, k_dtype="f32", v_dtype="f32", sparse=None):
        """sparse: (a name of SPARSE, keys of a block, blocks that a query reads)."""
        self.device, self.shape, self.closing, self.sparse = device, shape, [], sparse
        self.pages = (capacity + PAGE - 1) // PAGE
        # Small numbers of a step, shared by all layers: its position, 0 (where its query goes), its slots, lengths.
        self.position, self.zero, self.ring_slot, self.page_slot = (self.buffer(4) for _ in range(4))
        self.ring_length, self.page_length, self.table = self.buffer(4), self.buffer(4), self.buffer(4 * self.pages)
        self.zero.upload(np.zeros(1, np.int32))
        self.order = np.random.default_rng(0).permutation(self.pages).astype(np.int32)  # pages come as they come
        self.table.upload(self.order)
        row = 4 * shape.head_dim
        self.q, self.turned, self.out = (self.buffer(shape.heads * row) for _ in range(3))
        self.k, self.v = (self.buffer(shape.kv_heads * row) for _ in range(2))
        self.bytes, self.kernels, self.routes = 0, set(), {}
        if sparse:
            self.blocks = (self.pages * PAGE + sparse[1] - 1) // sparse[1]
            self.mask = self.buffer(4 * shape.heads * self.blocks)
        dtypes = (DTYPES[k_dtype], DTYPES[v_dtype])
        self.layers = [self.layer(n, weights["layers"][n], dtypes) for n in range(shape.layers)]

    def buffer(self, size):
        self.closing.append(self.device.buffer(size))
        return self.closing[-1]

    def call(self, kind, desc, slots):
        self.closing.append(rapt.Call(self.device, kind, desc, slots))
        return self.closing[-1]

    def place(self, heads, x, out, to, slot, scale=None, base=None):
        """Rows of one token to a slot of `to`; `scale`: weights of their norm, `base`: of their rotary positions."""
        d = rapt.RowsDesc(kind=rapt.ROWS_PLACE, x=rapt.tensor(rapt.F32, 1, heads, 1, self.shape.head_dim), out=to)
        d.list = rapt.tensor(rapt.I32, 1, 1, 1)
        slots = {"x": x, "out": out, "list": slot}
        if scale is not None:
            d.flags, d.norm_epsilon, d.norm_weight = rapt.ROWS_NORM, self.shape.epsilon, rapt.tensor(rapt.F32, len(scale))
            slots["norm_weight"] = self.buffer(scale.nbytes)
            slots["norm_weight"].upload(np.ascontiguousarray(scale, np.float32))
        if base is not None:
            d.rope_base, d.positions = base, rapt.tensor(rapt.I32, 1, 1)
            slots["positions"] = self.position
        return self.call("rows", d, slots)

    def layer(self, n, weights, dtypes):
        s, everywhere = self.shape, self.shape.is_global(n)
        base = s.global_base if everywhere else s.local_base
        sparse = everywhere and self.sparse is not None
        pages, size = (self.pages, PAGE) if everywhere and not sparse else (1, self.pages * PAGE if sparse else s.window)
        slot, length = (self.page_slot, self.page_length) if everywhere else (self.ring_slot, self.ring_length)
        tensors = []
        for dtype in dtypes:
            words = self.device.library._c.rapt_quantised_words(dtype, s.head_dim) or s.head_dim
            tensors.append(rapt.tensor(dtype, pages, s.kv_heads, size, words))
        buffers = [self.buffer(4 * pages * s.kv_heads * size * t.size[3]) for t in tensors]
        self.bytes += sum(b.size for b in buffers)
        heads = rapt.tensor(rapt.F32, 1, s.heads, 1, s.head_dim)
        d = rapt.AttentionDesc(q=heads, out=heads, k=tensors[0], v=tensors[1], k_lengths=rapt.tensor(rapt.I32, 1))
        slots = {"q": self.turned, "k": buffers[0], "v": buffers[1], "out": self.out, "k_lengths": length}
        if sparse:
            d.block_mask, d.block_q, d.block_k = rapt.tensor(rapt.I32, 1, s.heads, 1, self.blocks), 1, self.sparse[1]
            slots["block_mask"] = self.mask
            self.routes[n] = buffers[0]
        elif everywhere:
            d.page_size, d.block_table = PAGE, rapt.tensor(rapt.I32, 1, self.pages)
            slots["block_table"] = self.table
        calls = [
            self.place(s.heads, self.q, self.turned, heads, self.zero, weights["q_norm"], base),
            self.place(s.kv_heads, self.k, buffers[0], tensors[0], slot, weights["k_norm"], base),
            self.place(s.kv_heads, self.v, buffers[1], tensors[1], slot),
            self.call("attention", d, slots),
        ]
        self.kernels.add(calls[-1].info.kernel.decode())
        return calls

    def choose(self, layer, position):
        """Which blocks each query head reads, into the mask."""
        s, (name, block, top) = self.shape, self.sparse
        keys = self.pages * PAGE  # for which there is room; those behind the position are not visible
        d = rapt.RouteDesc(flags=rapt.ROUTE_CAUSAL, causal_offset=position - (keys - 1), summarise=SPARSE[name], top_k=top)
        d.q, d.k = rapt.tensor(rapt.F32, 1, s.heads, 1, s.head_dim), rapt.tensor(rapt.F32, 1, s.kv_heads, keys, s.head_dim)
        d.mask, d.block_q, d.block_k, d.always_last = rapt.tensor(rapt.I32, 1, s.heads, 1, self.blocks), 1, block, 1
        with rapt.Call(self.device, "route", d, {"q": self.turned, "k": self.routes[layer], "mask": self.mask}) as call:
            call.run()

    def begin(self, position):
        """Before the first layer of a step."""
        s = self.shape
        page = position // PAGE if self.sparse else int(self.order[position // PAGE])
        for buffer, number in ((self.position, position), (self.ring_slot, position % s.window),
                               (self.page_slot, page * PAGE + position % PAGE),
                               (self.ring_length, min(position + 1, s.window)), (self.page_length, position + 1)):  # fmt: skip
            buffer.upload(np.array([number], np.int32))

    def __call__(self, layer, position, q, k, v):
        if layer == 0:
            self.begin(position)
        for buffer, data in ((self.q, q), (self.k, k), (self.v, v)):
            buffer.upload(np.ascontiguousarray(data, np.float32))
        *before, attention = self.layers[layer]
        for call in before:
            call.run()
        if layer in self.routes:
            self.choose(layer, position)
        attention.run()
        out = np.empty((self.shape.heads, self.shape.head_dim), np.float32)
        self.out.download(out)
        return out

    def close(self):
        while self.closing:
            self.closing.pop().close()
