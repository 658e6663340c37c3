"""Request logs: when requests arrive, how many tokens go in and come out, and which prefixes they share.

Known layouts (workloads/request_layouts.py) are recognised by their columns; all times become seconds.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import TextIO

from workloads.errors import ChipsmithError
from workloads.files import write_text
from workloads.request_layouts import CSV, FRACTION_DIGITS, JSONL, NOTHING, Parsed, parse, pick

PERCENTILES = (50, 90, 95, 99)
_CLOCK_FROM_S = 1e9  # times above are clock times (seconds since 1970), not times since a log began
_PLAIN = ("arrival_s", "input_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        arrival_s: time of arrival in seconds, on the log's own clock (clock times: since the first request).
        input_tokens: prompt length.
        output_tokens: generated tokens.
        blocks: ids of the prompt's blocks in order; equal ids of two requests mean equal tokens up to and including
            that block. Empty where the log holds none; the last block may be shorter than the others.
        block_tokens: tokens of a block, 0 where there are none.
        session: name of the conversation, empty where the log holds none.
        turn: place in the conversation from 1, 0 where the log holds none.
        channel: memory channel that holds its keys and values, -1 where the log names none.
    """

    arrival_s: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()
    block_tokens: int = 0
    session: str = ""
    turn: int = 0
    channel: int = -1


def read_requests(path: str | Path, *, limit: int | None = None, skip_empty: bool = False) -> tuple[Request, ...]:
    """Read a log, ordered by arrival.

    CSV: Azure 2023 and 2024, Vidur, BurstGPT (rows without a response are failures and left out) or plain columns.
    JSON Lines: Mooncake (prefix blocks of 512 tokens), Qwen-Bailian (blocks of 16, sessions, turns), LLMServingSim
    (blocks of 16 from its token ids) or plain fields. Lines that start with ``#`` are comments. A shipped log is read
    by name, see :func:`list_request_logs`.

    Args:
        path: the file, or the name of a shipped log.
        limit: read no more than so many requests, in file order.
        skip_empty: leave out rows without output in every layout.

    Raises:
        ChipsmithError: no such file, unknown columns (naming what is missing and the known layouts), an empty log, a
            corrupt row (naming the line).
    """
    if limit is not None and limit < 1:
        raise ChipsmithError("limit", limit, "legal: 1 or more")
    with _opened(path) as stream:
        found = list(islice(_rows(str(path), _Lines(str(path), stream), skip_empty), limit))
    if not found:
        raise ChipsmithError(str(path), None, "holds no request")
    found.sort(key=lambda row: row[0])
    clock = found[0][0] >= _CLOCK_FROM_S
    return tuple(_request(row, found[0][0] if clock else None) for row in found)


def _request(row: Parsed, start_s: float | None) -> Request:
    """A request; clock times become seconds since ``start_s``."""
    arrival_s, tokens_in, tokens_out, extras = row
    if start_s is not None:
        arrival_s = round(arrival_s - start_s, FRACTION_DIGITS)
    if extras is NOTHING:
        return Request(arrival_s, tokens_in, tokens_out)
    more = (extras.blocks, extras.block_tokens, extras.session, extras.turn, extras.channel)
    return Request(arrival_s, tokens_in, tokens_out, *more)


def with_rate(requests: Sequence[Request], rate_hz: float) -> tuple[Request, ...]:
    """The same requests, all times stretched alike so that requests / duration is ``rate_hz``; the first comes at 0.

    Raises:
        ChipsmithError: no positive rate, or all requests at one time.
    """
    if not 0 < rate_hz < float("inf"):
        raise ChipsmithError("rate_hz", rate_hz, "legal: above 0")
    start, span = requests[0].arrival_s, requests[-1].arrival_s - requests[0].arrival_s
    if span <= 0:
        raise ChipsmithError("rate_hz", rate_hz, f"no rate fits {len(requests)} requests that arrive at one time")
    factor = len(requests) / rate_hz / span
    return tuple(replace(r, arrival_s=(r.arrival_s - start) * factor) for r in requests)


# ---------------------------------------------------------------- lengths


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


# ---------------------------------------------------------------- files


def list_request_logs() -> tuple[str, ...]:
    """Names of the shipped (synthetic) logs."""
    folder = resources.files("workloads").joinpath("data/requests")
    return tuple(sorted(item.name[: -len(".csv")] for item in folder.iterdir() if item.name.endswith(".csv")))


def write_requests(requests: Sequence[Request], path: str | Path, note: str = "") -> None:
    """Write the plain layout as ``.csv`` or ``.jsonl``; :func:`read_requests` gives back equal requests.

    Args:
        requests: at least one.
        path: target; its ending says which form.
        note: comment for the head of a CSV file, one line.

    Raises:
        ChipsmithError: another ending, nothing to write, a folder that cannot be written.
    """
    writers = {".csv": _csv_text, ".jsonl": _jsonl_text}
    suffix = Path(path).suffix
    if suffix not in writers:
        raise ChipsmithError(str(path), suffix or "nothing", f"legal endings: {', '.join(writers)}")
    if not requests:
        raise ChipsmithError("requests", None, "legal: at least one request")
    write_text(path, writers[suffix](requests, note))


