"""One simulation: warm in a process, and as a command with its memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.measure import Row, measured
from models.chip import load_chip
from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.trace import Trace

_SCRIPT = str(Path(sys.executable).with_name("chipsmith"))
_COMMAND = (_SCRIPT, "run", "--chip", "tpu_v4", "--model", "llama-2-70b", "--tp", "8", "--batch", "16",
            "--context", "2048")  # fmt: skip
_REPEATS = 5
#: A small process in between: a child's peak memory starts at that of the process that it was forked from.
_WRAPPER = """
import resource, subprocess, sys, time
begin = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
wall, usage = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
print(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
"""  # Linux counts ru_maxrss in KiB


def _traces() -> tuple[Trace, Trace]:
    return (
        build_trace("llama-2-70b", Batch.prefill([2048]), tensor_parallel=8),
        build_trace("llama-2-70b", Batch.decode(16, 2048), tensor_parallel=8),
    )


def _command() -> Row:
    """The command in fresh processes, after one that fills the kernel cache."""
    _once()
    walls, cpus, peaks = zip(*(_once() for _ in range(_REPEATS)), strict=True)
    note = f"peak memory {max(peaks) / 1e6:.0f} MB (target: below 300 MB)"
    return Row("chipsmith run, from the shell", "chipsmith", walls, 0, "", note, cpus, "below 1.5 s")


def _once() -> tuple[float, float, float]:
    """(wall seconds, CPU seconds, bytes of peak resident memory) of one run."""
    done = subprocess.run([sys.executable, "-c", _WRAPPER, *_COMMAND], check=True, capture_output=True, text=True)
    wall, cpu, peak = map(float, done.stdout.split())
    return wall, cpu, peak


def main() -> list[Row]:
    """Prefill of 2048 tokens and decode of 16 requests, Llama-2-70B on one of eight chips."""
    chip, traces = load_chip("tpu_v4"), _traces()
    return [
        measured(
            "simulate llama-2-70b, prefill and decode",
            lambda: [simulate(trace, chip) for trace in traces],
            target="below 0.05 s",
            note="prefill 2048 tokens, decode 16 x 2048, tensor parallel 8",
        ),
        measured("the same, traces built too", lambda: [simulate(trace, chip) for trace in _traces()]),
        _command(),
    ]
