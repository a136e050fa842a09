"""A party's memory of what participants said about a block: votes, reveals, and the settlement that follows."""

from sqlalchemy import Engine, and_, func, select

from pipeline.protocol.block import Block
from pipeline.protocol.reveal import Reveal
from pipeline.protocol.settlement import Settlement
from pipeline.protocol.signing import canonical
from pipeline.protocol.vote import Vote
from pipeline.stores.aggregator.verdict_tables import metadata, published_blocks, reveals, settlements, votes
from pipeline.stores.db.party_ledger import Conflict, PartyLedger

#: Conflicting votes of one miner on one block that are kept: one proves the lie.
MAX_CONFLICTING = 3


class VerdictLedger(PartyLedger):
    """Votes by block; reveals and settlements by (taskID, round)."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, metadata)

    def cast(self, vote: Vote, received_at: int) -> None:
        """Keeps a participant's vote; the same again is no change. Raises Conflict for another one, which is kept as evidence."""
        fields, text = vote.fields, vote.encode().decode()
        which = and_(votes.c.block_hash == fields.blockHash, votes.c.miner == fields.miner)
        with self._writing(durable=True) as connection:
            known = connection.execute(select(votes.c.envelope, votes.c.is_conflicting).where(which)).all()
            standing = next((row.envelope for row in known if not row.is_conflicting), None)
            if standing == text:
                return
            if standing is None or (len(known) <= MAX_CONFLICTING and all(row.envelope != text for row in known)):
                connection.execute(
                    votes.insert().values(
                        block_hash=fields.blockHash,
                        miner=fields.miner,
                        envelope=text,
                        received_at=received_at,
                        is_conflicting=standing is not None,
                    )
                )
        if standing is not None:
            raise Conflict(f"another vote of {fields.miner} on this block is in; both are kept")

    def votes(self, block_hash: str, *, conflicting: bool = False) -> list[Vote]:
        """The votes that count, in order of arrival; or the others."""
        which = and_(votes.c.block_hash == block_hash, votes.c.is_conflicting == conflicting)
        with self._reading() as connection:
            rows = connection.execute(select(votes.c.envelope).where(which).order_by(votes.c.id)).scalars().all()
        return [Vote.decode(text) for text in rows]

    def reveal(self, opened: Reveal, received_at: int) -> int:
        """Keeps a checked reveal; returns when it came first. Raises Conflict for another one of that miner."""
        which = and_(
            reveals.c.task_id == opened.task_id, reveals.c.round == opened.round, reveals.c.miner == opened.miner
        )
        with self._writing(durable=True) as connection:
            row = connection.execute(select(reveals.c.reveal_hash, reveals.c.received_at).where(which)).one_or_none()
            if row is None:
                connection.execute(
                    reveals.insert().values(
                        task_id=opened.task_id,
                        round=opened.round,
                        miner=opened.miner,
                        reveal_hash=opened.reveal_hash,
                        envelope=opened.encode().decode(),
                        received_at=received_at,
                    )
                )
                return received_at
        if row.reveal_hash != opened.reveal_hash:
            raise Conflict(f"another reveal of {opened.miner} for round {opened.round} of {opened.task_id} is in")
        return int(row.received_at)

    def reveals(self, task_id: str, number: int) -> list[Reveal]:
        """Every reveal of a round."""
        which = and_(reveals.c.task_id == task_id, reveals.c.round == number)
        with self._reading() as connection:
            rows = connection.execute(select(reveals.c.envelope).where(which).order_by(reveals.c.miner)).scalars().all()
        return [Reveal.decode(text) for text in rows]

    def settle(self, settlement: Settlement) -> None:
        """Keeps a round's settlement; the first one stands."""
        fields = settlement.fields
        with self._writing(durable=True) as connection:
            which = and_(settlements.c.task_id == fields.taskID, settlements.c.round == fields.round)
            if connection.execute(select(func.count()).select_from(settlements).where(which)).scalar_one() == 0:
                connection.execute(
                    settlements.insert().values(
                        task_id=fields.taskID, round=fields.round, document=settlement.encode().decode()
                    )
                )

    def settlement(self, task_id: str, number: int) -> Settlement | None:
        """A round's settlement, once there is one."""
        which = and_(settlements.c.task_id == task_id, settlements.c.round == number)
        with self._reading() as connection:
            text = connection.execute(select(settlements.c.document).where(which)).scalar_one_or_none()
        return None if text is None else Settlement.decode(text)

    def publish(self, block: Block) -> None:
        """Keeps a block that stood every check; the first one of its round stands."""
        fields = block.fields
        with self._writing(durable=True) as connection:
            which = and_(published_blocks.c.task_id == fields.taskID, published_blocks.c.round == fields.round)
            if connection.execute(select(func.count()).select_from(published_blocks).where(which)).scalar_one() == 0:
                text = canonical(block.document).decode()
                connection.execute(
                    published_blocks.insert().values(task_id=fields.taskID, round=fields.round, document=text)
                )

    def published(self, task_id: str, number: int) -> Block | None:
        """The published block of a round, as this party checked it."""
        which = and_(published_blocks.c.task_id == task_id, published_blocks.c.round == number)
        with self._reading() as connection:
            text = connection.execute(select(published_blocks.c.document).where(which)).scalar_one_or_none()
        return None if text is None else Block.decode(text.encode())
