"""The notebook that traces models: run without torch from stored recordings, which are compared with fresh ones."""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import Any

import pytest

from workloads.batch import Batch
from workloads.build import build_trace
from workloads.capture.recording import Recording, read_recording
from workloads.capture.trace import trace_of
from workloads.configs import load_config
from workloads.precision import Precision

from .running import BUILDER, NOTEBOOKS, flat, markdown_of, run_notebook, stored_results

NAME = "02_trace_a_model"
RECORDINGS = sorted((NOTEBOOKS / "recordings").glob("*.json.gz"))
pytestmark = [pytest.mark.notebook, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebooks")


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    """Results of a run in which torch can't be imported."""
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text("raise ImportError('not here')\n")
    return run_notebook(NAME, folder, {"PYTHONPATH": str(folder)})


def test_without_torch_the_numbers_are_the_same(found: dict[str, Any], folder: Path) -> None:
    assert "**PyTorch is not installed: these are the stored recordings" in markdown_of(folder / f"{NAME}.ipynb")
    stored = stored_results(NAME)
    if found["onnx"] is None:
        stored["onnx"] = None
    assert flat(found) == pytest.approx(flat(stored), rel=1e-6), "the numbers changed: run scripts/build_notebooks"


def test_the_stored_notebook_was_made_with_torch() -> None:
    assert "Recorded here with torch" in markdown_of(NOTEBOOKS / f"{NAME}.ipynb")


def wanted() -> list[tuple[str, str]]:
    """The models and phases that the notebook names."""
    cells = BUILDER["cells_of"]((NOTEBOOKS / f"{NAME}.py").read_text(encoding="utf-8"))
    statements = [node for kind, cell in cells if kind == "code" for node in ast.parse(cell).body]
    for node in statements:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "WANTED":
            listed: list[tuple[str, str]] = ast.literal_eval(node.value)
            return listed
    raise AssertionError("the notebook has no list WANTED")


def test_every_recording_is_stored_and_none_is_left_over() -> None:
    assert sorted(f"{name}_{phase}.json.gz" for name, phase in wanted()) == [path.name for path in RECORDINGS]


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name.partition(".json")[0])
def test_a_stored_recording_is_the_model_that_is_built(path: Path) -> None:
    recording = read_recording(path)
    batch = batch_of(recording)
    captured, built = trace_of(recording, Precision()), build_trace(recording.name, batch, Precision())
    for measure in ("macs", "weight_bytes", "kv_read_bytes"):
        assert getattr(captured, measure) == getattr(built, measure)
    published = load_config(recording.name).parameters
    assert published in (0, captured.meta["parameters"])


def batch_of(recording: Recording) -> Batch:
    pairs = recording.meta["batch"]
    assert isinstance(pairs, list)
    return Batch.from_pairs((new, context) for new, context in pairs)


