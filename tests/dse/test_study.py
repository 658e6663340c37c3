import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dse.pareto import non_dominated
from dse.space import Space
from dse.study import Progress, Study
from dse.workload import Workload
from models.chip import Chip
from workloads.errors import ChipsmithError

Make = Callable[..., Study]
ROWS, COLS, CORES = "engines.npu.rows", "engines.npu.cols", "engines.npu.cores"


def designs(study: Study) -> list[tuple[int, ...]]:
    return [tuple(row) for row in study.trials[[ROWS, COLS, CORES]].to_numpy().tolist()]


def test_an_exhaustive_study_visits_every_design_once(make_study: Make, evaluator: Any) -> None:
    with make_study(sampler="exhaustive", population=50) as study:
        state = study.run()
        assert (state.designs, state.new, len(study)) == (245, 245, 245)
        assert len(set(evaluator.asked)) == len(evaluator.asked) == 245
        trials = study.trials
    assert trials["population"].value_counts().to_dict() == {0: 50, 1: 50, 2: 50, 3: 50, 4: 45}
    assert trials["number"].tolist() == list(range(245))
    assert set(trials[trials.status == 2].reason) == {"larger than a reticle"}
    assert trials.feasible.sum() == state.feasible == (trials.status == 0).sum()


def test_the_front_is_that_of_all_trials(make_study: Make) -> None:
    with make_study(sampler="exhaustive") as study:
        study.run()
        trials, front = study.trials, study.front()
    fine = trials[trials.feasible]
    expected = fine[non_dominated(fine[["area_mm2", "tpot_s"]].to_numpy())].sort_values(["area_mm2", "tpot_s"])
    assert front["number"].tolist() == expected["number"].tolist()
    assert front.columns.tolist() == [
        "number", "population", ROWS, COLS, CORES, "area_mm2", "energy_per_token_j", "throughput_tokens_per_s",
        "tpot_s", "edp_js", "power_w", "latency_s",
    ]  # fmt: skip


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixture has no state
@given(seed=st.integers(0, 1000), cut=st.integers(1, 90))
def test_the_front_is_never_dominated_and_its_hypervolume_never_falls(make_study: Make, seed: int, cut: int) -> None:
    with make_study(seed=seed) as study:
        states: list[Progress] = []
        study.run(cut, progress=states.append)
        study.run(cut + 40, progress=states.append)
        assert all(b.hypervolume >= a.hypervolume for a, b in itertools.pairwise(states))
        counts, curve = study.hypervolume_curve()
        assert (np.diff(curve) >= 0).all()
        assert curve[-1] == study.hypervolume()
        assert counts[-1] == len(study) == cut + 40
        front = study.front()[["area_mm2", "tpot_s"]].to_numpy()
    assert non_dominated(front).all()


@pytest.mark.parametrize("sampler", ["exhaustive", "nsga2", "random", "sobol", "tpe"])
def test_one_seed_gives_one_study(make_study: Make, sampler: str) -> None:
    frames = []
    for _ in range(2):
        with make_study(sampler=sampler, seed=7) as study:
            study.run(40)
            frames.append(study.trials)
    pd.testing.assert_frame_equal(frames[0], frames[1], check_exact=True)


@pytest.mark.parametrize("sampler", ["exhaustive", "nsga2", "random", "sobol", "tpe"])
@pytest.mark.parametrize("cuts", [(16, 32, 50), (5, 21, 37, 50)])
def test_a_study_resumed_is_the_study_undisturbed(
    make_study: Make, evaluator: Any, tmp_path: Path, sampler: str, cuts: tuple[int, ...]
) -> None:
    for step, cut in enumerate(cuts):
        with make_study(sampler=sampler, store=tmp_path / "s.db", resume=step > 0) as study:
            study.run(cut)
            assert len(study) == cut
            resumed = study.trials
    assert len(evaluator.asked) == len(set(evaluator.asked)) == 50
    with make_study(sampler=sampler) as study:
        study.run(50)
        pd.testing.assert_frame_equal(study.trials, resumed, check_exact=True)


