"""Filters on metadata: a small language, and what it is in SQL.

    year >= 2019 and lang = "en"
    not (source.kind in ("blog", "forum") or draft = true)
    id in ("d17", "d18")

A name is a field of a document's metadata; dots lead into nested objects. `id` is the document's own id. A name in
backticks is a field whatever it holds: `` `published in`.year ``, `` `id` ``. Values are strings in single or double
quotes (a backslash before a quote or a backslash keeps it), numbers, true, false and null.

A comparison is true or false, never unknown: where the field is absent or of another type than the value, it is false,
and `!=` is the opposite of `=`. Only `field = null` is true of absent fields. `<`, `<=`, `>` and `>=` take numbers, or
strings, which are ordered by code points. `not` binds tighter than `and`, `and` tighter than `or`.

Whole numbers of 64 bits, from -2^63 to 2^63 - 1, are compared exactly. SQLite reads greater ones as doubles, in the
metadata as here: of 2^64 and 2^64 + 1 it makes the same number.

Values and the names of fields reach SQLite as parameters; the SQL itself is made of nothing that was given.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from everglade.errors import ConfigError

__all__ = ["Filter", "Where", "parse_filter"]

Value = str | int | float | bool | None
Where = str | Mapping[str, Value | list[Value] | tuple[Value, ...]]

MAX_CONDITIONS = 200
MAX_NESTING = 12  # SQLite's parser has a stack of its own
_KEYWORDS = ("and", "or", "not", "in", "true", "false", "null")
_IS_NUMBER = "(json_type(metadata, ?) IS 'integer' OR json_type(metadata, ?) IS 'real')"
_EXAMPLE = "Example: year >= 2019 and lang in (\"en\", 'de')."
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\]|\\["'\\])*"|'(?:[^'\\]|\\["'\\])*')
    | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
    | (?P<name>(?:[^\W\d]\w*|`[^`]+`)(?:\.(?:\w+|`[^`]+`))*)
    | (?P<mark><=|>=|!=|=|<|>|\(|\)|,)
    )""",
    re.VERBOSE,
)


class Filter(NamedTuple):
    """A condition over the table `documents`: `sql` with a question mark for each of `parameters`."""

    sql: str
    parameters: tuple[str | int | float, ...]


class _Token(NamedTuple):
    kind: str
    text: str
    place: int


def parse_filter(where: Where) -> Filter:
    """Compile a filter.

    Args:
        where: A condition as the head of this module describes it, or a mapping from names of fields to the value, or
            the list of values, that the field must have; all of its pairs must hold.

    Raises:
        ConfigError: if it cannot be understood; the message says where.
    """
    if isinstance(where, str):
        return _Parser(where).filter()
    if isinstance(where, Mapping):
        return _from_mapping(where)
    raise ConfigError(f"where is of type {type(where).__name__}: give a string or a mapping. {_EXAMPLE}")


def _from_mapping(where: Mapping[str, Value | list[Value] | tuple[Value, ...]]) -> Filter:
    if len(where) > MAX_CONDITIONS:
        raise ConfigError(
            f"where has {len(where)} fields. Leave some out: {MAX_CONDITIONS} can be asked for at a time."
        )
    parts = []
    for name, wanted in where.items():
        found = _TOKEN.match(name) if isinstance(name, str) else None
        if found is None or found.lastgroup != "name" or found.end() != len(name):
            raise ConfigError(f"where: {name!r} is not the name of a field. {_EXAMPLE}")
        values = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
        for value in values:
            if value is not None and not isinstance(value, str | int | float):
                raise ConfigError(
                    f"where: {name} cannot be compared with a value of type {type(value).__name__}. "
                    f"Give a string, a number, True, False, None, or a list of these."
                )
        parts.append(_one_of(name.strip(), values))
    return _join("AND", parts) if parts else Filter("1", ())


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_cut(text))
        self._next = 0
        self._conditions = 0

    def filter(self) -> Filter:
        if len(self._tokens) == 1:
            raise ConfigError(f"where is empty. {_EXAMPLE}")
        found = self._either(0)
        if self._token.kind != "end":
            raise self._error("the end, 'and' or 'or'")
        return found

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._token
        self._next += 1
        return token

    def _takes(self, *words: str) -> bool:
        """Pass over the next token if it is one of these marks or words."""
        token = self._token
        if token.kind in ("mark", "name") and token.text.lower() in words:
            self._next += 1
            return True
        return False

    def _error(self, wanted: str) -> ConfigError:
        token = self._token
        found = "its end" if token.kind == "end" else repr(token.text)
        return ConfigError(f"where, character {token.place + 1}: found {found}, wanted {wanted}. {_EXAMPLE}")

    def _either(self, depth: int) -> Filter:
        parts = [self._all(depth)]
        while self._takes("or"):
            parts.append(self._all(depth))
        return _join("OR", parts)

    def _all(self, depth: int) -> Filter:
        parts = [self._one(depth)]
        while self._takes("and"):
            parts.append(self._one(depth))
        return _join("AND", parts)

    def _one(self, depth: int) -> Filter:
        if depth > MAX_NESTING:
            raise ConfigError(f"where is nested more than {MAX_NESTING} deep. Take out parentheses or 'not'.")
        if self._takes("not"):
            inner = self._one(depth + 1)
            return Filter(f"NOT ({inner.sql})", inner.parameters)
        if self._takes("("):
            inner = self._either(depth + 1)
            if not self._takes(")"):
                raise self._error("')'")
            return inner
        return self._comparison()

    def _comparison(self) -> Filter:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise ConfigError(f"where has more than {MAX_CONDITIONS} conditions; 'in' takes a list of any length.")
        if self._token.kind != "name" or self._token.text.lower() in _KEYWORDS:
            raise self._error("the name of a field")
        name = self._take().text
        negated = self._takes("not")
        if self._takes("in"):
            found = _one_of(name, self._list())
        elif negated:
            raise self._error("'in'")
        elif self._token.kind == "mark" and self._token.text in ("=", "!=", "<", "<=", ">", ">="):
            operator = self._take()
            negated = operator.text == "!="
            value = self._value()
            if operator.text in ("=", "!="):
                found = _one_of(name, [value])
            elif isinstance(value, bool) or value is None:
                raise ConfigError(
                    f"where, character {operator.place + 1}: {operator.text} takes a number or a string, "
                    f"not {json.dumps(value)}. Ask for that with = or !=."
                )
            else:
                found = _ordered(name, operator.text, value)
        else:
            raise self._error("=, !=, <, <=, >, >= or in")
        return Filter(f"NOT ({found.sql})", found.parameters) if negated else found

    def _list(self) -> list[Value]:
        if not self._takes("("):
            raise self._error("'(' and a list of values")
        values = [self._value()]
        while self._takes(","):
            values.append(self._value())
        if not self._takes(")"):
            raise self._error("',' or ')'")
        return values

    def _value(self) -> Value:
        token = self._token
        words: dict[str, Value] = {"true": True, "false": False, "null": None}
        if token.kind == "string":
            value: Value = re.sub(r"\\(.)", r"\1", token.text[1:-1])
        elif token.kind == "number":
            value = _read_number(token.text)
        elif token.kind == "name" and token.text.lower() in words:
            value = words[token.text.lower()]
        else:
            raise self._error("a string in quotes, a number, true, false or null")
        self._next += 1
        return value


