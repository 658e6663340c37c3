"""The Mapping as data: reading, writing, placing, refusing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sim.engines.systolic import ENGINE
from sim.engines.systolic_kernels import MAPPING
from sim.mapping import Mapping, load_mapping, parse_mapping, place
from workloads.errors import ChipsmithError

from .designs import chain, chip, collective, gemm, vector

TILE: dict[str, Any] = {
    "dataflow": "os",
    "tile": {"m": 8, "k": 16, "n": 24},
    "keep": "act",
    "cores": {"m": 2, "n": 1},
    "deal": "round_robin",
}


@st.composite
def tiles(draw: st.DrawFn) -> dict[str, Any]:
    size = st.integers(1, 10**6)
    return {
        "dataflow": draw(st.sampled_from(["ws", "os", "is"])),
        "tile": {axis: draw(size) for axis in "mkn"},
        "keep": draw(st.sampled_from(["none", "act", "weight"])),
        "cores": {axis: draw(size) for axis in "mn"},
        "deal": draw(st.sampled_from(["grid", "round_robin"])),
    }


NAMES = st.text(st.sampled_from("abc._:yn0 "), min_size=1, max_size=8)


@given(st.dictionaries(NAMES, NAMES, max_size=3), st.dictionaries(NAMES, st.lists(tiles(), max_size=3), max_size=3))
def test_yaml_round_trip(engines: dict[str, str], chosen: dict[str, list[dict[str, Any]]]) -> None:
    mapping = Mapping("given", engines, {name: tuple(t) for name, t in chosen.items()})
    again = parse_mapping(yaml.safe_load(mapping.to_yaml()))
    assert again == mapping
    assert again.digest == mapping.digest


@given(tiles())
def test_a_tile_survives_the_record(tile: dict[str, Any]) -> None:
    record = np.zeros(1, MAPPING)[0]
    assert ENGINE.mapping_from_dict is not None and ENGINE.mapping_to_dict is not None
    ENGINE.mapping_from_dict(tile, record, "tile")
    assert ENGINE.mapping_to_dict(record) == tile


def test_the_digest_tells_mappings_apart() -> None:
    first = Mapping("given", {"a": "npu"}, {"a": (TILE,)})
    other = Mapping("given", {"a": "npu"}, {"a": ({**TILE, "keep": "none"},)})
    assert first.digest != other.digest
    assert first.digest == Mapping("auto", {"a": "npu"}, {"a": (TILE,)}).digest
    assert Mapping("given", {"b": "x", "a": "y"}).digest == Mapping("given", {"a": "y", "b": "x"}).digest


def test_names_and_files_are_loaded(tmp_path: Path) -> None:
    assert load_mapping("auto") == Mapping("auto")
    assert load_mapping("gemmini") == Mapping("gemmini")
    path = tmp_path / "m.yaml"
    path.write_text(Mapping("given", {"a": "npu"}, {"a": (TILE,)}).to_yaml())
    assert load_mapping(path) == load_mapping(str(path)) == Mapping("given", {"a": "npu"}, {"a": (TILE,)})
    assert load_mapping(Mapping("auto")) == Mapping("auto")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([1], "mapping: got 'list'; a mapping has the fields engines and tiles"),
        ({"engine": {}}, "mapping.engine; unknown field; did you mean 'engines'? known: engines, tiles"),
        ({"tiles": []}, "mapping; engines and tiles map operator names to engines and to lists of tiles"),
        ({"tiles": {"a": 3}}, "mapping.tiles.a: got 3; a list with one mapping per distinct segment"),
        ({"tiles": {"a": [3]}}, "mapping.tiles.a: got [3]; a list with one mapping per distinct segment"),
    ],
)
def test_illegal_data_is_refused(data: object, text: str) -> None:
    with pytest.raises(ChipsmithError) as error:
        parse_mapping(data)
    assert str(error.value) == text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"dataflow": "sw"}, "t.dataflow: got 'sw'; did you mean 'ws'? known: is, os, ws"),
        ({"keep": "acts"}, "t.keep: got 'acts'; did you mean 'act'? known: act, none, weight"),
        ({"deal": "robin"}, "t.deal: got 'robin'; did you mean 'round_robin'? known: grid, round_robin"),
        ({"tile": {"m": 8, "k": 16}}, "t.tile.n; a positive whole number is required"),
        ({"tile": {"m": -8, "k": 16, "n": 4}}, "t.tile.m: got -8; a positive whole number is required"),
        ({"tile": {"m": True, "k": 16, "n": 4}}, "t.tile.m: got True; a positive whole number is required"),
        ({"tile": {"m": 8, "k": 16, "n": 0}}, "t.tile.n: got 0; a positive whole number is required"),
        ({"cores": {"m": 0, "n": 1}}, "t.cores.m: got 0; a positive whole number is required"),
        ({"tiles": {}}, "t.tiles; unknown field; did you mean 'tile'? known: cores, dataflow, deal, keep, tile"),
    ],
)
def test_illegal_tiles_are_refused(change: dict[str, Any], text: str) -> None:
    assert ENGINE.mapping_from_dict is not None
    with pytest.raises(ChipsmithError) as error:
        ENGINE.mapping_from_dict({**TILE, **change}, np.zeros(1, MAPPING)[0], "t")
    assert str(error.value) == text


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    with pytest.raises(ChipsmithError) as missing:
        load_mapping(path)
    assert str(missing.value).startswith(f"{path}; cannot be read: ")
    path.write_text("a: [1,")
    with pytest.raises(ChipsmithError) as broken:
        load_mapping(path)
    assert str(broken.value).startswith(f"{path}:2: not valid YAML; ")
    path.write_text("tile: {}\n")
    with pytest.raises(ChipsmithError) as unknown:
        load_mapping(path)
    assert str(unknown.value) == f"{path}.tile; unknown field; did you mean 'tiles'? known: engines, tiles"


def test_operators_go_to_the_first_engine_that_takes_them_or_where_the_mapping_says() -> None:
    spec = chip().with_fields({})
    spec = spec.model_copy(update={"engines": {**spec.engines, "second": spec.engines["npu"]}})
    trace = chain(gemm(4, 4, 4, "a"), gemm(4, 4, 4, "b"), vector("softmax", "softmax", 4, 4, "c"),
                  collective("all_gather", 4, 4, 2, "d"))  # fmt: skip
    placed = place(trace, spec, Mapping("given", {"b": "second"}))
    assert placed.names == ("npu", "vector", "second", "link:ici")
    assert placed.paths == ("engines.npu", "engines.vector", "engines.second", "links.ici")
    assert placed.engine_of == {0: 0, 1: 2, 2: 1, 3: 3}


def test_a_file_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    for text in ("[" * 200_000 + "]" * 200_000, "- " * 200_000, "{a: " * 101 + "}" * 101):
        path.write_text(text)
        with pytest.raises(ChipsmithError) as deep:
            load_mapping(path)
        assert str(deep.value) == f"{path}: not valid YAML; nested more than 100 levels deep"
