"""Rows from Chakra nodes that another tool wrote: from the shapes or the sizes that the nodes hold."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from math import prod
from pathlib import Path

from workloads.errors import ChipsmithError
from workloads.formats import chakra_nodes as et
from workloads.graph import Graph
from workloads.trace import SCHEMA_VERSION, Operator, Segment, Trace

FOREIGN_COLLECTIVES = {
    "ALL_REDUCE": "all_reduce",
    "ALL_GATHER": "all_gather",
    "ALL_TO_ALL": "all_to_all",
    "REDUCE_SCATTER": "reduce_scatter",
}
_FORM, _FORM_BYTES = "fp16", 2
_TYPES = {"float": "fp32", "c10::Half": "fp16", "c10::BFloat16": "bf16", "signed char": "int8", "unsigned char": "int8"}
#: ATen products: name -> (position of the left operand, of the right operand, right operand is stored n x k).
_PRODUCTS = {
    "aten::mm": (0, 1, False),
    "aten::addmm": (1, 2, False),
    "aten::bmm": (0, 1, False),
    "aten::baddbmm": (1, 2, False),
    "aten::matmul": (0, 1, False),
    "aten::linear": (0, 1, True),
}
Shape = tuple[int, ...]


def foreign_trace(path: Path, head: Mapping[str, et.Value], nodes: Sequence[et.Node], ranks: int) -> Trace:
    """One row a node that holds sizes, in an order that keeps all dependencies.

    Nodes of METADATA, INVALID and BARRIER, host operators and compute nodes without sizes give no row; what waits
    for them waits for what they wait for. ``meta`` counts them under ``skipped``.

    Raises:
        ChipsmithError: see :func:`workloads.chakra.read_chakra`.
    """
    reader = _Reader(path, ranks)
    for node in _ordered(path, nodes):
        reader.take(node)
    if not reader.graph.ops:
        raise ChipsmithError(
            str(path), None, f"names nothing to simulate; skipped: {dict(reader.skipped) or 'nothing'}"
        )
    meta = {
        "schema_version": SCHEMA_VERSION,
        "model": path.stem,
        "source": "chakra",
        "chakra_schema": str(head.get("schema", head.get("version", "unknown"))),
        "ranks": ranks,
        "skipped": dict(sorted(reader.skipped.items())),
        "measured_micros": sum(node.duration_micros for node in nodes),
        "tokens": 1,
    }
    return reader.graph.finish(path.stem, meta)


def _ordered(path: Path, nodes: Sequence[et.Node]) -> list[et.Node]:
    known = {node.id: node for node in nodes}
    if len(known) != len(nodes):
        twice = Counter(node.id for node in nodes).most_common(1)[0][0]
        raise ChipsmithError(f"{path}: node id", twice, "legal: unique ids")
    sorter: TopologicalSorter[int] = TopologicalSorter()
    for node in nodes:
        for parent in (*node.data_deps, *node.ctrl_deps):
            if parent not in known:
                raise ChipsmithError(
                    f"{path}: node {node.id} {node.name}", parent, "it waits for a node that is missing"
                )
        sorter.add(node.id, *node.data_deps, *node.ctrl_deps)
    try:
        return [known[number] for number in sorter.static_order()]
    except CycleError as error:
        raise ChipsmithError(f"{path}: dependencies", error.args[1], "legal: no circle") from None


@dataclass(frozen=True)
class _Row:
    """A row before it is appended: what it reads apart from its parents' results, features written per token."""

    op: Operator
    reads: tuple[int, ...]
    width: int


