"""The columns of sentence-transformers' training sets, taken by name: texts, and a label for them.

sentence-transformers goes by position: the first column is the query whatever it is called, and one that holds ids is
trained on as text. Here a name must say what a column is, and what has no such name is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from everglade.distill.formats.rows import (
    MARGINS,
    Notes,
    Options,
    Row,
    as_list,
    as_number,
    as_text,
    each_row,
    margins_as_scores,
    text_row,
)
from everglade.errors import InputError

__all__ = ["QUERY_NAMES", "read_columns"]

QUERY_NAMES = ("anchor", "query")
_LABEL_NAMES = ("label", "labels", "score", "scores")
_NEGATIVE = re.compile(r"negative_([1-9][0-9]{0,5})")
_IDS = re.compile(r"_?ids?|idx|.*_(id|ids|idx)")

_SCORES = "labels are a teacher's scores, the positive's first"


class _Plan(NamedTuple):
    """Which column is what."""

    names: frozenset[str]
    query: str
    negatives: tuple[str, ...]
    label: str | None


def read_columns(path: Path, options: Options, notes: Notes) -> Iterator[Row]:
    """Read rows of (anchor or query, positive, negative or negative_1 to negative_n, and perhaps a label).

    With n negatives the label is n margins or n + 1 scores; with one negative a single number is its margin. Margins m
    become the scores (0, -m), for which MarginMSE and KL are the same as for any scores with these margins.

    Raises:
        InputError: naming file and row, if a column's name does not say what it is, rows have other columns or labels
            than the first, or a value is of another type.
    """
    plan: _Plan | None = None

    def parse(row: dict[str, Any]) -> Row | None:
        nonlocal plan
        plan = plan or _plan_columns(row, notes)
        if row.keys() != plan.names:
            raise InputError(f"the columns are {sorted(row)}, in the first row {sorted(plan.names)}. Give all the same")
        names = ("positive", *plan.negatives)
        query = as_text(row[plan.query], repr(plan.query))
        texts = [as_text(row[name], repr(name)) for name in names]
        scores = None if plan.label is None else _read_label(row[plan.label], plan, notes)
        return text_row(query, texts, scores, options, notes)

    return (row for row in each_row(path, parse) if row is not None)


def _plan_columns(names: Iterable[str], notes: Notes) -> _Plan:
    names = list(names)
    queries = [name for name in names if name in QUERY_NAMES]
    labels = [name for name in names if name in _LABEL_NAMES]
    numbered = sorted((name for name in names if _NEGATIVE.fullmatch(name)), key=lambda name: int(name[9:]))
    negatives = numbered or [name for name in names if name == "negative"]
    if len(queries) != 1 or "positive" not in names:
        raise InputError(f"one column must be 'anchor' or 'query', and one 'positive'. Found {sorted(names)}")
    if len(labels) > 1:
        raise InputError(f"several columns may be the label: {labels}. Leave one of them")
    if numbered != [f"negative_{place}" for place in range(1, len(numbered) + 1)] or (numbered and "negative" in names):
        raise InputError(f"negatives must be one column 'negative', or 'negative_1' to 'negative_n': found {negatives}")
    if labels and not negatives:
        raise InputError(f"there is a label, {labels[0]!r}, but no negative that a teacher could be compared on")
    others = sorted(set(names) - {*queries, "positive", *labels, *negatives})
    if unclear := [name for name in others if not _IDS.fullmatch(name)]:
        raise InputError(f"it is not clear what {unclear} are. Remove these columns, or rename them")
    if others:
        notes.assume(f"columns of ids are passed over, ids are made of the texts: {', '.join(others)}")
    return _Plan(frozenset(names), queries[0], tuple(negatives), labels[0] if labels else None)


def _read_label(label: object, plan: _Plan, notes: Notes) -> list[float]:
    n, name = len(plan.negatives), repr(plan.label)
    values = [label] if n == 1 and isinstance(label, (int, float)) else as_list(label, name)
    numbers = [as_number(value, name) for value in values]
    if len(numbers) not in (n, n + 1):
        raise InputError(f"{name} has {len(numbers)} numbers for {n} negatives. Expected {n} margins or {n + 1} scores")
    kind, other = (MARGINS, _SCORES) if len(numbers) == n else (_SCORES, MARGINS)
    if other in notes.assumed:
        raise InputError(f"{name} has {len(numbers)} numbers for {n} negatives, other rows have not. Give all the same")
    notes.assume(kind)
    return numbers if kind is _SCORES else margins_as_scores(numbers)
