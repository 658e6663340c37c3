"""Generates a systolic engine: weight-stationary or output-stationary, integer operands.

Timing (no stalls; R rows, C columns, p = ``mac_pipe``; GEMM C[m x n] = A[m x k] W[k x n]):

* OS: every (R x C) block of C costs k + (R + C - 2) + p + R cycles; the R cycles shift the sums out.
* WS: every (R x C) block of W costs R + m + (R + C - 2) + p + 2 cycles: load, stream, skew, accumulate, output
  register. With double-buffered weights blocks start max(m, R) cycles apart and skew and drain are paid once.

The closed forms are not repeated in code: :func:`gemm_cycles` only passes these settings to ``sim.array``.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from rtl.coverage import required_bins
from rtl.design import Bench, Design, IntArray, Port
from rtl.params import SystolicParams
from rtl.plan import PLAN
from rtl.render import render_bench, render_sources
from rtl.stimulus import gemm_document
from workloads.errors import ChipsmithError

_HOP = 1
_MIN_ISSUE = 1


def wrap(values: IntArray, bits: int) -> IntArray:
    """Two's complement wrap of int64 values to ``bits``."""
    half = np.int64(1) << np.int64(bits - 1)
    mask = (np.int64(1) << np.int64(bits)) - np.int64(1) if bits < 63 else np.int64(2**63 - 1)
    wrapped: IntArray = ((values + half) & mask) - half
    return wrapped


def reference_gemm(params: SystolicParams, a: IntArray, w: IntArray) -> IntArray:
    """What the array computes: A[m x k] W[k x n], int64, wrapped to ``acc_bits``.

    Raises:
        ChipsmithError: for operands outside their width, or shapes that do not meet.
    """
    if a.ndim != 2 or w.ndim != 2 or a.shape[1] != w.shape[0]:
        raise ChipsmithError("reference.shapes", (a.shape, w.shape), "A is m x k and W is k x n")
    _check_operand("A", a, params.a_bits)
    _check_operand("W", w, params.w_bits)
    product: IntArray = a.astype(np.int64) @ w.astype(np.int64)
    return wrap(product, params.acc_bits)


def _check_operand(name: str, values: IntArray, bits: int) -> None:
    limit = 2 ** (bits - 1)
    if values.size and (values.min() < -limit or values.max() >= limit):
        worst = int(values.min() if values.min() < -limit else values.max())
        raise ChipsmithError(f"reference.{name}", worst, f"from {-limit} to {limit - 1}")


def _folds(total: int, step: int) -> int:
    return -(-total // step)


def _output_stationary(params: SystolicParams, m: int, k: int, n: int) -> int:
    from sim.array import run_cycles

    passes = _folds(m, params.rows) * _folds(n, params.cols)
    rows, cols = params.rows, params.cols
    return int(run_cycles(passes, 0, 0, k, rows, cols, _HOP, params.mac_pipe, params.drain_cycles, False, _MIN_ISSUE))


def _weight_stationary(params: SystolicParams, m: int, passes: int, first_preload: int) -> int:
    from sim.array import run_cycles

    rows, cols, pipe, drain = params.rows, params.cols, params.mac_pipe, params.drain_cycles
    return int(
        run_cycles(passes, first_preload, rows, m, rows, cols, _HOP, pipe, drain, params.double_buffer, _MIN_ISSUE)
    )


def _overlapped_chunks(params: SystolicParams, full: int, rest: int, passes: int) -> int:
    """Full row chunks, then one shorter chunk whose first pass starts an issue interval after the last full one."""
    from sim.array import issue_interval, pass_cycles

    rows, cols, depth = params.rows, params.cols, params.max_beats
    before = _weight_stationary(params, depth, full * passes, rows)
    tail = pass_cycles(0, depth, rows, cols, _HOP, params.mac_pipe, params.drain_cycles)
    after = _weight_stationary(params, rest, passes, 0)
    return before - int(tail) + int(issue_interval(depth, rows, _MIN_ISSUE)) + after


def gemm_cycles(params: SystolicParams, m: int, k: int, n: int) -> int:
    """Cycles of C[m x n] = A[m x k] W[k x n], from the first wanted beat to the last accepted result, no stalls.

    Raises:
        ChipsmithError: for an empty dimension.
    """
    for name, value in (("m", m), ("k", k), ("n", n)):
        if value < 1:
            raise ChipsmithError(f"gemm.{name}", value, "at least 1")
    if params.dataflow == "os":
        return _output_stationary(params, m, k, n)
    passes = _folds(k, params.rows) * _folds(n, params.cols)
    full, rest = divmod(m, params.max_beats)
    if params.double_buffer and full and rest:
        return _overlapped_chunks(params, full, rest, passes)
    if params.double_buffer:
        return _weight_stationary(params, rest or params.max_beats, passes * max(full, 1), params.rows)
    whole = _weight_stationary(params, params.max_beats, passes * full, params.rows)
    return whole + (_weight_stationary(params, rest, passes, params.rows) if rest else 0)


def _ports(params: SystolicParams) -> tuple[Port, ...]:
    inputs = {"clk": 1, "rst": 1, "cmd_valid": 1, "cmd_beats": params.beats_bits, "cmd_accumulate": 1, "cmd_store": 1}
    inputs |= {"w_valid": 1, "w_data": params.cols * params.w_bits, "a_valid": 1}
    inputs |= {"a_data": params.rows * params.a_bits, "o_ready": 1}
    outputs = {"cmd_ready": 1, "w_ready": 1, "a_ready": 1, "o_valid": 1, "o_data": params.cols * params.acc_bits}
    outputs |= {"o_last": 1, "busy": 1, "perf_blocked": 1, "perf_starved_a": 1, "perf_starved_w": 1}
    return tuple(Port(n, "input", b) for n, b in inputs.items()) + tuple(
        Port(n, "output", b) for n, b in outputs.items()
    )


def _bench(params: SystolicParams) -> Bench:
    return Bench(
        module="rtl.benches.bench_systolic",
        measured="ragged_gemms",
        document=partial(gemm_document, params),
        bins=partial(required_bins, params),
        plan=PLAN,
        parts=("pe", "processing elements", params.rows * params.cols),
        widest=f"{params.name}_axis",
    )


def generate_systolic(params: SystolicParams, notes: tuple[str, ...] = ()) -> Design:
    """Generate the Verilog of a systolic engine.

    Args:
        params: checked parameters.
        notes: lines for the file headers and :attr:`Design.notes`.
    """
    return Design(
        name=params.name,
        top=params.name,
        params=params,
        sources=render_sources(params, notes),
        bench_sources=render_bench(params),
        ports=_ports(params),
        notes=notes,
        reference=partial(reference_gemm, params),
        cycle_model=partial(gemm_cycles, params),
        bench=_bench(params),
    )