def test_a_budget_is_kept_exactly(make_study: Make) -> None:
    with make_study() as study:
        assert study.run(21).designs == 21
        assert study.run(21).new == 0
        assert study.run(22).new == 1


def test_a_search_ends_when_the_space_is_used_up(make_study: Make) -> None:
    for sampler in ("nsga2", "random", "sobol"):
        with make_study(sampler=sampler, seed=2) as study:
            assert study.run(10_000).designs == 245


def test_a_sampler_that_repeats_itself_ends_too(make_study: Make, chip: Chip) -> None:
    space = Space(chip, {ROWS: [8, 16], COLS: [8, 16], CORES: [1, 2]}, [f"{ROWS} <= {COLS}"])
    with make_study(sampler="tpe", space=space) as study:
        assert study.run(100).designs == 8


def test_time_is_a_budget_too(make_study: Make) -> None:
    with make_study() as study:
        assert study.run(budget_s=1e-9).new == 0


@pytest.mark.parametrize(
    ("budget", "text"),
    [
        ({}, "budget; give a number of designs or of seconds; only exhaustive needs none"),
        ({"budget_designs": 0}, "budget_designs: got 0; at least 1"),
        ({"budget_s": 0.0}, "budget_s: got 0.0; more than 0"),
        ({"budget_s": float("nan")}, "budget_s: got nan; more than 0"),
    ],
)
def test_an_illegal_budget_is_refused(make_study: Make, budget: dict[str, Any], text: str) -> None:
    with make_study() as study, pytest.raises(ChipsmithError) as error:
        study.run(**budget)
    assert str(error.value) == text


def test_constraints_over_fields_spare_the_evaluator(make_study: Make, evaluator: Any) -> None:
    with make_study(constraints=[f"{ROWS} <= {COLS}"], sampler="exhaustive") as study:
        study.run()
        assert len(evaluator.asked) == len(study) == 28 * 5
        assert all(rows <= cols for rows, cols, _ in evaluator.asked)
        told = study.plan.evaluate(np.array([[3, 1, 0], [1, 3, 0]]))
    assert told.status.tolist() == [-1, 0]
    assert told.reasons == (f"violates {ROWS} <= {COLS}", "")
    assert told.violation.tolist() == [np.inf, 0.0]
    assert len(evaluator.asked) == 28 * 5 + 1


def test_constraints_over_objectives_keep_designs_off_the_front(make_study: Make) -> None:
    with make_study(constraints=["area_mm2 <= 50", "tpot_s * 1000 <= 10"], sampler="exhaustive") as study:
        study.run()
        trials, front = study.trials, study.front()
    expected = (trials.status == 0) & (trials.area_mm2 <= 50) & (trials.tpot_s * 1000 <= 10)
    assert trials.feasible.tolist() == expected.tolist()
    assert 0 < expected.sum() < 245
    assert front.area_mm2.max() <= 50
    large = trials[(trials.status == 0) & (trials.area_mm2 > 50)].iloc[0]
    assert large.reason == "violates area_mm2 <= 50"
    assert large.violation >= large.area_mm2 / 50 - 1


def test_a_maximised_objective_is_maximised(make_study: Make) -> None:
    with make_study(objectives=["throughput_tokens_per_s", "area_mm2"], sampler="exhaustive") as study:
        study.run()
        front, trials = study.front(), study.trials
    assert front.throughput_tokens_per_s.iloc[0] == trials.throughput_tokens_per_s.max()
    assert front.throughput_tokens_per_s.is_monotonic_decreasing
    assert front.area_mm2.is_monotonic_decreasing


def test_a_single_objective_has_one_best_design(make_study: Make) -> None:
    with make_study(objectives=["edp_js"], sampler="exhaustive") as study:
        study.run()
        assert study.front().edp_js.tolist() == [study.trials.edp_js.min()]


