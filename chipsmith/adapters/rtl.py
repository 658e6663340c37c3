"""Family ``rtl``: synthesis reports of whole designs."""

from __future__ import annotations

from chipsmith.adapters.base import Adapter

ADAPTER = Adapter(family="rtl", reason="synthesis reports of whole designs are not modelled yet")
