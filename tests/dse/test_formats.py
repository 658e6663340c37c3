from typing import Any

import numpy as np
import pytest

from dse.formats import Formats, parse_formats
from dse.space import Space
from dse.study import Study
from dse.workload import Workload
from models.chip import Chip
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.errors import ChipsmithError
from workloads.trace import Trace

FORMATS, ROWS = "workload.formats", "engines.npu.rows"
WEIGHT, ACT = "engines.npu.weight_dtype", "engines.npu.act_dtype"


@pytest.mark.parametrize(
    ("text", "formats"),
    [
        ("fp16", Formats("fp16")),
        ("int4g128", Formats("int4", 128)),
        ("ternary/int8", Formats("ternary", 0, "int8")),
        ("int3g64/fp16/int8", Formats("int3", 64, "fp16", "int8")),
    ],
)
def test_a_value_reads_weights_activations_kv(text: str, formats: Formats) -> None:
    assert parse_formats(text) == formats


@pytest.mark.parametrize(
    "text", ["", "int4g", "int4g-1", "int4 g128", "fp16/", "/fp16", "fp16/fp16/fp16/fp16", f"int4g{'9' * 5000}", 4]
)
def test_what_is_none_is_refused(text: Any, chip: Chip) -> None:
    with pytest.raises(ChipsmithError) as error:
        Space(chip, {FORMATS: ["fp16", text]})
    message = str(error.value)
    assert message.startswith(f"parameters.{FORMATS}: got ")
    assert "known: " in message or message.endswith(
        "; WEIGHTS[gGROUP][/ACTIVATIONS[/KV]], e.g. fp16, int4g128, ternary/int8"
    )


def test_an_unknown_format_names_the_nearest() -> None:
    with pytest.raises(ChipsmithError, match=r"^workload.formats: got 'int44'; did you mean 'int4'\?"):
        parse_formats("int44/fp16")


def test_fields_of_the_chip_follow(chip: Chip) -> None:
    space = Space(chip, {FORMATS: ["fp16/fp16", "int4g128/int8"], ROWS: [8, 16],
                         WEIGHT: {"weights_of": FORMATS}, ACT: {"activations_of": FORMATS}})  # fmt: skip
    assert space.paths == (FORMATS, ROWS)
    assert space.varied_precision == (FORMATS, WEIGHT, ACT)
    index = np.array([[0, 1], [1, 0]])
    table = space.decode(index)
    assert table.column(WEIGHT).tolist() == ["fp16", "int4"]
    assert table.column(ACT).tolist() == ["fp16", "int8"]
    assert space.work_columns(index)[FORMATS].tolist() == ["fp16/fp16", "int4g128/int8"]
    assert space.variants(index) == [((FORMATS, "fp16/fp16"),), ((FORMATS, "int4g128/int8"),)]
    assert space.design(index[1]) == {FORMATS: "int4g128/int8", WEIGHT: "int4", ACT: "int8", ROWS: 8}
    follower: Any = space.chip(index[1]).engines["npu"]
    assert (follower.weight_dtype, follower.act_dtype, follower.rows) == ("int4", "int8", 8)
    assert space.fingerprint != Space(chip, {FORMATS: ["fp16/fp16", "int4g128/int8"], ROWS: [8, 16]}).fingerprint
    assert Space(chip, {ROWS: [8]}).variants(np.array([[0], [0]])) == [(), ()]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({FORMATS: ["fp16", "int4"], WEIGHT: {"weights_of": "workload.format"}},
         f"parameters.{WEIGHT}.weights_of: got 'workload.format'; did you mean 'workload.formats'? known: {FORMATS}"),
        ({FORMATS: ["fp16", "int4"], ACT: {"activations_of": FORMATS}},
         f"parameters.{ACT}.activations_of: got 'fp16'; each value must name its activations for a field to follow "
         "them"),
        ({FORMATS: ["fp16"], WEIGHT: {"same_as": FORMATS}},
         f"parameters.{WEIGHT}.same_as: got '{FORMATS}'; weights_of, activations_of, kv_of go with {FORMATS}, same_as "
         "with fields of the chip"),
        ({ROWS: [8, 16], "engines.npu.cols": {"weights_of": ROWS}},
         f"parameters.engines.npu.cols.weights_of: got '{ROWS}'; weights_of, activations_of, kv_of go with {FORMATS}, "
         "same_as with fields of the chip"),
        ({FORMATS: ["fp16", "fp16"]}, f"parameters.{FORMATS}: got 'fp16'; each value once"),
    ],
)  # fmt: skip
def test_what_cannot_follow_is_refused(chip: Chip, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ChipsmithError) as error:
        Space(chip, parameters)
    assert str(error.value) == message


def test_a_format_that_the_engine_refuses_is_refused(chip: Chip) -> None:
    with pytest.raises(ChipsmithError):
        Space(chip, {FORMATS: ["fp16/fp16", "int8/int8"], WEIGHT: {"weights_of": FORMATS},
                     ROWS: {"activations_of": FORMATS}})  # fmt: skip


@pytest.fixture(scope="module")
def gpt2() -> Trace:
    return build_trace("gpt2", Batch.decode(2, 64))


def test_each_design_is_simulated_in_its_formats(chip: Chip, gpt2: Trace) -> None:
    space = Space(chip, {FORMATS: ["fp16/fp16", "int8/fp16", "int4g128/fp16"], ROWS: [16, 32]})
    with Study(space, gpt2, ["tpot_s", "area_mm2"], sampler="exhaustive", iso_quality="none") as study:
        study.run()
        found = study.trials.sort_values([ROWS, FORMATS])
        assert study.verify_front().largest_difference == 0.0
    times = found["tpot_s"].to_numpy().reshape(2, 3)  # fp16, int4, int8 of each array
    assert (times[:, 1] < times[:, 2]).all() and (times[:, 2] < times[:, 0]).all()
    assert found["area_mm2"].to_numpy().reshape(2, 3).std(axis=1).tolist() == [0.0, 0.0]
    with Study(Space(chip, {ROWS: [16, 32]}), Formats("int4", 128).of(gpt2), ["tpot_s"], sampler="exhaustive") as alone:
        alone.run()
        assert sorted(alone.trials["tpot_s"]) == sorted(times[:, 1])


def test_a_workload_in_other_formats_is_made_once(chip: Chip, gpt2: Trace) -> None:
    from dse.plan import make_plan

    plan = make_plan(Space(chip, {FORMATS: ["fp16", "int8"]}), Workload.of(gpt2), ["tpot_s"], iso_quality="none")
    int8 = ((FORMATS, "int8"),)
    assert plan.work(()) is plan.workload
    assert plan.work(int8) is plan.work(int8)
    assert plan.work(int8).decode is not None
    assert plan.work(int8).fingerprint != plan.workload.fingerprint
