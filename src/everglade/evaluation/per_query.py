"""Every query's values, as a table that other tools read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from everglade import durable
from everglade.errors import InputError

if TYPE_CHECKING:
    from everglade.evaluation.measures import PerQuery

__all__ = ["write_per_query"]


def write_per_query(values: Mapping[str, PerQuery], path: Path, heading: str = "system") -> None:
    """Write the values of several systems or sets, whole or not at all: JSON if `path` ends in .json, TSV otherwise.

    The JSON object is {system: {query id: {measure: value}}}. The TSV has a heading, and one line for each system and
    query with the columns system, query and the measures; values have as many digits as tell them apart.

    Args:
        values: system or set -> query id -> measure -> value.
        path: the file.
        heading: what the first column is called.

    Raises:
        InputError: if the folder of `path` is not there.
    """
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} is not there. Make it first", path)
    if path.suffix == ".json":
        durable.write_json(path, values)
        return
    measures = list(next(iter(next(iter(values.values())).values())))
    lines = ["\t".join([heading, "query", *measures])]
    for name, rows in values.items():
        lines += [
            "\t".join([name, query, *(repr(row[measure]) for measure in measures)]) for query, row in rows.items()
        ]
    durable.write_bytes(path, ("\n".join(lines) + "\n").encode())
