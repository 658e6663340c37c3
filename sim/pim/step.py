"""Operators of a trace on units inside a memory, command by command.

The pieces of an operator are dealt to channels as at ``tile``; each channel's own command sequence is scheduled, and
the slowest channel binds in each phase. Channels with equal work run once and are remembered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from models.engines.pim import Design, built
from models.pim import PLACES, Command, PimDevice, pim_devices
from sim.demand import COMMAND, KIND_CODES, OK
from sim.engine import Array
from sim.engines.pim_kernels import (
    TOTALS,
    deal,
    finish,
    greedy_work,
    piece_costs,
    pieces_of,
    softmax_ops,
    trace_events,
)
from sim.pim import aim, attacc, hbm_pim, newton, operators
from sim.pim.channel import ChannelRun, run
from sim.pim.program import Program
from workloads.dtypes import DTYPES

_RUNS_KEPT = 4096
#: Vectors of one product that are scheduled; more repeat the same commands, and are extrapolated.
_VECTORS = 16
KEYS, VALUES, BOTH = "keys", "values", "both"
_EVENTS = ("pim_activations", "pim_array_bytes", "pim_move_bytes", "pim_bus_bytes", "pim_macs")


class Piece(NamedTuple):
    """Equal requests, or key heads of them, on one channel.

    Attributes:
        times: how many. keys: cached tokens. heads: key heads of a request. qk_dim, v_dim: of a head.
        vectors: queries that share a key head.
    """

    times: int
    keys: int
    heads: int
    qk_dim: int
    v_dim: int
    vectors: int


def price_commands(ops: Array, p: Any, out: Array, status: Array) -> None:
    """All operator rows (k) of one design; rows of one operator are neighbours. Fills ``out`` (k,), ``status`` (k,)."""
    design = _design(p)
    for row in dict.fromkeys(ops["row"].tolist()):
        own = np.flatnonzero(ops["row"] == row)
        part = slice(int(own[0]), int(own[-1]) + 1)
        if ops[part][0]["kind"] == KIND_CODES["attention"]:
            status[part] = _attention(design, ops[part], p, out[part])
            finish(ops[part], p, COMMAND, out[part])
            continue
        for j in own:
            _gemm(design, ops[j], p, out[j])
            finish(ops[j : j + 1], p, COMMAND, out[j : j + 1])


def _design(p: Any) -> Design:
    fields = ("own_lanes", "own_row_buffers", "own_channels", "own_interval", "own_reuse")
    form = list(DTYPES)[int(p["own_format"]) - 1] if p["own_format"] else ""
    own = dict(zip(Design._fields[1:], (int(p[name]) for name in fields), strict=False))
    return Design(pim_devices()[int(p["device"])], **own, dtype=form)


def _attention(design: Design, ops: Array, p: Any, out: Array) -> int:
    """Time and events of an attention operator, on its first row."""
    totals, work = np.zeros((2, TOTALS)), np.zeros(len(ops))
    for j in range(len(ops)):
        piece_costs(ops[j], p, totals)
        work[j] = greedy_work(p, totals)
        trace_events(ops[j], out[j])
        out[j]["vector_ops"] = softmax_ops(ops[j]) if p["host_softmax"] else 0
    channel_of = np.zeros(sum(pieces_of(op, p) for op in ops), np.int64)
    status = int(deal(ops, p, work, channel_of))
    if status == OK:
        channels = _by_channel(ops, p, channel_of)
        for phase in (KEYS, VALUES) if p["host_softmax"] else (BOTH,):
            _phase(design, phase, channels, int(p["issue"]), out[0])
    return status


def _by_channel(ops: Array, p: Any, channel_of: Array) -> Counter[tuple[Piece, ...]]:
    """How many channels hold which pieces."""
    held: dict[int, Counter[Piece]] = {}
    at = 0
    for op in ops:
        count = pieces_of(op, p)
        where, number = np.unique(channel_of[at : at + count], return_counts=True)
        at += count
        piece = Piece(1, int(op["keys"]), int(op["kv_heads"]), int(op["qk_dim"]), int(op["v_dim"]),
                      int(op["m"] * (op["heads"] // op["kv_heads"])))  # fmt: skip
        for channel, n in zip(where.tolist(), number.tolist(), strict=True):
            held.setdefault(channel, Counter())[piece] += n
    return Counter(
        tuple(sorted((piece._replace(times=n) for piece, n in pieces.items()), reverse=True))
        for pieces in held.values()
    )


def _phase(design: Design, phase: str, channels: Counter[tuple[Piece, ...]], issue: int, out: Any) -> None:
    """Add the time of a phase, that of its slowest channel, and the events of all."""
    device = built(design)
    slowest, commands = 0, 0
    for pieces, count in channels.items():
        done = _channel(design, phase, pieces)
        slowest = max(slowest, done.cycles)
        commands += count * sum(done.commands.values())
        passes = {-(-piece.vectors // device.unit.reuse) for piece in pieces}
        vectors = max(piece.vectors for piece in pieces) / max(passes)
        _add_events(device, done, count, vectors, out)
    out["busy"] += max(slowest, -(-commands // issue) if issue else 0)


@lru_cache(maxsize=_RUNS_KEPT)
def _channel(design: Design, phase: str, pieces: tuple[Piece, ...]) -> ChannelRun:
    """One channel's phase."""
    return run(_program(built(design), phase, pieces))


