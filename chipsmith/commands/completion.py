"""``chipsmith completion``: a script that completes commands, options, chips and models on Tab."""

from __future__ import annotations

import argparse

from chipsmith.output import emit

NAME = "completion"
ORDER = 95
HELP = "print a script for tab completion in bash, zsh or fish"
EXAMPLE = "chipsmith completion bash > ~/.local/share/bash-completion/completions/chipsmith"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which shell."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell that will load the script")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    from chipsmith.cli import build_parser, commands
    from chipsmith.completion import known_words, script, tree

    text = script(args.shell, tree(build_parser(commands()), known_words()))
    emit({"shell": args.shell, "script": text}, text.rstrip("\n"), args)
    return 0
