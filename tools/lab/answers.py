"""Asking the vendors' compilers, and keeping what they answered.

An answer is what pipestats printed of one kernel on one GPU. It depends on the SPIR-V, the arguments, the GPU, the
driver's version and pipestats itself; under a hash of these it is kept, as soon as it is there. So a run that was
stopped goes on where it was when it is started again, and a changed kernel is compiled anew, alone.
"""

import contextlib
import gzip
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import threading
import time
import zlib
from dataclasses import asdict, dataclass, fields

import count_isa
import gpus

HERE = pathlib.Path(__file__).resolve().parent
FORMAT = 1  # of the kept files; another one makes all of them stale
WALL_PATIENCE = 5  # a process may take so many times its processor time: other programs want the machine too
LONGEST_STDERR = 20000  # characters that are kept
ASKED_FOR = (0, 4)  # exit statuses of pipestats that are kept: compiled, refused. Crashes and timeouts are tried again


class TimedOut(Exception):
    pass


class Stopped(Exception):
    """The run is to end; no more processes are started."""


@dataclass
class Answer:
    returncode: int
    stdout: str
    stderr: str
    seconds: float
    is_kept: bool = False  # it was read from the folder, not asked for now


class Compilers:
    """Starts pipestats on the lab's GPUs, from several threads; stop() ends what runs and lets nothing more start."""

    def __init__(self, lab, cpu_seconds):
        self.lab = lab
        self.cpu_seconds = cpu_seconds
        self._lock = threading.RLock()  # stop() may come from a signal, in the midst of stop()
        self._running = set()
        self._is_stopped = False

    def stop(self):
        with self._lock:
            self._is_stopped = True
            for process in self._running:
                process.kill()

    def run(self, gpu, arguments):
        """Raises TimedOut, Stopped. The time that counts is the processor's: a busy machine fails no kernel."""
        command = [HERE / "run-on", gpu.target, self.lab / "bin" / "pipestats", "--json", *arguments]
        limits = f'ulimit -St {self.cpu_seconds} && ulimit -Ht {self.cpu_seconds + 5} && exec "$@"'
        environment = {**os.environ, **gpus.environment(gpu), "RAPT_LAB": str(self.lab)}
        started = time.monotonic()
        with self._lock:
            if self._is_stopped:
                raise Stopped
            process = subprocess.Popen(  # all that it starts is by exec: killing it is enough
                ["bash", "-c", limits, "bash", *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                env=environment,
            )
            self._running.add(process)
        try:
            stdout, stderr = process.communicate(timeout=self.cpu_seconds * WALL_PATIENCE)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.communicate()
            raise TimedOut(f"no pipeline in {self.cpu_seconds * WALL_PATIENCE} s") from error
        finally:
            with self._lock:
                self._running.discard(process)
        if self._is_stopped:
            raise Stopped
        if process.returncode == -signal.SIGXCPU:
            raise TimedOut(f"no pipeline in {self.cpu_seconds} s of processor time")
        return Answer(process.returncode, stdout, stderr, round(time.monotonic() - started, 1))


def needed_of(stdout, isa):
    """pipestats' JSON without the internal representations that nobody reads: they are most of it."""
    output = json.loads(stdout)
    if not output["executables"]:
        raise ValueError("no executables")
    for executable in output["executables"]:
        name = count_isa.ISAS[isa][1] if isa else None
        kept = [r for r in executable.get("representations", []) if r["name"] == name]
        executable["representations"] = kept[-1:]
    return json.dumps(output)


class Keeper:
    """The folder of answers. Without a folder nothing is kept, with fresh nothing is read."""

    def __init__(self, folder, fresh=False, warn=print):
        self.folder = folder
        self.fresh = fresh
        self.warn = warn
        sources = [HERE / name for name in ("pipestats.c", "spirv_module.c", "spirv_module.h")]
        self._pipestats = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()

    def key(self, gpu, device, arguments, spirv):
        """Of one compilation: arguments are pipestats' without the file's name, spirv is the file's content."""
        what = [FORMAT, gpu.target, gpus.environment(gpu), device["name"], device["driver_info"]]
        what += [[str(word) for word in arguments], hashlib.sha256(spirv).hexdigest(), self._pipestats]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]

    def _path(self, gpu, key):
        return self.folder / gpu.target.replace(":", "-") / f"{key}.json.gz"

    def load(self, gpu, key):
        """The answer, or None where there is none that can be used."""
        if not self.folder or self.fresh:
            return None
        path = self._path(gpu, key)
        try:
            raw = json.loads(gzip.decompress(path.read_bytes()))
            answer = Answer(**{f.name: raw[f.name] for f in fields(Answer) if f.name != "is_kept"}, is_kept=True)
            if raw["key"] != key or answer.returncode not in ASKED_FOR:
                raise ValueError("an answer to another question")
            if answer.returncode == 0 and not json.loads(answer.stdout)["executables"]:
                raise ValueError("no executables")
            return answer
        except FileNotFoundError:
            return None
        except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
            self.warn(f"{path}: not usable ({error or type(error).__name__}), asked again")
            return None

    def store(self, gpu, key, answer):
        """Whole or not at all: a run that ends meanwhile leaves no half file under this name."""
        if not self.folder or answer.returncode not in ASKED_FOR:
            return
        try:
            stdout = needed_of(answer.stdout, gpu.isa) if answer.returncode == 0 else answer.stdout
        except (ValueError, KeyError, TypeError):
            return  # unreadable: a result, but none to keep
        raw = {**asdict(answer), "key": key, "stdout": stdout, "stderr": answer.stderr[-LONGEST_STDERR:]}
        path = self._path(gpu, key)
        new = path.with_name(f".{key}.{os.getpid()}.{threading.get_ident()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(gzip.compress(json.dumps(raw).encode(), mtime=0))
            os.replace(new, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink()
            self.warn(f"{path}: not kept: {error.strerror}")
