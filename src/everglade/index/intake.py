"""What callers hand in, checked and brought into one form: ids, documents, queries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from everglade.errors import InputError
from everglade.index.values import DocumentRow, SegmentRow
from everglade.texts import Document, Query
from everglade.vectors import SparseMatrix

__all__ = [
    "DocumentsById",
    "Texts",
    "as_document",
    "as_queries",
    "check_ids",
    "check_matrix",
    "check_rows",
    "check_texts",
    "document_rows",
]


class Texts(NamedTuple):
    """What is stored of a document beside its vector; `metadata` is JSON text."""

    title: str
    text: str
    metadata: str | None


def check_ids(ids: Iterable[str]) -> list[str]:
    """Give `ids` as a list.

    Raises:
        InputError: if one is not a string, is empty, or holds a NUL, a line break or half a surrogate pair.
    """
    if isinstance(ids, str):
        raise InputError(f"ids is the string {ids[:80]!r}. Give a list of ids.")
    given = list(ids)
    if not _all_usable(given):
        for id in given:
            _check_id(id)
    return given


def _all_usable(ids: list[Any]) -> bool:
    """Tell whether `_check_id` would pass every one, by looking at them together."""
    if not set(map(type, ids)) <= {str} or "" in ids:
        return False
    together = "\n".join(ids)
    few = together.count("\n") < max(len(ids), 1)
    return few and "\0" not in together and "\r" not in together and _is_unicode(together)


def _check_id(id: object) -> None:
    if isinstance(id, int):
        raise InputError(f"the id {id!r} is a number. Ids are strings: give str({id!r}).")
    if not isinstance(id, str):
        raise InputError(f"the id {str(id)[:80]!r} is of type {type(id).__name__}. Ids are strings.")
    if not id or "\0" in id or "\n" in id or "\r" in id or not _is_unicode(id):
        why = "holds a NUL, a line break or half a surrogate pair" if id else "is empty"
        raise InputError(f"the id {id[:80]!r} {why}. Give another id.")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_texts(documents: Sequence[Document] | None, ids: list[str]) -> dict[str, Texts]:
    """Give what is stored of each document, by id; the last of several with one id counts.

    Raises:
        InputError: if the documents' ids are not `ids`, or a document cannot be stored.
    """
    if documents is None:
        return {}
    if [document.id for document in documents] != ids:
        raise InputError("the documents' ids are not the ids of the rows: give both in the same order.")
    return {document.id: _texts_of(document) for document in documents}


def _texts_of(document: Document) -> Texts:
    for name, text in (("title", document.title), ("text", document.text)):
        if not isinstance(text, str):
            raise InputError(f"document {document.id!r}: its {name} is of type {type(text).__name__}, not a string.")
        if not _is_unicode(text):
            raise InputError(f"document {document.id!r}: its {name} holds half a surrogate pair. Mend the text.")
    metadata = document.metadata
    if metadata is None:
        return Texts(document.title, document.text, None)
    if not isinstance(metadata, dict):
        raise InputError(f"document {document.id!r}: its metadata is of type {type(metadata).__name__}, not a dict.")
    try:
        return Texts(document.title, document.text, json.dumps(metadata, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"document {document.id!r}: its metadata cannot be written as JSON: {error}.") from error


def check_matrix(matrix: SparseMatrix) -> SparseMatrix:
    """Give `matrix` back.

    Raises:
        InputError: if it is something else than a SparseMatrix.
    """
    if not isinstance(matrix, SparseMatrix):
        kind = type(matrix).__name__
        raise InputError(f"the vectors are of type {kind}. Give a SparseMatrix; SparseMatrix.from_scipy makes one.")
    return matrix


def check_rows(matrix: SparseMatrix, n_ids: int, n_terms: int) -> None:
    """Refuse vectors that are not one for each id, or not of this vocabulary.

    Raises:
        InputError: if they are not.
    """
    if n_ids != len(matrix):
        raise InputError(f"{n_ids} ids for {len(matrix)} rows: there must be one id for each row.")
    if matrix.n_terms != n_terms:
        raise InputError(
            f"the vectors have {matrix.n_terms} terms, the index {n_terms}. "
            f"Encode with the model the index was made for, or make another index."
        )


def document_rows(ids: Sequence[str], segments: Sequence[SegmentRow], texts: Mapping[str, Texts]) -> list[DocumentRow]:
    """Say what the catalog stores of documents whose vectors fill these segments, one after another."""
    nothing = Texts("", "", None)
    places = ((segment.number, local) for segment in segments for local in range(segment.documents))
    rows = []
    for id, (segment, local) in zip(ids, places, strict=True):
        title, text, metadata = texts.get(id, nothing)
        rows.append(DocumentRow(id, segment, local, title, text, metadata))
    return rows


def as_document(value: Document | Mapping[str, Any] | tuple[Any, ...], place: int) -> Document:
    """Read a Document, a mapping with "id" or "_id", "text", "title" and "metadata", or a tuple of these values.

    Other keys of a mapping are passed over. `place`, counted from 1, names the document in messages.

    Raises:
        InputError: if it is none of these, or id or text is missing.
    """
    if isinstance(value, Document):
        return value
    if isinstance(value, Mapping):
        id = value.get("id", value.get("_id"))
        if id is None or "text" not in value:
            raise InputError(f"document number {place} has the keys {sorted(value)[:10]}: it needs 'id' and 'text'.")
        return Document(id, value["text"], value.get("title") or "", value.get("metadata"))
    if isinstance(value, tuple) and 2 <= len(value) <= 4:
        return Document(*value)
    raise InputError(
        f"document number {place} is of type {type(value).__name__}. "
        f"Give Document(id, text), {{'id': ..., 'text': ...}} or (id, text)."
    )


def as_queries(queries: Iterable[Query | tuple[str, str]] | Mapping[str, str]) -> list[Query]:
    """Read queries, (id, text) pairs, or a mapping from id to text.

    Raises:
        InputError: if one is something else, cannot be named so, or two have the same id.
    """
    pairs = list(queries.items() if isinstance(queries, Mapping) else queries)
    for place, pair in enumerate(pairs, start=1):
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise InputError(f"query number {place} is no pair. Give Query(id, text) or (id, text).")
    found = [Query(*pair) for pair in pairs]
    ids = check_ids(query.id for query in found)
    if len(set(ids)) < len(ids):
        twice = next(id for id in ids if ids.count(id) > 1)
        raise InputError(f"two queries have the id {twice!r}. Give each its own.")
    return found


class DocumentsById:
    """Hands out the documents of a stream by id, holding those that were passed on the way."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self._coming = iter(documents)
        self._passed: dict[str, Document] = {}

    def take(self, ids: Sequence[str]) -> list[Document]:
        """Give the documents called `ids`; in later calls they are gone.

        Raises:
            InputError: if the stream ends before one of them came.
        """
        missing = {id for id in ids if id not in self._passed}
        while missing:
            document = next(self._coming, None)
            if document is None:
                raise InputError(f"there is no document {min(missing)!r}, which has a vector. Give all the documents.")
            self._passed[document.id] = document
            missing.discard(document.id)
        taken = {id: self._passed.pop(id) for id in set(ids)}
        return [taken[id] for id in ids]
