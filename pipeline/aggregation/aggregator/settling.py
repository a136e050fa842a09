"""The aggregator settles a published round: when every participant has revealed its score, or when time is up (section 8)."""

from pipeline.aggregation.aggregator.context import AggregatorDesk
from pipeline.aggregation.voting import reveals_close
from pipeline.protocol.block import Block
from pipeline.protocol.settlement import Settlement
from pipeline.stores.aggregator.rounds import VERIFIED, Round


def settle_due(desk: AggregatorDesk, now: float) -> int:
    """Signs and keeps the settlements that are due; returns how many. Raises Retryable or Misconfigured."""
    return sum(settle(desk, found, now) for found in desk.rounds.all() if found.state in VERIFIED)


def settle(desk: AggregatorDesk, found: Round, now: float) -> bool:
    """Settles a published round; False where it is settled already, or reveals are still awaited."""
    if desk.verdicts.settlement(found.row.task_id, found.row.round) is not None:
        return False
    block = Block.decode(found.row.block.encode())
    scores = {one.miner: one.score for one in desk.verdicts.reveals(found.row.task_id, found.row.round)}
    if len(scores) < len(block.fields.participants) and now < reveals_close(block, found.task.timeout):
        return False
    desk.verdicts.settle(Settlement.make(block, scores, int(now), desk.key))
    return True
