from pathlib import Path

import numpy as np
import pytest

from dse.formats import parse_formats
from dse.quality import list_quality, load_quality
from dse.space import Space
from dse.study import Study
from models.chip import Chip
from workloads.errors import ChipsmithError
from workloads.trace import Trace

WEIGHT, ACT = "engines.npu.weight_dtype", "engines.npu.act_dtype"
TABLE = f"{WEIGHT},{ACT},perplexity,source\nfp16,fp16,5.47,a\nint8,fp16,5.5,a\nint4,fp16,5.7,b\n"


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "q.csv"
    path.write_text(text)
    return path


@pytest.fixture
def formats(chip: Chip) -> Space:
    return Space(chip, {WEIGHT: ["fp16", "int8", "int4"], "engines.npu.rows": [8, 16]})


def make(space: Space, trace: Trace, **changes: object) -> Study:
    settings: dict[str, object] = {"objectives": ["area_mm2"], "sampler": "exhaustive", **changes}
    return Study(space, trace, **settings)  # type: ignore[arg-type]  # settings vary by test


def test_a_table_gives_each_design_its_quality(tmp_path: Path, formats: Space) -> None:
    table = load_quality(file(tmp_path, TABLE))
    table.check(formats)
    assert table.metric.name == "perplexity"
    assert table.sources["int4", "fp16"] == "b"
    assert table.values(formats, np.array([[2, 0], [0, 1], [1, 1]])).tolist() == [5.7, 5.47, 5.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", ": got 'a,b'; needs field paths, a column 'source' and one of the columns perplexity, accuracy"),
        ("a,perplexity\n", ": got 'a,perplexity'; needs field paths, a column 'source' and one of the columns "
         "perplexity, accuracy"),
        ("a,perplexity,accuracy,source\n", ": got 'a,perplexity,accuracy,source'; needs field paths, a column 'source' "
         "and one of the columns perplexity, accuracy"),
        ("perplexity,source\n", ": got 'perplexity,source'; needs at least one column named by a field path"),
        ("a,perplexity,source\nx,five,s\n", ":2: perplexity: got 'five'; a finite number"),
        ("a,perplexity,source\nx,5,s\ny,nan,s\n", ":3: perplexity: got 'nan'; a finite number"),
        ("a,perplexity,source\nx,5\n", ":2: source: got ''; every value names where it was published or measured"),
        ("a,perplexity,source\nx,5,s\nx,6,s\n", ":3: got 'x'; each configuration once"),
    ],
)  # fmt: skip
def test_an_illegal_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = file(tmp_path, text)
    with pytest.raises(ChipsmithError) as error:
        load_quality(path)
    assert str(error.value) == f"{path}{message}"


def test_a_space_that_varies_formats_is_refused_without_a_table(formats: Space, trace: Trace) -> None:
    with pytest.raises(ChipsmithError) as error:
        make(formats, trace)
    assert str(error.value) == (
        f"space varies {WEIGHT}; give a quality table (configuration to perplexity), or say iso_quality='none', which "
        "marks every figure"
    )


def test_a_table_that_nobody_judges_by_is_refused(formats: Space, trace: Trace, tmp_path: Path) -> None:
    with pytest.raises(ChipsmithError) as error:
        make(formats, trace, quality=file(tmp_path, TABLE))
    assert str(error.value) == (
        f"space varies {WEIGHT}; make perplexity an objective or a constraint, or say iso_quality='none', which marks "
        "every figure"
    )


def test_quality_as_objective_or_as_constraint_is_accepted(formats: Space, trace: Trace, tmp_path: Path) -> None:
    quality = file(tmp_path, TABLE)
    assert make(formats, trace, quality=quality, objectives=["area_mm2", "perplexity"]).plan.unchecked_quality is False
    assert make(formats, trace, quality=quality, constraints=["perplexity <= 5.6"]).plan.unchecked_quality is False


def test_saying_none_is_accepted_and_marked(formats: Space, trace: Trace) -> None:
    assert make(formats, trace, iso_quality="none").plan.unchecked_quality is True


