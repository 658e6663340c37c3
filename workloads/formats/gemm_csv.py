"""GEMM lists and convolution topologies of SCALE-Sim (``.csv``), read and written.

Source: SCALE-Sim's topology reader (``topology_utils.py``, version 3): a heading, then one layer a line. With the
option ``-i gemm`` the columns are layer, M, N, K; without, layer, height and width of the input, height and width of
the filter, channels, filters, stride (one, or one for each direction). It drops the last field of each line, so lines
end with a comma; here both forms are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workloads.errors import ChipsmithError
from workloads.graph import Graph
from workloads.trace import SCHEMA_VERSION, Operator, Segment, Trace

HEADING = "Layer,M,N,K,"
_FORM = "int8"  # SCALE-Sim counts words; its examples take one byte a word
_TIMES = re.compile(r"(?P<name>.*) x (?P<count>[1-9]\d{0,8})")
_LIMIT = 1 << 40
_CONV_FIELDS = ("IFMAP height", "IFMAP width", "filter height", "filter width", "channels", "filters", "stride")


@dataclass(frozen=True, slots=True)
class Gemm:
    """``count`` equal products of ``m x k`` by ``k x n``, each with its own second operand."""

    name: str
    m: int
    n: int
    k: int
    count: int = 1


def gemm_lines(trace: Trace) -> Iterator[str]:
    """Lines of a GEMM list.

    One line for each product and each group of equal pieces; `` x 32`` behind a name counts repeats (layers, experts,
    heads). Attention gives two products for each KV head, with all keys that it reads (a list has no masks). Other
    operators have no place in the format.

    Raises:
        ChipsmithError: a trace without products.
    """
    gemms = [gemm for op in trace.ops for gemm in _gemms(op, trace.blocks[op.block].count)]
    if not gemms:
        raise ChipsmithError(f"trace {trace.name}", None, "holds no product that a GEMM list could name")
    yield HEADING
    for gemm in gemms:
        times = f" x {gemm.count}" if gemm.count > 1 else ""
        yield f"{gemm.name.replace(',', ';')}{times},{gemm.m},{gemm.n},{gemm.k},"


def _gemms(op: Operator, count: int) -> Iterator[Gemm]:
    if op.kind == "gemm" and not op.per_segment_weights:
        yield Gemm(op.name, op.tokens, op.n, op.k, count)
    elif op.kind == "gemm":
        for name, segment in _named(op, op.name):
            yield Gemm(name, segment.new_tokens, op.n, op.k, segment.multiplicity * count)
    elif op.kind == "attention":
        for name, segment in _named(op, op.name):
            rows, keys = segment.new_tokens * op.heads // op.kv_heads, segment.keys_read(op.window)
            times = segment.multiplicity * op.kv_heads * count
            yield Gemm(f"{name}.qk", rows, keys, op.qk_dim, times)
            yield Gemm(f"{name}.pv", rows, op.v_dim, keys, times)


def _named(op: Operator, name: str) -> Iterator[tuple[str, Segment]]:
    for index, segment in enumerate(op.segments):
        yield (name if len(op.segments) == 1 else f"{name}[{index}]"), segment


def parse_gemms(text: str, path: Path) -> Trace:
    """The products of a GEMM list or of a convolution topology, one after the other, in one-byte words.

    A convolution is read as its im2col product (m output positions, k filter elements, n filters) without padding, as
    SCALE-Sim counts it; a layer with ``DP`` in its name is depthwise: a product for each channel.

    Raises:
        ChipsmithError: no layer, a line with too few fields or no whole numbers, a filter larger than its input.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if len(lines) < 2:
        raise ChipsmithError(str(path), None, f"no layer; legal: a heading such as {HEADING!r}, then a layer a line")
    titles = [title.strip().lower() for title in lines[0][1].rstrip(",").split(",")]
    conv = _is_conv(titles, lines[0][1], f"{path}:{lines[0][0]}")
    gemms = [
        _conv(line, f"{path}:{number}", titles) if conv else _gemm(line, f"{path}:{number}")
        for number, line in lines[1:]
    ]
    return _chain(gemms, path, "SCALE-Sim topology" if conv else "GEMM list")


