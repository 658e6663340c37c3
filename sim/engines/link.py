"""Collectives over chip-to-chip links, ring algorithms.

All-reduce moves 2 (r - 1) / r of the bytes out of every chip in 2 (r - 1) steps; all-gather, reduce-scatter and
all-to-all move (r - 1) / r in r - 1 steps (Thakur, Rabenseifner, Gropp 2005; the ring of NCCL). The operator row
holds the steps and the bytes on the wire, so the kernel is ``steps * latency + bytes / bandwidth``. A link whose
``all_reduce`` is ``one_pass`` does an all-reduce in half of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.chip import ChipTable
from models.engines.base import EngineSpec
from models.jit import kernel
from sim.demand import BOUND, OK
from sim.engine import Array, Engine, param_table

TYPE = "link"
PARAMS = np.dtype([("bytes_per_cycle", "f8"), ("latency", "f8"), ("one_pass", "i8")])


@kernel
def _passes(op: Any, p: Any) -> int:
    """2 where a link that reduces in one pass meets an all-reduce, which alone takes two rounds; else 1."""
    return 2 if p["one_pass"] and op["steps"] == 2 * (op["ranks"] - 1) else 1


@kernel
def link_bound(op: Any, q: Any, p: Any, out: Any) -> int:
    """Bytes over bandwidth."""
    out["link_bytes"] = op["wire_bytes"] // _passes(op, p)
    out["link"] = float(out["link_bytes"])
    out["cycles"] = out["link"] / p["bytes_per_cycle"]
    return OK


@kernel
def link_tile(op: Any, q: Any, p: Any, out: Any) -> int:
    """Ring collective; the engine's clock is 1 Hz per byte/s, so cycles are seconds."""
    link_bound(op, q, p, out)
    out["fixed"] = op["steps"] // _passes(op, p) * p["latency"]
    out["cycles"] = out["fixed"] + out["link"] / p["bytes_per_cycle"]
    return OK


@kernel
def _loop(ops: Array, params: Array, mapping: Array, mode: int, fidelity: int, out: Array, status: Array) -> None:
    for i in range(params.shape[0]):
        for j in range(ops.shape[0]):
            if fidelity == BOUND:
                status[i, j] = link_bound(ops[j], mapping[i, j], params[i], out[i, j])
            else:
                status[i, j] = link_tile(ops[j], mapping[i, j], params[i], out[i, j])


def pack(table: ChipTable, path: str) -> Array:
    """Parameters of the link at ``path`` (``links.NAME``)."""
    columns = {
        "bytes_per_cycle": table.column(f"{path}.bandwidth_bytes_per_s"),
        "latency": table.column(f"{path}.latency_s"),
        "one_pass": table.column(f"{path}.all_reduce") == "one_pass",
    }
    return param_table(PARAMS, columns, table.n)


def resources(table: ChipTable, path: str) -> Mapping[str, tuple[str, Array]]:
    """The link itself."""
    return {"link": (path.replace("links.", "link:"), table.column(f"{path}.bandwidth_bytes_per_s"))}


ENGINE = Engine(
    type=TYPE,
    spec=EngineSpec,
    kinds=frozenset({"collective"}),
    params=PARAMS,
    pack=pack,
    resources=resources,
    loop=_loop,
    kernels={("collective", "bound"): link_bound, ("collective", "tile"): link_tile},
)
