"""The conformance suite accepts the built-in engines on random chips, and finds every rule broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from models.chip import Chip
from sim.conformance import check_engine, standard_traces, violations
from sim.engine import Engine, find_engine
from sim.engines.link import ENGINE as LINK
from sim.engines.vector import ENGINE as VECTOR
from workloads.errors import ChipsmithError
from workloads.trace import KINDS, Trace

from .designs import chain, chip, chips, gemm, traces

BUILTIN = ("systolic", "vector", "link")


@pytest.mark.parametrize("engine_type", BUILTIN)
def test_builtin_engines_conform(engine_type: str) -> None:
    check_engine(find_engine(engine_type), chip(), standard_traces())


def test_the_standard_traces_hold_every_kind() -> None:
    assert {op.kind for trace in standard_traces() for op in trace.ops} == set(KINDS)


@given(chips(), traces())
def test_builtin_engines_conform_on_random_chips_and_traces(spec: Chip, trace: Trace) -> None:
    kinds = {op.kind for op in trace.ops}
    for engine_type in BUILTIN:
        engine = find_engine(engine_type)
        there = engine_type == "link" or engine_type in {part.type for part in spec.engines.values()}
        if engine.kinds & kinds and there:
            broken = [str(v) for v in violations(engine, spec, (trace,)) if (v.rule, v.fidelity) != ("status", "tile")]
            assert broken == []


def link_with(change: Callable[[Any, Any], None]) -> Engine:
    """The link engine, uncompiled, whose tile kernel is changed after the fact."""
    tile = LINK.kernels["collective", "tile"]

    def changed(op: Any, q: Any, p: Any, out: Any) -> int:
        status = tile(op, q, p, out)
        change(op, out)
        return status

    return replace(LINK, loop=None, kernels={**LINK.kernels, ("collective", "tile"): changed})


def put(name: str, value: float) -> Callable[[Any, Any], None]:
    def change(op: Any, out: Any) -> None:
        out[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (put("fixed", 1.0), ["identity: collective at tile: fixed + max(busy, needs) = 1.000000078, cycles = "]),
        (put("fixed", -1.0), ["finite: collective at tile: fixed = -1.0", "identity: collective at tile: "]),
        (put("cycles", float("nan")), ["finite: collective at tile: cycles = nan", "identity: collective at tile: "]),
        (put("link_bytes", 3), ["conservation: collective at tile: link_bytes = 3, at least 3900"]),
        (put("macs", 5), ["conservation: collective at tile: macs = 5, exactly 0"]),
    ],
)
def test_a_broken_kernel_is_found(change: Callable[[Any, Any], None], broken: list[str]) -> None:
    found = [str(v) for v in violations(link_with(change), chip(), standard_traces())]
    assert len(found) == len(broken)
    assert all(text.startswith(start) for text, start in zip(found, broken, strict=True))


def test_a_bound_above_the_tile_is_found() -> None:
    swapped = {("collective", "bound"): "tile", ("collective", "tile"): "bound"}
    kernels = {key: LINK.kernels["collective", other] for key, other in swapped.items()}
    (found,) = violations(replace(LINK, loop=None, kernels=kernels), chip(), standard_traces())
    assert str(found).startswith("floor: collective: bound ")


def test_a_kernel_with_a_memory_of_its_past_is_found() -> None:
    calls: list[int] = []

    def drift(op: Any, out: Any) -> None:
        calls.append(1)
        out["out_writes"] = len(calls)

    found = {v.rule for v in violations(link_with(drift), chip(), standard_traces())}
    assert found == {"repeatable", "kernel"}


def test_a_loop_that_is_not_its_kernel_is_found() -> None:
    other = {**LINK.kernels, ("collective", "tile"): LINK.kernels["collective", "bound"]}
    (found,) = violations(replace(LINK, kernels=other), chip(), standard_traces())
    assert str(found) == "kernel: collective at tile: the loop and the kernel differ on one mapping"


def test_a_missing_kernel_is_found() -> None:
    kernels = {("collective", "bound"): LINK.kernels["collective", "bound"]}
    with pytest.raises(AssertionError) as error:
        check_engine(replace(LINK, loop=None, kernels=kernels), chip(), standard_traces())
    assert str(error.value) == "engine link breaks 1 rules:\n- kernels: tile: none for kind collective"


def test_a_refusal_at_bound_is_found() -> None:
    kernels = {**LINK.kernels, ("collective", "bound"): lambda op, q, p, out: 6}
    found = [str(v) for v in violations(replace(LINK, loop=None, kernels=kernels), chip(), standard_traces())]
    assert found == ["status: collective at bound: no engine takes an operator"]


def test_what_cannot_be_checked_is_refused() -> None:
    with pytest.raises(ChipsmithError, match=r"^traces; at least one operator of kind collective$"):
        check_engine(LINK, chip(), (chain(gemm(4, 4, 4)),))
    with pytest.raises(ChipsmithError, match=r"^chip small: got 'vector'; the chip must have an engine of this type$"):
        check_engine(VECTOR, chip(with_vector=False), standard_traces())
