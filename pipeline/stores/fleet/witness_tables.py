"""The tables of a fleet's memory of blocks: what it found, what it said, what it was paid."""

from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, Index, Integer, MetaData, String, Table, Text

from pipeline.stores.db.lease import lease_columns

metadata = MetaData()

blocks = Table(
    "witnessed_blocks",
    metadata,
    Column("block_hash", String(66), primary_key=True),
    Column("task_id", String(64), nullable=False),
    Column("round", Integer, nullable=False),
    Column("task_hash", String(66), nullable=False),
    # The signed block; NULL where none of that hash could be read.
    Column("document", Text),
    # What is wrong with it; empty: nothing.
    Column("reasons", JSON, nullable=False),
    # Artifact of the evidence; NULL for a block that stood every check.
    Column("evidence", String(64)),
    Column("url", Text, nullable=False),
    Column("seen_at", Double, nullable=False),
    Index("witnessed_blocks_by_round", "task_id", "round"),
)

own_votes = Table(
    "own_votes",
    metadata,
    Column("block_hash", String(66), primary_key=True),
    Column("miner", String(42), primary_key=True),
    # {vote, signature}: the same bytes are sent until they are taken.
    Column("envelope", Text, nullable=False),
    Column("is_settled", Boolean, nullable=False),
    # Why it was not taken, if the aggregator said so.
    Column("refusal", Text),
)

own_reveals = Table(
    "own_reveals",
    metadata,
    Column("task_id", String(64), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("miner", String(42), primary_key=True),
    # aggregator or publisher.
    Column("party", String(16), primary_key=True),
    Column("envelope", Text, nullable=False),
    Column("is_settled", Boolean, nullable=False),
    Column("refusal", Text),
)

rewards = Table(
    "rewards",
    metadata,
    Column("task_id", String(64), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("miner", String(42), primary_key=True),
    Column("share", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    # Decimal; NULL: the aggregator has no reveal of it.
    Column("score", String(80)),
    Column("block_hash", String(66), nullable=False),
    Column("settled_at", BigInteger, nullable=False),
)

ended = Table(
    "witnessed_rounds",
    metadata,
    # Rounds in which nothing is left to do.
    Column("task_hash", String(66), primary_key=True),
    Column("outcome", Text, nullable=False),
)

watches = Table(
    "watched_rounds",
    metadata,
    # Who checks a round at the moment: an audit takes long, and a second one at a time finds nothing new.
    Column("task_hash", String(66), primary_key=True),
    *lease_columns(),
)
