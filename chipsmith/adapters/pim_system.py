"""Family ``pim-system``: systems that join an NPU or GPU with processing in memory."""

from __future__ import annotations

from chipsmith.adapters.base import Adapter

ADAPTER = Adapter(family="pim-system", reason="systems with processing in memory are not modelled yet")
