"""A suite, set by set: ours beside what others published, and means that name their sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everglade.assess.assessment import Assessment, assess, choose_measures
from everglade.assess.judged import JudgedSet, open_judged
from everglade.assess.systems import System, SystemSpec, Workplace, load_encoder, open_system
from everglade.errors import ConfigError, InputError
from everglade.evaluation.conventions import find_convention

if TYPE_CHECKING:
    from everglade.encode import Encoder
    from everglade.evaluation.suite import Published, Suite, SuiteSet

__all__ = ["PublishedColumn", "SuiteOutcome", "find_sets", "run_suite"]

SUFFIXES = (".trec", ".trec.gz", ".run", ".run.gz", ".txt", ".txt.gz", ".tsv", ".tsv.gz")


@dataclass(frozen=True)
class PublishedColumn:
    """One system's published figures for the sets that were measured.

    `mean` is over just these sets; None where a figure is missing for one of them. `digits` are those behind the point
    that the system's figures have, on all sets of the suite together: 0.71 stands among 0.518 for 0.710.
    """

    system: str
    source: str
    values: dict[str, float]
    mean: float | None
    digits: int


@dataclass(frozen=True)
class SuiteOutcome:
    """What a system came to on the sets of a suite.

    Attributes:
        suite: The suite.
        system: The system's name.
        assessments: Set name -> what it came to.
        absent: Sets of the suite that were not at hand, or not asked for.
        unlike: Set name -> counts that are not those the suite expects.
    """

    suite: Suite
    system: str
    assessments: dict[str, Assessment]
    absent: tuple[str, ...]
    unlike: dict[str, list[str]]

    @property
    def sets(self) -> tuple[str, ...]:
        """The sets behind every mean."""
        return tuple(self.assessments)

    @property
    def measures(self) -> tuple[str, ...]:
        """What was measured."""
        return tuple(next(iter(self.assessments.values())).means)

    def mean(self, measure: str) -> float:
        """Give the mean over the sets that were measured."""
        return sum(one.means[measure] for one in self.assessments.values()) / len(self.assessments)

    def published(self, measure: str) -> list[PublishedColumn]:
        """Give what others published for this measure and these sets; those without a figure for any are left out."""
        columns = [_take(one, self.sets) for one in self.suite.published if one.measure == measure]
        return [column for column in columns if column.values]

    def to_dict(self) -> dict[str, Any]:
        """Give the same as plain JSON values."""
        return {
            "suite": self.suite.name,
            "system": self.system,
            "convention": self.suite.convention,
            "sets": list(self.sets),
            "absent": list(self.absent),
            "unlike": self.unlike,
            "means": {measure: self.mean(measure) for measure in self.measures},
            "by_set": {name: one.to_dict() for name, one in self.assessments.items()},
            "published": [
                {"measure": measure, "system": one.system, "source": one.source, "values": one.values, "mean": one.mean}
                for measure in self.measures
                for one in self.published(measure)
            ],
        }


def find_sets(suite: Suite, folder: str | Path | None, only: Sequence[str] | None = None) -> list[tuple[SuiteSet, str]]:
    """Give the sets of a suite that are at hand, each with what opens it.

    Args:
        suite: The suite.
        folder: Where the folders of its sets lie, each under its name; None takes all from ir_datasets.
        only: Names of the sets to take; None takes all.

    Raises:
        ConfigError: if there is no such set, or a set has no ir_datasets id and no folder was given.
        InputError: if none of the sets is there, or one that was asked for by name.
    """
    chosen = suite.choose(only)
    if folder is None:
        for one in chosen:
            if one.irds is None:
                raise ConfigError(f"{suite.name} has no ir_datasets id for {one.name}. Give the folder of its sets.")
        return [(one, f"irds:{one.irds}") for one in chosen]
    if not Path(folder).is_dir():
        raise InputError("no such folder of sets", folder)
    found = [(one, str(Path(folder) / one.place)) for one in chosen if (Path(folder) / one.place).is_dir()]
    missing = sorted({one.place for one in chosen}.difference(one.place for one, _ in found))
    if not found or (only and missing):
        raise InputError(f"none of these folders of {suite.name} is here: {', '.join(missing)}", folder)
    return found


def run_suite(
    suite: Suite,
    spec: SystemSpec,
    folder: str | Path | None = None,
    only: Sequence[str] | None = None,
    measures: Sequence[str] | None = None,
    workplace: Workplace | None = None,
    *,
    any_counts: bool = False,
    done: Callable[[str, Assessment], None] | None = None,
) -> SuiteOutcome:
    """Measure a model, or run files, on the sets of a suite.

    All sets are counted before the first is measured. Neighbours that share their documents are read by a model once.

    Args:
        suite: What is measured.
        spec: A model; or a folder with a run file for each set, SET.trec.
        folder: Where the sets lie, see `find_sets`.
        only: Names of the sets to take; None takes all.
        measures: What to measure; what the suite says, if None.
        workplace: How to work.
        any_counts: Whether sets may have other counts than the suite expects; they are noted in the outcome.
        done: Called with each set's name and what it came to.

    Raises:
        ConfigError: if a name or setting is wrong, or the system is an index, which holds one collection.
        InputError: if no set is there, a run file is missing, or counts are not those that the suite expects.
    """
    if spec.kind != "model":
        raise ConfigError(
            f"{spec.source} serves one collection. For a suite give a model, or a folder with a run file for each set, "
            f"such as {suite.sets[0].name}.trec."
        )
    workplace = workplace or Workplace()
    measures = measures or suite.measures
    choose_measures(measures, find_convention(suite.convention), workplace.k)
    opened = [(one, _open(one, source)) for one, source in find_sets(suite, folder, only)]
    systems = {one.name: _choose_system(spec, one) for one, _ in opened}
    encoder = load_encoder(spec) if spec in systems.values() else None
    unlike = {one.name: one.compare_counts(_count(judged, systems[one.name])) for one, judged in opened}
    unlike = {name: said for name, said in unlike.items() if said}
    if unlike and not any_counts:
        _refuse_counts(suite, unlike)
    assessments: dict[str, Assessment] = {}
    for _, together in groupby(opened, key=lambda pair: pair[0].place):
        for one, judged, system in _open_systems(list(together), systems, workplace, encoder):
            assessments[one.name] = assess(system, judged, measures, suite.convention)
            if done:
                done(one.name, assessments[one.name])
    absent = tuple(one.name for one in suite.sets if one.name not in assessments)
    return SuiteOutcome(suite, spec.name, assessments, absent, unlike)


def _open(one: SuiteSet, source: str) -> JudgedSet:
    return open_judged(source, source.rpartition("/")[2] if source.startswith("irds:") else one.split)


def _choose_system(spec: SystemSpec, one: SuiteSet) -> SystemSpec:
    """Give the run file of a set, if the system is a folder of run files, or the model."""
    folder = Path(spec.source)
    if not folder.is_dir() or (folder / "config.json").exists():
        return spec
    files = [folder / f"{one.name}{suffix}" for suffix in SUFFIXES]
    for file in files:
        if file.is_file():
            return spec._replace(source=str(file))
    if any(file.name.endswith(SUFFIXES) for file in folder.iterdir()):
        raise InputError(f"no run file for the set {one.name}. It is looked for as {files[0].name} or packed", folder)
    return spec


def _count(judged: JudgedSet, spec: SystemSpec) -> dict[str, int]:
    """Count what the system will see: documents only if it reads them."""
    return {"documents": judged.n_documents, **judged.count()} if spec.kind == "model" else judged.count()


def _refuse_counts(suite: Suite, unlike: dict[str, list[str]]) -> None:
    wrong = "; ".join(f"{name} has {', '.join(said)}" for name, said in unlike.items())
    raise InputError(
        f"not the sets of {suite.name}: {wrong}. Fetch them again, or measure them as they are with --any-counts "
        f"(Python: any_counts=True)"
    )


def _open_systems(
    sets: Sequence[tuple[SuiteSet, JudgedSet]],
    systems: dict[str, SystemSpec],
    workplace: Workplace,
    encoder: Encoder | None,
) -> Iterator[tuple[SuiteSet, JudgedSet, System]]:
    """Give each set with the system that answers it; a model reads the documents once for all of them."""
    with ExitStack() as stack:
        shared: System | None = None
        for one, judged in sets:
            if shared is None or shared.index is None:
                shared = stack.enter_context(open_system(systems[one.name], judged, workplace, encoder))
            yield one, judged, shared


def _take(published: Published, sets: Sequence[str]) -> PublishedColumn:
    values = {name: published.values[name] for name in sets if name in published.values}
    mean = sum(values.values()) / len(values) if len(values) == len(sets) else None
    digits = max((len(str(value).partition(".")[2]) for value in published.values.values()), default=0)
    return PublishedColumn(published.system, published.source, values, mean, digits)
