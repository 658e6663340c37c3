"""The one place where kernels are compiled, so that Numba's cache can be trusted.

Numba's own cache looks only at the decorated function's file: an edit in a callee elsewhere would return stale
numbers. Here the cache folder's name holds a hash of all kernel sources (files that define a kernel, or that say
``kernel constants``) and of the numba and numpy versions, so any edit starts a fresh folder. The folder is
``CHIPSMITH_CACHE``, else the XDG cache, else a private temporary folder; where none is writable kernels compile
uncached, with one warning.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("models", "sim")
_MARKS = (b"@kernel", b"@parallel_kernel", b"kernel constants")
F = TypeVar("F", bound=Callable[..., Any])


def source_hash(root: Path = _ROOT) -> str:
    """Hash of every file that may hold a kernel, and of the compiler versions (first 16 hex digits)."""
    from importlib.metadata import version

    digest = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            text = path.read_bytes()
            if any(mark in text for mark in _MARKS):
                digest.update(path.relative_to(root).as_posix().encode())
                digest.update(text)
    digest.update(f"{version('numba')} {version('numpy')}".encode())
    return digest.hexdigest()[:16]


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _candidates() -> list[Path]:
    named = os.environ.get("CHIPSMITH_CACHE")
    if named:
        return [Path(named)]
    xdg = os.environ.get("XDG_CACHE_HOME")
    home = Path(xdg) if xdg else Path("~").expanduser() / ".cache"
    return [home / "chipsmith", Path(tempfile.gettempdir()) / f"chipsmith-{os.getuid()}"]


def cache_folder() -> Path | None:
    """First writable cache folder for the current sources, or None."""
    key = source_hash()
    for base in _candidates():
        folder = base / f"kernels-{key}"
        if _writable(folder):
            return folder
    return None


_folder = cache_folder()
if _folder is not None:
    os.environ["NUMBA_CACHE_DIR"] = str(_folder)
else:
    warnings.warn("no writable cache folder; kernels are compiled anew in every process", RuntimeWarning, stacklevel=2)

import numba  # noqa: E402  (the cache folder must be named before numba reads its settings)

numba.config.CACHE_DIR = str(_folder) if _folder is not None else ""
prange = numba.prange


def kernel(function: F) -> F:
    """Compile a scalar kernel (nopython, cached, no fast-math: results must repeat bit for bit)."""
    compiled: F = numba.njit(cache=_folder is not None, error_model="numpy")(function)
    return compiled


def parallel_kernel(function: F) -> F:
    """Compile a loop over designs (``prange``) that runs on all threads."""
    compiled: F = numba.njit(cache=_folder is not None, error_model="numpy", parallel=True)(function)
    return compiled
