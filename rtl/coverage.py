"""Names of the functional coverage bins, and which of them a design must hit."""

from __future__ import annotations

from rtl.params import SystolicParams

SHAPE_BINS = (
    "shape.rows.below",
    "shape.rows.exact",
    "shape.rows.ragged",
    "shape.cols.below",
    "shape.cols.exact",
    "shape.cols.ragged",
    "shape.both.ragged",
    "shape.stream.one",
    "shape.stream.many",
)
OPERAND_BINS = (
    "operand.a.min",
    "operand.a.max",
    "operand.a.zero",
    "operand.a.minus_one",
    "operand.w.min",
    "operand.w.max",
    "operand.w.zero",
    "operand.w.minus_one",
    "operand.product.min_min",
)
STALL_BINS = (
    "stall.source.cmd",
    "stall.source.w",
    "stall.source.a",
    "stall.sink",
    "stall.source_and_sink",
)
FLAG_BINS = ("flag.accumulate", "flag.restart", "flag.keep", "flag.store_partial")
RESET_BINS = ("reset.stream", "reset.tail", "reset.output")
WS_BINS = ("reset.load", "shape.stream.above_buffer")
DOUBLE_BINS = ("overlap.load_hidden", "overlap.load_exposed")
WRAP_BINS = ("wrap.sum", "wrap.checker")


def required_bins(params: SystolicParams, netlist: bool = False) -> tuple[str, ...]:
    """Bins that a full run of the bench must hit for this design; a netlist hides the checker's inner signals."""
    bins: tuple[str, ...] = SHAPE_BINS + OPERAND_BINS + STALL_BINS + FLAG_BINS + RESET_BINS
    if params.dataflow == "ws":
        bins += WS_BINS
    if params.double_buffer:
        bins += DOUBLE_BINS
    if params.may_wrap:
        bins += WRAP_BINS[:1] if netlist else WRAP_BINS
    return bins


def _remainder(total: int, size: int) -> str:
    if total < size:
        return "below"
    return "ragged" if total % size else "exact"


def shape_bins(params: SystolicParams, m: int, k: int, n: int) -> set[str]:
    """Shape bins of one GEMM."""
    row_total, stream = (k, m) if params.dataflow == "ws" else (m, k)
    rows, cols = _remainder(row_total, params.rows), _remainder(n, params.cols)
    bins = {f"shape.rows.{rows}", f"shape.cols.{cols}", f"shape.stream.{'one' if stream == 1 else 'many'}"}
    if rows == cols == "ragged":
        bins.add("shape.both.ragged")
    if params.dataflow == "ws" and m > params.max_beats:
        bins.add("shape.stream.above_buffer")
    if params.double_buffer:
        bins.add("overlap.load_hidden" if m >= params.rows else "overlap.load_exposed")
    return bins
