import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dse.conformance import check_sampler, results, search
from dse.objectives import Floats
from dse.samplers.base import Problem, Sampler
from dse.samplers.nsga2 import select
from dse.samplers.registry import sampler_class, samplers
from dse.space import Index, Space
from dse.study import Study
from models.chip import Chip
from workloads.errors import ChipsmithError, MissingToolError

NAMES = sorted(samplers())


@pytest.fixture(scope="module")
def mixed(chip: Chip) -> Space:
    """Numbers, names and a switch; a constraint that forbids a third of it."""
    return Space(
        chip,
        {
            "engines.npu.rows": {"log2": {"low": 8, "high": 256}},
            "engines.npu.cols": {"log2": {"low": 8, "high": 256}},
            "engines.npu.preload": ["overlapped", "serial"],
            "engines.npu.double_buffered": [True, False],
        },
        ["engines.npu.rows <= engines.npu.cols"],
    )


def test_the_samplers_are_those_files() -> None:
    assert NAMES == ["exhaustive", "gp", "nsga2", "qmc", "random", "sobol", "tpe"]


def test_an_unknown_sampler_names_the_nearest() -> None:
    with pytest.raises(ChipsmithError) as error:
        sampler_class("nsga")
    assert str(error.value) == (
        "sampler: got 'nsga'; did you mean 'nsga2'? known: exhaustive, gp, nsga2, qmc, random, sobol, tpe"
    )


QUICK = [name for name in NAMES if name != "gp"]


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_every_sampler_keeps_the_contract(name: str, objectives: int, mixed: Space) -> None:
    check_sampler(sampler_class(name), mixed, objectives)


@pytest.mark.trace
def test_the_gaussian_process_keeps_the_contract(mixed: Space) -> None:
    pytest.importorskip("torch", reason="the GP sampler needs PyTorch")
    # eight designs to start with, then one by the model: each costs seconds
    check_sampler(sampler_class("gp"), mixed, objectives=2, population=1, populations=9)


def test_the_gaussian_process_without_torch_is_a_missing_tool(mixed: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingToolError) as error:
        sampler_class("gp")(Problem(mixed, 2))
    assert str(error.value) == (
        "sampler gp; needs PyTorch, which is not installed: install it (python -m pip install torch; the CPU build "
        "will do) or choose tpe"
    )


