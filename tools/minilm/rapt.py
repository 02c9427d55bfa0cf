"""rapt's C API for Python, through ctypes: runtime, device, buffers, and attention as plan, bind, submit.

Needs no numpy: whatever supports the buffer protocol can be uploaded and downloaded.
The structures below repeat include/rapt/*.h; test_minilm.py compares them with what a C compiler makes of it.
"""

import ctypes as c
import ctypes.util
import os
import sys
from ctypes import POINTER, byref, c_char, c_char_p, c_double, c_float, c_int, c_int64, c_size_t
from ctypes import c_uint8, c_uint32, c_uint64, c_void_p
from pathlib import Path

VERSION = (0, 1)  # of the headers this was written against

OK, INVALID, UNSUPPORTED, NO_DEVICE, DEVICE_LOST = range(5)
OUT_OF_HOST_MEMORY, OUT_OF_DEVICE_MEMORY, TIMEOUT, INCOMPLETE, BUSY, COMPILE, WRONG_RESULT, IO, VULKAN = range(5, 14)
NONE, F32, F16, BF16, I32, INT8, INT4, FP8 = range(8)
ROWS_GATHER, ROWS_SCATTER, ROWS_SCATTER_MEAN, ROWS_PLACE = range(4)
ROWS_NORM, ROWS_ROPE_INTERLEAVED = 1, 2
SUMMARY_MEAN, SUMMARY_MAX, SUMMARY_MIN_MAX, SUMMARY_LANDMARK = range(4)
ROUTE_CAUSAL = 1
FOREVER = 2**64 - 1


class RaptError(Exception):
    """A call of the library failed: `status` is its rapt_status, the text its message."""

    def __init__(self, status, message, name=""):
        super().__init__(f"{name}: {message}" if name else message)
        self.status = status


class LibraryMissing(Exception):
    """No librapt, or one that this binding does not fit."""


class Error(c.Structure):
    _fields_ = [("status", c_int), ("message", c_char * 508)]


class RuntimeOptions(c.Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("log_level", c_int), ("log", c_void_p), ("log_user", c_void_p),
        ("allocator", c_void_p), ("vulkan_library", c_char_p), ("cache_dir", c_char_p), ("compiler_library", c_char_p),
        ("shader_override_dir", c_char_p), ("shader_dump_dir", c_char_p), ("ignore_environment", c_uint32),
    ]  # fmt: skip


class CoopmatShape(c.Structure):
    _fields_ = [(n, c_uint32) for n in ("m", "n", "k", "a_type", "b_type", "c_type", "result_type", "scope")]


class CoopmatFlexible(c.Structure):
    _fields_ = [(n, c_uint32) for n in ("m", "n", "k", "a_type", "b_type", "c_type", "result_type", "invocations")]


class Caps(c.Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("device_class", c_int), ("device_name", c_char * 256),
        ("driver_name", c_char * 256), ("driver_info", c_char * 256), ("vendor_id", c_uint32), ("device_id", c_uint32),
        ("driver_id", c_uint32), ("driver_version", c_uint32), ("api_version", c_uint32), ("device_type", c_uint32),
        ("device_uuid", c_uint8 * 16), ("driver_uuid", c_uint8 * 16), ("pipeline_cache_uuid", c_uint8 * 16),
        ("features", c_uint64), ("subgroup_size", c_uint32), ("subgroup_size_min", c_uint32),
        ("subgroup_size_max", c_uint32), ("max_shared_bytes", c_uint32), ("max_invocations", c_uint32),
        ("max_group_size", c_uint32 * 3), ("max_groups", c_uint32 * 3), ("max_storage_buffers", c_uint32),
        ("max_push_bytes", c_uint32), ("max_storage_range", c_uint64), ("max_uniform_range", c_uint64),
        ("max_texel_elements", c_uint64), ("max_allocation", c_uint64), ("storage_align", c_uint32),
        ("uniform_align", c_uint32), ("texel_align", c_uint32), ("compute_units", c_uint32),
        ("timestamp_period", c_float), ("device_heap", c_uint64), ("host_heap", c_uint64),
        ("unified_memory", c_uint32), ("no_execution", c_uint32), ("coopmat_count", c_uint32),
        ("coopmat", CoopmatShape * 64), ("masked", c_uint32), ("coopmat2_max_dimension", c_uint32),
        ("coopmat2_shared_bytes", c_uint32), ("coopmat_flexible_count", c_uint32),
        ("coopmat_flexible", CoopmatFlexible * 64),
    ]  # fmt: skip


