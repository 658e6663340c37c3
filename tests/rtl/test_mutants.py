from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rtl.mutants import MUTANTS, Mutant, mutant_designs, mutate, run_mutant, run_mutants
from rtl.plan import PLAN
from rtl.simulate import BenchOptions, run_bench
from rtl.stimulus import BenchJob
from rtl.tools import Tool
from workloads.errors import ChipsmithError


def test_there_are_enough_and_their_names_differ() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 8
    assert {test for mutant in MUTANTS for test in mutant.tests} <= {row.test for row in PLAN}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_changes_exactly_one_file(mutant: Mutant) -> None:
    design = mutant_designs()[mutant.design]
    sources = mutate(design, mutant)
    changed = [name for name, text in design.sources.items() if sources[name] != text]
    assert len(changed) == 1


def test_a_mutant_that_no_longer_fits_is_refused() -> None:
    stale = replace(MUTANTS[0], old="no such text")
    with pytest.raises(ChipsmithError, match="must occur once, occurs 0 times"):
        mutate(mutant_designs()[stale.design], stale)


@pytest.mark.rtl
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_is_caught(mutant: Mutant, icarus: Tool, tmp_path: Path) -> None:
    result = run_mutant(mutant, mutant_designs()[mutant.design], tmp_path)
    assert result.caught, result.by


@pytest.mark.rtl
@pytest.mark.parametrize("name", mutant_designs())
def test_the_unchanged_designs_pass_those_tests(name: str, icarus: Tool, tmp_path: Path) -> None:
    tests = tuple({test for mutant in MUTANTS if mutant.design == name for test in mutant.tests})
    assert run_bench(BenchJob(mutant_designs()[name], 1), tmp_path, BenchOptions(tests=tests)).passed


@pytest.mark.rtl
def test_a_mutant_that_does_not_build_is_not_caught(icarus: Tool) -> None:
    broken = replace(MUTANTS[0], new="syntax error here")
    (result,) = run_mutants([broken])
    assert not result.caught
    assert result.by.startswith("not run: ")
