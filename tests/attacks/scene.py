"""A round up to its candidate block over real services, and miners that watch it: the stage on which attacks are played."""

import json
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.aggregation.aggregator.closing import close_round
from pipeline.aggregation.aggregator.settling import settle_due
from pipeline.aggregation.miner.watching import Sent, Watcher, watch
from pipeline.errors import FleetError
from pipeline.nddfe.score import commitment, score_uint
from pipeline.parties.aggregator import submit
from pipeline.protocol.block import Audit, Block
from pipeline.protocol.encodings import to_hex
from pipeline.protocol.signing import SecretKey, canonical
from pipeline.protocol.submission import Submission
from pipeline.protocol.task import Task
from pipeline.settings import load
from pipeline.stores.aggregator.rounds import Round, RoundState
from pipeline.stores.aggregator.tables import rounds
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.db.engine import open_database
from pipeline.stores.fleet.witness import Witnessed, WitnessLedger
from pipeline.stores.keys import Identity
from tests.federation import KERNEL, TASK_ID, Federation, encrypted, initial_model, values_of, wish_of
from tests.signed_tasks import AGGREGATOR, MINERS

#: What an altering aggregator does with (block document, audit).
Alter = Callable[[dict[str, Any], Audit], tuple[dict[str, Any], Audit]]


@dataclass
class Miner:
    """One miner's fleet: its home, its memory, and what it sent."""

    key: SecretKey
    watcher: Watcher
    sent: dict[int, Sent] = field(default_factory=dict)

    @property
    def blocks(self) -> list[Witnessed]:
        return self.watcher.book.blocks()

    @property
    def reasons(self) -> str:
        return "; ".join(reason for one in self.blocks for reason in one.reasons)


class Scene:
    """Three parties at work and their miners."""

    def __init__(self, federation: Federation, stack: ExitStack) -> None:
        self.federation = federation
        for party in ("backend", "publisher", "aggregator"):
            stack.enter_context(federation.serving(party))
        self.miners = [self._miner(key, number) for number, key in enumerate(MINERS[:4])]

    @property
    def row(self) -> Any:
        return self.found().row

    def found(self, number: int = 1) -> Round:
        one = self.federation.aggregator.rounds.find(TASK_ID, number)
        assert one is not None
        return one

    def url(self, path: str) -> str:
        return f"{self.federation.urls['aggregator']}/aggregator/{path}"

    def submission(
        self, task: Task, miner: Miner, values: NDArray[np.int64] | None = None, **changes: Any
    ) -> Submission:
        """A miner's submission with a commitment that it can open."""
        size = task.dimension
        chosen = values_of(MINERS.index(miner.key), size) if values is None else values
        score, nonce = score_uint(chosen, task.quantization.scale), secrets.token_bytes(32)
        made = encrypted(
            task,
            miner.key,
            chosen,
            wish=wish_of(MINERS.index(miner.key)),
            score_commit=commitment(score, nonce, task.task_id, miner.key.address),
            **changes,
        )
        opening = json.dumps({"score": str(score), "nonce": to_hex(nonce)}).encode()
        miner.sent[task.round] = Sent(
            identity=Identity(
                name="ward",
                address=miner.key.address,
                point33=miner.key.point33,
                data=self.federation.folder / "validation",
            ),
            submission_hash=made.header.submission_hash,
            opening=miner.watcher.artifacts.put(opening),
        )
        return made

    def deliver(self, submission: Submission) -> None:
        submit(
            self.federation.urls["aggregator"],
            submission.encode(),
            submission_hash=submission.header.submission_hash,
            aggregator_address=AGGREGATOR.address,
            timeout=30,
        )

    def play(self, *, miners: int = 3, **changes: Any) -> Task:
        """Round 1 up to its candidate block, all of them honest."""
        task = self.federation.open_round(**{"maxMiners": miners, **changes})
        self.fill(task, [self.submission(task, miner) for miner in self.miners[:miners]])
        return task

    def fill(self, task: Task, submissions: list[Submission]) -> None:
        """Sends submissions and closes the round up to its block."""
        with self.federation.working("aggregator", "publisher_keys"):
            for one in submissions:
                self.deliver(one)
            self.until_formed(task)

    def until_formed(self, task: Task) -> None:
        end = time.monotonic() + 20
        while self.found(task.round).state in (RoundState.OPEN, RoundState.CLOSING):
            assert time.monotonic() < end, self.federation.complaints
            time.sleep(0.02)

    def close(self, task: Task) -> None:
        with self.federation.working("publisher_keys"):
            close_round(self.federation.aggregator, task.task_id, task.round)

    def forge(self, alter: Alter) -> Block:
        """The aggregator puts another block in the place of the right one, and signs it."""
        desk, row = self.federation.aggregator, self.row
        document, audit = alter(
            dict(Block.decode(row.block.encode()).document), Audit.decode(desk.artifacts.get(row.audit))
        )
        document.pop("signature", None)
        document["signature"] = AGGREGATOR.sign("block", document)
        block = Block.decode(canonical(document))
        self.set(
            block=canonical(document).decode(), block_hash=block.block_hash, audit=desk.artifacts.put(audit.encode())
        )
        return block

    def set(self, **values: Any) -> None:
        with self.federation.aggregator.rounds._writing() as connection:
            connection.execute(rounds.update().values(values))

    def shared_watch(self, watcher: Watcher, *miners: Miner) -> str:
        """A fleet of several identities looks once, with the receipts of these; the votes are not counted yet."""
        return watch(watcher, self.found().task, [miner.sent[1] for miner in miners], time.time())

    def watch(self, *miners: Miner, number: int = 1, now: float | None = None) -> list[str]:
        """Each of these miners (all that sent something, where none is named) looks once; then the votes are counted."""
        task = self.found(number).task
        words = []
        for miner in miners or [one for one in self.miners if number in one.sent]:
            try:
                words.append(watch(miner.watcher, task, [miner.sent[number]], time.time() if now is None else now))
            except FleetError as error:
                words.append(str(error))
        self.close(task)
        settle_due(self.federation.aggregator, time.time())
        return words

    def _miner(self, key: SecretKey, number: int) -> Miner:
        home: Path = self.federation.folder / f"miner-{number}"
        home.mkdir()
        (home / "fleet.toml").write_text('curve_kernel = "reference"\n')
        settings = load(home)
        artifacts = ArtifactStore(settings.artifacts, settings.cache / "scratch")
        artifacts.put(initial_model())  # the stage fetch left it there
        return Miner(
            key=key,
            watcher=Watcher(
                settings=settings,
                book=WitnessLedger(open_database(settings.ledger)),
                artifacts=artifacts,
                kernel=lambda: KERNEL,
                key=lambda _address: key,
            ),
        )

    def end(self) -> None:
        for miner in self.miners:
            miner.watcher.book.close()
