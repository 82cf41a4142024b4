"""A collection: the documents, queries and judgements of one place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from everglade.errors import ConfigError, InputError
from everglade.texts.documents import read_documents, read_queries
from everglade.texts.qrels import read_qrels
from everglade.texts.rejects import Rejects
from everglade.texts.values import Document, Qrel, Query

__all__ = ["Collection", "FileCollection", "choose_split", "keep_judged", "order_splits"]


class Collection(Protocol):
    """Documents, queries and judgements; the last two by split, such as "train" and "test"."""

    @property
    def name(self) -> str:
        """What the collection is called: its folder, its file or its ir_datasets id."""
        ...

    @property
    def splits(self) -> tuple[str, ...]:
        """Names that `queries` and `qrels` take; none where there are only documents."""
        ...

    def documents(self) -> Iterator[Document]:
        """Give the documents one after the other, in the order of their source."""
        ...

    def queries(self, split: str | None = None) -> list[Query]:
        """Give the queries judged in `split`, all of its queries if it has no judgements, or every query for None."""
        ...

    def qrels(self, split: str) -> list[Qrel]:
        """Give the judgements of `split`."""
        ...


@dataclass(frozen=True)
class FileCollection:
    """A collection in files; see `Collection`.

    `query_files` holds the files of single splits, `all_queries_file` the one that serves every split.
    """

    name: str
    documents_file: Path
    all_queries_file: Path | None = None
    query_files: Mapping[str, Path] = field(default_factory=dict)
    qrel_files: Mapping[str, Path] = field(default_factory=dict)
    rejects: Rejects | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits; train, dev and test before others."""
        return order_splits([*self.query_files, *self.qrel_files])

    def documents(self) -> Iterator[Document]:
        """Read the documents one after the other, in the order of the file. See `read_documents`."""
        return read_documents(self.documents_file, self.rejects)

    def queries(self, split: str | None = None) -> list[Query]:
        """Read the queries judged in `split`, all of its queries if it has no judgements, or every query for None.

        Raises:
            InputError: if there is no such split, or there are no queries.
        """
        if split is None:
            return self._every_query()
        require_split(self, split)
        file = self.query_files.get(split, self.all_queries_file)
        if file is None:
            raise InputError(f"the collection {self.name} has no queries for the split {split!r}, only judgements")
        queries = read_queries(file, self.rejects)
        return keep_judged(queries, self.qrels(split)) if split in self.qrel_files else queries

    def qrels(self, split: str) -> list[Qrel]:
        """Read the judgements of `split`.

        Raises:
            InputError: if there is no such split, or it has no judgements.
        """
        require_split(self, split)
        if split not in self.qrel_files:
            judged = ", ".join(order_splits(self.qrel_files)) or "none"
            raise InputError(f"the split {split!r} of {self.name} has no judgements. Splits that have them: {judged}")
        return read_qrels(self.qrel_files[split], self.rejects)

    def _every_query(self) -> list[Query]:
        shared = [self.all_queries_file] if self.all_queries_file else []
        files = shared + [self.query_files[split] for split in order_splits(self.query_files)]
        if not files:
            raise InputError(f"the collection {self.name} has no queries, only documents")
        found: dict[str, Query] = {}
        for file in files:
            for query in read_queries(file, self.rejects):
                if found.setdefault(query.id, query) != query:
                    raise InputError(f"the query {query.id!r} has another text in an earlier split. Rename one", file)
        return list(found.values())


def order_splits(names: Iterable[str]) -> tuple[str, ...]:
    """Give each name once: train, dev and test first, then the others by alphabet."""
    known = ("train", "dev", "test")
    return tuple(sorted(set(names), key=lambda name: (known.index(name) if name in known else len(known), name)))


def choose_split(collection: Collection, split: str | None) -> str:
    """Give `split`, or the collection's only one.

    Raises:
        ConfigError: if there are several to choose from.
    """
    if split is not None:
        return split
    if len(collection.splits) == 1:
        return collection.splits[0]
    named = ", ".join(collection.splits) or "none"
    raise ConfigError(f"say which split of {collection.name} with --split. It has: {named}.")


def require_split(collection: Collection, split: str) -> None:
    """Make sure that there is such a split.

    Raises:
        InputError: if not.
    """
    if split not in collection.splits:
        splits = ", ".join(collection.splits) or "none"
        raise InputError(f"the collection {collection.name} has no split {split!r}. Splits that it has: {splits}")


def keep_judged(queries: list[Query], qrels: Iterable[Qrel]) -> list[Query]:
    """Give those of `queries` that have a judgement."""
    judged = {qrel.query_id for qrel in qrels}
    return [query for query in queries if query.id in judged]
