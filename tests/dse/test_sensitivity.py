import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dse.plan import make_plan
from dse.sensitivity import Effect, Sensitivity, sensitivity
from dse.sensitivity_figure import ranked, sensitivity_figure
from dse.space import Space
from dse.workload import Workload
from models.chip import Chip, ChipTable
from workloads.errors import ChipsmithError, MissingToolError
from workloads.trace import Trace

ROWS, COLS, CORES = "engines.npu.rows", "engines.npu.cols", "engines.npu.cores"


@pytest.fixture
def small(chip: Chip) -> Space:
    """Every design of the made-up evaluator is legal here: 4 x 4 x 3."""
    return Space(chip, {ROWS: [4, 8, 16, 32], COLS: [4, 8, 16, 32], CORES: [1, 2, 4]})


def exact(space: Space, trace: Trace, measure: str, evaluator: Any) -> tuple[list[float], list[float]]:
    """First-order and total indices from the variance of the whole grid, by their definitions."""
    plan = make_plan(space, Workload.of(trace), [measure], evaluator=evaluator)
    grid = np.concatenate(list(space.grid()))
    values = plan.evaluate(grid).values[:, plan.columns[0]].reshape(space.cardinalities)
    axes = range(values.ndim)
    first = [values.mean(axis=tuple(a for a in axes if a != j)).var() / values.var() for j in axes]
    total = [values.var(axis=j).mean() / values.var() for j in axes]
    return first, total


@pytest.mark.parametrize("measure", ["area_mm2", "tpot_s", "energy_per_token_j"])
def test_the_indices_are_those_of_the_whole_grid(small: Space, trace: Trace, evaluator: Any, measure: str) -> None:
    first, total = exact(small, trace, measure, evaluator)
    found = sensitivity(small, trace, [measure], base_samples=4096, evaluator=evaluator)
    assert found.designs == small.size == 48
    for effect, one, whole in zip(found.effects, first, total, strict=True):
        assert effect.first == pytest.approx(one, abs=0.03)
        assert effect.total == pytest.approx(whole, abs=0.03)
        assert 0 < effect.first_conf < 0.1
        assert abs(effect.first - one) < 2 * effect.first_conf
        assert abs(effect.total - whole) < 2 * effect.total_conf


def test_an_additive_measure_has_equal_indices_that_sum_to_one(small: Space, trace: Trace) -> None:
    def additive(table: ChipTable, trace: Trace, mapping: str = "auto", fidelity: str = "tile") -> Any:
        rows, cols = (table.column(path).astype(np.float64) for path in (ROWS, COLS))
        ok = np.ones(table.n)
        return SimpleNamespace(latency_s=rows + 3 * cols, energy_j=ok, area_mm2=rows * 2, status=ok * 0, reasons=())

    found = sensitivity(small, trace, ["tpot_s", "energy_per_token_j"], base_samples=2048, evaluator=additive)
    rows, cols, cores = found.of("tpot_s")
    assert (rows.first, rows.total) == pytest.approx((0.1, 0.1), abs=0.01)
    assert (cols.first, cols.total) == pytest.approx((0.9, 0.9), abs=0.02)
    assert (cores.first, cores.total) == pytest.approx((0, 0), abs=1e-12)
    assert rows.trend is not None and cols.trend is not None
    assert 0.2 < rows.trend < cols.trend <= 1
    assert [(e.first, e.total, e.trend) for e in found.of("energy_per_token_j")] == [(0.0, 0.0, 0.0)] * 3


def test_the_logarithm_of_a_product_is_additive(small: Space, trace: Trace) -> None:
    def product(table: ChipTable, trace: Trace, mapping: str = "auto", fidelity: str = "tile") -> Any:
        time = np.prod([table.column(path).astype(np.float64) for path in (ROWS, COLS)], axis=0)
        return SimpleNamespace(latency_s=time, energy_j=time, area_mm2=time, status=time * 0, reasons=())

    plain = sensitivity(small, trace, ["tpot_s"], base_samples=1024, evaluator=product)
    logs = sensitivity(small, trace, ["tpot_s"], base_samples=1024, evaluator=product, logarithm=True)
    assert plain.effects[0].total - plain.effects[0].first > 0.1
    assert logs.effects[0].total - logs.effects[0].first == pytest.approx(0, abs=0.02)
    assert logs.logarithm


