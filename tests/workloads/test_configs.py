"""Configurations: shipped ones against published sizes, files of the user, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workloads.build import kv_bytes_per_token, parameter_count
from workloads.configs import ModelConfig, list_configs, load_config, parse_config
from workloads.errors import ChipsmithError
from workloads.precision import Precision

# Published totals: safetensors sizes on the model cards, or the papers' tables.
PARAMETERS = {
    "gpt2": 124_439_808,
    "opt-125m": 125_239_296,
    "opt-6.7b": 6_658_473_984,
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3-8b": 8_030_261_248,
    "llama-3-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "mistral-7b": 7_241_732_096,
    "codellama-34b": 33_743_970_304,
    "qwen2-7b": 7_615_616_512,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-8b": 8_190_735_360,
    "qwen3-30b-a3b": 30_532_122_624,
    "mixtral-8x7b": 46_702_792_704,
    "bloom-176b": 176_247_271_424,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "smollm2-135m": 134_515_008,
    "smollm2-1.7b": 1_711_376_384,
    "qwen3-235b-a22b": 235_093_634_560,
    "phi-3-mini": 3_821_079_552,
    "phi-3-medium": 13_960_238_080,
    "phi-4": 14_659_507_200,
    "phi-4-mini": 3_836_021_760,
    "gemma-2-2b": 2_614_341_888,
    "gemma-2-9b": 9_241_705_984,
    "gemma-2-27b": 27_227_128_320,
    "gemma-3-1b": 999_885_952,
    "gpt-oss-20b": 20_914_757_184,
    "gpt-oss-120b": 116_829_156_672,
    "bitnet-b1.58-2b-4t": 2_412_820_480,
    "falcon-h1-0.5b": 521_411_104,
    "falcon-h1-1.5b": 1_554_863_488,
    "rwkv7-0.4b": 450_767_872,
    "rwkv7-1.5b": 1_527_404_544,
    "rwkv7-2.9b": 2_947_735_040,
}
# Published totals of multimodal models hold a vision encoder and a projector into the language model's features.
VISION = 416_866_032
PROJECTED_FROM = 1152
MULTIMODAL = {
    "gemma-3-4b": 4_300_079_472,
    "gemma-3-12b": 12_187_325_040,
    "gemma-3-27b": 27_432_406_640,
}
# Published rounded, in units of the last digit given.
ROUNDED = {
    "deepseek-v3": (671, 10**9),
    "deepseek-v2": (236, 10**9),
    "gpt-3-175b": (175, 10**9),
    "gpt-3-6.7b": (67, 10**8),
    "opt-175b": (175, 10**9),
    "opt-66b": (66, 10**9),
    "mt-nlg-530b": (530, 10**9),
    "mamba2-2.7b": (27, 10**8),
}


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_parameters_equal_the_published_count(name: str) -> None:
    assert parameter_count(name) == PARAMETERS[name]


@pytest.mark.parametrize("name", sorted(ROUNDED))
def test_parameters_round_to_the_published_size(name: str) -> None:
    digits, unit = ROUNDED[name]
    assert round(parameter_count(name) / unit) == digits


@pytest.mark.parametrize("name", sorted(MULTIMODAL))
def test_language_models_of_multimodal_ones(name: str) -> None:
    projector = PROJECTED_FROM * (load_config(name).integer("hidden_size") + 1)
    assert parameter_count(name) + projector + VISION == MULTIMODAL[name]


def test_every_shipped_configuration_names_its_source_and_builds() -> None:
    names = list_configs()
    assert len(names) >= 57
    for name in names:
        config = load_config(name)
        assert config.name == name
        assert len(config.source) > 20
        if config.parameters:
            assert parameter_count(config) == config.parameters, name


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("deepseek-v3", 70_272),
        ("qwen2.5-72b", 327_680),
        ("llama-3-70b", 327_680),
        ("llama-3.1-405b", 516_096),
        ("llama-2-7b", 524_288),
        ("mamba2-2.7b", 0),
        ("rwkv7-1.5b", 0),
        ("gemma-3-27b", 62 * 2 * 16 * 128 * 2),
        ("falcon-h1-1.5b", 24 * 2 * 2 * 128 * 2),
    ],
)
def test_kv_bytes_per_token(name: str, size: int) -> None:
    assert kv_bytes_per_token(name, kv="bf16") == size
    assert kv_bytes_per_token(name, kv="int8") == size // 2


def test_kv_bytes_per_token_of_a_rank() -> None:
    assert kv_bytes_per_token("llama-3-70b", tensor_parallel=8) == 327_680 // 8
    assert kv_bytes_per_token("llama-3-70b", tensor_parallel=16) == 327_680 // 8  # each KV head on two ranks
    assert kv_bytes_per_token("deepseek-v3", tensor_parallel=8) == 70_272  # one latent, on every rank


def test_files_of_the_user(tmp_path: Path) -> None:
    fields = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
              "num_attention_heads": 4, "vocab_size": 100, "rope_scaling": {"factor": 2.0}, "eos": [1, 2]}  # fmt: skip
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(fields), "utf-8")
    config = load_config(folder)
    assert config == load_config(folder / "config.json")
    assert (config.name, hash(config) == hash(load_config(folder))) == ("my-model", True)
    assert config.get("rope_scaling") == (("factor", 2.0),)
    assert parameter_count(config) == 2 * (4 * 64 * 64 + 3 * 64 * 96 + 2 * 64) + 2 * 100 * 64 + 64


def test_a_multimodal_file_stands_for_its_language_model() -> None:
    """The published file of Gemma 3 4B leaves out what its code has as default."""
    text = {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
            "sliding_window": 1024}  # fmt: skip
    config = parse_config({"model_type": "gemma3", "vision_config": {}, "text_config": text}, "x")
    assert (config.model_type, parameter_count(config)) == ("gemma3_text", parameter_count("gemma-3-4b"))


def test_formats_of_a_file(tmp_path: Path) -> None:
    fields = {"model_type": "llama", "_precision": {"weights": "int4", "weight_group": 64, "expert_weights": "mxfp4"}}
    config = parse_config(fields, "x")
    assert (config.precision, config.expert_weights) == (Precision("int4", weight_group=64), "mxfp4")
    assert parse_config({"model_type": "llama"}, "x").precision is None
    for formats, text in (
        ({"weight": "int4"}, "x._precision: got 'weight'; did you mean 'weights'? known: "),
        ({"expert_weights": "fp5"}, "x._precision.expert_weights: got 'fp5'; did you mean 'fp"),
        ("int4", "x._precision: got 'int4'; legal: an object with some of weights, activations, kv, "),
    ):
        with pytest.raises(ChipsmithError) as caught:
            parse_config({"model_type": "llama", "_precision": formats}, "x")
        assert str(caught.value).startswith(text)


def refusal(config: ModelConfig) -> str:
    with pytest.raises(ChipsmithError) as caught:
        parameter_count(config)
    return str(caught.value)


def test_refused_fields_are_named() -> None:
    llama = load_config("llama-2-7b")
    text = "llama-2-7b.hidden_size: got 'nothing'; legal: a whole number, at least 1"
    assert refusal(llama.with_fields(hidden_size=None)) == text
    text = "llama-2-7b.num_hidden_layers: got 0; legal: a whole number, at least 1"
    assert refusal(llama.with_fields(num_hidden_layers=0)) == text
    text = "llama-2-7b.tie_word_embeddings: got 'no'; legal: true or false"
    assert refusal(llama.with_fields(tie_word_embeddings="no")) == text
    text = "llama-2-7b.num_attention_heads: got 33; legal for 4096 features: 1, 2, 4, 8, 16, 32, 64"
    assert refusal(llama.with_fields(num_attention_heads=33)) == text
    text = "opt-6.7b.activation_function: got 'tanh'; known: gelu, gelu_new, relu"
    assert refusal(load_config("opt-6.7b").with_fields(activation_function="tanh")) == text
    text = "opt-6.7b.word_embed_proj_dim: got 512; legal: 4096, pre-norm layers"
    assert refusal(load_config("opt-6.7b").with_fields(word_embed_proj_dim=512)) == text
    text = "mamba2-2.7b.num_heads: got 64; legal: expand * hidden_size / head_dim = 80"
    assert refusal(load_config("mamba2-2.7b").with_fields(num_heads=64)) == text
    text = "qwen3-30b-a3b.decoder_sparse_step, mlp_only_layers: got (1, (0,)); legal: 1, []"
    assert refusal(load_config("qwen3-30b-a3b").with_fields(mlp_only_layers=[0])) == text
    gemma = load_config("gemma-3-1b")
    text = "gemma-3-1b.layer_types: got '1 entries'; legal: a list of at least 26, one a layer"
    assert refusal(gemma.with_fields(layer_types=["full_attention"])) == text
    text = "gemma-3-1b.layer_types[25]: got 'chunked'; known: full_attention, sliding_attention"
    assert refusal(gemma.with_fields(layer_types=["full_attention"] * 25 + ["chunked"])) == text
    text = "gemma-3-1b.hidden_activation: got 'silu'; known: gelu_pytorch_tanh"
    assert refusal(gemma.with_fields(hidden_activation="silu")) == text
    falcon = load_config("falcon-h1-0.5b")
    text = "falcon-h1-0.5b.mamba_n_heads: got 12; legal: mamba_d_ssm / mamba_d_head = 24"
    assert refusal(falcon.with_fields(mamba_n_heads=12)) == text
    text = "falcon-h1-0.5b.projectors_bias: got True; legal: false"
    assert refusal(falcon.with_fields(projectors_bias=True)) == text
    text = "rwkv7-1.5b.head_dim: got 60; legal: a divisor of 2048 features"
    assert refusal(load_config("rwkv7-1.5b").with_fields(head_dim=60)) == text
    text = "rwkv7-1.5b.norm_bias: got False; legal: true"
    assert refusal(load_config("rwkv7-1.5b").with_fields(norm_bias=False)) == text
    text = "deepseek-v3.moe_layer_freq: got 2; legal: 1"
    assert refusal(load_config("deepseek-v3").with_fields(moe_layer_freq=2)) == text


def test_unknown_names_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(
        ChipsmithError, match=r"^model: got 'lama-2-7b'; did you mean 'llama-2-7b'\? known: bitnet-b1\.58-2b-4t, "
    ):
        load_config("lama-2-7b")
    with pytest.raises(ChipsmithError, match=r"; no readable file: No such file or directory$"):
        load_config(tmp_path / "none.json")
    damaged = tmp_path / "damaged.json"
    damaged.write_text("{", "utf-8")
    with pytest.raises(ChipsmithError, match=r"damaged\.json; no JSON: Expecting property name"):
        load_config(damaged)
    with pytest.raises(
        ChipsmithError, match=r"^x: got 'list'; legal: a JSON object with model_type, hidden_size \.\.\.$"
    ):
        parse_config([], "x")
    with pytest.raises(ChipsmithError, match=r"^x\.model_type: got 'nothing'; legal: a Hugging Face model type$"):
        parse_config({}, "x")
    unknown = parse_config({"model_type": "qwen9"}, "x")
    assert refusal(unknown).startswith("x.model_type: got 'qwen9'; did you mean 'qwen")
