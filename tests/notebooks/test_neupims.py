"""The notebook on NeuPIMs: what its text claims about its stored numbers."""

from __future__ import annotations

import pytest

from .running import stored_results

pytestmark = pytest.mark.notebook


def test_gains_are_those_of_the_paper_only_over_a_single_queue() -> None:
    ratios = stored_results("04_neupims")["ratios"]
    assert ratios["... over NPU+PIM behind one queue"] == pytest.approx(1.6, rel=0.1)
    assert ratios["... split where it pays"] < 1.2
    assert ratios["... split where it pays"] >= ratios["NeuPIMs / NPU+PIM"]
    assert ratios["NPU+PIM / NPU only"] > 1.2


def test_a_second_row_buffer_pays_with_sub_batches_only() -> None:
    ablation = stored_results("04_neupims")["ablation"]
    assert ablation["two row buffers"] == pytest.approx(1)
    assert ablation["and two sub-batches"] > 1.2 * ablation["one row buffer, two sub-batches"]


def test_utilisation_is_near_the_paper_where_the_text_says_so() -> None:
    table = stored_results("04_neupims")["table4"]
    assert table["NPU only"]["npu useful %"] == pytest.approx(28.0, abs=4)
    assert table["NeuPIMs"]["pim busy %"] == pytest.approx(26.4, abs=4)
    assert table["NeuPIMs"]["npu useful %"] < 64.9 < table["NeuPIMs"]["npu busy %"]
