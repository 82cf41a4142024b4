"""PyLate's and LightOn's training sets: many documents for each query, each with a teacher's score."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from everglade.distill.formats.rows import Notes, Options, Row, as_id, as_list, as_number, each_row, scored_rows
from everglade.distill.values import Example
from everglade.errors import InputError

__all__ = ["read_pylate"]


def read_pylate(path: Path, options: Options, notes: Notes) -> Iterator[Row]:
    """Read rows of query_id, document_ids and scores, lists of one length (or such lists as JSON texts).

    Qrels say which documents are positive. Without them the one with the highest score is taken to be, and of equal
    ones the first.

    Raises:
        InputError: naming file and row, if a row has another shape.
    """

    def parse(row: dict[str, Any]) -> list[Row]:
        query_id = as_id(row.get("query_id"), "'query_id'")
        ids = [as_id(one, "a document id") for one in as_list(row.get("document_ids"), "'document_ids'")]
        scores = [as_number(one, "a score") for one in as_list(row.get("scores"), "'scores'")]
        Example(query_id, tuple(ids), tuple(scores))  # refuses what is no example, in whatever order
        by_id = dict(zip(ids, scores, strict=True))
        if options.qrels is not None:
            return list(scored_rows(query_id, by_id, options.qrels.get(query_id, {}), options, notes))
        notes.assume("the document with the highest score is the positive")
        return list(scored_rows(query_id, by_id, {max(by_id, key=lambda one: by_id[one]): 1}, options, notes))

    if options.qrels is not None and not options.qrels:
        raise InputError("there are no judgements, so no document is positive")
    return chain.from_iterable(each_row(path, parse))
