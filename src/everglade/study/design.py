"""What a study compares, as values: scenarios, levels of sparsity and seeds. `everglade.study.reading` reads them.

A cell is one training: a scenario at a level with a seed. Cells run level by level and seed by seed, so that a study
that is broken off has every scenario.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from everglade.errors import ConfigError, suggest_name
from everglade.evaluation.suite import Suite
from everglade.recipes.recipe import DEFAULTS, Recipe

__all__ = ["ALL", "ZERO_SHOT", "Cell", "Gain", "Level", "Reference", "Scenario", "Study"]

ZERO_SHOT = "zero-shot"
"""What the mean over the sets that are not in domain is called, beside the sets."""
ALL = "all"
"""What the mean over all sets is called."""


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
    """A difference that has a name: between two scenarios, or of a scenario over a reference."""

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

    def settings(self, study: Study) -> dict[str, Any]:
        """Give the settings of the training, with the names of stages and settings of the preparation as they stand."""
        return {**study.train, **self.scenario.settings, **self.level.settings, "seed": self.seed}

    def recipe(self, study: Study, outputs: Mapping[str, Path]) -> Recipe:
        """Give the recipe of the training. It holds no questions out: all are trained on.

        Args:
            study: The study it is one of.
            outputs: What each stage of the preparation left.

        Raises:
            ConfigError: if a setting names a stage that there is not.
        """
        settings = self.settings(study)
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


def _fill_in(value: Any, outputs: Mapping[str, Path], place: str) -> Any:  # noqa: ANN401 - any TOML value
    if not isinstance(value, str) or not value.startswith("@"):
        return value
    if value[1:] not in outputs:
        raise ConfigError(
            f"{place}: the preparation has no stage {value}. {suggest_name(value[1:], list(outputs), 'stages')}"
        )
    return str(outputs[value[1:]])
