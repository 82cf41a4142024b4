"""The folder of a stage, and what is written about it.

    OUT/
      recipe.toml             the recipe, as its file is
      texts/                  the texts of the training collection, mapped (everglade.distill.text_store)
      NN-NAME/                a stage; it is finished when manifest.json is there
        stage.json            its key, kind and settings, written before it begins
        manifest.json         its key, settings, inputs, versions, seed, counts, and the sha256 of every file
        times.json            how long it took; in no manifest, as it differs from run to run
      set-aside/NN-NAME.KEY/  a stage as it was with other settings or inputs
      report.json             the table

NN is the place that the stage has in the recipe's file. It is for people: a stage is found by its name and key, and
stays in the folder it was made in, as others hold paths into it.

A stage's key is a sha256 of its settings, of the keys of the stages it works on and the digests of what else it reads,
and of the version of these rules. Everglade, torch and the machine are written down, but are not part of it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from everglade import __version__, durable
from everglade.errors import CheckpointError, ConfigError
from everglade.recipes.files import hash_file, remove_folder

__all__ = [
    "FORMAT",
    "aside",
    "begin_timing",
    "clear",
    "find_folder",
    "finish_stage",
    "is_begun",
    "make_room",
    "read_about",
    "read_finished",
    "read_times",
    "require_recipe_folder",
    "stage_key",
    "tidy",
    "time_before",
    "versions",
]

FORMAT = 1
"""Version of what a stage writes and how its key is made; with another one every stage is made again."""

_NUMBERED = re.compile(r"[0-9]{2,}-[a-z][a-z0-9-]*")
_ABOUT = ("stage.json", "manifest.json", "times.json")
_UNFINISHED = (".tmp", ".partial")
_BEFORE_THE_FIRST = ("run.lock", "recipe.toml.tmp")
# Lines of the logs hold times; a lock names the process that held it.
_LEFT_OUT = ("log.jsonl", "times.jsonl", "write.lock")
_PACKAGES = ("torch", "transformers", "sentence-transformers", "tokenizers", "numpy", "bm25s", "ir-datasets")


def stage_key(kind: str, settings: Any, inputs: Any) -> str:  # noqa: ANN401 - any JSON values
    """Give the key of a stage."""
    whole = json.dumps([FORMAT, kind, settings, inputs], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(whole.encode()).hexdigest()


def versions() -> dict[str, str]:
    """Give the versions that a result may depend on."""
    found = {"everglade": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def is_begun(folder: Path, key: str) -> bool:
    """Whether a stage with that key has been begun in a folder."""
    return _key_of(folder) == key


def read_finished(folder: Path, key: str) -> dict[str, Any] | None:
    """Give the manifest of a finished stage with that key, or None.

    Raises:
        CheckpointError: if a file of it is no longer there, or has another size.
    """
    if _key_in(folder / "manifest.json") != key:
        return None
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for name, described in manifest["files"].items():
        file = folder / name
        found = file.stat().st_size if file.is_file() else None
        if found != described["bytes"]:
            what = "gone" if found is None else f"of {found:,} bytes and was of {described['bytes']:,}"
            raise CheckpointError(f"{file} is {what}. Put it back, or remove {folder} to make it again.")
    return manifest


def _key_of(folder: Path) -> str | None:
    return _key_in(folder / "stage.json") or _key_in(folder / "manifest.json")


def _key_in(file: Path) -> str | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}). Remove {file.parent} to make it again.") from error
    key = found.get("key") if isinstance(found, dict) else None
    return key if isinstance(key, str) else None


def finish_stage(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Hash what a stage has left, and write its manifest: from now on it is finished. Gives the manifest."""
    files = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        is_scratch = "checkpoints" in name.parts or name.name in _LEFT_OUT or name.as_posix() in _ABOUT
        is_scratch = is_scratch or any(part.endswith(_UNFINISHED) for part in name.parts)  # of a killed call
        if file.is_file() and not is_scratch:
            files[name.as_posix()] = {"sha256": hash_file(file), "bytes": file.stat().st_size}
    whole = {**manifest, "files": files}
    durable.write_json(folder / "manifest.json", whole)
    return whole