def test_prefill_and_decode_are_measured_together(make_study: Make, workload: Workload) -> None:
    with make_study(workload=workload, objectives=["ttft_s", "tpot_s"], sampler="exhaustive") as study:
        study.run()
        row = study.trials.iloc[0]
    assert row.ttft_s == pytest.approx(64 * row.tpot_s)
    assert row.latency_s == row.ttft_s + row.tpot_s * 10
    assert row.throughput_tokens_per_s == 16 / row.tpot_s


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"objectives": []}, "objectives; a list of at least one objective"),
        ({"objectives": "area_mm2"}, "objectives: got 'area_mm2'; a list of at least one objective"),
        ({"objectives": ["tpot_s", "tpot_s"]}, "objectives: got ['tpot_s', 'tpot_s']; each objective once"),
        ({"objectives": ["ttft_s"]}, "objective: got 'ttft_s'; needs a prefill trace, which the workload lacks"),
        ({"constraints": ["ttft_s <= 1"]}, "objective: got 'ttft_s'; needs a prefill trace, which the workload lacks"),
        ({"constraints": ["area <= 1"]}, "constraint: got 'area'; did you mean 'area_mm2'? known: area_mm2, edp_js, "
         "energy_per_token_j, engines.npu.cols, engines.npu.cores, engines.npu.rows, latency_s, power_w, "
         "throughput_tokens_per_s, tpot_s"),
        ({"constraints": ["engines.npu.weight_dtype <= 1"]},
         "constraint on engines.npu.weight_dtype: got 'fp16'; constraints compare numbers"),
        ({"seed": -1}, "seed: got -1; a whole number from 0 to 4294967295"),
        ({"seed": 1.5}, "seed: got 1.5; a whole number from 0 to 4294967295"),
        ({"population": -1}, "population: got -1; at least 1, or 0 for the sampler's own"),
        ({"reference": {"area_mm2": 1.0}},
         "reference: got {'area_mm2': 1.0}; one number for each of area_mm2, tpot_s"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(make_study: Make, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ChipsmithError) as error:
        make_study(**changes)
    assert str(error.value) == text


def test_an_unknown_field_in_a_constraint_names_the_nearest(make_study: Make) -> None:
    with pytest.raises(ChipsmithError, match=r"^engines\.npu\.row: unknown field; did you mean 'rows'\?"):
        make_study(constraints=["engines.npu.row <= 3"])


def test_a_number_that_is_none_names_design_and_objective(make_study: Make, tmp_path: Path) -> None:
    def broken(table: Any, trace: Any, mapping: str = "auto", fidelity: str = "tile") -> Any:
        from types import SimpleNamespace

        ok = np.ones(table.n)
        return SimpleNamespace(latency_s=np.where(table.column(CORES) == 4, np.nan, ok), energy_j=ok, area_mm2=ok,
                               status=np.zeros(table.n), reasons=())  # fmt: skip

    with make_study(evaluator=broken, sampler="exhaustive", store=tmp_path / "s.db") as study:
        with pytest.raises(ChipsmithError) as error:
            study.run()
        assert len(study) == 0
    assert str(error.value) == (
        f"tpot_s of design {ROWS}=8, {COLS}=64, {CORES}=4: got nan; the evaluator must give a finite number, or a "
        "status that says why not"
    )


def test_ask_and_tell_by_hand_equal_run(make_study: Make, evaluator: Any) -> None:
    with make_study(seed=3) as by_hand, make_study(seed=3) as by_itself:
        for _ in range(3):
            population = by_hand.ask()
            assert by_hand.ask() is population
            fresh = by_hand.space.decode(population.index[population.fresh])
            found = evaluator(fresh, by_hand.plan.workload.decode)
            by_hand.tell(
                population,
                {"area_mm2": found.area_mm2, "tpot_s": found.latency_s},
                found.status.tolist(),
                [found.reasons[code] for code in found.status],
            )
        by_itself.run(48)
        assert designs(by_hand) == designs(by_itself)
        assert by_hand.front()["number"].tolist() == by_itself.front()["number"].tolist()
        assert by_hand.trials.power_w.isna().all()


def test_tell_checks_what_it_is_told(make_study: Make) -> None:
    with make_study() as study:
        population = study.ask()
        with pytest.raises(ChipsmithError) as error:
            study.tell(population, {"area": [1.0]})
        assert str(error.value).startswith("values of area: got 1; 1 numbers of (")
        with pytest.raises(ChipsmithError, match=r"^tpot_s of design .*: got nan; the evaluator must give a finite"):
            study.tell(population, {"area_mm2": [1.0]})
        study.tell(population, {"area_mm2": [1.0] * 16, "tpot_s": [1.0] * 16})
        with pytest.raises(ChipsmithError) as error:
            study.tell(population, {"area_mm2": [1.0], "tpot_s": [1.0]})
        assert str(error.value) == "population: got 0; tell the population that was asked last"


def test_the_hypervolume_reference_is_fixed_by_the_first_results(make_study: Make, tmp_path: Path) -> None:
    with make_study(store=tmp_path / "s.db") as study:
        assert study.reference is None
        assert study.hypervolume() == 0.0
        study.run(16)
        first = study.reference
        fine = study.trials[study.trials.feasible]
        assert first == pytest.approx({"area_mm2": fine.area_mm2.max() * 1.1, "tpot_s": fine.tpot_s.max() * 1.1})
        study.run(100)
        value = study.hypervolume()
    with make_study(store=tmp_path / "s.db", resume=True) as study:
        assert study.reference == first
        assert study.hypervolume() == value


def test_a_given_reference_is_used(make_study: Make) -> None:
    point = {"tpot_s": 0.1, "area_mm2": 200.0}
    with make_study(sampler="exhaustive", reference=point) as study:
        study.run()
        assert study.reference == {"area_mm2": 200.0, "tpot_s": 0.1}
        assert 0.5 < study.hypervolume() < 1


def test_ties_and_contenders(make_study: Make) -> None:
    with make_study(sampler="exhaustive") as study:
        study.run()
        front = study.front(tie_pct=0)
        distinct = front[["area_mm2", "tpot_s"]].drop_duplicates()
        assert front["tie"].nunique() == len(distinct) < len(front)  # rows and columns may be swapped
        assert study.front(tie_pct=1e6)["tie"].unique().tolist() == [0]
        wide = study.front(tie_pct={"area_mm2": 20, "tpot_s": 20})["tie"]
        assert 1 < wide.nunique() < len(distinct)
        assert study.contenders(0).tolist() == []
        close = study.contenders(5)
        assert 0 < len(close) < len(study)
        assert not set(close) & set(front["number"])
        trials = study.trials
        for number in close:
            own, best = (frame[["area_mm2", "tpot_s"]].to_numpy() for frame in (trials.iloc[[number]], front))
            assert (np.abs(own - best) <= 0.05 * (own + best)).all(axis=1).any()


def test_ties_refuse_what_is_no_objective(make_study: Make) -> None:
    with make_study() as study:
        study.run(16)
        with pytest.raises(ChipsmithError) as error:
            study.front(tie_pct={"power_w": 1})
        assert str(error.value) == "tie_pct: got 'power_w'; objectives of the study: area_mm2, tpot_s"
        with pytest.raises(ChipsmithError, match=r"^tie_pct: got -1; at least 0$"):
            study.front(tie_pct=-1)


def test_the_front_simulated_again_is_the_same(make_study: Make, workload: Workload) -> None:
    with make_study(workload=workload, sampler="exhaustive") as study:
        study.run()
        seen: list[tuple[int, int]] = []
        found = study.verify_front(lambda done, total: seen.append((done, total)))
        assert found.largest_difference == 0.0
        assert found.worst == ""
        assert found.numbers.tolist() == study.front()["number"].tolist()
        assert seen[-1] == (len(found.numbers), len(found.numbers))


def test_a_simulator_that_disagrees_is_reported(make_study: Make) -> None:
    from types import SimpleNamespace

    def off(trace: Any, chip: Chip, mapping: str = "auto", fidelity: str = "tile") -> Any:
        if chip.engines["npu"].cores == 1:  # type: ignore[attr-defined]  # a systolic engine has cores
            raise ChipsmithError("chip", None, "no")
        return SimpleNamespace(latency_s=1.0, energy_j=1.0, area_mm2=1.0)

    with make_study(sampler="exhaustive", simulator=off, constraints=[f"{CORES} >= 2"]) as study:
        study.run()
        best = study.front().iloc[-1]
        found = study.verify_front()
    assert found.largest_difference > 0
    assert found.worst.startswith("design ")
    assert found.differences[-1] >= abs(best.area_mm2 - 1)
    with make_study(sampler="exhaustive", simulator=off) as study:
        study.run()
        found = study.verify_front()
    assert found.largest_difference == np.inf
    assert found.worst.endswith("the simulator refuses it: chip; no")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"seed": 2}, "seed: got '2'; the stored study has '0'"),
        ({"objectives": ["tpot_s", "area_mm2"]},
         "objectives: got 'tpot_s, area_mm2'; the stored study has 'area_mm2, tpot_s'"),
        ({"constraints": ["area_mm2 <= 9"]}, "constraints: got 'area_mm2 <= 9'; the stored study has ''"),
        ({"sampler": "random"}, "sampler: got 'random, population 16'; the stored study has 'nsga2, population 16'"),
        ({"fidelity": "bound"}, "evaluation: got 'FakeEvaluator, mapping auto, fidelity bound'; the stored study has "
         "'FakeEvaluator, mapping auto, fidelity tile'"),
    ],
)  # fmt: skip
def test_another_study_is_not_resumed(make_study: Make, tmp_path: Path, changes: dict[str, Any], what: str) -> None:
    path = tmp_path / "s.db"
    make_study(store=path).close()
    with pytest.raises(ChipsmithError) as error:
        make_study(store=path, resume=True, **changes)
    assert str(error.value) == f"{path}: {what}; use the same or name another file"


