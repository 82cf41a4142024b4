"""Capped recall: recall that a query with more relevant documents than the cutoff can still fulfil."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

__all__ = ["CappedRecall"]

_NAME = re.compile(r"RCap(?:\(rel=([0-9]{1,9})\))?@([0-9]{1,9})")


class CappedRecall(NamedTuple):
    """BEIR's capped recall R_cap@k: relevant documents among the first k / min(k, relevant documents).

    Thakur et al., BEIR, NeurIPS Datasets and Benchmarks 2021. It is named `RCap@100`, or
    `RCap(rel=2)@100` where only judgements of 2 and more count as relevant.
    """

    cutoff: int
    rel: int = 1

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Read the measure's name; None if it is another measure's."""
        if not (found := _NAME.fullmatch(name)):
            return None
        rel, cutoff = found.groups()
        return cls(int(cutoff), int(rel or 1))

    def __str__(self) -> str:
        return f"RCap@{self.cutoff}" if self.rel == 1 else f"RCap(rel={self.rel})@{self.cutoff}"

    def measure(self, order: Sequence[str], judged: Mapping[str, int]) -> float:
        """Give the value for one query: 0 for one without relevant documents.

        Args:
            order: ids of what was found, the best first.
            judged: document id -> relevance.
        """
        relevant = {document for document, relevance in judged.items() if relevance >= self.rel}
        if not relevant:
            return 0.0
        return len(relevant.intersection(order[: self.cutoff])) / min(self.cutoff, len(relevant))
