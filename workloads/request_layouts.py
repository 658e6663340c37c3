"""Layouts of public request logs: which columns hold what, and how their times become seconds.

A layout is chosen by the names of the columns (or JSON fields). What only some logs hold, that is prefix blocks,
sessions and turns, comes from a function made afresh for each file, because it may depend on earlier rows.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from workloads.errors import ChipsmithError

FRACTION_DIGITS = 6
_TOKENS_MAX = 1 << 31
_DIGITS = 20  # more than _TOKENS_MAX has; Python refuses to make numbers of thousands of digits
_DAY_S = 86_400
_TIME_MAX_S = 1e15  # thirty million years: their squares still fit
_MOONCAKE_BLOCK_TOKENS = 512  # Qin et al. 2025, Mooncake, FAST 2025, open traces
_BAILIAN_BLOCK_TOKENS = 16  # Wang et al. 2025, KVCache Cache in the Wild, USENIX ATC 2025, data set
_TOKEN_IDS_BLOCK = 16  # block of vLLM, for logs that hold the tokens themselves
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)[ T]([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d+))?(?:Z|\+00:?00)?")

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Extras:
    """What a log may say beside times and lengths; see :class:`workloads.requests.Request`."""

    blocks: tuple[int, ...] = ()
    block_tokens: int = 0
    session: str = ""
    turn: int = 0
    channel: int = -1


Parsed = tuple[float, int, int, Extras]
ReadExtras = Callable[[Row, int, str], Extras]
NOTHING = Extras()


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a log keeps its numbers.

    Attributes:
        name: what messages call it.
        columns: names of arrival time, input tokens, output tokens.
        seconds: turns a time into seconds; raises ValueError.
        extras: makes the function that reads what else a row holds, from (row, input tokens, where).
        marks: further columns that tell this layout from others.
        skip_empty: rows without output are failures and left out.
    """

    name: str
    columns: tuple[str, str, str]
    seconds: Callable[[str], float]
    extras: Callable[[], ReadExtras]
    marks: tuple[str, ...] = ()
    skip_empty: bool = False

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns that must be there."""
        return (*self.columns, *self.marks)


# ---------------------------------------------------------------- times


@lru_cache(maxsize=64)
def _day_s(text: str) -> int:
    return date.fromisoformat(text).toordinal() * _DAY_S - date(1970, 1, 1).toordinal() * _DAY_S


def clock_s(text: str) -> float:
    """Seconds since 1970 of a UTC time stamp, with any number of digits after the second (Azure 2023: seven).

    Raises:
        ValueError: no such time stamp, or one of another time zone.
    """
    found = _STAMP.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    day, hour, minute, second, fraction = found.groups()
    whole = _day_s(day) + int(hour) * 3600 + int(minute) * 60 + int(second)
    return whole + float(f"0.{(fraction or '0')[:FRACTION_DIGITS]}")


def _scaled(per_second: float) -> Callable[[str], float]:
    return lambda text: float(text) / per_second


# ---------------------------------------------------------------- prefix blocks, sessions, turns


def _no_extras() -> ReadExtras:
    return lambda row, tokens, where: NOTHING


def _mooncake() -> ReadExtras:
    def read(row: Row, tokens: int, where: str) -> Extras:
        blocks = _ids(row, "hash_ids", _MOONCAKE_BLOCK_TOKENS, tokens, where)
        return Extras(blocks, _MOONCAKE_BLOCK_TOKENS) if blocks else NOTHING

    return read


def _bailian() -> ReadExtras:
    """A session is named by the chat that began it; a parent that the log does not hold begins one, too."""
    roots: dict[str, str] = {}

    def read(row: Row, tokens: int, where: str) -> Extras:
        chat, parent = str(row.get("chat_id")), str(row.get("parent_chat_id", -1))
        roots[chat] = chat if parent == "-1" else roots.get(parent, parent)
        blocks = _ids(row, "hash_ids", _BAILIAN_BLOCK_TOKENS, tokens, where)
        return Extras(blocks, _BAILIAN_BLOCK_TOKENS if blocks else 0, roots[chat], _turn(row, where))

    return read


def _burst() -> ReadExtras:
    """The second release names sessions (not those of the API); turns are counted."""
    turns: Counter[str] = Counter()

    def read(row: Row, tokens: int, where: str) -> Extras:
        session = str(row.get("Session ID") or "").strip()
        if not session:
            return NOTHING
        turns[session] += 1
        return Extras(session=session, turn=turns[session])

    return read


def _token_ids() -> ReadExtras:
    """Blocks of equal tokens after equal blocks get equal numbers; a last block that is not full gets none."""
    known: dict[tuple[int, tuple[object, ...]], int] = {}

    def read(row: Row, tokens: int, where: str) -> Extras:
        ids = row.get("input_tok_ids")
        if not isinstance(ids, list):
            return NOTHING
        blocks: list[int] = []
        for start in range(0, min(len(ids), tokens) // _TOKEN_IDS_BLOCK * _TOKEN_IDS_BLOCK, _TOKEN_IDS_BLOCK):
            key = (blocks[-1] if blocks else -1, tuple(map(str, ids[start : start + _TOKEN_IDS_BLOCK])))
            blocks.append(known.setdefault(key, len(known)))
        return Extras(tuple(blocks), _TOKEN_IDS_BLOCK) if blocks else NOTHING

    return read


def _plain() -> ReadExtras:
    def read(row: Row, tokens: int, where: str) -> Extras:
        session, turn, channel = str(row.get("session") or ""), _turn(row, where), _channel(row, where)
        if not row.get("block_ids"):
            named = session or turn or channel >= 0
            return Extras(session=session, turn=turn, channel=channel) if named else NOTHING
        size = _whole(row, "block_tokens", where, 1)
        return Extras(_ids(row, "block_ids", size, tokens, where), size, session, turn, channel)

    return read


def _ids(row: Row, name: str, block_tokens: int, tokens: int, where: str) -> tuple[int, ...]:
    """Ids of the prompt's blocks: a list, or text with spaces between them.

    Raises:
        ChipsmithError: no whole numbers, or more of them than the prompt has blocks.
    """
    given = row.get(name)
    values = given.split() if isinstance(given, str) else given or ()
    if not isinstance(values, list | tuple):
        raise ChipsmithError(f"{where}: {name}", given, "legal: a list of whole numbers")
    try:
        blocks = tuple(values) if all(type(v) is int for v in values) else tuple(int(str(v)) for v in values)
    except ValueError:
        raise ChipsmithError(f"{where}: {name}", given, "legal: a list of whole numbers") from None
    most = -(-tokens // block_tokens)
    if len(blocks) > most:
        text = f"legal: at most {most}, one for each {block_tokens} of {tokens} tokens"
        raise ChipsmithError(f"{where}: {name}", f"{len(blocks)} ids", text)
    return blocks


def _turn(row: Row, where: str) -> int:
    return _whole(row, "turn", where, 0) if row.get("turn") not in (None, "") else 0


def _channel(row: Row, where: str) -> int:
    return _whole(row, "channel", where, 0) if row.get("channel") not in (None, "") else -1


# ---------------------------------------------------------------- the layouts

CSV = (
    Layout("Azure 2023 and 2024", ("TIMESTAMP", "ContextTokens", "GeneratedTokens"), clock_s, _no_extras),
    Layout("Vidur", ("arrived_at", "num_prefill_tokens", "num_decode_tokens"), float, _no_extras),
    Layout("BurstGPT", ("Timestamp", "Request tokens", "Response tokens"), float, _burst, skip_empty=True),
    Layout("plain", ("arrival_s", "input_tokens", "output_tokens"), float, _plain),
    Layout("plain, short", ("arrival_s", "input_toks", "output_toks"), float, _plain),
)
JSONL = (
    Layout("Qwen-Bailian", ("timestamp", "input_length", "output_length"), float, _bailian, ("chat_id", "turn")),
    Layout("Mooncake", ("timestamp", "input_length", "output_length"), _scaled(1e3), _mooncake),
    Layout("LLMServingSim", ("arrival_time_ns", "input_toks", "output_toks"), _scaled(1e9), _token_ids),
    Layout("plain", ("arrival_s", "input_tokens", "output_tokens"), float, _plain),
)


def pick(names: Sequence[str], layouts: Sequence[Layout], where: str) -> Layout:
    """The first layout whose columns are all there.

    Raises:
        ChipsmithError: none; names what the closest one lacks, and all known ones.
    """
    for layout in layouts:
        if set(layout.needed) <= set(names):
            return layout
    closest = max(layouts, key=lambda layout: (_held(layout, names), -len(layout.needed)))
    known = "; ".join(f"{layout.name} ({', '.join(layout.needed)})" for layout in layouts)
    missing = ", ".join(name for name in closest.needed if name not in names)
    if not _held(closest, names):
        raise ChipsmithError(where, ", ".join(names), f"no known layout; known: {known}")
    raise ChipsmithError(where, ", ".join(names), f"for {closest.name} it lacks {missing}; known: {known}")


def _held(layout: Layout, names: Sequence[str]) -> int:
    return len(set(layout.needed) & set(names))


def parse(layout: Layout, extras: ReadExtras, row: Row, where: str, skip_empty: bool) -> Parsed | None:
    """Arrival, lengths and the rest of one row; None for a row without output that is left out.

    Raises:
        ChipsmithError: naming the column, what stands there and what would be legal.
    """
    time, tokens_in, tokens_out = layout.columns
    if skip_empty and str(row.get(tokens_out)).strip() == "0":
        return None
    try:
        arrival = layout.seconds(str(row.get(time)))
    except ValueError:
        arrival = math.nan
    if not abs(arrival) < _TIME_MAX_S:
        raise ChipsmithError(f"{where}: {time}", row.get(time, "nothing"), "legal: a time")
    tokens = _whole(row, tokens_in, where, 1)
    return arrival, tokens, _whole(row, tokens_out, where, 1), extras(row, tokens, where)


def _whole(row: Row, name: str, where: str, least: int) -> int:
    value = row.get(name, "nothing")
    if type(value) is int and least <= value <= _TOKENS_MAX:
        return value
    text = str(value).strip()
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS or not least <= int(text) <= _TOKENS_MAX:
        raise ChipsmithError(f"{where}: {name}", value, f"legal: a whole number, at least {least}")
    return int(text)
