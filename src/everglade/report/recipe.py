"""The page of a recipe's folder, and of the demo's: what was evaluated, how it was trained, where it fails."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from everglade.errors import EvergladeError, InputError
from everglade.evaluation.measures import PerQuery, evaluate_queries, summarise
from everglade.evaluation.significance import compare_values, interval_of_mean
from everglade.pages.page import Column, Page
from everglade.report.course import add_course, read_course
from everglade.report.effectiveness import Measured, add_frontier, add_measured
from everglade.report.provenance import add_provenance, describe_versions
from everglade.report.reading import read_json
from everglade.report.significance import add_comparisons
from everglade.report.worst import Answers, add_worst, find_worst

if TYPE_CHECKING:
    from everglade.assess.judged import JudgedSet
    from everglade.texts import Run

__all__ = ["report_recipe"]

SAME = 1e-6
"""What an evaluation found and what its run gives now are the same up to rounding."""


@dataclass(frozen=True)
class Stage:
    """A finished stage: its folder, what its manifest says, and what it took; None where times.json is gone."""

    folder: Path
    manifest: Mapping[str, Any]
    times: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.manifest["kind"])

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.manifest["stage"])


@dataclass(frozen=True)
class Evaluation:
    """An evaluation of the recipe: its stage, its line of the table and, if there are judgements, query by query."""

    stage: Stage
    result: Mapping[str, Any]
    run: Run | None = None
    per_query: PerQuery | None = None

    @property
    def label(self) -> str:
        """What it is called in the table."""
        return str(self.result["label"])


def report_recipe(
    folder: Path,
    command: str,
    judged: JudgedSet | None = None,
    worst: int = 8,
    *,
    title: str | None = None,
    caution: str = "",
    remarks: Sequence[str] = (),
) -> Page:
    """Make the page of a recipe.

    Args:
        folder: Where the recipe ran.
        command: What was typed.
        judged: What it was evaluated on; without it there are no tests and no worst queries.
        worst: How many of the worst queries to explain.
        title: Of the page; recipe and collection, if None.
        caution: What a reader must know first.
        remarks: What a reader of the table must know.

    Raises:
        InputError: if a file is missing or cannot be read, or the recipe was evaluated on something else than `judged`.
        MissingExtra: if matplotlib is not installed.
    """
    report = read_json(folder / "report.json")
    stages = [_read_stage(folder, one) for one in report["stages"]]
    evaluations = [_read_evaluation(stage, judged) for stage in stages if stage.kind == "evaluate"]
    where = f"{report['evaluated collection']}/{report['evaluated split']}"
    page = Page(
        title or f"{report['recipe']} on {report['collection']}", f"A recipe of Everglade, evaluated on {where}"
    )
    if caution:
        page.add_remark(caution)
    if evaluations:
        _add_results(page, evaluations, where)
    if remarks:
        page.add_list(remarks)
    for stage in stages:
        if (stage.folder / "log.jsonl").exists() and (stage.folder / "config.json").exists():
            page.add_heading(f"Training: {stage.name}")
            page.add_paragraph(_tell_training(stage))
            add_course(page, read_course(stage.folder / "log.jsonl"), read_json(stage.folder / "config.json"))
    if judged is not None:
        _add_worst(page, evaluations, stages, judged, worst)
    _add_times(page, stages)
    _add_provenance(page, folder, report, stages, command)
    return page


def _read_stage(out: Path, about: Mapping[str, Any]) -> Stage:
    """Find a stage by its name and key; its number may be another than its place."""
    for place in sorted(out.glob(f"[0-9]*-{about['name']}")):
        if (place / "manifest.json").is_file():
            manifest = read_json(place / "manifest.json")
            if manifest.get("key") == about["key"]:
                times = read_json(place / "times.json") if (place / "times.json").is_file() else {}
                return Stage(place, manifest, times)
    raise InputError(f"the stage {about['name']} of report.json is not there. Run the recipe again", out)


def _read_evaluation(stage: Stage, judged: JudgedSet | None) -> Evaluation:
    from everglade.texts import read_run

    result = read_json(stage.folder / "result.json")
    if judged is None:
        return Evaluation(stage, result)
    run = read_run(stage.folder / "run.trec")
    per_query = evaluate_queries(run, judged.qrels, list(result["measures"]))
    for name, value in summarise(per_query).items():
        if abs(value - result["measures"][name]) > SAME:
            raise InputError(
                f"{name} is {value:.4f} by {judged.name}, and the recipe found {result['measures'][name]:.4f}: it was "
                f"evaluated on something else. Name that collection and split",
                stage.folder / "run.trec",
            )
    return Evaluation(stage, result, run, per_query)


def _add_results(page: Page, evaluations: list[Evaluation], where: str) -> None:
    page.add_heading("What it came to")
    systems = [
        Measured(
            one.label,
            one.result["measures"],
            {
                "FLOPS": one.result.get("flops"),
                "query terms": one.result.get("query_terms"),
                "doc terms": one.result.get("document_terms"),
                "ms/query": one.stage.times.get("ms_per_query"),
            },
        )
        for one in evaluations
    ]
    add_measured(page, systems, f"{evaluations[0].result['queries']:,} queries of {where}")
    measure = next(iter(evaluations[0].result["measures"]))
    values = {one.label: one.per_query for one in evaluations if one.per_query is not None}
    spread = {
        name: interval_of_mean(np.array([row[measure] for row in rows.values()]))
        for name, rows in values.items()
        if len(rows) > 1
    }
    add_frontier(page, systems, measure, spread)
    subject = evaluations[-1].label
    if len(values) > 1 and len(values[subject]) > 1:
        add_comparisons(page, compare_values(values, subject, [measure]), subject, flipped=True)


def _tell_training(stage: Stage) -> str:
    settings = stage.manifest["settings"]
    said = f"{settings['steps']:,} steps of {settings['batch_size']}" if "batch_size" in settings else ""
    loss = f", loss {settings['loss']}" if "loss" in settings else ""
    target = "".join(
        f", {name.replace('_', ' ')} {settings[name]:g}"
        for name in ("target_flops", "target_doc_terms", "target_query_terms")
        if settings.get(name) is not None
    )
    return f"The stage {stage.name} ({stage.kind}): {said}{loss}{target}."


def _add_worst(page: Page, evaluations: list[Evaluation], stages: list[Stage], judged: JudgedSet, queries: int) -> None:
    """Explain the worst queries of the last evaluation that searched an index."""
    from everglade.assess.systems import System, SystemSpec
    from everglade.search import Index

    indexes = {stage.name: stage.folder / "index" for stage in stages if stage.kind == "index"}
    subject = next((one for one in reversed(evaluations) if _index_of(one, indexes) is not None), None)
    if subject is None or subject.run is None or subject.per_query is None or not queries:
        return
    place = _index_of(subject, indexes)
    measure = next(iter(subject.result["measures"]))
    page.add_heading("Where it fails")
    with ExitStack() as stack:
        system = None
        try:
            index = stack.enter_context(Index.open(str(place)))
            index.encoder  # noqa: B018 - loads the model, if it is still there
            system = System(SystemSpec(str(place), subject.label), judged, index=index)
        except EvergladeError as error:
            page.add_remark(f"The terms cannot be shown: {error}")
        answers = Answers(
            subject.run,
            subject.per_query,
            judged.qrels,
            judged.texts,
            explain=(lambda text, document: None) if system is None else system.explain,
            document=(lambda id: None) if system is None else index.document,
        )
        add_worst(page, find_worst(answers, measure, queries), measure, subject.label)


def _index_of(one: Evaluation, indexes: Mapping[str, Path]) -> Path | None:
    """Give the index that an evaluation searched; None for BM25."""
    return indexes.get(str(one.stage.manifest["settings"].get("index", "")).removeprefix("@"))


def _add_times(page: Page, stages: list[Stage]) -> None:
    page.add_heading("What each stage took")
    rows = [
        (
            stage.name,
            stage.kind,
            ", ".join(
                f"{name} {_count(value)}" for name, value in stage.manifest["counts"].items() if _is_plain(value)
            ),
            stage.times.get("seconds"),
        )
        for stage in stages
    ]
    known = [seconds for *_, seconds in rows if seconds is not None]
    page.add_table(
        ["stage", "kind", "what was done", Column("seconds", digits=1)],
        rows,
        f"The stages in their order, each with its seconds on this machine, interrupted calls included; together "
        f"{sum(known):,.0f} seconds.",
    )


def _is_plain(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _count(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _add_provenance(page: Page, folder: Path, report: Mapping[str, Any], stages: list[Stage], command: str) -> None:
    overrides = report.get("overrides") or {}
    inputs = {name: str(digest) for stage in stages for name, digest in stage.manifest["inputs"].items()}
    outer = ("documents", "training", "held", "evaluated documents", "judged")
    versions = stages[-1].manifest["versions"] if stages else {}
    recipe = folder / "recipe.toml"
    add_provenance(
        page,
        {
            "recipe": report["recipe"],
            "settings that were replaced": ", ".join(f"{key} = {value!r}" for key, value in overrides.items())
            or "none",
            "trained on": f"{report['collection']}/{report['split']}",
            "evaluated on": f"{report['evaluated collection']}/{report['evaluated split']}",
            "seeds": ", ".join(sorted({str(stage.manifest.get("seed")) for stage in stages} - {"None"})) or "none",
            "run with": ", ".join(f"{name} {version}" for name, version in versions.items()),
            "this page": describe_versions(),
            **{f"sha256 of {name}": inputs[name] for name in outer if name in inputs},
        },
        command,
        {
            "To run the recipe again, where recipe.toml is the file below": _rerun(report),
            "The recipe": recipe.read_text(encoding="utf-8") if recipe.is_file() else "",
            **{f"Stage {stage.name}: settings, inputs, hashes": dict(stage.manifest) for stage in stages},
        },
    )


def _rerun(report: Mapping[str, Any]) -> str:
    """Give the command that makes the same again; a collection is known by its name, not by where it lies."""
    words = ["everglade", "run", "recipe.toml", "--collection", report["collection"], "--split", report["split"]]
    if report["evaluated collection"] != report["collection"]:
        words += ["--eval-collection", report["evaluated collection"]]
    words += ["--eval-split", report["evaluated split"], "-o", "OUT"]
    for key, value in (report.get("overrides") or {}).items():
        words += ["--set", f"{key}={'none' if value is None else json.dumps(value, ensure_ascii=False)}"]
    return shlex.join(words)
