"""Runs a study: what trainings share, then every cell, then the summary; each once, in this call or an earlier one.

    OUT/
      ground.json   what it stands on, see everglade.study.ground
      prepare/      the folder of the recipe `prepare`
      cells/        a folder for each training and reference, see everglade.study.cells
      study.json    the summary of all cells that are finished, see everglade.study.summary; tests come at the end

Several processes may share the cells, as parts i of n, once the preparation is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from everglade.assess.assessment import choose_measures
from everglade.errors import ConfigError
from everglade.evaluation.conventions import find_convention
from everglade.recipes.runner import plan_recipe, run_recipe
from everglade.recipes.stages import find_output
from everglade.study.cells import DEPTH, measure_reference, read_finished, run_cell
from everglade.study.ground import Ground, describe_ground, write_ground
from everglade.study.summary import summarise_study, write_summary

if TYPE_CHECKING:
    from everglade.study.design import Cell, Reference, Study
    from everglade.texts import Collection

__all__ = ["PlannedCell", "plan_study", "run_study"]

Announce = Callable[[str], None]


class PlannedCell(NamedTuple):
    """A cell or reference, and whether its figures are there."""

    name: str
    label: str
    state: Literal["finished", "to do"]


def plan_study(study: Study, out: str | Path, only: Sequence[str] | None = None) -> list[PlannedCell]:
    """Say which trainings and references a study consists of, and which of them are finished in `out`.

    Raises:
        ConfigError: if a setting cannot be used, or there is no such scenario.
    """
    cells = _choose(study, only)
    _check(study, cells)
    labelled: list[tuple[Cell | Reference, str]] = [(one, one.label) for one in study.references]
    labelled += [(cell, cell.scenario.label) for cell in cells]
    return [
        PlannedCell(one.name, label, "to do" if read_finished(study, one, Path(out)) is None else "finished")
        for one, label in labelled
    ]


def run_study(
    study: Study,
    collection: str | Path | Collection,
    sets: str | Path,
    out: str | Path,
    *,
    split: str | None = None,
    only: Sequence[str] | None = None,
    part: tuple[int, int] | None = None,
    announce: Announce = lambda line: None,
) -> dict[str, Any]:
    """Run what is left of a study, and give its summary.

    Args:
        study: What to compare.
        collection: What to train on.
        sets: The folder of the suite's sets.
        out: The folder for everything.
        split: The training queries; see `everglade.recipes.material.open_material`.
        only: Names of scenarios; None runs all.
        part: (i, n) runs every n-th cell from the i-th on, counted from 1. Only one process may prepare.
        announce: Called with one line before each piece of work.

    Raises:
        ConfigError: if a setting cannot be used, or there is no such scenario.
        InputError: if texts or judgements cannot be used, or a set of the suite is missing.
        LockHeld: if another process prepares, or trains the same cell.
    """
    cells, out, ground = _choose(study, only), Path(out).absolute(), Ground(collection, split, Path(sets))
    _check(study, cells)
    write_ground(describe_ground(ground, study.suite), out)
    outputs = _prepare(study, ground, out / "prepare", announce)
    first, step = (part[0] - 1, part[1]) if part else (0, 1)
    for reference in study.references[first::step]:
        announce(f"{reference.label}: measured as it is")
        measure_reference(study, reference, ground.sets, out)
    for number, cell in enumerate(cells):
        if number % step == first:
            announce(f"[{number + 1}/{len(cells)}] {cell.name}")
            run_cell(study, cell, outputs, ground, out, announce)
            write_summary(summarise_study(study, out, tested=False), out)
    summary = summarise_study(study, out)
    write_summary(summary, out)
    return summary


def _choose(study: Study, only: Sequence[str] | None) -> list[Cell]:
    known = [scenario.name for scenario in study.scenarios]
    for name in only or ():
        if name not in known:
            raise ConfigError(f"{study.name} has no scenario {name!r}. It has: {', '.join(known)}.")
    return [cell for cell in study.cells() if not only or cell.scenario.name in only]


def _check(study: Study, cells: Sequence[Cell]) -> None:
    """Find the mistakes of all cells before anything is run: the preparation alone may take hours."""
    stages = [] if study.prepare is None else study.prepare.resolve()
    choose_measures(study.suite.measures, find_convention(study.suite.convention), DEPTH)
    promised = {stage.name: Path(stage.name) for stage in stages}
    for reference in study.references:
        study.model_of(reference)
    for cell in cells:
        cell.recipe(study, promised).resolve()


def _prepare(study: Study, ground: Ground, folder: Path, announce: Announce) -> dict[str, Path]:
    """Give what each stage of the preparation left, after running those that are not finished."""
    if study.prepare is None:
        return {}
    plan = plan_recipe(study.prepare, ground.collection, folder, split=ground.split)
    if all(stage.state == "reused" for stage in plan.stages):  # then several processes may do so at once
        return {stage.spec.name: find_output(stage.spec, stage.folder) for stage in plan.stages if stage.folder}
    report = run_recipe(study.prepare, ground.collection, folder, split=ground.split, announce=announce)
    return report.outputs
