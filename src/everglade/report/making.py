"""From paths to a page: what lies there decides which page it is."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everglade.errors import ConfigError
from everglade.report.reading import find_kind, read_json

if TYPE_CHECKING:
    from everglade.assess.judged import JudgedSet
    from everglade.assess.systems import Workplace
    from everglade.pages.page import Page

__all__ = ["make_report"]

_ONLY_SYSTEMS = ("compare", "measures", "convention", "model")


def make_report(
    sources: Sequence[str],
    *,
    collection: str | None = None,
    split: str | None = None,
    queries: str | Path | None = None,
    workplace: Workplace | None = None,
    worst: int = 8,
    moved: int = 5,
    command: str | None = None,
    **systems: Any,  # noqa: ANN401 - settings of `report_comparison`, checked there
) -> Page:
    """Make the page of one folder, or of systems on a collection.

    Args:
        sources: The folder of a recipe, the demo, a training or a study; or run files, indexes and models, each as a
            path or as NAME=PATH.
        collection: What was evaluated on, or what systems are measured on: a collection or a qrels file.
        split: The collection's split; the one that a recipe was evaluated on, if None.
        queries: Queries that go with a qrels file.
        workplace: How systems are asked.
        worst: How many of the worst queries to explain.
        moved: How many of the queries that moved most to explain.
        command: What was typed, to be shown on the page.
        systems: Of systems alone: "compare", the baseline; "measures"; "convention"; "model", that of an index.

    Raises:
        ConfigError: if several folders are named, or a setting does not fit what lies there.
        InputError: if something cannot be read.
        MissingExtra: if matplotlib is not installed.
    """
    command = command or "everglade report " + shlex.join(sources)
    kinds = {source: find_kind(source) for source in sources}
    folders = [source for source, kind in kinds.items() if kind != "system"]
    if not folders:
        return _of_systems(sources, collection, split, queries, workplace, worst, moved, command, systems)
    if len(sources) > 1:
        raise ConfigError(
            f"{folders[0]} is the folder of a {kinds[folders[0]]}, which has a page of its own. Report it alone."
        )
    if given := [name for name in _ONLY_SYSTEMS if systems.get(name) is not None]:
        raise ConfigError(f"{', '.join(given)}: for systems that are measured, and {folders[0]} is no such.")
    return _of_folder(Path(folders[0]), kinds[folders[0]], collection, split, queries, workplace, worst, moved, command)


def _of_folder(
    folder: Path,
    kind: str,
    collection: str | None,
    split: str | None,
    queries: str | Path | None,
    workplace: Workplace | None,
    worst: int,
    moved: int,
    command: str,
) -> Page:
    named = {"--collection": collection, "--split": split, "--queries": queries}
    given = [name for name, value in named.items() if value is not None]
    if kind == "training":
        from everglade.report.training import report_training

        if given:
            raise ConfigError(f"{', '.join(given)}: nothing of a training is measured again. Leave it out.")
        return report_training(folder, command)
    if kind == "study":
        from everglade.report.study import report_study

        if given and collection is None:
            raise ConfigError(f"{', '.join(given)}: of a collection. Name it with --collection.")
        judged = None if collection is None else _open(collection, split, queries)
        return report_study(folder, command, judged, workplace, moved, worst)
    from everglade.report.recipe import report_recipe

    if kind == "demo":
        return _of_demo(folder, collection, split, queries, worst, command)
    if collection is not None and split is None and not Path(collection).is_file():
        split = read_json(folder / "report.json")["evaluated split"]
    return report_recipe(folder, command, None if collection is None else _open(collection, split, queries), worst)


def _of_demo(
    folder: Path, collection: str | None, split: str | None, queries: str | Path | None, worst: int, command: str
) -> Page:
    from everglade.bundled import bundled_collection
    from everglade.report.recipe import report_recipe

    short, told = folder / "collection", read_json(folder / "report.json")
    is_short = short.is_dir()
    judged = _open(collection or str(short if is_short else bundled_collection()), split or "test", queries)
    return report_recipe(
        folder / "recipe",
        command,
        judged,
        worst,
        title=f"The demo: {told['recipe']} on {'a part of ' if is_short else ''}SciFact",
        caution="A part of the collection and few steps: the numbers say nothing about quality." if is_short else "",
        remarks=[] if is_short else told.get("remarks", []),
    )


def _of_systems(
    sources: Sequence[str],
    collection: str | None,
    split: str | None,
    queries: str | Path | None,
    workplace: Workplace | None,
    worst: int,
    moved: int,
    command: str,
    settings: Mapping[str, Any],
) -> Page:
    from everglade.assess.systems import SystemSpec, name_sources
    from everglade.report.comparison import report_comparison

    if collection is None:
        raise ConfigError(
            f"{sources[0]} is not the folder of a recipe, a training or a study. To measure it as a run file, an index "
            f"or a model, say on what with --collection."
        )
    names = name_sources(sources)
    model = settings.get("model")
    specs = [SystemSpec(source, name) for name, source in names.items()]
    indexes = [spec for spec in specs if spec.kind == "index"]
    if model is not None and len(indexes) != 1:
        raise ConfigError(f"--model says where the model of one index lies, and {len(indexes)} were named.")
    specs = [spec._replace(model=model) if spec.kind == "index" else spec for spec in specs]
    baseline = settings.get("compare")
    if baseline is not None and baseline not in names:
        baseline = next((name for name, source in names.items() if source == baseline), baseline)
    return report_comparison(
        specs,
        _open(collection, split, queries),
        command,
        baseline,
        settings.get("measures"),
        settings.get("convention") or "plain",
        workplace,
        moved,
        worst,
    )


def _open(collection: str, split: str | None, queries: str | Path | None) -> JudgedSet:
    from everglade.assess.judged import open_judged

    return open_judged(collection, split, queries)
