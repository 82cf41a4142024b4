"""What a path holds that is to be reported, and the JSON files in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from everglade.errors import InputError

__all__ = ["Kind", "find_kind", "read_json", "read_lines"]

Kind = Literal["demo", "recipe", "training", "study", "system"]


def find_kind(path: str | Path) -> Kind:
    """Say what a path holds, by the files in it; whatever is no folder of a run is a system to measure.

    Raises:
        InputError: if it is the folder of a recipe that is not finished.
    """
    folder = Path(path)
    if (folder / "study.json").is_file():
        return "study"
    if (folder / "recipe.toml").is_file():
        if not (folder / "report.json").is_file():
            raise InputError("the recipe is not finished: report.json is missing. Finish it with everglade run", folder)
        return "recipe"
    if (folder / "recipe" / "recipe.toml").is_file() and (folder / "report.json").is_file():
        return "demo"
    if (folder / "log.jsonl").is_file():
        return "training"
    return "system"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        InputError: if there is no such file, or something else in it.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read as JSON ({error}). Make it again", path) from error
    if not isinstance(found, dict):
        raise InputError(f"holds a JSON {type(found).__name__}, not an object. Make it again", path)
    return found


def read_lines(path: Path) -> list[Mapping[str, Any]]:
    """Read a log of one JSON object a line; a last line that was cut off by a kill is left out.

    Raises:
        InputError: if another line is not one.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise InputError(f"cannot be read ({error})", path) from error
    records: list[Mapping[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            if number == len(lines) and not line.endswith(b"\n"):
                break
            raise InputError(f"no JSON ({error}). Mend the line or remove it", path, number) from error
        if not isinstance(record, dict):
            raise InputError("no JSON object. Mend the line or remove it", path, number)
        records.append(record)
    return records
