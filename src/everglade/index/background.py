"""Merges on their way: a thread writes the new segment while the index is searched and written.

When a merge takes effect follows from the commits alone, never from how fast the thread was: with a commit that they
have made room for, which waits for the thread if it must, or when the writer is closed. So the same history leaves the
same bytes.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from everglade.errors import CorruptIndex
from everglade.index.commits import CatalogWriter
from everglade.index.merging import choose_merge, merge_segments
from everglade.index.segments import OpenSegment, segment_name
from everglade.index.snapshot import Snapshot
from everglade.index.values import Merge, Meta

__all__ = ["Merges"]

DOCUMENTS_FOR_A_COMMIT = 32_768
"""A merge takes effect with the second commit after it began, and one later for each so many documents.

A commit of more documents than half of that counts as several, or whoever adds large batches would outrun the merges.
"""


def count_turns(documents: int) -> int:
    """Say as how many commits one of so many documents counts."""
    return max(1, 2 * documents // DOCUMENTS_FOR_A_COMMIT)


class Merges:
    """The merges of one writer, one at a time. The writer holds its lock whenever it calls this."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pending: _PendingMerge | None = None
        self._may_merge = True

    @property
    def under_way(self) -> tuple[str, ...]:
        """Names of the file that is being written, and of those that are read for it."""
        return () if self._pending is None else (self._pending.name, *self._pending.sources)

    def reserve(self, meta: Meta) -> Meta:
        """Give what the next commit builds on: the number of a merge on its way is taken."""
        if self._pending is None:
            return meta
        return replace(meta, next_segment=max(meta.next_segment, self._pending.number + 1))

    def begin(self, writer: CatalogWriter, snapshot: Snapshot, documents: int) -> None:
        """After a commit of so many documents, begin a merge if none is on its way and the segments ask for one."""
        if self._pending is not None:
            self._pending.turns -= count_turns(documents)
        elif self._may_merge:
            numbers = choose_merge([segment.row for segment in snapshot.segments])
            try:
                if numbers:
                    self.start(writer, snapshot, numbers)
            except RuntimeError as error:  # no thread to be had; the commit before this stands all the same
                self._skip(error)

    def start(self, writer: CatalogWriter, snapshot: Snapshot, numbers: Sequence[int], threads: int = 1) -> None:
        """Begin to merge the segments with these numbers."""
        chosen = [segment for segment in snapshot.segments if segment.row.number in numbers]
        self._pending = _PendingMerge(writer, self._folder, snapshot.meta, chosen, threads)

    def settle(self, writer: CatalogWriter, meta: Meta, *, now: bool = False) -> bool:
        """Let the merge on its way take effect if it is due; tell whether it did.

        If there was no room for it, or a segment is damaged, the segments stay as they are, which a warning says.
        """
        if self._pending is None or not (now or self._pending.turns <= 0):
            return False
        try:
            return self.finish(writer, meta)
        except (OSError, MemoryError, CorruptIndex) as error:
            if self._pending is None:
                raise  # the file is there, and the commit failed
            self._skip(error)
            return False

    def _skip(self, error: Exception) -> None:
        self._pending, self._may_merge = None, False
        warnings.warn(
            f"a merge came to nothing: {str(error).rstrip('.')}. The segments stay as they are.", stacklevel=6
        )

    def finish(self, writer: CatalogWriter, meta: Meta) -> bool:
        """Wait for the merge on its way and commit it; tell whether there was one."""
        if self._pending is None:
            return False
        merge = self._pending.wait()
        self._pending = None
        writer.commit_merge(meta, merge)
        return True

    def give_up(self) -> None:
        """Wait for the merge on its way, and leave nothing of it."""
        if self._pending is not None:
            self._pending.give_up()
        self._pending = None

    def forget(self) -> None:
        """In a fork, leave the merge on its way to the parent, whose thread writes it."""
        self._pending = None


class _PendingMerge:
    """One merge, begun when it is made.

    Its thread holds on to the writer, and so to the write lock: nobody else may use the number while it writes, even if
    the store is forgotten without being closed.
    """

    def __init__(
        self, writer: CatalogWriter, folder: Path, meta: Meta, segments: Sequence[OpenSegment], threads: int
    ) -> None:
        self.number = number = meta.next_segment
        self.name = segment_name(number)
        self.sources = [segment.row.name for segment in segments]
        self.turns = 1 + sum(segment.row.live for segment in segments) // DOCUMENTS_FOR_A_COMMIT
        self._path = folder / self.name
        self._merge: Merge | None = None
        self._error: BaseException | None = None

        def write(writer: CatalogWriter) -> None:
            try:
                self._merge = merge_segments(folder, meta, number, segments, threads)
            except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
                self._error = error

        self._thread = threading.Thread(target=write, args=(writer,), name=f"everglade merge {number}")
        self._thread.start()

    def wait(self) -> Merge:
        """Give the merge once its file is there; what the thread raised is raised here."""
        self._thread.join()
        if self._merge is None:
            raise self._error or AssertionError("a merge ended without a result")
        return self._merge

    def give_up(self) -> None:
        """Leave no file behind."""
        self._thread.join()
        with suppress(OSError):
            self._path.unlink()
