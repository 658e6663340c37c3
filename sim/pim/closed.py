"""Each design's command sequence as a closed form: what one product costs a channel, in clocks and in events.

One form serves all designs. A product of ``outputs x inputs`` is split into chunks of inputs and passes of ``out_par``
outputs; a chunk is written to the channel's buffer, a pass opens rows and multiplies column by column. What is 0 for a
design it does not have. The coefficients are sums of the device's timing names in the order of its commands
(docs/pim.md has the sequences); tests hold the form to the command scheduler.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from models.pim import PimDevice
from sim.pim import attacc

_NO_CHUNK = 2**40


@dataclass(frozen=True)
class ClosedForm:
    """Coefficients of one channel.

    Attributes:
        out_par: outputs of a pass. chunk: inputs between two buffer writes. lanes: inputs of a column.
        write_ck, write_col_ck: writing a chunk, and each of its columns, for each vector.
        pass_ck: of each pass. even_ck: more for every other chunk, from the first on. out_ck: of each group of outputs.
        comp_ck, min_cols: of each composite command, and columns that it lasts at least.
        col_ck: of each column. row_ck, row_cols: of each row of that many columns.
        base_ck: entering and leaving. store_ck: of each output of a pass. head_ck: of each vector of a head of
            attention, for moves that nothing hides.
        loss_ck, interval_ck: lost by a refresh, and from one to the next (0 = none). waste: share of a pass that is
            lost on top, because passes do not cross a refresh.
        act_pass, act_even, act_row, act_base: banks activated by a pass, by an even chunk's pass more, by a row, by
            entering and leaving.
        bus_chunk, bus_col, bus_pass, bus_out, bus_base: bytes over the bus.
        move_chunk, move_col, move_pass: bytes between units and buffer die; those of a pass (and vector) not in
            attention where they are counted by step (tokens that units hold, move_step) and by column of the values
            (move_value).
        array_out: bytes from units to arrays by group of outputs.
        step_tokens: tokens of a step.
        column_bytes: that all banks of a multiply command read.
        commands_pass, commands_col, commands_chunk: instructions of a channel.
    """

    out_par: float = 1
    chunk: float = _NO_CHUNK
    lanes: float = 1
    write_ck: float = 0
    write_col_ck: float = 0
    pass_ck: float = 0
    even_ck: float = 0
    out_ck: float = 0
    comp_ck: float = 0
    min_cols: float = 0
    col_ck: float = 0
    row_ck: float = 0
    row_cols: float = _NO_CHUNK
    base_ck: float = 0
    store_ck: float = 0
    head_ck: float = 0
    loss_ck: float = 0
    interval_ck: float = 0
    waste: float = 0
    act_pass: float = 0
    act_even: float = 0
    act_row: float = 0
    act_base: float = 0
    bus_chunk: float = 0
    bus_col: float = 0
    bus_pass: float = 0
    bus_out: float = 0
    bus_base: float = 0
    move_chunk: float = 0
    move_col: float = 0
    move_pass: float = 0
    move_step: float = 0
    move_value: float = 0
    array_out: float = 0
    step_tokens: float = _NO_CHUNK
    column_bytes: float = 0
    commands_pass: float = 0
    commands_col: float = 0
    commands_chunk: float = 0


FIELDS = tuple(field.name for field in fields(ClosedForm))


def closed_form(device: PimDevice) -> ClosedForm:
    """The coefficients of a device."""
    found = {"newton": _newton, "aim": _aim, "hbm_pim": _hbm_pim, "attacc": _attacc}[device.program](device)
    timing = device.timing_ck
    shared = {
        "col_ck": device.clocks(device.mac_interval_ck),
        "loss_ck": timing["tRFC"] + timing["tRP"] if timing["tREFI"] else 0,
        "interval_ck": timing["tREFI"],
        "column_bytes": device.mac_banks * device.organisation.burst_bytes,
    }
    return ClosedForm(**{**shared, **found})


def _newton(device: PimDevice) -> dict[str, float]:
    """A tile: close and open the rows group by group, then composites of at least ``composite_min`` columns."""
    org, ck = device.organisation, device.clocks
    groups = org.banks // org.ranks // device.options["act_banks"]
    opening = (groups - 1) * device.timing_ck["tFAW"] + device.timing_ck["tRCDRD"]
    return {
        "out_par": org.banks,
        "chunk": org.bursts_per_row * device.unit.lanes,
        "lanes": device.unit.lanes,
        "write_ck": org.bursts_per_row * ck("tCCD_S + tCCD_L"),
        "pass_ck": device.timing_ck["tRP"] + opening + 1,
        "comp_ck": ck("tCCD_L + tCL + tBURST + 1"),
        "min_cols": device.options["composite_min"],
        "waste": 0.5,
        "act_pass": org.banks,
        "bus_chunk": org.row_bytes,
        "commands_pass": 2 + org.banks // device.options["act_banks"],
        "commands_col": 1,
        "commands_chunk": 1,
    }


def _aim(device: PimDevice) -> dict[str, float]:
    """A pass: accumulators, mode, activation, columns, mode, results. Commands go strictly in order."""
    org, ck = device.organisation, device.clocks
    burst = org.burst_bytes
    return {
        "out_par": org.banks // device.unit.banks,
        "chunk": device.unit.global_buffer_bytes // burst * device.unit.lanes,
        "lanes": device.unit.lanes,
        "write_col_ck": ck("tCCD_S"),
        "pass_ck": ck("tMODE_CHANGE + tMODE_CHANGE + tBURST + 4 + tRP + tRCDRD_MAC"),
        "act_pass": device.mac_banks,
        "bus_col": burst,
        "bus_pass": 2 * burst,
        "move_pass": 2 * burst,
        "commands_pass": 6,
        "commands_col": 1,
    }


def _hbm_pim(device: PimDevice) -> dict[str, float]:
    """A tile of registers A x B: fill A, multiply, row by row; the registers' row is one of the even banks."""
    org, ck, files = device.organisation, device.clocks, device.unit.registers
    units = org.banks // device.unit.banks
    column, tile = ck("tCCD_L"), files["GRF_A"] * files["GRF_B"]
    turns = -(-tile // org.bursts_per_row) - 1
    next_row = ck("tRTP_L + tRP + tRCDRD") - column
    odd = ck("tCWL + tBURST + tWTR_L") - column + ck("tCL + tBURST + 2 - tCWL") - column
    even = ck("tCWL + tBURST + tWR + tRP + tRCDRD") - column + ck("tRTP_L + tRP + tRCDWR") - column
    park = ck("tRCDRD + tCL + tBURST") + (org.banks - 1) * device.timing_ck["tRRD_S"]
    change = ck("tRP + tRCDWR + tCCD_L + tCWL + tBURST + tWR") + device.timing_ck["tRTP_L"]
    burst = units * org.burst_bytes
    return {
        "out_par": units * files["GRF_B"],
        "chunk": device.unit.lanes * files["GRF_A"],
        "lanes": device.unit.lanes * files["GRF_A"],  # a column of the form is a whole tile of registers
        "pass_ck": (files["GRF_A"] + tile) * column + turns * next_row + odd,
        "even_ck": even - odd,
        "out_ck": (files["GRF_B"] + 2) * column + ck("tCL + tBURST + 2 - tCWL") - column,
        "col_ck": 0,
        "base_ck": 2 * park - (org.banks - 2) * device.timing_ck["tRRD_S"] + 2 * change,
        "act_pass": (turns + 1) * units,
        "act_even": units,
        "act_base": org.banks + 2 + 3 * org.banks,
        "bus_chunk": files["GRF_A"] * org.burst_bytes,
        "move_chunk": files["GRF_A"] * org.burst_bytes,
        "bus_out": 2 * org.burst_bytes,
        "bus_base": (5 + org.banks + 2) * org.burst_bytes,
        "array_out": files["GRF_B"] * burst,
        "column_bytes": tile * burst,
        "commands_pass": files["GRF_A"] + tile,
    }


def _attacc(device: PimDevice) -> dict[str, float]:
    """Rows drained one after the other by units at banks; elsewhere the next row is open in time."""
    org, ck = device.organisation, device.clocks
    split, at_banks = attacc.split_of(device), device.mac == "MACAB"
    interval = ck(device.mac_interval_ck)
    burst = org.burst_bytes
    stores = attacc.context_stores(device)
    return {
        "out_par": split.parallel,
        "lanes": split.across * device.unit.lanes,
        "write_col_ck": split.across * ck("tBURST"),
        "row_ck": ck("tRCDRD + tRTP_L + tRP") - interval if at_banks else 0,
        "row_cols": org.bursts_per_row,
        "base_ck": ck("tRCDRD"),
        "store_ck": split.parallel * split.across * ck("tBURST") / device.unit.lanes,
        "head_ck": 0 if at_banks else (split.spread + stores) * ck("tBURST"),  # else while rows open
        "act_row": device.mac_banks,
        "bus_col": split.across * burst,
        "move_col": split.across * burst if device.commands["WRGB"].reach == "bank" else 0,
        "move_pass": split.parallel * split.across * burst / device.unit.lanes,
        "move_step": 2 * split.spread * burst,
        "move_value": stores * burst,
        "step_tokens": split.parallel * device.unit.lanes,
        "commands_col": 1,
    }
