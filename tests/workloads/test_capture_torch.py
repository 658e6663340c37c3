"""Models captured from their PyTorch code here and now; skipped where torch is not installed."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from benchmarks.bench_capture import shortened
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.capture.trace import capture_model, capture_module
from workloads.configs import ModelConfig, load_config, parse_config
from workloads.diff import diff
from workloads.errors import ChipsmithError

pytestmark = [
    pytest.mark.trace,
    # torch and transformers warn about their own deprecated parts while they are imported and run.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
EXACT = ("macs", "weight_bytes", "kv_bytes")
TINY: dict[str, object] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "pad_token_id": 0,
}


@pytest.fixture(scope="module")
def torch() -> ModuleType:
    pytest.importorskip("transformers", reason="transformers is not installed (the extra 'trace')")
    module: ModuleType = pytest.importorskip("torch", reason="torch is not installed (the extra 'trace')")
    return module


def tiny(model_type: str, **fields: object) -> ModelConfig:
    return parse_config({"model_type": model_type, **TINY, **fields}, f"tiny-{model_type}")


def gmac(config: ModelConfig, batch: Batch, mla: str = "auto") -> float:
    return round(capture_model(config, batch, mla=mla).macs / 1e9, 3)


# ---------------------------------------------------------------- language models


@pytest.mark.parametrize(
    ("name", "layers", "batch", "mla", "expected"),
    [
        ("llama-2-7b", 1, Batch.prefill([2048]), "auto", 431.784),
        ("llama-2-7b", 1, Batch.decode(8, 4096), "auto", 2.936),
        ("mixtral-8x7b", 1, Batch.prefill([2048]), "auto", 824.840),
        ("mixtral-8x7b", 1, Batch.decode(8, 4096), "auto", 4.471),
        ("qwen2-7b", 1, Batch.decode(8, 4096), "auto", 6.459),
        ("deepseek-v3", 1, Batch.prefill([512] * 8), "auto", 2440.328),
        ("deepseek-v3", 4, Batch.decode(8, 4096), "naive", 2230.492),
        ("gpt-oss-20b", 1, Batch.decode(8, 4096), "auto", 5.651),
    ],
)
@pytest.mark.usefixtures("torch")
def test_multiplications_of_real_models(name: str, layers: int, batch: Batch, mla: str, expected: float) -> None:
    assert gmac(shortened(name, layers), batch, mla) == expected


@pytest.mark.usefixtures("torch")
def test_parameters_of_a_whole_model() -> None:
    trace = capture_model("llama-2-7b", Batch.prefill([4]))
    assert trace.meta["parameters"] == 6_738_415_616
    assert [(block.name, block.count) for block in trace.blocks] == [("embed", 1), ("layers", 32), ("head", 1)]


@pytest.mark.parametrize(
    "batch",
    [
        Batch.from_pairs([(64, 32), (1, 500), (1, 600)]),
        Batch.decode(3, [10, 20, 30]),
        Batch.uniform(2, 16, 48),
        Batch.prefill([5, 9]),
    ],
    ids=["mixed", "ragged decode", "chunk", "ragged prefill"],
)
@pytest.mark.usefixtures("torch")
def test_requests_of_any_length(batch: Batch) -> None:
    for name, layers in (("deepseek-v3", 4), ("mamba2-2.7b", 2), ("mixtral-8x7b", 2)):
        config = shortened(name, layers)
        assert diff(build_trace(config, batch), capture_model(config, batch)).worst(EXACT)[2] == 0.0


@pytest.mark.usefixtures("torch")
def test_a_prompt_in_chunks_multiplies_as_often_as_at_once() -> None:
    config = tiny("llama")
    whole = capture_model(config, Batch.prefill([64]), logits="all")
    chunks = [capture_model(config, Batch.uniform(1, 16, start), logits="all") for start in (0, 16, 32, 48)]
    assert sum(trace.macs for trace in chunks) == whole.macs


@pytest.mark.usefixtures("torch")
def test_windows_are_taken_from_the_mask() -> None:
    config = tiny("mistral", sliding_window=16)
    op = capture_model(config, Batch.prefill([64])).op("layer.attention")
    assert (op.window, op.causal, op.kv_heads, op.qk_dim) == (16, True, 2, 8)
    assert op.macs == 4 * (16 * 17 // 2 + 48 * 16) * 16
    assert op.kv_width == 2 * 2 * 8


@pytest.mark.usefixtures("torch")
def test_any_model_type_without_a_builder() -> None:
    """Norms, positions and activations of families that no builder knows."""
    for model_type, fields in (("olmo2", {}), ("cohere", {}), ("stablelm", {}), ("granite", {}), ("qwen2_moe", {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 32,
    })):  # fmt: skip
        trace = capture_model(tiny(model_type, **fields), Batch.decode(2, 8))
        assert "unknown_operators" not in trace.meta, model_type
        assert trace.blocks[1].count == 2, model_type
        assert trace.op("layer.attention").kv_read_bytes == 2 * 8 * 2 * 2 * 8 * 2, model_type


@pytest.mark.usefixtures("torch")
def test_masks_without_a_row_are_refused() -> None:
    config = tiny("llama4_text", attention_chunk_size=16, intermediate_size_mlp=64, num_local_experts=2, head_dim=8,
                  no_rope_layers=[1, 1], layer_types=["chunked_attention"] * 2)  # fmt: skip
    with pytest.raises(ChipsmithError) as caught:
        capture_model(config, Batch.prefill([64]))
    assert str(caught.value) == (
        "model.layers.0.self_attn: attention: mask: got 'chunks of 16 tokens'; legal: causal, sliding window or full "
        "masks; chunked and blockwise ones have no row in a trace"
    )
    assert capture_model(config, Batch.prefill([16])).op("layer.attention").macs == 4 * (16 * 17 // 2) * 16


@pytest.mark.usefixtures("torch")
def test_unknown_models_are_refused_by_name() -> None:
    import transformers

    with pytest.raises(ChipsmithError) as caught:
        capture_model(tiny("lama"), Batch.prefill([4]))
    assert str(caught.value) == (
        f"tiny-lama.model_type: got 'lama'; no causal language model of transformers {transformers.__version__}; "
        "near: llama, mllama, llama4"
    )
    with pytest.raises(ChipsmithError) as caught:
        capture_model(tiny("llama"), Batch.prefill([4]), logits="some")
    assert str(caught.value) == "logits: got 'some'; known: all, last"


@pytest.mark.usefixtures("torch")
def test_the_library_is_left_as_it_was() -> None:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    from transformers.models.mamba2 import modeling_mamba2

    before = modeling_mamba2.mamba2_chunk_scan
    capture_model(shortened("mamba2-2.7b", 1), Batch.prefill([4]))
    assert "chipsmith" not in ALL_ATTENTION_FUNCTIONS
    assert "chipsmith" not in ALL_MASK_ATTENTION_FUNCTIONS
    assert modeling_mamba2.mamba2_chunk_scan is before


# ---------------------------------------------------------------- any module


def test_equal_linear_layers_fold(torch: Any) -> None:
    with torch.device("meta"):
        layers = [torch.nn.Linear(64, 64) for _ in range(3)]
        model = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), *layers)
        x = torch.empty(4, 16)
    trace = capture_module(model, (x,))
    assert [(block.name, block.count) for block in trace.blocks] == [("parts", 1), ("parts_2", 1), ("parts_3", 3)]
    op = trace.op("part_3.linear")
    assert (op.tokens, op.k, op.n, op.param_width, op.weight, op.act) == (4, 64, 64, 64, "fp32", "fp32")
    assert trace.weight_bytes == 4 * (16 * 64 + 64 + 3 * (64 * 64 + 64))


def test_operators_of_a_module_stay_apart_unless_asked(torch: Any) -> None:
    with torch.device("meta"):
        model, x = torch.nn.TransformerEncoderLayer(64, 4, 128, batch_first=True), torch.empty(2, 16, 64)
    plain, fused = capture_module(model, (x,)), capture_module(model, (x,), fuse=True)
    assert plain.macs == fused.macs == 32 * (64 * 192 + 64 * 64 + 2 * 64 * 128) + 2 * 2 * 4 * 16 * 16 * 16
    assert len(plain.ops) > len(fused.ops)
    assert [op.kind for op in plain.ops].count("softmax") == 1
    assert model.training


def test_convolutions_are_matrix_products(torch: Any) -> None:
    with torch.device("meta"):
        model, x = torch.nn.Conv2d(3, 16, 3, padding=1), torch.empty(2, 3, 8, 8)
        deep, y = torch.nn.Conv2d(16, 16, 3, groups=16, bias=False), torch.empty(1, 16, 6, 6)
    op = capture_module(model, (x,)).ops[-1]
    assert (op.tokens, op.k, op.n, op.param_width) == (128, 27, 16, 16)
    op = capture_module(deep, (y,)).ops[-1]
    assert (op.macs, op.pieces, op.weight_bytes) == (16 * 16 * 9, 16, 16 * 9 * 4)


def test_control_flow_on_values_is_refused_with_its_module(torch: Any) -> None:
    class Gate(torch.nn.Module):  # type: ignore[misc]  # torch is only known when the test runs
        def forward(self, x: Any) -> Any:
            return x if x.sum().item() > 0 else -x

    with pytest.raises(ChipsmithError) as caught:
        capture_module(torch.nn.Sequential(Gate()), (torch.empty(2, device="meta"),), name="net")
    assert str(caught.value) == (
        "net, module 0; Tensor.item() cannot be called on meta tensors (a model whose control flow depends on tensor "
        "values can't be captured)"
    )


def test_writes_in_place_reach_what_they_are_a_view_of(torch: Any) -> None:
    class Fill(torch.nn.Module):  # type: ignore[misc]  # torch is only known when the test runs
        def forward(self, x: Any) -> Any:
            out = x.new_empty(4, 6)
            out[:, :3].copy_(torch.tanh(x))
            out[:, 3:].copy_(torch.sin(x))
            return torch.relu(out)

    trace = capture_module(Fill(), (torch.empty(4, 3, device="meta"),), fuse=True)
    assert [op.name for op in trace.ops] == ["tanh", "sin", "relu"]
    assert len(trace.ops[2].inputs) == 2


def test_published_configurations_are_built_as_they_stand(torch: Any) -> None:
    assert torch is not None
    assert load_config("bitnet-b1.58-2b-4t").precision is not None
    config = shortened("bitnet-b1.58-2b-4t", 1)
    captured, other = capture_model(config, Batch.decode(2, 8)), build_trace(config, Batch.decode(2, 8))
    assert captured.op("layer.q_proj").weight == other.op("layer.q_proj").weight != "fp16"
    assert captured.weight_bytes == other.weight_bytes
