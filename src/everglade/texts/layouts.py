"""What kind of collection a path or a name is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from everglade.errors import InputError
from everglade.texts.collection import Collection, FileCollection
from everglade.texts.irds import open_irds
from everglade.texts.lines import require_file
from everglade.texts.rejects import Rejects

__all__ = ["open_collection"]

_NAVER_COLLECTIONS = ("raw.tsv", "full_collection/raw.tsv", "collection/raw.tsv", "val_collection/raw.tsv")
_NAVER_QRELS = ("qrel.json", "qrels.json", "qrel/qrel.json")


def open_collection(spec: str | Path, *, rejects: Rejects | None = None) -> Collection:
    """Open a collection; nothing is read yet.

    Args:
        spec: a folder (BEIR, MS MARCO or naver, known by its files), a JSONL or TSV file of documents, or either behind
            the name of its kind, as in "beir:DIR", "msmarco:DIR", "naver:DIR", "jsonl:FILE", "tsv:FILE"; or
            "irds:ID" for a collection known to ir_datasets, as in "irds:beir/scifact/test".
        rejects: takes the lines that cannot be used; without it the first one stops the reading.

    Raises:
        InputError: if there is no such thing, or it is nothing of the kind; says what was looked for.
        MissingExtra: if ir_datasets is needed and not installed.
    """
    kind, colon, rest = str(spec).partition(":")
    if colon and isinstance(spec, str) and kind in ("irds", *_FILES, *_FOLDERS):
        return open_irds(rest) if kind == "irds" else _open_kind(kind, Path(rest), rejects)
    path = Path(spec)
    if path.is_dir():
        return _open_folder(path, rejects)
    if not path.exists():
        kinds = ", ".join(f"{kind}:" for kind in ("irds", *_FILES, *_FOLDERS))
        raise InputError(f"no such file or folder. A name that is no path begins with one of {kinds}", path)
    return _open_file(path, rejects)


def _open_kind(kind: str, path: Path, rejects: Rejects | None) -> Collection:
    if kind in _FILES:
        return _open_file(path, rejects)
    if not path.is_dir():
        raise InputError(f"no such folder. {kind}: is followed by a folder with {_FOLDERS[kind][1]}", path)
    return _FOLDERS[kind][0](path, rejects) or _unknown(path, [kind])


def _open_folder(path: Path, rejects: Rejects | None) -> Collection:
    for open_kind, _ in _FOLDERS.values():
        if collection := open_kind(path, rejects):
            return collection
    return _unknown(path, list(_FOLDERS))


def _unknown(path: Path, kinds: list[str]) -> Collection:
    there = sorted(file.name for file in path.iterdir())
    found = ", ".join(there[:10]) + (f" and {len(there) - 10} more" if len(there) > 10 else "") or "nothing"
    looked_for = "; ".join(f"{_FOLDERS[kind][1]} ({kind})" for kind in kinds)
    raise InputError(f"not a collection. Looked for {looked_for}, each also as .gz; found {found}", path)


def _open_file(path: Path, rejects: Rejects | None) -> Collection:
    require_file(path)
    return FileCollection(path.name.split(".")[0], path, rejects=rejects)


def _open_beir(folder: Path, rejects: Rejects | None) -> Collection | None:
    if not (documents := _find(folder, "corpus.jsonl")):
        return None
    queries, qrels = _find(folder, "queries.jsonl"), _find_splits(folder / "qrels", "", ".tsv")
    return FileCollection(_name(folder), documents, queries, {}, qrels, rejects)


def _open_msmarco(folder: Path, rejects: Rejects | None) -> Collection | None:
    if not (documents := _find(folder, "collection.tsv")):
        return None
    queries, qrels = _find_splits(folder, "queries.", ".tsv"), _find_splits(folder, "qrels.", ".tsv")
    return FileCollection(_name(folder), documents, _find(folder, "queries.tsv"), queries, qrels, rejects)


def _open_naver(folder: Path, rejects: Rejects | None) -> Collection | None:
    if not (documents := _find(folder, *_NAVER_COLLECTIONS)):
        return None
    queries, qrels = {}, _find_splits(folder, "", "_qrel.json")
    for place in sorted(folder.glob("*_queries")):
        split = place.name.removesuffix("_queries")
        if file := _find(place, "raw.tsv", "queries/raw.tsv"):
            queries[split] = file
        if file := _find(place, *_NAVER_QRELS):
            qrels.setdefault(split, file)
    if file := _find(folder, *_NAVER_QRELS):
        for split in queries or ["all"]:
            qrels.setdefault(split, file)
    return FileCollection(_name(folder), documents, _find(folder, "queries/raw.tsv"), queries, qrels, rejects)


def _name(folder: Path) -> str:
    return folder.resolve().name


def _find(folder: Path, *names: str) -> Path | None:
    """Give the first of `names` that is there; the plain file before the gzip one."""
    candidates = (folder / (name + suffix) for name in names for suffix in ("", ".gz"))
    return next((file for file in candidates if file.is_file()), None)


def _find_splits(folder: Path, prefix: str, suffix: str) -> dict[str, Path]:
    """Give split -> file for every file called PREFIXsplitSUFFIX; the plain file before the gzip one."""
    found: dict[str, Path] = {}
    for ending in (suffix, suffix + ".gz"):
        # [!.]: not the hidden companions that macOS puts beside files.
        for file in sorted(folder.glob(f"{prefix}[!.]*{ending}")):
            found.setdefault(file.name[len(prefix) : -len(ending)], file)
    return found


_FILES = ("jsonl", "tsv")
_FOLDERS: dict[str, tuple[Callable[[Path, Rejects | None], Collection | None], str]] = {
    "beir": (_open_beir, "corpus.jsonl"),
    "msmarco": (_open_msmarco, "collection.tsv"),
    "naver": (_open_naver, "raw.tsv or full_collection/raw.tsv"),
}
