from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dse.compare import compare
from dse.description import parse_description
from dse.plan import make_plan
from dse.quality import load_quality
from dse.sensitivity import sensitivity
from dse.space import Space
from dse.sparsity import Sparsity, parse_sparsity
from dse.study import Study
from dse.variants import varying
from dse.workload import Workload
from models.chip import Chip
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.errors import ChipsmithError
from workloads.trace import Trace

SPARSITY, FORMATS, ROWS = "workload.sparsity", "workload.formats", "engines.npu.rows"
GPT2_WEIGHTS = 12 * 12 * 768 * 768  # of the linear layers: twelve layers of 4 + 8 squares


@pytest.fixture(scope="module")
def gpt2() -> Trace:
    return build_trace("gpt2", Batch.decode(2, 64))


@pytest.mark.parametrize(
    ("text", "sparsity"),
    [
        ("dense", Sparsity("dense")),
        ("2:4", Sparsity("2:4")),
        ("dense/unstructured@0.1", Sparsity("dense", "unstructured@0.1")),
        ("2:4/dense/block:1x64@0.25", Sparsity("2:4", "dense", "block:1x64@0.25")),
    ],
)
def test_a_value_reads_weights_activations_attention(text: str, sparsity: Sparsity) -> None:
    assert parse_sparsity(text) == sparsity


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got ''; WEIGHTS[/ACTIVATIONS[/ATTENTION]], e.g. dense, 2:4, dense/unstructured@0.1"),
        ("2:4/", "got '2:4/'; WEIGHTS[/ACTIVATIONS[/ATTENTION]], e.g. dense, 2:4, dense/unstructured@0.1"),
        (124, "got 124; WEIGHTS[/ACTIVATIONS[/ATTENTION]], e.g. dense, 2:4, dense/unstructured@0.1"),
        ("dense/dense/dense/2:4", "got 'dense/dense/dense/2:4'; WEIGHTS[/ACTIVATIONS[/ATTENTION]], e.g. dense, 2:4, "
         "dense/unstructured@0.1"),
        ("5:4", "got '5:4'; legal: N of 1 to M kept"),
        ("2of4", "got '2of4'; legal: dense, N:M, block:RxC@density, unstructured@density (each may end in +zeros)"),
    ],
)  # fmt: skip
def test_what_is_none_is_refused(text: Any, message: str, chip: Chip) -> None:
    with pytest.raises(ChipsmithError) as error:
        Space(chip, {SPARSITY: ["dense", text]})
    assert str(error.value) == f"parameters.{SPARSITY}: {message}"


def test_a_field_of_the_chip_cannot_follow(chip: Chip) -> None:
    for form in ("same_as", "weights_of"):
        with pytest.raises(ChipsmithError) as error:
            Space(chip, {SPARSITY: ["dense", "2:4"], ROWS: {form: SPARSITY}})
        assert str(error.value) == (
            f"parameters.{ROWS}.{form}: got '{SPARSITY}'; weights_of, activations_of, kv_of go with {FORMATS}, same_as "
            "with fields of the chip"
        )


