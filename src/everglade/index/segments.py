"""Segment files: vectors rounded to impacts and written; files opened and checked against the catalog."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from everglade import _engine
from everglade.errors import CorruptIndex, FormatTooNew, IndexFolderError, InputError
from everglade.index.pruning import keep_postings
from everglade.index.values import ADVICE, Meta, SegmentRow
from everglade.reference import MAX_IMPACT, Impacts, quantise_documents
from everglade.vectors import SparseMatrix

__all__ = [
    "Batch",
    "OpenSegment",
    "Vector",
    "as_bits",
    "choose_scale",
    "clear_errors",
    "collect_files",
    "from_bits",
    "make_batch",
    "open_file",
    "segment_name",
    "weight_error",
    "write_segment",
    "write_segments",
]

SUFFIX = ".segment"
SEGMENT_DOCUMENTS = 262_144
ENOUGH_TO_TRUST = 1000
HEAVIEST_HALF = 65504.0


class Vector(NamedTuple):
    """A stored vector: `terms` (n,) int32, ascending, with their `impacts` (n,) uint8, or uint16 if they are wide."""

    terms: NDArray[np.int32]
    impacts: NDArray[np.unsignedinteger[Any]]


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
        try:
            ids: list[str] = self.file.ids(np.ascontiguousarray(locals_))
        except _engine.CorruptSegment:
            with clear_errors(Path(self.file.path)):
                raise
        return ids

    def live(self) -> NDArray[np.uint32]:
        """Give the numbers of the documents that are not hidden."""
        if self.deleted is None:
            return np.arange(self.row.documents, dtype=np.uint32)
        return np.flatnonzero(~from_bits(self.deleted, self.row.documents)).astype(np.uint32)


def choose_scale(matrix: SparseMatrix, max_impact: int = MAX_IMPACT) -> float | None:
    """Choose what weights are multiplied with to become impacts; None if no row has a weight.

    The heaviest weight of 1,000 rows or more gets `max_impact`. Fewer rows say little about what will come: then that
    stands for half as much again, and for 3.5 at least. Reasons: docs/decisions/0005-impact-scale.md.
    """
    heaviest = float(matrix.weights.max(initial=0.0))
    if heaviest == 0.0:
        return None
    return max_impact / (heaviest if len(matrix) >= ENOUGH_TO_TRUST else max(1.5 * heaviest, 3.5))


class Batch(NamedTuple):
    """Vectors to be written: ids ascending, each once, with their impacts, and `meta` as it will be then.

    `weights` holds the float16 of each entry where the index keeps them.
    """

    meta: Meta
    ids: Sequence[str]
    impacts: Impacts
    weights: NDArray[np.float16] | None = None


def make_batch(meta: Meta, ids: Sequence[str], matrix: SparseMatrix) -> Batch:
    """Quantise the vectors, keep the last of each id, and sort by id; `meta` counts what was lost.

    Raises:
        InputError: if the index keeps weights and one is beyond float16.
    """
    matrix = matrix.canonical()
    options = meta.options
    scale = meta.impact_scale or choose_scale(matrix, options.max_impact)
    ordered, rows = _sort_by_id(ids, matrix)
    impacts = Impacts(rows.indptr, rows.terms, quantise_documents(rows.weights, scale or 1.0, wide=options.is_wide))
    kept = impacts.impacts > 0
    meta = replace(
        meta,
        impact_scale=scale,
        clipped_weights=meta.clipped_weights + _count_clipped(rows.weights, scale or 1.0, options.max_impact),
        dropped_weights=meta.dropped_weights + len(kept) - int(np.count_nonzero(kept)),
        replaced_in_batch=meta.replaced_in_batch + len(ids) - len(ordered),
    )
    kept_weights = rows.weights
    if not kept.all():
        indptr = np.concatenate([[0], np.cumsum(kept)])[rows.indptr].astype(np.int64)
        impacts = Impacts(indptr, impacts.terms[kept], impacts.impacts[kept])
        kept_weights = kept_weights[kept]
    weights = _as_halves(kept_weights) if options.keep_weights else None
    if weights is not None and scale is not None:
        meta = replace(meta, weight_error=max(meta.weight_error, weight_error(weights, impacts.impacts, scale)))
    return Batch(meta, ordered, impacts, weights)


def _sort_by_id(ids: Sequence[str], matrix: SparseMatrix) -> tuple[list[str], SparseMatrix]:
    """Give the ids ascending, each once, and the last row of each."""
    last = {id: place for place, id in enumerate(ids)}
    ordered = sorted(last)
    if ordered == list(ids):
        return ordered, matrix
    return ordered, matrix.take(np.array([last[id] for id in ordered], dtype=np.int64))


def _count_clipped(weights: NDArray[np.float32], scale: float, max_impact: int) -> int:
    """Count the weights whose impact would be greater than the greatest there is."""
    if np.rint(float(weights.max(initial=0.0)) * scale) <= max_impact:
        return 0
    return int(np.count_nonzero(np.rint(weights.astype(np.float64) * scale) > max_impact))


def weight_error(weights: NDArray[np.float16], impacts: NDArray[np.unsignedinteger[Any]], scale: float) -> float:
    """Give the most by which a kept weight exceeds what its impact says, or 0."""
    return float((weights.astype(np.float64) - impacts / scale).max(initial=0.0))


def _as_halves(weights: NDArray[np.float32]) -> NDArray[np.float16]:
    heaviest = float(weights.max(initial=0.0))
    if heaviest > HEAVIEST_HALF:
        raise InputError(f"a weight of {heaviest} is beyond float16, in which this index keeps weights.")
    return weights.astype(np.float16)


def _cut(batch: Batch, start: int, stop: int) -> Batch:
    indptr, terms, impacts = batch.impacts
    span = slice(int(indptr[start]), int(indptr[stop]))
    rows = Impacts(indptr[start : stop + 1] - indptr[start], terms[span], impacts[span])
    weights = None if batch.weights is None else batch.weights[span]
    return Batch(batch.meta, batch.ids[start:stop], rows, weights)


def write_segments(folder: Path, batch: Batch) -> list[SegmentRow]:
    """Write a batch to as many segment files as it takes, all or none of them."""
    written: list[SegmentRow] = []
    try:
        for start in range(0, len(batch.ids), SEGMENT_DOCUMENTS):
            stop = min(start + SEGMENT_DOCUMENTS, len(batch.ids))
            number = batch.meta.next_segment + len(written)
            written.append(write_segment(folder, number, _cut(batch, start, stop)))
    except BaseException:
        for row in written:
            with suppress(OSError):
                (folder / row.name).unlink()
        raise
    return written


def segment_name(number: int) -> str:
    """Name the file of a segment."""
    return f"{number:06d}{SUFFIX}"


def write_segment(folder: Path, number: int, batch: Batch, order: NDArray[np.uint32] | None = None) -> SegmentRow:
    """Write a whole batch to one segment file, durably, as the options of the index say.

    Args:
        folder: The index folder.
        number: The number of the segment.
        batch: What it holds.
        order: Which row of the batch stands at each place; None leaves them in the order of ids.

    Raises:
        IndexFolderError: if a file of that name is there, which this index did not leave behind.
    """
    meta, impacts = batch.meta, batch.impacts
    if (folder / segment_name(number)).exists():
        raise IndexFolderError(
            f"{folder / segment_name(number)} is not of this index, or damaged, and a new segment would take its name. "
            f"Move it out of the folder."
        )
    prune = meta.options.prune
    kept = None if prune is None else keep_postings(prune, impacts, meta.impact_scale or 1.0)
    written = _engine.write_segment(
        str(folder / segment_name(number)),
        bytes.fromhex(meta.uuid),
        number,
        meta.n_terms,
        impacts.indptr,
        impacts.terms,
        impacts.impacts,
        list(batch.ids),
        postings=kept,
        order=order,
        weights=batch.weights,
        rows=meta.options.rows,
    )
    return SegmentRow(
        number,
        segment_name(number),
        documents=written["documents"],
        postings=written["postings"],
        entries=len(impacts.terms),
        size_bytes=written["size_bytes"],
        crc32c=written["crc32c"],
    )


def open_file(path: Path, row: SegmentRow, meta: Meta, *, verify: bool) -> _engine.Segment:
    """Open a segment file.

    Raises:
        CorruptIndex: if it is missing, damaged, or not the one the catalog means.
        FormatTooNew: if a newer Everglade wrote it.
    """
    with clear_errors(path):
        file = _engine.Segment(str(path), verify)
    facts = {
        "index": (file.uuid.hex(), meta.uuid),
        "number": (file.number, row.number),
        "size in bytes": (file.size_bytes, row.size_bytes),
        "checksum": (file.crc32c, row.crc32c),
        "number of terms": (file.n_terms, meta.n_terms),
        "number of documents": (file.n_documents, row.documents),
        "number of postings": (file.n_postings, row.postings),
        "number of entries": (file.n_row_entries, row.entries),
        "width of impacts": (16 if file.is_wide else 8, meta.options.impact_bits),
    }
    if meta.options.keep_weights:
        facts["float16 weights"] = (file.has_weights, True)
    for name, (found, expected) in facts.items():
        if found != expected:
            raise CorruptIndex(path, None, f"its {name} is {found}, the catalog says {expected}. {ADVICE}")
    return file


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Turn the engine's errors about a file into Everglade's."""
    try:
        yield
    except FileNotFoundError as error:
        raise CorruptIndex(path, None, f"the file is missing. {ADVICE}") from error
    except _engine.CorruptSegment as error:
        _, offset, why = error.args
        raise CorruptIndex(path, offset, f"{why}. {ADVICE}") from error
    except _engine.FormatTooNew as error:
        raise FormatTooNew(f"{path}: {error.args[1]}. Install a newer Everglade.") from error


