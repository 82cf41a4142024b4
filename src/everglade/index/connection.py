"""Connections to a catalog: what every one of them needs, transactions that are whole, and errors made clear."""

from __future__ import annotations

import errno
import os
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from everglade.errors import CorruptIndex, FormatTooNew, IndexFolderError, LockHeld
from everglade.index.values import ADVICE

__all__ = [
    "FILE_NAME",
    "JOURNAL_NAME",
    "FormatTooOld",
    "clear_errors",
    "close_with",
    "connect",
    "identify",
    "transaction",
]

FILE_NAME = "catalog.sqlite"
JOURNAL_NAME = f"{FILE_NAME}-journal"
APPLICATION_ID = 0x45564744  # "EVGD"
VERSION = 2
WAIT_FOR_SQLITE_S = 60.0

_left_to_the_parent: list[sqlite3.Connection] = []


class FormatTooOld(IndexFolderError):
    """A catalog written by an Everglade from before the first release."""


def connect(path: Path, pragma: str) -> sqlite3.Connection:
    """Open the catalog at `path`, and run one more pragma than every connection needs.

    Raises:
        CorruptIndex: if it is missing, no catalog, or SQLite finds it damaged.
        FormatTooNew: if a newer Everglade wrote it.
        FormatTooOld: if it is from before the first release.
    """
    if not path.is_file():
        raise CorruptIndex(path, None, f"the catalog is missing. {ADVICE}")
    with clear_errors(path):
        # Readers ask for write access too, where they have it: after a crash, whoever comes first rolls back.
        connection = sqlite3.connect(
            path.resolve().as_uri() + "?mode=rw",
            uri=True,
            timeout=WAIT_FOR_SQLITE_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            for setting in ("trusted_schema = OFF", "cell_size_check = ON", "synchronous = FULL"):
                connection.execute(f"PRAGMA {setting}")
            connection.execute(pragma)
            _check_format(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _check_format(connection: sqlite3.Connection, path: Path) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != APPLICATION_ID:
        raise CorruptIndex(path, None, "this is not the catalog of an Everglade index.")
    if version > VERSION:
        raise FormatTooNew(
            f"{path} has format {version}; this Everglade reads formats up to {VERSION}. Install a newer Everglade."
        )
    if version < VERSION:
        raise FormatTooOld(f"{path} has format {version}, which no release wrote. Build the index again.")


def identify(path: Path) -> tuple[int, int]:
    """Say which file stands at `path`, by device and inode: a repair puts another one there.

    Raises:
        CorruptIndex: if there is none.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise CorruptIndex(path, None, f"the catalog is missing. {ADVICE}") from None
    return found.st_dev, found.st_ino


def close_with(owner: object, connection: sqlite3.Connection) -> weakref.finalize[[int, sqlite3.Connection], object]:
    """Close a connection when its owner goes, or when what this gives is called.

    SQLite's connections are of one process: in a fork they are not closed, as that could undo what the parent writes.
    """
    return weakref.finalize(owner, _close, os.getpid(), connection)


def _close(process: int, connection: sqlite3.Connection) -> None:
    if os.getpid() == process:
        connection.close()
    else:
        _left_to_the_parent.append(connection)


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    """Run a block between `begin` and COMMIT; nothing of it stays if it fails."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors about the catalog at `path` into Everglade's; our own mistakes stay what they are."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.DatabaseError as error:
        raise _as_clear_error(error, path) from error
    except UnicodeDecodeError as error:
        # SQLite's message quotes the damaged bytes, and Python cannot read it.
        raise CorruptIndex(path, None, f"SQLite finds it damaged: {error}. {ADVICE}") from error


def _as_clear_error(error: sqlite3.DatabaseError, path: Path) -> Exception:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LockHeld(path, None)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return IndexFolderError(
            f"{path} cannot be opened as asked ({error}). Writing, and reading after an interrupted write, "
            f"need the right to write to the folder."
        )
    if code == sqlite3.SQLITE_FULL:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    if code == sqlite3.SQLITE_IOERR:
        return OSError(errno.EIO, f"{os.strerror(errno.EIO)} ({error})", str(path))
    return CorruptIndex(path, None, f"SQLite says: {error}. {ADVICE}")
