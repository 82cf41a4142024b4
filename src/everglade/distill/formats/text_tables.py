"""Tables of texts that come beside examples: one column of ids, one of texts, perhaps one of titles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from everglade.distill.formats.rows import as_id, as_text, each_row
from everglade.errors import InputError
from everglade.texts import Document

__all__ = ["read_text_table"]

_IDS = ("_id", "id", "query_id", "qid", "document_id", "doc_id", "docid", "passage_id", "pid")
_TEXTS = ("text", "query", "query_text", "document", "document_text", "passage", "contents")


def read_text_table(path: Path) -> Iterator[Document]:
    """Read ids and texts from JSON lines, Parquet or Arrow, or a folder of such shards, by the columns' names.

    Raises:
        InputError: naming file and row, if not exactly one column is an id and one a text, or one is of another type.
    """

    def parse(row: dict[str, Any]) -> Document:
        ids, texts = ([name for name in names if name in row] for names in (_IDS, _TEXTS))
        if len(ids) != 1 or len(texts) != 1:
            raise InputError(
                f"expected one column of ids ({', '.join(_IDS)}) and one of texts ({', '.join(_TEXTS)}), "
                f"found {sorted(row)}"
            )
        title = as_text(row.get("title") or "", "'title'")
        return Document(as_id(row[ids[0]], repr(ids[0])), as_text(row[texts[0]], repr(texts[0])), title)

    return each_row(path, parse)
