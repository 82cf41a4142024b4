"""What something is measured on: judgements, and the queries and documents that belong to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from everglade.errors import ConfigError, InputError
from everglade.texts import choose_split, group_qrels, open_collection, read_qrels, read_queries

if TYPE_CHECKING:
    from everglade.texts import Collection, Document, Qrels, Query

__all__ = ["JudgedSet", "open_judged"]


@dataclass(frozen=True)
class JudgedSet:
    """Judgements with the collection they belong to, or with a file of queries, or alone.

    Attributes:
        name: What it is called.
        qrels: The judgements.
        collection: Where queries and documents come from; None for judgements from a file.
        split: The collection's split.
        queries_file: Where the queries come from, if not from the collection.
    """

    name: str
    qrels: Qrels
    collection: Collection | None = field(default=None, repr=False)
    split: str | None = None
    queries_file: Path | None = None

    @cached_property
    def queries(self) -> list[Query]:
        """The judged queries.

        Raises:
            ConfigError: if there are only judgements.
            InputError: if there are no queries, or none of them is judged.
        """
        queries = self._read_queries()
        judged = [query for query in queries if query.id in self.qrels]
        if not judged:
            raise InputError(f"none of the {len(queries):,} queries is judged in {self.name}: other ids?")
        return judged

    @cached_property
    def texts(self) -> dict[str, str]:
        """The text of each query by its id, as far as there are queries."""
        try:
            return {query.id: query.text for query in self._read_queries()}
        except (ConfigError, InputError):
            return {}

    def _read_queries(self) -> list[Query]:
        if self.queries_file is not None:
            return read_queries(self.queries_file)
        if self.collection is not None:
            return self.collection.queries(self.split)
        raise ConfigError(f"{self.name} holds judgements only. Name a collection instead, or give --queries.")

    def documents(self) -> Iterator[Document]:
        """Give the documents one after the other.

        Raises:
            ConfigError: if there are only judgements.
        """
        if self.collection is None:
            raise ConfigError(f"{self.name} holds no documents for a model to read. Name a collection instead.")
        return self.collection.documents()

    @cached_property
    def n_documents(self) -> int:
        """How many documents there are; they are all read for that."""
        return sum(1 for _ in self.documents())

    def count(self) -> dict[str, int]:
        """Count queries that are judged and judgements."""
        return {"queries": len(self.qrels), "judgements": sum(map(len, self.qrels.values()))}


def open_judged(source: str, split: str | None = None, queries: str | Path | None = None) -> JudgedSet:
    """Open a collection's split, or a file of judgements.

    Args:
        source: a collection as `open_collection` takes it, or a qrels file.
        split: the collection's split; its only one need not be named.
        queries: a file of queries to go with a qrels file.

    Raises:
        ConfigError: if the collection has several splits and none is named; if a split is named and `source` is a file,
            or a file of queries and it is a collection, which has its own.
        InputError: if there is no such thing, or no judgement in it.
    """
    if Path(source).is_file():
        if split is not None:
            raise ConfigError(f"{source} is a file of judgements, which has no split {split!r}. Leave it out.")
        judged = JudgedSet(
            Path(source).name, group_qrels(read_qrels(source)), queries_file=Path(queries) if queries else None
        )
    else:
        if queries is not None:
            raise ConfigError(
                f"{queries}: queries go with a file of judgements, and {source} has its own. Leave it out."
            )
        collection = open_collection(source)
        split = choose_split(collection, split)
        name = collection.name if collection.name.endswith(f"/{split}") else f"{collection.name}/{split}"
        judged = JudgedSet(name, group_qrels(collection.qrels(split)), collection, split)
    if not judged.qrels:
        raise InputError("there are no judgements (qrels), so nothing can be measured", Path(source))
    return judged
