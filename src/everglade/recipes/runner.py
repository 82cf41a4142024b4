"""Runs a recipe: every stage in order, each once.

A stage that is finished with the same key is reused, and one that was interrupted goes on. If settings or inputs have
changed, the stage and those after it are made again: what was there is moved to OUT/set-aside, not overwritten and not
refused, because hours of training may be in it, and moved back when a later call asks for those settings again.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everglade import durable
from everglade.errors import LockHeld
from everglade.recipes.checks import check_machine
from everglade.recipes.files import remove_folder, sweep
from everglade.recipes.folders import (
    begin_timing,
    clear,
    finish_stage,
    is_begun,
    make_room,
    read_about,
    read_finished,
    read_times,
    require_recipe_folder,
    tidy,
    time_before,
    versions,
)
from everglade.recipes.material import Material, open_material
from everglade.recipes.plan import Digests, Plan, PlannedStage, count_work, make_plan
from everglade.recipes.recipe import Recipe, StageSpec, load_recipe
from everglade.recipes.references import put_paths
from everglade.recipes.report import RecipeReport, StageTime, read_row, write_report
from everglade.recipes.stages import Task, find_output, run_stage

if TYPE_CHECKING:
    from everglade.progress import ProgressCallback
    from everglade.texts import Collection

__all__ = ["plan_recipe", "run_recipe"]

Announce = Callable[[str], None]
ShowProgress = Callable[[str], AbstractContextManager["ProgressCallback"]]

_BY_PATH = ("negatives", "score")
"""Kinds whose functions do not go on when a model has been moved, though it is the same for the key."""

FEW_HELD_OUT = 50
"""With fewer queries held out, which of the validated steps is best is chance."""


def plan_recipe(
    recipe: Recipe | str | Path,
    collection: str | Path | Collection | None = None,
    out: str | Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    split: str | None = None,
    eval_collection: str | Path | Collection | None = None,
    eval_split: str | None = None,
    fresh: bool = False,
) -> Plan:
    """Say what `run_recipe` would do with these arguments; without a collection as far as the recipe alone tells.

    Whether the precision of a training works is not asked: a plan may be for another machine.
    """
    chosen = _choose(recipe, overrides)
    material = None if collection is None else _open(chosen, collection, split, eval_collection, eval_split)
    folder = None if out is None else Path(out).absolute()
    if folder is not None:
        require_recipe_folder(folder)
    return make_plan(chosen, material, folder, fresh=fresh)


def run_recipe(
    recipe: Recipe | str | Path,
    collection: str | Path | Collection,
    out: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    split: str | None = None,
    eval_collection: str | Path | Collection | None = None,
    eval_split: str | None = None,
    fresh: bool = False,
    announce: Announce | None = None,
    show_progress: ShowProgress | None = None,
) -> RecipeReport:
    """Run what is left of a recipe, and give what it came to.

    On a CPU what is in `out` in the end is the same, byte for byte but for times, however often the run was killed.

    Args:
        recipe: A recipe, the name of one that comes with Everglade, or the path of a TOML file.
        collection: What to train on: anything that `open_collection` takes.
        out: The folder for everything.
        overrides: Settings to replace: "key" of the recipe, "STAGE.key" of a stage.
        split: The training queries; see `open_material` for what is taken without it.
        eval_collection: What to evaluate on, if not the same.
        eval_split: The queries to evaluate.
        fresh: Remove what earlier runs have left in `out`.
        announce: Called with one line before each stage.
        show_progress: Opens a callable that takes the progress of the stage it is given the name of.

    Raises:
        ConfigError: if recipe or settings cannot be used, here or at all, or `out` holds something else; all stages
            are checked before the first begins.
        InputError: if texts, judgements or training data cannot be used.
        CheckpointError: if a finished stage has been damaged.
        LockHeld: if another process runs a recipe in `out`.
    """
    chosen = _choose(recipe, overrides)
    chosen.resolve()
    material = _open(chosen, collection, split, eval_collection, eval_split)
    folder, digests = Path(out).absolute(), Digests()
    announce = announce or _say_nothing
    require_recipe_folder(folder)
    _check(make_plan(chosen, material, folder, fresh=fresh, digests=digests, estimates=False), material, announce)
    folder.mkdir(parents=True, exist_ok=True)
    with _only_process(folder):
        sweep(folder, folder / "set-aside", folder / "texts")
        if fresh:
            clear(folder)
        durable.write_bytes(folder / "recipe.toml", chosen.text.encode())
        plan = make_plan(chosen, material, folder, digests=digests, estimates=False)
        make_room(folder, dict(map(_place, plan.stages)))
        return _Run(plan, material, folder, announce, show_progress or _no_progress).all()


def _check(plan: Plan, material: Material, announce: Announce) -> None:
    """Say before the first stage what a later one would only find out hours after."""
    trained = [stage for stage in plan.stages if stage.state in ("run", "resumed")]
    for stage in trained:
        check_machine(stage.spec.kind, stage.settings, stage.spec.name)
    n_held, wanted = len(material.held), material.hold_out > 0
    chosen = [stage.spec.name for stage in trained if stage.spec.kind == "train" and stage.spec.own("give") == "best"]
    if wanted and chosen and n_held < FEW_HELD_OUT:
        announce(
            f"Only {n_held} of {n_held + len(material.qrels)} training queries are held out (hold_out = "
            f"{material.hold_out}): too few to choose the best step of {', '.join(chosen)} by. Set a larger hold_out."
        )


class _Run:
    """One pass through a plan."""

    def __init__(
        self,
        plan: Plan,
        material: Material,
        out: Path,
        announce: Announce,
        show_progress: ShowProgress,
    ) -> None:
        self._plan = plan
        self._material = material
        self._out = out
        self._announce = announce
        self._show_progress = show_progress
        self._stages: dict[str, PlannedStage] = {}
        self._outputs: dict[str, Path] = {}

    def all(self) -> RecipeReport:
        """Run every stage, and write the report."""
        times, rows, keys = [], [], {}
        for stage in self._plan.stages:
            folder, key = _place(stage)
            reused = (manifest := read_finished(folder, key)) is not None
            if manifest is None:
                manifest = self._run(stage, folder, key)
            else:
                self._announce(f"{self._title(stage)}: reused")
            tidy(folder)
            self._stages[stage.spec.name] = replace(stage, counts=manifest["counts"])
            self._outputs[stage.spec.name] = find_output(stage.spec, folder)
            taken = read_times(folder)
            times.append(StageTime(stage.spec.name, stage.spec.kind, taken.get("seconds", 0.0), reused))
            keys[stage.spec.name] = key
            if stage.spec.kind == "evaluate":
                rows.append(read_row(folder, taken))
        report = RecipeReport(self._plan.recipe.name, rows, times, dict(self._outputs), self._out / "report.json")
        write_report(report, keys, {**self._material.described, "overrides": self._plan.recipe.overrides})
        return report

    def _title(self, stage: PlannedStage) -> str:
        return f"[{stage.number}/{len(self._plan.stages)}] {stage.spec.name} ({stage.spec.kind})"

    def _run(self, stage: PlannedStage, folder: Path, key: str) -> dict[str, Any]:
        counts, work = count_work(stage, self._stages, self._material)
        known = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count is not None)
        resumed = is_begun(folder, key)
        if resumed and stage.spec.kind in _BY_PATH and read_about(folder).get("settings") != stage.settings:
            remove_folder(folder)
            resumed = False
        self._announce(f"{self._title(stage)}: {'going on, ' if resumed else ''}{known}".rstrip(": "))
        about = {
            "recipe": self._plan.recipe.name,
            "stage": stage.spec.name,
            "kind": stage.spec.kind,
            "key": key,
            "settings": stage.settings,
        }
        folder.mkdir(exist_ok=True)
        if not resumed:
            durable.write_json(folder / "stage.json", about)
        before = time_before(folder) if resumed else 0.0
        begin_timing(folder, before)
        spec = replace(stage.spec, values=put_paths(stage.spec, self._outputs))
        began = time.monotonic()
        with self._show_progress(stage.spec.name) as progress:
            task = Task(spec, folder, key, self._material, self._out / "texts", self._model_of(stage.spec), progress)
            outcome = run_stage(task)
        seconds = before + time.monotonic() - began
        times = {"stage": stage.spec.name, "kind": stage.spec.kind, "seconds": round(seconds, 3), "resumed": resumed}
        if work:
            times["seconds_per_row"] = seconds / work
        durable.write_json(folder / "times.json", {**times, **outcome.times})
        return finish_stage(
            folder,
            {
                **about,
                "inputs": stage.inputs,
                "seed": stage.settings.get("seed"),
                "counts": outcome.counts,
                "versions": versions(),
            },
        )

    def _model_of(self, spec: StageSpec) -> str | None:
        """Give the folder of the model whose vectors the index of an evaluation holds."""
        if spec.kind != "evaluate" or spec.own("index") == "bm25":
            return None
        index = self._stages[spec.own("index").removeprefix("@")].spec
        encoded = self._stages[index.own("vectors").removeprefix("@")].spec
        return str(put_paths(encoded, self._outputs)["model"])


def _choose(recipe: Recipe | str | Path, overrides: Mapping[str, Any] | None) -> Recipe:
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    return chosen.override(overrides or {})


def _open(
    recipe: Recipe,
    collection: str | Path | Collection,
    split: str | None,
    eval_collection: str | Path | Collection | None,
    eval_split: str | None,
) -> Material:
    settings = recipe.settings
    return open_material(
        collection,
        split=split,
        evaluated=eval_collection,
        eval_split=eval_split,
        hold_out=settings["hold_out"],
        validate_in=settings["validate_in"],
        seed=settings["seed"],
    )


def _place(stage: PlannedStage) -> tuple[Path, str]:
    assert stage.folder is not None and stage.key is not None, "a run has a folder and a collection"
    return stage.folder, stage.key


@contextmanager
def _only_process(out: Path) -> Iterator[None]:
    """Keep other processes from running a recipe in the same folder; the lock ends with the process."""
    descriptor = os.open(out / "run.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockHeld(out, None) from error
        yield
    finally:
        os.close(descriptor)


def _say_nothing(_: str) -> None:
    pass


def _no_progress(_: str) -> AbstractContextManager[ProgressCallback]:
    return nullcontext(lambda progress: None)
