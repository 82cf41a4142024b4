"""Examples: which documents a query is trained with, positive first, and what a teacher thinks of them.

On disk an example is one line of JSON, by name and never by position::

    {"query_id": "q1", "document_ids": ["d7", "d2", "d9"], "scores": [9.5, 1.25, -3.0]}

`scores` is left out where no teacher has scored the documents.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from everglade import durable, texts
from everglade.errors import InputError

if TYPE_CHECKING:
    from everglade.texts import Qrels, TextTriple

__all__ = [
    "Example",
    "TrainingSet",
    "examples_from_qrels",
    "hold_out_queries",
    "read_examples",
    "read_triples",
    "training_set_from_texts",
    "write_examples",
]


@dataclass(frozen=True, slots=True)
class Example:
    """One query with its positive document, then its negatives, and a teacher's score for each if there is one.

    Raises:
        InputError: if there is no document, one is named twice, or scores are not finite or not one a document.
    """

    query_id: str
    document_ids: tuple[str, ...]
    scores: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.document_ids:
            raise InputError(f"the example of query {self.query_id!r} names no document: the positive must come first")
        if len(set(self.document_ids)) != len(self.document_ids):
            raise InputError(f"the example of query {self.query_id!r} names a document twice")
        if self.scores is None:
            return
        if len(self.scores) != len(self.document_ids):
            raise InputError(
                f"the example of query {self.query_id!r} has {len(self.document_ids)} documents but "
                f"{len(self.scores)} scores: there must be one for each"
            )
        if not all(math.isfinite(score) for score in self.scores):
            raise InputError(f"the example of query {self.query_id!r} has a score that is not a finite number")

    @property
    def positive(self) -> str:
        """The id of the relevant document."""
        return self.document_ids[0]


@dataclass(frozen=True)
class TrainingSet:
    """Examples, and the texts their ids stand for. Texts are looked up when a batch needs them.

    `queries` and `documents` are any mappings from id to text; a document's text is its title and body, as it will be
    encoded (`Document.full_text`).

    Raises:
        InputError: if there are no examples, or one names an id without text; the message counts examples from 1, as
            the lines of an examples file.
    """

    queries: Mapping[str, str]
    documents: Mapping[str, str]
    examples: Sequence[Example]

    def __post_init__(self) -> None:
        if not self.examples:
            raise InputError("there are no examples to train on")
        for line, example in enumerate(self.examples, start=1):
            if example.query_id not in self.queries:
                raise InputError(f"example {line}: the query {example.query_id!r} is not among the queries")
            for document_id in example.document_ids:
                if document_id not in self.documents:
                    raise InputError(f"example {line}: the document {document_id!r} is not in the collection")

    @cached_property
    def positives(self) -> dict[str, frozenset[str]]:
        """For each query id, every document that some example names as its positive."""
        found: dict[str, set[str]] = {}
        for example in self.examples:
            found.setdefault(example.query_id, set()).add(example.positive)
        return {query_id: frozenset(ids) for query_id, ids in found.items()}

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of the examples in their order and of every text they use: what a resumed run compares."""
        digest = hashlib.sha256()
        for example in self.examples:
            digest.update(_as_json(example))
        used = sorted({document_id for example in self.examples for document_id in example.document_ids})
        for query_id in sorted({example.query_id for example in self.examples}):
            digest.update(orjson.dumps([query_id, self.queries[query_id]]))
        for document_id in used:
            digest.update(orjson.dumps([document_id, self.documents[document_id]]))
        return digest.hexdigest()

    def require_negatives(self) -> None:
        """Make sure that every example has a negative.

        Raises:
            InputError: naming the first example without one.
        """
        for line, example in enumerate(self.examples, start=1):
            if len(example.document_ids) < 2:
                raise InputError(
                    f"example {line} (query {example.query_id!r}) has no negative. Mine negatives for it, leave it "
                    f"out, or train with negatives_per_query = 0"
                )

    def require_scores(self) -> None:
        """Make sure that every example has teacher scores.

        Raises:
            InputError: naming the first example without them.
        """
        for line, example in enumerate(self.examples, start=1):
            if example.scores is None:
                raise InputError(
                    f"example {line} (query {example.query_id!r}) has no teacher scores, and the loss needs them. "
                    f"Score the examples with a teacher, or train with loss = 'infonce'"
                )