def as_bits(locals_: NDArray[np.int64], n_documents: int) -> NDArray[np.uint8]:
    """Give the bitmap in which these documents are set."""
    chosen = np.zeros(n_documents, dtype=np.uint8)
    chosen[locals_] = 1
    return np.packbits(chosen, bitorder="little")


def from_bits(bits: NDArray[np.uint8], n_documents: int) -> NDArray[np.bool_]:
    """Give a bitmap as one bool for each document."""
    return np.unpackbits(bits, count=n_documents, bitorder="little").view(np.bool_)


def collect_files(folder: Path, uuid: str, named: Sequence[SegmentRow], under_way: Collection[str] = ()) -> None:
    """Remove segment files of this index that no row of the catalog names, and what interrupted writers left.

    A file of another index, or one that cannot be read, is nobody's leftover: whole files alone get their names.

    Args:
        folder: The index folder.
        uuid: The index.
        named: What the catalog names.
        under_way: Names of files that are being written, or read for that.
    """
    kept = {*(row.name for row in named), *under_way, *(f"{name}.tmp" for name in under_way)}
    for path in folder.iterdir():
        left = path.suffix == ".tmp" or (path.suffix == SUFFIX and _uuid_of(path) == uuid)
        if left and path.name not in kept:
            # The commit stands whether or not this works; the next writer tries again.
            with suppress(OSError):
                path.unlink()


def _uuid_of(path: Path) -> str | None:
    try:
        return str(_engine.Segment(str(path), False).uuid.hex())
    except (_engine.CorruptSegment, _engine.FormatTooNew, OSError):
        return None
