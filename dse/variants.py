"""What a space can vary of the workload, beside the fields of the chip: number formats and sparsity.

A variant is the values that one design has for these, in the order of ``READERS``; formats are changed first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from dse.formats import FORMATS, parse_formats
from dse.sparsity import SPARSITY, parse_sparsity
from workloads.trace import Trace

Variant = tuple[tuple[str, str], ...]  # (path, value) of each parameter of the workload
AS_GIVEN: Variant = ()


class Change(Protocol):
    """A parsed value."""

    def of(self, trace: Trace) -> Trace:
        """The trace with it."""


#: Path of each parameter of the workload to what reads its values: (text, where) to a change.
READERS: Mapping[str, Callable[[str, str], Change]] = {FORMATS: parse_formats, SPARSITY: parse_sparsity}
#: What figures and notes call them: words, and whether they are more than one thing.
WORDS: Mapping[str, tuple[str, bool]] = {FORMATS: ("number formats", True), SPARSITY: ("sparsity", False)}


def varied(trace: Trace, variant: Variant) -> Trace:
    """The trace of a variant.

    Raises:
        ChipsmithError: the trace does not take a value.
    """
    for path, text in variant:
        trace = READERS[path](text, path).of(trace)
    return trace


def varying(paths: tuple[str, ...]) -> str:
    """That these fields vary, in words: ``number formats, act_dtype vary``, ``sparsity varies``."""
    known = [WORDS.get(path, (path.rpartition(".")[2], False)) for path in paths]
    verb = "varies" if len(known) == 1 and not known[0][1] else "vary"
    return f"{', '.join(name for name, _ in known)} {verb}"
