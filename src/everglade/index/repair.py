"""A damaged index made usable: what is intact stays as it is, and what is lost is named.

A new catalog is built beside the old one from what can be read, and takes its place by one rename, which is the commit.
Intact segment files are never written. The old catalog and the damaged segments are kept in a folder of their own.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from everglade import _engine, durable
from everglade.errors import EvergladeError, FormatTooNew, IndexFolderError
from everglade.index.catalog import FILE_NAME, Catalog, lock_folder
from everglade.index.check import JOURNAL_NAME, check_index, connect, is_catalog, open_sound
from everglade.index.segments import SUFFIX
from everglade.index.values import DocumentRow, Meta, SegmentRow

__all__ = ["Repair", "repair_index"]

LOST_NAME = "lost-ids.txt"


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair did.

    Attributes:
        documents: Documents that can be found now.
        kept: Names of segment files that were intact.
        dropped: Names of segment files that were damaged or missing.
        lost: Ids of documents that are gone with them.
        without_text: Ids of documents whose title, text and metadata are gone.
        remarks: What else is not as it was.
        backup: The folder that holds what was replaced, and the lost ids.
    """

    documents: int
    kept: list[str]
    dropped: list[str]
    lost: list[str]
    without_text: list[str]
    remarks: list[str]
    backup: str


@dataclass(slots=True)
class _Readable:
    """What can be read of a catalog; None for a table of which not every row can."""

    meta: Meta | None = None
    segments: list[SegmentRow] | None = None
    deletions: set[tuple[int, int]] | None = None
    documents: dict[str, DocumentRow] = field(default_factory=dict)
    all_documents: bool = False


class _Sound(NamedTuple):
    row: SegmentRow
    ids: list[str]


def repair_index(path: str | Path, *, impact_scale: float | None = None) -> Repair | None:
    """Repair an index folder; None if it is sound.

    Args:
        path: The folder.
        impact_scale: What `everglade info` once gave as the impact scale, for an index whose catalog has lost it.

    Raises:
        IndexFolderError: if there is no index, or nothing of it can be read, or the impact scale is needed.
        FormatTooNew: if a newer Everglade wrote it: it may be sound.
        LockHeld: if another process is writing.
    """
    folder = Path(path)
    if check_index(folder).sound:
        return None
    lock = lock_folder(folder)
    try:
        readable = _read_catalog(folder)
        meta = readable.meta or _meta_of_segments(folder, impact_scale)
        return _rebuild(folder, meta, readable)
    finally:
        os.close(lock)


def _read_catalog(folder: Path) -> _Readable:
    readable = _Readable()
    if not is_catalog(folder):
        return readable
    try:
        catalog = Catalog(folder)
        with closing(catalog):
            catalog.version()
    except FormatTooNew:
        raise
    except (EvergladeError, UnicodeDecodeError):
        pass  # then table by table
    try:
        connection = connect(folder)
    except (sqlite3.Error, UnicodeDecodeError):
        return readable
    with closing(connection):
        readable.meta = _read_meta(connection)
        readable.segments = _read_segments(connection)
        rows = _all_rows(connection, "SELECT segment, local FROM deletions")
        readable.deletions = None if rows is None else {(segment, local) for segment, local in rows}
        readable.documents, readable.all_documents = _read_documents(connection)
    return readable


def _all_rows(connection: sqlite3.Connection, query: str) -> list[Any] | None:
    try:
        return connection.execute(query).fetchall()
    except (sqlite3.Error, ValueError):
        return None


def _read_meta(connection: sqlite3.Connection) -> Meta | None:
    rows = _all_rows(connection, "SELECT key, value FROM meta")
    try:
        return Meta.from_json({key: json.loads(value) for key, value in rows or ()})
    except (TypeError, ValueError):
        return None


def _read_segments(connection: sqlite3.Connection) -> list[SegmentRow] | None:
    rows = _all_rows(connection, f"SELECT {', '.join(SegmentRow._fields)} FROM segments ORDER BY number")
    if rows is None:
        return None
    found = [SegmentRow(*row) for row in rows]
    well_formed = all(
        isinstance(row.name, str)
        and row.name == Path(row.name).name
        and row.name.endswith(SUFFIX)
        and all(type(value) is int and value >= 0 for value in (row.number, *row[2:]))
        for row in found
    )
    return found if well_formed else None


