"""The commands `flfleet runs`."""

from typing import Annotated

import typer

from cli.commands.options import DEFAULT_HOME, Home
from cli.console import ERR

app = typer.Typer(no_args_is_help=True, help="Runs that ended without a submission: try again, or give up.")
Runs = Annotated[list[str] | None, typer.Argument(help="Ids of runs, as `flfleet status --json` shows them.")]
AllDead = Annotated[bool, typer.Option("--all-dead", help="Every run that is dead.")]


@app.command("retry")
def runs_retry(run: Runs = None, all_dead: AllDead = False, home: Home = DEFAULT_HOME) -> None:
    """Queue dead, rejected or waiting runs again, with fresh attempts, from their first unfinished stage.

    Example: flfleet runs retry --all-dead
    """
    from cli.runs import retry_runs

    ERR.print(
        f"{retry_runs(home, run or [], all_dead=all_dead)} runs queued again; the next sweep sends them on their way"
    )


@app.command("drop")
def runs_drop(run: Runs = None, all_dead: AllDead = False, home: Home = DEFAULT_HOME) -> None:
    """Give runs up. A worker that has one of them can write nothing more.

    Example: flfleet runs drop 3f2a9c5e-0000-5000-8000-000000000000
    """
    from cli.runs import drop_runs

    ERR.print(f"{drop_runs(home, run or [], all_dead=all_dead)} runs dropped")
