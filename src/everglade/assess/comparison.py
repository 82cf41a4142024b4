"""Several systems on one judged set, side by side or against a baseline, with the queries that moved most and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from everglade.assess.assessment import Assessment, assess, choose_measures
from everglade.assess.systems import System, SystemSpec, Workplace, load_encoder, open_system
from everglade.errors import ConfigError
from everglade.evaluation.conventions import Convention, find_convention
from everglade.evaluation.moved import MovedQuery, Side, find_moved
from everglade.evaluation.significance import Comparison, compare_values

if TYPE_CHECKING:
    from everglade.assess.judged import JudgedSet
    from everglade.explain import Explanation

__all__ = ["Compared", "compare_systems"]


@dataclass(frozen=True)
class Compared:
    """Several systems on one judged set.

    Attributes:
        assessments: What each came to, in the order they were given.
        baseline: The name of the one the others were compared with; None if none was named.
        comparisons: Each of the others against the baseline, by measure; see `Comparison`.
        moved: For each of the others, the queries whose value of the first measure changed most.
    """

    assessments: tuple[Assessment, ...]
    baseline: str | None
    comparisons: tuple[Comparison, ...]
    moved: dict[str, list[MovedQuery]]

    def to_dict(self) -> dict[str, Any]:
        """Give the same as plain JSON values, without runs and single queries."""
        found: dict[str, Any] = {"systems": [one.to_dict() for one in self.assessments]}
        if self.baseline is not None:
            found["baseline"] = self.baseline
            found["comparisons"] = [asdict(one) for one in self.comparisons]
            found["moved"] = {name: [query.to_dict() for query in queries] for name, queries in self.moved.items()}
        return found


def compare_systems(
    specs: Sequence[SystemSpec],
    judged: JudgedSet,
    baseline: str | None = None,
    measures: Sequence[str] | None = None,
    convention: str | Convention = "plain",
    workplace: Workplace | None = None,
    moved: int = 5,
    seed: int = 0,
    while_open: Callable[[Sequence[System], Sequence[Assessment]], None] | None = None,
) -> Compared:
    """Measure systems on one judged set and compare them with a baseline.

    Args:
        specs: The systems, each with a name of its own; see `SystemSpec`.
        judged: What they are measured on.
        baseline: The name of the one that the others are compared with; None only measures.
        measures: Names as in `evaluate`; those of the convention, if None.
        convention: How they are measured, by name.
        workplace: How to work.
        moved: How many of the queries that moved most to explain, for each system.
        seed: Of the resampling; the same seed gives the same figures.
        while_open: Called once with the measured systems, which can still be asked why.

    Raises:
        ConfigError: if two systems have one name, there is no such baseline, or a setting is wrong.
        InputError: if runs, queries or judgements cannot be used.
    """
    _check_names([spec.name for spec in specs], baseline)
    workplace = workplace or Workplace()
    convention = find_convention(convention) if isinstance(convention, str) else convention
    choose_measures(measures, convention, None if all(spec.kind == "run" for spec in specs) else workplace.k)
    # Whatever can be wrong with a model is to be known before another has read the collection.
    encoders = [load_encoder(spec) for spec in specs]
    with ExitStack() as stack:
        systems = [
            stack.enter_context(open_system(spec, judged, workplace, encoder))
            for spec, encoder in zip(specs, encoders, strict=True)
        ]
        assessments = tuple(assess(system, judged, measures, convention) for system in systems)
        if while_open is not None:
            while_open(systems, assessments)
        if baseline is None:
            return Compared(assessments, None, (), {})
        values = {one.name: one.per_query for one in assessments}
        names = list(assessments[0].means)
        comparisons = compare_values(values, baseline, names, seed)
        return Compared(
            assessments,
            baseline,
            tuple(comparisons),
            _find_moved(systems, assessments, judged, baseline, names[0], moved) if moved else {},
        )


def _check_names(names: Sequence[str], baseline: str | None) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two systems are called {name!r}. Give each a name of its own.")
    if baseline is not None and baseline not in names:
        raise ConfigError(f"there is no system {baseline!r} to compare with. The systems: {', '.join(names)}.")
    if baseline is not None and len(names) < 2:
        raise ConfigError(f"there is only the baseline {baseline!r}. Name at least one system to compare with it.")


def _find_moved(
    systems: Sequence[System],
    assessments: Sequence[Assessment],
    judged: JudgedSet,
    baseline: str,
    measure: str,
    queries: int,
) -> dict[str, list[MovedQuery]]:
    sides = {
        one.name: Side(one.run, one.per_query, _Reasons(system, judged))
        for one, system in zip(assessments, systems, strict=True)
    }
    return {
        name: find_moved(sides[baseline], side, judged.qrels, measure, queries)
        for name, side in sides.items()
        if name != baseline
    }


class _Reasons:
    """Why a system gave a document its score, by the query's id."""

    def __init__(self, system: System, judged: JudgedSet) -> None:
        self._system = system
        self._judged = judged

    def __call__(self, query: str, document: str) -> Explanation | None:
        if self._system.index is None or query not in self._judged.texts:
            return None
        return self._system.explain(self._judged.texts[query], document)
