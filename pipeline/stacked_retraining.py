"""Local trainings of one kind trained as one program: which ones may, and each one's own end.

Of one kind are those over one data set whose tasks ask for the same network and the same training.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.errors import FleetError, Rejected
from pipeline.protocol.task import Task
from pipeline.retraining import BetweenEpochs, OpenDatasets, figures
from pipeline.stages import fetch, train
from pipeline.stages.contract import Job
from pipeline.stores.fleet.records import Fenced

if TYPE_CHECKING:
    from pipeline.learning.models.checkpoints import Model
    from pipeline.learning.stacking import Member

#: Kinds whose answer a process remembers.
_MOST_KINDS = 1024
Ended = Mapping[int, Mapping[str, Any] | FleetError]


def kind_of(task: Task) -> bytes:
    """The same bytes for tasks whose trainings may share a stack."""
    asked = [task.architecture, task.training, task.dimension]
    return msgspec.json.encode(asked, order="deterministic")


class Stacks:
    """What this process knows of stacks: which kinds of training go into one, and why others do not."""

    def __init__(self) -> None:
        self._obstacles: OrderedDict[bytes, str | None] = OrderedDict()

    def obstacle(self, task: Task, parameters: int) -> str | None:
        """Why the task's training is done alone, None where it may share a stack of so many `parameters`."""
        # torch, and only in the pool that trains.
        from pipeline.learning.stacking import members_of_a_stack

        if not parameters:
            return "FLFLEET_STACK_PARAMETERS is 0"
        if members_of_a_stack(task.dimension, parameters) == 1:
            return f"{task.dimension} parameters are too many (FLFLEET_STACK_PARAMETERS is {parameters})"
        kind = kind_of(task)
        if kind not in self._obstacles:
            self.remember(task, _obstacle(task))
        return self._obstacles[kind]

    def remember(self, task: Task, obstacle: str | None) -> None:
        """From now on this is the answer for the task's kind."""
        self._obstacles[kind_of(task)] = obstacle
        if len(self._obstacles) > _MOST_KINDS:
            self._obstacles.popitem(last=False)


def most_members(task: Task, parameters: int) -> int:
    """How many such trainings a stack of so many `parameters` holds."""
    from pipeline.learning.stacking import members_of_a_stack

    return members_of_a_stack(task.dimension, parameters)


def retrain_together(
    jobs: Sequence[Job],
    datasets: OpenDatasets,
    *,
    leave: Callable[[Mapping[int, Mapping[str, Any]]], Collection[int]],
    gives_way: Callable[[], bool],
) -> Iterator[Ended]:
    """Trains jobs of one kind, and yields those that have ended, by their index: their figures, or why there are none.

    `leave` gets the progress of all and answers with those that are to stop: they are not yielded. Notes `checkpoint` of each.
    Raises Unstackable where they must be trained one by one; GaveWay, Retryable, Misconfigured, Rejected as `retrain`, for all
    that were not yielded before.
    """
    members: dict[int, Member] = {}
    kept: dict[int, train.KeptCheckpoint] = {}
    epochs: dict[int, int] = {}
    refused: dict[int, FleetError] = {}
    models = _Models()
    for index, job in enumerate(jobs):
        kept[index] = train.KeptCheckpoint(job)
        try:
            members[index], epochs[index] = _member(job, models.of(job), kept[index].load())
        except FleetError as error:
            refused[index] = error
    if refused:
        yield refused
    # Those that gave way may have stopped at different epochs.
    for done in sorted(set(epochs.values())):
        some = [index for index in members if epochs[index] == done]
        yield from _trained({index: jobs[index] for index in some}, members, kept, datasets, leave, gives_way)


def _trained(
    jobs: Mapping[int, Job],
    members: Mapping[int, "Member"],
    kept: Mapping[int, "train.KeptCheckpoint"],
    datasets: OpenDatasets,
    leave: Callable[[Mapping[int, Mapping[str, Any]]], Collection[int]],
    gives_way: Callable[[], bool],
) -> Iterator[Ended]:
    from pipeline.learning.devices import choose_device
    from pipeline.learning.gradients import reduced_precision
    from pipeline.learning.stacking import train_stack

    indices = list(jobs)
    first = jobs[indices[0]]
    assert first.task.architecture is not None, "its kind may be stacked"
    device, between = choose_device(first.settings.device), BetweenEpochs(gives_way)
    dataset = datasets.open(first, first.task.architecture)

    def report(progress: Mapping[int, Mapping[str, Any]]) -> Collection[int]:
        gone = leave({indices[row]: value for row, value in progress.items()})
        return [indices.index(index) for index in gone]

    def keep(makers: Mapping[int, Callable[[], bytes]]) -> None:
        for row, make in makers.items():
            try:
                kept[indices[row]].save(make())
            except Fenced:
                continue  # the next report tells it to leave

    for ended in train_stack(
        [members[index] for index in indices],
        dataset,
        first.task.training,
        train.limits(first.settings),
        device=device,
        threads=train.threads(first.settings.workers.get("train", 1)),
        precision=reduced_precision(device),
        report=report,
        save=lambda makers: between(lambda: keep(makers)),
    ):
        yield {
            indices[row]: result
            if isinstance(result, Rejected)
            else figures(jobs[indices[row]], result, dataset, together=len(indices))
            for row, result in ended.items()
        }


def _member(job: Job, model: "Model", checkpoint: bytes | None) -> tuple["Member", int]:
    """A member, and how many epochs it has behind it. Raises Corrupt."""
    from pipeline.learning.stacking import Member
    from pipeline.learning.training_checkpoint import epochs_of

    done = 0 if checkpoint is None else epochs_of(checkpoint)
    return Member(module=model.module(), seed=train.seed(job), resume=checkpoint), done


class _Models:
    """The models of a stack's jobs: each is read once, however many tasks share it."""

    def __init__(self) -> None:
        self._read: dict[bytes, Model] = {}

    def of(self, job: Job) -> "Model":
        """The job's. Raises Retryable, Rejected, Corrupt."""
        digest = job.task.model_sha256
        if digest not in self._read:
            fetched = fetch.fetch_model(job.task, job.artifacts, job.settings)
            self._read[digest] = train.read(replace(job, inputs={"model": fetched}))
        return self._read[digest]


def _obstacle(task: Task) -> str | None:
    import torch

    from pipeline.learning.models.architectures import build
    from pipeline.learning.stacking import obstacle

    if task.architecture is None:
        return "the task names no architecture"
    try:
        with torch.device("meta"):
            module = build(task.architecture)
    except FleetError as error:
        return str(error)
    return obstacle(module, task.training)
