"""Chipsmith's face: the public names, each loaded when it is first used.

``import chipsmith`` is cheap: a name's module is imported on first access (PEP 562). The folders ``workloads``,
``models``, ``sim``, ``rtl`` and ``dse`` are packages of their own, so a foreign package with such a name could
stand in front of ours; that is refused here, once, with one clear ImportError.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("workloads", "models", "sim", "rtl", "dse")

PUBLIC: dict[str, str] = {
    "Trace": "workloads.trace:Trace",
    "Batch": "workloads.batch:Batch",
    "load_config": "workloads.configs:load_config",
    "list_configs": "workloads.configs:list_configs",
    "build_trace": "workloads.build:build_trace",
    "Chip": "models.chip:Chip",
    "load_chip": "models.chip:load_chip",
    "list_chips": "models.chip:list_chips",
    "simulate": "sim.simulate:simulate",
    "Mapping": "sim.mapping:Mapping",
    "Result": "sim.result:Result",
    "Study": "dse.study:Study",
    "Space": "dse.space:Space",
    "generate": "rtl.generate:generate",
    "verify": "rtl.verify:verify",
    "validate": "chipsmith.validate:validate",
    "ChipsmithError": "workloads.errors:ChipsmithError",
    "MissingToolError": "workloads.errors:MissingToolError",
}
__all__ = ["__version__", *PUBLIC]  # noqa: PLE0604  (the names are strings; ruff can't see through the mapping)


def _leave_current_folder() -> None:
    """Under ``python -m chipsmith`` take the current folder off the path, as for the ``chipsmith`` script.

    While the module to run is being located ``sys.argv[0]`` is ``-m``; the current folder then stands first.
    """
    if sys.argv[:1] == ["-m"] and not sys.flags.safe_path and sys.path:
        first = Path(sys.path[0] or os.curdir).resolve()
        if first == Path.cwd() and first != _ROOT:
            del sys.path[0]


def _location(name: str) -> Path | None:
    """Folder from which a package is, or would be, imported."""
    loaded = sys.modules.get(name)
    spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(name)
    places = list(spec.submodule_search_locations or ()) if spec else []
    if places:
        return Path(places[0]).resolve()
    return Path(spec.origin).resolve() if spec and spec.origin else None


def _refuse_shadows() -> None:
    """Refuse to work with a foreign package that has the name of one of ours.

    Raises:
        ImportError: naming the foreign package and ours.
    """
    for name in _PACKAGES:
        found = _location(name)
        if found != _ROOT / name:
            raise ImportError(
                f"chipsmith needs its own package {name!r} from {_ROOT / name}, but Python finds "
                f"{found or 'none'}; rename that one, or take its folder off sys.path and PYTHONPATH"
            )


class _Face(ModuleType):
    """Module type that keeps a public name from being replaced by a submodule of the same name."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in PUBLIC and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    target = PUBLIC.get(name)
    if target is None:
        raise AttributeError(f"module 'chipsmith' has no attribute {name!r}")
    module, _, attribute = target.partition(":")
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


_leave_current_folder()
_refuse_shadows()
sys.modules[__name__].__class__ = _Face
