"""Documents into an index: texts, encoded batch by batch, and vectors folders, shard by shard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everglade.errors import InputError
from everglade.index.intake import DocumentsById, as_document, check_ids, check_texts
from everglade.index.store import Store
from everglade.model_reference import check_model, check_reference, make_reference
from everglade.progress import Meter
from everglade.texts import Document
from everglade.vectors import read_manifest, read_vectors

if TYPE_CHECKING:
    from everglade.encode import Encoder
    from everglade.progress import ProgressCallback

__all__ = ["add_folder", "add_texts"]

FIRST_BATCH = 4096
"""Documents in the first commit of an index, whatever the batch size, as they decide the impact scale."""


def add_texts(
    store: Store,
    encoder: Encoder,
    documents: Iterable[Document | Mapping[str, Any] | tuple[str, ...]],
    batch_documents: int,
    progress: ProgressCallback | None,
    *,
    skip_unchanged: bool,
    total: int | None,
) -> int:
    """Encode documents and add them, each batch in one commit; give how many were added. See `Index.add`."""
    check_model(store, encoder)  # it may have been trained since the index was opened
    store.become_writer()
    meter = Meter(len(documents) if total is None and isinstance(documents, Sized) else total, progress)
    remaining = (as_document(value, place) for place, value in enumerate(documents, start=1))
    added = 0
    while batch := list(islice(remaining, batch_documents if store.meta.impact_scale else FIRST_BATCH)):
        check_texts(batch, check_ids(document.id for document in batch))
        changed = _changed(store, batch) if skip_unchanged else batch
        if changed:
            matrix = encoder.encode_documents([document.full_text for document in changed])
            store.add(changed, [document.id for document in changed], matrix)
        if len(changed) < len(batch):
            meter.skip(len(batch) - len(changed))
        meter.advance(len(changed))
        added += len(changed)
    return added


def _changed(store: Store, batch: list[Document]) -> list[Document]:
    latest = {document.id: document for document in batch}
    return [document for document in latest.values() if store.document(document.id) != document]


def add_folder(
    store: Store, path: str | Path, documents: Iterable[Document] | None, progress: ProgressCallback | None
) -> int:
    """Add a vectors folder, each shard in one commit; give the number of rows. See `Index.add_folder`."""
    manifest = read_manifest(path)
    description = manifest["description"]
    if description.get("side") == "query":
        raise InputError(f"{path} holds vectors of queries. Encode the documents and add those.")
    model = description.get("model") or {}
    reference = make_reference(model.get("name"), model.get("fingerprint"), description.get("settings"))
    check_reference(store, reference, f"the model of {path}")
    store.become_writer()
    meter = Meter(manifest["rows"], progress)
    texts = None if documents is None else DocumentsById(documents)
    for shard in read_vectors(path):
        store.add(None if texts is None else texts.take(shard.ids), shard.ids, shard.matrix)
        meter.advance(len(shard.ids))
    return int(manifest["rows"])
