"""What a training set is made of: one example, and what examples and texts that stay in files can answer."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from everglade.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from everglade.distill.arrow_file import Strings

__all__ = ["Example", "StoredExamples", "StoredTexts"]


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
        if not all(map(math.isfinite, self.scores)):
            raise InputError(f"the example of query {self.query_id!r} has a score that is not a finite number")

    @property
    def positive(self) -> str:
        """The id of the relevant document."""
        return self.document_ids[0]


class StoredExamples(Sequence[Example]):
    """Examples that stay in a file. What is asked of all of them is answered without making each of them."""

    @abstractmethod
    def first_unknown(self, queries: Mapping[str, str], documents: Mapping[str, str]) -> int | None:
        """Give the place of the first example that names an id without text, or that is no valid example.

        A document that an example names twice need not be found here.
        """

    @abstractmethod
    def first_without_negative(self) -> int | None:
        """Give the place of the first example that has only a positive."""

    @abstractmethod
    def first_without_scores(self) -> int | None:
        """Give the place of the first example that has no teacher scores."""

    @abstractmethod
    def positives(self) -> Mapping[str, frozenset[str]]:
        """Give, for each query id, every document that some example names as its positive."""

    @abstractmethod
    def keep(self, query_ids: Container[str]) -> StoredExamples:
        """Give the examples of these queries, in their order."""

    @abstractmethod
    def used_ids(self) -> tuple[set[str], set[str]]:
        """Give the query ids and the document ids that stand in the examples."""

    @abstractmethod
    def digest(self) -> str:
        """Give a sha256 that changes when the examples do."""


class StoredTexts(Mapping[str, str]):
    """Texts by id that stay in a file."""

    @abstractmethod
    def holds(self, ids: Strings) -> NDArray[np.bool_]:
        """Say of each id whether it has a text."""

    @abstractmethod
    def digest(self) -> str:
        """Give a sha256 that changes when a text does."""
