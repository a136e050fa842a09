"""rounds under watch"""

import sqlalchemy as sa
from alembic import op

from pipeline.stores.db import schema

revision = "0003"
down_revision = "0002"
#: The oldest revision whose code works after this: as before, unless something goes that older code reads.
floor = "0001"


def upgrade() -> None:
    """Expand only: a table, a nullable column, an index. What goes, goes a release after nobody reads it."""
    op.create_table(
        "watched_rounds",
        sa.Column("task_hash", sa.String(length=66), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("task_hash"),
    )
    schema.set_floor(op.get_bind(), floor)
