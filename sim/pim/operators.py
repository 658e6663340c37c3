"""Operators on PIM devices: matrix-vector products, decode attention, element-wise operations, and plain reads.

Each function writes the design's command sequence for one channel, schedules it, and sums all channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.pim import PimDevice, load_device
from sim.pim import aim, attacc, hbm_pim, newton, plain
from sim.pim.channel import REFRESH_PHASE, ChannelRun, run
from sim.pim.program import Program
from sim.pim.result import PimResult, Work, collect
from workloads.errors import ChipsmithError

ELEMENTWISE = {"add": 2, "mul": 2, "relu": 1}


@dataclass(frozen=True)
class Settings:
    """How an operator is run and priced.

    Attributes:
        energies: name of the device's energy set; empty = its first.
        refresh_phase: share of the refresh interval that is over at the start.
    """

    energies: str = ""
    refresh_phase: float = REFRESH_PHASE


DEFAULT = Settings()


def gemv(
    device: str | PimDevice,
    out_features: int,
    in_features: int,
    batch: int = 1,
    dtype: str = "",
    settings: Settings = DEFAULT,
) -> PimResult:
    """Product of an ``out_features x in_features`` weight matrix with ``batch`` vectors, weights in the arrays.

    Args:
        device: a name of :func:`models.pim.pim_devices`, or a device.
        out_features, in_features: of the matrix.
        batch: vectors; only units that reuse a column read the weights once for several of them.
        dtype: number format; empty = the first of the units.
        settings: energies and refresh phase.

    Raises:
        ChipsmithError: a format that the units lack, a size below 1, weights beyond the capacity.
    """
    found = _device(device)
    element = found.check_format(dtype or found.unit.dtypes[0])
    _positive(out_features=out_features, in_features=in_features, batch=batch)
    weights = out_features * in_features * element
    _fits(f"weights of {out_features} x {in_features}", weights, found.organisation.capacity_bytes, found.name)
    outputs = -(-out_features // found.organisation.channels)
    program = gemv_program(found, outputs, in_features, batch)
    passes = -(-batch // found.unit.reuse)
    work = Work(
        f"gemv {out_features} x {in_features}, batch {batch}",
        weights * passes,
        out_features * in_features * batch,
        batch / passes,
    )
    return _all_channels(found, work, [(found.organisation.channels, program)], settings)


def gemv_program(device: PimDevice, outputs: int, in_features: int, batch: int) -> Program:
    """The sequence of one channel with that many outputs; units that reuse columns take several vectors a pass."""
    if device.program == "attacc":
        return attacc.gemv_program(device, outputs, in_features, batch)
    passes = -(-batch // device.unit.reuse)
    if device.program == "newton":
        return newton.gemv_program(device, outputs, in_features, passes)
    if device.program == "aim":
        return aim.gemv_program(device, *aim_shape(device, outputs, in_features), passes)
    return hbm_pim.gemv_program(device, *hbm_pim_shape(device, outputs, in_features), passes)


def aim_shape(device: PimDevice, outputs: int, inputs: int) -> tuple[int, int]:
    """(passes, inputs in bursts) of a matrix on one channel of AiM."""
    org, unit = device.organisation, device.unit
    return -(-outputs // (org.banks // unit.banks)), -(-inputs // unit.lanes)


def hbm_pim_shape(device: PimDevice, outputs: int, inputs: int) -> tuple[int, int]:
    """(tiles of outputs, tiles of inputs) of a matrix on one channel of HBM-PIM."""
    org, unit = device.organisation, device.unit
    out_tile, in_tile = org.banks // unit.banks * unit.registers["GRF_B"], unit.lanes * unit.registers["GRF_A"]
    return -(-outputs // out_tile), -(-inputs // in_tile)


def decode_attention(
    device: str | PimDevice,
    heads: int,
    context: int,
    head_dim: int,
    requests: int = 1,
    queries: int = 1,
    dtype: str = "",
    settings: Settings = DEFAULT,
) -> PimResult:
    """Attention of one new token a request over its cached keys and values.

    Heads of all requests are dealt to the channels in turn; NeuPIMs and Newton keep a request whole on one channel.
    AttAcc and Duplex include softmax; HBM-PIM, AiM and Newton leave it to the host, whose time is not counted.

    Args:
        device: a name of :func:`models.pim.pim_devices`, or a device.
        heads: key heads of a request.
        context: cached tokens of each request.
        head_dim: elements of a key.
        requests: how many.
        queries: query heads that share a key head (grouped-query attention).
        dtype: number format; empty = the first of the units.
        settings: energies and refresh phase.

    Raises:
        ChipsmithError: a format that the units lack, a size below 1, a cache that does not fit its channels.
    """
    found = _device(device)
    element = found.check_format(dtype or found.unit.dtypes[0])
    _positive(heads=heads, context=context, head_dim=head_dim, requests=requests, queries=queries)
    whole = found.program == "newton"
    loads = _deal(requests if whole else heads * requests, found.organisation.channels)
    cache = 2 * context * head_dim * element
    per_load = cache * (heads if whole else 1)
    room = found.organisation.capacity_bytes // found.organisation.channels
    _fits(f"keys and values of {loads[0][1]} {'requests' if whole else 'heads'} on one channel", loads[0][1] * per_load,
          room, found.name)  # fmt: skip
    programs = [(n, _attention_program(found, count, heads, context, head_dim, queries)) for n, count in loads]
    passes = -(-queries // found.unit.reuse)
    work = Work(
        f"decode attention, {requests} x {heads} heads of {head_dim}, context {context}",
        cache * heads * requests * passes,
        2 * context * head_dim * heads * requests * queries,
        queries / passes,
    )
    return _all_channels(found, work, programs, settings)


def _deal(pieces: int, channels: int) -> list[tuple[int, int]]:
    """(channels, pieces of each), the fullest first; channels without any are left out."""
    full, rest = divmod(pieces, channels)
    return [(n, count) for n, count in ((rest, full + 1), (channels - rest, full)) if n and count]


def _attention_program(
    device: PimDevice, pieces: int, heads: int, context: int, head_dim: int, queries: int
) -> Program:
    """The sequence of a channel with that many heads (Newton: requests)."""
    if device.program == "attacc":
        return attacc.attention_program(device, pieces, context, head_dim, queries)
    passes = -(-queries // device.unit.reuse)
    if device.program == "newton":
        keys = newton.key_tiles(device, heads * head_dim, context, head_dim)
        values = newton.value_tiles(device, heads, context, head_dim)
        return newton.tile_program(device, (keys * passes + values * passes) * pieces)
    shapes = [(context, head_dim), (head_dim, context)] * pieces
    if device.program == "aim":
        return aim.gemvs_program(device, [aim_shape(device, *shape) for shape in shapes], passes)
    return hbm_pim.gemvs_program(device, [hbm_pim_shape(device, *shape) for shape in shapes], passes)


def placed_attention(
    device: str | PimDevice,
    placed: Sequence[Sequence[int]],
    heads: int,
    head_dim: int,
    dtype: str = "",
    settings: Settings = DEFAULT,
) -> PimResult:
    """Attention of requests of any lengths that lie on given channels, as NeuPIMs places them.

    All channels finish the scores before the host's softmax, and that before the contexts: the time is that of the
    fullest channel of either phase.

    Args:
        device: ``newton``, ``neupims``, or a device with their program.
        placed: cached tokens of the requests of each channel.
        heads: key heads of a request.
        head_dim: elements of a key.
        dtype: number format; empty = the first of the units.
        settings: energies and refresh phase, the same at the start of both phases.

    Raises:
        ChipsmithError: another device, more channels than it has, a size below 1, a cache that does not fit.
    """
    found = _device(device)
    element = found.check_format(dtype or found.unit.dtypes[0])
    if found.program != "newton":
        raise ChipsmithError("pim device", found.name, "requests are placed on channels of newton and neupims")
    channels = found.organisation.channels
    if not 0 < len(placed) <= channels or not any(placed):
        raise ChipsmithError("placed", len(placed), f"requests on 1 to {channels} channels are required")
    _positive(heads=heads, head_dim=head_dim, context=min(context for cached in placed for context in cached))
    token = 2 * heads * head_dim * element
    fullest = max(sum(cached) for cached in placed)
    _fits(f"keys and values of {fullest} tokens on one channel", token * fullest,
          found.organisation.capacity_bytes // channels, found.name)  # fmt: skip
    tokens = sum(map(sum, placed))
    work = Work(f"attention of {sum(map(len, placed))} placed requests, {heads} heads of {head_dim}", token * tokens,
                2 * heads * head_dim * tokens)  # fmt: skip
    keys = [[newton.key_tiles(found, heads * head_dim, context, head_dim) for context in cached] for cached in placed]
    values = [[newton.value_tiles(found, heads, context, head_dim) for context in cached] for cached in placed]
    phases = [[_run_tiles(found, requests, settings) for requests in phase if requests] for phase in (keys, values)]
    cycles = sum(max(done.cycles for done in phase) for phase in phases)
    return collect(found, work, [(1, done) for phase in phases for done in phase], cycles, settings.energies)


def _run_tiles(device: PimDevice, requests: Sequence[Sequence[newton.Tile]], settings: Settings) -> ChannelRun:
    tiles = [tile for request in requests for tile in request]
    return run(newton.tile_program(device, tiles), settings.refresh_phase)


def elementwise(
    device: str | PimDevice, kernel: str, elements: int, dtype: str = "", settings: Settings = DEFAULT
) -> PimResult:
    """Element-wise addition, multiplication or ReLU in HBM-PIM.

    Args:
        device: ``hbm_pim``, or a device with its program.
        kernel: ``add``, ``mul`` or ``relu``.
        elements: of the result.
        dtype: number format; empty = the first of the units.
        settings: energies and refresh phase.

    Raises:
        ChipsmithError: another device or kernel, a format that the units lack, vectors beyond the capacity.
    """
    found = _device(device)
    if found.program != "hbm_pim":
        raise ChipsmithError("pim device", found.name, "element-wise operations run on hbm_pim")
    operands, size = _elementwise_bytes(found, kernel, elements, dtype)
    unit, org = found.unit, found.organisation
    group = org.channels * (org.banks // unit.banks) * unit.registers["GRF_A"] * unit.lanes
    program = hbm_pim.elementwise_program(found, -(-elements // group), operands)
    work = Work(f"{kernel} of {elements}", (operands + 1) * size, elements)
    return _all_channels(found, work, [(org.channels, program)], settings)


def plain_gemv(
    device: str | PimDevice, out_features: int, in_features: int, dtype: str = "", settings: Settings = DEFAULT
) -> PimResult:
    """What a matrix-vector product costs the host: plain reads of weights and inputs, plain writes of the outputs.

    A batch costs the host no more than one vector, as it reads the weights once.

    Raises:
        ChipsmithError: see :func:`gemv`.
    """
    found = _device(device)
    element = found.check_format(dtype or found.unit.dtypes[0])
    _positive(out_features=out_features, in_features=in_features)
    weights = out_features * in_features * element
    _fits(f"weights of {out_features} x {in_features}", weights, found.organisation.capacity_bytes, found.name)
    work = Work(f"plain gemv {out_features} x {in_features}", weights, out_features * in_features, on_units=False)
    return _plain(found, work, weights + in_features * element, out_features * element, settings)


def plain_elementwise(
    device: str | PimDevice, kernel: str, elements: int, dtype: str = "", settings: Settings = DEFAULT
) -> PimResult:
    """What an element-wise operation costs the host: plain reads of operands, plain writes of results.

    Raises:
        ChipsmithError: see :func:`elementwise`.
    """
    found = _device(device)
    operands, size = _elementwise_bytes(found, kernel, elements, dtype)
    work = Work(f"plain {kernel} of {elements}", (operands + 1) * size, elements, on_units=False)
    return _plain(found, work, operands * size, size, settings)


def instruction_stream(device: str | PimDevice, instructions: Sequence[Any], settings: Settings = DEFAULT) -> PimResult:
    """A stream of AiM instructions on all channels, as nested lists (see :meth:`sim.pim.aim.AimProgram.stream`).

    Raises:
        ChipsmithError: another device, or an unknown instruction.
    """
    found = _device(device)
    if found.program != "aim":
        raise ChipsmithError("pim device", found.name, "instruction streams run on aim")
    program = aim.AimProgram(found)
    program.stream(instructions)
    work = Work("instruction stream", 0, 0)
    return _all_channels(found, work, [(found.organisation.channels, program)], settings)


# ---------------------------------------------------------------- shared


def _device(device: str | PimDevice) -> PimDevice:
    return load_device(device) if isinstance(device, str) else device


def _positive(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise ChipsmithError(name, value, "a whole number above 0 is required")


def _fits(what: str, needed: int, room: int, device: str) -> None:
    if needed > room:
        raise ChipsmithError(f"pim.{device}", None, f"{what} need {needed} bytes, there are {room}: "
                             f"{needed - room} bytes are missing")  # fmt: skip


def _elementwise_bytes(device: PimDevice, kernel: str, elements: int, dtype: str) -> tuple[int, int]:
    """(operands, bytes of each)."""
    element = device.check_format(dtype or device.unit.dtypes[0])
    if kernel not in ELEMENTWISE:
        raise ChipsmithError("kernel", kernel, f"known: {', '.join(ELEMENTWISE)}")
    _positive(elements=elements)
    size = elements * element
    vectors = ELEMENTWISE[kernel] + 1
    _fits(f"{vectors} vectors of {elements}", vectors * size, device.organisation.capacity_bytes, device.name)
    return ELEMENTWISE[kernel], size


def _plain(device: PimDevice, work: Work, read_bytes: int, written_bytes: int, settings: Settings) -> PimResult:
    org = device.organisation
    share = org.channels * org.burst_bytes
    program = plain.plain_program(device, -(-read_bytes // share), -(-written_bytes // share))
    return _all_channels(device, work, [(org.channels, program)], settings)


def _all_channels(device: PimDevice, work: Work, programs: list[tuple[int, Program]], settings: Settings) -> PimResult:
    """Run one channel of each kind; the slowest sets the time."""
    runs = [(channels, run(program, settings.refresh_phase)) for channels, program in programs]
    return collect(device, work, runs, max(done.cycles for _, done in runs), settings.energies)
