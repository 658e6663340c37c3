"""Reference records a second: the prediction, its null model and, for ONNXim, the searched mapping."""

from __future__ import annotations

from pathlib import Path

from benchmarks.measure import Row, timed
from chipsmith.validate import validate

_FOLDER = Path(__file__).parents[1] / "tests" / "reference"
_FILES = ("scalesim.jsonl", "onnxim.jsonl", "zigzag_accelforge.jsonl")


def _row(name: str) -> Row:
    path = _FOLDER / name
    records = sum(1 for _ in path.open(encoding="utf-8"))
    return Row(f"validate {name}", "chipsmith", timed(lambda: validate([path]), repeats=3), records, "records")


def main() -> list[Row]:
    """Each shipped file of reference records, in one warm process."""
    return [_row(name) for name in _FILES]