def test_another_space_or_workload_is_not_resumed(
    make_study: Make, tmp_path: Path, chip: Chip, workload: Workload
) -> None:
    path = tmp_path / "s.db"
    make_study(store=path).close()
    for name, value in (("space", Space(chip, {ROWS: [4, 8], COLS: [4], CORES: [1]})), ("workload", workload)):
        with pytest.raises(ChipsmithError, match=rf": {name}: got '[0-9a-f]{{16}}'; the stored study has '"):
            make_study(store=path, resume=True, **{name: value})


def test_an_interrupted_study_resumes(make_study: Make, evaluator: Any, tmp_path: Path) -> None:
    def interrupt(state: Progress) -> None:
        if state.designs >= 48:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), make_study(store=tmp_path / "s.db") as study:
        study.run(200, progress=interrupt)
    with make_study(store=tmp_path / "s.db", resume=True) as study:
        assert len(study) == 48
        study.run(100)
        resumed = designs(study)
    assert len(evaluator.asked) == len(set(evaluator.asked)) == 100
    with make_study() as study:
        study.run(100)
        assert designs(study) == resumed


def test_the_store_says_what_the_study_was(make_study: Make, tmp_path: Path) -> None:
    with make_study(store=tmp_path / "s.db") as study:
        study.run(16)
        manifest = study.manifest()
    assert manifest["sampler"] == "nsga2, population 16"
    assert manifest["_parameters"] == f"{ROWS}, {COLS}, {CORES}"
    assert manifest["_chipsmith_version"].count(".") == 2
    assert len(manifest["space"]) == len(manifest["workload"]) == 16
