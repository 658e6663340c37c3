"""From a chip to Verilog: ``generate`` picks an engine and its parameters, ``write`` puts the files in a folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol

from rtl.design import Design
from rtl.params import SystolicParams
from rtl.systolic import generate_systolic
from workloads.dtypes import DType, dtype
from workloads.errors import ChipsmithError, nearest

_MAX_BUFFER_ROWS = 1024
_INT_ACC_BITS = 32


class HasEngines(Protocol):
    """What :func:`generate` needs of a chip."""

    @property
    def engines(self) -> Mapping[str, Any]:
        """Engine name to specification."""


def _pick(chip: HasEngines, engine: str | None) -> tuple[str, Any]:
    systolic = [name for name, spec in chip.engines.items() if getattr(spec, "type", None) == "systolic"]
    if engine is not None and engine not in chip.engines:
        raise ChipsmithError("engine", engine, nearest(engine, chip.engines))
    if engine is not None and engine not in systolic:
        kind = getattr(chip.engines[engine], "type", None)
        raise ChipsmithError(f"engines.{engine}.type", kind, "RTL is generated for 'systolic' engines")
    if not systolic:
        raise ChipsmithError("engines", sorted(chip.engines), "RTL is generated for 'systolic' engines; there is none")
    name = engine if engine is not None else systolic[0]
    return name, chip.engines[name]


def _integer_bits(where: str, name: str, notes: list[str]) -> int:
    """Width of an operand; float formats become int8, ternary and 1-bit become 2-bit two's complement."""
    found: DType = dtype(name, where)
    if found.is_float:
        notes.append(f"{where} is {name}: this is the int8 variant of the engine, same array and timing")
        return 8
    if found.bits < 2:
        notes.append(f"{where} is {name}: held as 2-bit two's complement")
    if found.bits > 16:
        raise ChipsmithError(where, name, "operands of at most 16 bits")
    return max(found.bits, 2)


def _accumulator_bits(where: str, name: str, notes: list[str]) -> int:
    found = dtype(name, where)
    if found.is_float:
        notes.append(f"{where} is {name}: sums are int{_INT_ACC_BITS}")
        return _INT_ACC_BITS
    return found.bits


def _dataflow(where: str, spec: Any, notes: list[str]) -> str:
    """First dataflow of the engine; input-stationary hardware is weight-stationary with the operands exchanged."""
    flows = getattr(spec, "dataflows", None) or (getattr(spec, "dataflow", "ws"),)
    if flows[0] == "is":
        notes.append(f"{where}.dataflows starts with 'is': drive the weight-stationary array with operands exchanged")
        return "ws"
    return str(flows[0])


def _buffer_rows(spec: Any, acc_bits: int) -> int:
    """Rows of the accumulator buffer that the engine's accumulator bytes hold; 0 (the default) where unknown."""
    stored = int(getattr(spec, "accum_bytes", 0))
    rows = stored * 8 // (spec.cols * acc_bits)
    return min(rows, _MAX_BUFFER_ROWS) if rows >= 2 else 0


def _dtype_name(spec: Any, *names: str) -> str:
    return next((str(getattr(spec, name)) for name in names if hasattr(spec, name)), "int8")


def _from_spec(where: str, spec: Any) -> tuple[dict[str, Any], list[str]]:
    """Parameters of one engine specification, and what could not be kept."""
    notes: list[str] = []
    flow = _dataflow(where, spec, notes)
    acc_bits = _accumulator_bits(f"{where}.accum_dtype", _dtype_name(spec, "accum_dtype", "acc_dtype"), notes)
    pipe = int(getattr(spec, "mac_pipe", 0))
    if pipe > 1:
        notes.append(f"{where}.mac_pipe is {pipe}: the generated MAC has one pipeline register")
    values: dict[str, Any] = {
        "rows": spec.rows,
        "cols": spec.cols,
        "dataflow": flow,
        "a_bits": _integer_bits(f"{where}.act_dtype", _dtype_name(spec, "act_dtype", "a_dtype"), notes),
        "w_bits": _integer_bits(f"{where}.weight_dtype", _dtype_name(spec, "weight_dtype", "w_dtype"), notes),
        "acc_bits": acc_bits if hasattr(spec, "accum_dtype") or hasattr(spec, "acc_dtype") else _INT_ACC_BITS,
        "mac_pipe": min(pipe, 1),
    }
    if flow == "ws":
        values["double_buffer"] = getattr(spec, "preload", "serial") == "overlapped"
        values["max_beats"] = _buffer_rows(spec, values["acc_bits"])
    return values, notes


def params_from(overrides: Mapping[str, Any], base: Mapping[str, Any] | None = None) -> SystolicParams:
    """Parameters from ``base`` with ``overrides``.

    Raises:
        ChipsmithError: for an unknown parameter, a missing ``rows`` or ``cols``, or an illegal value.
    """
    known = [item.name for item in fields(SystolicParams)]
    for name in overrides:
        if name not in known:
            raise ChipsmithError("systolic", name, nearest(name, known))
    values = {**(base or {}), **overrides}
    for name in ("rows", "cols"):
        if name not in values:
            raise ChipsmithError(f"systolic.{name}", None, "it must be given")
    return SystolicParams(**values)


def generate(chip: HasEngines, engine: str | None = None, **overrides: Any) -> Design:
    """Generate the Verilog of one engine of a chip.

    Args:
        chip: anything with ``engines``, name to specification.
        engine: which one; the first systolic one if None.
        **overrides: fields of :class:`rtl.params.SystolicParams` that replace what the chip says.

    Returns:
        The design; its notes and file headers say what differs from the chip (float operands become int8).

    Raises:
        ChipsmithError: where the engine is unknown, is not systolic, or its parameters can't be generated.
    """
    name, spec = _pick(chip, engine)
    values, notes = _from_spec(f"engines.{name}", spec)
    if overrides.get("dataflow") == "os":
        values.pop("double_buffer", None)
        values.pop("max_beats", None)
    return generate_systolic(params_from(overrides, values), tuple(notes))


def files_of(design: Design) -> dict[str, str]:
    """Relative path to text of everything that :func:`write` puts into a folder."""
    files = {f"rtl/{name}": text for name, text in design.sources.items()}
    files |= {f"bench/{name}": text for name, text in design.bench_sources.items()}
    files["files.f"] = "".join(f"rtl/{name}\n" for name in design.sources)
    return files


def write(design: Design, folder: str | Path) -> Path:
    """Write a design's files into ``folder``: ``rtl/``, ``bench/`` and the file list ``files.f``.

    They are first written beside it and then moved, so that no half-written design is left. Files of an earlier
    design of another name stay.

    Raises:
        ChipsmithError: where ``folder`` is a file.
    """
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise ChipsmithError("output folder", str(target), "a folder, or a name that is free")
    target.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".chipsmith-", dir=target))
    try:
        for name, text in files_of(design).items():
            (staging / name).parent.mkdir(exist_ok=True)
            (staging / name).write_text(text)
        for name in files_of(design):
            (target / name).parent.mkdir(exist_ok=True)
            (staging / name).replace(target / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target