def test_the_same_seed_gives_the_same_bits_whatever_the_global_state(
    small: Space, trace: Trace, evaluator: Any
) -> None:
    state = np.random.get_state()
    try:
        found = []
        for global_seed, seed in ((1, 0), (2, 0), (2, 1)):
            np.random.seed(global_seed)
            found.append(sensitivity(small, trace, ["tpot_s"], base_samples=64, seed=seed, evaluator=evaluator))
    finally:
        np.random.set_state(state)
    assert found[0] == found[1]
    assert found[0].effects != found[2].effects


def test_rows_with_designs_that_cannot_run_are_dropped_and_counted(space: Space, trace: Trace, evaluator: Any) -> None:
    seen: list[tuple[int, int]] = []
    found = sensitivity(space, trace, ["tpot_s"], base_samples=512, evaluator=evaluator,
                        progress=lambda done, of: seen.append((done, of)))  # fmt: skip
    assert 0 < found.dropped < 512
    assert seen[-1] == (found.designs, found.designs)
    with pytest.raises(ChipsmithError, match=r"^sensitivity: got \d+; of 64 rows only so many consist of designs that"):
        sensitivity(space, trace, ["tpot_s"], base_samples=64, evaluator=evaluator)


def test_constraints_do_not_make_parameters_depend_on_each_other(chip: Chip, trace: Trace, evaluator: Any) -> None:
    sizes = {ROWS: [4, 8, 16], COLS: [4, 8, 16], CORES: [1, 2]}
    free = sensitivity(Space(chip, sizes), trace, ["tpot_s"], base_samples=64, evaluator=evaluator)
    bound = sensitivity(Space(chip, sizes, [f"{ROWS} <= {COLS}", "area_mm2 <= 1"]), trace, ["tpot_s"],
                        base_samples=64, evaluator=evaluator)  # fmt: skip
    assert bound.effects == free.effects


@pytest.mark.parametrize("count", [0, 1, 3, 1000, 1 << 17])
def test_an_illegal_number_of_samples_is_refused(small: Space, trace: Trace, count: int) -> None:
    with pytest.raises(ChipsmithError) as error:
        sensitivity(small, trace, ["tpot_s"], base_samples=count)
    assert str(error.value) == f"base_samples: got {count}; a power of two from 2 to 65536"


def test_formats_of_unequal_accuracy_need_a_table_here_too(chip: Chip, trace: Trace, evaluator: Any) -> None:
    space = Space(chip, {"engines.npu.weight_dtype": ["fp16", "int8"], ROWS: [4, 8]})
    with pytest.raises(ChipsmithError, match=r"^space varies engines.npu.weight_dtype; give a quality table"):
        sensitivity(space, trace, ["tpot_s"], base_samples=64, evaluator=evaluator)
    found = sensitivity(space, trace, ["tpot_s"], base_samples=64, iso_quality="none", evaluator=evaluator)
    assert found.warning == "not at equal model quality: weight_dtype varies and accuracy was not judged"
    assert found.effects[0].trend is None  # names have no order


def test_a_missing_salib_is_a_missing_tool(
    small: Space, trace: Trace, evaluator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dse.sensitivity

    monkeypatch.setattr(dse.sensitivity, "find_spec", lambda name: None)
    with pytest.raises(MissingToolError) as error:
        sensitivity(small, trace, ["tpot_s"], evaluator=evaluator)
    assert str(error.value) == "sensitivity; needs SALib, which is not installed: python -m pip install SALib"


def made_up(measures: tuple[str, ...]) -> Sensitivity:
    paths = (ROWS, COLS)
    effects = tuple(
        Effect(m, p, 0.1 * i, 0.02, 0.2 * i, 0.03, (-1.0, 0.0, None)[i % 3])
        for i, (m, p) in enumerate(itertools.product(measures, paths))
    )
    return Sensitivity("c", "s", "w", paths, measures, effects, 64, 3, 99, False, 0, "")


def test_parameters_are_ranked_by_their_largest_total_index() -> None:
    assert ranked(made_up(("area_mm2", "tpot_s"))) == (COLS, ROWS)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_picture_has_a_panel_a_measure(tmp_path: Path, count: int) -> None:
    names = ("area_mm2", "tpot_s", "edp_js", "power_w", "latency_s")[:count]
    sensitivity_figure(made_up(names), tmp_path / "s.png")
    assert (tmp_path / "s.png").stat().st_size > 15_000
