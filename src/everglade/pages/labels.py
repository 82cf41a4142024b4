"""Labels beside the points of a figure, where they cover neither points nor each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from everglade.pages.figures import Point

__all__ = ["place_labels"]

MARKER = 4.5
"""Half the width of the square that a marker takes, in points."""
LINE = 1.0

_NEAR, _FAR = 6.0, 13.0
_SIDES = (
    (1, 0, "left", "center"),
    (1, 1, "left", "bottom"),
    (-1, 1, "right", "bottom"),
    (-1, 0, "right", "center"),
    (0, 1, "center", "bottom"),
    (1, -1, "left", "top"),
    (-1, -1, "right", "top"),
    (0, -1, "center", "top"),
)
_FONT_SIZE = 8.0

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


def place_labels(
    figure: Figure,
    axes: Axes,
    labels: Sequence[tuple[str, float, float]],
    points: Sequence[Point],
    corners: Sequence[tuple[float, float]] = (),
) -> None:
    """Write (label, x, y) beside their points; a label that finds no free place is left out.

    Args:
        figure: The figure, complete but for the labels.
        axes: Where the points are.
        labels: What to write, the most important first.
        points: Every point that is drawn, error bars included.
        corners: The (x, y) of a step line, one after the other.
    """
    figure.draw_without_rendering()  # only now the size of the axes is known
    figure.set_layout_engine("none")
    frame = axes.bbox
    inside = (frame.x0, frame.y0, frame.x1, frame.y1)
    taken = [box for point in points for box in _boxes(axes, point)]
    taken += [_along(axes, start, end) for start, end in pairwise(corners)]
    for label, x, y in labels:
        for reach in (_NEAR, _FAR):
            done = any(_try(axes, label, (x, y), _offset(reach, *beside), inside, taken) for beside in _SIDES)
            if done:
                break


def _offset(reach: float, dx: int, dy: int, side: str, base: str) -> tuple[float, float, str, str]:
    return dx * reach, dy * (reach - 2), side, base


def _try(
    axes: Axes,
    label: str,
    at: tuple[float, float],
    offset: tuple[float, float, str, str],
    inside: Box,
    taken: list[Box],
) -> bool:
    """Write a label at an offset from its point and say whether it may stay there."""
    dx, dy, side, base = offset
    text = axes.annotate(
        label,
        at,
        xytext=(dx, dy),
        textcoords="offset points",
        ha=side,
        va=base,
        fontsize=_FONT_SIZE,
    )
    found = text.get_window_extent()
    box = (found.x0, found.y0, found.x1, found.y1)
    fits = inside[0] <= box[0] and inside[1] <= box[1] and box[2] <= inside[2] and box[3] <= inside[3]
    if not fits or any(_overlap(box, other) for other in taken):
        text.remove()
        return False
    taken.append(box)
    return True


def _boxes(axes: Axes, point: Point) -> list[Box]:
    across, up = axes.transData.transform((point.x, point.y))
    boxes = [(across - MARKER, up - MARKER, across + MARKER, up + MARKER)]
    if point.low is not None and point.high is not None:
        low, high = (axes.transData.transform((point.x, end))[1] for end in (point.low, point.high))
        boxes.append((across - MARKER, low, across + MARKER, high))
    return boxes


def _along(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> Box:
    across, up = zip(*(axes.transData.transform(corner) for corner in (start, end)), strict=True)
    return (min(across) - LINE, min(up) - LINE, max(across) + LINE, max(up) + LINE)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
