"""What a study stands on, by content: the collection it trains on and the sets it measures on.

OUT/ground.json     collection, split: what is trained on
                    trained on: a sha256 of it, or the name of one that is not on this machine
                    sets: name -> a sha256 of the folder of each set
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from everglade import durable
from everglade.errors import CheckpointError, InputError
from everglade.recipes.files import hash_file, hash_model

if TYPE_CHECKING:
    from everglade.evaluation.suite import Suite
    from everglade.texts import Collection

__all__ = ["Ground", "describe_ground", "is_same_ground", "name_place", "read_ground", "write_ground"]


class Ground(NamedTuple):
    """The collection and split that a study trains on, and the folder of its test sets."""

    collection: str | Path | Collection
    split: str | None
    sets: Path


def describe_ground(ground: Ground, suite: Suite) -> dict[str, Any]:
    """Give the ground by its content, as ground.json holds it.

    Raises:
        InputError: if a set of the suite has no folder; names all that are missing.
    """
    if not ground.sets.is_dir():
        raise InputError("no such folder of sets", ground.sets)
    places = dict.fromkeys(one.place for one in suite.sets)
    missing = [place for place in places if not (ground.sets / place).is_dir()]
    if missing:
        raise InputError(
            f"lacks sets of {suite.name}: {', '.join(missing)}. A study measures every training on all of them: "
            f"bring them, or take them out of the suite",
            ground.sets,
        )
    digests = {place: f"sha256:{hash_model(ground.sets / place)}" for place in places}
    return {
        "collection": _name(ground.collection),
        "split": ground.split,
        "trained on": _content(ground.collection),
        "sets": {one.name: digests[one.place] for one in suite.sets},
    }


def _name(collection: str | Path | Collection) -> str:
    return name_place(str(collection)) if isinstance(collection, str | Path) else collection.name


def name_place(value: str) -> str:
    """Give the name of a file or folder without those above it, which are one machine's; other texts as they are."""
    return Path(value).name if value and Path(value).exists() else value


def _content(collection: str | Path | Collection) -> str:
    if not isinstance(collection, str | Path):
        return f"name:{collection.name}"
    path = Path(collection)
    if path.is_dir():
        return f"sha256:{hash_model(path)}"
    return f"sha256:{hash_file(path)}" if path.is_file() else f"name:{collection}"


def write_ground(described: dict[str, Any], out: Path) -> None:
    """Write ground.json in the folder of a study, unless it says so already."""
    out.mkdir(parents=True, exist_ok=True)
    if read_ground(out) != described:
        durable.write_json(out / "ground.json", described)


def is_same_ground(one: dict[str, Any] | None, other: dict[str, Any] | None) -> bool:
    """Whether two studies stand on the same texts, whatever their collection is called."""
    if one is None or other is None:
        return False
    return all(one.get(key) == other.get(key) for key in ("split", "trained on", "sets"))


def read_ground(out: Path) -> dict[str, Any] | None:
    """Give what the study in a folder stood on last; None if it has not been run."""
    try:
        found: dict[str, Any] = json.loads((out / "ground.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{out / 'ground.json'} cannot be read ({error}). Remove it; it is written again."
        ) from error
    return found
