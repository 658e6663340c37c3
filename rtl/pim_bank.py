"""Generates the unit of one PIM bank: command decoder and arbiter, sequencer, global buffer, multipliers, accumulator.

Timing is the device's: a command is taken in the first clock that the rules of ``models/data/pim`` allow, and a sum is
there when the channel model (``sim.pim.channel``) says so. Numbers are those of :mod:`rtl.pim_numbers`.
"""

from __future__ import annotations

from functools import partial

from rtl.design import Bench, Design, Port
from rtl.pim_layout import PimLayout
from rtl.pim_numbers import reference_gemm
from rtl.pim_params import PimBankParams
from rtl.pim_plan import PIM_PLAN
from rtl.pim_stimulus import document, required_bins
from rtl.pim_traffic import product_cycles
from rtl.render import render_files

_PARTS = ("mul", "add", "mac", "gbuf", "arb", "seq", "top")
_BENCH_PARTS = ("bank", "checker", "tb")


def _files(layout: PimLayout, parts: tuple[str, ...]) -> dict[str, str]:
    """File name to template; integers need no floating-point adder."""
    used = [part for part in parts if part != "add" or layout.is_float]
    return {f"{layout.name}{'' if part == 'top' else f'_{part}'}.v": f"pim_{part}" for part in used}


def _ports(layout: PimLayout) -> tuple[Port, ...]:
    touch, word = 5, layout.word
    inputs = {"clk": 1, "rst": 1, "col_fire": 1, "col_cmd": layout.col_code, "col_touch": touch}
    inputs |= {"col_addr": layout.column_bits}
    inputs |= {"col_count": layout.count_bits, "col_keep": 1} if layout.composite else {}
    inputs |= {"fill_data": word} | ({"slot": layout.slot_bits} if layout.has_preset else {})
    inputs |= {"row_fire": 1, "row_cmd": layout.row_code, "row_touch": touch}
    inputs |= {"row_addr": layout.row_bits} if layout.dual else {}
    inputs |= {"bank_mac_data": word}
    outputs = {"col_ready": 1, "row_ready": 1, "bank_open": 1, "bank_close": 1}
    outputs |= {"bank_unit_open": 1, "bank_unit_close": 1} if layout.dual else {}
    outputs |= {"bank_read": 1, "bank_write": 1, "bank_mac": 1, "bank_mac_column": layout.column_bits}
    outputs |= {"take": 1, "busy": 1, "res_valid": 1, "res_data": layout.acc}
    found = [Port(name, "input", bits) for name, bits in inputs.items()]
    return (*found, *(Port(name, "output", bits) for name, bits in outputs.items()))


def _bench(params: PimBankParams, layout: PimLayout) -> Bench:
    return Bench(
        module="rtl.benches.bench_pim",
        measured="model_schedules",
        document=partial(document, params),
        bins=partial(required_bins, params),
        plan=PIM_PLAN,
        parts=("mul", "multipliers", layout.multipliers),
        widest=params.name,
    )


def generate_pim_bank(params: PimBankParams, notes: tuple[str, ...] = ()) -> Design:
    """Generate the Verilog of a PIM bank unit.

    Args:
        params: checked parameters.
        notes: lines for the file headers and :attr:`Design.notes`.
    """
    layout = PimLayout(params)
    return Design(
        name=params.name,
        top=params.name,
        params=params,
        sources=render_files(_files(layout, _PARTS), layout, notes),
        bench_sources=render_files(_files(layout, _BENCH_PARTS), layout),
        ports=_ports(layout),
        notes=notes,
        reference=partial(reference_gemm, params),
        cycle_model=partial(product_cycles, params),
        bench=_bench(params, layout),
    )
