"""Systems as they are named on the command line: PATH or NAME=PATH, each with settings of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from everglade.cli.options import name_options
from everglade.cli.settings import parse_pair
from everglade.errors import ConfigError, suggest_name

if TYPE_CHECKING:
    from everglade.assess.systems import SystemSpec

__all__ = ["SETTINGS", "read_systems"]

SETTINGS = {
    "recall": "asking",
    "float_exact": "asking",
    "prune": "options",
    "impact_bits": "options",
    "passages": "settings",
    "passage_overlap": "settings",
    "query_prefix": "settings",
    "document_prefix": "settings",
    "max_query_terms": "settings",
    "max_document_terms": "settings",
}
"""What may be said of one system, and the part of its `SystemSpec` that it belongs to."""


def read_systems(
    words: Sequence[str], model: str | None, settings: Mapping[str, Any], own: Sequence[str] = ()
) -> list[SystemSpec]:
    """Give the `SystemSpec` of each word.

    Args:
        words: PATH, NAME=PATH, or the word bundled; the same path may stand there twice under two names.
        model: The model of the one index among them, if it is not where the index says.
        settings: Settings of every model that reads texts.
        own: "NAME.key=value": settings of single systems.

    Raises:
        ConfigError: if two systems have one name, or a setting does not fit its system.
    """
    from everglade.assess.systems import SystemSpec, name_sources
    from everglade.bundled import bundled_model

    names = name_sources(words)
    specs = {
        name: SystemSpec(str(bundled_model()) if path == "bundled" else path, name, model)
        for name, path in names.items()
    }
    indexes = [spec.name for spec in specs.values() if spec.kind == "index"]
    if model is not None and len(indexes) != 1:
        named = f"{len(indexes)} were named" if indexes else "no index was named"
        raise ConfigError(f"--model says where the model of one index lies, and {named}.")
    if settings and not any(spec.kind == "model" for spec in specs.values()):
        raise ConfigError(f"{name_options(settings)}: settings of a model that reads texts, and no model was named.")
    read = {name: spec._replace(settings=settings) if spec.kind == "model" else spec for name, spec in specs.items()}
    for pair in own:
        name, key, value = _parse(pair, list(read))
        read[name] = _set(read[name], key, value)
    return list(read.values())


def _parse(pair: str, names: Sequence[str]) -> tuple[str, str, Any]:
    name, dot, key = pair.partition("=")[0].strip().rpartition(".")
    if not dot or "=" not in pair:
        raise ConfigError(
            f"--with {pair!r} is not of the form NAME.key=value. Example: --with pruned.prune=document:64."
        )
    if name not in names:
        raise ConfigError(f"--with {pair!r}: no system {name!r}. {suggest_name(name, names, 'systems')}")
    if key not in SETTINGS:
        raise ConfigError(f"--with {pair!r}: no setting {key!r} of a system. {suggest_name(key, list(SETTINGS))}")
    return name, key, parse_pair(pair)[1]


def _set(spec: SystemSpec, key: str, value: object) -> SystemSpec:
    part = SETTINGS[key]
    if spec.kind == "run":
        raise ConfigError(f"--with {spec.name}.{key}: {spec.source} is a run file, which is measured as it stands.")
    if spec.kind == "index" and part != "asking":
        raise ConfigError(f"--with {spec.name}.{key}: {spec.source} is an index, and {key} is chosen when one is made.")
    changed: dict[str, Any] = {part: {**getattr(spec, part), key: value}}
    spec = spec._replace(**changed)
    if key == "float_exact" and value is True and spec.kind == "model":
        spec = spec._replace(options={**spec.options, "keep_weights": True})
    _check(spec)
    return spec


def _check(spec: SystemSpec) -> None:
    """Refuse what a search would refuse after all texts have been read."""
    from everglade.index.options import IndexOptions

    recall, float_exact = spec.asking.get("recall"), spec.asking.get("float_exact", False)
    if recall is not None and not (type(recall) in (int, float) and 0 < recall <= 1):
        raise ConfigError(f"--with {spec.name}.recall: {recall!r} is not a number above 0 and at most 1.")
    if type(float_exact) is not bool:
        raise ConfigError(f"--with {spec.name}.float_exact: {float_exact!r} is neither true nor false.")
    if float_exact and (recall is not None or "prune" in spec.options):
        raise ConfigError(
            f"--with {spec.name}.float_exact: exact, over all postings: neither recall nor prune go with it."
        )
    IndexOptions(**spec.options)