def _fields(requests: Sequence[Request]) -> tuple[str, ...]:
    """Columns that at least one request fills."""
    blocks = ("block_tokens", "block_ids") if any(r.blocks for r in requests) else ()
    channel = ("channel",) if any(r.channel >= 0 for r in requests) else ()
    named = (name for name in ("session", "turn") if any(getattr(r, name) for r in requests))
    return (*_PLAIN, *named, *channel, *blocks)


def _values(request: Request) -> dict[str, object]:
    return {
        "arrival_s": request.arrival_s,
        "input_tokens": request.input_tokens,
        "output_tokens": request.output_tokens,
        "session": request.session,
        "turn": request.turn,
        "channel": request.channel if request.channel >= 0 else "",
        "block_tokens": request.block_tokens,
        "block_ids": list(request.blocks),
    }


def _jsonl_text(requests: Sequence[Request], note: str) -> str:
    names = _fields(requests)
    return "".join(json.dumps({name: _values(r)[name] for name in names}) + "\n" for r in requests)


def _csv_text(requests: Sequence[Request], note: str) -> str:
    names, text = _fields(requests), StringIO()
    if note:
        text.write(f"# {' '.join(note.split())}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for request in requests:
        row = {**_values(request), "block_ids": " ".join(map(str, request.blocks))}
        writer.writerow([row[name] for name in names])
    return text.getvalue()


# ---------------------------------------------------------------- reading


class _Lines:
    """Lines that hold something; ``number`` (from 1) and ``text`` are those of the line given last."""

    def __init__(self, path: str, stream: TextIO) -> None:
        self.path, self.number, self.text = path, 0, ""
        self._stream = stream

    @property
    def where(self) -> str:
        """The place of the line given last."""
        return f"{self.path}:{self.number}"

    def __iter__(self) -> Iterator[str]:
        try:
            for number, line in enumerate(self._stream, start=1):
                text = line.strip()
                if text and not line.startswith("#"):
                    self.number, self.text = number, text
                    yield text
        except UnicodeDecodeError:
            raise ChipsmithError(self.path, None, "no UTF-8 text") from None


def _opened(path: str | Path) -> TextIO:
    file = Path(path)
    if not file.is_file() and str(path) in list_request_logs():
        return StringIO(resources.files("workloads").joinpath(f"data/requests/{path}.csv").read_text("utf-8"))
    if not file.is_file():
        raise ChipsmithError(str(path), None, f"no such file; shipped logs: {', '.join(list_request_logs())}")
    try:
        return file.open(encoding="utf-8-sig")
    except OSError as error:
        raise ChipsmithError(str(path), None, f"no readable file: {error.strerror}") from None


def _rows(path: str, lines: _Lines, skip_empty: bool) -> Iterator[Parsed]:
    """Parsed rows of either form, those that are left out apart."""
    texts = iter(lines)
    first = next(texts, None)
    if first is None:
        raise ChipsmithError(path, None, "empty request log")
    read = _json_rows if first.startswith("{") else _csv_rows
    return (row for row in read(first, texts, lines, skip_empty) if row is not None)


def _csv_rows(first: str, texts: Iterator[str], lines: _Lines, skip_empty: bool) -> Iterator[Parsed | None]:
    header = [name.strip() for name in next(csv.reader([first]))]
    layout = pick(header, CSV, lines.where)
    extras = layout.extras()
    skip = skip_empty or layout.skip_empty
    try:
        for cells in csv.reader(texts):
            if len(cells) != len(header):
                raise ChipsmithError(lines.where, lines.text, f"legal: {len(header)} columns, found {len(cells)}")
            yield parse(layout, extras, dict(zip(header, cells, strict=True)), lines.where, skip)
    except csv.Error as error:
        raise ChipsmithError(lines.where, None, f"no CSV: {error}") from None


def _json_rows(first: str, texts: Iterator[str], lines: _Lines, skip_empty: bool) -> Iterator[Parsed | None]:
    row = _json_row(first, lines)
    layout = pick(list(row), JSONL, lines.where)
    extras = layout.extras()
    skip = skip_empty or layout.skip_empty
    yield parse(layout, extras, row, lines.where, skip)
    for text in texts:
        yield parse(layout, extras, _json_row(text, lines), lines.where, skip)


def _json_row(text: str, lines: _Lines) -> dict[str, object]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ChipsmithError(lines.where, None, f"no JSON: {error}") from None
    if not isinstance(row, dict):
        raise ChipsmithError(lines.where, text, "legal: a JSON object")
    return row