class DeviceOptions(c.Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("selector", c_char_p), ("caps_mask", c_char_p), ("validation", c_uint32),
        ("no_probe", c_uint32),
    ]  # fmt: skip


class Tensor(c.Structure):
    _fields_ = [
        ("dtype", c_int), ("rank", c_uint32), ("size", c_uint64 * 4), ("stride", c_int64 * 4), ("align", c_uint32),
        ("usage", c_uint32),
    ]  # fmt: skip


class Slot(c.Structure):
    _fields_ = [("buffer", c_void_p), ("offset", c_uint64)]


class UserBuffer(c.Structure):
    _fields_ = [("name", c_char_p), ("dtype", c_int), ("count", c_uint64)]


class Grid(c.Structure):
    _fields_ = [
        ("rank", c_uint32), ("size", c_uint32 * 3), ("kernel_size", c_uint32 * 3), ("dilation", c_uint32 * 3),
        ("stride", c_uint32 * 3), ("causal", c_uint32),
    ]  # fmt: skip


class AttentionDesc(c.Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("flags", c_uint32), ("q", Tensor), ("k", Tensor), ("v", Tensor), ("out", Tensor),
        ("lse", Tensor), ("scale", c_float), ("causal_offset", c_int64), ("sequences", c_uint32),
        ("max_seqlen_q", c_uint64), ("max_seqlen_k", c_uint64), ("kernel", c_char_p), ("key_splits", c_uint32),
        ("slice_ms", c_float), ("window_left", c_int64), ("window_right", c_int64), ("sink_tokens", c_uint64),
        ("soft_cap", c_float), ("score_mod", c_char_p * 4), ("mask_mod", c_char_p * 4), ("user", UserBuffer * 4),
        ("user_constants", c_float * 16), ("link", c_int), ("link_gamma", c_float), ("link_zeta", c_float),
        ("link_alpha", c_float), ("link_beta", c_float),
        ("sinks", Tensor), ("alibi", Tensor), ("key_bias", Tensor), ("segments", Tensor), ("gate", Tensor),
        ("bias", Tensor), ("bias_u", Tensor), ("bias_v", Tensor), ("qk_norm_epsilon", c_float), ("rope_base", c_double),
        ("rope_dim", c_uint32),
        ("grid", Grid),
        ("block_mask", Tensor), ("block_q", c_uint32), ("block_k", c_uint32), ("tile_lists", c_int),
        ("relative", Tensor), ("decay", Tensor), ("place_width", c_uint32),
        ("block_table", Tensor), ("page_size", c_uint32), ("k_lengths", Tensor),
        ("col_sums", Tensor), ("row_max", Tensor),
    ]  # fmt: skip


class AttentionArgs(c.Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("q", Slot), ("k", Slot), ("v", Slot), ("out", Slot), ("lse", Slot),
        ("cu_seqlens_q", Slot), ("cu_seqlens_k", Slot), ("workspace", Slot), ("user", Slot * 4), ("sinks", Slot),
        ("alibi", Slot), ("key_bias", Slot), ("segments", Slot), ("gate", Slot), ("bias", Slot), ("bias_u", Slot),
        ("bias_v", Slot), ("block_mask", Slot), ("relative", Slot), ("decay", Slot), ("block_table", Slot),
        ("k_lengths", Slot), ("col_sums", Slot), ("row_max", Slot),
    ]  # fmt: skip


