"""A point of a frontier, made again from its row, beside what the row says."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from everglade.errors import ConfigError, InputError, ModelMismatch
from everglade.frontier.models import FrontierModel
from everglade.frontier.rows import Row
from everglade.frontier.settings import FrontierSettings
from everglade.frontier.sweep import (
    Announce,
    Frontier,
    ShowProgress,
    Source,
    measure_choices,
    no_progress,
    only_process,
    open_material,
    say_nothing,
)

__all__ = ["Reproduced", "read_frontier", "reproduce"]

SAME = 1e-12
"""How far apart, as a share, sums of the same numbers may be: in what order they are added is the machine's."""


@dataclass(frozen=True)
class Reproduced:
    """A row, and what its settings gave now."""

    before: Row
    now: Row

    @property
    def is_equal(self) -> bool:
        """Whether all that does not depend on the machine's speed is the same."""
        return not self.differences

    @property
    def differences(self) -> list[str]:
        """What is not the same, times aside: "flops: 2.2333, now 2.2334". The last digits of sums may differ."""
        return list(_compare("", _without_times(self.before), _without_times(self.now)))

    def to_dict(self) -> dict[str, Any]:
        """Give both as plain JSON values."""
        return {
            "equal": self.is_equal,
            "differences": self.differences,
            "before": self.before.to_dict(),
            "now": self.now.to_dict(),
        }


def _without_times(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.to_dict().items() if name not in ("latency_ms", "model")}


def _compare(name: str, before: object, now: object) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before | now:
            yield from _compare(f"{name} {key}".strip(), before.get(key), now.get(key))
    elif isinstance(before, float) and isinstance(now, float):
        if not math.isclose(before, now, rel_tol=SAME):
            yield f"{name}: {before!r}, now {now!r}"
    elif before != now:
        yield f"{name}: {before!r}, now {now!r}"


def read_frontier(file: str | Path) -> Frontier:
    """Read a frontier.json.

    Raises:
        InputError: if it is none, or of another version.
    """
    path = Path(file)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if (values["format"], values["version"]) != ("everglade-frontier", 1):
            raise InputError(f"a file of {values['format']!r}, version {values['version']}, not a frontier's", path)
        settings = {name: _as_tuple(value) for name, value in values["settings"].items()}
        about = dict(values["collection"])
        source = Source(about.pop("source"), about.pop("split"))
        rows = [Row.from_dict(row) for row in values["rows"]]
        models, machine = values["models"], values["machine"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"no frontier can be read from it: {error!r}", path) from error
    return Frontier(source, about, FrontierSettings.from_dict(settings, str(path)), models, rows, machine)


def _as_tuple(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    return tuple(value) if isinstance(value, list) else value


def reproduce(
    file: str | Path,
    number: int,
    out: str | Path | None = None,
    *,
    collection: str | None = None,
    model: str | None = None,
    threads: int = 0,
    announce: Announce | None = None,
    show_progress: ShowProgress | None = None,
) -> Reproduced:
    """Make a point again: texts are encoded, indexed, searched and judged as its row says.

    Args:
        file: A frontier.json.
        number: The point.
        out: A folder of `sweep` whose vectors may be used; without one all is made in a temporary folder.
        collection: Where the collection lies now, if not where the file says.
        model: Where the model lies now; a model that the frontier trained is looked for beside the file.
        threads: Threads for all that is not timed; 0 means one for each core.
        announce: Called with one line before the work begins.
        show_progress: As `sweep` takes it.

    Raises:
        ConfigError: if there is no such point.
        InputError: if the file cannot be read, or the collection holds other texts or judgements.
        ModelMismatch: if the model gives other vectors.
    """
    known = read_frontier(file)
    row = next((row for row in known.rows if row.number == number), None)
    if row is None:
        numbers = f"{known.rows[0].number} to {known.rows[-1].number}" if known.rows else "none"
        raise ConfigError(f"{file} has no point {number}. It has {numbers}.")
    settings = FrontierSettings.from_dict({**known.settings.to_dict(), "threads": threads})
    material = open_material(Source(collection or known.source.collection, known.source.split), settings)
    if material.digest != known.about["digest"]:
        raise InputError(
            f"{collection or known.source.collection} holds other documents, queries or judgements than those that "
            f"{file} was measured on ({known.about['documents']:,} documents, {known.about['queries']:,} queries)"
        )
    chosen = _open_model(next(one for one in known.models if one["label"] == row.model), model, Path(file))
    with _place(out) as folder, only_process(folder) as work:
        (now,) = measure_choices(
            chosen,
            material,
            work,
            settings,
            {row.choice: number},
            announce or say_nothing,
            show_progress or no_progress,
        )
    return Reproduced(row, now)


def _open_model(known: Mapping[str, Any], given: str | None, file: Path) -> FrontierModel:
    """Open the model that a frontier names, and refuse another in its place."""
    beside = file.parent / known["source"]
    folder = Path(given) if given else beside if known.get("recipe") else None
    found = FrontierModel(known["label"], known["source"], known.get("recipe"), folder)
    if found.fingerprint != known["fingerprint"]:
        raise ModelMismatch(
            f"{given or known['source']} is not the model of {file}: its fingerprint is {found.fingerprint}, and there "
            f"{known['fingerprint']}. Say where that one lies with --model."
        )
    return found


@contextmanager
def _place(out: str | Path | None) -> Iterator[Path]:
    if out is not None:
        yield Path(out)
        return
    with TemporaryDirectory(prefix="everglade-frontier-") as folder:
        yield Path(folder)
