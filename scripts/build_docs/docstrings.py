"""Docstrings as Markdown: roles become links, ``::`` blocks and simple tables become code blocks.

The docstrings are written to be read in an editor; this is what a web page needs besides.
"""

from __future__ import annotations

import re

_ROLE = re.compile(r":(?:py:)?(?:func|class|meth|data|mod|attr):`(~?)([^`]+)`")
_RULE = re.compile(r"^(=+)( +=+)+$")


def readable(text: str) -> str:
    """One docstring as Markdown."""
    return _fenced_tables(_code_blocks(_ROLE.sub(_as_code, text)))


def _as_code(match: re.Match[str]) -> str:
    """A role as inline code; of a path that begins with ``~`` the last name."""
    name = match[2].rpartition(".")[2] if match[1] else match[2]
    return f"`{name}`"


def _code_blocks(text: str) -> str:
    """A paragraph that ends with two colons ends with one; the indented lines after it are code already."""
    return re.sub(r"::(?=\n\n[ ]{4})", ":", text)


def _fenced_tables(text: str) -> str:
    """Tables drawn with rules of equal signs go into a fence."""
    lines, out, inside = text.splitlines(), [], 0
    for line in lines:
        ruled = bool(_RULE.match(line.strip()))
        if ruled and inside == 0:
            out.append("```text")
        out.append(line)
        if ruled:
            inside = (inside + 1) % 3
            if inside == 0:
                out.append("```")
    return "\n".join(out)
