"""The one place where kernels are compiled, so that Numba's cache can be trusted and small jobs need no compiler.

Numba's own cache looks only at the decorated function's file: an edit in a callee elsewhere would return stale
numbers. Here the cache folder's name holds a hash of all kernel sources (files that define a kernel, or that say
``kernel constants``) and of the numba and numpy versions, so any edit starts a fresh folder. The folder is
``CHIPSMITH_CACHE``, else the XDG cache, else a private temporary folder; where none is writable kernels compile
uncached, with one warning.

Numba is loaded when the first kernel is compiled, not before: loading it takes longer than interpreting a small job.
:func:`interpret_first` lets kernels run as plain Python until a given time is used up. Both ways give the same bits.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("models", "sim")
_MARKS = (b"@kernel", b"@parallel_kernel", b"@inlined", b"kernel constants")
F = TypeVar("F", bound=Callable[..., Any])
prange = range  # what a kernel sees until it is compiled


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


@cache
def cache_folder() -> Path | None:
    """First writable cache folder for the current sources, or None."""
    key = source_hash()
    for base in _candidates():
        folder = base / f"kernels-{key}"
        if _writable(folder):
            return folder
    return None


@cache
def load_numba() -> Any:
    """The numba module, told where its cache is and that a :class:`Kernel` stands for what it compiles to."""
    folder = cache_folder()
    if folder is None:
        text = "no writable cache folder; kernels are compiled anew in every process"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    else:
        os.environ["NUMBA_CACHE_DIR"] = str(folder)  # before numba reads its settings
    import numba
    from numba.extending import typeof_impl

    numba.config.CACHE_DIR = str(folder) if folder is not None else ""
    typeof_impl.register(Kernel)(lambda value, _: numba.types.Dispatcher(value.compiled))
    return numba


class _TooSlow(BaseException):
    """The time to interpret is used up; no ``except Exception`` of a kernel's caller shall take it."""


class _Tier:
    """How long this process still interprets kernels instead of compiling them."""

    left_s = 0.0
    deadline = 0.0  # of the interpreted call that runs now, 0 = none runs


def interpret_first(seconds: float) -> None:
    """Interpret kernels of this process until they used that much time; a call that exceeds it starts anew, compiled.

    For one-shot commands: the same bits come out either way, only the waiting differs.
    """
    _Tier.left_s = seconds


class Kernel:
    """A kernel: calls the compiled function, or the Python one while :func:`interpret_first` says so."""

    def __init__(self, function: Callable[..., Any], **options: bool) -> None:
        self.function = function
        self.options = options
        self.__name__, self.__qualname__ = function.__name__, function.__qualname__
        self.__module__, self.__doc__ = function.__module__, function.__doc__
        self.__wrapped__ = function
        self._compiled: Callable[..., Any] | None = None

    def __reduce__(self) -> str:
        return self.__qualname__  # pickled by name, as functions are

    @property
    def compiled(self) -> Any:
        """Numba's dispatcher of this kernel."""
        if self._compiled is None:
            numba = load_numba()
            if self.options.get("parallel"):  # the compiler knows a parallel loop by its own name alone
                self.function.__globals__["prange"] = numba.prange
            # no fast-math: results must repeat bit for bit
            cached = cache_folder() is not None
            self._compiled = numba.njit(cache=cached, error_model="numpy", **self.options)(self.function)
        return self._compiled

    def __call__(self, *args: Any) -> Any:
        """Run it in the way that is due."""
        if _Tier.left_s <= 0.0:
            return self.compiled(*args)
        if _Tier.deadline == 0.0:
            return self._interpret(args)
        if time.perf_counter() > _Tier.deadline:
            raise _TooSlow
        return self.function(*args)

    def _interpret(self, args: tuple[Any, ...]) -> Any:
        """An outermost call: interpreted up to the deadline, else undone and run compiled."""
        written = [arg for arg in args if isinstance(arg, np.ndarray | np.void)]
        before = [arg.copy() for arg in written]
        begin = time.perf_counter()
        _Tier.deadline = begin + _Tier.left_s
        try:
            return self.function(*args)
        except _TooSlow:
            for arg, value in zip(written, before, strict=True):
                _restore(arg, value)
        finally:
            _Tier.left_s -= time.perf_counter() - begin
            _Tier.deadline = 0.0
        _Tier.left_s = 0.0
        return self.compiled(*args)


def _restore(target: Any, value: Any) -> None:
    """Write an array's or a record's earlier values back."""
    if isinstance(target, np.ndarray):
        target[...] = value
    else:
        for name in target.dtype.names or ():
            target[name] = value[name]


def _decorated(function: F, **options: bool) -> F:
    plain = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
    return function if plain else cast(F, Kernel(function, **options))


def kernel(function: F) -> F:
    """Compile a scalar kernel (nopython, cached, no fast-math) when it is first needed."""
    return _decorated(function)


def inlined(function: F) -> F:
    """Compile a kernel into the kernels that call it.

    For many short functions over one array: as real calls, each would pass the array's seven words and save
    registers, which costs more than its work.
    """
    return _decorated(function, forceinline=True)


def parallel_kernel(function: F) -> F:
    """Compile a loop over designs (``prange``) that runs on all threads when it is first needed."""
    return _decorated(function, parallel=True)
