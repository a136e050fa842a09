"""What the clock does to rounds: at the deadline one closes with at least minMiners, else it is ABORTED."""

from pipeline.aggregation.aggregator.context import AggregatorDesk
from pipeline.stores.aggregator.rounds import RoundState


def rounds_due(desk: AggregatorDesk, now: float) -> list[tuple[str, int]]:
    """Ends the rounds whose deadline is over, and names all that are to be closed (taskID, round)."""
    waiting = {(stored.task_id, stored.round) for stored in desk.submissions.pending()}
    due = []
    for found in desk.rounds.moving():
        task = found.task
        name = (task.task_id, task.round)
        if found.state is not RoundState.OPEN:
            due.append(name)
        # What came in time is still being verified: it counts.
        elif now >= task.deadline and name not in waiting:
            if found.accepted >= task.min_miners:
                if desk.rounds.begin_closing(*name):
                    due.append(name)
            else:
                reason = f"{found.accepted} submissions by the deadline, minMiners is {task.min_miners}"
                desk.rounds.abort_open(*name, reason=reason)
    return due
