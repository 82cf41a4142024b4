"""How far a long encoding has come."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Meter", "Progress", "ProgressCallback"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an encoding has come.

    Attributes:
        done: Rows that are finished, those of an interrupted run before this one included.
        total: Rows there are in all, or None when that is not known.
        rows_per_second: Speed since this run began.
        eta_s: Seconds that the rest will take at this speed, or None when that is not known.
    """

    done: int
    total: int | None
    rows_per_second: float
    eta_s: float | None


ProgressCallback = Callable[[Progress], None]


class Meter:
    """Counts finished rows and tells `callback`."""

    def __init__(self, total: int | None, callback: ProgressCallback | None) -> None:
        self._total = total
        self._callback = callback
        self._start = time.perf_counter()
        self._encoded = 0
        self._skipped = 0
        self._tell()

    def skip(self, rows: int) -> None:
        """Count rows that an earlier run had finished; they do not enter the speed."""
        self._skipped += rows
        self._tell()

    def advance(self, rows: int) -> None:
        """Count rows that this run has finished."""
        self._encoded += rows
        self._tell()

    def _tell(self) -> None:
        if self._callback is None:
            return
        done = self._skipped + self._encoded
        speed = self._encoded / max(time.perf_counter() - self._start, 1e-9)
        eta_s = (self._total - done) / speed if self._total is not None and speed > 0 else None
        self._callback(Progress(done, self._total, speed, eta_s))
