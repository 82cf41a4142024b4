"""The catalog of an index: one SQLite file that says what the index holds, and whose transaction is the commit.

A write happens in this order: the segment files stand complete and durable under their final names; one transaction
names them, hides what they replace and stores the documents; the writer acknowledges; files no row names are removed.
Whoever reads the catalog therefore sees one commit whole, and whatever was acknowledged outlives a power cut.

Formats and reasons: docs/decisions/0004-sqlite-catalog.md.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sqlite3
import threading
import weakref
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from everglade import durable
from everglade.errors import CorruptIndex, FormatTooNew, IndexFolderError, LockHeld
from everglade.index.filters import Filter
from everglade.index.values import ADVICE, Change, DocumentRow, Merge, Meta, SegmentRow, State
from everglade.texts import Document

__all__ = ["FILE_NAME", "Catalog", "CatalogWriter", "Change", "DocumentRow", "Merge", "Meta", "SegmentRow", "State"]

FILE_NAME = "catalog.sqlite"
LOCK_NAME = "write.lock"
APPLICATION_ID = 0x45564744  # "EVGD"
VERSION = 1
WAIT_FOR_SQLITE_S = 60.0
CACHE_KIB = 65_536  # a merge goes through all its documents in the order of their ids

_SCHEMA = f"""
PRAGMA synchronous = OFF;
BEGIN;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE segments (
    number INTEGER PRIMARY KEY,      -- never used twice
    name TEXT NOT NULL UNIQUE,       -- of the file, in the index folder
    documents INTEGER NOT NULL,
    postings INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    crc32c INTEGER NOT NULL,         -- the seal of the file
    deleted INTEGER NOT NULL         -- rows of this segment in deletions; grows, never falls
);
CREATE TABLE documents (
    id TEXT PRIMARY KEY,
    segment INTEGER NOT NULL REFERENCES segments (number),
    local INTEGER NOT NULL,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    metadata TEXT                    -- a JSON object, or null
);
CREATE INDEX documents_by_segment ON documents (segment);
CREATE TABLE deletions (
    segment INTEGER NOT NULL REFERENCES segments (number),
    local INTEGER NOT NULL,
    PRIMARY KEY (segment, local)
) WITHOUT ROWID;
"""


class Catalog:
    """Reads a catalog. Any number of processes and threads may, also while another process writes.

    Raises:
        CorruptIndex: if the file is no catalog, or SQLite finds it damaged.
        FormatTooNew: if a newer Everglade wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._lock = threading.Lock()
        self._connection = _connect(self.path, "PRAGMA query_only = ON")
        self._closer = weakref.finalize(self, self._connection.close)

    @staticmethod
    def create(folder: Path, meta: Meta) -> None:
        """Write the catalog of an empty index into `folder`, which is made durable afterwards, with its name."""
        path = folder / FILE_NAME
        with _clear_errors(path):
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                connection.executescript(_SCHEMA)
                _write_meta(connection, meta)
                connection.execute("COMMIT")
            finally:
                connection.close()

    def version(self) -> tuple[int, int]:
        """Tell which state is committed now, as `Meta.version` does."""
        with self._lock, _clear_errors(self.path):
            return _read_meta(self._connection, self.path).version

    def read(self, known: Mapping[int, int], asked: Filter | None = None, answered: Container[int] = ()) -> State:
        """Read one committed state.

        Args:
            known: The count of hidden documents already at hand, by the number of the segment.
            asked: A filter to evaluate in the same state.
            answered: Numbers of segments whose answer to it is at hand already.
        """
        with self._lock, _clear_errors(self.path), _transaction(self._connection, "BEGIN"):
            meta = _read_meta(self._connection, self.path)
            segments = tuple(_segment_rows(self._connection, self.path))
            fresh = [row for row in segments if row.deleted and known.get(row.number) != row.deleted]
            hidden = {row.number: _hidden_locals(self._connection, self.path, row) for row in fresh}
            matching = {}
            if asked is not None:
                open_ones = [row for row in segments if row.number not in answered]
                matching = {row.number: _matching_locals(self._connection, self.path, asked, row) for row in open_ones}
        return State(meta, segments, hidden, matching)

    def document(self, id: str) -> Document | None:
        """Give the document called `id` as last committed."""
        with self._lock, _clear_errors(self.path):
            query = "SELECT title, text, metadata FROM documents WHERE id = ?"
            rows = self._connection.execute(query, (id,)).fetchall()
        if not rows:
            return None
        title, text, metadata = rows[0]
        try:
            return Document(id, text, title, None if metadata is None else json.loads(metadata))
        except (TypeError, ValueError) as error:
            raise CorruptIndex(self.path, None, f"the metadata of document {id!r} is not JSON: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._closer()


class CatalogWriter:
    """The one writer of a catalog, from when it is made until `close()`.

    Raises:
        LockHeld: at once, if another process, or another writer of this one, is writing.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._unlock = weakref.finalize(self, os.close, lock_folder(folder))
        try:
            # Pages stay in memory until the commit, so that readers are shut out only while it is written.
            self._connection = _connect(self.path, "PRAGMA cache_spill = OFF")
            self._connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        except BaseException:
            self._unlock()
            raise
        self._closer = weakref.finalize(self, self._connection.close)

    def commit(self, change: Change) -> int:
        """Make `change` true and durable, whole or not at all; give the number of documents it hid."""
        with _clear_errors(self.path), _transaction(self._connection, "BEGIN IMMEDIATE"):
            hidden = _hide(self._connection, change.gone)
            self._connection.executemany("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)", change.segments)
            self._connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)", change.documents)
            _drop_empty_segments(self._connection)
            _write_meta(self._connection, replace(change.meta, generation=change.meta.generation + 1))
        self._sync()
        return hidden

    def commit_merge(self, meta: Meta, merge: Merge) -> None:
        """Put the merged segment in the place of those it was made from, durably, whole or not at all.

        Documents that have been deleted or replaced since they were read for the merge are hidden in it.
        """
        next_segment = max(meta.next_segment, merge.segment.number + 1)
        with _clear_errors(self.path), _transaction(self._connection, "BEGIN IMMEDIATE"):
            _take_the_place(self._connection, self.path, merge)
            _drop_empty_segments(self._connection)
            _write_meta(self._connection, replace(meta, next_segment=next_segment, revision=meta.revision + 1))
        self._sync()

    def commit_meta(self, meta: Meta) -> None:
        """Note something about the index that changes no document."""
        with _clear_errors(self.path), _transaction(self._connection, "BEGIN IMMEDIATE"):
            _write_meta(self._connection, replace(meta, revision=meta.revision + 1))
        self._sync()

    def _sync(self) -> None:
        # The commit ends with the removal of SQLite's journal. Until that is on disk, a power cut would bring it back
        # and undo what we acknowledged; SQLite syncs the folder then only in its mode EXTRA, and ignores failures.
        durable.sync_folder(self.path.parent)

    def close(self) -> None:
        """Let another writer in."""
        self._closer()
        self._unlock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def lock_folder(folder: Path) -> int:
    """Take the write lock of an index folder and give its open file; closing that, or dying, releases the lock.

    Raises:
        LockHeld: at once, if somebody holds it.
    """
    path = folder / LOCK_NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).strip()
        os.close(descriptor)
        raise LockHeld(folder, int(holder) if holder.isdigit() else None) from None
    except OSError as error:
        os.close(descriptor)
        raise OSError(error.errno, error.strerror, str(path)) from error
    return descriptor


def _connect(path: Path, pragma: str) -> sqlite3.Connection:
    if not path.is_file():
        raise CorruptIndex(path, None, f"the catalog is missing. {ADVICE}")
    with _clear_errors(path):
        # Readers ask for write access too, where they have it: after a crash, whoever comes first rolls back.
        connection = sqlite3.connect(
            path.resolve().as_uri() + "?mode=rw",
            uri=True,
            timeout=WAIT_FOR_SQLITE_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            for setting in ("trusted_schema = OFF", "cell_size_check = ON", "synchronous = FULL"):
                connection.execute(f"PRAGMA {setting}")
            connection.execute(pragma)
            _check_format(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _check_format(connection: sqlite3.Connection, path: Path) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != APPLICATION_ID:
        raise CorruptIndex(path, None, "this is not the catalog of an Everglade index.")
    if version > VERSION:
        raise FormatTooNew(
            f"{path} has format {version}; this Everglade reads formats up to {VERSION}. Install a newer Everglade."
        )


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.DatabaseError as error:
        raise _as_clear_error(error, path) from error
    except UnicodeDecodeError as error:
        # SQLite's message quotes the damaged bytes, and Python cannot read it.
        raise CorruptIndex(path, None, f"SQLite finds it damaged: {error}. {ADVICE}") from error


def _as_clear_error(error: sqlite3.DatabaseError, path: Path) -> Exception:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LockHeld(path, None)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return IndexFolderError(
            f"{path} cannot be opened as asked ({error}). Writing, and reading after an interrupted write, "
            f"need the right to write to the folder."
        )
    if code == sqlite3.SQLITE_FULL:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    if code == sqlite3.SQLITE_IOERR:
        return OSError(errno.EIO, f"{os.strerror(errno.EIO)} ({error})", str(path))
    return CorruptIndex(path, None, f"SQLite says: {error}. {ADVICE}")


def _read_meta(connection: sqlite3.Connection, path: Path) -> Meta:
    rows = connection.execute("SELECT key, value FROM meta").fetchall()
    try:
        return Meta.from_json({key: json.loads(value) for key, value in rows})
    except (TypeError, ValueError) as error:
        raise CorruptIndex(path, None, f"its table meta cannot be understood: {error}") from error


def _write_meta(connection: sqlite3.Connection, meta: Meta) -> None:
    rows = [(key, json.dumps(value, allow_nan=False)) for key, value in asdict(meta).items()]
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)


def _segment_rows(connection: sqlite3.Connection, path: Path) -> Iterator[SegmentRow]:
    columns = ", ".join(SegmentRow._fields)
    for values in connection.execute(f"SELECT {columns} FROM segments ORDER BY number").fetchall():
        row = SegmentRow(*values)
        counts = (row.number, row.documents, row.postings, row.size_bytes, row.crc32c, row.deleted)
        if not all(type(count) is int and count >= 0 for count in counts) or row.deleted > row.documents:
            raise CorruptIndex(path, None, f"its table segments holds a row that cannot be: {row}")
        if not isinstance(row.name, str) or "/" in row.name or "\0" in row.name:
            raise CorruptIndex(path, None, f"its table segments names a file outside the index: {row.name!r}")
        yield row


def _hidden_locals(connection: sqlite3.Connection, path: Path, row: SegmentRow) -> NDArray[np.int64]:
    rows = connection.execute("SELECT local FROM deletions WHERE segment = ?", (row.number,)).fetchall()
    found = [local for (local,) in rows]
    if len(found) != row.deleted or not all(type(local) is int and 0 <= local < row.documents for local in found):
        raise CorruptIndex(path, None, f"its table deletions does not fit segment {row.number}.")
    return np.array(found, dtype=np.int64)


def _matching_locals(connection: sqlite3.Connection, path: Path, asked: Filter, row: SegmentRow) -> NDArray[np.int64]:
    query = f"SELECT local FROM documents WHERE segment = ? AND ({asked.sql})"
    found = [local for (local,) in connection.execute(query, (row.number, *asked.parameters)).fetchall()]
    if not all(type(local) is int and 0 <= local < row.documents for local in found):
        raise CorruptIndex(path, None, f"its table documents does not fit segment {row.number}.")
    return np.array(found, dtype=np.int64)


def _take_the_place(connection: sqlite3.Connection, path: Path, merge: Merge) -> None:
    number = merge.segment.number
    hidden = np.zeros(len(merge.ids), dtype=bool)
    for row in _segment_rows(connection, path):
        if row.number in merge.places:
            hidden[_moved(merge.places[row.number], _hidden_locals(connection, path, row))] = True
    standing = {row.number for row in _segment_rows(connection, path)}
    for gone in merge.places.keys() - standing:  # all its documents were hidden, and it went with them
        hidden[_moved(merge.places[gone], slice(None))] = True
    segment = merge.segment._replace(deleted=int(hidden.sum()))
    connection.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)", segment)
    deletions = [(number, local) for local in np.flatnonzero(hidden).tolist()]
    connection.executemany("INSERT INTO deletions VALUES (?, ?)", deletions)
    moved = [(number, local, merge.ids[local]) for local in np.flatnonzero(~hidden).tolist()]
    before = connection.total_changes
    connection.executemany("UPDATE documents SET segment = ?, local = ? WHERE id = ?", moved)
    if connection.total_changes - before != len(moved):
        raise CorruptIndex(path, None, f"its table documents lacks documents of the segments {sorted(merge.places)}.")
    old = [(gone,) for gone in merge.places]
    connection.executemany("DELETE FROM deletions WHERE segment = ?", old)
    connection.executemany("DELETE FROM segments WHERE number = ?", old)


def _moved(places: NDArray[np.int64], locals_: NDArray[np.int64] | slice) -> NDArray[np.int64]:
    moved = places[locals_]
    return moved[moved >= 0]


def _hide(connection: sqlite3.Connection, ids: Sequence[str]) -> int:
    query = "SELECT segment, local, id FROM documents WHERE id = ?"
    found = [row for id in ids for row in connection.execute(query, (id,)).fetchall()]
    connection.executemany("INSERT INTO deletions VALUES (?, ?)", [(segment, local) for segment, local, _ in found])
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
