"""``chipsmith rtl``: generate the Verilog of a systolic engine or PIM bank unit, and verify it against its model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chipsmith.output import add_format_argument, emit, progress, table

if TYPE_CHECKING:
    from rtl.design import Design
    from rtl.lint import LintReport
    from rtl.report import VerifyReport

NAME = "rtl"
HELP = "generate the Verilog of an engine, or simulate it and compare data and cycles with the model"
EXAMPLE = "chipsmith rtl generate --rows 8 --cols 8 --dataflow ws -o build/ws8"
ORDER = 50

_FAILED = 1
_UNITS = ("systolic", "pim_bank")
_OPTIONS = {
    "systolic": ("rows", "cols", "dataflow", "a_bits", "w_bits", "acc_bits", "mac_pipe", "double_buffer", "max_beats"),
    "pim_bank": ("device", "dtype", "lanes", "columns", "rows", "buffer_bytes", "acc_bits", "tree_pipe"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two actions and their options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_generate(actions.add_parser("generate", help="write Verilog, checker and bench wrapper into a folder"))
    _add_verify(actions.add_parser("verify", help="simulate designs on their benches (default: the standard matrix)"))
    # The actions have --format themselves; this keeps the frame from offering it before the action as well.
    parser.add_argument("--format", choices=("table", "json"), default="table", help=argparse.SUPPRESS)


def _add_design_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--unit", default="systolic", help="systolic or pim_bank (default systolic)")
    design = parser.add_argument_group("design")
    design.add_argument("--rows", type=int, help="array rows; pim_bank: rows of a bank")
    design.add_argument("--cols", type=int, help="array columns")
    design.add_argument("--dataflow", help="ws (weights stay) or os (sums stay); default ws")
    design.add_argument("--a-bits", type=int, help="activation width (default 8)")
    design.add_argument("--w-bits", type=int, help="weight width (default 8)")
    design.add_argument("--acc-bits", type=int, help="accumulator width (default 32)")
    design.add_argument("--mac-pipe", type=int, help="1: register between multiplier and adder")
    design.add_argument("--double-buffer", action="store_true", default=None, help="ws: load while rows stream")
    design.add_argument("--max-beats", type=int, help="longest pass (ws: rows of the accumulator buffer)")
    design.add_argument("--chip", help="preset or YAML file that the engine is taken from")
    design.add_argument("--engine", help="engine of the chip (default: its first systolic one)")
    bank = parser.add_argument_group("design of a pim_bank")
    bank.add_argument("--device", help="PIM device whose rules it keeps: neupims (default), newton or aim")
    bank.add_argument("--dtype", help="int8 (default), fp16 or bf16")
    bank.add_argument("--lanes", type=int, help="multipliers (default 16)")
    bank.add_argument("--columns", type=int, help="columns of a row (default: the device's)")
    bank.add_argument("--buffer-bytes", type=int, help="global buffer (default: a row's operands)")
    bank.add_argument("--tree-pipe", type=int, help="1: register behind each level of the adder tree")
    add_format_argument(parser)


def _add_generate(parser: argparse.ArgumentParser) -> None:
    _add_design_options(parser)
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder to write into")


def _add_verify(parser: argparse.ArgumentParser) -> None:
    _add_design_options(parser)
    parser.add_argument("--matrix", help="smoke, quick, standard or full (default standard)")
    parser.add_argument("--simulator", default="icarus", help="icarus or verilator (default icarus)")
    parser.add_argument("--seed", type=int, help="seed of all random choices; repeats a run (default 1)")
    parser.add_argument("--waves", action="store_true", help="keep a waveform of every case")
    parser.add_argument("--keep", metavar="DIR", help="where failures leave log and waveform")
    parser.add_argument("--regressions", metavar="FILE", help="list of failed seeds: repeated now, extended on failure")
    parser.add_argument("--junit", metavar="FILE", help="write JUnit XML")
    parser.add_argument("--csv", metavar="FILE", help="write the table as CSV")
    parser.add_argument("--elaborate-only", action="store_true", help="elaborate and lint; needs no simulator")


def run(args: argparse.Namespace) -> int:
    """Run the chosen action; 1 where a design failed."""
    return _generate(args) if args.action == "generate" else _verify(args)


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Parameters that were given on the command line.

    Raises:
        ChipsmithError: an unknown unit, or an option that belongs to another one.
    """
    from workloads.errors import ChipsmithError, nearest

    if args.unit not in _UNITS:
        raise ChipsmithError("--unit", args.unit, nearest(args.unit, _UNITS))
    names = dict.fromkeys(name for listed in _OPTIONS.values() for name in listed)
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    for name, value in given.items():
        if name not in _OPTIONS[args.unit]:
            owner = next(unit for unit in _UNITS if name in _OPTIONS[unit])
            raise ChipsmithError(f"--{name.replace('_', '-')}", value, f"an option of --unit {owner}")
    return given


