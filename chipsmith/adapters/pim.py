"""Family ``pim``: processing-in-memory kernels."""

from __future__ import annotations

from chipsmith.adapters.base import Adapter

ADAPTER = Adapter(family="pim", reason="processing in memory is not modelled yet")
