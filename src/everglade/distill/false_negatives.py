"""Negatives that a teacher finds as relevant as the positive: probably relevant documents that nobody judged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

from everglade.distill.values import Example
from everglade.errors import ConfigError, InputError

__all__ = ["FalseNegatives", "Rule", "TrueNegatives", "drop_false_negatives", "keep_true_negatives", "read_rule"]


@dataclass(frozen=True, slots=True)
class Rule:
    """How high a teacher may score a negative before it counts as a likely false one; `read_rule` reads one.

    Of a positive with the score s a negative may have at most

    * margin: s - value;
    * share: value times s, or where s is below 0 (2 - value) times s, so that it is as far below s there too;
    * most: value, whatever the positive has.

    Raises:
        ConfigError: if the value is not finite, or as a share not between 0 and 1.
    """

    kind: Literal["margin", "share", "most"]
    value: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ConfigError(f"the margin of false negatives must be a finite number, not {self.value}.")
        if self.kind == "share" and not 0 < self.value <= 1:
            raise ConfigError(f"a share of the positive's score must be above 0% and at most 100%, not {self}.")

    def most_allowed(self, positive: float) -> float:
        """Give the highest score that a negative may have beside a positive with this score."""
        if self.kind == "margin":
            return positive - self.value
        if self.kind == "most":
            return self.value
        return positive * (self.value if positive >= 0 else 2 - self.value)

    def __str__(self) -> str:
        # Every digit, so that what is read again is the same rule.
        if self.kind == "share":
            return f"{Decimal(repr(self.value)).scaleb(2):f}%"
        return f"most {self.value!r}" if self.kind == "most" else repr(self.value)


def read_rule(value: Rule | float | str) -> Rule:
    """Read a rule: 1.0 or "1.0" is a margin, "95%" a share of the positive's score, "most 3.5" a highest score.

    Raises:
        ConfigError: if it is none of these.
    """
    if isinstance(value, Rule):
        return value
    text = str(value).strip()
    try:
        if text.endswith("%"):
            return Rule("share", float(f"{text[:-1]}e-2"))
        return Rule("most", float(text[4:])) if text.startswith("most") else Rule("margin", float(text))
    except ValueError:
        raise ConfigError(
            f"the margin {value!r} cannot be read. Write 1.0 for a distance from the positive's score, 95% for a share "
            f"of it, or 'most 3.5' for the highest score of a negative."
        ) from None


class FalseNegatives(NamedTuple):
    """What was found in examples."""

    examples: int
    """Examples that were looked at."""
    negatives: int
    """Their negatives."""
    removed: int
    """Negatives that were removed."""
    emptied: int
    """Examples that were left out because all of their negatives were removed."""


def keep_true_negatives(example: Example, rule: Rule) -> Example:
    """Give an example without its likely false negatives; the others keep their order and their scores.

    Raises:
        InputError: if the example has no scores.
    """
    if example.scores is None:
        raise InputError(
            f"the example of query {example.query_id!r} has no teacher scores, so false negatives cannot be told. "
            f"Score it first"
        )
    most = rule.most_allowed(example.scores[0])
    pairs = list(zip(example.document_ids, example.scores, strict=True))
    kept = [pairs[0], *(pair for pair in pairs[1:] if pair[1] <= most)]
    if len(kept) == len(pairs):
        return example
    return Example(example.query_id, tuple(pair[0] for pair in kept), tuple(pair[1] for pair in kept))


class TrueNegatives:
    """Scored examples without their likely false negatives; those that lose all their negatives are passed over.

    They are given one by one; `counts` is right when all were given. A rule and examples are refused as
    `drop_false_negatives` says.
    """

    def __init__(self, examples: Iterable[Example], rule: Rule | float | str) -> None:
        self._examples = examples
        self._rule = read_rule(rule)
        self.counts = FalseNegatives(0, 0, 0, 0)

    def __iter__(self) -> Iterator[Example]:
        seen = negatives = removed = emptied = 0
        for example in self._examples:
            true = keep_true_negatives(example, self._rule)
            seen += 1
            negatives += len(example.document_ids) - 1
            removed += len(example.document_ids) - len(true.document_ids)
            if len(true.document_ids) == 1 < len(example.document_ids):
                emptied += 1
            else:
                yield true
        self.counts = FalseNegatives(seen, negatives, removed, emptied)


def drop_false_negatives(examples: Iterable[Example], rule: Rule | float | str) -> tuple[list[Example], FalseNegatives]:
    """Take the likely false negatives out of scored examples, and leave out the examples that lose all of them.

    Raises:
        ConfigError: if the rule cannot be read.
        InputError: if an example has no scores.
    """
    true = TrueNegatives(examples, rule)
    return list(true), true.counts
