"""Models that a frontier trains itself: one recipe, once for each combination of the settings that are swept."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everglade import durable
from everglade.errors import ConfigError
from everglade.frontier.models import FrontierModel
from everglade.frontier.sweep import Announce, ShowProgress, Source, say_nothing
from everglade.recipes.recipe import Recipe, load_recipe
from everglade.recipes.runner import run_recipe

if TYPE_CHECKING:
    from everglade.recipes.report import RecipeReport

__all__ = ["cut_recipe", "name_settings", "train_models"]


def train_models(
    recipe: str | Path,
    swept: Mapping[str, Sequence[Any]],
    source: Source,
    work: Path,
    *,
    fixed: Mapping[str, Any] | None = None,
    train_on: str | None = None,
    train_split: str | None = None,
    announce: Announce | None = None,
    show_progress: ShowProgress | None = None,
) -> list[FrontierModel]:
    """Train a model for each combination of settings, and give them.

    All are trained in one folder of the recipe runner, so that stages which a setting does not touch are made once.
    Each model is then copied to WORK/models, with what made it beside; a model that is there already is taken as it is.

    Args:
        recipe: The name of a recipe, or the path of its file; its stages after the last training are left out.
        swept: Setting -> values. A setting is one of the recipe, "STAGE.key", or a key of its last training stage.
        source: What the frontier is measured on.
        work: The folder `work` of the frontier.
        fixed: Settings that all have in common.
        train_on: The collection to train on; that of `source` if None.
        train_split: Its training queries.
        announce: Called with one line before each stage.
        show_progress: As `run_recipe` takes it.

    Raises:
        ConfigError: if recipe or settings cannot be used, or one has no value.
    """
    chosen = cut_recipe(load_recipe(recipe))
    names = name_settings(chosen, [*swept, *(fixed or {})])
    if empty := [key for key, values in swept.items() if not values]:
        raise ConfigError(f"--sweep {empty[0]} has no value. Example: --sweep {empty[0]}=3,6,9.")
    models = []
    for values in product(*swept.values()):
        varied = dict(zip(swept, values, strict=True))
        overrides = {names[key]: value for key, value in {**(fixed or {}), **varied}.items()}
        label = " ".join([chosen.name, *(f"{key}={value}" for key, value in varied.items())])
        origin = {
            "recipe": chosen.name,
            "text_sha256": hashlib.sha256(chosen.text.encode()).hexdigest(),
            "overrides": overrides,
            "collection": train_on or source.collection,
            "split": train_split,
        }
        folder = work / "models" / re.sub(r"[^A-Za-z0-9._-]+", "-", label)
        if not _is_there(folder, origin):
            (announce or say_nothing)(f"training {label}")
            report = run_recipe(
                chosen,
                train_on or source.collection,
                work / "recipe",
                overrides=overrides,
                split=train_split,
                eval_collection=source.collection if train_on else None,
                eval_split=source.split,
                announce=announce,
                show_progress=show_progress,
            )
            _keep(report, chosen, folder, origin)
        source_name = folder.relative_to(work.parent).as_posix()
        models.append(FrontierModel(label, source_name, origin, folder))
    return models


def cut_recipe(recipe: Recipe) -> Recipe:
    """Leave out what comes after the last training stage: the frontier encodes and measures by itself.

    Raises:
        ConfigError: if nothing is trained.
    """
    trained = [place for place, stage in enumerate(recipe.stages) if stage["kind"] == "train"]
    if not trained:
        raise ConfigError(f"the recipe {recipe.name} trains no model: there is nothing to sweep.")
    return replace(recipe, stages=recipe.stages[: trained[-1] + 1])


def name_settings(recipe: Recipe, keys: Sequence[str]) -> dict[str, str]:
    """Give the full name of each setting: what is none of the recipe belongs to its last training stage."""
    last = recipe.stages[-1]["name"]
    return {key: key if "." in key or key in recipe.settings else f"{last}.{key}" for key in keys}


def _origin_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.origin.json")


def _is_there(folder: Path, origin: Mapping[str, Any]) -> bool:
    file = _origin_file(folder)
    return folder.is_dir() and file.exists() and json.loads(file.read_text(encoding="utf-8")) == origin


def _keep(report: RecipeReport, recipe: Recipe, folder: Path, origin: Mapping[str, Any]) -> None:
    """Copy the trained model; the note of its origin comes last, so that half a copy is never taken for a whole one."""
    folder.parent.mkdir(exist_ok=True)
    _origin_file(folder).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    with durable.private_folder(folder) as partial:
        shutil.copytree(report.outputs[recipe.stages[-1]["name"]], partial, dirs_exist_ok=True)
        durable.publish_folder(partial, folder)
    durable.write_json(_origin_file(folder), dict(origin))
