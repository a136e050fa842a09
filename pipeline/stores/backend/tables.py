"""The table of a backend's board."""

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, Text

metadata = MetaData()

board_tasks = Table(
    "board_tasks",
    metadata,
    Column("task_id", String(64), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("task_hash", String(66), nullable=False),
    Column("document", Text, nullable=False),
    # Unix seconds.
    Column("deadline", BigInteger, nullable=False),
)