def _read_documents(connection: sqlite3.Connection) -> tuple[dict[str, DocumentRow], bool]:
    """Read from both ends as far as it goes; tell whether that was all."""
    columns = ", ".join(DocumentRow._fields)
    documents: dict[str, DocumentRow] = {}
    well_formed = True
    for order in ("ASC", "DESC"):
        try:
            rows = connection.execute(f"SELECT {columns} FROM documents NOT INDEXED ORDER BY rowid {order}")
            for row in map(DocumentRow._make, rows):
                if _is_document(row):
                    documents[row.id] = row
                else:
                    well_formed = False
        except (sqlite3.Error, ValueError):
            continue
        return documents, well_formed
    return documents, False


def _is_document(row: DocumentRow) -> bool:
    texts = (row.id, row.title, row.text, row.metadata or "{}")
    try:
        return all(isinstance(text, str) for text in texts) and isinstance(json.loads(texts[3]), dict)
    except ValueError:
        return False


def _meta_of_segments(folder: Path, impact_scale: float | None) -> Meta:
    """Work out what the catalog said of the index from its intact segments: most of them are right about it."""
    files = [file for path in sorted(folder.glob(f"*{SUFFIX}")) if (file := _open_alone(path)) is not None]
    if not files:
        raise IndexFolderError(f"{folder}: neither the catalog nor any segment can be read. Restore it from a backup.")
    if impact_scale is None or not 0 < impact_scale < float("inf"):
        raise IndexFolderError(
            f"{folder}: the catalog has lost the impact scale, and no segment holds it. Give the one that "
            f"`everglade info` showed, or that an index made the same way has: --impact-scale."
        )
    facts = [(file.uuid.hex(), file.n_terms, file.is_wide, file.has_rows, file.has_weights) for file in files]
    uuid, n_terms, is_wide, has_rows, has_weights = max(set(facts), key=facts.count)
    meta = Meta(uuid, n_terms, float(impact_scale))
    options = replace(meta.options, impact_bits=16 if is_wide else 8, rows=has_rows, keep_weights=has_weights)
    return replace(meta, options=options)


def _open_alone(path: Path) -> _engine.Segment | None:
    try:
        return _engine.Segment(str(path), True)
    except (_engine.CorruptSegment, _engine.FormatTooNew, OSError):
        return None


def _rebuild(folder: Path, meta: Meta, readable: _Readable) -> Repair:
    remarks = []
    if readable.meta is None:
        remarks.append("The name of the model and the counts of the index are gone.")
    if readable.segments is None:
        remarks.append("The catalog no longer says which segments were committed: every intact one counts.")
        sound, dropped = _sort_files(folder, meta)
    else:
        sound, dropped = _sort_rows(folder, meta, readable.segments)
    if dropped and not readable.all_documents:
        remarks.append("Not all lost ids are known: the table of documents was damaged too.")
    hidden, remark = _hidden(sound, readable)
    documents = _documents(sound, hidden, readable)
    lost = sorted(readable.documents.keys() - documents.keys())
    highest = max((row.number for row in (readable.segments or [segment.row for segment in sound])), default=0)
    meta = replace(meta, revision=meta.revision + 1, next_segment=max(meta.next_segment, highest + 1))
    backup = _new_folder(folder)
    _publish(folder, backup, _write_catalog(backup, meta, sound, hidden, documents.values()), lost, dropped)
    return Repair(
        documents=len(documents),
        kept=[segment.row.name for segment in sound],
        dropped=dropped,
        lost=lost,
        without_text=sorted(documents.keys() - readable.documents.keys()),
        remarks=remarks + remark,
        backup=str(backup),
    )


def _sort_rows(folder: Path, meta: Meta, rows: list[SegmentRow]) -> tuple[list[_Sound], list[str]]:
    """Tell which of the segments that the catalog names are sound, and name the others."""
    sound, dropped = [], []
    for row in rows:
        file, _ = open_sound(folder, row, meta)
        if file is None:
            dropped.append(row.name)
        else:
            sound.append(_Sound(row._replace(postings=file.n_postings), file.ids_all()))
    return sound, dropped


