"""Bench of the PIM bank unit: rules, the channel model's schedules, numbers, reset; run by ``rtl.verify``.

The job (parameters, seed, schedules of the channel model) comes as a JSON file named by the environment variable
``CHIPSMITH_BENCH``; measured cycles and coverage go to the report file that it names.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cocotb
import numpy as np

from rtl import pim_stimulus as stimulus
from rtl.benches.pim_harness import PRESET, Channel
from rtl.pim_params import PimBankParams
from rtl.pim_roles import Spacing, spacings
from rtl.pim_timing import CLOSED, Step
from rtl.pim_traffic import read_steps

JOB: dict[str, Any] = json.loads(Path(os.environ["CHIPSMITH_BENCH"]).read_text())
PARAMS = PimBankParams(**JOB["params"])
REPORT: dict[str, Any] = {"runs": [], "bins": {}, "vectors": 0, "cycles": 0, "traces": []}
RANDOM_CYCLES = 1000
DRAINED_CYCLES = 110
"""Longer than any delay but a refresh."""
USED_ROWS = (0, 1, 2, 3)


def _start(dut: Any, test: str) -> Channel:
    """A channel whose seed depends on the job's seed and the test, so that one test can be repeated alone."""
    seed = zlib.crc32(f"{JOB['seed']}:{test}".encode())
    cocotb.log.info("%s %s: seed %d (job seed %d)", PARAMS.name, test, seed, JOB["seed"])
    return Channel(dut, PARAMS, seed)


def _finish(channel: Channel) -> None:
    """Check the checkers, add the coverage, rewrite the report."""
    channel.check()
    for name, count in channel.bins.items():
        REPORT["bins"][name] = REPORT["bins"].get(name, 0) + int(count)
    REPORT["vectors"] += channel.vectors
    REPORT["cycles"] += channel.cycle
    Path(JOB["report"]).write_text(json.dumps(REPORT))


@cocotb.test()
async def reset_state(dut: Any) -> None:
    """After reset nothing is offered, nothing is taken, no bit is unknown, every timer has run down."""
    channel = _start(dut, "reset_state")
    await channel.reset()
    await channel.idle(40)
    for name in channel.timing.role:
        step = Step(name, channel.banks[:1])
        on_row = name in channel.timing.row_commands
        await (channel.cycle_of(row=step, row_valid=False) if on_row else channel.cycle_of(col=step, col_valid=False))
    _finish(channel)


async def _play(dut: Any, test: str, schedules: list[dict[str, Any]]) -> None:
    """Play schedules of the channel model, each from a reset; the last result must be there at the model's clock."""
    channel = _start(dut, test)
    for one in schedules:
        steps = read_steps(one["steps"])
        await channel.reset()
        rows = {step.row for step in steps if step.command in channel.timing.row_commands}
        await channel.load(sorted(rows | {0}))
        await channel.reset()
        channel.trace.clear()
        measured = await channel.play(steps)
        REPORT["traces"].append({"name": one["name"], "cycles": one["cycles"], "events": list(channel.trace)})
        REPORT["runs"].append(
            {"test": test, "shape": one["shape"], "measured_cycles": measured, "model_cycles": one["cycles"]}
        )
        assert measured == one["cycles"], (
            f"{one['name']}: {measured} cycles measured, the channel model says {one['cycles']}"
        )
        await channel.settle()
    _finish(channel)


@cocotb.test()
async def model_schedules(dut: Any) -> None:
    """Products: every command goes at the model's clock, not one earlier, and results come at its clock."""
    await _play(dut, "model_schedules", JOB["schedules"])


@cocotb.test()
async def shared_schedules(dut: Any) -> None:
    """The same with a refresh in between, with several composites a tile, and with the host beside the units."""
    await _play(dut, "shared_schedules", JOB["shared"])


