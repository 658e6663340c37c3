"""An engine family of another package, in plain Python: a block of multipliers beside the memory.

It multiplies matrices and attends; every operator takes a start-up time, and at ``tile`` the last round of
multipliers may be partly idle. Nothing is compiled: the simulator calls the kernels in a Python loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from models.chip import ChipTable
from models.costs import Costs, EnginePrices, FieldReader, FieldTable
from models.engines.base import EngineSpec
from sim.demand import OK
from sim.engine import Array, Engine, memory_columns, memory_resource, param_table

PARAMS = np.dtype([("macs_per_cycle", "i8"), ("start_cycles", "i8"), ("bytes_per_cycle", "f8")])


class ToySpec(EngineSpec):
    """A block of multipliers.

    Attributes:
        type: always ``toy``.
        macs_per_cycle: multiply-accumulates per cycle.
        start_cycles: cycles before an operator's first result.
    """

    type: Literal["toy"] = "toy"
    macs_per_cycle: int = Field(ge=1)
    start_cycles: int = Field(default=10, ge=0)


def _moved(op: Any, out: Any) -> None:
    out["dram_read_bytes"] = op["in_bytes"] + op["w_bytes"] * op["count"] + op["kv_read_bytes"]
    out["dram_write_bytes"] = op["out_bytes"] + op["kv_write_bytes"]
    out["memory"] = out["dram_read_bytes"] + out["dram_write_bytes"]
    out["macs"] = op["macs"]


def toy_bound(op: Any, q: Any, p: Any, out: Any) -> int:
    """Multipliers always busy, no start-up."""
    _moved(op, out)
    out["busy"] = op["macs"] / p["macs_per_cycle"]
    out["cycles"] = max(out["busy"], out["memory"] / p["bytes_per_cycle"])
    return OK


def toy_tile(op: Any, q: Any, p: Any, out: Any) -> int:
    """Whole cycles and the start-up."""
    _moved(op, out)
    out["busy"] = -(-op["macs"] // p["macs_per_cycle"])
    out["fixed"] = p["start_cycles"]
    out["cycles"] = out["fixed"] + max(out["busy"], out["memory"] / p["bytes_per_cycle"])
    return OK


def pack(table: ChipTable, path: str) -> Array:
    """Parameters of the engine at ``path`` for every chip."""
    columns = {name: table.column(f"{path}.{name}") for name in ("macs_per_cycle", "start_cycles")}
    return param_table(PARAMS, {**columns, "bytes_per_cycle": memory_columns(table, path)["bytes_per_cycle"]}, table.n)


def resources(table: ChipTable, path: str) -> Mapping[str, tuple[str, Array]]:
    """The memory."""
    return {"memory": memory_resource(table, path)}


def price(table: FieldTable, path: str, costs: Costs) -> EnginePrices:
    """A picojoule a multiplication and 1000 square micrometres a multiplier."""
    zero = np.zeros(costs.n)
    area = FieldReader(table, path)("macs_per_cycle") * 1e-3
    return EnginePrices(
        mac_pj=zero + 1.0,
        vector_op_pj=zero,
        regfile_pj_per_byte=zero,
        sram_read_pj_per_byte=zero,
        sram_write_pj_per_byte=zero,
        noc_pj_per_byte=zero,
        leakage_w=zero,
        clock_w=zero,
        area_mm2={"multipliers": area},
    )


KINDS = ("gemm", "attention")
ENGINE = Engine(
    type="toy",
    spec=ToySpec,
    kinds=frozenset(KINDS),
    params=PARAMS,
    pack=pack,
    resources=resources,
    kernels={(kind, name): kernel for kind in KINDS for name, kernel in (("bound", toy_bound), ("tile", toy_tile))},
    price=price,
)
