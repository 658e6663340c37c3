"""The words that cross the ports for a list of passes: commands, operand beats and expected result rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rtl.design import IntArray
from rtl.params import SystolicParams
from rtl.schedule import Pass
from rtl.systolic import reference_gemm


def pack(values: Sequence[int], bits: int) -> int:
    """Values as one word, the first in the lowest bits."""
    mask, word = (1 << bits) - 1, 0
    for index, value in enumerate(values):
        word |= (value & mask) << (index * bits)
    return word


def unpack(word: int, bits: int, count: int) -> list[int]:
    """Signed values of a word, the lowest bits first."""
    raw = [(word >> (index * bits)) & ((1 << bits) - 1) for index in range(count)]
    return [value - (1 << bits) if value >> (bits - 1) else value for value in raw]


def padded(block: IntArray, rows: int, cols: int) -> IntArray:
    """``block`` in the corner of a matrix of zeros."""
    full: IntArray = np.zeros((rows, cols), dtype=np.int64)
    full[: block.shape[0], : block.shape[1]] = block
    return full


def command_word(params: SystolicParams, one: Pass) -> int:
    """A command as {beats, accumulate, store}."""
    return one.beats(params) << 2 | one.accumulate << 1 | one.store


def operand_words(params: SystolicParams, one: Pass, a: IntArray, w: IntArray) -> tuple[list[int], list[int]]:
    """Activation and weight beats of one pass, in the order in which they enter."""
    beats = one.beats(params)
    a_block, w_block = a[one.m0 : one.m1, one.k0 : one.k1], w[one.k0 : one.k1, one.n0 : one.n1]
    if params.dataflow == "ws":
        a_beats, w_beats = padded(a_block, beats, params.rows), padded(w_block, params.rows, params.cols)
    else:
        a_beats, w_beats = padded(a_block, params.rows, beats).T, padded(w_block, beats, params.cols)
    a_words = [pack(row, params.a_bits) for row in a_beats.tolist()]
    return a_words, [pack(row, params.w_bits) for row in w_beats.tolist()]


def result_words(
    params: SystolicParams, passes: Sequence[Pass], a: IntArray, w: IntArray
) -> Iterator[tuple[int, bool]]:
    """Result rows of all passes that store, each with whether it is the last of its pass.

    Sums start at the last pass that does not accumulate; an output-stationary drain leaves zeros behind.
    """
    k_start = 0
    for one in passes:
        k_start = k_start if one.accumulate else one.k0
        if one.store:
            block = reference_gemm(params, a[one.m0 : one.m1, k_start : one.k1], w[k_start : one.k1, one.n0 : one.n1])
            rows = one.beats(params) if params.dataflow == "ws" else params.rows
            for index, row in enumerate(padded(block, rows, params.cols).tolist()):
                yield pack(row, params.acc_bits), index == rows - 1
            k_start = one.k1 if params.dataflow == "os" else k_start
