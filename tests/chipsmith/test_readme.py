"""README.md: its Python example and its commands run and print what stands there, and its errors are the measured ones.

With ``CHIPSMITH_UPDATE_README=1`` the outputs are written into README.md instead; lines with ``...`` stay as they are,
and so do outputs with such lines whose number of lines changed.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from chipsmith.cli import commands, main
from chipsmith.validate import compare
from models.dies import WHOLE_DIE, compare_dies
from rtl.tools import find_iverilog

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
CONSOLE = re.findall(r"```console\n\$ chipsmith (.*)\n((?:.*\n)*?)```", TEXT)
UPDATE = os.environ.get("CHIPSMITH_UPDATE_README") == "1"


def _replace(old: str, new: str) -> None:
    """Change one output in README.md."""
    text = README.read_text(encoding="utf-8")
    assert text.count(old) == 1
    README.write_text(text.replace(old, new), encoding="utf-8")


def _merged(wanted: str, found: str) -> str:
    """The output found, with the lines of the output wanted that hold ``...``."""
    if "..." not in wanted:
        return found
    pairs = list(zip(wanted.splitlines(), found.splitlines(), strict=False))
    if len(pairs) != wanted.count("\n") or len(pairs) != found.count("\n"):
        return wanted
    return "".join(f"{old if '...' in old else new}\n" for old, new in pairs)


def test_an_update_keeps_what_varies() -> None:
    assert _merged("a 1\nin ... s\n", "a 2\nin 3 s\n") == "a 2\nin ... s\n"
    assert _merged("a 1\n...\n", "a 2\nb\nc\n") == "a 1\n...\n"
    assert _merged("a 1\n", "a 2\nb\n") == "a 2\nb\n"


def _agree(wanted: str, found: str) -> None:
    """Output equals what README says, where ``...`` stands for anything."""
    if UPDATE and (fresh := _merged(wanted, found)) != wanted:
        _replace(wanted, fresh)
        return
    if not doctest.OutputChecker().check_output(wanted, found, doctest.ELLIPSIS):
        assert found == wanted


def _console(command: str) -> object:
    rtl = command.startswith("rtl verify")
    marks = [pytest.mark.rtl, pytest.mark.skipif(find_iverilog() is None, reason="needs Icarus Verilog")]
    return pytest.param(command, marks=marks if rtl else (), id=" ".join(command.split()[:3]))


@pytest.mark.parametrize("command", [_console(command) for command, _ in CONSOLE])
def test_a_command_prints_what_stands_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main replaces it; put it back afterwards
    monkeypatch.chdir(ROOT)
    assert main(shlex.split(command)) in (0, 2)
    captured = capsys.readouterr()
    _agree(dict(CONSOLE)[command], captured.err + captured.out)


def test_the_python_example_prints_what_stands_there(tmp_path: Path) -> None:
    found = re.search(r"```python\n((?:.*\n)*?)```\n\n```text\n((?:.*\n)*?)```", TEXT)
    assert found is not None
    done = subprocess.run([sys.executable, "-c", found[1]], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    _agree(found[2], done.stdout)
    assert found[1].count("\n") <= 10


def test_every_command_is_listed() -> None:
    listed = set(re.findall(r"`chipsmith ([a-z]+)", TEXT)) | set(re.findall(r", `([a-z]+)` \|", TEXT))
    assert {command.NAME for command in commands()} <= listed


def test_links_and_pictures_exist() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert len(targets) >= 4
    assert [name for name in targets if not (ROOT / name).is_file()] == []
    places = re.findall(r"`([a-z]+/[a-z_]+\.py)`", TEXT)
    assert len(places) == 6 and all((ROOT / name).is_file() for name in places)


# ---------------------------------------------------------------- the errors


def _line(start: str) -> list[str]:
    """Cells of the row of the error table that starts with a text."""
    (line,) = [line for line in TEXT.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_errors_against_onnxim_are_the_measured_ones() -> None:
    report = compare([ROOT / "tests" / "reference" / "onnxim.jsonl"])
    rows = {row.metric: row for row in report.rows}
    for start, metric in (("ONNXim", "cycles"), ("| DRAM bytes read", "dram_read_bytes"),
                          ("| DRAM bytes written", "dram_write_bytes")):  # fmt: skip
        cells, row = _line(start), rows[metric]
        assert cells[2:5] == [str(row.n), f"{row.mape_pct:.1f} %", f"{row.max_ape_pct:.1f} %"]
    cycles, remarks = rows["cycles"], _line("ONNXim")[5]
    assert f"{cycles.fitted_constants} streaming constants" in remarks
    assert f"a roofline is {cycles.null_mape_pct:.0f} % off; Kendall's tau {cycles.kendall_tau:.2f}" in remarks
    assert rows["matrix_blocks_per_core"].max_ape_pct == 0


def test_the_errors_against_searching_tools_are_the_measured_ones() -> None:
    report = compare([ROOT / "tests" / "reference" / "zigzag_accelforge.jsonl"])
    rows = {(row.source, row.metric): row for row in report.rows}
    forge, zigzag = rows["AccelForge", "latency_s"], rows["ZigZag", "cycles"]
    assert _line("AccelForge")[2:5] == [str(forge.n), f"{forge.mape_pct:.0f} %", f"{forge.max_ape_pct:.0f} %"]
    side = zigzag.one_sided
    assert side is not None and side.below_bound == 0
    assert _line("ZigZag")[2] == str(zigzag.n)
    assert f"{side.within} are 0 to 5 % above" in _line("ZigZag")[5]
    assert f"{side.faster} below, {side.slower} further above; none below our lower bound" in _line("ZigZag")[5]


def test_the_errors_of_areas_are_the_measured_ones() -> None:
    rows = compare_dies()
    free = [abs(row.error_pct) for row in rows if not row.fitted and row.block != WHOLE_DIE]
    missing = [row.unmodelled_pct for row in rows if row.unmodelled_pct is not None]
    assert f"off by {min(free):.0f} to {max(free):.0f} %, and {min(missing):.0f} to {max(missing):.0f} % of" in TEXT
