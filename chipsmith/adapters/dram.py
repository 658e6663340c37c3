"""Family ``dram``: one DRAM channel under a request stream."""

from __future__ import annotations

from chipsmith.adapters.base import Adapter

ADAPTER = Adapter(
    family="dram", reason="DRAM commands are not modelled yet (streams are priced by bandwidth and efficiency)"
)
