"""What examples are in each public format: rows by column name, or lines of bytes.

A group is examples of one query with the same negatives, and in a format that holds scores the same scores of these;
formats that name one positive a row get groups of one.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from everglade.distill.values import Example
from everglade.errors import InputError
from everglade.texts.runs import require_word
from everglade.texts.values import require_id

__all__ = [
    "Asked",
    "as_columns",
    "as_hard_negatives",
    "as_id_lines",
    "as_id_triplets",
    "as_pickle",
    "as_pylate",
    "as_run",
    "as_tevatron_1",
    "as_tevatron_2",
    "as_text_lines",
    "as_vienna_ids",
    "as_vienna_texts",
]

Group = Sequence[Example]
Row = dict[str, Any]


@dataclass
class Asked:
    """The texts at hand, what the caller chose, and how much could not be written, by reason."""

    queries: Mapping[str, str]
    documents: Mapping[str, str]
    margins: bool = False
    name: str = "everglade"
    holds_scores: bool = True
    left_out: Counter[str] = field(default_factory=Counter)

    def text(self, side: str, key: str) -> str:
        """Give the text of one of the `queries` or `documents`."""
        try:
            return (self.queries if side == "queries" else self.documents)[key]
        except KeyError:
            raise InputError(
                f"{key!r} is not among the {side}, so it has no text. Give the collection it is of"
            ) from None


def as_columns(group: Group, asked: Asked) -> Iterator[Row]:
    """Give anchor, positive, negative or negative_1 to negative_n, label: by position what the trainer expects."""
    (example,) = group
    n = len(example.document_ids) - 1
    names = ["positive", *(["negative"] if n == 1 else [f"negative_{place}" for place in range(1, n + 1)])]
    texts = [asked.text("documents", one) for one in example.document_ids]
    row: Row = {"anchor": asked.text("queries", example.query_id), **dict(zip(names, texts, strict=True))}
    if example.scores is not None and n == 0:
        asked.left_out["scores of positives without a negative"] += 1
    elif example.scores is not None and asked.margins:
        margins = _margins(example.scores)
        row["label"] = margins[0] if n == 1 else margins
    elif example.scores is not None:
        row["label"] = list(map(float, example.scores))
    yield row


def as_hard_negatives(group: Group, asked: Asked) -> Iterator[Row]:
    """Give qid, pos, neg by system; ids that are whole numbers as such, as the public file has them."""
    first = group[0]
    negatives = list(map(_bare_id, first.document_ids[1:]))
    positives = [_bare_id(example.positive) for example in group]
    yield {"qid": _bare_id(first.query_id), "pos": positives, "neg": {asked.name: negatives}}


def as_id_triplets(group: Group, asked: Asked) -> Iterator[Row]:
    """Give a row for each negative: query_id, positive_id, negative_id, and as score the teacher's margin."""
    (example,) = group
    margins = None if example.scores is None else _margins(example.scores)
    for place, negative in enumerate(example.document_ids[1:]):
        row = {"query_id": example.query_id, "positive_id": example.positive, "negative_id": negative}
        yield row if margins is None else {**row, "score": margins[place]}


def as_tevatron_1(group: Group, asked: Asked) -> Iterator[Row]:
    """Give query_id, query and passages with their texts; a title is part of the text."""

    def passages(ids: Sequence[str]) -> list[dict[str, str]]:
        return [{"docid": one, "title": "", "text": asked.text("documents", one)} for one in ids]

    query_id, negatives = group[0].query_id, group[0].document_ids[1:]
    sides = {
        "positive_passages": passages([example.positive for example in group]),
        "negative_passages": passages(negatives),
    }
    yield {"query_id": query_id, "query": asked.text("queries", query_id), **sides}


def as_tevatron_2(group: Group, asked: Asked) -> Iterator[Row]:
    """Give query_id, query_text and the ids of the documents."""
    query_id = group[0].query_id
    ids = {
        "positive_document_ids": [example.positive for example in group],
        "negative_document_ids": list(group[0].document_ids[1:]),
    }
    yield {"query_id": query_id, "query_text": asked.text("queries", query_id), **ids}


