"""Queries as the command line names them: a file, or a collection and its split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from everglade.texts import Query, Rejects

__all__ = ["open_queries"]


def open_queries(source: str, split: str | None, rejects: Rejects | None = None) -> list[Query]:
    """Read the queries of a JSONL or TSV file, or of a collection, whole or those judged in `split`."""
    from everglade.texts import open_collection, read_queries

    if Path(source).is_file():
        return list(read_queries(source, rejects))
    return open_collection(source, rejects=rejects).queries(split)
