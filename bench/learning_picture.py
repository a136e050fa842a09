"""Accuracy over the bytes that a miner has sent, a panel for each federation. Needs the extra `bench`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.learning import Measured


def draw(found: Sequence[Measured], path: Path) -> None:
    """Writes an SVG or PNG, by the path's ending. Every line is the mean of its seeds."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "flfleet"  # the same picture from the same numbers
    from matplotlib import pyplot as plt

    groups = list(dict.fromkeys(one.case.group for one in found))
    labels = list(dict.fromkeys(one.case.label for one in found))
    networks = list(dict.fromkeys(one.case.workload.name for one in found))
    columns = -(-len(groups) // len(networks))
    figure, grid = plt.subplots(
        len(networks), columns, figsize=(3.6 * columns, 3.0 * len(networks)), squeeze=False, layout="constrained"
    )
    for group, axes in zip(groups, grid.flat, strict=False):
        tops = []
        for place, label in enumerate(labels):
            members = [one.rounds for one in found if (one.case.group, one.case.label) == (group, label)]
            if not members:
                continue
            accuracy = np.mean([[100 * each.accuracy for each in rounds] for rounds in members], axis=0)
            sent = np.mean([np.cumsum([each.bytes_sent for each in rounds]) for rounds in members], axis=0)
            axes.plot(sent, accuracy, _style(label), color=f"C{place}", label=label, linewidth=1.2)
            tops.append(float(accuracy.max()))
        axes.set_xscale("log")
        axes.set_title(group, fontsize=9)
        axes.set_ylim(max(tops) - 12, max(tops) + 1)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("bytes sent by a miner")
    for axes in grid[:, 0]:
        axes.set_ylabel("accuracy, %")
    handles = {label: line for axes in grid.flat for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=5, fontsize=8)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def _style(label: str) -> str:
    return {"ours": "-", "topk": ":"}.get(label.split()[0], "--")
