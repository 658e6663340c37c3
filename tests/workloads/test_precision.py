"""Number formats of a deployment and what they do to bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.batch import Batch
from workloads.build import build_trace
from workloads.dtypes import DTYPES, STORED, dtype, format_bytes, stored_bytes
from workloads.errors import ChipsmithError
from workloads.precision import Precision


@pytest.mark.parametrize(
    ("activations", "vectors", "accumulator"),
    [("fp16", "fp16", "fp32"), ("bf16", "bf16", "fp32"), ("fp32", "fp32", "fp32"), ("fp8", "fp16", "fp32"),
     ("int8", "fp16", "int32"), ("int32", "fp32", "int32")],
)  # fmt: skip
def test_gains_stay_wide_and_accumulators_follow_the_activations(
    activations: str, vectors: str, accumulator: str
) -> None:
    form = Precision(activations=activations)
    assert (form.vectors, form.accumulator) == (vectors, accumulator)
    assert Precision(activations=activations, accumulate="int16").accumulator == "int16"


def test_grouped_int4_weights_cost_their_scales() -> None:
    trace = build_trace("llama-2-7b", Batch.decode(1, 2048), Precision("int4", weight_group=128, embeddings="fp16"))
    # 4096 x 4096 weights at 4 bits and one 16-bit scale for each 128 of them
    assert trace.op("layer.q_proj").weight_bytes == 4096 * 4096 // 2 + 4096 * 4096 // 128 * 2
    assert trace.op("lm_head").weight_bytes == 4096 * 32000 * 2
    assert trace.op("layer.attn_norm").weight_bytes == 4096 * 2
    layers = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)
    tables = 2 * 4096 * 32000 * 2
    gains = (2 * 32 + 1) * 4096 * 2
    assert trace.meta["parameter_bytes"] == layers // 2 + layers // 128 * 2 + tables + gains


def test_embeddings_follow_the_weights_unless_told_otherwise() -> None:
    batch = Batch.decode(1, 1)
    assert build_trace("gpt2", batch, Precision("int8")).op("lm_head").weight == "int8"
    assert build_trace("gpt2", batch, Precision("int8", embeddings="bf16")).op("embed_tokens").weight == "bf16"


def test_kv_format_sets_cache_bytes_only() -> None:
    batch = Batch.decode(4, 1000)
    wide, narrow = build_trace("llama-3-8b", batch), build_trace("llama-3-8b", batch, Precision(kv="int8", kv_group=64))
    assert wide.kv_read_bytes == 4 * 1000 * 32 * 2048 * 2
    assert narrow.kv_read_bytes == 4 * 1000 * 32 * (2048 + 2048 // 64 * 2)
    assert narrow.weight_bytes == wide.weight_bytes
    assert narrow.meta["kv_bytes_per_token"] == 32 * (2048 + 64)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"weights": "int9"}, "precision.weights: got 'int9'; did you mean 'int8'? known: "),
        ({"embeddings": "half"}, "precision.embeddings: got 'half'; known: "),
        ({"kv_group": -1}, "precision.kv_group: got -1; legal: 0 (no scales) or more"),
        (
            {"weights": "mxfp4", "weight_group": 64},
            "precision.weight_group: got 64; legal: 0, mxfp4 brings a scale for every 32 elements",
        ),
    ],
)
def test_refusals(fields: dict[str, object], text: str) -> None:
    with pytest.raises(ChipsmithError) as caught:
        Precision(**fields)  # type: ignore[arg-type]  # wrong on purpose
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("name", "elements", "group", "size"),
    [
        ("int4", 256, 0, 128),
        ("int4", 256, 128, 128 + 2 * 2),
        ("int3", 3, 2, 6),  # 9 bits and two scales of 16: 41 bits
        ("mxfp4", 64, 0, 32 + 2),  # two blocks of 32, a byte of scale each
        ("mxfp4", 65, 0, 36),  # 260 bits and three scales: 284 bits
        ("mxfp6", 32, 0, 24 + 1),
        ("mxfp8", 32, 0, 33),
        ("mxint8", 33, 0, 35),
        ("nvfp4", 32, 0, 16 + 2),
        ("ternary", 10, 0, 3),
        ("ternary5", 10, 0, 2),
        ("ternary5", 11, 0, 3),
        ("ternary5", 1000, 500, 200 + 4),
    ],
)
def test_bytes_of_a_format_by_hand(name: str, elements: int, group: int, size: int) -> None:
    assert format_bytes(elements, name, group) == size


@given(st.integers(0, 10**6), st.sampled_from(sorted(DTYPES)), st.integers(0, 256))
def test_plain_formats_take_what_their_bits_say(elements: int, name: str, group: int) -> None:
    assert format_bytes(elements, name, group) == stored_bytes(elements, dtype(name).bits, group)


def test_storage_formats_are_known_to_traces_only() -> None:
    assert not set(DTYPES) & set(STORED)
    assert len({form.code for form in (*DTYPES.values(), *STORED.values())}) == len(DTYPES) + len(STORED)
    with pytest.raises(ChipsmithError, match=r"^dtype: got 'mxfp5'; did you mean 'mxfp.'\? known: bf16, .*ternary5$"):
        dtype("mxfp5")
