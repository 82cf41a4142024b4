"""Figures as SVG text: effectiveness against cost, and curves over steps.

Drawn by matplotlib, of the extra `figures`. Axes and texts have the colour of the text around them (`currentColor`),
and the other colours stand out from light and dark ground alike; every group has a marker of its own too. The same
values give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from everglade import durable
from everglade.errors import ConfigError, MissingExtra
from everglade.pages.labels import place_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "Point", "draw_curves", "draw_frontier"]

COLOURS = ("#0072b2", "#d55e00", "#009270", "#b8578f", "#8a6d00", "#5b6bd6", "#a0522d", "#767676")
"""After Okabe and Ito's set for colour-blind readers; each has a contrast of at least 3 with white and with #15181c."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "p")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.5, 1.4)), (0, (6, 1.6, 1.5, 1.6)), (0, (3, 1.2)))
INK = "#010203"
"""A colour that stands for currentColor until the SVG is written."""

WIDE = (7.0, 4.1)
NARROW = (3.75, 3.6)
LEGEND_LINE = 0.19
"""What a line of a legend adds to a figure's height, after the second."""
POINTS_AN_INCH = 72
PNG_DOTS_AN_INCH = 200
LABELLED_POINTS = 14
"""With more points than this only those of the front have labels."""

_MARKED_POINTS = 16
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "everglade",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.6,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.6,
    "lines.linewidth": 1.7,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "xtick.labelcolor"), INK
    ),
}


class Point(NamedTuple):
    """One system in a figure of effectiveness against cost.

    Attributes:
        label: What it is called, beside its marker.
        group: Points of one group share colour and marker.
        x: The cost.
        y: The effectiveness.
        low: The lower end of its error bar, if it has one.
        high: The upper end.
    """

    label: str
    group: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None


def draw_frontier(
    points: Sequence[Point],
    x_label: str,
    y_label: str,
    *,
    log_x: bool = False,
    front: Sequence[int] | None = None,
    levels: Mapping[str, float] | None = None,
    narrow: bool = False,
    png: str | Path | None = None,
) -> str:
    """Draw effectiveness against cost and give the SVG.

    Args:
        points: What was measured.
        x_label: The cost's name and unit.
        y_label: The effectiveness' name.
        log_x: Whether equal ratios of cost are equally far apart.
        front: Places in `points` of the Pareto front, in any order; a step line joins them. None draws none.
        levels: Name -> value of horizontal lines: what has an effectiveness and no such cost.
        narrow: Draw for a phone.
        png: Also write the figure there, on white.

    Raises:
        ConfigError: if there is no point, or one has no place on the axes.
        MissingExtra: if matplotlib is not installed.
    """
    _require_points([(point.x, point.y) for point in points], log_x=log_x)
    with _figure(narrow=narrow) as figure:
        axes = figure.add_subplot()
        if log_x:
            axes.set_xscale("log")
            _count_by_ratio(axes.xaxis, [point.x for point in points])
        groups = list(dict.fromkeys(point.group for point in points))
        for place, group in enumerate(groups):
            _draw_group(axes, [point for point in points if point.group == group], place)
        _draw_levels(axes, levels or {})
        axes.margins(0.09, 0.1)
        _keep_apart(axes, [point.x for point in points])
        chosen = sorted((points[place] for place in front or ()), key=lambda point: (point.x, point.y))
        corners = _draw_front(axes, chosen) if chosen else []
        _name_axes(axes, x_label, y_label)
        _explain_groups(figure, axes, narrow=narrow, one_is_enough=not chosen and not levels)
        named = points if len(points) <= LABELLED_POINTS else chosen
        place_labels(figure, axes, [(_clean(point.label), point.x, point.y) for point in named], points, corners)
        return _finish(figure, png, f"{y_label} against {x_label}")


def draw_curves(
    series: Mapping[str, Sequence[tuple[float, float]]],
    x_label: str,
    y_label: str,
    *,
    levels: Mapping[str, float] | None = None,
    log_y: bool = False,
    narrow: bool = False,
    png: str | Path | None = None,
) -> str:
    """Draw curves, such as those of a training, and give the SVG.

    Args:
        series: Name of a curve -> its (x, y), by x.
        x_label: What x is.
        y_label: What y is, and its unit.
        levels: Name -> value of horizontal lines, such as a target.
        log_y: Whether equal ratios of y are equally far apart.
        narrow: Draw for a phone.
        png: Also write the figure there, on white.

    Raises:
        ConfigError: if there is no point, or one has no place on the axes.
        MissingExtra: if matplotlib is not installed.
    """
    _require_points([pair for pairs in series.values() for pair in pairs], log_y=log_y)
    with _figure(narrow=narrow) as figure:
        axes = figure.add_subplot()
        if log_y:
            axes.set_yscale("log")
            _count_by_ratio(axes.yaxis, [pair[1] for pairs in series.values() for pair in pairs])
        for place, (name, pairs) in enumerate(series.items()):
            look: dict[str, Any] = {"color": COLOURS[place % len(COLOURS)], "linestyle": DASHES[place % len(DASHES)]}
            if len(pairs) <= _MARKED_POINTS:
                look |= {"marker": MARKERS[place % len(MARKERS)], "markersize": 4}
            xs, ys = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
            axes.plot(xs, ys, label=_clean(name), **look)
        _draw_levels(axes, levels or {})
        axes.margins(0.02, 0.08)
        if all(float(pair[0]).is_integer() for pairs in series.values() for pair in pairs):
            axes.locator_params(axis="x", integer=True)
        _name_axes(axes, x_label, y_label)
        _explain_groups(figure, axes, narrow=narrow, one_is_enough=True)
        return _finish(figure, png, f"{y_label} against {x_label}")


