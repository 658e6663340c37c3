"""Specification of processing-in-memory units: which device, how many, what they take, where caches are placed."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, field_validator, model_validator

from models.costs import Costs, EnginePrices, FieldReader, FieldTable, Words, total
from models.datafiles import load_data
from models.engines.base import EngineSpec, known_format
from models.pim import PimDevice, load_device, pim_devices
from models.technology import Floats, nominal_vdd
from workloads.dtypes import dtype
from workloads.errors import nearest

TYPE = "pim"
KINDS = ("attention", "gemm")
PLACEMENTS = ("round_robin", "greedy", "trace")
#: Devices that differ in nothing but their row buffers: (one, two).
_TWINS = {"newton": ("newton", "neupims"), "neupims": ("newton", "neupims")}
_DESIGNS_KEPT = 4096
#: Operand, product and sum of a multiplier wait in registers.
_REGISTER_WORDS = 3


class PimSpec(EngineSpec):
    """Units inside a memory. They read weights and caches from their own banks, not over the memory's data bus.

    Attributes:
        type: always ``pim``.
        clock_hz: memory clock; the device's timing counts in its cycles.
        memory: the chip memory whose banks the units sit in.
        device: a device of models/data/pim.
        stacks: copies of the device.
        takes: operator kinds.
        max_op_per_byte: operations (2 a MAC) for each byte of weights or cache that an operator may do; others go to
            the next engine unless a mapping says so.
        kv_placement: how caches are dealt to channels: ``round_robin``, ``greedy`` (longest first, on the channel with
            the least work) or as the ``trace`` says.
        energies: the device's energy set, empty = its first.
        dtype: format that the units multiply, empty = the device's first; units of narrower operands have more lanes,
            so that they multiply a column of the same bytes.
        lanes: multipliers a unit and vector, 0 = the device's. More than a column holds are idle.
        row_buffers: per bank, 0 = the device's. With one the host waits while units work.
        channels: of one copy, 0 = the device's.
        mac_interval_ck: clocks from one multiplied column to the next, 0 = the device's.
        reuse: vectors that one column is multiplied with, 0 = the device's.
        issue_per_ck: instructions a clock that all channels get from one queue; 0 = each has a front end of its own.
        node_nm: process of the die that holds the units, nm; 0 = the chip's. Units at banks pay for a DRAM process.
        multiplies_per_column: how often a multiplier works in one column interval (Duplex: 2, at 650 MHz).
    """

    type: Literal["pim"] = "pim"
    device: str
    stacks: int = Field(default=1, ge=1, le=1024)
    takes: tuple[str, ...] = Field(default=("attention",), min_length=1)
    max_op_per_byte: float = Field(default=2.0, gt=0)
    kv_placement: Literal["round_robin", "greedy", "trace"] = "greedy"
    energies: str = ""
    dtype: str = ""
    lanes: int = Field(default=0, ge=0, le=4096)
    row_buffers: int = Field(default=0, ge=0, le=2)
    channels: int = Field(default=0, ge=0, le=4096)
    mac_interval_ck: int = Field(default=0, ge=0, le=1024)
    reuse: int = Field(default=0, ge=0, le=1024)
    issue_per_ck: int = Field(default=0, ge=0, le=1024)
    node_nm: float = Field(default=20.0, ge=0, le=250)
    multiplies_per_column: int = Field(default=1, ge=1, le=64)

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if value not in pim_devices():
            raise ValueError(nearest(value, pim_devices()))
        return value

    @field_validator("dtype")
    @classmethod
    def _whole_bytes(cls, value: str) -> str:
        if value and dtype(known_format(value)).bits % 8:
            raise ValueError(f"{value} has {dtype(value).bits} bits; units multiply operands of whole bytes")
        return value

    @field_validator("takes")
    @classmethod
    def _known_kinds(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for kind in value:
            if kind not in KINDS:
                raise ValueError(nearest(kind, KINDS))
        return value

    @model_validator(mode="after")
    def _legal_device(self) -> PimSpec:
        built(design_of(self)).energy_set(self.energies)
        return self


SPEC = PimSpec


class Design(NamedTuple):
    """What makes a device of a specification; 0 = as in its file.

    Attributes:
        device, lanes, row_buffers, channels, mac_interval_ck, reuse, dtype: see :class:`PimSpec`.
    """

    device: str
    lanes: int = 0
    row_buffers: int = 0
    channels: int = 0
    mac_interval_ck: int = 0
    reuse: int = 0
    dtype: str = ""


def design_of(spec: PimSpec) -> Design:
    """The design of one specification."""
    return Design(*(getattr(spec, name) for name in Design._fields))


def designs(table: FieldTable, path: str) -> list[Design]:
    """The design of every row of a table, for the engine at ``path``."""
    columns = [table.column(f"{path}.{name}").tolist() for name in Design._fields]
    return [Design(*row) for row in zip(*columns, strict=True)]


@lru_cache(maxsize=_DESIGNS_KEPT)
def built(design: Design) -> PimDevice:
    """The device of a design. Lanes beyond what a column holds are left out: they can only idle.

    Raises:
        ChipsmithError: a value that contradicts the device, with its field.
    """
    name = design.device
    if design.row_buffers and name in _TWINS:
        name = _TWINS[name][design.row_buffers - 1]
    device = _in_format(load_device(name), design.dtype)
    changes: dict[str, Any] = {}
    if design.mac_interval_ck:
        changes["timing_ck"] = {**device.timing_ck, device.mac_interval_ck: design.mac_interval_ck}
    unit = {key: value for key, value in (("lanes", _useful_lanes(device, design)), ("reuse", design.reuse)) if value}
    layout = {key: value for key in ("channels", "row_buffers") if (value := getattr(design, key))}
    if unit:
        changes["unit"] = {**device.unit.model_dump(), **unit}
    if layout:
        changes["organisation"] = {**device.organisation.model_dump(), **layout}
    return device.with_fields(changes) if changes else device


def _in_format(device: PimDevice, name: str) -> PimDevice:
    """The device with units of another format, as wide as its own."""
    if not name or name == device.unit.dtypes[0]:
        return device
    lanes = device.unit.lanes * dtype(device.unit.dtypes[0]).bits // dtype(name).bits
    return device.with_fields({"unit": {**device.unit.model_dump(), "dtypes": [name], "lanes": max(1, lanes)}})


def _useful_lanes(device: PimDevice, design: Design) -> int:
    element = device.check_format(device.unit.dtypes[0])
    return min(design.lanes, device.organisation.burst_bytes // element)


def price(table: FieldTable, path: str, costs: Costs) -> EnginePrices:
    """Prices of the engine at field ``path`` (``engines.NAME``) for every row of ``table``.

    Memory traffic of the engine is priced by its device's energy set, all of it: rows, bits to the units, between
    buffers and over the bus, multiplications. Area: multipliers with accumulators, registers, and the buffers that
    channels share, of all copies.
    """
    field = FieldReader(table, path)
    own = _own_costs(field, costs)
    blocks = _blocks(table, field, own)
    area = total(blocks.values())
    zero = np.zeros(costs.n)
    charges = _charges(table, path)
    return EnginePrices(
        mac_pj=charges["mac"][0][1],
        vector_op_pj=zero,
        regfile_pj_per_byte=zero,
        sram_read_pj_per_byte=zero,
        sram_write_pj_per_byte=zero,
        noc_pj_per_byte=zero,
        leakage_w=own.leakage_w(area),
        clock_w=own.clock_w(area, field("clock_hz")),
        area_mm2=blocks,
        charges=charges,
    )


def _charges(table: FieldTable, path: str) -> dict[str, tuple[tuple[str, Floats], ...]]:
    """Component to (event, pJ each); a bus transfer reaches the buffer die, moves go from there to the units.

    The host's own reads and writes of operands go all the way from the arrays to the outside.
    """
    names = table.column(f"{path}.energies").tolist()
    rows = [_event_pj(design, name) for design, name in zip(designs(table, path), names, strict=True)]
    pj = {event: np.array([row[event] for row in rows]) for event in rows[0]}
    core = tuple((event, pj[event]) for event in ("pim_activations", "pim_array_bytes", "pim_move_bytes"))
    host = tuple((event, pj["host_bytes"]) for event in ("dram_read_bytes", "dram_write_bytes"))
    return {"mac": (("pim_macs", pj["pim_macs"]),), "dram_core": core + host,
            "dram_io": (("pim_bus_bytes", pj["pim_bus_bytes"]),)}  # fmt: skip


@lru_cache(maxsize=_DESIGNS_KEPT)
def _event_pj(design: Design, energies: str) -> dict[str, float]:
    device = built(design)
    found = device.energy_set(energies)
    reach = device.commands[device.mac].reach
    return {
        "pim_activations": found.act_pj,
        "pim_array_bytes": 8 * found.bit_pj("array", reach),
        "pim_move_bytes": 8 * found.bit_pj("bank", "buffer_die"),
        "pim_bus_bytes": 8 * found.bit_pj("buffer_die", "external"),
        "pim_macs": found.mac_pj,
        "host_bytes": 8 * found.bit_pj("array", "external"),
    }


# ---------------------------------------------------------------- area


def _own_costs(field: FieldReader, costs: Costs) -> Costs:
    """The constant set at the node of the units' die."""
    node = np.where(field("node_nm") > 0, field("node_nm"), field.chip("technology.node_nm"))
    nodes, row = np.unique(node, return_inverse=True)
    return Costs(costs.constants, nodes, row, nominal_vdd(nodes)[row])


