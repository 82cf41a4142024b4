"""Reads what a study compares from a TOML file.

Such a file::

    summary = "one line"
    prepare = "prepare.toml"    # a recipe beside this file: what all trainings share
    suite = "suite.toml"        # the test sets, see everglade.evaluation.suite
    in_domain = ["squad"]       # which of them are of the kind that is trained on
    baseline = "splade"         # the scenario that others are tested against
    seeds = [1, 2, 3]

    [train]                     # settings of every training
    steps = 120

    [[level]]                   # a level of sparsity: settings that replace those of [train]
    name = "middle"
    target_flops = 4

    [[scenario]]
    name = "distil-mse"
    label = "DistilMSE"
    start = "bundled"           # a model, or what a stage of `prepare` left, "@cocondenser", or its setting, "$start"
    examples = "@score-bm25"
    loss = "margin_mse"         # any other setting of a training
    levels = ["middle"]         # all levels, if none are named

    [[reference]]               # what is measured without training: a model, or bm25
    name = "bm25"
    label = "BM25"
    model = "bm25"              # or "$start"

    [[gain]]                    # a difference that the study is about, level by level
    name = "distillation"
    of = "distil-mse"
    over = "splade"             # or a reference
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from everglade.errors import ConfigError, suggest_name
from everglade.evaluation.suite import Suite, read_suite
from everglade.recipes.recipe import load_recipe
from everglade.study.design import ALL, ZERO_SHOT, Gain, Level, Reference, Scenario, Study

__all__ = ["read_study"]

_TABLES = ("level", "scenario", "reference", "gain")
_KEYS = ("summary", "prepare", "suite", "in_domain", "baseline", "seeds", "train", *_TABLES)
_NOT_OURS = {
    "seed": "the study's `seeds` are what is trained with",
    "kind": "every stage of a study's cells is a training",
    "give": "what is measured is the model after the last step",
}
"""Settings of a stage that a study decides itself."""

Row = TypeVar("Row", Reference, Gain)


def read_study(path: str | Path) -> Study:
    """Read a study.

    Raises:
        ConfigError: if the file cannot be read, or is not of the form described above; says where and what is wrong.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a study: {error}.") from error
    for key in table:
        if key not in _KEYS:
            raise ConfigError(f"{path}: unknown key {key!r}. {suggest_name(key, _KEYS, 'keys')}")
    for key in ("suite", "baseline", "seeds", "level", "scenario"):
        if not table.get(key):
            raise ConfigError(f"{path} lacks {key}. See the guide for the form of a study.")
    rows = {key: _tables(table, key, path) for key in _TABLES}
    levels = tuple(_level(row, path) for row in rows["level"])
    study = Study(
        name=path.stem,
        summary=_text(table, "summary", str(path)) if "summary" in table else "",
        prepare=load_recipe(path.parent / _text(table, "prepare", str(path))) if table.get("prepare") else None,
        suite=_suite(path, _text(table, "suite", str(path))),
        in_domain=_texts(table, "in_domain", str(path)),
        baseline=_text(table, "baseline", str(path)),
        seeds=_seeds(table["seeds"], path),
        train=_settings(table.get("train", {}), f"{path}, [train]"),
        levels=levels,
        scenarios=tuple(_scenario(row, levels, path) for row in rows["scenario"]),
        references=tuple(_row(Reference, row, path) for row in rows["reference"]),
        gains=tuple(_row(Gain, row, path) for row in rows["gain"]),
    )
    _check_names(study, path)
    _check_mentions(study, path)
    return study


def _suite(path: Path, name: str) -> Suite:
    """Read a suite beside the study's file, or one that comes with Everglade."""
    return read_suite(str(path.parent / name) if (path.parent / name).exists() else name)


