"""A decode step at fidelity ``command``: every memory access priced by the DRAM channel model."""

from __future__ import annotations

from benchmarks.measure import Row, measured, timed_both
from models.chip import load_chip
from sim.memory.mixes import idle_latency_s, rate_of_peak
from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace

_CHIP = "tpu_v4"
_STEP = "llama-2-7b decode step, 16 x 1,024"
_TARGET = "below 1 s"


def main() -> list[Row]:
    """One decode step of Llama-2-7B for 16 requests: the first of a process, with nothing kept, and with rates kept."""
    chip, trace = load_chip(_CHIP), build_trace("llama-2-7b", Batch.decode(16, 1024))

    def step() -> object:
        return simulate(trace, chip, fidelity="command")

    def anew() -> None:
        rate_of_peak.cache_clear()
        idle_latency_s.cache_clear()
        step()

    wall, cpu = timed_both(step, repeats=1, warm_ups=0)
    note = "compiled kernels are read from disk"
    first = Row(f"{_STEP}, command, first of a process", "chipsmith", wall, note=note, cpu_samples_s=cpu)
    fresh = measured(f"{_STEP}, command, every mix simulated", anew, target=_TARGET)
    kept = measured(f"{_STEP}, command, rates kept", step, target=_TARGET)
    mixes = f"{rate_of_peak.cache_info().currsize} mixes of streams on {_CHIP}"
    tile = measured(f"{_STEP}, tile", lambda: simulate(trace, chip), note=mixes)
    return [first, fresh, kept, tile]


if __name__ == "__main__":
    for row in main():
        print(f"{row.what}: median {row.median_s * 1e3:.1f} ms; {row.note}".rstrip("; "))