def _blocks(table: FieldTable, field: FieldReader, costs: Costs) -> dict[str, Floats]:
    found = designs(table, field.path)
    devices = [built(design) for design in found]
    lanes = np.array([max(design.lanes, d.unit.lanes) for design, d in zip(found, devices, strict=True)], np.float64)
    reuse = np.array([d.unit.reuse for d in devices], np.float64)
    units = np.array([_units(d) for d in devices], np.float64) * field("stacks")
    element = _multiplier_mm2(devices, costs)
    process = np.array([density_penalty() if d.unit.place != "buffer_die" else 1.0 for d in devices])
    buffers = np.array([_buffer_bytes(d) for d in devices], np.float64)
    shared = np.array([_shared_bytes(d) for d in devices], np.float64)
    channels = np.array([d.organisation.channels for d in devices], np.float64) * field("stacks")
    multipliers = units * lanes * np.ceil(reuse / field("multiplies_per_column"))
    blocks = {
        "units": multipliers * element * process,
        "registers": units * costs.placed_mm2(8 * buffers * costs.plain("flip_flop_um2")) * process,
        "buffers": np.where(shared > 0, costs.sram_mm2(np.maximum(shared, 1.0)), 0.0) * channels * process,
    }
    second = np.array([_second_row_buffer_mm2(d) for d in devices]) * field("stacks")
    return {**costs.with_control(blocks), "row_buffers": second}


