"""A few of the inputs of ``python -m benchmarks.fuzz``, which makes as many as are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import fuzz
from workloads.errors import ChipsmithError

pytestmark = pytest.mark.xdist_group("fuzz")


@pytest.mark.parametrize("name", fuzz.names())
def test_mutated_files_give_a_result_or_a_clear_error(name: str) -> None:
    found = fuzz.run_target(name, 60, seed=1)
    assert found.failed == ()
    assert found.results + found.refused == 60
    assert 0 < found.peak_mb < fuzz.MEMORY_LIMIT_MB


@pytest.mark.parametrize("name", fuzz.names())
def test_what_the_mutations_start_from_is_legal(name: str, tmp_path: Path) -> None:
    target = fuzz._TARGETS[name]()
    assert target.seeds
    for seed in target.seeds:
        path = tmp_path / f"input{target.suffix}"
        path.write_bytes(seed)
        assert target.read(path) is not None


def test_mutations_change_files_and_repeat() -> None:
    seeds = (b"name: a\nrows: 16\ncols: 32\n",)
    made = [fuzz.mutated(seeds, np.random.default_rng((0, index))) for index in range(50)]
    assert made == [fuzz.mutated(seeds, np.random.default_rng((0, index))) for index in range(50)]
    assert len(set(made)) > 40


def test_other_exceptions_are_counted_as_failures(tmp_path: Path) -> None:
    def read(path: Path) -> object:
        size = len(path.read_bytes())
        if size % 3 == 0:
            raise ChipsmithError("input", size, "anything else")
        return 1 // (size % 3 - 1)

    results, refused, failed = fuzz.feed(fuzz.Target(".x", (b"abcdefgh" * 9,), read), 40, 0, tmp_path)
    assert results + refused + len(failed) == 40
    assert min(results, refused, len(failed)) > 0
    assert "ZeroDivisionError: integer division or modulo by zero (test_fuzz.py:" in failed[0]
