"""Kill commands with SIGKILL at random moments: ``python -m benchmarks.kill [--n 200] [--seed 0]``.

What must hold after each kill:

- ``trace`` and ``run``: every file they write is absent, the old one, or the whole new one;
- ``explore``: the study opens, holds at least the designs that it held after the kill before, none of them twice,
  and once it may finish equals, row for row, the study of an undisturbed process.

A moment of ``trace`` and ``run`` is drawn uniformly over what the command takes undisturbed. ``explore`` is killed
from shortly before it stores its next design on, often enough to be struck about ten times before it is done.
SIGKILL leaves no time to remove a temporary
file; its hidden name (``.name.xxxx``) is never taken for a result.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chipsmith.output import add_format_argument, emit, progress, table

_ROOT = Path(__file__).resolve().parent.parent
_MODEL = ("--model", "opt-125m", "--batch", "4", "--context", "256")
OLD = b"the file that was there before\n"


@dataclass(frozen=True)
class Outcome:
    """What the kills of one command met.

    Attributes:
        command: its name.
        kills: processes killed while they ran. finished: processes that were faster than their kill.
        absent, old, whole: files found in these states after a kill. resumed: designs found after the kills, in order.
    """

    command: str
    kills: int
    finished: int
    absent: int = 0
    old: int = 0
    whole: int = 0
    resumed: tuple[int, ...] = ()


class HalfWrittenError(AssertionError):
    """A kill left something that must not be."""


def _start(arguments: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "chipsmith", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _finish(arguments: Sequence[str], folder: Path) -> float:
    """Run undisturbed; returns its seconds."""
    begin = time.perf_counter()
    process = _start(arguments, folder)
    _, errors = process.communicate()
    if process.returncode != 0:
        raise HalfWrittenError(f"{' '.join(arguments)}: exit {process.returncode}: {errors.decode()}")
    return time.perf_counter() - begin


def _killed(arguments: Sequence[str], folder: Path, delay_s: float) -> bool:
    """Kill after ``delay_s``; returns whether it still ran then."""
    process = _start(arguments, folder)
    try:
        process.communicate(timeout=delay_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    return False


def kill_writer(command: str, arguments: Sequence[str], files: Sequence[str], n: int, seed: int) -> Outcome:
    """Kill a command that writes ``files`` ``n`` times, every second time with old files in place.

    Raises:
        HalfWrittenError: a file is neither absent, nor the old one, nor the whole new one.
    """
    generator = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _finish(arguments, folder)  # once to fill caches
        takes_s = _finish(arguments, folder)
        whole = {file: (folder / file).read_bytes() for file in files}
        kills, states = 0, {"absent": 0, "old": 0, "whole": 0}
        for attempt in range(n):
            for file in files:
                (folder / file).write_bytes(OLD) if attempt % 2 else (folder / file).unlink(missing_ok=True)
            kills += _killed(arguments, folder, float(generator.uniform(0, takes_s)))
            for file in files:
                states[_state(folder / file, whole[file])] += 1
    return Outcome(command, kills, n - kills, states["absent"], states["old"], states["whole"])


def _state(path: Path, whole: bytes) -> str:
    if not path.exists():
        return "absent"
    found = path.read_bytes()
    if found not in (OLD, whole):
        raise HalfWrittenError(
            f"{path.name}: {len(found)} bytes, neither the old {len(OLD)} nor the whole {len(whole)}"
        )
    return "old" if found == OLD else "whole"


def _designs(study: Path) -> list[tuple[object, ...]]:
    """Every stored design in order, [] where there is no study yet."""
    if not study.exists():
        return []
    command = [sys.executable, "-m", "chipsmith", "study", "export", study.name, "-o", "trials.csv"]
    done = subprocess.run(command, cwd=study.parent, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        if "holds no design" in done.stderr or not _has_rows(study):
            return []
        raise HalfWrittenError(f"study export: exit {done.returncode}: {done.stderr}")
    return [tuple(line.split(",")) for line in (study.parent / "trials.csv").read_text().splitlines()[1:]]


def _has_rows(study: Path) -> bool:
    """Whether the file has any table with rows (a study killed while it was made has none)."""
    try:
        with sqlite3.connect(f"file:{study}?mode=ro", uri=True) as db:
            names = [row[0] for row in db.execute("select name from sqlite_master where type = 'table'")]
            return any(db.execute(f"select 1 from {name} limit 1").fetchone() for name in names)
    except sqlite3.DatabaseError:
        return False


def _stored(study: Path) -> int:
    """Designs in the file, without loading them; 0 where there is none yet."""
    try:
        with sqlite3.connect(f"file:{study}?mode=ro", uri=True) as db:
            return int(db.execute("select count(*) from designs").fetchone()[0])
    except sqlite3.DatabaseError:
        return 0


def kill_explore(n: int, seed: int, budget: int = 4000, rounds_of: int = 10) -> Outcome:
    """Kill ``explore`` ``n`` times; after every ``rounds_of`` kills of a study it may finish and is compared.

    Raises:
        HalfWrittenError: a design is lost, stored twice, or differs from the undisturbed study's.
    """
    generator = np.random.default_rng(seed)
    kills = finished = 0
    resumed: list[int] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = _exploration(budget)
        _finish(arguments, folder)
        expected = _designs(folder / "s.db")
        (folder / "s.db").unlink()
        first_s, takes_s = _next_design_and_end(arguments, folder / "s.db")
        share_s = (takes_s - first_s) / rounds_of
        (folder / "s.db").unlink()
        _killed(arguments, folder, first_s + share_s)
        again_s, _ = _next_design_and_end([*arguments, "--resume"], folder / "s.db")
        while kills + finished < n:
            (folder / "s.db").unlink(missing_ok=True)
            before: list[tuple[object, ...]] = []
            for _ in range(min(rounds_of, n - kills - finished)):
                more = ["--resume"] if (folder / "s.db").exists() else []
                ready_s = again_s if more else first_s
                moment_s = float(generator.uniform(0.9 * ready_s, ready_s + 1.5 * share_s))
                struck = _killed([*arguments, *more], folder, moment_s)
                kills, finished = kills + struck, finished + (not struck)
                found = _designs(folder / "s.db")
                _compare(before, found, expected)
                before = found
                resumed.append(len(found))
            _finish([*arguments, *(["--resume"] if (folder / "s.db").exists() else [])], folder)
            _compare(expected, _designs(folder / "s.db"), expected)
    return Outcome("explore", kills, finished, resumed=tuple(resumed))


def _next_design_and_end(arguments: Sequence[str], study: Path) -> tuple[float, float]:
    """Seconds from the start to the next stored design and to the end of an undisturbed process."""
    held, begin = _stored(study), time.perf_counter()
    process = _start(arguments, study.parent)
    while process.poll() is None and _stored(study) <= held:
        time.sleep(0.02)
    next_s = time.perf_counter() - begin
    process.communicate()
    return next_s, time.perf_counter() - begin


def _exploration(budget: int) -> list[str]:
    options = f"--budget {budget} --population 40 --seed 3 --study s.db"
    return ["explore", "npu", *_MODEL, *options.split()]


def _compare(
    before: Sequence[tuple[object, ...]],
    found: Sequence[tuple[object, ...]],
    expected: Sequence[tuple[object, ...]],
) -> None:
    if len(found) < len(before):
        raise HalfWrittenError(f"explore: {len(before)} designs were stored, {len(found)} are there")
    for place, (ours, theirs) in enumerate(zip(found, expected, strict=False)):
        if ours != theirs:
            raise HalfWrittenError(f"explore: design {place} is {ours}, undisturbed {theirs}")
    if len(found) > len(expected):
        raise HalfWrittenError(f"explore: {len(found)} designs of {len(expected)}: some were evaluated twice")


def kill_all(n: int, seed: int) -> list[Outcome]:
    """Share ``n`` kills among the three commands."""
    third = n // 3
    run_files = ("map.yaml", "timeline.json")
    run = ["run", "--chip", "tpu_v4", *_MODEL, "--save-mapping", run_files[0], "--perfetto", run_files[1]]
    trace = ["trace", "opt-125m", "--phase", "decode", "-o", "t.parquet"]
    progress(f"{third} kills of trace")
    found = [kill_writer("trace", trace, ["t.parquet"], third, seed)]
    progress(f"{third} kills of run")
    found.append(kill_writer("run", run, run_files, third, seed + 1))
    progress(f"{n - 2 * third} kills of explore")
    return [*found, kill_explore(n - 2 * third, seed + 2)]


def main(argv: Sequence[str]) -> int:
    """Kill, check, and print what was found."""
    parser = argparse.ArgumentParser(prog="benchmarks.kill", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=200, help="kills in all (default 200)")
    parser.add_argument("--seed", type=int, default=0)
    add_format_argument(parser)
    args = parser.parse_args(argv)
    rows = [{**vars(outcome), "resumed": json.dumps(outcome.resumed)} for outcome in kill_all(args.n, args.seed)]
    emit(rows, lambda: table(rows) + "\nnothing lost, duplicated or half-written", args)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
