"""`everglade evaluate`: runs, indexes and models against judgements, beside a baseline, or on a suite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from everglade.cli.evaluation_tables import print_compared, print_one, print_per_query, print_suite
from everglade.cli.options import (
    AsJson,
    DocumentPrefix,
    PassageOverlap,
    Passages,
    QueryPrefix,
    Quiet,
    Threads,
    limit_threads,
    name_options,
    pick_given,
)
from everglade.cli.output import check_place, print_json, show_progress
from everglade.cli.systems import SETTINGS, read_systems
from everglade.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everglade.assess.assessment import Assessment
    from everglade.assess.systems import SystemSpec
    from everglade.evaluation.measures import PerQuery

__all__ = ["evaluate"]

Words = Annotated[
    list[str],
    typer.Argument(
        metavar="SYSTEM... [COLLECTION]",
        help="Run files, index folders, model folders or hub ids, the word bundled, each also as NAME=PATH; then a "
        "collection or qrels file, unless --suite.",
    ),
]
Split = Annotated[str | None, typer.Option(help="The collection's split, such as test.")]
QueriesFile = Annotated[Path | None, typer.Option("--queries", help="Queries that go with a qrels file.")]
Measures = Annotated[
    list[str] | None,
    typer.Option("--measure", "-m", help="Measure as ir-measures writes it, or RCap@100; may be repeated."),
]
ConventionName = Annotated[str | None, typer.Option(help="How to measure: plain, beir, trec-dl or msmarco.")]
Depth = Annotated[int | None, typer.Option("-k", min=1, help="Hits to find for each query; 1000 if not given.")]
Baseline = Annotated[str | None, typer.Option("--compare", help="System that the others are compared with.")]
Moved = Annotated[
    int | None,
    typer.Option(min=0, help="With --compare: how many of the queries that moved most to explain; 5 if not given."),
]
Seed = Annotated[int | None, typer.Option(help="With --compare: seed of the resampling; 0 if not given.")]
PerQueryFlag = Annotated[bool, typer.Option("--per-query", help="Give every query's values too.")]
PerQueryOut = Annotated[
    Path | None, typer.Option(help="Write every query's values here: TSV, or JSON by a .json name.")
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Also write the run here; of a suite, a folder for SET.trec.")
]
SuiteName = Annotated[
    str | None, typer.Option("--suite", help="beir-13, nano-beir, trec-dl, msmarco-dev, or a TOML file of your own.")
]
Sets = Annotated[
    Path | None, typer.Option(help="With --suite: folder with a folder for each set; ir_datasets if not given.")
]
OnlySet = Annotated[list[str] | None, typer.Option("--set", help="With --suite: only this set; may be repeated.")]
AnyCounts = Annotated[
    bool, typer.Option("--any-counts", help="With --suite: go on where a set has other counts than expected.")
]
Own = Annotated[
    list[str] | None,
    typer.Option("--with", help=f"NAME.key=value, a setting of one system: {', '.join(SETTINGS)}; may be repeated."),
]
IndexModel = Annotated[str | None, typer.Option(help="Model of an index, where it is not where the index says.")]


def evaluate(
    words: Words,
    split: Split = None,
    queries: QueriesFile = None,
    measure: Measures = None,
    convention: ConventionName = None,
    k: Depth = None,
    compare: Baseline = None,
    moved: Moved = None,
    seed: Seed = None,
    per_query: PerQueryFlag = False,
    per_query_out: PerQueryOut = None,
    out: Out = None,
    suite: SuiteName = None,
    sets: Sets = None,
    only_set: OnlySet = None,
    any_counts: AnyCounts = False,
    model: IndexModel = None,
    own: Own = None,
    query_prefix: QueryPrefix = None,
    document_prefix: DocumentPrefix = None,
    passages: Passages = None,
    passage_overlap: PassageOverlap = None,
    threads: Threads = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure run files, indexes or models on a collection.

    A run file is measured as it stands, an index answers the collection's queries, and a model first reads its
    documents into an index in a temporary folder. Of an index or a model the cost is given too: FLOPS, mean active
    terms of queries and documents, milliseconds a query. FLOPS and terms are those of whole vectors, also where a
    pruned index searches a part of them.

    Ties: of equal scores the smaller document id stands first, for every measure. A judged query without a hit counts
    as zero, and how many there are is said; a query without judgements is left out.

    Conventions: "plain"; "beir" leaves out the document with the query's own id, of k + 1 hits; "trec-dl" takes
    judgements from 2 on for relevant in binary measures; "msmarco" measures RR@10 and R@1000.

    --compare gives paired tests against a baseline, corrected for the number of systems, confidence intervals, and the
    queries that moved most: which relevant documents rose or fell, and by which terms.

    --suite measures a model, or a folder with a run file SET.trec for each set, on a named list of sets. Its counts are
    checked, and published figures printed beside.

    Example: everglade evaluate run.trec scifact/qrels/test.tsv -m nDCG@10 -m RR@10

    Example: everglade evaluate glade.idx scifact --split test --convention beir

    Example: everglade evaluate MODEL scifact --split test --per-query-out values.tsv

    Example: everglade evaluate new.idx other.trec scifact --split test --compare old.idx

    Example: everglade evaluate whole=MODEL few=MODEL fast=MODEL other.trec scifact --split test --compare whole
    -k 100 --with few.prune=document:64 --with fast.recall=0.95

    Example: everglade evaluate MODEL --suite beir-13 --sets folder-of-sets -o runs
    """
    settings = pick_given(
        query_prefix=query_prefix,
        document_prefix=document_prefix,
        passages=passages,
        passage_overlap=passage_overlap,
    )
    report = _Report(out, per_query_out, per_query, quiet, as_json)
    check_place(per_query_out)
    if suite is None:
        check_place(out)
        _check_without_suite(sets, only_set, any_counts=any_counts)
        if compare is None and (unused := pick_given(moved=moved, seed=seed)):
            raise ConfigError(f"{name_options(unused)}: of a comparison. Name a baseline with --compare.")
        specs, collection, baseline = _divide(words, compare, model, settings, own or ())
        if k is not None and all(spec.kind == "run" for spec in specs):
            raise ConfigError("-k: hits to find, and run files are measured as they stand. Leave it out.")
        where = {"split": split, "queries": queries}
        _check_recall(specs, convention or "plain", k or 1000)
        how: dict[str, Any] = {"measures": measure, "convention": convention or "plain"}
        how |= {"moved": 5 if moved is None else moved, "seed": seed or 0}
        _on_collection(specs, collection, baseline, where, how, k or 1000, threads, report)
    else:
        if out is not None and out.exists() and not out.is_dir():
            raise ConfigError(f"{out} is a file. A suite has a run for each set: name a folder for them.")
        unfit = pick_given(split=split, queries=queries, convention=convention, compare=compare, model=model)
        _check_with_suite(words, unfit | pick_given(moved=moved, seed=seed))
        (spec,) = read_systems(words, None, settings, own or ())
        given = {"folder": sets, "only": only_set, "measures": measure, "any_counts": any_counts}
        _on_suite(suite, spec, given, k or 1000, threads, report)


