"""MS MARCO triples: a query, a relevant and a non-relevant document on each line, between tabs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from everglade.errors import InputError
from everglade.texts.lines import decode, read_lines, require_file
from everglade.texts.rejects import Rejects
from everglade.texts.values import TextTriple, Triple, require_id

__all__ = ["read_text_triples", "read_triples"]


def read_triples(path: str | Path, rejects: Rejects | None = None) -> Iterator[Triple]:
    """Read triples of ids (`qidpidtriples.*.tsv`), one after the other.

    Raises:
        InputError: naming file and line, if a line has not three columns or holds something that is no id.
    """
    return read_lines(require_file(path), lambda line, _: Triple(*map(require_id, _split(line))), rejects)


def read_text_triples(path: str | Path, rejects: Rejects | None = None) -> Iterator[TextTriple]:
    """Read triples of texts (`triples.train.small.tsv`), one after the other; quotes and spaces are kept.

    Raises:
        InputError: naming file and line, if a line has not three columns.
    """
    return read_lines(require_file(path), lambda line, _: TextTriple(*_split(line)), rejects)


def _split(line: bytes | bytearray) -> tuple[str, str, str]:
    cells = decode(line).split("\t")
    if len(cells) != 3:
        raise InputError(f"found {len(cells)} columns, expected 3 with tabs between them: query, positive, negative")
    return cells[0], cells[1], cells[2]
