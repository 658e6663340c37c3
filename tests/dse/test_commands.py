"""``chipsmith study`` and the finer points of ``chipsmith explore``, on the project's own simulator."""

import json
from pathlib import Path

import pandas as pd
import pytest

from chipsmith.cli import main
from dse.stored import open_study
from models.chip import load_chip

TINY = """
chip: tpu_v4
parameters:
  engines.npu.rows: [16, 64]
  engines.npu.cols: {same_as: engines.npu.rows}
  engines.npu.cores: [1, 4]
  engines.npu.spad_bytes: [262144, 1048576]
"""
WORK = ["--model", "gpt2", "--batch", "2", "--context", "64"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies of the same space, whole and in part."""
    folder = tmp_path_factory.mktemp("studies")
    (folder / "tiny.yaml").write_text(TINY)
    for name, more in (("whole", ["--sampler", "exhaustive"]), ("part", ["--sampler", "random", "--budget", "3"])):
        store = ["--study", str(folder / f"{name}.db")]
        assert main(["explore", str(folder / "tiny.yaml"), *WORK, *store, *more]) == 0
    return folder


def out_of(capsys: Capture, *argv: str) -> str:
    capsys.readouterr()
    assert main(list(argv)) == 0
    return capsys.readouterr().out


def test_show_says_what_is_in_a_study(folder: Path, capsys: Capture, tmp_path: Path) -> None:
    pictures = ["--figure", str(tmp_path / "new" / "front.png"), "--parallel", str(tmp_path / "lines.png")]
    out = out_of(capsys, "study", "show", str(folder / "whole.db"), *pictures)
    lines = out.splitlines()
    assert lines[:6] == [
        "chip          tpu_v4",
        "workload      gpt2 decode",
        "space         tiny: 3 parameters, 8 designs",
        "constraints   none",
        "search        exhaustive, population 8192, seed 0; sim.batch.evaluate, mapping auto, fidelity tile",
        "designs       8 in 1 populations, 8 feasible",
    ]
    assert lines[-1].startswith("Pareto front: ")
    for name in ("new/front.png", "lines.png"):
        assert (tmp_path / name).stat().st_size > 20_000


def test_show_as_json_is_what_explore_printed(folder: Path, capsys: Capture) -> None:
    found = json.loads(out_of(capsys, "study", "show", str(folder / "whole.db"), "--format", "json"))
    explored = json.loads(
        out_of(capsys, "explore", str(folder / "tiny.yaml"), *WORK, "--sampler", "exhaustive", "--format", "json")
    )
    for key in ("hypervolume", "reference", "interval_pct", "contenders", "designs", "of", "feasible", "objectives"):
        assert found[key] == explored[key]
    for row, other in zip(found["front"], explored["front"], strict=True):
        assert {**row, "difference": 0.0} == other
    assert found["parameters"][0] == {"path": "engines.npu.rows", "values": 2, "from": 16, "to": 64}


def test_show_of_a_study_without_a_feasible_design(folder: Path, capsys: Capture, tmp_path: Path) -> None:
    store = str(tmp_path / "none.db")
    argv = ["explore", str(folder / "tiny.yaml"), *WORK, "--sampler", "exhaustive", "--study", store]
    assert main([*argv, "--constraint", "area_mm2 <= 1"]) == 1
    lines = out_of(capsys, "study", "show", store).splitlines()
    assert lines[-2:] == [
        "designs       8 in 1 populations, 0 feasible",
        "          8  violates area_mm2 <= 1",
    ]


def test_compare_prints_who_is_better(folder: Path, capsys: Capture, tmp_path: Path) -> None:
    both = [str(folder / "whole.db"), str(folder / "part.db")]
    pictures = ["--figure", str(tmp_path / "f.png"), "--budget-figure", str(tmp_path / "b.png")]
    out = out_of(capsys, "study", "compare", *both, *pictures)
    assert out.splitlines()[0].split()[:4] == ["study", "sampler", "seed", "designs"]
    assert "C(row, column)" in out
    assert "Common front: " in out
    assert (tmp_path / "f.png").stat().st_size > 20_000
    found = json.loads(out_of(capsys, "study", "compare", *both, "--format", "json"))
    assert found["coverage"]["whole"] == {"whole": 1.0, "part": 1.0}
    assert [row["designs"] for row in found["studies"]] == [8, 3]
    assert found["notes"] == []
    assert {row["study"] for row in found["joint_front"]} <= {"whole", "part"}


@pytest.mark.parametrize("more", [[], ["--front"]])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_export_writes_every_design(
    folder: Path, capsys: Capture, tmp_path: Path, ending: str, more: list[str]
) -> None:
    path = tmp_path / f"designs.{ending}"
    out_of(capsys, "study", "export", str(folder / "whole.db"), "-o", str(path), *more)
    found = pd.read_csv(path, keep_default_na=False) if ending == "csv" else pd.read_parquet(path)
    with open_study(folder / "whole.db") as study:
        expected = study.front() if more else study.trials
    assert found.columns.tolist() == expected.columns.tolist()
    names = ["number", "engines.npu.rows", "area_mm2", "tpot_s"]
    pd.testing.assert_frame_equal(found[names], expected[names].reset_index(drop=True), check_dtype=False)


def test_export_of_one_design_is_a_chip(folder: Path, capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "best.yaml"
    out = out_of(
        capsys, "study", "export", str(folder / "whole.db"), "--design", "5", "-o", str(path), "--format", "json"
    )
    assert json.loads(out) == {"study": str(folder / "whole.db"), "output": str(path), "designs": 1}
    assert path.read_text().startswith("# Design 5 of a study of tpu_v4 on gpt2 decode.\n")
    with open_study(folder / "whole.db") as study:
        assert load_chip(path) == study.chip(5)


def test_sensitivity_prints_a_line_a_measure_and_parameter(folder: Path, capsys: Capture, tmp_path: Path) -> None:
    argv = [
        "study",
        "sensitivity",
        str(folder / "tiny.yaml"),
        *WORK,
        "--base-samples",
        "64",
        "--measures",
        "area_mm2, tpot_s",
    ]
    out = out_of(capsys, *argv, "--figure", str(tmp_path / "s.png"))
    assert out.splitlines()[0].split() == ["measure", "parameter", "first", "+-", "total", "+-", "trend"]
    assert len([line for line in out.splitlines() if line.startswith(("area_mm2 ", "tpot_s "))]) == 6
    assert (tmp_path / "s.png").stat().st_size > 20_000
    found = json.loads(out_of(capsys, *argv, "--format", "json"))
    assert found["designs"] == 8
    assert found["base_samples"] == 64
    assert [(e["measure"], e["path"]) for e in found["effects"][:2]] == [
        ("area_mm2", "engines.npu.rows"), ("area_mm2", "engines.npu.cores"),
    ]  # fmt: skip


def test_formats_are_searched_with_their_published_perplexity(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "formats.yaml").write_text(
        "chip: tpu_v4\nparameters:\n  workload.formats: [fp16/fp16, int4g128/fp16, int3g128/fp16]\n"
        "  engines.npu.rows: [32, 64]\n"
    )
    argv = ["explore", str(tmp_path / "formats.yaml"), *WORK, "--sampler", "exhaustive", "--format", "json"]
    assert main(argv) == 2
    assert capsys.readouterr().err == (
        "chipsmith: error: space varies workload.formats; give a quality table (configuration to perplexity), or say "
        "iso_quality='none', which marks every figure\n"
    )
    judge = ["--quality", "llama-2-7b-awq", "--objectives", "tpot_s,perplexity", "--constraint", "perplexity <= 6"]
    judged = json.loads(out_of(capsys, *argv, *judge))
    assert judged["feasible"] == 4
    assert {row["workload.formats"]: row["perplexity"] for row in judged["front"]} == {
        "int4g128/fp16": 5.6, "fp16/fp16": 5.47,
    }  # fmt: skip
    marked = out_of(capsys, *argv[:-2], "--iso-quality", "none")
    assert "quality       NOT CHECKED: " in marked


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["show", "none.db"], "none.db; there is no such study; chipsmith explore --study FILE.db makes one"),
        (["show", "{whole}", "--figure", "a.txt"], "a.txt: got '.txt'; the ending of a picture: png, svg, pdf"),
        (["compare", "{whole}"], "studies: got ['whole']; at least two"),
        (["compare", "{whole}", "{whole}"], "studies: got ['{whole}', '{whole}']; each study once"),
        (["export", "{whole}", "-o", "a.xls"], "a.xls: got '.xls'; the ending of the file: .csv, .parquet"),
        (["export", "{whole}", "-o", "a.csv", "--design", "1"],
         "a.csv: got '.csv'; the ending of the file: .yaml, .yml"),
        (["export", "{whole}", "-o", "a.yaml", "--design", "1", "--front"],
         "--front; goes with a table of designs, not with --design"),
        (["export", "{whole}", "-o", "a.yaml", "--design", "8"], "design: got 8; a number from 0 to 7"),
        (["export", "tiny.yaml", "-o", "a.csv"], "tiny.yaml; is not a study: not a database file"),
        (["sensitivity", "npu", "--model", "gpt2", "--base-samples", "100"],
         "base_samples: got 100; a power of two from 2 to 65536"),
        (["sensitivity", "npu", "--model", "gpt2", "--quality", "llama"],
         "quality table: got 'llama'; did you mean 'llama-65b-awq'? known: "),
    ],
)  # fmt: skip
def test_bad_input_exits_with_2_and_one_line(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, argv: list[str], message: str
) -> None:
    monkeypatch.chdir(folder)
    capsys.readouterr()
    whole = str(folder / "whole.db")
    assert main(["study", *(part.replace("{whole}", whole) for part in argv)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"chipsmith: error: {message.replace('{whole}', whole)}")
    assert err.count("\n") == 1
    assert sorted(p.name for p in folder.iterdir()) == ["part.db", "tiny.yaml", "whole.db"]


@pytest.mark.parametrize("action", ["show", "compare", "export", "sensitivity"])
def test_every_action_has_help_with_an_example(capsys: Capture, action: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(["study", action, "--help"])
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert f"example:\n  chipsmith study {action} " in out
    assert "--format" in out
