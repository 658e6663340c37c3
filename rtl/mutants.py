"""Named faults put into the generated Verilog; a bench that does not notice each of them is not trusted.

A mutant replaces one piece of text in one file. The tests named with it are those that should notice; the mutant is
*caught* when at least one of them fails, and the unchanged design passes them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rtl.design import Design
from rtl.params import SystolicParams
from rtl.simulate import BenchError, BenchOptions, run_sources, source_list
from rtl.stimulus import BenchJob
from rtl.systolic import generate_systolic
from workloads.errors import ChipsmithError

_DATA = ("ragged_gemms",)
_RESET = ("reset_in_flight",)
_CLOCKED = "    always @(posedge clk)\n"
_STATE = f"{_CLOCKED}        if (rst) begin\n            s_active     <= 1'b0;\n"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault.

    Attributes:
        name: short name.
        design: which of :func:`mutant_designs` it is put into: ``ws``, ``db`` (double buffer), ``os`` or ``narrow``.
        part: file, without the design's name: ``pe``, ``ctrl``, ``array``, ``acc``, ``delay``, ``top``.
        old: text that must occur exactly once.
        new: what replaces it.
        tests: bench tests that should notice.
    """

    name: str
    design: str
    part: str
    old: str
    new: str
    tests: tuple[str, ...] = _DATA


@dataclass(frozen=True, slots=True)
class MutantResult:
    """What the bench made of a mutant.

    Attributes:
        name, design: of the mutant.
        caught: whether a test failed.
        by: the first test that failed, and how.
    """

    name: str
    design: str
    caught: bool
    by: str


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "activation skew off by one",
        "ws",
        "array",
        ".WIDTH(8), .DEPTH(r)) u_skew_a",
        ".WIDTH(8), .DEPTH(r+1)) u_skew_a",
    ),
    Mutant("weight skew missing", "os", "array", ".DEPTH(c)) u_skew_w", ".DEPTH(0)) u_skew_w"),
    Mutant("column realignment off by one", "ws", "array", ".DEPTH(C-1-c)) u_align", ".DEPTH(C-c)) u_align"),
    Mutant("sign of the product dropped", "ws", "pe", "{16{addend[15]}}", "16'd0"),
    Mutant(
        "sign of the activation dropped", "os", "pe", "input  wire signed [7:0] a_in", "input  wire        [7:0] a_in"
    ),
    Mutant("accumulate flag ignored", "ws", "acc", "accumulate ? sums[row] : 32'd0", "32'd0"),
    Mutant("clear ignored", "os", "pe", "add_clear ? 32'sd0 : acc", "acc"),
    Mutant("accumulators never restart", "ws", "acc", "accumulate ? sums[row] : 32'd0", "sums[row]"),
    Mutant("valid one cycle early", "ws", "top", ".WIDTH(4), .DEPTH(7)", ".WIDTH(4), .DEPTH(6)"),
    Mutant(
        "drain one cycle early",
        "os",
        "ctrl",
        "settle_left <= 3'd5",
        "settle_left <= 3'd4",
        ("ragged_gemms", "corner_operands"),
    ),
    Mutant(
        "accumulators ignore the clock enable",
        "ws",
        "acc",
        "if (rst)                       o_sum <= 32'd0;\n        else if (en && valid && store)",
        "if (rst)                       o_sum <= 32'd0;\n        else if (valid && store)",
        ("sink_stalls",),
    ),
    Mutant(
        "array ignores the clock enable",
        "ws",
        "pe",
        "always @(posedge clk)\n        if (en) begin",
        "always @(posedge clk)\n        if (1'b1) begin",
        ("sink_stalls",),
    ),
    Mutant(
        "activations accepted while stalled",
        "ws",
        "ctrl",
        "assign a_ready        = en && s_active",
        "assign a_ready        = s_active",
        ("sink_stalls", "gaps_and_stalls"),
    ),
    Mutant("weight operands swapped between columns", "ws", "array", ".w_in(w[r*C+c])", ".w_in(w[r*C+(c^1)])"),
    Mutant("row and column index exchanged", "os", "array", ".acc_below(acc[(r+1)*C+c])", ".acc_below(acc[r*C+c])"),
    Mutant(
        "top bit of the sum lost",
        "ws",
        "acc",
        "wire [31:0] sum = base + psum;",
        "wire [31:0] sum = {1'b0, base[30:0]} + {1'b0, psum[30:0]};",
    ),
    # A start value keeps these four from showing as unknown bits at power-up: only a later reset can find them.
    Mutant(
        "reset leaves a valid",
        "ws",
        "top",
        f"{_CLOCKED}        if (rst) begin\n            out_valid <= 1'b0;\n",
        f"    initial out_valid = 1'b0;\n{_CLOCKED}        if (rst) begin\n",
        _RESET,
    ),
    Mutant(
        "reset leaves the tokens",
        "ws",
        "delay",
        f"    {_CLOCKED}                if (rst)     line <= {{(WIDTH*DEPTH){{1'b0}}}};\n                else if (en)",
        f"        initial line = 0;\n    {_CLOCKED}                if (en)",
        _RESET,
    ),
    Mutant(
        "reset leaves a load running",
        "ws",
        "ctrl",
        f"{_CLOCKED}        if (rst) begin\n            l_active <= 1'b0;\n",
        f"    initial l_active = 1'b0;\n{_CLOCKED}        if (rst) begin\n",
        _RESET,
    ),
    Mutant(
        "reset leaves the drain running",
        "os",
        "ctrl",
        f"{_STATE}            settling     <= 1'b0;\n            drain_active <= 1'b0;\n",
        f"    initial drain_active = 1'b0;\n{_STATE}            settling     <= 1'b0;\n",
        _RESET,
    ),
    Mutant("last row missing", "ws", "ctrl", "s_left == 6'd1", "s_left == 6'd2"),
    Mutant("last row stuck", "os", "ctrl", "if (settled)    drain_left <= 2'd3", "if (settled)    drain_left <= 2'd2"),
    Mutant("weights loaded one row short", "ws", "ctrl", "l_count == 2'd3", "l_count == 2'd2"),
    Mutant("swap token lost", "db", "ctrl", "s_first  <= hand_over", "s_first  <= 1'b0"),
    Mutant("swap one cycle late in the array", "db", "array", ".DEPTH(r)) u_skew_swap", ".DEPTH(r+1)) u_skew_swap"),
    Mutant(
        "next load waits for the stream",
        "db",
        "ctrl",
        "load_free = !l_active || hand_over",
        "load_free = !l_active && !s_active",
    ),
    Mutant(
        "store flag ignored", "ws", "top", "out_valid <= t_valid && t_store", "out_valid <= t_valid", ("command_flags",)
    ),
    Mutant(
        "accumulator saturates instead of wrapping",
        "narrow",
        "acc",
        "wire [17:0] sum = base + psum;",
        "wire [17:0] plain = base + psum;\n"
        "    wire over = base[17:17] == psum[17:17] && plain[17:17] != base[17:17];\n"
        "    wire [17:0] sum = over ? {base[17:17], {17{!base[17:17]}}} : plain;",
        ("corner_operands",),
    ),
)


