"""The kernel cache never returns stale numbers, does without a writable folder, and survives dying workers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
# They compile kernels in fresh processes: one worker does them all, one after the other.
pytestmark = pytest.mark.xdist_group("jit")

# The vector engine alone (serial loop) and in a table (parallel loop); both call stream_efficiency in another file.
VECTOR = """
import json
import numpy as np
from sim.demand import OP
from sim.engine import new_demands
from sim.engines import vector
found = []
for n in (1, 3):
    ops, params = np.zeros(1, OP), np.zeros(n, vector.PARAMS)
    for name in ("m", "count", "width", "passes", "in_bytes"):
        ops[name] = 64
    for name in vector.PARAMS.names:
        params[name] = 1
    params["units"], params["interference"] = 4, 0.5
    out, status = new_demands(n, 1), np.zeros((n, 1), np.int64)
    vector.price_rows(ops, params, np.zeros((n, 1), vector.NO_MAPPING), 0, 1, out, status)
    found.append(out["memory"][:, 0].tolist())
compiled = [sum(f.stats.cache_misses.values()) for f in (vector._loop_serial.compiled, vector._loop.compiled)]
print(json.dumps({"memory": found, "compiled": compiled}))
"""


def run(code: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "PYTHONPATH": str(folder), **env}
    settings.pop("NUMBA_CACHE_DIR", None)  # ours names it anew in each process
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=settings, capture_output=True, text=True, timeout=280, check=False
    )


def vector_run(folder: Path, cache: Path) -> dict[str, list[list[float]]]:
    done = run(VECTOR, folder, CHIPSMITH_CACHE=str(cache))
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, list[list[float]]] = json.loads(done.stdout)
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the packages that hold kernels."""
    for package in ("models", "sim", "workloads"):
        shutil.copytree(ROOT / package, tmp_path / "tree" / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "tree"


def test_an_edited_callee_in_another_file_gives_new_numbers_alone_and_in_tables(tree: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before = 64 / (1 - 0.5 * (1 - 1 / 4))
    assert vector_run(tree, cache) == {"memory": [[before], [before] * 3], "compiled": [1, 1]}
    assert vector_run(tree, cache) == {"memory": [[before], [before] * 3], "compiled": [0, 0]}
    callee = tree / "sim" / "memory" / "stream.py"
    text = callee.read_text()
    edited = text.replace("single * (1.0 - interference *", "single * (0.5 - interference *")
    assert edited != text
    callee.write_text(edited)
    after = 64 / (0.5 - 0.5 * (1 - 1 / 4))
    assert vector_run(tree, cache) == {"memory": [[after], [after] * 3], "compiled": [1, 1]}
    callee.write_text(text)
    assert vector_run(tree, cache) == {"memory": [[before], [before] * 3], "compiled": [0, 0]}


def test_every_file_with_kernels_counts(tree: Path) -> None:
    from models.jit import source_hash

    first = source_hash(tree)
    assert first == source_hash(ROOT)
    hashes = {first}
    names = ("sim/array.py", "sim/demand.py", "sim/timeline.py", "sim/engines/link.py", "sim/memory/stream.py")
    for name in (*names, "sim/memory/window.py"):
        with (tree / name).open("a") as file:
            file.write("\n# changed\n")
        hashes.add(source_hash(tree))
    assert len(hashes) == 7
    (tree / "sim" / "evidence.py").write_text("# holds no kernel\n")
    assert source_hash(tree) in hashes


SKEW = """
from models.jit import cache_folder
from sim.array import skew_cycles
print(cache_folder(), skew_cycles(4, 5, 1))
"""


def test_an_unwritable_named_folder_is_warned_about_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    done = run(SKEW, ROOT, CHIPSMITH_CACHE=str(file / "cache"))
    assert (done.returncode, done.stdout) == (0, "None 7\n")
    assert done.stderr.count("no writable cache folder; kernels are compiled anew in every process") == 1


def test_an_unwritable_home_falls_back_to_a_private_temporary_folder(tmp_path: Path) -> None:
    unset = dict.fromkeys(("CHIPSMITH_CACHE", "XDG_CACHE_HOME"), "")
    done = run(SKEW, ROOT, HOME="/dev/null", TMPDIR=str(tmp_path), **unset)
    assert (done.returncode, done.stderr) == (0, "")
    folder, cycles = done.stdout.split()
    assert Path(folder).parent == tmp_path / f"chipsmith-{os.getuid()}"
    assert cycles == "7"
    assert list(Path(folder).rglob("*.nbi"))  # and it is used


def test_the_xdg_folder_is_used(tmp_path: Path) -> None:
    done = run(SKEW, ROOT, CHIPSMITH_CACHE="", XDG_CACHE_HOME=str(tmp_path))
    assert done.stderr == ""
    assert Path(done.stdout.split()[0]).parent == tmp_path / "chipsmith"


# A parallel kernel first, then two spawned workers of which one is killed, then two more that finish.
WORKERS = """
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np

from sim.timeline import play_many

PLAN = [np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(2, np.int64), np.zeros(0, np.int64),
        np.zeros(1, np.int64), np.zeros(1, np.int64), np.ones(1, np.int64), np.ones(1, np.int64)]


def makespan(busy):
    out = np.zeros(4)
    play_many(*PLAN, np.zeros((4, 1)), np.full((4, 1), busy), np.zeros((4, 1, 1)), out)
    return out.tolist()


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    print(makespan(1.0))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        print(list(pool.map(makespan, [2.0, 3.0])))
        try:
            list(pool.map(die, [0]))
        except BrokenProcessPool:
            print("killed")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        print(list(pool.map(makespan, [4.0])))
"""


def test_spawned_workers_after_a_parallel_kernel_do_not_hang_when_one_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, timeout=280, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["[1.0, 1.0, 1.0, 1.0]", str([[2.0] * 4, [3.0] * 4]), "killed", str([[4.0] * 4])]


# ---------------------------------------------------------------- interpreted first

# The same run with kernels compiled, interpreted, and interpreted for so short a time that a call is undone.
TIERS = """
import json
import sys
from models import jit
from models.chip import load_chip
from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace
trace, chip = build_trace("llama-2-7b", Batch.decode(3, 700)), load_chip("tpu_v4")
jit.interpret_first(SECONDS)
result = simulate(trace, chip)
print(json.dumps([result.latency_s.hex(), result.energy_j.hex(), result.mapping.to_yaml(), "numba" in sys.modules]))
"""


def tier_run(seconds: float) -> list[object]:
    done = run(TIERS.replace("SECONDS", repr(seconds)), ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    found: list[object] = json.loads(done.stdout)
    return found


def test_interpreted_compiled_and_given_up_runs_give_the_same_bits_and_only_one_loads_no_compiler() -> None:
    compiled, given_up, interpreted = tier_run(0.0), tier_run(0.002), tier_run(1000.0)
    assert compiled[:3] == given_up[:3] == interpreted[:3]
    assert [compiled[3], given_up[3], interpreted[3]] == [True, True, False]


def test_a_call_that_is_given_up_leaves_arrays_and_records_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    from models import jit

    seen = []

    @jit.kernel
    def slow(values: Any, record: Any) -> Any:
        seen.append((values.tolist(), record.tolist()))
        values[0] = 7.0
        record["a"] = 9
        return idle(values[0])

    @jit.kernel
    def idle(value: float) -> float:
        return value

    def as_compiled(values: Any, record: Any) -> str:
        return f"{values.tolist()} {record.tolist()}"

    monkeypatch.setattr(slow, "_compiled", as_compiled)
    monkeypatch.setattr(jit._Tier, "left_s", 1e-9)
    rows = np.array([(1, 2.0), (3, 4.0)], [("a", "i8"), ("b", "f8")])
    assert slow(np.array([5.0, 6.0]), rows[1]) == "[5.0, 6.0] (3, 4.0)"
    assert seen == [([5.0, 6.0], (3, 4.0))]  # it had begun and written
    assert jit._Tier.left_s == 0.0
