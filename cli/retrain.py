"""`flfleet retrain` and `flfleet cancel`: thousands of local trainings asked for, watched, reported, taken back."""

import json
import time
import uuid
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn

from cli.console import ERR, OUT
from cli.retrain_report import by_task, show, write_csv, write_plot
from pipeline.errors import Misconfigured
from pipeline.settings import load
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.retraining_records import UNFINISHED, Turn

#: The list of a `--file`: a million tasks' names.
_MAX_LIST_BYTES = 70 * 1024 * 1024
_LOOK_SECONDS = 0.5
#: The rate that the estimate rests on is that of so many seconds.
_WINDOW_SECONDS = 60.0
#: Without a terminal, a line this often.
_LINE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which tasks: exactly one way to say it."""

    tasks: Sequence[str]
    everything: bool
    dataset: str | None
    file: Path | None

    def task_ids(self) -> Collection[str] | None:
        """The tasks by name, None where all are meant. Raises Misconfigured unless there is exactly one choice."""
        choices = (bool(self.tasks), self.everything, self.dataset is not None, self.file is not None)
        if sum(choices) != 1:
            raise Misconfigured(
                "say which tasks: their names, or --all, or --dataset NAME, or --file LIST; one of these"
            )
        if self.file is not None:
            return _listed(self.file)
        return list(self.tasks) or None


def enqueue(home: Path, wanted: Wanted, priority: int) -> str:
    """Writes the trainings into the ledger and returns the batch's id. Raises Misconfigured, Retryable."""
    task_ids = wanted.task_ids()
    book = RunLedger.open(load(home))
    try:
        if task_ids is not None and (unknown := book.unknown_tasks(task_ids)):
            shown = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
            raise Misconfigured(
                f"this fleet has no run of {shown}; nothing was queued. `flfleet status` lists the runs"
            )
        batch, total = str(uuid.uuid4()), 0
        for added in book.add_retrainings(batch=batch, priority=priority, task_ids=task_ids, dataset=wanted.dataset):
            total += added
        if not total:
            raise Misconfigured("nothing to retrain: no run fits, or all of them wait or run already")
        ERR.print(f"{total} trainings queued as batch {batch}; the next sweep sends them on their way")
        return batch
    finally:
        book.close()


def follow(home: Path, batch: str) -> dict[Turn, int]:
    """Shows the batch until nothing of it is left to do. Ctrl-C leaves it running. Returns the counts."""
    book = RunLedger.open(load(home))
    try:
        view = _Bar() if ERR.is_terminal else _Lines()
        with view:
            while True:
                counts = book.retraining_counts(batch)
                view.show(counts)
                if not sum(counts.get(state, 0) for state in UNFINISHED):
                    return counts
                time.sleep(_LOOK_SECONDS)
    finally:
        book.close()


def report(home: Path, batch: str, *, csv: Path | None, plot: Path | None, as_json: bool) -> bool:
    """Prints what came of a batch; writes every training to `csv` and a picture to `plot`. Returns whether none failed."""
    book = RunLedger.open(load(home))
    try:
        counts = book.retraining_counts(batch)
        if not counts:
            raise Misconfigured(f"no batch {batch}; `flfleet retrain` prints the id of the one that it queues")
        tasks = list(by_task(book.retrainings(batch)))
        if csv is not None:
            write_csv(csv, book.retrainings(batch))
        if plot is not None:
            write_plot(plot, tasks)
    finally:
        book.close()
    if as_json:
        document = {
            "batch": batch,
            "counts": {state.value: counts.get(state, 0) for state in Turn},
            "tasks": [task.as_json() for task in tasks],
        }
        OUT.print(json.dumps(document), soft_wrap=True)
    else:
        show(tasks, counts)
    return not counts.get(Turn.FAILED, 0)


def newest_batch(home: Path) -> str:
    """The batch that was asked for last. Raises Misconfigured."""
    book = RunLedger.open(load(home))
    try:
        return book.newest_batch()
    finally:
        book.close()


def cancel(home: Path, names: Sequence[str], *, everything: bool, task: str | None) -> tuple[int, int]:
    """Ends local trainings (by id, by batch, of a task, or all), and runs by their ids. Returns how many of each.

    A worker that has one of them can write nothing more. Raises Misconfigured, and then nothing has changed.
    """
    if sum((bool(names), everything, task is not None)) != 1:
        raise Misconfigured("say what to cancel: ids of trainings, batches or runs, or --all, or --task TASK")
    book = RunLedger.open(load(home))
    try:
        if not names:
            return book.cancel_retrainings(task_id=task), 0
        trainings, runs = 0, [name for name in names if not book.is_retraining(name)]
        for run_id in runs:
            book.run(run_id)  # all of them are known, or none is touched
        for name in names:
            if name in runs:
                book.drop(name)
            else:
                trainings += book.cancel_retrainings(ids=[name]) or book.cancel_retrainings(batch=name)
        return trainings, len(runs)
    finally:
        book.close()


class Pace:
    """How fast trainings end, and how long the rest will take."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def left(self, now: float, done: int, open_ones: int) -> tuple[float, float] | None:
        """(trainings a minute, seconds left) by the last minute; None while nothing has ended in it."""
        self._seen.append((now, done))
        while now - self._seen[0][0] > _WINDOW_SECONDS:
            self._seen.popleft()
        before, was = self._seen[0]
        if done <= was or now <= before:
            return None
        rate = (done - was) / (now - before)
        return 60 * rate, open_ones / rate


class _View:
    """What a person sees meanwhile."""

    def __init__(self) -> None:
        self._pace = Pace()

    def __enter__(self) -> "_View":
        return self

    def __exit__(self, *_error: object) -> None:
        return None

    def show(self, counts: dict[Turn, int]) -> None:
        """The newest counts."""

    def _text(self, counts: dict[Turn, int]) -> tuple[int, int, str]:
        total, open_ones = sum(counts.values()), sum(counts.get(state, 0) for state in UNFINISHED)
        ended = total - open_ones
        parts = [f"{ended} of {total}"]
        parts += [
            f"{counts[state]} {state}" for state in (Turn.RUNNING, Turn.FAILED, Turn.CANCELLED) if counts.get(state)
        ]
        pace = self._pace.left(time.monotonic(), ended, open_ones)
        if pace is not None and open_ones:
            parts.append(f"{pace[0]:.0f} a minute, {_duration(pace[1])} left")
        return ended, total, ", ".join(parts)


class _Bar(_View):
    """A bar in a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._progress = Progress(
            TextColumn("retrain"), BarColumn(), TextColumn("{task.description}"), console=ERR, refresh_per_second=4
        )
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()

    def show(self, counts: dict[Turn, int]) -> None:
        """Moves the bar."""
        ended, total, text = self._text(counts)
        self._progress.update(self._task, completed=ended, total=total, description=text)


class _Lines(_View):
    """A line now and then, for logs."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def show(self, counts: dict[Turn, int]) -> None:
        """Prints, unless it has just printed."""
        _ended, _total, text = self._text(counts)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_SECONDS
            ERR.print(text)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _listed(path: Path) -> list[str]:
    """The tasks of a list, one a line; empty lines and what follows # are left out. Raises Misconfigured."""
    try:
        if path.stat().st_size > _MAX_LIST_BYTES:
            raise Misconfigured(f"{path}: larger than {_MAX_LIST_BYTES} bytes")
        found = list(_names(path.read_text().splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path}: cannot be read as a list of tasks, one a line ({error})") from None
    if not found:
        raise Misconfigured(f"{path}: names no task; write one a line")
    return found


def _names(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if name := line.partition("#")[0].strip():
            yield name
