"""The store: an index folder of vectors, ids and documents. It knows no model.

An index folder holds `catalog.sqlite`, the segment files that it names, and `write.lock`. Any number of processes may
read it while one writes. What `add` and `delete` did is durable when they return, and no reader sees half of it.
"""

from __future__ import annotations

import math
import os
import re
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from everglade import durable
from everglade.errors import ConfigError, CorruptIndex, IndexFolderError, InputError
from everglade.index.catalog import (
    FILE_NAME,
    LOCK_NAME,
    Catalog,
    CatalogWriter,
    Change,
    DocumentRow,
    Meta,
    SegmentRow,
    lock_folder,
)
from everglade.index.intake import Texts, check_ids, check_matrix, check_texts
from everglade.index.segments import (
    Found,
    Snapshot,
    Vector,
    collect_files,
    make_batch,
    open_snapshot,
    write_segments,
)
from everglade.texts import Document
from everglade.vectors import SparseMatrix

__all__ = ["Found", "IndexInfo", "Snapshot", "Store", "Vector", "is_index"]

MAX_TERMS = 2**24


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What an index holds.

    Attributes:
        documents: Documents that can be found.
        deleted: Deleted and replaced documents whose vectors still take space.
        segments: Segment files.
        postings: Postings in the segment files, those of deleted documents included.
        size_bytes: Size of the segment files; the catalog, with the texts, comes on top.
        bytes_per_posting: The one divided by the other.
        n_terms: Size of the vocabulary.
        impact_scale: What weights are multiplied with to become impacts; None until the first weight comes.
        clipped_weights: Weights so far that were too heavy for the scale and count as the heaviest it has.
        dropped_weights: Weights so far that were too light for the scale and count as nothing.
        replaced_in_batch: Documents so far that a later one of the same commit replaced.
        generation: Commits so far.
        model: Path and fingerprint of the model, or None.
    """

    documents: int
    deleted: int
    segments: int
    postings: int
    size_bytes: int
    bytes_per_posting: float
    n_terms: int
    impact_scale: float | None
    clipped_weights: int
    dropped_weights: int
    replaced_in_batch: int
    generation: int
    model: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """Give the same as plain JSON values."""
        return asdict(self)


def is_index(path: str | Path) -> bool:
    """Tell whether there is an index folder at `path`."""
    return (Path(path) / FILE_NAME).is_file()


class Store:
    """An open index folder. It may be used from many threads; `create` and `open` make one.

    It reads until the first `add` or `delete`, which makes it the one writer of the folder until it is closed.
    """

    def __init__(self, path: Path, *, verify: bool) -> None:
        self.path = path
        self._verify = verify
        self._writer: CatalogWriter | None = None
        self._write_lock = threading.RLock()
        self._refresh_lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._catalog = Catalog(path)
        try:
            self._read_catalog()
        except BaseException:
            self._catalog.close()
            raise

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        n_terms: int,
        impact_scale: float | None = None,
        model: dict[str, Any] | None = None,
        identity: str | None = None,
    ) -> Self:
        """Make an empty index folder and open it.

        Args:
            path: The folder; it must not exist, or be empty.
            n_terms: Size of the vocabulary.
            impact_scale: What weights are multiplied with to become impacts of 0 to 255; by default the first weights
                decide, see `choose_scale`.
            model: A JSON object that says which model makes the vectors, or None.
            identity: 32 hex digits that tell this index from others; drawn at random if None. The same additions to
                two indexes of one identity give the same bytes.

        Raises:
            IndexFolderError: if something stands at `path` already.
            ConfigError: if a setting is out of range.
        """
        final = Path(path).absolute()
        if isinstance(n_terms, bool) or not isinstance(n_terms, int) or not 1 <= n_terms <= MAX_TERMS:
            raise ConfigError(f"n_terms is {n_terms!r}: it must be a whole number from 1 to {MAX_TERMS}.")
        if impact_scale is not None and not (math.isfinite(impact_scale) and impact_scale > 0):
            raise ConfigError(f"impact_scale is {impact_scale}: it must be a positive number, or None.")
        if identity is not None and re.fullmatch("[0-9a-f]{32}", identity) is None:
            raise ConfigError(f"identity is {identity!r}: it must be 32 hex digits in lower case, or None.")
        _require_free(final)
        meta = Meta(identity or uuid.uuid4().hex, n_terms, None if impact_scale is None else float(impact_scale), model)
        _make_folder(final, meta)
        return cls.open(final)

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> Self:
        """Open an index folder for reading and, once something is added or deleted, writing.

        Args:
            path: The folder.
            verify: Whether to check every byte of every segment. Without it a damaged file may give wrong results.

        Raises:
            IndexFolderError: if there is no index at `path`.
            CorruptIndex: if a file is missing, damaged, or not the one the catalog means.
            FormatTooNew: if a newer Everglade wrote it.
        """
        folder = Path(path).absolute()
        if not folder.is_dir():
            hint = " Making it was interrupted: make it again." if _partial(folder).exists() else ""
            raise IndexFolderError(f"there is no index folder at {folder}.{hint or ' Index.create makes one.'}")
        if not is_index(folder) and not any(folder.glob("*.segment")):
            raise IndexFolderError(f"{folder} is not an index: it has no {FILE_NAME}. Index.create makes one.")
        return cls(folder, verify=verify)

    @property
    def snapshot(self) -> Snapshot:
        """The committed state that searches see now; hold it to ask several things of the same state."""
        snapshot = self._snapshot
        if snapshot is None:
            raise IndexFolderError(f"{self.path} has been closed. Open it again.")
        return snapshot

    @property
    def meta(self) -> Meta:
        """What the index says of itself."""
        return self.snapshot.meta

    def __len__(self) -> int:
        return len(self.snapshot)

    def become_writer(self) -> None:
        """Take the write lock now rather than at the first change.

        Raises:
            LockHeld: if another process, or another store of this one, is writing.
        """
        with self._writing():
            pass

    def add(self, documents: Sequence[Document] | None, ids: Sequence[str], matrix: SparseMatrix) -> None:
        """Add vectors, with their documents or without, in one commit that is durable when this returns.

        A document whose id is there already, in the index or earlier in `ids`, is replaced.

        Args:
            documents: One for each id, in the same order, or None to store no texts.
            ids: Document ids.
            matrix: Vectors; row i belongs to `ids[i]`. A row without weights is stored, and never found.

        Raises:
            InputError: if an id, a document or the matrix cannot be used; nothing is added then.
            LockHeld: if another process, or another store of this one, is writing.
        """
        ids = check_ids(ids)
        texts = check_texts(documents, ids)
        _check_rows(check_matrix(matrix), len(ids), self.meta.n_terms)
        if not ids:
            return
        with self._writing() as writer:
            batch = make_batch(self.meta, ids, matrix)
            segments = write_segments(self.path, batch)
            meta = replace(batch.meta, next_segment=batch.meta.next_segment + len(segments))
            rows = _document_rows(batch.ids, segments, texts)
            writer.commit(Change(meta, gone=batch.ids, segments=segments, documents=rows))
            self._acknowledge()

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents in one commit that is durable when this returns; give the number that existed.

        Raises:
            InputError: if an id cannot be one.
            LockHeld: if another process, or another store of this one, is writing.
        """
        unique = dict.fromkeys(check_ids(ids))
        with self._writing() as writer:
            snapshot = self.snapshot
            gone = [id for id in unique if snapshot.place(id) is not None]
            if not gone:
                return 0
            hidden = writer.commit(Change(snapshot.meta, gone=gone))
            self._acknowledge()
        return hidden

    def search(self, matrix: SparseMatrix, k: int, threads: int = 1) -> Found:
        """Find for each query, row of `matrix`, the k documents with the greatest scores, exactly.

        Equal scores are ordered by id. Documents that share no term with the query are never found.

        Args:
            matrix: Queries over the vocabulary of the index.
            k: Hits for each query.
            threads: Queries searched at a time; 0 means one for each core.

        Raises:
            InputError: if the queries do not fit the index.
            ConfigError: if k or threads is negative.
        """
        return self.snapshot.search(matrix, k, threads)

    def document(self, id: str) -> Document | None:
        """Give the stored document, as last committed by anybody, or None."""
        self.snapshot  # noqa: B018 - raises if closed
        return self._catalog.document(id)

    def vector(self, id: str) -> Vector | None:
        """Give the stored terms and impacts of a document, or None."""
        return self.snapshot.vector(id)

    def info(self) -> IndexInfo:
        """Say what the index holds."""
        snapshot = self.snapshot
        meta, rows = snapshot.meta, [segment.row for segment in snapshot.segments]
        postings, size_bytes = sum(row.postings for row in rows), sum(row.size_bytes for row in rows)
        return IndexInfo(
            documents=len(snapshot),
            deleted=sum(row.deleted for row in rows),
            segments=len(rows),
            postings=postings,
            size_bytes=size_bytes,
            bytes_per_posting=size_bytes / max(postings, 1),
            n_terms=meta.n_terms,
            impact_scale=meta.impact_scale,
            clipped_weights=meta.clipped_weights,
            dropped_weights=meta.dropped_weights,
            replaced_in_batch=meta.replaced_in_batch,
            generation=meta.generation,
            model=meta.model,
        )

    def refresh(self) -> None:
        """Let searches see what other processes have committed since."""
        self.snapshot  # noqa: B018 - raises if closed
        self._read_catalog()

    def close(self) -> None:
        """Let go of the folder, and let another writer in. Closing twice is closing once."""
        with self._write_lock, self._refresh_lock:
            self._snapshot = None
            self._stop_writing()
            self._catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _writing(self) -> Iterator[CatalogWriter]:
        with self._write_lock:
            self.snapshot  # noqa: B018 - raises if closed
            try:
                yield self._writer or self._start_writing()
            except BaseException:
                # Whatever failed half-way is not tried again on the same files: the next write starts afresh.
                self._stop_writing()
                raise

    def _start_writing(self) -> CatalogWriter:
        self._writer = CatalogWriter(self.path)
        self._read_catalog()
        collect_files(self.path, [segment.row for segment in self.snapshot.segments])
        return self._writer

    def _stop_writing(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _acknowledge(self) -> None:
        before = {segment.row.name for segment in self.snapshot.segments}
        self._read_catalog()
        rows = [segment.row for segment in self.snapshot.segments]
        if not before <= {row.name for row in rows}:
            collect_files(self.path, rows)

    def _read_catalog(self) -> None:
        """Swap in the newest snapshot. Searches under way keep the one they began with."""
        with self._refresh_lock:
            before = self._snapshot
            known = {segment.row.number: segment.row.deleted for segment in before.segments} if before else {}
            while True:
                state = self._catalog.read(known)
                if before is not None and before.meta.generation == state.meta.generation:
                    return
                try:
                    self._snapshot = open_snapshot(self.path, state, before, verify=self._verify)
                    return
                except CorruptIndex:
                    # A writer may have dropped a segment between our reading its name and opening its file.
                    if self._catalog.generation() == state.meta.generation:
                        raise


def _document_rows(ids: list[str], segments: Sequence[SegmentRow], texts: dict[str, Texts]) -> list[DocumentRow]:
    nothing = Texts("", "", None)
    places = ((segment.number, local) for segment in segments for local in range(segment.documents))
    rows = []
    for id, (segment, local) in zip(ids, places, strict=True):
        title, text, metadata = texts.get(id, nothing)
        rows.append(DocumentRow(id, segment, local, title, text, metadata))
    return rows


def _check_rows(matrix: SparseMatrix, n_ids: int, n_terms: int) -> None:
    if n_ids != len(matrix):
        raise InputError(f"{n_ids} ids for {len(matrix)} rows: there must be one id for each row.")
    if matrix.n_terms != n_terms:
        raise InputError(
            f"the vectors have {matrix.n_terms} terms, the index {n_terms}. "
            f"Encode with the model the index was made for, or make another index."
        )


def _partial(final: Path) -> Path:
    return final.with_name(final.name + ".partial")


def _require_free(final: Path) -> None:
    if final.exists() and (not final.is_dir() or any(final.iterdir())):
        advice = "Open it with Index.open" if is_index(final) else "Remove it"
        raise IndexFolderError(f"{final} exists already. {advice}, or choose another name.")


def _make_folder(final: Path, meta: Meta) -> None:
    partial = _partial(final)
    partial.mkdir(parents=True, exist_ok=True)
    lock = lock_folder(partial)
    try:
        for stray in partial.iterdir():
            if stray.name != LOCK_NAME:
                stray.unlink()
        Catalog.create(partial, meta)
        durable.publish_folder(partial, final)
    except FileExistsError as error:
        raise IndexFolderError(str(error)) from error
    finally:
        os.close(lock)
