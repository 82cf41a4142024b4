"""A damaged index made usable: what is intact stays as it is, and what is lost is named.

What is trusted, in this order: segment files that are whole by their own seal, over what the catalog says of them; the
rows of documents whose checksum is right; then the table of deletions. A document is left out only if its vector cannot
be read, or if all that can be read says that it was deleted.

A new catalog is built beside the old one, and takes its place by one rename, which is the commit. Intact segment files
are never written. The old catalog and all files that the new one does not name are kept in a folder of their own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from everglade import durable
from everglade.index.catalog import Catalog
from everglade.index.check import check_index
from everglade.index.connection import FILE_NAME, JOURNAL_NAME
from everglade.index.folder import is_index
from everglade.index.lock import WriteLock
from everglade.index.rows import insert_deletions, insert_documents, insert_segments, is_object
from everglade.index.salvage import Salvage, WholeSegment, read_catalog, read_segments
from everglade.index.salvaged_meta import recover_meta
from everglade.index.segments import SUFFIX
from everglade.index.values import DocumentRow, Meta, SegmentRow

__all__ = ["Repair", "repair_index"]

LOST_NAME = "lost-ids.txt"
SHOWN = 5
NOWHERE = (-1, -1)


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


def repair_index(path: str | Path, *, impact_scale: float | None = None, prune: str | None = None) -> Repair | None:
    """Repair an index folder; None if it is sound.

    Args:
        path: The folder.
        impact_scale: What `everglade info` once gave as the impact scale, for an index whose catalog has lost it.
        prune: The rule by which its postings were pruned, likewise.

    Raises:
        IndexFolderError: if there is no index, or nothing of it can be read, or one of these is needed.
        ConfigError: if `prune` is no rule.
        FormatTooNew: if a newer Everglade wrote it: it may be sound.
        LockHeld: if another process is writing.
    """
    folder = Path(path)
    if check_index(folder).sound:
        return None
    with WriteLock(folder):
        salvage = read_catalog(folder)
        whole, damaged = read_segments(folder)
        meta, remarks = recover_meta(folder, salvage, whole, impact_scale, prune)
        own = [segment for segment in whole if segment.file.uuid.hex() == meta.uuid]
        damaged += [segment.row.name for segment in whole if segment.file.uuid.hex() != meta.uuid]
        committed = _committed(own, salvage, remarks)
        live = _live_documents(committed, salvage, remarks)
        return _rebuild(folder, meta, salvage, committed, live, damaged, remarks)


def _committed(own: list[WholeSegment], salvage: Salvage, remarks: list[str]) -> list[WholeSegment]:
    """Give the segments that were committed: those that a row of segments or of documents names."""
    rows = salvage.segments or []
    named = {value for row in rows for value in (row.number, row.name)}
    places = {(found.row.segment, found.row.local, found.row.id) for found in salvage.documents}
    known_in_part = salvage.segments is None and not salvage.all_documents
    if own and (known_in_part or not (named or places)):
        remarks.append("The catalog no longer says which segments were committed: every intact one counts.")
        return own
    committed = []
    for segment in own:
        vouched = any((segment.row.number, local, id) in places for local, id in enumerate(segment.ids))
        if vouched or not named.isdisjoint(_names([segment])):
            committed.append(segment)
    for segment in committed:
        said = [row for row in rows if row.number == segment.row.number or row.name == segment.row.name]
        pairs = zip(SegmentRow._fields, said[0], segment.row, strict=True) if said else ()
        wrong = [name for name, value, right in pairs if value != right and name != "deleted"]
        if wrong or not said:
            what = ", ".join(wrong) if said else "row"
            remarks.append(f"{segment.row.name} is whole: the {what} that the catalog should hold of it is made anew.")
    return committed


class _Live(NamedTuple):
    """The documents that live, by segment and local; the ids of those without their texts; rows that have no place."""

    rows: dict[tuple[int, int], DocumentRow]
    without_text: set[str]
    lost: dict[str, DocumentRow]


def _live_documents(committed: list[WholeSegment], salvage: Salvage, remarks: list[str]) -> _Live:
    """Say which documents live.

    A row of documents is believed over the table of deletions. A document that neither of them names lives.
    """
    places: dict[str, list[tuple[int, int]]] = {}
    for segment in committed:
        for local, id in enumerate(segment.ids):
            places.setdefault(id, []).append((segment.row.number, local))
    live = _known_documents({segment.row.number: segment.ids for segment in committed}, places, salvage)
    for place, row in live.rows.items():
        if row.metadata is not None and not is_object(row.metadata):
            live.rows[place] = row._replace(metadata=None)
            remarks.append(f"The metadata of document {row.id!r} were no JSON object: they are gone.")
    deletions = salvage.deletions
    contradicted = sorted(row.id for place, row in live.rows.items() if deletions is not None and place in deletions)
    if contradicted:
        remarks.append(f"{_some(contradicted)} were noted as deleted, but their rows are there: they are kept.")
    back = []
    for id in places.keys() - {row.id for row in live.rows.values()}:
        standing = max((place for place in places[id] if deletions is None or place not in deletions), default=None)
        unknown = id not in live.lost and not salvage.all_documents
        if standing is not None and (deletions is not None or unknown):
            row = live.lost.pop(id, _without_text(id, NOWHERE))
            live.rows[standing] = row._replace(segment=standing[0], local=standing[1])
            back.append(id)
            if row.segment == NOWHERE[0]:
                live.without_text.add(id)
    if back and deletions is not None:
        remarks.append(
            f"{_some(sorted(back))} have no place in the catalog, and were not noted as deleted: they are kept."
        )
    if deletions is None and not salvage.all_documents:
        remarks.append("The catalog no longer says what was deleted: deleted documents may be back.")
    return live


def _known_documents(ids: dict[int, list[str]], places: dict[str, list[tuple[int, int]]], salvage: Salvage) -> _Live:
    """Find what each row of documents stands for.

    The checksum tells which of its values is wrong: it is right with the id that stands at the row's place, or with
    another place of the row's id, or else it is the texts that are lost, or the checksum itself.
    """
    live: dict[tuple[int, int], DocumentRow] = {}
    unsure: list[DocumentRow] = []
    lost: dict[str, DocumentRow] = {}
    for found in salvage.documents:
        row, place = found.row, (found.row.segment, found.row.local)
        of_segment = ids.get(row.segment, []) if type(row.segment) is int and type(row.local) is int else []
        here = of_segment[row.local] if 0 <= row.local < len(of_segment) else None
        elsewhere = [
            other
            for other in places.get(row.id, [])
            if found.is_sound_as(row._replace(segment=other[0], local=other[1]))
        ]
        if here is not None and found.is_sound_as(row._replace(id=here)):
            live[place] = row._replace(id=here)
        elif elsewhere:
            live[elsewhere[0]] = row._replace(segment=elsewhere[0][0], local=elsewhere[0][1])
        elif here is not None:
            unsure.append(_without_text(here, place))
        else:
            lost[str(row.id)] = row if found.is_sound else _without_text(str(row.id), NOWHERE)
    known = {row.id for row in live.values()}
    for row in unsure:
        if row.id not in known:
            live[row.segment, row.local] = row
    newest = {row.id: place for place, row in sorted(live.items())}
    rows = {place: row for place, row in live.items() if newest[row.id] == place}
    return _Live(rows, {row.id for row in unsure} - known, {id: lost[id] for id in lost.keys() - newest.keys()})


def _without_text(id: str, place: tuple[int, int]) -> DocumentRow:
    return DocumentRow(id, *place, "", "", None)


def _rebuild(
    folder: Path,
    meta: Meta,
    salvage: Salvage,
    committed: list[WholeSegment],
    live: _Live,
    damaged: list[str],
    remarks: list[str],
) -> Repair:
    numbers = {number for number, _ in live.rows}
    standing = [segment for segment in committed if segment.row.number in numbers]
    kept = {segment.row.name for segment in standing}
    named = [row.name for row in salvage.segments or [] if {row.number, row.name}.isdisjoint(_names(committed))]
    dropped = sorted({str(name) for name in named} | set(damaged))
    aside = sorted(path.name for path in folder.glob(f"*{SUFFIX}") if path.name not in kept)
    unnamed = sorted(set(aside) - set(dropped))
    if unnamed:
        remarks.append(f"{', '.join(unnamed)}: no live document is in them. They are set aside.")
    if dropped and not salvage.all_documents:
        remarks.append("Not all lost ids are known: the table of documents was damaged too.")
    lost = sorted(live.lost)
    highest = max((segment.row.number for segment in standing), default=0)
    meta = replace(meta, revision=meta.revision + 1, next_segment=max(meta.next_segment, highest + 1))
    backup = _new_folder(folder)
    _publish(folder, backup, _write_catalog(backup, meta, standing, live.rows), lost, aside)
    return Repair(
        documents=len(live.rows),
        kept=sorted(kept),
        dropped=dropped,
        lost=lost,
        without_text=sorted(live.without_text),
        remarks=remarks,
        backup=str(backup),
    )


def _names(segments: Iterable[WholeSegment]) -> set[int | str]:
    return {value for segment in segments for value in (segment.row.number, segment.row.name)}


def _some(ids: list[str]) -> str:
    return f"{len(ids)} documents ({', '.join(map(repr, ids[:SHOWN]))}{', ...' if len(ids) > SHOWN else ''})"


def _new_folder(folder: Path) -> Path:
    number = 1
    while (backup := folder / f"before-repair-{number}").exists():
        number += 1
    backup.mkdir()
    return backup


def _write_catalog(
    backup: Path, meta: Meta, segments: list[WholeSegment], documents: dict[tuple[int, int], DocumentRow]
) -> Path:
    making = backup / "new"
    making.mkdir()
    Catalog.create(making, meta)
    hidden = {
        segment.row: [local for local in range(segment.row.documents) if (segment.row.number, local) not in documents]
        for segment in segments
    }
    with closing(sqlite3.connect(making / FILE_NAME, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        insert_segments(connection, (row._replace(deleted=len(locals_)) for row, locals_ in hidden.items()))
        insert_documents(connection, documents.values())
        insert_deletions(connection, ((row.number, local) for row, locals_ in hidden.items() for local in locals_))
        connection.execute("COMMIT")
    durable.sync_file(making / FILE_NAME)
    return making / FILE_NAME


def _publish(folder: Path, backup: Path, fresh: Path, lost: list[str], aside: list[str]) -> None:
    """Keep the old, then let the new catalog take its place: until that one rename nothing has changed."""
    durable.write_bytes(backup / LOST_NAME, "".join(f"{id}\n" for id in lost).encode())
    if is_index(folder):
        (backup / FILE_NAME).hardlink_to(folder / FILE_NAME)
    if (folder / JOURNAL_NAME).exists():
        # It belongs to the old catalog, whose damage it did not undo; SQLite would apply it to the new one.
        (folder / JOURNAL_NAME).rename(backup / JOURNAL_NAME)
    durable.sync_folder(backup)
    durable.sync_folder(folder)
    fresh.rename(folder / FILE_NAME)
    durable.sync_folder(folder)
    fresh.parent.rmdir()
    for name in aside:
        (folder / name).rename(backup / name)
    durable.sync_folder(backup)
    durable.sync_folder(folder)
