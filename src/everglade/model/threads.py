"""How many threads torch works with, for a while: nothing here loads torch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["limited_threads"]


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Let torch work with so many threads, 0 meaning as many as it does; nothing where no model has loaded it."""
    torch = sys.modules.get("torch")
    if torch is None or not threads:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
