from __future__ import annotations

import argparse
import dataclasses
import enum
import json
import os
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chipsmith
from chipsmith import cli
from chipsmith.output import add_format_argument, emit, format_cell, show_warning, table, to_json, to_plain
from workloads.errors import ChipsmithError, MissingToolError

SCRIPT = Path(sys.executable).with_name("chipsmith")


def fake_command(run: Any, name: str = "fake", order: int = 1) -> Any:
    return SimpleNamespace(
        NAME=name,
        HELP="do a thing",
        EXAMPLE="chipsmith fake",
        ORDER=order,
        add_arguments=lambda parser: parser.add_argument("--times", type=int, default=1),
        run=run,
    )


def raising(error: BaseException) -> Any:
    def run(args: argparse.Namespace) -> NoReturn:
        raise error

    return run


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes one function the body of the only command."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main replaces it; put it back afterwards

    def use(run: Any) -> None:
        monkeypatch.setattr(cli, "commands", lambda: [fake_command(run)])

    return use


# ---------------------------------------------------------------- exit codes


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (
            ChipsmithError("engines.npu.rows", -4, "a positive whole number"),
            2,
            "chipsmith: error: engines.npu.rows: got -4; a positive whole number\n",
        ),
        (
            MissingToolError("iverilog", None, "install it with: apt-get install -y iverilog"),
            3,
            "chipsmith: error: iverilog; install it with: apt-get install -y iverilog\n",
        ),
        (ChipsmithError("two\nlines"), 2, "chipsmith: error: two lines\n"),
        (FileNotFoundError(2, "No such file or directory", "a.yaml"), 2, None),
        (KeyboardInterrupt(), 130, "chipsmith: interrupted\n"),
    ],
)
def test_each_failure_is_one_line_and_one_exit_code(
    only: Any, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, text: str | None
) -> None:
    only(raising(error))
    assert cli.main(["fake"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (text or "chipsmith: error: a.yaml: No such file or directory\n")


def test_the_commands_own_code_is_returned(only: Any) -> None:
    only(lambda args: 1)
    assert cli.main(["fake"]) == 1


def test_an_error_without_a_file_is_ours_and_keeps_its_traceback(only: Any) -> None:
    only(raising(OSError("broken inside")))
    with pytest.raises(OSError, match="broken inside"):
        cli.main(["fake"])


def test_arguments_and_format_reach_the_command(only: Any) -> None:
    only(lambda args: args.times + 10 * (args.format == "json"))
    assert cli.main(["fake", "--times", "3", "--format", "json"]) == 13
    assert cli.main(["fake"]) == 1


def test_an_unknown_command_names_the_nearest(only: Any, capsys: pytest.CaptureFixture[str]) -> None:
    only(lambda args: 0)
    assert cli.main(["fack"]) == 2
    assert capsys.readouterr().err == "chipsmith: error: command: got 'fack'; did you mean 'fake'? known: fake\n"


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ([], "the following arguments are required: COMMAND (see 'chipsmith --help')"),
        (["fake", "--times", "x"], "argument --times: invalid int value: 'x' (see 'chipsmith fake --help')"),
        (["fake", "--nope"], "unrecognized arguments: --nope (see 'chipsmith --help')"),
    ],
)
def test_argument_errors_are_one_line_and_exit_2(
    only: Any, capsys: pytest.CaptureFixture[str], argv: list[str], text: str
) -> None:
    only(lambda args: 0)
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    assert stop.value.code == 2
    assert capsys.readouterr() == ("", f"chipsmith: error: {text}\n")


def test_a_closed_pipe_is_quiet() -> None:
    code = "import sys; from chipsmith import cli; sys.exit(cli.main(['doctor']))"
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run([sys.executable, "-c", code], stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, b"")


# ---------------------------------------------------------------- discovery and help


def test_every_command_file_keeps_the_protocol() -> None:
    found = cli.commands()
    assert "doctor" in [command.NAME for command in found]
    assert [c.ORDER for c in found] == sorted(c.ORDER for c in found)
    assert len({command.NAME for command in found}) == len(found)
    for command in found:
        assert "\n" not in command.HELP and command.EXAMPLE.startswith("chipsmith ")


