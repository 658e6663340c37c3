"""The search on the project's own simulator: small, because every design is also simulated alone."""

from pathlib import Path

import numpy as np
import pytest

from chipsmith.cli import main
from dse.plan import make_plan
from dse.space import Space
from dse.study import Study
from dse.workload import Workload
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.errors import ChipsmithError

SPACES = Path(__file__).parents[2] / "dse" / "spaces"
TINY = """
chip: tpu_v4
parameters:
  engines.npu.rows: [16, 64]
  engines.npu.cols: {same_as: engines.npu.rows}
  engines.npu.cores: [1, 4]
  engines.npu.spad_bytes: [4096, 1048576]
"""


@pytest.fixture(scope="module")
def work() -> Workload:
    return Workload(build_trace("gpt2", Batch.prefill([64])), build_trace("gpt2", Batch.decode(2, 64)), 4)


def test_every_design_simulated_alone_gives_the_same_bits(work: Workload) -> None:
    space = Space(
        "tpu_v4",
        {
            "engines.npu.rows": [8, 32],
            "engines.npu.cols": [16, 128],
            "engines.npu.spad_bytes": [65536, 4194304],
            "engines.npu.clock_hz": [7.0e8, 1.1e9],
            "memories.dram.bandwidth_bytes_per_s": [1.0e11, 9.0e11],
        },
    )
    with Study(space, work, ["area_mm2", "ttft_s", "tpot_s", "energy_per_token_j"], sampler="exhaustive") as study:
        assert study.run().feasible == 32
        found = study.verify_front()
        assert len(found.numbers) >= 8
        assert found.largest_difference == 0.0
        assert study.evidence_pct()["tpot_s"] == study.evidence_pct()["ttft_s"] > 0


def test_a_design_that_cannot_run_says_why(work: Workload) -> None:
    space = Space("tpu_v4", {"memories.dram.capacity_bytes": [1 << 20, 1 << 34]})
    told = make_plan(space, work, ["tpot_s"]).evaluate(np.array([[0], [1]]))
    assert (told.status != 0).tolist() == [True, False]
    assert told.reasons[0] != ""
    assert told.reasons[1] == ""
    assert np.isnan(told.values[0]).all()


def test_the_stored_model_is_part_of_the_study(work: Workload, tmp_path: Path) -> None:
    space = Space("tpu_v4", {"engines.npu.rows": [8, 16]})
    with Study(space, work, ["tpot_s"], store=tmp_path / "s.db") as study:
        assert study.manifest()["evaluation"] == "sim.batch.evaluate, mapping auto, fidelity tile"
        assert len(study.manifest()["model"]) == 16


@pytest.mark.parametrize("name", sorted(p.name for p in SPACES.glob("*.yaml")))
def test_the_example_spaces_load(name: str) -> None:
    space = Space.from_yaml(SPACES / name)
    assert space.size > 100
    varied = {"formats.yaml": ("workload.formats",), "sparsity.yaml": ("workload.sparsity",)}
    assert space.varied_precision == varied.get(name, ())


def explore(tmp_path: Path, *more: str) -> int:
    (tmp_path / "tiny.yaml").write_text(TINY)
    work = ["--model", "gpt2", "--batch", "2", "--context", "64"]
    return main(["explore", str(tmp_path / "tiny.yaml"), *work, "--sampler", "exhaustive", *more])


def test_the_command_prints_a_verified_front(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ("--figure", str(tmp_path / "front.png"), "--trials", str(tmp_path / "trials.csv"))
    assert explore(tmp_path, "--study", str(tmp_path / "s.db"), *files) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split()[:4] == ["number", "rows", "cores", "spad_bytes"]
    assert "verification  every design of the front simulated again: largest difference 0" in out
    assert "8 of 8 designs" in out
    assert "8 designs in " in err
    assert (tmp_path / "front.png").stat().st_size > 20_000
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 9


def test_the_command_gives_the_same_output_twice_and_after_a_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    store = ("--study", str(tmp_path / "s.db"))
    assert explore(tmp_path, "--format", "json") == 0
    first = capsys.readouterr().out
    assert explore(tmp_path, *store, "--budget", "3", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["designs"] == 3
    assert explore(tmp_path, *store, "--resume", "--format", "json") == 0
    resumed = json.loads(capsys.readouterr().out)
    whole = json.loads(first)
    for key in ("front", "designs", "feasible", "largest_difference", "contenders"):
        assert resumed[key] == whole[key]
    assert whole["largest_difference"] == 0.0


def test_the_command_on_prefill_and_decode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explore(tmp_path, "--prompt", "32", "--output", "5", "--objectives", "ttft_s, tpot_s", "--tie-pct", "3") == 0
    assert "groups at ttft_s +-3 %, tpot_s +-3 %" in capsys.readouterr().out
    assert explore(tmp_path, "--phase", "prefill", "--objectives", "ttft_s") == 0
    assert "Pareto front: " in capsys.readouterr().out


def test_the_command_without_a_feasible_design_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explore(tmp_path, "--constraint", "area_mm2 <= 0.5") == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "none of 8 designs is feasible"
    assert any("violates area_mm2 <= 0.5" in line for line in out)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--resume",), "--resume; name the study with --study FILE.db"),
        (("--objectives", "area"), "objective: got 'area'; did you mean 'area_mm2'?"),
        (("--constraint", "area_mm2 =< 5"), "constraint: got 'area_mm2 =< 5'; a constraint reads NAME"),
        (("--prompt", "8", "--phase", "prefill"), "--prompt: got 8; goes with --model and --phase decode"),
        (("--budget", "0"), "budget_designs: got 0; at least 1"),
        (("--figure", "front.xyz"), "front.xyz: got '.xyz'; the ending of a picture: png, svg, pdf"),
        (("--trials", "/dev/null/t.csv"), "/dev/null/t.csv; cannot be written: File exists"),
        (("--chip", "tpu4"), "chip: got 'tpu4'; did you mean 'tpu_v4'?"),
    ],
)
def test_bad_input_exits_with_2_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], message: str
) -> None:
    assert explore(tmp_path, *more) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"chipsmith: error: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("stored", [True, False])
def test_an_interrupt_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    run = Study.run

    def interrupted(study: Study, *_: object) -> None:
        run(study, budget_designs=4)
        raise KeyboardInterrupt

    monkeypatch.setattr(Study, "run", interrupted)
    store = str(tmp_path / "s.db")
    assert explore(tmp_path, *(("--study", store) if stored else ())) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"chipsmith: interrupted; 4 designs are in {store}: repeat the command with --resume to go on\n"
        if stored
        else "chipsmith: interrupted after 4 designs; none is kept without --study FILE.db\n"
    )


def test_a_disagreement_is_a_missed_threshold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import dse.verify

    def refuse(*_: object, **__: object) -> None:
        raise ChipsmithError("chip", None, "no")

    monkeypatch.setattr(dse.verify, "_simulate", lambda: refuse)
    assert explore(tmp_path) == 1
    assert "the search and the simulator disagree: design " in capsys.readouterr().err
