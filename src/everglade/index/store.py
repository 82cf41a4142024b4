"""The store: an index folder of vectors, ids and documents. It knows no model.

An index folder holds `catalog.sqlite`, the segment files that it names, and `write.lock`. Any number of processes may
read it while one writes. What `add` and `delete` did is durable when they return, and no reader sees half of it.
"""

from __future__ import annotations

import math
import re
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from everglade import durable
from everglade.errors import ConfigError
from everglade.index.background import Merges
from everglade.index.calibration import Efforts, measure, sample_queries
from everglade.index.commits import CatalogWriter
from everglade.index.description import IndexInfo
from everglade.index.filters import Where, parse_filter
from everglade.index.float_exact import search_floats
from everglade.index.folder import is_index, make_folder, require_free, require_index
from everglade.index.intake import check_ids, check_matrix, check_rows, check_texts, document_rows
from everglade.index.latest import Latest
from everglade.index.merging import MERGED_DOCUMENTS, find_unordered, group_segments
from everglade.index.options import IndexOptions
from everglade.index.segments import Vector, collect_files, make_batch, write_segments
from everglade.index.snapshot import Found, Shown, Snapshot
from everglade.index.threads import count_threads
from everglade.index.values import Calibration, Change, Meta
from everglade.texts import Document
from everglade.vectors import SparseMatrix

__all__ = ["Found", "IndexInfo", "Snapshot", "Store", "Vector", "is_index"]

MAX_TERMS = 2**24


