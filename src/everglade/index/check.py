"""Is an index folder what it should be? Every byte of its segments, and every row of its catalog, against each other.

What cannot be seen: a changed letter in a stored title, text or metadata that leaves the row well formed. SQLite keeps
no checksum of them, and the segments do not hold them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from everglade import _engine
from everglade.errors import EvergladeError, IndexFolderError
from everglade.index.catalog import FILE_NAME, LOCK_NAME, Catalog
from everglade.index.segments import SUFFIX, open_file
from everglade.index.values import Meta, SegmentRow

__all__ = ["CheckedSegment", "Place", "Report", "check_index", "open_sound", "read_places"]

SHOWN = 5
JOURNAL_NAME = f"{FILE_NAME}-journal"


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
        left_over: Names in the folder that no commit knows: what interrupted writers left, and the next one removes.
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
    """Check an index folder. It may be searched meanwhile; writers wait until its tables have been read.

    Raises:
        IndexFolderError: if there is no such folder, or nothing of an index in it.
        LockHeld: if a writer did not let the catalog be read for a minute.
    """
    folder = Path(path)
    if not folder.is_dir() or not (is_catalog(folder) or any(folder.glob(f"*{SUFFIX}"))):
        raise IndexFolderError(f"there is no index at {folder}.")
    while True:
        report = Report(str(folder))
        before = _committed_version(folder, report)
        if before is None:
            return report
        _check_catalog(folder, report)
        if report.sound or _committed_version(folder, report) == before:
            return report


def is_catalog(folder: Path) -> bool:
    """Tell whether there is a catalog in this folder, sound or not."""
    return (folder / FILE_NAME).is_file()


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
        catalog = Catalog(folder)
        with closing(catalog):
            state = catalog.read({})
        with closing(connect(folder)) as connection:
            connection.execute("BEGIN")
            found = [text for (text,) in connection.execute("PRAGMA integrity_check").fetchall()]
            report.problems += [f"{FILE_NAME}: {text}" for text in found if text != "ok"]
            places = read_places(connection)
            report.problems += _bad_documents(connection)
            stray = connection.execute(
                "SELECT count(*) FROM deletions WHERE segment NOT IN (SELECT number FROM segments)"
            ).fetchone()[0]
    except (EvergladeError, sqlite3.Error, ValueError) as error:
        report.problems.append(str(error) if isinstance(error, EvergladeError) else f"{FILE_NAME}: {error}")
        return
    report.generation, report.documents = state.meta.generation, len(places)
    if stray:
        report.problems.append(f"{FILE_NAME}: {stray} deletions are of segments that are not there.")
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


def _check_numbers(meta: Meta, rows: tuple[SegmentRow, ...], report: Report) -> None:
    highest = max((row.number for row in rows), default=0)
    if highest >= meta.next_segment:
        report.problems.append(f"{FILE_NAME}: the next segment would be {meta.next_segment}, but {highest} is there.")
    if rows and meta.impact_scale is None and any(row.postings for row in rows):
        report.problems.append(f"{FILE_NAME}: there are postings, but no impact scale.")


def connect(folder: Path) -> sqlite3.Connection:
    """Open the catalog for reading alone, past everything that Everglade would refuse."""
    uri = (folder / FILE_NAME).resolve().as_uri() + "?mode=rw"  # to roll back what was interrupted
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def read_places(connection: sqlite3.Connection) -> list[Place]:
    """Read where each document is.

    Raises:
        ValueError: if a row has values of other types.
    """
    places = [Place(*row) for row in connection.execute("SELECT id, segment, local FROM documents").fetchall()]
    for place in places:
        if not (isinstance(place.id, str) and type(place.segment) is int and type(place.local) is int):
            raise ValueError(f"a row of documents cannot be: {place}")
    return places


def _bad_documents(connection: sqlite3.Connection) -> Iterator[str]:
    rows = connection.execute("SELECT id, title, text, metadata FROM documents")
    for id, title, text, metadata in rows:
        if not (isinstance(title, str) and isinstance(text, str)):
            yield f"{FILE_NAME}: title or text of document {id!r} is no text."
        try:
            if metadata is not None and not isinstance(json.loads(metadata), dict):
                yield f"{FILE_NAME}: the metadata of document {id!r} are no JSON object."
        except (TypeError, ValueError):
            yield f"{FILE_NAME}: the metadata of document {id!r} are not JSON."


def open_sound(folder: Path, row: SegmentRow, meta: Meta) -> tuple[_engine.Segment | None, str | None]:
    """Open a segment with everything verified; give it, or what is wrong with it."""
    try:
        return open_file(folder / row.name, row, meta, verify=True), None
    except (EvergladeError, OSError) as error:
        return None, str(error).removeprefix(str(folder / row.name)).lstrip(":, ")


def _check_segment(folder: Path, row: SegmentRow, meta: Meta, hidden: set[int], places: list[Place]) -> CheckedSegment:
    file, problem = open_sound(folder, row, meta)
    if file is not None:
        expected = {Place(id, row.number, local) for local, id in enumerate(file.ids_all()) if local not in hidden}
        found = set(places)
        if file.n_postings != row.postings:
            problem = f"it holds {file.n_postings} postings, the catalog says {row.postings}."
        elif found - expected:
            problem = f"the catalog gives {_some(sorted(found - expected))} places where others are."
        elif expected - found:
            problem = f"it holds {_some(sorted(expected - found))}, which the catalog does not know."
    return CheckedSegment(row.name, row.documents, row.deleted, row.postings, row.size_bytes, problem)


def _some(places: list[Place]) -> str:
    shown = ", ".join(repr(place.id) for place in places[:SHOWN])
    return f"{len(places)} documents ({shown}{', ...' if len(places) > SHOWN else ''})"
