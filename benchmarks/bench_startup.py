"""How long a user waits before anything happens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.measure import Row, timed

_SCRIPT = str(Path(sys.executable).with_name("chipsmith"))


def _row(what: str, *command: str, subject: str = "chipsmith") -> Row:
    return Row(what, subject, timed(lambda: subprocess.run(command, check=True, capture_output=True)))


def main() -> list[Row]:
    """Start of the interpreter alone, of the package and of the command, in fresh processes."""
    return [
        _row("start", sys.executable, "-c", "pass", subject="python alone"),
        _row("start", sys.executable, "-c", "import chipsmith"),
        _row("chipsmith --help", _SCRIPT, "--help"),
        _row("chipsmith doctor", _SCRIPT, "doctor"),
    ]
