"""A decode step of 512 ragged requests on the NeuPIMs systems, warm (alone: ``python -m benchmarks.bench_neupims``)."""

from __future__ import annotations

from benchmarks.measure import Row, measured
from chipsmith.output import table
from models.chip import load_chip
from sim.simulate import simulate
from workloads.chat_lengths import contexts
from workloads.decoder_layers import LayerShape, decode_layers
from workloads.trace import Trace

_CHIPS = ("neupims", "neupims_single_buffer", "npu_only", "neupims_artifact")
_REQUESTS = 512
_TARGET_S = 0.1
_SHAPE = LayerShape(4096, 32, 4, 2)


def _step() -> Trace:
    return decode_layers("GPT3-7B, 2 layers", _SHAPE, contexts("sharegpt", _REQUESTS))


def _row(name: str, trace: Trace, note: str) -> Row:
    chip, what = load_chip(name), f"decode step of {_REQUESTS} requests on {name}"
    return measured(what, lambda: simulate(trace, chip), note=note, target=f"below {_TARGET_S} s", repeats=7)


def main() -> list[Row]:
    """A row a system: simulate a step of two layers of GPT3-7B (tensor parallel 4) whose trace is there."""
    trace = _step()
    note = "GPT3-7B, tensor parallel 4, lengths like ShareGPT's; NeuPIMs' own simulator takes 105 to 348 CPU seconds"
    rows = [_row(name, trace, note) for name in _CHIPS]
    return [*rows, measured("the same trace built", _step)]


if __name__ == "__main__":
    print(table([{"what": r.what, "median_s": r.median_s, "cpu_s": r.cpu_s, "target": r.target} for r in main()]))
