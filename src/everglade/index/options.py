"""What may be chosen when an index is made, and holds for every segment it will ever have."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

from everglade.errors import ConfigError
from everglade.reference import MAX_IMPACT, MAX_WIDE_IMPACT

__all__ = ["IndexOptions", "PruneRule", "parse_prune"]

_PRUNE_HELP = (
    "Give document:N (the N heaviest terms of each document), threshold:W (weights of at least W), or term:S "
    "(the heaviest share S, above 0 and below 1, of each posting list)."
)


class PruneRule(NamedTuple):
    """Which entries of the vectors become postings: `kind` is "document", "threshold" or "term"."""

    kind: str
    value: float


def parse_prune(rule: str) -> PruneRule:
    """Read a rule such as "document:64", "threshold:0.3" or "term:0.7".

    The three kinds are the document-centric, agnostic and term-centric pruning of arXiv 2304.12702.

    Raises:
        ConfigError: if it is none of these, or its number is out of range.
    """
    found = re.fullmatch(r"(document|threshold|term):([0-9.]+(?:e-?[0-9]+)?)", rule) if isinstance(rule, str) else None
    try:
        value = float(found[2]) if found else math.nan
    except ValueError:
        value = math.nan
    if found is None or not math.isfinite(value) or value <= 0:
        raise ConfigError(f"prune is {rule!r}. {_PRUNE_HELP}")
    kind = found[1]
    if (kind == "document" and not value.is_integer()) or (kind == "term" and value >= 1):
        raise ConfigError(f"prune is {rule!r}. {_PRUNE_HELP}")
    return PruneRule(kind, value)


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """What every segment of an index has in common.

    Attributes:
        impact_bits: 8, or 16 for impacts as fine as float16 weights at one byte more for each posting and row entry.
        rows: Whether vectors are kept by document too: half of the bytes. Approximate search, explaining and merging
            are much slower without, pruning and weights impossible.
        keep_weights: Whether the float16 weight of each entry is kept beside its impact, for `float_exact` searches.
        prune: Which entries become postings, see `parse_prune`; None means all. Searches then have two steps: over the
            postings, then the best candidates by their whole vectors.
        reorder: "auto" puts documents that share terms close together when segments of 65,536 documents or more are
            made by a merge, which are faster to search then; "never" leaves them in the order of their ids, which makes
            merging faster. What is found is the same.

    Raises:
        ConfigError: if a value is out of range, or two of them exclude each other.
    """

    impact_bits: int = 8
    rows: bool = True
    keep_weights: bool = False
    prune: str | None = None
    reorder: str = "auto"

    def __post_init__(self) -> None:
        if type(self.impact_bits) is not int or self.impact_bits not in (8, 16):
            raise ConfigError(f"impact_bits is {self.impact_bits!r}: it must be 8 or 16.")
        for name in ("rows", "keep_weights"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}: it must be True or False.")
        if self.prune is not None:
            parse_prune(self.prune)
        if self.reorder not in ("auto", "never"):
            raise ConfigError(f"reorder is {self.reorder!r}: it must be 'auto' or 'never'.")
        if not self.rows and (self.keep_weights or self.prune is not None):
            name = "keep_weights" if self.keep_weights else "prune"
            raise ConfigError(f"{name} needs the vectors by document. Leave out either {name} or rows=False.")

    @property
    def is_wide(self) -> bool:
        """Whether impacts have 16 bits."""
        return self.impact_bits == 16

    @property
    def max_impact(self) -> int:
        """The impact of the heaviest weights."""
        return MAX_WIDE_IMPACT if self.is_wide else MAX_IMPACT
