"""A row of a frontier: the settings that make a point, and everything that was measured of it."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from everglade import __version__
from everglade.errors import InputError
from everglade.frontier.settings import Choice, FrontierSettings

__all__ = ["COSTS", "Cost", "Row", "read_row", "row_key", "write_command"]

VERSION = 2


@dataclass(frozen=True, slots=True)
class Cost:
    """One way to count what a point costs.

    Attributes:
        name: What it is called.
        axis: The same with its unit, for an axis.
        about: What it is, in a sentence.
        log: Whether equal ratios are equally far apart in a figure.
    """

    name: str
    axis: str
    about: str
    log: bool = True


COSTS = {
    "flops": Cost(
        "FLOPS",
        "FLOPS",
        "The mean number of terms that a query and a document share, over the posting lists of the index. What an "
        "approximate search leaves out it does not show.",
    ),
    "search_ms": Cost(
        "search time",
        "search, median, ms",
        "The median time of a search alone, from vector to ids and scores, on one thread.",
    ),
    "whole_ms": Cost(
        "time with encoding",
        "encoding and search, median, ms",
        "The median time from a query's text to ids and scores, on one thread.",
    ),
    "bytes_per_document": Cost(
        "bytes for a document",
        "bytes of the index for a document",
        "The bytes of the segment files: posting lists, vectors by document, and ids.",
    ),
}
"""What effectiveness is drawn against; each is an attribute of a row."""


@dataclass(frozen=True)
class Row:
    """A point of a frontier.

    Attributes:
        number: Its place, from 1.
        model: The label of the model.
        choice: What else makes it.
        measures: Measure -> its mean over the judged queries, and the ends of its 95 % bootstrap interval.
        missing: Judged queries without a hit; they count as zero.
        flops: The mean number of terms that a query and a document share, over the posting lists.
        query_terms: Mean terms of a query.
        document_terms: Mean postings of a document.
        vector_terms: Mean terms of the vectors that are kept by document.
        postings_read: Mean postings in the lists that a query scans.
        bytes_per_document: Bytes of the segment files for a document.
        bytes_per_posting: The same for a posting.
        parts: Bytes of each part of the segment files.
        effort: What a search does, see `everglade.assess.efficiency.describe_effort`.
        latency_ms: Percentiles over the timed queries, of the whole, of "search" (without encoding) and of each part;
            of the search's median also the least and greatest of the repeats.
    """

    number: int
    model: str
    choice: Choice
    measures: dict[str, dict[str, float]]
    missing: int
    flops: float
    query_terms: float
    document_terms: float
    vector_terms: float
    postings_read: float
    bytes_per_document: float
    bytes_per_posting: float
    parts: dict[str, int]
    effort: dict[str, Any]
    latency_ms: dict[str, dict[str, float]]

    @property
    def search_ms(self) -> float:
        """The median time of a search without encoding."""
        return self.latency_ms["search"]["p50"]

    @property
    def whole_ms(self) -> float:
        """The median time from a query's text to ids and scores."""
        return self.latency_ms["whole"]["p50"]

    def to_dict(self) -> dict[str, Any]:
        """Give the row as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave; keys that are not a row's are passed over.

        Raises:
            InputError: if something is missing.
        """
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        try:
            return cls(**{**known, "choice": Choice(**values["choice"])})
        except (KeyError, TypeError) as error:
            raise InputError(f"this is no row of a frontier: {error}") from error


def row_key(digest: str, fingerprint: str, choice: Choice, settings: FrontierSettings) -> str:
    """Give the name under which a finished row is kept: other for anything that a row depends on, Everglade too."""
    measured = {
        name: getattr(settings, name) for name in ("k", "convention", "queries", "timed_queries", "repeats", "seed")
    }
    about = [VERSION, __version__, digest, fingerprint, choice.to_dict(), measured, settings.measured]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]


def read_row(file: Path, number: int, model: str) -> Row | None:
    """Give a row that is kept in a file, as point `number` of the model; None if there is no such file."""
    if not file.exists():
        return None
    return Row.from_dict({**json.loads(file.read_text(encoding="utf-8")), "number": number, "model": model})


def write_command(source: str, split: str | None, model: str, choice: Choice, settings: FrontierSettings) -> str:
    """Give the command that makes a frontier of this one point."""
    words: list[str] = ["everglade", "frontier", source, "--model", model, "--cross"]
    if split is not None:
        words += ["--split", split]
    for name, value in choice.changed.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    words += ["-k", str(settings.k), *_options(settings), "-o", "point"]
    return shlex.join(words)


def _options(settings: FrontierSettings) -> Sequence[str]:
    words: list[str] = []
    for name in ("convention", "queries", "timed_queries", "repeats", "seed"):
        value = getattr(settings, name)
        if value != FrontierSettings.__dataclass_fields__[name].default:
            words += [f"--{name.replace('_', '-')}", str(value)]
    for measure in settings.measures:
        words += ["-m", measure]
    return words
