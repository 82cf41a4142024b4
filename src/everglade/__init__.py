"""Everglade: train, encode, index, search, evaluate and hand over learned sparse retrieval models.

Importing this package only names things: each public name is loaded when it is first used, so that searching never
pays for training.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everglade.errors import EvergladeError
    from everglade.evaluation.measures import evaluate
    from everglade.model.splade import Splade
    from everglade.search import Hit, Index
    from everglade.texts import Document, Qrel, Query
    from everglade.vectors import SparseMatrix

__version__ = "0.1.0"

_HOME_OF = {
    "Document": "everglade.texts",
    "EvergladeError": "everglade.errors",
    "Hit": "everglade.search",
    "Index": "everglade.search",
    "Qrel": "everglade.texts",
    "Query": "everglade.texts",
    "SparseMatrix": "everglade.vectors",
    "Splade": "everglade.model.splade",
    "evaluate": "everglade.evaluation.measures",
}

__all__ = [
    "Document",
    "EvergladeError",
    "Hit",
    "Index",
    "Qrel",
    "Query",
    "SparseMatrix",
    "Splade",
    "evaluate",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute may be any public object
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'everglade' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
