"""``chipsmith warm``: compile all kernels into the cache."""

from __future__ import annotations

import argparse
import time

from chipsmith.output import emit

NAME = "warm"
ORDER = 95
HELP = "compile the kernels into the cache, so that the next run starts fast"
EXAMPLE = "chipsmith warm"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``warm`` has no arguments of its own."""


def run(args: argparse.Namespace) -> int:
    """Run one small case through the scalar and the batch path, each DRAM controller, and a PIM channel."""
    from models.chip import ChipTable, load_chip
    from sim.batch import evaluate
    from sim.memory.channel import simulate_stream
    from sim.memory.streams import named_stream
    from sim.pim.operators import gemv
    from sim.simulate import simulate
    from workloads.batch import Batch
    from workloads.build import build_trace

    began = time.perf_counter()
    trace = build_trace("llama-2-7b", Batch.decode(1, 16))
    chip = load_chip("tpu_v4")
    simulate(trace, chip)
    evaluate(ChipTable(chip, {"engines.npu.rows": [64, 128]}), trace)
    for policy in ("fr_fcfs", "dramsim3"):  # one kernel for a queue of reads and one of writes, one for queues by bank
        simulate_stream("HBM2-2000", named_stream("random", requests=100), policy)
    gemv("aim", 64, 64)
    seconds = time.perf_counter() - began
    emit({"seconds": seconds}, f"kernels ready after {seconds:.1f} s", args)
    return 0
