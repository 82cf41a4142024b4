"""The weights of the two penalties at every step: a ramp to fixed values, a controller's, or an earlier run's."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from everglade.errors import ConfigError
from everglade.train.controller import Controller
from everglade.train.schedule import ramp

if TYPE_CHECKING:
    from torch import Tensor

    from everglade.train.config import TrainConfig
    from everglade.train.sparsity import Activity

__all__ = ["Lambdas", "Pulls", "read_schedule"]

_POWERS = {"query_terms": 1.0, "document_terms": 1.0, "flops": 0.5}
"""FLOPS moves with the terms of both sides: its root is what moves as they do."""
_UNIT_MEMORY = 10
"""Updates over which the ratio of the pulls is averaged."""


class Pulls(NamedTuple):
    """How hard the ranking loss and the penalty pull on either side's active weights: Euclidean norms of gradients."""

    ranking_q: float
    penalty_q: float
    ranking_d: float
    penalty_d: float


class Lambdas:
    """The lambdas of queries and documents at each step of a run.

    A steered lambda is strength * unit: the strength is a controller's, and the unit is the mean ratio of the ranking
    loss's pull to the penalty's, so that a strength means the same beside any loss and at any size of the weights.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self._fixed = None if config.lambda_schedule is None else read_schedule(config.lambda_schedule)
        query, document = config.target_query_terms, config.target_doc_terms
        wanted = {"query_terms": query, "document_terms": document, "flops": config.target_flops}
        self._controllers = {
            name: Controller(target ** _POWERS[name], config.lambda_ramp)
            for name, target in wanted.items()
            if target is not None
        }
        self._units: list[float | None] = [None, None]
        self._now = (0.0, 0.0)
        self._schedule: list[tuple[int, float, float]] = []

    @property
    def is_steered(self) -> bool:
        """Whether a controller finds a lambda, and so has to be told how hard the parts of the loss pull."""
        return bool(self._controllers)

    def at(self, step: int) -> tuple[float, float]:
        """Give lambda_q and lambda_d at an optimiser step, counted from 1; steps must come in order."""
        if self._fixed is not None:
            place = bisect_right(self._fixed, step, key=lambda row: row[0]) - 1
            return self._fixed[place][1:] if place >= 0 else (0.0, 0.0)
        query, document = (ramp(final, step, self._config.lambda_ramp) for final in self._config.lambdas)
        if self._controllers:
            both = "flops" in self._controllers
            query = self._now[0] if both or "query_terms" in self._controllers else query
            document = self._now[1] if both or "document_terms" in self._controllers else document
            if not self._schedule or self._schedule[-1][1:] != (query, document):
                self._schedule.append((step, query, document))
        return query, document

    def observe(self, activity: Activity, pulls: Pulls, authority: float = 1.0) -> None:
        """Take note of what a step's batch was like; the controllers may move. For `authority` see `Controller`."""
        sides = ((pulls.ranking_q, pulls.penalty_q), (pulls.ranking_d, pulls.penalty_d))
        for side, (ranking, penalty) in enumerate(sides):
            if ranking > 0 and penalty > 0:
                ratio, before = math.log(ranking) - math.log(penalty), self._units[side]
                self._units[side] = ratio if before is None else before + (ratio - before) / _UNIT_MEMORY
        moved = [
            controller.observe(getattr(activity, name) ** _POWERS[name], authority)
            for name, controller in self._controllers.items()
        ]
        if any(moved):
            query = self._controllers.get("query_terms") or self._controllers.get("flops")
            document = self._controllers.get("document_terms") or self._controllers.get("flops")
            self._now = (_lambda(query, self._units[0]), _lambda(document, self._units[1]))

    @property
    def schedule(self) -> dict[str, Any] | None:
        """What a steered run used, for `lambda_schedule` of another: None if nothing was steered."""
        if not self._controllers:
            return None
        return {
            "lambda_q": self._schedule[-1][1],
            "lambda_d": self._schedule[-1][2],
            "schedule": [list(row) for row in self._schedule],
        }

    def tensors(self) -> dict[str, Tensor]:
        """Give the arrays that a checkpoint must hold."""
        return {"schedule": torch.tensor(self._schedule, dtype=torch.float64).view(-1, 3)}

    def state(self) -> dict[str, Any]:
        """Give the numbers that a checkpoint must hold, as JSON values."""
        controllers = {name: controller.state() for name, controller in self._controllers.items()}
        return {"controllers": controllers, "units": list(self._units), "now": list(self._now)}

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go on from what a checkpoint held."""
        self._schedule = [(int(step), query, document) for step, query, document in tensors["schedule"].tolist()]
        self._units, self._now = list(state["units"]), (state["now"][0], state["now"][1])
        for name, controller in self._controllers.items():
            controller.load(state["controllers"][name])


def read_schedule(path: str | Path) -> list[tuple[int, float, float]]:
    """Read the `lambdas.json` of an earlier run: rows of (step from which they hold, lambda_q, lambda_d).

    Raises:
        ConfigError: if the file cannot be read or does not hold a schedule.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        rows = [(int(step), float(query), float(document)) for step, query, document in found["schedule"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"lambda_schedule: {path} is not the lambdas.json of a run: {error!r}.") from error
    if not rows or rows != sorted(rows) or not all(math.isfinite(value) for row in rows for value in row):
        raise ConfigError(f"lambda_schedule: {path} holds no rows of rising steps and finite lambdas.")
    return rows


def _lambda(controller: Controller | None, unit: float | None) -> float:
    return 0.0 if controller is None or unit is None else controller.strength * math.exp(unit)
