"""Tab completion: scripts for bash, zsh and fish, made from the command's own parsers.

A script holds everything it offers, so pressing Tab starts no Python. It knows commands and their actions, options,
choices, chip presets, model configurations and the values of options that take one of a few words; files elsewhere.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

SHELLS = ("bash", "zsh", "fish")
#: Words that options (or positional arguments) take besides files, where argparse has no choices for them.
Words = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Option:
    """An option: its spellings, help, whether it takes a value, the words that may be it, and whether files may."""

    names: tuple[str, ...]
    help: str
    takes_value: bool
    words: tuple[str, ...] = ()
    files: bool = True


@dataclass(frozen=True)
class Node:
    """A command or one of its actions.

    Attributes:
        path: words that lead to it, ``chipsmith`` first. help: one line.
        options: all of them. words: what its positional arguments may be. children: its actions.
    """

    path: tuple[str, ...]
    help: str
    options: tuple[Option, ...]
    words: tuple[str, ...] = ()
    children: tuple[Node, ...] = field(default_factory=tuple)

    @property
    def key(self) -> str:
        """The path as one text."""
        return " ".join(self.path)


def known_words() -> dict[str, Sequence[str]]:
    """Words by destination of the argument: presets, configurations, samplers, fidelities ..."""
    from dse.quality import list_quality
    from dse.samplers.registry import samplers
    from dse.space import list_spaces
    from models.chip import list_chips
    from workloads.configs import list_configs
    from workloads.dtypes import DTYPES
    from workloads.requests import list_request_logs

    formats = tuple(DTYPES)
    return {
        "chip": list_chips(),
        "chips": list_chips(),
        **dict.fromkeys(("model", "draft_model"), list_configs()),
        **dict.fromkeys(("log", "requests"), list_request_logs()),
        "space": list_spaces(),
        "quality": list_quality(),
        "iso_quality": ("required", "none"),
        "fidelity": ("bound", "tile", "command"),
        "mapping": ("auto", "gemmini"),
        "sampler": tuple(samplers()),
        "dataflow": ("ws", "os"),
        "matrix": ("smoke", "quick", "standard", "full"),
        "simulator": ("icarus", "verilator"),
        **dict.fromkeys(("weights", "activations", "kv", "embeddings"), formats),
    }


def tree(parser: argparse.ArgumentParser, words: Words, path: tuple[str, ...] = (), help_text: str = "") -> Node:
    """What a parser and its sub-parsers offer."""
    here = path or (parser.prog,)
    options, positional, children = [], [], []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            children += [tree(sub, words, (*here, name), helps.get(name, "")) for name, sub in action.choices.items()]
        elif action.help is argparse.SUPPRESS:
            continue
        elif action.option_strings:
            options.append(_option(action, words))
        else:
            positional += _values(action, words)
    return Node(here, help_text, tuple(options), tuple(dict.fromkeys(positional)), tuple(children))


def _option(action: argparse.Action, words: Words) -> Option:
    words_of = tuple(_values(action, words))
    files = action.type not in {int, float} and action.choices is None
    return Option(tuple(action.option_strings), action.help or "", action.nargs != 0, words_of, files)


def _values(action: argparse.Action, words: Words) -> list[str]:
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    return list(words.get(action.dest, ()))


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    yield node
    for child in node.children:
        yield from walk(child)


def script(shell: str, root: Node) -> str:
    """The completion script of a shell in :data:`SHELLS`."""
    makers: dict[str, Callable[[Node], str]] = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}
    return makers[shell](root)


def _quoted(text: str) -> str:
    """For single quotes of any of the shells, which share no escape for one: quotes in help texts become backticks."""
    return "'" + " ".join(text.split()).replace("\\", "/").replace("'", "`").replace("%%", "%") + "'"


# ---------------------------------------------------------------- bash, and zsh through its emulation


def bash_script(root: Node) -> str:
    """Completion for bash 3.2 and later."""
    name = root.path[0]
    nodes = list(walk(root))
    steps = "|".join(f"'{node.key}'" for node in nodes if len(node.path) > 1)
    values = [_bash_value(node, option) for node in nodes for option in node.options if option.takes_value]
    offers = [_bash_offer(node) for node in nodes]
    lines = [
        f"# bash completion of {name}; load it with: source <({name} completion bash)",
        f"_{name}() {{",
        '  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"',
        f"  local here='{name}' offer='' files='yes' i",
        "  for ((i = 1; i < COMP_CWORD; i++)); do",
        '    case "$here ${COMP_WORDS[i]}" in',
        f'      {steps}) here="$here ${{COMP_WORDS[i]}}" ;;',
        "    esac",
        "  done",
        '  case "$here $prev" in',
        *values,
        "    *)",
        '      case "$here" in',
        *offers,
        "      esac ;;",
        "  esac",
        '  COMPREPLY=($(compgen -W "$offer" -- "$cur"))',
        "  # nothing of ours fits: files",
        '  if [ ${#COMPREPLY[@]} -eq 0 ] && [ -n "$files" ] && [ "${cur#-}" = "$cur" ]; then',
        "    local IFS=$'\\n'  # names may hold spaces",
        '    COMPREPLY=($(compgen -f -- "$cur"))',
        "  fi",
        "}",
        f"complete -o filenames -F _{name} {name}",
    ]
    return "\n".join(lines) + "\n"


def _bash_value(node: Node, option: Option) -> str:
    """What may follow an option that takes a value."""
    patterns = "|".join(f"'{node.key} {name}'" for name in option.names)
    files = "" if option.files else " files=''"
    return f"    {patterns}) offer='{' '.join(option.words)}'{files} ;;"


def _bash_offer(node: Node) -> str:
    """What may stand in a command: actions or words, and options once a dash is typed."""
    options = " ".join(name for option in node.options for name in option.names)
    plain = " ".join([child.path[-1] for child in node.children] + list(node.words))
    return f"        '{node.key}') case \"$cur\" in -*) offer='{options}' ;; *) offer='{plain}' ;; esac ;;"


def zsh_script(root: Node) -> str:
    """Completion for zsh: descriptions beside every word."""
    name = root.path[0]
    nodes = list(walk(root))
    lines = [f"#compdef {name}", f"# zsh completion of {name}; load it with: source <({name} completion zsh)"]
    lines += [
        f"_{name}() {{",
        f"  local here='{name}' word",
        "  local -a offer options",
        '  for word in "${(@)words[2,CURRENT-1]}"; do',
        '    case "$here $word" in',
        f'      {"|".join(_zsh_word(node.key) for node in nodes if len(node.path) > 1)}) here="$here $word" ;;',
        "    esac",
        "  done",
        '  case "$here ${words[CURRENT-1]}" in',
        *(_zsh_value(node, option) for node in nodes for option in node.options if option.takes_value),
        "  esac",
        '  case "$here" in',
        *(line for node in nodes for line in _zsh_offer(node)),
        "  esac",
        "  if [[ $words[CURRENT] == -* ]]; then _describe option options; return; fi",
        "  (( $#offer )) && _describe word offer",
        "  _files",
        "}",
        f'if [ "$funcstack[1]" = "_{name}" ]; then _{name} "$@"; else compdef _{name} {name}; fi',
    ]
    return "\n".join(lines) + "\n"


def _zsh_word(text: str) -> str:
    return f"'{text}'"


def _zsh_value(node: Node, option: Option) -> str:
    patterns = "|".join(_zsh_word(f"{node.key} {name}") for name in option.names)
    files = "_files; " if option.files else ""
    if not option.words:
        return f"    {patterns}) {files}return ;;"
    offer = " ".join(map(_quoted, option.words))
    return f"    {patterns}) offer=({offer}); _describe value offer; {files}return ;;"


def _zsh_offer(node: Node) -> Iterator[str]:
    described = [_quoted(f"{_zsh_colon(child.path[-1])}:{child.help}") for child in node.children]
    plain = [_quoted(_zsh_colon(word)) for word in node.words]
    options = [_quoted(f"{name}:{option.help}") for option in node.options for name in option.names]
    yield f"    {_zsh_word(node.key)})"
    yield f"      offer=({' '.join(described + plain)})"
    yield f"      options=({' '.join(options)}) ;;"


def _zsh_colon(text: str) -> str:
    """``_describe`` splits at colons; none of our words has one, files of users are not listed here."""
    return text.replace(":", "_")


# ---------------------------------------------------------------- fish


def fish_script(root: Node) -> str:
    """Completion for fish 3: one line a word or option."""
    name = root.path[0]
    lines = [f"# fish completion of {name}; load it with: {name} completion fish | source"]
    lines += [line for node in walk(root) for line in _fish_node(node, root)]
    return "\n".join(lines) + "\n"


def _fish_node(node: Node, root: Node) -> Iterator[str]:
    name, condition = root.path[0], _fish_condition(node, root)
    for child in node.children:
        yield f"complete -c {name} -f -n '{condition}' -a {child.path[-1]} -d {_quoted(child.help)}"
    if node.words:
        yield f"complete -c {name} -n '{condition}' -a {_quoted(' '.join(node.words))}"
    for option in node.options:
        spelling = " ".join(_fish_name(spelled) for spelled in option.names)
        kind = " -r" if option.files else " -x"
        value = f"{kind} -a {_quoted(' '.join(option.words))}" if option.words else kind if option.takes_value else ""
        yield f"complete -c {name} -n '{condition}' {spelling}{value} -d {_quoted(option.help)}"


def _fish_name(spelled: str) -> str:
    return f"-l {spelled[2:]}" if spelled.startswith("--") else f"-s {spelled[1:]}"


def _fish_condition(node: Node, root: Node) -> str:
    """The words of the node were given, none of an action below it, and no other command with an action of its name."""
    seen = [f"__fish_seen_subcommand_from {word}" for word in node.path[1:]]
    below = [child.path[-1] for child in node.children]
    if not seen and below:
        return "__fish_use_subcommand"
    if below:
        seen.append(f"not __fish_seen_subcommand_from {' '.join(below)}")
    if len(node.path) == 2:
        seen += [
            f"not __fish_seen_subcommand_from {other.path[-1]}"
            for other in root.children
            if node.path[-1] in {child.path[-1] for child in other.children}
        ]
    return "; and ".join(seen)
