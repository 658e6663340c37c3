"""Family ``npu``: published figures of SambaNova's SN40L."""

from __future__ import annotations

from chipsmith.adapters.base import Adapter

ADAPTER = Adapter(
    family="npu", sources=("SambaNova SN40L",), reason="capacities and speed-ups of a published chip, no GEMM to run"
)
