"""Run files: TREC and MS MARCO runs in, TREC runs out."""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from everglade import durable
from everglade.errors import InputError
from everglade.texts.lines import decode, read_lines, require_file, split_words
from everglade.texts.rejects import Rejects
from everglade.texts.seen import SeenIds
from everglade.texts.values import Run, require_id

__all__ = ["parse_decimal", "read_run", "require_word", "write_run"]

_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_RANK = re.compile("[1-9][0-9]{0,8}")
_LEAST_NORMAL = float(np.finfo(np.float32).tiny)
_LARGEST = 1e38  # well inside single precision, so that there is room to lower a score


def read_run(path: str | Path, rejects: Rejects | None = None) -> Run:
    """Read a run; queries in the order of the file, documents by score, and of equal score by id.

    Args:
        path: `query Q0 document rank score tag` (TREC; the score counts, not the rank), or `query document rank` (MS
            MARCO; the score becomes 1 / rank), with tabs or spaces; plain or gzip.
        rejects: takes the lines that cannot be used; without it the first one stops the reading.

    Raises:
        InputError: naming file and line, if a line has another shape or names a document of its query again.
    """
    run: Run = {}
    seen = SeenIds()
    n_columns = 0

    def parse(line: bytes | bytearray, number: int) -> None:
        nonlocal n_columns
        cells = _split(decode(line), n_columns)
        n_columns = len(cells)
        query_id, document_id = require_id(cells[0]), require_id(cells[2 if n_columns == 6 else 1])
        score = parse_decimal(cells[4]) if n_columns == 6 else 1 / _parse_rank(cells[2])
        if (first := seen.add(f"{query_id}\t{document_id}", number)) != number:
            raise InputError(
                f"document {document_id!r} of query {query_id!r} stood on line {first} already. Remove one"
            )
        run.setdefault(query_id, {})[document_id] = score

    for _ in read_lines(require_file(path), parse, rejects):
        pass
    return {query_id: dict(_best_first(hits)) for query_id, hits in run.items()}


def write_run(run: Mapping[str, Mapping[str, float]], path: str | Path, tag: str = "everglade") -> None:
    """Write `run` as a TREC run that every reader puts in the same order; gzip if `path` ends in .gz.

    Documents stand by score, and of equal score by id, ascending. Readers differ in what they do with equal scores
    (trec_eval: the larger id first) and in their precision (trec_eval: single). So the scores of a query are written in
    single precision with 9 digits, which tell any two such numbers apart, and one that would not be less than the score
    before it is lowered to the next single-precision number below that. Queries without documents leave no line.

    Raises:
        InputError: if an id or the tag is empty or holds white space, or a score is not a number between
            -1e38 and 1e38; nothing is written then.
    """
    path = Path(path)
    require_word(tag, "tag")
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} is not there. Make it first", path)
    with durable.whole_file(path) as temporary, _open_for_writing(temporary, path.suffix == ".gz") as file:
        for query_id, hits in run.items():
            require_word(query_id, "query id")
            ranked = _best_first(hits)
            scores = _strictly_falling(query_id, ranked)
            for rank, ((document_id, _), score) in enumerate(zip(ranked, scores, strict=True), start=1):
                require_word(document_id, "document id")
                file.write(f"{query_id} Q0 {document_id} {rank} {score:.9g} {tag}\n".encode())


def _best_first(hits: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(hits.items(), key=lambda hit: (-float(hit[1]), hit[0]))


def _strictly_falling(query_id: str, ranked: list[tuple[str, float]]) -> Iterator[float]:
    scores = np.array([score for _, score in ranked], dtype=np.float64)
    if not (np.abs(scores) <= _LARGEST).all():
        raise InputError(f"query {query_id!r} has a score that is not a number between -1e38 and 1e38")
    scores[np.abs(scores) < _LEAST_NORMAL] = 0
    single: NDArray[np.float32] = scores.astype(np.float32)
    for place in np.flatnonzero(np.diff(single) >= 0):
        _lower_from(single, int(place) + 1)
    return map(float, single)


def _lower_from(scores: NDArray[np.float32], place: int) -> None:
    """Lower the score at `place`, and those after it, as far as each is not less than the one before."""
    while place < len(scores) and scores[place] >= scores[place - 1]:
        scores[place] = _next_below(scores[place - 1])
        place += 1


def _next_below(score: np.float32) -> float:
    """Give the next smaller single-precision number; subnormal ones are left out, for some readers take them for 0."""
    below = float(np.nextafter(score, np.float32(-np.inf)))
    if 0 < abs(below) < _LEAST_NORMAL:
        return 0.0 if below > 0 else -_LEAST_NORMAL
    return below


def _open_for_writing(path: Path, packed: bool) -> IO[bytes] | gzip.GzipFile:
    # Without a time and a name in its header the same run gives the same bytes.
    return gzip.GzipFile(path, "wb", mtime=0) if packed else path.open("wb")


def _split(text: str, n_columns: int) -> list[str]:
    cells = split_words(text)
    if len(cells) not in (3, 6) or n_columns not in (0, len(cells)):
        expected = f"{n_columns} as on the lines before" if n_columns else "6 (query Q0 document rank score tag) or 3"
        raise InputError(f"found {len(cells)} columns, expected {expected}. Ids in runs may not hold spaces")
    return cells


def parse_decimal(cell: str) -> float:
    """Give the number that a score's digits write.

    Raises:
        InputError: if it is not a finite decimal number; `float` would take more, such as "nan" and "1_0".
    """
    if not _DECIMAL.fullmatch(cell) or not math.isfinite(score := float(cell)):
        raise InputError(f"the score {cell[:80]!r} is not a finite decimal number")
    return score


def _parse_rank(cell: str) -> int:
    if not _RANK.fullmatch(cell):
        raise InputError(f"the rank {cell[:80]!r} is not a whole number from 1")
    return int(cell)


def require_word(value: str, name: str) -> None:
    """Make sure that a run can carry an id.

    Raises:
        InputError: if it is empty, holds white space, or is no text; `name` says what it is.
    """
    if value.split() != [value]:
        raise InputError(
            f"the {name} {value!r} is empty or holds white space, which a TREC run cannot carry. Change it"
        )
    require_id(value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"the {name} {value!r} holds half a character (a lone surrogate). Change it") from error
