"""Family ``fpga``: FPGA accelerators and HLS reports."""

from __future__ import annotations

from chipsmith.adapters.base import Adapter

ADAPTER = Adapter(family="fpga", reason="FPGA accelerators are not modelled yet")
