"""The tables of a catalog, and their rows: written with checksums, read and compared with them.

SQLite keeps no checksum of what it stores. So each row of `meta` and of `documents` has a CRC-32 of the rest of it.
That of a document is the exclusive or of two, of its place and of all else: a merge gives documents new places without
reading their texts.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everglade.errors import CorruptIndex
from everglade.index.connection import APPLICATION_ID, VERSION
from everglade.index.values import ADVICE, DocumentRow, Meta, SegmentRow

__all__ = [
    "DOCUMENT_COLUMNS",
    "SCHEMA",
    "SEGMENT_COLUMNS",
    "check_locals",
    "hidden_locals",
    "insert_deletions",
    "insert_documents",
    "insert_segments",
    "is_object",
    "is_sound",
    "meta_values",
    "place_checksum",
    "read_meta",
    "require_sound",
    "segment_rows",
    "write_meta",
]

SCHEMA = f"""
PRAGMA synchronous = OFF;
BEGIN;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,             -- JSON
    checksum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE segments (
    number INTEGER PRIMARY KEY,      -- never used twice
    name TEXT NOT NULL UNIQUE,       -- of the file, in the index folder
    documents INTEGER NOT NULL,
    postings INTEGER NOT NULL,
    entries INTEGER NOT NULL,        -- of all vectors: the postings, and those that pruning left out
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
    metadata TEXT,                   -- a JSON object, or null
    checksum INTEGER NOT NULL
);
CREATE INDEX documents_by_segment ON documents (segment);
CREATE TABLE deletions (
    segment INTEGER NOT NULL REFERENCES segments (number),
    local INTEGER NOT NULL,
    PRIMARY KEY (segment, local)
) WITHOUT ROWID;
"""
SEGMENT_COLUMNS = ", ".join(SegmentRow._fields)
DOCUMENT_COLUMNS = f"{', '.join(DocumentRow._fields)}, checksum"
_PLACE = struct.Struct("<2q")
_LENGTHS = struct.Struct("<4q")


def place_checksum(segment: int, local: int) -> int:
    """Give the part of a document's checksum that stands for its place."""
    return zlib.crc32(_PLACE.pack(segment, local))


def _checksum(row: DocumentRow) -> int:
    id, segment, local, title, text, metadata = row
    named, titled, told = id.encode(), title.encode(), text.encode()
    noted = b"" if metadata is None else metadata.encode()
    lengths = _LENGTHS.pack(len(named), len(titled), len(told), -1 if metadata is None else len(noted))
    return zlib.crc32(b"".join((lengths, named, titled, told, noted))) ^ place_checksum(segment, local)


def is_sound(row: DocumentRow, checksum: object) -> bool:
    """Tell whether a row of documents is what was written."""
    id, segment, local, title, text, metadata = row
    typed = type(id) is type(title) is type(text) is str and type(segment) is type(local) is int
    return typed and (metadata is None or type(metadata) is str) and _checksum(row) == checksum


def is_object(metadata: str) -> bool:
    """Tell whether the metadata of a document are a JSON object."""
    try:
        return isinstance(json.loads(metadata), dict)
    except ValueError:
        return False


def require_sound(values: tuple[Any, ...], path: Path) -> DocumentRow:
    """Give a row of documents, from its columns and the checksum, as DOCUMENT_COLUMNS names them.

    Raises:
        CorruptIndex: if it is not what was written.
    """
    row = DocumentRow(*values[:-1])
    if not is_sound(row, values[-1]):
        raise CorruptIndex(path, None, f"the row of document {row.id!r} is not what was written. {ADVICE}")
    return row


def insert_documents(connection: sqlite3.Connection, rows: Iterable[DocumentRow]) -> None:
    """Add rows, with their checksums."""
    summed = ((*row, _checksum(row)) for row in rows)
    connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)", summed)


def insert_segments(connection: sqlite3.Connection, rows: Iterable[SegmentRow]) -> None:
    """Add rows."""
    connection.executemany("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def insert_deletions(connection: sqlite3.Connection, places: Iterable[tuple[int, int]]) -> None:
    """Add rows: segment and local of what is hidden."""
    connection.executemany("INSERT INTO deletions VALUES (?, ?)", places)


def write_meta(connection: sqlite3.Connection, meta: Meta) -> None:
    """Write all rows of the table meta."""
    values = [(key, json.dumps(value, allow_nan=False)) for key, value in asdict(meta).items()]
    rows = [(key, value, _meta_checksum(key, value)) for key, value in values]
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", rows)


def _meta_checksum(key: str, value: str) -> int:
    return zlib.crc32(f"{key}\0{value}".encode())


def meta_values(connection: sqlite3.Connection) -> tuple[dict[str, object], list[str]]:
    """Read the rows of the table meta: the values that are sound, and the keys of Meta for which there is none."""
    values = {}
    for key, value, checksum in connection.execute("SELECT key, value, checksum FROM meta").fetchall():
        if isinstance(key, str) and isinstance(value, str) and _meta_checksum(key, value) == checksum:
            values[key] = json.loads(value)
    return values, [column.name for column in fields(Meta) if column.name not in values]


def read_meta(connection: sqlite3.Connection, path: Path) -> Meta:
    """Read what the index says of itself.

    Raises:
        CorruptIndex: if a row is missing, or not what was written.
    """
    try:
        values, missing = meta_values(connection)
        if missing:
            raise ValueError(f"of {', '.join(missing)} nothing is there that was written")
        return Meta.from_json(values)
    except (TypeError, ValueError) as error:
        raise CorruptIndex(path, None, f"its table meta cannot be understood: {error}. {ADVICE}") from error


def segment_rows(connection: sqlite3.Connection, path: Path) -> Iterator[SegmentRow]:
    """Read the rows of the table segments, by number.

    Raises:
        CorruptIndex: if one cannot be.
    """
    for values in connection.execute(f"SELECT {SEGMENT_COLUMNS} FROM segments ORDER BY number").fetchall():
        row = SegmentRow(*values)
        counts = (row.number, row.documents, row.postings, row.entries, row.size_bytes, row.crc32c, row.deleted)
        if not all(type(count) is int and count >= 0 for count in counts) or row.deleted > row.documents:
            raise CorruptIndex(path, None, f"its table segments holds a row that cannot be: {row}")
        if not isinstance(row.name, str) or "/" in row.name or "\0" in row.name:
            raise CorruptIndex(path, None, f"its table segments names a file outside the index: {row.name!r}")
        yield row


def hidden_locals(connection: sqlite3.Connection, path: Path, row: SegmentRow) -> NDArray[np.int64]:
    """Read which documents of a segment are hidden.

    Raises:
        CorruptIndex: if they are not as many as its row says, or one is not in the segment.
    """
    found = [local for (local,) in connection.execute("SELECT local FROM deletions WHERE segment = ?", (row.number,))]
    if len(found) != row.deleted:
        raise CorruptIndex(path, None, f"its table deletions does not fit segment {row.number}.")
    return check_locals(found, path, "deletions", row)


def check_locals(found: list[int], path: Path, table: str, row: SegmentRow) -> NDArray[np.int64]:
    """Give numbers of documents of a segment as an array.

    Raises:
        CorruptIndex: if one is not in the segment.
    """
    if not all(type(local) is int and 0 <= local < row.documents for local in found):
        raise CorruptIndex(path, None, f"its table {table} does not fit segment {row.number}.")
    return np.array(found, dtype=np.int64)