def _require_points(pairs: Sequence[tuple[float, float]], *, log_x: bool = False, log_y: bool = False) -> None:
    if not pairs:
        raise ConfigError("there is nothing to draw: no point was given.")
    for x, y in pairs:
        if not (abs(x) < float("inf") and abs(y) < float("inf")):
            raise ConfigError(f"({x}, {y}) has no place in a figure. Leave out what was not measured.")
        if (log_x and x <= 0) or (log_y and y <= 0):
            raise ConfigError(f"({x}, {y}) has no place on a scale of ratios. Leave it out, or draw a linear scale.")


@contextmanager
def _figure(*, narrow: bool) -> Iterator[Figure]:
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "figures") from error
    with warnings.catch_warnings(), matplotlib.rc_context():
        # A letter that the measuring font lacks is drawn by the reader's own font.
        warnings.simplefilter("ignore", UserWarning)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=NARROW if narrow else WIDE, dpi=POINTS_AN_INCH, layout="constrained")
        FigureCanvasAgg(figure)  # measures texts; the figure keeps it
        yield figure


def _count_by_ratio(axis: Axis, values: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if max(values) / min(values) < 100:  # a decade or two: name 1, 2 and 5 of each
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def _keep_apart(axes: Axes, costs: Sequence[float]) -> None:
    """Show costs that are nearly the same as such: an axis spans at least a fifth of its values."""
    low, high = min(costs), max(costs)
    if low > 0 and high < 1.2 * low:
        axes.set_xlim(0.85 * low, 1.15 * high)


def _draw_group(axes: Axes, points: Sequence[Point], place: int) -> None:
    colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
    for point in points:
        if point.low is not None and point.high is not None:
            axes.vlines(point.x, point.low, point.high, color=colour, linewidth=1.1, alpha=0.75)
            for end in (point.low, point.high):
                axes.plot([point.x], [end], marker="_", markersize=6, color=colour, alpha=0.75, linestyle="none")
    xs, ys = [point.x for point in points], [point.y for point in points]
    axes.plot(xs, ys, linestyle="none", marker=marker, markersize=6, color=colour, label=_clean(points[0].group))


def _draw_front(axes: Axes, front: Sequence[Point]) -> list[tuple[float, float]]:
    """Draw the best effectiveness that a cost allows: the same until the next point of the front. Gives the corners."""
    right = axes.get_xlim()[1]
    corners = [(front[0].x, front[0].y)]
    for before, point in pairwise(front):
        corners += [(point.x, before.y), (point.x, point.y)]
    corners.append((right, front[-1].y))
    xs, ys = zip(*corners, strict=True)
    axes.plot(xs, ys, color=INK, linewidth=1.0, alpha=0.55, zorder=1.5, label="Pareto front")
    axes.set_xlim(right=right)
    return corners


def _draw_levels(axes: Axes, levels: Mapping[str, float]) -> None:
    for place, (name, value) in enumerate(levels.items()):
        axes.axhline(value, color=INK, linewidth=0.9, linestyle=(0, (2, 2 + 2 * place)), alpha=0.7, label=_clean(name))


def _name_axes(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(_clean(x_label))
    axes.set_ylabel(_clean(y_label))
    axes.tick_params(length=3, width=0.7)


def _explain_groups(figure: Figure, axes: Axes, *, narrow: bool, one_is_enough: bool) -> None:
    """Put a legend under the axes, where it covers nothing, and not at their cost; what is alone needs none."""
    handles, names = axes.get_legend_handles_labels()
    if len(names) < 2 and one_is_enough:
        return
    width = (NARROW if narrow else WIDE)[0] * POINTS_AN_INCH
    room = max(1, int(width / (max(map(len, names)) * 5.4 + 36)))
    lines = math.ceil(len(names) / room)
    figure.set_size_inches(figure.get_figwidth(), figure.get_figheight() + max(0, lines - 2) * LEGEND_LINE)
    figure.legend(handles, names, loc="outside lower left", ncols=min(room, len(names)))


def _clean(text: str) -> str:
    """One line without control characters, which have no place in SVG."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _finish(figure: Figure, png: str | Path | None, title: str) -> str:
    if png is not None:
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=PNG_DOTS_AN_INCH, facecolor="white", metadata={"Software": None})
        durable.write_bytes(Path(png), picture.getvalue())
    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    return _tidy(text.getvalue(), _clean(title))


def _tidy(svg: str, title: str) -> str:
    """Make matplotlib's file an element that fits any page: its colours, its font, names of its own, no addresses."""
    import html

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style).*?</\1>\s*", "", svg, flags=re.S)
    svg = (
        svg.replace(INK, "currentColor")
        .replace("xlink:href", "href")
        .replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    )
    svg = re.sub(r"'DejaVu Sans'[^;\"]*|DejaVu Sans[^;\"]*", "system-ui, sans-serif", svg)
    own = hashlib.sha256(svg.encode()).hexdigest()[:8]
    svg = re.sub(r'\bid="([^"]+)"', rf'id="f{own}-\1"', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#f{own}-", svg)
    size = re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', svg)
    assert size is not None
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size[0][9:-1]}" width="{size[1]}" height="{size[2]}" '
        f'stroke-linejoin="round" role="img" aria-label="{html.escape(title)}">'
    )
    return head + svg[svg.index(">") + 1 :].strip()
