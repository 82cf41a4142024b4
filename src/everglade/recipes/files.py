"""Files and folders of a recipe: what they hold, as a hash, and how a folder goes away."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from everglade import durable

__all__ = ["hash_file", "hash_model", "remove_folder", "sweep"]


def hash_file(path: Path) -> str:
    """Give the sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_model(folder: Path) -> str:
    """Give a sha256 over the names and contents of a folder's files, hidden ones aside."""
    total = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if file.is_file() and not any(part.startswith(".") for part in name.parts):
            total.update(f"{name.as_posix()}\n{hash_file(file)}\n".encode())
    return total.hexdigest()


def remove_folder(folder: Path) -> None:
    """Remove a folder, so that whoever is killed leaves it whole or not there: it goes under another name first."""
    doomed = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    durable.sync_folder(folder.parent)
    shutil.rmtree(doomed)


def sweep(*places: Path) -> None:
    """Remove what a killed `remove_folder` has left in these folders."""
    for place in places:
        for doomed in place.glob(".*.removed"):
            shutil.rmtree(doomed)
