"""`everglade index`: vectors or texts to an index, and changes to one that is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from everglade.cli.info import is_vectors
from everglade.cli.options import (
    AsJson,
    DocumentPrefix,
    OnError,
    OnErrorOption,
    PassageOverlap,
    Passages,
    QueryPrefix,
    Quiet,
    RejectsFile,
    Threads,
    limit_threads,
    name_options,
    open_rejects,
    pick_given,
)
from everglade.cli.output import print_fields, print_json, show_progress
from everglade.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everglade.search import Index
    from everglade.texts import Rejects

__all__ = ["index"]

Source = Annotated[str | None, typer.Argument(help="Vectors folder, or collection to encode with --model.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Index folder to make or to change.")]
Model = Annotated[str | None, typer.Option(help="Model folder or hub id, to encode texts with.")]
Documents = Annotated[str | None, typer.Option(help="Collection whose texts go with a vectors folder.")]
Delete = Annotated[list[str] | None, typer.Option(help="Document id to delete; may be repeated.")]
DeleteFrom = Annotated[Path | None, typer.Option(help="File of document ids to delete, one a line.")]
ImpactBits = Annotated[int | None, typer.Option(help="A new index: 8, or 16 for finer impacts.")]
Rows = Annotated[bool, typer.Option("--rows/--no-rows", help="A new index: keep vectors by document.")]
KeepWeights = Annotated[
    bool, typer.Option("--keep-weights", help="A new index: keep float16 weights, for --float-exact searches.")
]
Prune = Annotated[
    str | None, typer.Option(help="A new index: postings to keep: document:N, threshold:W or term:SHARE.")
]
Optimise = Annotated[bool, typer.Option("--optimise", help="Put the segments together and leave out what was deleted.")]
SegmentDocuments = Annotated[int | None, typer.Option(min=1, help="Most documents of a segment that --optimise makes.")]
Calibrate = Annotated[
    bool, typer.Option("--calibrate", help="Measure how searches with --recall reach it, and note that.")
]
Queries = Annotated[str | None, typer.Option(help="Queries to calibrate with, a collection or file.")]
Split = Annotated[str | None, typer.Option(help="Only the queries judged in this split.")]


def index(
    source: Source = None,
    out: Out = Path("everglade.idx"),
    model: Model = None,
    documents: Documents = None,
    query_prefix: QueryPrefix = None,
    document_prefix: DocumentPrefix = None,
    passages: Passages = None,
    passage_overlap: PassageOverlap = None,
    delete: Delete = None,
    delete_from: DeleteFrom = None,
    impact_bits: ImpactBits = None,
    rows: Rows = True,
    keep_weights: KeepWeights = False,
    prune: Prune = None,
    optimise: Optimise = False,
    segment_documents: SegmentDocuments = None,
    calibrate: Calibrate = False,
    queries: Queries = None,
    split: Split = None,
    threads: Threads = 0,
    on_error: OnErrorOption = OnError.stop,
    rejects: RejectsFile = Path("rejects.jsonl"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make an index, add to it, or delete from it.

    A document whose id is there already is replaced. Documents that are there unchanged are passed over, so an
    interrupted run goes on where it stopped, and a collection that changed a little is soon indexed again.

    Example: everglade index vectors -o glade.idx --documents scifact

    Example: everglade index scifact -o glade.idx --model MODEL

    Example: everglade index books -o glade.idx --model MODEL --passages 8 --passage-overlap 32

    Example: everglade index -o glade.idx --delete d17 --delete d18

    Example: everglade index vectors -o glade.idx --impact-bits 16 --keep-weights

    Example: everglade index -o glade.idx --optimise --calibrate --queries scifact --split train
    """
    gone = [*(delete or []), *_read_ids(delete_from)]
    changes = _Changes(gone, optimise, segment_documents, calibrate, queries, split, threads)
    if source is None and not changes.are_asked_for:
        raise ConfigError("give a vectors folder or a collection to index, ids to --delete, --optimise or --calibrate.")
    _check_changes(changes)
    options = _options(out, source, impact_bits=impact_bits, rows=rows, keep_weights=keep_weights, prune=prune)
    settings = pick_given(
        query_prefix=query_prefix,
        document_prefix=document_prefix,
        passages=passages,
        passage_overlap=passage_overlap,
    )
    _check_settings(settings, source, model)
    rejected = open_rejects(on_error, rejects)
    limit_threads(threads)
    result: dict[str, Any] = {"index": str(out)}
    if source is not None and is_vectors(Path(source)):
        result["added"] = _add_vectors(Path(source), out, documents, options, rejected, quiet=quiet)
    elif source is not None:
        result["added"] = _add_texts(source, out, model, settings, options, rejected, quiet=quiet)
    if changes.are_asked_for:
        result |= _change(out, model, changes)
    if rejected is not None:
        result["rejected lines"] = rejected.count
    print_json(result) if as_json else print_fields(result)


