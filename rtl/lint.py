"""Checks that need no simulation: elaboration, one clock and no latch, data flow, lint, structure.

Elaboration (pyslang, milliseconds) always; data flow (pyverilog, seconds) and Verilator's lint where installed.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rtl.design import Design
from rtl.simulate import write_sources
from rtl.tools import find_iverilog, find_verilator
from workloads.errors import MissingToolError

_LINT_TIMEOUT_S = 120.0
_CLOCK = "clk"
# Off by default in the elaborator too: nets of Verilog-2001 are unsigned and signed ports take them bit for bit.
_IGNORED_CODES = ("SignConversion", "ArithOpMismatch")


@dataclass(frozen=True, slots=True)
class Structure:
    """What elaboration found.

    Attributes:
        instances: module name without the design's prefix (``pe``, ``delay`` ...) to count.
        register_bits: bits of all clocked variables, memories included.
        clocked_blocks: ``always`` blocks that wait for the rising clock.
    """

    instances: Mapping[str, int]
    register_bits: int
    clocked_blocks: int


@dataclass(frozen=True, slots=True)
class LintReport:
    """Result of all checks on one design.

    Attributes:
        design: its name.
        checks: check to ``pass``, ``fail`` or ``skipped: why``.
        findings: one line each; empty is good.
        structure: what elaboration found.
    """

    design: str
    checks: Mapping[str, str]
    findings: tuple[str, ...]
    structure: Structure

    @property
    def passed(self) -> bool:
        """No check failed."""
        return not self.findings


def _compile(sources: Mapping[str, str], top: str) -> Any:
    try:
        from pyslang import Bag, SourceManager
        from pyslang.ast import Compilation, CompilationOptions
        from pyslang.syntax import SyntaxTree
    except ImportError as problem:
        raise MissingToolError("pyslang", None, "not found; install it with: pip install 'chipsmith[rtl]'") from problem
    options = CompilationOptions()
    options.topModules = {top}
    compilation = Compilation(Bag([options]))
    manager = SourceManager()  # an own one: the shared one takes each file name once
    for name, text in sources.items():
        compilation.addSyntaxTree(SyntaxTree.fromText(text, manager, name, name))
    return compilation


def _diagnostics(compilation: Any) -> Iterator[str]:
    for diagnostic in compilation.getAllDiagnostics():
        code = str(diagnostic.code).removeprefix("DiagCode(").removesuffix(")")
        if diagnostic.isError() or code not in _IGNORED_CODES:
            yield f"elaboration: {code} {[str(arg) for arg in diagnostic.args]}"


def _sensitivity(block: Any) -> str:
    """What an ``always`` block waits for: ``posedge clk``, or something that we don't write."""
    body = block.body
    timing = getattr(body, "timing", None)
    if timing is None or not hasattr(timing, "edge"):
        return "something else than one edge"
    edge = str(timing.edge).rsplit(".", maxsplit=1)[-1].lower().replace("edge", "")
    return f"{edge}edge {str(timing.expr.syntax).strip()}"


def structure(design: Design) -> tuple[Structure, tuple[str, ...]]:
    """Elaborate a design and count what is in it.

    Returns:
        The structure, and findings: errors, warnings, blocks that do not wait for the rising clock alone (a block
        that waits for nothing could hide a latch), a count of parts (processing elements ...) that is not the design's.

    Raises:
        MissingToolError: without pyslang.
    """
    compilation = _compile(design.sources, design.top)
    from pyslang.ast import SymbolKind, VisitAction

    instances: Counter[str] = Counter()
    waits: Counter[str] = Counter()
    register_bits = 0

    def visit(symbol: Any) -> Any:
        nonlocal register_bits
        if symbol.kind == SymbolKind.GenerateBlock and symbol.isUninstantiated:
            return VisitAction.Skip
        if symbol.kind == SymbolKind.Instance:
            instances[symbol.definition.name.removeprefix(design.name).removeprefix("_") or "top"] += 1
        elif symbol.kind == SymbolKind.Variable:
            register_bits += symbol.type.bitstreamWidth
        elif symbol.kind == SymbolKind.ProceduralBlock:
            waits[_sensitivity(symbol)] += 1
        return VisitAction.Advance

    for instance in compilation.getRoot().topInstances:
        instance.visit(visit)
    findings = list(_diagnostics(compilation))
    findings += [f"clock: {n} blocks wait for {text!r}" for text, n in waits.items() if text != f"posedge {_CLOCK}"]
    part, words, wanted = design.bench.parts
    if instances[part] != wanted:
        findings.append(f"structure: {instances[part]} {words}, want {wanted}")
    return Structure(dict(instances), register_bits, waits[f"posedge {_CLOCK}"]), tuple(findings)