def tidy(folder: Path) -> None:
    """Remove what a finished stage kept only to go on from: nobody goes on with it, and it holds sizes of logs."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def read_times(folder: Path) -> dict[str, Any]:
    """Give what times.json says, or nothing where it cannot be read: nothing depends on it."""
    return _read_if_there(folder / "times.json")


def read_about(folder: Path) -> dict[str, Any]:
    """Give what stage.json says of a stage that has been begun, or nothing where it cannot be read."""
    return _read_if_there(folder / "stage.json")


def _read_if_there(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def begin_timing(folder: Path, seconds_before: float) -> None:
    """Write down when a call began, so that a later one can tell how long it went on if it is killed."""
    durable.write_json(folder / "times.json", {"began": time.time(), "seconds_before": seconds_before})


def time_before(folder: Path) -> float:
    """Give the seconds that interrupted calls spent on a stage, each to the last file it wrote."""
    times = read_times(folder)
    if "began" not in times:
        return float(times.get("seconds", 0.0))
    last = max((file.stat().st_mtime for file in folder.rglob("*")), default=times["began"])
    return float(times["seconds_before"] + max(0.0, last - times["began"]))


def find_folder(out: Path, number: int, name: str, key: str) -> Path:
    """Give the folder of a stage in OUT: where it was made with that key, else the one it is to be made in."""
    for place in sorted(out.glob(f"[0-9]*-{name}")):
        if _NUMBERED.fullmatch(place.name) and _is_named(place, name) and is_begun(place, key):
            return place
    for place in sorted(out.glob(f"set-aside/[0-9]*-{name}.{key[:12]}")):
        original = place.name.removesuffix(f".{key[:12]}")
        if _is_named(out / original, name):
            return out / original
    return out / f"{number:02d}-{name}"


def _is_named(folder: Path, name: str) -> bool:
    return folder.name.partition("-")[2] == name


def make_room(out: Path, wanted: dict[Path, str]) -> None:
    """Set aside the stages that are not those wanted, and bring back those that are and lie aside.

    Args:
        out: The folder of the recipe.
        wanted: The folders of its stages, with their keys.
    """
    for folder, key in _stage_folders(out):
        if wanted.get(folder) != key:
            _move_away(folder, key)
    for folder, key in wanted.items():
        if folder.exists() and not is_begun(folder, key):
            if _is_barely_begun(folder):
                remove_folder(folder)
            else:
                _move_away(folder, "unknown")
        kept = aside(folder, key)
        if kept.exists() and not folder.exists():
            kept.rename(folder)
            durable.sync_folder(out)


def _stage_folders(out: Path) -> Iterator[tuple[Path, str]]:
    """Give the folders that recipes have made in OUT, with their keys; a person's are not among them."""
    for folder in sorted(out.iterdir()):
        if _NUMBERED.fullmatch(folder.name) and folder.is_dir():
            key = _key_of(folder)
            if key is not None:
                yield folder, key


def _is_barely_begun(folder: Path) -> bool:
    """Whether a stage was killed in that folder before it wrote down which it is."""
    return folder.is_dir() and all(file.name == "stage.json.tmp" for file in folder.iterdir())


def _move_away(folder: Path, key: str) -> None:
    place = aside(folder, key)
    place.parent.mkdir(exist_ok=True)
    number = 1
    while key == "unknown" and place.exists():
        number += 1
        place = aside(folder, f"unknown-{number}")
    if place.exists():
        remove_folder(place)
    folder.rename(place)
    durable.sync_folder(place.parent)
    durable.sync_folder(folder.parent)


def clear(out: Path) -> None:
    """Remove what recipes have made in OUT, and nothing else."""
    for folder, _ in list(_stage_folders(out)):
        remove_folder(folder)
    for kept in sorted(out.glob("set-aside/*")):
        if kept.is_dir() and (kept / "stage.json").exists():
            remove_folder(kept)
    if (out / "texts").is_dir():
        remove_folder(out / "texts")
    if (out / "set-aside").is_dir() and not any((out / "set-aside").iterdir()):
        (out / "set-aside").rmdir()


def aside(folder: Path, key: str) -> Path:
    """Give the place where a stage with that key lies when it is set aside."""
    return folder.parent / "set-aside" / f"{folder.name}.{key[:12]}"


def require_recipe_folder(out: Path) -> None:
    """Make sure that a folder is empty, or holds what recipes have made.

    Raises:
        ConfigError: if it holds something else.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file. Name a folder with --out.")
    foreign = out.is_dir() and any(path.name not in _BEFORE_THE_FIRST for path in out.iterdir())
    if foreign and not (out / "recipe.toml").exists():
        raise ConfigError(f"{out} holds something that no recipe has made. Name another folder with --out.")
