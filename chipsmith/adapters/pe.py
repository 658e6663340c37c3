"""Family ``pe``: low-bit processing element arrays and their synthesis."""

from __future__ import annotations

from chipsmith.adapters.base import Adapter

ADAPTER = Adapter(family="pe", reason="low-bit processing elements are not modelled yet")
