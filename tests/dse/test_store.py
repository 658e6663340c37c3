import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dse.store import APPLICATION_ID, Rows, Store, open_store
from workloads.errors import ChipsmithError

MANIFEST = {"space": "abc", "seed": "1", "_chip": "x"}
MEASURES = ("area_mm2", "tpot_s")


def rows(n: int, first: int = 0, population: int = 0) -> Rows:
    numbers = np.arange(first, first + n)
    values = np.stack([numbers * 0.1, 1.0 / (numbers + 1)], axis=1)
    status = np.where(numbers % 5 == 4, 2, 0).astype(np.int16)
    values[status != 0] = np.nan
    violation = np.where(status == 0, np.where(numbers % 3 == 1, 0.25, 0.0), np.inf)
    reasons = tuple("does not fit" if s else "" for s in status)
    index = np.stack([numbers, numbers % 7, numbers % 2], axis=1).astype(np.int64)
    return Rows(index, values, status, violation, reasons, np.full(n, population, dtype=np.int64))


def open_(path: Path | None, resume: bool = False, **changes: str) -> Store:
    return open_store(path, {**MANIFEST, **changes}, MEASURES, 3, resume)


def refusal(path: Path, resume: bool = True, **changes: str) -> str:
    with pytest.raises(ChipsmithError) as error:
        open_(path, resume, **changes)
    assert not path.with_name(path.name + ".lock").exists()
    return str(error.value)


def assert_equal(a: Rows, b: Rows) -> None:
    for name in ("index", "values", "status", "violation", "population"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.reasons == b.reasons


@pytest.mark.parametrize("in_file", [True, False])
def test_what_is_stored_comes_back_bit_for_bit(tmp_path: Path, in_file: bool) -> None:
    path = tmp_path / "s.db" if in_file else None
    stored = rows(20)
    with open_(path) as store:
        store.append(stored, 0, np.arange(20), 0)
        assert_equal(store.load(), stored)
    if path:
        with open_(path, resume=True) as store:
            assert_equal(store.load(), stored)


def test_an_empty_study_comes_back_empty(tmp_path: Path) -> None:
    with open_(tmp_path / "s.db") as store:
        assert store.load().values.shape == (0, 2)
        assert store.load().index.shape == (0, 3)
        assert store.populations() == []


def test_populations_and_manifest_come_back(tmp_path: Path) -> None:
    with open_(tmp_path / "s.db") as store:
        store.append(rows(3), 0, np.array([0, 1, 2]), 0)
        store.append(rows(2, 3), 3, None, 1)
        store.append(rows(1, 5), 5, np.array([3, 1, 4, 5]), 1)
        store.put("_reference", "r")
    with open_(tmp_path / "s.db", resume=True) as store:
        assert [p.tolist() for p in store.populations()] == [[0, 1, 2], [3, 1, 4, 5]]
        assert store.manifest() == {**MANIFEST, "_reference": "r"}
        assert (store.get("_reference"), store.get("nothing")) == ("r", None)


def test_a_design_is_stored_once_and_a_refused_population_leaves_nothing(tmp_path: Path) -> None:
    with open_(tmp_path / "s.db") as store:
        store.append(rows(3), 0, np.arange(3), 0)
        twice = rows(3, 2)
        with pytest.raises(ChipsmithError) as error:
            store.append(twice, 3, np.arange(3, 6), 1)
        assert str(error.value) == (
            f"{tmp_path / 's.db'}; a design is stored already: UNIQUE constraint failed: designs.key"
        )
        assert len(store.load().index) == 3
        assert len(store.populations()) == 1


def test_the_file_can_be_read_by_anyone_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_(path) as store:
        store.append(rows(6), 0, np.arange(6), 0)
        reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        found = reader.execute("SELECT number, area_mm2, reason FROM designs WHERE status = 0 LIMIT 2").fetchall()
        reader.close()
    assert found == [(0, 0.0, ""), (1, 0.1, "")]


def test_a_second_process_is_kept_out_and_told_who_is_in(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_(path) as store:
        store.append(rows(2), 0, np.arange(2), 0)
        with pytest.raises(ChipsmithError) as error:
            open_(path, resume=True)
        assert str(error.value) == f"{path}; is in use by another process (id {os.getpid()})"
    open_(path, resume=True).close()


def test_the_lock_of_a_killed_process_does_not_outlive_it(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    script = (
        "import os, signal, sys; from dse.store import open_store\n"
        f"open_store(sys.argv[1], {MANIFEST!r}, {MEASURES!r}, 3); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -9
    assert path.with_name("s.db.lock").exists()
    with open_(path, resume=True) as store:
        assert len(store.load().index) == 0


def test_a_study_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    open_(path).close()
    assert refusal(path, resume=False) == f"{path}; exists already; resume it (--resume) or name another file"


def test_resuming_nothing_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "s.db"
    assert refusal(path) == f"{path}; there is no study to resume; leave resume away to start one"
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.write_text("number,area\n1,2\n" * 100)
    assert refusal(path) == f"{path}; is not a study: not a database file"


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE trials (x)")
    other.commit()
    other.close()
    before = path.read_bytes()
    assert refusal(path) == f"{path}; is a database of another program, not a study"
    assert path.read_bytes() == before


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_(path) as store:
        store.append(rows(2000), 0, np.arange(2000), 0)
    data = bytearray(path.read_bytes())
    path.write_bytes(data[: len(data) // 2])
    text = refusal(path)
    assert text.startswith(f"{path}; ")
    assert "is damaged: " in text or "cannot be used: database disk image is malformed" in text


def test_designs_that_went_missing_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_(path) as store:
        store.append(rows(4), 0, np.arange(4), 0)
    other = sqlite3.connect(path)
    other.execute("DELETE FROM designs WHERE number = 1")
    other.commit()
    other.close()
    with open_(path, resume=True) as store, pytest.raises(ChipsmithError) as error:
        store.load()
    assert str(error.value) == f"{path}; is damaged: design numbers have gaps"


def test_another_store_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    open_(path).close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version=1")
    other.commit()
    other.close()
    assert refusal(path) == f"{path}; has store version 1; this Chipsmith reads version 2"


def test_another_study_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    open_(path).close()
    assert refusal(path, space="xyz") == (
        f"{path}: space: got 'xyz'; the stored study has 'abc'; use the same or name another file"
    )


def test_facts_for_the_reader_may_differ(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_(path) as store:
        first = store.manifest()
    with open_(path, resume=True, _chip="y") as store:
        assert store.manifest() == first  # a fact for the reader neither refuses nor rewrites what is stored


def test_a_file_whose_maker_died_before_the_tables_is_started_anew(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA application_id={APPLICATION_ID}")
    other.commit()
    other.close()
    assert path.stat().st_size > 0
    with open_(path, resume=True) as store:
        store.append(rows(2), 0, np.arange(2), 0)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "s.db"
    with pytest.raises(ChipsmithError) as error:
        open_(path)
    assert str(error.value) == f"{path}; cannot be written: File exists"


def test_many_designs_in_populations(tmp_path: Path) -> None:
    with open_(tmp_path / "s.db") as store:
        for number in range(5):
            first = number * 4000
            store.append(rows(4000, first, number), first, np.arange(first, first + 4000), number)
    with open_(tmp_path / "s.db", resume=True) as store:
        assert_equal(store.load(), Rows(*_twenty_thousand()))


def _twenty_thousand() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[str, ...], np.ndarray]:
    every = rows(20_000)
    return every.index, every.values, every.status, every.violation, every.reasons, np.repeat(np.arange(5), 4000)