def _cut(text: str) -> Iterator[_Token]:
    place = 0
    while place < len(text.rstrip()):
        found = _TOKEN.match(text, place)
        if found is None or found.lastgroup is None:
            rest = text[place:].lstrip()
            why = "a string without its closing quote" if rest[0] in "\"'" else "nothing that is known"
            raise ConfigError(f"where, character {len(text) - len(rest) + 1}: {rest[:20]!r} begins {why}. {_EXAMPLE}")
        yield _Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup))
        place = found.end()
    yield _Token("end", "", len(text))


def _join(word: str, parts: list[Filter]) -> Filter:
    if len(parts) == 1:
        return parts[0]
    return Filter(f" {word} ".join(f"({part.sql})" for part in parts), sum((part.parameters for part in parts), ()))


def _one_of(name: str, values: list[Value]) -> Filter:
    """Say that a field has one of these values."""
    strings = [value for value in values if isinstance(value, str)]
    if name == "id":
        if len(strings) < len(values):
            raise ConfigError(
                "where: an id is a string; write it in quotes. `id` in backticks is a field of that name."
            )
        return Filter("id IN (SELECT value FROM json_each(?))", (_as_json(strings),))
    path = _path(name)
    parts = []
    if strings:
        parts.append(_listed("json_type(metadata, ?) IS 'text'", path, strings))
    numbers = [_as_number(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if numbers:
        parts.append(_listed(_IS_NUMBER, path, numbers))
    for value, kind in ((True, "true"), (False, "false")):
        if any(given is value for given in values):
            parts.append(Filter(f"json_type(metadata, ?) IS '{kind}'", (path,)))
    if None in values:
        parts.append(Filter("COALESCE(json_type(metadata, ?), 'null') = 'null'", (path,)))
    return _join("OR", parts) if parts else Filter("0", ())


def _listed(kind: str, path: str, values: Sequence[str | int | float]) -> Filter:
    """Say that a field is of a kind and in a list; where it is of another, SQLite's `0 AND NULL` is 0."""
    paths = (path,) * kind.count("?")
    sql = f"{kind} AND json_extract(metadata, ?) IN (SELECT value FROM json_each(?))"
    return Filter(sql, (*paths, path, _as_json(values)))


def _ordered(name: str, operator: str, value: str | int | float) -> Filter:
    if name == "id":
        if not isinstance(value, str):
            raise ConfigError(
                "where: an id is a string; write it in quotes. `id` in backticks is a field of that name."
            )
        return Filter(f"id {operator} ?", (_checked(value),))
    kind = "json_type(metadata, ?) IS 'text'" if isinstance(value, str) else _IS_NUMBER
    paths = (_path(name),) * (kind.count("?") + 1)
    # The value is read by the same reader of numbers as the metadata, whose last digit is SQLite's own.
    sql = f"{kind} AND json_extract(metadata, ?) {operator} json_extract(?, '$[0]')"
    return Filter(sql, (*paths, _as_json([value if isinstance(value, str) else _as_number(value)])))


def _path(name: str) -> str:
    """Give the JSON path of a name. Metadata is stored with escapes for all but ASCII, and labels are compared so."""
    labels = [label.strip("`") for label in re.findall(r"`[^`]+`|\w+", name)]
    if any('"' in label for label in labels):
        raise ConfigError(
            f"where: the name {name!r} holds a double quote, which no filter can name. Call the field something else."
        )
    return "$" + "".join(f'."{json.dumps(label)[1:-1]}"' for label in labels)


def _read_number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:  # it has a point or an exponent, or thousands of digits
        return float(text)


def _as_number(value: float) -> int | float:
    """Give a number as SQLite can hold it: 64 bits, or a double."""
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ConfigError(f"where: {value} is not a finite number. Numbers up to 1.79e308 can be compared.")
    return value


def _as_json(values: Sequence[str | int | float]) -> str:
    for value in values:
        if isinstance(value, str):
            _checked(value)
    return json.dumps(values)


def _checked(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"where: the string {value[:40]!r} holds half a surrogate pair. Mend the text.") from None
    return value
