"""What the functions that write rows share: tensors of values, formats, names, the rows so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from workloads.capture import names
from workloads.capture.flow import Flow, Node
from workloads.step import Step
from workloads.trace import Operator

Key = tuple[str, int]


@dataclass
class Emitter:
    """Appends rows to a step and remembers which tensor holds which value.

    Attributes:
        flow: the fused nodes.
        step: batch, formats and the rows so far.
        causal: attention that is made of single operators hides later tokens (language models).
        keys: list of layers and layer of each row.
        locals: name of each row inside its layer.
        unknown: operators that no table knows, with how often they occurred.
        special: position -> function that writes the rows of this node instead of the table's.
        skipped: positions whose work stands in special rows.
        held: value -> tensors that hold it.
        tables: parameters that embeddings look up.
    """

    flow: Flow
    step: Step
    causal: bool = True
    keys: list[Key] = field(default_factory=list)
    locals: list[str] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    special: dict[int, Emit] = field(default_factory=dict)
    skipped: set[int] = field(default_factory=set)
    held: dict[int, tuple[int, ...]] = field(default_factory=dict)
    _caches: dict[frozenset[int], int] = field(default_factory=dict)
    _names: Counter[tuple[Key, str]] = field(default_factory=Counter)
    tables: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.step.graph.begin("all")
        for _, node in self.flow.real():
            if node.op == "embedding":
                self.tables.update(c for value in node.inputs for c in self.flow.constants(value))

    # ------------------------------------------------------------ tensors

    def tensors(self, values: Iterable[int]) -> tuple[int, ...]:
        """Ids of the activations that hold some values, none twice."""
        found = (tensor for value in values for part in self.flow.parts(value) for tensor in self._of_part(part))
        return tuple(dict.fromkeys(found))

    def _of_part(self, part: int) -> tuple[int, ...]:
        if part not in self.held:
            value, form = self.flow.value(part), self.step.options.precision.activations
            self.holds((part,), self.step.graph.source(value.name or f"value_{part}", "input", value.elements, form))
        return self.held[part]

    def holds(self, values: Iterable[int], *tensors: int) -> None:
        """Say which tensors hold values from now on (several where each holds some of the tokens)."""
        self.held.update(dict.fromkeys(values, tensors))

    def cache(self, appends: frozenset[int], path: str, width: int, window: int = 0) -> int:
        """The cache of this layer before the step; one tensor for all rows that read it."""
        if appends not in self._caches or not appends:
            segments = self.step.batch.segments()
            self._caches[appends] = self.step.cache(f"{path}.kv_cache", width, segments, window)
        return self._caches[appends]

    def parameters(self, values: Iterable[int]) -> list[int]:
        """Parameters, and buffers that are more than a number, that some values are made of; none twice."""
        flow = self.flow
        found = dict.fromkeys(c for value in values for c in flow.constants(value))
        return [
            c for c in found if flow.value(c).name and (flow.value(c).role == "weight" or flow.value(c).elements > 1)
        ]

    def weight(self, constant: int, form: str, group: int = 0) -> int:
        """Tensor of a parameter; the first use decides about its format."""
        if constant not in self.held:
            value = self.flow.value(constant)
            name = value.name if value.name.endswith(("weight", "bias")) else f"{value.name}.weight"
            self.holds((constant,), self.step.graph.source(name, "weight", value.elements, form, group))
        return self.held[constant][0]

    def vectors(self, constants: Iterable[int]) -> tuple[int, ...]:
        """Tensors of gains and biases."""
        return tuple(self.weight(constant, self.step.options.precision.vectors) for constant in constants)

    def matrix_format(self, constants: Sequence[int], node: Node) -> tuple[str, int]:
        """(format, scale group) of a GEMM's weights: tables, routers and all others have their own."""
        form = self.step.options.precision
        if self.tables.intersection(constants) or -1 in self.flow.users(node.outputs):
            return form.table, form.table_group
        if self.is_router(node):
            return form.vectors, 0
        return form.weights, form.weight_group

    def is_router(self, node: Node) -> bool:
        """Whether the result only serves to choose experts."""
        users = self.flow.users(node.outputs)
        return bool(users) and all(u >= 0 and self.flow.nodes[u].op == "router_topk" for u in users)

    def read(self, node: Node) -> int:
        """Activation elements that a node reads.

        Parts of one tensor count once: not beside the whole, and together no more than it.
        """
        flow, sums = self.flow, Counter[tuple[int, ...]]()
        values = [v for v in dict.fromkeys((*node.inputs, *node.views)) if v not in flow.static]
        for value in values:
            if not any(other != value and flow.covers(other, value) for other in values):
                sums[flow.parts(value)] += flow.elements(value)
        return sum(min(total, sum(flow.value(p).elements for p in parts) or total) for parts, total in sums.items())

    # ------------------------------------------------------------ rows

    @contextmanager
    def inside(self, path: str) -> Iterator[None]:
        """Rows that others append to the step meanwhile belong to the layer of this module."""
        where, first = names.place(path), len(self.step.graph.ops)
        stem = _stem(where)
        self.step.graph.prefix(stem)
        yield
        self.step.graph.prefix("")
        for op in self.step.graph.ops[first:]:
            self.keys.append((where.stack, where.number))
            self.locals.append(op.name.removeprefix(f"{stem}."))

    def append(self, node: Node, op: Operator, inputs: Sequence[int], outputs: dict[str, int]) -> tuple[int, ...]:
        """Append a row with a unique name inside its layer."""
        where = names.place(node.path)
        key = (where.stack, where.number)
        self._names[key, op.name] += 1
        times = self._names[key, op.name]
        local = op.name if times == 1 else f"{op.name}_{times}"
        self.keys.append(key)
        self.locals.append(local)
        unrolled = ".".join(filter(None, (_stem(where), local)))
        return self.step.graph.append(replace(op, name=unrolled), inputs, outputs)


def _stem(where: names.Place) -> str:
    """Stack and number of a layer: what its rows' names start with before repeated layers are folded."""
    return ".".join(filter(None, (where.stack, str(where.number) if where.number >= 0 else "")))


Emit = Callable[[Emitter, Node], None]
