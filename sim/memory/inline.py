"""Kernels that are always merged into the kernel that calls them.

The channel kernels are many short functions over one array. As real calls, each would pass the array's seven words and
save registers, which costs more than its work; merged, the loop over commands is twice as fast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from models.jit import Kernel, cache_folder, kernel, load_numba

F = TypeVar("F", bound=Callable[..., Any])


class InlinedKernel(Kernel):
    """A kernel whose compiled form is marked as always inline."""

    @property
    def compiled(self) -> Any:
        """Numba's dispatcher of this kernel."""
        if self._compiled is None:
            numba = load_numba()
            options = {"cache": cache_folder() is not None, "error_model": "numpy", "forceinline": True}
            self._compiled = numba.njit(**options)(self.function)
        return self._compiled


def inlined(function: F) -> F:
    """Compile a kernel into its callers; plain Python where kernels are."""
    return cast(F, InlinedKernel(function, parallel=False)) if isinstance(kernel(function), Kernel) else function
