from typing import Any

import pytest

from workloads.batch import Batch
from workloads.build import build_trace
from workloads.configs import list_configs
from workloads.errors import ChipsmithError
from workloads.trace import Trace


@pytest.fixture(scope="module")
def gpt2() -> Trace:
    return build_trace("gpt2", Batch.decode(2, 64))


_WHOLE, _COUNT = "legal: a whole number below 2^62", "legal: a whole number from 1, below 2^62"
_BATCH, _OBJECTS = "legal: a list of [new tokens, cached tokens, multiplicity]", "legal: an object of lists of objects"
_PRECISION = "legal: an object of weights, activations, kv, weight_group, kv_group, embeddings, accumulate"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("kv_cache_bytes", "abc", f"got 'abc'; {_WHOLE}"),
        ("parameter_bytes", None, _WHOLE),
        ("parameter_bytes", -5, f"got -5; {_WHOLE}"),
        ("parameter_bytes", 2**62, f"got {2**62}; {_WHOLE}"),
        ("kv_bytes_per_token", 1.5, f"got 1.5; {_WHOLE}"),
        ("parameters", True, f"got True; {_WHOLE}"),
        ("requests", 0, f"got 0; {_COUNT}"),
        ("tokens", "x", f"got 'x'; {_COUNT}"),
        ("expert_parallel", [], f"got []; {_COUNT}"),
        ("expected_tokens", 0, "got 0; legal: a number above 0"),
        ("expected_tokens", "x", "got 'x'; legal: a number above 0"),
        ("batch", 5, f"got 5; {_BATCH}"),
        ("batch", [5], f"got [5]; {_BATCH}"),
        ("batch", [[1, 2]], f"got [[1, 2]]; {_BATCH}"),
        ("transforms", {"kv_eviction": [5]}, f"got {{'kv_eviction': [5]}}; {_OBJECTS}"),
        ("precision", {"weights": "int8"}, f"got {{'weights': 'int8'}}; {_PRECISION}"),
        ("moe", 3, "got 3; legal: a text"),
    ],
)
def test_facts_that_nothing_can_be_computed_with_are_refused(gpt2: Trace, name: str, value: Any, text: str) -> None:
    with pytest.raises(ChipsmithError) as error:
        gpt2.with_meta(**{name: value}).check()
    assert str(error.value).removeprefix(f"meta.{name}").lstrip(":; ") == text


def test_a_draft_that_is_verified_says_for_how_many_requests(gpt2: Trace) -> None:
    meta = {name: value for name, value in gpt2.meta.items() if name != "requests"}
    with pytest.raises(ChipsmithError) as error:
        Trace(gpt2.name, gpt2.ops, gpt2.tensors, gpt2.blocks, {**meta, "expected_tokens": 3.4}).check()
    assert str(error.value) == "meta.requests; goes with expected_tokens"


def test_other_facts_are_free(gpt2: Trace) -> None:
    gpt2.with_meta(note=None, source=["x"], logits=7).check()


@pytest.mark.parametrize("name", list_configs())
def test_every_shipped_model_keeps_the_rules(name: str) -> None:
    build_trace(name, Batch.decode(2, 64)).check()


def test_every_transformation_keeps_them(gpt2: Trace) -> None:
    changed = (
        gpt2.with_quantization(weights="int4", weight_group=128).with_sparsity("2:4").with_kv_eviction(16, sinks=4)
    )
    changed.with_speculation(4, 0.8).check()
    changed.with_early_exit({6: 0.5, 12: 0.5}).check()
    gpt2.with_kv_compression(rank_k=16, rank_v=16).check()
    gpt2.with_active_neurons(0.1, window=5, predictor=64).check()
