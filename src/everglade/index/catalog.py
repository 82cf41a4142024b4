"""The catalog of an index, read: one SQLite file that says what the index holds, and whose transaction is the commit.

A write happens in this order: the segment files stand complete and durable under their final names; one transaction
names them, hides what they replace and stores the documents; the writer acknowledges; files no row names are removed.
Whoever reads the catalog therefore sees one commit whole, and whatever was acknowledged outlives a power cut.

No reading takes long, as a writer waits for it: what takes long is read in pages. Formats and reasons:
docs/decisions/0004-sqlite-catalog.md. Writing is in commits.py.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import weakref
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from everglade.errors import CorruptIndex, IndexFolderError
from everglade.index.connection import FILE_NAME, clear_errors, close_with, connect, identify, transaction
from everglade.index.filters import Filter
from everglade.index.rows import (
    DOCUMENT_COLUMNS,
    SCHEMA,
    check_locals,
    hidden_locals,
    read_meta,
    require_sound,
    segment_rows,
    write_meta,
)
from everglade.index.values import Meta, SegmentRow, State
from everglade.texts import Document

__all__ = ["Catalog"]

PAGE_DOCUMENTS = 4096
"""Documents that a filter is asked about in one transaction, which takes some 20 milliseconds."""
ROUNDS = 8
"""After so many changes of the segments while a filter is evaluated, the rest is asked in one transaction."""
NOWHERE = (-1, -1)


class Catalog:
    """Reads a catalog. Any number of processes and threads may, also while another process writes.

    If another file takes the place of the catalog, as a repair does it, that is what is read from then on.

    Raises:
        CorruptIndex: if the file is no catalog, or SQLite finds it damaged.
        FormatTooNew: if a newer Everglade wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._lock = threading.Lock()
        self._uuid: str | None = None
        self._file = NOWHERE
        self._closed = False
        self._connect()
        _open.add(self)

    @staticmethod
    def create(folder: Path, meta: Meta) -> None:
        """Write the catalog of an empty index into `folder`, which is made durable afterwards, with its name."""
        path = folder / FILE_NAME
        with clear_errors(path):
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                connection.executescript(SCHEMA)
                write_meta(connection, meta)
                connection.execute("COMMIT")
            finally:
                connection.close()

    def version(self) -> tuple[int, int]:
        """Tell which state is committed now, as `Meta.version` does."""
        with self._connected() as connection:
            return read_meta(connection, self.path).version

    def read(self, known: Mapping[int, int], asked: Filter | None = None, answered: Container[int] = ()) -> State:
        """Read one committed state.

        Args:
            known: The count of hidden documents already at hand, by the number of the segment.
            asked: A filter to evaluate in the same state.
            answered: Numbers of segments whose answer to it is at hand already.

        Raises:
            CorruptIndex: if a table cannot be understood.
            IndexFolderError: if another index has taken the place of the one that was read before.
        """
        matching: dict[int, NDArray[np.int64]] = {}
        file = self._file
        for turn in range(ROUNDS + 1):
            with self._connected() as connection, transaction(connection, "BEGIN"):
                if self._file != file:
                    matching, file = {}, self._file
                meta = read_meta(connection, self.path)
                rows = tuple(segment_rows(connection, self.path))
                fresh = [row for row in rows if row.deleted and known.get(row.number) != row.deleted]
                hidden = {row.number: hidden_locals(connection, self.path, row) for row in fresh}
                if asked is None:
                    break
                unasked = [row for row in rows if row.number not in answered and row.number not in matching]
                if turn == ROUNDS or sum(row.documents for row in unasked) <= PAGE_DOCUMENTS:
                    pages = {row: _ask_page(connection, asked, row, -1, row.documents)[0] for row in unasked}
                    matching |= {row.number: self._checked(found, row) for row, found in pages.items()}
                    break
            for row in unasked:
                matching[row.number] = self._ask(asked, row)
        standing = {row.number: matching[row.number] for row in rows if row.number in matching}
        self._uuid = meta.uuid
        return State(meta, rows, hidden, file, standing)

    def _ask(self, asked: Filter, row: SegmentRow) -> NDArray[np.int64]:
        """Ask about a segment page by page, so that commits come in between.

        Rows that a commit removes meanwhile are missing from the answer. Their documents are hidden in the state that
        is read in the end, and a segment that goes is none of that state; nothing else of a segment's rows changes.
        """
        found: list[int] = []
        last: int | None = -1
        while last is not None:
            with self._connected() as connection:
                page, last = _ask_page(connection, asked, row, last, PAGE_DOCUMENTS)
            found += page
        return self._checked(found, row)

    def _checked(self, found: list[int], row: SegmentRow) -> NDArray[np.int64]:
        return check_locals(found, self.path, "documents", row)

    def document(self, id: str) -> Document | None:
        """Give the document called `id` as last committed.

        Raises:
            CorruptIndex: if its row is not what was written.
        """
        with self._connected() as connection:
            rows = connection.execute(f"SELECT {DOCUMENT_COLUMNS} FROM documents WHERE id = ?", (id,)).fetchall()
        if not rows:
            return None
        row = require_sound(rows[0], self.path)
        try:
            return Document(id, row.text, row.title, None if row.metadata is None else json.loads(row.metadata))
        except ValueError as error:
            raise CorruptIndex(self.path, None, f"the metadata of document {id!r} is not JSON: {error}") from error

    def reconnect(self) -> None:
        """Begin anew with what stands there now.

        Raises:
            IndexFolderError: if that is another index.
        """
        with self._lock, clear_errors(self.path):
            self._reconnect()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._closed = True
            self._closer()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with self._lock, clear_errors(self.path):
            if self._closed:
                raise IndexFolderError(f"{self.path.parent} has been closed. Open it again.")
            if identify(self.path) != self._file:
                self._reconnect()
            yield self._connection

    def _connect(self) -> None:
        while True:
            file = identify(self.path)
            self._connection = connect(self.path, "PRAGMA query_only = ON")
            self._closer = close_with(self, self._connection)
            if identify(self.path) == file:
                self._file = file
                return
            self._closer()

    def _reconnect(self) -> None:
        self._file = NOWHERE
        self._closer()
        self._connect()
        if self._uuid not in (None, read_meta(self._connection, self.path).uuid):
            self._file = NOWHERE
            raise IndexFolderError(
                f"{self.path.parent} is another index now than the one that was opened. Open it again."
            )

    def leave_to_the_parent(self) -> None:
        """Begin anew in a fork, with a connection and a lock of its own."""
        self._lock = threading.Lock()
        self._closer()
        self._file = NOWHERE


def _ask_page(
    connection: sqlite3.Connection, asked: Filter, row: SegmentRow, after: int, most: int
) -> tuple[list[int], int | None]:
    """Ask about up to `most` documents of a segment; give what is let through, and where the next page begins."""
    query = f"SELECT rowid, local, ({asked.sql}) FROM documents WHERE segment = ? AND rowid > ? ORDER BY rowid LIMIT ?"
    page = connection.execute(query, (*asked.parameters, row.number, after, most)).fetchall()
    return [local for _, local, passes in page if passes], page[-1][0] if len(page) == most else None


_open: weakref.WeakSet[Catalog] = weakref.WeakSet()


def _in_child() -> None:
    for catalog in list(_open):
        catalog.leave_to_the_parent()


os.register_at_fork(after_in_child=_in_child)
