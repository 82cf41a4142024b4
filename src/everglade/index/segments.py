"""Segment files: written from vectors, opened and checked against the catalog, searched together as a snapshot."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from everglade import _engine
from everglade.errors import ConfigError, CorruptIndex, FormatTooNew, InputError
from everglade.index.catalog import Meta, SegmentRow, State
from everglade.reference import MAX_IMPACT, Impacts, quantise_documents, quantise_queries
from everglade.vectors import SparseMatrix

__all__ = [
    "Batch",
    "Found",
    "OpenSegment",
    "Snapshot",
    "Vector",
    "choose_scale",
    "collect_files",
    "make_batch",
    "open_snapshot",
    "write_segments",
]

SUFFIX = ".segment"
SEGMENT_DOCUMENTS = 262_144
ENOUGH_TO_TRUST = 1000
_ADVICE = "Restore it from a backup, or build the index again."


class Vector(NamedTuple):
    """A stored vector: `terms` (n,) int32, ascending, with their `impacts` (n,) uint8."""

    terms: NDArray[np.int32]
    impacts: NDArray[np.uint8]


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """What a batch of queries found: row i holds the hits of query i, best first.

    Attributes:
        ids: Document ids, object (n_queries, k), None where there is no hit any more.
        integer_scores: Sums of impact products, uint32 (n_queries, k), 0 where there is no hit.
        scales: What an integer score of each query is divided by to be a score in weights, float64 (n_queries,).
    """

    ids: NDArray[np.object_]
    integer_scores: NDArray[np.uint32]
    scales: NDArray[np.float64]

    @property
    def scores(self) -> NDArray[np.float32]:
        """Scores in weights, float32 (n_queries, k), -inf where there is no hit."""
        scores = (self.integer_scores / self.scales[:, None]).astype(np.float32)
        scores[self.integer_scores == 0] = -np.inf
        return scores


class OpenSegment(NamedTuple):
    """A segment file and its hidden documents: bit d % 8 of byte d // 8 of `deleted` is set for document d."""

    row: SegmentRow
    file: _engine.Segment
    deleted: NDArray[np.uint8] | None

    def hides(self, local: int) -> bool:
        """Tell whether the document with this number has been deleted or replaced."""
        return self.deleted is not None and bool(self.deleted[local // 8] >> (local % 8) & 1)

    def ids(self, locals_: NDArray[np.uint32]) -> list[str]:
        """Give the ids of these documents."""
        with _clear_errors(Path(self.file.path)):
            ids: list[str] = self.file.ids(np.ascontiguousarray(locals_))
        return ids

    def live(self) -> NDArray[np.uint32]:
        """Give the numbers of the documents that are not hidden."""
        if self.deleted is None:
            return np.arange(self.row.documents, dtype=np.uint32)
        hidden = np.unpackbits(self.deleted, count=self.row.documents, bitorder="little")
        return np.flatnonzero(hidden == 0).astype(np.uint32)


@dataclass(frozen=True, eq=False, slots=True)
class Snapshot:
    """One committed state of an index. It never changes, and may be used from many threads."""

    meta: Meta
    segments: tuple[OpenSegment, ...]

    def __len__(self) -> int:
        return sum(segment.row.documents - segment.row.deleted for segment in self.segments)

    def search(self, queries: SparseMatrix, k: int, threads: int = 1) -> Found:
        """Find for each query, row of `queries`, the k documents with the greatest scores; see `Store.search`."""
        self._check(queries, k, threads)
        impacts, query_scales = quantise_queries(queries.canonical())
        found = Found(
            np.full((len(queries), k), None, dtype=object),
            np.zeros((len(queries), k), dtype=np.uint32),
            query_scales * (self.meta.impact_scale or 1.0),
        )
        depth = min(k, len(self))
        if depth and len(queries):
            self._fill(found, impacts, depth, threads or os.cpu_count() or 1)
        return found

    def _check(self, queries: SparseMatrix, k: int, threads: int) -> None:
        if queries.n_terms != self.meta.n_terms:
            raise InputError(
                f"the queries have {queries.n_terms} terms, the index {self.meta.n_terms}. "
                f"Encode them with the model that encoded the documents."
            )
        if k < 0 or threads < 0:
            raise ConfigError(f"k is {k} and threads is {threads}: neither may be negative.")

    def _fill(self, found: Found, queries: Impacts, depth: int, threads: int) -> None:
        indptr, terms, impacts = queries
        files = [segment.file for segment in self.segments]
        deleted = [segment.deleted for segment in self.segments]
        try:
            segments, locals_, scores = _engine.search(
                files, deleted, indptr, terms, impacts.astype(np.uint32), depth, threads
            )
        except ValueError as error:
            raise InputError(f"these queries cannot be searched: {error}.") from error
        found.integer_scores[:, :depth] = scores
        for number, segment in enumerate(self.segments):
            here = segments == number
            found.ids[:, :depth][here] = np.array(segment.ids(locals_[here]), dtype=object)

    def place(self, id: str) -> tuple[OpenSegment, int] | None:
        """Say where the document called `id` is: its segment and its number in it."""
        for segment in self.segments:
            local = segment.file.find(id)
            if local >= 0 and not segment.hides(local):
                return segment, local
        return None

    def vector(self, id: str) -> Vector | None:
        """Give the stored vector of the document called `id`."""
        place = self.place(id)
        return None if place is None else Vector(*place[0].file.document(place[1]))

    def ids(self) -> Iterator[str]:
        """Give the id of every document, in no promised order."""
        for segment in self.segments:
            yield from segment.ids(segment.live())

    def term_counts(self) -> NDArray[np.int64]:
        """Count the documents that hold each term: shape (n_terms,). Reads every vector."""
        counts = np.zeros(self.meta.n_terms, dtype=np.int64)
        for segment in self.segments:
            for local in segment.live().tolist():
                counts[segment.file.document(local)[0]] += 1
        return counts


def choose_scale(matrix: SparseMatrix) -> float | None:
    """Choose what weights are multiplied with to become impacts; None if no row has a weight.

    The heaviest weight of 1,000 rows or more gets 255. Fewer rows say little about what will come: then 255 stands for
    half as much again, and for 3.5 at least. Reasons: docs/decisions/0005-impact-scale.md.
    """
    heaviest = float(matrix.weights.max(initial=0.0))
    if heaviest == 0.0:
        return None
    return MAX_IMPACT / (heaviest if len(matrix) >= ENOUGH_TO_TRUST else max(1.5 * heaviest, 3.5))


class Batch(NamedTuple):
    """Vectors to be written: ids ascending, each once, with their impacts, and `meta` as it will be then."""

    meta: Meta
    ids: list[str]
    impacts: Impacts


def make_batch(meta: Meta, ids: Sequence[str], matrix: SparseMatrix) -> Batch:
    """Quantise the vectors, keep the last of each id, and sort by id; `meta` counts what was lost."""
    matrix = matrix.canonical()
    scale = meta.impact_scale or choose_scale(matrix)
    last = {id: place for place, id in enumerate(ids)}
    ordered = sorted(last)
    rows = matrix.take(np.array([last[id] for id in ordered], dtype=np.int64))
    impacts = quantise_documents(rows.weights, scale or 1.0)
    clipped = np.count_nonzero(np.rint(rows.weights.astype(np.float64) * (scale or 1.0)) > MAX_IMPACT)
    kept = impacts > 0
    indptr = np.concatenate([[0], np.cumsum(kept)])[rows.indptr].astype(np.int64)
    meta = replace(
        meta,
        impact_scale=scale,
        clipped_weights=meta.clipped_weights + int(clipped),
        dropped_weights=meta.dropped_weights + int(np.count_nonzero(~kept)),
        replaced_in_batch=meta.replaced_in_batch + len(ids) - len(ordered),
    )
    return Batch(meta, ordered, Impacts(indptr, rows.terms[kept], impacts[kept]))


def _rows(impacts: Impacts, start: int, stop: int) -> Impacts:
    indptr = impacts.indptr[start : stop + 1]
    span = slice(int(indptr[0]), int(indptr[-1]))
    return Impacts(indptr - indptr[0], impacts.terms[span], impacts.impacts[span])


def write_segments(folder: Path, batch: Batch) -> list[SegmentRow]:
    """Write a batch to as many segment files as it takes, all or none of them."""
    written: list[SegmentRow] = []
    try:
        for start in range(0, len(batch.ids), SEGMENT_DOCUMENTS):
            stop = min(start + SEGMENT_DOCUMENTS, len(batch.ids))
            number = batch.meta.next_segment + len(written)
            impacts = _rows(batch.impacts, start, stop)
            written.append(_write_segment(folder, batch.meta, number, batch.ids[start:stop], impacts))
    except BaseException:
        for row in written:
            with suppress(OSError):
                (folder / row.name).unlink()
        raise
    return written


def _write_segment(folder: Path, meta: Meta, number: int, ids: list[str], impacts: Impacts) -> SegmentRow:
    name = f"{number:06d}{SUFFIX}"
    written = _engine.write_segment(
        str(folder / name),
        bytes.fromhex(meta.uuid),
        number,
        meta.n_terms,
        impacts.indptr,
        impacts.terms,
        impacts.impacts.astype(np.uint8, copy=False),
        ids,
    )
    return SegmentRow(number, name, written["documents"], written["postings"], written["size_bytes"], written["crc32c"])


def open_snapshot(folder: Path, state: State, before: Snapshot | None, *, verify: bool) -> Snapshot:
    """Open what `state` names, taking over from `before` what is open already.

    Raises:
        CorruptIndex: if a file is missing, damaged, or not the one the catalog means.
    """
    opened = {} if before is None else {segment.row.number: segment for segment in before.segments}
    segments = []
    for row in state.segments:
        old = opened.get(row.number)
        file = old.file if old else _open_file(folder / row.name, row, state.meta, verify=verify)
        deleted = old.deleted if old else None
        if row.number in state.hidden:
            deleted = _as_bits(state.hidden[row.number], row.documents)
        segments.append(OpenSegment(row, file, deleted))
    return Snapshot(state.meta, tuple(segments))


def _open_file(path: Path, row: SegmentRow, meta: Meta, *, verify: bool) -> _engine.Segment:
    with _clear_errors(path):
        file = _engine.Segment(str(path), verify)
    facts = {
        "index": (file.uuid.hex(), meta.uuid),
        "number": (file.number, row.number),
        "size in bytes": (file.size_bytes, row.size_bytes),
        "checksum": (file.crc32c, row.crc32c),
        "number of terms": (file.n_terms, meta.n_terms),
        "number of documents": (file.n_documents, row.documents),
    }
    for name, (found, expected) in facts.items():
        if found != expected:
            raise CorruptIndex(path, None, f"its {name} is {found}, the catalog says {expected}. {_ADVICE}")
    return file


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise CorruptIndex(path, None, f"the file is missing. {_ADVICE}") from error
    except _engine.CorruptSegment as error:
        _, offset, why = error.args
        raise CorruptIndex(path, offset, f"{why}. {_ADVICE}") from error
    except _engine.FormatTooNew as error:
        raise FormatTooNew(f"{path}: {error.args[1]}. Install a newer Everglade.") from error


def _as_bits(locals_: NDArray[np.int64], n_documents: int) -> NDArray[np.uint8]:
    hidden = np.zeros(n_documents, dtype=np.uint8)
    hidden[locals_] = 1
    return np.packbits(hidden, bitorder="little")


def collect_files(folder: Path, named: Sequence[SegmentRow]) -> None:
    """Remove segment files that no row of the catalog names, and what interrupted writers left."""
    kept = {row.name for row in named}
    for path in folder.iterdir():
        if path.suffix == ".tmp" or (path.suffix == SUFFIX and path.name not in kept):
            # The commit stands whether or not this works; the next writer tries again.
            with suppress(OSError):
                path.unlink()
