"""What the pages' pictures share: their size in an SVG's units, and where a column and a height lie in it."""

WIDTH, HEIGHT = 640, 240
#: The labels left of the axis are set larger on a phone, where the whole picture shrinks: `100%` in 24 px takes 70.
LEFT, RIGHT, TOP, BOTTOM = 80, WIDTH - 20, 16, HEIGHT - 30
#: Between the axis and the first column, and behind the last.
_MARGIN = 12


def column(number: int, last: int) -> float:
    """x of a column, of those from 1 to `last`; one alone stands in the middle."""
    inner = RIGHT - LEFT - 2 * _MARGIN
    return round(LEFT + _MARGIN + (inner * (number - 1) / (last - 1) if last > 1 else inner / 2), 1)


def height(share: float) -> float:
    """y of a share (0 .. 1) of the picture's height."""
    return round(TOP + (BOTTOM - TOP) * (1 - share), 1)
