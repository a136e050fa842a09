from network.plot import HEIGHT, WIDTH, accuracy_plot


def test_every_round_lies_inside_and_higher_accuracy_lies_higher() -> None:
    plot = accuracy_plot([(1, 0.0), (2, 0.5), (3, 1.0)], 0.85, 10)
    assert [dot.round for dot in plot.dots] == [1, 2, 3]
    assert plot.dots[0].y > plot.dots[1].y > plot.dots[2].y
    assert plot.dots[0].x < plot.dots[1].x < plot.dots[2].x
    assert all(0 < dot.x < WIDTH and 0 < dot.y < HEIGHT for dot in plot.dots)
    assert plot.expected is not None
    assert plot.dots[2].y < plot.expected < plot.dots[1].y


def test_a_single_round_is_drawn_and_no_expectation_is_no_line() -> None:
    plot = accuracy_plot([(1, 0.4)], None, 1)
    assert len(plot.dots) == 1
    assert plot.expected is None


def test_the_axis_names_no_more_rounds_than_it_has_room_for() -> None:
    plot = accuracy_plot([(number, 0.5) for number in range(1, 101)], 0.9, 100)
    assert sum(dot.is_named for dot in plot.dots) <= 12
    assert plot.dots[0].is_named
