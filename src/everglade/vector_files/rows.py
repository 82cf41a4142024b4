"""One vector by the strings of its terms: an object of JSON, or a line of an Anserini or PISA query file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from everglade.errors import InputError
from everglade.texts.jsonl import parse_json
from everglade.texts.lines import decode, split_words
from everglade.texts.values import require_id

__all__ = ["Row", "parse_json_line", "parse_text_line", "read_object"]

ID_KEYS = ("id", "_id", "docno", "docid", "qid")
VECTOR_KEYS = ("vector", "toks", "query_toks")


class Row(NamedTuple):
    """A vector: its id, and the weight of each token as it stands in the file."""

    id: str
    weights: Mapping[str, Any]


def parse_json_line(line: bytes | bytearray) -> Row:
    """Read a line that is an object; see `read_object`.

    Raises:
        InputError: if it is not such an object.
    """
    return read_object(parse_json(line))


def read_object(found: object) -> Row:
    """Read `{"id", "vector": {token: weight}}` (Anserini, Pyserini, Seismic) or `{"docno", "toks": {...}}` (PyTerrier).

    Anserini's newer queries are `{"id", "title": "token token ..."}`, each token as often as it weighs. Other keys are
    passed over, such as `contents`, and `title` where there is a vector.

    Raises:
        InputError: if it is not such an object.
    """
    if not isinstance(found, dict):
        raise InputError(f"found {_kind(found)}. Write each vector as one JSON object")
    id = _take(found, ID_KEYS)
    if isinstance(id, bool) or not isinstance(id, str | int):
        raise InputError(f"the id is {_kind(id)}. Write it as a string, in quotes")
    title = found.get("title")
    if isinstance(title, str) and not any(key in found for key in VECTOR_KEYS):
        return Row(require_id(str(id)), Counter(split_words(title)))
    vector = _take(found, VECTOR_KEYS)
    if isinstance(vector, list):
        raise InputError("the vector is an array, as dense ones are. A sparse one is an object, {token: weight}")
    if not isinstance(vector, dict):
        raise InputError(f"the vector is {_kind(vector)}. Write it as an object, {{token: weight}}")
    return Row(require_id(str(id)), vector)


def parse_text_line(line: bytes | bytearray) -> Row:
    """Read `id<TAB>token token ...`, as Anserini does, or `id:token token ...`, as PISA does.

    A token weighs as often as it stands there. After a tab an object, `{"token": weight}`, may stand instead.

    Raises:
        InputError: if it is no such line.
    """
    text = decode(line)
    id, divider, rest = text.partition("\t")
    if not divider:
        id, divider, rest = text.partition(":")
    if not divider or (" " in id and divider == ":"):
        raise InputError("there is no tab. Write id<TAB>token token ..., each token as often as it weighs")
    if "\t" in rest.strip():
        raise InputError(f"found {text.count(chr(9)) + 1} columns, expected 2: id<TAB>token token ...")
    rest = rest.strip()
    # No tokenizer makes {" or {} one token; a brace alone may be one.
    if rest.startswith('{"') or rest == "{}":
        return read_object({"id": id.strip(), "vector": parse_json(rest.encode())})
    return Row(require_id(id.strip()), Counter(split_words(rest)))


def _take(found: dict[str, Any], keys: tuple[str, ...]) -> Any:  # noqa: ANN401 - any JSON value
    there = [key for key in keys if key in found]
    if not there:
        names = ", ".join(repr(key[:40]) for key in sorted(found)[:10]) or "nothing"
        raise InputError(f"none of {', '.join(map(repr, keys))} is there, only {names}. Add one of them")
    if any(found[key] != found[there[0]] for key in there):
        raise InputError(f"{' and '.join(map(repr, there))} are there and differ. Leave one of them out")
    return found[there[0]]


def _kind(value: object) -> str:
    kinds = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return kinds.get(type(value), "null")
