"""Where the figures of a page come from."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from everglade import __version__
from everglade.pages.page import Page

__all__ = ["add_provenance", "describe_versions", "hash_files"]

HEADING = "Where this comes from"
PACKAGES = ("numpy", "scipy", "ir-measures", "torch", "transformers")


def add_provenance(
    page: Page, fields: Mapping[str, str | int | float | None], command: str, more: Mapping[str, Any] | None = None
) -> None:
    """Add the last part of a page.

    Args:
        page: Where to.
        fields: What the figures depend on, in the order to show.
        command: What to type for the same page.
        more: Name -> settings, manifests and the like, each behind a line of its own.
    """
    page.add_heading(HEADING)
    page.add_fields(fields)
    page.add_paragraph("The command that wrote this page:")
    page.add_code(command)
    for name, value in (more or {}).items():
        with page.details(name):
            text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
            page.add_code(text.rstrip())


def describe_versions() -> str:
    """Give Everglade, Python, machine and the packages that measuring depends on, with their versions."""
    found = [f"Everglade {__version__}", f"Python {platform.python_version()}", f"{sys.platform} {platform.machine()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def hash_files(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Give the sha256 of files of a folder, as far as they are there."""
    found = {}
    for name in names:
        file = folder / name
        if file.is_file():
            with file.open("rb") as opened:
                found[f"sha256 of {name}"] = hashlib.file_digest(opened, "sha256").hexdigest()
    return found
