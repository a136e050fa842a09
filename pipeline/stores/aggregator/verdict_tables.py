"""The tables of votes, reveals and settlements: at the aggregator; the publisher keeps reveals alone."""

from sqlalchemy import BigInteger, Boolean, Column, Integer, MetaData, String, Table, Text

metadata = MetaData()

votes = Table(
    "votes",
    metadata,
    # Order of arrival.
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("block_hash", String(66), nullable=False, index=True),
    Column("miner", String(42), nullable=False),
    # {vote, signature} as JSON text.
    Column("envelope", Text, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    # Another vote of a miner that has voted: it does not count, and it is evidence.
    Column("is_conflicting", Boolean, nullable=False),
)

reveals = Table(
    "reveals",
    metadata,
    Column("task_id", String(64), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("miner", String(42), primary_key=True),
    # Digest of kind `reveal`.
    Column("reveal_hash", String(66), nullable=False),
    Column("envelope", Text, nullable=False),
    Column("received_at", BigInteger, nullable=False),
)

settlements = Table(
    "settlements",
    metadata,
    Column("task_id", String(64), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("document", Text, nullable=False),
)

published_blocks = Table(
    "published_blocks",
    metadata,
    # The publisher's: blocks that stood its check.
    Column("task_id", String(64), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("document", Text, nullable=False),
)
