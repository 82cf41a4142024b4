"""The newest committed state that this process has open, swapped in whole for searches to see."""

from __future__ import annotations

import threading
from pathlib import Path

from everglade.errors import CorruptIndex, IndexFolderError
from everglade.index.catalog import Catalog
from everglade.index.filters import Filter
from everglade.index.snapshot import Shown, Snapshot, open_snapshot
from everglade.texts import Document

__all__ = ["Latest"]


class Latest:
    """The newest committed state of an index folder, as of the last `read`. It may be used from many threads.

    Raises:
        CorruptIndex: if a file is missing, damaged, or not the one the catalog means.
        FormatTooNew: if a newer Everglade wrote it.
    """

    def __init__(self, folder: Path, *, verify: bool) -> None:
        self.folder = folder
        self._verify = verify
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._file: tuple[int, int] | None = None
        self._catalog = Catalog(folder)
        try:
            self._read()
        except BaseException:
            self._catalog.close()
            raise

    @property
    def snapshot(self) -> Snapshot:
        """The state that searches see now."""
        snapshot = self._snapshot
        if snapshot is None:
            raise IndexFolderError(f"{self.folder} has been closed. Open it again.")
        return snapshot

    def read(self) -> None:
        """See what has been committed since.

        Raises:
            IndexFolderError: if another index has taken the place of this one.
        """
        with self._lock:
            self.snapshot  # noqa: B018 - raises if closed
            self._read()

    def read_anew(self) -> None:
        """See what has been committed since, by a fresh connection: a repair may have replaced the catalog."""
        with self._lock:
            self.snapshot  # noqa: B018 - raises if closed
            self._catalog.reconnect()
            self._read()

    def view(self, asked: Filter) -> tuple[Snapshot, Shown]:
        """Give one committed state, and the documents in it that a filter lets through."""
        with self._lock:
            if self.snapshot.unanswered(asked):
                # The catalog knows only the newest state, so it is this that is searched.
                self._read(asked)
            return self.snapshot, self.snapshot.shown(asked)

    def document(self, id: str) -> Document | None:
        """Give the stored document, as last committed by anybody, or None."""
        self.snapshot  # noqa: B018 - raises if closed
        return self._catalog.document(id)

    def close(self) -> None:
        """Let go of the folder."""
        with self._lock:
            self._snapshot = None
            self._catalog.close()

    def _read(self, asked: Filter | None = None) -> None:
        """Swap in the newest snapshot, with the answers to a filter. Searches under way keep the one they began with.

        The answers are of the very state that is swapped in.
        """
        before = self._snapshot
        while True:
            known = {segment.row.number: segment.row.deleted for segment in before.segments} if before else {}
            answered = before.answers.get(asked, {}) if before and asked else {}
            state = self._catalog.read(known, asked, answered)
            if before is not None and state.file != self._file:
                before = None  # another catalog: nothing of what is open counts any more
                continue
            try:
                if before is None or before.meta.version != state.meta.version:
                    before = open_snapshot(self.folder, state, before, verify=self._verify)
                    self._snapshot, self._file = before, state.file
            except CorruptIndex:
                # A writer may have dropped a segment between our reading its name and opening its file.
                if self._catalog.version() == state.meta.version:
                    raise
                continue
            if asked is not None:
                before.note(asked, state.matching)
            return