def test_what_the_gaussian_process_is_told_is_finite_and_keeps_the_order(
    mixed: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    sampler: Any = sampler_class("gp")(Problem(mixed, 2))
    none = np.full((2, 2), np.nan)
    assert sampler.stand_in(none, np.array([np.inf, 2.0]))[0].tolist() == [[0, 0], [0, 0]]
    values = np.array([[1e-3, -50.0], [20.0, -2.0], [np.nan, np.nan]])
    logs, violation = sampler.stand_in(values, np.array([0.0, 0.5, np.inf]))
    assert (np.argsort(logs[:2], axis=0) == np.argsort(values[:2], axis=0)).all()
    assert logs[2].tolist() == logs[1].tolist()  # as bad as the worst
    assert violation.tolist() == [0.0, 0.5, 2.0]
    better = sampler.stand_in(np.array([[1e-4, -99.0], [np.nan, np.nan]]), np.zeros(2))[0]
    assert better[1].tolist() == logs[1].tolist()  # the worst of all so far


class _Forgetful(Sampler):
    """Draws from the global state, outside the space, and learns nothing."""

    name = "forgetful"
    default_population = 4
    outside = 0

    def ask(self) -> Index:
        return np.random.randint(0, 2, (4, 4)).astype(np.int64) + self.outside

    def tell(self, index: Index, values: Floats, violation: Floats) -> None:
        """Nothing."""


class _Outside(_Forgetful):
    outside = 5


def test_the_conformance_checks_catch_a_sampler_that_does_not_repeat(mixed: Space) -> None:
    free = Space(mixed.base, {p.path: list(p.values) for p in mixed.parameters})
    with pytest.raises(AssertionError, match="the same seed proposes other designs"):
        check_sampler(_Forgetful, free)


def test_the_conformance_checks_catch_an_index_out_of_range(mixed: Space) -> None:
    with pytest.raises(AssertionError, match="an index is out of range"):
        check_sampler(_Outside, mixed)


@pytest.mark.parametrize("name", ["exhaustive", "nsga2", "qmc", "random", "sobol"])
def test_searched_to_the_end_each_allowed_design_is_proposed_once(name: str, mixed: Space) -> None:
    told = search(sampler_class(name)(Problem(mixed, 2, seed=1, population=10, constraints=mixed.constraints)), 1000)
    rows = np.concatenate([index for index, _, _ in told])
    allowed = sum(int(Problem(mixed, 2, constraints=mixed.constraints).allowed(chunk).sum()) for chunk in mixed.grid())
    assert allowed == 21 * 4  # pairs with rows <= cols of 6 sizes, times the two switches
    assert len(rows) == allowed
    assert len({row.tobytes() for row in rows}) == allowed


def test_another_seed_gives_other_designs(mixed: Space) -> None:
    for name in ("nsga2", "qmc", "random", "sobol", "tpe"):
        first, second = (sampler_class(name)(Problem(mixed, 2, seed=s, population=8)).ask() for s in (1, 2))
        assert not np.array_equal(first, second)


@pytest.mark.parametrize("seed", [0, 3])
def test_quasi_random_designs_are_those_of_optuna(chip: Chip, seed: int) -> None:
    import optuna

    sizes = {"rows": 7, "cols": 99, "cores": 3}
    space = Space(chip, {f"engines.npu.{name}": list(range(1, n + 1)) for name, n in sizes.items()})
    ours = sampler_class("qmc")(Problem(space, 2, seed=seed, population=64)).ask()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        theirs = optuna.samplers.QMCSampler(qmc_type="halton", scramble=True, seed=seed)
    study = optuna.create_study(sampler=theirs)
    choices: dict[str, Any] = {name: optuna.distributions.IntDistribution(0, n - 1) for name, n in sizes.items()}
    asked = study.ask()
    trial = study.get_trials(deepcopy=False)[asked.number]
    rows = [theirs.sample_relative(study, trial, choices) for _ in range(80)]
    drawn = dict.fromkeys(tuple(row[name] for name in sizes) for row in rows)  # a design is proposed once
    assert [tuple(row) for row in ours.tolist()] == list(drawn)[:64]


def test_exhaustive_spreads_its_first_designs(chip: Chip) -> None:
    space = Space(chip, {"engines.npu.rows": list(range(1, 101)), "engines.npu.cols": list(range(1, 101))})
    first = sampler_class("exhaustive")(Problem(space, 2, population=100)).ask()
    quarters = np.histogram(first[:, 0], bins=4, range=(0, 100))[0]
    assert quarters.tolist() == [26, 24, 26, 24]


def test_exhaustive_refuses_a_space_beyond_its_arithmetic(chip: Chip) -> None:
    space = Space(chip, {"engines.npu.rows": [8, 16]})
    vars(space)["size"] = 4096**3  # making so many values takes seconds
    with pytest.raises(ChipsmithError) as error:
        sampler_class("exhaustive")(Problem(space, 2))
    assert str(error.value) == ("sampler exhaustive: got '68719476736 designs'; below 2147483648; use nsga2 or random")


def test_replay_refuses_populations_that_do_not_repeat(mixed: Space) -> None:
    sampler = sampler_class("random")(Problem(mixed, 2, seed=1, population=8))
    index = np.zeros((8, 4), dtype=np.int64)
    with pytest.raises(ChipsmithError) as error:
        sampler.replay(index, *results(index, 2))
    assert str(error.value) == (
        "sampler random; does not repeat the stored populations: another version of its library wrote the study"
    )


def test_selection_takes_fronts_then_room_then_the_least_violating() -> None:
    values = np.array([[1, 5], [2, 4], [3, 3], [5, 1], [6, 6], [np.nan, np.nan], [0, 0]], dtype=np.float64)
    violation = np.array([0, 0, 0, 0, 0, np.inf, 0.5])
    index = np.arange(7, dtype=np.int64)[:, None]
    kept = select(index, values, violation, 6)
    assert kept.index[:4, 0].tolist() == [0, 3, 2, 1]  # the ends, then by room: (3,3) has more than (2,4)
    assert kept.index[4:, 0].tolist() == [4, 6]
    assert kept.rank.tolist() == [0, 0, 0, 0, 1, 2]


def test_nsga2_beats_random_search_at_equal_cost(chip: Chip) -> None:
    sizes = list(range(1, 65))
    names = ("rows", "cols", "cores", "arrays")
    space = Space(chip, {f"engines.npu.{name}": sizes for name in names})

    def distance(name: str) -> float:
        told = search(sampler_class(name)(Problem(space, 1, seed=5, population=50)), 20)
        best = [np.nanmin(np.where(bad == 0, values[:, 0], np.nan)) for _, values, bad in told]
        return float(min(best))

    assert distance("nsga2") < 0.1 * distance("random")


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("cut", [8, 21])
def test_a_study_of_every_sampler_resumes_to_the_same_bits(
    name: str, cut: int, make_study: Callable[..., Study], tmp_path: Path
) -> None:
    """Cut after a population, and in the middle of one."""
    settings = {"sampler": name, "seed": 6, "population": 8}
    with make_study(store=tmp_path / "s.db", **settings) as first:
        first.run(cut)
    with make_study(store=tmp_path / "s.db", resume=True, **settings) as second:
        assert len(second) == cut
        second.run(48)
        found = second.trials
    with make_study(**settings) as undisturbed:
        undisturbed.run(48)
        assert found.equals(undisturbed.trials)
