"""The log of a run: a line of JSON for each log step and each validation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from everglade import durable
from everglade.errors import CheckpointError

__all__ = ["RunLog"]


class RunLog:
    """The log file, cut back to its size at the checkpoint; only the main process writes."""

    def __init__(self, path: Path, size_bytes: int, is_writer: bool) -> None:
        self._path = path if is_writer else None
        if not is_writer:
            return
        found = path.stat().st_size if path.exists() else 0
        if found < size_bytes:
            raise CheckpointError(
                f"{path} has {found} bytes, but had {size_bytes} when the checkpoint was taken. Put it back, or train "
                f"into a new folder."
            )
        with path.open("ab") as file:
            file.truncate(size_bytes)

    def write(self, record: dict[str, Any]) -> None:
        """Append one line."""
        if self._path is not None:
            with self._path.open("ab") as file:
                file.write(json.dumps(record, allow_nan=False).encode() + b"\n")

    def sync(self) -> int:
        """Make what was written durable and give the size in bytes."""
        if self._path is None:
            return 0
        durable.sync_file(self._path)
        return self._path.stat().st_size
