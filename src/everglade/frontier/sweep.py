"""A frontier, point by point, in a folder of its own: what is done is kept, and an interrupted sweep goes on.

OUT/frontier.json                every row, and what made them
OUT/frontier.html, .svg, .png    the pictures, see page.py
OUT/work/                        vectors, finished rows, trained models; it may be removed once nothing is left to do
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everglade import durable
from everglade.assess.judged import open_judged
from everglade.assess.machine import describe_machine
from everglade.errors import ConfigError, LockHeld
from everglade.evaluation.front import pareto_front
from everglade.frontier.measuring import made_index, measure_point
from everglade.frontier.models import FrontierModel, Material, resolve_collection
from everglade.frontier.rows import COSTS, Row, read_row, row_key, write_command

if TYPE_CHECKING:
    from everglade.frontier.settings import Choice, FrontierSettings
    from everglade.progress import ProgressCallback

__all__ = [
    "Announce",
    "Frontier",
    "ShowProgress",
    "Source",
    "measure_choices",
    "no_progress",
    "only_process",
    "open_material",
    "say_nothing",
    "sweep",
]

Announce = Callable[[str], None]
ShowProgress = Callable[[str], AbstractContextManager["ProgressCallback"]]


@dataclass(frozen=True, slots=True)
class Source:
    """What a frontier is measured on, as it was named.

    Attributes:
        collection: A collection, a qrels file cannot be one; the word bundled means SciFact.
        split: The collection's split; its only one need not be named.
    """

    collection: str
    split: str | None = None


@dataclass(frozen=True)
class Frontier:
    """What a sweep came to.

    Attributes:
        source: What it was measured on.
        about: The collection in figures: name, documents, queries, digest.
        settings: What was swept, and how.
        models: The models, as `FrontierModel.to_dict` gives them.
        rows: One for each point.
        machine: What it was measured with.
    """

    source: Source
    about: dict[str, Any]
    settings: FrontierSettings
    models: list[dict[str, Any]]
    rows: list[Row]
    machine: dict[str, Any]

    @property
    def measure(self) -> str:
        """The measure that is drawn."""
        return self.settings.measured[0]

    @property
    def costs(self) -> list[str]:
        """The names in `COSTS` that tell points apart: a single model encodes queries alike for all of them."""
        return [cost for cost in COSTS if cost != "whole_ms" or len(self.models) > 1]

    def front(self, cost: str) -> list[int]:
        """Give the places in `rows` of the points that no other beats in one cost, the cheapest first."""
        values = [row.measures[self.measure]["mean"] for row in self.rows]
        return pareto_front([getattr(row, cost) for row in self.rows], values)

    def command(self, row: Row) -> str:
        """Give the command that makes a point again; of a model that was trained here, beside frontier.json."""
        model = next(model for model in self.models if model["label"] == row.model)
        if model.get("recipe"):
            return f"everglade frontier --reproduce frontier.json --point {row.number}"
        return write_command(self.source.collection, self.source.split, model["source"], row.choice, self.settings)

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain JSON values; each row has its command."""
        return {
            "format": "everglade-frontier",
            "version": 1,
            "collection": {"source": self.source.collection, "split": self.source.split, **self.about},
            "settings": self.settings.to_dict(),
            "models": self.models,
            "rows": [{**row.to_dict(), "label": row.choice.label, "command": self.command(row)} for row in self.rows],
            "fronts": {cost: [self.rows[place].number for place in self.front(cost)] for cost in self.costs},
            "machine": self.machine,
        }


def sweep(
    source: Source,
    models: Sequence[FrontierModel],
    out: str | Path,
    settings: FrontierSettings,
    *,
    announce: Announce | None = None,
    show_progress: ShowProgress | None = None,
) -> Frontier:
    """Measure every point of every model, and write OUT/frontier.json.

    A document is encoded once for each model. Rows that an earlier call with the same texts, model and settings has
    finished are taken as they are, times included.

    Args:
        source: What to measure on.
        models: The models.
        out: The folder for everything.
        settings: What is swept, and how.
        announce: Called with one line before each point.
        show_progress: Opens a callable that takes the progress of what it is given the name of.

    Raises:
        ConfigError: if there is no model, or the folder holds something else.
        InputError: if texts or judgements cannot be used.
        ModelError: if a model cannot be opened.
        LockHeld: if another process is sweeping into the same folder.
    """
    if not models:
        raise ConfigError("there is no model to measure. Name at least one.")
    out = Path(out)
    announce = announce or say_nothing
    machine = describe_machine()
    material = open_material(source, settings)
    with only_process(out) as work:
        rows: list[Row] = []
        for model in models:
            rows += _sweep_model(model, material, work, settings, len(rows), announce, show_progress or no_progress)
        found = Frontier(source, describe(material), settings, [one.to_dict() for one in models], rows, machine)
        durable.write_json(out / "frontier.json", found.to_dict())
    return found


