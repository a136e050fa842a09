"""The tables of the ledger of runs, for SQLite and PostgreSQL."""

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    event,
)

metadata = MetaData()

tasks = Table(
    "tasks",
    metadata,
    Column("task_hash", String(66), primary_key=True),
    Column("task_id", String(64), nullable=False),
    Column("round", Integer, nullable=False),
    # The publisher's JSON, byte for byte as far as its hash goes.
    Column("document", Text, nullable=False),
    Column("seen_at", Double, nullable=False),
    # The first task of a (taskID, round) stands; another one is refused.
    UniqueConstraint("task_id", "round"),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", String(36), primary_key=True),
    Column("task_hash", ForeignKey("tasks.task_hash"), nullable=False),
    Column("task_id", String(64), nullable=False),
    Column("round", Integer, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("model_sha256", String(64), nullable=False),
    Column("miner", String(42), nullable=False),
    Column("miner_name", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("stage", String(16)),
    Column("token", Integer, nullable=False),
    Column("owner", Text),
    # These three are on the ledger's clock (see RunLedger): lease, wait, and when the last chain was made.
    Column("lease_until", Double),
    Column("not_before", Double),
    Column("driven_at", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("deadline", BigInteger, nullable=False),
    Column("error", Text),
    Column("progress", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    UniqueConstraint("task_hash", "miner"),
    Index("runs_by_state", "state", "stage", "driven_at"),
    Index("runs_by_model", "miner", "dataset", "model_sha256"),
    Index("runs_by_task", "miner", "task_id", "round"),
)

outputs = Table(
    "outputs",
    metadata,
    Column("run_id", ForeignKey("runs.run_id"), primary_key=True),
    Column("stage", String(16), primary_key=True),
    Column("token", Integer, nullable=False),
    Column("artifacts", JSON, nullable=False),
    Column("figures", JSON, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("finished_at", Double, nullable=False),
    # Its artifacts were found damaged: the stage is due again. What comes out alike leaves later stages standing.
    Column("damaged", Boolean, nullable=False),
    # Who looks at the fleet reads what ended lately, not years of it.
    Index("outputs_by_age", "finished_at"),
)

notes = Table(
    "notes",
    metadata,
    Column("run_id", ForeignKey("runs.run_id"), primary_key=True),
    Column("name", String(32), primary_key=True),
    Column("stage", String(16), nullable=False),
    Column("digest", String(64), nullable=False),
)

refusals = Table(
    "refusals",
    metadata,
    Column("task_hash", String(66), primary_key=True),
    Column("miner", String(42), primary_key=True),
    Column("task_id", Text, nullable=False),
    Column("round", BigInteger, nullable=False),
    Column("reasons", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("refusals_by_age", "created_at"),
)

# What a person stopped on purpose: a pool, a data set, the whole fleet, or a task for good. A row is there or it is not.
controls = Table(
    "controls",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", Double, nullable=False),
)

# Trainings of a task's model that a person asked for again. Their results stay here: nothing of them is ever submitted.
retrainings = Table(
    "retrainings",
    metadata,
    Column("retraining_id", String(36), primary_key=True),
    Column("batch", String(36), nullable=False),
    # The run whose task, model and miner are trained again.
    Column("run_id", ForeignKey("runs.run_id"), nullable=False),
    Column("task_hash", String(66), nullable=False),
    Column("task_id", String(64), nullable=False),
    Column("round", Integer, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("miner", String(42), nullable=False),
    Column("miner_name", Text, nullable=False),
    # 0 comes first.
    Column("priority", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("token", Integer, nullable=False),
    Column("owner", Text),
    # On the ledger's clock, as those of runs.
    Column("lease_until", Double),
    Column("not_before", Double),
    Column("attempts", Integer, nullable=False),
    Column("error", Text),
    # The training between two epochs, in the artifact store: where the next claim goes on. None once it has ended.
    Column("checkpoint", String(64)),
    Column("progress", JSON, nullable=False),
    Column("figures", JSON, nullable=False),
    # Unix seconds, for people.
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Index("retrainings_by_turn", "state", "priority", "created_at"),
    Index("retrainings_by_batch", "batch", "state"),
    Index("retrainings_by_run", "run_id", "state"),
)

# A person's word on a task: by its hash, or for later rounds on the same terms.
approvals = Table(
    "approvals",
    metadata,
    Column("task_hash", String(66), primary_key=True),
    Column("task_id", String(64), nullable=False),
    # SHA-256 of what all rounds of a task share (see approvals.terms_of).
    Column("terms", String(64), nullable=False),
    Column("verdict", String(16), nullable=False),
    # Whether it holds for later rounds on the same terms.
    Column("further", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", Double, nullable=False),
    Index("approvals_by_task", "task_id"),
)

# The data-protection officer's log: each line names the hash of the one before. Nothing here is ever changed.
audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    # Canonical JSON.
    Column("line", Text, nullable=False),
    Column("hash", String(64), nullable=False),
)


def _append_only(dialect: str, *statements: str) -> None:
    for statement in statements:
        rule = DDL(statement).execute_if(dialect=dialect)  # type: ignore[no-untyped-call]
        event.listen(audit, "after_create", rule)


_append_only(
    "sqlite",
    *(
        f"CREATE TRIGGER audit_no_{what.lower()} BEFORE {what} ON audit "
        "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        for what in ("UPDATE", "DELETE")
    ),
)
_append_only(
    "postgresql",
    "CREATE OR REPLACE FUNCTION flfleet_append_only() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$",
    "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION flfleet_append_only()",
)

# How often something went other than planned, since the ledger was made: written in the transaction in which it happened.
tallies = Table(
    "tallies",
    metadata,
    Column("event", String(16), primary_key=True),
    Column("stage", String(16), primary_key=True),
    Column("detail", String(32), primary_key=True),
    Column("count", BigInteger, nullable=False),
    # What it took, where that is kept.
    Column("seconds", Double, nullable=False),
)

# The workers' main processes, as each says of itself every few seconds.
workers = Table(
    "workers",
    metadata,
    # pool@host, as Celery names it.
    Column("name", String(255), primary_key=True),
    Column("pool", String(64), nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("processes", Integer, nullable=False),
    # What it computes on, for people.
    Column("devices", JSON, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
)
