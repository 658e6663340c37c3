"""The one exception type that bad input raises, and the helpers that word it.

Leaf module: every package may import it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ChipsmithError(Exception):
    """Bad input, worded as one line: where, what was given, what would be legal.

    Args:
        where: path to the field or file, for example ``engines.npu.rows`` or ``log.csv:12``.
        value: what was given (shown with ``repr`` unless it is None).
        legal: what would be legal.
    """

    def __init__(self, where: str, value: object = None, legal: str = "") -> None:
        self.where = where
        self.value = value
        self.legal = legal
        given = "" if value is None else f": got {value!r}"
        hint = f"; {legal}" if legal else ""
        super().__init__(f"{where}{given}{hint}")


class MissingToolError(ChipsmithError):
    """An external program (a Verilog simulator, say) is not installed; the command line exits 3."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Word the closest known names: ``did you mean 'tpu_v4'? known: ...``."""
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.5)
    match = next((n for n in names if close and n.lower() == close[0]), None)
    guess = f"did you mean {match!r}? " if match else ""
    return f"{guess}known: {', '.join(names)}"
