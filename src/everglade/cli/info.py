"""`everglade info`: what a folder is and what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from everglade.cli.options import AsJson
from everglade.cli.output import print_fields, print_json
from everglade.errors import InputError

__all__ = ["describe", "info", "is_vectors"]


def info(
    path: Annotated[Path, typer.Argument(help="Index, vectors or model folder, or collection.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Say what a folder is and what is in it.

    Example: everglade info glade.idx
    """
    found = describe(path)
    print_json(found) if as_json else print_fields(_flatten(found))


def _flatten(found: dict[str, Any]) -> dict[str, Any]:
    """Give an index's options and calibration a line for each of their values."""
    if found["kind"] != "index":
        return found
    calibration = found.pop("calibration")
    found.update(found.pop("options"))
    found["calibration"] = "none" if calibration is None else _name_queries(**calibration)
    for k, recall, mass, _, measured in () if calibration is None else calibration["rows"]:
        scanned = "exact" if mass is None else f"mass {mass}"
        found[f"recall {recall} of {k}"] = f"{measured:.4f} measured, {scanned}"
    return found


def _name_queries(queries: int, *, given: bool, **_: object) -> str:
    return f"{queries:,} given queries" if given else f"{queries:,} queries made from documents"


def is_vectors(path: Path) -> bool:
    """Tell whether a vectors folder stands there, in one piece or in parts."""
    return (path / "manifest.json").exists() or any(path.glob("*-of-*/manifest.json"))


def describe(path: Path) -> dict[str, Any]:
    """Describe an index, vectors or model folder, or a collection.

    Raises:
        InputError: if the path is none of these.
    """
    from everglade.index.store import is_index

    if not path.exists():
        raise InputError("there is no such file or folder", path)
    if is_index(path):
        return _describe_index(path)
    if is_vectors(path):
        return _describe_vectors(path)
    if any((path / name).exists() for name in ("config.json", "splade_config.json", "modules.json")):
        from everglade.model.folder import describe_model

        return {"kind": "model", **describe_model(path)}
    return _describe_collection(path)


def _describe_index(path: Path) -> dict[str, Any]:
    from everglade.search import Index

    with Index.open(path) as index:
        return {"kind": "index", **index.info().to_dict()}


def _describe_vectors(path: Path) -> dict[str, Any]:
    from everglade.vectors import read_manifest

    manifest = read_manifest(path)
    terms = manifest["postings"] / max(manifest["rows"], 1)
    return {
        "kind": "vectors",
        "rows": manifest["rows"],
        "terms per row": terms,
        "shards": len(manifest["shards"]),
        **manifest["description"],
    }


def _describe_collection(path: Path) -> dict[str, Any]:
    from everglade.texts import open_collection

    collection = open_collection(path)
    found: dict[str, Any] = {"kind": "collection", "documents": sum(1 for _ in collection.documents())}
    for split in collection.splits:
        qrels = collection.qrels(split)
        found[f"split {split}"] = f"{len({qrel.query_id for qrel in qrels}):,} queries, {len(qrels):,} judgements"
    return found
