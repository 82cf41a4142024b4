"""One small file for each engine, and the table of those that are measured.

An engine is a class with

    version           what it says it is
    build(rows, folder)    write an index of the documents, whole; what the index is made of lies in `folder` then
    load(folder)           open that index
    settings(k)            the `Setting`s to search with; `parameters` are given to `search`
    prepare(terms, weights)     a query in the form that the engine's own Python face takes
    search(query, k, **parameters)  search; only this is timed
    documents(found)       the document numbers in what `search` gave

and, where it can, `batch(queries, k, threads)`. No engine knows another, and only everglade.py imports Everglade.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

EXACT = "exact"
ROUNDED = "exact over rounded weights"
APPROXIMATE = "approximate"


class Setting(NamedTuple):
    name: str
    kind: str
    parameters: dict[str, Any]


ENGINES: dict[str, tuple[str, dict[str, Any]]] = {
    "everglade": ("everglade", {}),
    "everglade-optimised": ("everglade", {"optimised": True}),
    "everglade-postings": ("everglade", {"rows": False}),
    "sindi-f32": ("sindi", {}),
    "sindi-sq8": ("sindi", {"rounded": True}),
    "sindi-f32-reorder": ("sindi", {"reorder": True}),
    "sindi-sq8-reorder": ("sindi", {"rounded": True, "reorder": True}),
    "seismic": ("seismic", {}),
    "splade-index": ("splade_index", {}),
    "qdrant-edge": ("qdrant", {}),
    "pisa": ("pisa", {}),
    "bmp-16": ("bmp", {"block": 16, "ordered": False}),
    "bmp-8-ordered": ("bmp", {"block": 8, "ordered": True}),
    "kannolo": ("kannolo", {}),
}
"""The name of a row: the file that holds the engine, and how it is made there."""


def make(name):
    module, options = ENGINES[name]
    return import_module(f"peers.{module}").Engine(**options)


def chosen(names):
    """Give the rows that a list of row names and file names means, in the order of the table."""
    known = set(ENGINES) | {module for module, _ in ENGINES.values()}
    for name in names:
        if name not in known:
            raise SystemExit(f"there is no engine {name!r}; there are {', '.join(sorted(known))}")
    return [name for name, (module, _) in ENGINES.items() if not names or name in names or module in names]
