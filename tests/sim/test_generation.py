"""A whole generation: the piecewise integral against every step, exact short cases, conservation, refusals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.chip import Chip, load_chip
from sim.generation import Generation, generate_tokens
from sim.result import Result
from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.configs import load_config
from workloads.errors import ChipsmithError
from workloads.precision import Precision
from workloads.trace import Trace

Requests = Sequence[tuple[int, int]]
LIMIT = 0.005
#: (chip, weights and activations, layers, hidden size, feed-forward size): decode from memory-bound to array-bound
MACHINES = {
    "tpu_v4": ("fp16", 2, 512, 1408),
    "gemmini_16x16": ("int8", 1, 256, 704),
    "edge_32x32": ("int8", 3, 256, 704),
}
MIXES: dict[str, Requests] = {
    "equal": [(64, 30)] * 4,
    "ragged": [(30, 5), (100, 30), (400, 15), (17, 30), (256, 1)],
    "long tail": [(10, 3), (10, 3), (10, 3), (2000, 36)],
    "neighbours": [(128, n) for n in (2, 3, 30)],
}


def small(chip: str = "tpu_v4") -> tuple[Callable[[Batch], Trace], Chip]:
    """A Llama with few, narrow layers, and the chip that it runs on."""
    dtype, layers, hidden, wide = MACHINES[chip]
    config = load_config("llama-2-7b").with_fields(
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=wide,
        num_attention_heads=8,
        num_key_value_heads=4,
        vocab_size=1000,
    )
    precision = Precision(weights=dtype, activations=dtype, kv=dtype)
    return partial(build_trace, config, precision=precision), load_chip(chip)


def step_batch(requests: Requests, step: int) -> Batch:
    """Requests that make their token number ``step`` + 1: each has its prompt and ``step`` - 1 tokens cached."""
    return Batch.from_pairs((1, prompt + step - 1) for prompt, output in requests if output > step)


@cache
def every_step(chip_name: str, mix: str) -> tuple[tuple[float, float, int], ...]:
    """(seconds, joules, requests) of every decode step, each simulated."""
    build, chip = small(chip_name)
    requests = MIXES[mix]
    steps = []
    for step in range(1, max(output for _, output in requests)):
        batch = step_batch(requests, step)
        result = simulate(build(batch), chip)
        steps.append((result.latency_s, result.energy_j, len(batch)))
    return tuple(steps)


# ---------------------------------------------------------------- the integral


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("chip_name", MACHINES)
def test_the_integral_is_within_half_a_percent_of_every_step(chip_name: str, mix: str) -> None:
    build, chip = small(chip_name)
    found, steps = generate_tokens(build, chip, MIXES[mix]), every_step(chip_name, mix)
    later = sum(output - 1 for _, output in MIXES[mix])
    assert sum(count for _, _, count in steps) == later
    assert found.decode_s == pytest.approx(sum(s for s, _, _ in steps), rel=LIMIT)
    assert found.energy_j - found.prefill.energy_j == pytest.approx(sum(j for _, j, _ in steps), rel=LIMIT)
    assert found.tpot_s == pytest.approx(sum(s * count for s, _, count in steps) / later, rel=LIMIT)
    assert found.evaluations < len(steps)


def test_a_fifty_times_longer_answer_needs_few_more_evaluations() -> None:
    build, chip = small()
    short, long = (generate_tokens(build, chip, [(100, output)]) for output in (100, 5_000))
    assert (short.steps, long.steps) == (100, 5_000)
    assert long.evaluations <= 8 * short.evaluations
    assert long.decode_s > 50 * short.decode_s  # each step reads a longer cache


def test_the_ends_are_full_results_of_the_first_and_the_last_step() -> None:
    build, chip = small()
    requests = MIXES["ragged"]
    found = generate_tokens(build, chip, requests)
    assert same(found.prefill, simulate(build(Batch.prefill([30, 100, 400, 17, 256])), chip))
    assert same(found.first, simulate(build(Batch.from_pairs([(1, 30), (1, 100), (1, 400), (1, 17)])), chip))
    assert same(found.last, simulate(build(Batch.from_pairs([(1, 128), (1, 45)])), chip))


def same(one: Result, other: Result) -> bool:
    """Equal to the bit."""
    return one.to_dict() == other.to_dict()


# ---------------------------------------------------------------- exact short cases


def test_one_token_is_the_prefill_alone() -> None:
    build, chip = small()
    found = generate_tokens(build, chip, [(50, 1), (80, 1)])
    prefill = simulate(build(Batch.prefill([50, 80])), chip)
    assert (found.decode_s, found.tpot_s, found.evaluations, found.steps) == (0.0, 0.0, 1, 1)
    assert (found.latency_s, found.ttft_s, found.energy_j) == (prefill.latency_s, prefill.latency_s, prefill.energy_j)
    assert found.first is found.prefill and found.last is found.prefill


def test_two_tokens_are_the_prefill_and_one_step() -> None:
    build, chip = small()
    found = generate_tokens(build, chip, [(50, 2), (80, 1), (90, 2)])
    step = simulate(build(Batch.from_pairs([(1, 50), (1, 90)])), chip)
    assert (found.decode_s, found.tpot_s) == (step.latency_s, step.latency_s)
    assert found.energy_j == found.prefill.energy_j + step.energy_j
    assert found.latency_s == found.ttft_s + step.latency_s


def test_three_tokens_are_the_sum_of_both_steps() -> None:
    build, chip = small()
    found = generate_tokens(build, chip, [(50, 3)])
    steps = [simulate(build(Batch.from_pairs([(1, 50 + done)])), chip) for done in (0, 1)]
    assert found.decode_s == sum(step.latency_s for step in steps)
    assert found.energy_j == found.prefill.energy_j + sum(step.energy_j for step in steps)


# ---------------------------------------------------------------- conservation

mixes = st.lists(st.tuples(st.integers(1, 300), st.integers(1, 12)), min_size=1, max_size=3)


@settings(max_examples=6)
@given(mixes)
def test_tokens_and_energy_are_conserved(requests: list[tuple[int, int]]) -> None:
    found = generation(tuple(requests))
    assert found.input_tokens == sum(prompt for prompt, _ in requests) == found.prefill.tokens
    assert found.output_tokens == sum(output for _, output in requests)
    assert found.tokens_per_s == pytest.approx(found.output_tokens / (found.ttft_s + found.decode_s))
    assert found.energy_per_token_j * found.output_tokens == pytest.approx(found.energy_j)
    assert found.energy_j >= found.prefill.energy_j
    # the longest request sees every step, so its decode time is all of it
    assert found.latency_s == found.ttft_s + found.decode_s


@settings(max_examples=6)
@given(mixes)
def test_the_order_of_requests_changes_nothing_but_rounding(requests: list[tuple[int, int]]) -> None:
    one, other = generation(tuple(requests)), generation(tuple(reversed(requests)))
    for name in ("ttft_s", "tpot_s", "decode_s", "energy_j"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-9)


@cache
def generation(requests: tuple[tuple[int, int], ...]) -> Generation:
    """The small Llama on tpu_v4."""
    build, chip = small()
    return generate_tokens(build, chip, requests)


def test_a_given_mapping_is_used_in_every_step() -> None:
    build, chip = small()
    searched, heuristic = (generate_tokens(build, chip, [(300, 20)], mapping) for mapping in ("auto", "gemmini"))
    assert same(heuristic.prefill, simulate(build(Batch.prefill([300])), chip, "gemmini"))
    assert searched.decode_s < heuristic.decode_s


# ---------------------------------------------------------------- refusals


def refusal(chip: Chip, requests: Requests, build: Callable[[Batch], Trace]) -> str:
    with pytest.raises(ChipsmithError) as error:
        generate_tokens(build, chip, requests)
    return str(error.value)


def test_no_requests() -> None:
    build, chip = small()
    assert refusal(chip, [], build) == "requests; at least one request is needed"


def test_a_model_larger_than_the_memory() -> None:
    build = partial(build_trace, load_config("llama-2-70b"))
    assert refusal(load_chip("tpu_v4"), [(10, 10)], build) == (
        "chip.memories.dram.capacity_bytes: got 34359738368; llama-2-70b prefill needs 137956573184 bytes "
        "(weights and KV cache): 103596834816 bytes (96.48 GiB) are missing"
    )


def test_a_cache_that_outgrows_the_memory_on_the_way() -> None:
    build, chip = small()
    room = build(Batch.decode(1, 149)).resident_bytes  # what the step on 149 cached tokens needs
    tight = chip.with_fields({"memories.dram.capacity_bytes": room})
    fits = generate_tokens(build, tight, [(100, 51)])  # its last step is that one
    assert fits.last.latency_s > fits.first.latency_s
    text = refusal(tight, [(100, 52)], build)
    token = build(Batch.decode(1, 150)).resident_bytes - room
    assert text.startswith(f"chip.memories.dram.capacity_bytes: got {room}; llama-2-7b decode needs {room + token} ")
    assert f": {token} bytes (0.00 GiB) are missing" in text
