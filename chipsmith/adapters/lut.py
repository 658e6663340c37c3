"""Family ``lut``: tensor cores that look products up."""

from __future__ import annotations

from chipsmith.adapters.base import Adapter

ADAPTER = Adapter(family="lut", reason="table-lookup arithmetic is not modelled yet")
