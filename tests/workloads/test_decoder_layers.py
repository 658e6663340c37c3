"""Decoder layers alone: the shapes that a rank of GPT-3 has."""

from __future__ import annotations

import pytest

from workloads.chat_lengths import contexts
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


@pytest.mark.parametrize(("dataset", "mean"), [("sharegpt", 80 + 296 / 2), ("alpaca", 12 + 56 / 2)])
def test_contexts_have_the_published_means(dataset: str, mean: float) -> None:
    drawn = contexts(dataset, 4096, seed=1)
    assert sum(drawn) / 4096 == pytest.approx(mean, rel=0.1)
    assert drawn == contexts(dataset, 4096, seed=1) != contexts(dataset, 4096, seed=2)
    assert max(drawn) <= 2048


def test_data_sets_without_lengths_are_refused() -> None:
    with pytest.raises(ChipsmithError, match=r"^dataset: got 'pile'"):
        contexts("pile", 4)
    with pytest.raises(ChipsmithError, match=r"^count: got 0; legal: at least 1$"):
        contexts("alpaca", 0)
