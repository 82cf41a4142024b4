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
_RANKING_MEMORY, _PENALTY_MEMORY = 100, 10
"""Steps over which the pulls are averaged. Adam divides by what gradients were over many steps, so the unit must not
follow the ranking loss's from step to step; the penalty's change as vectors thin out."""


class Pulls(NamedTuple):
    """How hard the ranking loss and the penalty pull on either side's active weights: Euclidean norms of gradients."""

    ranking_q: float
    penalty_q: float
    ranking_d: float
    penalty_d: float


_MEMORIES = (_RANKING_MEMORY, _PENALTY_MEMORY, _RANKING_MEMORY, _PENALTY_MEMORY)


class _Mean:
    """A running mean that forgets what lies more than `memory` additions back; of the first, the plain mean."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self.state: tuple[int, float] = (0, 0.0)

    def add(self, value: float) -> None:
        count, mean = self.state
        count = min(count + 1, self._memory)
        self.state = (count, mean + (value - mean) / count)


class Lambdas:
    """The lambdas of queries and documents at each step of a run.

    A steered lambda is strength * unit: the strength is a controller's, and the unit is the ratio of the ranking loss's
    mean pull to the penalty's, so that a strength means the same beside any loss and at any size of the weights.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self._fixed = None if config.lambda_schedule is None else read_schedule(config.lambda_schedule)
        query, document = config.target_query_terms, config.target_doc_terms
        wanted = {"query_terms": query, "document_terms": document, "flops": config.target_flops}
        self._controllers = {
            name: Controller(target ** _POWERS[name], config.lambda_ramp, both_sides=name == "flops")
            for name, target in wanted.items()
            if target is not None
        }
        self._pulls = {name: _Mean(memory) for name, memory in zip(Pulls._fields, _MEMORIES, strict=True)}
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
        for name, pull in pulls._asdict().items():
            if pull > 0:
                self._pulls[name].add(math.log(pull))
        moved = [
            controller.observe(getattr(activity, name) ** _POWERS[name], authority)
            for name, controller in self._controllers.items()
        ]
        if any(moved):
            query = self._controllers.get("query_terms") or self._controllers.get("flops")
            document = self._controllers.get("document_terms") or self._controllers.get("flops")
            self._now = (self._lambda(query, "q"), self._lambda(document, "d"))

    def _lambda(self, controller: Controller | None, side: str) -> float:
        ranking, penalty = self._pulls[f"ranking_{side}"], self._pulls[f"penalty_{side}"]
        if controller is None or not (ranking.state[0] and penalty.state[0]):
            return 0.0
        return controller.strength * math.exp(ranking.state[1] - penalty.state[1])

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
        pulls = {name: list(mean.state) for name, mean in self._pulls.items()}
        return {"controllers": controllers, "pulls": pulls, "now": list(self._now)}

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go on from what a checkpoint held."""
        self._schedule = [(int(step), query, document) for step, query, document in tensors["schedule"].tolist()]
        self._now = (state["now"][0], state["now"][1])
        for name, mean in self._pulls.items():
            mean.state = (state["pulls"][name][0], state["pulls"][name][1])
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
