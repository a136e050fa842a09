"""`flfleet publish`: a publisher makes a task from a model and posts it, signed.

The plan goes into the publisher's ledger, as `localnet`'s does; its first step is taken here, its worker follows the rounds.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.console import ERR, OUT
from cli.consortium import Consortium, read_consortium, read_roster
from cli.pilot import FlownPilot, fly_pilot
from cli.round_plan import plan_text
from cli.task_document import DEFAULT_TRAINING, Wanted, first_round, fresh_model, keep_plan, model_file
from pipeline.curve.select import kernel_name
from pipeline.errors import FleetError, Misconfigured, Rejected, Retryable
from pipeline.learning.proposal import DEFAULT_CLIP, DEFAULT_SCALE, LEVEL, STATISTICS_CLIP
from pipeline.nddfe.pack_choice import pack_costs
from pipeline.protocol.encodings import ceil_ratio, point33_from_public_key
from pipeline.protocol.task import Architecture, Task
from pipeline.settings import Settings, load
from pipeline.stores.keys import public_part

if TYPE_CHECKING:
    from pipeline.learning.models.checkpoints import Model

#: A worker that takes the step at the same moment is waited for.
_WAIT_SECONDS = 30.0
#: FLFLEET_MIN_COORDINATES where no operator lowered it.
_USUAL_LEAST_COORDINATES = 1024


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the first model comes from: an architecture's name, a file, or both where the file does not say."""

    architecture: str | None
    keywords: Mapping[str, Any]
    checkpoint: Path | None
    seed: int

    def read(self, settings: Settings) -> "Model":
        """Raises Misconfigured where nothing is named, Rejected for what cannot be built or read."""
        named = None
        if self.architecture is not None:
            named = Architecture(name=self.architecture, kwargs=dict(self.keywords))
        elif self.keywords:
            raise Misconfigured("--keyword belongs to --architecture, which is not given")
        if self.checkpoint is None:
            if named is None:
                raise Misconfigured(
                    "name a model: --architecture NAME (with --keyword NAME=VALUE), or --checkpoint FILE"
                )
            return fresh_model(named, self.seed)
        if not self.checkpoint.is_file():
            raise Misconfigured(f"--checkpoint {self.checkpoint}: no such file")
        from pipeline.learning.models.checkpoints import read_model

        return read_model(self.checkpoint, named, max_dimension=settings.max_dimension)