def _pim_design(args: argparse.Namespace) -> Design:
    from rtl.pim_bank import generate_pim_bank
    from rtl.pim_params import PimBankParams
    from workloads.errors import ChipsmithError

    if args.chip is not None or args.engine is not None:
        raise ChipsmithError("--chip", args.chip, "a pim_bank is described by --device, not by a chip")
    return generate_pim_bank(PimBankParams(**_overrides(args)))


def _design(args: argparse.Namespace) -> Design:
    if args.unit == "pim_bank":
        return _pim_design(args)
    from rtl.generate import generate, params_from
    from rtl.systolic import generate_systolic
    from workloads.errors import ChipsmithError

    if args.chip is not None:
        from models.chip import load_chip

        return generate(load_chip(args.chip), args.engine, **_overrides(args))
    if args.engine is not None:
        raise ChipsmithError("--engine", args.engine, "give --chip too: the engine is one of the chip's")
    return generate_systolic(params_from(_overrides(args)))


def _generate(args: argparse.Namespace) -> int:
    from rtl.generate import files_of, write

    design = _design(args)
    folder = write(design, args.output)
    files = [str(folder / name) for name in files_of(design)]
    document = {"design": design.name, "parameters": design.params, "notes": design.notes, "files": files}
    lines = [f"{design.name}: {design.params.summary}", *(f"note: {note}" for note in design.notes), *files]
    emit(document, "\n".join(lines), args)
    return 0


def _chosen(args: argparse.Namespace) -> tuple[Design, ...] | str:
    """A matrix name, or the one design that the options describe."""
    from workloads.errors import ChipsmithError

    single = bool(_overrides(args)) or args.chip is not None or args.engine is not None
    if single and args.matrix is not None:
        raise ChipsmithError("--matrix", args.matrix, "give either a matrix or one design's parameters")
    if single:
        return (_design(args),)
    return ("pim_" if args.unit == "pim_bank" else "") + str(args.matrix or "standard")


def _verify(args: argparse.Namespace) -> int:
    from rtl.report import write_text
    from rtl.verify import verify

    if args.elaborate_only:
        return _elaborate(args)
    report = verify(
        _chosen(args),
        args.simulator,
        args.seed,
        args.waves,
        keep=Path(args.keep) if args.keep else None,
        regressions=Path(args.regressions) if args.regressions else None,
        progress=progress,
    )
    for name, text in ((args.csv, report.to_csv), (args.junit, report.to_junit)):
        if name is not None:
            write_text(name, text())
    for line in report.complaints():
        progress(line)
    emit(_document(report), lambda: _report_text(report), args)
    return 0 if report.passed else _FAILED


def _document(report: VerifyReport) -> dict[str, Any]:
    return {
        "passed": report.passed,
        "cases": report.rows(),
        "plan": report.plan,
        "mutants": report.mutants,
        "line_coverage": report.line_coverage,
        "notes": report.notes,
        "complaints": report.complaints(),
    }


def _report_text(report: VerifyReport) -> str:
    from chipsmith.output import to_plain

    plan = table([to_plain(row) for row in report.plan], ("feature", "test", "bins_hit", "bins_total", "result"))
    parts = [table(report.rows()), "test plan", plan]
    if report.mutants:
        parts += ["mutants", table([to_plain(row) for row in report.mutants], ("name", "design", "caught", "by"))]
    parts += [f"line coverage of {name}: {one.percent:.1f} %" for name, one in report.line_coverage.items()]
    parts += [f"note: {note}" for note in report.notes]
    passed = sum(case.passed for case in report.cases)
    return "\n\n".join([*parts, f"{passed} of {len(report.cases)} cases pass"])


def _elaborate(args: argparse.Namespace) -> int:
    from rtl.lint import lint
    from rtl.verify import designs_of

    designs = designs_of(_chosen(args))
    reports = [lint(design, flow=len(designs) == 1) for design in designs]
    for report in reports:
        for finding in report.findings:
            progress(f"{report.design}: {finding}")
    emit(reports, lambda: table([_lint_row(report) for report in reports]), args)
    return 0 if all(report.passed for report in reports) else _FAILED


def _lint_row(report: LintReport) -> dict[str, Any]:
    found = report.structure
    return {
        "design": report.design,
        **report.checks,
        "processing elements": found.instances.get("pe", 0) or found.instances.get("mul", 0),
        "register bits": found.register_bits,
    }
