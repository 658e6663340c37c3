"""Start-up of one-shot commands: what numba would load but our kernels never use."""

from __future__ import annotations

import sys


def load_numba_without_blas() -> None:
    """Load numba without scipy.linalg, which it otherwise imports (0.2 s) to look for a BLAS.

    Only for a process that is ours alone: compiled code of this process cannot call BLAS afterwards, which no
    kernel does. Libraries are left as they are; where scipy.linalg is loaded already nothing happens.
    """
    if "scipy.linalg" in sys.modules:
        return
    import models.jit  # noqa: F401  (names the cache folder before numba is loaded)

    sys.modules["scipy.linalg"] = None  # type: ignore[assignment]  # None makes the import fail at once
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        del sys.modules["scipy.linalg"]
