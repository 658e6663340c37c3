"""Chakra execution traces (MLCommons), the files that ASTRA-sim runs: ``read_chakra`` and ``write_chakra``.

Written files hold the published fields, so that ASTRA-sim's feeder runs them, and beside them our own rows, so that
reading back gives an equal trace. What its feeder needs (astra-sim, ``Workload.cc`` and ``feeder_v3``; the older
feeder of MLCommons reads the same attributes, each by one type, and these are the types written here):

- every node: ``id``, ``type``, ``data_deps``, ``ctrl_deps`` (an id that no node has means a deadlock), and
  ``is_cpu_op`` = false (the older feeder takes a node without it for host work);
- ``COMP_NODE``: ``num_ops`` (int64, operations, two for each multiply-accumulate) and ``tensor_size`` (uint64, bytes
  moved; 0 skips the node); its roofline divides the one by the other, so ``num_ops`` is never 0 here;
- ``COMM_COLL_NODE``: ``comm_type`` (int64) and ``comm_size`` (int64, bytes that one rank brings). ``pg_name`` is left
  out: all ranks take part.

It runs one compute node and one collective at a time, reads ``<name>.<rank>.et`` for every rank, and does not know
repeated layers: blocks are unrolled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from workloads.errors import ChipsmithError
from workloads.files import whole_file
from workloads.formats import chakra_nodes as et
from workloads.formats import wire
from workloads.formats.chakra_foreign import FOREIGN_COLLECTIVES, foreign_trace
from workloads.formats.records import assemble, loads, packed_header, parse, plain, unpack_header
from workloads.trace import Operator, Trace

_HEADER, _ROW, _REPEAT = "chipsmith_trace", "chipsmith_operator", "chipsmith_repeat_of"
_COMM_TYPES = {ours: et.COLLECTIVE_TYPES.index(theirs) for theirs, ours in FOREIGN_COLLECTIVES.items()}


def write_chakra(trace: Trace, path: str | Path, ranks: int = 0) -> list[Path]:
    """Write a trace as a Chakra execution trace.

    Args:
        trace: a legal trace: what one rank does.
        path: the file; with ``ranks`` the name without rank, ``decode`` gives ``decode.0.et``, ``decode.1.et`` ...
        ranks: files to write, one for each rank, all alike; 0 writes ``path`` alone.

    Returns:
        The files.

    Raises:
        ChipsmithError: illegal trace, negative ``ranks``, a folder that cannot be written.
    """
    if ranks < 0:
        raise ChipsmithError("ranks", ranks, "legal: 0 (one file) or more")
    content = encode_chakra(trace.check())
    names = [Path(f"{path}.{rank}.et") for rank in range(ranks)] if ranks else [Path(path)]
    for name in names:
        with whole_file(name) as partial:
            partial.write_bytes(content)
    return names


def encode_chakra(trace: Trace) -> bytes:
    """The content of the file: metadata, then a node for each operator of each iteration, in order."""
    head = et.encode_metadata({"schema": et.SCHEMA, _HEADER: packed_header(trace)})
    return b"".join(wire.delimited(part) for part in (head, *(et.encode_node(node) for node in _nodes(trace))))


def _nodes(trace: Trace) -> Iterator[et.Node]:
    ids = _Ids(trace)
    for iteration, row in ids.order:
        op = trace.ops[row]
        count = trace.blocks[op.block].count
        own = {_ROW: json.dumps(plain(op))} if iteration == 0 else {_REPEAT: ids.of(row, 0)}
        yield et.Node(
            ids.of(row, iteration),
            op.name if count == 1 else f"{op.name}[{iteration}]",
            et.COMM_COLL if op.kind == "collective" else et.COMP,
            data_deps=ids.parents(row, iteration),
            attrs={"is_cpu_op": False, **_published(op), **own},
        )


class _Ids:
    """Node ids of unrolled rows, and the nodes that a node waits for."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        rows: list[list[int]] = [[] for _ in trace.blocks]
        for row, op in enumerate(trace.ops):
            rows[op.block].append(row)
        self.order = [
            (iteration, row)
            for block, mine in zip(trace.blocks, rows, strict=True)
            for iteration in range(block.count)
            for row in mine
        ]
        self._ids = {key: number for number, key in enumerate(self.order)}

    def of(self, row: int, iteration: int) -> int:
        """Node of a row in one iteration of its block."""
        return self._ids[iteration, row]

    def parents(self, row: int, iteration: int) -> tuple[int, ...]:
        """Nodes that write what the row reads: of this iteration, carried from the last one, of earlier blocks."""
        block = self.trace.ops[row].block
        carried = {read: written for written, read in self.trace.blocks[block].carried} if iteration else {}
        found = set()
        for tensor in self.trace.ops[row].inputs:
            back = tensor in carried
            writer = self.trace.tensors[carried.get(tensor, tensor)].producer
            if writer >= 0:
                found.add(self.of(writer, self._iteration(writer, block, iteration - back)))
        return tuple(sorted(found))

    def _iteration(self, writer: int, block: int, iteration: int) -> int:
        own = self.trace.ops[writer].block
        return iteration if own == block else self.trace.blocks[own].count - 1


