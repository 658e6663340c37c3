"""How a GEMM of any shape is cut into passes (commands) of an array, and how long the passes take with stalls.

Pure Python without numpy or Numba: the benches import it inside the simulator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rtl.params import SystolicParams


@dataclass(frozen=True, slots=True)
class Pass:
    """One command: the block C[m0:m1, n0:n1] (+)= A[m0:m1, k0:k1] W[k0:k1, n0:n1].

    Attributes:
        m0, m1, k0, k1, n0, n1: half-open ranges; a range shorter than the array is padded with zeros.
        accumulate: add to the sums held from an earlier pass.
        store: send the sums out.
    """

    m0: int
    m1: int
    k0: int
    k1: int
    n0: int
    n1: int
    accumulate: bool
    store: bool

    def beats(self, params: SystolicParams) -> int:
        """Beats that stream: WS activation rows, OS steps of the inner dimension."""
        return self.m1 - self.m0 if params.dataflow == "ws" else self.k1 - self.k0


def _ranges(total: int, step: int) -> Iterator[tuple[int, int]]:
    for start in range(0, total, step):
        yield start, min(total, start + step)


def gemm_passes(params: SystolicParams, m: int, k: int, n: int) -> tuple[Pass, ...]:
    """Passes of C[m x n] = A[m x k] W[k x n], in order; the inner dimension is innermost.

    WS folds k by rows and n by columns and cuts m by the accumulator buffer; OS folds m by rows and n by columns and
    cuts k by the longest pass.
    """
    weights_stay = params.dataflow == "ws"
    m_step, k_step = (params.max_beats, params.rows) if weights_stay else (params.rows, params.max_beats)
    return tuple(
        Pass(m0, m1, k0, k1, n0, n1, accumulate=k0 > 0, store=k1 == k)
        for m0, m1 in _ranges(m, m_step)
        for n0, n1 in _ranges(n, params.cols)
        for k0, k1 in _ranges(k, k_step)
    )


@dataclass(slots=True)
class Stalls:
    """Enabled cycles in which one pass waited for an operand.

    Attributes:
        load: cycles in which a weight beat was wanted and missing (WS).
        stream: cycles in which a streaming beat was wanted and missing.
    """

    load: int = 0
    stream: int = 0


def _weight_stationary_cycles(params: SystolicParams, beats: Sequence[int], stalls: Sequence[Stalls]) -> int:
    load_start = stream_end = 0
    for length, stall in zip(beats, stalls, strict=True):
        load_end = load_start + params.rows + stall.load
        stream_start = max(load_end, stream_end)
        stream_end = stream_start + length + stall.stream
        load_start = stream_start if params.double_buffer else stream_end + params.tail_cycles
    return stream_end + params.tail_cycles


def _output_stationary_cycles(
    params: SystolicParams, passes: Sequence[Pass], beats: Sequence[int], stalls: Sequence[Stalls]
) -> int:
    streaming = sum(beats) + sum(stall.stream for stall in stalls)
    return streaming + params.tail_cycles * sum(one.store for one in passes)


def stalled_cycles(params: SystolicParams, passes: Sequence[Pass], stalls: Sequence[Stalls], blocked: int) -> int:
    """Cycles of ``passes``, from the first wanted beat to the last accepted result, with counted stalls.

    With every count 0 this is what ``sim.array.run_cycles`` says (a test). Where nothing overlaps each counted cycle
    adds one; with double-buffered weights a starved load costs only what streaming does not hide.

    Args:
        params: the array.
        passes: its commands, issued without a gap; the last one stores.
        stalls: one entry a pass, in enabled cycles.
        blocked: cycles with the clock enable low.
    """
    if not passes:
        return 0
    beats = [one.beats(params) for one in passes]
    if params.dataflow == "ws":
        return blocked + _weight_stationary_cycles(params, beats, stalls)
    return blocked + _output_stationary_cycles(params, passes, beats, stalls)
