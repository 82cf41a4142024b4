"""The main job on the bundled collection and model: the recipe `self-distil-small`, and a page about what it came to.

    settings.json            what was run; other settings need another folder
    collection/              what the short demo works on
    recipe/                  every stage in a folder of its own (everglade.recipes)
    qrels.tsv                the judgements the numbers are measured with
    report.md report.json    the table
    report.html              figures, training curves and the worst queries, explained

The recipe's stages are not run again once they are finished, so an interrupted demo goes on where it stopped.
"""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

from everglade import __version__, durable
from everglade.bundled import bundled_collection
from everglade.demo.material import write_short_collection
from everglade.demo.report import DemoReport, write_page, write_report
from everglade.errors import ConfigError
from everglade.recipes.recipe import load_recipe
from everglade.recipes.report import Row
from everglade.recipes.runner import Announce, ShowProgress, run_recipe
from everglade.texts import Qrels, group_qrels, open_collection

__all__ = ["run_demo"]

RECIPE = "self-distil-small"
COMPARED = ("nDCG@10", "RR@10", "R@100")
SHORT = {
    "first.steps": 20,
    "first.lambda_ramp_steps": 20,
    "first.validate_every": 20,
    "teacher.steps": 6,
    "teacher.validate_every": 6,
    "train.steps": 24,
    "train.lambda_ramp_steps": 20,
    "train.validate_every": 24,
}


def run_demo(
    out: Path, *, short: bool = False, fresh: bool = False, announce: Announce, show_progress: ShowProgress
) -> DemoReport:
    """Run every stage whose output does not stand yet, and write the report.

    Args:
        out: The folder for everything the demo makes.
        short: Use a part of the collection and few steps.
        fresh: Throw away the demo that is in `out`.
        announce: Called with one line before each stage.
        show_progress: Opens a callable that takes the progress of the stage it is given the name of.

    Raises:
        ConfigError: if `out` holds a demo with other settings, or something else.
    """
    recipe = load_recipe(RECIPE).override(SHORT if short else {})
    settings = {"everglade": __version__, "recipe": RECIPE, "short": short}
    begin_folder(out, settings, fresh=fresh)
    place = bundled_collection()
    if short:
        place = out / "collection"
        write_short_collection(place)
    collection = open_collection(place)
    qrels = group_qrels(collection.qrels("test"))
    write_qrels(qrels, out / "qrels.tsv")
    announce(f"the recipe {RECIPE} on SciFact, {len(qrels)} test queries; everything in {out}")
    found = run_recipe(recipe, collection, out / "recipe", announce=announce, show_progress=show_progress)
    runs = [str(path.relative_to(out.absolute())) for path in found.outputs.values() if path.name == "run.trec"]
    remarks = [*list_differences(found.rows), *list_remarks(len(qrels), short=short)]
    report = write_report(found, remarks, out, settings, runs)
    announce("the page of the report")
    return write_page(report, out)


def begin_folder(out: Path, settings: dict[str, Any], *, fresh: bool) -> None:
    """Make the demo's folder, or make sure that the one there was begun with the same settings."""
    file = out / "settings.json"
    if fresh and file.exists():
        shutil.rmtree(out)
    if out.exists() and not file.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} holds something that is not a demo. Name another folder with --out.")
    if file.exists() and json.loads(file.read_text(encoding="utf-8")) != settings:
        raise ConfigError(
            f"{out} holds a demo with other settings. Start it again with --fresh, or name another --out."
        )
    out.mkdir(parents=True, exist_ok=True)
    durable.write_json(file, settings)


def write_qrels(qrels: Qrels, path: Path) -> None:
    """Write judgements in the TREC form."""
    lines = [f"{query} 0 {document} {value}\n" for query, judged in qrels.items() for document, value in judged.items()]
    durable.write_bytes(path, "".join(lines).encode())


def list_differences(rows: list[Row]) -> list[str]:
    """Say what each model gains or loses against the row before it."""
    lines = []
    for before, row in pairwise(rows):
        changes = [f"{name} {row.measures[name] - before.measures[name]:+.4f}" for name in COMPARED]
        cost = "" if not (before.flops and row.flops) else f", FLOPS x {row.flops / before.flops:.2f}"
        lines.append(f"{row.label}, against {before.label}: {', '.join(changes)}{cost}.")
    return lines


def list_remarks(n_queries: int, *, short: bool) -> list[str]:
    """Say what a reader of the table must know."""
    remarks = [
        f"{n_queries} test queries of SciFact; trained on its train split, as `everglade run {RECIPE} --show` says.",
        "FLOPS: mean number of terms that a random query and a random document share.",
        "ms/query: median, encoding included, one query at a time, k = 10.",
        "Two in three of the relevant test documents are relevant in the train split too.",
    ]
    caution = "Short demo: a part of the collection and few steps. The numbers say nothing about quality."
    return [caution, *remarks] if short else remarks
