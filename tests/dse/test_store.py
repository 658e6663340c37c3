import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.store import APPLICATION_ID, Rows, Store, open_store, read_store
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


# Damage: whatever happens to the bytes, the store says so or gives back exactly what was stored


def fill(path: Path) -> None:
    with open_(path) as store:
        for number, first in enumerate((0, 30, 60)):
            store.append(rows(30, first, number), first, np.arange(first, first + 30), number)
        store.put("_reference", (1.5).hex())


def everything(store: Store) -> tuple[Rows, list[list[int]], dict[str, str]]:
    return store.load(3), [p.tolist() for p in store.populations()], store.manifest()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "s.db"
    fill(path)
    return path


EDITS = st.lists(
    st.tuples(st.sampled_from(["flip", "zero", "cut", "insert", "swap"]), st.floats(0, 1), st.integers(1, 255)),
    min_size=1,
    max_size=4,
)


def damaged(data: bytes, edits: list[tuple[str, float, int]]) -> bytes:
    found = bytearray(data)
    for kind, place, amount in edits:
        at = int(place * (len(found) - 1)) if found else 0
        if kind == "flip" and found:
            found[at] ^= amount
        elif kind == "zero":
            found[at : at + amount] = bytes(len(found[at : at + amount]))
        elif kind == "cut":
            del found[at:]
        elif kind == "insert":
            found[at:at] = bytes([amount]) * amount
        elif kind == "swap":
            found[at : at + 2 * amount] = found[at + amount : at + 2 * amount] + found[at : at + amount]
    return bytes(found)


@settings(max_examples=120, deadline=None)
@given(edits=EDITS, resume=st.booleans())
def test_damaged_bytes_are_refused_or_harmless(
    sound: Path, tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[str, float, int]], resume: bool
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "s.db"
    path.write_bytes(damaged(sound.read_bytes(), edits))
    with read_store(sound) as store:
        expected = everything(store)
    try:
        with open_(path, True) if resume else read_store(path) as store:
            found = everything(store)
    except ChipsmithError as error:
        assert str(error).startswith(str(path))
        return
    assert_equal(found[0], expected[0])
    assert found[1:] == expected[1:]


def change(path: Path, statement: str) -> None:
    other = sqlite3.connect(path)
    other.execute(statement)
    other.commit()
    other.close()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE designs SET area_mm2 = 1.0 WHERE number = 31", "one of the designs 30 to 59 has the wrong checksum"),
        ("UPDATE designs SET reason = 'x' WHERE number = 0", "one of the designs 0 to 29 has the wrong checksum"),
        ("UPDATE designs SET violation = 'much' WHERE number = 0", "could not convert string to float: 'much'"),
        ("DELETE FROM designs WHERE number > 59", "one of the designs 60 to 89 has the wrong checksum"),
        ("DELETE FROM appends WHERE first = 60", "the list of designs has the wrong checksum"),
        ("UPDATE populations SET designs = x'00' WHERE number = 1", "a population has the wrong checksum"),
        ("DELETE FROM populations WHERE number = 1", "a population has the wrong checksum"),
        ("UPDATE manifest SET value = '0x1p+2' WHERE key = '_reference'",
         "the fact '_reference' has the wrong checksum"),
    ],
)  # fmt: skip
def test_changed_contents_are_noticed(sound: Path, tmp_path: Path, statement: str, message: str) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(sound.read_bytes())
    change(path, statement)
    with pytest.raises(ChipsmithError) as error, read_store(path) as store:
        everything(store)
    assert str(error.value) == f"{path}; is damaged: {message}"


@settings(max_examples=40, deadline=None)
@given(edits=EDITS)
def test_a_damaged_journal_loses_its_end_at_most(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[str, float, int]]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    path, copy = folder / "s.db", folder / "copy.db"
    with open_(path) as store:
        for number, first in enumerate((0, 30, 60)):
            store.append(rows(30, first, number), first, np.arange(first, first + 30), number)
        copy.write_bytes(path.read_bytes())
        journal = damaged((folder / "s.db-wal").read_bytes(), edits)
    (folder / "copy.db-wal").write_bytes(journal)
    try:
        with open_(copy, resume=copy.stat().st_size > 0) as store:
            found = everything(store)
    except ChipsmithError as error:
        assert str(error).startswith(str(copy))
        return
    count = len(found[0].index)
    assert count in (0, 30, 60, 90)
    assert_equal(found[0], rows_of(count))
    assert len(found[1]) == count // 30


def rows_of(count: int) -> Rows:
    every = rows(count)
    population = np.repeat(np.arange(3), 30)[:count]
    return Rows(every.index, every.values, every.status, every.violation, every.reasons, population)


# Reading without writing


def test_a_store_is_read_while_it_is_written_and_leaves_no_files(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with open_(path) as writer:
        writer.append(rows(10), 0, np.arange(10), 0)
        with read_store(path) as reader:
            first = reader.load(3)
            writer.append(rows(5, 10, 1), 10, np.arange(10, 15), 1)
            assert_equal(reader.load(3), first)  # one snapshot
        with read_store(path) as reader:
            assert len(reader.load(3).index) == 15
    with read_store(path) as reader:
        assert len(reader.load(3).index) == 15
    assert [p.name for p in tmp_path.iterdir()] == ["s.db"]


def test_a_store_in_a_folder_that_cannot_be_written_is_read(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "s.db").write_bytes(sound.read_bytes())
    folder.chmod(0o500)
    try:
        with read_store(folder / "s.db") as store:
            assert len(store.load(3).index) == 90
    finally:
        folder.chmod(0o700)


def test_a_store_is_not_written_through_a_reader(sound: Path) -> None:
    before = sound.read_bytes()
    with read_store(sound) as store, pytest.raises(ChipsmithError) as error:
        store.put("_reference", "x")
    assert str(error.value).startswith(f"{sound}; cannot be used: ")
    assert sound.read_bytes() == before


def test_reading_what_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    with pytest.raises(ChipsmithError) as error:
        read_store(path)
    assert str(error.value) == f"{path}; there is no such study; chipsmith explore --study FILE.db makes one"
    assert list(tmp_path.iterdir()) == []


def test_reading_a_study_whose_maker_died_at_once_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    change(path, f"PRAGMA application_id={APPLICATION_ID}")
    with pytest.raises(ChipsmithError) as error:
        read_store(path)
    assert str(error.value) == f"{path}; holds no study yet"
