"""What can still be read of a damaged index: rows of its catalog, and segment files whole by their own seal."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from everglade import _engine
from everglade.errors import FormatTooNew, IndexFolderError
from everglade.index.catalog import Catalog
from everglade.index.connection import FILE_NAME, FormatTooOld
from everglade.index.folder import is_index
from everglade.index.rows import DOCUMENT_COLUMNS, SEGMENT_COLUMNS, is_sound, meta_values
from everglade.index.segments import SUFFIX, segment_name
from everglade.index.values import DocumentRow, SegmentRow

__all__ = ["FoundDocument", "Salvage", "WholeSegment", "open_past_refusals", "read_catalog", "read_segments"]


class FoundDocument(NamedTuple):
    """A row of documents: its values, of whatever type they are, and its checksum."""

    row: DocumentRow
    checksum: object

    @property
    def is_sound(self) -> bool:
        """Whether it is what was written."""
        return is_sound(self.row, self.checksum)

    def is_sound_as(self, row: DocumentRow) -> bool:
        """Tell whether this row is what was written."""
        return is_sound(row, self.checksum)


class WholeSegment(NamedTuple):
    """A segment file that is whole by its own seal, what the catalog should say of it, and its ids by local number."""

    file: _engine.Segment
    row: SegmentRow
    ids: list[str]


@dataclass(slots=True)
class Salvage:
    """What can be read of a catalog.

    Attributes:
        values: Values of the table meta that are what was written, by key.
        segments: Rows of segments, of whatever types; None if not all of them can be read.
        deletions: Segment and local of what is noted as deleted; None if not all of it can be read.
        documents: Rows of documents, as far as they can be read.
        all_documents: Whether these are all.
    """

    values: dict[str, Any] = field(default_factory=dict)
    segments: list[SegmentRow] | None = None
    deletions: set[tuple[int, int]] | None = None
    documents: list[FoundDocument] = field(default_factory=list)
    all_documents: bool = False


def open_past_refusals(folder: Path) -> sqlite3.Connection:
    """Open the catalog for reading alone, past everything that Everglade would refuse."""
    uri = (folder / FILE_NAME).resolve().as_uri() + "?mode=rw"  # to roll back what was interrupted
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def read_catalog(folder: Path) -> Salvage:
    """Read the catalog table by table.

    Raises:
        FormatTooNew: if a newer Everglade wrote it: it may be sound.
        FormatTooOld: if it is from before the first release.
    """
    salvage = Salvage()
    if not is_index(folder):
        return salvage
    try:
        with closing(Catalog(folder)) as catalog:
            catalog.version()
    except (FormatTooNew, FormatTooOld):
        raise
    except (IndexFolderError, UnicodeDecodeError):
        pass  # then table by table
    try:
        connection = open_past_refusals(folder)
    except (sqlite3.Error, UnicodeDecodeError):
        return salvage
    with closing(connection):
        try:
            salvage.values, _ = meta_values(connection)
        except (sqlite3.Error, ValueError):
            salvage.values = {}
        rows = _all_rows(connection, f"SELECT {SEGMENT_COLUMNS} FROM segments ORDER BY number")
        salvage.segments = None if rows is None else [SegmentRow(*row) for row in rows]
        rows = _all_rows(connection, "SELECT segment, local FROM deletions")
        salvage.deletions = None if rows is None else {(segment, local) for segment, local in rows}
        salvage.documents, salvage.all_documents = _read_documents(connection)
    return salvage


def _all_rows(connection: sqlite3.Connection, query: str) -> list[Any] | None:
    try:
        return connection.execute(query).fetchall()
    except (sqlite3.Error, ValueError):
        return None


def _read_documents(connection: sqlite3.Connection) -> tuple[list[FoundDocument], bool]:
    """Read from both ends as far as it goes; tell whether that was all."""
    found: dict[int, FoundDocument] = {}
    for order in ("ASC", "DESC"):
        try:
            query = f"SELECT rowid, {DOCUMENT_COLUMNS} FROM documents NOT INDEXED ORDER BY rowid {order}"
            for rowid, *values, checksum in connection.execute(query):
                found[rowid] = FoundDocument(DocumentRow(*values), checksum)
        except (sqlite3.Error, ValueError):
            continue
        return list(found.values()), True
    return list(found.values()), False


def read_segments(folder: Path) -> tuple[list[WholeSegment], list[str]]:
    """Open the segment files that are whole and have the name of their number, and name the others."""
    whole, damaged = [], []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            file = _engine.Segment(str(path), True)
        except (_engine.CorruptSegment, _engine.FormatTooNew, OSError):
            damaged.append(path.name)
            continue
        if path.name != segment_name(file.number):
            damaged.append(path.name)
            continue
        row = SegmentRow(
            file.number,
            path.name,
            documents=file.n_documents,
            postings=file.n_postings,
            entries=file.n_row_entries,
            size_bytes=file.size_bytes,
            crc32c=file.crc32c,
        )
        whole.append(WholeSegment(file, row, file.ids_all()))
    return whole, damaged
