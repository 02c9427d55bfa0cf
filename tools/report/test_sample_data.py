"""SAMPLE DATA for the tests of report.py, made up by a formula. None of it was measured, and its devices' names say so."""

import math
import random

DTYPES = {"f32": 4, "f16": 2}


def figure(value, noise=0.02, count=15):
    spread = value * noise
    return {"median": value, "min": value - 2 * spread, "max": value + 3 * spread, "low": value - spread, "high": value + 1.3 * spread,
            "coverage": 0.965, "count": count, "samples": [value] * count}


def case(roofs, read, dtype="f32", batch=1, heads=8, kv=8, d=64, nq=1024, nk=1024, causal=False, group="dense", density=None, seed=0):
    density = density if density is not None else (0.5 + 0.5 / nq if causal else 1.0)
    flops = 4.0 * batch * heads * nq * nk * d * density
    size = DTYPES[dtype] * batch * d * (2.0 * heads * nq + 2.0 * kv * nk)
    roof = min(roofs["f32"], flops / size * read)  # as kernels do that store f16 and sum in f32
    share = 0.34 + 0.16 * random.Random(f"{dtype}{nq}{nk}{d}{kv}{causal}{seed}").random()
    share *= 1 - 0.5 * math.exp(-nk / 300)
    name = f"B{batch}H{heads}{f'K{kv}' if kv != heads else ''}D{d}{f'Q{nq}' if nq != nk else ''}N{nk}{dtype}{'c' * causal}"
    seconds = flops / (roof * share)
    return {
        "name": name, "system": "attention", "group": group, "dtype": dtype, "causal": causal, "density": density,
        "shape": {"batch": batch, "q_heads": heads, "kv_heads": kv, "nq": nq, "nk": nk, "head_dim_qk": d, "head_dim_v": d},
        "status": "ok", "kernel": f"broadcast-{dtype}-d{d}", "merge_kernel": "merge-f32" if nq == 1 else "",
        "why": "software device with 8 lanes: the best score of the 4 kernels that can run",
        "precision": "f32", "key_splits": 2 if nq == 1 else 1, "steps": 1, "slices": 1,
        "proof": {"max_error": 2.1e-7, "tolerance": 4.4e-6, "rows": 256, "sampled": True},
        "device": figure(seconds), "wall": figure(seconds * 1.03), "clock": "device", "cold_seconds": 0.21 + seconds,
        "flops": flops, "bytes": size, "intensity": flops / size, "workspace_bytes": 0, "memory_bytes": size,
        "flops_per_second": flops / seconds, "bytes_per_second": size / seconds, "roof": roof, "of_roof": share,
        "bound": "compute" if roof == roofs["f32"] else "memory", "peak": "f32", "joules": None,
    }


def gauge(name, group, unit, value, what, native=None, native_name="fma-avx2", size=0, limit="", status="ok"):
    made = {"name": name, "group": group, "unit": unit, "what": what, "kernel": f"gauge-{name}", "lower_is_better": unit == "s", "bytes": size,
            "status": status, "clock": "device"}
    if status == "ok":
        made["value"] = figure(value)
    else:
        made["message"] = "the device has no such thing"
    if native:
        made |= {"native": {"name": native_name, "value": figure(native), "valid": True}, "of_native": value / native}
    if limit:
        made["limit"] = limit
    return made


