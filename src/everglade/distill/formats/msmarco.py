"""MS MARCO as sentence-transformers gives it: mined negatives by system, and triplets by id with a teacher's margin."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from everglade.distill.formats.rows import (
    MARGINS,
    Notes,
    Options,
    Row,
    as_id,
    as_list,
    as_number,
    each_row,
    margins_as_scores,
    positive_rows,
)
from everglade.distill.values import Example
from everglade.errors import InputError

__all__ = ["read_hard_negatives", "read_id_triplets"]


def read_hard_negatives(path: Path, options: Options, notes: Notes) -> Iterator[Row]:
    """Read `msmarco-hard-negatives.jsonl.gz`: {"qid", "pos": [ids], "neg": {system: [ids, best first]}}.

    The negatives of the systems that are asked for (all, if none is) are taken in turns: the best of each, the second
    of each, and so on; each once, and none that is a positive. A Parquet table has every system in each row, and null
    where there is none.

    Raises:
        InputError: naming file and line, if a line has another shape; or if no line has a system that is asked for.
    """
    seen: set[str] = set()

    def parse(row: dict[str, Any]) -> list[Row]:
        if row.keys() != {"qid", "pos", "neg"} or not isinstance(row["neg"], dict):
            raise InputError(f"expected qid, pos and neg (an object), found {sorted(row)}")
        seen.update(system for system, ids in row["neg"].items() if ids is not None)
        chosen = options.systems or tuple(row["neg"])
        lists = [as_list(row["neg"].get(system) or [], f"neg[{system!r}]") for system in chosen]
        in_turns = chain.from_iterable(zip_longest(*lists))
        negatives = (as_id(one, "a negative") for one in in_turns if one is not None)
        positives = [as_id(one, "a positive") for one in as_list(row["pos"], "pos")]
        return list(positive_rows(as_id(row["qid"], "qid"), positives, negatives, options, notes))

    yield from chain.from_iterable(each_row(path, parse))
    if missing := [system for system in options.systems if system not in seen]:
        raise InputError(f"no line has negatives of {missing}. There are {sorted(seen)}", path)


def read_id_triplets(path: Path, options: Options, notes: Notes) -> Iterator[Row]:
    """Read rows of query_id, positive_id, negative_id and perhaps a score, which is the teacher's margin.

    These are the configurations `bert-ensemble-margin-mse` and `triplets` of sentence-transformers/msmarco.

    Raises:
        InputError: naming file and row, if a row has another shape.
    """
    required = {"query_id", "positive_id", "negative_id"}

    def parse(row: dict[str, Any]) -> Row:
        if not required <= row.keys() <= required | {"score"}:
            raise InputError(f"expected query_id, positive_id, negative_id and perhaps score, found {sorted(row)}")
        query_id, *ids = (as_id(row[name], name) for name in ("query_id", "positive_id", "negative_id"))
        scores = None
        if "score" in row:
            notes.assume(MARGINS)
            scores = tuple(margins_as_scores([as_number(row["score"], "score")]))
        return Row(Example(query_id, tuple(ids), scores))

    return each_row(path, parse)