def publish(
    home: Path,
    wanted: Wanted,
    source: Source,
    *,
    consortium: Path | None,
    roster: Path | None,
    pilot: Path | None,
    scale: int | None,
    clip: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Makes the document, shows it or posts it. Raises Misconfigured, Rejected with every reason, Retryable."""
    settings = load(home)
    parties = _parties(home, settings, consortium, roster)
    if pilot is not None and (scale is not None or clip is not None):
        raise Misconfigured("--pilot proposes scale and clip: leave --scale and --clip out, or the pilot")
    model, flown = source.read(settings), None
    if pilot is not None:
        flown = fly_pilot(settings, pilot, wanted, model)
        model, step, limit = flown.model, flown.proposal.scale, flown.proposal.clip
        ERR.print(flown.explanation(), soft_wrap=True)
    else:
        step, limit = quantisation(scale, clip, usual=usual_clip(model))
    wanted = replace(wanted, scale=step, clip=limit)
    file, kernel = model_file(model), kernel_name(settings.curve_kernel)
    document = first_round(wanted, parties, file, model.architecture, model.dimension, kernel)
    task = Task.from_document(document | {"publishedAt": int(time.time())})
    for note in notes(task, wanted, kernel):
        ERR.print(note, soft_wrap=True)
    if dry_run:
        OUT.print(json.dumps(task.document, indent=None if as_json else 2), soft_wrap=True)
        return
    keep_plan(home, wanted, document, file)
    _report(_posted(settings, wanted.task_id), settings, wanted, flown, as_json=as_json)


def quantisation(scale: int | None, clip: float | None, *, usual: float) -> tuple[int, float]:
    """Scale and clip as given; where only one is, the other follows from c = 3. Raises Misconfigured."""
    if clip is not None and not 0 < clip < math.inf:
        raise Misconfigured(f"--clip must be above 0, got {clip}")
    if scale is None:
        return (DEFAULT_SCALE, usual) if clip is None else (max(1, round(LEVEL / clip)), clip)
    return scale, LEVEL / scale if clip is None else clip


def usual_clip(model: "Model") -> float:
    """Where nobody looked at the data: wider for a network with batch norm, whose statistics move further than weights."""
    from pipeline.learning.data.statistics import statistics_of

    if not statistics_of(model.module()).spans:
        return DEFAULT_CLIP
    ERR.print(
        f"{model.architecture.name} has batch norm, whose statistics move further than weights: the usual clip is "
        f"{STATISTICS_CLIP} for it; --pilot DATA looks at yours",
        soft_wrap=True,
    )
    return STATISTICS_CLIP


def training_of(recipe: Mapping[str, Any], dp: Mapping[str, Any]) -> dict[str, Any]:
    """A task's `training`: the usual one, changed by --recipe and --dp. Raises Rejected as `check_recipe`."""
    training = {**DEFAULT_TRAINING, **recipe, **({"dp": dict(dp)} if dp else {})}
    check_recipe(training)
    return training


def check_recipe(training: Mapping[str, Any]) -> None:
    """Raises Rejected with everything in a task's training that a miner would not know or refuse."""
    from pipeline.learning.recipe import problems
    from pipeline.protocol.strict import convert
    from pipeline.protocol.task import Training
    from pipeline.stages.train import unknown_members

    if unknown := unknown_members(dict(training)):
        known = ", ".join(sorted(Training.__struct_encode_fields__))
        raise Rejected(f"--recipe: {', '.join(unknown)} unknown; a training has: {known}")
    if found := problems(convert(dict(training), Training, "--recipe")):
        raise Rejected(*(f"--recipe: {problem}" for problem in found))


def notes(task: Task, wanted: Wanted, kernel: str) -> list[str]:
    """What a publisher should know of the task before it is out, each a sentence."""
    costs = {cost.pack: cost.total for cost in pack_costs(task.max_miners, task.level, kernel)}
    pack = task.quantization.pack
    found = [
        (
            f"model {task.architecture.name if task.architecture else ''}: {task.dimension:,} coordinates; "
            f"sent by round: {plan_text(wanted.shares)} of them"
        ),
        (
            f"c = {task.level} (clip {task.quantization.clip:g}, scale {task.quantization.scale}), {pack} coordinates a point: "
            f"{33 * task.groups(task.dimension):,} bytes a miner in round 1; about {costs[pack]:.2f} us a coordinate of "
            f"everybody's time with the kernel {kernel} (the next larger pack: {f'{costs[pack + 1]:.2f} us' if pack + 1 in costs else 'not allowed'})"
        ),
    ]
    least = min(ceil_ratio(share, task.dimension) for share in wanted.shares)
    if least < _USUAL_LEAST_COORDINATES:
        found.append(
            f"careful: a round of {least} coordinates is refused by every miner that has not lowered "
            f"FLFLEET_MIN_COORDINATES from {_USUAL_LEAST_COORDINATES}"
        )
    return found


def _parties(home: Path, settings: Settings, consortium: Path | None, roster: Path | None) -> Consortium:
    """Who takes part. Raises Misconfigured where the home is not that of the consortium's publisher."""
    if "publisher" not in settings.roles or settings.party_key is None:
        raise Misconfigured(
            f"{home} is no publisher's home: roles are {', '.join(settings.roles)}; name one with --home "
            "(`flfleet localnet` makes localnet/publisher)"
        )
    beside = home.absolute().parent / "consortium.json"
    if consortium is None and not beside.is_file():
        raise Misconfigured(
            f"--consortium FILE is needed: who aggregates, and who the miners are ({beside} is not there)"
        )
    parties = read_consortium(consortium or beside)
    address, point33 = public_part(settings.path(settings.party_key))
    if point33_from_public_key(parties.publisher.public_key) != point33:
        raise Misconfigured(
            f"{consortium or beside} names the publisher {parties.publisher.address}, this home's key is {address}"
        )
    if parties.backend.rstrip("/") != settings.backend_url.rstrip("/"):
        raise Misconfigured(
            f"{consortium or beside} names the backend {parties.backend}, this home's backend_url is {settings.backend_url}"
        )
    return parties if roster is None else _with_miners(parties, read_roster(roster))


def _with_miners(parties: Consortium, miners: Sequence[str]) -> Consortium:
    return Consortium(
        backend=parties.backend, publisher=parties.publisher, aggregator=parties.aggregator, miners=list(miners)
    )


def _posted(settings: Settings, task_id: str) -> Task:
    """Signs and posts round 1, unless a worker does; the signed task. Raises Rejected, Retryable."""
    from pipeline.aggregation.publisher.context import open_publisher_desk
    from pipeline.aggregation.publisher.following import follow
    from pipeline.stores.publisher.plans import PlanState

    desk, end = open_publisher_desk(settings), time.monotonic() + _WAIT_SECONDS
    try:
        while True:
            trouble: FleetError | None = None
            try:
                follow(desk, task_id)
            except FleetError as error:
                # Round 1 may be out all the same: the step ends with a look at the aggregator.
                trouble = error
            signed, plan = desk.plans.signed(task_id), desk.plans.find(task_id)
            if signed is not None and signed.posted:
                return signed.task
            if plan is not None and plan.state is PlanState.STOPPED:
                raise Rejected(f"{task_id} was not taken: {plan.reason}")
            if trouble is not None:
                raise trouble
            if time.monotonic() > end:
                raise Retryable(
                    f"{task_id} is kept, but not posted within {_WAIT_SECONDS:g} s; its worker goes on with it"
                )
            time.sleep(0.2)
    finally:
        desk.close()


def _report(task: Task, settings: Settings, wanted: Wanted, flown: FlownPilot | None, *, as_json: bool) -> None:
    if as_json:
        report = {
            "taskID": task.task_id,
            "taskHash": task.task_hash,
            "backend": settings.backend_url,
            "plan": list(wanted.shares),
            "pilot": None if flown is None else flown.figures(),
            "document": task.document,
        }
        OUT.print(json.dumps(report), soft_wrap=True)
        return
    OUT.print(f"{task.task_id} posted to {settings.backend_url}: {task.task_hash}", soft_wrap=True)
    ERR.print(
        f"watch it at {task.aggregator_url}/aggregator; the publisher's worker signs the next rounds as blocks come",
        soft_wrap=True,
    )
