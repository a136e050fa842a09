"""The command `flfleet`: its groups of commands, each a file of cli/commands/, and how its errors end."""

import typer

from cli.commands import (
    bench,
    checking,
    compose,
    consent,
    control,
    data,
    fleet,
    health,
    keys,
    local,
    publish,
    retrain,
    runs,
    serve,
    tasks,
)
from cli.console import ERR, Exit
from pipeline.errors import FleetError, Misconfigured, Retryable

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="A fleet of federated-learning miners on Celery: train on private data, send only encrypted updates.",
)
for commands in (local, fleet, serve, checking, publish, retrain, control, consent):
    app.add_typer(commands.app)
GROUPS = {
    "compose": compose,
    "tasks": tasks,
    "runs": runs,
    "keys": keys,
    "data": data,
    "health": health,
    "bench": bench,
}
for name, group in GROUPS.items():
    app.add_typer(group.app, name=name)


def main() -> None:
    """Runs the command; an error of ours is one sentence and an exit code, not a traceback."""
    try:
        app()
    except Retryable as error:
        ERR.print(f"[red]error:[/] {error}", soft_wrap=True)
        raise SystemExit(Exit.UNAVAILABLE) from None
    except (Misconfigured, FleetError) as error:
        ERR.print(f"[red]error:[/] {error}", soft_wrap=True)
        raise SystemExit(Exit.MISCONFIGURED) from None
    except KeyboardInterrupt:
        raise SystemExit(Exit.INTERRUPTED) from None
