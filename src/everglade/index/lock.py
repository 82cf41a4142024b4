"""The write lock of an index folder: one writer at a time, in one process.

It is `flock` on `write.lock`, so the kernel releases it with its holder. A fork does not hold it: its copy is closed at
once, or the lock would outlive the writer in whatever the writer started.
"""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from pathlib import Path
from typing import Self

from everglade.errors import IndexFolderError, LockHeld

__all__ = ["LOCK_NAME", "WriteLock"]

LOCK_NAME = "write.lock"


class WriteLock:
    """The write lock, from when it is made until `release()`, or until the process ends.

    Attributes:
        busy: Held while a transaction writes. A fork waits for it: a copy of SQLite's connection in the middle of one
            would undo it as it goes.

    Raises:
        LockHeld: at once, if somebody holds it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = os.getpid()
        self.busy = threading.Lock()
        self.descriptor = _lock(folder)
        self._released = weakref.finalize(self, _release, self.process, self.descriptor)
        _held.add(self)

    @property
    def is_ours(self) -> bool:
        """Whether this is the process that took the lock, rather than a fork of it."""
        return os.getpid() == self.process

    def require_ours(self) -> None:
        """Refuse to write in a fork.

        Raises:
            IndexFolderError: if this is another process than the one that took the lock.
        """
        if not self.is_ours:
            raise IndexFolderError(
                f"{self.folder} was opened for writing by process {self.process}, of which this one is a fork. "
                f"Open the index again here, once that process has closed it."
            )

    def release(self) -> None:
        """Let another writer in. In a fork this does nothing."""
        if self.is_ours:
            with self.busy:
                self._released()

    def leave_to_the_parent(self) -> None:
        """Close the copy that a fork has."""
        if self._released.detach() is not None:
            os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _lock(folder: Path) -> int:
    path = folder / LOCK_NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).strip()
        os.close(descriptor)
        raise LockHeld(folder, int(holder) if holder.isdigit() else None) from None
    except OSError as error:
        os.close(descriptor)
        raise OSError(error.errno, error.strerror, str(path)) from error
    return descriptor


def _release(process: int, descriptor: int) -> None:
    if os.getpid() == process:
        os.close(descriptor)


_held: weakref.WeakSet[WriteLock] = weakref.WeakSet()
_paused: list[WriteLock] = []


def _before_fork() -> None:
    for lock in list(_held):
        lock.busy.acquire()
        _paused.append(lock)


def _after_fork() -> None:
    while _paused:
        _paused.pop().busy.release()


def _in_child() -> None:
    for lock in _paused:
        lock.leave_to_the_parent()
    _after_fork()
    _held.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
