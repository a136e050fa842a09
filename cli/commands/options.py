"""Options that many commands share."""

from pathlib import Path
from typing import Annotated

import typer

Home = Annotated[
    Path, typer.Option("--home", envvar="FLFLEET_HOME", help="The fleet's home folder.", show_default="./fleet")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
DEFAULT_HOME = Path("fleet")
