"""Decoder layers alone: the shapes that a rank of GPT-3 has."""

from __future__ import annotations

import pytest

from workloads.decoder_layers import LayerShape, decode_layers
from workloads.errors import ChipsmithError


def test_a_rank_of_four_holds_a_quarter_of_the_heads() -> None:
    trace = decode_layers("GPT3-7B", LayerShape(4096, 32, 4, 2), [100, 200], [3, 4]).check()
    sizes = {op.name.partition(".")[2]: (op.k, op.n) for op in trace.ops if op.kind == "gemm"}
    assert sizes == {
        "qkv_proj": (4096, 3072),
        "o_proj": (1024, 4096),
        "up_proj": (4096, 4096),
        "down_proj": (4096, 4096),
    }
    attention = trace.op("layer.attention")
    assert (attention.heads, attention.kv_heads, attention.qk_dim) == (8, 8, 128)
    assert [s.placement for s in attention.segments] == [3, 4]
    assert [op.kind for op in trace.ops].count("collective") == 0
    assert trace.blocks[0].count == 2


def test_heads_that_the_ranks_cannot_divide_are_refused() -> None:
    with pytest.raises(ChipsmithError, match="attention heads"):
        decode_layers("odd", LayerShape(512, 4, 3), [10])
