"""What a recipe works on: the collection it trains on, the queries held out, and the collection it is evaluated on.

Everything is read once, when it is first asked for. Each part has a digest, which tells stages whether it is the same
as when they ran.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everglade.bundled import bundled_collection
from everglade.distill.examples import hold_out_queries, is_drawn
from everglade.errors import ConfigError
from everglade.recipes.files import hash_file, remove_folder
from everglade.texts import Collection, FileCollection, group_qrels, open_collection
from everglade.texts.irds import IrdsCollection
from everglade.texts.lines import require_file

if TYPE_CHECKING:
    from everglade.distill.text_store import TextStore
    from everglade.texts import Document, Qrels, Query
    from everglade.train.validation import Validation

__all__ = ["Material", "open_material"]


class Material:
    """The texts and judgements of a recipe.

    Args:
        collection: What is trained on.
        split: Its training queries.
        evaluated: What is evaluated on.
        eval_split: The queries that are evaluated.
        hold_out: Share of the training queries that are held out to validate with.
        validate_in: Share of the documents searched in validation, beside the judged ones.
        seed: What decides which queries and documents those are.
    """

    def __init__(
        self,
        collection: Collection,
        split: str,
        evaluated: Collection,
        eval_split: str,
        *,
        hold_out: float,
        validate_in: float,
        seed: int,
    ) -> None:
        self.collection = collection
        self.split = split
        self.evaluated = evaluated
        self.eval_split = eval_split
        self.hold_out = hold_out
        self.validate_in = validate_in
        self.seed = seed

    @property
    def is_one(self) -> bool:
        """Whether training and evaluation are on one collection."""
        return self.evaluated is self.collection

    @cached_property
    def judged(self) -> Qrels:
        """The judgements of the evaluated queries."""
        return group_qrels(self.evaluated.qrels(self.eval_split))

    @cached_property
    def eval_queries(self) -> list[Query]:
        """The evaluated queries."""
        return self.evaluated.queries(self.eval_split)

    @cached_property
    def _split_qrels(self) -> tuple[Qrels, Qrels]:
        qrels = group_qrels(self.collection.qrels(self.split))
        # A query that is evaluated must not be trained on, whatever other split, folder or collection it is in.
        evaluated = {_as_asked(query.text) for query in self.eval_queries}
        leaked = {query.id for query in self.queries if _as_asked(query.text) in evaluated}
        if self.is_one:
            leaked |= self.judged.keys()
        qrels = {query_id: judged for query_id, judged in qrels.items() if query_id not in leaked}
        if not qrels:
            raise ConfigError(f"every query of the split {self.split!r} is evaluated too: nothing is left to train on.")
        return hold_out_queries(qrels, self.hold_out, seed=self.seed)

    @property
    def qrels(self) -> Qrels:
        """The judgements of the training queries, without those held out or evaluated."""
        return self._split_qrels[0]

    @property
    def held(self) -> Qrels:
        """The judgements of the training queries that are held out."""
        return self._split_qrels[1]

    @cached_property
    def queries(self) -> list[Query]:
        """The queries of the training split, those held out included."""
        return self.collection.queries(self.split)

    @cached_property
    def n_documents(self) -> int:
        """How many documents there are to train on."""
        return _count_documents(self.collection)

    @cached_property
    def n_eval_documents(self) -> int:
        """How many documents are searched in the evaluation."""
        return self.n_documents if self.is_one else _count_documents(self.evaluated)

    @property
    def n_pairs(self) -> int:
        """How many training queries and relevant documents belong together."""
        return sum(sum(value > 0 for value in judged.values()) for judged in self.qrels.values())

    @cached_property
    def validation(self) -> Validation | None:
        """The held-out queries and the documents they are searched in; None where none are held out."""
        from everglade.train.validation import Validation

        if not self.held:
            return None
        judged = {document_id for documents in self.held.values() for document_id in documents}
        documents = [
            document
            for document in self.collection.documents()
            if document.id in judged or self.validate_in >= 1 or is_drawn(document.id, self.validate_in, self.seed)
        ]
        return Validation(documents, [query for query in self.queries if query.id in self.held], self.held)

    def eval_documents(self) -> Iterable[Document]:
        """Give the documents that are searched in the evaluation."""
        return self.evaluated.documents()

    @property
    def described(self) -> dict[str, str]:
        """Which collections and splits these are, for a report."""
        return {
            "collection": self.collection.name,
            "split": self.split,
            "evaluated collection": self.evaluated.name,
            "evaluated split": self.eval_split,
        }

    @cached_property
    def digests(self) -> dict[str, str]:
        """A sha256 of each part, by the names that `Kind.needs` uses."""
        documents = _hash_documents(self.collection)
        training = [_hash_queries(self.queries), self.qrels]
        held = [training[0], self.held, self.validate_in if self.held else 1.0, self.seed if self.held else 0]
        return {
            "documents": documents,
            "training": _hash(training),
            "held": _hash(held),
            "evaluated documents": documents if self.is_one else _hash_documents(self.evaluated),
            "judged": _hash([_hash_queries(self.eval_queries), self.judged]),
        }

    def texts(self, folder: Path) -> tuple[TextStore, TextStore]:
        """Give the texts of queries and documents by id, mapped from files in `folder`, which are made if needed."""
        documents = ((document.id, document.full_text) for document in self.collection.documents())
        queries = ((query.id, query.text) for query in self.queries)
        return (
            _open_texts(folder / "queries", queries, self.digests["training"]),
            _open_texts(folder / "documents", documents, self.digests["documents"]),
        )


def open_material(
    collection: str | Path | Collection,
    *,
    split: str | None = None,
    evaluated: str | Path | Collection | None = None,
    eval_split: str | None = None,
    hold_out: float = 0.0,
    validate_in: float = 1.0,
    seed: int = 123,
) -> Material:
    """Open the collections of a recipe and choose their splits; see `Material`.

    Without `split` it is "train", or the only one. Without `eval_split` it is "test", "dev", or the only one that is
    not trained on.

    Raises:
        ConfigError: if a split must be named, training and evaluation would be on the same queries, or a share is out
            of range.
        InputError: if a collection cannot be opened.
    """
    for name, share in (("hold_out", hold_out), ("validate_in", validate_in)):
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ConfigError(f"{name} must lie between 0 and 1, not {share!r}.")
    if hold_out > 0.9:
        raise ConfigError(f"hold_out must be at most 0.9, not {hold_out}: something must be left to train on.")
    if type(seed) is not int:
        raise ConfigError(f"seed must be a whole number, not {seed!r}.")
    trained = _open(collection)
    tested = trained if evaluated is None or _place_of(evaluated) == _place_of(collection) else _open(evaluated)
    split = split or _choose(trained, ("train",), "--split")
    if eval_split is None:
        # With --split test the only one left may be the training queries: nobody means to measure on those.
        left = [name for name in tested.splits if tested is not trained or name not in (split, "train")]
        eval_split = _choose(tested, ("test", "dev"), "--eval-split", left)
    if tested is trained and eval_split == split:
        raise ConfigError(f"the split {split!r} is both trained on and evaluated. Name another with --eval-split.")
    return Material(trained, split, tested, eval_split, hold_out=hold_out, validate_in=float(validate_in), seed=seed)


def _place_of(collection: str | Path | Collection) -> object:
    """Give what two names of one folder have in common; a collection that is an object is itself."""
    if not isinstance(collection, str | Path):
        return collection
    path = bundled_collection() if collection == "bundled" else Path(collection)
    return path.resolve() if path.exists() else str(collection)


def _as_asked(text: str) -> str:
    """Give a query's text so that case and spaces make no other query of it."""
    return " ".join(text.split()).casefold()


