"""A fleet's memory of blocks: what it found wrong, its votes and reveals until they are taken, its rewards."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Engine, Table, and_, select

from pipeline.protocol.block import Block
from pipeline.protocol.reveal import Reveal
from pipeline.protocol.settlement import Settlement
from pipeline.protocol.signing import canonical
from pipeline.protocol.vote import Vote
from pipeline.stores.db import lease
from pipeline.stores.db.party_ledger import PartyLedger
from pipeline.stores.fleet.witness_tables import blocks, ended, metadata, own_reveals, own_votes, rewards, watches

Party = Literal["aggregator", "publisher"]


@dataclass(frozen=True, kw_only=True)
class Witnessed:
    """A block that this fleet has looked at."""

    block_hash: str
    task_id: str
    round: int
    task_hash: str
    block: Block | None
    #: What is wrong with it; empty: nothing.
    reasons: tuple[str, ...]
    #: Artifact digest of the evidence.
    evidence: str | None
    url: str
    #: Unix seconds.
    seen_at: float


@dataclass(frozen=True, kw_only=True)
class Reward:
    """What one identity got for one round."""

    task_id: str
    round: int
    miner: str
    share: int
    total: int
    score: str | None
    block_hash: str
    settled_at: int


class WitnessLedger(PartyLedger):
    """Beside the runs, in the same database."""

    def __init__(self, engine: Engine, *, lease_seconds: float = 30.0) -> None:
        """`lease_seconds`: how long a round that is being checked stays a silent worker's."""
        super().__init__(engine, metadata)
        self.lease_seconds = lease_seconds

    @contextmanager
    def watching(self, task_hash: str) -> Iterator[bool]:
        """Leases a round while the block lasts, renewed from a thread; False where another live worker has it."""
        which = watches.c.task_hash == task_hash
        with self._writing() as connection:
            if connection.execute(select(watches.c.token).where(which)).one_or_none() is None:
                connection.execute(watches.insert().values(task_hash=task_hash))
            token = lease.claim(connection, watches, which, self.lease_seconds)
        if token is None:
            yield False
            return

        def hold(values: dict[str, Any]) -> None:
            with self._writing() as connection:
                lease.write(connection, watches, which, token, values)

        try:
            with lease.renewed(lambda: hold({"lease_until": time.time() + self.lease_seconds}), self.lease_seconds):
                yield True
        finally:
            with suppress(lease.LeaseLost):
                hold({"owner": None, "lease_until": None})

    def witness(self, found: Witnessed, votes: Sequence[Vote]) -> None:
        """Keeps a block's verdict and the votes on it, on disk when it returns.

        A later look at the same block adds the votes of miners that had none, and what it found wrong where nothing was.
        """
        with self._writing(durable=True) as connection:
            which = blocks.c.block_hash == found.block_hash
            known = connection.execute(select(blocks.c.reasons).where(which)).one_or_none()
            wrong = {"reasons": list(found.reasons), "evidence": found.evidence}
            if known is None:
                connection.execute(blocks.insert().values(**_described(found), **wrong))
            elif found.reasons and not known.reasons:
                connection.execute(blocks.update().where(which).values(**wrong))
            cast = select(own_votes.c.miner).where(own_votes.c.block_hash == found.block_hash)
            voted = set(connection.execute(cast).scalars())
            for vote in votes:
                if vote.fields.miner not in voted:
                    connection.execute(
                        own_votes.insert().values(
                            block_hash=found.block_hash,
                            miner=vote.fields.miner,
                            envelope=vote.encode().decode(),
                            is_settled=False,
                        )
                    )

    def blocks(self, task_id: str | None = None, number: int | None = None) -> list[Witnessed]:
        """Blocks (of one task, of one round), in the order in which they were seen."""
        which = [blocks.c.task_id == task_id] if task_id is not None else []
        which += [blocks.c.round == number] if number is not None else []
        with self._reading() as connection:
            rows = connection.execute(select(blocks).where(*which).order_by(blocks.c.seen_at)).all()
        return [
            Witnessed(
                block_hash=row.block_hash,
                task_id=row.task_id,
                round=row.round,
                task_hash=row.task_hash,
                block=None if row.document is None else Block.decode(row.document.encode()),
                reasons=tuple(row.reasons),
                evidence=row.evidence,
                url=row.url,
                seen_at=row.seen_at,
            )
            for row in rows
        ]

    def votes(self, block_hash: str, *, unsent: bool = False) -> list[Vote]:
        """Our votes on a block; those that are still to be sent."""
        which = own_votes.c.block_hash == block_hash
        chosen = and_(which, ~own_votes.c.is_settled) if unsent else which
        with self._reading() as connection:
            return [
                Vote.decode(text) for text in connection.execute(select(own_votes.c.envelope).where(chosen)).scalars()
            ]

    def vote_answered(self, vote: Vote, refusal: str | None) -> None:
        """The aggregator took the vote, or said why not: it is not sent again."""
        which = and_(own_votes.c.block_hash == vote.fields.blockHash, own_votes.c.miner == vote.fields.miner)
        self._answered(own_votes, which, refusal)

    def keep_reveal(self, opened: Reveal) -> None:
        """Keeps a reveal for both parties; the first one of a miner and a round stands."""
        with self._writing(durable=True) as connection:
            which = _reveal(opened.task_id, opened.round, opened.miner)
            if connection.execute(select(own_reveals.c.party).where(which)).first() is not None:
                return
            for party in ("aggregator", "publisher"):
                connection.execute(
                    own_reveals.insert().values(
                        task_id=opened.task_id,
                        round=opened.round,
                        miner=opened.miner,
                        party=party,
                        envelope=opened.encode().decode(),
                        is_settled=False,
                    )
                )

    def unsent_reveals(self, task_id: str, number: int) -> list[tuple[Party, Reveal]]:
        """The reveals of a round that a party has not answered yet."""
        which = and_(own_reveals.c.task_id == task_id, own_reveals.c.round == number, ~own_reveals.c.is_settled)
        with self._reading() as connection:
            rows = connection.execute(select(own_reveals.c.party, own_reveals.c.envelope).where(which)).all()
        return [(row.party, Reveal.decode(row.envelope)) for row in rows]

    def reveals(self, task_id: str, number: int) -> list[tuple[Party, Reveal]]:
        """All our reveals of a round."""
        which = and_(own_reveals.c.task_id == task_id, own_reveals.c.round == number)
        with self._reading() as connection:
            rows = connection.execute(select(own_reveals.c.party, own_reveals.c.envelope).where(which)).all()
        return [(row.party, Reveal.decode(row.envelope)) for row in rows]

    def reveal_answered(self, party: Party, opened: Reveal, refusal: str | None) -> None:
        """A party took the reveal, or said why not: it is not sent there again."""
        which = and_(_reveal(opened.task_id, opened.round, opened.miner), own_reveals.c.party == party)
        self._answered(own_reveals, which, refusal)

    def paid(self, settlement: Settlement, miners: Sequence[str]) -> None:
        """Keeps the shares of our identities from a checked settlement."""
        fields = settlement.fields
        with self._writing(durable=True) as connection:
            for one in fields.shares:
                which = and_(
                    rewards.c.task_id == fields.taskID, rewards.c.round == fields.round, rewards.c.miner == one.miner
                )
                known = connection.execute(select(rewards.c.miner).where(which)).one_or_none()
                if one.miner in miners and known is None:
                    connection.execute(
                        rewards.insert().values(
                            task_id=fields.taskID,
                            round=fields.round,
                            miner=one.miner,
                            share=one.share,
                            total=fields.totalUnits,
                            score=one.score,
                            block_hash=fields.blockHash,
                            settled_at=fields.settledAt,
                        )
                    )

    def rewards(self) -> list[Reward]:
        """Every reward, by task, round and miner."""
        order = (rewards.c.task_id, rewards.c.round, rewards.c.miner)
        with self._reading() as connection:
            rows = connection.execute(select(rewards).order_by(*order)).all()
        return [Reward(**row._asdict()) for row in rows]

    def end(self, task_hash: str, outcome: str) -> None:
        """Nothing is left to do for a round."""
        with self._writing() as connection:
            which = ended.c.task_hash == task_hash
            if connection.execute(select(ended.c.task_hash).where(which)).one_or_none() is None:
                connection.execute(ended.insert().values(task_hash=task_hash, outcome=outcome))

    def ended(self) -> dict[str, str]:
        """The rounds in which nothing is left to do: taskHash to outcome."""
        with self._reading() as connection:
            return {row.task_hash: row.outcome for row in connection.execute(select(ended))}

    def _answered(self, table: Table, which: ColumnElement[bool], refusal: str | None) -> None:
        with self._writing() as connection:
            connection.execute(table.update().where(which).values(is_settled=True, refusal=refusal))


def _described(found: Witnessed) -> dict[str, Any]:
    return {
        "block_hash": found.block_hash,
        "task_id": found.task_id,
        "round": found.round,
        "task_hash": found.task_hash,
        "document": None if found.block is None else canonical(found.block.document).decode(),
        "url": found.url,
        "seen_at": found.seen_at,
    }


def _reveal(task_id: str, number: int, miner: str) -> ColumnElement[bool]:
    return and_(own_reveals.c.task_id == task_id, own_reveals.c.round == number, own_reveals.c.miner == miner)
