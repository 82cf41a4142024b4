"""A TREC run whose scores are a teacher's, with qrels that name the positives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from everglade.distill.formats.rows import Notes, Options, Row, scored_rows
from everglade.errors import InputError
from everglade.texts.lines import decode, read_lines, require_file, split_words
from everglade.texts.runs import parse_decimal
from everglade.texts.seen import SeenIds
from everglade.texts.values import require_id

__all__ = ["read_scored_run"]


def read_scored_run(path: Path, options: Options, notes: Notes) -> Iterator[Row]:
    """Read `query Q0 document rank score tag`, one query at a time; its lines must stand together.

    Each document that the qrels call relevant and the run holds becomes an example, with the query's other documents,
    best first, as negatives. `everglade.distill.negatives` mines negatives from a run without its scores.

    Raises:
        InputError: naming file and line, if a line has another shape, a document comes twice, or a query comes back.
    """
    seen = SeenIds()
    query_id, scores, qrels = "", dict[str, float](), options.qrels or {}

    def parse(line: bytes | bytearray, number: int) -> tuple[str, dict[str, float]] | None:
        nonlocal query_id, scores
        cells = split_words(decode(line))
        if len(cells) != 6:
            raise InputError(f"found {len(cells)} columns, expected 6: query Q0 document rank score tag")
        score = parse_decimal(cells[4])
        done = None
        if cells[0] != query_id:
            if (first := seen.add(require_id(cells[0]), number)) != number:
                raise InputError(f"the query {cells[0]!r} began on line {first}. Put its lines together: sort the file")
            done, query_id, scores = (query_id, scores), cells[0], {}
        if require_id(cells[2]) in scores:
            raise InputError(f"the document {cells[2]!r} stands twice for the query {query_id!r}. Remove one")
        scores[cells[2]] = score
        return done

    for done in read_lines(require_file(path), parse, None):
        if done and done[1]:
            yield from _rows(*done, qrels, options, notes)
    if scores:
        yield from _rows(query_id, scores, qrels, options, notes)


def _rows(
    query_id: str, scores: dict[str, float], qrels: dict[str, dict[str, int]], options: Options, notes: Notes
) -> Iterator[Row]:
    ranked = dict(sorted(scores.items(), key=lambda hit: (-hit[1], hit[0])))
    return scored_rows(query_id, ranked, qrels.get(query_id, {}), options, notes)
