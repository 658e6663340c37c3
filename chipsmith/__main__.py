"""``python -m chipsmith``: the same as the ``chipsmith`` command."""

from __future__ import annotations

import sys

from chipsmith.cli import main

if __name__ == "__main__":
    sys.exit(main())
