"""Where bad lines go when reading does not stop at them."""

from __future__ import annotations

from pathlib import Path

import orjson

from everglade.errors import InputError

__all__ = ["Rejects"]

_KEYS = {"path", "line", "why", "raw"}


class Rejects:
    r"""Counts the lines that could not be used, and writes each to a file.

    Pass one to a reader and it leaves bad lines out; pass none and it stops at the first. One `Rejects` may serve many
    readers. A line is counted once, however often its file is read.

    Args:
        path: JSONL file that gets `{"path", "line", "why", "raw"}` for each line, `raw` being its text with bytes that
            are not UTF-8 written as `\xff`, and only the beginning of a line that was too long. It is made at the
            first bad line; a rejects file of an earlier run is removed. None: only count.

    Raises:
        InputError: if `path` is a file with something else in it, which would be lost.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.count = 0
        self._last_lines: dict[Path, int] = {}
        if self.path is not None and self.path.exists():
            _require_rejects(self.path)
            self.path.unlink()

    def add(self, path: Path, line: int, why: str, raw: bytes | bytearray) -> None:
        """Count line number `line` of `path`, unless an earlier reading of that file did."""
        if line <= self._last_lines.get(path, 0):
            return
        self._last_lines[path] = line
        self.count += 1
        if self.path is not None:
            text = raw.decode("utf-8", errors="backslashreplace")
            with self.path.open("ab") as file:
                file.write(orjson.dumps({"path": str(path), "line": line, "why": why, "raw": text}) + b"\n")

    def __repr__(self) -> str:
        return f"Rejects({self.path}, count={self.count})"


def _require_rejects(path: Path) -> None:
    with path.open("rb") as file:
        first = file.readline()
    try:
        ours = not first or set(orjson.loads(first)) == _KEYS
    except (orjson.JSONDecodeError, TypeError):
        ours = False
    if not ours:
        raise InputError("this file is there already and does not hold rejects. Name another file for them", path)
