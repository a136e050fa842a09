"""ns per coordinate of each system on a logarithmic scale, for the README. Needs the extra `bench`."""

from pathlib import Path

from bench.measure import Row


def draw(rows: list[Row], path: Path) -> None:
    """Writes an SVG or PNG of the rows that have rivals."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [row for row in rows if row.vs]
    rivals = sorted({rival for row in shown for rival in row.vs})
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.45 * len(shown) * (1 + len(rivals))), layout="constrained")
    for place, row in enumerate(reversed(shown)):
        bars = [("flfleet", row.ns), *((rival, row.ns * times) for rival, times in sorted(row.vs.items()))]
        for i, (system, ns) in enumerate(bars):
            y = place * (len(rivals) + 2) - i
            axes.barh(y, ns, color=f"C{0 if system == 'flfleet' else 1 + rivals.index(system)}")
            axes.text(ns, y, f"  {system} {ns:,.0f} ns", va="center", fontsize=8)
    axes.set_yticks([place * (len(rivals) + 2) for place in range(len(shown))], [row.name for row in reversed(shown)])
    axes.set_xscale("log")
    axes.set_xlim(right=axes.get_xlim()[1] * 4)
    axes.set_xlabel("ns per coordinate, one core (logarithmic)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)
