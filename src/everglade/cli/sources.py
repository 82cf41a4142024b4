"""Queries and judgements as the command line names them: a file, or a collection and its split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from everglade.errors import ConfigError

if TYPE_CHECKING:
    from everglade.texts import Collection, Qrels, Query, Rejects

__all__ = ["choose_split", "open_qrels", "open_queries"]


def open_queries(source: str, split: str | None, rejects: Rejects | None = None) -> list[Query]:
    """Read the queries of a JSONL or TSV file, or of a collection, whole or those judged in `split`."""
    from everglade.texts import open_collection, read_queries

    if Path(source).is_file():
        return list(read_queries(source, rejects))
    return open_collection(source, rejects=rejects).queries(split)


def open_qrels(source: str, split: str | None, rejects: Rejects | None = None) -> Qrels:
    """Read the judgements of a qrels file, or of a collection's split; its only split need not be named."""
    from everglade.texts import group_qrels, open_collection, read_qrels

    if Path(source).is_file():
        return group_qrels(read_qrels(source, rejects))
    collection = open_collection(source, rejects=rejects)
    return group_qrels(collection.qrels(choose_split(collection, split)))


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
