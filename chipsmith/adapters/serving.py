"""Family ``serving``: serving runs with arriving requests."""

from __future__ import annotations

from chipsmith.adapters.base import Adapter

ADAPTER = Adapter(family="serving", reason="request serving is not modelled yet")