def mutant_designs() -> dict[str, Design]:
    """The small designs that mutants are put into."""
    return {
        "ws": generate_systolic(SystolicParams(4, 4)),
        "db": generate_systolic(SystolicParams(4, 4, double_buffer=True)),
        "os": generate_systolic(SystolicParams(4, 4, "os")),
        "narrow": generate_systolic(SystolicParams(4, 4, acc_bits=18)),
    }


def mutate(design: Design, mutant: Mutant) -> dict[str, str]:
    """Sources of the mutant with the bench's own files.

    Raises:
        ChipsmithError: where the text to replace does not occur exactly once (the generator has changed).
    """
    suffix = "" if mutant.part == "top" else f"_{mutant.part}"
    name, sources = f"{design.name}{suffix}.v", source_list(design)
    found = sources[name].count(mutant.old)
    if found != 1:
        raise ChipsmithError(f"mutant {mutant.name!r} in {name}", mutant.old, f"must occur once, occurs {found} times")
    sources[name] = sources[name].replace(mutant.old, mutant.new)
    return sources


def run_mutant(mutant: Mutant, design: Design, folder: Path, seed: int = 1, simulator: str = "icarus") -> MutantResult:
    """Run the tests that should notice a mutant.

    Raises:
        MissingToolError: where the simulator is not installed.
        BenchError: where the mutant could not be built: then it proves nothing.
    """
    options = BenchOptions(simulator=simulator, tests=mutant.tests)
    run = run_sources(BenchJob(design, seed), mutate(design, mutant), folder, options)
    bad = next((one for one in run.outcomes if not one.passed), None)
    by = f"{bad.name}: {bad.message}" if bad else "nothing"
    return MutantResult(mutant.name, mutant.design, bad is not None, by)


def run_mutants(
    mutants: Sequence[Mutant] = MUTANTS,
    seed: int = 1,
    simulator: str = "icarus",
    into: Callable[[], Mapping[str, Design]] = mutant_designs,
) -> tuple[MutantResult, ...]:
    """Run mutants one after the other, each in a private folder.

    Args:
        mutants: which.
        seed: job seed.
        simulator: ``icarus`` or ``verilator``.
        into: gives the designs that they are put into, by the name that :attr:`Mutant.design` uses.

    Raises:
        MissingToolError: where the simulator is not installed.
    """
    designs, results = into(), []
    with tempfile.TemporaryDirectory(prefix="chipsmith-mutants-") as name:
        for index, mutant in enumerate(mutants):
            try:
                result = run_mutant(mutant, designs[mutant.design], Path(name) / str(index), seed, simulator)
            except BenchError as problem:
                result = MutantResult(mutant.name, mutant.design, False, f"not run: {problem}")
            results.append(result)
    return tuple(results)