def _target(channel: Channel, name: str, level: int, first: bool) -> tuple[int, ...]:
    """Banks of a command for the check of a rule: the second one shares a node of ``level`` with the first."""
    role, sizes = channel.timing.role[name], channel.timing.sizes
    if role in ("read", "write", "open_host", "close_host"):
        finest = level == len(sizes) - 1
        return (0,) if first or finest else (sizes[level + 1] % sizes[level],)
    if role != "open_unit":
        return channel.banks
    beside = [group for group in channel.groups[1:] if group[0] < sizes[level]]
    return channel.groups[0] if first or level > 2 or not beside else beside[0]


async def _check_rule(channel: Channel, rule: Spacing) -> None:
    """Both commands made possible, everything drained; then one, and the other as soon as it may."""
    await channel.reset()
    before = Step(rule.before, _target(channel, rule.before, rule.level, True), row=0)
    after = Step(rule.after, _target(channel, rule.after, rule.level, False), row=1)
    if channel.timing.role[rule.after] == "composite" and channel.timing.role[rule.before] == "open_unit":
        before = replace(before, banks=channel.groups[-1])
        for group in channel.groups[:-1]:
            await channel.do(replace(before, banks=group))
    if channel.timing.role[rule.before] == "mode":  # on its way back, so that the other one may follow
        await channel.bring(after)
        await channel.send(before)
    await channel.bring(before)
    if channel.timing.missing(after, channel.groups) is not None and set(before.banks).isdisjoint(after.banks):
        await channel.bring(after)
        await channel.bring(before)
    await channel.idle(DRAINED_CYCLES)
    sent = await channel.send(before)
    for bank in range(1, rule.window):
        await channel.send(replace(before, banks=(bank,)))
        after = before
    await channel.bring(after)
    at = await channel.send(after)
    if at == sent + rule.delay_cycles:
        channel.bins[rule.bin] += 1


@cocotb.test()
async def spacing_rules(dut: Any) -> None:
    """Every rule of the device alone: refused until its delay is over, taken then."""
    channel = _start(dut, "spacing_rules")
    await channel.reset()
    await channel.load(USED_ROWS)
    await _fill(channel)
    for rule in spacings(channel.device):
        await _check_rule(channel, rule)
    _finish(channel)


async def _fill(channel: Channel) -> None:
    """Give every slice of the global buffer a value."""
    role = "fill_all" if channel.layout.composite else "fill"
    for column in range(1 if channel.layout.composite else PARAMS.columns):
        await channel.do(Step(channel.layout.command(role), channel.banks, column=column))
    await channel.settle()


def _random_step(channel: Channel) -> Step:
    """Any command; every third one is what the units need next for a dot product."""
    if channel.rng.random() > 1 / 3:
        return _any_step(channel)
    role = channel.rng.choice(["composite"] if channel.layout.composite else ["mac", "mac", "result"])
    wanted = replace(_any_step(channel), command=channel.layout.command(role), banks=channel.banks)
    return channel.timing.missing(wanted, channel.groups) or wanted


def _any_step(channel: Channel) -> Step:
    """Any command, with banks, row and columns that fit it."""
    rng, layout = channel.rng, channel.layout
    weights = {
        "refresh": 1,
        "close_all": 2,
        "close_unit": 3,
        "mode": 6,
        "fill_all": 2,
        "announce": 3,
        "read": 20,
        "write": 12,
    }
    names = list(channel.timing.role)
    name = rng.choices(names, [weights.get(channel.timing.role[one], 10) for one in names])[0]
    role = channel.timing.role[name]
    banks = channel.banks
    if role in ("read", "write", "open_host", "close_host"):
        banks = (rng.choice(channel.banks),)
    elif role == "open_unit":
        banks = rng.choice(channel.groups)
    column = rng.randrange(PARAMS.columns)
    columns = rng.randint(1, PARAMS.columns - column) if layout.composite else 1
    return Step(name, banks, rng.choice(USED_ROWS), column, columns, rng.random() < 0.3)