def moved_bytes(op: Operator) -> int:
    """All bytes that one iteration of a row reads and writes."""
    return op.weight_bytes + op.input_bytes + op.output_bytes + op.kv_read_bytes + op.kv_write_bytes


def operations(op: Operator) -> int:
    """Operations of one iteration: two for each multiply-accumulate, else one for each element read or written."""
    return 2 * op.macs or max(1, op.input_elements + op.output_elements)


def _published(op: Operator) -> dict[str, et.Value | et.U64]:
    """The attributes that ASTRA-sim reads."""
    if op.kind == "collective":
        return {"comm_type": _COMM_TYPES[op.function], "comm_size": op.input_bytes}
    return {"num_ops": operations(op), "tensor_size": et.U64(moved_bytes(op))}


def read_chakra(path: str | Path, ranks: int = 0) -> Trace:
    """Read a Chakra execution trace.

    A file of :func:`write_chakra` gives back an equal trace. Any other gives one row a node, from what the nodes hold:
    the shapes of PyTorch's matrix products, else ``num_ops`` and ``tensor_size``; see docs/formats.md.

    Args:
        path: the file of one rank.
        ranks: ranks that take part in the collectives of a foreign file; 0 = as many as there are files
            ``<name>.<rank>.et`` beside it.

    Raises:
        ChipsmithError: no such file, a damaged one, one that names nothing to simulate, a cycle, an unknown
            dependency or collective, rows that another tool changed.
    """
    file = Path(path)
    if not file.is_file():
        raise ChipsmithError(str(path), None, "no such file")
    head, nodes = _decode(file)
    where = str(path)
    if _HEADER not in head:
        return foreign_trace(file, head, nodes, ranks or _rank_files(file)).check()
    return _own(head, nodes, where)


def _decode(file: Path) -> tuple[dict[str, et.Value], list[et.Node]]:
    number = -1
    nodes: list[et.Node] = []
    try:
        for number, message in enumerate(wire.read_delimited(wire.mapped(file))):
            if number == 0:
                head = et.decode_metadata(message)
            else:
                nodes.append(et.decode_node(message))
    except ValueError as error:
        part = f"node {number}" if number > 0 else "metadata"
        raise ChipsmithError(f"{file}: {part}", None, f"no Chakra trace, or a damaged one: {error}") from None
    return head, nodes


def _rank_files(file: Path) -> int:
    """How many files ``<name>.<rank>.et`` there are; 0 where the name has no rank."""
    name, _, rank = file.stem.rpartition(".")
    return len(list(file.parent.glob(f"{name}.*.et"))) if name and rank.isdigit() else 0


def _own(head: dict[str, et.Value], nodes: list[et.Node], where: str) -> Trace:
    header, tensors = unpack_header(str(head[_HEADER]), where)
    rows = [node for node in nodes if _ROW in node.attrs]
    ops = [parse(Operator, loads(str(node.attrs[_ROW]), f"{where}: {node.name}"), where) for node in rows]
    trace = assemble(header, ops, tensors, where).check()
    if [_facts(node) for node in nodes] != [_facts(node) for node in _nodes(trace)]:
        text = f"its nodes were changed since Chipsmith wrote them; without {_HEADER!r} they are read as they stand"
        raise ChipsmithError(where, None, text)
    return trace


def _facts(node: et.Node) -> tuple[object, ...]:
    sizes = {name: value.value if isinstance(value, et.U64) else value for name, value in node.attrs.items()}
    return node.id, node.name, node.type, node.data_deps, node.ctrl_deps, sizes
