"""What several benchmarks share: random designs, GEMM shapes of Llama, and pairs of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.chip import ChipTable, load_chip
from sim.demand import FIDELITIES, KIND_CODES, MODES, OK, OP
from sim.engine import new_demands
from sim.engines.systolic import pack, price_rows
from sim.engines.systolic_kernels import MAPPING

#: (k, n) of the layers of Llama-2-7B and, below, Llama-2-70B (Touvron et al. 2023, and their config.json files).
LLAMA_WEIGHTS = (
    (4096, 4096), (4096, 11008), (11008, 4096), (4096, 32000),
    (8192, 8192), (8192, 1024), (8192, 28672), (28672, 8192),
)  # fmt: skip
TOKENS = (1, 16, 128, 2048)
_FP16_BYTES = 2


def random_designs(count: int, seed: int = 0) -> ChipTable:
    """``count`` variants of tpu_v4: array 16..256 a side, 1..8 cores, 0.5..32 MiB of scratchpad."""
    generator = np.random.default_rng(seed)
    columns = {
        "engines.npu.rows": generator.integers(16, 257, count),
        "engines.npu.cols": generator.integers(16, 257, count),
        "engines.npu.cores": generator.integers(1, 9, count),
        "engines.npu.spad_bytes": (2.0 ** generator.uniform(19, 25, count)).astype(np.int64),
    }
    return ChipTable(load_chip("tpu_v4"), columns)


def gemm_rows(tokens: tuple[int, ...] = TOKENS, weights: tuple[tuple[int, int], ...] = LLAMA_WEIGHTS) -> NDArray[Any]:
    """fp16 operator rows of every (m, k, n), dtype ``OP``."""
    shapes = [(m, k, n) for m in tokens for k, n in weights]
    rows = np.zeros(len(shapes), OP)
    m, k, n = np.array(shapes, np.int64).T
    rows["kind"], rows["count"] = KIND_CODES["gemm"], 1
    rows["m"], rows["k"], rows["n"], rows["macs"] = m, k, n, m * k * n
    for name in ("a_bits", "w_bits", "o_bits", "kv_bits"):
        rows[name] = 8 * _FP16_BYTES
    rows["in_bytes"], rows["w_bytes"], rows["out_bytes"] = (_FP16_BYTES * size for size in (m * k, k * n, m * n))
    return rows


@dataclass(frozen=True)
class Pairs:
    """Pairs of designs and GEMMs with room for what pricing writes.

    Attributes:
        ops: (k,). params: (n,). mapping, out, status: (n, k), overwritten by each pricing.
    """

    ops: NDArray[Any]
    params: NDArray[Any]
    mapping: NDArray[Any]
    out: NDArray[Any]
    status: NDArray[Any]

    @classmethod
    def of(cls, table: ChipTable, ops: NDArray[Any]) -> Pairs:
        """All pairs of a table's designs and some operator rows."""
        shape = (table.n, len(ops))
        mapping, status = np.zeros(shape, MAPPING), np.zeros(shape, np.int64)
        return cls(ops, pack(table, "engines.npu"), mapping, new_demands(*shape), status)

    @property
    def count(self) -> int:
        """Number of pairs."""
        return self.status.size

    @property
    def legal(self) -> int:
        """Pairs that the last pricing found legal."""
        return int((self.status == OK).sum())

    def pricing(self, mode: str, fidelity: str = "tile") -> Callable[[], None]:
        """A call that prices all pairs: ``auto`` searches mappings, ``given`` takes those found before."""
        codes = MODES.index(mode), FIDELITIES.index(fidelity)
        return lambda: price_rows(self.ops, self.params, self.mapping, *codes, self.out, self.status)
