"""Lines with columns between tabs: triples with two scores, in the orders of naver and of Hofstätter and others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from everglade.distill.formats.rows import Notes, Options, Row, text_row
from everglade.distill.values import Example
from everglade.errors import InputError
from everglade.texts.lines import decode, read_lines, require_file
from everglade.texts.runs import parse_decimal
from everglade.texts.values import require_id

__all__ = [
    "read_id_lines",
    "read_naver_ids",
    "read_naver_texts",
    "read_text_lines",
    "read_vienna_ids",
    "read_vienna_texts",
]

_NAVER, _VIENNA, _BARE = (0, 1, 2, 3, 4), (2, 3, 4, 0, 1), (0, 1, 2)
"""The columns of query, positive and negative, and of the two scores if there are any."""


def read_naver_ids(path: Path, options: Options, notes: Notes) -> Iterator[Row]:
    """Read naver's triples, `query positive negative score score`, where documents and queries are ids.

    Raises:
        InputError: naming file and line, if a line has another shape.
    """
    return _read_ids(path, _NAVER)


def read_naver_texts(path: Path, options: Options, notes: Notes) -> Iterator[Row]:
    """Read naver's triples, `query positive negative score score`, where documents and queries are texts.

    Raises:
        InputError: naming file and line, if a line has another shape.
    """
    return _read_texts(path, _NAVER, options, notes)


def read_vienna_ids(path: Path, options: Options, notes: Notes) -> Iterator[Row]:
    """Read Hofstätter and others' triples (arXiv 2010.02666), `score score query positive negative`, by id.

    Raises:
        InputError: naming file and line, if a line has another shape.
    """
    return _read_ids(path, _VIENNA)


def read_vienna_texts(path: Path, options: Options, notes: Notes) -> Iterator[Row]:
    """Read Hofstätter and others' triples (arXiv 2010.02666), `score score query positive negative`, with texts.

    Raises:
        InputError: naming file and line, if a line has another shape.
    """
    return _read_texts(path, _VIENNA, options, notes)


def read_id_lines(path: Path, options: Options, notes: Notes) -> Iterator[Row]:
    """Read triples of ids, `query positive negative`.

    Raises:
        InputError: naming file and line, if a line has another shape.
    """
    return _read_ids(path, _BARE)


def read_text_lines(path: Path, options: Options, notes: Notes) -> Iterator[Row]:
    """Read triples of texts, `query positive negative`.

    Raises:
        InputError: naming file and line, if a line has another shape.
    """
    return _read_texts(path, _BARE, options, notes)


def _read_ids(path: Path, order: tuple[int, ...]) -> Iterator[Row]:
    def parse(line: bytes | bytearray, _: int) -> Row:
        query_id, positive, negative, *scores = _split(line, order)
        ids = (require_id(positive), require_id(negative))
        return Row(Example(require_id(query_id), ids, _as_scores(scores)))

    return read_lines(require_file(path), parse, None)


def _read_texts(path: Path, order: tuple[int, ...], options: Options, notes: Notes) -> Iterator[Row]:
    def parse(line: bytes | bytearray, _: int) -> Row | None:
        query, positive, negative, *scores = _split(line, order)
        return text_row(query, (positive, negative), _as_scores(scores), options, notes)

    return (row for row in read_lines(require_file(path), parse, None) if row is not None)


def _split(line: bytes | bytearray, order: tuple[int, ...]) -> list[str]:
    cells = decode(line).split("\t")
    if len(cells) != len(order):
        raise InputError(f"found {len(cells)} columns, expected {len(order)} with tabs between them")
    return [cells[place] for place in order]


def _as_scores(cells: list[str]) -> tuple[float, ...] | None:
    if not cells:
        return None
    try:
        return tuple(map(parse_decimal, cells))
    except InputError as error:
        raise InputError(f"{error.why}. Is it another format?") from error
