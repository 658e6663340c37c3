"""Constraints: one comparison of two arithmetic expressions over chip fields, objectives and numbers.

The grammar is small on purpose and nothing is ever evaluated as Python::

    constraint = side ("<=" | ">=" | "<" | ">" | "==" | "!=") side
    side       = ["-"] term (("+" | "-") term)*
    term       = atom (("*" | "/") atom)*
    atom       = number | name            a name is a chip field path or an objective
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.errors import ChipsmithError

Floats = NDArray[np.float64]
Lookup = Callable[[str], NDArray[Any]]

LEGAL = "a constraint reads NAME [+ - * / NUMBER or NAME] OP VALUE, e.g. 'area_mm2 <= 400' or 'engines.npu.rows <= 128'"
LEAST_VIOLATION = 1e-12  # a violated strict comparison of equal sides must still count as violated
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])"
    r"|(?P<name>[A-Za-z_]\w*(?:\.\w+)*)|(?P<compare><=|>=|==|!=|<|>)|(?P<sign>[-+*/]))"
)
_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "==": operator.eq,
    "!=": operator.ne,
}
_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": np.divide,
}


@dataclass(frozen=True, slots=True)
class Term:
    """A product of atoms with its sign.

    Attributes:
        sign: ``+`` or ``-``.
        factors: (``*`` or ``/``, number or name) in order; the first operation is always ``*``.
    """

    sign: str
    factors: tuple[tuple[str, float | str], ...]

    def value(self, lookup: Lookup) -> Any:
        """Value per design."""
        result: Any = 1.0
        for symbol, atom in self.factors:
            operand = lookup(atom).astype(np.float64) if isinstance(atom, str) else atom
            result = _ARITHMETIC[symbol](result, operand)
        return result


@dataclass(frozen=True, slots=True)
class Constraint:
    """A parsed comparison.

    Attributes:
        text: as the user wrote it, spaces normalised.
        left, right: sums of terms.
        compare: the comparison operator.
    """

    text: str
    left: tuple[Term, ...]
    compare: str
    right: tuple[Term, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Field paths and objectives it mentions, each once, in order."""
        atoms = [atom for term in (*self.left, *self.right) for _, atom in term.factors]
        return tuple(dict.fromkeys(atom for atom in atoms if isinstance(atom, str)))

    def violation(self, lookup: Lookup) -> Floats:
        """How far each design is from satisfying it, shape (n,): 0 = satisfied, else relative to the right side.

        Args:
            lookup: name to values per design.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            left, right = _total(self.left, lookup), _total(self.right, lookup)
            gap = np.abs(left - right) / np.maximum(np.abs(right), 1e-30)
            held = _COMPARE[self.compare](left, right) & np.isfinite(left) & np.isfinite(right)
        gap = np.where(np.isfinite(gap), np.maximum(gap, LEAST_VIOLATION), 1.0)
        return np.atleast_1d(np.where(held, 0.0, gap))


def _total(terms: tuple[Term, ...], lookup: Lookup) -> Any:
    result: Any = 0.0
    for term in terms:
        result = _ARITHMETIC[term.sign](result, term.value(lookup))
    return result


def _tokens(text: str) -> list[tuple[str, str]]:
    """(class, text) of each token; a character that no token starts with is refused."""
    found: list[tuple[str, str]] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise ChipsmithError("constraint", text, LEGAL)
        found.append((str(match.lastgroup), match.group(str(match.lastgroup))))
        position = match.end()
    return found


def _terms(tokens: list[tuple[str, str]], text: str) -> tuple[Term, ...]:
    """Terms of one side: signs and atoms must alternate; one leading minus is allowed."""
    first = ("sign", "+") if tokens[:1] != [("sign", "-")] else tokens.pop(0)
    pairs = [first, *tokens]
    if len(pairs) % 2 or len(pairs) < 2:
        raise ChipsmithError("constraint", text, LEGAL)
    terms: list[tuple[str, list[tuple[str, float | str]]]] = []
    for (kind, symbol), (atom_kind, atom) in zip(pairs[::2], pairs[1::2], strict=True):
        if kind != "sign" or atom_kind not in {"number", "name"}:
            raise ChipsmithError("constraint", text, LEGAL)
        value = float(atom) if atom_kind == "number" else atom
        if value == math.inf:
            raise ChipsmithError("constraint", text, LEGAL)
        if symbol in "+-":
            terms.append((symbol, [("*", value)]))
        else:
            terms[-1][1].append((symbol, value))
    return tuple(Term(sign, tuple(factors)) for sign, factors in terms)


def parse_constraint(text: str) -> Constraint:
    """Parse one comparison.

    Raises:
        ChipsmithError: with the legal form, for anything that is not in the grammar or names nothing.
    """
    if not isinstance(text, str):
        raise ChipsmithError("constraint", text, LEGAL)
    tokens = _tokens(text)
    at = [i for i, (kind, _) in enumerate(tokens) if kind == "compare"]
    if len(at) != 1:
        raise ChipsmithError("constraint", text, LEGAL)
    left, right = _terms(tokens[: at[0]], text), _terms(tokens[at[0] + 1 :], text)
    constraint = Constraint(" ".join(text.split()), left, tokens[at[0]][1], right)
    if not constraint.names:
        raise ChipsmithError("constraint", text, LEGAL)
    return constraint