def test_yaml_takes_patterns_without_quotes(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("chip: tpu_v4\nparameters:\n  workload.sparsity: [dense, 2:4, block:4x4@0.5]\n  "
                    "engines.npu.clock_hz: [1.0e+9]\n")  # fmt: skip
    space = Space.from_yaml(path)
    assert [p.values for p in space.parameters] == [("dense", "2:4", "block:4x4@0.5"), (1e9,)]
    assert space.varied_precision == (SPARSITY,)


def test_each_design_runs_its_own_sparsity(chip: Chip, gpt2: Trace) -> None:
    space = Space(chip, {ROWS: [16, 32], SPARSITY: ["dense", "2:4"]})
    with Study(space, gpt2, ["tpot_s"], sampler="exhaustive", iso_quality="none") as study:
        study.run()
        assert study.verify_front().largest_difference == 0.0
        found = study.trials.set_index([ROWS, SPARSITY])["tpot_s"]
        pruned = study.plan.work(((SPARSITY, "2:4"),)).decode
    assert pruned is not None
    assert gpt2.resident_bytes - pruned.resident_bytes == GPT2_WEIGHTS * (16 - 9) // 8  # 2:4: 8 bits kept, 1 of index
    assert (found[:, "2:4"].sort_index() < found[:, "dense"].sort_index()).all()
    with Study(Space(chip, {ROWS: [16, 32]}), gpt2.with_sparsity("2:4"), ["tpot_s"], sampler="exhaustive") as alone:
        alone.run()
        assert alone.trials.set_index(ROWS)["tpot_s"].to_dict() == found[:, "2:4"].to_dict()


def test_formats_and_sparsity_vary_together(chip: Chip, gpt2: Trace) -> None:
    space = Space(chip, {SPARSITY: ["dense", "2:4"], FORMATS: ["fp16/fp16", "int4g128/fp16"]})
    assert space.variants(np.array([[1, 1]])) == [((FORMATS, "int4g128/fp16"), (SPARSITY, "2:4"))]
    plan = make_plan(space, Workload.of(gpt2), ["tpot_s"], iso_quality="none")
    trace = plan.work(space.variants(np.array([[1, 1]]))[0]).decode
    assert trace is not None
    scales = GPT2_WEIGHTS // 128 * 2
    assert gpt2.resident_bytes - trace.resident_bytes == GPT2_WEIGHTS * 2 - (GPT2_WEIGHTS * (2 + 1) // 8 + scales)
    assert plan.evaluate(np.array([[0, 0], [0, 1], [1, 0], [1, 1]])).violation.tolist() == [0.0] * 4


def test_a_trace_that_is_sparse_already_is_refused(chip: Chip, gpt2: Trace) -> None:
    space = Space(chip, {SPARSITY: ["dense", "2:4"]})
    with (
        Study(space, gpt2.with_sparsity("4:8"), ["tpot_s"], sampler="exhaustive", iso_quality="none") as study,
        pytest.raises(ChipsmithError) as error,
    ):
        study.run()
    assert str(error.value).startswith("sparsity.weights: got '2:4'; layer.")


def test_without_a_table_it_is_refused(chip: Chip, gpt2: Trace) -> None:
    space = Space(chip, {SPARSITY: ["dense", "2:4"]})
    with pytest.raises(ChipsmithError) as error:
        Study(space, gpt2, ["tpot_s"], sampler="exhaustive")
    assert str(error.value) == (
        f"space varies {SPARSITY}; give a quality table (configuration to perplexity), or say iso_quality='none', "
        "which marks every figure"
    )
    with pytest.raises(ChipsmithError) as error:
        Study(space, gpt2, ["tpot_s", "perplexity"], sampler="exhaustive", quality="llama-2-7b-awq")
    assert str(error.value) == f"quality table; has no column for {SPARSITY}, which the space varies"


def test_a_table_judges_it(chip: Chip, gpt2: Trace) -> None:
    space = Space(chip, {SPARSITY: ["dense", "2:4", "4:8"], ROWS: [16]})
    table = load_quality("llama-2-7b-wanda")
    with Study(space, gpt2, ["tpot_s"], ["perplexity <= 8"], sampler="exhaustive", quality=table) as study:
        study.run()
        found = study.trials.set_index(SPARSITY)
    assert found["perplexity"].to_dict() == {"dense": 5.12, "2:4": 11.02, "4:8": 7.97}
    assert found["feasible"].to_dict() == {"dense": True, "2:4": False, "4:8": True}


def test_what_nobody_judged_is_said(chip: Chip, gpt2: Trace) -> None:
    space = Space(chip, {SPARSITY: ["dense", "2:4"]})
    plan = make_plan(space, Workload.of(gpt2), ["tpot_s"], iso_quality="none")
    assert plan.description.warning == "not at equal model quality: sparsity varies and accuracy was not judged"
    assert parse_description("here", plan.description.to_json()) == plan.description
    assert varying((FORMATS,)) == "number formats vary"
    assert varying((FORMATS, SPARSITY)) == "number formats, sparsity vary"
    assert varying(("engines.npu.act_dtype",)) == "act_dtype varies"


def test_a_stored_study_knows_it(chip: Chip, gpt2: Trace, tmp_path: Path) -> None:
    space = Space(chip, {SPARSITY: ["dense", "2:4"], ROWS: [16]})
    settings: Any = {"sampler": "exhaustive", "iso_quality": "none"}
    with Study(space, gpt2, ["tpot_s"], store=tmp_path / "s.db", **settings) as sparse:
        sparse.run()
        assert sparse.chip(0).engines == space.chip(np.array([0, 0])).engines
        with Study(Space(chip, {ROWS: [16, 32]}), gpt2, ["tpot_s"], sampler="exhaustive") as dense:
            dense.run()
            found = compare({"sparse": sparse, "dense": dense})
    assert [(side.name, side.new.tolist()) for side in found.sides] == [("sparse", [True]), ("dense", [True])]


def test_its_share_of_the_variance(chip: Chip, gpt2: Trace) -> None:
    space = Space(chip, {SPARSITY: ["dense", "2:4"], ROWS: [128]})
    found = sensitivity(space, gpt2, ["tpot_s"], base_samples=16, iso_quality="none")
    sparsity, rows = found.of("tpot_s")
    assert sparsity.first == pytest.approx(1, abs=0.2)
    assert sparsity.total == pytest.approx(1, abs=0.2)
    assert (sparsity.trend, rows.first, rows.total) == (None, 0.0, 0.0)
