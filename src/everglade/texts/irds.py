"""Collections known to ir_datasets, by id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from everglade.errors import InputError, MissingExtra
from everglade.texts.collection import keep_judged, order_splits, require_split
from everglade.texts.values import Document, Qrel, Query, require_id

__all__ = ["IrdsCollection", "open_irds"]


@dataclass(frozen=True)
class IrdsCollection:
    """A collection held by ir_datasets; see `everglade.texts.Collection`.

    `dataset` gives documents and all queries, `judged` a dataset with queries and judgements for each split. They are
    downloaded by ir_datasets when they are first read.
    """

    name: str
    dataset: Any
    judged: Mapping[str, Any]

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits; train, dev and test before others."""
        return order_splits(self.judged)

    def documents(self) -> Iterator[Document]:
        """Give the documents one after the other.

        Raises:
            InputError: if an id cannot be used, or the documents cannot be downloaded.
        """
        with _downloading(self.name, "documents"):
            yield from map(_as_document, self.dataset.docs_iter())

    def queries(self, split: str | None = None) -> list[Query]:
        """Give the queries judged in `split`, or all for None.

        Raises:
            InputError: if there is no such split, there are no queries, or they cannot be downloaded.
        """
        if split is not None:
            require_split(self, split)
            return keep_judged(self._queries_of(self.judged[split]), self.qrels(split))
        if self.dataset.has_queries():
            return self._queries_of(self.dataset)
        if not self.judged:
            raise InputError(f"the collection irds:{self.name} has no queries, only documents")
        return list({query.id: query for one in self.splits for query in self._queries_of(self.judged[one])}.values())

    def _queries_of(self, dataset: Any) -> list[Query]:  # noqa: ANN401 - each ir_datasets collection has its own type
        with _downloading(self.name, "queries"):
            return [Query(require_id(query.query_id), query.default_text()) for query in dataset.queries_iter()]

    def qrels(self, split: str) -> list[Qrel]:
        """Give the judgements of `split`.

        Raises:
            InputError: if there is no such split, or the judgements cannot be downloaded.
        """
        require_split(self, split)
        with _downloading(self.name, "judgements"):
            judgements = self.judged[split].qrels_iter()
            return [Qrel(require_id(q.query_id), require_id(q.doc_id), int(q.relevance)) for q in judgements]


def open_irds(dataset_id: str) -> IrdsCollection:
    """Open the collection that ir_datasets knows by that id; nothing is downloaded yet.

    Its splits are the id's own last part, if it has judgements, and every id below it that has: "test" for
    "beir/scifact/test", "train" and "test" for "beir/scifact".

    Raises:
        InputError: if ir_datasets does not know the id, or the collection has no documents.
        MissingExtra: if ir_datasets is not installed.
    """
    try:
        import ir_datasets
    except ImportError as error:
        raise MissingExtra("ir_datasets", "data") from error
    try:
        dataset = ir_datasets.load(dataset_id)
    except KeyError as error:
        raise InputError(
            f"ir_datasets knows no {dataset_id!r}. Its ids are listed at https://ir-datasets.com"
        ) from error
    if not dataset.has_docs():
        raise InputError(f"the collection irds:{dataset_id} has no documents. Name one that has")
    judged = {dataset_id.rpartition("/")[2]: dataset} if dataset.has_qrels() else {}
    for name in ir_datasets.registry:
        if name.startswith(dataset_id + "/") and (part := ir_datasets.load(name)).has_qrels():
            judged[name.removeprefix(dataset_id + "/")] = part
    return IrdsCollection(dataset_id, dataset, judged)


def _as_document(found: Any) -> Document:  # noqa: ANN401 - each ir_datasets collection has its own type
    if hasattr(found, "text"):
        return Document(require_id(found.doc_id), found.text, getattr(found, "title", None) or "")
    return Document(require_id(found.doc_id), found.default_text())


@contextmanager
def _downloading(name: str, what: str) -> Iterator[None]:
    """Say in one line that ir_datasets could not fetch something: its own error is a page of what it tried."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # those of requests are OSErrors; after several mirrors it is the other
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(
            f"the {what} of irds:{name} cannot be read or downloaded ({reason}). Without a network give "
            f"a folder in BEIR's form: of a suite by --sets, of one collection in its place"
        ) from error
