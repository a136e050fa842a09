"""count and control"""

import sqlalchemy as sa
from alembic import op

from pipeline.stores.db import schema

revision = "0002"
down_revision = "0001"
#: The oldest revision whose code works after this: as before, unless something goes that older code reads.
floor = "0001"


def upgrade() -> None:
    """Expand only: a table, a nullable column, an index. What goes, goes a release after nobody reads it."""
    op.create_table(
        "tallies",
        sa.Column("event", sa.String(length=16), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.String(length=32), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("event", "stage", "detail"),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("pool", sa.String(length=64), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("processes", sa.Integer(), nullable=False),
        sa.Column("devices", sa.JSON(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    schema.set_floor(op.get_bind(), floor)