def _fits(channel: Channel, step: Step, other: Step | None) -> bool:
    """Whether a command can go now or later, whichever of the two on the buses goes first."""
    if not channel.timing.stands(step):
        return False
    if other is None:
        return True
    return all(channel.timing.after(one).stands(two) for one, two in ((step, other), (other, step)))


async def _random_traffic(channel: Channel, cycles: int, share: float) -> None:
    """Commands drawn at random on both buses, held until they go, with gaps between them."""
    held: dict[bool, Step | None] = {False: None, True: None}
    for _ in range(cycles):
        for _ in range(3):
            if None not in held.values() or channel.rng.random() > share:
                break
            step = _random_step(channel)
            on_row = step.command in channel.timing.row_commands
            if held[on_row] is None and _fits(channel, step, held[not on_row]):
                held[on_row] = step
        channel.bins["bus.both"] += None not in held.values()
        await _offer(channel, held)
    while any(held.values()):
        await _offer(channel, held)


async def _offer(channel: Channel, held: dict[bool, Step | None]) -> None:
    """One clock with a command on each bus; what went is let go."""
    went = await channel.cycle_of(held[False], held[True])
    for on_row, gone in zip((False, True), went, strict=True):
        held[on_row] = None if gone else held[on_row]


@cocotb.test()
async def random_traffic(dut: Any) -> None:
    """Random commands of host and units, dense and with gaps: every answer as the rules say, every word right."""
    channel = _start(dut, "random_traffic")
    await channel.reset()
    await channel.load(USED_ROWS, special=0.02)
    for share in (1.0, 0.3):
        await channel.reset()
        await _fill(channel)
        await _random_traffic(channel, RANDOM_CYCLES, share)
        await channel.settle()
    _finish(channel)


async def _dot(channel: Channel, row: int, columns: int, first: int = 0) -> None:
    """A dot product of some columns of a row in all banks, and its result."""
    if channel.layout.composite:
        for keep in (False, True):
            await channel.do(Step("COMPS", channel.banks, row, first, columns, keep))
        await channel.settle()
        return
    await channel.do(Step("WRBIAS", channel.banks))
    for column in range(first, first + columns):
        await channel.do(Step("MACAB", channel.banks, row, column))
    await channel.do(Step("RDMAC", channel.banks))
    await channel.settle()


async def _close(channel: Channel) -> None:
    """Close the units' rows."""
    await channel.do(Step("PPRE" if channel.layout.composite else "PREA", channel.banks))


def _corner_rows(channel: Channel) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    """Rows of corner operands: the same everywhere, or drawn from the corners alone."""
    shape = (PARAMS.columns, PARAMS.lanes)
    if not PARAMS.format.is_float:
        return [np.full(shape, value, np.int64) for value in (-128, 127, -1)] + [channel.operands(shape, 1.0)]
    finite = [value for value in stimulus.float_corners(PARAMS) if value & 0x7FFF < _top()]
    draws = [channel.numbers.choice(np.array(finite, np.int64), size=shape) for _ in range(2)]
    near = channel.operands(shape)
    return [*draws, channel.operands(shape, 0.05), np.concatenate([near[:1], near[:1] ^ 0x8000, near[2:]])]


def _top() -> int:
    return ((1 << PARAMS.format.exponent_bits) - 1) << PARAMS.format.mantissa_bits


@cocotb.test()
async def corner_operands(dut: Any) -> None:
    """Extreme operands, cancelling ones, and those that are no number."""
    channel = _start(dut, "corner_operands")
    await channel.reset()
    for special in (1.0, 0.0):
        channel.special = special
        for row, cells in enumerate(_corner_rows(channel)):
            for bank in channel.banks:
                await channel.load_row(bank, row, np.roll(cells, bank, axis=0))
        await _fill(channel)
        for row in range(len(_corner_rows(channel))):
            await _dot(channel, row, PARAMS.columns)
            await _close(channel)
    _finish(channel)