class RowsDesc(c.Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("kind", c_int), ("x", Tensor), ("list", Tensor), ("out", Tensor), ("weight", Tensor),
        ("runs", c_uint64), ("slice_ms", c_float), ("flags", c_uint32), ("norm_epsilon", c_float),
        ("norm_weight", Tensor), ("positions", Tensor), ("rope_base", c_double), ("rope_dim", c_uint32),
    ]  # fmt: skip


class RowsArgs(c.Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("x", Slot), ("list", Slot), ("out", Slot), ("weight", Slot), ("norm_weight", Slot),
        ("positions", Slot),
    ]  # fmt: skip


class RouteDesc(c.Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("flags", c_uint32), ("q", Tensor), ("k", Tensor), ("summary", Tensor), ("scores", Tensor),
        ("mask", Tensor), ("list", Tensor), ("nq", c_uint64), ("nk", c_uint64), ("block_q", c_uint64), ("block_k", c_uint64),
        ("first_block", c_uint64), ("landmark", c_uint64), ("summarise", c_int), ("select", c_int), ("queries", c_int),
        ("heads", c_int), ("top_k", c_uint64), ("threshold", c_float), ("mass", c_float), ("always_first", c_uint64),
        ("always_last", c_uint64), ("causal_offset", c_int64), ("scale", c_float), ("workspace_limit", c_uint64),
        ("slice_ms", c_float), ("within", Tensor), ("within_blocks", c_uint64),
        ("skip", c_uint64), ("list_heads", c_uint64),
    ]  # fmt: skip


class RouteArgs(c.Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("q", Slot), ("k", Slot), ("summary", Slot), ("scores", Slot), ("mask", Slot),
        ("list", Slot), ("workspace", Slot), ("within", Slot),
    ]  # fmt: skip


class PlanInfo(c.Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("kernel", c_char * 64), ("merge_kernel", c_char * 64), ("precision", c_char * 48),
        ("workspace_bytes", c_uint64), ("workspace_align", c_uint32), ("parameter_bytes", c_uint64),
        ("flops", c_uint64), ("bytes_read", c_uint64), ("bytes_written", c_uint64), ("steps", c_uint32),
        ("chain", c_uint32), ("slices", c_uint32), ("key_splits", c_uint32), ("generation", c_uint32),
    ]  # fmt: skip


class Timing(c.Structure):
    _fields_ = [("device_ns", c_double), ("submit_ns", c_double)]


# The C name of each structure.
STRUCTURES = {
    "rapt_error": Error, "rapt_runtime_options": RuntimeOptions, "rapt_coopmat_shape": CoopmatShape,
    "rapt_caps": Caps, "rapt_device_options": DeviceOptions, "rapt_tensor": Tensor, "rapt_slot": Slot, "rapt_user_buffer": UserBuffer,
    "rapt_attention_desc": AttentionDesc, "rapt_attention_args": AttentionArgs, "rapt_plan_info": PlanInfo,
    "rapt_timing": Timing, "rapt_rows_desc": RowsDesc, "rapt_rows_args": RowsArgs,
}  # fmt: skip

_HANDLE = c_void_p
_CALLS = {  # functions that return a status; the error comes last and is added below
    "rapt_runtime_create": [POINTER(RuntimeOptions), POINTER(_HANDLE)],
    "rapt_device_count": [_HANDLE, POINTER(c_uint32)],
    "rapt_device_query": [_HANDLE, c_uint32, POINTER(Caps)],
    "rapt_device_open": [_HANDLE, POINTER(DeviceOptions), POINTER(_HANDLE)],
    "rapt_buffer_create": [_HANDLE, c_uint64, POINTER(_HANDLE)],
    "rapt_buffer_upload": [_HANDLE, c_uint64, c_void_p, c_uint64],
    "rapt_buffer_download": [_HANDLE, c_uint64, c_void_p, c_uint64],
    "rapt_attention_plan": [_HANDLE, POINTER(AttentionDesc), POINTER(_HANDLE)],
    "rapt_plan_prepare": [_HANDLE],
    "rapt_plan_describe": [_HANDLE, POINTER(PlanInfo)],
    "rapt_attention_bind": [_HANDLE, POINTER(AttentionArgs), POINTER(_HANDLE)],
    "rapt_rows_plan": [_HANDLE, POINTER(RowsDesc), POINTER(_HANDLE)],
    "rapt_rows_bind": [_HANDLE, POINTER(RowsArgs), POINTER(_HANDLE)],
    "rapt_submit": [_HANDLE],
    "rapt_wait": [_HANDLE, c_uint64],
}
_DESTROY = ("rapt_runtime_destroy", "rapt_device_destroy", "rapt_buffer_destroy", "rapt_plan_destroy",
            "rapt_binding_destroy")  # fmt: skip


