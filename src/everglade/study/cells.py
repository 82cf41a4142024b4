"""One training of a study, or one reference, measured on every set; each in a folder of its own.

OUT/cells/SCENARIO.LEVEL.SEED/      a recipe's folder with the training, and
  figures.json                      what it came to on each set, and of what that depends
  values.json                       set -> query id -> value of the suite's first measure
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from everglade import durable
from everglade.assess.suite_run import run_suite
from everglade.assess.systems import SystemSpec, Workplace
from everglade.errors import CheckpointError
from everglade.recipes.as_toml import write_toml
from everglade.recipes.kinds import NAMED_MODELS
from everglade.recipes.plan import Digests
from everglade.recipes.runner import run_recipe

if TYPE_CHECKING:
    from everglade.assess.assessment import Assessment
    from everglade.evaluation.suite import Suite
    from everglade.study.design import Cell, Reference, Study
    from everglade.texts import Collection

__all__ = ["Ground", "find_cell", "measure_reference", "read_figures", "read_values", "run_cell"]

DEPTH = 100
"""Hits that are asked for; a measure that looks at more is refused."""

Announce = Callable[[str], None]


class Ground(NamedTuple):
    """What a study stands on: the collection and split that it trains on, and the folder of its test sets."""

    collection: str | Path | Collection
    split: str | None
    sets: Path


def find_cell(out: Path, name: str) -> Path:
    """Give the folder of a cell or reference."""
    return out / "cells" / name


def run_cell(
    study: Study,
    cell: Cell,
    outputs: Mapping[str, Path],
    ground: Ground,
    out: Path,
    announce: Announce,
) -> None:
    """Train a cell and measure it, as far as that has not been done."""
    folder = find_cell(out, cell.name)
    recipe = cell.recipe(study, outputs)
    recipe = dataclasses.replace(recipe, text=write_toml(recipe))
    report = run_recipe(recipe, ground.collection, folder, split=ground.split, announce=announce)
    about = {"scenario": cell.scenario.name, "level": cell.level.name, "seed": cell.seed}
    seconds = {stage.name: stage.seconds for stage in report.stages}
    _measure(study.suite, str(report.outputs["train"]), folder, ground.sets, {**about, "seconds": seconds})


def measure_reference(study: Study, reference: Reference, sets: Path, out: Path) -> None:
    """Measure a model, or BM25, that is not trained."""
    folder = find_cell(out, reference.name)
    folder.mkdir(parents=True, exist_ok=True)
    about = {"scenario": reference.name, "level": None, "seed": None}
    model = study.model_of(reference)
    if model != "bm25":
        _measure(study.suite, str(NAMED_MODELS.get(model, model)), folder, sets, about)
        return
    runs = folder / "runs"
    for one in study.suite.sets:
        _search_by_bm25(str(sets / one.place), one.split, runs / f"{one.name}.trec")
    _measure(study.suite, str(runs), folder, sets, about)


def _search_by_bm25(source: str, split: str | None, file: Path) -> None:
    from everglade.assess.judged import open_judged
    from everglade.distill.bm25 import Bm25
    from everglade.texts import write_run

    if file.exists():
        return
    judged = open_judged(source, split)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_run(Bm25(judged.documents()).search(judged.queries, k=DEPTH), file, tag="bm25")


def _measure(suite: Suite, source: str, folder: Path, sets: Path, about: Mapping[str, Any]) -> None:
    """Measure a model or a folder of runs on every set, unless the figures of just that are there."""
    key = _key(suite, source)
    if (before := read_figures(folder)) is not None and before["key"] == key:
        return
    outcome = run_suite(suite, SystemSpec(source, folder.name), sets, workplace=Workplace(DEPTH, 1, timed=False))
    first = outcome.measures[0]
    values = {
        name: {query: row[first] for query, row in one.per_query.items()} for name, one in outcome.assessments.items()
    }
    durable.write_json(folder / "values.json", values)
    figures = {name: _figures(one) for name, one in outcome.assessments.items()}
    durable.write_json(folder / "figures.json", {"key": key, **about, "sets": figures})


def _key(suite: Suite, source: str) -> str:
    """Give what the figures depend on: the suite, and the model or the runs by their content."""
    folder = Path(source)
    runs = sorted(folder.glob("*.trec")) if folder.is_dir() else []
    content = [Digests().of(str(file), is_file=True) for file in runs] or [Digests().of(source, is_file=False)]
    return hashlib.sha256(json.dumps([dataclasses.asdict(suite), content, DEPTH]).encode()).hexdigest()


def _figures(one: Assessment) -> dict[str, Any]:
    cost = one.cost
    costs = {} if cost is None else {name: getattr(cost, name) for name in ("flops", "query_terms", "document_terms")}
    return {"measures": one.means, "queries": one.queries, "documents": one.documents, **costs}


def read_figures(folder: Path) -> dict[str, Any] | None:
    """Give what a cell came to; None if it is not finished."""
    found: dict[str, Any] | None = _read(folder / "figures.json")
    return found


def read_values(folder: Path) -> dict[str, dict[str, float]]:
    """Give set -> query id -> value of a finished cell."""
    return _read(folder / "values.json") or {}


def _read(file: Path) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}). Remove it to measure again.") from error
