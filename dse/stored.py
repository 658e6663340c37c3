"""A study read from its file: nothing is searched, nothing is written, whoever is searching is not disturbed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dse.description import KEY, measure, parse_description
from dse.ledger import Ledger
from dse.results import StudyResults
from dse.store import read_store


class StoredStudy(StudyResults):
    """The results in a store. Use :func:`open_study`; close it, or leave its ``with`` block.

    Attributes:
        path: the file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        store = read_store(path)
        try:
            description = parse_description(str(path), store.get(KEY))
            columns = [description.measures.index(name) for name in description.objectives]
            signs = np.asarray([measure(name).sign for name in description.objectives])
            rows = store.load(len(description.parameters))
            ledger = Ledger(rows, np.asarray(columns, dtype=np.int64), signs)
            super().__init__(description, store, ledger)
        except BaseException:
            store.close()
            raise

    def __enter__(self) -> StoredStudy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._store.close()


def open_study(path: str | Path) -> StoredStudy:
    """Read a study that ``Study(store=...)`` or ``chipsmith explore --study`` wrote.

    A study that is being searched may be read: what its populations have stored so far is there.

    Raises:
        ChipsmithError: missing, not a study, damaged, written by another version.
    """
    return StoredStudy(path)
