"""Every error Everglade raises on purpose, as one small tree.

EvergladeError
├── InputError            a text, qrel, run or vector that cannot be used; names file and line
├── ConfigError           a setting that is unknown or out of range
├── MissingExtra          an optional package is needed; names the pip command (also an ImportError)
├── ModelError            a model folder that cannot be opened
│   └── ModelMismatch     an index or vectors folder made by another model than the one at hand
├── VectorsError          a vectors folder that is incomplete, corrupt or does not fit
├── CheckpointError       a training run that cannot be resumed
└── IndexFolderError      an index folder that cannot be used
    ├── CorruptIndex      bytes that are not what was written; names file and offset
    ├── FormatTooNew      written by a newer Everglade
    └── LockHeld          another process is writing

A message says what was found, where, and what to do. `assert` is for Everglade's own mistakes only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

__all__ = [
    "CheckpointError",
    "ConfigError",
    "CorruptIndex",
    "EvergladeError",
    "FormatTooNew",
    "IndexFolderError",
    "InputError",
    "LockHeld",
    "MissingExtra",
    "ModelError",
    "ModelMismatch",
    "VectorsError",
    "suggest_name",
]


class EvergladeError(Exception):
    """Any error raised on purpose by Everglade."""


class InputError(EvergladeError):
    """A text, qrel, run or vector that cannot be used.

    `path` and `line` (counted from 1) say where it was found; either may be None for values that never were in a file.
    """

    def __init__(self, why: str, path: str | Path | None = None, line: int | None = None) -> None:
        self.why = why
        self.path = None if path is None else Path(path)
        self.line = line
        place = "" if path is None else f"{path}: " if line is None else f"{path}, line {line}: "
        super().__init__(place + why)


class ConfigError(EvergladeError):
    """A setting that is unknown or out of range."""


class MissingExtra(EvergladeError, ImportError):
    """An optional package is needed for what was asked."""

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"this needs the package {package}. To install it: pip install 'everglade[{extra}]'")


class ModelError(EvergladeError):
    """A model folder that cannot be opened, or that holds another kind of model."""


class ModelMismatch(ModelError):
    """An index or vectors folder made by another model than the one at hand."""


class VectorsError(EvergladeError):
    """A vectors folder that is incomplete, corrupt or does not fit."""


class CheckpointError(EvergladeError):
    """A training run that cannot be resumed."""


class IndexFolderError(EvergladeError):
    """An index folder that cannot be used."""


class CorruptIndex(IndexFolderError):
    """Bytes of an index that are not what was written."""

    def __init__(self, path: str | Path, offset: int | None, why: str) -> None:
        self.path = Path(path)
        self.offset = offset
        self.why = why
        place = f"{path}" if offset is None else f"{path}, byte {offset}"
        super().__init__(f"{place}: {why}")


class FormatTooNew(IndexFolderError):
    """A file written by a newer Everglade than this one."""


class LockHeld(IndexFolderError):
    """Another process is writing to the same folder."""

    def __init__(self, path: str | Path, pid: int | None) -> None:
        self.path = Path(path)
        self.pid = pid
        holder = "another process" if pid is None else f"process {pid}"
        advice = "Wait for it to end, then try again."
        if pid == os.getpid():
            holder, advice = "this process already", "Close the other Index of the same folder, or write through it."
        super().__init__(f"{path} is being written by {holder}. {advice}")


def suggest_name(name: str, known: Sequence[str], what: str = "settings") -> str:
    """Give the advice that ends a message about an unknown setting: the nearest known one, or all of them."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]}?" if near else f"The {what} are {', '.join(known) or 'none'}."
