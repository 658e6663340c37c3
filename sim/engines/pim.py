"""Engine of units inside a memory (HBM-PIM, AiM, Newton, NeuPIMs, AttAcc, Duplex).

``bound`` is the roofline of the bandwidth inside the banks, ``tile`` the closed form of each design's command sequence,
``command`` the sequence itself, scheduled channel by channel (sim/pim). Weights and caches never cross the memory's
bus; operands, results and new keys and values do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.chip import ChipTable
from models.engines.pim import PLACEMENTS, Design, PimSpec, built, design_of, designs
from models.pim import PimDevice, pim_devices
from sim.demand import BAD_PLACEMENT, COMMAND, FIDELITIES
from sim.engine import Array, Engine, Kernel, memory_resource, new_demands, vector_rate
from sim.engines.pim_kernels import PARAMS, fullest_cache, price_design, price_designs
from sim.pim.closed import FIELDS, closed_form
from sim.pim.step import price_commands
from workloads.dtypes import DTYPES
from workloads.errors import ChipsmithError
from workloads.operators import Operator

#: Programs whose softmax is the host's; the others have a unit for it.
HOST_SOFTMAX = ("newton", "aim", "hbm_pim")
_NOT_COVERED = 100  # per cent of the memory that work takes from the host where rows are shared


def _row(design: Design) -> dict[str, float]:
    """Parameters of one design that its device decides."""
    device = built(design)
    element = device.check_format(device.unit.dtypes[0])
    form = closed_form(device)
    names = ("device", "own_lanes", "own_row_buffers", "own_channels", "own_interval", "own_reuse")
    own = dict(zip(names, design[: len(names)], strict=True))
    return {
        **own,
        "device": pim_devices().index(design.device),
        "own_format": 1 + list(DTYPES).index(design.dtype) if design.dtype else 0,
        "channels": device.organisation.channels,
        "whole": device.program == "newton",
        "mirrored": device.program == "attacc",
        "host_softmax": device.program in HOST_SOFTMAX,
        "reuse": device.unit.reuse,
        "element_bits": 8 * element,
        "mac_lanes": form.column_bytes // device.organisation.burst_bytes * device.unit.lanes,
        "rate": device.organisation.channels * _elements_per_ck(device),
        "host_lost": _host_lost(device),
        **{name: getattr(form, name) for name in FIELDS},
    }


def _elements_per_ck(device: PimDevice) -> float:
    """Elements that the units of a channel read and multiply each clock."""
    return device.mac_banks * device.unit.lanes / device.clocks(device.mac_interval_ck)


def _host_lost(device: PimDevice) -> float:
    """Share of the memory's peak that working units take from the host: all of it where banks have one row buffer."""
    if device.organisation.row_buffers == 1:
        return 1.0
    return device.options.get("host_lost_pct", _NOT_COVERED) / 100


def pack(table: ChipTable, path: str) -> Array:
    """Parameters of the units at ``path`` for every row of the table.

    Raises:
        ChipsmithError: attention on a device without softmax, on a chip without a vector engine.
    """
    found = designs(table, path)
    rows = {design: _row(design) for design in set(found)}
    params = np.zeros(table.n, PARAMS)
    for name in rows[found[0]]:
        params[name] = [rows[design][name] for design in found]
    stacks, clock = table.column(f"{path}.stacks"), table.column(f"{path}.clock_hz")
    params["channels"] *= stacks
    params["rate"] *= stacks
    params["policy"] = [PLACEMENTS.index(str(name)) for name in table.column(f"{path}.kv_placement")]
    params["issue"] = table.column(f"{path}.issue_per_ck")
    params["bytes_per_cycle"] = memory_resource(table, path)[1] / clock
    params["vector_rate"] = vector_rate(table) / clock
    spec = _spec(table, path)
    if "attention" in spec.takes and ((params["host_softmax"] != 0) & (params["vector_rate"] == 0)).any():
        legal = f"{spec.device} leaves softmax to the host: the chip must have an engine of type vector"
        raise ChipsmithError(f"chip.{path}", None, legal)
    return params


def _spec(table: ChipTable, path: str) -> PimSpec:
    spec = table.base.engines[path.split(".")[1]]
    assert isinstance(spec, PimSpec)
    return spec