def _tables(table: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    rows = table.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{path}: {key} must be tables. Write [[{key}]], with two brackets, above each.")
    return rows


def _level(row: Mapping[str, Any], path: Path) -> Level:
    name = _text(row, "name", f"{path}, level")
    settings = {key: value for key, value in row.items() if key != "name"}
    return Level(name, _settings(settings, f"{path}, level {name}"))


def _scenario(row: Mapping[str, Any], levels: Sequence[Level], path: Path) -> Scenario:
    name = _text(row, "name", f"{path}, scenario")
    place = f"{path}, scenario {name}"
    known = [level.name for level in levels]
    named = _texts(row, "levels", place) if "levels" in row else tuple(known)
    if not named:
        raise ConfigError(f"{place}: levels is empty, so it would not be trained. Leave it out for all levels.")
    for level in named:
        if level not in known:
            raise ConfigError(f"{place}: no level {level!r}. {suggest_name(level, known, 'levels')}")
    settings = {key: value for key, value in row.items() if key not in ("name", "label", "levels")}
    label = _text(row, "label", place) if "label" in row else name
    return Scenario(name, label, _settings(settings, place), named)


def _row(kind: type[Row], row: Mapping[str, Any], path: Path) -> Row:
    names = [one.name for one in dataclasses.fields(kind)]
    place = f"{path}, {kind.__name__.lower()}"
    for key in row:
        if key not in names:
            raise ConfigError(f"{place}: unknown key {key!r}. {suggest_name(key, names, 'keys')}")
    return kind(**{name: _text(row, name, place) for name in names})


def _text(row: Mapping[str, Any], key: str, place: str) -> str:
    if not isinstance(row.get(key), str) or not row[key]:
        raise ConfigError(f"{place}: {key} must be a text, not {row.get(key)!r}.")
    return str(row[key])


def _texts(row: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    found = row.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ConfigError(f'{place}: {key} must be a list of names such as ["one"], not {found!r}.')
    return tuple(found)


def _seeds(found: object, path: Path) -> tuple[int, ...]:
    if not isinstance(found, list) or not all(type(seed) is int for seed in found):
        raise ConfigError(f"{path}: seeds must be whole numbers such as [1, 2, 3], not {found!r}.")
    if len(set(found)) < len(found):
        raise ConfigError(f"{path}: a seed stands twice in {found!r}. The same training twice says nothing new.")
    return tuple(found)


def _settings(found: object, place: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ConfigError(f"{place} must be a table of settings, not {found!r}.")
    for key, why in _NOT_OURS.items():
        if key in found:
            raise ConfigError(f"{place}: {key} cannot be set here: {why}.")
    return found


def _check_names(study: Study, path: Path) -> None:
    """Refuse names and labels that stand for two things, or cannot be those of folders."""
    systems: list[Scenario | Reference] = [*study.scenarios, *study.references]
    for kind, listed in (
        ("level", [level.name for level in study.levels]),
        ("scenario", [one.name for one in systems]),
    ):
        for name in listed:
            if listed.count(name) > 1:
                raise ConfigError(f"{path}: two {kind}s are called {name!r}. Rename one.")
            if "." in name or Path(name).name != name:
                raise ConfigError(
                    f"{path}: the {kind} {name!r} cannot be called so: its folder is. No dots or slashes."
                )
    labels = [one.label for one in systems]
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(f"{path}: two scenarios have the label {label!r}: no table could tell them apart.")
    for one in study.suite.sets:
        if one.name in (ZERO_SHOT, ALL):
            raise ConfigError(f"{path}: a set of its suite is called {one.name!r}, as a mean is. Rename it.")


def _check_mentions(study: Study, path: Path) -> None:
    """Refuse names of what there is not."""
    names = [scenario.name for scenario in study.scenarios]
    for name in (study.baseline, *(gain.of for gain in study.gains)):
        if name not in names:
            raise ConfigError(f"{path}: no scenario {name!r}. {suggest_name(name, names, 'scenarios')}")
    names += [reference.name for reference in study.references]
    for gain in study.gains:
        if gain.over not in names:
            raise ConfigError(f"{path}: no scenario {gain.over!r}. {suggest_name(gain.over, names, 'scenarios')}")
    for gain in study.gains:
        if gain.of == gain.over:
            raise ConfigError(f"{path}, gain {gain.name}: {gain.of!r} over itself gains nothing.")
    for reference in study.references:
        named = reference.model.removeprefix("$")
        if named != reference.model and named not in study.settings:
            hint = suggest_name(named, list(study.settings))
            raise ConfigError(f"{path}, reference {reference.name}: the preparation has no setting {named!r}. {hint}")
    sets = [one.name for one in study.suite.sets]
    for name in study.in_domain:
        if name not in sets:
            raise ConfigError(f"{path}: no set {name!r} in its suite. {suggest_name(name, sets, 'sets')}")
