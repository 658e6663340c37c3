"""Sparsity patterns: what is kept, what the index costs, and the rows' MACs and bytes by hand."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.dtypes import DTYPES, STORED, dtype, format_bytes
from workloads.errors import ChipsmithError
from workloads.trace import Operator, Segment
from workloads.transforms.patterns import LEGAL, Pattern, index_width, parse_pattern

SIZES = st.integers(1, 200)
FORMS = st.sampled_from(sorted({**DTYPES, **STORED}))


@st.composite
def patterns(draw: st.DrawFn) -> str:
    kind = draw(st.sampled_from(["nm", "block", "unstructured"]))
    zeros = draw(st.sampled_from(["", "+zeros"]))
    density = f"0.{draw(st.integers(1, 99)):02d}"
    if kind == "nm":
        m = draw(st.integers(1, 16))
        return f"{draw(st.integers(1, m))}:{m}{zeros}"
    if kind == "block":
        return f"block:{draw(st.integers(1, 40))}x{draw(st.integers(1, 40))}@{density}{zeros}"
    return f"unstructured@{density}{zeros}"


def gemm(m: int = 1, k: int = 64, n: int = 32, **more: object) -> Operator:
    return Operator("g", "gemm", 0, (Segment(m),), k=k, n=n, **more)  # type: ignore[arg-type]  # fields of several types


@pytest.mark.parametrize(
    ("text", "kept", "index_bits"),
    [
        ("dense", 640, 0),
        ("2:4", 320, 640),  # two bits a kept weight
        ("4:8", 320, 960),
        ("1:4", 160, 320),
        ("4:4", 640, 0),
        ("2:3", 10 * (21 * 2 + 1), 2 * 430),  # 64 = 21 threes and one more, of which one is kept
        ("block:16x4@0.5", 320, 12),  # 4 x 3 blocks, 6 kept: half of 640
        ("block:64x10@0.3", 640, 1),  # one block: kept
        ("block:100x100@1", 640, 0),
        ("unstructured@0.5", 320, 640),  # a bitmap; row numbers would take 320 x 6 + 10 x 7
        ("unstructured@0.05", 32, 32 * 6 + 10 * 7),  # row numbers are cheaper here
        ("unstructured@1.0", 640, 0),
    ],
)
def test_what_is_kept_of_64_by_10_and_its_index(text: str, kept: int, index_bits: int) -> None:
    pattern = parse_pattern(text)
    assert (pattern.kept(64, 10), pattern.index_bits(64, 10)) == (kept, index_bits)


def test_bits_of_an_index() -> None:
    assert [index_width(n) for n in (0, 1, 2, 3, 4, 5, 8, 9)] == [0, 0, 1, 2, 2, 3, 3, 4]


def test_bytes_of_compressed_weights_by_hand() -> None:
    # 64 x 32 = 2048 weights; 2:4 keeps 1024 and takes 2 bits for each
    assert gemm(sparsity="2:4").weight_bytes == 1024 * 2 + 256
    assert gemm(sparsity="2:4", weight="int8").weight_bytes == 1024 + 256
    # scales belong to all 2048 positions: 16 groups of 128
    assert gemm(sparsity="2:4", weight="int4", weight_group=128).weight_bytes == 512 + 256 + 16 * 2
    assert gemm(sparsity="2:4", weight="mxfp4").weight_bytes == 512 + 256 + 64
    # 1-bit weights would grow: kept dense
    assert gemm(sparsity="2:4", weight="int1").weight_bytes == 256
    assert gemm(sparsity="2:4+zeros").weight_bytes == 4096
    # the bias stays: 32 x 16 bits; three experts have three indices
    assert gemm(sparsity="2:4", param_width=32).weight_bytes == 2048 + 256 + 64
    experts = replace(gemm(sparsity="2:4", per_segment_weights=True), segments=(Segment(5, 0, 3),))
    assert experts.weight_bytes == 3 * (2048 + 256)
    assert gemm(sparsity="block:16x16@0.25").weight_bytes == 512 * 2 + 1  # 8 blocks, 2 kept, one bit each
    assert gemm(sparsity="unstructured@0.1").weight_bytes == (205 * 16 + 205 * 6 + 32 * 7 + 7) // 8


def test_effective_macs_of_a_gemm_by_hand() -> None:
    assert gemm(3, sparsity="2:4").macs == gemm(3, sparsity="2:4").issued_macs == 3 * 2048
    assert gemm(3, sparsity="2:4").effective_macs == 3 * 1024
    assert gemm(3, act_sparsity="unstructured@0.25").effective_macs == 3 * 512
    assert gemm(3, sparsity="2:4", act_sparsity="unstructured@0.25").effective_macs == 3 * 256
    assert gemm(3, act_sparsity="unstructured@0.3").effective_macs == 1844  # 1843.2 rounded up
    product = gemm(3, sparsity="2:4", weight_is_param=False)  # two activations: no weights to leave out
    assert (product.effective_macs, product.weight_bytes) == (3 * 2048, 0)


def test_cached_weights_are_not_read_again() -> None:
    assert gemm(cached_weights=1024).weight_bytes == 2048
    assert gemm(cached_weights=2048).weight_bytes == 0
    assert gemm(cached_weights=1024, weight="int4", weight_group=128).weight_bytes == 512 + 8 * 2
    assert gemm(cached_weights=1024, sparsity="2:4").weight_bytes == (1024 * 2 + 256) // 2
    assert gemm(cached_weights=1024).macs == 2048


def attention(*segments: Segment, **more: object) -> Operator:
    dims = {"heads": 8, "kv_heads": 2, "qk_dim": 16, "v_dim": 16, "kv_width": 64, **more}
    return Operator("a", "attention", 0, segments, **dims)  # type: ignore[arg-type]  # fields of several types


def test_block_sparse_decoding_reads_the_kept_keys_only() -> None:
    dense, op = attention(Segment(1, 1023, 3)), attention(Segment(1, 1023, 3), sparsity="block:1x64@0.25")
    # 16 blocks of 64 keys, 4 kept: 256 of 1024 keys, one of them the token's own
    assert (op.pairs(op.segments[0]), op.keys(op.segments[0])) == (256, 256)
    assert op.macs == dense.macs == 3 * 8 * 1024 * 32
    assert op.effective_macs == op.issued_macs == dense.macs // 4
    assert op.kv_read_bytes == 3 * 255 * 64 * 2
    assert op.kv_write_bytes == dense.kv_write_bytes == 3 * 64 * 2
    assert op.input_bytes == dense.input_bytes + 3 * 8 * 16 // 8  # one bit a head and block


def test_block_sparse_prompts_read_all_keys() -> None:
    dense, op = attention(Segment(128, 0)), attention(Segment(128, 0), sparsity="block:64x64@0.5")
    assert dense.macs == 8 * (128 * 129 // 2) * 32
    assert op.issued_macs == dense.macs // 2  # 2 blocks of keys, one kept in each row of blocks
    assert op.keys(op.segments[0]) == 128
    assert op.kv_read_bytes == 0
    assert op.input_bytes == dense.input_bytes + 8 * 2 * 2 // 8


def test_fine_patterns_of_scores_need_an_engine_that_knows_them() -> None:
    dense = attention(Segment(1, 1023))
    for text in ("2:4", "unstructured@0.5"):
        op = replace(dense, sparsity=text)
        assert (op.effective_macs, op.issued_macs) == (dense.macs // 2, dense.macs)
        assert (op.kv_read_bytes, op.input_bytes) == (dense.kv_read_bytes, dense.input_bytes)


@pytest.mark.parametrize(
    ("text", "legal"),
    [
        ("2-4", LEGAL),
        ("", LEGAL),
        ("dense+zeros", LEGAL),
        ("unstructured", LEGAL),
        ("block:4@0.5", LEGAL),
        ("0:4", "legal: N of 1 to M kept"),
        ("5:4", "legal: N of 1 to M kept"),
        ("unstructured@0", "legal: a density above 0, at most 1"),
        ("block:4x4@1.5", "legal: a density above 0, at most 1"),
        ("block:0x4@0.5", "legal: blocks of at least 1x1"),
    ],
)
def test_texts_that_are_no_pattern(text: str, legal: str) -> None:
    with pytest.raises(ChipsmithError) as caught:
        parse_pattern(text, "sparsity")
    assert str(caught.value) == f"sparsity: got {text!r}; {legal}"


@given(patterns(), SIZES, SIZES)
def test_no_pattern_keeps_less_than_its_share_or_more_than_all(text: str, k: int, n: int) -> None:
    pattern = parse_pattern(text)
    assert 0 < pattern.kept(k, n) <= k * n
    if pattern.kind != "nm" or k % pattern.m == 0:
        assert pattern.kept(k, n) >= pattern.share * k * n


@given(patterns(), SIZES, SIZES, FORMS, st.sampled_from([0, 32, 100]), st.integers(1, 4))
def test_bytes_and_macs_never_grow(text: str, k: int, n: int, form: str, group: int, copies: int) -> None:
    segments = (Segment(2, 0, copies),)
    dense = replace(gemm(2, k, n, weight=form, weight_group=group, per_segment_weights=True), segments=segments)
    sparse = replace(dense, sparsity=text)
    assert sparse.weight_bytes <= dense.weight_bytes
    assert sparse.effective_macs <= dense.effective_macs == dense.macs == sparse.macs


@given(SIZES, SIZES, FORMS, st.sampled_from(["1:1", "4:4", "block:3x5@1", "unstructured@1.0", "2:4+zeros"]))
def test_patterns_that_keep_everything_cost_what_dense_costs(k: int, n: int, form: str, text: str) -> None:
    dense, full = (
        gemm(3, k, n, weight=form, weight_group=16),
        gemm(3, k, n, weight=form, weight_group=16, sparsity=text),
    )
    assert full.weight_bytes == dense.weight_bytes == format_bytes(k * n, form, 16)
    if "zeros" not in text:
        assert full.effective_macs == dense.macs


@given(SIZES, SIZES, st.integers(1, 8), FORMS)
def test_fewer_kept_of_m_take_fewer_bytes(k: int, n: int, most: int, form: str) -> None:
    sizes = [Pattern("nm", n=kept, m=8).stored_bits(k, n, 1, dtype(form)) for kept in range(1, most + 1)]
    assert sizes == sorted(sizes)


@given(st.integers(1, 300), st.integers(0, 600), st.integers(1, 80), st.integers(1, 80), st.integers(1, 100))
def test_kept_scores_are_a_share_of_the_visible_ones(new: int, context: int, rows: int, cols: int, pct: int) -> None:
    op = attention(Segment(new, context), sparsity=f"block:{rows}x{cols}@{pct / 100}")
    (segment,) = op.segments
    visible, keys = segment.visible_pairs(0, True), segment.keys_read(0)
    assert Fraction(pct, 100) * visible <= op.pairs(segment) <= visible
    assert min(keys, new) <= op.keys(segment) <= keys
    assert op.effective_macs == op.issued_macs <= op.macs


@pytest.mark.parametrize("text", [f"2:{'9' * 5000}", f"unstructured@0.{'9' * 5000}", f"block:{'9' * 5000}x1@0.5"])
def test_numbers_of_thousands_of_digits_are_refused(text: str) -> None:
    with pytest.raises(ChipsmithError, match=r"^sparsity: got '.*'; legal: dense, N:M"):
        parse_pattern(text)
