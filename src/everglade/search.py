"""The public index: texts in, hits out. It joins an encoder with a store of vectors."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from everglade.adding import add_folder, add_texts
from everglade.asking import encoded_batches, folder_batches, search_batches
from everglade.errors import ConfigError, InputError
from everglade.explain import Explanation, Match, TermWeight, explain_vectors
from everglade.hits import Hit, explain_hits, stored_query
from everglade.index.filters import Where
from everglade.index.intake import as_queries, check_matrix
from everglade.index.merging import MERGED_DOCUMENTS
from everglade.index.options import IndexOptions
from everglade.index.store import IndexInfo, Store
from everglade.index.values import Calibration
from everglade.model_reference import check_model, load_model, make_reference, refer_to
from everglade.texts import Document, Query, Run
from everglade.vectors import SparseMatrix

if TYPE_CHECKING:
    from everglade.encode import Encoder
    from everglade.progress import ProgressCallback

__all__ = ["Calibration", "Explanation", "Hit", "Index", "IndexInfo", "Match", "TermWeight", "explain_vectors"]


class Index:
    """An open index folder; `create` and `open` make one. It may be used from many threads.

    What was added or deleted is durable when the call returns, and one search sees one committed state. One process
    at a time may write: it becomes the writer with its first change and stays it until the index is closed.
    """

    def __init__(self, store: Store, encoder: Encoder | None, model_path: str | Path | None = None) -> None:
        self._store = store
        self._encoder = encoder
        self._model_path = model_path
        self._names: list[str] | None = None
        self._model_lock = threading.Lock()

    @classmethod
    def create(
        cls,
        path: str | Path,
        model: Encoder | None = None,
        n_terms: int | None = None,
        impact_scale: float | None = None,
        *,
        model_reference: Mapping[str, Any] | None = None,
        identity: str | None = None,
        impact_bits: int = 8,
        rows: bool = True,
        keep_weights: bool = False,
        prune: str | None = None,
    ) -> Self:
        """Make an empty index folder and open it.

        Args:
            path: The folder; it must not exist, or be empty.
            model: What will encode documents and queries: a `Splade`, or any `Encoder`.
            n_terms: Size of the vocabulary, where no model says it.
            impact_scale: What weights are multiplied with to become impacts; by default the first weights decide.
            model_reference: "name" and "fingerprint" of the model whose vectors will be added, where it is not at hand,
                and its "settings" where they may be others than its folder's; manifests of vectors folders hold the
                first two as "model" and these beside it. With "path_from_index", the way from `path` to the model,
                the model is found there first, so that both can be moved together.
            identity: 32 hex digits that tell this index from others; drawn at random if None. The same additions to
                two indexes of one identity give the same bytes.
            impact_bits: 8, or 16 for impacts as fine as float16 weights; one byte more for each posting and row entry.
            rows: Whether to keep vectors by document too: half of the bytes. Approximate search, explaining and merging
                are much slower without; pruning and weights impossible.
            keep_weights: Whether to keep the float16 weight of each entry too, for searches with `float_exact`.
            prune: Which entries become postings: "document:64" (the 64 heaviest terms of each document),
                "threshold:0.3" (weights of at least 0.3) or "term:0.7" (the heaviest 70 % of each posting list). The
                vectors stay whole, and the best documents by the postings are scored by them. None means all.

        Raises:
            IndexFolderError: if something stands at `path` already.
            ConfigError: if neither model nor n_terms is given, or they differ, or a value is out of range.
        """
        size = n_terms if model is None else model.n_terms
        if size is None:
            raise ConfigError("give a model, or n_terms for an index of vectors only.")
        if n_terms not in (None, size):
            raise ConfigError(f"n_terms is {n_terms}, but the model has {size} terms. Leave n_terms out.")
        given = model_reference or {}
        reference = refer_to(model)
        if model is None:
            reference = make_reference(
                given.get("name"), given.get("fingerprint"), given.get("settings"), given.get("path_from_index")
            )
        store = Store.create(
            path,
            n_terms=size,
            impact_scale=impact_scale,
            model=reference,
            identity=identity,
            options=IndexOptions(impact_bits, rows, keep_weights, prune),
        )
        return cls(store, model)

    @classmethod
    def open(cls, path: str | Path, model: Encoder | str | Path | None = None, *, verify: bool = True) -> Self:
        """Open an index folder.

        Args:
            path: The folder.
            model: The model that made it, or where it lies if not where the index says. Unless it is given open, it is
                loaded when needed, with the settings that the index notes.
            verify: Whether to check every byte of every segment. Without it a damaged file may give wrong results.

        Raises:
            IndexFolderError: if there is no index at `path`, or it cannot be used; see its subclasses.
            ModelMismatch: if the index was made by another model.
        """
        store = Store.open(path, verify=verify)
        if model is None or isinstance(model, str | Path):
            return cls(store, None, model)
        try:
            check_model(store, model)
        except BaseException:
            store.close()
            raise
        return cls(store, model)

    @property
    def path(self) -> Path:
        """The folder."""
        return self._store.path

    @property
    def encoder(self) -> Encoder:
        """The model, loaded now if it was not yet.

        Raises:
            ModelError: if the index names none, or the one it names cannot be opened.
            ModelMismatch: if that is no longer the model that made the index.
        """
        with self._model_lock:
            if self._encoder is None:
                self._encoder = load_model(self._store, self._model_path)
            return self._encoder

    def __len__(self) -> int:
        return len(self._store)

    def add(
        self,
        documents: Iterable[Document | Mapping[str, Any] | tuple[str, ...]],
        batch_documents: int = 4096,
        progress: ProgressCallback | None = None,
        *,
        skip_unchanged: bool = False,
        total: int | None = None,
    ) -> int:
        """Encode documents and add them; all of them are durable when this returns. Gives how many were added.

        Documents are taken from the iterable batch by batch, and each batch is one commit: if something fails, what
        went before is there. A document whose id is there already is replaced.

        Args:
            documents: Documents, or mappings with "id" (or "_id"), "text", and perhaps "title" and "metadata", or
                tuples of these values in this order.
            batch_documents: Documents for one commit; the first commit of an index takes 4,096.
            progress: Called at the start and after every batch.
            skip_unchanged: Pass over documents that are there with the same title, text and metadata.
            total: How many documents there are, if that is known, for the progress.

        Raises:
            InputError: if a document cannot be used.
            LockHeld: if another process is writing.
            ModelMismatch: if the model is no longer the one that made the index.
        """
        if batch_documents < 1:
            raise ConfigError(f"batch_documents is {batch_documents}: it must be at least 1.")
        return add_texts(
            self._store,
            self.encoder,
            documents,
            batch_documents,
            progress,
            skip_unchanged=skip_unchanged,
            total=total,
        )

    def add_vectors(
        self, ids: Sequence[str], matrix: SparseMatrix, documents: Sequence[Document] | None = None
    ) -> None:
        """Add vectors in one commit that is durable when this returns.

        Args:
            ids: One for each row; a document whose id is there already is replaced.
            matrix: The vectors.
            documents: The documents to store beside them, with the same ids in the same order, or None.

        Raises:
            InputError: if an id, a document or the matrix cannot be used; nothing is added then.
            LockHeld: if another process is writing.
        """
        self._store.add(documents, ids, check_matrix(matrix))

    def add_folder(
        self, path: str | Path, documents: Iterable[Document] | None = None, progress: ProgressCallback | None = None
    ) -> int:
        """Add a vectors folder, shard by shard, each in one commit. Gives the number of rows.

        Args:
            path: The folder.
            documents: The documents that the vectors were made from, in whatever order, or None to store no texts.
            progress: Called at the start and after every shard.

        Raises:
            VectorsError: if the folder cannot be used.
            ModelMismatch: if its vectors come from another model than those of the index.
            InputError: if they are vectors of queries, or the document of a vector is not among `documents`.
        """
        return add_folder(self._store, path, documents, progress)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents in one commit that is durable when this returns; gives the number that existed."""
        return self._store.delete(ids)

    def optimise(self, segment_documents: int = MERGED_DOCUMENTS) -> int:
        """Put the segments together and leave out what was deleted; give the number of segments then.

        A writer merges by itself on the way; this makes as few segments of up to `segment_documents` documents as
        their order allows, and is durable when it returns. It finds and loses nothing.

        Raises:
            ConfigError: if `segment_documents` is not at least 1.
            LockHeld: if another process is writing.
        """
        return self._store.optimise(segment_documents)

    def calibrate(
        self,
        queries: SparseMatrix | Iterable[Query | tuple[str, str]] | Mapping[str, str] | None = None,
        threads: int = 1,
    ) -> Calibration:
        """Measure how approximate searches reach a recall on this index, and note it in the catalog.

        Where this was not done, or the index has since grown to twice its size, the first search with `recall` measures
        with queries made from documents, and notes nothing.

        Args:
            queries: Some hundreds of real queries, as vectors or as `search_many` takes them; None makes them from
                heavy terms of documents.
            threads: Queries searched at a time; 0 means one for each core.

        Raises:
            ConfigError: if there are fewer than 50 different queries with terms.
            LockHeld: if another process is writing.
        """
        if queries is not None and not isinstance(queries, SparseMatrix):
            queries = self._encode_queries([query.text for query in as_queries(queries)])
        return self._store.calibrate(queries, threads)

    def search(
        self,
        text: str,
        k: int = 10,
        *,
        where: Where | None = None,
        recall: float | None = None,
        float_exact: bool = False,
    ) -> list[Hit]:
        """Find the k documents that fit `text` best, the best first; equal scores are ordered by id.

        A text without terms, such as the empty one, finds nothing.

        Args:
            text: What to search for.
            k: Hits to give.
            where: Only documents whose metadata fulfil this: `year >= 2019 and lang in ("en", "de")`, or a mapping from
                names of fields to the value, or the list of values, that they must have. See docs/guide/index.md.
            recall: The share of the exact hits that will do, above 0 and up to 1; None means all.
            float_exact: Score by float16 weights rather than impacts, which the index must keep.

        Raises:
            ConfigError: if a setting is out of range, or the filter cannot be understood.
        """
        queries = self._encode_queries([text])
        snapshot, shown = self._store.view(where)
        found = self._store.search_in(snapshot, shown, queries, k, recall=recall, float_exact=float_exact)
        return explain_hits(snapshot, queries, found, self._term_names())

    def search_many(
        self,
        queries: Iterable[Query | tuple[str, str]] | Mapping[str, str],
        k: int = 1000,
        threads: int = 1,
        *,
        where: Where | None = None,
        recall: float | None = None,
        float_exact: bool = False,
    ) -> Run:
        """Search many queries in one committed state; gives {query id: {document id: score}}, the best hit first.

        Args:
            queries: Queries, (id, text) pairs, or a mapping from id to text.
            k: Hits for each query. A query without hits gets an empty dictionary.
            threads: Queries searched at a time; 0 means one for each core.
            where: Only documents whose metadata fulfil this, see `search`.
            recall: The share of the exact hits that will do, above 0 and up to 1; None means all.
            float_exact: Score by float16 weights rather than impacts, which the index must keep.

        Raises:
            InputError: if two queries have the same id, or one cannot be used.
            ConfigError: if a setting is out of range, or the filter cannot be understood.
        """
        pairs = as_queries(queries)
        batches = encoded_batches(self._encode_queries, pairs, k)
        return search_batches(self._store, batches, k, threads, where=where, recall=recall, float_exact=float_exact)

    def search_folder(
        self,
        path: str | Path,
        k: int = 1000,
        threads: int = 1,
        *,
        where: Where | None = None,
        recall: float | None = None,
        float_exact: bool = False,
    ) -> Run:
        """Search every query of a vectors folder; see `search_many`. No model is needed.

        Raises:
            VectorsError: if the folder cannot be used.
            ModelMismatch: if its vectors come from another model than those of the index.
            InputError: if they are vectors of documents, or of another vocabulary.
        """
        batches = folder_batches(self._store, path, k)
        return search_batches(self._store, batches, k, threads, where=where, recall=recall, float_exact=float_exact)

    def search_vectors(
        self,
        matrix: SparseMatrix,
        k: int,
        recall: float | None = None,
        threads: int = 1,
        *,
        where: Where | None = None,
        float_exact: bool = False,
    ) -> tuple[NDArray[np.object_], NDArray[np.float32]]:
        """Find for each query, row of `matrix`, the k documents with the greatest scores.

        Args:
            matrix: The queries.
            k: Hits for each query.
            recall: The share of the exact hits that will do on average, above 0 and up to 1; None means all. What is
                done for it was measured on this index, see `calibrate`. Small indexes that were not calibrated, and
                searches for more than 100 hits, are always exact.
            threads: Queries searched at a time; 0 means one for each core.
            where: Only documents whose metadata fulfil this, see `search`.
            float_exact: Score by float16 weights rather than impacts, which the index must keep.

        Returns:
            Ids, object (n_queries, k), and scores, float32 (n_queries, k), the best first; equal scores are ordered by
            id. Where there are fewer hits than k: None and -inf.

        Raises:
            InputError: if the queries do not fit the index.
            ConfigError: if a setting is out of range, or the filter cannot be understood.
        """
        found = self._store.search(
            check_matrix(matrix), k, threads, where=where, recall=recall, float_exact=float_exact
        )
        return found.ids, found.scores

    def explain(self, text: str, id: str) -> Explanation:
        """Say how the score of document `id` for the query `text` comes about, whether or not it would be found.

        Raises:
            InputError: if there is no such document.
        """
        queries = self._encode_queries([text])
        snapshot = self._store.snapshot
        if snapshot.place(id) is None:
            raise InputError(f"there is no document {id!r} in {self.path}.")
        return explain_vectors(stored_query(snapshot, queries), snapshot.rounded_weights(id), self._term_names())

    def info(self) -> IndexInfo:
        """Say what the index holds."""
        return self._store.info()

    def term_shares(self) -> NDArray[np.float64]:
        """Give the share of documents that hold each term, shape (n_terms,), for `measure_sparsity`. Reads them all."""
        snapshot = self._store.snapshot
        return snapshot.term_counts() / max(len(snapshot), 1)

    def document(self, id: str) -> Document | None:
        """Give a stored document, or None if there is no such."""
        return self._store.document(id)

    def refresh(self) -> None:
        """Let searches see what other processes have committed since this index was opened."""
        self._store.refresh()

    def close(self) -> None:
        """Let go of the folder. Closing twice is closing once."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _encode_queries(self, texts: list[str]) -> SparseMatrix:
        for text in texts:
            if not isinstance(text, str):
                raise InputError(f"a query is of type {type(text).__name__}, not a string.")
        return self.encoder.encode_queries(texts)

    def _term_names(self) -> list[str]:
        if self._names is None:
            self._names = self.encoder.term_names()
        return self._names