def test_a_space_of_one_format_needs_no_table(chip: Chip, trace: Trace) -> None:
    space = Space(chip, {"engines.npu.rows": [8, 16]})
    assert make(space, trace, iso_quality="none").plan.unchecked_quality is False
    make(space, trace)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TABLE.replace("int4,fp16,5.7,b\n", ""), f"quality table; has no row for {WEIGHT}=int4, {ACT}=fp16"),
        (f"{ACT},perplexity,source\nfp16,5,a\n", f"quality table; has no column for {WEIGHT}, which the space varies"),
    ],
)
def test_a_table_with_gaps_is_refused(formats: Space, trace: Trace, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ChipsmithError) as error:
        make(formats, trace, quality=file(tmp_path, text), objectives=["perplexity"])
    assert str(error.value) == message


def test_an_unknown_iso_quality_is_refused(formats: Space, trace: Trace) -> None:
    with pytest.raises(ChipsmithError) as error:
        make(formats, trace, iso_quality="non")
    assert str(error.value) == "iso_quality: got 'non'; did you mean 'none'? known: none, required"


# Shipped tables


def test_the_shipped_tables_are_those_files() -> None:
    assert list_quality() == [
        "bitnet-b1.58-3b", "llama-2-13b-awq", "llama-2-13b-wanda", "llama-2-70b-awq", "llama-2-70b-wanda",
        "llama-2-7b-awq", "llama-2-7b-omniquant", "llama-2-7b-wanda", "llama-65b-awq", "opt-175b-gptq",
    ]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in list_quality() if not name.endswith("-wanda")])
def test_a_shipped_table_names_formats_and_sources(name: str) -> None:
    table = load_quality(name)
    assert table.paths == ("workload.formats",)
    assert all("arXiv:" in source for source in table.sources.values())
    assert table.rows[("fp16/fp16",)] == pytest.approx(min(table.rows.values()), rel=0.02)
    for (formats,) in table.rows:
        assert parse_formats(formats).activations


@pytest.mark.parametrize(
    ("name", "perplexity"),
    [
        ("llama-2-7b-wanda", [5.12, 6.42, 7.97, 11.02]),
        ("llama-2-13b-wanda", [4.57, 5.56, 6.55, 8.27]),
        ("llama-2-70b-wanda", [3.12, 3.98, 4.47, 5.16]),
    ],
)
def test_shipped_tables_of_sparsity(name: str, perplexity: list[float]) -> None:
    table = load_quality(name)
    assert table.paths == ("workload.sparsity",)
    patterns = [(text,) for text in ("dense", "unstructured@0.5", "4:8", "2:4")]
    assert dict(table.rows) == dict(zip(patterns, perplexity, strict=True))
    assert all("arXiv:2306.11695" in source for source in table.sources.values())


def test_numbers_as_published() -> None:
    assert dict(load_quality("llama-2-7b-awq").rows) == {
        ("fp16/fp16",): 5.47, ("int4g128/fp16",): 5.60, ("int3g128/fp16",): 6.24,
    }  # fmt: skip
    assert dict(load_quality("bitnet-b1.58-3b").rows) == {("fp16/fp16",): 10.04, ("ternary/int8",): 9.91}


def test_an_unknown_table_names_the_nearest() -> None:
    with pytest.raises(ChipsmithError, match=r"^quality table: got 'llama-2-7b'; did you mean 'llama-2-7b-awq'\?"):
        load_quality("llama-2-7b")


def test_a_table_of_formats_needs_a_space_that_varies_them(chip: Chip, trace: Trace) -> None:
    space = Space(chip, {"engines.npu.rows": [8, 16]})
    with pytest.raises(ChipsmithError) as error:
        make(space, trace, quality="llama-2-7b-awq", objectives=["area_mm2", "perplexity"])
    assert str(error.value) == "quality table; has a column workload.formats, which the space does not vary"


def test_perplexity_without_a_table_is_refused(chip: Chip, trace: Trace) -> None:
    with pytest.raises(ChipsmithError) as error:
        make(Space(chip, {"engines.npu.rows": [8, 16]}), trace, objectives=["perplexity"])
    assert str(error.value) == "objective: got 'perplexity'; comes from a quality table: give one that has it"