def _check_recall(specs: Sequence[SystemSpec], convention: str, k: int) -> None:
    """Refuse a search of less recall for so many hits that it would be the exact one."""
    from everglade.evaluation.conventions import find_convention
    from everglade.index.calibration import DEPTHS

    deepest, depth = max(DEPTHS), find_convention(convention).hits_to_ask(k)
    approximate = [spec.name for spec in specs if spec.asking.get("recall") is not None]
    if approximate and depth > deepest:
        raise ConfigError(
            f"--with {approximate[0]}.recall: a search for {depth} hits is always exact. Give -k {deepest - depth + k} "
            f"or less."
        )


class _Report(NamedTuple):
    """What becomes of the figures."""

    out: Path | None
    per_query_out: Path | None
    per_query: bool
    quiet: bool
    as_json: bool


def _check_without_suite(sets: Path | None, only_set: list[str] | None, *, any_counts: bool) -> None:
    given = {"sets": sets, "set": only_set, "any_counts": any_counts}
    if names := [name for name, value in given.items() if value]:
        raise ConfigError(f"{name_options(names)}: for a suite only. Name one with --suite.")


def _check_with_suite(words: Sequence[str], unfit: dict[str, Any]) -> None:
    if unfit:
        raise ConfigError(
            f"{name_options(unfit)}: not with --suite, which names its collections and measures one model."
        )
    if len(words) != 1:
        raise ConfigError(f"--suite measures one system, and {len(words)} were named: {', '.join(words)}.")


