"""Tables of a page: numbers under each other, the best of a column marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from everglade.errors import ConfigError
from everglade.pages.text import escape

__all__ = ["Column", "Shown", "Value", "show_number", "show_value", "table_html"]

NOTHING = "–"


class Shown(NamedTuple):
    """A number with the words that show it, such as a mean with its spread."""

    text: str
    number: float


Value = str | int | float | Shown | None


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: Its heading.
        better: Whether the greatest or the smallest number is best, and to be marked; None marks none.
        digits: Decimals of its numbers; as many as the greatest of them asks for, if None.
        right: Whether it stands to the right; if it holds numbers, unless said.
    """

    name: str
    better: Literal["max", "min"] | None = None
    digits: int | None = None
    right: bool | None = None


def table_html(columns: Sequence[Column | str], rows: Sequence[Sequence[Value]], caption: str) -> str:
    """Give a table as HTML, see `Page.add_table`."""
    known = [Column(column) if isinstance(column, str) else column for column in columns]
    for row in rows:
        if len(row) != len(known):
            raise ConfigError(f"a row of {len(row)} values in a table of {len(known)} columns: {row!r}.")
    fields = [[row[place] for row in rows] for place in range(len(known))]
    sides = [_side(column, values) for column, values in zip(known, fields, strict=True)]
    best = [_best(column, values) for column, values in zip(known, fields, strict=True)]
    digits = [_digits(column, values) for column, values in zip(known, fields, strict=True)]
    head = "".join(
        f'<th scope="col"{side}>{escape(column.name)}</th>' for column, side in zip(known, sides, strict=True)
    )
    body = []
    for row in rows:
        cells = [
            _cell(place, value, digits[place], sides[place], is_best=_is_best(value, best[place]))
            for place, value in enumerate(row)
        ]
        body.append(f"<tr>{''.join(cells)}</tr>")
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="table" tabindex="0"><table>{above}<thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def show_number(value: float, digits: int | None = None) -> str:
    """Print a number: with so many decimals, or with as many as its size asks for; whole ones whole."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if digits is None:
        digits = _fitting_digits(value)
    return f"{value:,.{digits}f}".replace("-", "\u2212")


def show_value(value: Value, digits: int | None = None) -> str:
    """Print a value of a table, a dash for none."""
    if value is None:
        return NOTHING
    if isinstance(value, Shown):
        return value.text
    return value if isinstance(value, str) else show_number(value, digits)


def _fitting_digits(value: float) -> int:
    if isinstance(value, int):
        return 0
    size = abs(value)
    return 4 if size < 1 else 3 if size < 10 else 2 if size < 100 else 1


def _digits(column: Column, values: Sequence[Value]) -> int:
    """Give the decimals of a column: those of its greatest number, none where all are whole."""
    if column.digits is not None:
        return column.digits
    numbers = [value for value in values if isinstance(value, int | float)]
    if all(isinstance(value, int) for value in numbers):
        return 0
    return _fitting_digits(max(map(abs, map(float, numbers))))


def _side(column: Column, values: Sequence[Value]) -> str:
    right = column.right
    if right is None:
        right = any(value is not None for value in values) and not any(isinstance(value, str) for value in values)
    return ' class="number"' if right else ""


def _number(value: Value) -> float | None:
    if isinstance(value, Shown):
        return value.number
    return None if isinstance(value, str) else value


def _is_best(value: Value, best: float | None) -> bool:
    return best is not None and _number(value) == best


def _best(column: Column, values: Sequence[Value]) -> float | None:
    """Give the number to mark; where all are the same, or there is only one, none is best."""
    numbers = [value for value in map(_number, values) if value is not None]
    if column.better is None or len(set(numbers)) < 2:
        return None
    return max(numbers) if column.better == "max" else min(numbers)


def _cell(place: int, value: Value, digits: int, side: str, *, is_best: bool) -> str:
    shown = show_value(value, digits)
    inner = f"<b>{escape(shown)}</b>" if is_best else f"<bdi>{escape(shown)}</bdi>"
    return f'<th scope="row"{side}>{inner}</th>' if place == 0 else f"<td{side}>{inner}</td>"
