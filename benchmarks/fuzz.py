"""Feed mutated files to every reader: ``python -m benchmarks.fuzz [--n 10000] [--seed 0] [TARGET...]``.

Whatever is in a file, the outcome must be a result or a ``ChipsmithError``: never another exception, never a process
that dies, hangs or needs more than 1 GB. Inputs are real files of ours, mutated in bytes and in tokens. A target runs
in a process of its own, so that a crash is seen; input i of seed s is always the same.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from chipsmith.output import add_format_argument, emit, progress, table
from workloads.errors import ChipsmithError, nearest

_ROOT = Path(__file__).resolve().parent.parent
_HANGS_S = 60.0
MEMORY_LIMIT_MB = 1000
_WORST_KEPT = 5
_TOKENS = (
    b"0", b"-1", b"1e308", b"NaN", b"Infinity", b"null", b"true", b"''", b"[]", b"{}", b"9" * 25, b"1.5", b"\x00",
    b"\xff\xfe", b": ", b"- ", b"\t", b"!!python/object:os.system", b"&a [*a]", b"*a", b"\n\n", b",", b'"', b"{" * 400,
    b"[" * 2000, b"9223372036854775807", b"4294967296", b"-0", b"1_000", b"0x10", b"#", b"\xc3\xa9", b"<<: ",
    b"9" * 5000, b"2024-02-31", b"2:4", b"1e15",
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A reader with files to start from.

    Attributes:
        suffix: of the file that is written. seeds: whole, legal contents. read: reads a path, returns anything.
    """

    suffix: str
    seeds: tuple[bytes, ...]
    read: Callable[[Path], object]


@dataclass(frozen=True)
class Outcome:
    """What mutated inputs of one target came to.

    Attributes:
        target: its name. inputs: how many were fed. results: legal after all. refused: with a ChipsmithError.
        failed: texts of what must not be (at most ``_WORST_KEPT``). peak_mb: memory of the process.
    """

    target: str
    inputs: int
    results: int
    refused: int
    failed: tuple[str, ...]
    peak_mb: float


# ---------------------------------------------------------------- targets


def _chip(path: Path) -> object:
    from models.chip import load_chip

    return load_chip(path)


def _simulated(path: Path) -> object:
    from models.chip import load_chip
    from sim.simulate import simulate

    return simulate(_small_trace(), load_chip(path)).latency_s


def _mapping(path: Path) -> object:
    from sim.simulate import simulate

    return simulate(_small_trace(), "tpu_v4", path).latency_s


def _space(path: Path) -> object:
    from dse.space import Space

    return Space.from_yaml(path).size


def _config(path: Path) -> object:
    from workloads.batch import Batch
    from workloads.build import build_trace
    from workloads.configs import load_config

    return build_trace(load_config(path), Batch.decode(2, 64)).check().macs


def _requests(path: Path) -> object:
    from workloads.request_stats import request_stats
    from workloads.requests import read_requests

    return request_stats(read_requests(path)).to_dict()


def _trace(path: Path) -> object:
    from workloads.trace_io import read_trace

    trace = read_trace(path)
    changed = trace.with_quantization(weights="int4", kv="int8").with_sparsity("2:4").with_speculation(2, 0.5)
    return trace.macs, trace.resident_bytes, trace.steps_per_token, changed.check().resident_bytes


def _onnx(path: Path) -> object:
    from workloads.onnx_import import read_onnx

    return read_onnx(path, dims={"batch": 2}).check().macs


def _records(path: Path) -> object:
    from chipsmith.records import read_records

    return len(read_records([path]))


def _quality(path: Path) -> object:
    from dse.quality import load_quality

    return load_quality(path)


def _study(path: Path) -> object:
    from dse.stored import open_study

    with open_study(path) as study:
        return len(study)


def _small_trace() -> Any:
    from workloads.batch import Batch
    from workloads.build import build_trace

    return build_trace("gpt2", Batch.decode(2, 64))


def _files(pattern: str) -> tuple[bytes, ...]:
    found = tuple(path.read_bytes() for path in sorted(_ROOT.glob(pattern)))
    if not found:
        raise ChipsmithError("fuzz", pattern, "no such files in the repository")
    return found


def _first_lines(pattern: str, lines: int) -> tuple[bytes, ...]:
    return tuple(b"\n".join(content.splitlines()[:lines]) + b"\n" for content in _files(pattern))


def _written(suffix: str) -> tuple[bytes, ...]:
    """A small trace as a file."""
    from workloads.trace_io import write_trace

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"t{suffix}"
        write_trace(_small_trace(), path)
        return (path.read_bytes(),)