def device(name, speed=1.0, seed=0):
    roofs, read = {"f32": 110e9 * speed, "f16": 40e9 * speed}, 11.5e9 * speed
    make = lambda **k: case(roofs, read, seed=seed, **k)
    cases = []
    for dtype in DTYPES:
        cases += [make(dtype=dtype, nq=n, nk=n, d=d) for d in (64, 128) for n in (512, 1024, 2048)]
        cases += [make(dtype=dtype, nq=2048, nk=2048, causal=True, group="causal"),
                  make(dtype=dtype, kv=2, group="gqa"),
                  make(dtype=dtype, heads=32, kv=8, d=128, nq=1, nk=4096, group="decode"),
                  make(dtype=dtype, heads=32, kv=8, d=128, nq=1, nk=16384, group="decode"),
                  make(dtype=dtype, nq=77, nk=1024, group="cross")]
    refused = {**make(nq=64, nk=64, d=640), "status": "refused", "message": "head_dim 640: 576 at most"}
    cases.append(refused)
    limit = "LLVM keeps 14 of the 16 sums in registers; two are spilled in each round (seen in its assembly)"
    gauges = [
        gauge("fma-f32", "arithmetic", "FLOP/s", 104e9 * speed, "Independent f32 multiply-adds; two FLOP each.", 134e9),
        gauge("fma-f32-vec4", "arithmetic", "FLOP/s", 110e9 * speed, "The same in vectors of four.", 134e9),
        gauge("fma-f16", "arithmetic", "FLOP/s", 40e9 * speed, "f16 multiply-adds, done in f32 on this device.", 134e9, limit=limit),
        gauge("dot-int8", "arithmetic", "OP/s", 31e9 * speed, "Packed int8 dot products; eight operations each."),
        gauge("exp-f32", "arithmetic", "OP/s", 4.1e9 * speed, "exp2 of independent values."),
        gauge("coopmat-f16-f32-16x16x16", "matrix", "FLOP/s", 0, "Cooperative matrices.", status="refused"),
        gauge("read-storage", "memory", "B/s", 11.5e9 * speed, "Every byte of a buffer once.", 19.8e9, "stream-read", 256 << 20),
        gauge("write-storage", "memory", "B/s", 8.4e9 * speed, "A buffer written.", 9.9e9, "stream-write", 256 << 20),
        gauge("copy", "memory", "B/s", 9.3e9 * speed, "vkCmdCopyBuffer, read and written bytes.", 12e9, "stream-copy", 256 << 20),
        gauge("triad", "memory", "B/s", 9.1e9 * speed, "a = b + s c", 12.5e9, "stream-triad", 256 << 20),
        gauge("shared-read", "shared", "B/s", 38e9 * speed, "Shared memory read by all lanes."),
        gauge("atomic-add-one", "atomic", "OP/s", 0.06e9 * speed, "All lanes add to one word."),
        gauge("dispatch-empty", "latency", "s", 4.2e-6 / speed, "One empty dispatch in a batch of many."),
        gauge("submit-wait", "latency", "s", 41e-6 / speed, "vkQueueSubmit until the fence is signalled."),
        gauge("pipeline-cold", "latency", "s", 38e-3 / speed, "A compute pipeline with no caches."),
        gauge("subgroup-add", "subgroup", "OP/s", 1.9e9 * speed, "subgroupAdd of independent values."),
    ]
    for shift in range(14, 29, 2):
        rate = (52e9 if shift < 20 else 27e9 if shift < 25 else 11.6e9) * speed
        gauges.append(gauge(f"cache-{1 << (shift - 10)}k", "cache", "B/s", rate, "The same bytes read again and again.", rate * 1.7, "stream-read", 1 << shift))

    def sweep(axis, unit, values, of, labels):
        return {"name": axis, "axis": axis, "unit": unit, "series": [
            {"label": label, "points": [{"x": v, "case": make(**of(v), **more)} for v in values]} for label, more in labels]}

    labels = [("f32", {"dtype": "f32"}), ("f16", {"dtype": "f16"}), ("f32 causal", {"dtype": "f32", "causal": True})]
    sweeps = [sweep("N", "tokens", [128, 256, 512, 1024, 2048, 4096], lambda n: {"nq": n, "nk": n}, labels),
              sweep("head_dim", "elements", [32, 64, 96, 128, 192, 256], lambda d: {"d": d}, labels[:2]),
              sweep("density", "part", [0.05, 0.1, 0.25, 0.5, 1.0], lambda p: {"density": p, "group": "block"}, labels[:2])]
    first = cases[1]["device"]["median"]
    points = [{"t": t, "seconds": first * (1 + 0.14 / (1 + math.exp(-(t - 60) / 12)) + 0.004 * math.sin(t)), "runs": 60,
               "clock_hz": 2.9e9 - 3.6e8 / (1 + math.exp(-(t - 60) / 12)), "celsius": 92 - 40 * math.exp(-t / 40)} for t in range(0, 180, 4)]
    return {
        "device": {"name": name, "driver": "sample driver", "driver_info": "made up, not measured", "type": "cpu", "class": "software",
                   "api_version": "1.3.0", "vendor_id": 65541, "subgroup_size": 8, "max_shared_bytes": 32768, "max_invocations": 1024,
                   "max_storage_range": 134217728, "max_group_size": [1024, 1024, 1024], "device_heap_bytes": 25276502016, "unified_memory": True,
                   "features": ["subgroup", "subgroup-arithmetic", "fp16", "16bit", "timeline"], "cooperative_matrices": [], "index": 0},
        "gauges": gauges, "cases": cases, "sweeps": sweeps,
        "roofline": {"flops": roofs, "flops_gauge": {"f32": "fma-f32-vec4", "f16": "fma-f16"}, "bytes_per_second": read,
                     "bytes_gauge": "read-storage", "cache_bytes_per_second": 52e9 * speed},
        "sustained": [{"case": cases[1]["name"], "kernel": cases[1]["kernel"], "flops": cases[1]["flops"], "bytes": cases[1]["bytes"], "points": points,
                       "first": {"seconds": points[0]["seconds"]}, "last": {"seconds": points[-1]["seconds"]}, "slowdown": 1.14}],
        "sensors": {"energy": None, "clock": "sample", "temperature": "sample", "why_not": "energy: no counter"},
    }