def _units(device: PimDevice) -> int:
    """Units of one copy: one for each column that a multiply command reads at once (HBM-PIM: a pair of banks)."""
    return device.organisation.channels * device.mac_banks


def _multiplier_mm2(devices: list[PimDevice], costs: Costs) -> Floats:
    kinds = [device.unit.dtypes[0] for device in devices]
    found = {}
    for kind in set(kinds):
        words = Words((kind,), np.zeros(costs.n, np.intp))
        bits = 16.0 * _REGISTER_WORDS
        cells = costs.multiply_add("um2", words, words, words) + bits * costs.plain("flip_flop_um2")
        found[kind] = costs.placed_mm2(cells)
    return np.array([found[kind][i] for i, kind in enumerate(kinds)])


def _buffer_bytes(device: PimDevice) -> int:
    """Bytes of the register files of one unit: entries of a burst each, instructions of four bytes."""
    files = device.unit.registers
    wide = sum(entries for name, entries in files.items() if name.startswith("GRF")) * device.organisation.burst_bytes
    return wide + sum(4 * entries for name, entries in files.items() if not name.startswith("GRF"))


def _shared_bytes(device: PimDevice) -> int:
    return device.unit.global_buffer_bytes


def _second_row_buffer_mm2(device: PimDevice) -> float:
    """Area of second row buffers, a share of the DRAM dies.

    On other devices than Newton's a second one stands for banks that units and host use in turn, which costs none.
    """
    if device.organisation.row_buffers == 1 or device.name not in _TWINS:
        return 0.0
    dies_mm2 = device.organisation.capacity_bytes / 2**30 * _dram_logic("die_mm2_per_gib")
    return _dram_logic("second_row_buffer") * dies_mm2


def density_penalty() -> float:
    """Area of logic in a DRAM process over that in a logic process of the same node (models/data/dram_logic.yaml)."""
    return _dram_logic("density_penalty")


def _dram_logic(name: str) -> float:
    return float(load_data("dram_logic.yaml").content[name]["value"])


def peaks(spec: PimSpec) -> dict[str, float]:
    """Peak rates of all copies: multiply-accumulates and bytes that units read a second."""
    device = built(design_of(spec))
    rate = device.internal_bytes_per_ck * spec.clock_hz * spec.stacks
    element = device.check_format(device.unit.dtypes[0])
    share = min(1.0, device.unit.lanes * element / device.organisation.burst_bytes)
    kind = device.unit.dtypes[0]
    return {f"MAC/s {kind} x {kind}": rate * share / element * device.unit.reuse, "B/s inside": rate}


def storage_bytes(spec: PimSpec) -> dict[str, int]:
    """Storage of the units by block."""
    device = built(design_of(spec))
    units = _units(device) * spec.stacks
    each = {"registers": _buffer_bytes(device) * units,
            "buffers": _shared_bytes(device) * device.organisation.channels * spec.stacks}  # fmt: skip
    return {name: size for name, size in each.items() if size}
