"""One training of a study, or one reference, measured on every set; each in a folder of its own.

OUT/cells/SCENARIO.LEVEL.SEED/      a recipe's folder with the training, and
  figures.json                      what it came to on each set, and of what that depends:
                                    asked, what the study asks of it; ground, what it stood on; key, what was measured;
                                    of a training its seconds, its course and the versions it was made with too
  values.json                       set -> query id -> value of the suite's first measure

Figures count only while they are those of the question that the study asks now, on what it stands on now. What the
models that it names hold is looked at when it runs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everglade import durable
from everglade.assess.suite_run import run_suite
from everglade.assess.systems import SystemSpec, Workplace
from everglade.errors import CheckpointError
from everglade.recipes.as_toml import write_toml
from everglade.recipes.kinds import NAMED_MODELS
from everglade.recipes.plan import Digests
from everglade.recipes.runner import run_recipe
from everglade.study.design import Reference
from everglade.study.ground import is_same_ground, read_ground

if TYPE_CHECKING:
    from everglade.assess.assessment import Assessment
    from everglade.evaluation.suite import Suite
    from everglade.study.design import Cell, Study
    from everglade.study.ground import Ground

__all__ = [
    "DEPTH",
    "find_cell",
    "measure_reference",
    "read_finished",
    "read_values",
    "run_cell",
]

FORMAT = 2
"""Of figures: another where they hold something else, so that older ones are made again."""

DEPTH = 100
"""Hits that are asked for; a measure that looks at more is refused."""

Announce = Callable[[str], None]


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
    model = report.outputs["train"]
    trained = {
        "seconds": {stage.name: stage.seconds for stage in report.stages},
        "course": _read_course(model.parent / "log.jsonl"),
        "versions": _read(model.parent / "manifest.json")["versions"],
    }
    _measure(study, cell, str(model), ground.sets, out, {**about, **trained})


def measure_reference(study: Study, reference: Reference, sets: Path, out: Path) -> None:
    """Measure a model, or BM25, that is not trained."""
    find_cell(out, reference.name).mkdir(parents=True, exist_ok=True)
    model = study.model_of(reference)
    about = {"scenario": reference.name, "level": None, "seed": None}
    _measure(study, reference, str(NAMED_MODELS.get(model, model)), sets, out, about)


def _measure(study: Study, one: Cell | Reference, model: str, sets: Path, out: Path, about: Mapping[str, Any]) -> None:
    """Measure a model, or BM25, on every set, unless the figures of just that are there."""
    folder, ground = find_cell(out, one.name), read_ground(out)
    assert ground is not None, "a study writes down what it stands on before its first cell"
    content = model if model == "bm25" else Digests().of(model, is_file=False)
    key = _digest([_asked_of(study.suite), content, ground["sets"]])
    about = {"key": key, "asked": digest_question(study, one), "ground": ground, **about}
    before = read_figures(folder)
    if before is not None and before["key"] == key and (folder / "values.json").exists():
        if before != (now := {**before, **about}):
            durable.write_json(folder / "figures.json", now)
        return
    source = str(_search_by_bm25(study.suite, sets, folder / "runs")) if model == "bm25" else model
    outcome = run_suite(study.suite, SystemSpec(source, folder.name), sets, workplace=Workplace(DEPTH, 1, timed=False))
    first = outcome.measures[0]
    values = {
        name: {query: row[first] for query, row in one.per_query.items()} for name, one in outcome.assessments.items()
    }
    durable.write_json(folder / "values.json", values)
    figures = {name: _figures(one) for name, one in outcome.assessments.items()}
    durable.write_json(folder / "figures.json", {**about, "sets": figures})


def _search_by_bm25(suite: Suite, sets: Path, runs: Path) -> Path:
    from everglade.assess.judged import open_judged
    from everglade.distill.bm25 import Bm25
    from everglade.texts import write_run

    runs.mkdir(parents=True, exist_ok=True)
    for one in suite.sets:
        judged = open_judged(str(sets / one.place), one.split)
        write_run(Bm25(judged.documents()).search(judged.queries, k=DEPTH), runs / f"{one.name}.trec", tag="bm25")
    return runs


def digest_question(study: Study, one: Cell | Reference) -> str:
    """Give a digest of what a study asks of a cell: its settings, the preparation behind them, and the suite."""
    own = one.model if isinstance(one, Reference) else one.settings(study)
    preparation = None if study.prepare is None else [study.prepare.settings, study.prepare.stages]
    return _digest([FORMAT, own, preparation, _asked_of(study.suite)])


def _asked_of(suite: Suite) -> list[object]:
    return [suite.convention, suite.measures, [dataclasses.asdict(one) for one in suite.sets], DEPTH]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _figures(one: Assessment) -> dict[str, Any]:
    cost = one.cost
    costs = {} if cost is None else {name: getattr(cost, name) for name in ("flops", "query_terms", "document_terms")}
    return {"measures": one.means, "queries": one.queries, "documents": one.documents, **costs}


def read_finished(study: Study, one: Cell | Reference, out: Path) -> dict[str, Any] | None:
    """Give what a cell came to; None if that is not there, or answers another question than the study asks now."""
    figures = read_figures(find_cell(out, one.name))
    if figures is None or not (find_cell(out, one.name) / "values.json").exists():
        return None
    current = figures.get("asked") == digest_question(study, one)
    return figures if current and is_same_ground(figures.get("ground"), read_ground(out)) else None


def read_figures(folder: Path) -> dict[str, Any] | None:
    """Give the figures in the folder of a cell, whatever they answer; None if there are none."""
    found: dict[str, Any] | None = _read(folder / "figures.json")
    return found


def read_values(folder: Path) -> dict[str, dict[str, float]]:
    """Give set -> query id -> value of a finished cell."""
    return _read(folder / "values.json") or {}


def _read_course(log: Path) -> list[list[float]]:
    """Give what a training logged: rows of step, ranking loss and FLOPS of the batch."""
    lines = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    return [[line["step"], line["ranking"], line["flops"]] for line in lines if "ranking" in line]


def _read(file: Path) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}). Remove it to measure again.") from error
