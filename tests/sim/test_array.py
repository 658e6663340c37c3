"""The cycle function of one array against closed forms and step-by-step recurrences, in plain Python."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.array import issue_interval, overlapped_cycles, pass_cycles, run_cycles, skew_cycles

SIDE = st.integers(1, 256)
SIZE = st.integers(1, 5000)


def cuts(size: int, unit: int) -> int:
    return -(-size // unit)


def scale_sim(flow: str, m: int, k: int, n: int, rows: int, cols: int) -> int:
    """Compute cycles as SCALE-Sim 3 counts them: folds times cycles per fold."""
    if flow == "os":
        return cuts(m, rows) * cuts(n, cols) * (k + rows + cols - 2)
    if flow == "ws":
        return cuts(k, rows) * cuts(n, cols) * (2 * rows + cols + m - 2)
    return cuts(k, rows) * cuts(m, cols) * (2 * rows + cols + n - 2)


def ours(flow: str, m: int, k: int, n: int, rows: int, cols: int) -> int:
    """The same through the kernel: nothing overlaps."""
    folds, stream = {
        "os": (cuts(m, rows) * cuts(n, cols), k),
        "ws": (cuts(k, rows) * cuts(n, cols), m),
        "is": (cuts(k, rows) * cuts(m, cols), n),
    }[flow]
    preload = 0 if flow == "os" else rows
    return run_cycles(folds, preload, preload, stream, rows, cols, 1, 0, 0, False, 0)


@given(st.sampled_from(["os", "ws", "is"]), SIZE, SIZE, SIZE, SIDE, SIDE)
def test_serial_passes_are_scale_sims_folds(flow: str, m: int, k: int, n: int, rows: int, cols: int) -> None:
    assert ours(flow, m, k, n, rows, cols) == scale_sim(flow, m, k, n, rows, cols)


@pytest.mark.parametrize(
    ("m", "ws", "os", "is_"),
    [(1, 392_192, 139_200, 143_296), (128, 522_240, 139_200, 143_296), (2048, 2_488_320, 2_227_200, 2_292_736)],
)
def test_serial_passes_of_a_worked_case(m: int, ws: int, os: int, is_: int) -> None:
    """k = n = 4096 on 128 x 128; WS and OS as published, IS by its formula."""
    assert [ours(flow, m, 4096, 4096, 128, 128) for flow in ("ws", "os", "is")] == [ws, os, is_]


def onnxim(rows_of_blocks: list[int], height: int, width: int) -> int:
    """Finish of the last block: ONNXim's recurrences, one block after the other, all issued at cycle 0."""
    start = 2 * height - 1
    for before in rows_of_blocks[:-1]:
        start = max(0, start + max(before, 4, height))
    return start + (height + width - 2) + max(rows_of_blocks[-1], 4)


@given(st.integers(1, 60), st.integers(1, 300), SIDE, SIDE)
def test_overlapped_passes_are_onnxims_recurrences(blocks: int, n: int, height: int, width: int) -> None:
    cycles = run_cycles(blocks, 2 * height - 1, height, n, height, width, 1, 0, 0, True, 4)
    assert cycles == onnxim([n] * blocks, height, width)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=30), SIDE, SIDE)
def test_ragged_passes_are_onnxims_recurrences(blocks: list[int], height: int, width: int) -> None:
    intervals = [issue_interval(n, height, 4) for n in blocks]
    last = max(blocks[-1], 4)
    cycles = overlapped_cycles(2 * height - 1, sum(intervals), intervals[-1], last, height, width, 1, 0, 0)
    assert cycles == onnxim(blocks, height, width)


def walk(passes: int, first: int, preload: int, stream: int, fill: int, drain: int, min_issue: int) -> int:
    """Overlapped passes as events: a pass starts when the one before has streamed and its operand is preloaded."""
    start = first
    for _ in range(passes - 1):
        streamed, preloaded, allowed = start + stream, start + preload, start + min_issue
        start = max(streamed, preloaded, allowed)
    return start + max(stream, min_issue) + fill + drain


@given(
    st.integers(1, 20), st.integers(0, 50), st.integers(0, 50), st.integers(1, 50), SIDE, SIDE,
    st.integers(1, 3), st.integers(0, 4), st.integers(0, 40), st.integers(0, 60),
)  # fmt: skip
def test_overlapped_passes_walked_one_by_one(
    passes: int, first: int, preload: int, stream: int, rows: int, cols: int,
    hop: int, pipe: int, drain: int, min_issue: int,
) -> None:  # fmt: skip
    cycles = run_cycles(passes, first, preload, stream, rows, cols, hop, pipe, drain, True, min_issue)
    fill = (rows - 1 + cols - 1) * hop + pipe
    assert cycles == walk(passes, first, preload, stream, fill, drain, min_issue)


def test_the_parts_of_one_pass() -> None:
    assert skew_cycles(4, 12, 1) == 14
    assert skew_cycles(4, 12, 2) == 28
    assert pass_cycles(4, 10, 4, 12, 1, 3, 5) == 4 + 10 + 14 + 3 + 5
    assert [issue_interval(*args) for args in ((9, 4, 4), (2, 8, 4), (2, 3, 4))] == [9, 8, 4]


@pytest.mark.parametrize("overlapped", [False, True])
def test_no_pass_takes_no_time(overlapped: bool) -> None:
    assert run_cycles(0, 7, 4, 10, 4, 4, 1, 1, 1, overlapped, 4) == 0


@given(st.integers(1, 50), SIZE, SIDE, SIDE, st.integers(0, 60))
def test_overlap_never_costs_time(passes: int, stream: int, rows: int, cols: int, drain: int) -> None:
    serial = run_cycles(passes, rows, rows, stream, rows, cols, 1, 0, drain, False, 1)
    assert run_cycles(passes, rows, rows, stream, rows, cols, 1, 0, drain, True, 1) <= serial
