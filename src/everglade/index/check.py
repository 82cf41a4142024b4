"""Is an index folder what it should be? Every byte of its segments, and every row of its catalog, against each other.

The catalog is copied first, and the copy is checked, so that no writer waits for long.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from everglade import _engine
from everglade.errors import EvergladeError, IndexFolderError
from everglade.index.catalog import Catalog
from everglade.index.connection import FILE_NAME, JOURNAL_NAME, clear_errors
from everglade.index.folder import is_index
from everglade.index.lock import LOCK_NAME
from everglade.index.rows import DOCUMENT_COLUMNS, is_object
from everglade.index.salvage import FoundDocument, open_past_refusals
from everglade.index.segments import SUFFIX, open_file
from everglade.index.values import DocumentRow, Meta, SegmentRow, State

__all__ = ["CheckedSegment", "Place", "Report", "check_index"]

SHOWN = 5
PAGES_AT_A_TIME = 2048
"""Pages of the catalog that are copied in one transaction: 8 MiB."""
COPIES = 3
"""Copying begins anew with each commit; after so many times it is done in one transaction."""


class CheckedSegment(NamedTuple):
    """A segment that the catalog names; `problem` is None if it is sound."""

    name: str
    documents: int
    deleted: int
    postings: int
    size_bytes: int
    problem: str | None


class Place(NamedTuple):
    """Where the catalog says that a document's vector is."""

    id: str
    segment: int
    local: int