def _sort_files(folder: Path, meta: Meta) -> tuple[list[_Sound], list[str]]:
    """Tell which segment files are sound and of this index, and name the others."""
    sound, dropped = [], []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        file = _open_alone(path)
        if file is None or file.uuid.hex() != meta.uuid:
            dropped.append(path.name)
        else:
            facts = (file.n_documents, file.n_postings, file.size_bytes, file.crc32c)
            sound.append(_Sound(SegmentRow(file.number, path.name, *facts), file.ids_all()))
    return sorted(sound), dropped


def _hidden(sound: list[_Sound], readable: _Readable) -> tuple[dict[int, set[int]], list[str]]:
    """Say which documents of each segment are hidden: as the catalog says, or else all but the newest of each id."""
    if readable.deletions is not None:
        hidden = {
            segment.row.number: {
                local
                for number, local in readable.deletions
                if number == segment.row.number and local < len(segment.ids)
            }
            for segment in sound
        }
    elif readable.all_documents:
        places = {(row.segment, row.local) for row in readable.documents.values()}
        hidden = {
            segment.row.number: {
                local for local in range(len(segment.ids)) if (segment.row.number, local) not in places
            }
            for segment in sound
        }
    else:
        hidden = {segment.row.number: set() for segment in sound}
    newer: set[str] = set()
    for segment in sorted(sound, reverse=True):
        live = {id: local for local, id in enumerate(segment.ids) if local not in hidden[segment.row.number]}
        hidden[segment.row.number] |= {local for id, local in live.items() if id in newer}
        newer |= live.keys()
    if readable.deletions is None and not readable.all_documents:
        return hidden, ["The catalog no longer says what was deleted: deleted documents may be back."]
    return hidden, []


def _documents(sound: list[_Sound], hidden: dict[int, set[int]], readable: _Readable) -> dict[str, DocumentRow]:
    documents = {}
    for segment in sound:
        for local, id in enumerate(segment.ids):
            if local not in hidden[segment.row.number]:
                known = readable.documents.get(id)
                texts = ("", "", None) if known is None else (known.title, known.text, known.metadata)
                documents[id] = DocumentRow(id, segment.row.number, local, *texts)
    return documents


def _new_folder(folder: Path) -> Path:
    number = 1
    while (backup := folder / f"before-repair-{number}").exists():
        number += 1
    backup.mkdir()
    return backup


def _write_catalog(
    backup: Path, meta: Meta, sound: list[_Sound], hidden: dict[int, set[int]], documents: Iterable[DocumentRow]
) -> Path:
    making = backup / "new"
    making.mkdir()
    Catalog.create(making, meta)
    with closing(sqlite3.connect(making / FILE_NAME, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        rows = [
            row._replace(deleted=len(hidden[row.number])) for row, _ in sound if len(hidden[row.number]) < row.documents
        ]
        connection.executemany("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)", documents)
        gone = [(row.number, local) for row in rows for local in sorted(hidden[row.number])]
        connection.executemany("INSERT INTO deletions VALUES (?, ?)", gone)
        connection.execute("COMMIT")
    durable.sync_file(making / FILE_NAME)
    return making / FILE_NAME


def _publish(folder: Path, backup: Path, fresh: Path, lost: list[str], dropped: list[str]) -> None:
    """Keep the old, then let the new catalog take its place: until that one rename nothing has changed."""
    durable.write_bytes(backup / LOST_NAME, "".join(f"{id}\n" for id in lost).encode())
    if is_catalog(folder):
        (backup / FILE_NAME).hardlink_to(folder / FILE_NAME)
    if (folder / JOURNAL_NAME).exists():
        # It belongs to the old catalog, whose damage it did not undo; SQLite would apply it to the new one.
        (folder / JOURNAL_NAME).rename(backup / JOURNAL_NAME)
    durable.sync_folder(backup)
    durable.sync_folder(folder)
    fresh.rename(folder / FILE_NAME)
    durable.sync_folder(folder)
    fresh.parent.rmdir()
    for name in dropped:
        if (folder / name).exists():
            (folder / name).rename(backup / name)
    durable.sync_folder(backup)
    durable.sync_folder(folder)
