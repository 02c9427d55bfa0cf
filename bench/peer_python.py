#!/usr/bin/env python3
"""Libraries from PyPI as peers: one of them in a process of its own, told what to do on standard input.

Started by peer_python.c. Answers are lines, "ok ..." or "error ...", on what was standard output; whatever the library prints
goes to standard error. Commands:

    prepare JOB BATCH Q_HEADS KV_HEADS HEAD_DIM NQ NK f32|f16 CAUSAL    then the bytes of q, k and v, float32
    run JOB
    read JOB                                                           "ok", then the bytes of the output, float32
    release JOB
"""
import os
import signal
import sys
from importlib.metadata import version


class Refused(Exception):
    pass


class Ncnn:
    """The SDPA layer of ncnn. Its Python API keeps no tensor on the device: a run uploads the inputs and fetches the output."""

    def __init__(self, device, gpu):
        import ncnn

        self.ncnn, self.gpu, self.index = ncnn, gpu, 0
        where = f"{os.cpu_count()} threads"
        if gpu:
            names = [ncnn.get_gpu_info(i).device_name() for i in range(ncnn.get_gpu_count())]
            found = [i for i, name in enumerate(names) if (device or "") in name]
            if not found:
                raise Refused(f"no Vulkan device named so; there are: {', '.join(names) or 'none'}")
            self.index = found[0]
            where = names[self.index]
        self.text = f"ncnn {version('ncnn')} on {where}"

    def prepare(self, shape, half, causal, q, k, v):
        import tempfile

        import numpy

        ncnn, (batch, q_heads, kv_heads, head_dim, nq, nk) = self.ncnn, shape
        if q_heads % kv_heads:
            raise Refused("q_heads must be a multiple of kv_heads")
        net = ncnn.Net()
        option = net.opt
        option.use_vulkan_compute = self.gpu
        option.num_threads = os.cpu_count()
        for name in dir(option):  # sums in float32, storage as the case has it
            if name.startswith("use_") and any(part in name for part in ("fp16", "bf16", "int8")):
                setattr(option, name, half and name in ("use_fp16_packed", "use_fp16_storage"))
        if self.gpu:
            net.set_vulkan_device(self.index)
        inputs = ["q", "k", "v"] + ["mask"] * causal
        lines = [f"Input {name} 0 1 {name}" for name in inputs]
        lines.append(f"SDPA sdpa {len(inputs)} 1 {' '.join(inputs)} out 5={int(causal)} 6={head_dim**-0.5:.9g}")
        with tempfile.TemporaryDirectory() as folder:
            param, model = os.path.join(folder, "sdpa.param"), os.path.join(folder, "sdpa.bin")
            with open(param, "w", encoding="ascii") as file:
                file.write(f"7767517\n{len(lines)} {len(lines)}\n" + "\n".join(lines) + "\n")
            open(model, "wb").close()
            if net.load_param(param) or net.load_model(model):
                raise Refused("the SDPA layer could not be loaded")
        # Batch entries are as good as heads: the ratio of query heads to kv heads is the same.
        arrays = [q.reshape(batch * q_heads, nq, head_dim), k.reshape(batch * kv_heads, nk, head_dim), v.reshape(batch * kv_heads, nk, head_dim)]
        if causal:
            unseen = numpy.arange(nk)[None, :] > numpy.arange(nq)[:, None] + (nk - nq)
            arrays.append(numpy.where(unseen, numpy.float32(-1e30), numpy.float32(0))[None])
        # A Mat made from an array refers to its memory, so that the arrays are kept as well.
        return {"net": net, "arrays": arrays, "inputs": [(name, ncnn.Mat(array)) for name, array in zip(inputs, arrays)]}

    def run(self, job):
        extractor = job["net"].create_extractor()
        for name, mat in job["inputs"]:
            extractor.input(name, mat)
        code, job["out"] = extractor.extract("out")
        if code:
            raise Refused(f"extract() gives {code}")

    def read(self, job):
        import numpy

        return numpy.array(job["out"])


class Aule:
    """aule-attention's own tensors on the device, and its kernel of choice."""

    def __init__(self, device):
        from aule.vulkan import Aule as Library

        self.library = Library()
        info = self.library.get_device_info()
        if (device or "") not in info["device_name"]:
            raise Refused(f"it takes a device of its own choice: {info['device_name']}")
        self.text = f"aule-attention {version('aule-attention')} on {info['device_name']}, {self.library.shader_variant_name}"

    def prepare(self, shape, half, causal, q, k, v):
        batch, q_heads, kv_heads, head_dim, nq, nk = shape
        if half:
            raise Refused("float32 only")
        if head_dim > 64:
            raise Refused("head_dim up to 64 only")
        if causal and nq != nk:
            raise Refused("causal as many queries as keys only")
        sizes = [(batch, q_heads, nq), (batch, kv_heads, nk), (batch, kv_heads, nk), (batch, q_heads, nq)]
        tensors = [self.library.tensor((*size, head_dim)) for size in sizes]
        for tensor, array in zip(tensors, (q, k, v)):
            tensor.upload(array)
        return {"tensors": tensors, "causal": causal}

    def run(self, job):
        self.library.attention_gpu(*job["tensors"], causal=job["causal"])

    def read(self, job):
        return job["tensors"][3].download()


KINDS = {"ncnn-vulkan": lambda device: Ncnn(device, True), "ncnn-cpu": lambda device: Ncnn(device, False), "aule": Aule}


def serve(peer, jobs, words, source, answer):
    import numpy

    if words[0] == "prepare":
        shape = [int(word) for word in words[2:8]]
        batch, q_heads, kv_heads, head_dim, nq, nk = shape
        counts = [batch * q_heads * nq * head_dim] + [batch * kv_heads * nk * head_dim] * 2
        q, k, v = (numpy.frombuffer(source.read(4 * count), numpy.float32).copy() for count in counts)
        jobs[words[1]] = peer.prepare(shape, words[8] == "f16", words[9] == "1", q, k, v)
        answer(b"ok\n")
    elif words[0] == "run":
        peer.run(jobs[words[1]])
        answer(b"ok\n")
    elif words[0] == "read":
        data = numpy.ascontiguousarray(peer.read(jobs[words[1]]), numpy.float32).tobytes()
        answer(f"ok {len(data)}\n".encode() + data)
    elif words[0] == "release":
        jobs.pop(words[1], None)
        answer(b"ok\n")


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started this: the end of its input ends it
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def answer(data):
        answers.write(data)
        answers.flush()

    def refuse(error):
        text = " ".join(str(error).split()) or type(error).__name__
        answer(f"error {text[:300]}\n".encode())

    try:
        peer = KINDS[sys.argv[1]](sys.argv[2] if len(sys.argv) > 2 else None)
    except Exception as error:  # whatever a library does when it does not like this machine
        refuse(error)
        return 1
    answer(f"ok {peer.text}\n".encode())
    jobs = {}
    while words := sys.stdin.buffer.readline().decode().split():
        try:
            serve(peer, jobs, words, sys.stdin.buffer, answer)
        except Exception as error:
            refuse(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
