"""A file of documents or queries, as JSON lines or as TSV.

A file called .jsonl, .ndjson or .json holds JSON lines, one called .tsv holds `id<TAB>text`; any other is taken for
JSON lines if its first line begins with a brace or a bracket. All may be gzip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from everglade.errors import InputError
from everglade.texts import jsonl
from everglade.texts.lines import decode, read_lines, require_file
from everglade.texts.rejects import Rejects
from everglade.texts.seen import SeenIds
from everglade.texts.values import Document, Query, require_id

__all__ = ["read_documents", "read_queries"]

_JSON_SUFFIXES = {".jsonl", ".ndjson", ".json"}

T = TypeVar("T", Document, Query)
Line = bytes | bytearray


def read_documents(path: str | Path, rejects: Rejects | None = None) -> Iterator[Document]:
    """Read documents one after the other, in the order of the file, never holding more than one.

    Of each id some 24 to 48 bytes are kept, to find those that come twice.

    Args:
        path: a JSONL or TSV file, plain or gzip.
        rejects: takes the lines that cannot be used; without it the first one stops the reading.

    Raises:
        InputError: naming file and line, if a line is no document or its id stood on an earlier line.
    """
    return _read_texts(require_file(path), jsonl.parse_document, _parse_tsv_document, rejects)


def read_queries(path: str | Path, rejects: Rejects | None = None) -> list[Query]:
    """Read queries, in the order of the file. See `read_documents`.

    Raises:
        InputError: naming file and line, if a line is no query or its id stood on an earlier line.
    """
    return list(_read_texts(require_file(path), jsonl.parse_query, _parse_tsv_query, rejects))


def _read_texts(
    path: Path, parse_json: Callable[[Line], T], parse_tsv: Callable[[Line], T], rejects: Rejects | None
) -> Iterator[T]:
    seen = SeenIds()
    suffix = Path(path.name.removesuffix(".gz")).suffix
    parse_text = parse_json if suffix in _JSON_SUFFIXES else parse_tsv if suffix == ".tsv" else None

    def parse(line: Line, number: int) -> T:
        nonlocal parse_text
        parse_text = parse_text or (parse_json if line.lstrip()[:1] in (b"{", b"[") else parse_tsv)
        text = parse_text(line)
        if (first := seen.add(text.id, number)) != number:
            raise InputError(f"the id {text.id!r} stood on line {first} already. Remove or rename one of the two")
        return text

    return read_lines(path, parse, rejects)


def _parse_tsv_document(line: Line) -> Document:
    return Document(*_split(line))


def _parse_tsv_query(line: Line) -> Query:
    return Query(*_split(line))


def _split(line: Line) -> tuple[str, str]:
    cells = decode(line).split("\t")
    if len(cells) != 2:
        raise InputError(
            f"found {len(cells)} columns, expected 2: an id and a text with a tab between them. Use JSONL for texts "
            f"with tabs or titles"
        )
    return require_id(cells[0]), cells[1]
