"""Loss over the epochs as the numbers of an SVG picture: a line for every miner, over all rounds of one task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from network.canvas import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, column, height

#: Colours and dashes that the style sheet tells apart; more lines than that are no picture any more.
MOST_LINES = 8
_MOST_LABELS, _TICKS = 10, 4


@dataclass(frozen=True, kw_only=True)
class Line:
    """One miner's losses."""

    name: str
    #: Which of the style sheet's colours.
    colour: int
    points: str
    #: Of the newest epoch.
    loss: float
    #: Where it ends.
    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Everything that is drawn, in the picture's units."""

    width: int
    height: int
    left: int
    right: int
    bottom: int
    lines: Sequence[Line]
    #: (y, label) of the horizontal lines.
    ticks: Sequence[tuple[float, str]]
    #: (x, label) of the epochs that the axis names.
    epochs: Sequence[tuple[float, str]]


def loss_curves(losses: Mapping[str, Sequence[float]]) -> Curves | None:
    """`losses`: each miner's loss of every epoch, oldest first. None where there is nothing to draw."""
    drawn = {name: values for name, values in sorted(losses.items()) if values}
    if not drawn:
        return None
    most = max(len(values) for values in drawn.values())
    ticks = _nice_ticks(max(max(values) for values in drawn.values()))
    top = ticks[-1]
    lines = []
    for colour, (name, values) in enumerate(list(drawn.items())[:MOST_LINES]):
        places = [(column(epoch, most), height(value / top)) for epoch, value in enumerate(values, 1)]
        points = " ".join(f"{x:g},{y:g}" for x, y in places)
        x, y = places[-1]
        lines.append(Line(name=name, colour=colour, points=points, loss=values[-1], x=x, y=y))
    step = ceil(most / _MOST_LABELS)
    return Curves(
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=RIGHT,
        bottom=BOTTOM,
        lines=lines,
        ticks=[(height(value / top), f"{value:g}") for value in ticks],
        epochs=[(column(epoch, most), str(epoch)) for epoch in range(1, most + 1) if (epoch - 1) % step == 0],
    )


def _nice_ticks(highest: float) -> list[float]:
    """From 0 to at least the highest value, in steps of 1, 2 or 5 times a power of ten."""
    raw = max(highest, 1e-6) / _TICKS
    power = 10.0 ** floor(log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    return (
        [round(step * number, 10) for number in range(ceil(highest / step - 1e-9) + 1)] if highest > 0 else [0.0, step]
    )