class Store:
    """An open index folder. It may be used from many threads; `create` and `open` make one.

    It reads until the first `add` or `delete`, which makes it the one writer of the folder until it is closed. A writer
    merges its segments on the way, see merging.py and background.py.
    """

    def __init__(self, path: Path, *, verify: bool) -> None:
        self.path = path
        self._writer: CatalogWriter | None = None
        self._write_lock = threading.RLock()
        self._merges = Merges(path)
        self._efforts = Efforts()
        self._latest = Latest(path, verify=verify)

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        n_terms: int,
        impact_scale: float | None = None,
        model: dict[str, Any] | None = None,
        identity: str | None = None,
        options: IndexOptions | None = None,
    ) -> Self:
        """Make an empty index folder and open it.

        Args:
            path: The folder; it must not exist, or be empty.
            n_terms: Size of the vocabulary.
            impact_scale: What weights are multiplied with to become impacts; by default the first weights decide, see
                `choose_scale`.
            model: A JSON object that says which model makes the vectors, or None.
            identity: 32 hex digits that tell this index from others; drawn at random if None. The same additions to
                two indexes of one identity give the same bytes.
            options: What all its segments have in common; by default 8-bit impacts, whole postings, and rows.

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
        require_free(final)
        scale = None if impact_scale is None else float(impact_scale)
        meta = Meta(identity or uuid.uuid4().hex, n_terms, scale, model, options=options or IndexOptions())
        make_folder(final, meta)
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
        require_index(folder)
        return cls(folder, verify=verify)

    @property
    def snapshot(self) -> Snapshot:
        """The committed state that searches see now; hold it to ask several things of the same state."""
        return self._latest.snapshot

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
        check_rows(check_matrix(matrix), len(ids), self.meta.n_terms)
        if not ids:
            return
        with self._writing() as writer:
            self._settle_merge(writer)
            batch = make_batch(self._merges.reserve(self.meta), ids, matrix)
            segments = write_segments(self.path, batch)
            meta = replace(batch.meta, next_segment=batch.meta.next_segment + len(segments))
            rows = document_rows(batch.ids, segments, texts)
            writer.commit(Change(meta, gone=batch.ids, segments=segments, documents=rows))
            self._acknowledge()
            self._merges.begin(writer, self.snapshot, len(batch.ids))

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents in one commit that is durable when this returns; give the number that existed.

        Raises:
            InputError: if an id cannot be one.
            LockHeld: if another process, or another store of this one, is writing.
        """
        unique = dict.fromkeys(check_ids(ids))
        with self._writing() as writer:
            gone = [id for id in unique if self.snapshot.place(id) is not None]
            if not gone:
                return 0
            self._settle_merge(writer)
            hidden = writer.commit(Change(self.meta, gone=gone))
            self._acknowledge()
            self._merges.begin(writer, self.snapshot, 0)
        return hidden

    def optimise(self, segment_documents: int = MERGED_DOCUMENTS) -> int:
        """Put the segments together, and leave out what was deleted; give the number of segments then.

        Each group of segments that come one after another and hold up to `segment_documents` documents becomes one, in
        a commit of its own; so does a large one that stands alone in no good order, see `IndexOptions`. What is
        searched meanwhile is not disturbed.

        Raises:
            ConfigError: if `segment_documents` is not at least 1.
            LockHeld: if another process, or another store of this one, is writing.
            OSError: if there is no room for a merged segment beside the old ones; nothing changes then.
            CorruptIndex: if a segment is damaged; what was put together before stays so.
        """
        if segment_documents < 1:
            raise ConfigError(f"segment_documents is {segment_documents}: it must be at least 1.")
        with self._writing() as writer:
            self._settle_merge(writer, now=True)
            rows = [segment.row for segment in self.snapshot.segments]
            unordered = find_unordered(self.meta, self.snapshot.segments)
            for numbers in group_segments(rows, segment_documents, unordered):
                self._merges.start(writer, self.snapshot, numbers, count_threads(0))
                if self._merges.finish(writer, self.meta):
                    self._acknowledge()
        return len(self.snapshot.segments)

    def calibrate(self, queries: SparseMatrix | None = None, threads: int = 1) -> Calibration:
        """Measure how approximate searches reach a recall, and note it in the catalog.

        Args:
            queries: Some hundreds of real queries; None makes them from heavy terms of documents.
            threads: Queries searched at a time; 0 means one for each core.

        Raises:
            ConfigError: if there are fewer than two queries with terms.
            LockHeld: if another process, or another store of this one, is writing.
        """
        with self._writing() as writer:
            asked = sample_queries(self.snapshot) if queries is None else check_matrix(queries)
            calibration = measure(self.snapshot, asked, given=queries is not None, threads=threads)
            writer.commit_meta(replace(self.meta, calibration=calibration))
            self._acknowledge()
        return calibration

    def search(
        self,
        matrix: SparseMatrix,
        k: int,
        threads: int = 1,
        *,
        where: Where | None = None,
        recall: float | None = None,
        float_exact: bool = False,
    ) -> Found:
        """Find for each query, row of `matrix`, the k documents with the greatest scores.

        Equal scores are ordered by id. Documents that share no term with the query are never found.

        Args:
            matrix: Queries over the vocabulary of the index.
            k: Hits for each query.
            threads: Queries searched at a time; 0 means one for each core.
            where: Only documents whose metadata fulfil this; see filters.py. The search then sees the newest commit
                where the filter, or part of the index, is new to this store.
            recall: The share of the exact hits that will do; None means all.
            float_exact: Score by float16 weights rather than impacts, exactly.

        Raises:
            InputError: if the queries do not fit the index.
            ConfigError: if k, threads or recall is out of range, the filter cannot be understood, or the index lacks
                what `float_exact` needs.
        """
        snapshot, shown = self.view(where)
        return self.search_in(snapshot, shown, matrix, k, threads, recall=recall, float_exact=float_exact)

    def view(self, where: Where | None = None) -> tuple[Snapshot, Shown | None]:
        """Give one committed state, and the documents in it that a filter lets through, None without a filter.

        Raises:
            ConfigError: if the filter cannot be understood.
        """
        return (self.snapshot, None) if where is None else self._latest.view(parse_filter(where))

    def search_in(
        self,
        snapshot: Snapshot,
        shown: Shown | None,
        matrix: SparseMatrix,
        k: int,
        threads: int = 1,
        *,
        recall: float | None = None,
        float_exact: bool = False,
    ) -> Found:
        """Search what `view` gave; see `search`."""
        if recall is not None and not 0 < recall <= 1:
            raise ConfigError(f"recall is {recall}: it must be above 0 and at most 1, or None for the exact search.")
        if float_exact:
            if recall is not None and recall < 1:
                raise ConfigError(f"float_exact is exact: leave out recall, which is {recall}.")
            return search_floats(snapshot, matrix, k, threads, shown=shown)
        effort = None if recall is None else self._efforts.choose(snapshot, k, recall)
        return snapshot.search(matrix, k, threads, shown=shown, effort=effort)

    def document(self, id: str) -> Document | None:
        """Give the stored document, as last committed by anybody, or None.

        Raises:
            CorruptIndex: if it is not what was written.
        """
        return self._latest.document(id)

    def vector(self, id: str) -> Vector | None:
        """Give the stored terms and impacts of a document, or None."""
        return self.snapshot.vector(id)

    def info(self) -> IndexInfo:
        """Say what the index holds."""
        return IndexInfo.of(self.snapshot)

    def refresh(self) -> None:
        """Let searches see what other processes have committed since.

        Raises:
            IndexFolderError: if another index has taken the place of this one.
        """
        self._latest.read()

    def close(self) -> None:
        """Let go of the folder, and let another writer in. A merge on its way is waited for and takes effect.

        Closing twice is closing once. In a fork of the writer this only forgets: all of it is the parent's to finish.
        """
        if self._writer is not None and not self._writer.is_ours:
            self._merges.forget()
            self._write_lock = threading.RLock()  # another thread of the parent may have held it
        with self._write_lock:
            try:
                if self._writer is not None and self._writer.is_ours:
                    self._settle_merge(self._writer, now=True)
            finally:
                self._stop_writing()
                self._latest.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _writing(self) -> Iterator[CatalogWriter]:
        if self._writer is not None:
            self._writer.require_ours()
        with self._write_lock:
            self.snapshot  # noqa: B018 - raises if closed
            try:
                if self._writer is not None:
                    self._writer.require_current()
                yield self._writer or self._start_writing()
            except BaseException:
                # Whatever failed half-way is not tried again on the same files: the next write starts afresh.
                self._stop_writing()
                raise

    def _start_writing(self) -> CatalogWriter:
        self._writer = CatalogWriter(self.path)
        self._latest.read_anew()
        # The last commit may be one whose writer died before it synced the folder, and with it the end of the journal:
        # a power cut would undo it, and bring back rows that name the files that go now.
        durable.sync_folder(self.path)
        collect_files(self.path, self.meta.uuid, [segment.row for segment in self.snapshot.segments])
        return self._writer

    def _stop_writing(self) -> None:
        self._merges.give_up()
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _settle_merge(self, writer: CatalogWriter, *, now: bool = False) -> None:
        if self._merges.settle(writer, self.meta, now=now):
            self._acknowledge()

    def _acknowledge(self) -> None:
        before = {segment.row.name for segment in self.snapshot.segments}
        self._latest.read()
        rows = [segment.row for segment in self.snapshot.segments]
        if not before <= {row.name for row in rows}:
            collect_files(self.path, self.meta.uuid, rows, self._merges.under_way)
