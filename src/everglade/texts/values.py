"""The plain values that texts and judgements are read into."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from everglade.errors import InputError

__all__ = ["MAX_ID_CHARACTERS", "Document", "Qrel", "Qrels", "Query", "Run", "TextTriple", "Triple", "require_id"]

Run = dict[str, dict[str, float]]
"""query id -> document id -> score, best first."""

Qrels = dict[str, dict[str, int]]
"""query id -> document id -> relevance."""

MAX_ID_CHARACTERS = 4096

# Each of these ends a line or a column for some reader of ids, or ends a string in C.
_BREAKS = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")


class Document(NamedTuple):
    """A document; the text may be empty."""

    id: str
    text: str
    title: str = ""
    metadata: dict[str, Any] | None = None

    @property
    def full_text(self) -> str:
        """What is encoded: title and text with a space between them, or the one that is there."""
        return f"{self.title} {self.text}" if self.title and self.text else self.title or self.text


class Query(NamedTuple):
    """A query; the text may be empty."""

    id: str
    text: str


class Qrel(NamedTuple):
    """One judgement: how relevant a document is to a query."""

    query_id: str
    document_id: str
    relevance: int


class Triple(NamedTuple):
    """A query with a relevant and a non-relevant document, by id."""

    query_id: str
    positive_id: str
    negative_id: str


class TextTriple(NamedTuple):
    """A query with a relevant and a non-relevant document, as texts."""

    query: str
    positive: str
    negative: str


def require_id(value: str) -> str:
    """Give `value` back if it can be an id.

    Raises:
        InputError: if it is empty, longer than 4,096 characters, begins or ends with white space, or holds a control
            character or a line break.
    """
    if not value:
        raise InputError("the id is empty. Give every document and query an id")
    if len(value) > MAX_ID_CHARACTERS:
        raise InputError(
            f"the id {value[:80]!r}... has {len(value):,} characters; {MAX_ID_CHARACTERS:,} are allowed. Shorten it"
        )
    if found := _BREAKS.search(value):
        raise InputError(
            f"the id {value[:80]!r} holds {found[0]!r}. Ids may hold no tab, line break or control character"
        )
    if value != value.strip():
        raise InputError(f"the id {value[:80]!r} begins or ends with white space. Take that away")
    return value
