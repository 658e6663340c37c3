"""Capturing models from their code: seconds and memory, beside PyTorch's own counter of operations.

``python -m benchmarks.bench_capture`` prints how far captured and built traces agree, operator kind by operator kind;
``--record FOLDER`` writes the recordings that the tests read.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.measure import Row
from chipsmith.output import progress, table
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.configs import ModelConfig, load_config
from workloads.diff import Line, diff

MODELS = ("llama-2-7b", "llama-3-70b", "qwen2-7b", "mixtral-8x7b", "deepseek-v3", "mamba2-2.7b", "llama-3.1-405b")
#: Layers of the models whose recordings the tests keep: as few as hold every kind of layer and a repetition.
RECORDED = {
    "llama-2-7b": 2,
    "llama-3-70b": 2,
    "qwen2-7b": 2,
    "mixtral-8x7b": 2,
    "deepseek-v3": 4,
    "mamba2-2.7b": 2,
    "gpt-oss-20b": 4,
    "gemma-2-2b": 4,
    "falcon-h1-0.5b": 2,
}
AGREEMENT = {"deepseek-v3": 4}
BATCHES = (Batch.prefill([512] * 2), Batch.decode(8, 1024))
_MEASURES = ("macs", "weight_bytes", "kv_bytes")
_REPEATS = 3

#: Runs in a process of its own, so that peak memory is that of one model.
_CHILD = """
import json, resource, sys, time
name, what, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3])
begin = time.perf_counter()
from benchmarks.bench_capture import subject
run = subject(name, what)
imported = time.perf_counter() - begin
samples, cpu = [], []
for _ in range(repeats):
    start, used = time.perf_counter(), time.process_time()
    found = run()
    samples.append(time.perf_counter() - start)
    cpu.append(time.process_time() - used)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([imported, samples, cpu, peak, found]))
"""  # Linux counts ru_maxrss in KiB


def available() -> bool:
    """Whether torch and transformers are installed."""
    return all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def subject(name: str, what: str):  # type: ignore[no-untyped-def]  # a closure over either library's own types
    """The piece of work that is timed; libraries are imported before it runs."""
    return _capture(name) if what == "chipsmith" else _count(name)


def _capture(name: str):  # type: ignore[no-untyped-def]  # as above
    from workloads.capture import huggingface
    from workloads.capture.trace import capture_model

    huggingface.record_model(load_config("opt-125m").with_fields(num_hidden_layers=1), Batch.prefill([1]))

    def run() -> list[float]:
        trace = capture_model(name, BATCHES[0])
        return [sum(trace.blocks[op.block].count for op in trace.ops), 2 * trace.macs]

    return run


def _count(name: str):  # type: ignore[no-untyped-def]  # as above
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

    from workloads.capture.huggingface import thawed

    config = load_config(name)
    factory = AutoModelForCausalLM  # its methods have no types

    def run() -> list[float]:
        built = AutoConfig.for_model(config.model_type, **thawed(config))
        with torch.device("meta"):
            model = factory.from_config(built, dtype=torch.bfloat16).eval()  # type: ignore[no-untyped-call]  # no types
        tokens = torch.empty((2, 512), dtype=torch.long, device="meta")
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            model(input_ids=tokens, past_key_values=DynamicCache(config=built), logits_to_keep=1)
        return [0, counter.get_total_flops()]

    return run


def _row(name: str, who: str, what: str) -> Row:
    command = [sys.executable, "-c", _CHILD, name, what, str(_REPEATS)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    imported, samples, cpu, peak, (operators, flops) = json.loads(done.stdout.splitlines()[-1])
    memory = f"peak {peak / 1e6:.0f} MB, import {imported:.1f} s before"
    note = (
        f"{operators:,} operators, {memory}"
        if operators
        else f"no bytes, no operators, attention without its mask, grouped products missed; {memory}"
    )
    target = "below 2 s, 1 GB" if what == "chipsmith" and "7b" in name else ""
    return Row(f"capture {name}, prefill 2 x 512", who, tuple(samples), 0, "", f"{flops / 1e12:.2f} TFLOP; {note}",
               tuple(cpu), target)  # fmt: skip


def main() -> list[Row]:
    """Each model whole, with all of its layers, in a process of its own."""
    if not available():
        progress("benchmark capture needs torch and transformers: left out")
        return []
    rows = [_row(name, "chipsmith", "chipsmith") for name in MODELS]
    rows += [_row(name, "torch FlopCounterMode", "torch") for name in ("llama-2-7b", "mixtral-8x7b")]
    return sorted(rows, key=lambda row: MODELS.index(row.what.split()[1].rstrip(",")))


# ---------------------------------------------------------------- agreement


def shortened(name: str, layers: int | None) -> ModelConfig:
    """A shipped configuration with fewer layers, all of its kinds kept."""
    config = load_config(name)
    if layers is None:
        return config
    kinds = config.get("layer_types")
    fields: dict[str, object] = {"num_hidden_layers": layers}
    if isinstance(kinds, tuple):
        fields["layer_types"] = list(kinds[:layers])
    return config.with_fields(**fields)


def agreement(names: Sequence[str]) -> Iterator[dict[str, object]]:
    """One line a model, phase and kind: built amounts, and how far captured ones are off in percent."""
    from workloads.capture.trace import capture_model

    for name in names:
        config = shortened(name, AGREEMENT.get(name))
        for batch in BATCHES:
            found = diff(build_trace(config, batch), capture_model(config, batch))
            for line in (*found.lines, found.total):
                yield {"model": name, "phase": batch.phase, "kind": line.name, **_amounts(line)}


def _amounts(line: Line) -> dict[str, object]:
    titles = {"macs": "GMAC", "weight_bytes": "weight MB", "kv_bytes": "KV MB"}
    amounts: dict[str, object] = {}
    for measure in _MEASURES:
        amounts[titles[measure]] = line.left[measure] / (1e9 if measure == "macs" else 1e6)
        amounts[f"{titles[measure]} %"] = line.percent(measure)
    return amounts


def write_recordings(folder: Path) -> None:
    """Record the models that the tests read without torch."""
    from workloads.capture.huggingface import record_model
    from workloads.capture.recording import write_recording

    folder.mkdir(parents=True, exist_ok=True)
    for name, layers in RECORDED.items():
        for batch in BATCHES:
            recording = record_model(shortened(name, layers), batch)
            write_recording(recording, folder / f"{name}.{batch.phase}.json.gz")
            progress(f"{name} {batch.phase}: {len(recording.calls)} calls")


def _main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.bench_capture", description="agreement of captured traces")
    parser.add_argument("names", nargs="*", metavar="MODEL", help="default: the models of the benchmark")
    parser.add_argument("--record", metavar="FOLDER", help="write the recordings of the tests instead")
    args = parser.parse_args(argv)
    if not available():
        parser.error("torch and transformers are not installed")
    if args.record:
        write_recordings(Path(args.record))
    else:
        print(table(list(agreement(args.names or MODELS[:6]))))
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
