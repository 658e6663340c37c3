"""The store of a study: one SQLite file that survives being killed and refuses to be mistaken for another study.

Write-ahead logging with one transaction a population: after ``append`` returned, its designs outlive the process;
before, none of them is there. The index row of a design is a unique key, so no design stands twice. An exclusive lock
on a file beside the database keeps a second process out; the system drops it when its holder dies. Each record carries
a checksum over its contents: a flipped bit that SQLite itself does not notice is refused, never searched on.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from dse.objectives import Floats
from dse.space import Index
from workloads.errors import ChipsmithError

SCHEMA_VERSION = 2  # 2: checksums
APPLICATION_ID = 0x43485053  # "CHPS" in the file's header
_MAGIC = b"SQLite format 3\0"
_LEAST_BYTES = 512  # the smallest page; SQLite takes a shorter file for an empty database
_KEY = np.dtype("<i4")
_NUMBER = np.dtype("<i8")


@dataclass(frozen=True)
class Rows:
    """Designs as stored, in the order of their numbers.

    Attributes:
        index: shape (n, parameters).
        values: shape (n, measures); NaN where a design has no numbers.
        status: shape (n,).
        violation: shape (n,), inf where a design has no numbers.
        reasons: why a design is not feasible, ``""`` where it is.
        population: shape (n,), number of the population that brought the design.
    """

    index: Index
    values: Floats
    status: NDArray[np.int16]
    violation: Floats
    reasons: tuple[str, ...]
    population: NDArray[np.int64]


class Store:
    """An open store. Use :func:`open_store`; close it (or leave its ``with`` block) to give the lock back."""

    def __init__(self, path: Path | None, connection: sqlite3.Connection, lock: int | None, width: int) -> None:
        self.path = path
        self._connection = connection
        self._lock = lock
        self._width = width

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, rows: Rows, first_number: int, asked: NDArray[np.int64] | None, number: int) -> None:
        """Store new designs and, when a population is complete, which designs it asked for; all or nothing.

        Args:
            rows: new designs; they get the numbers from ``first_number`` on.
            first_number: designs stored so far.
            asked: design numbers of the complete population in its order, None while it is incomplete.
            number: number of that population.

        Raises:
            ChipsmithError: a design is already there, or the disk refuses.
        """
        with self._errors(), self._transaction():
            self._insert(rows, first_number)
            if len(rows.index):
                block = (first_number, len(rows.index), _rows_digest(rows))
                self._connection.execute("INSERT INTO appends VALUES (?, ?, ?)", block)
            if asked is not None:
                blob = np.asarray(asked, dtype=_NUMBER).tobytes()
                record = (number, blob, _digest(str(number).encode(), blob))
                self._connection.execute("INSERT INTO populations VALUES (?, ?, ?)", record)

    def _insert(self, rows: Rows, first_number: int) -> None:
        keys = rows.index.astype(_KEY)
        head = (
            range(first_number, first_number + len(keys)),
            (key.tobytes() for key in keys),
            rows.population.tolist(),
            rows.status.tolist(),
            _nulls(rows.violation),
            rows.reasons,
        )
        records = zip(*head, *map(_nulls, rows.values.T), strict=True)
        marks = ", ".join("?" * (6 + rows.values.shape[1]))
        self._connection.executemany(f"INSERT INTO designs VALUES ({marks})", records)

    def load(self, width: int | None = None) -> Rows:
        """Every design.

        Args:
            width: parameters of a design; None = as the store was opened.

        Raises:
            ChipsmithError: the file is damaged.
        """
        with self._errors():
            found = self._connection.execute("SELECT * FROM designs ORDER BY number").fetchall()
            measures = len(self._connection.execute("PRAGMA table_info(designs)").fetchall()) - 6
            appends = self._connection.execute("SELECT * FROM appends ORDER BY first").fetchall()
        if [row[0] for row in found] != list(range(len(found))):
            raise ChipsmithError(str(self.path), None, "is damaged: design numbers have gaps")
        with self._damage():
            rows = _parsed(found, self._width if width is None else width, measures)
            _check_appends(rows, appends)
        return rows

    def populations(self) -> list[NDArray[np.int64]]:
        """Design numbers of each complete population, in order.

        Raises:
            ChipsmithError: the file is damaged.
        """
        with self._errors():
            found = self._connection.execute("SELECT * FROM populations ORDER BY number").fetchall()
        with self._damage():
            for number, (stored, blob, digest) in enumerate(found):
                _require(stored == number and digest == _digest(str(number).encode(), blob), "a population")
            return [np.frombuffer(row[1], dtype=_NUMBER).astype(np.int64) for row in found]

    def get(self, key: str) -> str | None:
        """A value of the manifest."""
        return self.manifest().get(key)

    def put(self, key: str, value: str) -> None:
        """Set a value of the manifest."""
        with self._errors(), self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO manifest VALUES (?, ?, ?)", _fact(key, value))

    def manifest(self) -> dict[str, str]:
        """The whole manifest.

        Raises:
            ChipsmithError: the file is damaged.
        """
        with self._errors():
            return _read_manifest(self._connection, str(self.path))

    def close(self) -> None:
        """Close the file and give the lock back."""
        self._connection.close()
        if self._lock is not None and self.path is not None:
            _lock_path(self.path).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def _errors(self) -> Any:
        return _sqlite_errors(str(self.path or "study in memory"))

    def _damage(self) -> Any:
        return _damage(str(self.path or "study in memory"))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def open_store(
    path: str | Path | None, manifest: Mapping[str, str], measures: Sequence[str], width: int, resume: bool = False
) -> Store:
    """Open or create a store.

    Args:
        path: SQLite file, None for one that lives in memory.
        manifest: facts of the study; those without a leading ``_`` must be the same when a study is resumed.
        measures: names of the stored quantities, one column each.
        width: parameters of a design.
        resume: continue the study that is there; without it a study that is there is refused.

    Raises:
        ChipsmithError: locked by another process, not a study, damaged, of another version, of another study, there
            without ``resume`` or missing with it.
    """
    if path is None:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        _create(connection, manifest, measures)
        return Store(None, connection, None, width)
    file = Path(path)
    _prepare_folder(file, resume)
    lock = _take_lock(file)
    try:
        if _filled(file) and not resume:
            raise ChipsmithError(str(file), None, "exists already; resume it (--resume) or name another file")
        return Store(file, _connect(file, manifest, measures), lock, width)
    except BaseException:
        _lock_path(file).unlink(missing_ok=True)
        os.close(lock)
        raise


def read_store(path: str | Path) -> Store:
    """Open a store for reading only; whoever writes it is not disturbed, and no lock is taken.

    The number of parameters isn't known yet: give it to :meth:`Store.load`.

    Raises:
        ChipsmithError: missing, not a study, damaged, of another version.
    """
    file = Path(path)
    if not file.is_file():
        raise ChipsmithError(str(file), None, "there is no such study; chipsmith explore --study FILE.db makes one")
    # Without a journal nobody writes: "immutable" then reads a folder that cannot be written, and leaves no files.
    journal = file.with_name(file.name + "-wal")
    mode = "mode=ro" if journal.exists() else "mode=ro&immutable=1"
    with _sqlite_errors(str(file)):
        connection = sqlite3.connect(f"file:{quote(str(file.absolute()))}?{mode}", uri=True, isolation_level=None)
        try:
            _check_file(connection, file)
            if _unfinished(connection):
                raise ChipsmithError(str(file), None, "holds no study yet")
            connection.execute("BEGIN")  # one snapshot for all that is read
        except BaseException:
            connection.close()
            raise
    return Store(file, connection, None, 0)


def _filled(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def _prepare_folder(file: Path, resume: bool) -> None:
    if resume and not _filled(file):
        raise ChipsmithError(str(file), None, "there is no study to resume; leave resume away to start one")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ChipsmithError(str(file), None, f"cannot be written: {error.strerror}") from None


def _connect(file: Path, manifest: Mapping[str, str], measures: Sequence[str]) -> sqlite3.Connection:
    new = not _filled(file)
    with _sqlite_errors(str(file)):
        connection = sqlite3.connect(file, isolation_level=None)
        try:
            if not new:
                _check_file(connection, file)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")  # survives a killed process; a power cut loses the tail
            if new or _unfinished(connection):
                _create(connection, manifest, measures)
            _check_manifest(connection, file, manifest)
        except BaseException:
            connection.close()
            raise
    return connection


def _create(connection: sqlite3.Connection, manifest: Mapping[str, str], measures: Sequence[str]) -> None:
    columns = "".join(f', "{name}" REAL' for name in measures)
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL, digest BLOB NOT NULL)")
    connection.execute(
        "CREATE TABLE populations (number INTEGER PRIMARY KEY, designs BLOB NOT NULL, digest BLOB NOT NULL)"
    )
    connection.execute(
        "CREATE TABLE appends (first INTEGER PRIMARY KEY, designs INTEGER NOT NULL, digest BLOB NOT NULL)"
    )
    connection.execute(
        "CREATE TABLE designs (number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, population INTEGER NOT NULL, "
        f"status INTEGER NOT NULL, violation REAL, reason TEXT NOT NULL{columns})"
    )
    connection.executemany("INSERT INTO manifest VALUES (?, ?, ?)", itertools.starmap(_fact, manifest.items()))
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _unfinished(connection: sqlite3.Connection) -> bool:
    """Whether its maker was killed before the tables were there."""
    return bool(_pragma(connection, "user_version") == 0)


def _check_file(connection: sqlite3.Connection, file: Path) -> None:
    size = file.stat().st_size
    if 0 < size < _LEAST_BYTES:
        known = file.read_bytes().startswith(_MAGIC)
        text = f"is damaged: {size} bytes are left of it" if known else "is not a study: not a database file"
        raise ChipsmithError(str(file), None, text)
    identity, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if identity != APPLICATION_ID and tables:
        raise ChipsmithError(str(file), None, "is a database of another program, not a study")
    if version not in (0, SCHEMA_VERSION) or (version == 0 and tables):
        raise ChipsmithError(
            str(file), None, f"has store version {version}; this Chipsmith reads version {SCHEMA_VERSION}"
        )
    state = _pragma(connection, "quick_check(1)")
    if state != "ok":
        raise ChipsmithError(str(file), None, f"is damaged: {str(state).splitlines()[-1]}")


def _check_manifest(connection: sqlite3.Connection, file: Path, manifest: Mapping[str, str]) -> None:
    stored = _read_manifest(connection, str(file))
    for key, value in manifest.items():
        if not key.startswith("_") and stored.get(key) != value:
            raise ChipsmithError(
                f"{file}: {key}", value, f"the stored study has {stored.get(key)!r}; use the same or name another file"
            )


def _read_manifest(connection: sqlite3.Connection, where: str) -> dict[str, str]:
    found = connection.execute("SELECT * FROM manifest ORDER BY key").fetchall()
    with _damage(where):
        for key, value, digest in found:
            _require(_fact(key, value)[2] == digest, f"the fact {key!r}")
        return {str(key): str(value) for key, value, _ in found}


def _fact(key: str, value: str) -> tuple[str, str, bytes]:
    return key, value, _digest(key.encode(), value.encode())


def _digest(*parts: bytes) -> bytes:
    """Checksum of some byte strings, 8 bytes."""
    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.digest()


def _rows_digest(rows: Rows) -> bytes:
    """Checksum of designs as they come back from the file (which turns everything that is not finite into NULL)."""
    numbers = (rows.index.astype(_KEY), rows.status.astype("<i2"), rows.population.astype(_NUMBER))
    floats = [np.where(np.isfinite(part), part, np.nan).astype("<f8") for part in (rows.values, rows.violation)]
    return _digest(*(part.tobytes() for part in (*numbers, *floats)), "\0".join(rows.reasons).encode())


def _parsed(found: Sequence[tuple[Any, ...]], width: int, measures: int) -> Rows:
    keys = b"".join(row[1] for row in found)
    return Rows(
        np.frombuffer(keys, dtype=_KEY).reshape(len(found), width).astype(np.int64),
        np.asarray([row[6:] for row in found], dtype=np.float64).reshape(len(found), measures),
        np.asarray([row[3] for row in found], dtype=np.int16),
        np.asarray([np.inf if row[4] is None else row[4] for row in found], dtype=np.float64),
        tuple(row[5] for row in found),
        np.asarray([row[2] for row in found], dtype=np.int64),
    )


def _check_appends(rows: Rows, appends: Iterable[tuple[int, int, bytes]]) -> None:
    """Each stored block of designs must have the checksum that it was written with."""
    at = 0
    for first, count, digest in appends:
        _require(first == at and count > 0, "the list of designs")
        at += count
        _require(_rows_digest(part_of(rows, slice(first, at))) == digest, f"one of the designs {first} to {at - 1}")
    _require(at == len(rows.index), "the list of designs")


def part_of(rows: Rows, cut: slice) -> Rows:
    """Some of the designs."""
    return Rows(
        rows.index[cut],
        rows.values[cut],
        rows.status[cut],
        rows.violation[cut],
        rows.reasons[cut],
        rows.population[cut],
    )


def _require(held: bool, what: str) -> None:
    if not held:
        raise ValueError(f"{what} has the wrong checksum")


@contextmanager
def _damage(where: str) -> Iterator[None]:
    """Contents that cannot be what was written: a cell of another type, a text that is none, a wrong checksum."""
    try:
        yield
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise ChipsmithError(where, None, f"is damaged: {error}") from None


@contextmanager
def _sqlite_errors(where: str) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise ChipsmithError(where, None, f"a design is stored already: {error}") from None
    except (sqlite3.Error, UnicodeDecodeError, OverflowError, MemoryError) as error:  # the last: a damaged length
        known = "is not a study: not a database file" if "not a database" in str(error) else f"cannot be used: {error}"
        raise ChipsmithError(where, None, known) from None


def _lock_path(file: Path) -> Path:
    return file.with_name(file.name + ".lock")


def _take_lock(file: Path) -> int:
    """Take the exclusive lock, or say who has it."""
    import fcntl

    path = _lock_path(file)
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ChipsmithError(str(file), None, f"cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 20, 0).decode(errors="replace").strip()
            os.close(handle)
            raise ChipsmithError(str(file), None, f"is in use by another process (id {holder or 'unknown'})") from None
        if _same_file(path, handle):
            break  # else its last holder removed the file between our open and our lock
        os.close(handle)
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)
    return handle


def _same_file(path: Path, handle: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False


def _nulls(values: Floats) -> list[float | None]:
    """Floats for SQLite, which has no NaN: missing and infinite ones become NULL."""
    finite = np.isfinite(values)
    plain: list[float | None] = values.tolist()
    if not finite.all():
        for row in np.flatnonzero(~finite):
            plain[row] = None
    return plain
