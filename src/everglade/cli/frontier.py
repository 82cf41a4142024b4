"""`everglade frontier`: effectiveness against cost, swept over models and settings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from everglade.cli.options import AsJson, Quiet, Threads, limit_threads
from everglade.cli.output import print_json, print_table, show_progress
from everglade.cli.settings import parse_pair
from everglade.errors import ConfigError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from everglade.frontier.models import FrontierModel
    from everglade.frontier.reproduce import Reproduced
    from everglade.frontier.settings import FrontierSettings
    from everglade.frontier.sweep import Frontier

__all__ = ["frontier"]

Source = Annotated[str | None, typer.Argument(help="Collection to search; the word bundled means SciFact.")]
Split = Annotated[str | None, typer.Option(help="The collection's split, such as test.")]
Model = Annotated[
    list[str] | None,
    typer.Option("--model", help="Model folder or hub id, NAME=PATH, or the word bundled; may be repeated."),
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the frontier and all it is made from.")]
DocumentTerms = Annotated[str | None, typer.Option(help="Heaviest terms of a document to index: 32,64,all.")]
Prune = Annotated[str | None, typer.Option(help="Postings to keep: document:64,threshold:0.5,term:0.5,none.")]
QueryTerms = Annotated[str | None, typer.Option(help="Heaviest terms of a query to search: 8,16,all.")]
Bits = Annotated[str | None, typer.Option(help="Bits of impacts: 8,16,float.")]
Recall = Annotated[str | None, typer.Option(help="Share of the exact hits that will do: 0.95,0.99,exact.")]
Cross = Annotated[bool, typer.Option("--cross", help="Every combination of the values, not each alone.")]
Recipe = Annotated[str | None, typer.Option(help="Train the models too, by this recipe.")]
Sweep = Annotated[
    list[str] | None, typer.Option("--sweep", help="With --recipe: a setting and its values, key=3,6,9; may repeat.")
]
Setting = Annotated[list[str] | None, typer.Option("--set", help="With --recipe: a setting, as key=value; may repeat.")]
TrainOn = Annotated[str | None, typer.Option(help="With --recipe: collection to train on, if not the same.")]
TrainSplit = Annotated[str | None, typer.Option(help="With --recipe: split to train on; train, if there is one.")]
Depth = Annotated[int, typer.Option("-k", min=1, help="Hits for each query, measured and timed alike.")]
Measures = Annotated[
    list[str] | None, typer.Option("--measure", "-m", help="Measure as ir-measures writes it; the first is drawn.")
]
ConventionName = Annotated[str, typer.Option(help="How to measure: plain, beir, trec-dl or msmarco.")]
Queries = Annotated[int, typer.Option(min=0, help="Judge by so many queries, evenly from all; 0 means all.")]
TimedQueries = Annotated[int, typer.Option(min=1, help="Queries that are asked one by one to time them.")]
Repeats = Annotated[int, typer.Option(min=1, help="How often they are timed.")]
Seed = Annotated[int, typer.Option(help="Seed of the bootstrap intervals.")]
Again = Annotated[Path | None, typer.Option("--reproduce", help="A frontier.json, of which --point is made again.")]
PointNumber = Annotated[int | None, typer.Option("--point", min=1, help="With --reproduce: the point.")]

_NOT_OF_A_ROW = ("collection", "model", "out", "reproduce", "point", "threads", "quiet", "as_json", "help")


def frontier(
    context: typer.Context,
    collection: Source = None,
    split: Split = None,
    model: Model = None,
    out: Out = None,
    document_terms: DocumentTerms = None,
    prune: Prune = None,
    query_terms: QueryTerms = None,
    bits: Bits = None,
    recall: Recall = None,
    cross: Cross = False,
    recipe: Recipe = None,
    sweep: Sweep = None,
    setting: Setting = None,
    train_on: TrainOn = None,
    train_split: TrainSplit = None,
    k: Depth = 100,
    measure: Measures = None,
    convention: ConventionName = "plain",
    queries: Queries = 0,
    timed_queries: TimedQueries = 200,
    repeats: Repeats = 5,
    seed: Seed = 0,
    reproduce: Again = None,
    point: PointNumber = None,
    threads: Threads = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Sweep models and settings, and draw effectiveness against FLOPS, latency and bytes.

    A point is a model with settings: heaviest terms of documents or queries, pruned postings, bits of impacts,
    approximate search. Each value is tried alone beside the point that changes nothing, or with --cross every
    combination of those named. Where none is named, fourteen usual points are; eleven where k is so large that every
    search is exact. Each model reads the collection once.

    OUT gets frontier.json with a row for each point, figures as SVG and PNG with the Pareto front, and frontier.html,
    one page without scripts or network. Finished rows are kept: an interrupted sweep goes on when the same command is
    given again.

    With --recipe the models are trained first, one for each combination of the --sweep values.

    --reproduce makes one point again from its row and says whether it is the same.

    Example: everglade frontier scifact --split test --model MODEL -o out

    Example: everglade frontier scifact --split test --model old=OLD --model new=NEW --document-terms 64,128,all -o out

    Example: everglade frontier scifact --split test --recipe self-distil-small --sweep target_flops=3,6,9 -o out

    Example: everglade frontier --reproduce out/frontier.json --point 7
    """
    shown = _Shown(quiet, as_json)
    limit_threads(threads)
    if reproduce is not None:
        _check_reproduce(context, point)
        _make_again(reproduce, point or 0, out, collection, model, threads, shown)
        return
    if point is not None:
        raise ConfigError("--point says which point to make again. Name the file it stands in with --reproduce.")
    if collection is None or out is None:
        raise ConfigError("name a collection, and the folder to leave the frontier in with --out.")
    if recipe is None and (sweep or setting or train_on or train_split):
        raise ConfigError("--sweep, --set, --train-on and --train-split belong to a recipe. Name one with --recipe.")
    from everglade.frontier.settings import FrontierSettings

    settings = FrontierSettings(
        document_terms=_values(document_terms, int, "all", "--document-terms"),
        prune=_values(prune, str, "none", "--prune"),
        query_terms=_values(query_terms, int, "all", "--query-terms"),
        bits=_values(bits, str, None, "--bits"),
        recall=_values(recall, float, "exact", "--recall"),
        cross=cross,
        k=k,
        measures=tuple(measure or ()),
        convention=convention,
        queries=queries,
        timed_queries=timed_queries,
        repeats=repeats,
        threads=threads,
        seed=seed,
    )
    _require_figures()
    training = None if recipe is None else _Training(recipe, sweep or [], setting or [], train_on, train_split)
    _sweep(collection, split, model or [], out, settings, training, shown)


