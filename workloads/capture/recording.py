"""What a recorder saw: operator calls and the values between them, as plain data that needs no torch.

A recording is written as JSON (gzip where the name ends in ``.gz``), so that parsing, fusion and every test of them run
on machines without torch.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from workloads.errors import ChipsmithError
from workloads.files import whole_file

FORMAT = "chipsmith-recording"
SCHEMA_VERSION = 1
#: Where a value comes from: computed in the recording, a parameter, a buffer, an argument with integers (tokens,
#: positions) or with numbers.
ROLES = ("computed", "weight", "buffer", "index", "input")
Attribute = int | float | bool | str


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor that a call reads or writes.

    Attributes:
        shape: its dimensions.
        dtype: format name (workloads/dtypes.py); integers of 64 bits count as int32, truth values as int8.
        role: one of ``ROLES``.
        name: of a parameter, buffer or argument; empty where computed.
    """

    shape: tuple[int, ...]
    dtype: str
    role: str = "computed"
    name: str = ""

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Call:
    """One operator call.

    Attributes:
        op: ATen name without namespace, overload and the underscore of in-place forms: ``mm``, ``add``, ``_softmax``;
            calls that stand for a fused kernel: ``attention``, ``kv_append``, ``conv1d``, ``ssd``.
        path: name of the module that made the call, for example ``model.layers.0.mlp.up_proj``.
        inputs, outputs: ids of values; an in-place form writes a new value.
        view: moves no data (a view of its first input).
        attributes: facts that shapes don't tell (window, causal, heads).
    """

    op: str
    path: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    view: bool = False
    attributes: tuple[tuple[str, Attribute], ...] = ()

    def attribute(self, name: str, default: Attribute = 0) -> Attribute:
        """One of the attributes."""
        return dict(self.attributes).get(name, default)


@dataclass(frozen=True)
class Recording:
    """Everything recorded in one forward pass.

    Attributes:
        name: readable name.
        values: by id.
        calls: in order of execution.
        outputs: ids of the values that the module returned.
        meta: origin (model configuration, requests, versions of the libraries), plain JSON types.
    """

    name: str
    values: tuple[Value, ...]
    calls: tuple[Call, ...]
    outputs: tuple[int, ...]
    meta: Mapping[str, object] = field(default_factory=dict)


def write_recording(recording: Recording, path: str | Path) -> Path:
    """Write a recording; equal recordings give equal bytes.

    Raises:
        ChipsmithError: a folder that cannot be written.
    """
    file = Path(path)
    data = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "name": recording.name,
        "meta": dict(recording.meta),
        "values": [[list(v.shape), v.dtype, v.role, v.name] for v in recording.values],
        "calls": [[c.op, c.path, c.inputs, c.outputs, int(c.view), dict(c.attributes)] for c in recording.calls],
        "outputs": recording.outputs,
    }
    raw = json.dumps(data, separators=(",", ":")).encode()
    with whole_file(file) as partial:
        partial.write_bytes(gzip.compress(raw, mtime=0) if file.suffix == ".gz" else raw)
    return file


def read_recording(path: str | Path) -> Recording:
    """Read a recording.

    Raises:
        ChipsmithError: no such file, a damaged one, another format or a later version.
    """
    file = Path(path)
    try:
        raw = file.read_bytes()
        data = json.loads(gzip.decompress(raw) if file.suffix == ".gz" else raw)
    except FileNotFoundError:
        raise ChipsmithError(str(path), None, "no such file") from None
    except (OSError, EOFError, ValueError) as error:
        raise ChipsmithError(str(path), None, f"no recording: {error}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ChipsmithError(str(path), None, f"no recording: it does not say format {FORMAT!r}")
    if data.get("schema_version") != SCHEMA_VERSION:
        version = data.get("schema_version")
        raise ChipsmithError(f"{path}: schema_version", version, f"this version reads {SCHEMA_VERSION}")
    try:
        return _parse(data)
    except (KeyError, TypeError, ValueError) as error:
        raise ChipsmithError(str(path), None, f"a damaged recording: {error!r}") from None


def _parse(data: Mapping[str, Any]) -> Recording:
    values = tuple(Value(tuple(shape), dtype, role, name) for shape, dtype, role, name in data["values"])
    calls = tuple(
        Call(op, path, tuple(inputs), tuple(outputs), bool(view), tuple(attributes.items()))
        for op, path, inputs, outputs, view, attributes in data["calls"]
    )
    return Recording(data["name"], values, calls, tuple(data["outputs"]), data["meta"])
