"""Tevatron's training sets: version 2 names documents by id, version 1 carries their texts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from everglade.distill.formats.rows import Notes, Options, Row, as_id, as_list, as_text, each_row, positive_rows
from everglade.errors import InputError
from everglade.texts import Document

__all__ = ["read_tevatron_1", "read_tevatron_2"]


def read_tevatron_1(path: Path, options: Options, notes: Notes) -> Iterator[Row]:
    """Read {"query_id", "query", "positive_passages": [{"docid", "title"?, "text"}], "negative_passages": [...]}.

    Raises:
        InputError: naming file and row, if a row has another shape.
    """

    def parse(row: dict[str, Any]) -> list[Row]:
        texts: dict[str, str] = {}
        sides: list[list[str]] = []
        for name in ("positive_passages", "negative_passages"):
            passages = [_read_passage(one, name) for one in as_list(row.get(name), repr(name))]
            sides.append([passage.id for passage in passages])
            for passage in passages:
                if texts.setdefault(passage.id, passage.full_text) != passage.full_text:
                    raise InputError(f"the passage {passage.id!r} has two texts")
        query = as_text(row.get("query"), "'query'")
        found = positive_rows(as_id(row.get("query_id"), "'query_id'"), sides[0], sides[1], options, notes)
        return [Row(example, query, tuple(texts[one] for one in example.document_ids)) for example, *_ in found]

    return chain.from_iterable(each_row(path, parse))


def read_tevatron_2(path: Path, options: Options, notes: Notes) -> Iterator[Row]:
    """Read {"query_id", "query_text" or "query", "positive_document_ids": [ids], "negative_document_ids": [ids]}.

    Raises:
        InputError: naming file and row, if a row has another shape.
    """

    def parse(row: dict[str, Any]) -> list[Row]:
        names = ("positive_document_ids", "negative_document_ids")
        sides = [[as_id(one, name) for one in as_list(row.get(name), repr(name))] for name in names]
        text = row.get("query_text", row.get("query"))
        query = None if text is None else as_text(text, "'query_text'")
        found = positive_rows(as_id(row.get("query_id"), "'query_id'"), sides[0], sides[1], options, notes)
        return [Row(example, query) for example, *_ in found]

    return chain.from_iterable(each_row(path, parse))


def _read_passage(value: object, name: str) -> Document:
    if not isinstance(value, dict):
        raise InputError(f"{name!r} must hold objects with docid and text")
    title = as_text(value.get("title") or "", "'title'")
    return Document(as_id(value.get("docid"), "'docid'"), as_text(value.get("text"), "'text'"), title)