def _analyze(paths: Sequence[Path], top: str, folder: Path) -> Any:
    """Data-flow analysis by pyverilog with all its files in ``folder``."""
    from pyverilog.dataflow.dataflow_analyzer import VerilogDataflowAnalyzer
    from pyverilog.vparser.parser import VerilogCodeParser

    analyzer = VerilogDataflowAnalyzer.__new__(VerilogDataflowAnalyzer)
    # Its own constructor offers no way to move the files that the parser writes into the current folder.
    files = [str(path) for path in paths]
    VerilogCodeParser.__init__(
        analyzer, files, preprocess_output=str(folder / "pp.v"), outputdir=str(folder), debug=False
    )
    analyzer.topmodule, analyzer.terms, analyzer.binddict, analyzer.frametable = top, {}, {}, None
    analyzer.noreorder = analyzer.nobind = False
    analyzer.generate()
    return analyzer


def _undriven(analyzer: Any) -> Iterator[str]:
    """Outputs, registers and wires that nothing drives, anywhere in the hierarchy."""
    driven = {str(name) for name in analyzer.getBinddict()}
    for name, term in analyzer.getTerms().items():
        kinds = {str(kind) for kind in term.termtype}
        if kinds & {"Output", "Reg", "Wire"} and "Input" not in kinds and str(name) not in driven:
            yield f"data flow: nothing drives {name}"


def _foreign_clocks(analyzer: Any, top: str) -> Iterator[str]:
    """Flip-flops whose clock is not a ``clk`` that comes down from the top module's own."""
    binds = {str(name): found for name, found in analyzer.getBinddict().items()}
    for name, found in binds.items():
        for bind in found:
            clock = bind.getClockName() if bind.isClockEdge() else None
            if clock is not None and not _comes_from_top(str(clock), top, binds):
                yield f"clock: {name} is clocked by {clock}"


def _comes_from_top(clock: str, top: str, binds: Mapping[str, Any]) -> bool:
    while clock != f"{top}.{_CLOCK}":
        found = binds.get(clock)
        if not found or len(found) != 1:
            return False
        clock = str(getattr(found[0].tree, "name", ""))
    return True


def data_flow(design: Design) -> tuple[str, ...]:
    """Findings of the data-flow check: undriven signals, more than one clock.

    Raises:
        ImportError: without pyverilog.
    """
    with tempfile.TemporaryDirectory(prefix="chipsmith-flow-") as name:
        folder = Path(name)
        paths = write_sources(folder, design.sources)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pyverilog(\.|$)")  # it leaks handles of files that it reads
            analyzer = _analyze(paths, design.top, folder)
        return tuple(_undriven(analyzer)) + tuple(_foreign_clocks(analyzer, design.top))


def _verilator_lint(design: Design) -> tuple[str, ...]:
    tool = find_verilator()
    if tool is None:
        return ()
    with tempfile.TemporaryDirectory(prefix="chipsmith-lint-") as name:
        paths = write_sources(Path(name), design.sources)
        command = tool.command("--lint-only", "-Wall", "--top-module", design.bench.widest, *map(str, paths))
        done = subprocess.run(
            command, env=tool.environment(), capture_output=True, text=True, timeout=_LINT_TIMEOUT_S, check=False
        )
    lines = [line.replace(f"{name}{os.sep}", "") for line in done.stderr.splitlines() if line.startswith("%")]
    if done.returncode and not lines:
        lines = done.stderr.splitlines()[-1:] or [f"exit code {done.returncode}"]
    return tuple(f"lint: {line}" for line in lines)


def _missing(check: str) -> str:
    """Why a check can't run, or nothing."""
    if check == "data flow" and find_spec("pyverilog") is None:
        return "pyverilog is not installed"
    if check == "data flow" and find_iverilog() is None:
        return "pyverilog needs Icarus as its preprocessor"
    if check == "lint" and find_verilator() is None:
        return "Verilator is not installed"
    return ""


def lint(design: Design, flow: bool = True) -> LintReport:
    """Run every check on one design.

    Args:
        design: the engine.
        flow: with pyverilog's data-flow check, which takes seconds.

    Raises:
        MissingToolError: without pyslang.
    """
    found, findings = structure(design)
    checks = {"elaboration": "fail" if findings else "pass"}
    more: dict[str, Callable[[Design], tuple[str, ...]]] = {"lint": _verilator_lint}
    if flow:
        more["data flow"] = data_flow
    for name, check in more.items():
        why = _missing(name)
        new = () if why else check(design)
        checks[name] = f"skipped: {why}" if why else "fail" if new else "pass"
        findings += new
    return LintReport(design.name, checks, findings, found)
