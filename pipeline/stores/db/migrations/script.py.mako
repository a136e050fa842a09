<%! from pipeline.stores.db.schema import FLOOR %>\
"""${message}"""

import sqlalchemy as sa
from alembic import op

from pipeline.stores import schema

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
#: The oldest revision whose code works after this: as before, unless something goes that older code reads.
floor = ${repr(FLOOR)}


def upgrade() -> None:
    """Expand only: a table, a nullable column, an index. What goes, goes a release after nobody reads it."""
    ${upgrades if upgrades else "pass"}
    schema.set_floor(op.get_bind(), floor)
