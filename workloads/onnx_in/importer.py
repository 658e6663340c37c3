"""Rows and tensors of an ONNX graph while they are being built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import gcd, prod

from workloads.graph import Graph
from workloads.onnx_in.formats import NARROWED, form_of, widest
from workloads.onnx_in.nodes import Node, Shape
from workloads.onnx_in.shapes import Values
from workloads.trace import Operator, Segment


class Importer:
    """Appends rows for nodes; knows which tensors stand for each value.

    Attributes:
        found: shapes, types, parameters of the values.
        graph: rows and tensors so far.
        forms: format of values whose stored format is not their type's (quantised activations).
        groups: scale group of quantised parameters, by the name of the stored parameter.
        narrowed: how many tensors of 64-bit types were counted in 32 bits.
    """

    def __init__(self, found: Values, forms: Mapping[str, str], caches: Sequence[str]) -> None:
        self.found = found
        self.graph = Graph()
        self.graph.begin("all")
        self.forms = dict(forms)
        self.groups = dict(found.groups)
        self.narrowed: Counter[str] = Counter()
        self._caches = frozenset(caches)
        self._ids: dict[str, tuple[int, ...]] = {}
        self._names: set[str] = set()

    def shape(self, name: str) -> Shape:
        """Shape of a value."""
        return self.found.shape(name)

    def elements(self, name: str) -> int:
        """Elements of a value."""
        return self.found.elements(name)

    def stored(self, name: str) -> str:
        """The parameter that holds a fixed value's data; other values stand for themselves."""
        return self.found.params.get(name, name)

    def fixed(self, name: str) -> bool:
        """Whether a value is a parameter, or made of parameters alone."""
        return self.found.fixed(name)

    def form(self, name: str) -> str:
        """Format in which a value is stored."""
        held = self.stored(name)
        if held in self.forms:
            return self.forms[held]
        kind = self.found.types.get(held, 0)
        if kind in NARROWED:
            self.narrowed[NARROWED[kind]] += 1
        return form_of(kind)

    def read(self, *names: str) -> tuple[int, ...]:
        """Tensors that hold these values; parameters, inputs and caches become tensors at their first use."""
        ids: list[int] = []
        for name in filter(None, names):
            held = self.stored(name)
            if held not in self._ids:
                self._ids[held] = (self._source(held),)
            ids.extend(self._ids[held])
        return tuple(dict.fromkeys(ids))

    def _source(self, name: str) -> int:
        role = "weight" if self.fixed(name) else "kv" if name in self._caches else "input"
        return self.graph.source(
            self.unique(name), role, self.elements(name), self.form(name), self.groups.get(name, 0)
        )

    def unique(self, name: str) -> str:
        """The name, or with a number behind it where it is taken."""
        base, number = name, 2
        while name in self._names:
            name, number = f"{base}_{number}", number + 1
        self._names.add(name)
        return name

    def alias(self, name: str, *sources: str) -> None:
        """Let a value stand for the tensors of others: a view, or an append to a cache."""
        self._ids[name] = self.read(*sources)
        first = next(filter(None, sources), "")
        if first and not self.fixed(first):
            self.forms[name] = self.form(first)

    def mark_result(self, name: str) -> None:
        """Declare what a row wrote for this value a result of the trace."""
        for tensor in self._ids.get(name, ()):
            if self.graph.tensors[tensor].producer >= 0:
                self.graph.mark_output(tensor)

    def row(self, node: Node, kind: str, segments: Sequence[Segment], suffix: str = "") -> Operator:
        """An operator without sizes; ``suffix`` tells several rows of one node apart."""
        return Operator(self.unique(node.name + suffix), kind, 0, tuple(segments))

    def append(self, op: Operator, inputs: Sequence[int], outputs: Mapping[str, int]) -> None:
        """Add a row.

        Args:
            op: the operator.
            inputs: tensors that it reads.
            outputs: value name to elements per token; a value that nothing wants has the name "".
        """
        suffixes = {f"{index}" if index else "": width for index, width in enumerate(outputs.values())}
        self._names.update(f"{op.name}.{suffix}" for suffix in suffixes if suffix)
        ids = self.graph.append(op, tuple(dict.fromkeys(inputs)), suffixes)
        for name, tensor in zip(outputs, ids, strict=True):
            if name:
                self._ids[name] = (tensor,)
                self.forms[name] = op.out

    def moving(self, names: Sequence[str]) -> list[str]:
        """Values that are computed and hold something (no parameters, no lone constants)."""
        return [name for name in dict.fromkeys(names) if name and not self.fixed(name) and self.elements(name) > 0]

    def parameters(self, names: Sequence[str]) -> list[str]:
        """Parameters of more than one element."""
        return [name for name in dict.fromkeys(names) if name and self.fixed(name) and self.elements(name) > 1]

    def vector(
        self,
        node: Node,
        kind: str,
        function: str,
        *,
        read: int | None = None,
        rows: int | None = None,
        suffix: str = "",
    ) -> None:
        """A row of a vector kind that reads its computed inputs and its parameters once and writes its outputs.

        Args:
            node: the node.
            kind: row kind.
            function: row function.
            read: elements read, where they are not all of the inputs.
            rows: tokens of the row, where they matter (rows that are reduced); a divisor of what is read and written.
            suffix: put behind the row's name.
        """
        inputs, params = self.moving(node.inputs), self.parameters(node.inputs)
        outputs = [name for name in node.outputs if name and self.elements(name) > 0]
        if not outputs:
            return
        written = sum(map(self.elements, outputs))
        large = [name for name in inputs if self.elements(name) > 1 or written == 1]  # a lone factor is no traffic
        total = sum(map(self.elements, large)) if read is None else read
        if total == 0:
            total = written  # made from parameters or from nothing (a range, a random tensor): the row writes it
        tokens = rows or gcd(prod(self.shape(outputs[0])[:-1]), total, written)
        op = replace(
            self.row(node, kind, (Segment(tokens),), suffix),
            function=function,
            width_in=total // tokens,
            width_out=written // tokens,
            param_width=sum(map(self.elements, params)),
            act=widest([self.form(name) for name in inputs] or [self.form(outputs[0])]),
            weight=widest([self.form(name) for name in params]) if params else "fp16",
            out=self.form(outputs[0]),
        )
        self.append(op, self.read(*inputs, *params), {name: self.elements(name) // tokens for name in outputs})