def actions(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Parsers below one, by name."""
    subs = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: sub for action in subs for name, sub in action.choices.items()}


def every_command() -> list[tuple[str, ...]]:
    """Words of every command and action: ``("run",)``, ``("rtl", "verify")`` ..."""

    def below(parser: argparse.ArgumentParser, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [found for name, sub in actions(parser).items() for found in [(*path, name), *below(sub, (*path, name))]]

    return below(cli.build_parser(cli.commands()), ())


EVERY = pytest.mark.parametrize("words", every_command(), ids=" ".join)


@EVERY
def test_help_of_every_command_shows_an_example(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.build_parser(cli.commands()).parse_args([*words, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    _, _, example = text.partition("example:\n")
    assert example.strip().startswith(f"chipsmith {words[0]}")


@EVERY
def test_every_command_offers_json(words: tuple[str, ...]) -> None:
    parser = cli.build_parser(cli.commands())
    for word in words:
        parser = actions(parser)[word]
    (choice,) = [action for action in parser._actions if "--format" in action.option_strings]
    assert (choice.choices, choice.default) == (("table", "json"), "table")


@pytest.mark.parametrize("command", cli.commands(), ids=lambda command: str(command.NAME))
def test_every_example_is_a_legal_command_line(command: cli.Command) -> None:
    line = shlex.split(command.EXAMPLE.partition(" > ")[0])
    args = cli.build_parser(cli.commands()).parse_args(line[1:])
    assert (line[0], args.command, args.run) == ("chipsmith", command.NAME, command.run)


QUICK = (
    "chips",
    "chips --dies",
    "show tpu_v4",
    "doctor",
    "completion zsh",
    "trace gpt2 --batch 1 --context 8",
    "run --chip tpu_v4 --model gpt2 --context 8",
    "compare tpu_v4 tpu_v3 --model gpt2 --context 8",
    "explore edge --model gpt2 --context 8 --sampler random --budget 4",
)


@pytest.mark.parametrize("line", QUICK)
def test_json_is_one_document(line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main replaces it; put it back afterwards
    assert cli.main([*line.split(), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_an_action_gets_what_every_command_has(capsys: pytest.CaptureFixture[str]) -> None:
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_subparsers(dest="action").add_parser("go")

    command = fake_command(lambda args: 0)
    command.add_arguments = add_arguments
    parser = cli.build_parser([command])
    assert parser.parse_args(["fake", "go", "--format", "json"]).format == "json"
    with pytest.raises(SystemExit):
        parser.parse_args(["fake", "go", "--help"])
    assert capsys.readouterr().out.endswith("example:\n  chipsmith fake\n")


def test_version_of_script_package_and_metadata_agree() -> None:
    from importlib.metadata import version

    done = subprocess.run([SCRIPT, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"chipsmith {chipsmith.__version__}\n"
    assert version("chipsmith") == chipsmith.__version__


# ---------------------------------------------------------------- output


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    label: str


def test_plain_forms_of_everything_a_result_may_hold() -> None:
    assert to_plain(Point(float("nan"), "p")) == {"x": None, "label": "p"}
    assert to_plain({1: np.int64(7), "a": np.array([1.5, np.inf])}) == {"1": 7, "a": [1.5, None]}
    assert to_plain([Path("a/b"), Colour.RED, {3, 1, 2}, (True, None)]) == ["a/b", "red", [1, 2, 3], [True, None]]
    assert to_plain(pd.DataFrame({"n": [1, 2], "t": ["x", "y"]})) == [{"n": 1, "t": "x"}, {"n": 2, "t": "y"}]


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^object has no JSON form$"):
        to_plain(object())


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=8))
def test_json_text_is_strict_and_reads_back(value: Any) -> None:
    def refuse(constant: str) -> NoReturn:
        raise AssertionError(constant)

    assert json.loads(to_json(value), parse_constant=refuse) == to_plain(value)


@pytest.mark.parametrize(("form", "expected"), [("json", '{\n  "n": 1\n}\n'), ("table", "the table\n")])
def test_emit_prints_exactly_one_form(capsys: pytest.CaptureFixture[str], form: str, expected: str) -> None:
    parser = argparse.ArgumentParser()
    add_format_argument(parser)
    emit({"n": 1}, lambda: "the table", parser.parse_args(["--format", form]))
    assert capsys.readouterr() == (expected, "")


def test_warnings_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_warning("outside the\n calibrated range", UserWarning, "f.py", 3)
    assert capsys.readouterr() == ("", "chipsmith: warning: outside the calibrated range\n")


def test_table_aligns_numbers_right_and_text_left() -> None:
    rows: list[dict[str, Any]] = [
        {"name": "npu", "cycles": 1234567, "util": 0.5},
        {"name": "longer", "cycles": 12, "util": None},
    ]
    assert table(rows) == (
        "name       cycles  util\n"
        "------  ---------  ----\n"
        "npu     1,234,567   0.5\n"
        "longer         12     -"
    )  # fmt: skip


def test_table_columns_are_chosen_and_an_empty_one_says_so() -> None:
    assert table([{"a": 1, "b": "x"}], ["b"]) == "b\n-\nx"
    assert table([]) == "(nothing)"
    assert table([], ["a"]) == "a\n-"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (1234, "1,234"),
        (np.int32(5), "5"),
        (12.0, "12"),
        (3.14159265, "3.1416"),
        (1.5e12, "1.5e+12"),
        (float("inf"), "-"),
        ("a", "a"),
    ],
)
def test_cells(value: Any, text: str) -> None:
    assert format_cell(value) == text
