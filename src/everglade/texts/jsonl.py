"""One JSON object to a document or a query.

Of a key that stands twice in an object the last value counts. Keys that are not named here are passed over.
"""

from __future__ import annotations

from typing import Any

import orjson

from everglade.errors import InputError
from everglade.texts.lines import decode
from everglade.texts.values import Document, Query, require_id

__all__ = ["parse_document", "parse_json", "parse_query"]

_ID_KEYS = ("_id", "id")
_TEXT_KEYS = ("text", "contents")
_KINDS = {
    bool: "a boolean",
    int: "a number",
    float: "a number with a fraction, an exponent or more than 64 bits",
    str: "a string",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def parse_document(line: bytes | bytearray) -> Document:
    """Read `{"_id" or "id", "text" or "contents", "title"?, "metadata"?}`.

    Raises:
        InputError: if it is not such an object.
    """
    found = _parse_object(line)
    metadata = found.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise InputError(f"'metadata' is {_kind(metadata)}. Make it an object, or leave it out")
    title = "" if found.get("title") is None else found["title"]
    return Document(_take_id(found), _take_text(found), _require_text("'title'", title), metadata)


def parse_query(line: bytes | bytearray) -> Query:
    """Read `{"_id" or "id", "text" or "contents"}`.

    Raises:
        InputError: if it is not such an object.
    """
    found = _parse_object(line)
    return Query(_take_id(found), _take_text(found))


def parse_json(content: bytes | bytearray) -> Any:  # noqa: ANN401 - any JSON value
    """Read one JSON value, with none of the liberties Python's own reader takes: no NaN, no lone surrogates.

    Raises:
        InputError: if it is not JSON.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        decode(content)
        raise InputError(f"not valid JSON, column {error.colno}: {error.msg}") from error


def _parse_object(line: bytes | bytearray) -> dict[str, Any]:
    found = parse_json(line)
    if not isinstance(found, dict):
        raise InputError(f"found {_kind(found)}. Write one JSON object on each line")
    return found


def _take_id(found: dict[str, Any]) -> str:
    value = _take(found, _ID_KEYS)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise InputError(f"the id is {_kind(value)}. Write it as a string, in quotes")
    return require_id(value)


def _take_text(found: dict[str, Any]) -> str:
    return _require_text("the text", _take(found, _TEXT_KEYS))


def _take(found: dict[str, Any], keys: tuple[str, str]) -> Any:  # noqa: ANN401 - any JSON value
    values = [found[key] for key in keys if key in found]
    if not values:
        names = ", ".join(repr(key[:40]) for key in sorted(found)[:10]) or "nothing"
        raise InputError(f"neither {keys[0]!r} nor {keys[1]!r} is there, only {names}. Add one of them")
    if any(value != values[0] for value in values):
        raise InputError(f"{keys[0]!r} and {keys[1]!r} are both there and differ. Leave one of them out")
    return values[0]


def _require_text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name} is {_kind(value)}. It must be a string")
    return value


def _kind(value: object) -> str:
    return _KINDS[type(value)]