def _is_conv(titles: list[str], heading: str, where: str) -> bool:
    if titles[1:4] == ["m", "n", "k"]:
        return False
    if len(titles) >= 1 + len(_CONV_FIELDS) and titles[1].startswith("ifmap"):
        return True
    raise ChipsmithError(where, heading, f"legal: {HEADING!r}, or layer name, {', '.join(_CONV_FIELDS)}")


def _numbers(line: str, where: str, names: tuple[str, ...]) -> tuple[list[str], list[int]]:
    """All fields of a line, and the named numbers behind the first."""
    parts = [part.strip() for part in line.rstrip(",").split(",")]
    if len(parts) <= len(names):
        raise ChipsmithError(where, line, f"legal: a name, then {', '.join(names)}")
    return parts, [_whole(part, f"{where}: {name}") for name, part in zip(names, parts[1:], strict=False)]


def _whole(part: str, where: str) -> int:
    if not part.isascii() or not part.isdigit() or not 0 < int(part[:20]) < _LIMIT:
        raise ChipsmithError(where, part, "legal: a whole number from 1 on")
    return int(part)


def _gemm(line: str, where: str) -> Gemm:
    (name, *_), (m, n, k) = _numbers(line, where, ("M", "N", "K"))
    times = _TIMES.fullmatch(name)
    return Gemm(times["name"], m, n, k, int(times["count"])) if times else Gemm(name, m, n, k)


def _conv(line: str, where: str, titles: list[str]) -> Gemm:
    parts, (height, width, rows, cols, channels, filters, stride) = _numbers(line, where, _CONV_FIELDS)
    if rows > height or cols > width:
        raise ChipsmithError(where, f"{rows}x{cols}", f"legal: a filter no larger than its input of {height}x{width}")
    more = dict(zip(titles[8:], parts[8:], strict=False))
    across = next((_whole(part, where) for title, part in more.items() if "stride" in title), stride)
    batch = next((_whole(part, where) for title, part in more.items() if "batch" in title), 1)
    pixels = batch * ((height - rows) // stride + 1) * ((width - cols) // across + 1)
    if "DP" in parts[0]:
        return Gemm(parts[0], pixels, filters, rows * cols, channels)
    return Gemm(parts[0], pixels, filters, rows * cols * channels)


def _chain(gemms: list[Gemm], path: Path, source: str) -> Trace:
    """Rows that wait for each other, as layers of a network do; what a layer reads is its own input."""
    graph = Graph()
    graph.begin("all")
    last: tuple[int, ...] = ()
    used: dict[str, int] = {}
    for gemm in gemms:
        used[gemm.name] = used.get(gemm.name, 0) + 1
        name = gemm.name if used[gemm.name] == 1 else f"{gemm.name}#{used[gemm.name]}"
        op = Operator(
            name,
            "gemm",
            0,
            (Segment(gemm.m, 0, gemm.count),),
            k=gemm.k,
            n=gemm.n,
            per_segment_weights=gemm.count > 1,
            act=_FORM,
            weight=_FORM,
            kv=_FORM,
            out=_FORM,
        )
        x = graph.source(f"{name}.input", "input", gemm.m * gemm.k * gemm.count, _FORM)
        weight = graph.source(f"{name}.weight", "weight", gemm.k * gemm.n * gemm.count, _FORM)
        last = graph.append(op, (x, weight, *last), {"": gemm.n})
    graph.mark_output(last[0])
    meta = {"schema_version": SCHEMA_VERSION, "model": path.stem, "source": source, "word": _FORM}
    return graph.finish(path.stem, {**meta, "tokens": 1, "kv_cache_bytes": 0})
