"""Which model made an index: what the catalog notes of it, how another is refused, and how it is found again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everglade.errors import ConfigError, ModelError, ModelMismatch
from everglade.model.settings import SpladeSettings

if TYPE_CHECKING:
    from everglade.encode import Encoder
    from everglade.index.store import Store

__all__ = ["check_model", "check_reference", "load_model", "make_reference", "refer_to"]


def refer_to(model: Encoder | None) -> dict[str, Any] | None:
    """Say which model it is that is at hand; None for no model."""
    if model is None:
        return None
    settings = getattr(model, "settings", None)  # an encoder of the user's own need not have any
    known = settings.to_dict() if isinstance(settings, SpladeSettings) else None
    return make_reference(getattr(model, "name", None), model.fingerprint, known)


def make_reference(
    name: str | None,
    fingerprint: str | None,
    settings: Mapping[str, Any] | None = None,
    path_from_index: str | None = None,
) -> dict[str, Any] | None:
    """Say which model it is, in a way that holds in other folders too; None if nothing is known of it.

    `path_from_index` is the way from the index folder to the model, where a move of one moves the other.
    """
    if fingerprint is None:
        return None
    path = str(Path(name).absolute()) if name and Path(name).exists() else name
    # With other settings than its folder's, such as a prefix, a model has another fingerprint.
    return {
        "path": path,
        "fingerprint": fingerprint,
        **({"settings": dict(settings)} if isinstance(settings, Mapping) else {}),
        **({"path_from_index": path_from_index} if path_from_index else {}),
    }


def check_model(store: Store, model: Encoder) -> None:
    """Refuse a model that is not the one that made the index; raises ModelMismatch."""
    if model.n_terms != store.meta.n_terms:
        raise ModelMismatch(
            f"{store.path} has {store.meta.n_terms} terms, but the model {getattr(model, 'name', None)} has "
            f"{model.n_terms}. Open the index with the model that made it."
        )
    check_reference(store, refer_to(model), "the model at hand")


def check_reference(store: Store, other: dict[str, Any] | None, whose: str) -> None:
    """Refuse the model `other` if the index names another one; raises ModelMismatch."""
    own = store.meta.model
    if own is None or other is None or own.get("fingerprint") == other.get("fingerprint"):
        return
    before, now = own.get("settings") or {}, other.get("settings") or {}
    unlike = [
        f"{key} was {before[key]!r} and is {now[key]!r}" for key in before if now.get(key, before[key]) != before[key]
    ]
    raise ModelMismatch(
        f"{store.path} was made with the model {own.get('path')} (fingerprint {own.get('fingerprint')}), but "
        f"{whose} is {other.get('path')} (fingerprint {other.get('fingerprint')}). "
        f"{'; '.join(unlike) + '. ' if unlike else ''}Use the model of the index, or make another index."
    )


def load_model(store: Store, path: str | Path | None = None) -> Encoder:
    """Load the model that made the index, with the settings that it had: the one way from searching to torch.

    A model whose queries come from a table leads there only when documents are added.

    Args:
        store: The index.
        path: Where the model lies now; where the index says, if None.

    Raises:
        ModelError: if the index does not name a model and no path is given, or it cannot be opened.
        ModelMismatch: if it is another model.
    """
    reference = store.meta.model or {}
    path = path or _find(store.path, reference)
    if not path:
        raise ModelError(
            f"{store.path} does not say which model made it. Give one: by --model, or Index.open(path, model=...)."
        )
    settings = reference.get("settings") or {}
    try:
        encoder = _load(path, settings)
    except ConfigError as error:
        raise ModelMismatch(f"{path} cannot read texts as the model that made {store.path} did: {error}") from error
    check_model(store, encoder)
    return encoder


def _find(index: Path, reference: Mapping[str, Any]) -> str | Path | None:
    """Give the place of the model: as seen from the index, if there is one, since both may be copies in a new place."""
    near: str | None = reference.get("path_from_index")
    if near and (place := (index / near).resolve()).is_dir():
        return place
    path: str | None = reference.get("path")
    return path


def _load(path: str | Path, settings: Mapping[str, Any]) -> Encoder:
    from everglade.model.query import StaticQueries

    if StaticQueries.can_load(path):
        return StaticQueries.load(path, **settings)
    from everglade.model.splade import Splade

    return Splade.load(path, **settings)
