"""ns per coordinate of each system on a logarithmic scale, for the README. Needs the extra `bench`."""

from pathlib import Path

from bench.measure import Row

#: Systems of others, each with its colour. What a row compares with beside these (our own second thread) is no rival.
RIVALS = ("coincurve", "tenseal", "torch.topk", "np.partition")


def draw(rows: list[Row], path: Path) -> None:
    """Writes an SVG or PNG of the rows that have rivals."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = {row.name: bars for row in rows if len(bars := _bars(row)) > 1}
    lines = sum(len(bars) + 1 for bars in shown.values())
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.22 * lines), layout="constrained")
    place, middles = 0, []
    for bars in shown.values():
        for i, (system, ns) in enumerate(bars):
            axes.barh(place + i, ns, color=f"C{0 if system == 'flfleet' else 1 + RIVALS.index(system)}")
            axes.text(
                ns,
                place + i,
                f"  {system} {ns:,.1f} ns" if ns < 100 else f"  {system} {ns:,.0f} ns",
                va="center",
                fontsize=8,
            )
        middles.append(place + (len(bars) - 1) / 2)
        place += len(bars) + 1
    axes.set_yticks(middles, list(shown))
    axes.set_ylim(place - 1, -1)
    axes.set_xscale("log")
    axes.set_xlim(right=axes.get_xlim()[1] * 4)
    axes.set_xlabel("ns per coordinate, one core (logarithmic)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)


def _bars(row: Row) -> list[tuple[str, float]]:
    return [("flfleet", row.ns), *((rival, row.ns * row.vs[rival]) for rival in RIVALS if rival in row.vs)]