def as_pylate(group: Group, asked: Asked) -> Iterator[Row]:
    """Give query_id, document_ids and scores, the positive first."""
    (example,) = group
    scores = list(map(float, example.scores or ()))
    yield {"query_id": example.query_id, "document_ids": list(example.document_ids), "scores": scores}


def as_run(group: Group, asked: Asked) -> Iterator[bytes]:
    """Give TREC lines, best first. Scores stay whole: this is for training, where equal ones may stay equal."""
    query_id, scores = group[0].query_id, _scores_by_id(group)
    require_word(query_id, "query id")
    ranked = sorted(scores, key=lambda one: (-scores[one], one))
    for rank, document_id in enumerate(ranked, start=1):
        require_word(document_id, "document id")
        yield f"{query_id} Q0 {document_id} {rank} {scores[document_id]!r} {asked.name}\n".encode()


def as_pickle(group: Group, asked: Asked) -> Iterator[bytes]:
    """Give a query and the dict of its scores in the opcodes of protocol 2, to stand in an outer dict."""
    pairs = (
        _opcode_of_int(document_id) + b"G" + struct.pack(">d", score)
        for document_id, score in _scores_by_id(group).items()
    )
    yield _opcode_of_int(group[0].query_id) + b"}(" + b"".join(pairs) + b"u"


def as_id_lines(group: Group, asked: Asked) -> Iterator[bytes]:
    """Give `query positive negative`, and naver's two scores after them; a line for each negative."""
    yield from _lines(group[0], asked, texts=False, scores_first=False)


def as_text_lines(group: Group, asked: Asked) -> Iterator[bytes]:
    """Give the lines of `as_id_lines` with texts."""
    yield from _lines(group[0], asked, texts=True, scores_first=False)


def as_vienna_ids(group: Group, asked: Asked) -> Iterator[bytes]:
    """Give `score score query positive negative`, a line for each negative."""
    yield from _lines(group[0], asked, texts=False, scores_first=True)


def as_vienna_texts(group: Group, asked: Asked) -> Iterator[bytes]:
    """Give the lines of `as_vienna_ids` with texts."""
    yield from _lines(group[0], asked, texts=True, scores_first=True)


def _lines(example: Example, asked: Asked, *, texts: bool, scores_first: bool) -> Iterator[bytes]:
    def cell(side: str, key: str) -> str:
        text = asked.text(side, key) if texts else require_id(key)
        if found := next((mark for mark in "\t\n\r" if mark in text), None):
            raise InputError(f"the text of {key!r} holds {found!r}, which lines with tabs cannot. Take another format")
        return text

    query, *documents = cell("queries", example.query_id), *(cell("documents", one) for one in example.document_ids)
    for place, negative in enumerate(documents[1:], start=1):
        cells = [query, documents[0], negative]
        if asked.holds_scores and example.scores is not None:
            scores = [repr(float(example.scores[0])), repr(float(example.scores[place]))]
            cells = [*scores, *cells] if scores_first else [*cells, *scores]
        yield ("\t".join(cells) + "\n").encode()


def _margins(scores: Sequence[float]) -> list[float]:
    return [float(scores[0]) - float(score) for score in scores[1:]]


def _scores_by_id(group: Group) -> dict[str, float]:
    """Give the scores of the positives, then of the negatives."""
    first = group[0]
    positives = {example.positive: float(example.scores[0]) for example in group if example.scores}
    return {**positives, **dict(zip(first.document_ids[1:], map(float, (first.scores or ())[1:]), strict=True))}


def _bare_id(key: str) -> str | int:
    """Give an id as a whole number if its digits come back unchanged: "17", and not "017"."""
    digits = key.removeprefix("-")
    is_whole = digits.isascii() and digits.isdecimal() and len(digits) < 19 and str(int(key)) == key
    return int(key) if is_whole else key


def _opcode_of_int(key: str) -> bytes:
    number = _bare_id(key)
    if isinstance(number, str):
        raise InputError(f"the id {key!r} is no whole number, and a pickle of scores has no others")
    if -(2**31) <= number < 2**31:
        return b"J" + struct.pack("<i", number)
    return b"\x8a\x08" + number.to_bytes(8, "little", signed=True)
