"""Cycle counts of one systolic array: the part of every GEMM cost that the RTL must match exactly.

One function prices a *run*: a sequence of passes (folds) over an array of R rows x C columns. SCALE-Sim's
fold, ONNXim's pipelined blocks and our generated Verilog are settings of it:

========================= ============ ============ =========== ======
user                      preload      overlapped   min_issue   drain
========================= ============ ============ =========== ======
SCALE-Sim OS              0            no           0           0
SCALE-Sim WS, IS          R            no           0           0
ONNXim                    2R - 1 first yes          max(4, R)   0
generated RTL             as the Design's parameters say
========================= ============ ============ =========== ======

Sources: SCALE-Sim 3.0.0 (compute cycles of `calc` mode), ONNXim a1e86296 (SystolicWS.cc: start and finish
recurrences); both restated in closed form and checked against their printed cycles.
"""

from __future__ import annotations

from models.jit import inlined, kernel


@inlined
def skew_cycles(rows: int, cols: int, hop: int) -> int:
    """Cycles between the first operand entering and the farthest PE working: (R - 1 + C - 1) hops."""
    return (rows + cols - 2) * hop


@inlined
def pass_cycles(preload: int, stream: int, rows: int, cols: int, hop: int, mac_pipe: int, drain: int) -> int:
    """Cycles of one pass that overlaps with nothing.

    Args:
        preload: cycles to bring the stationary operand in (WS, IS: R; OS: 0).
        stream: cycles of streaming (WS: m, OS: k, IS: n).
        rows, cols: array shape R x C.
        hop: register stages between neighbouring PEs (1 in all designs here).
        mac_pipe: extra pipeline registers inside the MAC.
        drain: cycles to move finished results out after the last MAC (0 where the peer does not count it).
    """
    return preload + stream + skew_cycles(rows, cols, hop) + mac_pipe + drain


@inlined
def issue_interval(stream: int, preload: int, min_issue: int) -> int:
    """Cycles between the starts of two overlapped passes: streaming hides the next preload, or waits for it."""
    interval = stream if stream > preload else preload
    return interval if interval > min_issue else min_issue


@inlined
def overlapped_cycles(
    first_preload: int,
    intervals: int,
    last_interval: int,
    last_stream: int,
    rows: int,
    cols: int,
    hop: int,
    mac_pipe: int,
    drain: int,
) -> int:
    """Cycles of a run whose passes overlap: the pipe fills once, then passes start at their intervals.

    Args:
        first_preload: cycles before the first pass can start.
        intervals: sum of the issue intervals of all passes.
        last_interval: interval of the last pass, which nothing waits for.
        last_stream: streaming cycles of the last pass.
        rows, cols, hop, mac_pipe, drain: as in :func:`pass_cycles`.
    """
    return first_preload + intervals - last_interval + pass_cycles(0, last_stream, rows, cols, hop, mac_pipe, drain)


@kernel
def run_cycles(
    passes: int,
    first_preload: int,
    preload: int,
    stream: int,
    rows: int,
    cols: int,
    hop: int,
    mac_pipe: int,
    drain: int,
    overlapped: bool,
    min_issue: int,
) -> int:
    """Cycles of ``passes`` equal passes, from the first preload to the last result.

    Not overlapped: every pass pays preload, skew, pipe and drain. Overlapped: the pipe fills once, then a pass
    starts every :func:`issue_interval` cycles.
    """
    if passes <= 0:
        return 0
    if not overlapped:
        last = pass_cycles(0, stream, rows, cols, hop, mac_pipe, drain)
        return first_preload + last + (passes - 1) * (preload + last)
    interval = issue_interval(stream, preload, min_issue)
    tail = stream if stream > min_issue else min_issue
    return overlapped_cycles(first_preload, passes * interval, interval, tail, rows, cols, hop, mac_pipe, drain)