def read_examples(path: str | Path) -> list[Example]:
    """Read an examples file, one JSON object a line; empty lines are passed over.

    Raises:
        InputError: naming file and line, if a line is not JSON or not an example, or the file is missing.
    """
    if not Path(path).is_file():
        raise InputError("there is no such file of examples", path)
    with Path(path).open("rb") as file:
        return [_parse(line, path, number) for number, line in enumerate(file, start=1) if line.strip()]


def write_examples(examples: Iterable[Example], path: str | Path) -> int:
    """Write examples as JSON lines, whole or not at all, and give their number."""
    count = 0
    with durable.whole_file(Path(path)) as temporary, temporary.open("wb") as file:
        for example in examples:
            file.write(_as_json(example) + b"\n")
            count += 1
    return count


def read_triples(path: str | Path) -> list[Example]:
    """Read a file of triples of ids (query, positive, negative, with tabs between them), one example each.

    Raises:
        InputError: naming file and line, if a line is no triple.
    """
    return [Example(t.query_id, (t.positive_id, t.negative_id)) for t in texts.read_triples(path)]


def training_set_from_texts(triples: Iterable[TextTriple]) -> TrainingSet:
    """Make a training set of triples of texts, as `everglade.texts.read_text_triples` gives them.

    Equal texts get one id, counted in the order in which they come.
    """
    queries: dict[str, str] = {}
    documents: dict[str, str] = {}
    examples = []
    for triple in triples:
        query_id = queries.setdefault(triple.query, f"q{len(queries) + 1}")
        positive = documents.setdefault(triple.positive, f"d{len(documents) + 1}")
        negative = documents.setdefault(triple.negative, f"d{len(documents) + 1}")
        examples.append(Example(query_id, (positive, negative)))
    return TrainingSet(
        {query_id: text for text, query_id in queries.items()},
        {document_id: text for text, document_id in documents.items()},
        examples,
    )


def examples_from_qrels(qrels: Qrels, negatives: Mapping[str, Sequence[str]]) -> list[Example]:
    """Make one example for each relevant document of each query, all with that query's negatives.

    Documents relevant to the query are left out of its negatives. Queries come in the order of `qrels`, positives by
    relevance, then by id.
    """
    examples = []
    for query_id, judged in qrels.items():
        relevant = [document_id for document_id, relevance in judged.items() if relevance > 0]
        others = tuple(document_id for document_id in negatives.get(query_id, ()) if document_id not in relevant)
        for positive in sorted(relevant, key=lambda document_id: (-judged[document_id], document_id)):
            examples.append(Example(query_id, (positive, *others)))
    return examples


def hold_out_queries(qrels: Qrels, share: float, seed: int) -> tuple[Qrels, Qrels]:
    """Split judgements by query into those to train on and those held out for validation, about `share` of the queries.

    Which side a query falls on depends on the seed and its id alone.
    """
    held = {query_id: judged for query_id, judged in qrels.items() if _fraction(seed, query_id) < share}
    return {query_id: judged for query_id, judged in qrels.items() if query_id not in held}, held


def _fraction(seed: int, query_id: str) -> float:
    digest = hashlib.sha256(f"{seed} {query_id}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _as_json(example: Example) -> bytes:
    value: dict[str, Any] = {"query_id": example.query_id, "document_ids": example.document_ids}
    if example.scores is not None:
        value["scores"] = example.scores
    return orjson.dumps(value)


def _parse(line: bytes, path: str | Path, number: int) -> Example:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(f"not JSON: {error}", path, number) from error
    known = {"query_id", "document_ids", "scores"}
    if not isinstance(value, dict) or not {"query_id", "document_ids"} <= value.keys() <= known:
        raise InputError(
            "expected an object with query_id, document_ids and perhaps scores, nothing else", path, number
        )
    query_id, document_ids, scores = value["query_id"], value["document_ids"], value.get("scores")
    if not isinstance(query_id, str) or not _all(document_ids, str):
        raise InputError("query_id must be a text and document_ids a list of texts", path, number)
    if scores is not None and not _all(scores, (int, float)):
        raise InputError("scores must be a list of numbers", path, number)
    try:
        return Example(query_id, tuple(document_ids), None if scores is None else tuple(map(float, scores)))
    except InputError as error:
        raise InputError(error.why, path, number) from error


def _all(values: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, kind) and value is not True and value is not False for value in values
    )
