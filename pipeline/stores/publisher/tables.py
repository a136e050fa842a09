"""The tables of a publisher's ledger."""

from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, Integer, MetaData, String, Table, Text

from pipeline.stores.db.lease import lease_columns

metadata = MetaData()

plans = Table(
    "plans",
    metadata,
    Column("task_id", String(64), primary_key=True),
    # The first round's task without publishedAt and signature.
    Column("document", Text, nullable=False),
    Column("model", String(64), nullable=False),
    # compression.ratio of each round, the last one for all later ones; NULL: the document's.
    Column("ratios", JSON(none_as_null=True)),
    Column("stop_at_expected", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    *lease_columns(),
)

signed_tasks = Table(
    "signed_tasks",
    metadata,
    Column("task_id", String(64), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("task_hash", String(66), nullable=False),
    Column("document", Text, nullable=False),
    Column("model", String(64), nullable=False),
    # Artifact digest of the support's bitmap; NULL: all coordinates.
    Column("support", String(64)),
    Column("posted", Boolean, nullable=False),
    Column("signed_at", BigInteger, nullable=False),
)

supports = Table(
    "supports",
    metadata,
    # keccak256, `0x` and hex.
    Column("hash", String(66), primary_key=True),
    Column("artifact", String(64), nullable=False),
)

key_requests = Table(
    "received_key_requests",
    metadata,
    Column("request_hash", String(66), primary_key=True),
    Column("task_id", String(64), nullable=False),
    Column("round", Integer, nullable=False),
    # {request, signature} as it came.
    Column("envelope", Text, nullable=False),
    # A refusal: HTTP status, sentences, submission hashes whose masks are wrong. NULL until there is one.
    Column("status", Integer),
    Column("reasons", JSON, nullable=False),
    Column("invalid", JSON, nullable=False),
    Column("received_at", Double, nullable=False),
    *lease_columns(),
)

issued_keys = Table(
    "issued_keys",
    metadata,
    # One key for a round, for ever: the primary key is the rule.
    Column("task_id", String(64), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("request_hash", String(66), nullable=False),
    Column("key", String(64), nullable=False),
    Column("signature", Text, nullable=False),
    Column("issued_at", Double, nullable=False),
)