def _open(collection: str | Path | Collection) -> Collection:
    if not isinstance(collection, str | Path):
        return collection
    return open_collection(bundled_collection() if collection == "bundled" else collection)


def _choose(collection: Collection, wanted: tuple[str, ...], option: str, among: list[str] | None = None) -> str:
    splits = list(collection.splits) if among is None else among
    for name in wanted:
        if name in splits:
            return name
    if len(splits) == 1:
        return splits[0]
    named = ", ".join(collection.splits) or "none"
    raise ConfigError(f"say which split of {collection.name} with {option}. It has: {named}.")


def _count_documents(collection: Collection) -> int:
    if isinstance(collection, IrdsCollection):
        # What ir_datasets knows of a collection does not have to be downloaded.
        known = collection.dataset.metadata().get("docs", {}).get("count")
        if known is not None:
            return int(known)
    return sum(1 for _ in collection.documents())


def _hash_documents(collection: Collection) -> str:
    """Hash the file of documents; of one that ir_datasets knows its name, as nobody else's content has it."""
    if isinstance(collection, FileCollection):
        return hash_file(require_file(collection.documents_file))
    if isinstance(collection, IrdsCollection):
        return _hash(["irds", collection.name])
    total = hashlib.sha256()
    for document in collection.documents():
        row = [document.id, document.title, document.text, document.metadata]
        total.update(json.dumps(row, sort_keys=True, default=str).encode())
    return total.hexdigest()


def _hash_queries(queries: list[Query]) -> str:
    return _hash([[query.id, query.text] for query in queries])


def _hash(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _open_texts(folder: Path, texts: Iterable[tuple[str, str]], digest: str) -> TextStore:
    """Open a store of texts, or make it again if it was made from others."""
    from everglade.distill.text_store import TextStore, write_texts

    manifest = folder / "manifest.json"
    if manifest.exists():
        if json.loads(manifest.read_text(encoding="utf-8")).get("source") == digest:
            return TextStore.open(folder)
        remove_folder(folder)
    return write_texts(texts, folder, digest)
