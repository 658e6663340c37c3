"""Configurations: shipped ones against published sizes, files of the user, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workloads.build import kv_bytes_per_token, parameter_count
from workloads.configs import ModelConfig, list_configs, load_config, parse_config
from workloads.errors import ChipsmithError

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


def test_every_shipped_configuration_names_its_source_and_builds() -> None:
    names = list_configs()
    assert len(names) >= 30
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