def resources(table: ChipTable, path: str) -> Mapping[str, tuple[str, Array]]:
    """Shared resources: the memory's bus, and the vector lanes where softmax is the host's."""
    found = {"memory": memory_resource(table, path)}
    rate = vector_rate(table)
    if rate.min() > 0:
        found["vector"] = ("vector", rate)
    return found


def op_per_byte(op: Operator) -> float:
    """Operations (2 a MAC) for each byte of weights, or of cached keys and values, this step's included."""
    read = op.weight_bytes if op.kind == "gemm" else op.kv_read_bytes + op.kv_write_bytes
    return 2 * op.macs / read if read else float("inf")


def accepts(spec: PimSpec, op: Operator) -> bool:
    """Whether units take an operator by themselves: its kind, its formats, few operations a byte, operands at rest."""
    if op.kind not in spec.takes or _wrong_format(spec, op):
        return False
    if op.kind == "gemm" and not op.weight_is_param:
        return False
    return op_per_byte(op) <= spec.max_op_per_byte


def _wrong_format(spec: PimSpec, op: Operator) -> str:
    """A format of the operator that the units don't multiply; empty where they can."""
    known = built(design_of(spec)).unit.dtypes
    formats = (op.act, op.weight) if op.kind == "gemm" else (op.act, op.kv)
    return next((name for name in formats if name not in known), "")


def check(spec: PimSpec, op: Operator, where: str) -> None:
    """Refuse what units can't do even where a mapping asks for it.

    Raises:
        ChipsmithError: a format that they lack.
    """
    wrong = _wrong_format(spec, op)
    if wrong:
        known = " and ".join(built(design_of(spec)).unit.dtypes)
        raise ChipsmithError(where, wrong, f"{spec.device} multiplies {known}")


def cache_bytes(ops: Array, params: Array) -> Array:
    """Room that the caches of one attention operator take: of the fullest channel, times the channels; shape (n,)."""
    return np.array([fullest_cache(ops, p) for p in params])


def price_rows(ops: Array, params: Array, mapping: Array, mode: int, fidelity: int, out: Array, status: Array) -> None:
    """Price all (design, row) pairs; see sim.engine.Loop.

    Raises:
        ChipsmithError: one design, and a placement that is none of its channels.
    """
    if fidelity == COMMAND:
        for i in range(len(params)):
            price_commands(ops, params[i], out[i], status[i])
    elif len(params) == 1:
        price_design(ops, params[0], fidelity, out[0], status[0])
    else:
        price_designs(ops, params, fidelity, out, status)
    if len(params) == 1 and (status == BAD_PLACEMENT).any():
        _refuse_placement(ops[status[0] == BAD_PLACEMENT], int(params[0]["channels"]))


def _refuse_placement(ops: Array, channels: int) -> None:
    wrong = next(int(op["placement"]) for op in ops if not 0 <= op["placement"] < channels)
    what = "the request trace places no channel" if wrong < 0 else "the channel that the request trace places"
    raise ChipsmithError(what, wrong, f"caches lie on channels 0 to {channels - 1}; or choose kv_placement greedy")


def _alone(fidelity: str) -> Kernel:
    """A kernel for an operator of one row."""

    def priced(op: Any, q: Any, p: Any, out: Any) -> int:
        ops, params, found = np.array([op]), np.array([p]), new_demands(1, 1)
        status = np.zeros((1, 1), np.int64)
        price_rows(ops, params, np.zeros((1, 1)), 0, FIDELITIES.index(fidelity), found, status)
        for name in found.dtype.names or ():
            out[name] = found[0, 0][name]
        return int(status[0, 0])

    return priced


ENGINE = Engine(
    type="pim",
    spec=PimSpec,
    kinds=frozenset({"attention", "gemm"}),
    params=PARAMS,
    pack=pack,
    resources=resources,
    loop=price_rows,
    kernels={(kind, fidelity): _alone(fidelity) for kind in ("attention", "gemm") for fidelity in FIDELITIES},
    accepts=accepts,
    check=check,
    cache_bytes=cache_bytes,
    whole_kinds=frozenset({"attention"}),
)