@pytest.mark.trace
@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name.partition(".json")[0])
def test_a_fresh_recording_gives_the_trace_of_the_stored_one(path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    from workloads.capture.huggingface import record_model

    stored = read_recording(path)
    fresh = record_model(load_config(stored.name), batch_of(stored))
    old, new = trace_of(stored, Precision()), trace_of(fresh, Precision())
    assert (new.ops, new.blocks) == (old.ops, old.blocks), (
        "set CHIPSMITH_STORE_RECORDINGS=1, run scripts/build_notebooks"
    )


# What the text claims


def test_heads_are_not_expanded_and_the_cache_is_not_copied(found: dict[str, Any]) -> None:
    # one layer: 8 requests x 2048 tokens x 8 KV heads x (128 + 128) x 2 bytes
    read = 8 * 2048 * 8 * 256 * 2
    assert found["attention"] == {
        "kv_read_bytes": read,
        "kv_read_bytes_if_heads_were_expanded": 4 * read,
        "appended_bytes": 8 * 8 * 256 * 2,
        "bytes_if_append_were_a_copy": 2 * (read + 8 * 8 * 256 * 2),
    }


def test_captured_and_built_agree_where_it_counts(found: dict[str, Any]) -> None:
    worst = found["agreement_worst_percent"]
    assert (worst["MACs"], worst["weight bytes"], worst["KV bytes"]) == (0, 0, 0)
    assert 0 < worst["activation bytes"] < 12


def test_parameters_are_those_that_are_published(found: dict[str, Any]) -> None:
    published = {name: load_config(name).parameters for name in found["parameters"]}
    assert {name: count for name, count in published.items() if count} == {
        name: count for name, count in found["parameters"].items() if published[name]
    }
    assert published["deepseek-v2"] == 235_741_434_880


def test_experts_in_use_follow_uniform_routing(found: dict[str, Any]) -> None:
    for name, experts, chosen in (("mixtral-8x7b", 8, 2), ("gpt-oss-20b", 32, 4), ("deepseek-v2", 160, 6)):
        expected = 1 - (1 - chosen / experts) ** 8
        assert found["experts"][name] == pytest.approx(expected, abs=0.5 / experts + 0.03)


def test_the_latent_cache_is_expanded_only_by_the_naive_form(found: dict[str, Any]) -> None:
    latent = found["latent"]
    assert latent["built_over_captured"] == 1
    # 60 layers x 8 requests x 2049 tokens x rank 512 x 128 heads x (128 + 128) is what expansion multiplies; the
    # attention of the absorbed form is wider (576 + 512 instead of 192 + 128), its two small GEMMs stand in between
    expansion = 60 * 8 * 2049 * 512 * 128 * 256
    wider = 60 * 8 * 2049 * 128 * (576 + 512 - 192 - 128)
    small = 60 * 8 * 128 * 512 * 256
    assert latent["naive"] - latent["absorbed"] == expansion - wider - small


def test_the_state_of_a_scan_is_constant_and_the_cache_is_not(found: dict[str, Any]) -> None:
    caches = found["cache_bytes_at_2048"]
    # 60 layers x (512 + 64) x 2 bytes a token
    assert caches["deepseek-v2"] == 2048 * 60 * 576 * 2
    assert caches["llama-3.1-8b"] * 4 == caches["llama-2-7b"]
    assert found["state_equals_latent_cache_tokens"] == round(caches["mamba2-2.7b"] / (60 * 576 * 2))


def test_shares_sum_to_one(found: dict[str, Any]) -> None:
    for step in found["shares"].values():
        for parts in step.values():
            assert math.fsum(parts.values()) == pytest.approx(1, abs=5e-5)
    assert found["shares"]["llama-3.1-8b prefill"]["bytes"]["norms, element-wise, gather"] > 0.2


def test_decode_reuses_a_weight_once_a_request(found: dict[str, Any]) -> None:
    decode, prefill = found["intensity"]["decode"], found["intensity"]["prefill"]
    assert decode["up_proj"] == pytest.approx(8, rel=0.01)
    assert decode["attention"] == pytest.approx(4, rel=0.01)
    assert all(prefill[name] > found["ridge"]["tpu_v4"] > decode[name] for name in prefill if name != "lm_head")
    assert prefill["lm_head"] == pytest.approx(1, rel=0.01)


def test_a_mixed_step_reads_the_weights_once(found: dict[str, Any]) -> None:
    told = found["requests"]
    steps = told["step_ms"]
    assert max(steps["decode"], steps["chunk"]) < steps["both"] < steps["decode"] + steps["chunk"]
    assert told["padding_at_8_sorted"] < 0.1
    assert told["padding_at_8_as_they_arrive"] > 0.5
    assert told["padded_over_ragged_kv"] > told["padded_over_ragged_ms"] > 1


def test_transformations_change_what_they_say(found: dict[str, Any]) -> None:
    variants = found["variants"]
    base = variants["8 bits"]
    for name in ("16 bits", "W4", "2:4", "KV4"):
        assert variants[name]["macs"] == base["macs"]
    assert variants["2:4"]["effective_macs"] < base["effective_macs"]
    assert variants["evict"]["kv_read_bytes"] * 8193 == pytest.approx(base["kv_read_bytes"] * 1024, rel=0.001)
    # 28 layers, 8 KV heads, keys and values of 128 a token, 4 bits and a 16-bit scale for 64
    assert variants["KV4"]["kv_read_bytes"] == 4 * 8192 * 28 * 8 * 256 * (4 + 16 / 64) / 8
    assert variants["draft"]["expected_tokens"] == pytest.approx(4 * (1 - 0.7**5) / 0.3, abs=1e-4)


def test_the_edge_chip_refuses_sixteen_bits_and_gains_do_not_multiply(found: dict[str, Any]) -> None:
    variants = found["variants"]
    assert variants["16 bits"]["edge_32x32"] is None
    for chip in ("tpu_v4", "edge_32x32"):
        ms = {name: variant[chip] for name, variant in variants.items()}
        assert all(ms[name] < ms["8 bits"] for name in ms if name not in ("8 bits", "16 bits"))
        assert 0.3 < found["array_time_of_w4"][chip] < 0.7
    assert variants["all"]["edge_32x32"] > variants["W4 + evict"]["edge_32x32"]


def test_files_and_onnx_keep_the_numbers(found: dict[str, Any]) -> None:
    assert found["files"] == {".parquet": "equal", ".jsonl": "equal", ".et": "equal"}
    assert found["onnx"] in (None, {"MACs": 0, "weight bytes": 0, "KV bytes": 0})
