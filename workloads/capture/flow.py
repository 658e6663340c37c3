"""The data flow of a recording: which call made a value, seen through views, casts and copies of layout."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from workloads.capture.recording import Attribute, Call, Recording, Value
from workloads.capture.rules import GENERATORS, LAYOUT, LOOKUPS, VIEWS


@dataclass(frozen=True, slots=True)
class Node:
    """One call, or several that a rule made one.

    Attributes:
        op: ATen name, or name of the rule.
        path: module.
        inputs: ids of the values it reads, in the order of the call or of the rule's names.
        outputs: ids of the values it writes.
        attributes: of the call.
        kind, function: of its row where a rule says so.
        views: further parts of the inputs that it reads (a rule may read one tensor as several slices).
    """

    op: str
    path: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    attributes: tuple[tuple[str, Attribute], ...] = ()
    kind: str = ""
    function: str = ""
    merge: bool = False
    fused: bool = False
    views: tuple[int, ...] = ()

    def attribute(self, name: str, default: Attribute = 0) -> Attribute:
        """One of the attributes."""
        return dict(self.attributes).get(name, default)

    def integer(self, name: str) -> int:
        """One of the attributes, as a whole number."""
        return int(self.attribute(name))


def _node(call: Call) -> Node:
    return Node(call.op, call.path, call.inputs, call.outputs, call.attributes)


@dataclass
class Flow:
    """Nodes by position (that of their last call), and the way from a value to what it is made of.

    Attributes:
        recording: what was recorded.
        nodes: position -> node; layout calls and calls on constants are nodes too.
        producer: value -> position of the node that writes it.
        fuse: copies of layout are looked through; otherwise only views are.
    """

    recording: Recording
    fuse: bool = True
    nodes: dict[int, Node] = field(default_factory=dict)
    producer: dict[int, int] = field(default_factory=dict)
    layout: set[int] = field(default_factory=set)
    static: set[int] = field(default_factory=set)
    _tables: set[int] = field(default_factory=set)
    _users: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self) -> None:
        for number, value in enumerate(self.recording.values):
            if value.role in ("weight", "buffer", "index"):
                self.static.add(number)
            if value.role == "index":
                self._tables.add(number)
        for position, call in enumerate(self.recording.calls):
            self._enter(position, call)

    def _enter(self, position: int, call: Call) -> None:
        self.nodes[position] = _node(call)
        for value in call.inputs:
            self._users[value].add(position)
        self.producer.update(dict.fromkeys(call.outputs, position))
        if call.view or call.op in VIEWS or (self.fuse and call.op in LAYOUT):
            self.layout.add(position)
        generated = call.op in GENERATORS
        if generated or (call.op not in LOOKUPS and all(value in self.static for value in call.inputs)):
            self.static.update(call.outputs)
            if generated or any(value in self._tables for value in call.inputs) or not call.inputs:
                self._tables.update(call.outputs)

    # ------------------------------------------------------------ values

    def value(self, number: int) -> Value:
        """A value by id."""
        return self.recording.values[number]

    def parts(self, number: int) -> tuple[int, ...]:
        """What a value is made of without arithmetic: values of real nodes and arguments, none twice."""
        found: dict[int, None] = {}
        stack = [number]
        while stack:
            value = stack.pop()
            position = self.producer.get(value)
            if value in self.static:
                continue
            if position is None or position not in self.layout:
                found[value] = None
            else:
                stack.extend(reversed(self._sources(position, value)))
        return tuple(found)

    def _sources(self, position: int, value: int) -> tuple[int, ...]:
        node = self.nodes[position]
        return (node.inputs[node.outputs.index(value)],) if node.op == "kv_append" else node.inputs

    def appends(self, number: int) -> frozenset[int]:
        """Positions of the cache appends that a value came through."""
        found: set[int] = set()
        stack = [number]
        while stack:
            value = stack.pop()
            position = self.producer.get(value)
            if value not in self.static and position is not None and position in self.layout:
                if self.nodes[position].op == "kv_append":
                    found.add(position)
                stack.extend(self._sources(position, value))
        return frozenset(found)

    def constants(self, number: int) -> tuple[int, ...]:
        """Parameters and buffers that a value known before the step is made of; none for tables of positions."""
        if number not in self.static or number in self._tables:
            return ()
        position = self.producer.get(number)
        if position is None:
            return (number,)
        return tuple(dict.fromkeys(c for value in self.nodes[position].inputs for c in self.constants(value)))

    def is_buffer(self, number: int) -> bool:
        """Whether a value is made of named buffers with more than one element, and of nothing else."""
        made_of = [self.value(c) for c in self.constants(number)]
        return bool(made_of) and all(v.role == "buffer" and v.name and v.elements > 1 for v in made_of)

    def covers(self, whole: int, part: int) -> bool:
        """Whether a value is a view (or copy of layout) of another one."""
        stack = [part]
        while stack:
            value = stack.pop()
            if value == whole:
                return True
            position = self.producer.get(value)
            if position is not None and position in self.layout:
                stack.extend(self._sources(position, value))
        return False

    def elements(self, number: int) -> int:
        """Elements read when a value is read: its own, but no more than what it is made of (broadcasts)."""
        made_of = sum(self.value(part).elements for part in self.parts(number))
        if any(self.nodes[p].op == "kv_append" for p in self.appends(number)):
            return self.value(number).elements
        return min(self.value(number).elements, made_of) if made_of else self.value(number).elements

    # ------------------------------------------------------------ nodes

    def real(self) -> Iterator[tuple[int, Node]]:
        """Nodes that do work, in order."""
        for position in sorted(self.nodes):
            node = self.nodes[position]
            if position not in self.layout and not self._constant(position):
                yield position, node

    def _constant(self, position: int) -> bool:
        """Whether a call's result does not depend on the step's activations (it may still look at their shape)."""
        return all(out in self.static for out in self.nodes[position].outputs)

    def users(self, values: Iterable[int], inside: frozenset[int] = frozenset()) -> set[int]:
        """Positions of the real nodes that read any of the values; -1 if one leaves the recording.

        Layout is looked through, but not layout that stands ``inside`` a match.
        """
        found: set[int] = set()
        seen: set[int] = set()
        stack = list(values)
        while stack:
            value = stack.pop()
            if value in seen:
                continue
            seen.add(value)
            if value in self.recording.outputs:
                found.add(-1)
            for position in self._users[value]:
                if position not in self.nodes or self._constant(position):
                    continue
                if position in self.layout and position not in inside:
                    stack.extend(self.nodes[position].outputs)
                else:
                    found.add(position)
        return found

    def replace(self, position: int, node: Node, gone: Iterable[int]) -> None:
        """Put a node in the place of several; it takes over the values that they wrote."""
        for old in gone:
            if old != position:
                self.nodes.pop(old, None)
                self.layout.discard(old)
        self.nodes[position] = node
        for value in node.inputs:
            self._users[value].add(position)
        self.producer.update(dict.fromkeys(node.outputs, position))
        self.layout.discard(position)
        if not node.kind and node.fused:
            self.layout.add(position)
