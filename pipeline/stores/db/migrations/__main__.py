"""Writes a migration from the difference between the tables in the code and all migrations so far: make migration WORDS="...".

Then read it: alembic sees a renamed column as one that goes and one that comes.
"""

import sys

from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from pipeline.stores.db.migrations import configuration


def write(words: str) -> None:
    """Writes versions/rNNNN_words.py."""
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        config = configuration(connection)
        config.set_main_option("file_template", "r%%(rev)s_%%(slug)s")
        command.upgrade(config, "head")
        head = ScriptDirectory.from_config(config).get_current_head() or "0000"
        command.revision(config, words, autogenerate=True, rev_id=f"{int(head) + 1:04d}")


if __name__ == "__main__":
    write(" ".join(sys.argv[1:]))