@dataclass(slots=True)
class Report:
    """What a check found.

    Attributes:
        path: The index folder.
        generation: Commits so far, None if the catalog cannot be read.
        documents: Documents that the catalog knows, None if it cannot be read.
        segments: The segments it names.
        problems: What is wrong, a sentence each; nothing if the index is sound.
        left_over: Names in the folder that no commit knows. The next writer removes what interrupted ones left.
    """

    path: str
    generation: int | None = None
    documents: int | None = None
    segments: list[CheckedSegment] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Give the same as plain JSON values."""
        segments = [segment._asdict() for segment in self.segments]
        return {"sound": self.sound, **asdict(self), "segments": segments}


def check_index(path: str | Path) -> Report:
    """Check an index folder. It may be searched and written meanwhile.

    The catalog is copied to the folder for temporary files, which needs room for it.

    Raises:
        IndexFolderError: if there is no such folder, or nothing of an index in it.
        LockHeld: if a writer did not let the catalog be read for a minute.
        OSError: if there is no room for the copy.
    """
    folder = Path(path)
    if not folder.is_dir() or not (is_index(folder) or any(folder.glob(f"*{SUFFIX}"))):
        raise IndexFolderError(f"there is no index at {folder}.")
    while True:
        report = Report(str(folder))
        before = _committed_version(folder, report)
        if before is None:
            return report
        _check_catalog(folder, report)
        if report.sound or _committed_version(folder, report) == before:
            return report


def _committed_version(folder: Path, report: Report) -> tuple[int, int] | None:
    try:
        catalog = Catalog(folder)
        with closing(catalog):
            return catalog.version()
    except (EvergladeError, UnicodeDecodeError) as error:  # SQLite's message may quote damaged bytes
        report.problems.append(str(error) if isinstance(error, EvergladeError) else f"{FILE_NAME}: {error}")
        return None


def _check_catalog(folder: Path, report: Report) -> None:
    try:
        with tempfile.TemporaryDirectory(prefix="everglade-check-") as copied:
            _copy_catalog(folder, Path(copied))
            with closing(Catalog(Path(copied))) as catalog:
                state = catalog.read({})
            with closing(open_past_refusals(Path(copied))) as connection:
                found = [text for (text,) in connection.execute("PRAGMA integrity_check").fetchall()]
                report.problems += [f"{FILE_NAME}: {text}" for text in found if text != "ok"]
                report.problems += _bad_deletions(connection, state)
                places = _check_documents(connection, report)
    except (EvergladeError, sqlite3.Error, ValueError) as error:
        report.problems.append(str(error) if isinstance(error, EvergladeError) else f"{FILE_NAME}: {error}")
        return
    report.generation, report.documents = state.meta.generation, len(places)
    by_segment: dict[int, list[Place]] = {}
    for place in places:
        by_segment.setdefault(place.segment, []).append(place)
    for row in state.segments:
        hidden = set(state.hidden[row.number].tolist()) if row.number in state.hidden else set()
        report.segments.append(_check_segment(folder, row, state.meta, hidden, by_segment.pop(row.number, [])))
    report.problems += [f"{row.name}: {row.problem}" for row in report.segments if row.problem]
    for number, strays in by_segment.items():
        report.problems.append(f"{FILE_NAME}: {_some(strays)} point into segment {number}, which is not there.")
    _check_numbers(state.meta, state.segments, report)
    known = {row.name for row in state.segments} | {FILE_NAME, JOURNAL_NAME, LOCK_NAME}
    report.left_over = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name not in known)


class _Outpaced(Exception):
    """A catalog was written to faster than it was copied."""


def _copy_catalog(folder: Path, copied: Path) -> None:
    """Copy the catalog page by page, one committed state of it, damage and all."""
    least, begun = None, 1

    def count(_status: int, remaining: int, _total: int) -> None:
        nonlocal least, begun
        begun += least is not None and remaining > least
        least = remaining
        if begun > COPIES:
            raise _Outpaced

    with closing(open_past_refusals(folder)) as source, closing(sqlite3.connect(copied / FILE_NAME)) as target:
        with clear_errors(folder / FILE_NAME):
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()  # rolls back what was interrupted
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")
        try:
            source.backup(target, pages=PAGES_AT_A_TIME, progress=count, sleep=0.01)
        except _Outpaced:
            source.backup(target)


def _check_numbers(meta: Meta, rows: tuple[SegmentRow, ...], report: Report) -> None:
    highest = max((row.number for row in rows), default=0)
    if highest >= meta.next_segment:
        report.problems.append(f"{FILE_NAME}: the next segment would be {meta.next_segment}, but {highest} is there.")
    if rows and meta.impact_scale is None and any(row.postings for row in rows):
        report.problems.append(f"{FILE_NAME}: there are postings, but no impact scale.")


def _bad_deletions(connection: sqlite3.Connection, state: State) -> Iterator[str]:
    counts = Counter(segment for (segment,) in connection.execute("SELECT segment FROM deletions"))
    for row in state.segments:
        if (count := counts.pop(row.number, 0)) != row.deleted:
            yield f"{FILE_NAME}: {count} deletions are of segment {row.number}, whose row says {row.deleted}."
    if strays := sum(counts.values()):
        yield f"{FILE_NAME}: {strays} deletions are of segments that are not there."


def _check_documents(connection: sqlite3.Connection, report: Report) -> list[Place]:
    """Give where each document is, and report rows that are not what was written.

    Raises:
        ValueError: if a row has values of other types.
    """
    places = []
    for *values, checksum in connection.execute(f"SELECT {DOCUMENT_COLUMNS} FROM documents NOT INDEXED"):
        found = FoundDocument(DocumentRow(*values), checksum)
        row = found.row
        if not (isinstance(row.id, str) and type(row.segment) is int and type(row.local) is int):
            raise ValueError(f"a row of documents cannot be: {row}")
        places.append(Place(row.id, row.segment, row.local))
        if not found.is_sound:
            report.problems.append(f"{FILE_NAME}: the row of document {row.id!r} is not what was written.")
        elif row.metadata is not None and not is_object(row.metadata):
            report.problems.append(f"{FILE_NAME}: the metadata of document {row.id!r} are no JSON object.")
    return places


def _open_sound(folder: Path, row: SegmentRow, meta: Meta) -> tuple[_engine.Segment | None, str | None]:
    """Open a segment with everything verified; give it, or what is wrong with it."""
    try:
        return open_file(folder / row.name, row, meta, verify=True), None
    except (EvergladeError, OSError) as error:
        return None, str(error).removeprefix(str(folder / row.name)).lstrip(":, ")


def _check_segment(folder: Path, row: SegmentRow, meta: Meta, hidden: set[int], places: list[Place]) -> CheckedSegment:
    file, problem = _open_sound(folder, row, meta)
    if file is not None:
        expected = {Place(id, row.number, local) for local, id in enumerate(file.ids_all()) if local not in hidden}
        found = set(places)
        if found - expected:
            problem = f"the catalog gives {_some(sorted(found - expected))} places where others are."
        elif expected - found:
            problem = f"it holds {_some(sorted(expected - found))}, which the catalog does not know."
    return CheckedSegment(row.name, row.documents, row.deleted, row.postings, row.size_bytes, problem)


def _some(places: list[Place]) -> str:
    shown = ", ".join(repr(place.id) for place in places[:SHOWN])
    return f"{len(places)} documents ({shown}{', ...' if len(places) > SHOWN else ''})"
