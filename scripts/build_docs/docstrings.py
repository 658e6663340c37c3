"""Docstrings as Markdown: what a web page needs besides what an editor shows.

Roles become inline code, a paragraph that ends in two colons ends in one, simple tables become Markdown tables, and
fields that share a line (``rows, cols: ...``) get one each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

_ROLE = re.compile(r":(?:py:)?(?:func|class|meth|data|mod|attr):`(~?)([^`]+)`")
_RULE = re.compile(r"^(=+)( +=+)+$")
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields|Examples?|Notes?):$")
_SHARED = re.compile(r"^ {4}(\w+(?:, \w+)+): (.*)$")


def readable(text: str) -> str:
    """One docstring, its indentation already removed, as Markdown."""
    return "\n".join(_fields(_tables(_code_blocks(_ROLE.sub(_as_code, text)).splitlines()))).rstrip("\n")


def _as_code(match: re.Match[str]) -> str:
    """A role as inline code; of a path that begins with ``~`` the last name."""
    name = match[2].rpartition(".")[2] if match[1] else match[2]
    return f"`{name}`"


def _code_blocks(text: str) -> str:
    """A paragraph that ends with two colons ends with one; the indented lines after it are code already."""
    return re.sub(r"::(?=\n\n[ ]{4})", ":", text)


def _tables(lines: Sequence[str]) -> list[str]:
    """Lines in which tables drawn with rules of equal signs are Markdown tables."""
    rules = [at for at, line in enumerate(lines) if _RULE.match(line)]
    out: list[str] = []
    done = 0
    for first, head, last in zip(rules[::3], rules[1::3], rules[2::3], strict=False):
        out += [*lines[done:first], *_table(lines[first], lines[first + 1 : head], lines[head + 1 : last])]
        done = last + 1
    return [*out, *lines[done:]]


def _table(rule: str, head: Sequence[str], body: Sequence[str]) -> Iterator[str]:
    """A Markdown table from lines whose columns begin where the rule's do."""
    starts = [match.start() for match in re.finditer(r"=+", rule)]
    for number, cells in enumerate([*_rows(starts, head), *_rows(starts, body)]):
        yield f"| {' | '.join(cells)} |"
        if number == 0:
            yield f"|{'---|' * len(cells)}"


def _rows(starts: Sequence[int], lines: Sequence[str]) -> list[list[str]]:
    """Cells of each row; a line without a first cell goes on with the row before."""
    found: list[list[str]] = []
    for line in lines:
        cells = [line[a:b].strip().replace("|", "\\|") for a, b in pairwise([*starts, None])]
        if cells[0] or not found:
            found.append(cells)
        else:
            found[-1] = [f"{old} {new}".strip() for old, new in zip(found[-1], cells, strict=True)]
    return found


def _fields(lines: Sequence[str]) -> Iterator[str]:
    """Lines in which no two fields of a section share one, nor the lines that go on with it."""
    inside = False
    shared: list[str] = []
    for line in [*lines, ""]:
        if shared and not line.startswith(" " * 5):
            yield from _each(shared)
            shared = []
        inside = bool(_SECTION.match(line)) or (inside and (not line or line.startswith("    ")))
        if shared or (inside and _SHARED.match(line)):
            shared.append(line)
        else:
            yield line


def _each(lines: Sequence[str]) -> Iterator[str]:
    """A shared field once for each of its names."""
    match = _SHARED.match(lines[0])
    assert match is not None
    for name in match[1].split(", "):
        yield f"    {name}: {match[2]}"
        yield from lines[1:]
