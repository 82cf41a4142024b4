"""Examples: which documents a query is trained with, positive first, and what a teacher thinks of them.

On disk an example is one line of JSON, by name and never by position::

    {"query_id": "q1", "document_ids": ["d7", "d2", "d9"], "scores": [9.5, 1.25, -3.0]}

`scores` is left out where no teacher has scored the documents. For many examples there is the same as an Arrow table,
which is mapped and not read (example_table.py); texts may stay on disk too (text_store.py).
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

import orjson

from everglade import durable, texts
from everglade.distill.example_lines import as_line, parse_lines
from everglade.distill.values import Example, StoredExamples, StoredTexts
from everglade.errors import InputError, MissingExtra

if TYPE_CHECKING:
    from everglade.texts import Qrels, TextTriple

__all__ = [
    "Example",
    "TrainingSet",
    "examples_from_qrels",
    "hold_out_queries",
    "is_drawn",
    "is_table",
    "keep_queries",
    "read_examples",
    "read_triples",
    "require_pyarrow",
    "training_set_from_texts",
    "write_examples",
]


_ARROW_MAGIC = b"ARROW1"


@dataclass(frozen=True)
class TrainingSet:
    """Examples, and the texts their ids stand for. Both are looked up when a batch needs them.

    `queries` and `documents` are any mappings from id to text; a document's text is its title and body, as it will be
    encoded (`Document.full_text`). Examples and texts that stay in files (`read_examples` of an Arrow file,
    `everglade.distill.text_store`) are checked batch by batch, so that memory does not grow with their number.

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
        stored = self.examples
        first = stored.first_unknown(self.queries, self.documents) if isinstance(stored, StoredExamples) else None
        for line, example in self._suspects(first):
            if example.query_id not in self.queries:
                raise InputError(f"example {line}: the query {example.query_id!r} is not among the queries")
            for document_id in example.document_ids:
                if document_id not in self.documents:
                    raise InputError(f"example {line}: the document {document_id!r} is not in the collection")
        if first is not None:
            raise InputError(f"example {first + 1} is damaged, or the stored texts are. Make the files again")

    def _suspects(self, first: int | None) -> Iterator[tuple[int, Example]]:
        """Give what may break a rule, counted from 1: all, or of stored examples the one that is known to."""
        if not isinstance(self.examples, StoredExamples):
            yield from enumerate(self.examples, start=1)
        elif first is not None:
            yield first + 1, self.examples[first]

    @cached_property
    def positives(self) -> Mapping[str, frozenset[str]]:
        """For each query id, every document that some example names as its positive."""
        if isinstance(self.examples, StoredExamples):
            return self.examples.positives()
        found: dict[str, set[str]] = {}
        for example in self.examples:
            found.setdefault(example.query_id, set()).add(example.positive)
        return {query_id: frozenset(ids) for query_id, ids in found.items()}

    @cached_property
    def fingerprint(self) -> str:
        """A sha256 of the examples in their order and of every text they use: what a resumed run compares.

        Of what stays in files the files are hashed, so there texts that no example uses count too.
        """
        digest = hashlib.sha256()
        if isinstance(self.examples, StoredExamples):
            digest.update(self.examples.digest().encode())
        else:
            for example in self.examples:
                digest.update(as_line(example))
        used: tuple[set[str], set[str]] | None = None
        for side, known in enumerate((self.queries, self.documents)):
            if isinstance(known, StoredTexts):
                digest.update(known.digest().encode())
                continue
            used = used or self._used_ids()
            for value in sorted(used[side]):
                digest.update(orjson.dumps([value, known[value]]))
        return digest.hexdigest()

    def _used_ids(self) -> tuple[set[str], set[str]]:
        if isinstance(self.examples, StoredExamples):
            return self.examples.used_ids()
        queries = {example.query_id for example in self.examples}
        return queries, {document_id for example in self.examples for document_id in example.document_ids}

    def require_negatives(self) -> None:
        """Make sure that every example has a negative.

        Raises:
            InputError: naming the first example without one.
        """
        stored = self.examples
        for line, example in self._suspects(
            stored.first_without_negative() if isinstance(stored, StoredExamples) else None
        ):
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
        stored = self.examples
        for line, example in self._suspects(
            stored.first_without_scores() if isinstance(stored, StoredExamples) else None
        ):
            if example.scores is None:
                raise InputError(
                    f"example {line} (query {example.query_id!r}) has no teacher scores, and the loss needs them. "
                    f"Score the examples with a teacher, or train with loss = 'infonce'"
                )


def read_examples(path: str | Path) -> Sequence[Example]:
    """Read an examples file: a list of JSON lines, or a table of an Arrow file that stays on disk.

    Which it is, the first bytes say. An example of a table is made when it is asked for.

    Raises:
        InputError: naming file and line, if a line is not JSON or not an example, or the file is missing or damaged.
        MissingExtra: if it is an Arrow file and pyarrow is not installed.
    """
    path = Path(path)
    if not is_table(path):
        return list(parse_lines(path))
    require_pyarrow()
    from everglade.distill.example_table import ExampleTable

    return ExampleTable.open(path)


def is_table(path: Path) -> bool:
    """Say whether an examples file is an Arrow file and not JSON lines, by its first bytes.

    Raises:
        InputError: if there is no such file.
    """
    if not path.is_file():
        raise InputError("there is no such file of examples", path)
    with path.open("rb") as file:
        return file.read(len(_ARROW_MAGIC)) == _ARROW_MAGIC


def write_examples(examples: Iterable[Example], path: str | Path) -> int:
    """Write examples, whole or not at all, and give their number: a table if the name ends in .arrow, else JSON lines.

    JSON lines are packed with gzip if the name ends in .gz.

    Raises:
        InputError: if the folder is not there, the name says a packed table, or a table cannot hold an example: its
            scores are beyond single precision.
        MissingExtra: if it is to be a table and pyarrow is not installed.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} is not there. Make it first", path)
    if path.name.endswith(".arrow.gz"):
        raise InputError("an Arrow table is mapped, so it cannot be packed. Name it .arrow, or .jsonl.gz", path)
    if path.suffix == ".arrow":
        require_pyarrow()
        from everglade.distill.example_table import ExampleWriter

        with ExampleWriter(path) as writer:
            for example in examples:
                writer.add(example)
        return writer.count
    count = 0
    with durable.whole_file(path) as temporary, _open_for_writing(temporary, path.suffix == ".gz") as file:
        for example in examples:
            file.write(as_line(example) + b"\n")
            count += 1
    return count


def _open_for_writing(path: Path, packed: bool) -> IO[bytes] | gzip.GzipFile:
    # Without a time in its header the same examples give the same bytes.
    return gzip.GzipFile(path, "wb", mtime=0) if packed else path.open("wb")


def require_pyarrow() -> None:
    """Make sure that Arrow files can be read and written.

    Raises:
        MissingExtra: if not.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise MissingExtra("pyarrow", "train")


def keep_queries(examples: Sequence[Example], query_ids: Container[str]) -> Sequence[Example]:
    """Give the examples of these queries, in their order; those of a table stay on disk."""
    if isinstance(examples, StoredExamples):
        return examples.keep(query_ids)
    return [example for example in examples if example.query_id in query_ids]


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
    held = {query_id: judged for query_id, judged in qrels.items() if is_drawn(query_id, share, seed)}
    return {query_id: judged for query_id, judged in qrels.items() if query_id not in held}, held


def is_drawn(name: str, share: float, seed: int) -> bool:
    """Whether an id is among the `share` of all ids that a seed draws: a pure function of the three."""
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 < share
