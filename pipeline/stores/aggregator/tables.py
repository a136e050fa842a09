"""The tables of an aggregator's ledger."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

from pipeline.stores.db.lease import lease_columns

metadata = MetaData()

rounds = Table(
    "rounds",
    metadata,
    Column("task_id", String(64), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("task_hash", String(66), nullable=False),
    # The publisher's JSON text as it came.
    Column("document", Text, nullable=False),
    Column("state", String(24), nullable=False),
    Column("reason", Text),
    Column("deadline", BigInteger, nullable=False),
    Column("max_miners", Integer, nullable=False),
    # Artifact digests: the round's model, and its support (none: all coordinates).
    Column("model", String(64), nullable=False),
    Column("support", String(64)),
    Column("coordinates", BigInteger, nullable=False),
    # What closing leaves behind, step by step; each is NULL until its step is done.
    Column("request_hash", String(66)),
    Column("key", String(64)),
    Column("key_signature", Text),
    Column("mask_sums", String(64)),
    Column("aggregate", String(64)),
    Column("dropped", JSON(none_as_null=True)),
    Column("new_model", String(64)),
    Column("next_support", String(64)),
    Column("accuracy", Double),
    Column("uploaded", Boolean, nullable=False, default=False),
    Column("block", Text),
    Column("block_hash", String(66), unique=True),
    Column("audit", String(64)),
    Column("adopted_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    *lease_columns(),
    Index("rounds_by_state", "state"),
)

submissions = Table(
    "submissions",
    metadata,
    # Order of arrival.
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("task_id", String(64), nullable=False),
    Column("round", Integer, nullable=False),
    Column("miner", String(42), nullable=False),
    Column("submission_hash", String(66), nullable=False),
    # SHA-256 of the whole body: the same header may come with other bytes.
    Column("body", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    # A refusal's HTTP status and sentences.
    Column("status", Integer),
    Column("reasons", JSON, nullable=False),
    Column("header", Text, nullable=False),
    Column("signature", Text, nullable=False),
    Column("ciphertext", String(64), nullable=False),
    Column("wish", String(64)),
    # Unix seconds.
    Column("received_at", BigInteger, nullable=False),
    Column("receipt", Text),
    *lease_columns(),
    ForeignKeyConstraint(["task_id", "round"], ["rounds.task_id", "rounds.round"]),
    Index("submissions_by_round", "task_id", "round", "state"),
    Index("submissions_by_hash", "submission_hash"),
    Index(
        "one_accepted_submission_a_miner",
        "task_id",
        "round",
        "miner",
        unique=True,
        sqlite_where=text("state = 'accepted'"),
        postgresql_where=text("state = 'accepted'"),
    ),
)

#: A large round's sum is made in slices of its groups, each by whichever worker takes it.
round_slices = Table(
    "round_slices",
    metadata,
    # A sum belongs to one request: other submissions make another sum.
    Column("request_hash", String(66), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("task_id", String(64), nullable=False),
    Column("round", Integer, nullable=False),
    Column("first_group", BigInteger, nullable=False),
    Column("groups", BigInteger, nullable=False),
    # Artifact digests: X as int64 little-endian, and the M_g; NULL until the slice is done.
    Column("aggregate", String(64)),
    Column("mask_sums", String(64)),
    # Numbers of groups, counted over the whole round.
    Column("dropped", JSON(none_as_null=True)),
    # Why it waits, or what ended it.
    Column("reason", Text),
    *lease_columns(),
    Index("slices_by_round", "task_id", "round"),
)

key_requests = Table(
    "key_requests",
    metadata,
    Column("request_hash", String(66), primary_key=True),
    Column("task_id", String(64), nullable=False),
    Column("round", Integer, nullable=False),
    # {request, signature}, stored before it is sent.
    Column("envelope", Text, nullable=False),
    Column("created_at", Double, nullable=False),
)
