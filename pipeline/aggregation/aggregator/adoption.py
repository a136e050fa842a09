"""An aggregator takes on a round: what it checks of a task before it opens it, on its own and for the miners' sake."""

from collections.abc import Iterator

from pipeline.aggregation.aggregator.context import AggregatorDesk
from pipeline.aggregation.board_files import keep_model, keep_support
from pipeline.errors import BadSignature, Rejected
from pipeline.protocol.task import Task
from pipeline.stores.aggregator.rounds import RoundLedger


def adopt(desk: AggregatorDesk, task: Task, now: float) -> bool:
    """Opens the task's round; False where that is done, the task is another aggregator's, or its deadline is over.

    Raises Rejected with every reason, Conflict for another task of that (taskID, round), Retryable.
    """
    if task.aggregator_address != desk.key.address:
        return False
    found = desk.rounds.find(task.task_id, task.round)
    if now >= task.deadline or (found is not None and found.row.task_hash == task.task_hash):
        return False
    reasons = list(_problems(task, desk.settings.trusted_publishers, desk.settings.max_dimension, desk.rounds))
    if reasons:
        raise Rejected(*reasons)
    model = keep_model(task, desk.artifacts, desk.settings)
    support, coordinates = keep_support(task, desk.artifacts, desk.settings)
    return desk.rounds.adopt(task, model=model, support=support, coordinates=coordinates)


def _problems(task: Task, publishers: list[str], max_dimension: int, rounds: RoundLedger) -> Iterator[str]:
    try:
        task.check_signature()
    except BadSignature as error:
        yield str(error)
    if task.publisher_address not in publishers:
        yield f"publisher {task.publisher_address} is not in FLFLEET_TRUSTED_PUBLISHERS"
    # Points with one x coordinate are equal or opposite: who has the one's secret has the other's.
    if task.aggregator_key[1:] == task.publisher_key[1:]:
        yield "tpPublicKey is aggregatorPublicKey or its negative: one party could read every update alone"
    for name, address in (("aggregator", task.aggregator_address), ("publisher", task.publisher_address)):
        if address in task.roster:
            yield f"the {name}'s key {address} is in the roster: nobody may be two parties"
    if task.min_miners > len(task.roster):
        yield f"minMiners {task.min_miners} is above the roster's {len(task.roster)} miners"
    if task.dimension > max_dimension:
        yield f"dimension {task.dimension} is above FLFLEET_MAX_DIMENSION {max_dimension}"
    before = rounds.find(task.task_id, task.round - 1)
    if before is not None and before.row.block_hash != task.parent_block_hash:
        yield f"parentBlockHash is {task.parent_block_hash}, the block of round {before.task.round} is {before.row.block_hash}"
