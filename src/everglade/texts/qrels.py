"""Judgements: BEIR and MS MARCO TSV, TREC qrels, and naver's JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from everglade.errors import InputError
from everglade.texts.jsonl import parse_json
from everglade.texts.lines import decode, open_bytes, read_lines, require_file, split_words
from everglade.texts.rejects import Rejects
from everglade.texts.values import Qrel, Qrels, require_id

__all__ = ["MAX_JSON_BYTES", "group_qrels", "read_qrels"]

MAX_JSON_BYTES = 2**28
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(nan|inf(inity)?)", re.IGNORECASE)
_HEADINGS = {
    *("query_id", "queryid", "qid", "query", "topic", "topic_id"),
    *("corpus_id", "document_id", "doc_id", "docid", "pid", "passage_id", "document", "docno"),
    *("score", "relevance", "rel", "label", "grade", "judgment", "judgement", "qrel"),
}


def read_qrels(path: str | Path, rejects: Rejects | None = None) -> list[Qrel]:
    """Read judgements, in the order of the file.

    A first line is a heading if its last column is no number and one of its columns has a name that headings have; so a
    file without heading loses nothing. Two judgements of one pair are one if they agree.

    Args:
        path: `query<TAB>document<TAB>relevance`, or `query 0 document relevance` with tabs or spaces, or a .json file
            `{query: {document: relevance}}`; plain or gzip.
        rejects: takes the lines that cannot be used; without it the first one stops the reading. Not for JSON,
            which has no lines.

    Raises:
        InputError: naming file and line, if a line is no judgement or contradicts an earlier one.
    """
    path = require_file(path)
    if path.name.removesuffix(".gz").endswith(".json"):
        return _read_json(path)
    found: dict[tuple[str, str], tuple[int, int]] = {}
    n_columns = 0

    def parse(line: bytes | bytearray, number: int) -> None:
        nonlocal n_columns
        cells = _split(decode(line), n_columns)
        if not n_columns and _is_heading(cells):
            n_columns = len(cells)
            return
        qrel = Qrel(require_id(cells[0]), require_id(cells[-2]), _parse_relevance(cells[-1]))
        n_columns = len(cells)
        earlier, first = found.setdefault(qrel[:2], (qrel.relevance, number))
        if earlier != qrel.relevance:
            raise InputError(
                f"document {qrel.document_id!r} has relevance {qrel.relevance} for query {qrel.query_id!r}, and "
                f"{earlier} on line {first}. Keep one of the two"
            )

    for _ in read_lines(path, parse, rejects):
        pass
    return [Qrel(query_id, document_id, relevance) for (query_id, document_id), (relevance, _) in found.items()]


def group_qrels(qrels: Iterable[Qrel]) -> Qrels:
    """Give query id -> document id -> relevance."""
    grouped: Qrels = {}
    for query_id, document_id, relevance in qrels:
        grouped.setdefault(query_id, {})[document_id] = relevance
    return grouped


def _split(text: str, n_columns: int) -> list[str]:
    cells = text.split("\t")
    if len(cells) not in (3, 4):
        cells = split_words(text)
        if len(cells) != 4:
            raise InputError(
                f"found {len(cells)} columns. Expected query, document, relevance with tabs between them, or query, 0, "
                f"document, relevance"
            )
    if n_columns and len(cells) != n_columns:
        raise InputError(f"found {len(cells)} columns where the lines before have {n_columns}. Give all lines the same")
    return cells


def _is_heading(cells: list[str]) -> bool:
    names = {re.sub("[- ]", "_", cell.strip().lower()) for cell in cells}
    return not _NUMBER.fullmatch(cells[-1].strip()) and not names.isdisjoint(_HEADINGS)


def _parse_relevance(cell: str) -> int:
    if not _WHOLE_NUMBER.fullmatch(cell.strip(" ")):
        raise InputError(f"the relevance {cell[:80]!r} is not a whole number. Write 0, 1, 2, ...")
    return int(cell)


def _read_json(path: Path) -> list[Qrel]:
    with open_bytes(path) as file:
        content = file.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise InputError(f"longer than {MAX_JSON_BYTES:,} bytes. Write the judgements as TSV", path)
    try:
        return _qrels_of(parse_json(content))
    except InputError as error:
        raise InputError(error.why, path) from error


def _qrels_of(value: object) -> list[Qrel]:
    if not isinstance(value, dict) or not all(isinstance(judged, dict) for judged in value.values()):
        raise InputError("expected one object {query id: {document id: relevance}}")
    qrels = []
    for query_id, judged in value.items():
        for document_id, relevance in judged.items():
            if type(relevance) is not int:
                raise InputError(f"query {query_id!r}, document {document_id!r}: the relevance is not a whole number")
            qrels.append(Qrel(require_id(query_id), require_id(document_id), relevance))
    return qrels