def _mapping_seed() -> tuple[bytes, ...]:
    from sim.simulate import simulate

    return (simulate(_small_trace(), "tpu_v4").mapping.to_yaml().encode(),)


def _onnx_seed() -> tuple[bytes, ...]:
    """Two layers with an activation between them, with a symbolic batch."""
    from onnx import TensorProto, helper

    def weight(name: str, shape: tuple[int, int]) -> Any:
        return helper.make_tensor(name, TensorProto.FLOAT, shape, np.ones(shape, np.float32).tobytes(), raw=True)

    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2"], ["y"], transB=1),
        helper.make_node("Softmax", ["y"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 4])],
        [weight("w1", (8, 16)), weight("w2", (4, 16))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return (model.SerializeToString(),)


def _study_seed() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        text = "explore npu --model gpt2 --budget 40 --population 20 --study s.db --format json"
        command = [sys.executable, "-m", "chipsmith", *text.split()]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return ((Path(folder) / "s.db").read_bytes(),)


_TARGETS: dict[str, Callable[[], Target]] = {
    "chip.yaml": lambda: Target(".yaml", _files("models/presets/*.yaml"), _chip),
    "simulated.yaml": lambda: Target(".yaml", _files("models/presets/*.yaml"), _simulated),
    "mapping.yaml": lambda: Target(".yaml", _mapping_seed(), _mapping),
    "space.yaml": lambda: Target(".yaml", _files("dse/spaces/*.yaml"), _space),
    "config.json": lambda: Target(".json", _files("workloads/data/configs/*.json"), _config),
    "requests.csv": lambda: Target(".csv", _first_lines("workloads/data/requests/*.csv", 40), _requests),
    "requests.jsonl": lambda: Target(
        ".jsonl", (b'{"timestamp": 0, "input_length": 900, "output_length": 9, "hash_ids": [1, 2]}\n' * 9,), _requests
    ),
    "trace.jsonl": lambda: Target(".jsonl", _written(".jsonl"), _trace),
    "trace.parquet": lambda: Target(".parquet", _written(".parquet"), _trace),
    "trace.et": lambda: Target(".et", _written(".et"), _trace),
    "model.onnx": lambda: Target(".onnx", _onnx_seed(), _onnx),
    "records.jsonl": lambda: Target(".jsonl", _first_lines("tests/reference/*.jsonl", 3), _records),
    "quality.csv": lambda: Target(".csv", _files("dse/quality_tables/*.csv"), _quality),
    "study.db": lambda: Target(".db", _study_seed(), _study),
}


def names() -> tuple[str, ...]:
    """Names of all targets."""
    return tuple(_TARGETS)


# ---------------------------------------------------------------- mutations


def mutated(seeds: Sequence[bytes], generator: np.random.Generator) -> bytes:
    """One of the seeds after one to three mutations."""
    data = seeds[int(generator.integers(len(seeds)))]
    for _ in range(generator.integers(1, 4)):
        data = _MUTATIONS[int(generator.integers(len(_MUTATIONS)))](data, generator)
    return data


def _place(data: bytes, generator: np.random.Generator) -> int:
    return int(generator.integers(len(data) + 1))


def _flip(data: bytes, generator: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for place in generator.integers(0, max(1, len(data)), 3):
        if changed:
            changed[place] ^= 1 << int(generator.integers(8))
    return bytes(changed)


def _cut(data: bytes, generator: np.random.Generator) -> bytes:
    first, last = sorted((_place(data, generator), _place(data, generator)))
    return data[:first] + data[min(last, first + 200) :]


def _truncate(data: bytes, generator: np.random.Generator) -> bytes:
    return data[: _place(data, generator)]


def _insert(data: bytes, generator: np.random.Generator) -> bytes:
    place = _place(data, generator)
    return data[:place] + _TOKENS[int(generator.integers(len(_TOKENS)))] + data[place:]


def _repeat(data: bytes, generator: np.random.Generator) -> bytes:
    first = _place(data, generator)
    return data[:first] + data[first : first + 60] * int(generator.integers(2, 20)) + data[first:]


def _replace_value(data: bytes, generator: np.random.Generator) -> bytes:
    """The rest of a word (a number, a name) becomes another token."""
    starts = [i for i in range(1, len(data)) if data[i - 1 : i] in (b" ", b",", b":", b"[") and data[i : i + 1] != b" "]
    if not starts:
        return _insert(data, generator)
    first = starts[int(generator.integers(len(starts)))]
    last = first
    while last < len(data) and data[last : last + 1] not in (b" ", b",", b"\n", b"]", b"}"):
        last += 1
    return data[:first] + _TOKENS[int(generator.integers(len(_TOKENS)))] + data[last:]


def _drop_line(data: bytes, generator: np.random.Generator) -> bytes:
    lines = data.splitlines(keepends=True)
    if lines:
        del lines[int(generator.integers(len(lines)))]
    return b"".join(lines)


def _swap_lines(data: bytes, generator: np.random.Generator) -> bytes:
    lines = data.splitlines(keepends=True)
    if len(lines) > 1:
        one, other = generator.integers(0, len(lines), 2)
        lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


_Mutation = Callable[[bytes, np.random.Generator], bytes]
_MUTATIONS: tuple[_Mutation, ...] = (
    _flip,
    _cut,
    _truncate,
    _insert,
    _repeat,
    _replace_value,
    _replace_value,
    _drop_line,
    _swap_lines,
)


# ---------------------------------------------------------------- running


def feed(target: Target, n: int, seed: int, folder: Path) -> tuple[int, int, list[str]]:
    """Feed ``n`` inputs; returns results, refusals, and texts of all other exceptions."""
    results = refused = 0
    failed: list[str] = []
    for index in range(n):
        path = folder / f"input{target.suffix}"
        path.write_bytes(mutated(target.seeds, np.random.default_rng((seed, index))))
        faulthandler.dump_traceback_later(_HANGS_S, exit=True)
        try:
            target.read(path)
            results += 1
        except ChipsmithError:
            refused += 1
        except Exception as error:  # any other is a defect, which is what is looked for
            where = traceback.extract_tb(error.__traceback__)[-1]
            failed.append(
                f"input {index}: {type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
            )
        faulthandler.cancel_dump_traceback_later()
    return results, refused, failed


def _worker(name: str, n: int, seed: int) -> int:
    """Body of a target's own process: prints its counts."""
    import warnings

    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        target = _TARGETS[name]()
        whole = Path(folder) / f"whole{target.suffix}"
        whole.write_bytes(target.seeds[0])
        target.read(whole)  # kernels are compiled before the watch for hanging processes begins
        results, refused, failed = feed(target, n, seed, Path(folder))
    print(json.dumps([results, refused, failed, _peak_mb()]))
    return 0


def _peak_mb() -> float:
    """Peak memory of this program. ``ru_maxrss`` would hold that of a larger parent process too, so Linux is asked."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_target(name: str, n: int, seed: int) -> Outcome:
    """Feed one target in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.fuzz", name, "--n", str(n), "--seed", str(seed), "--worker"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        tail = " | ".join(done.stderr.strip().splitlines()[-12:])
        return Outcome(name, n, 0, 0, (f"the process ended with {done.returncode}: {tail}",), 0.0)
    results, refused, failed, peak_mb = json.loads(done.stdout.splitlines()[-1])
    if peak_mb > MEMORY_LIMIT_MB:
        failed.append(f"{peak_mb:.0f} MB of memory, more than {MEMORY_LIMIT_MB}")
    return Outcome(name, n, results, refused, tuple(failed[:_WORST_KEPT]), peak_mb)


def main(argv: Sequence[str]) -> int:
    """Feed the named targets, or all; exit code 1 where anything failed."""
    parser = argparse.ArgumentParser(prog="benchmarks.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"one of {', '.join(names())} (default: all)")
    parser.add_argument("--n", type=int, default=10_000, help="inputs in all (default 10000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    add_format_argument(parser)
    args = parser.parse_args(argv)
    for name in args.targets:
        if name not in _TARGETS:
            raise ChipsmithError("fuzz", name, nearest(name, names()))
    if args.worker:
        return _worker(args.targets[0], args.n, args.seed)
    chosen = args.targets or names()
    begin = time.perf_counter()
    outcomes = list(map(partial(_told, n=-(-args.n // len(chosen)), seed=args.seed), chosen))
    rows = [{**vars(o), "failed": len(o.failed)} for o in outcomes]
    failures = [f"{o.target}: {text}" for o in outcomes for text in o.failed]
    seconds = time.perf_counter() - begin
    text = [table(rows), *failures, f"{sum(o.inputs for o in outcomes):,} inputs in {seconds:.0f} s"]
    emit({"targets": outcomes, "seconds": seconds}, lambda: "\n".join(text), args)
    return 1 if failures else 0


def _told(name: str, n: int, seed: int) -> Outcome:
    progress(f"{n} inputs for {name}")
    return run_target(name, n, seed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
