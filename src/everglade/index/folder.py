"""The folder of an index: how it is made, and told from others."""

from __future__ import annotations

from pathlib import Path

from everglade import durable
from everglade.errors import IndexFolderError
from everglade.index.catalog import Catalog
from everglade.index.connection import FILE_NAME
from everglade.index.lock import LOCK_NAME, WriteLock
from everglade.index.values import Meta

__all__ = ["is_index", "make_folder", "require_free", "require_index"]


def is_index(path: str | Path) -> bool:
    """Tell whether there is an index folder at `path`."""
    return (Path(path) / FILE_NAME).is_file()


def require_index(folder: Path) -> None:
    """Refuse a folder that is no index.

    Raises:
        IndexFolderError: if there is nothing there, or something else.
    """
    if not folder.is_dir():
        hint = " Making it was interrupted: make it again." if _partial(folder).exists() else ""
        raise IndexFolderError(f"there is no index folder at {folder}.{hint or ' Index.create makes one.'}")
    if not is_index(folder) and not any(folder.glob("*.segment")):
        raise IndexFolderError(f"{folder} is not an index: it has no {FILE_NAME}. Index.create makes one.")


def _partial(final: Path) -> Path:
    return final.with_name(final.name + ".partial")


def require_free(final: Path) -> None:
    """Refuse a place where something stands.

    Raises:
        IndexFolderError: if there is a file, or a folder that holds something.
    """
    if final.exists() and (not final.is_dir() or any(final.iterdir())):
        advice = "Open it with Index.open" if is_index(final) else "Remove it"
        raise IndexFolderError(f"{final} exists already. {advice}, or choose another name.")


def make_folder(final: Path, meta: Meta) -> None:
    """Make the folder of an empty index, whole or not at all.

    Raises:
        IndexFolderError: if something stands there meanwhile.
        LockHeld: if another process is making it.
    """
    partial = _partial(final)
    partial.mkdir(parents=True, exist_ok=True)
    with WriteLock(partial):
        for stray in partial.iterdir():
            if stray.name != LOCK_NAME:
                stray.unlink()
        Catalog.create(partial, meta)
        try:
            durable.publish_folder(partial, final)
        except FileExistsError as error:
            raise IndexFolderError(str(error)) from error