@cocotb.test()
async def directed_columns(dut: Any) -> None:
    """One column for each rule of the arithmetic: ties, sticky bits, carries, cancellation, overflow, infinities."""
    channel = _start(dut, "directed_columns")
    await channel.reset()
    columns = [(np.array(w, np.int64), np.array(x, np.int64)) for w, x in stimulus.directed_columns(PARAMS)]
    nothing = np.full(PARAMS.lanes, 1 << PARAMS.format.bits - 1 if PARAMS.format.is_float else 0, np.int64)  # -0
    for start in range(0, len(columns), PARAMS.columns):
        chunk = columns[start : start + PARAMS.columns]
        cells = np.stack([w for w, _ in chunk] + [nothing] * (PARAMS.columns - len(chunk)))
        channel.fixed = {index: x for index, (_, x) in enumerate(chunk)} | {PRESET: nothing}
        for bank in channel.banks:
            await channel.load_row(bank, 0, cells.copy())
        await _fill(channel)
        for index in range(len(chunk)):
            await _dot(channel, 0, 1, index)
        await _close(channel)
    _finish(channel)


@cocotb.test()
async def random_numbers(dut: Any) -> None:
    """Many dot products of random operands."""
    channel = _start(dut, "random_numbers")
    await channel.reset()
    for special in (0.0, 0.01):
        await channel.load(range(5), special)
        await _fill(channel)
        for row in range(5):
            await _dot(channel, row, channel.rng.randint(1, PARAMS.columns))
            await _close(channel)
    _finish(channel)


@cocotb.test()
async def row_conflicts(dut: Any) -> None:
    """A row that is open in one buffer is not opened in the other; commands to a closed row wait for ever."""
    channel = _start(dut, "row_conflicts")
    await channel.reset()
    await channel.load(USED_ROWS)
    opener, host = Step(channel.layout.command("open_unit"), channel.groups[0], 2), Step("ACT", (0,), 2)
    for first, second, label in ((opener, host, "host"), (host, opener, "unit")):
        await channel.reset()
        await channel.send(first)
        for _ in range(2 * DRAINED_CYCLES):
            assert await channel.cycle_of(row=second, row_valid=False) == (False, False)
        assert not channel.timing.stands(second)
        if channel.timing.two_buffers:
            channel.bins[f"same_row.{label}"] += 1
            await channel.send(replace(second, row=3))
    await channel.reset()
    await channel.idle(2)
    for name in ("RD", "WR"):
        for _ in range(DRAINED_CYCLES):
            await channel.cycle_of(col=Step(name, (0,)), col_valid=False)
    assert set(channel.timing.host_row) == {CLOSED}
    _finish(channel)


async def _interrupted(channel: Channel, index: int) -> None:
    """Start what takes long, and leave it after some clocks."""
    role = ("fill_all" if index % 2 else "composite") if channel.layout.composite else "result"
    await channel.do(Step(channel.layout.command(role), channel.banks, columns=PARAMS.columns))
    await channel.idle(index % 5)


@cocotb.test()
async def reset_in_flight(dut: Any) -> None:
    """Reset in the middle of random traffic; what follows must be clean, at once and after a pause."""
    channel = _start(dut, "reset_in_flight")
    await channel.reset()
    await channel.load(USED_ROWS)
    for index in range(14):
        await _fill(channel)
        await _random_traffic(channel, 5 + 9 * index, 1.0)
        if index % 3:
            await _interrupted(channel, index)
        channel.bins["reset.busy" if channel.results or channel.timing.free > channel.now else "reset.idle"] += 1
        await channel.reset(cycles=1 + index % 2)
        if index % 3 == 0:
            await channel.idle(30)
    await channel.reset()
    await channel.load(USED_ROWS)
    await _fill(channel)
    await _dot(channel, 1, PARAMS.columns)
    _finish(channel)