class _Shown(NamedTuple):
    """What a person sees meanwhile and in the end."""

    quiet: bool
    as_json: bool

    def announce(self, line: str) -> None:
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)


class _Training(NamedTuple):
    """How the models are trained."""

    recipe: str
    swept: list[str]
    fixed: list[str]
    collection: str | None
    split: str | None


def _values(words: str | None, kind: Callable[[str], Any], all_of_it: str | None, option: str) -> tuple[Any, ...]:
    """Read values with commas between them; one word stands for the usual value."""
    if words is None:
        return ()
    values = []
    for word in map(str.strip, words.split(",")):
        try:
            values.append(None if word == all_of_it else kind(word))
        except ValueError:
            usual = f", or {all_of_it}" if all_of_it else ""
            raise ConfigError(f"{option} {words!r}: {word!r} is no number{usual}. Example: {option} 64,32.") from None
    return tuple(values)


def _require_figures() -> None:
    """Say before hours of work that the figures could not be drawn."""
    from importlib.util import find_spec

    from everglade.errors import MissingExtra

    if find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib", "figures")


def _check_reproduce(context: typer.Context, point: int | None) -> None:
    """Refuse what a row says itself: only where things lie, and how to work, may be said."""
    if point is None:
        raise ConfigError("say which point to make again with --point.")
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name not in _NOT_OF_A_ROW
        and (source := context.get_parameter_source(str(option.name))) is not None
        and source.name == "COMMANDLINE"
    ]
    if given:
        raise ConfigError(f"{', '.join(given)}: not with --reproduce, which takes everything from the row.")


