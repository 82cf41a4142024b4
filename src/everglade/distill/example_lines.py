"""Examples as JSON lines, the form a person can read and write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from everglade.distill.values import Example
from everglade.errors import InputError
from everglade.texts.lines import read_lines

__all__ = ["as_line", "parse_lines"]


def as_line(example: Example) -> bytes:
    """Give an example as one JSON object."""
    value: dict[str, Any] = {"query_id": example.query_id, "document_ids": example.document_ids}
    if example.scores is not None:
        value["scores"] = example.scores
    return orjson.dumps(value)


def parse_lines(path: Path) -> Iterator[Example]:
    """Read an examples file, plain or gzip, one JSON object a line; empty lines are passed over.

    Raises:
        InputError: naming file and line, if a line is not JSON or not an example.
    """
    return read_lines(path, lambda line, _: _parse(line), None)


def _parse(line: bytes | bytearray) -> Example:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(f"not JSON: {error}") from error
    known = {"query_id", "document_ids", "scores"}
    if not isinstance(value, dict) or not {"query_id", "document_ids"} <= value.keys() <= known:
        raise InputError("expected an object with query_id, document_ids and perhaps scores, nothing else")
    query_id, document_ids, scores = value["query_id"], value["document_ids"], value.get("scores")
    if not isinstance(query_id, str) or not _all(document_ids, str):
        raise InputError("query_id must be a text and document_ids a list of texts")
    if scores is not None and not _all(scores, (int, float)):
        raise InputError("scores must be a list of numbers")
    return Example(query_id, tuple(document_ids), None if scores is None else tuple(map(float, scores)))


def _all(values: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, kind) and value is not True and value is not False for value in values
    )