class _Changes(NamedTuple):
    """What is asked for of an index besides adding to it."""

    gone: list[str]
    optimise: bool
    segment_documents: int | None
    calibrate: bool
    queries: str | None
    split: str | None
    threads: int

    @property
    def are_asked_for(self) -> bool:
        return bool(self.gone) or self.optimise or self.calibrate


def _check_settings(settings: Mapping[str, Any], source: str | None, model: str | None) -> None:
    """Refuse settings that nothing would be read with."""
    if not settings:
        return
    given = name_options(settings)
    if source is None:
        raise ConfigError(f"{given}: settings of a model need a collection, whose texts it reads.")
    if is_vectors(Path(source)):
        raise ConfigError(f"{given}: the vectors in {source} were made already. Give the settings to everglade encode.")
    if model is None:
        raise ConfigError(f"{given}: settings of a model need --model, which reads the texts.")


def _check_changes(changes: _Changes) -> None:
    """Refuse settings of something that was not asked for."""
    if changes.segment_documents is not None and not changes.optimise:
        raise ConfigError("--segment-documents is a setting of --optimise. Give both.")
    if changes.queries is not None and not changes.calibrate:
        raise ConfigError("--queries are what --calibrate measures with. Give both.")
    if changes.split is not None and changes.queries is None:
        raise ConfigError("--split says which of the --queries to take. Give both.")


def _options(out: Path, source: str | None, **given: Any) -> dict[str, Any]:  # noqa: ANN401 - of several types
    """Give the options of a new index that differ from the usual, and refuse them for one that is there."""
    from everglade.index.store import is_index

    usual = {"impact_bits": None, "rows": True, "keep_weights": False, "prune": None}
    options = {name: value for name, value in given.items() if value != usual[name]}
    if options and (source is None or is_index(out)):
        names = name_options("no_rows" if name == "rows" else name for name in options)
        why = "is there already" if is_index(out) else "is not being made"
        raise ConfigError(f"{names}: chosen when an index is made, and {out} {why}. Make another index with them.")
    return options


def _add_vectors(
    source: Path, out: Path, documents: str | None, options: dict[str, Any], rejected: Rejects | None, *, quiet: bool
) -> int:
    from everglade.texts import open_collection

    texts = open_collection(documents, rejects=rejected).documents() if documents else None
    with _open_for_vectors(out, source, options) as opened, show_progress("indexing", quiet=quiet) as progress:
        return opened.add_folder(source, texts, progress=progress)


def _add_texts(
    source: str,
    out: Path,
    model: str | None,
    settings: Mapping[str, Any],
    options: dict[str, Any],
    rejected: Rejects | None,
    *,
    quiet: bool,
) -> int:
    from everglade.index.store import is_index
    from everglade.texts import open_collection

    if model is None and not is_index(out):
        raise ConfigError("a collection of texts needs --model to encode it. Example: --model path-or-hub-id.")
    collection = open_collection(source, rejects=rejected)
    total = sum(1 for _ in collection.documents())
    with _open_for_texts(out, model, settings, options) as opened, show_progress("indexing", quiet=quiet) as progress:
        return opened.add(collection.documents(), skip_unchanged=True, total=total, progress=progress)


def _change(out: Path, model: str | None, changes: _Changes) -> dict[str, Any]:
    """Make the changes in this order; say what came of each."""
    from everglade.cli.sources import open_queries
    from everglade.search import Index

    result: dict[str, Any] = {}
    with Index.open(out, model=model) as opened:
        if changes.gone:
            result["deleted"] = opened.delete(changes.gone)
        if changes.optimise:
            result["segments"] = opened.optimise(**pick_given(segment_documents=changes.segment_documents))
        if changes.calibrate:
            given = None if changes.queries is None else open_queries(changes.queries, changes.split)
            rows = opened.calibrate(given, changes.threads).rows
            result |= {f"recall {row.recall} of {row.k}": row.measured for row in rows}
    return result


def _open_for_vectors(out: Path, source: Path, options: dict[str, Any]) -> Index:
    from everglade.index.store import is_index
    from everglade.search import Index
    from everglade.vectors import read_manifest

    if is_index(out):
        return Index.open(out)
    description = read_manifest(source)["description"]
    known = {**(description.get("model") or {}), "settings": description.get("settings")}
    return Index.create(out, n_terms=description["n_terms"], model_reference=known, **options)


def _open_for_texts(out: Path, model: str | None, settings: Mapping[str, Any], options: dict[str, Any]) -> Index:
    from everglade.index.store import is_index
    from everglade.search import Index

    if is_index(out) and not settings:
        return Index.open(out, model=model)  # which reads as the index notes
    encoder = None
    if model is not None:
        from everglade.model.splade import Splade

        encoder = Splade.load(model, **settings)
    return Index.open(out, model=encoder) if is_index(out) else Index.create(out, encoder, **options)


def _read_ids(path: Path | None) -> list[str]:
    return [] if path is None else [line for line in path.read_text(encoding="utf-8").splitlines() if line]
