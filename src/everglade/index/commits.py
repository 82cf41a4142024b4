"""Commits: what the one writer of a catalog does to it, each change whole or not at all."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from everglade import durable
from everglade.errors import CorruptIndex, IndexFolderError
from everglade.index.connection import FILE_NAME, clear_errors, close_with, connect, identify, transaction
from everglade.index.lock import WriteLock
from everglade.index.rows import (
    DOCUMENT_COLUMNS,
    hidden_locals,
    insert_deletions,
    insert_documents,
    insert_segments,
    place_checksum,
    require_sound,
    segment_rows,
    write_meta,
)
from everglade.index.values import Change, Merge, Meta

__all__ = ["CatalogWriter"]

CACHE_KIB = 65_536  # a merge goes through all its documents in the order of their ids
IDS_OF_A_QUESTION = 500
"""Documents that are asked for at once; SQLite takes 999 parameters or more."""


class CatalogWriter:
    """The one writer of a catalog, from when it is made until `close()`, in the process that made it.

    Raises:
        LockHeld: at once, if another process, or another writer of this one, is writing.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._lock = WriteLock(folder)
        try:
            # Pages stay in memory until the commit, so that readers are shut out only while it is written.
            self._connection = connect(self.path, "PRAGMA cache_spill = OFF")
            self._connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            self._file = identify(self.path)
        except BaseException:
            self._lock.release()
            raise
        self._closer = close_with(self, self._connection)

    @property
    def is_ours(self) -> bool:
        """Whether this is the process that writes, rather than a fork of it."""
        return self._lock.is_ours

    def require_ours(self) -> None:
        """Refuse to write in a fork.

        Raises:
            IndexFolderError: if this is one.
        """
        self._lock.require_ours()

    def require_current(self) -> None:
        """Refuse to write to a catalog that is no longer the one of the folder.

        Raises:
            IndexFolderError: if it has been replaced.
        """
        if identify(self.path) != self._file:
            raise IndexFolderError(f"{self.path} has been replaced meanwhile. Open the index again.")

    def commit(self, change: Change) -> int:
        """Make `change` true and durable, whole or not at all; give the number of documents it hid."""
        with self._committing() as connection:
            hidden = _hide(connection, self.path, change.gone)
            insert_segments(connection, change.segments)
            insert_documents(connection, change.documents)
            _drop_empty_segments(connection)
            write_meta(connection, replace(change.meta, generation=change.meta.generation + 1))
        return hidden

    def commit_merge(self, meta: Meta, merge: Merge) -> None:
        """Put the merged segment in the place of those it was made from, durably, whole or not at all.

        Documents that have been deleted or replaced since they were read for the merge are hidden in it.
        """
        next_segment = max(meta.next_segment, merge.segment.number + 1)
        with self._committing() as connection:
            _take_the_place(connection, self.path, merge)
            _drop_empty_segments(connection)
            write_meta(connection, replace(meta, next_segment=next_segment, revision=meta.revision + 1))

    def commit_meta(self, meta: Meta) -> None:
        """Note something about the index that changes no document."""
        with self._committing() as connection:
            write_meta(connection, replace(meta, revision=meta.revision + 1))

    @contextmanager
    def _committing(self) -> Iterator[sqlite3.Connection]:
        self.require_ours()
        self.require_current()
        with self._lock.busy, clear_errors(self.path), transaction(self._connection, "BEGIN IMMEDIATE"):
            yield self._connection
        # The commit ends with the removal of SQLite's journal. Until that is on disk, a power cut would bring it back
        # and undo what we acknowledged; SQLite syncs the folder then only in its mode EXTRA, and ignores failures.
        durable.sync_folder(self.path.parent)

    def close(self) -> None:
        """Let another writer in. In a fork this only forgets."""
        self._closer()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _take_the_place(connection: sqlite3.Connection, path: Path, merge: Merge) -> None:
    number = merge.segment.number
    hidden = np.zeros(len(merge.ids), dtype=bool)
    standing = {row.number: row for row in segment_rows(connection, path)}
    for gone, places in merge.places.items():
        # One that no longer stands has gone with the last of its documents.
        locals_ = hidden_locals(connection, path, standing[gone]) if gone in standing else slice(None)
        hidden[_moved(places, locals_)] = True
    insert_segments(connection, [merge.segment._replace(deleted=int(hidden.sum()))])
    insert_deletions(connection, ((number, local) for local in np.flatnonzero(hidden).tolist()))
    before = connection.total_changes
    # SQLite has no exclusive or: it is what one of the two has, less what both have.
    connection.executemany(
        "UPDATE documents SET segment = ?1, local = ?2, checksum = (checksum | ?3) - (checksum & ?3) WHERE id = ?4",
        _new_places(merge, hidden),
    )
    if connection.total_changes - before != np.count_nonzero(~hidden):
        raise CorruptIndex(path, None, f"its table documents lacks documents of the segments {sorted(merge.places)}.")
    old = [(gone,) for gone in merge.places]
    connection.executemany("DELETE FROM deletions WHERE segment = ?", old)
    connection.executemany("DELETE FROM segments WHERE number = ?", old)


def _new_places(merge: Merge, hidden: NDArray[np.bool_]) -> Iterator[tuple[int, int, int, str]]:
    """Give segment, local, change of the checksum and id of each document that moves and is not hidden."""
    number = merge.segment.number
    for segment, places in merge.places.items():
        for before, after in enumerate(places.tolist()):
            if after >= 0 and not hidden[after]:
                change = place_checksum(segment, before) ^ place_checksum(number, after)
                yield number, after, change, merge.ids[after]


def _moved(places: NDArray[np.int64], locals_: NDArray[np.int64] | slice) -> NDArray[np.int64]:
    moved = places[locals_]
    return moved[moved >= 0]


def _hide(connection: sqlite3.Connection, path: Path, ids: Sequence[str]) -> int:
    found = []
    for start in range(0, len(ids), IDS_OF_A_QUESTION):
        part = ids[start : start + IDS_OF_A_QUESTION]
        query = f"SELECT {DOCUMENT_COLUMNS} FROM documents WHERE id IN ({', '.join('?' * len(part))}) ORDER BY id"
        for values in connection.execute(query, part).fetchall():
            row = require_sound(values, path)
            found.append((row.segment, row.local, row.id))
    insert_deletions(connection, ((segment, local) for segment, local, _ in found))
    connection.executemany("DELETE FROM documents WHERE id = ?", [(id,) for _, _, id in found])
    counts = Counter(segment for segment, _, _ in found)
    connection.executemany(
        "UPDATE segments SET deleted = deleted + ? WHERE number = ?", [(n, segment) for segment, n in counts.items()]
    )
    return len(found)


def _drop_empty_segments(connection: sqlite3.Connection) -> None:
    empty = connection.execute("SELECT number FROM segments WHERE deleted = documents").fetchall()
    connection.executemany("DELETE FROM deletions WHERE segment = ?", empty)
    connection.executemany("DELETE FROM segments WHERE number = ?", empty)
