from __future__ import annotations

import json

import pytest

from benchmarks import run
from benchmarks.measure import Row, timed

OURS = Row("price", "chipsmith", (2.0, 1.0, 4.0), items=10, unit="designs")
PEER = Row("price", "peer", (6.0,), note="one thread")


def test_medians_and_rates() -> None:
    assert (OURS.median_s, OURS.rate_hz) == (2.0, 5.0)
    assert PEER.rate_hz is None


def test_warm_ups_run_but_are_not_counted() -> None:
    calls: list[int] = []
    assert len(timed(lambda: calls.append(1), repeats=3, warm_ups=2)) == 3
    assert len(calls) == 5


def test_the_report_compares_with_ours(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(run, "rows_of", lambda name: [OURS, PEER])
    assert run.main(["startup", "--format", "json"]) == 0
    ours, peer = json.loads(capsys.readouterr().out)
    assert (ours["times ours"], ours["rate"], ours["of"]) == (None, 5.0, "designs/s")
    assert (peer["times ours"], peer["median_s"], peer["note"]) == (3.0, 6.0, "one thread")


def test_every_benchmark_has_a_main() -> None:
    import importlib

    assert "startup" in run.names()
    for name in run.names():
        assert callable(importlib.import_module(f"benchmarks.bench_{name}").main)


def test_an_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run.main(["startp"])
    assert stop.value.code == 2
    assert "benchmark: got 'startp'; did you mean 'startup'? known: " in capsys.readouterr().err