def find_library(build=None):
    """The library's path: in the folder `build` of an uninstalled build, else RAPT_LIB, else the system's."""
    names = {"win32": ("rapt.dll", "librapt.dll", "rapt-0.dll", "librapt-0.dll"), "darwin": ("librapt.dylib",)}
    names = names.get(sys.platform, ("librapt.so",))
    if build is not None:
        for folder in (Path(build), Path(build) / "src"):
            for name in names:
                if (folder / name).is_file():
                    return str((folder / name).resolve())
        raise LibraryMissing(f"no {names[0]} in {build} or {Path(build) / 'src'}: build rapt there first")
    if os.environ.get("RAPT_LIB"):
        return os.environ["RAPT_LIB"]
    found = ctypes.util.find_library("rapt")
    if found is None:
        raise LibraryMissing("no librapt: name a build folder, set RAPT_LIB to the library, or install rapt")
    return found


class Library:
    def __init__(self, path):
        try:
            self._c = c.CDLL(path)
            for name, arguments in _CALLS.items():
                f = getattr(self._c, name)
                f.argtypes, f.restype = [*arguments, POINTER(Error)], c_int
            for name in _DESTROY:
                f = getattr(self._c, name)
                f.argtypes, f.restype = [POINTER(_HANDLE)], None
            self._c.rapt_version.argtypes, self._c.rapt_version.restype = [], c_uint32
            self._c.rapt_version_string.argtypes, self._c.rapt_version_string.restype = [], c_char_p
            self._c.rapt_status_name.argtypes, self._c.rapt_status_name.restype = [c_int], c_char_p
            self._c.rapt_quantised_words.argtypes, self._c.rapt_quantised_words.restype = [c_int, c_uint64], c_uint64
            self._c.rapt_device_caps.argtypes, self._c.rapt_device_caps.restype = [_HANDLE], POINTER(Caps)
            self._c.rapt_binding_timing.argtypes, self._c.rapt_binding_timing.restype = [_HANDLE, POINTER(Timing)], None
            self._c.rapt_plan_explain.argtypes = [_HANDLE, c_int, c_void_p, c_size_t]
            self._c.rapt_plan_explain.restype = c_size_t
        except (OSError, AttributeError) as e:
            raise LibraryMissing(str(e) if path in str(e) else f"{path}: {e}") from e
        self.path, self.version = path, self._c.rapt_version_string().decode()
        number = self._c.rapt_version()
        if (number >> 16, number >> 8 & 255) != VERSION:
            raise LibraryMissing(f"{path} is rapt {self.version}; this binding is for {VERSION[0]}.{VERSION[1]}")

    def call(self, name, *arguments):
        error = Error()
        status = getattr(self._c, name)(*arguments, byref(error))
        if status != OK:
            raise RaptError(status, error.message.decode(errors="replace"), self._c.rapt_status_name(status).decode())

    def make(self, name, *arguments):
        handle = _HANDLE()
        self.call(name, *arguments, byref(handle))
        return handle


