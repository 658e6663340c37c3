"""A study that is killed at any moment loses nothing that it reported and evaluates nothing of that again."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dse.study import Study

ROOT = Path(__file__).parents[2]
BUDGET, POPULATION = 240, 8

# The evaluator notes every design before it is evaluated; the progress call notes how many designs were reported.
SCRIPT = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
import conftest
from dse.space import Space
from dse.study import Study
from models.chip import load_chip

sizes = {"log2": {"low": 4, "high": 256}}
space = Space(load_chip("tpu_v4"), {conftest.ROWS: sizes, conftest.COLS: sizes, conftest.CORES: [1, 2, 4, 8, 16]})

def note(line):
    os.write(notes, (line + "\\n").encode())

class FakeEvaluator(conftest.FakeEvaluator):
    def __call__(self, table, trace, mapping="auto", fidelity="tile"):
        for row in zip(*(table.column(p).tolist() for p in (conftest.ROWS, conftest.COLS, conftest.CORES))):
            note("asked %d %d %d" % row)
        time.sleep(0.02)
        return super().__call__(table, trace)

notes = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
FakeEvaluator.__qualname__ = "FakeEvaluator"
with Study(space, conftest.make_trace(), ["area_mm2", "tpot_s"], sampler="nsga2", store=sys.argv[2], seed=4,
           population=int(sys.argv[5]), evaluator=FakeEvaluator(), resume=os.path.exists(sys.argv[2])) as study:
    note("reported %d" % len(study))
    study.run(int(sys.argv[4]), progress=lambda state: note("reported %d" % state.designs))
"""


# Every SQL statement is a moment to die at: the child kills itself before the one whose turn it is.
STATEMENTS = """
import os, signal, sqlite3, sys
sys.path.insert(0, sys.argv[1])
import conftest
import dse.store
from dse.space import Space
from dse.stored import open_study
from dse.study import Study
from models.chip import load_chip
from workloads.errors import ChipsmithError

sizes = {"log2": {"low": 4, "high": 256}}
space = Space(load_chip("tpu_v4"), {conftest.ROWS: sizes, conftest.COLS: sizes, conftest.CORES: [1, 2, 4, 8, 16]})
path, budget, connect = sys.argv[2], int(sys.argv[3]), sqlite3.connect

def study(store=path):
    resume = store is not None and os.path.exists(store) and os.path.getsize(store) > 0
    return Study(space, conftest.make_trace(), ["area_mm2", "tpot_s"], sampler="nsga2", store=store, seed=4,
                 population=8, evaluator=conftest.FakeEvaluator(), resume=resume)

def die_at(turn):
    left = [turn]
    def count(statement):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    def watched(*args, **kwargs):
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(count)
        return connection
    dse.store.sqlite3.connect = watched

def stored():
    try:
        with open_study(path) as found:
            return found.trials
    except ChipsmithError as error:
        assert str(error).endswith(("there is no such study; chipsmith explore --study FILE.db makes one",
                                    "holds no study yet")), error
        return expected.iloc[:0]

with study(None) as undisturbed:
    undisturbed.run(budget)
    expected = undisturbed.trials
turns, killed, before = [int(t) for t in sys.argv[4].split(",")], 0, 0
for turn in turns:
    child = os.fork()
    if child == 0:
        die_at(turn)
        with study() as running:
            running.run(budget)
        os._exit(0)
    killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    trials = stored()
    assert len(trials) >= before and trials.equals(expected.iloc[:len(trials)]), turn
    before = len(trials)
with study() as last:
    last.run(budget)
    assert last.trials.equals(expected)
assert stored().equals(expected)
print(killed, before)
"""


def start(store: Path, notes: Path) -> subprocess.Popen[bytes]:
    arguments = [str(Path(__file__).parent), str(store), str(notes), str(BUDGET), str(POPULATION)]
    return subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], cwd=ROOT, stderr=subprocess.PIPE)


def kill_later(process: subprocess.Popen[bytes], notes: Path, delay_s: float) -> None:
    """Kill once the process has done something new, after a random delay."""
    before = notes.stat().st_size if notes.exists() else 0
    while process.poll() is None and (not notes.exists() or notes.stat().st_size == before):
        time.sleep(0.005)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def lines(notes: Path) -> list[list[str]]:
    return [line.split() for line in notes.read_text().splitlines()]


def reported(notes: Path) -> int:
    return max([int(line[1]) for line in lines(notes) if line[0] == "reported"], default=0)


def test_nothing_reported_is_lost_or_evaluated_again(tmp_path: Path, make_study: Callable[..., Study]) -> None:
    store, notes = tmp_path / "s.db", tmp_path / "notes"
    rng = np.random.default_rng(12)
    for _ in range(3):
        kill_later(start(store, notes), notes, float(rng.random()) * 0.15)
        told_before = reported(notes)
        done = len(lines(notes))
    last = start(store, notes)
    assert last.wait() == 0, last.communicate()
    last.communicate()
    resumed_at = int(lines(notes)[done][1])
    assert resumed_at >= told_before > 0
    with make_study(store=store, resume=True, seed=4, population=POPULATION) as study:
        assert len(study) == BUDGET
        stored = study.trials
    with make_study(seed=4, population=POPULATION) as undisturbed:
        undisturbed.run(BUDGET)
        expected = undisturbed.trials
    assert stored.equals(expected)
    check_no_repetition(lines(notes))


def check_no_repetition(found: list[list[str]]) -> None:
    """Between two asks for the same design lies a kill that struck before it was reported."""
    safe: set[tuple[str, ...]] = set()
    open_designs: list[tuple[str, ...]] = []
    for kind, *rest in found:
        if kind == "asked":
            assert tuple(rest) not in safe, f"{rest} was reported and evaluated again"
            open_designs.append(tuple(rest))
        elif len(safe) + len(open_designs) == int(rest[0]):
            safe.update(open_designs)
            open_designs = []
        elif len(safe) == int(rest[0]):  # a restart: what was open was not stored
            open_designs = []
        else:
            raise AssertionError(f"{len(safe)} designs were reported, {rest[0]} are there")
    assert len(safe) == BUDGET


def test_a_study_that_dies_at_any_statement_goes_on_where_it_was(tmp_path: Path) -> None:
    early, later = list(range(1, 18)), np.random.default_rng(3).integers(10, 60, 8).tolist()
    turns = ",".join(map(str, early + later))
    arguments = [str(Path(__file__).parent), str(tmp_path / "s.db"), str(BUDGET), turns]
    done = subprocess.run([sys.executable, "-c", STATEMENTS, *arguments], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    killed, designs = map(int, done.stdout.split())
    assert killed == len(early) + len(later)
    assert 0 < designs < BUDGET
