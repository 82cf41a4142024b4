"""What a study compares: scenarios, levels of sparsity and seeds, read from a TOML file.

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
    over = "splade"

A cell is one training: a scenario at a level with a seed. Cells run level by level and seed by seed, so that a study
that is broken off has every scenario.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from everglade.errors import ConfigError, suggest_name
from everglade.evaluation.suite import Suite, read_suite
from everglade.recipes.recipe import DEFAULTS, Recipe, load_recipe

__all__ = ["Cell", "Gain", "Level", "Reference", "Scenario", "Study", "read_study"]

_KEYS = (
    "summary",
    "prepare",
    "suite",
    "in_domain",
    "baseline",
    "seeds",
    "train",
    "level",
    "scenario",
    "reference",
    "gain",
)


@dataclass(frozen=True, slots=True)
class Level:
    """A level of sparsity: its name, and settings of a training."""

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way to train: settings of a training stage, and the levels it is run at."""

    name: str
    label: str
    settings: Mapping[str, Any]
    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """What is measured without training: a model, or "bm25"."""

    name: str
    label: str
    model: str


@dataclass(frozen=True, slots=True)
class Gain:
    """A difference between two scenarios that has a name."""

    name: str
    of: str
    over: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One training of a study."""

    scenario: Scenario
    level: Level
    seed: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.scenario.name}.{self.level.name}.{self.seed}"

    def recipe(self, study: Study, outputs: Mapping[str, Path]) -> Recipe:
        """Give the recipe of the training.

        Args:
            study: The study it is one of.
            outputs: What each stage of the preparation left.

        Raises:
            ConfigError: if a setting names a stage that there is not.
        """
        settings = {**study.train, **self.scenario.settings, **self.level.settings, "seed": self.seed}
        filled = {key: _fill_in(value, outputs, f"{self.name}, {key}") for key, value in settings.items()}
        stage = {"name": "train", "kind": "train", "give": "final", **filled}
        known = {**study.settings, **DEFAULTS, "seed": self.seed}
        return Recipe(self.name, self.scenario.label, "", known, (stage,), "")


@dataclass(frozen=True, slots=True)
class Study:
    """What is compared, on which sets.

    Attributes:
        name: What it is called.
        summary: One line.
        prepare: The recipe that makes what trainings share; None if they share nothing.
        suite: The test sets.
        in_domain: Which of them are of the kind that is trained on; the others are zero-shot.
        baseline: The scenario that others are tested against.
        seeds: The seeds of each scenario and level.
        train: Settings of every training.
        levels: Levels of sparsity.
        scenarios: Ways to train.
        references: What is measured without training.
        gains: Differences that have names.
    """

    name: str
    summary: str
    prepare: Recipe | None
    suite: Suite
    in_domain: tuple[str, ...]
    baseline: str
    seeds: tuple[int, ...]
    train: Mapping[str, Any]
    levels: tuple[Level, ...]
    scenarios: tuple[Scenario, ...]
    references: tuple[Reference, ...] = ()
    gains: tuple[Gain, ...] = field(default=())

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of the preparation, which scenarios and references may name."""
        return {} if self.prepare is None else self.prepare.settings

    def model_of(self, reference: Reference) -> str:
        """Give the model that a reference names, itself or by a setting.

        Raises:
            ConfigError: if that setting has no value.
        """
        if not reference.model.startswith("$"):
            return reference.model
        name = reference.model[1:]
        if not self.settings[name]:
            raise ConfigError(
                f"{self.name}, reference {reference.name}: {name} has no value. Give it by --set {name}=..."
            )
        return str(self.settings[name])

    def cells(self) -> list[Cell]:
        """Give every training, level by level and seed by seed."""
        return [
            Cell(scenario, level, seed)
            for level in self.levels
            for seed in self.seeds
            for scenario in self.scenarios
            if level.name in scenario.levels
        ]

    def override(self, values: Mapping[str, Any]) -> Study:
        """Give the study with other settings of its preparation; see `Recipe.override`."""
        if not values:
            return self
        if self.prepare is None:
            raise ConfigError(f"{self.name} has no preparation, so there is nothing to set: {', '.join(values)}.")
        return dataclasses.replace(self, prepare=self.prepare.override(values))


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
    levels = tuple(
        Level(_text(row, "name", f"{path}, level"), {key: value for key, value in row.items() if key != "name"})
        for row in table["level"]
    )
    study = Study(
        name=path.stem,
        summary=str(table.get("summary", "")),
        prepare=load_recipe(path.parent / table["prepare"]) if table.get("prepare") else None,
        suite=read_suite(_beside(path, table["suite"])),
        in_domain=tuple(table.get("in_domain", ())),
        baseline=str(table["baseline"]),
        seeds=tuple(table["seeds"]),
        train=table.get("train", {}),
        levels=levels,
        scenarios=tuple(_scenario(row, levels, path) for row in table["scenario"]),
        references=tuple(_row(Reference, row, path) for row in table.get("reference", ())),
        gains=tuple(_row(Gain, row, path) for row in table.get("gain", ())),
    )
    _check(study, path)
    return study