def open_material(source: Source, settings: FrontierSettings) -> Material:
    """Open what is measured on."""
    return Material(open_judged(resolve_collection(source.collection), source.split), settings.queries)


def describe(material: Material) -> dict[str, Any]:
    """Give what is to be known of the material as plain JSON values."""
    return {
        "name": material.judged.name,
        "documents": material.judged.n_documents,
        "queries": len(material.qrels),
        "judgements": sum(map(len, material.qrels.values())),
        "digest": material.digest,
    }


def _sweep_model(
    model: FrontierModel,
    material: Material,
    work: Path,
    settings: FrontierSettings,
    before: int,
    announce: Announce,
    show_progress: ShowProgress,
) -> list[Row]:
    """Give the rows of one model, measuring those that are not there; numbers go on from `before`."""
    numbers = {choice: number for number, choice in enumerate(settings.choices(), start=before + 1)}
    keys = {choice: row_key(material.digest, model.fingerprint, choice, settings) for choice in numbers}
    files = {choice: work / "rows" / f"{key}.json" for choice, key in keys.items()}
    missing = {choice: number for choice, number in numbers.items() if not files[choice].exists()}
    for row in measure_choices(model, material, work, settings, missing, announce, show_progress):
        durable.write_json(files[row.choice], row.to_dict())
    rows = [read_row(files[choice], number, model.label) for choice, number in numbers.items()]
    return [row for row in rows if row is not None]


def measure_choices(
    model: FrontierModel,
    material: Material,
    work: Path,
    settings: FrontierSettings,
    numbers: Mapping[Choice, int],
    announce: Announce,
    show_progress: ShowProgress,
) -> Iterator[Row]:
    """Measure the points of one model, those of one index together.

    Args:
        model: The model.
        material: What it is measured on.
        work: Where vectors are kept, and indexes made.
        settings: How points are measured.
        numbers: The points, and the number of each.
        announce: Called with one line before each point.
        show_progress: As `sweep` takes it.
    """
    if not numbers:
        return
    with show_progress(f"documents, {model.label}") as progress:
        vectors = model.encode_documents(material, work, settings.threads, progress)
    with show_progress(f"queries, {model.label}") as progress:
        queries = model.encode_queries(material, work, settings.threads, progress)
    encoding = model.time_queries(material, work, settings)
    alike: dict[tuple[Any, ...], list[Choice]] = {}
    for choice in numbers:
        alike.setdefault(choice.index_key, []).append(choice)
    for choices in alike.values():
        with made_index(vectors, choices[0], work) as store:
            for choice in choices:
                announce(f"point {numbers[choice]}: {model.label}, {choice.label}")
                yield measure_point(numbers[choice], model.label, store, queries, encoding, material, choice, settings)


@contextmanager
def only_process(out: Path) -> Iterator[Path]:
    """Give OUT/work, kept from other processes meanwhile; what a killed one left half done is removed.

    Raises:
        ConfigError: if `out` holds something else than a frontier.
        LockHeld: if another process is at work there.
    """
    known = (out / "work").is_dir() or (out / "frontier.json").is_file()
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not known)):
        raise ConfigError(f"{out} holds something else than a frontier. Name another folder with --out.")
    work = out / "work"
    (work / "rows").mkdir(parents=True, exist_ok=True)
    descriptor = os.open(work / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockHeld(out, None) from error
        for left in work.glob("index-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield work
    finally:
        os.close(descriptor)


def say_nothing(_: str) -> None:
    """Take a line, and do nothing with it."""


def no_progress(_: str) -> AbstractContextManager[ProgressCallback]:
    """Give what takes progress and does nothing with it."""
    return nullcontext(lambda progress: None)
