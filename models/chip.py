"""The Chip: engines, memories, links and a technology, as frozen data that round-trips through YAML.

`ChipTable` is the same chip many times over with some fields varied: an array per field. Prices and engine
parameters are computed from a table, so a single chip is a table of one and a search is a table of 100,000.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field, SerializeAsAny, ValidationError, ValidationInfo, field_validator, model_validator

from models.engines.base import EngineSpec, Spec
from models.policy import PolicySpec
from models.registry import engine_types, spec_class
from models.wording import worded
from models.yaml_text import parse_yaml
from workloads.errors import ChipsmithError, nearest

_NAME = re.compile(r"[A-Za-z0-9_-]+")


class MemorySpec(Spec):
    """Off-chip memory: a stream source for fidelity ``tile``, DRAM channels for fidelity ``command``.

    Attributes:
        standard: DRAM standard, prices and standards are looked up by it (``HBM2``, ``DDR4`` ...).
        capacity_bytes: bytes.
        bandwidth_bytes_per_s: peak, all channels.
        channels: independent channels.
        request_bytes: access granularity.
        latency_s: first word of an idle memory, interconnect included.
        streaming_efficiency: share of the peak that one sequential stream reaches; ``tile`` only.
        stream_interference: share of that lost as the number of concurrent streams grows; with s streams the
            efficiency is ``streaming_efficiency * (1 - stream_interference * (1 - 1 / s))``; ``tile`` only.
        grade: speed grade of models/data/dram whose channels ``command`` simulates, empty where none is known. At
            ``command`` standard, channels and bandwidth must be the grade's.
        controller: memory controller of models/data/dram/policies.
        address_mapping, kv_layout: of models/data/dram/layouts; KV pages have a layout of their own.
        transfer_bytes: what one core moves, over all channels, before another one has its turn (the blocks of both
            operands that its DMA engine asks for at once; 64 KiB: 128 x 128 of two bytes each).
    """

    standard: str
    capacity_bytes: int = Field(gt=0)
    bandwidth_bytes_per_s: float = Field(gt=0)
    channels: int = Field(default=1, ge=1)
    request_bytes: int = Field(default=32, ge=1)
    latency_s: float = Field(default=1e-7, ge=0)
    streaming_efficiency: float = Field(default=1.0, gt=0, le=1)
    stream_interference: float = Field(default=0.0, ge=0, lt=1)
    grade: str = ""
    controller: str = "fr_fcfs"
    address_mapping: str = "group_interleaved"
    kv_layout: str = "paged_interleaved"
    transfer_bytes: int = Field(default=65536, ge=1)

    @field_validator("controller", "address_mapping", "kv_layout")
    @classmethod
    def _known_name(cls, value: str, info: ValidationInfo) -> str:
        name = str(info.field_name)
        if value == cls.model_fields[name].default:  # most chips: no file is read
            return value
        from models.dram.mapping import list_kv_layouts, list_mappings
        from models.dram.policy import list_policies

        known = {"controller": list_policies, "address_mapping": list_mappings, "kv_layout": list_kv_layouts}[name]()
        if value not in known:
            raise ValueError(nearest(value, known))
        return value

    @field_validator("grade")
    @classmethod
    def _known_grade(cls, value: str) -> str:
        if not value:
            return value
        from models.dram.library import list_grades, load_dram

        try:
            spec = load_dram(value)
        except ChipsmithError as error:
            raise ValueError(error.legal) from None
        if spec.name != value:  # a standard, or another spelling
            raise ValueError(nearest(value, list_grades(spec.standard)))
        return value


#: How far a chip's stated bandwidth may be from that of its channels: data sheets round.
BANDWIDTH_TOLERANCE = 0.03


def grade_mismatch(grade: str, standard: str, channels: int, bandwidth_bytes_per_s: float) -> str:
    """What contradicts a grade, in words; empty where standard, channels and bandwidth fit it.

    Only ``command`` asks: a search at ``tile`` may vary a preset's bandwidth alone.
    """
    from models.dram.library import load_dram

    spec = load_dram(grade)
    if spec.standard != standard:
        return f"grade {grade} is of standard {spec.standard}, not {standard}"
    peak = channels * spec.peak_bytes_per_s
    if abs(bandwidth_bytes_per_s / peak - 1) <= BANDWIDTH_TOLERANCE:
        return ""
    return (
        f"channels = {channels} of grade {grade} move {peak / 1e9:.4g} GB/s, "
        f"bandwidth_bytes_per_s says {bandwidth_bytes_per_s / 1e9:.4g} GB/s "
        f"(at most {100 * BANDWIDTH_TOLERANCE:g} % apart)"
    )


class LinkSpec(Spec):
    """A chip-to-chip link.

    Attributes:
        bandwidth_bytes_per_s: per direction, all lanes of one chip.
        latency_s: one hop, software start-up included.
        energy_pj_per_bit: transfer energy; 0 takes the constant set's figure.
        all_reduce: ``ring``: 2 (r - 1) steps of a share of 1 / r; ``one_pass``: half as many, as AttAcc's simulator
            counts it (in hardware that takes a switch which adds).
    """

    bandwidth_bytes_per_s: float = Field(gt=0)
    latency_s: float = Field(default=1e-6, ge=0)
    energy_pj_per_bit: float = Field(default=0.0, ge=0)
    all_reduce: Literal["ring", "one_pass"] = "ring"


class NocSpec(Spec):
    """The on-chip network between memory interface, cores and vector units.

    Attributes:
        bytes_per_cycle: width of one core's port.
        hops: mean hops between memory interface and core.
    """

    bytes_per_cycle: int = Field(default=64, ge=1)
    hops: float = Field(default=2.0, ge=0)


class TechnologySpec(Spec):
    """Process and the named set of published constants that prices come from.

    Attributes:
        node_nm: feature size, nm.
        vdd_v: supply, V; 0 takes the node's nominal.
        constants: name of the constant set under models/data/constants.
    """

    node_nm: float = Field(gt=0, le=250)
    vdd_v: float = Field(default=0.0, ge=0, le=5)
    constants: str = "default"


class Chip(Spec):
    """A chip.

    Attributes:
        name: preset name or the user's.
        description: one line.
        source: where the figures come from.
        technology: process and constants.
        engines: by name; operators are placed on the first engine that takes their kind.
        memories: by name.
        links: by name.
        noc: on-chip network.
        policy: how a step is arranged over the engines.
        notes: field path to the source of that figure, or to what was assumed.
    """

    name: str
    description: str = ""
    source: str = ""
    technology: TechnologySpec
    engines: dict[str, SerializeAsAny[EngineSpec]]
    memories: dict[str, MemorySpec]
    links: dict[str, LinkSpec] = Field(default_factory=dict)
    noc: NocSpec = Field(default_factory=NocSpec)
    policy: PolicySpec = Field(default_factory=PolicySpec)
    notes: dict[str, str] = Field(default_factory=dict)

    @field_validator("engines", mode="before")
    @classmethod
    def _typed_engines(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or not value:
            raise ValueError("must be a non-empty mapping of engine name to specification")
        return {name: _typed_engine(name, spec) for name, spec in value.items()}

    @field_validator("engines", "memories", "links")
    @classmethod
    def _plain_names(cls, value: Any) -> Any:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"a name is letters, digits, - and _, not {name!r}: it is part of field paths")
        return value

    @field_validator("memories")
    @classmethod
    def _some_memory(cls, value: Any) -> Any:
        if not value:
            raise ValueError("must name at least one memory")
        return value

    @model_validator(mode="after")
    def _known_memories(self) -> Chip:
        for name, engine in self.engines.items():
            if engine.memory not in self.memories:
                raise ChipsmithError(
                    f"chip.engines.{name}.memory", engine.memory, nearest(engine.memory, self.memories)
                )
        return self

    def with_fields(self, changes: Mapping[str, object]) -> Chip:
        """A checked copy with some fields changed.

        Args:
            changes: dotted path to new value, e.g. ``{"engines.npu.rows": 64}``.

        Raises:
            ChipsmithError: for an unknown path (nearest offered) or an illegal value.
        """
        data = self.model_dump()
        for path, value in changes.items():
            _set(data, path, value)
        return parse_chip(data)

    def to_yaml(self) -> str:
        """YAML text that :func:`load_chip` reads back to an equal chip."""
        text: str = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, width=100)
        return text


def _typed_engine(name: str, spec: Any) -> EngineSpec:
    if isinstance(spec, EngineSpec):
        return spec
    where = f"chip.engines.{name}"
    if not isinstance(spec, Mapping) or "type" not in spec:
        raise ChipsmithError(f"{where}.type: this field is required", None, f"known: {', '.join(engine_types())}")
    try:
        return spec_class(str(spec["type"]), f"{where}.type").model_validate(dict(spec))
    except ValidationError as error:
        raise worded(error, where, spec_class(str(spec["type"]), f"{where}.type")) from None


def parse_chip(data: Mapping[str, Any], where: str = "chip") -> Chip:
    """Check plain data and make a Chip of it.

    Raises:
        ChipsmithError: for an unknown, missing or illegal field, with its path.
    """
    if not isinstance(data, Mapping):
        raise ChipsmithError(where, data if data is not None else "nothing", "a chip is a mapping of fields")
    try:
        return Chip.model_validate(dict(data))
    except ValidationError as error:
        raise worded(error, where, Chip) from None


def preset_folder() -> Any:
    """The folder of preset files (also inside a wheel)."""
    return resources.files("models") / "presets"


def list_chips() -> list[str]:
    """Names of the presets."""
    return sorted(p.name.removesuffix(".yaml") for p in preset_folder().iterdir() if p.name.endswith(".yaml"))


def load_chip(name_or_path: str | Path) -> Chip:
    """Load a preset by name or a chip from a YAML file.

    Raises:
        ChipsmithError: unknown preset (nearest offered), unreadable YAML, or an illegal field.
    """
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")):
        return _read_chip(Path(text))
    if text not in list_chips():
        raise ChipsmithError("chip", text, nearest(text, list_chips()))
    return parse_chip(parse_yaml(text, (preset_folder() / f"{text}.yaml").read_text(encoding="utf-8")))


def _read_chip(path: Path) -> Chip:
    try:
        return parse_chip(parse_yaml(str(path), path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ChipsmithError(f"{path}: cannot be read", None, str(reason)) from None


def _set(data: dict[str, Any], path: str, value: object) -> None:
    parts = path.split(".")
    node: Any = data
    for depth, part in enumerate(parts):
        if not isinstance(node, dict) or part not in node:
            known = list(node) if isinstance(node, dict) else []
            raise ChipsmithError(f"{'.'.join(parts[: depth + 1])}: unknown field", None, nearest(part, known))
        if depth == len(parts) - 1:
            node[part] = value
        node = node[part]


def get_field(chip: Chip, path: str) -> Any:
    """Value of a dotted field path.

    Raises:
        ChipsmithError: for an unknown path, with the nearest field.
    """
    node: Any = chip
    for part in path.split("."):
        known = (
            list(node) if isinstance(node, dict) else list(type(node).model_fields) if isinstance(node, Spec) else []
        )
        if part not in known:
            raise ChipsmithError(f"{path}: unknown field", None, nearest(part, known))
        node = node[part] if isinstance(node, dict) else getattr(node, part)
    return node


class ChipTable:
    """A chip ``n`` times with some fields varied.

    Args:
        base: the chip.
        columns: dotted field path to an array of ``n`` values (numbers; formats as a sequence of names).
        n: rows; needed only where ``columns`` is empty.
    """

    def __init__(
        self, base: Chip, columns: Mapping[str, Sequence[Any] | NDArray[Any]] | None = None, n: int = 1
    ) -> None:
        self.base = base
        self.columns: dict[str, NDArray[Any]] = {}
        for path, values in (columns or {}).items():
            get_field(base, path)
            self.columns[path] = np.asarray(values)
        lengths = {len(v) for v in self.columns.values()} or {n}
        if len(lengths) != 1:
            raise ChipsmithError("chip table", sorted(lengths), "all columns have one length")
        self.n = lengths.pop()

    def column(self, path: str) -> NDArray[Any]:
        """Values of a field for every row, shape (n,)."""
        if path in self.columns:
            return self.columns[path]
        return np.full(self.n, get_field(self.base, path))

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """Paths that differ between rows."""
        return tuple(self.columns)

    def chip(self, row: int) -> Chip:
        """One row as a checked Chip."""
        if not self.columns:
            return self.base
        return self.base.with_fields({path: values[row].item() for path, values in self.columns.items()})
