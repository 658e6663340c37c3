"""What a chip's policy makes of a step, and what it gains on the timeline."""

from __future__ import annotations

import pytest

from models.chip import Chip, load_chip
from sim.policy import arranged
from sim.result import OpResult, Result
from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.decoder_layers import LayerShape, decode_layers
from workloads.trace import Trace

SHAPE = LayerShape(1024, 8, 1, 6)


def step(requests: int) -> Trace:
    return decode_layers("step", SHAPE, [100 + 7 * i for i in range(requests)])


def chip(**policy: object) -> Chip:
    return load_chip("neupims").with_fields({f"policy.{name}": value for name, value in policy.items()})


def parts_of(trace: Trace) -> int:
    return sum(op.name.endswith("attention") for op in trace.ops)


@pytest.mark.parametrize(("requests", "least", "parts"), [(8, 1, 3), (2, 1, 2), (1, 1, 1), (8, 9, 1), (9, 9, 3)])
def test_parts_of_a_step(requests: int, least: int, parts: int) -> None:
    policy = chip(sub_batches=3, sub_batch_requests=least)
    assert parts_of(arranged(step(requests), policy)) == parts


def test_a_prefill_and_a_step_that_is_split_stay_as_they_are() -> None:
    policy = chip(sub_batch_requests=1)
    prefill = build_trace("gpt2", Batch.prefill([10, 20]))
    split = step(4).with_sub_batches(2)
    assert arranged(prefill, policy) is prefill
    assert arranged(split, policy) is split
    assert arranged(step(4), load_chip("tpu_v4")) == step(4)


def test_blocks_come_after_the_parts() -> None:
    trace = arranged(step(8), chip(sub_batches=2, sub_batch_requests=1, token_block=3))
    assert [op.tokens for op in trace.ops if op.name.startswith("layer.sub1.qkv_proj")] == [3, 1]


def run(requests: int, **policy: object) -> Result:
    return simulate(step(requests), chip(sub_batch_requests=1, **policy))


def running(result: Result, engine: str) -> list[OpResult]:
    return [op for op in result.ops if op.engine == engine]


def overlap_s(one: OpResult, other: OpResult) -> float:
    return max(0.0, min(one.end_s, other.end_s) - max(one.start_s, other.start_s))


def test_one_part_multiplies_while_the_other_attends() -> None:
    result = run(16, sub_batches=2)
    both = sum(overlap_s(a, b) for a in running(result, "pim") for b in running(result, "npu"))
    assert both > 0.5 * min(op.duration_s for op in running(result, "pim"))
    alone = run(16, sub_batches=1)
    assert all(overlap_s(a, b) == 0 for a in running(alone, "pim") for b in running(alone, "npu"))


def test_the_next_layer_of_a_part_runs_beside_the_other_parts_attention() -> None:
    """Parts overlap across layers too: a layer takes less than all that one engine has to do plus the rest."""
    result = run(16, sub_batches=2)
    ops = [op for op in result.ops if op.block == "layers"]
    work = sum(op.duration_s for op in ops)
    assert result.latency_s < 0.97 * SHAPE.count * work


def test_with_barriers_stages_follow_each_other() -> None:
    held = run(16, sub_batches=2, stage_barriers=True)
    ends: dict[str, float] = {}
    for op in held.ops:
        stage = op.name.partition(".")[0]
        assert all(op.start_s >= end * (1 - 1e-9) for other, end in ends.items() if other < stage and stage in "BDF")
        ends[stage] = max(ends.get(stage, 0.0), op.end_s)
    assert list(ends) == list("ABCDEF")
