"""Family ``gpu``: GPU kernels and LLM rooflines of GPUs."""

from __future__ import annotations

from chipsmith.adapters.base import Adapter

ADAPTER = Adapter(family="gpu", reason="GPUs are not modelled yet")
