"""Named faults of the PIM bank unit; see :mod:`rtl.mutants`."""

from __future__ import annotations

from rtl.design import Design
from rtl.mutants import Mutant, MutantResult, run_mutants
from rtl.pim_bank import generate_pim_bank
from rtl.pim_params import PimBankParams

PIM_MUTANTS: tuple[Mutant, ...] = ()


def pim_mutant_designs() -> dict[str, Design]:
    """The small units that mutants are put into."""
    return {
        "int8": generate_pim_bank(PimBankParams(lanes=4, columns=8)),
        "fp16": generate_pim_bank(PimBankParams("neupims", "fp16", lanes=4, columns=8, tree_pipe=1)),
        "aim": generate_pim_bank(PimBankParams("aim", "bf16", lanes=4, columns=8)),
    }


def run_pim_mutants(seed: int = 1, simulator: str = "icarus") -> tuple[MutantResult, ...]:
    """Run all of them.

    Raises:
        MissingToolError: where the simulator is not installed.
    """
    return run_mutants(PIM_MUTANTS, seed, simulator, pim_mutant_designs)