def _divide(
    words: Sequence[str], compare: str | None, model: str | None, settings: dict[str, Any], own: Sequence[str]
) -> tuple[list[SystemSpec], str, str | None]:
    """Tell systems from the collection: the last word. Gives both, and the baseline's name."""
    if len(words) < 2:
        raise ConfigError(f"{words[0]}: name a system and a collection. Example: everglade evaluate run.trec scifact.")
    *sources, collection = words
    baseline = None
    if compare is not None:
        sources, baseline = _place_baseline(sources, compare)
    return read_systems(sources, model, settings, own), collection, baseline


def _place_baseline(sources: list[str], compare: str) -> tuple[list[str], str]:
    """Give the systems with the baseline among them, and its name: a path, or a name that was given as NAME=PATH."""
    from everglade.assess.systems import name_sources

    names = name_sources(sources)
    meant = [name for name, path in names.items() if path == compare]
    if len(meant) > 1:
        raise ConfigError(f"--compare {compare}: that is {' and '.join(meant)}. Name one of them.")
    if not meant and compare in names and any(source.startswith(f"{compare}=") for source in sources):
        meant = [compare]
    if meant:
        return sources, meant[0]
    sources = [compare, *sources]
    path = compare.partition("=")[2] or compare
    return sources, next(name for name, source in name_sources(sources).items() if source in (compare, path))


def _on_collection(
    specs: list[SystemSpec],
    collection: str,
    baseline: str | None,
    where: dict[str, Any],
    how: dict[str, Any],
    k: int,
    threads: int,
    report: _Report,
) -> None:
    from everglade.assess.comparison import compare_systems
    from everglade.assess.judged import open_judged
    from everglade.assess.systems import Workplace
    from everglade.texts import write_run

    if report.out is not None and len(specs) > 1:
        raise ConfigError("--out takes the run of one system. Measure the systems one by one to keep their runs.")
    if any(spec.kind != "run" for spec in specs):
        limit_threads(threads)
    judged = open_judged(collection, **where)
    quiet = report.quiet or all(spec.kind != "model" for spec in specs)
    with show_progress("reading the collection", quiet=quiet) as progress:
        workplace = Workplace(k, threads, progress=progress)
        compared = compare_systems(specs, judged, baseline, workplace=workplace, **how)
    if report.out is not None:
        write_run(compared.assessments[0].run, report.out)
    values = {one.name: one.per_query for one in compared.assessments}
    _keep_values(values, "system", report)
    if report.as_json:
        print_json(compared.to_dict() | ({"per_query": values} if report.per_query else {}))
        return
    print_one(compared.assessments[0]) if len(specs) == 1 else print_compared(
        compared, judged.texts if compared.moved else {}
    )
    if report.per_query:
        print_per_query(values)


def _on_suite(name: str, spec: SystemSpec, given: dict[str, Any], k: int, threads: int, report: _Report) -> None:
    from everglade.assess.suite_run import run_suite
    from everglade.assess.systems import Workplace
    from everglade.evaluation.suite import read_suite
    from everglade.texts import write_run

    suite, out = read_suite(name), report.out
    _check_recall([spec], suite.convention, k)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)

    def keep(name: str, one: Assessment) -> None:
        if out is not None:
            write_run(one.run, out / f"{name}.trec")

    limit_threads(threads)
    with show_progress(f"reading {suite.name}", quiet=report.quiet) as progress:
        workplace = Workplace(k, threads, progress=progress)
        outcome = run_suite(suite, spec, workplace=workplace, done=keep, **given)
    values = {name: one.per_query for name, one in outcome.assessments.items()}
    _keep_values(values, "set", report)
    if report.as_json:
        print_json(outcome.to_dict() | ({"per_query": values} if report.per_query else {}))
        return
    print_suite(outcome)
    if report.per_query:
        print_per_query(values)


def _keep_values(values: dict[str, PerQuery], heading: str, report: _Report) -> None:
    from everglade.evaluation.per_query import write_per_query

    if report.per_query_out is not None:
        write_per_query(values, report.per_query_out, heading)
