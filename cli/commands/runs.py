"""The commands `flfleet runs`."""

from json import dumps
from typing import Annotated

import typer

from cli.commands.options import DEFAULT_HOME, Home, Json
from cli.console import ERR, OUT

app = typer.Typer(no_args_is_help=True, help="Runs that ended without a submission: try again, or give up.")
Runs = Annotated[list[str] | None, typer.Argument(help="Ids of runs, as `flfleet status --json` shows them.")]
AllDead = Annotated[bool, typer.Option("--all-dead", help="Every run that is dead.")]


@app.command("retry")
def runs_retry(run: Runs = None, all_dead: AllDead = False, home: Home = DEFAULT_HOME, json: Json = False) -> None:
    """Queue dead, rejected or waiting runs again, with fresh attempts, from their first unfinished stage.

    Example: flfleet runs retry --all-dead
    """
    from cli.runs import retry_runs

    _say(retry_runs(home, run or [], all_dead=all_dead), "queued again; the next sweep sends them on their way", json)


@app.command("drop")
def runs_drop(run: Runs = None, all_dead: AllDead = False, home: Home = DEFAULT_HOME, json: Json = False) -> None:
    """Give runs up. A worker that has one of them can write nothing more.

    Example: flfleet runs drop 3f2a9c5e-0000-5000-8000-000000000000
    """
    from cli.runs import drop_runs

    _say(drop_runs(home, run or [], all_dead=all_dead), "dropped", json)


def _say(count: int, what: str, as_json: bool) -> None:
    if as_json:
        OUT.print(dumps({"runs": count}))
    else:
        ERR.print(f"{count} runs {what}")