def run(devices=1):
    names = ["SAMPLE DATA (not measured), device A", "SAMPLE DATA (not measured), device B"]
    made = [device(name, speed, seed) for seed, (name, speed) in enumerate(zip(names[:devices], (1.0, 0.42)))]
    bad = made[0]["cases"][3]
    made[0]["cases"][3] = {**{k: bad[k] for k in ("name", "group", "dtype", "kernel", "why", "shape")}, "status": "wrong",
                           "message": "row 17: 0.25 apart, 4.4e-06 allowed", "device": figure(1e-9), "flops": 1e12, "bytes": 1e6}
    rows = []
    for c in made[0]["cases"][:2] + made[0]["cases"][8:10]:
        if c["status"] != "ok":
            continue
        for backend, factor in (("rapt", 1), ("ggml-cpu", 1.25), ("ggml-vulkan", 0.07)):
            ms = c["device"]["median"] * 1e3 / factor
            rows.append({"case": c["name"], "backend": backend, "peer": f"{backend} sample", "ok": True, "gflops": c["flops"] / ms * 1e-6,
                         "ms": {"median": ms, "q1": ms * 0.98, "q3": ms * 1.03, "min": ms * 0.97, "max": ms * 1.1}})
    rows.append({"case": rows[0]["case"], "backend": "ncnn", "peer": "ncnn", "ok": False, "error": "not installed"})
    verdicts = [("same", 1.01), ("slower", 1.22), ("faster", 0.8), ("same", 0.99)]
    return {
        "schema": "rapt-bench/1", "mode": "full", "command": "rapt bench full --json sample.json", "started": "2026-01-31T12:00:00Z", "seconds": 312.4,
        "interrupted": False, "rapt": {"version": "0.1.0", "build": "sample"},
        "host": {"system": "Linux", "cpu": "made-up CPU", "cpus": 2, "ram_bytes": 24 << 30, "others_share": 0.014}, "devices": made,
        "peers": {"versions": {"ggml": "0.25.1"}, "results": {"groups": [{"results": rows}]}},
        "comparison": {"baseline": "before.json", "started": "2026-01-30T12:00:00Z", "cases": [
            {"device": names[0], "case": made[0]["cases"][i]["name"], "ratio": figure(r, 0.01), "verdict": v, "why": "the intervals are apart" if v != "same" else ""}
            for i, (v, r) in enumerate(verdicts)]},
    }


def lab():
    gpus = [("radv:navi21", "AMD"), ("radv:vega10", "AMD"), ("anv:dg2", "Intel"), ("turnip:740", "Qualcomm"), ("nvk:172", "NVIDIA"), ("panvk:a867", "Arm"),
            ("hk", "Apple"), ("v3dv:42", "Broadcom")]
    rows = [(f"{family}-{dtype}-d{d}", family) for family in ("tile", "coopmat", "merge") for dtype in ("f32", "f16") for d in (64, 128, 256)]
    made = []
    for i, (row, family) in enumerate(rows):
        for j, (gpu, vendor) in enumerate(gpus):
            refused = family == "coopmat" and j in (3, 5, 7)
            made.append({"row": row, "family": family, "dtype": row.split("-")[1], "gpu": gpu, "vendor": vendor, "registers": 40 + 7 * ((i + j) % 9),
                         "occupancy": None if j == 2 else 16 - (i + 2 * j) % 12, "spills": 12 if (i * j) % 23 == 22 else 0, "scratch_bytes": 0, "cycles": 100 * i,
                         "instructions": 900 + 10 * i, "status": "refused" if refused else "ok"})
    return made
