"""A suite: a named list of sets with the counts they should have, and figures others have published for them."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from everglade.errors import ConfigError, suggest_name
from everglade.evaluation.conventions import find_convention
from everglade.evaluation.measures import cutoff_of

__all__ = ["Published", "Suite", "SuiteSet", "known_suites", "read_suite"]

_FOLDER = Path(__file__).parent / "suites"

T = TypeVar("T", "SuiteSet", "Published")


@dataclass(frozen=True, slots=True)
class SuiteSet:
    """One set of a suite.

    Attributes:
        name: What it is called.
        irds: Its ir_datasets id, for where there is a network.
        folder: Its folder among those of the suite; its name, if none is given. Sets of one folder share documents.
        split: Whose judgements count; the collection's only one, if none is given.
        documents: How many documents it should have; None where that is not known.
        queries: How many judged queries.
        judgements: How many judgements, those of 0 too.
    """

    name: str
    irds: str | None = None
    folder: str | None = None
    split: str | None = None
    documents: int | None = None
    queries: int | None = None
    judgements: int | None = None

    @property
    def place(self) -> str:
        """The name of its folder."""
        return self.folder or self.name

    def compare_counts(self, found: Mapping[str, int]) -> list[str]:
        """Say which of the counts are not those that are expected: "300 queries where 323 are expected"."""
        expected = {"documents": self.documents, "queries": self.queries, "judgements": self.judgements}
        return [
            f"{count:,} {what} where {expected[what]:,} are expected"
            for what, count in found.items()
            if expected[what] not in (None, count)
        ]


@dataclass(frozen=True, slots=True)
class Published:
    """Figures that somebody published for one system and measure, set by set."""

    system: str
    measure: str
    source: str
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Suite:
    """A named list of sets, how they are measured, and what others came to on them."""

    name: str
    about: str
    convention: str
    measures: tuple[str, ...]
    sets: tuple[SuiteSet, ...]
    published: tuple[Published, ...]
    counts_from: str = ""

    def choose(self, names: Sequence[str] | None) -> tuple[SuiteSet, ...]:
        """Give the sets of those names in the order of the suite, or all.

        Raises:
            ConfigError: if the suite has no such set.
        """
        known = [one.name for one in self.sets]
        for name in names or ():
            if name not in known:
                raise ConfigError(f"{self.name} has no set {name!r}. {suggest_name(name, known, 'sets')}")
        return tuple(one for one in self.sets if not names or one.name in names)


def known_suites() -> list[str]:
    """Give the names of the suites that come with Everglade."""
    return sorted(file.stem for file in _FOLDER.glob("*.toml"))


def read_suite(name: str | Path) -> Suite:
    """Read a suite: one that comes with Everglade, by its name, or a TOML file of one's own.

    Raises:
        ConfigError: if there is none of that name, or the file is not a suite; says where and what is wrong.
    """
    path = Path(name)
    if str(name) in known_suites():
        path = _FOLDER / f"{name}.toml"
    elif not path.is_file():
        advice = suggest_name(str(name), known_suites(), "suites")
        raise ConfigError(f"there is no suite {str(name)!r}, and no such file. {advice}")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a suite: {error}.") from error
    return _make_suite(found, path)


def _make_suite(found: dict[str, Any], path: Path) -> Suite:
    sets = tuple(_make(SuiteSet, row, f"{path}, set {place}") for place, row in _rows(found, "sets", path))
    if not sets:
        raise ConfigError(f"{path} names no sets. Write one [[sets]] with a name for each.")
    published = tuple(
        _make(Published, row, f"{path}, published {place}") for place, row in _rows(found, "published", path)
    )
    _check_names(sets, published, path)
    known = ("about", "convention", "measures", "counts_from")
    for key in found:
        if key not in known:
            raise ConfigError(f"{path}: unknown setting {key!r}. {suggest_name(key, [*known, 'sets', 'published'])}")
    convention = find_convention(str(found.get("convention", "plain")))
    measures = found.get("measures")
    if measures is not None and not isinstance(measures, list):
        raise ConfigError(f"{path}: measures is {measures!r}, not a list of names.")
    measures = convention.choose_measures([str(name) for name in measures or ()])
    for one in published:
        try:
            cutoff_of(one.measure)
        except ConfigError as error:
            raise ConfigError(f"{path}, published figures of {one.system}: {error}") from error
    about, counts_from = str(found.get("about", "")), str(found.get("counts_from", ""))
    return Suite(path.stem, about, convention.name, measures, sets, published, counts_from)


def _rows(found: dict[str, Any], key: str, path: Path) -> list[tuple[int, dict[str, Any]]]:
    rows = found.pop(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{path}: {key} is not a list of tables. Write each as [[{key}]].")
    return list(enumerate(rows, start=1))


def _make(kind: type[T], row: dict[str, Any], where: str) -> T:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in row:
        if key not in fields:
            raise ConfigError(f"{where}: unknown setting {key!r}. {suggest_name(key, list(fields))}")
    for name, field in fields.items():
        if name not in row:
            if field.default is dataclasses.MISSING:
                raise ConfigError(f"{where} lacks {name!r}. Add it.")
            continue
        wanted, said = _KINDS[str(field.type)]
        if not isinstance(row[name], wanted) or isinstance(row[name], bool):
            raise ConfigError(f"{where}: {name} is {row[name]!r}, not {said}.")
    return kind(**row)


_KINDS: dict[str, tuple[type, str]] = {
    "str": (str, "a text"),
    "str | None": (str, "a text"),
    "int | None": (int, "a whole number"),
    "Mapping[str, float]": (dict, "a table of figures by set"),
}


def _check_names(sets: Sequence[SuiteSet], published: Sequence[Published], path: Path) -> None:
    names = [one.name for one in sets]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"{path}: two sets are called {min(twice)!r}. Rename one.")
    if unusable := [name for name in names if Path(name).name != name]:
        raise ConfigError(
            f"{path}: the set {unusable[0]!r} cannot be called so, as its run file is. Leave out slashes."
        )
    for one in published:
        for name, value in one.values.items():
            if name not in names:
                raise ConfigError(
                    f"{path}: {one.system} has a figure for {name!r}. {suggest_name(name, names, 'sets')}"
                )
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise ConfigError(f"{path}: the figure of {one.system} for {name} is {value!r}, not a number.")