class _Reader:
    """Appends rows and keeps, for every node, the tensors that stand for its end."""

    def __init__(self, path: Path, ranks: int) -> None:
        self.path = path
        self.ranks = ranks
        self.graph = Graph()
        self.graph.begin("all")
        self.skipped: Counter[str] = Counter()
        self._ends: dict[int, tuple[int, ...]] = {}
        self._names: Counter[str] = Counter()

    def take(self, node: et.Node) -> None:
        """Append the row of a node, or pass its dependencies on."""
        before = sorted({end for parent in (*node.data_deps, *node.ctrl_deps) for end in self._ends[parent]})
        row = self._row(node)
        if row is None:
            self._ends[node.id] = tuple(before)
            return
        reads = [
            self.graph.source(f"{row.op.name}.in{i}", "input", elements, row.op.act)
            for i, elements in enumerate(row.reads)
        ]
        self._ends[node.id] = self.graph.append(row.op, (*reads, *before), {"": row.width})

    def _row(self, node: et.Node) -> _Row | None:
        kind = et.NODE_TYPES[node.type] if node.type < len(et.NODE_TYPES) else f"type {node.type}"
        if node.type == et.COMP:
            return self._compute(node)
        if node.type == et.COMM_COLL:
            return self._collective(node)
        if node.type in (et.COMM_SEND, et.COMM_RECV):
            return self._transfer(node)
        if node.type in (et.MEM_LOAD, et.MEM_STORE):
            return self._copy(node, self._elements(node, "tensor_size"))
        if node.type not in (et.INVALID, et.METADATA):
            raise ChipsmithError(f"{self.path}: node {node.id} {node.name}", kind, "no storage or batch nodes are read")
        self.skipped[kind] += 1
        return None

    def _base(self, node: et.Node, kind: str, **fields: object) -> Operator:
        name = node.name or f"node_{node.id}"
        self._names[name] += 1
        unique = name if self._names[name] == 1 else f"{name}#{node.id}"
        form = _form(node.types)
        base = Operator(unique, kind, 0, (Segment(1),), act=form, weight=form, out=form, kv=form)
        return replace(base, **fields)  # type: ignore[arg-type]  # fields of several types

    def _elements(self, node: et.Node, attribute: str) -> int:
        """Elements that an attribute in bytes stands for.

        Raises:
            ChipsmithError: it is missing or not positive.
        """
        size = node.number(attribute)
        if size < 1:
            where = f"{self.path}: node {node.id} {node.name}.{attribute}"
            raise ChipsmithError(where, node.attrs.get(attribute, "nothing"), "legal: bytes, at least 1")
        return -(-size // _FORM_BYTES)

    def _compute(self, node: et.Node) -> _Row | None:
        if node.attrs.get("is_cpu_op"):
            self.skipped["host operators"] += 1
            return None
        product = _product(node)
        if product:
            return self._gemm(node, *product)
        operations, size = node.number("num_ops"), node.number("tensor_size")
        if size < 1:
            self.skipped["compute nodes without sizes"] += 1
            return None
        elements, macs = -(-size // _FORM_BYTES), -(-operations // 2)
        if 2 * macs + 1 < elements or macs < 1:
            return self._copy(node, elements, "add")
        side = _side(macs, elements)
        return self._gemm(node, 1, side, -(-macs // side**2), side)

    def _gemm(self, node: et.Node, batch: int, m: int, k: int, n: int) -> _Row:
        segments = (Segment(m, 0, batch),)
        many = batch > 1
        op = self._base(node, "gemm", segments=segments, k=k, n=n, weight_is_param=False, per_segment_weights=many)
        return _Row(op, (batch * m * k, batch * k * n), n)

    def _copy(self, node: et.Node, elements: int, function: str = "copy") -> _Row:
        read, written = max(1, elements - elements // 2), max(1, elements // 2)
        op = self._base(node, "elementwise", function=function, width_in=read, width_out=written, act=_FORM, out=_FORM)
        return _Row(op, (read,), written)

    def _collective(self, node: et.Node) -> _Row | None:
        number = node.number("comm_type")
        name = et.COLLECTIVE_TYPES[number] if 0 <= number < len(et.COLLECTIVE_TYPES) else str(number)
        where = f"{self.path}: node {node.id} {node.name}"
        if name == "BARRIER":
            self.skipped[name] += 1
            return None
        if name not in FOREIGN_COLLECTIVES:
            raise ChipsmithError(f"{where}.comm_type", name, f"legal: {', '.join(FOREIGN_COLLECTIVES)}, BARRIER")
        if self.ranks < 1:
            text = "how many ranks take part is not in the file: put <name>.<rank>.et of all ranks side by side"
            raise ChipsmithError(where, None, f"{text}, or say ranks=")
        read = self._elements(node, "comm_size")
        written = {"ALL_GATHER": read * self.ranks, "REDUCE_SCATTER": -(-read // self.ranks)}.get(name, read)
        return self._exchange(node, FOREIGN_COLLECTIVES[name], self.ranks, read, written)

    def _exchange(self, node: et.Node, function: str, ranks: int, read: int, written: int) -> _Row:
        sizes = {"function": function, "width_in": read, "width_out": written, "ranks": ranks}
        op = self._base(node, "collective", act=_FORM, out=_FORM, **sizes)
        return _Row(op, (read,), written)

    def _transfer(self, node: et.Node) -> _Row:
        """A send or receive: the bytes of an all-gather between two ranks, each bringing ``comm_size``."""
        read = self._elements(node, "comm_size")
        return self._exchange(node, "all_gather", 2, read, 2 * read)


def _form(types: str) -> str:
    """Format of the first tensor that ``inputs.types`` names; fp16 where there is none."""
    for part in types.split("Tensor(")[1:]:
        found = _TYPES.get(part.split(")")[0].strip())
        if found:
            return found
    return _FORM


def _shapes(text: str) -> list[Shape]:
    """Shapes of ``inputs.shapes``, () for what is no tensor."""
    try:
        listed = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return []
    if not isinstance(listed, list):
        return []
    return [
        tuple(item) if isinstance(item, list) and all(type(d) is int and d > 0 for d in item) else () for item in listed
    ]


def _product(node: et.Node) -> tuple[int, int, int, int] | None:
    """Batch, m, k, n of a matrix product whose shapes the node holds."""
    rule = _PRODUCTS.get(node.name)
    shapes = _shapes(node.shapes) if rule else []
    if rule is None or max(rule[:2]) >= len(shapes):
        return None
    left, right = shapes[rule[0]], shapes[rule[1]]
    if len(left) < 2 or len(right) < 2:
        return None
    k, n = (right[-1], right[-2]) if rule[2] else (right[-2], right[-1])
    if left[-1] != k:
        return None
    batch = prod(right[:-2])
    rows = prod(left[:-1])
    return (batch, rows // batch, k, n) if rows % batch == 0 and rows >= batch else None


def _side(macs: int, elements: int) -> int:
    """Side s of the s x s result of a product with about ``macs`` and about ``elements`` read and written.

    Elements are 2 macs / s + s^2, which falls with s up to the cube; the smallest s that needs no more is taken.
    """
    cube = max(1, round(macs ** (1 / 3)))
    low, high = 1, cube
    while low < high:
        middle = (low + high) // 2
        if 2 * macs / middle + middle**2 > elements:
            low = middle + 1
        else:
            high = middle
    return low
