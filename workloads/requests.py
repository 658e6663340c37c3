"""Request logs: when requests arrive and how many tokens go in and come out.

Known layouts are recognised by their columns; all times become seconds.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import resources
from pathlib import Path

from workloads.errors import ChipsmithError

PERCENTILES = (50, 90, 95, 99)
_TOKENS_MAX = 1 << 31
_FRACTION_DIGITS = 6
_CLOCK_FROM_S = 1e9  # times above are clock times (seconds since 1970), not times since a log began


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        arrival_s: time of arrival in seconds, on the log's own clock (clock times: since the first request).
        input_tokens: prompt length.
        output_tokens: generated tokens.
    """

    arrival_s: float
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a layout keeps its three numbers, and how its times become seconds."""

    name: str
    columns: tuple[str, str, str]
    seconds: Callable[[str], float]
    skip_empty: bool = False


def _clock(text: str) -> float:
    """Seconds since 1970 of a time stamp with any number of digits after the second (Azure has seven)."""
    whole, _, fraction = text.partition(".")
    digits = fraction[:_FRACTION_DIGITS].ljust(_FRACTION_DIGITS, "0")
    return (datetime.fromisoformat(f"{whole}.{digits}+00:00")).timestamp()


def _scaled(per_second: float) -> Callable[[str], float]:
    return lambda text: float(text) / per_second


_CSV = (
    _Layout("Azure 2023", ("TIMESTAMP", "ContextTokens", "GeneratedTokens"), _clock),
    _Layout("Vidur", ("arrived_at", "num_prefill_tokens", "num_decode_tokens"), float),
    _Layout("BurstGPT", ("Timestamp", "Request tokens", "Response tokens"), float, skip_empty=True),
    _Layout("plain", ("arrival_s", "input_tokens", "output_tokens"), float),
    _Layout("plain, short", ("arrival_s", "input_toks", "output_toks"), float),
)
_JSONL = (
    _Layout("Mooncake", ("timestamp", "input_length", "output_length"), _scaled(1e3)),
    _Layout("LLMServingSim", ("arrival_time_ns", "input_toks", "output_toks"), _scaled(1e9)),
    _Layout("plain", ("arrival_s", "input_tokens", "output_tokens"), float),
)


def read_requests(path: str | Path) -> tuple[Request, ...]:
    """Read a log, ordered by arrival.

    CSV: Azure 2023, Vidur, BurstGPT (rows without a response are failures and left out) or plain columns. JSON Lines:
    Mooncake, LLMServingSim or plain fields. Lines that start with ``#`` are comments. A shipped log is read by name,
    see :func:`list_request_logs`.

    Raises:
        ChipsmithError: no such file, unknown columns (naming what is missing and the known layouts), an empty log, a
            corrupt row (naming the line).
    """
    lines = list(_numbered(_text(path)))
    if not lines:
        raise ChipsmithError(str(path), None, "empty request log")
    rows = _json_rows(str(path), lines) if lines[0][1].startswith("{") else _csv_rows(str(path), lines)
    found = sorted((request for request in rows if request is not None), key=lambda request: request.arrival_s)
    if not found:
        raise ChipsmithError(str(path), None, "holds no request")
    return tuple(found) if found[0].arrival_s < _CLOCK_FROM_S else _since_first(found)


def _since_first(requests: Sequence[Request]) -> tuple[Request, ...]:
    """Times of day become seconds since the first request."""
    start = requests[0].arrival_s
    return tuple(replace(r, arrival_s=round(r.arrival_s - start, _FRACTION_DIGITS)) for r in requests)


def list_request_logs() -> tuple[str, ...]:
    """Names of the shipped (synthetic) logs."""
    folder = resources.files("workloads").joinpath("data/requests")
    return tuple(sorted(item.name[: -len(".csv")] for item in folder.iterdir() if item.name.endswith(".csv")))


def length_percentiles(requests: Iterable[Request]) -> dict[str, dict[int, int]]:
    """Percentiles 50, 90, 95, 99 of input and output tokens (nearest rank: the smallest length that p % do not exceed).

    Raises:
        ChipsmithError: no request.
    """
    listed = list(requests)
    if not listed:
        raise ChipsmithError("requests", None, "legal: at least one request")
    columns = {"input_tokens": [r.input_tokens for r in listed], "output_tokens": [r.output_tokens for r in listed]}
    return {name: {p: nearest_rank(lengths, p) for p in PERCENTILES} for name, lengths in columns.items()}


def nearest_rank(values: Sequence[int], percent: int) -> int:
    """The smallest value that at least ``percent`` % of the values do not exceed."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def _text(path: str | Path) -> str:
    file = Path(path)
    if not file.is_file() and str(path) in list_request_logs():
        return resources.files("workloads").joinpath(f"data/requests/{path}.csv").read_text("utf-8")
    if not file.is_file():
        raise ChipsmithError(str(path), None, f"no such file; shipped logs: {', '.join(list_request_logs())}")
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ChipsmithError(str(path), None, "no UTF-8 text") from None


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    """Lines that hold something, with their numbers from 1."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            yield number, line.strip()


def _csv_rows(path: str, lines: Sequence[tuple[int, str]]) -> Iterator[Request | None]:
    header = [name.strip() for name in next(csv.reader([lines[0][1]]))]
    layout = _pick(header, _CSV, f"{path}:{lines[0][0]}")
    for number, line in lines[1:]:
        cells = next(csv.reader([line]))
        if len(cells) != len(header):
            raise ChipsmithError(f"{path}:{number}", line, f"legal: {len(header)} columns, found {len(cells)}")
        yield _request(layout, dict(zip(header, cells, strict=True)), f"{path}:{number}")


def _json_rows(path: str, lines: Sequence[tuple[int, str]]) -> Iterator[Request | None]:
    layout: _Layout | None = None
    for number, line in lines:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ChipsmithError(f"{path}:{number}", None, f"no JSON: {error}") from None
        if not isinstance(row, dict):
            raise ChipsmithError(f"{path}:{number}", line, "legal: a JSON object")
        layout = layout or _pick(list(row), _JSONL, f"{path}:{number}")
        yield _request(layout, row, f"{path}:{number}")


def _pick(names: Sequence[str], layouts: Sequence[_Layout], where: str) -> _Layout:
    """The layout whose columns are all there."""
    for layout in layouts:
        if set(layout.columns) <= set(names):
            return layout
    closest = max(layouts, key=lambda layout: len(set(layout.columns) & set(names)))
    known = "; ".join(f"{layout.name} ({', '.join(layout.columns)})" for layout in layouts)
    missing = ", ".join(name for name in closest.columns if name not in names)
    if not set(closest.columns) & set(names):
        raise ChipsmithError(where, ", ".join(names), f"no known layout; known: {known}")
    raise ChipsmithError(where, ", ".join(names), f"for {closest.name} it lacks {missing}; known: {known}")


def _request(layout: _Layout, row: Mapping[str, object], where: str) -> Request | None:
    time, tokens_in, tokens_out = layout.columns
    if layout.skip_empty and str(row.get(tokens_out)).strip() == "0":
        return None
    try:
        arrival = layout.seconds(str(row.get(time)))
    except ValueError:
        arrival = math.nan
    if not math.isfinite(arrival):
        raise ChipsmithError(f"{where}: {time}", row.get(time, "nothing"), "legal: a time")
    return Request(arrival, _tokens(row, tokens_in, where), _tokens(row, tokens_out, where))


def _tokens(row: Mapping[str, object], name: str, where: str) -> int:
    text = str(row.get(name, "nothing")).strip()
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _TOKENS_MAX:
        raise ChipsmithError(f"{where}: {name}", row.get(name, "nothing"), "legal: a whole number, at least 1")
    return int(text)