def _make_again(
    file: Path,
    point: int,
    out: Path | None,
    collection: str | None,
    model: list[str] | None,
    threads: int,
    shown: _Shown,
) -> None:
    from everglade.frontier.reproduce import reproduce

    if model and len(model) > 1:
        raise ConfigError("--model says where the model of the point lies: name one.")
    found = reproduce(
        file,
        point,
        out,
        collection=collection,
        model=model[0] if model else None,
        threads=threads,
        announce=shown.announce,
        show_progress=lambda what: show_progress(what, quiet=shown.quiet),
    )
    print_json(found.to_dict()) if shown.as_json else _print_reproduced(found)
    if not found.is_equal:
        raise InputError(
            f"point {point} is not what its row says ({'; '.join(found.differences)}): other software, or another "
            f"processor?",
            file,
        )


def _print_reproduced(found: Reproduced) -> None:
    before, now = found.before, found.now
    print(f"point {before.number}: {before.model}, {before.choice.label}")
    names = ["flops", "query_terms", "document_terms", "postings_read", "bytes_per_document", "search_ms", "whole_ms"]
    rows: list[tuple[str, float, float]] = [
        (name, before.measures[name]["mean"], now.measures[name]["mean"]) for name in before.measures
    ]
    rows += [(name.replace("_", " "), getattr(before, name), getattr(now, name)) for name in names]
    print_table(["", "row", "now"], rows)
    print("The same but for the times." if found.is_equal else "Not the same.")


def _sweep(
    collection: str,
    split: str | None,
    words: list[str],
    out: Path,
    settings: FrontierSettings,
    training: _Training | None,
    shown: _Shown,
) -> None:
    from everglade.frontier.models import name_models
    from everglade.frontier.page import write_pictures
    from everglade.frontier.sweep import Source, sweep

    source = Source(collection, split)
    models = name_models(words)
    if training is not None:
        models += _train(training, source, out, shown)
    found = sweep(
        source,
        models,
        out,
        settings,
        announce=shown.announce,
        show_progress=lambda what: show_progress(what, quiet=shown.quiet),
    )
    pictures = write_pictures(found, out)
    if shown.as_json:
        print_json(found.to_dict())
        return
    _print_frontier(found)
    print(f"page: {pictures[0]}")


def _train(training: _Training, source: Any, out: Path, shown: _Shown) -> list[FrontierModel]:  # noqa: ANN401 - a Source
    from everglade.frontier.sweep import only_process
    from everglade.frontier.trained import train_models

    swept = {key: values for key, values in map(_parse_sweep, training.swept)}
    with only_process(out) as work:
        return train_models(
            training.recipe,
            swept,
            source,
            work,
            fixed=dict(map(parse_pair, training.fixed)),
            train_on=training.collection,
            train_split=training.split,
            announce=shown.announce,
            show_progress=lambda what: show_progress(what, quiet=shown.quiet),
        )


def _parse_sweep(words: str) -> tuple[str, list[Any]]:
    """Read "key=3,6,9"."""
    key, equals, values = words.partition("=")
    if not equals or not values:
        raise ConfigError(f"--sweep {words!r} is not of the form key=value,value. Example: --sweep target_flops=3,6,9.")
    return key.strip(), [parse_pair(f"{key}={value}")[1] for value in values.split(",")]


def _print_frontier(found: Frontier) -> None:
    from everglade.frontier.rows import COSTS

    about, measures = found.about, list(found.rows[0].measures)
    print(f"{about['name']}, {about['documents']:,} documents, {about['queries']:,} judged queries")
    fronts = {place for cost in found.costs for place in found.front(cost)}
    print_table(
        ["point", "model", "what it is", *measures, "FLOPS", "postings", "bytes/doc", "search ms", "p99", "whole ms"],
        [
            (
                f"{row.number}{' *' if place in fronts else ''}",
                row.model,
                row.choice.label,
                *(row.measures[name]["mean"] for name in measures),
                f"{row.flops:.2f}",
                round(row.postings_read),
                round(row.bytes_per_document),
                f"{row.search_ms:.3f}",
                f"{row.latency_ms['search']['p99']:.3f}",
                f"{row.whole_ms:.2f}",
            )
            for place, row in enumerate(found.rows)
        ],
        text_columns=3,
    )
    print("* on the Pareto front of a cost: " + ", ".join(COSTS[cost].name for cost in found.costs))