def _program(device: PimDevice, phase: str, pieces: Sequence[Piece]) -> Program:
    single = [piece for piece in pieces for _ in range(piece.times)]
    if device.program == "newton":
        return newton.tile_program(device, [tile for piece in single for tile in _tiles(device, phase, piece)])
    if device.program == "attacc":
        loads = [attacc.Load(piece.keys, piece.qk_dim, piece.v_dim, piece.vectors) for piece in single]
        return attacc.heads_program(device, loads)
    shapes = [(piece.keys, piece.qk_dim) if phase == KEYS else (piece.v_dim, piece.keys) for piece in single]
    passes = max(-(-piece.vectors // device.unit.reuse) for piece in single)
    if device.program == "aim":
        return aim.gemvs_program(device, [operators.aim_shape(device, *shape) for shape in shapes], passes)
    return hbm_pim.gemvs_program(device, [operators.hbm_pim_shape(device, *shape) for shape in shapes], passes)


def _tiles(device: PimDevice, phase: str, piece: Piece) -> list[newton.Tile]:
    again = -(-piece.vectors // device.unit.reuse)
    if phase == KEYS:
        return newton.key_tiles(device, piece.heads * piece.qk_dim, piece.keys, piece.qk_dim) * again
    return newton.value_tiles(device, piece.heads, piece.keys, piece.v_dim) * again


def _gemm(design: Design, op: Any, p: Any, out: Any) -> None:
    """Time and events of one row of a product."""
    trace_events(op, out)
    device, channels = built(design), int(p["channels"])
    outputs = -(-int(op["n"]) // channels)
    used, again = -(-int(op["n"]) // outputs), -(-int(op["m"]) // device.unit.reuse)
    done = _product(design, outputs, int(op["k"]), min(int(op["m"]), _VECTORS * device.unit.reuse))
    scale = max(1.0, again / _VECTORS)
    out["busy"] = int(op["count"]) * done.cycles * scale
    if p["issue"] > 0:
        out["busy"] = max(out["busy"], op["count"] * scale * used * sum(done.commands.values()) / p["issue"])
    _add_events(device, done, used * int(op["count"]) * scale, int(op["m"]) / again, out)


@lru_cache(maxsize=_RUNS_KEPT)
def _product(design: Design, outputs: int, inputs: int, vectors: int) -> ChannelRun:
    return run(operators.gemv_program(built(design), outputs, inputs, vectors))


def _add_events(device: PimDevice, done: ChannelRun, times: float, vectors: float, out: Any) -> None:
    """Add what ``times`` channels did: rows, bytes by the part of the way they travel, multiplications."""
    size = device.organisation.burst_bytes
    found = dict.fromkeys(_EVENTS, 0.0)
    unit = device.commands[device.mac].reach
    for name, issued in done.commands.items():
        command, banks = device.commands[name], done.bank_accesses.get(name, 0)
        if command.kind == "activate":
            found["pim_activations"] += banks
        if command.macs:
            found["pim_macs"] += banks * device.unit.lanes * vectors
        if command.kind in ("column", "data"):
            bursts = done.bursts.get(name, 0)
            shared = command.kind == "data" or PLACES[-1] in (command.origin, command.reach)
            for event in _ways(command, unit):
                found[event] += size * (bursts if shared else banks)
        out["blocks"] += int(issued * times)
    for event, amount in found.items():
        out[event] += int(np.ceil(amount * times))


def _ways(command: Command, unit: str) -> list[str]:
    """Parts of the way that a command's data travels: array to unit, unit to buffer die, buffer die to outside."""
    near, far = sorted((PLACES.index(command.origin), PLACES.index(command.reach)))
    die, ways = PLACES.index("buffer_die"), []
    if near == 0 < far:
        ways.append("pim_array_bytes")
        near = PLACES.index(unit)
    if near < die <= far:
        ways.append("pim_move_bytes")
    if far > die:
        ways.append("pim_bus_bytes")
    return ways
