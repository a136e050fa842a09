"""The commands `flfleet health`."""

from typing import Annotated

import typer

from cli.commands.options import DEFAULT_HOME, Home

app = typer.Typer(no_args_is_help=True, help="Probes: is a process alive, could it work. Exit code 0 is yes.")


@app.command()
def live(
    role: Annotated[
        str | None, typer.Option(help="beat, or worker:POOL; default: all that ran on this host.", show_default=False)
    ] = None,
    max_age: Annotated[float, typer.Option(min=1, help="Most seconds since the last heartbeat.")] = 180.0,
    home: Home = DEFAULT_HOME,
) -> None:
    """Whether a main process's loop goes round, by its heartbeat file: 0 yes, 1 no. A broker that is away changes nothing.

    Example: flfleet health live --role worker:train
    """
    from cli.health import live as probe

    raise typer.Exit(probe(home, role, max_age))


@app.command()
def ready(home: Home = DEFAULT_HOME) -> None:
    """Whether broker and ledger answer: 0 yes, 3 no.

    Example: flfleet health ready --home fleet
    """
    from cli.health import ready as probe

    raise typer.Exit(probe(home))
