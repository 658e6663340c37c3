"""The ``chipsmith`` command: finds the files of ``chipsmith/commands`` and runs one of them.

A command is a file with ``NAME``, ``HELP`` (one line), ``EXAMPLE``, ``ORDER`` (place in the list),
``add_arguments(parser)`` and ``run(args) -> int``; heavy libraries are imported inside ``run``.

Exit codes: 0 done, 1 a threshold was missed, 2 bad input, 3 a tool is missing, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn, Protocol, cast

import chipsmith
import chipsmith.commands
from chipsmith.output import add_format_argument, use_one_line_warnings
from workloads.errors import ChipsmithError, MissingToolError, nearest

DONE, THRESHOLD_MISSED, BAD_INPUT, MISSING_TOOL, INTERRUPTED = 0, 1, 2, 3, 130


class Command(Protocol):
    """What a file in ``chipsmith/commands`` defines."""

    NAME: str
    HELP: str
    EXAMPLE: str
    ORDER: int

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own arguments (``--format`` is added for it)."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it and return the exit code."""


class _Parser(argparse.ArgumentParser):
    """Argument parser whose errors are one line, like all others."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"chipsmith: error: {message} (see '{self.prog} --help')\n")


def commands() -> list[Command]:
    """Every command, in the order in which help lists them."""
    names = (info.name for info in pkgutil.iter_modules(chipsmith.commands.__path__))
    found = (cast(Command, importlib.import_module(f"chipsmith.commands.{name}")) for name in names)
    return sorted(found, key=lambda command: (command.ORDER, command.NAME))


def build_parser(available: Sequence[Command]) -> argparse.ArgumentParser:
    """Parser with one sub-parser a command."""
    parser = _Parser(prog="chipsmith", description="Which accelerator should we build for this LLM workload?")
    parser.add_argument("--version", action="version", version=f"chipsmith {chipsmith.__version__}")
    choices = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in available:
        _add_command(choices.add_parser, command)
    return parser


def _add_command(add_parser: Callable[..., argparse.ArgumentParser], command: Command) -> None:
    sub = add_parser(
        command.NAME,
        help=command.HELP,
        description=command.HELP,
        epilog=f"example:\n  {command.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(sub)
    for parser in _family(sub):
        _finish(parser, command.EXAMPLE)
    sub.set_defaults(run=command.run)


def _family(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A command's parser and those of its actions."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _family(child)


def _finish(parser: argparse.ArgumentParser, example: str) -> None:
    """What every command and action has: an example in its help, and ``--format``."""
    if not parser.epilog:
        parser.epilog = f"example:\n  {example}"
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
    if not any("--format" in action.option_strings for action in parser._actions):
        add_format_argument(parser)


def _check_name(argv: Sequence[str], available: Sequence[Command]) -> None:
    """Refuse an unknown command with the nearest known one."""
    known = [command.NAME for command in available]
    if argv and not argv[0].startswith("-") and argv[0] not in known:
        raise ChipsmithError("command", argv[0], nearest(argv[0], known))


def _dispatch(argv: Sequence[str]) -> int:
    available = commands()
    _check_name(argv, available)
    args = build_parser(available).parse_args(argv)
    code = int(args.run(args))
    sys.stdout.flush()  # a closed pipe shows here, not when the interpreter ends
    return code


def _fail(text: object, code: int) -> int:
    print(f"chipsmith: error: {' '.join(str(text).split())}", file=sys.stderr)
    return code


def _silence_stdout() -> int:
    """The reader of our pipe has gone, which is no error; nothing more can be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE


def _file_error(error: OSError) -> int:
    """Errors about a file the user named are bad input; all others are ours and keep their traceback."""
    if error.filename is None:
        raise error
    return _fail(f"{error.filename}: {error.strerror}", BAD_INPUT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; argument errors leave through SystemExit(2)."""
    use_one_line_warnings()
    try:
        return _dispatch(sys.argv[1:] if argv is None else argv)
    except MissingToolError as error:
        return _fail(error, MISSING_TOOL)
    except ChipsmithError as error:
        return _fail(error, BAD_INPUT)
    except BrokenPipeError:
        return _silence_stdout()
    except KeyboardInterrupt:
        print("chipsmith: interrupted", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        return _file_error(error)
