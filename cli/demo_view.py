"""What the demo shows: bars while it runs, a table at the end, one JSON object for scripts."""

import json
from collections.abc import Sequence
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table

from cli.console import ERR
from cli.demo_check import Ledger, RoundResult
from pipeline.stages.contract import Stage
from pipeline.stores.fleet.ledger import Run


class Progress:
    """A bar per stage for the round that is running, with the training's epoch and loss."""

    def __init__(self, ledger: Ledger, miners: int, rounds: int) -> None:
        self._ledger, self._miners, self._rounds = ledger, miners, rounds
        self._bars = Bars(
            TextColumn("{task.description:<9}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
            console=ERR, transient=True,
        )  # fmt: skip
        self._rounds_bar = self._bars.add_task("rounds", total=rounds, note="")
        self._stage_bars = {stage: self._bars.add_task(stage.value, total=miners, note="") for stage in Stage}
        self._reported = 0

    def __enter__(self) -> "Progress":
        self._bars.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    def update(self, results: Sequence[RoundResult]) -> None:
        """Shows the state of now; a finished round is one line that stays."""
        for result in results[self._reported :]:
            ERR.print(
                f"round {result.round}: {result.status.lower()}, {result.submissions}/{result.expected} submissions, "
                f"accuracy {_percent(result.accuracy)}"
            )
        self._reported = len(results)
        self._bars.update(self._rounds_bar, completed=len(results))
        runs = self._ledger.runs(len(results) + 1)
        for stage, bar in self._stage_bars.items():
            done = sum(stage.value in run.seconds for run in runs)
            self._bars.update(bar, completed=done, note=_training_note(runs) if stage is Stage.TRAIN else "")


def print_report(results: Sequence[RoundResult], problems: Sequence[str]) -> None:
    """The two tables, and what is wrong."""
    rounds = Table("round", "status", "submissions", "coordinates", "dropped", "accuracy")
    seconds = Table("round", *Stage, title="seconds a stage, mean over the miners", title_justify="left")
    for result in results:
        rounds.add_row(
            str(result.round),
            result.status,
            f"{result.submissions}/{result.expected}",
            str(result.coordinates),
            str(result.dropped),
            _percent(result.accuracy),
        )
        spent = (f"{result.seconds[stage]:.2f}" if stage in result.seconds else "-" for stage in Stage)
        seconds.add_row(str(result.round), *spent)
    ERR.print(rounds, seconds)
    for problem in problems:
        ERR.print(f"[red]wrong:[/] {problem}")
    if not problems:
        ERR.print("[green]every submission accepted, every aggregate equal to the sum that was encrypted[/]")


def report_json(task_id: str, results: Sequence[RoundResult], *, ok: bool) -> str:
    """One line: {"taskID", "rounds": [{...}], "ok"}; `seconds` is {stage: mean seconds}."""
    rounds = [
        {
            "round": result.round,
            "status": result.status,
            "submissions": result.submissions,
            "expected": result.expected,
            "coordinates": result.coordinates,
            "dropped": result.dropped,
            "accuracy": result.accuracy,
            "seconds": dict(result.seconds),
        }
        for result in results
    ]
    return json.dumps({"taskID": task_id, "rounds": rounds, "ok": ok})


def _training_note(runs: Sequence[Run]) -> str:
    """The epochs and the mean loss of the miners that are training or have trained."""
    latest = [run.progress for run in runs if "loss" in run.progress]
    if not latest:
        return ""
    loss = sum(float(progress["loss"]) for progress in latest) / len(latest)
    epochs = sum(int(progress.get("epoch", 0)) for progress in latest)
    total = sum(int(progress.get("epochs", 0)) for progress in latest)
    return f"epochs {epochs}/{total}, loss {loss:.3f}"


def _percent(accuracy: float | None) -> str:
    return "-" if accuracy is None else f"{accuracy:.1%}"
