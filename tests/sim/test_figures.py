"""What pictures show, to the number; that they are drawn whole, repeatably and without labels on each other."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.figures import (
    breakdown_data,
    breakdown_figure,
    comparison_data,
    comparison_figure,
    roofline_compare_figure,
    roofline_data,
    roofline_figure,
    timeline_data,
    timeline_figure,
)
from sim.pictures import canvas, labels, palette, roofline
from sim.pictures.breakdown_data import ENERGY_GROUPS, TimeBar, time_parts_s
from sim.pictures.roofline_data import Point, roofline_labels
from sim.pictures.timeline_data import engine_rows, resource_steps, windows
from sim.pictures.words import join_names, phase_of, si, subject, time_unit
from sim.result import Result
from workloads.errors import ChipsmithError

from .drawn import MEMORY, layered, op, result

DRAW: tuple[Callable[[Result, Path], None], ...] = (roofline_figure, breakdown_figure, timeline_figure)
seconds = st.floats(1e-9, 1e-3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (6.144e11, "614 GB"),
        (0.0642, "64.2 mB"),
        (0.062, "62.0 mB"),
        (1.2e12, "1.20 TB"),
        (9.996, "10.0 B"),
        (99.96, "100 B"),
        (999.6, "1.00 kB"),
        (3.28e-4, "328 µB"),
        (5e-8, "50.0 nB"),
        (0.0, "0 B"),
    ],
)
def test_si_shows_three_digits(value: float, text: str) -> None:
    assert si(value, "B") == text


def test_a_time_gets_the_unit_in_which_it_is_at_least_one() -> None:
    assert [time_unit(t)[1] for t in (2.0, 0.5, 1e-3, 2e-5, 1e-6, 9e-7)] == ["s", "ms", "ms", "µs", "µs", "ns"]
    assert time_unit(2e-5)[0] == 1e-6


def test_names_with_one_ending_are_joined() -> None:
    assert join_names(["layer.q_proj", "layer.k_proj", "lm_head"]) == "q/k_proj, lm_head"
    assert join_names(["attention", "layer.mlp_add", "rope"]) == "attention, rope, mlp_add"


def test_titles_say_model_phase_batch_and_chip() -> None:
    assert subject(result()) == "toy decode, 2 requests, on tpu_v4"
    one = result(meta={"model": "toy", "phase": "prefill", "requests": 1})
    assert subject(one) == "toy prefill, 1 request, on tpu_v4"
    assert phase_of(result(meta={})) == "decode"
    assert phase_of(result((op("a"), op("b", phase="prefill")), meta={})) == "mixed"


# Roofline


def test_a_point_is_operations_over_bytes_and_over_time() -> None:
    data = roofline_data(result())
    proj = next(p for p in data.points if p.name == "layer.proj")
    assert proj.intensity == 200.0  # 2 x 6e6 over 60 kB
    assert proj.rate == pytest.approx(3e12)  # and over 4 us
    assert proj.time_s == pytest.approx(16e-6)
    assert proj.share == pytest.approx(0.4)  # of 4 + 16 + 16 + 4 us
    norm = next(p for p in data.points if p.name == "layer.norm")
    assert norm.intensity == 1000 / 60_000
    assert data.left_out == ("embed",)
    assert [p.time_s for p in data.points] == sorted((p.time_s for p in data.points), reverse=True)


def test_ceilings_are_those_of_the_chip() -> None:
    data = roofline_data(result())
    assert [(r.engine, r.formats, r.rate) for r in data.compute] == [
        ("npu", "fp16", 2 * 128 * 128 * 4 * 1e9),
        ("vector", "fp32", 4 * 1024 * 1e9),
    ]
    (memory,) = data.memory
    chip = result().chip.memories["dram"]
    assert memory.peak == chip.bandwidth_bytes_per_s
    assert memory.streaming == chip.bandwidth_bytes_per_s * chip.streaming_efficiency
    assert data.ridge == data.compute[0].rate / memory.peak


def test_the_ceiling_names_both_formats_where_they_differ() -> None:
    chip = result().chip.with_fields({"engines.npu.weight_dtype": "int8"})
    assert roofline_data(replace(result(), chip=chip)).compute[0].formats == "fp16 x int8"


def test_engines_that_run_nothing_have_no_ceiling() -> None:
    assert [roof.engine for roof in roofline_data(result((op("proj"),))).compute] == ["npu"]


def test_the_whole_trace_is_all_work_over_all_traffic() -> None:
    total = roofline_data(result()).total
    assert total is not None
    work = 2 * 6_000_000 * 5 + 1000 * 4
    assert total.intensity == work / (60_000 * 10)
    assert total.rate == work / 25e-6


def test_points_on_each_other_share_a_label() -> None:
    def point(name: str, intensity: float, time_s: float) -> Point:
        return Point(name, "gemm", "npu", "npu", intensity, 1e12, time_s, time_s)

    points = [point("q_proj", 10.0, 0.5), point("k_proj", 10.5, 0.3), point("head", 12.0, 0.195), point("x", 1, 0.005)]
    labels = roofline_labels(points)
    assert [(x.text, x.intensity, x.share) for x in labels] == [("q/k_proj", 10.0, 0.8), ("head", 12.0, 0.195)]
    assert len(roofline_labels(points, least_share=0.0)) == 3
    assert len(roofline_labels(points, least_share=0.0, most=1)) == 1
    many = [point(f"operator{i}", 10.0, 0.1) for i in range(9)]
    assert roofline_labels(many)[0].text == "operator0, operator1, operator2 + 6 more"
    assert roofline_labels(many[:3])[0].text == "operator0, operator1, operator2"
    assert roofline_labels([point("x" * 50, 10.0, 0.1)])[0].text == "x" * 50


def test_a_result_without_traffic_has_no_roofline(tmp_path: Path) -> None:
    silent = result((op("proj", bytes={}),))
    with pytest.raises(ChipsmithError) as error:
        roofline_figure(silent, tmp_path / "r.png")
    expected = "no operator has both operations and off-chip traffic"
    assert str(error.value) == f"roofline: got 'toy decode, 2 requests, on tpu_v4'; {expected}"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ChipsmithError, match=r"^results; at least one result is needed$"):
        roofline_compare_figure([], tmp_path / "r.png")


# Breakdown


def test_an_operators_time_is_engine_wait_and_latency() -> None:
    assert time_parts_s(op("a", count=2)) == pytest.approx({"npu": 4e-6, MEMORY: 2e-6, "latency": 2e-6})
    bound = op("a", busy_s=3e-6, needs_s={MEMORY: 1e-6})
    assert time_parts_s(bound) == pytest.approx({"npu": 3e-6, "latency": 1e-6})
    same_name = op("a", engine="vector", busy_s=1e-6, needs_s={"vector": 3e-6}, fixed_s=0.0)
    assert time_parts_s(same_name) == pytest.approx({"vector": 3e-6})


@given(fixed=seconds, busy=seconds, needs=st.lists(seconds, max_size=3), count=st.integers(1, 80))
def test_parts_of_the_time_sum_to_the_duration(fixed: float, busy: float, needs: list[float], count: int) -> None:
    names = (MEMORY, "npu", "link:a")
    duration = fixed + max([busy, *needs])
    one = op("a", fixed_s=fixed, busy_s=busy, duration_s=duration, count=count)
    one = replace(one, needs_s=dict(zip(names, needs, strict=False)))
    assert sum(time_parts_s(one).values()) == pytest.approx(duration * count)
    assert TimeBar("a", "gemm", time_parts_s(one)).total_s == pytest.approx(duration * count)


def test_small_operators_become_one_bar_and_no_time_is_lost() -> None:
    many = result(tuple(op(f"op{i}", count=i + 1) for i in range(20)))
    data = breakdown_data(many, most=5)
    assert [bar.name for bar in data.times] == ["op19", "op18", "op17", "op16", "op15", "15 others"]
    assert sum(bar.total_s for bar in data.times) == pytest.approx(4e-6 * 210)
    exact = breakdown_data(result(tuple(op(f"op{i}") for i in range(6))), most=5)
    assert [bar.name for bar in exact.times] == [f"op{i}" for i in range(6)]


def test_energy_is_ordered_by_group_and_area_by_size() -> None:
    data = breakdown_data(result())
    assert data.energy_j == {"mac": 0.2, "sram": 0.3, "dram_core": 0.1, "clock": 0.4}
    assert list(data.energy_j) == ["mac", "sram", "dram_core", "clock"]
    assert data.energy_group["dram_core"] == "DRAM"
    assert list(data.area_mm2.items()) == [("vector.lanes", 70.0), ("npu.mac_array", 30.0)]
    assert data.limits == {MEMORY: 0.75, "npu": 0.25}


def test_every_energy_component_belongs_to_one_group() -> None:
    from sim.evaluate import COMPONENTS

    assert sorted(name for names in ENERGY_GROUPS.values() for name in names) == sorted(COMPONENTS)


# Timeline


def test_blocks_that_repeat_last_until_the_next_one() -> None:
    found = [(w.block, w.count, w.begin_s, w.first_end_s, w.end_s) for w in windows(result())]
    assert found == [
        ("embed", 1, 0.0, 1e-6, 1e-6),
        ("layers", 4, 1e-6, 6e-6, 21e-6),
        ("head", 1, 21e-6, 25e-6, 25e-6),
    ]


def test_a_last_block_that_repeats_lasts_to_the_end() -> None:
    (window,) = windows(result((op("a", count=3),), latency_s=12e-6))
    assert (window.first_end_s, window.end_s) == (4e-6, 12e-6)


def test_iterations_that_are_not_drawn_are_cut_out() -> None:
    data = timeline_data(result(), gap_share=0.1)
    (cut,) = data.cuts
    gap = 0.1 * 10e-6
    assert (cut.block, cut.iterations) == ("layers", 3)
    assert [cut.begin_s, cut.end_s] == pytest.approx([6e-6, 6e-6 + gap])
    assert cut.skipped_s == pytest.approx(15e-6)
    head = data.bars[-1]
    assert [head.begin_s, head.end_s] == pytest.approx([6e-6 + gap, 10e-6 + gap])
    assert data.span_s == head.end_s
    assert data.rows == ("npu", "vector")


def test_links_come_after_the_chips_engines() -> None:
    ops = (op("reduce", engine="link:ici", kind="collective"), *layered())
    assert engine_rows(result(ops)) == ("npu", "vector", "link:ici")


def test_use_of_a_resource_is_need_over_time() -> None:
    steps = resource_steps([(0.0, 2.0, {"m": 1.0}), (1.0, 3.0, {"m": 0.5, "v": 2.0}), (5.0, 6.0, {"v": 0.25})])
    assert steps["m"].edges_s.tolist() == [0.0, 1.0, 2.0, 3.0, 5.0, 6.0]
    assert steps["m"].share.tolist() == [0.5, 0.75, 0.25, 0.0, 0.0]
    assert steps["v"].share.tolist() == [0.0, 1.0, 1.0, 0.0, 0.25]
    assert resource_steps([(1.0, 1.0, {"m": 0.0})]) == {}


@given(st.lists(st.tuples(seconds, seconds, seconds), min_size=1, max_size=12))
def test_the_area_under_a_resources_use_is_what_is_needed(runs: list[tuple[float, float, float]]) -> None:
    steps = resource_steps([(begin, begin + length, {"m": need}) for begin, length, need in runs])["m"]
    assert np.diff(steps.edges_s) @ steps.share == pytest.approx(sum(need for _, _, need in runs))


# Comparison


def pair(chip: str, **changes: Any) -> list[Result]:
    metas = [{"model": "toy", "phase": phase} for phase in ("prefill", "decode")]
    return [result(meta=meta, chip_name=chip, **changes) for meta in metas]


def test_chips_are_compared_by_phase() -> None:
    data = comparison_data([*pair("a"), pair("b", latency_s=50e-6, energy_j=3.0, area_mm2=7.0)[1]])
    assert (data.models, data.labels) == (("toy",), ("a", "b"))
    assert [(panel.name, panel.unit) for panel in data.panels] == [
        ("Time to first token", "s"),
        ("Time per output token", "s"),
        ("Energy per token", "J"),
        ("Area of the modelled blocks", "mm²"),
    ]
    values = [{name: [m.value for m in row] for name, row in panel.series.items()} for panel in data.panels]
    assert values == [
        {"prefill": [25e-6, None]},
        {"decode": [25e-6, 50e-6]},
        {"prefill": [0.5, None], "decode": [0.5, 1.5]},
        {"area": [100.0, 7.0]},
    ]
    assert [m.interval_pct for m in data.panels[1].series["decode"]] == [2.5, 2.5]
    assert data.panels[2].series["decode"][0].interval_pct is None


def test_several_models_are_told_apart() -> None:
    other = result(meta={"model": "big", "phase": "decode"}, chip_name="a")
    assert comparison_data([*pair("a"), other]).labels == ("a\ntoy", "a\nbig")


def test_a_comparison_refuses_doubles_and_nothing() -> None:
    with pytest.raises(ChipsmithError) as error:
        comparison_data([*pair("a"), *pair("a")])
    assert str(error.value) == "results[2]: got 'toy prefill on a'; one result per chip, model and phase"
    with pytest.raises(ChipsmithError, match=r"^results; at least one result is needed$"):
        comparison_data([])


# Drawing


def png_size(path: Path) -> tuple[int, int]:
    raw = path.read_bytes()
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    assert raw[-8:-4] == b"IEND"
    wide, high = struct.unpack(">II", raw[16:24])
    return int(wide), int(high)


@pytest.mark.parametrize("draw", DRAW, ids=lambda f: str(getattr(f, "__name__", "")))
def test_pictures_are_whole_and_the_same_every_time(draw: Callable[[Result, Path], None], tmp_path: Path) -> None:
    odd = result(tuple(replace(o, name=o.name.replace("proj", "a$b_{c$")) for o in layered()))
    draw(odd, tmp_path / "one.png")
    draw(odd, tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    wide, high = png_size(tmp_path / "one.png")
    assert wide >= 1200
    assert high >= 500
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.png", "two.png"]


@pytest.mark.parametrize("draw", [roofline_compare_figure, comparison_figure])
def test_several_results_in_one_picture(draw: Callable[[Sequence[Result], Path], None], tmp_path: Path) -> None:
    draw([*pair("a"), pair("b", latency_s=5e-3)[1]], tmp_path / "all.png")
    assert png_size(tmp_path / "all.png")[0] >= 1200


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    target = tmp_path / "none" / "r.png"
    with pytest.raises(ChipsmithError) as error:
        breakdown_figure(result(), target)
    assert str(error.value) == f"{target}; cannot be written: No such file or directory"


def test_labels_cover_neither_points_nor_each_other(tmp_path: Path) -> None:
    from matplotlib.text import Text

    ops = tuple(op(f"n{i}", macs=6_000_000 + 1_500_000 * i, bytes={"dram_read": 60_000 + 9_000 * i}) for i in range(8))
    data = roofline_data(result(ops))
    with canvas.picture(tmp_path / "x.png", 9.0, 6.0) as figure:
        axes = figure.add_subplot()
        roofline._roofline_frame(axes, [data], room=20)
        canvas.settle(figure)
        boxes = labels.place_labels(axes, roofline_labels(data.points), data.points)
        points = [labels.point_box(axes, point) for point in data.points]
    words = [text for text in axes.texts if text.get_text()]
    drawn = [labels.box_of(Text.get_window_extent(text)) for text in words]
    assert len(words) == len(boxes) >= 4
    assert all(labels.within(inner, outer) for inner, outer in zip(drawn, boxes, strict=True))
    assert not any(labels.overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert not any(labels.overlap(box, point) for box in boxes for point in points)


def test_text_is_readable_on_its_bar() -> None:
    assert palette.text_colour("#0072B2") == "white"
    assert palette.text_colour("#E69F00") == palette.BLACK


def test_every_kind_has_its_own_colour() -> None:
    from workloads.trace import KINDS

    assert sorted(palette.KIND_COLOURS) == sorted(KINDS)
    assert len(set(palette.KIND_COLOURS.values())) == len(KINDS)


def test_importing_figures_loads_no_drawing_library() -> None:
    heavy = ("matplotlib", "plotly", "pandas")
    code = f"import sys, sim.figures, sim.perfetto; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
