"""What came of a batch of local trainings: by task for people, every training as CSV, loss and time as a picture."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.table import Column, Table

from cli.console import OUT
from pipeline.errors import Misconfigured
from pipeline.stores.fleet.retraining_records import Retraining, Turn

#: Tasks that a terminal's table shows.
_MOST_ROWS = 50
_COLUMNS = (
    *("retrainingID", "batch", "runID", "taskID", "round", "dataset", "miner", "name", "priority", "state"),
    *(
        "epochs",
        "lossFirst",
        "lossLast",
        "accuracy",
        "samples",
        "device",
        "together",
        "alone",
        "trainSeconds",
        "seconds",
        "error",
    ),
)


@dataclass(frozen=True, kw_only=True)
class TaskReport:
    """One task's trainings together: means over those that are done."""

    task_id: str
    round: int
    done: int
    failed: int
    cancelled: int
    #: Of the first and of the last epoch; None where none is done.
    loss_first: float | None
    loss_last: float | None
    #: On held-back data, 0 .. 1; None where nothing is held back.
    accuracy: float | None
    #: Of one training, from claim to end; of trainings that shared a stack, each one's share of its time.
    seconds: float | None
    #: A failure's reason, if there is one.
    error: str | None

    def as_json(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {
            "taskID": self.task_id,
            "round": self.round,
            "done": self.done,
            "failed": self.failed,
            "cancelled": self.cancelled,
            "lossFirst": self.loss_first,
            "lossLast": self.loss_last,
            "accuracy": self.accuracy,
            "seconds": self.seconds,
            "error": self.error,
        }


def by_task(rows: Iterable[Retraining]) -> Iterator[TaskReport]:
    """One report a task; the rows come ordered by task."""
    for task_id, group in groupby(rows, key=lambda row: row.task_id):
        some = list(group)
        done = [row for row in some if row.state is Turn.DONE]
        yield TaskReport(
            task_id=task_id,
            round=max(row.round for row in some),
            done=len(done),
            failed=sum(row.state is Turn.FAILED for row in some),
            cancelled=sum(row.state is Turn.CANCELLED for row in some),
            loss_first=_mean([_loss(row, 0) for row in done]),
            loss_last=_mean([_loss(row, -1) for row in done]),
            accuracy=_mean([row.figures.get("accuracy") for row in done]),
            seconds=_mean([_share(row) for row in done]),
            error=next((row.error for row in some if row.state is Turn.FAILED), None),
        )


def show(tasks: Sequence[TaskReport], counts: Mapping[Turn, int]) -> None:
    """The table for a terminal; of very many tasks the first ones."""
    table = Table(
        Column("task", overflow="fold"), "round", "done", Column("loss", no_wrap=True), "held accuracy", "seconds"
    )
    failures = any(task.failed for task in tasks)
    if failures:
        table.add_column("failed")
        table.add_column("error", overflow="fold")
    for task in tasks[:_MOST_ROWS]:
        loss = "-" if task.loss_first is None else f"{task.loss_first:.4f} > {task.loss_last:.4f}"
        table.add_row(
            task.task_id,
            str(task.round),
            str(task.done),
            loss,
            _text(task.accuracy, ".3f"),
            _text(task.seconds, ".3g"),
            *((str(task.failed), (task.error or "")[:200]) if failures else ()),
        )
    OUT.print(table)
    if len(tasks) > _MOST_ROWS:
        OUT.print(f"and {len(tasks) - _MOST_ROWS} tasks more: --report FILE.csv has every training")
    OUT.print(", ".join(f"{counts[state]} {state}" for state in Turn if counts.get(state)))


def write_csv(path: Path, rows: Iterable[Retraining]) -> None:
    """Every training, a line each. Raises Misconfigured where the file cannot be written."""
    try:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            writer.writerows(_line(row) for row in rows)
    except OSError as error:
        raise Misconfigured(f"{path}: {error.strerror}; name another file with --report") from None


def write_plot(path: Path, tasks: Sequence[TaskReport]) -> None:
    """Loss (from first to last epoch) and seconds of each task, as PNG or SVG by the file's ending. Raises Misconfigured."""
    if path.suffix not in (".png", ".svg"):
        raise Misconfigured(f"--plot {path.name}: the file's ending must be .png or .svg")
    try:
        import matplotlib as mpl
    except ImportError:
        raise Misconfigured("--plot needs matplotlib: pip install 'flfleet[bench]'") from None
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [task for task in tasks if task.loss_last is not None]
    places = list(range(len(shown)))
    figure, (losses, times) = plt.subplots(2, 1, figsize=(9, 6), sharex=True, layout="constrained")
    losses.vlines(
        places, [task.loss_last or 0 for task in shown], [task.loss_first or 0 for task in shown], color="C0", alpha=0.5
    )
    losses.scatter(places, [task.loss_first for task in shown], s=12, marker="_", color="C0", label="first epoch")
    losses.scatter(places, [task.loss_last for task in shown], s=12, color="C1", label="last epoch")
    losses.set_ylabel("training loss")
    losses.legend(loc="upper right")
    times.bar(places, [task.seconds or 0 for task in shown], color="C2")
    times.set_ylabel("seconds a training")
    times.set_xlabel("task")
    if len(shown) <= 40:
        times.set_xticks(places, [task.task_id for task in shown], rotation=90, fontsize=7)
    try:
        figure.savefig(path)
    except OSError as error:
        raise Misconfigured(f"{path}: {error.strerror}; name another file with --plot") from None
    finally:
        plt.close(figure)


def _line(row: Retraining) -> list[Any]:
    figures = row.figures
    return [
        *(row.retraining_id, row.batch, row.run_id, row.task_id, row.round, row.dataset, row.miner, row.miner_name),
        *(row.priority, row.state, figures.get("epochs"), _loss(row, 0), _loss(row, -1), figures.get("accuracy")),
        *(figures.get("samples"), figures.get("device"), figures.get("together"), figures.get("alone")),
        figures.get("seconds"),
        *(None if row.seconds is None else round(row.seconds, 3), row.error),
    ]


def _share(row: Retraining) -> float | None:
    return None if row.seconds is None else row.seconds / (row.figures.get("together") or 1)


def _loss(row: Retraining, epoch: int) -> float | None:
    losses = row.figures.get("losses") or []
    return float(losses[epoch]) if losses else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _text(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)
