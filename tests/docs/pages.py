"""The pages of the documentation as something that runs.

On a page, in order and in one temporary folder:

- a fence with ``title="NAME"`` is a file that is written;
- ``console`` holds commands behind ``$ `` with what they print, messages first;
- ``python`` is code, and a ``text`` fence right after it what it prints.

``...`` in an output stands for anything. A comment right above a fence says more: ``<!-- output varies: what -->``
compares the output with all numbers left out, ``<!-- exit N -->`` is the exit code that is expected,
``<!-- not run: why -->`` leaves a fence alone, and ``<!-- run when updating: why -->`` runs it only then. With
``CHIPSMITH_UPDATE_DOCS=1`` outputs are rewritten instead of compared, and ``<!-- picture: FILE -> TARGET -->`` takes a
picture that the fence drew over into the documentation. A fence that only includes a file is left alone.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chipsmith.cli import main

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
UPDATE = os.environ.get("CHIPSMITH_UPDATE_DOCS") == "1"
_FENCE = re.compile(r"(?P<marks>(?:^<!-- [^\n]* -->\n)*)^```(?P<head>[^\n]*)\n(?P<body>.*?)^```$", re.M | re.S)
_MARK = re.compile(r"<!-- (.*?) -->")
_CUT = re.compile(r"(?:(?:head|tail) -n \d+)?")
_NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Fence:
    """A fenced block.

    Attributes:
        language: after the backticks. title: the file that it is, or empty.
        marks: comments right above it.
        body: what stands in it. begin, end: where, in the page.
    """

    language: str
    title: str
    marks: tuple[str, ...]
    body: str
    begin: int
    end: int

    def mark(self, name: str) -> str | None:
        """What a comment ``name: text`` or ``name text`` says, None where there is none."""
        for mark in self.marks:
            if mark.startswith(name):
                return mark.removeprefix(name).lstrip(": ")
        return None


@dataclass(frozen=True)
class Command:
    """A command with the output that the page promises, and where that stands in the page."""

    line: str
    output: str
    begin: int
    end: int


@dataclass
class Check:
    """An output: where it stands, what is promised and what was found."""

    what: str
    begin: int
    end: int
    wanted: str
    found: str
    varies: bool = False

    @property
    def good(self) -> bool:
        """Whether the page keeps its promise."""
        if self.varies:
            return skeleton(self.wanted) == skeleton(self.found)
        return doctest.OutputChecker().check_output(self.wanted, self.found, doctest.ELLIPSIS)


@dataclass
class Run:
    """A page being run.

    Attributes:
        page: its path under docs.
        checks: every output so far.
    """

    page: str
    checks: list[Check] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "page"})


def skeleton(text: str) -> str:
    """Text without its numbers, rules and the widths of its columns."""
    return " ".join(re.sub(r"-{2,}", "", _NUMBER.sub("N", text)).split())


def fences(text: str) -> Iterator[Fence]:
    """All fences of a page."""
    for match in _FENCE.finditer(text):
        head = match["head"].split()
        title = re.search(r'title="([^"]+)"', match["head"])
        marks = tuple(_MARK.findall(match["marks"]))
        language = head[0].strip("{}.") if head else ""
        yield Fence(language, title[1] if title else "", marks, match["body"], match.start("body"), match.end("body"))


def split_console(fence: Fence) -> list[Command]:
    """Commands of a console fence; a line that ends with a backslash goes on in the next."""
    found: list[Command] = []
    at = fence.begin
    line, begin, continued = "", 0, False
    for text in fence.body.splitlines(keepends=True):
        at += len(text)
        if continued or text.startswith("$ "):
            if not continued and line:
                found.append(_closed(line, fence, begin, at - len(text)))
            line = line + text.strip() if continued else text[2:].strip()
            continued = line.endswith("\\")
            line, begin = line.removesuffix("\\"), at
    return [*found, _closed(line, fence, begin, at)] if line else found


def _closed(line: str, fence: Fence, begin: int, end: int) -> Command:
    return Command(line, fence.body[begin - fence.begin : end - fence.begin], begin, end)


def execute(line: str) -> tuple[int, str]:
    """Exit code and output of a command: ``chipsmith`` in this process, everything else in a shell."""
    command, _, part = line.partition(" | ")
    if line.startswith("chipsmith ") and _CUT.fullmatch(part):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = _exit_code(shlex.split(command)[1:])
        return code, err.getvalue() + cut(out.getvalue(), part)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr + done.stdout


def cut(text: str, part: str) -> str:
    """The lines that ``head -n N`` or ``tail -n N`` leaves; all without either."""
    if not part:
        return text
    tool, _, count = part.split()
    lines = text.splitlines(keepends=True)
    return "".join(lines[: int(count)] if tool == "head" else lines[-int(count) :])


def _exit_code(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as end:  # how argparse ends
        return int(end.code or 0)


def run_page(page: str) -> Run:
    """Run a page in the current folder."""
    run = Run(page)
    found = list(fences((DOCS / page).read_text(encoding="utf-8")))
    for number, fence in enumerate(found):
        if not _is_run(fence):
            continue
        if fence.title:
            Path(fence.title).parent.mkdir(parents=True, exist_ok=True)
            Path(fence.title).write_text(fence.body, encoding="utf-8")
        elif fence.language == "console":
            _run_console(run, fence)
        elif fence.language == "python":
            _run_python(run, fence, found[number + 1] if number + 1 < len(found) else None)
        _take_picture(fence)
    return run


def _is_run(fence: Fence) -> bool:
    if fence.mark("not run") is not None or fence.body.startswith("--8<--"):
        return False
    return UPDATE or fence.mark("run when updating") is None


def _take_picture(fence: Fence) -> None:
    drawn, _, target = (fence.mark("picture") or "").partition(" -> ")
    if drawn and UPDATE:
        (ROOT / target).write_bytes(Path(drawn).read_bytes())


def _run_console(run: Run, fence: Fence) -> None:
    wanted = int(fence.mark("exit") or 0)
    for command in split_console(fence):
        code, output = execute(command.line)
        assert code == wanted, f"{run.page}: $ {command.line}\nexit code {code}\n{output}"
        varies = fence.mark("output varies") is not None
        run.checks.append(Check(f"$ {command.line}", command.begin, command.end, command.output, output, varies))


def _run_python(run: Run, fence: Fence, after: Fence | None) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(fence.body, f"{run.page}:{fence.begin}", "exec"), run.names)
    if after is not None and after.language == "text" and "formula" not in after.marks:
        run.checks.append(Check(fence.body, after.begin, after.end, after.body, out.getvalue()))
    else:
        assert out.getvalue() == "", f"{run.page}: nothing stands there for\n{out.getvalue()}"


def update(run: Run) -> None:
    """Write what was found into the page; outputs that the page already allows stay as they are."""
    path = DOCS / run.page
    text = path.read_text(encoding="utf-8")
    for check in reversed(run.checks):
        if not check.good:
            text = text[: check.begin] + merged(check.wanted, check.found) + text[check.end :]
    path.write_text(text, encoding="utf-8")


def merged(wanted: str, found: str) -> str:
    """The output found, with the lines of the output wanted that hold ``...`` where the numbers of lines agree."""
    pairs = list(zip(wanted.splitlines(), found.splitlines(), strict=False))
    if "..." not in wanted or len(pairs) != wanted.count("\n") or len(pairs) != found.count("\n"):
        return found
    return "".join(f"{old if '...' in old else new}\n" for old, new in pairs)
