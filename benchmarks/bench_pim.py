"""PIM commands and products a second, beside what the published command-level simulators reach."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.measure import Row, timed_both
from sim.pim.operators import Settings, decode_attention, gemv, instruction_stream
from sim.pim.result import PimResult

_SETTINGS = Settings(refresh_phase=0.0)
_MAC_STREAM = [["repeat", 1024, [["MAC_ABK", 64, "row=i"]]]]
_CASES: tuple[tuple[str, str, Callable[[], PimResult]], ...] = (
    ("HBM-PIM, 4096 x 1024", "2.4 % off on average (22 records)", lambda: gemv("hbm_pim", 4096, 1024)),
    ("AiM, 65,536 columns", "the same cycles", lambda: instruction_stream("aim", _MAC_STREAM)),
    (
        "AttAcc, 16 heads x 2048 in the banks",
        "0.8 % off on average (27 records)",
        lambda: decode_attention("attacc_bank", 16, 2048, 128, settings=_SETTINGS),
    ),
)
#: CPU seconds of a whole process that does the same in others, measured by us on one core (reference records).
_PEERS = (
    ("HBM-PIM, 4096 x 1024", "PIMSimulator b464dde", 0.389, "stored; 64 channels, data too"),
    ("AiM, 65,536 columns", "AiM simulator 0f28a07", 2.221, "stored; 32 channels"),
    ("AttAcc, 16 heads x 2048 in the banks", "AttAcc command model c600051", 0.64, "stored; 16 channels"),
)


def _what(case: str) -> str:
    return f"PIM commands, {case}"


def _ours(case: str, note: str, work: Callable[[], PimResult]) -> Row:
    commands = sum(work().commands.values())
    wall, cpu = timed_both(work, repeats=5)
    return Row(_what(case), "chipsmith", wall, commands, "commands", f"{note}; channels that do the same run once", cpu)


def main() -> list[Row]:
    """Our rates and theirs, commands of all channels."""
    ours = [_ours(*case) for case in _CASES]
    items = {row.what: row.items for row in ours}
    peers = [
        Row(_what(case), tool, (seconds,), items[_what(case)], "commands", note, (seconds,))
        for case, tool, seconds, note in _PEERS
    ]
    return [*ours, *peers]