class _Object:
    """A handle with its destructor: close it, or use it in a with block."""

    def __init__(self, library, handle, destroy):
        self.library, self.handle, self._destroy = library, handle, destroy

    def close(self):
        if self.handle:
            getattr(self.library._c, self._destroy)(byref(self.handle))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Runtime(_Object):
    def __init__(self, path=None):
        library = Library(path or find_library())
        super().__init__(library, library.make("rapt_runtime_create", None), "rapt_runtime_destroy")

    def devices(self):
        """The snapshots of the devices there are."""
        count = c_uint32()
        self.library.call("rapt_device_count", self.handle, byref(count))
        found = []
        for index in range(count.value):
            caps = Caps()
            self.library.call("rapt_device_query", self.handle, index, byref(caps))
            found.append(caps)
        return found

    def open(self, selector=None, caps_mask=None):
        return Device(self, selector, caps_mask)


class Device(_Object):
    def __init__(self, runtime, selector=None, caps_mask=None):
        options = DeviceOptions(c.sizeof(DeviceOptions))
        options.selector = selector.encode() if selector else None
        options.caps_mask = caps_mask.encode() if caps_mask else None
        library = runtime.library
        handle = library.make("rapt_device_open", runtime.handle, byref(options))
        super().__init__(library, handle, "rapt_device_destroy")
        self.caps = library._c.rapt_device_caps(handle).contents
        if self.caps.struct_size != c.sizeof(Caps):
            size = self.caps.struct_size
            self.close()
            raise LibraryMissing(f"{library.path}: rapt_caps has {size} bytes; this binding expects {c.sizeof(Caps)}")

    @property
    def name(self):
        caps = self.caps
        return f"{caps.device_name.decode()} ({caps.driver_name.decode()} {caps.driver_info.decode()})".replace(
            " )", ")"
        )

    def buffer(self, size):
        return Buffer(self, size)


def _bytes_of(data, writable):
    """A ctypes array over the memory of `data`, without a copy unless it is read-only."""
    view = memoryview(data).cast("B")
    if not view.readonly:
        return (c_char * view.nbytes).from_buffer(view), view.nbytes
    if writable:
        raise TypeError("the memory to download into is read-only")
    return c_char_p(bytes(view)), view.nbytes


class Buffer(_Object):
    def __init__(self, device, size):
        library = device.library
        super().__init__(library, library.make("rapt_buffer_create", device.handle, size), "rapt_buffer_destroy")
        self.size = size

    def upload(self, data, offset=0):
        """Copies contiguous memory (anything with the buffer protocol) into the buffer."""
        memory, size = _bytes_of(data, False)
        self.library.call("rapt_buffer_upload", self.handle, offset, c.cast(memory, c_void_p), size)

    def download(self, data, offset=0):
        """Fills contiguous writable memory from the buffer."""
        memory, size = _bytes_of(data, True)
        self.library.call("rapt_buffer_download", self.handle, offset, c.cast(memory, c_void_p), size)


def tensor(dtype, *size):
    """A tensor without gaps; of rank 4 the axes are (batch, heads, tokens, elements)."""
    made, stride = Tensor(dtype=dtype, rank=len(size)), 1
    for axis in reversed(range(len(size))):
        made.size[axis], made.stride[axis] = size[axis], stride
        stride *= max(size[axis], 1)
    return made


class Call(_Object):
    """An operator, planned and bound to buffers once, run often. `kind`: attention, rows or route; `slots`: Buffers by name."""

    def __init__(self, device, kind, desc, slots):
        library = device.library
        desc.struct_size = c.sizeof(desc)
        args = {"attention": AttentionArgs, "rows": RowsArgs, "route": RouteArgs}[kind]()
        args.struct_size = c.sizeof(args)
        for name, buffer in slots.items():
            setattr(args, name, Slot(buffer.handle, 0))
        self.plan = _Object(library, library.make(f"rapt_{kind}_plan", device.handle, byref(desc)), "rapt_plan_destroy")
        try:
            library.call("rapt_plan_prepare", self.plan.handle)
            self.info = PlanInfo(c.sizeof(PlanInfo))
            library.call("rapt_plan_describe", self.plan.handle, byref(self.info))
            bound = library.make(f"rapt_{kind}_bind", self.plan.handle, byref(args))
        except BaseException:
            self.plan.close()
            raise
        super().__init__(library, bound, "rapt_binding_destroy")

    def run(self):
        self.library.call("rapt_submit", self.handle)
        self.library.call("rapt_wait", self.handle, FOREVER)

    def close(self):
        super().close()
        self.plan.close()


