"""The first schema with a revision: what was there before, table by table where it is missing."""

import sqlalchemy as sa
from alembic import op

from pipeline.stores.db import schema

revision = "0001"
down_revision = None
floor = "0001"


def upgrade() -> None:
    """Makes every table. Databases from before revisions have some of them, in this very form."""
    op.create_table(
        "schema_floor",
        sa.Column("revision", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("revision"),
        if_not_exists=True,
    )
    op.create_table(
        "refusals",
        sa.Column("task_hash", sa.String(length=66), nullable=False),
        sa.Column("miner", sa.String(length=42), nullable=False),
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("task_hash", "miner"),
        if_not_exists=True,
    )
    op.create_index("refusals_by_age", "refusals", ["created_at"], unique=False, if_not_exists=True)
    op.create_table(
        "tasks",
        sa.Column("task_hash", sa.String(length=66), nullable=False),
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("task_hash"),
        sa.UniqueConstraint("task_id", "round"),
        if_not_exists=True,
    )
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("task_hash", sa.String(length=66), nullable=False),
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=False),
        sa.Column("miner", sa.String(length=42), nullable=False),
        sa.Column("miner_name", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=True),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("not_before", sa.Double(), nullable=True),
        sa.Column("driven_at", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("deadline", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_hash"],
            ["tasks.task_hash"],
        ),
        sa.PrimaryKeyConstraint("run_id"),
        sa.UniqueConstraint("task_hash", "miner"),
        if_not_exists=True,
    )
    op.create_index("runs_by_model", "runs", ["miner", "dataset", "model_sha256"], unique=False, if_not_exists=True)
    op.create_index("runs_by_state", "runs", ["state", "stage", "driven_at"], unique=False, if_not_exists=True)
    op.create_index("runs_by_task", "runs", ["miner", "task_id", "round"], unique=False, if_not_exists=True)
    op.create_table(
        "notes",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["runs.run_id"],
        ),
        sa.PrimaryKeyConstraint("run_id", "name"),
        if_not_exists=True,
    )
    op.create_table(
        "outputs",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("artifacts", sa.JSON(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=False),
        sa.Column("damaged", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["runs.run_id"],
        ),
        sa.PrimaryKeyConstraint("run_id", "stage"),
        if_not_exists=True,
    )
    op.create_table(
        "own_reveals",
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("miner", sa.String(length=42), nullable=False),
        sa.Column("party", sa.String(length=16), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("is_settled", sa.Boolean(), nullable=False),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("task_id", "round", "miner", "party"),
        if_not_exists=True,
    )
    op.create_table(
        "own_votes",
        sa.Column("block_hash", sa.String(length=66), nullable=False),
        sa.Column("miner", sa.String(length=42), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("is_settled", sa.Boolean(), nullable=False),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("block_hash", "miner"),
        if_not_exists=True,
    )
    op.create_table(
        "rewards",
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("miner", sa.String(length=42), nullable=False),
        sa.Column("share", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("score", sa.String(length=80), nullable=True),
        sa.Column("block_hash", sa.String(length=66), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "round", "miner"),
        if_not_exists=True,
    )
    op.create_table(
        "witnessed_blocks",
        sa.Column("block_hash", sa.String(length=66), nullable=False),
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("task_hash", sa.String(length=66), nullable=False),
        sa.Column("document", sa.Text(), nullable=True),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("evidence", sa.String(length=64), nullable=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("block_hash"),
        if_not_exists=True,
    )
    op.create_index(
        "witnessed_blocks_by_round", "witnessed_blocks", ["task_id", "round"], unique=False, if_not_exists=True
    )
    op.create_table(
        "witnessed_rounds",
        sa.Column("task_hash", sa.String(length=66), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("task_hash"),
        if_not_exists=True,
    )
    op.create_table(
        "board_tasks",
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("task_hash", sa.String(length=66), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("deadline", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "round"),
        if_not_exists=True,
    )
    op.create_table(
        "key_requests",
        sa.Column("request_hash", sa.String(length=66), nullable=False),
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("request_hash"),
        if_not_exists=True,
    )
    op.create_table(
        "round_slices",
        sa.Column("request_hash", sa.String(length=66), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("first_group", sa.BigInteger(), nullable=False),
        sa.Column("groups", sa.BigInteger(), nullable=False),
        sa.Column("aggregate", sa.String(length=64), nullable=True),
        sa.Column("mask_sums", sa.String(length=64), nullable=True),
        sa.Column("dropped", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("request_hash", "number"),
        if_not_exists=True,
    )
    op.create_index("slices_by_round", "round_slices", ["task_id", "round"], unique=False, if_not_exists=True)
    op.create_table(
        "rounds",
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("task_hash", sa.String(length=66), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("deadline", sa.BigInteger(), nullable=False),
        sa.Column("max_miners", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("support", sa.String(length=64), nullable=True),
        sa.Column("coordinates", sa.BigInteger(), nullable=False),
        sa.Column("request_hash", sa.String(length=66), nullable=True),
        sa.Column("key", sa.String(length=64), nullable=True),
        sa.Column("key_signature", sa.Text(), nullable=True),
        sa.Column("mask_sums", sa.String(length=64), nullable=True),
        sa.Column("aggregate", sa.String(length=64), nullable=True),
        sa.Column("dropped", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("new_model", sa.String(length=64), nullable=True),
        sa.Column("next_support", sa.String(length=64), nullable=True),
        sa.Column("accuracy", sa.Double(), nullable=True),
        sa.Column("uploaded", sa.Boolean(), nullable=False),
        sa.Column("block", sa.Text(), nullable=True),
        sa.Column("block_hash", sa.String(length=66), nullable=True),
        sa.Column("audit", sa.String(length=64), nullable=True),
        sa.Column("adopted_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "round"),
        sa.UniqueConstraint("block_hash"),
        if_not_exists=True,
    )
    op.create_index("rounds_by_state", "rounds", ["state"], unique=False, if_not_exists=True)
    op.create_table(
        "submissions",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("miner", sa.String(length=42), nullable=False),
        sa.Column("submission_hash", sa.String(length=66), nullable=False),
        sa.Column("body", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("header", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("ciphertext", sa.String(length=64), nullable=False),
        sa.Column("wish", sa.String(length=64), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("receipt", sa.Text(), nullable=True),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id", "round"],
            ["rounds.task_id", "rounds.round"],
        ),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_index(
        "one_accepted_submission_a_miner",
        "submissions",
        ["task_id", "round", "miner"],
        unique=True,
        sqlite_where=sa.text("state = 'accepted'"),
        postgresql_where=sa.text("state = 'accepted'"),
        if_not_exists=True,
    )
    op.create_index("submissions_by_hash", "submissions", ["submission_hash"], unique=False, if_not_exists=True)
    op.create_index(
        "submissions_by_round", "submissions", ["task_id", "round", "state"], unique=False, if_not_exists=True
    )
    op.create_table(
        "issued_keys",
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("request_hash", sa.String(length=66), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("issued_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "round"),
        if_not_exists=True,
    )
    op.create_table(
        "plans",
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("ratios", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("stop_at_expected", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("task_id"),
        if_not_exists=True,
    )
    op.create_table(
        "received_key_requests",
        sa.Column("request_hash", sa.String(length=66), nullable=False),
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("invalid", sa.JSON(), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("request_hash"),
        if_not_exists=True,
    )
    op.create_table(
        "signed_tasks",
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("task_hash", sa.String(length=66), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("support", sa.String(length=64), nullable=True),
        sa.Column("posted", sa.Boolean(), nullable=False),
        sa.Column("signed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "round"),
        if_not_exists=True,
    )
    op.create_table(
        "supports",
        sa.Column("hash", sa.String(length=66), nullable=False),
        sa.Column("artifact", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("hash"),
        if_not_exists=True,
    )
    op.create_table(
        "published_blocks",
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "round"),
        if_not_exists=True,
    )
    op.create_table(
        "reveals",
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("miner", sa.String(length=42), nullable=False),
        sa.Column("reveal_hash", sa.String(length=66), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "round", "miner"),
        if_not_exists=True,
    )
    op.create_table(
        "settlements",
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "round"),
        if_not_exists=True,
    )
    op.create_table(
        "votes",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("block_hash", sa.String(length=66), nullable=False),
        sa.Column("miner", sa.String(length=42), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("is_conflicting", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_index(op.f("ix_votes_block_hash"), "votes", ["block_hash"], unique=False, if_not_exists=True)
    schema.set_floor(op.get_bind(), floor)
