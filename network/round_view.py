"""A task as docs/protocol.md, section 7 shows it."""

from collections.abc import Sequence
from typing import Any

from pipeline.stores.aggregator.rounds import MOVING, Round


def task_state(rounds: Sequence[Round]) -> dict[str, Any]:
    """The state of a task with one or more rounds, oldest first; `history` holds the rounds that are over."""
    newest = rounds[-1]
    task = newest.task
    measured = [found.row.accuracy for found in rounds if found.row.accuracy is not None]
    return {
        "taskID": task.task_id,
        "round": task.round,
        "status": newest.status,
        "dimension": task.dimension,
        "submissions": newest.accepted,
        "expected": task.max_miners,
        "accuracy": measured[-1] if measured else None,
        "expectedAccuracy": task.expected_accuracy,
        # The newest round's block, for those who vote on it; None until there is one.
        "blockHash": newest.row.block_hash,
        "history": [_past(found) for found in rounds if found.state not in MOVING],
    }


def _past(found: Round) -> dict[str, Any]:
    row = found.row
    return {
        "round": row.round,
        "status": found.status,
        "submissions": found.accepted,
        "coordinates": row.coordinates,
        "dropped": len(row.dropped or ()),
        "accuracy": row.accuracy,
        "blockHash": row.block_hash,
    }
