"""Named faults of the PIM bank unit; see :mod:`rtl.mutants`."""

from __future__ import annotations

from rtl.design import Design
from rtl.mutants import Mutant, MutantResult, run_mutants
from rtl.pim_bank import generate_pim_bank
from rtl.pim_params import PimBankParams

_MODEL = ("model_schedules",)
_RULES = ("spacing_rules",)
_NUMBERS = ("random_numbers",)
_CORNERS = ("directed_columns",)
_CLOCKED = "    always @(posedge clk)\n"

PIM_MUTANTS: tuple[Mutant, ...] = (
    # Decoder and arbiter.
    Mutant(
        "units' columns one clock early",
        "int8",
        "arb",
        "row_cmd == GACT && row_touch[2] ? 4'd14",
        "row_cmd == GACT && row_touch[2] ? 4'd13",
        _MODEL,
    ),
    Mutant(
        "activations of another rank counted",
        "int8",
        "arb",
        "row_cmd == GACT && row_touch[2] ? 9'd30\n        : row_cmd == PPRE",
        "row_cmd == GACT && row_touch[0] ? 9'd30\n        : row_cmd == PPRE",
        _MODEL,
    ),
    Mutant(
        "a running countdown is not extended",
        "int8",
        "arb",
        "max_ACT = due_ACT > wait_ACT ? due_ACT : wait_ACT",
        "max_ACT = wait_ACT == 9'd0 ? due_ACT : wait_ACT",
        ("random_traffic",),
    ),
    Mutant("the window counts three activations", "int8", "arb", "&& recent_ACT_3 ==", "&& recent_ACT_2 ==", _RULES),
    Mutant(
        "a row may be open in both buffers",
        "int8",
        "arb",
        "!unit_open && !(host_open && host_row == row_addr)",
        "!unit_open",
        ("row_conflicts",),
    ),
    Mutant(
        "the host's precharge closes the unit's row",
        "int8",
        "arb",
        "assign close_unit = row_here && (",
        "assign close_unit = row_here && (row_cmd == PRE || ",
        ("random_traffic",),
    ),
    Mutant(
        "the next composite does not wait for the sum",
        "int8",
        "arb",
        "wait_COMPS == 4'd0 && !busy",
        "wait_COMPS == 4'd0",
        ("shared_schedules",),
    ),
    Mutant(
        "both buses go at once",
        "int8",
        "arb",
        "wait_PREA == 6'd0 && !busy && col_PREA == 6'd0 && !composite && !fill_all",
        "wait_PREA == 6'd0 && !busy",
        ("random_traffic",),
    ),
    Mutant(
        "registers answer in memory mode",
        "aim",
        "arb",
        "wait_RDMAC == 6'd0 && registers",
        "wait_RDMAC == 6'd0",
        ("reset_state",),
    ),
    Mutant(
        "reset leaves the register mode",
        "aim",
        "arb",
        f"{_CLOCKED}        if (rst)                                   registers <= 1'b0;\n        else if",
        f"    initial registers = 1'b0;\n{_CLOCKED}        if",
        ("reset_in_flight",),
    ),
    # Sequencer and global buffer.
    Mutant("composite one column short", "int8", "seq", "left <= count - 4'd1", "left <= count - 4'd2", _NUMBERS),
    Mutant(
        "the sum is announced a clock early",
        "int8",
        "seq",
        "computing && wait_left == 6'd1",
        "computing && wait_left == 6'd2",
        _MODEL,
    ),
    Mutant("the first column does not start a sum", "int8", "seq", "composite && !keep", "1'b0", _NUMBERS),
    Mutant("a kept sum starts anew", "int8", "seq", "composite && !keep", "composite", _NUMBERS),
    Mutant("fill one slice short", "int8", "seq", "fill_left <= 4'd8", "fill_left <= 4'd7", _MODEL),
    Mutant(
        "reset leaves a fill running",
        "int8",
        "seq",
        f"{_CLOCKED}        if (rst)           fill_left <= 4'd0;\n        else if (fill_all)",
        f"    initial fill_left = 4'd0;\n{_CLOCKED}        if (fill_all)",
        ("reset_in_flight",),
    ),
    Mutant(
        "wrong slice for a column", "int8", "top", ".from(bank_mac_column)", ".from(bank_mac_column ^ 3'd1)", _NUMBERS
    ),
    Mutant(
        "every bank takes the first preset",
        "aim",
        "top",
        "fill_data >> {slot,",
        "fill_data >> {2'd0,",
        ("random_traffic",),
    ),
    # Numbers.
    Mutant(
        "sign of an operand dropped",
        "int8",
        "mul",
        "input  wire signed [7:0]  a",
        "input  wire        [7:0]  a",
        _NUMBERS,
    ),
    Mutant("a lane counted twice", "int8", "mac", "p2} + {{1{p3[15]}}, p3}", "p2} + {{1{p2[15]}}, p2}", _NUMBERS),
    Mutant(
        "sums before their column",
        "fp16",
        "mac",
        "if (going[STAGES-1])     acc",
        "if (going[STAGES-2])     acc",
        _NUMBERS,
    ),
    Mutant("ties are rounded up", "fp16", "add", "n[2] && (n[1] || n[0] || n[3])", "n[2]", _CORNERS),
    Mutant("sums are cut off", "fp16", "add", "n[2] && (n[1] || n[0] || n[3])", "1'b0", _NUMBERS),
    Mutant("bits shifted out are forgotten", "aim", "add", "s4[26:9], s4[8:0] != 9'd0", "s4[26:9], 1'b0", _CORNERS),
    Mutant("carry of the rounding lost", "aim", "add", "+ {8'd0, rounded[23]}", "+ 9'd0", _CORNERS),
    Mutant("infinity less infinity stays infinite", "fp16", "add", " || (x_top && y_top && subtract)", "", _CORNERS),
    Mutant("cancelled sums keep a sign", "aim", "add", "{x[31] && y[31], 31'd0}", "{x[31], 31'd0}", _CORNERS),
    Mutant(
        "small fp16 operands count as zero",
        "fp16",
        "mul",
        "a_zero = !a_normal && !a_rest",
        "a_zero = !a_normal",
        _CORNERS,
    ),
    Mutant("zero times infinity is infinite", "aim", "mul", " || (a_top && b_zero)", "", _CORNERS),
)


def pim_mutant_designs() -> dict[str, Design]:
    """The small units that mutants are put into."""
    return {
        "int8": generate_pim_bank(PimBankParams(lanes=4, columns=8)),
        "fp16": generate_pim_bank(PimBankParams("neupims", "fp16", lanes=4, columns=8)),
        "aim": generate_pim_bank(PimBankParams("aim", "bf16", lanes=4, columns=8)),
    }


def run_pim_mutants(seed: int = 1, simulator: str = "icarus") -> tuple[MutantResult, ...]:
    """Run all of them.

    Raises:
        MissingToolError: where the simulator is not installed.
    """
    return run_mutants(PIM_MUTANTS, seed, simulator, pim_mutant_designs)
