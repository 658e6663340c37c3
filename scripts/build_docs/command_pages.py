"""The page of all commands, made from the parser that the command itself uses."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from chipsmith.cli import Command, build_parser, commands

_INTRO = """# Commands

Made from the parser itself when this site is built. Every command takes `--format json`: stdout then holds exactly one
JSON document, progress and warnings go to stderr. Exit codes: 0 done, 1 a threshold was missed or a design failed,
2 bad input (one line says what would be legal), 3 a tool is missing, 130 interrupted.

| command | what it does |
|---|---|
"""
Choices = dict[str, argparse.ArgumentParser]


def page() -> str:
    """Markdown of the whole page."""
    available = commands()
    parsers = _children(build_parser(available))
    listed = "\n".join(f"| [`{one.NAME}`](#chipsmith-{one.NAME}) | {_text(one.HELP)} |" for one in available)
    return _INTRO + listed + "\n\n" + "\n\n".join(_command(one, parsers[one.NAME]) for one in available) + "\n"


def _children(parser: argparse.ArgumentParser) -> Choices:
    """Sub-parsers by name; empty where there are none."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _command(command: Command, parser: argparse.ArgumentParser) -> str:
    parts = [f"## chipsmith {command.NAME}", f"{_sentence(command.HELP)}"]
    inner = _children(parser)
    if not inner:
        parts += list(_arguments(parser))
    for name, child in inner.items():
        parts += [f"### chipsmith {command.NAME} {name}", _sentence(child.description or ""), *_arguments(child)]
    example = command.EXAMPLE.strip()
    return "\n\n".join([part for part in parts if part] + [f"Example:\n\n```console\n$ {example}\n```"])


def _arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Usage, then a table for each group of arguments."""
    yield f"```text\n{_usage(parser)}\n```"
    for group in parser._action_groups:
        rows = [_row(action) for action in group._group_actions if _is_shown(action)]
        if rows:
            title = (group.title or "arguments").replace("positional arguments", "arguments")
            yield f"| {title} | |\n|---|---|\n" + "\n".join(rows)


def _is_shown(action: argparse.Action) -> bool:
    return action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction)


def _usage(parser: argparse.ArgumentParser) -> str:
    """The synopsis at a fixed width, whatever the terminal."""
    formatter = argparse.HelpFormatter(parser.prog, width=100)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    return formatter.format_help().strip()


def _row(action: argparse.Action) -> str:
    formatter = argparse.HelpFormatter("", width=100)
    shown = formatter._format_action_invocation(action).replace("|", "\\|")
    return f"| `{shown}` | {_text(_expanded(action))} |"


def _expanded(action: argparse.Action) -> str:
    """The help text with its placeholders filled in."""
    return (action.help or "") % {**vars(action), "prog": "chipsmith"}


def _text(text: str) -> str:
    """Text that may stand in a cell."""
    return re.sub(r"([|<*_])", r"\\\1", text)


def _sentence(text: str) -> str:
    text = _text(text.strip())
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".") if text else ""
