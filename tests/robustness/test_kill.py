"""A few of the kills of ``python -m benchmarks.kill``, which makes as many as are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import kill

pytestmark = pytest.mark.xdist_group("kill")


def test_a_killed_trace_leaves_the_old_file_the_new_one_or_none() -> None:
    arguments = ["trace", "opt-125m", "--phase", "decode", "-o", "t.jsonl"]
    found = kill.kill_writer("trace", arguments, ["t.jsonl"], n=3, seed=5)
    assert found.kills + found.finished == 3
    assert found.absent + found.old + found.whole == 3


def test_a_killed_exploration_goes_on_where_it_was_and_ends_like_an_undisturbed_one() -> None:
    found = kill.kill_explore(n=2, seed=1, budget=600)
    assert found.kills + found.finished == 2
    assert list(found.resumed) == sorted(found.resumed)
    assert max(found.resumed) <= 600


def test_half_a_file_is_noticed(tmp_path: Path) -> None:
    whole = b"all of it\n"
    file = tmp_path / "t.jsonl"
    assert kill._state(file, whole) == "absent"
    file.write_bytes(whole[:4])
    with pytest.raises(kill.HalfWrittenError, match=r"t\.jsonl: 4 bytes, neither the old 31 nor the whole 10"):
        kill._state(file, whole)
    file.write_bytes(kill.OLD)
    assert kill._state(file, whole) == "old"


def test_a_lost_a_changed_and_a_doubled_design_are_noticed() -> None:
    expected: list[tuple[object, ...]] = [("1", "2"), ("3", "4")]
    with pytest.raises(kill.HalfWrittenError, match="explore: 2 designs were stored, 1 are there"):
        kill._compare(expected, expected[:1], expected)
    with pytest.raises(kill.HalfWrittenError, match=r"explore: design 1 is \('3', '5'\), undisturbed \('3', '4'\)"):
        kill._compare([], [("1", "2"), ("3", "5")], expected)
    with pytest.raises(kill.HalfWrittenError, match="explore: 3 designs of 2: some were evaluated twice"):
        kill._compare([], [*expected, ("5", "6")], expected)
