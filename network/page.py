"""The aggregator's page: what section 7 tells machines, for a person. Nothing on it comes from elsewhere."""

from collections.abc import Sequence
from typing import Any

from fastapi import Response

from network.plot import accuracy_plot
from network.round_view import task_state
from network.site import Site
from pipeline.protocol.block import Block
from pipeline.protocol.vote import majority
from pipeline.stores.aggregator.rounds import MOVING, Round, RoundLedger, RoundState
from pipeline.stores.aggregator.verdicts import VerdictLedger

#: What closing a round leaves behind, in order: the ledger's column, and the step's name for a person.
_STEPS = (
    ("request_hash", "Request"),
    ("key", "Function key"),
    ("aggregate", "Sum"),
    ("new_model", "New model"),
    ("accuracy", "Accuracy"),
    ("uploaded", "Upload"),
    ("block_hash", "Block"),
)


class Page:
    """The page and its refreshed part."""

    def __init__(self, rounds: RoundLedger, verdicts: VerdictLedger) -> None:
        self._rounds, self._verdicts = rounds, verdicts
        self._site = Site()

    def whole(self) -> Response:
        """The page."""
        return self._render("aggregator.html")

    def panel(self) -> Response:
        """The part that changes."""
        return self._render("panel.html")

    def _render(self, template: str) -> Response:
        by_task: dict[str, list[Round]] = {}
        for found in self._rounds.all():
            by_task.setdefault(found.row.task_id, []).append(found)
        tasks = [_task_view(rounds, self._verdicts) for rounds in by_task.values()]
        return self._site.render(template, tasks=tasks)


def _task_view(rounds: Sequence[Round], verdicts: VerdictLedger) -> dict[str, Any]:
    newest = rounds[-1]
    last = next((found for found in reversed(rounds) if found.row.block_hash is not None), None)
    points = [(found.row.round, found.row.accuracy) for found in rounds if found.row.accuracy is not None]
    task = newest.task
    return {
        "state": task_state(rounds),
        "task": task,
        "reason": newest.row.reason,
        "deadline": task.deadline if newest.state is RoundState.OPEN else None,
        "steps": _steps(newest) if newest.state in MOVING and newest.state is not RoundState.OPEN else [],
        "plot": accuracy_plot(points, task.expected_accuracy, task.max_rounds) if points else None,
        "reasons": {found.row.round: found.row.reason for found in rounds},
        "block": last,
        "verdict": None if last is None else _verdict(last, verdicts),
    }


def _verdict(found: Round, verdicts: VerdictLedger) -> dict[str, Any]:
    """What the participants said of a round's block, and what they were paid."""
    block = Block.decode(found.row.block.encode())
    settlement = verdicts.settlement(found.row.task_id, found.row.round)
    said = {vote.fields.miner: vote.fields for vote in verdicts.votes(block.block_hash)}
    paid = {} if settlement is None else {one.miner: one for one in settlement.fields.shares}
    total = 0 if settlement is None else settlement.fields.totalUnits
    revealed = {one.miner for one in verdicts.reveals(found.row.task_id, found.row.round)}
    participants = [one.miner for one in block.fields.participants]
    return {
        "needed": majority(len(participants)),
        "participants": len(participants),
        "valid": sum(fields.verdict == "VALID" for fields in said.values()),
        "conflicting": [vote.fields.miner for vote in verdicts.votes(block.block_hash, conflicting=True)],
        "is_settled": settlement is not None,
        "rows": [
            {
                "miner": miner,
                "verdict": said[miner].verdict if miner in said else None,
                "reason": said[miner].reason if miner in said else "",
                "is_revealed": miner in revealed,
                "share": paid[miner].share / total if miner in paid and total else None,
            }
            for miner in participants
        ],
    }


def _steps(found: Round) -> list[tuple[str, str]]:
    """(name, done | now | later) of each step."""
    done = [
        bool(found.row.uploaded) if name == "uploaded" else getattr(found.row, name) is not None for name, _ in _STEPS
    ]
    current = done.index(False) if False in done else len(done)
    words = ["done" if index < current else "now" if index == current else "later" for index in range(len(done))]
    return [(title, word) for (_, title), word in zip(_STEPS, words, strict=True)]