def _beside(path: Path, name: str) -> str:
    """Give a file beside the study's, or the name of a suite that comes with Everglade."""
    return str(path.parent / name) if (path.parent / name).exists() else name


def _scenario(row: Mapping[str, Any], levels: tuple[Level, ...], path: Path) -> Scenario:
    name = _text(row, "name", f"{path}, scenario")
    known = [level.name for level in levels]
    named = tuple(row.get("levels", known))
    for level in named:
        if level not in known:
            raise ConfigError(f"{path}, scenario {name}: no level {level!r}. {suggest_name(level, known, 'levels')}")
    settings = {key: value for key, value in row.items() if key not in ("name", "label", "levels")}
    return Scenario(name, str(row.get("label", name)), settings, named)


def _row(kind: type[Any], row: Mapping[str, Any], path: Path) -> Any:  # noqa: ANN401 - a row of that kind
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


def _check(study: Study, path: Path) -> None:
    names = [scenario.name for scenario in study.scenarios]
    for kind, listed in (
        ("level", [level.name for level in study.levels]),
        ("scenario", [*names, *(one.name for one in study.references)]),
    ):
        for name in listed:
            if listed.count(name) > 1:
                raise ConfigError(f"{path}: two {kind}s are called {name!r}. Rename one.")
            if "." in name or Path(name).name != name:
                raise ConfigError(
                    f"{path}: the {kind} {name!r} cannot be called so: its folder is. No dots or slashes."
                )
    for name in (study.baseline, *(one for gain in study.gains for one in (gain.of, gain.over))):
        if name not in names:
            raise ConfigError(f"{path}: no scenario {name!r}. {suggest_name(name, names, 'scenarios')}")
    for reference in study.references:
        named = reference.model.removeprefix("$")
        if named != reference.model and named not in study.settings:
            hint = suggest_name(named, list(study.settings))
            raise ConfigError(f"{path}, reference {reference.name}: the preparation has no setting {named!r}. {hint}")
    sets = [one.name for one in study.suite.sets]
    for name in study.in_domain:
        if name not in sets:
            raise ConfigError(f"{path}: no set {name!r} in its suite. {suggest_name(name, sets, 'sets')}")
    if not all(type(seed) is int for seed in study.seeds):
        raise ConfigError(f"{path}: seeds must be whole numbers, not {list(study.seeds)!r}.")


def _fill_in(value: Any, outputs: Mapping[str, Path], place: str) -> Any:  # noqa: ANN401 - any TOML value
    if not isinstance(value, str) or not value.startswith("@"):
        return value
    if value[1:] not in outputs:
        raise ConfigError(
            f"{place}: the preparation has no stage {value}. {suggest_name(value[1:], list(outputs), 'stages')}"
        )
    return str(outputs[value[1:]])
