"""What alembic runs: migrations over a connection, in the transaction that it comes with."""

from alembic import context

from pipeline.stores.db import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=list(schema.METADATA),
    version_table=schema.REVISION_TABLE,
    compare_type=True,
    # SQLite changes a table by copying it.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
