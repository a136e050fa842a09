"""Accuracy over the rounds as the numbers of an SVG picture; the template draws it, in the page's own colours."""

from collections.abc import Sequence
from dataclasses import dataclass

from network.canvas import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, column, height

#: Rounds that the picture has room to name.
_MOST_LABELS = 12


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A round's accuracy."""

    x: float
    y: float
    round: int
    accuracy: float
    #: Whether the axis names the round.
    is_named: bool


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Everything that is drawn, in the picture's units."""

    width: int
    height: int
    left: int
    right: int
    bottom: int
    dots: Sequence[Dot]
    #: The line through the dots.
    line: str
    #: (y, label) of the horizontal lines.
    ticks: Sequence[tuple[float, str]]
    #: y of expectedAccuracy.
    expected: float | None
    expected_label: str


def accuracy_plot(points: Sequence[tuple[int, float]], expected: float | None, rounds: int) -> Plot:
    """`points`: (round, accuracy 0 .. 1), ascending; the axis runs from round 1 to `rounds`."""
    last = max([rounds, *(number for number, _ in points)], default=1)
    step = -(-last // _MOST_LABELS)
    dots = [
        Dot(x=column(number, last), y=height(value), round=number, accuracy=value, is_named=(number - 1) % step == 0)
        for number, value in points
    ]
    return Plot(
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=RIGHT,
        bottom=BOTTOM,
        dots=dots,
        line=" ".join(f"{dot.x:g},{dot.y:g}" for dot in dots),
        ticks=[(height(value), f"{value:.0%}") for value in (0, 0.25, 0.5, 0.75, 1)],
        expected=None if expected is None else height(expected),
        expected_label="" if expected is None else f"expected {expected:.0%}",
    )