def packed_tensor(tokens, heads, head_dim):
    """float32 laid out as (tokens, heads, head_dim), with the API's axes (1, heads, tokens, head_dim)."""
    tensor = Tensor(dtype=F32, rank=4)
    tensor.size[:] = (1, heads, tokens, head_dim)
    tensor.stride[:] = (tokens * heads * head_dim, head_dim, heads * head_dim, 1)
    return tensor


class PackedAttention:
    """Attention over sequences of the given lengths, packed one after another: planned and bound once, run often.

    Inputs and output are float32 in memory order (tokens, heads, head_dim).
    """

    def __init__(self, device, lengths, heads, head_dim, kernel=None):
        tokens, library = sum(lengths), device.library
        self.library, self._closing = library, []
        desc = AttentionDesc(c.sizeof(AttentionDesc))
        desc.q = desc.k = desc.v = desc.out = packed_tensor(tokens, heads, head_dim)
        desc.sequences = len(lengths)
        desc.max_seqlen_q = desc.max_seqlen_k = max(lengths)
        desc.kernel = kernel.encode() if kernel else None
        self.bytes = 4 * tokens * heads * head_dim
        cu_seqlens = (c.c_int32 * (len(lengths) + 1))()
        for i, length in enumerate(lengths):
            cu_seqlens[i + 1] = cu_seqlens[i] + length
        try:
            self._plan = self._keep(
                library.make("rapt_attention_plan", device.handle, byref(desc)), "rapt_plan_destroy"
            )
            library.call("rapt_plan_prepare", self._plan)
            self.info = PlanInfo(c.sizeof(PlanInfo))
            library.call("rapt_plan_describe", self._plan, byref(self.info))
            self.q, self.k, self.v, self.out = (self._buffer(device, self.bytes) for _ in range(4))
            starts = self._buffer(device, c.sizeof(cu_seqlens))
            starts.upload(cu_seqlens)
            args = AttentionArgs(c.sizeof(AttentionArgs))
            for name, buffer in (("q", self.q), ("k", self.k), ("v", self.v), ("out", self.out),
                                 ("cu_seqlens_q", starts), ("cu_seqlens_k", starts)):  # fmt: skip
                setattr(args, name, Slot(buffer.handle, 0))
            bound = library.make("rapt_attention_bind", self._plan, byref(args))
            self._binding = self._keep(bound, "rapt_binding_destroy")
        except BaseException:
            self.close()
            raise

    def _keep(self, handle, destroy):
        self._closing.append(_Object(self.library, handle, destroy))
        return handle

    def _buffer(self, device, size):
        self._closing.append(device.buffer(size))
        return self._closing[-1]

    def run(self):
        """Runs on what the buffers q, k and v hold; blocks until `out` is written."""
        self.library.call("rapt_submit", self._binding)
        self.library.call("rapt_wait", self._binding, FOREVER)

    def __call__(self, q, k, v, out):
        """Uploads q, k and v, runs, downloads into `out`."""
        for buffer, data in ((self.q, q), (self.k, k), (self.v, v)):
            buffer.upload(data)
        self.run()
        self.out.download(out)

    def device_seconds(self):
        """Time on the device of the last run; None where its queue has no timestamps."""
        timing = Timing()
        self.library._c.rapt_binding_timing(self._binding, byref(timing))
        return timing.device_ns * 1e-9 if timing.device_ns >= 0 else None

    def explain(self):
        """Why this kernel runs and the others do not."""
        size = self.library._c.rapt_plan_explain(self._plan, 0, None, 0)
        text = c.create_string_buffer(size)
        self.library._c.rapt_plan_explain(self._plan, 0, text, size)
        return text.value.decode(errors="replace")

    def close(self):
        while self._closing:
            self._closing.pop().close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
